"""Derived tables: written a trial at a time or from scratch, they are equal.

Unknowns stay unknown, and what a trial costs doesn't grow.
"""

from __future__ import annotations

import contextlib
import errno
import math
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.dataset import tables
from orchestrator.dataset.energy import rel_uncertainty_of_sum
from orchestrator.dataset.flags import SHORT_TRIAL_S
from orchestrator.dataset.gross_energy import energy_row
from orchestrator.dataset.parquet import arrow_schema
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.schema import SCHEMA_VERSION, ExecutionRow, TrialRecord
from orchestrator.dataset.summary import Chosen, SummaryRow, summary_values
from orchestrator.dataset.tables import (
    FRESH_ROWS,
    GROWTH,
    TableWriter,
    Trials,
    read_all,
    rebuild,
)
from orchestrator.dataset.trial_files import append, seal
from tests import builders


def written(paths: DataSetPaths) -> tuple[pa.Table, pa.Table]:
    return pq.read_table(paths.executions), pq.read_table(paths.summary)


def summary(*records: TrialRecord) -> dict[str, Any]:
    trials = Trials()
    (key,) = {trials.add(item) for item in records}
    return trials.summary_row(key)


def follow(writer: TableWriter) -> None:
    """What the recorder does after each trial."""
    if writer.is_due():
        writer.flush()


def messy_data_set(paths: DataSetPaths, seed: int) -> list[TrialRecord]:
    """Trials in random order, with machines, attempts, failures, missing energies, GPUs."""
    draw = random.Random(seed)
    plan = []
    for index in range(12):
        for attempt in range(1, draw.choice([1, 1, 2, 3]) + 1):
            plan.append(
                (
                    draw.choice(["pc", "colab"]),
                    builders.spec(config_index=index, attempt=attempt, order_index=len(plan)),
                )
            )
    draw.shuffle(plan)
    sealed = []
    for machine, spec in plan:
        kinds: list[dict[str, Any]] = [
            {},
            builders.FAILED,
            {"energy_j": None, "energy_kwh": None},
            builders.ON_GPU,
        ]
        items = [
            builders.measured(
                number, of=spec, **draw.choice(kinds), window_s=draw.choice([2.0, 61.0])
            )
            for number in draw.sample([1, 2, 3], draw.choice([1, 2, 3]))
        ]
        sealed.append(
            builders.seal_trial(paths, spec, items, builders.origin(spec, machine=machine))
        )
    return sealed


@pytest.mark.parametrize("seed", range(4))
def test_a_trial_at_a_time_equals_from_scratch(
    paths: DataSetPaths, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "FRESH_ROWS", 5)  # so that most trials wait for a later rewrite
    sealed = messy_data_set(paths, seed)
    writer = TableWriter(paths, Trials())
    for record in sealed:
        writer.add(record)
        follow(writer)
    writer.flush()
    one_by_one = written(paths)
    for path in (paths.executions, paths.summary):
        path.unlink()
    n_executions, n_trials, faults = rebuild(paths)
    assert faults == []
    for ours, theirs in zip(one_by_one, written(paths), strict=True):
        assert ours.schema.equals(theirs.schema, check_metadata=True)
        assert ours.equals(theirs)
    assert (n_executions, n_trials) == (one_by_one[0].num_rows, one_by_one[1].num_rows)
    assert n_trials == len({(r.columns.machine, r.columns.config_index) for r in sealed})


@pytest.mark.parametrize("seed", range(2))
def test_going_on_with_a_data_set_equals_from_scratch(paths: DataSetPaths, seed: int) -> None:
    """A later run starts its writer from the folders that are there."""
    sealed = messy_data_set(paths, seed)
    known = Trials()
    for record in sealed[:7]:
        known.add(record)
    writer = TableWriter(paths, known)
    for record in sealed[7:]:
        writer.add(record)
        follow(writer)
    writer.flush()
    going_on = written(paths)
    rebuild(paths)
    assert [a.equals(b) for a, b in zip(going_on, written(paths), strict=True)] == [True, True]


def test_the_order_of_folders_and_attempts_does_not_matter(paths: DataSetPaths) -> None:
    sealed = messy_data_set(paths, 5)
    forwards, backwards = Trials(), Trials()
    for record in sealed:
        forwards.add(record)
    for record in reversed(sealed):
        backwards.add(record)
    assert list(forwards) == list(backwards)
    assert [forwards.execution_rows(k) for k in forwards] == [
        backwards.execution_rows(k) for k in backwards
    ]
    assert [forwards.summary_row(k) for k in forwards] == [
        backwards.summary_row(k) for k in backwards
    ]


def test_the_schema_of_the_files_is_the_table_in_code(paths: DataSetPaths) -> None:
    rebuild(paths)
    for table, row in zip(written(paths), (ExecutionRow, SummaryRow), strict=True):
        assert table.num_rows == 0
        assert table.schema.names == arrow_schema(row).names
        assert table.schema.metadata[b"schema_version"] == str(SCHEMA_VERSION).encode()
        assert [f.metadata for f in table.schema] == [f.metadata for f in arrow_schema(row)]


# --- which execution counts -----------------------------------------------------------------------


def attempts(*kinds: dict[str, Any]) -> list[TrialRecord]:
    """A record an attempt, of one prompt, its text the attempt's number."""
    made = []
    for attempt, kind in enumerate(kinds, 1):
        spec = builders.spec(attempt=attempt)
        done = [builders.execution(1, of=spec, **({"output_text": str(attempt)} | kind))]
        made.append(builders.record(spec, executions=done))
    return made


@pytest.mark.parametrize(
    ("kinds", "counts"),
    [
        ([{}, {}], 2),
        ([{}, builders.FAILED], 1),
        ([builders.FAILED, {}], 2),
        ([builders.FAILED, builders.FAILED], 2),
        ([{}, {}, builders.FAILED], 2),
        ([builders.FAILED, {}, builders.FAILED, {}], 4),
    ],
)
def test_the_newest_ok_attempt_counts(kinds: list[dict[str, Any]], counts: int) -> None:
    trials = Trials()
    (key,) = {trials.add(record) for record in attempts(*kinds)}
    (row,) = trials.execution_rows(key)
    assert row["attempt"] == counts
    assert len(trials) == 1
    assert len(trials.records()) == len(kinds), "older ones stay"


def test_which_attempt_is_newer_is_not_a_matter_of_clocks() -> None:
    """The second attempt ran and was sealed under a clock that is years behind."""
    first, second = attempts({}, {"started_at": "1999-01-01T00:00:00.000+00:00"})
    second.sealed_at = datetime(1999, 1, 1, 0, 0, 1, tzinfo=UTC)
    for order in ([first, second], [second, first]):
        trials = Trials()
        (key,) = {trials.add(record) for record in order}
        assert [row["output_text"] for row in trials.execution_rows(key)] == ["2"]
        assert trials.summary_row(key)["attempt"] == 2


def test_each_prompt_has_its_own_newest_ok_attempt() -> None:
    first, second = builders.spec(attempt=1), builders.spec(attempt=2)
    trials = Trials()
    old = [builders.execution(n, of=first) for n in (1, 2, 3)]
    new = [builders.execution(2, of=second), builders.execution(3, of=second, **builders.FAILED)]
    key = trials.add(builders.record(first, executions=old))
    assert trials.add(builders.record(second, executions=new)) == key
    assert [
        (row["prompt_number"], row["attempt"], row["status"]) for row in trials.execution_rows(key)
    ] == [
        (1, 1, "ok"),
        (2, 2, "ok"),
        (3, 1, "ok"),
    ]
    assert trials.summary_row(key)["n_executions"] == 3
    assert trials.summary_row(key)["attempt"] == 2


@pytest.mark.parametrize(
    "change",
    [
        {"machine": "colab"},
        {"model": "llama2"},
        {"strategy": "anchor"},
        {"use_case": "danceCoreography"},
        {"config_index": 1},
        {"config_hash": "another"},
        {"repetition": 2},
    ],
)
def test_what_makes_another_trial(change: dict[str, Any]) -> None:
    trials = Trials()
    assert trials.add(builders.record()) != trials.add(builders.record(**change))
    assert len(trials) == 2


@pytest.mark.parametrize(
    "change", [{"attempt": 2}, {"sweep_id": "other"}, {"order_index": 5}, {"host": "other"}]
)
def test_what_makes_no_other_trial(change: dict[str, Any]) -> None:
    trials = Trials()
    assert trials.add(builders.record()) == trials.add(builders.record(**change))


# --- sums -----------------------------------------------------------------------------------------


def test_a_summary_by_hand() -> None:
    spec = builders.spec()
    done = [
        builders.execution(
            1,
            of=spec,
            n_new_tokens=10,
            window_s=2.0,
            energy_j=20.0,
            energy_kwh=20 / 3.6e6,
            n_prompt_tokens=7,
        ),
        builders.execution(
            2,
            of=spec,
            n_new_tokens=30,
            window_s=6.0,
            energy_j=40.0,
            energy_kwh=40 / 3.6e6,
            n_prompt_tokens=8,
        ),
        builders.execution(
            3,
            of=spec,
            **builders.FAILED,
            window_s=50.0,
            energy_j=999.0,
            warning_flags=("too_short",),
        ),
    ]
    row = summary(builders.record(spec, executions=done))
    assert {
        name: row[name]
        for name in list(SummaryRow.model_fields)[
            list(SummaryRow.model_fields).index("n_executions") :
        ]
    } == {
        "n_executions": 3,
        "n_ok": 2,
        "n_usable": None,
        "n_discarded": 0,
        "quality": None,
        "n_prompt_tokens": 15,
        "n_new_tokens": 40,
        "window_s": 8.0,
        "tokens_per_s": 5.0,
        "counted_energy_j": 60.0,
        "energy_rel_uncertainty": None,
        "energy_kwh": pytest.approx(60 / 3.6e6, rel=1e-12),
        "energy_j": 60.0,
        "emissions_kg": 2e-6,
        "gpu_energy_counter_j": None,
        "energy_per_token_j": 1.5,
        "energy_basis": "energy_j",
        "wasted_energy_j": None,
        "wasted_energy_rel_uncertainty": None,
        "energy_per_usable_j": None,
        "energy_per_usable_rel_uncertainty": None,
        "load_s": None,
        "warning_flags": ("estimated_cpu", "short_trial", "too_short"),
    }


def test_on_a_gpu_the_energy_per_token_is_the_counter_s() -> None:
    spec = builders.spec()
    row = summary(
        builders.record(
            spec, executions=[builders.execution(n, of=spec, **builders.ON_GPU) for n in (1, 2)]
        )
    )
    assert row["energy_basis"] == "gpu_energy_counter_j"
    assert row["gpu_energy_counter_j"] == 200.0
    assert row["energy_j"] == 240.0
    assert row["energy_per_token_j"] == 10.0
    assert row["counted_energy_j"] == 200.0
    # the sensor's gain within 5 %, and edges of 0.1 s / root(12) of windows of 2 s
    assert row["energy_rel_uncertainty"] == pytest.approx(math.hypot(0.0475, 1.96 * 0.014434), 1e-4)


def test_a_summary_tells_how_uncertain_its_energies_are() -> None:
    """Sums over one execution that was kept, one that was discarded, and both."""
    record, seen = builders.record(gpu_uuid="GPU-1"), builders.ON_GPU | {"power_before_w": 75.0}
    done = [
        Chosen(builders.execution(n, **seen, counter_look_s=look_s), record, usable)
        for n, look_s, usable in ((1, 0.5, True), (2, 0.1, False))
    ]
    kept, wasted, both = (
        rel_uncertainty_of_sum(energy_row(one.execution, one.record.columns) for one in some)
        for some in (done[:1], done[1:], done)
    )
    row = summary_values(done)
    assert row["energy_rel_uncertainty"] == kept
    assert row["wasted_energy_rel_uncertainty"] == wasted
    assert row["energy_per_usable_rel_uncertainty"] == both
    assert len({kept, wasted, both, None}) == 4
    assert summary_values(done[1:])["energy_per_usable_rel_uncertainty"] is None


@pytest.mark.parametrize("column", ["energy_kwh", "energy_j", "gpu_energy_counter_j"])
def test_a_sum_with_an_unknown_is_unknown(column: str) -> None:
    spec = builders.spec()
    full = builders.ON_GPU | {"energy_basis": "energy_j"}
    done = [
        builders.execution(1, of=spec, **full),
        builders.execution(2, of=spec, **(full | {column: None})),
    ]
    row = summary(builders.record(spec, executions=done))
    assert row[column] is None
    others = {"energy_kwh", "energy_j", "gpu_energy_counter_j"} - {column}
    assert all(row[other] is not None for other in others)
    assert (row["energy_per_token_j"] is None) == (column == "energy_j")


def test_an_unknown_of_a_failed_execution_spoils_nothing() -> None:
    spec = builders.spec()
    lost = builders.execution(
        2,
        of=spec,
        **(builders.FAILED | {"energy_j": None, "energy_kwh": None, "energy_basis": None}),
    )
    row = summary(builders.record(spec, executions=[builders.execution(1, of=spec), lost]))
    assert (row["energy_j"], row["energy_per_token_j"], row["energy_basis"]) == (
        20.0,
        2.0,
        "energy_j",
    )


def test_bases_are_never_mixed() -> None:
    spec = builders.spec()
    second = builders.execution(
        2, of=spec, **(builders.ON_GPU | {"energy_basis": "gpu_energy_integrated_j"})
    )
    row = summary(
        builders.record(
            spec, executions=[builders.execution(1, of=spec, **builders.ON_GPU), second]
        )
    )
    assert (row["energy_basis"], row["energy_per_token_j"]) == (None, None)
    assert row["energy_j"] == 240.0


def test_without_an_ok_execution_nothing_is_zero_that_is_unknown() -> None:
    spec = builders.spec()
    row = summary(
        builders.record(spec, executions=[builders.execution(1, of=spec, **builders.FAILED)])
    )
    assert (row["n_executions"], row["n_ok"], row["n_new_tokens"], row["window_s"]) == (
        1,
        0,
        0,
        0.0,
    )
    unknown = (
        "tokens_per_s",
        "energy_kwh",
        "energy_j",
        "gpu_energy_counter_j",
        "energy_per_token_j",
        "energy_basis",
    )
    assert {row[name] for name in unknown} == {None}


@pytest.mark.parametrize(
    ("window_s", "n_in_window", "short"), [(29.9, 1, True), (30.0, 1, False), (3.0, 10, False)]
)
def test_a_short_trial_is_flagged(window_s: float, n_in_window: int, short: bool) -> None:
    """All answers in a window count, not one of them."""
    assert SHORT_TRIAL_S == 60.0
    spec = builders.spec()
    executions = [
        builders.execution(n, of=spec, window_s=window_s, n_in_window=n_in_window) for n in (1, 2)
    ]
    row = summary(builders.record(spec, executions=executions))
    assert ("short_trial" in row["warning_flags"]) == short


def test_the_load_is_told_where_this_trial_paid_it() -> None:
    assert (
        summary(builders.record(environment={"load_s": 3.5, "loaded_here": True}))["load_s"] == 3.5
    )
    assert (
        summary(builders.record(environment={"load_s": 3.5, "loaded_here": False}))["load_s"]
        is None
    )


# --- cost -----------------------------------------------------------------------------------------


class CountingWrites:
    """Stands in for written_rows: counts rows, writes nothing."""

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}
        self.last: dict[str, int] = {}

    @contextlib.contextmanager
    def __call__(self, path: Path, _row: Any) -> Iterator[Callable[[list[Any]], None]]:
        rows: list[Any] = []
        yield rows.extend
        self.rows[path.name] = self.rows.get(path.name, 0) + len(rows)
        self.last[path.name] = len(rows)


def counting_writes(
    monkeypatch: pytest.MonkeyPatch, paths: DataSetPaths, n_trials: int, start: int = 0
) -> CountingWrites:
    writes = CountingWrites()
    monkeypatch.setattr(tables, "written_rows", writes)
    # what a row holds has no say
    monkeypatch.setattr(
        Trials, "rows", lambda self, key: ([{} for _ in self.chosen(key)], {"row": 1})
    )
    base = builders.record()

    def nth(index: int) -> TrialRecord:
        columns = base.columns.model_copy(update={"config_index": index})
        return base.model_copy(update={"columns": columns})

    known = Trials()
    for index in range(start):
        known.add(nth(index))
    writer = TableWriter(paths, known)
    for index in range(start, start + n_trials):
        writer.add(nth(index))
        follow(writer)
    writer.flush()
    return writes


def test_the_cost_of_a_trial_does_not_grow(
    monkeypatch: pytest.MonkeyPatch, paths: DataSetPaths
) -> None:
    """Past the fresh rows, all rewrites together are at most (1 + 1/GROWTH) times the rows."""
    n_trials = 3000
    writes = counting_writes(monkeypatch, paths, n_trials)
    rows = 3 * n_trials
    assert writes.last == {"executions.parquet": rows, "summary.parquet": n_trials}
    fresh = FRESH_ROWS**2 / 3  # while small, a rewrite a trial of three
    assert writes.rows["executions.parquet"] <= (2 + 1 / GROWTH) * rows + fresh
    assert writes.rows["summary.parquet"] <= (2 + 1 / GROWTH) * n_trials + fresh / 3


def test_a_few_trials_on_a_large_data_set_cost_one_rewrite(
    monkeypatch: pytest.MonkeyPatch, paths: DataSetPaths
) -> None:
    writes = counting_writes(monkeypatch, paths, 20, start=1000)
    assert writes.rows["executions.parquet"] == 3 * 1020


def test_while_small_the_tables_follow_at_once(paths: DataSetPaths) -> None:
    writer = TableWriter(paths, Trials())
    for index in range(3):
        writer.add(builders.record(builders.spec(config_index=index)))
        follow(writer)
        assert pq.read_metadata(paths.summary).num_rows == index + 1
        assert pq.read_metadata(paths.executions).num_rows == 3 * (index + 1)


def test_a_write_that_failed_is_made_up_for(
    paths: DataSetPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was taken in before stays taken in, once; the next call writes it."""
    trials = Trials()
    writer = TableWriter(paths, trials)
    record = builders.record()
    writer.add(record)

    def full(_path: Path, _row: Any) -> None:
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patch:
        patch.setattr(tables, "written_rows", full)
        for _ in range(2):
            with pytest.raises(OSError, match="no space"):
                follow(writer)
    follow(writer)
    assert list(trials.records()) == [record]
    assert (
        pq.read_metadata(paths.executions).num_rows,
        pq.read_metadata(paths.summary).num_rows,
    ) == (3, 1)


# --- faults ---------------------------------------------------------------------------------------


def test_unreadable_trials_are_listed_and_the_others_kept(paths: DataSetPaths) -> None:
    for index in range(4):
        spec = builders.spec(config_index=index)
        builders.seal_trial(paths, spec, [builders.measured(1, of=spec)])
    torn, alien, locked, whole = paths.sealed_trials()
    (torn / "trial.json").write_bytes((torn / "trial.json").read_bytes()[:500])
    (alien / "trial.json").write_text('{"schema_version": 99}')
    (locked / "trial.json").unlink()
    (locked / "trial.json").mkdir()
    n_executions, n_trials, faults = rebuild(paths)
    assert (n_executions, n_trials) == (1, 1)
    assert [fault.partition(": ")[0] for fault in faults] == [
        p.relative_to(paths.root).as_posix() for p in (torn, alien, locked)
    ]
    newer = f"version 99 of its format, this program reads up to version {SCHEMA_VERSION}"
    assert faults[1].endswith(
        f": trial.json: was written with {newer}; update llm-energy-orchestrator"
    )
    assert all("\n" not in fault for fault in faults)
    assert pq.read_table(paths.executions)["config_index"].to_pylist() == [3]
    assert whole.name.startswith("0003-")


def test_unfinished_trials_count_where_asked(paths: DataSetPaths) -> None:
    spec = builders.spec()
    builders.seal_trial(paths, spec, [builders.measured(1, of=spec)])
    second = builders.spec(attempt=2, prompts=spec.prompts[1:])
    append(paths, second, builders.origin(second), "shuffled", [builders.measured(2, of=second)])
    counts = []
    for unfinished in (False, True):
        found, faults = read_all(paths, unfinished=unfinished)
        assert faults == []
        (key,) = found
        counts.append([row["prompt_number"] for row in found.execution_rows(key)])
    assert counts == [[1], [1, 2]]


def test_a_trial_that_is_sealed_while_it_is_read_is_no_fault(
    paths: DataSetPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = builders.spec()
    append(paths, spec, builders.origin(spec), "shuffled", [builders.measured(1, of=spec)])
    real = tables.partial_record

    def late(folder: Path) -> TrialRecord | None:
        assert (folder / "spec.json").exists()
        seal(paths, "pc", spec)
        return real(folder)

    monkeypatch.setattr(tables, "partial_record", late)
    found, faults = read_all(paths, unfinished=True)
    assert (len(found), faults) == (0, [])


def test_rows_that_paid_for_new_lengths_are_flagged(paths: DataSetPaths) -> None:
    """The rule is tested in test_first_lengths.py; here, that the tables follow it."""
    spec = builders.spec()
    began = {"loaded_here": True}
    where = builders.origin(spec, environment=began, gpu_uuid="GPU-1", attention="sdpa")
    items = [builders.measured(number, of=spec) for number in (1, 2)]
    builders.seal_trial(paths, spec, items, where)
    rebuild(paths)
    flags = written(paths)[0]["warning_flags"].to_pylist()
    assert ["new_lengths" in of_one for of_one in flags] == [True, False]


def test_hidden_folders_are_no_trials(paths: DataSetPaths) -> None:
    spec = builders.spec()
    builders.seal_trial(paths, spec, [builders.measured(1, of=spec)])
    folder = paths.trial("pc", spec)
    folder.rename(folder.with_name(f".{folder.name}.partial"))
    found, faults = read_all(paths)
    assert (len(found), faults) == (0, [])
