"""Trial folders: written as executions come, sealed in one rename, read back exactly.

No cut loses what was written.
"""

from __future__ import annotations

import csv
import errno
import io
import json
import math
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrator.atomic_files import write_atomically
from orchestrator.dataset.leftovers import alone
from orchestrator.dataset.parquet import arrow_schema, to_table, write_parquet
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.reading import content_sha256, file_sha256
from orchestrator.dataset.schema import (
    SCHEMA_VERSION,
    ExecutionRow,
    TelemetrySample,
    TrialRecord,
)
from orchestrator.dataset.summary import SummaryRow
from orchestrator.dataset.tables import Trials, read_all, rebuild
from orchestrator.dataset.trial_files import (
    Measured,
    append,
    discard_partial,
    partial_record,
    read_partial,
    read_trial,
    seal,
    seal_left,
)
from orchestrator.dataset.trial_texts import (
    CODECARBON_FIELDS,
    OWN_FIELDS,
    emissions_csv,
    output_txt,
)
from orchestrator.nouns import Noun, TrialSpec, columns_of
from orchestrator.outside_files import SIZE_LIMIT_BYTES
from tests import builders

REPORT_TABLE_1 = """
timestamp project_name run_id duration emissions emissions_rate cpu_power gpu_power ram_power
cpu_energy gpu_energy ram_energy energy_consumed country_name country_iso_code region on_cloud
cloud_provider cloud_region os python_version cpu_count cpu_model gpu_count gpu_model longitude
latitude ram_total_size tracking_mode
""".split()  # noqa: SIM905

many = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


def tree(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


# --- the way of a trial ---------------------------------------------------------------------------


def test_a_trial_from_its_first_execution_to_its_folder(paths: DataSetPaths) -> None:
    spec = builders.spec()
    origin = builders.origin(spec)
    items = [builders.measured(p.number, of=spec) for p in spec.prompts]
    for item in items:
        append(paths, spec, origin, "shuffled", [item])
    assert paths.partial_trials() == [paths.partial("pc", spec)]
    assert paths.sealed_trials() == []
    assert read_partial(paths.partial("pc", spec)) == (spec, origin, "shuffled", items)

    folder, record = seal(paths, "pc", spec)
    assert (
        folder
        == paths.root
        / "pc/smollm2/latinHypercubeSampling/fantasyWorld"
        / f"0000-{spec.config_hash()}-r1"
    )
    assert paths.partial_trials() == []
    assert paths.sealed_trials() == [folder]
    assert sorted(p.name for p in folder.iterdir()) == ["emissions.csv", "output.txt", "trial.json"]
    assert read_trial(folder) == record
    assert record.executions == [item.execution for item in items]
    assert (record.spec, record.spec.setup, record.spec.configuration, record.order) == (
        spec,
        spec.setup,
        spec.configuration,
        "shuffled",
    )
    assert record.files == {
        name: file_sha256(folder / name) for name in ("emissions.csv", "output.txt")
    }
    assert record.environment == origin.environment


def test_executions_are_sealed_in_the_order_of_their_prompts(paths: DataSetPaths) -> None:
    spec = builders.spec()
    record = builders.seal_trial(
        paths, spec, [builders.measured(n, of=spec, raw={"run_id": str(n)}) for n in (3, 1, 2)]
    )
    assert [e.prompt_number for e in record.executions] == [1, 2, 3]
    assert [row["run_id"] for row in record.codecarbon] == ["1", "2", "3"]


def test_an_attempt_has_a_folder_of_its_own(paths: DataSetPaths) -> None:
    first, second = builders.spec(), builders.spec(attempt=2)
    for spec in (first, second):
        builders.seal_trial(paths, spec, [builders.measured(1, of=spec)])
    assert [p.name for p in paths.sealed_trials()] == [first.folder(), f"{first.folder()}-a2"]


def test_a_sealed_folder_is_never_overwritten(paths: DataSetPaths) -> None:
    """Another attempt of its name (as in two data sets copied into one) becomes the next one."""
    spec = builders.spec()
    builders.seal_trial(paths, spec, [builders.measured(1, of=spec, output_text="first")])
    builders.seal_trial(
        paths, builders.spec(attempt=2), [builders.measured(1, of=spec, output_text="second")]
    )
    before = tree(paths.root)
    append(
        paths,
        spec,
        builders.origin(spec),
        "shuffled",
        [builders.measured(1, of=spec, output_text="third")],
    )
    folder, record = seal(paths, "pc", spec)
    assert folder.name == f"{spec.folder()}-a3"
    assert (record.spec.attempt, record.columns.attempt) == (3, 3)
    assert read_trial(folder) == record
    assert {
        name: content for name, content in tree(paths.root).items() if folder.name not in name
    } == before
    assert paths.partial_trials() == []


def test_telemetry_is_written_where_there_is_some(paths: DataSetPaths) -> None:
    spec = builders.spec()
    sample = TelemetrySample(
        prompt_number=1, at_s=0.5, power_w=137.0, temperature_c=41, sm_clock_mhz=1980,
        memory_clock_mhz=None, utilization=98, memory_used_bytes=3_900_000_000, throttle_reasons=4,
    )  # fmt: skip
    item = builders.measured(1, of=spec).model_copy(update={"telemetry": (sample, sample)})
    # a write that failed half-way and was repeated has its power once
    builders.seal_trial(paths, spec, [item, item, builders.measured(2, of=spec)])
    table = pq.read_table(paths.trial("pc", spec) / "telemetry.parquet")
    assert table.to_pylist() == [sample.model_dump()] * 2
    assert table.schema.equals(arrow_schema(TelemetrySample), check_metadata=True)


def test_discard_touches_only_unfinished_trials(paths: DataSetPaths) -> None:
    spec, other = builders.spec(), builders.spec(config_index=1)
    builders.seal_trial(paths, spec, [builders.measured(1, of=spec)])
    append(paths, other, builders.origin(other), "shuffled", [builders.measured(1, of=other)])
    discard_partial(paths.trial("pc", spec))
    discard_partial(paths.partial("pc", other))
    assert paths.sealed_trials() == [paths.trial("pc", spec)]
    assert paths.partial_trials() == []


# --- cuts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [1, 10, 200, -1])
def test_a_torn_last_line_is_left_out(paths: DataSetPaths, cut: int) -> None:
    spec = builders.spec()
    items = [builders.measured(n, of=spec) for n in (1, 2)]
    append(paths, spec, builders.origin(spec), "shuffled", [items[0]])
    torn = items[1].model_dump_json().encode()[:cut]
    with (paths.partial("pc", spec) / "executions.jsonl").open("ab") as stream:
        stream.write(torn)
    assert read_partial(paths.partial("pc", spec))[3] == items[:1]


@pytest.mark.parametrize("cut", [1, 200, -1])
def test_a_trial_goes_on_after_a_torn_line(paths: DataSetPaths, cut: int) -> None:
    """What is appended after a cut must not disappear into the torn line before it."""
    spec = builders.spec()
    items = [builders.measured(n, of=spec) for n in (1, 2, 3)]
    origin = builders.origin(spec)
    append(paths, spec, origin, "shuffled", [items[0]])
    with (paths.partial("pc", spec) / "executions.jsonl").open("ab") as stream:
        stream.write(items[1].model_dump_json().encode()[:cut])
    append(paths, spec, origin, "shuffled", [items[1]])
    append(paths, spec, origin, "shuffled", [items[2]])
    assert read_partial(paths.partial("pc", spec))[3] == items
    assert [e.prompt_number for e in seal(paths, "pc", spec)[1].executions] == [1, 2, 3]


def test_a_whole_last_line_without_its_newline_counts(paths: DataSetPaths) -> None:
    spec = builders.spec()
    items = [builders.measured(n, of=spec) for n in (1, 2)]
    append(paths, spec, builders.origin(spec), "shuffled", [items[0]])
    lines = paths.partial("pc", spec) / "executions.jsonl"
    lines.write_bytes(lines.read_bytes().rstrip(b"\n"))
    append(paths, spec, builders.origin(spec), "shuffled", [items[1]])
    assert read_partial(paths.partial("pc", spec))[3] == items


def test_a_trial_without_executions_yet(paths: DataSetPaths) -> None:
    spec = builders.spec()
    append(paths, spec, builders.origin(spec), "design", [builders.measured(1, of=spec)])
    (paths.partial("pc", spec) / "executions.jsonl").unlink()
    assert read_partial(paths.partial("pc", spec)) == (spec, builders.origin(spec), "design", [])


def test_the_first_of_two_executions_of_a_prompt_counts(paths: DataSetPaths) -> None:
    spec = builders.spec()
    items = [
        builders.measured(n, of=spec, output_text=text)
        for n, text in ((2, "a"), (1, "b"), (2, "c"), (1, "d"))
    ]
    record = builders.seal_trial(paths, spec, items)
    assert [(e.prompt_number, e.output_text) for e in record.executions] == [(1, "b"), (2, "a")]
    assert len(record.codecarbon) == 2


def test_a_line_of_another_version_is_refused_not_dropped(paths: DataSetPaths) -> None:
    """Only what isn't JSON was torn by a cut; everything else was measured."""
    folder = begun(paths, builders.spec(), 2)
    lines = folder / "executions.jsonl"
    whole = lines.read_text()
    lines.write_text(whole.replace('"window_s"', '"window_hours"'))
    with pytest.raises(ValueError, match=r"can't be read as a running trial: .*window"):
        seal_left(paths)
    assert folder.exists()
    lines.write_text(whole)
    head = folder / "spec.json"
    head.write_text(
        head.read_text().replace(f'"schema_version": {SCHEMA_VERSION}', '"schema_version": 0')
    )
    with pytest.raises(ValueError, match="schema_version is 0, not a version of this program"):
        seal_left(paths)
    head.unlink()
    with pytest.raises(ValueError, match=r"No such file"):
        seal_left(paths)
    assert lines.read_text() == whole
    assert [line.partition(": ")[2] for line in read_all(paths, unfinished=True)[1]] == [
        "No such file or directory"
    ]


@pytest.mark.parametrize(("n_prompts", "n_flushes"), [(1, 10), (10, 19)])
def test_what_a_trial_waits_for_the_disk(
    paths: DataSetPaths, monkeypatch: pytest.MonkeyPatch, n_prompts: int, n_flushes: int
) -> None:
    """Each execution once, four files and the folders around them: no more with more trials."""
    spec = builders.spec(prompts=builders.prompts(f"Prompt {n}." for n in range(n_prompts)))
    folder = paths.use_case_folder("pc", spec)
    folder.mkdir(parents=True)
    flushed: list[int] = []
    real = os.fsync

    def counted(handle: int) -> None:
        flushed.append(handle)
        real(handle)

    monkeypatch.setattr(os, "fsync", counted)
    for repeat in (1, 2, 3):
        again = spec.model_copy(update={"repeat": repeat})
        unknown = dict.fromkeys(TelemetrySample.model_fields)
        sample = TelemetrySample.model_validate(unknown | {"prompt_number": 1, "at_s": 0.0})
        items = [
            builders.measured(n, of=again).model_copy(update={"telemetry": (sample,)})
            for n in range(1, n_prompts + 1)
        ]
        flushed.clear()
        builders.seal_trial(paths, again, items)
        assert len(flushed) == n_flushes


def test_parquet_is_written_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "executions.parquet"
    write_parquet(path, to_table(SummaryRow, []))
    before = path.read_bytes()

    def full(_self: Path, _target: Path) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(Path, "replace", full)
    row = (
        builders.columns().model_dump() | builders.execution().model_dump() | {"execution": "pc#1"}
    )
    with pytest.raises(OSError, match="no space"):
        write_parquet(path, to_table(ExecutionRow, [row]))
    assert tree(tmp_path) == {path.name: before}


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours catches it."""


KILL_AT = [
    "open:.emissions.csv",
    "replace:emissions.csv",
    "replace:output.txt",
    "replace:trial.json",
    "unlink:",
    "rename:",
]


@pytest.mark.parametrize("where", KILL_AT)
@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("reopened", [False, True])
def test_killed_anywhere_in_sealing(
    paths: DataSetPaths, monkeypatch: pytest.MonkeyPatch, where: str, nth: int, reopened: bool
) -> None:
    """After a kill the unfinished folder still gives every execution, or the sealed one does."""
    spec = builders.spec()
    items = [builders.measured(p.number, of=spec) for p in spec.prompts]
    for item in items:
        append(paths, spec, builders.origin(spec), "shuffled", [item])
    name, _, part = where.partition(":")
    real = getattr(Path, name)
    calls = 0

    def killed(self: Path, *args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        if part in self.name and not kwargs.get("missing_ok"):
            calls += 1
            if calls == nth:
                raise Killed
        return real(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Path, name, killed)
        try:
            seal(paths, "pc", spec)
            reached = False
        except Killed:
            reached = True
    assert reached == (nth == 1 or name == "unlink"), "the test kills where it means to"

    sealed = paths.trial("pc", spec)
    assert not (sealed.is_dir() and paths.partial("pc", spec).is_dir())
    if sealed.is_dir():
        record = read_trial(sealed)
    else:
        assert (paths.partial("pc", spec) / "spec.json").exists(), (
            "without it the folder is swept away as empty"
        )
        assert read_partial(paths.partial("pc", spec))[3] == items
        _, record = (None, seal_left(paths)[0]) if reopened else seal(paths, "pc", spec)
    assert record.executions == [item.execution for item in items]
    assert read_trial(sealed) == record
    if reopened:
        with alone(paths, print):
            pass
        assert {p.name for p in sealed.iterdir()} == {"emissions.csv", "output.txt", "trial.json"}
    assert rebuild(paths) == (3, 1, [])


def test_nothing_else_is_left_behind(paths: DataSetPaths) -> None:
    for index in range(3):
        spec = builders.spec(config_index=index)
        builders.seal_trial(paths, spec, [builders.measured(1, of=spec)])
    rebuild(paths)
    names = {p.name for p in paths.root.rglob("*") if p.is_file()}
    assert names == {
        "emissions.csv",
        "output.txt",
        "trial.json",
        "executions.parquet",
        "summary.parquet",
    }
    assert not list(paths.root.rglob(".*"))


# --- reading back ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"schema_version": 1}', "\x00", '{"a": NaN}']
)
def test_what_is_not_a_trial_is_a_value_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "trial.json").write_text(text)
    with pytest.raises(ValueError, match=r"\w"):
        read_trial(tmp_path)


def test_bytes_that_are_no_text_are_a_value_error(tmp_path: Path) -> None:
    (tmp_path / "trial.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(ValueError, match=r"^trial\.json: not UTF-8 at byte 0$"):
        read_trial(tmp_path)


def test_another_schema_version_is_named(tmp_path: Path) -> None:
    """Also where its columns are not ours: the version is what the user must hear of."""
    content = json.loads(builders.record().model_dump_json())
    content["schema_version"] = 99
    content["columns"]["column_of_the_future"] = 1
    del content["executions"][0]["output_text"]
    (tmp_path / "trial.json").write_text(json.dumps(content))
    with pytest.raises(
        ValueError, match=r"^trial\.json: was written with version 99 .* up to version 4; update"
    ):
        read_trial(tmp_path)


@many
@given(record=builders.records())
def test_any_trial_survives_its_json(record: TrialRecord, tmp_path: Path) -> None:
    record.sha256 = content_sha256(json.loads(record.model_dump_json()))
    write_atomically(tmp_path / "trial.json", record.model_dump_json(indent=1).encode())
    assert read_trial(tmp_path) == record


@many
@given(record=builders.records())
def test_any_trial_survives_append_and_seal(
    record: TrialRecord, tmp_path_factory: pytest.TempPathFactory
) -> None:
    paths = DataSetPaths(tmp_path_factory.mktemp("data"))
    origin = builders.origin(record.spec, machine=record.columns.machine).model_copy(
        update={"environment": record.environment}
    )
    for execution, raw in zip(record.executions, record.codecarbon, strict=True):
        append(
            paths,
            record.spec,
            origin,
            record.order,
            [Measured(execution=execution, codecarbon=raw)],
        )
    folder, sealed = seal(paths, record.columns.machine, record.spec)
    written = {"sealed_at": record.sealed_at, "files": {}, "sha256": ""}
    assert sealed.model_copy(update=written) == record
    assert read_trial(folder) == sealed
    assert (folder / "emissions.csv").read_text().split("\n", 1)[0].split(",")[
        :29
    ] == REPORT_TABLE_1


@many
@given(record=builders.records())
def test_any_rows_survive_parquet(
    record: TrialRecord, tmp_path_factory: pytest.TempPathFactory
) -> None:
    trials = Trials()
    key = trials.add(record)
    cases: list[tuple[type[Noun], list[dict[str, Any]]]] = [
        (ExecutionRow, trials.execution_rows(key)),
        (SummaryRow, [trials.summary_row(key)]),
    ]
    for row, rows in cases:
        path = tmp_path_factory.mktemp("parquet") / "table.parquet"
        write_parquet(path, to_table(row, rows))
        table = pq.read_table(path)
        assert table.schema.equals(arrow_schema(row))
        assert table.schema.metadata == arrow_schema(row).metadata
        assert [field.metadata for field in table.schema] == [
            field.metadata for field in arrow_schema(row)
        ]
        lists = [name for name, kind, _ in columns_of(row) if "tuple" in str(kind)]
        for line, source in zip(table.to_pylist(), rows, strict=True):
            for name in lists:
                entries = source.get(name)
                joined = ";".join(entry.replace(";", ",") for entry in entries or ()) or "none"
                assert line.pop(name) == (None if entries is None else joined)
            assert line == {name: source.get(name) for name in line}


@many
@given(samples=st.lists(builders.telemetry(), max_size=5))
def test_any_telemetry_survives_parquet(samples: list[TelemetrySample], tmp_path: Path) -> None:
    path = tmp_path / "telemetry.parquet"
    write_parquet(path, to_table(TelemetrySample, [sample.model_dump() for sample in samples]))
    assert [
        TelemetrySample.model_validate(row) for row in pq.read_table(path).to_pylist()
    ] == samples


# --- what is not as it was written ----------------------------------------------------------------


def edited(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a trial.json by hand."""
    content = json.loads((folder / "trial.json").read_text())
    change(content)
    (folder / "trial.json").write_text(json.dumps(content))


@pytest.fixture
def sealed(paths: DataSetPaths) -> Path:
    spec = builders.spec()
    builders.seal_trial(paths, spec, [builders.measured(p.number, of=spec) for p in spec.prompts])
    return paths.trial("pc", spec)


EDITS: dict[str, Callable[[dict[str, Any]], None]] = {
    "a value": lambda c: c["executions"][0].update(energy_j=19.9),
    "an execution less": lambda c: c["executions"].pop(),
    "the order": lambda c: c["executions"].reverse(),
    "a file's hash": lambda c: c["files"].update({"output.txt": "0" * 64}),
    "a field more": lambda c: c.update(remark="mine"),
    "no hash": lambda c: c.pop("sha256"),
    "an empty hash": lambda c: c.update(sha256=""),
    "a deep field": lambda c: c["environment"]["versions"].update(torch="2.12"),
}


@pytest.mark.parametrize("change", EDITS)
def test_an_edited_trial_is_refused(sealed: Path, change: str) -> None:
    edited(sealed, EDITS[change])
    with pytest.raises(ValueError, match="was edited after it was written"):
        read_trial(sealed)


def test_another_layout_of_the_same_content_is_no_edit(sealed: Path) -> None:
    before = read_trial(sealed)
    content = json.loads((sealed / "trial.json").read_text())
    (sealed / "trial.json").write_text(
        json.dumps(dict(reversed(content.items())), indent=7, ensure_ascii=False)
    )
    assert read_trial(sealed) == before


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_numbers_that_json_has_not_are_never_written(value: float) -> None:
    for wrong in ({"raw": {"duration": value}}, {"window_s": value}, {"pue": value}):
        with pytest.raises(ValidationError, match="finite"):
            builders.measured(1, **wrong)


@pytest.mark.parametrize(
    "change", [lambda c: c.pop("order"), lambda c: c["columns"].update(config_index="many")]
)
def test_a_fault_against_the_schema_is_named(
    sealed: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    edited(sealed, change)
    with pytest.raises(ValueError, match=r"^trial\.json: (order|columns\.config_index): "):
        read_trial(sealed)


@pytest.mark.parametrize("name", ["trial.json", "spec.json"])
def test_deep_nesting_is_a_value_error(paths: DataSetPaths, sealed: Path, name: str) -> None:
    """At every depth around the one at which Python gives up reading, checking or hashing it."""
    spec = builders.spec(config_index=1)
    folder = sealed if name == "trial.json" else begun(paths, spec, 1)
    sound = (folder / name).read_text()
    value = '"load_s": 1.5'
    assert value in sound
    for depth in (*range(900, 1001, 3), 200_000):
        (folder / name).write_text(sound.replace(value, '"load_s": ' + "[" * depth + "]" * depth))
        found, faults = read_all(paths, unfinished=True)
        assert (len(found) + len(faults)) == (1 if name == "trial.json" else 2)
    assert len(faults) == 1
    assert "nested too deeply" in faults[0]


def test_an_oversized_file_is_not_read(sealed: Path) -> None:
    with (sealed / "trial.json").open("r+b") as stream:
        stream.truncate(SIZE_LIMIT_BYTES + 1)  # sparse
    with pytest.raises(ValueError, match="256 MiB, more than the 128 MiB that are read"):
        read_trial(sealed)


def test_a_text_of_commas_alone_is_read(
    paths: DataSetPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model may loop; only what stands outside of texts are values."""
    spec = builders.spec(prompts=builders.prompts(["Hello?"]))
    commas = builders.measured(1, of=spec, output_text=',[{\\"' * 1000)
    builders.seal_trial(paths, spec, [commas])
    folder = paths.trial("pc", spec)
    monkeypatch.setattr("orchestrator.dataset.reading.MOST_VALUES", 900)
    assert read_trial(folder).executions[0].output_text == ',[{\\"' * 1000
    monkeypatch.setattr("orchestrator.dataset.reading.MOST_VALUES", 50)
    with pytest.raises(ValueError, match="holds more than 50 values"):
        read_trial(folder)


def test_a_pipe_is_not_waited_for(sealed: Path) -> None:
    (sealed / "trial.json").unlink()
    os.mkfifo(sealed / "trial.json")
    with pytest.raises(ValueError, match="pipe"):
        read_trial(sealed)


def test_a_link_out_of_the_data_set_is_not_followed(
    paths: DataSetPaths, sealed: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "elsewhere"
    sealed.rename(outside)
    sealed.symlink_to(outside)
    with pytest.raises(ValueError, match="a link out of the data set"):
        read_trial(sealed, paths.root)
    assert read_all(paths)[1] == [f"{sealed.relative_to(paths.root)}: a link out of the data set"]
    assert read_trial(sealed).columns.config_index == 0, "without a root it is only a folder"


def test_a_link_within_the_data_set_is(paths: DataSetPaths, sealed: Path) -> None:
    inside = paths.root / "kept"
    sealed.rename(inside)
    sealed.symlink_to(inside)
    assert read_trial(sealed, paths.root).columns.config_index == 0


# --- running trials of a process that is no more --------------------------------------------------


def begun(paths: DataSetPaths, spec: TrialSpec, *numbers: int) -> Path:
    for number in numbers:
        append(paths, spec, builders.origin(spec), "shuffled", [builders.measured(number, of=spec)])
    return paths.partial("pc", spec)


def test_all_that_a_cut_left_is_sealed(paths: DataSetPaths) -> None:
    specs = [builders.spec(config_index=index) for index in range(3)]
    for n, spec in enumerate(specs, 1):
        begun(paths, spec, *range(1, n + 1))
    records = seal_left(paths)
    assert [[e.prompt_number for e in record.executions] for record in records] == [
        [1],
        [1, 2],
        [1, 2, 3],
    ]
    assert [read_trial(paths.trial("pc", spec), paths.root) for spec in specs] == records
    assert paths.partial_trials() == []
    assert seal_left(paths) == []


@pytest.mark.parametrize("emptied", ["spec.json", "executions.jsonl"])
def test_a_cut_before_the_first_execution_leaves_nothing(paths: DataSetPaths, emptied: str) -> None:
    folder = begun(paths, builders.spec(), 1)
    for name in {
        "spec.json": ("spec.json", "executions.jsonl"),
        "executions.jsonl": ("executions.jsonl",),
    }[emptied]:
        (folder / name).unlink()
    assert partial_record(folder) is None
    assert seal_left(paths) == []
    assert not folder.exists()
    assert paths.sealed_trials() == []


def test_a_torn_first_line_leaves_nothing(paths: DataSetPaths) -> None:
    folder = begun(paths, builders.spec(), 1)
    (folder / "executions.jsonl").write_bytes((folder / "executions.jsonl").read_bytes()[:-20])
    assert seal_left(paths) == []
    assert not folder.exists()


def test_nothing_is_appended_to_a_folder_that_was_removed(paths: DataSetPaths) -> None:
    spec = builders.spec()
    folder = begun(paths, spec, 1)
    shutil.rmtree(folder)
    with pytest.raises(FileNotFoundError) as raised:
        append(
            paths,
            spec,
            builders.origin(spec),
            "shuffled",
            [builders.measured(2, of=spec)],
            started_before=True,
        )
    assert raised.value.filename == str(folder)
    assert not folder.exists()


def test_a_link_is_no_running_trial(paths: DataSetPaths, tmp_path: Path) -> None:
    folder = begun(paths, builders.spec(), 1)
    outside = tmp_path / "elsewhere"
    folder.rename(outside)
    folder.symlink_to(outside)
    before = tree(outside)
    assert seal_left(paths) == []
    assert tree(outside) == before


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "spec.json: isn't JSON: Expecting value"),
        ("[]", "spec.json: holds no JSON object"),
        ("null", "spec.json: holds no JSON object"),
        ("{}", "spec.json: schema_version is None, not a version of this program"),
        (f'{{"schema_version": {SCHEMA_VERSION}}}', "spec.json: 'spec' is missing"),
        (
            f'{{"schema_version": {SCHEMA_VERSION}, "spec": {{}}, "origin": {{}}, "order": ""}}',
            "spec.json: sweep_id: Field required",
        ),
        ("[" * 100_000, "spec.json: nested too deeply"),
        ("\udcff", "spec.json: not UTF-8 at byte 0"),
    ],
)
def test_a_running_trial_that_can_not_be_read_is_named_and_kept(
    paths: DataSetPaths, content: str, why: str
) -> None:
    folder = begun(paths, builders.spec(), 1)
    (folder / "spec.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(
        ValueError, match=re.escape(f"{folder}: can't be read as a running trial: {why}")
    ):
        seal_left(paths)
    assert (folder / "executions.jsonl").exists()
    found, faults = read_all(paths, unfinished=True)
    assert len(found) == 0
    assert [why in fault for fault in faults] == [True]


@pytest.mark.parametrize("full", ["emissions.csv", "output.txt", "trial.json"])
def test_a_sealing_that_failed_can_be_repeated(
    paths: DataSetPaths, monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    spec = builders.spec()
    folder = begun(paths, spec, 1, 2)
    real = Path.replace

    def no_room(self: Path, target: Path) -> Path:
        if target.name == full:
            raise OSError(errno.ENOSPC, "no space")
        return real(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", no_room)
        with pytest.raises(OSError, match="no space"):
            seal(paths, "pc", spec)
    assert folder.exists()
    target, record = seal(paths, "pc", spec)
    assert [e.prompt_number for e in record.executions] == [1, 2]
    assert read_trial(target) == record
    assert sorted(p.name for p in target.iterdir()) == ["emissions.csv", "output.txt", "trial.json"]


def test_a_disk_that_is_full_after_the_rename_unseals_nothing(
    paths: DataSetPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Removing a file takes room on file systems that copy on write."""
    spec = builders.spec()
    begun(paths, spec, 1)
    real = Path.unlink

    def no_room(self: Path, *, missing_ok: bool = False) -> None:
        if self.name == "executions.jsonl":
            raise OSError(errno.ENOSPC, "no space")
        real(self, missing_ok=missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", no_room)
        target, record = seal(paths, "pc", spec)
    assert read_trial(target) == record
    with alone(paths, print):
        pass
    assert sorted(p.name for p in target.iterdir()) == ["emissions.csv", "output.txt", "trial.json"]


# --- hostile texts --------------------------------------------------------------------------------


def test_hostile_texts_survive_everywhere(paths: DataSetPaths) -> None:
    spec = builders.spec(prompts=builders.prompts(builders.HOSTILE_TEXTS))
    items = [
        builders.measured(p.number, of=spec, output_text=p.text, notes=(p.text,))
        for p in spec.prompts
    ]
    record = builders.seal_trial(paths, spec, items)
    folder = paths.trial("pc", spec)
    assert tuple(e.output_text for e in record.executions) == builders.HOSTILE_TEXTS
    back = read_trial(folder)
    assert tuple(e.output_text for e in back.executions) == builders.HOSTILE_TEXTS
    assert tuple(p.text for p in back.spec.prompts) == builders.HOSTILE_TEXTS
    rebuild(paths)
    table = pq.read_table(paths.executions)
    assert tuple(table["output_text"].to_pylist()) == builders.HOSTILE_TEXTS
    joined = (text.replace(";", ",") or "none" for text in builders.HOSTILE_TEXTS)
    assert tuple(table["notes"].to_pylist()) == tuple(joined), "lists are joined by semicolons"
    assert tuple(table["prompt_text"].to_pylist()) == builders.HOSTILE_TEXTS
    assert (folder / "output.txt").stat().st_size > 400_000
    assert len(
        list(csv.reader(io.StringIO((folder / "emissions.csv").read_text(), newline="")))
    ) == 1 + len(items)


@pytest.mark.parametrize("text", builders.HOSTILE_TEXTS)
def test_hostile_texts_survive_the_running_file(paths: DataSetPaths, text: str) -> None:
    spec = builders.spec()
    item = builders.measured(1, of=spec, output_text=text, error_message=text)
    append(paths, spec, builders.origin(spec, environment={"platform": text}), "shuffled", [item])
    append(paths, spec, builders.origin(spec), "shuffled", [builders.measured(2, of=spec)])
    _, origin, _, back = read_partial(paths.partial("pc", spec))
    assert back[0] == item
    assert len(back) == 2
    assert origin.environment.platform == text


# --- emissions.csv and output.txt -----------------------------------------------------------------


def rows_of(record: TrialRecord) -> tuple[list[str], list[dict[str, str]]]:
    head, *lines = list(csv.reader(io.StringIO(emissions_csv(record), newline="")))
    return head, [dict(zip(head, line, strict=True)) for line in lines]


def test_the_report_s_fields_come_first_in_its_order() -> None:
    assert list(CODECARBON_FIELDS) == REPORT_TABLE_1
    head, rows = rows_of(builders.record())
    newer = ["codecarbon_version", "experiment_id", "pue", "water_consumed", "wue"]
    assert head == [*REPORT_TABLE_1, *newer, *OWN_FIELDS]
    assert len(rows) == 3


def test_the_newer_fields_of_any_row_have_a_column() -> None:
    spec = builders.spec()
    done = [builders.execution(n, of=spec) for n in (1, 2)]
    raw = [builders.codecarbon(), builders.codecarbon(future=5)]
    head, rows = rows_of(builders.record(spec, executions=done, codecarbon=raw))
    assert head[29:35] == [
        "codecarbon_version",
        "experiment_id",
        "future",
        "pue",
        "water_consumed",
        "wue",
    ]
    assert [row["future"] for row in rows] == ["", "5"]


def test_the_head_stays_where_codecarbon_gave_nothing() -> None:
    spec = builders.spec()
    done = [builders.execution(1, of=spec, energy_j=None, energy_kwh=None)]
    head, (row,) = rows_of(builders.record(spec, executions=done, codecarbon=[{}]))
    assert head == [*REPORT_TABLE_1, *OWN_FIELDS]
    assert {row[name] for name in (*REPORT_TABLE_1, "energy_j")} == {""}, "null is empty, never 0"
    assert row["prompt_number"] == "1"


def test_our_columns_hold_the_execution() -> None:
    spec = builders.spec()
    failed = builders.execution(2, of=spec, **builders.FAILED)
    _, rows = rows_of(builders.record(spec, executions=[builders.execution(1, of=spec), failed]))
    assert (
        rows[0]["prompt_number"],
        rows[0]["status"],
        rows[0]["energy_j"],
        rows[0]["error_kind"],
    ) == (
        "1",
        "ok",
        "20.0",
        "",
    )
    assert (
        rows[1]["prompt_number"],
        rows[1]["status"],
        rows[1]["energy_j"],
        rows[1]["error_kind"],
    ) == (
        "2",
        "failed",
        "20.0",
        "oom",
    )
    assert int(rows[0]["seed"]) == builders.execution(1, of=spec).seed


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@A1", "=cmd|' /C calc'!A0", "\t=1+1"])
def test_no_cell_is_a_formula(text: str) -> None:
    spec = builders.spec()
    raw = builders.codecarbon(cpu_model=text, project_name=f"a {text}")
    _, (row,) = rows_of(
        builders.record(spec, executions=[builders.execution(1, of=spec)], codecarbon=[raw])
    )
    assert row["cpu_model"] == f"'{text}"
    assert row["project_name"] == f"a {text}"


def test_a_line_break_in_a_cell_ends_no_row() -> None:
    spec = builders.spec()
    raw = builders.codecarbon(cpu_model="a\r=1+1", os="b\nc")
    _, (row,) = rows_of(
        builders.record(spec, executions=[builders.execution(1, of=spec)], codecarbon=[raw])
    )
    assert (row["cpu_model"], row["os"]) == ("a =1+1", "b\nc")


def test_negative_numbers_stay_numbers() -> None:
    spec = builders.spec()
    raw = builders.codecarbon(longitude=-7.5)
    _, (row,) = rows_of(
        builders.record(spec, executions=[builders.execution(1, of=spec)], codecarbon=[raw])
    )
    assert float(row["longitude"]) == -7.5


def test_output_for_a_person() -> None:
    spec = builders.spec(prompts=builders.prompts(["First?", "Second?"]))
    done = [
        builders.execution(1, of=spec, output_text="An answer."),
        builders.execution(2, of=spec, **builders.FAILED),
    ]
    assert output_txt(builders.record(spec, executions=done)) == (
        "smollm2 (nf4) on pc: max_length=120, top_p=0.9, top_k=50, temperature=0.7\n"
        "SYNTHETIC: no real model wrote this.\n"
        "\n"
        + "=== prompt 1 ".ljust(80, "=")
        + "\nFirst?\n--- output (10 tokens, eos) ---\nAn answer.\n"
        "\n"
        + "=== prompt 2 ".ljust(80, "=")
        + "\nSecond?\n--- output ---\n[no text: oom: out of memory]\n"
    )


def test_output_of_a_real_model_has_no_such_note() -> None:
    assert "SYNTHETIC" not in output_txt(builders.record(synthetic=False))


def test_a_folder_of_another_program_is_reported(paths: DataSetPaths) -> None:
    spec = builders.spec()
    builders.seal_trial(paths, spec, [builders.measured(1, of=spec)])
    alien = paths.trial("pc", spec).with_name("0001-alien-r1")
    alien.mkdir()
    (alien / "trial.json").write_text("{}")
    found, faults = read_all(paths)
    assert len(found) == 1
    assert len(faults) == 1
    assert faults[0].startswith("pc/smollm2/latinHypercubeSampling/fantasyWorld/0001-alien-r1: ")
