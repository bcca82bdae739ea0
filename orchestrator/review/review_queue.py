"""The texts to review, the judgements on them, and the texts that a filter shows.

A reviewer's view is blind: on a text that this reviewer hasn't decided on yet, nothing in it
depends on other reviewers' decisions. The only exception is that two of them disagree, which
doesn't show who is right.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

from pydantic import Field

from orchestrator.dataset.paths import DataSetPaths, execution_id
from orchestrator.dataset.reading import reason_of
from orchestrator.dataset.schema import Execution, TrialColumns
from orchestrator.dataset.tables import Trials, judgement_stamps, prompt_text
from orchestrator.dataset.verdicts import (
    Decision,
    Verdict,
    append_decision,
    latest,
    now,
    read_decisions,
    read_verdicts,
)
from orchestrator.errors import UserError
from orchestrator.nouns import Noun, text_sha256
from orchestrator.review.agreement import Agreement, cohen_kappa

LONGEST_NOTE = 10_000
"""The most characters that a note may have."""


@dataclass(frozen=True)
class Item:
    """A text to review."""

    execution: str
    columns: TrialColumns
    measured: Execution
    prompt: str
    text: str
    sha256: str
    """Of the text."""


class Filters(Noun):
    """Which texts are shown.

    A sample is drawn before `decided` is applied, so that deciding doesn't change the sample.
    """

    machine: Literal["any", "usable", "unusable", "none"] = "any"
    """The machine's verdict; "none": not evaluated."""
    use_case: str = ""
    model: str = ""
    sample: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**31)
    decided: Literal["any", "undecided", "disagreement"] = "any"


@dataclass(frozen=True)
class Selection:
    """The texts that a filter shows, and the reviewer's progress in it."""

    items: list[Item]
    total: int
    """The number of texts before `Filters.decided` is applied."""
    done: int
    """How many of `total` the reviewer has decided on."""


@dataclass(frozen=True)
class Pair:
    """The agreement of a reviewer with another reviewer, or with the machine."""

    reviewer: str
    other: str | None
    """None: the machine."""
    agreement: Agreement


class Queue:
    """All texts of a data set as one reviewer sees them.

    It follows the files of verdicts and decisions, which other programs may write meanwhile.
    """

    def __init__(self, paths: DataSetPaths, trials: Trials, reviewer: str) -> None:
        """Raises UserError where the decisions can't be read."""
        self._paths = paths
        self.reviewer = reviewer
        self.items = {item.execution: item for item in _items(trials)}
        self.decided: dict[str, str] = {}
        """Execution -> the reviewer's latest decision through this queue."""
        self._stamp: object = None
        self.fault = ""
        """Why verdicts can't be read; "" where they can."""
        self._verdicts: dict[str, Verdict] = {}
        self._decisions: dict[str, dict[str, Decision]] = {}
        """Execution -> reviewer -> the latest decision."""
        self.refresh()

    def refresh(self) -> None:
        """Read verdicts and decisions again if their files have changed.

        Raises UserError where the decisions can't be read. Unreadable verdicts only set `fault`,
        since `evaluate` can make them anew; nothing can do so for decisions.
        """
        stamp = judgement_stamps(self._paths)
        if stamp == self._stamp:
            return
        self._decisions = self._read_decisions()
        self._verdicts = self._read_verdicts()
        # last, so that after an error the next refresh reads again
        self._stamp = stamp

    def _read_decisions(self) -> dict[str, dict[str, Decision]]:
        """The last decision of each reviewer on each text of the queue. Raises UserError."""
        try:
            decisions = read_decisions(self._paths)
        except (OSError, ValueError) as error:
            raise UserError(
                f"{self._paths.reviews}: can't be read ({reason_of(error)}); "
                "repair it or move it away"
            ) from error
        return latest(
            decision
            for decision in decisions
            if self._is_about(decision.execution, decision.text_sha256)
        )

    def _read_verdicts(self) -> dict[str, Verdict]:
        """Execution -> verdict; empty, with `fault` set, where they can't be read."""
        self.fault = ""
        try:
            verdicts = read_verdicts(self._paths)
        except (OSError, ValueError) as error:
            name = self._paths.verdicts.name
            self.fault = f"{name}: {reason_of(error)}; `orchestrator evaluate` makes it anew"
            return {}
        return {
            execution: verdict
            for execution, verdict in verdicts.items()
            if self._is_about(execution, verdict.text_sha256)
        }

    def _is_about(self, execution: str, sha256: str) -> bool:
        """Whether a judgement is about the text that is here now.

        An execution that was measured again has another text, for which older judgements don't
        hold.
        """
        item = self.items.get(execution)
        return item is not None and item.sha256 == sha256

    def verdict(self, item: Item) -> Verdict | None:
        """The machine's verdict; None: not evaluated."""
        return self._verdicts.get(item.execution)

    def mine(self, item: Item) -> Decision | None:
        """The reviewer's latest decision, even one that was taken back: its note is kept."""
        return self._decisions.get(item.execution, {}).get(self.reviewer)

    def my_word(self, item: Item) -> str | None:
        """What the reviewer decided: keep or discard; None: undecided."""
        mine = self.mine(item)
        if mine is None:
            return None
        return _word(mine)

    def others(self, item: Item) -> list[Decision] | None:
        """The other reviewers' decisions; None as long as this reviewer is undecided."""
        if self.my_word(item) is None:
            return None
        decisions = self._decisions.get(item.execution, {}).values()
        return [
            decision
            for decision in decisions
            if decision.reviewer != self.reviewer and _word(decision)
        ]

    def decide(
        self,
        item: Item,
        word: Literal["keep", "discard", "undecided"],
        note: str,
        reasons: tuple[str, ...] = (),
    ) -> None:
        """Write a decision. Raises OSError where it can't be written.

        It is on the disk when this returns, and counts in this queue after `refresh`.
        """
        decision = Decision(
            execution=item.execution,
            text_sha256=item.sha256,
            reviewer=self.reviewer,
            decision=word,
            reasons=reasons,
            note=note,
            at=now(),
        )
        append_decision(self._paths, decision)
        self.decided[item.execution] = word

    def selected(self, filters: Filters) -> Selection:
        """The texts that a filter shows, in the order of the trials' folders."""
        items = [item for item in self.items.values() if self._passes(filters, item)]
        # The sample is drawn from what passes the other filters, so it has the wanted size.
        if filters.sample is not None:
            items = _sample(items, filters.sample, filters.seed)
        shown = {
            "any": items,
            "undecided": [item for item in items if self.my_word(item) is None],
            "disagreement": [item for item in items if self._is_disputed(item)],
        }
        done = len(items) - len(shown["undecided"])
        return Selection(shown[filters.decided], total=len(items), done=done)

    def _passes(self, filters: Filters, item: Item) -> bool:
        """Whether a text passes the filters of use case, model and verdict."""
        columns = item.columns
        return (
            filters.use_case in ("", columns.use_case)
            and filters.model in ("", columns.model)
            and filters.machine in ("any", self._machine_word(item))
        )

    def _machine_word(self, item: Item) -> str:
        """The machine's verdict as `Filters.machine` names it."""
        verdict = self.verdict(item)
        if verdict is None:
            return "none"
        if verdict.usable:
            return "usable"
        return "unusable"

    def _is_disputed(self, item: Item) -> bool:
        """Whether two reviewers disagree or, once this reviewer has decided, one and the machine.

        The machine counts only then: before, it would show what another reviewer decided.
        """
        decisions = self._decisions.get(item.execution, {}).values()
        words = {_word(decision) for decision in decisions} - {None}
        verdict = self.verdict(item)
        if verdict is not None and self.my_word(item) is not None:
            words.add(_as_word(verdict))
        return len(words) > 1

    def agreements(self) -> list[Pair]:
        """The agreement of every two reviewers, and of each reviewer with the machine.

        Each is taken over the texts that both rated.
        """
        rated: dict[str, dict[str, str]] = {}
        for execution, decisions in self._decisions.items():
            for decision in decisions.values():
                word = _word(decision)
                if word is not None:
                    rated.setdefault(decision.reviewer, {})[execution] = word
        machine = {execution: _as_word(verdict) for execution, verdict in self._verdicts.items()}
        reviewers = sorted(rated)
        pairs = [Pair(a, b, _agreement(rated[a], rated[b])) for a, b in combinations(reviewers, 2)]
        pairs += [Pair(name, None, _agreement(rated[name], machine)) for name in reviewers]
        return pairs


def _items(trials: Trials) -> Iterator[Item]:
    """Every chosen execution that has a text."""
    for key in trials:
        for one in trials.chosen(key):
            columns, measured = one.record.columns, one.execution
            text = measured.output_text
            if text is None:
                continue
            yield Item(
                execution=execution_id(columns.machine, one.record.spec, measured.prompt_number),
                columns=columns,
                measured=measured,
                prompt=prompt_text(one.record, measured) or "",
                text=text,
                sha256=text_sha256(text),
            )


def _word(decision: Decision) -> str | None:
    """Keep or discard; None for a decision that was taken back."""
    if decision.decision == "undecided":
        return None
    return decision.decision


def _as_word(verdict: Verdict) -> str:
    """The machine's verdict in the words of a decision."""
    return "keep" if verdict.usable else "discard"


def _sample(items: list[Item], size: int, seed: int) -> list[Item]:
    """At most `size` texts, drawn at random, in the order of `items`.

    Each text has a lot of its own, and the lowest lots are drawn. So a text's chance doesn't
    depend on what else is in the data set, and a larger sample contains the smaller one.
    """

    def lot(item: Item) -> bytes:
        """A text's place in a random order that depends on the seed and the text alone."""
        return hashlib.sha256(f"{seed}:{item.execution}".encode()).digest()

    drawn = {item.execution for item in sorted(items, key=lot)[:size]}
    return [item for item in items if item.execution in drawn]


def _agreement(a: dict[str, str], b: dict[str, str]) -> Agreement:
    """The agreement of two raters. Both map executions to words."""
    return cohen_kappa((a[name], b[name]) for name in a.keys() & b.keys())


def different_values(items: Iterable[Item], column: str) -> list[Any]:
    """The different values of a trial's column, sorted."""
    return sorted({getattr(item.columns, column) for item in items})
