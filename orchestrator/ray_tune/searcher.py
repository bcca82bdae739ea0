"""What Ray Tune asks for its next trial.

`SweepSearcher` hands out a prepared list of assignments. Then it asks the studies in turns: a study
is a sampler that learns, one for each setup, and is told the figures of what it proposed.
Repeats of a configuration follow it at once and are not told to the study, which would take them
for new points.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ray.tune.search import Searcher

from orchestrator.nouns import Configuration, LoadKey, Setup, TrialKey, TrialSpec
from orchestrator.ray_tune.trainable import Assignment, HandedOut
from orchestrator.samplers import Sampler

TURN = 10
"""Configurations that studies of one loaded model propose before those of another have a turn.

A turn of one would load a model for each trial, and whole budgets one after the other would let
what drifts look like the effect of a model."""


@dataclass
class Study:
    """A sampler that learns, and how what it proposes becomes assignments."""

    setup: Setup
    """Of what it proposes, but for the weights' revision."""
    sampler: Sampler
    budget: int
    """How many configurations it may still propose."""
    assignments: Callable[[int, Configuration], list[Assignment]]
    """(index, configuration) -> assignments, one a repeat."""
    next_index: int = 0
    """Index of the next configuration; earlier runs of the sweep had those below."""

    def ask(self) -> list[Assignment]:
        """Assignments of the next configuration, one a repeat; [] once the budget is spent."""
        configuration = self.sampler.ask() if self.budget > 0 else None
        if configuration is None:
            return []
        self.budget -= 1
        self.next_index += 1
        return self.assignments(self.next_index - 1, configuration)

    def is_of(self, spec: TrialSpec) -> bool:
        """Whether a trial is of this study's setup."""
        return spec.setup.key() == self.setup.key()


class SweepSearcher(Searcher):  # type: ignore[misc]  # ray has no types
    """Prepared assignments first, then the studies in turn; last what lost workers left.

    `allows` is asked before an assignment is handed out; where it gives a reason against it, the
    sweep ends. `orders` numbers what is handed out; searchers that run side by side share it. At
    most `slots()` assignments are out at once.
    """

    def __init__(
        self,
        assignments: list[Assignment],
        *,
        studies: list[Study] | None = None,
        allows: Callable[[Assignment], str | None] = lambda _assignment: None,
        orders: Iterator[int] | None = None,
        slots: Callable[[], float] = lambda: math.inf,
        oom_tokens: dict[str, dict[str, int]] | None = None,
    ) -> None:
        super().__init__()
        self._ready: deque[Assignment] = deque(assignments)
        self._out: set[str] = set()
        self._turns = _by_load_key(studies or [])
        self._asked = 0
        """Configurations that were proposed in the present turn."""
        self._proposed: dict[TrialKey, Study] = {}
        """Trials that a study proposed and was not told of yet."""
        self._finished: set[TrialKey] = set()
        """Trials that `finished` was called for: one that is told twice counts once."""
        self._allows = allows
        self._orders = itertools.count() if orders is None else orders
        self._slots = slots
        self._oom_tokens = oom_tokens or {}
        self.stopped: str | None = None
        """Why the sweep ends before everything was handed out; None: it doesn't."""

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next assignment as Tune's configuration.

        None while all slots are taken, or what is out may still come back; then Tune's FINISHED.
        """
        finished = str(Searcher.FINISHED)
        if self.stopped:
            return finished
        if len(self._out) >= self._slots():
            return None
        assignment = self._next()
        if assignment is None:
            # one that is out comes back if its worker is lost
            return None if self._out else finished
        assignment = self._handed_out(assignment)
        self.stopped = self._allows(assignment)
        if self.stopped:
            return finished
        self._out.add(trial_id)
        return {"assignment": HandedOut(assignment)}

    def _next(self) -> Assignment | None:
        """The next assignment, or None while every study waits for results."""
        if self._ready:
            return self._ready.popleft()
        # one more: where no other one is left, the turn is the same one's again
        for _ in range(len(self._turns) + 1 if self._turns else 0):
            if self._asked < TURN:
                assignment = self._proposal(self._turns[0])
                if assignment is not None:
                    self._asked += 1
                    return assignment
            self._turns.rotate(-1)
            self._asked = 0
        return None

    def _proposal(self, studies: deque[Study]) -> Assignment | None:
        """The next assignment of studies that share a loaded model; None: their budget is spent."""
        for _ in range(len(studies)):
            study = studies[0]
            # in turn, so that no use case waits until another one is through
            studies.rotate(-1)
            assignments = study.ask()
            if assignments:
                # repeats follow at once: they need no answer of the study
                self._ready.extend(assignments[1:])
                self._proposed[assignments[0].spec.key()] = study
                return assignments[0]
        return None

    def _handed_out(self, assignment: Assignment) -> Assignment:
        """An assignment with its place in the order, and what is known of memory by now."""
        spec = assignment.spec.model_copy(update={"order_index": next(self._orders)})
        # a copy: the assignment is sent to a worker, and this table grows
        known = dict(self._oom_tokens.get(model_key(spec.setup), {}))
        return assignment.model_copy(
            update={"spec": spec, "oom_tokens": known, "is_last": self._may_be_last(spec)}
        )

    def _may_be_last(self, spec: TrialSpec) -> bool:
        """Whether its worker may have to load another model next, or get nothing more.

        Fewer trials than workers follow before one of another model or variant.
        """
        load_key, slots = spec.setup.load_key(), self._slots()
        n_left = 0
        for other in self._ready:
            if n_left >= slots or other.spec.setup.load_key() != load_key:
                break
            n_left += 1
        else:
            n_left += self._left_in_turn(load_key)
        return n_left == 0 or n_left < slots < math.inf

    def _left_in_turn(self, load_key: LoadKey) -> int:
        """Configurations that studies of a model and variant propose before those of another."""
        budgets = [sum(study.budget for study in studies) for studies in self._turns]
        if not self._turns or self._turns[0][0].setup.load_key() != load_key:
            return 0
        if any(budgets[1:]):
            return min(budgets[0], TURN - self._asked)
        return budgets[0]

    def again(self, assignment: Assignment) -> None:
        """Hand out what is left of an assignment whose worker was lost."""
        self._ready.append(assignment)

    def ran_out(self, setup: Setup, machine: str, tokens: int) -> None:
        """Memory ran out at so many tokens: assignments handed out from now on know it.

        `machine`: kind of machine. `tokens`: length of prompt and text together. The shortest such
        length is kept.
        """
        known = self._oom_tokens.setdefault(model_key(setup), {})
        known[machine] = min(tokens, known.get(machine, tokens))

    def finished(self, spec: TrialSpec, figures: Mapping[str, Any] | None) -> None:
        """Tell the study that proposed a trial what it gave; None: it failed.

        A trial that was proposed in an earlier run is told to the study of its setup.
        """
        key = spec.key()
        if key in self._finished:
            return
        self._finished.add(key)
        study = self._proposed.pop(key, None)
        if study is not None:
            study.sampler.tell(spec.configuration, figures)
        # a repeat would count as a new point
        elif spec.repeat == 1 and figures is not None:
            for other in itertools.chain(*self._turns):
                if other.is_of(spec):
                    other.sampler.tell(spec.configuration, figures)

    def on_trial_complete(
        self,
        trial_id: str,
        result: dict[str, Any] | None = None,  # noqa: ARG002 - Tune gives it
        error: bool = False,  # noqa: ARG002
    ) -> None:
        """Tune's trial is over. What was measured comes by `finished`, from the data set."""
        self._out.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the data set says what is done."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing: a sweep is resumed from the data set."""


def _by_load_key(studies: Iterable[Study]) -> deque[deque[Study]]:
    """The studies that share a loaded model together, in their order."""
    groups: dict[LoadKey, deque[Study]] = {}
    for study in studies:
        groups.setdefault(study.setup.load_key(), deque()).append(study)
    return deque(groups.values())


def model_key(setup: Setup) -> str:
    """What decides, besides the machine, how much memory a length takes."""
    options = sorted(setup.engine_options.items())
    return f"{setup.model} {setup.variant().label()} {options}"
