"""Judgements on texts: the machine's verdicts (derived) and persons' decisions (append-only).

Both name an execution by its id (paths.execution_id) and the hash of the text that was judged, so
that neither is ever taken for a word on another text.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, MutableMapping
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import Field

from orchestrator.dataset.json_lines import append_line, whole_lines
from orchestrator.dataset.packed import Packer
from orchestrator.dataset.parquet import as_list, batches_of, read_schema, written_rows
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.reading import NOT_AS_WRITTEN, parsed, reason_of
from orchestrator.nouns import (
    Amount,
    Column,
    Count,
    MomentText,
    Noun,
    Real,
    one_of,
    text_sha256,
)
from orchestrator.outside_files import read_text

REASONS = (
    "empty",
    "too_short",
    "repetition",
    "gibberish",
    "off_topic",
    "prompt_echo",
    "wrong_language",
    "judge",
)
"""Why a text is not usable. An end at max_length is no reason."""
PERSONS_REASONS = tuple(reason for reason in REASONS if reason != "judge")
"""Those that a person can give."""
PersonsReasons = Annotated[
    tuple[Annotated[str, one_of(PERSONS_REASONS)], ...], Field(max_length=len(PERSONS_REASONS))
]


class Signals(Noun):
    """What was measured on a text."""

    n_words: Annotated[Count, Column("words of the text")]
    distinct_1: Annotated[
        Amount | None, Column("share of different words, first 100 words", "1", "no words")
    ]
    distinct_2: Annotated[
        Amount | None,
        Column("share of different word pairs, worst 100 words", "1", "fewer than 2 words"),
    ]
    distinct_3: Annotated[
        Amount | None,
        Column("share of different word triples, first 100 words", "1", "fewer than 3 words"),
    ]
    zlib_ratio: Annotated[
        Amount | None, Column("compressed over plain size, worst 100 words", "1", "no words")
    ]
    dictionary_share: Annotated[
        Amount | None, Column("share of words known in the prompt's language", "1", "no words")
    ]
    language: Annotated[
        str | None, Column("language it reads like, ISO 639-1", null="can't be told")
    ]
    language_share: Annotated[
        Amount | None, Column("share of words known in that language", "1", "can't be told")
    ]
    echo_ratio: Annotated[
        Amount | None,
        Column("share of its word 5-grams that stand in the prompt", "1", "fewer than 5 words"),
    ]
    max_repeat_run: Annotated[
        Count, Column("longest direct succession of the same words or phrase, in repetitions")
    ]
    prompt_overlap: Annotated[
        Amount | None,
        Column("share of the prompt's content words found in it", "1", "the prompt has none"),
    ]
    similarity: Annotated[
        Real | None,
        Column("cosine of the embeddings of prompt and text", "1", "no embedding model was used"),
    ]
    judge_score: Annotated[
        Amount | None, Column("the judge's score", "1", "no judge was asked, or it gave no score")
    ]


class Verdict(Signals):
    """A row of verdicts.parquet: the machine's word on a text, with the signals behind it."""

    execution: Annotated[
        str, Column("id of the execution: its trial's folder, #, its prompt's number")
    ]
    text_sha256: Annotated[str, Column("hash of the text")]
    usable: Annotated[bool, Column("whether the rules find the text usable")]
    reasons: Annotated[tuple[str, ...], Column("why not: " + ", ".join(REASONS))]
    quality: Annotated[
        Amount,
        Column(
            "0 (far beyond a threshold) to 1 (far from all of them); see docs/evaluation.md", "1"
        ),
    ]
    rules: Annotated[str, Column("version and hash of the rules")]
    embedding_model: Annotated[str | None, Column("model of `similarity`", null="none was used")]
    judge: Annotated[str | None, Column("model of `judge_score`", null="none was asked")]


class Decision(Noun):
    """A line of reviews.jsonl: a person's word on a text.

    A reviewer's latest one about an execution counts.
    """

    execution: str
    text_sha256: str
    reviewer: str
    decision: Literal["keep", "discard", "undecided"]
    reasons: PersonsReasons = ()
    """Why it is discarded, where the reviewer said so."""
    note: str = ""
    at: MomentText
    """UTC, ISO 8601, with microseconds: `now()`."""


class Judgement(Noun):
    """What counts for an execution."""

    usable: bool | None
    reasons: tuple[str, ...] | None
    quality: float | None
    decided_by: Literal["rules", "review"] | None


UNJUDGED = Judgement(usable=None, reasons=None, quality=None, decided_by=None)


def now() -> str:
    """The time of a decision."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


class Verdicts(MutableMapping[str, Verdict]):
    """Verdicts by execution, packed: a data set may have a million. Each is made when asked for."""

    def __init__(self, verdicts: Iterable[Verdict] = ()) -> None:
        self._packed: dict[str, bytes] = {}
        self._packer: Packer[Verdict] = Packer()
        for verdict in verdicts:
            self[verdict.execution] = verdict

    def __getitem__(self, execution: str) -> Verdict:
        """The verdict on an execution's text."""
        return self._packer.unpack(self._packed[execution])

    def __setitem__(self, execution: str, verdict: Verdict) -> None:
        """Put a verdict in, in place of an older one."""
        self._packed[execution] = self._packer.pack(verdict)

    def __delitem__(self, execution: str) -> None:
        """Take a verdict out."""
        del self._packed[execution]

    def __iter__(self) -> Iterator[str]:
        """The executions."""
        return iter(self._packed)

    def __len__(self) -> int:
        """How many verdicts."""
        return len(self._packed)

    def __contains__(self, execution: object) -> bool:
        """Whether there is a verdict."""
        return execution in self._packed

    def clear(self) -> None:
        """Take all out; the mapping's own way unpacks each."""
        self._packed.clear()


def read_verdicts(paths: DataSetPaths) -> Verdicts:
    """The machine's verdicts by execution; empty where nothing was evaluated.

    Raises OSError, or ValueError where this program didn't write the file.
    """
    import pyarrow as pa

    verdicts = Verdicts()
    if not paths.verdicts.exists():
        return verdicts
    try:
        schema = read_schema(paths.verdicts)
        # KeyError where one is missing
        wanted = [schema.field(name) for name in Verdict.model_fields]
        for batch in batches_of(paths.verdicts, pa.schema(wanted)):
            for row in batch.to_pylist():
                row["reasons"] = as_list(row["reasons"])
                verdicts[row["execution"]] = Verdict.model_validate(row)
    except NOT_AS_WRITTEN as error:
        raise ValueError("isn't a table of verdicts as this program writes it") from error
    return verdicts


def write_verdicts(paths: DataSetPaths, verdicts: Iterable[Verdict] | Verdicts) -> None:
    """Write verdicts.parquet anew, in one step, ordered by execution.

    Raises OSError where it can't be written; the old file is then still there.
    """
    by_execution = verdicts if isinstance(verdicts, Verdicts) else Verdicts(verdicts)
    with written_rows(paths.verdicts, Verdict) as add:
        add(by_execution[execution].model_dump() for execution in sorted(by_execution))


def read_decisions(paths: DataSetPaths) -> list[Decision]:
    """Persons' decisions in the order of their writing; a torn last line is left out.

    Raises OSError, or ValueError naming a line that holds no decision.
    """
    if not paths.reviews.exists():
        return []
    decisions = []
    for number, line in whole_lines(read_text(paths.reviews, errors="replace")):
        try:
            decisions.append(Decision.model_validate(parsed(line, paths.reviews.name)))
        except ValueError as error:
            raise ValueError(
                f"{paths.reviews.name}: line {number} is no decision of a reviewer "
                f"({reason_of(error)})"
            ) from error
    return decisions


def append_decision(paths: DataSetPaths, decision: Decision) -> None:
    """Add a line, on the disk when this returns. Raises OSError where it couldn't be written."""
    append_line(paths.reviews, json.dumps(decision.model_dump(), ensure_ascii=False))


def latest(decisions: Iterable[Decision]) -> dict[str, dict[str, Decision]]:
    """Execution -> reviewer -> the latest decision by its time, taken back or not."""
    by_execution: dict[str, dict[str, Decision]] = {}
    # files of two machines may have been joined, so their lines are in no order
    for decision in sorted(decisions, key=lambda decision: decision.at):
        by_execution.setdefault(decision.execution, {})[decision.reviewer] = decision
    return by_execution


def standing(decisions: Iterable[Decision]) -> dict[str, dict[str, Decision]]:
    """Execution -> reviewer -> the decision that stands: the latest; who took it back has none."""
    by_execution: dict[str, dict[str, Decision]] = {}
    for execution, reviewers in latest(decisions).items():
        for reviewer, decision in reviewers.items():
            if decision.decision != "undecided":
                by_execution.setdefault(execution, {})[reviewer] = decision
    return by_execution


def judgement(verdict: Verdict | None, decisions: Iterable[Decision] = ()) -> Judgement:
    """What counts: the majority of persons; without one, the machine's verdict.

    `decisions`: those that stand, at most one a person; a tie leaves the verdict. Where persons
    discard without a reason, the machine's reasons count if it agrees. Quality is always the
    machine's. UNJUDGED where nobody judged.
    """
    decisions, by_rules = list(decisions), UNJUDGED
    if verdict is not None:
        by_rules = Judgement(
            usable=verdict.usable,
            reasons=verdict.reasons,
            quality=verdict.quality,
            decided_by="rules",
        )
    votes = Counter(decision.decision for decision in decisions)
    if votes["keep"] == votes["discard"]:
        return by_rules
    usable = votes["keep"] > votes["discard"]
    reasons: tuple[str, ...] = ()
    if not usable:
        given = {reason for decision in decisions for reason in decision.reasons}
        theirs = tuple(reason for reason in PERSONS_REASONS if reason in given)
        # a reason of the machine says more than that a person discarded it
        reasons = theirs or by_rules.reasons or ("review",)
    return Judgement(usable=usable, reasons=reasons, quality=by_rules.quality, decided_by="review")


class Judgements:
    """Verdicts and standing decisions of a data set, to be asked for one execution at a time."""

    def __init__(
        self, verdicts: Verdicts | None = None, decisions: Iterable[Decision] = ()
    ) -> None:
        self.verdicts = Verdicts() if verdicts is None else verdicts
        self.decisions = list(decisions)
        self.standing = standing(self.decisions)

    def of(self, execution: str, text: str | None) -> Judgement:
        """What counts for an execution with this text; words on another text don't.

        `execution`: its id. `text`: what it generated; None for a failed one, which is never
        judged.
        """
        verdict, decisions = self.verdicts.get(execution), self.standing.get(execution, {})
        if text is None or not (verdict or decisions):
            return UNJUDGED
        sha256 = text_sha256(text)
        # a rerun gives another text under the same id
        if verdict and verdict.text_sha256 != sha256:
            verdict = None
        return judgement(verdict, [one for one in decisions.values() if one.text_sha256 == sha256])
