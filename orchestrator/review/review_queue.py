"""The texts to review, what was judged about them, and which of them a filter shows.

A reviewer's view is blind: nothing in it hangs on other persons' decisions about a text that this one hasn't decided on, except
that two of them differ, which says nothing about who is right.
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
from orchestrator.dataset.tables import Trials, judgement_stamps
from orchestrator.dataset.verdicts import (
    Decision,
    Verdict,
    append_decision,
    latest,
    now,
    read_decisions,
    read_verdicts,
    text_sha256,
)
from orchestrator.errors import UserError
from orchestrator.nouns import Noun
from orchestrator.review.agreement import Agreement, cohen_kappa

LONGEST_NOTE = 10_000
"""Characters."""


@dataclass(frozen=True)
class Item:
    """A text to review."""

    execution: str
    columns: TrialColumns
    measured: Execution
    prompt: str
    text: str
    sha256: str


class Filters(Noun):
    """Which texts are shown. A sample is drawn before `decided` is looked at, so that deciding doesn't change it."""

    machine: Literal["any", "usable", "unusable", "none"] = "any"
    """By the machine's verdict; none: not evaluated."""
    use_case: str = ""
    model: str = ""
    sample: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**31)
    decided: Literal["any", "undecided", "disagreement"] = "any"


@dataclass(frozen=True)
class Selection:
    """What a filter shows, and how far the reviewer is in it."""

    items: list[Item]
    total: int
    """Texts whatever was decided."""
    done: int
    """Of these, those that the reviewer decided on."""


@dataclass(frozen=True)
class Pair:
    """Agreement of a reviewer with another one, or with the machine."""

    reviewer: str
    other: str | None
    """None: the machine."""
    agreement: Agreement


class Queue:
    """All texts of a data set as one reviewer sees them; follows the files in which judgements stand."""

    def __init__(self, paths: DataSetPaths, trials: Trials, reviewer: str) -> None:
        """Raises UserError where the decisions can't be read."""
        self._paths = paths
        self.reviewer = reviewer
        self.items = {item.execution: item for item in _items(trials)}
        self.decided: dict[str, str] = {}
        """What the reviewer decided through this queue: the latest word by execution."""
        self._stamp: object = None
        self.fault = ""
        """Why verdicts can't be read."""
        self._verdicts: dict[str, Verdict] = {}
        self._decisions: dict[str, dict[str, Decision]] = {}
        self.refresh()

    def refresh(self) -> None:
        """Read what was judged, if it has changed: `evaluate` and other reviewers may be at work.

        Raises UserError where the decisions can't be read.
        """
        if (stamp := judgement_stamps(self._paths)) == self._stamp:
            return
        try:
            decisions = read_decisions(self._paths)
        except (OSError, ValueError) as error:
            raise UserError(
                f"{self._paths.reviews}: can't be read ({reason_of(error)}); repair it or move it away"
            ) from error
        self._decisions = latest(
            item for item in decisions if self._is_about(item.execution, item.text_sha256)
        )
        try:
            verdicts, self.fault = read_verdicts(self._paths), ""
        except (OSError, ValueError) as error:
            verdicts, self.fault = (
                {},
                f"{self._paths.verdicts.name}: {reason_of(error)}; `evaluate` makes it anew",
            )
        self._verdicts = {
            name: verdict
            for name, verdict in verdicts.items()
            if self._is_about(name, verdict.text_sha256)
        }
        self._stamp = stamp

    def _is_about(self, execution: str, sha256: str) -> bool:
        """Whether that text is here: a word on another text counts for nothing."""
        item = self.items.get(execution)
        return item is not None and item.sha256 == sha256

    def verdict(self, item: Item) -> Verdict | None:
        """The machine's."""
        return self._verdicts.get(item.execution)

    def mine(self, item: Item) -> Decision | None:
        """The reviewer's latest, also one that was taken back: its note stays."""
        return self._decisions.get(item.execution, {}).get(self.reviewer)

    def my_word(self, item: Item) -> str | None:
        """Keep or discard; None: undecided."""
        mine = self.mine(item)
        return None if mine is None else _word(mine)

    def others(self, item: Item) -> list[Decision] | None:
        """What the others decided; None before this reviewer has."""
        if self.my_word(item) is None:
            return None
        decisions = self._decisions.get(item.execution, {}).values()
        return [
            decision
            for decision in decisions
            if decision.reviewer != self.reviewer and _word(decision)
        ]

    def decide(self, item: Item, word: Literal["keep", "discard", "undecided"], note: str) -> None:
        """Write a decision; on the disk when this returns, in force after `refresh`. Raises OSError."""
        decision = Decision(
            execution=item.execution,
            text_sha256=item.sha256,
            reviewer=self.reviewer,
            decision=word,
            note=note,
            at=now(),
        )
        append_decision(self._paths, decision)
        self.decided[item.execution] = word

    def selected(self, filters: Filters) -> Selection:
        """What a filter shows, in the order of the trials' folders."""
        items = [item for item in self.items.values() if self._shows(filters, item)]
        if filters.sample is not None:
            drawn = sorted(items, key=lambda item: _lot(filters.seed, item.execution))[
                : filters.sample
            ]
            names = {item.execution for item in drawn}
            items = [item for item in items if item.execution in names]
        total, done = len(items), sum(self.my_word(item) is not None for item in items)
        if filters.decided == "undecided":
            items = [item for item in items if self.my_word(item) is None]
        elif filters.decided == "disagreement":
            items = [item for item in items if self._disputed(item)]
        return Selection(items, total, done)

    def _shows(self, filters: Filters, item: Item) -> bool:
        if filters.use_case not in ("", item.columns.use_case) or filters.model not in (
            "",
            item.columns.model,
        ):
            return False
        verdict = self.verdict(item)
        return filters.machine in (
            "any",
            "none" if verdict is None else "usable" if verdict.usable else "unusable",
        )

    def _words(self, item: Item) -> set[str]:
        """What all persons said."""
        return {
            word
            for decision in self._decisions.get(item.execution, {}).values()
            if (word := _word(decision))
        }

    def _disputed(self, item: Item) -> bool:
        """Whether two persons differ or, once this reviewer has decided, a person and the machine."""
        words, verdict = self._words(item), self.verdict(item)
        against = verdict is not None and ("discard" if verdict.usable else "keep") in words
        return len(words) > 1 or (against and self.my_word(item) is not None)

    def agreements(self) -> list[Pair]:
        """Of each two reviewers, and of each with the machine, over the texts that both rated."""
        rated: dict[str, dict[str, str]] = {}
        for execution, decisions in self._decisions.items():
            for decision in decisions.values():
                if word := _word(decision):
                    rated.setdefault(decision.reviewer, {})[execution] = word
        machine = {
            name: "keep" if verdict.usable else "discard"
            for name, verdict in self._verdicts.items()
        }
        pairs = [
            Pair(a, b, _agreement(rated[a], rated[b])) for a, b in combinations(sorted(rated), 2)
        ]
        return [
            *pairs,
            *(Pair(name, None, _agreement(rated[name], machine)) for name in sorted(rated)),
        ]


def _items(trials: Trials) -> Iterator[Item]:
    """Every counted execution that has a text."""
    for key in trials:
        for columns, execution, record in trials.counted(key):
            if execution.text is None:
                continue
            name = execution_id(columns.machine, record.spec, execution.prompt)
            prompt = next(
                (
                    prompt.text
                    for prompt in record.spec.prompts
                    if prompt.number == execution.prompt
                ),
                "",
            )
            yield Item(
                name, columns, execution, prompt, execution.text, text_sha256(execution.text)
            )


def _word(decision: Decision) -> str | None:
    return None if decision.decision == "undecided" else decision.decision


def _lot(seed: int, execution: str) -> bytes:
    """By it a sample is drawn: the same whatever else is in the data set."""
    return hashlib.sha256(f"{seed}:{execution}".encode()).digest()


def _agreement(a: dict[str, str], b: dict[str, str]) -> Agreement:
    return cohen_kappa((a[name], b[name]) for name in a.keys() & b.keys())


def names_of(items: Iterable[Item], column: str) -> list[Any]:
    """The different values of a trial's column, sorted."""
    return sorted({getattr(item.columns, column) for item in items})
