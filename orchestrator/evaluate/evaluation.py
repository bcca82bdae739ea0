"""Evaluate a data set: a verdict on each text that has none by these rules, then the tables with what follows."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.schema import spent_j
from orchestrator.dataset.tables import TableWriter, read_all
from orchestrator.dataset.verdicts import Verdict, read_verdicts, text_sha256, write_verdicts
from orchestrator.errors import UserError
from orchestrator.evaluate.judge import Judge
from orchestrator.evaluate.rules import Rules
from orchestrator.evaluate.verdict import Text, texts_of, verdicts_on

if TYPE_CHECKING:
    from orchestrator.evaluate.embedding import Embedding

CHUNK = 500
"""Texts a worker gets at once: some seconds of work."""
WORTH_RAY = 5_000
"""Texts from which on starting Ray takes less time than it saves."""


OnTexts = Callable[[Sequence[Text]], list[Verdict]]
Spread = Callable[[OnTexts, Sequence[Text], int], Iterator[list[Verdict]]]
"""(function, texts, chunk size) -> the function's results, a chunk at a time, in order."""


@dataclass(frozen=True)
class Evaluation:
    """What was done, and how the whole data set stands now, persons' decisions included."""

    judged: int
    known: int
    """Texts whose verdict by these rules was there."""
    kept: int
    discarded: int
    reasons: dict[str, int]
    overruled: int
    """Of the texts, those on which a person decided."""
    synthetic: int
    failed: int
    wasted_j: float | None
    """Energy of the discarded executions; None where one isn't measured."""
    faults: tuple[str, ...]
    notes: tuple[str, ...]


def evaluate(
    out: Path,
    rules: Rules,
    *,
    embedding: str | None = None,
    judge: Judge | None = None,
    spread: Spread | None = None,
    say: Callable[[str], None] = print,
) -> Evaluation:
    """Judge each text that has no verdict by these rules and models yet.

    `spread` shares many texts out over the CPUs; None: they are judged in this process.
    Raises UserError where the data set can't be written.
    """
    paths = DataSetPaths(out)
    trials, faults = read_all(paths)
    try:
        before = read_verdicts(paths)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{paths.verdicts}: can't be read; remove it, `evaluate` makes it anew"
        ) from error
    texts = list(texts_of(trials))
    model = _model(embedding)
    name, judged_by = (model.name if model else None), (judge.name if judge else None)
    new = [
        text
        for text in texts
        if not _stands(before.get(text.execution), text, rules.name, name, judged_by)
    ]
    notes: list[str] = []
    if new:
        say(f"{len(new)} of {len(texts)} texts to judge by rules {rules.name}")
    if model:
        new = _compared(new, model)
    if judge:
        new, unanswered = judge.asked(new, paths)
        notes += unanswered
    verdicts = {
        text.execution: before[text.execution] for text in texts if text.execution in before
    }
    judged = functools.partial(verdicts_on, rules=rules, embedding_model=name, judge=judged_by)
    for some in _judged(new, judged, spread):
        verdicts.update((verdict.execution, verdict) for verdict in some)
    try:
        write_verdicts(paths, verdicts.values())
        writer = TableWriter(paths, trials)
        writer.flush()
    except OSError as error:
        raise UserError(
            f"{error.filename or out}: can't be written ({error.strerror}); nothing that was there is lost"
        ) from error
    notes += _mixture(verdicts.values())
    return _counted(
        list(writer.rows()), len(new), len(texts), (*faults, *writer.faults), tuple(notes)
    )


def _model(name: str | None) -> Embedding | None:
    from orchestrator.evaluate import embedding

    return embedding.load(name) if name else None


def _stands(
    verdict: Verdict | None, text: Text, rules: str, embedding: str | None, judge: str | None
) -> bool:
    """Whether a verdict needs no renewal. One that knows more than was asked for stands: a judge's answers cost money."""
    if verdict is None or verdict.text_sha256 != text_sha256(text.text) or verdict.rules != rules:
        return False
    return embedding in (None, verdict.embedding_model) and judge in (None, verdict.judge)


def _mixture(verdicts: Iterable[Verdict]) -> list[str]:
    """A line where texts were judged by more than one set of models."""
    found = Counter(
        (verdict.embedding_model, verdict.judge) for verdict in verdicts if verdict.n_words
    )
    if len(found) < 2:  # noqa: PLR2004 - one set
        return []
    sets = ", ".join(
        f"{n} with {' and '.join(filter(None, models)) or 'the rules alone'}"
        for models, n in found.most_common()
    )
    return [
        f"the texts were not judged alike: {sets}; give --embedding and --judge as before to judge all of them so"
    ]


def _compared(texts: list[Text], model: Embedding) -> list[Text]:
    found = model.similarities([(text.prompt, text.text) for text in texts])
    return [
        text._replace(similarity=similarity) for text, similarity in zip(texts, found, strict=True)
    ]


def _judged(texts: list[Text], judge: OnTexts, spread: Spread | None) -> Iterator[list[Verdict]]:
    if spread is None or len(texts) < WORTH_RAY:
        yield judge(texts)
    else:
        yield from spread(judge, texts, CHUNK)


def _counted(
    rows: list[dict[str, Any]],
    judged: int,
    texts: int,
    faults: tuple[str, ...],
    notes: tuple[str, ...],
) -> Evaluation:
    ok = [row for row in rows if row["status"] == "ok"]
    discarded = [row for row in ok if row["usable"] is False]
    spent = [spent_j(row) for row in discarded]
    return Evaluation(
        judged=judged,
        known=texts - judged,
        kept=sum(row["usable"] is True for row in ok),
        discarded=len(discarded),
        reasons=dict(
            Counter(reason for row in discarded for reason in row["reasons"]).most_common()
        ),
        overruled=sum(row["decided_by"] == "review" for row in ok),
        synthetic=sum(row["synthetic"] for row in ok),
        failed=len(rows) - len(ok),
        wasted_j=None if None in spent else sum(value for value in spent if value is not None),
        faults=faults,
        notes=notes,
    )
