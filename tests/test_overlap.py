"""Verbs that write while others write: no table ever loses a row, and no verdict is overwritten.

Where one thing must happen in the middle of another, it is called there: nothing depends on speed.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import merge as merging
from orchestrator.cli import publish_command
from orchestrator.dataset import lock as locks
from orchestrator.dataset import recorder as recording
from orchestrator.dataset import tables
from orchestrator.dataset.lock import held, holder_of, writing
from orchestrator.dataset.parquet import read_parquet, row_count
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.recorder import OUTDATED, Recorder
from orchestrator.dataset.tables import TableWriter, read_all, rebuild
from orchestrator.dataset.verdicts import Decision, append_decision, now, read_verdicts
from orchestrator.errors import UserError
from orchestrator.evaluate import evaluation
from orchestrator.evaluate.evaluation import evaluate
from orchestrator.evaluate.rules import read_rules
from orchestrator.importer.import_tree import import_tree
from orchestrator.merge import merge
from tests import builders
from tests.commandline import Outcome
from tests.evaluate.test_evaluation import seal
from tests.evaluate.texts import ENGLISH, LOOP
from tests.importer.test_import_tree import PLACE, table, write

RULES = read_rules()
LONG_S = 60.0
"""A wait that ends at once unless something is wrong."""


def quiet(_line: str) -> None:
    """Hear nothing."""


@pytest.fixture
def paths(paths: DataSetPaths) -> DataSetPaths:
    """A data set of one trial of two texts, with its tables."""
    seal(paths, 0, [ENGLISH, LOOP])
    rebuild(paths)
    return paths


class Sweep:
    """What `tune` does with a data set, without Ray."""

    def __init__(
        self, paths: DataSetPaths, lock: locks.Lock, give_up: Callable[[], bool] = lambda: False
    ) -> None:
        self.told: list[str] = []
        self.waits = threading.Event()
        self.recorder = Recorder(
            paths, TableWriter(paths, read_all(paths)[0]), lock, give_up=give_up, tell=self.tell
        )

    def tell(self, line: str) -> None:
        self.told.append(line)
        self.waits.set()

    def seal(self, index: int, text: str = ENGLISH) -> None:
        """Run a trial of one text."""
        spec = builders.spec(config_index=index, prompts=builders.prompts(("Tell me.",)))
        origin = builders.origin(spec, synthetic=False)
        measured = builders.measured(1, of=spec, output_text=text)
        self.recorder.append(spec, origin, "shuffled", [measured], first=True)
        self.recorder.seal("pc", spec)


def short_tune(paths: DataSetPaths, *indices: int) -> None:
    """A whole sweep."""
    with held(paths.root, quiet) as lock:
        sweep = Sweep(paths, lock)
        for index in indices:
            sweep.seal(index)
        sweep.recorder.flush()


def n_rows(paths: DataSetPaths) -> tuple[int, int]:
    """Of executions.parquet and summary.parquet."""
    return read_parquet(paths.executions).num_rows, read_parquet(paths.summary).num_rows


def while_judging(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> None:
    """Do something when the next evaluation has judged its texts and written nothing yet."""
    real = evaluation._in_chunks

    def judged(*arguments: Any) -> list[Any]:
        chunks = list(real(*arguments))
        monkeypatch.setattr(evaluation, "_in_chunks", real)
        action()
        return chunks

    monkeypatch.setattr(evaluation, "_in_chunks", judged)


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each executions.parquet has that is written."""
    sizes: list[int] = []
    real = tables.written_rows

    @contextlib.contextmanager
    def written(path: Path, row: Any) -> Iterator[Any]:
        with real(path, row) as add:
            yield add
        if path.name == "executions.parquet":
            sizes.append(row_count(path))

    monkeypatch.setattr(tables, "written_rows", written)
    return sizes


# --- evaluate -------------------------------------------------------------------------------------


def test_a_sweep_that_ended_while_texts_were_judged_keeps_its_rows(
    paths: DataSetPaths, monkeypatch: pytest.MonkeyPatch, sizes: list[int]
) -> None:
    while_judging(monkeypatch, lambda: short_tune(paths, 1, 2))
    counts = evaluate(paths.root, RULES, say=quiet)
    assert n_rows(paths) == (4, 3)
    assert sizes == sorted(sizes)
    assert (counts.judged, counts.kept, counts.discarded) == (2, 1, 1)
    usable = read_parquet(paths.executions).column("usable").to_pylist()
    assert usable == [True, False, None, None], "the new ones wait for the next evaluation"


def test_two_evaluations_keep_each_other_s_verdicts(
    paths: DataSetPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def another() -> None:
        short_tune(paths, 1)
        evaluate(paths.root, RULES, say=quiet)

    while_judging(monkeypatch, another)
    evaluate(paths.root, RULES, say=quiet)
    assert len(read_verdicts(paths)) == 3
    assert None not in read_parquet(paths.executions).column("usable").to_pylist()


def test_a_verdict_on_a_text_that_was_measured_again_is_dropped(
    paths: DataSetPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other evaluation judged the text that is there now."""

    def another() -> None:
        prompts = builders.prompts(("Tell me (0)", "Tell me (1)"))
        spec = read_all(paths)[0].records()[0].spec
        again = spec.model_copy(update={"attempt": 2, "prompts": spec.prompts or prompts})
        items = [builders.measured(1, of=again, output_text=f"{LOOP} {LOOP}")]
        builders.seal_trial(paths, again, items, builders.origin(again, synthetic=False))
        evaluate(paths.root, RULES, say=quiet)

    while_judging(monkeypatch, another)
    evaluate(paths.root, RULES, say=quiet)
    assert read_parquet(paths.executions).column("usable").to_pylist() == [False, False]


def test_verdicts_that_a_merge_brings_stay(
    paths: DataSetPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = DataSetPaths(tmp_path / "source")
    seal(source, 7, [ENGLISH])
    evaluate(source.root, RULES, say=quiet)
    while_judging(monkeypatch, lambda: merge([source.root], paths.root, quiet))
    evaluate(paths.root, RULES, say=quiet)
    assert (len(read_verdicts(paths)), n_rows(paths)) == (3, (3, 2))
    assert read_parquet(paths.executions).column("usable").to_pylist() == [True, False, True]


# --- beside a sweep that runs ---------------------------------------------------------------------


def test_a_sweep_s_tables_hold_what_was_judged_beside_it(paths: DataSetPaths) -> None:
    with held(paths.root, quiet) as lock:
        sweep = Sweep(paths, lock)
        sweep.seal(1)
        evaluate(paths.root, RULES, say=quiet)
        name, verdict = next(iter(read_verdicts(paths).items()))
        append_decision(
            paths,
            Decision(
                execution=name,
                text_sha256=verdict.text_sha256,
                reviewer="ada",
                decision="discard",
                at=now(),
            ),
        )
        sweep.seal(2)
        sweep.recorder.flush()
    rows = read_parquet(paths.executions).to_pylist()
    assert [row["decided_by"] for row in rows].count("rules") == 2
    assert [row["decided_by"] for row in rows].count("review") == 1
    assert len(rows) == 4


@pytest.mark.parametrize("verb", ["summarize", "evaluate", "review"])
def test_a_sweep_seals_on_while_others_write_and_its_end_waits_for_them(
    paths: DataSetPaths, monkeypatch: pytest.MonkeyPatch, sizes: list[int], verb: str
) -> None:
    """The other verb has read an old view; the sweep's last tables come after its own."""
    with held(paths.root, quiet) as lock:
        sweep = Sweep(paths, lock)
        ending = threading.Thread(target=sweep.recorder.flush)
        module, name = (evaluation, "_read") if verb == "evaluate" else (tables, "read_all")
        real = getattr(module, name)

        def old_view(*arguments: Any) -> Any:
            view = real(*arguments)
            if (paths.root / locks.WRITE_LOCK_FILE).exists() and not ending.ident:
                sweep.seal(1)
                assert n_rows(paths) == (2, 1), "sealing waits for nobody"
                ending.start()
                assert sweep.waits.wait(LONG_S)
            return view

        monkeypatch.setattr(module, name, old_view)
        if verb == "evaluate":
            evaluate(paths.root, RULES, say=quiet)
        else:
            rebuild(paths)
        ending.join(LONG_S)
        assert not ending.is_alive()
    assert n_rows(paths) == (3, 2)
    assert sizes == [2, 3]
    assert len(sweep.told) == 1
    assert "writes tables there; waiting for it" in sweep.told[0]


def test_a_drain_waits_only_shortly_and_tells(
    paths: DataSetPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "LAST_WAIT_S", 0.0)
    with held(paths.root, quiet) as lock:
        sweep = Sweep(paths, lock, give_up=lambda: True)
        with writing(paths.root, quiet):
            sweep.seal(1)
            sweep.recorder.flush()
        assert sweep.told[-1].endswith(OUTDATED)
        assert n_rows(paths) == (2, 1)
        sweep.recorder.flush()
    assert n_rows(paths) == (3, 2)


def test_a_sweep_that_ended_by_itself_does_not_call_old_tables_its_end(
    paths: DataSetPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "WAIT_S", 0.0)
    with held(paths.root, quiet) as lock:
        sweep = Sweep(paths, lock)
        with (
            writing(paths.root, quiet),
            pytest.raises(recording.BusyError, match="writes tables there"),
        ):
            sweep.recorder.flush()


def test_an_import_beside_a_sweep(
    paths: DataSetPaths, tmp_path: Path, call: Callable[..., Outcome]
) -> None:
    write(tmp_path / "old" / PLACE, table({}, {}))
    with held(paths.root, quiet) as lock:
        sweep = Sweep(paths, lock)
        done = call("import", str(tmp_path / "old"), "--out", str(paths.root))
        assert (done.code, done.err) == (0, "")
        sweep.seal(1)
        sweep.recorder.flush()
    assert read_parquet(paths.imported).num_rows == 2
    assert n_rows(paths) == (3, 2)


def test_two_imports_come_one_after_the_other(
    paths: DataSetPaths,
    tmp_path: Path,
    call: Callable[..., Outcome],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else the second would write import.json without the entries of the first."""
    for name in ("one", "two"):
        write(tmp_path / name / PLACE / name, table({"run_id": name}))
    waits = threading.Event()

    def second() -> None:
        def say(line: str) -> None:
            assert "imports there; waiting for it" in line
            waits.set()

        with writing(paths.root, say):
            import_tree(tmp_path / "two", paths, {})

    thread = threading.Thread(target=second)

    def first(*arguments: Any, **options: Any) -> Any:
        thread.start()
        assert waits.wait(LONG_S)
        return import_tree(*arguments, **options)

    monkeypatch.setattr("orchestrator.importer.import_tree.import_tree", first)
    assert call("import", str(tmp_path / "one"), "--out", str(paths.root)).code == 0
    thread.join(LONG_S)
    assert read_parquet(paths.imported).num_rows == 2


def test_an_import_that_is_refused_leaves_no_new_folder(
    tmp_path: Path, call: Callable[..., Outcome]
) -> None:
    (tmp_path / "empty").mkdir()
    done = call("import", str(tmp_path / "empty"), "--out", str(tmp_path / "new"))
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert not (tmp_path / "new").exists()


def test_publish_and_a_sweep_keep_each_other_out(
    paths: DataSetPaths, call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    with held(paths.root, quiet):
        done = call("publish", "--out", str(paths.root))
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "runs a sweep there; wait for it" in done.err
    refused: list[str] = []
    real = publish_command._files

    def files(*arguments: Any, **options: Any) -> Any:
        with pytest.raises(UserError) as raised, held(paths.root, quiet):
            pass
        refused.extend(raised.value.lines)
        with (
            pytest.raises(recording.BusyError, match="publishes it"),
            writing(paths.root, quiet, wait=False),
        ):
            pass
        return real(*arguments, **options)

    monkeypatch.setattr("orchestrator.publish.scan.names_here", lambda _: ())
    monkeypatch.setattr(publish_command, "_files", files)
    done = call("publish", "--out", str(paths.root))
    assert done.code == 0, done.out + done.err
    assert ["publishes it; wait for it, stop it" in line for line in refused] == [True]
    assert call("validate", "--out", str(paths.root)).code == 0
    assert holder_of(paths.root) is None


def test_a_merge_and_a_sweep_keep_each_other_out(
    paths: DataSetPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = DataSetPaths(tmp_path / "source")
    seal(source, 7, [ENGLISH])
    with held(paths.root, quiet), pytest.raises(UserError, match="runs a sweep there"):
        merge([source.root], paths.root, quiet)
    real = merging._write

    def write_merged(merged: Any) -> None:
        with pytest.raises(UserError, match="merges data sets there; wait for it"):
            short_tune(paths, 1)
        real(merged)

    monkeypatch.setattr(merging, "_write", write_merged)
    merge([source.root], paths.root, quiet)
    assert n_rows(paths) == (3, 2)
