"""Evaluate a data set: judge each text without a current verdict, then rebuild the tables."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.dataset.gross_energy import GrossEnergy, gross_energy
from orchestrator.dataset.leftovers import alone
from orchestrator.dataset.paths import DataSetPaths, Stamp, stamp
from orchestrator.dataset.tables import TableWriter, Trials, read_all
from orchestrator.dataset.verdicts import Verdict, read_verdicts, write_verdicts
from orchestrator.errors import UserError
from orchestrator.evaluate.judge import Judge
from orchestrator.evaluate.rules import Rules
from orchestrator.evaluate.verdict import Text, texts_of, verdicts_on
from orchestrator.nouns import text_sha256
from orchestrator.say import Say
from orchestrator.unknowns import known

if TYPE_CHECKING:
    from orchestrator.evaluate.embedding import Embedding

CHUNK = 500
"""A worker gets this many texts at once, which is some seconds of work."""
WORTH_RAY = 5_000
"""With at least this many texts, starting Ray takes less time than it saves."""


JudgeTexts = Callable[[Sequence[Text]], list[Verdict]]
Spread = Callable[[JudgeTexts, Sequence[Text], int], Iterator[list[Verdict]]]
"""(function, texts, chunk size) -> the function's result for each chunk, in the texts' order."""


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` did, and the state of the whole data set afterwards.

    The state includes the reviewers' decisions.
    """

    judged: int
    """Texts that were judged now."""
    known: int
    """Texts that had a verdict by these rules already."""
    kept: int
    discarded: int
    reasons: dict[str, int]
    """Reason -> the number of discarded texts that have it, the most frequent first."""
    overruled: int
    """Texts whose verdict is that of the reviewers."""
    synthetic: int
    failed: int
    wasted_energy: GrossEnergy
    """Of the discarded executions."""
    wasted_energy_j: float | None
    """The same in joules, 0 where none was discarded; None if one of them is unknown, or they are
    of several bases."""
    faults: tuple[str, ...]
    """Files that can't be read, one sentence each."""
    notes: tuple[str, ...]


def evaluate(
    out: Path,
    rules: Rules,
    *,
    embedding: str | None = None,
    judge: Judge | None = None,
    spread: Spread | None = None,
    say: Say = print,
) -> Evaluation:
    """Judge each text that has no verdict by these rules and models yet.

    `embedding` is the name of a model. `spread` distributes many texts over the CPUs; with None,
    they are judged in this process. `say` gets a line before anything slow. Raises UserError where
    the data set can't be read or written.
    """
    paths = DataSetPaths(out)
    read = _read(paths)
    before = _verdicts(paths)
    texts = list(texts_of(read.trials))
    model = None
    if embedding:
        model = _load_embedding(embedding)
    model_name = model.name if model else None
    judge_name = judge.name if judge else None
    new = []
    for text in texts:
        verdict = before.get(text.execution)
        if verdict is None or not _is_current(verdict, text, rules.name, model_name, judge_name):
            new.append(text)
    notes: list[str] = []
    if new:
        say(f"judging {len(new)} of {len(texts)} texts by rules {rules.name}")
    if model:
        new = _with_similarity(new, model)
    # The judge comes last, since it may cost money and is asked only about what is new.
    if judge:
        new, unanswered = judge.asked(new, paths)
        notes += unanswered
    judge_texts = functools.partial(
        verdicts_on, rules=rules, embedding_model=model_name, judge=judge_name
    )
    judged = [verdict for chunk in _in_chunks(new, judge_texts, spread) for verdict in chunk]
    try:
        with alone(paths, say):
            writer, faults = _write(paths, judged, _read(paths, read))
    except OSError as error:
        raise UserError(
            f"{error.filename or out}: can't be written ({error.strerror}); "
            "no existing file was lost"
        ) from error
    notes += _mixture(writer.trials.judgements.verdicts.values())
    return _evaluation(list(writer.rows()), len(new), len(texts), tuple(faults), tuple(notes))


def _verdicts(paths: DataSetPaths) -> dict[str, Verdict]:
    """The verdicts that the data set has, by execution. Raises UserError."""
    try:
        return read_verdicts(paths)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{paths.verdicts}: can't be read. Remove it: `evaluate` makes it anew"
        ) from error


class _Read(NamedTuple):
    """The sealed trials of a data set."""

    stamps: dict[Path, Stamp | None]
    """Folder -> what tells that its trial was changed."""
    trials: Trials
    faults: list[str]
    """A line for each folder that can't be read."""


def _read(paths: DataSetPaths, before: _Read | None = None) -> _Read:
    """The sealed trials as they are now; those that were read before where nothing has changed."""
    stamps = {folder: stamp(folder / "trial.json") for folder in paths.sealed_trials()}
    if before is not None and before.stamps == stamps:
        return before
    return _Read(stamps, *read_all(paths))


def _write(paths: DataSetPaths, judged: list[Verdict], now: _Read) -> tuple[TableWriter, list[str]]:
    """Add verdicts to those that are there, and make the tables anew.

    Judging took a while: `now` has the trials that are there since, and the verdicts are those that
    are there now. Gives the tables and a line for each file that can't be read. Raises OSError or
    UserError.
    """
    hashes = {text.execution: text_sha256(text.text) for text in texts_of(now.trials)}
    verdicts = _verdicts(paths)
    for verdict in judged:
        # a sweep may have measured an execution once more, and another evaluation judged that
        if hashes.get(verdict.execution) == verdict.text_sha256:
            verdicts[verdict.execution] = verdict
    # verdicts on texts that are no longer there are dropped
    write_verdicts(paths, (one for name, one in verdicts.items() if name in hashes))
    writer = TableWriter(paths, now.trials)
    writer.flush()
    return writer, now.faults + writer.faults


def _load_embedding(name: str) -> Embedding:
    """The embedding model of that name. Imported late: it brings torch."""
    from orchestrator.evaluate import embedding

    return embedding.load(name)


def _is_current(
    verdict: Verdict, text: Text, rules: str, embedding: str | None, judge: str | None
) -> bool:
    """Whether a verdict needs no renewal.

    A verdict that also used a model which isn't requested now is current, too: a judge's answers
    cost money.
    """
    if verdict.text_sha256 != text_sha256(text.text) or verdict.rules != rules:
        return False
    return embedding in (None, verdict.embedding_model) and judge in (None, verdict.judge)


def _mixture(verdicts: Iterable[Verdict]) -> list[str]:
    """A note if the texts were judged with different models."""
    # An empty text is discarded for that alone, whatever the models say.
    counts = Counter(
        (verdict.embedding_model, verdict.judge) for verdict in verdicts if verdict.n_words
    )
    if len(counts) <= 1:
        return []
    sets = []
    for models, n in counts.most_common():
        names = known(models)
        sets.append(f"{n} with {' and '.join(names) or 'the rules alone'}")
    note = (
        f"the texts were not judged alike: {', '.join(sets)}; "
        "give the same --embedding and --judge for all of them"
    )
    return [note]


def _with_similarity(texts: list[Text], model: Embedding) -> list[Text]:
    """The texts with their similarity to their prompts."""
    similarities = model.similarities([(text.prompt, text.text) for text in texts])
    return [
        text._replace(similarity=similarity)
        for text, similarity in zip(texts, similarities, strict=True)
    ]


def _in_chunks(
    texts: list[Text], judge_texts: JudgeTexts, spread: Spread | None
) -> Iterator[list[Verdict]]:
    """The verdicts on texts, in chunks; few texts are one chunk, judged in this process."""
    if spread is None or len(texts) < WORTH_RAY:
        yield judge_texts(texts)
    else:
        yield from spread(judge_texts, texts, CHUNK)


def _evaluation(
    rows: list[dict[str, Any]],
    judged: int,
    texts: int,
    faults: tuple[str, ...],
    notes: tuple[str, ...],
) -> Evaluation:
    """Count the rows of executions.parquet. `judged` and `texts` are numbers of texts."""
    ok = [row for row in rows if row["status"] == "ok"]
    discarded = [row for row in ok if row["usable"] is False]
    reasons: Counter[str] = Counter()
    for row in discarded:
        reasons.update(row["reasons"])
    wasted = gross_energy(discarded)
    return Evaluation(
        judged=judged,
        known=texts - judged,
        kept=sum(row["usable"] is True for row in ok),
        discarded=len(discarded),
        reasons=dict(reasons.most_common()),
        overruled=sum(row["decided_by"] == "review" for row in ok),
        synthetic=sum(row["synthetic"] for row in ok),
        failed=len(rows) - len(ok),
        wasted_energy=wasted,
        wasted_energy_j=_in_joules(wasted),
        faults=faults,
        notes=notes,
    )


def _in_joules(energies: GrossEnergy) -> float | None:
    """The one sum, 0 of no executions; None: one is unknown, or they are of several bases."""
    if energies.n_unmeasured or len(energies.of_basis) > 1:
        return None
    return sum((one.counted_energy_j for one in energies.of_basis), 0.0)
