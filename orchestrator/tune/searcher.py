"""What Ray Tune asks for its next trial.

`SweepSearcher` hands out a prepared list of assignments. Then it asks the studies in turn: a study
is a sampler that learns, one for each model and use case, and is told the figures of what it
proposed.
Repeats of a configuration follow it at once and are not told to the study, which would take them
for new points.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ray.tune.search import Searcher

from orchestrator.nouns import Configuration, Setup, TrialKey, TrialSpec
from orchestrator.samplers import Sampler
from orchestrator.tune.trainable import Assignment, HandedOut


@dataclass
class Study:
    """A sampler that learns, and how what it proposes becomes assignments."""

    model: str
    use_case: str
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
        """Whether a trial is of this study's model and use case."""
        return (self.model, self.use_case) == (spec.setup.model, spec.setup.use_case)


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
        self._studies = deque(studies or [])
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
        for _ in range(len(self._studies)):
            study = self._studies[0]
            # in turn, so that no model waits until another one is through
            self._studies.rotate(-1)
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
        """Whether its worker may get no other trial of this model: fewer are left than workers."""
        model, slots = spec.setup.model, self._slots()
        n_left = sum(study.budget for study in self._studies if study.model == model)
        for other in self._ready:
            if n_left >= slots:
                break
            n_left += other.spec.setup.model == model
        return n_left == 0 or n_left < slots < math.inf

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

        A trial that was proposed in an earlier run is told to the study of its model and use case.
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
            for other in self._studies:
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


def model_key(setup: Setup) -> str:
    """What decides, besides the machine, how much memory a length takes."""
    options = sorted(setup.engine_options.items())
    return f"{setup.model} {setup.quantization.name} {setup.compute_dtype} {options}"
