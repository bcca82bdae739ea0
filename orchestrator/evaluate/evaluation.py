"""Evaluate a data set: judge each text without a current verdict, then rebuild the tables."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.dataset.gross_energy import EnergyTotals, GrossEnergy
from orchestrator.dataset.leftovers import alone
from orchestrator.dataset.paths import DataSetPaths, Stamp, stamp
from orchestrator.dataset.tables import TableWriter, Trials, read_all
from orchestrator.dataset.verdicts import Verdict, Verdicts, read_verdicts, write_verdicts
from orchestrator.errors import UserError
from orchestrator.evaluate.judge import Judge
from orchestrator.evaluate.parallel_map import chunks
from orchestrator.evaluate.rules import Rules
from orchestrator.evaluate.verdict import Text, texts_of, verdicts_on
from orchestrator.nouns import text_sha256
from orchestrator.say import Say
from orchestrator.unknowns import known

if TYPE_CHECKING:
    from orchestrator.evaluate.embedding import Embedding

CHUNK = 500
"""A worker gets this many texts at once, which is some seconds of work."""
WORTH_PROCESSES = 2_000
"""With at least this many texts, starting processes takes less time than it saves."""


JudgeTexts = Callable[[Sequence[Text]], list[Verdict]]
Spread = Callable[[JudgeTexts, Iterable[Text], int], Iterator[list[Verdict]]]
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
    model = None
    if embedding:
        model = _load_embedding(embedding)
    model_name = model.name if model else None
    judge_name = judge.name if judge else None

    def new_texts() -> Iterator[Text]:
        """The texts to judge, made as they are looked at."""
        for text in texts_of(read.trials):
            verdict = before.get(text.execution)
            if verdict is None or not _is_current(
                verdict, text, rules.name, model_name, judge_name
            ):
                yield text

    n_texts, n_new = (sum(1 for _ in some) for some in (texts_of(read.trials), new_texts()))
    new: Iterable[Text] = new_texts()
    notes: list[str] = []
    if n_new:
        say(f"judging {n_new} of {n_texts} texts by rules {rules.name}")
    if model:
        new = _with_similarity(list(new), model)
    # The judge comes last, since it may cost money and is asked only about what is new.
    if judge:
        new, unanswered = judge.asked(list(new), paths)
        notes += unanswered
    judge_texts = functools.partial(
        verdicts_on, rules=rules, embedding_model=model_name, judge=judge_name
    )
    judged = Verdicts()
    for chunk in _in_chunks(new, n_new, judge_texts, spread):
        judged.update((verdict.execution, verdict) for verdict in chunk)
    before.clear()  # as much memory as the new ones take
    counts = _Counts()
    try:
        with alone(paths, say):
            writer, faults = _write(paths, judged, _read(paths, read), counts)
    except OSError as error:
        raise UserError(
            f"{error.filename or out}: can't be written ({error.strerror}); "
            "no existing file was lost"
        ) from error
    notes += _mixture(writer.trials.judgements.verdicts.values())
    return counts.evaluation(n_new, n_texts, tuple(faults), tuple(notes))


def _verdicts(paths: DataSetPaths) -> Verdicts:
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


def _write(
    paths: DataSetPaths, judged: Verdicts, now: _Read, counts: _Counts
) -> tuple[TableWriter, list[str]]:
    """Add verdicts to those that are there, and make the tables anew; `judged` is empty then.

    Judging took a while: `now` has the trials that are there since, and the verdicts are those that
    are there now. Gives the tables and a line for each file that can't be read. Raises OSError or
    UserError.
    """
    kept = _verdicts(paths)
    gone = set(kept)
    for text in texts_of(now.trials):
        gone.discard(text.execution)
        new = judged.pop(text.execution, None)
        # a sweep may have measured an execution once more, and another evaluation judged that
        if new is not None and new.text_sha256 == text_sha256(text.text):
            kept[text.execution] = new
    # verdicts on texts that are no longer there are dropped
    for execution in gone:
        del kept[execution]
    judged.clear()
    write_verdicts(paths, kept)
    kept.clear()  # the tables read them from the file
    writer = TableWriter(paths, now.trials)
    writer.flush(counts.add)
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
    texts: Iterable[Text], n_texts: int, judge_texts: JudgeTexts, spread: Spread | None
) -> Iterator[list[Verdict]]:
    """The verdicts on texts, in chunks; few texts are judged in this process."""
    if spread is None or n_texts < WORTH_PROCESSES:
        for chunk in chunks(texts, CHUNK):
            yield judge_texts(chunk)
    else:
        yield from spread(judge_texts, texts, CHUNK)


class _Counts:
    """Counts the rows of executions.parquet as they are written."""

    def __init__(self) -> None:
        self._n: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._wasted = EnergyTotals()

    def add(self, rows: Iterable[dict[str, Any]]) -> None:
        """Count some rows."""
        for row in rows:
            if row["status"] != "ok":
                self._n["failed"] += 1
                continue
            self._n["kept"] += row["usable"] is True
            self._n["overruled"] += row["decided_by"] == "review"
            self._n["synthetic"] += row["synthetic"]
            if row["usable"] is False:
                self._n["discarded"] += 1
                self._reasons.update(row["reasons"])
                self._wasted.add(row)

    def evaluation(
        self, judged: int, texts: int, faults: tuple[str, ...], notes: tuple[str, ...]
    ) -> Evaluation:
        """What was counted. `judged` and `texts` are numbers of texts."""
        wasted = self._wasted.now()
        return Evaluation(
            judged=judged,
            known=texts - judged,
            kept=self._n["kept"],
            discarded=self._n["discarded"],
            reasons=dict(self._reasons.most_common()),
            overruled=self._n["overruled"],
            synthetic=self._n["synthetic"],
            failed=self._n["failed"],
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
