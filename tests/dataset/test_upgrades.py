"""Old versions are read whole, newer ones refused in one sentence, and the schema can grow."""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import AwareDatetime, BaseModel, create_model

from orchestrator import __version__
from orchestrator.check.folders import validate_folders
from orchestrator.dataset import tables, trial_files
from orchestrator.dataset.environment import Environment, Pilot
from orchestrator.dataset.parquet import read_parquet
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.reading import content_sha256
from orchestrator.dataset.schema import (
    SCHEMA_VERSION,
    Execution,
    ExecutionRow,
    JudgedColumns,
    TrialColumns,
    TrialRecord,
)
from orchestrator.dataset.sweep_plan import PLAN_VERSION, read_plan
from orchestrator.dataset.tables import read_all, rebuild
from orchestrator.dataset.trial_files import (
    Measured,
    append,
    partial_record,
    read_partial,
    read_trial,
    seal,
    seal_left,
)
from orchestrator.dataset.upgrades import (
    ANEW_IN_3,
    LISTS,
    RENAMED_IN_2,
    upgraded_running,
    upgraded_table,
)
from orchestrator.errors import UserError
from orchestrator.nouns import (
    Column,
    Configuration,
    Machine,
    Profile,
    Prompt,
    Quantization,
    Setup,
    TrialSpec,
    columns_of,
    digest,
    generation_seed,
)
from orchestrator.report.execution_frame import read_data
from tests import builders
from tests.version_1.frozen import MEASURED, SIMULATED

Json = dict[str, Any]

FROZEN = sorted([*MEASURED.glob("*/*/*/*/*/trial.json"), *SIMULATED.glob("*/*/*/*/*/trial.json")])
ON_GPU = FROZEN[0]
TOO_NEW = 99


def name_of(path: Path) -> str:
    return path.parent.name


def content_of(path: Path) -> Json:
    content: Json = json.loads(path.read_text(encoding="utf-8"))
    return content


def write_record(folder: Path, content: Json) -> Path:
    """A trial.json whose hash fits, so that only its content can be at fault."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = content | {"sha256": content_sha256(content)}
    (folder / "trial.json").write_text(json.dumps(whole), encoding="utf-8")
    return folder


# --- version 1 is read whole ----------------------------------------------------------------------


def test_the_frozen_data_sets_are_there() -> None:
    assert [content_of(path)["schema_version"] for path in FROZEN] == [1] * 5


def by_version_3(execution: Execution) -> Any:
    """The uncertainty of a row that doesn't know its counter's steps."""
    if execution.gpu_energy_counter_j is None or execution.window_s is None:
        return None
    edges = 0.1 / math.sqrt(12) / execution.window_s
    return pytest.approx(math.hypot(0.95 * 0.05, 1.75 * edges))


@pytest.mark.parametrize("path", FROZEN, ids=name_of)
def test_each_execution_of_version_1_is_read_as_it_was_written(path: Path) -> None:
    old, record = content_of(path), read_trial(path.parent)
    assert record.schema_version == SCHEMA_VERSION
    assert len(record.executions) == len(old["executions"]) > 0
    for before, execution in zip(old["executions"], record.executions, strict=True):
        now = execution.model_dump(mode="json")
        for name, value in before.items():
            if name in ("usable", "reasons"):
                assert value is None, "it was never filled there"
            elif name == "started_at":
                assert execution.started_at == datetime.fromisoformat(value)
            elif name == "energy_rel_uncertainty":
                # by the rule of version 3: the closing edge lay anywhere within a step
                assert now[name] == by_version_3(execution)
            elif name == "notes":
                assert now["notes"][: len(value)] == value
            else:
                assert now[RENAMED_IN_2.get(name, name)] == value, name
    assert record.codecarbon == old["codecarbon"]
    assert record.sealed_at == datetime.fromisoformat(old["sealed_at"])
    assert (record.order, record.files, record.sha256) == (
        old["order"],
        old["files"],
        old["sha256"],
    )


@pytest.mark.parametrize("path", FROZEN, ids=name_of)
def test_hashes_and_seeds_follow_from_the_upgraded_specification(path: Path) -> None:
    old, record = content_of(path), read_trial(path.parent)
    spec = record.spec
    assert spec.config_hash() == old["columns"]["config_hash"] == record.columns.config_hash
    assert spec.folder() == path.parent.name
    assert spec.configuration.model_dump() == old["asked"]
    assert spec.setup.hashed() == old["setup"]
    assert spec.config_index == record.columns.config_index == old["columns"]["index"]
    texts = {prompt.number: prompt.text for prompt in spec.prompts}
    assert {str(number): text for number, text in texts.items()} == {
        str(prompt["number"]): prompt["text"] for prompt in old["spec"]["prompts"]
    }
    for execution in record.executions:
        text = texts[execution.prompt_number]
        seed = generation_seed(spec.setup.seed, spec.configuration, text, spec.repeat)
        assert execution.seed == seed


@pytest.mark.parametrize("path", FROZEN, ids=name_of)
def test_the_environment_of_version_1_is_kept(path: Path) -> None:
    old, record = content_of(path), read_trial(path.parent)
    now = record.environment.model_dump(mode="json")
    semantics = old["environment"].pop("power_semantics")
    # since then a machine has got the field `isolation`
    assert now["machine"].pop("isolation") == "gpu"
    # and the pilot what building took
    for since in ("build_s", "build_energy_j", "n_compiled", "n_from_disk"):
        assert now["pilot"].pop(since) is None
    for name, value in old["environment"].items():
        assert now[name] == value, name
    assert {one.power_semantics for one in record.executions} == {semantics}


def test_emissions_are_those_of_codecarbon() -> None:
    for path in MEASURED.glob("*/*/*/*/*/trial.json"):
        record = read_trial(path.parent)
        for execution, raw in zip(record.executions, record.codecarbon, strict=True):
            assert execution.energy_kwh == pytest.approx(raw["energy_consumed"])
            assert execution.emissions_kg == pytest.approx(raw["emissions"])
            assert not [note for note in execution.notes if note.startswith("emissions_kg")]


def test_emissions_are_for_the_energy_that_the_row_has(tmp_path: Path) -> None:
    content = content_of(ON_GPU)
    raw = content["codecarbon"][0]
    content["executions"][0]["energy_kwh"] = raw["energy_consumed"] / 4
    first = read_trial(write_record(tmp_path, content)).executions[0]
    assert first.emissions_kg == pytest.approx(raw["emissions"] / 4)


def no_energy(content: Json) -> None:
    content["executions"][0]["energy_kwh"] = None


def no_emissions(content: Json) -> None:
    del content["codecarbon"][0]["emissions"]


def no_row(content: Json) -> None:
    content["codecarbon"][0] = {}


def zero(content: Json) -> None:
    content["codecarbon"][0]["energy_consumed"] = 0.0


@pytest.mark.parametrize("change", [no_energy, no_emissions, no_row, zero])
def test_unknown_emissions_are_null_with_a_reason(
    tmp_path: Path, change: Callable[[Json], None]
) -> None:
    content = content_of(ON_GPU)
    change(content)
    first, second, *_ = read_trial(write_record(tmp_path, content)).executions
    assert first.emissions_kg is None
    assert first.notes[-1] == "emissions_kg: not recorded"
    assert second.emissions_kg is not None


def test_a_record_of_codecarbon_that_is_missing_costs_no_execution(tmp_path: Path) -> None:
    content = content_of(ON_GPU)
    content["codecarbon"].pop()
    record = read_trial(write_record(tmp_path, content))
    assert len(record.executions) == 5
    assert record.executions[-1].emissions_kg is None


@pytest.mark.parametrize("part", ["setup", "asked"])
def test_copies_of_version_1_must_agree(tmp_path: Path, part: str) -> None:
    content = content_of(ON_GPU)
    content[part] = content[part] | {"seed" if part == "setup" else "top_k": 77}
    with pytest.raises(ValueError, match=r"^trial\.json: setup or configuration differ"):
        read_trial(write_record(tmp_path, content))


def test_offload_of_version_1_has_the_same_hash_as_an_option_of_the_engine(
    tmp_path: Path,
) -> None:
    content = content_of(ON_GPU)
    for setup in (content["setup"], content["spec"]["setup"]):
        setup["cpu_offload"] = True
    spec = read_trial(write_record(tmp_path, content)).spec
    assert spec.setup.engine_options == {"cpu_offload": True}
    assert spec.config_hash() == digest([content["asked"], content["setup"]])


@pytest.mark.parametrize("root", [MEASURED, SIMULATED])
def test_the_table_of_version_1_reads_as_the_one_made_from_its_folders(
    root: Path, tmp_path: Path
) -> None:
    copy = DataSetPaths(Path(shutil.copytree(root, tmp_path / "copy")))
    old = upgraded_table("executions.parquet", read_parquet(copy.executions))
    rebuild(copy)
    new = upgraded_table("executions.parquet", read_parquet(copy.executions))
    assert set(old.columns) == set(new.columns)
    unknown = {"emissions_kg", "power_semantics", "prompt_text", "notes"}
    for name in set(read_parquet(root / "executions.parquet").column_names) & set(new.columns):
        if name in unknown:
            continue
        before, now = (frame[name].astype(object) for frame in (old, new))
        assert before.where(before.notna(), None).tolist() == now.where(now.notna(), None).tolist()
    assert old["emissions_kg"].isna().all()


@pytest.mark.parametrize("path", sorted(MEASURED.glob("sweeps/*")), ids=lambda path: path.stem)
def test_a_plan_of_version_1_is_read_as_it_was_written(path: Path) -> None:
    old, plan = content_of(path)["plan"], read_plan(path)
    assert plan.plan_version == PLAN_VERSION
    now = plan.model_dump(mode="json")
    for name in old.keys() - {"plan_version", "setups", "trials"}:
        assert now[name] == old[name], name
    assert [setup.hashed() for setup in plan.setups] == old["setups"]
    for before, trial in zip(old["trials"], now["trials"], strict=True):
        setup = plan.setups[trial.pop("setup")]
        assert (setup.model, setup.use_case) == (before.pop("model"), before.pop("use_case"))
        assert trial == {k: v for k, v in before.items() if k != "index"} | {
            "config_index": before["index"]
        }


# --- a running trial of version 1 -----------------------------------------------------------------


def running_content(old: Json) -> tuple[Json, list[Json]]:
    """spec.json and the lines of executions.jsonl as version 1 wrote them for a trial."""
    head = {
        "schema_version": 1,
        "spec": old["spec"],
        "origin": {"columns": old["columns"], "environment": old["environment"]},
        "order": old["order"],
    }
    sample = {
        "at_s": 0.1,
        "power_w": 137.0,
        "temperature_c": 41.0,
        "sm_clock_mhz": None,
        "memory_clock_mhz": None,
        "utilization": 98.0,
        "memory_used_bytes": 3_900_000_000,
        "throttle_reasons": 4,
    }
    lines = []
    for execution, raw in zip(old["executions"], old["codecarbon"], strict=True):
        telemetry = [{"prompt": execution["prompt"]} | sample]
        lines.append({"execution": execution, "codecarbon": raw, "telemetry": telemetry})
    return head, lines


def write_running(paths: DataSetPaths, head: Any, lines: list[Any], place: Path) -> Path:
    """A running trial; `place`: the frozen trial.json that it is made of."""
    trial = place.parent
    below = Path(*trial.parts[-5:-1])
    folder = paths.root / below / f".{trial.name}.partial"
    folder.mkdir(parents=True)
    (folder / "spec.json").write_text(json.dumps(head), encoding="utf-8")
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "executions.jsonl").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("path", FROZEN, ids=name_of)
def test_a_running_trial_of_version_1_is_sealed_as_the_present_one(
    paths: DataSetPaths, path: Path
) -> None:
    old = content_of(path)
    folder = write_running(paths, *running_content(old), path)
    assert paths.partial_trials() == [folder]
    (record,) = seal_left(paths)
    sealed = folder.with_name(path.parent.name)
    assert paths.sealed_trials() == [sealed]
    assert content_of(sealed / "trial.json")["schema_version"] == SCHEMA_VERSION
    assert read_trial(sealed) == record
    frozen = read_trial(path.parent)
    assert record.executions == frozen.executions
    for name in ("columns", "spec", "environment", "order", "codecarbon"):
        assert getattr(record, name) == getattr(frozen, name)
    telemetry = pq.read_table(sealed / "telemetry.parquet")["prompt_number"].to_pylist()
    assert telemetry == [one.prompt_number for one in record.executions]
    severities = {f.severity for f in validate_folders(paths, running=True)[1]}
    assert severities <= {"warning"}


def test_a_torn_line_of_a_running_trial_of_version_1_is_left_out(paths: DataSetPaths) -> None:
    head, lines = running_content(content_of(ON_GPU))
    folder = write_running(paths, head, lines[:3], ON_GPU)
    file = folder / "executions.jsonl"
    file.write_bytes(file.read_bytes()[:-40])
    assert len(read_partial(folder).measured) == 2


# --- a newer version ------------------------------------------------------------------------------


def sentence(known: int) -> str:
    """What every reader says of a newer file."""
    return (
        f"was written with version {TOO_NEW} of its format, this program reads up to version "
        f"{known}; update llm-energy-orchestrator"
    )


def test_a_newer_trial_is_refused_in_a_sentence(paths: DataSetPaths) -> None:
    spec = builders.spec()
    builders.seal_trial(paths, spec, [builders.measured(1, of=spec)])
    folder = paths.trial("pc", spec)
    write_record(folder, content_of(folder / "trial.json") | {"schema_version": TOO_NEW})
    with pytest.raises(ValueError, match=f"^trial.json: {sentence(SCHEMA_VERSION)}$"):
        read_trial(folder)
    assert read_all(paths)[1] == [
        f"{folder.relative_to(paths.root)}: trial.json: {sentence(SCHEMA_VERSION)}"
    ]


def test_a_newer_running_trial_is_refused_in_a_sentence_and_kept(paths: DataSetPaths) -> None:
    head, lines = running_content(content_of(ON_GPU))
    folder = write_running(paths, head | {"schema_version": TOO_NEW}, lines, ON_GPU)
    with pytest.raises(ValueError, match=f"^spec.json: {sentence(SCHEMA_VERSION)}$"):
        read_partial(folder)
    said = f"{folder}: can't be read as a running trial: spec.json: {sentence(SCHEMA_VERSION)}"
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        seal_left(paths)
    assert (folder / "executions.jsonl").exists()


def test_a_newer_plan_is_refused_in_a_sentence(tmp_path: Path) -> None:
    plan = content_of(next(SIMULATED.glob("sweeps/*")))["plan"] | {"plan_version": TOO_NEW}
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({"sha256": digest(plan, 64), "plan": plan}), encoding="utf-8")
    with pytest.raises(UserError) as refused:
        read_plan(path)
    assert refused.value.lines == (f"{path}: {sentence(PLAN_VERSION)}",)


def test_a_newer_table_is_refused_in_a_sentence(tmp_path: Path) -> None:
    paths = DataSetPaths(Path(shutil.copytree(SIMULATED, tmp_path / "copy")))
    rebuild(paths)
    table = read_parquet(paths.executions)
    metadata = table.schema.metadata | {b"schema_version": str(TOO_NEW).encode()}
    pq.write_table(table.replace_schema_metadata(metadata), paths.executions)
    with pytest.raises(UserError) as refused:
        read_data(paths)
    (line,) = refused.value.lines
    assert line.startswith(f"{paths.executions}: ")
    assert sentence(SCHEMA_VERSION) in line
    (finding,) = validate_folders(paths, running=False)[1]
    assert finding.line() == (
        f"error: executions.parquet: has schema version {TOO_NEW}, this program reads up to "
        f"{SCHEMA_VERSION}; rebuild it with `orchestrator summarize`"
    )


def test_the_table_of_an_earlier_version_is_no_fault_unless_rows_are_missing(
    tmp_path: Path,
) -> None:
    paths = DataSetPaths(Path(shutil.copytree(SIMULATED, tmp_path / "copy")))
    assert validate_folders(paths, running=False)[1] == []
    table = read_parquet(paths.executions)
    pq.write_table(table.slice(1), paths.executions)
    (finding,) = validate_folders(paths, running=False)[1]
    assert finding.what.startswith("differs from the trial folders")


@pytest.mark.parametrize("version", [0, -1, True, "1", "2", 1.0, None, [], {}])
def test_what_is_no_version_is_refused(tmp_path: Path, version: object) -> None:
    content = content_of(ON_GPU) | {"schema_version": version}
    with pytest.raises(ValueError, match=r"^trial\.json: schema_version is .*, not a version of"):
        read_trial(write_record(tmp_path, content))


# --- hostile files --------------------------------------------------------------------------------

Step = str | int
Way = tuple[Step, ...]

WRONG: tuple[Any, ...] = (None, 7, "x\ny", 10**400, [], {})
NEVER_RIGHT = {"?": {"?": []}}
"""Stands for no value of a record: neither a scalar, nor a list, nor an object that it has."""
FREE = ("codecarbon", "versions", "files")
"""Objects of a record whose keys another program or the user's machine decides."""
MODELS: tuple[type[BaseModel], ...] = (
    TrialRecord,
    TrialColumns,
    TrialSpec,
    Setup,
    Quantization,
    Configuration,
    Prompt,
    Execution,
    Machine,
    Pilot,
    Profile,
)
OPTIONAL = {
    name
    for model in MODELS
    for name, field in model.model_fields.items()
    if not field.is_required()
}
COMPUTED = {name for name, _, column in columns_of(Execution) if column.derived is not None}
"""Columns of an execution that are computed where they are not given."""


def ways(value: Any, way: Way = ()) -> Iterator[Way]:
    """The way to each value in a file's content; of a list only to its first one."""
    if way:
        yield way
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from ways(inner, (*way, name))
    if isinstance(value, list) and value:
        yield from ways(value[0], (*way, 0))


def at(content: Any, way: Way) -> Any:
    for step in way:
        content = content[step]
    return content


def changed(content: Json, way: Way, value: Any = ...) -> Json:
    """A copy with another value there; without `value`: with nothing there."""
    copy: Json = json.loads(json.dumps(content))
    inner = at(copy, way[:-1])
    if value is ...:
        del inner[way[-1]]
    else:
        inner[way[-1]] = value
    # version 1 had two copies that must agree
    if "setup" in copy and way[:2] in (("spec", "setup"), ("spec", "asked")):
        copy[str(way[1])] = copy["spec"].get(way[1])
    return copy


def records() -> dict[str, Json]:
    """A trial.json of each version, with a value in as many places as possible."""
    old = content_of(ON_GPU)
    spec = builders.spec()
    environment = {
        "python": "3.11",
        "platform": "Linux",
        "machine": {"name": "pc", "accelerator": "cpu"},
        "pilot": {
            "tokens_per_s": 1.0,
            "energy_j_per_token": 1.0,
            "energy_basis": "energy_j",
            "warm_up_s": 1.0,
            "warm_up_energy_j": 1.0,
        },
    }
    done = [builders.execution(1, of=spec, **builders.ON_GPU)]
    new = builders.record(spec, executions=done, environment=environment, files={"output.txt": "0"})
    return {"version 1": old, "version 2": json.loads(new.model_dump_json())}


def refusal(read: Callable[[], object]) -> str | None:
    """Why a file is refused; None: it was read. Any error but ValueError fails the test."""
    try:
        read()
    except ValueError as error:
        return str(error)
    return None


@pytest.mark.parametrize("version", ["version 1", "version 2"])
def test_a_field_that_is_missing_is_a_value_error(tmp_path: Path, version: str) -> None:
    content = records()[version]
    for way in ways(content):
        if way[-1] in ("sha256", 0):
            continue
        folder = write_record(tmp_path, changed(content, way))
        why = refusal(lambda folder=folder: read_trial(folder))
        may_be_missing = (
            way[-1] in OPTIONAL | COMPUTED
            or way[:2] == ("environment", way[-1])
            or any(name in way[:-1] for name in FREE)
        )
        if version == "version 1" and way[-1] in ("usable", "reasons"):
            may_be_missing = True  # they had a default, and nothing ever filled them
        if not may_be_missing:
            assert why is not None, way
        if why is not None:
            assert why.startswith("trial.json: "), way
            assert "\n" not in why, way


@pytest.mark.parametrize("version", ["version 1", "version 2"])
def test_a_field_of_another_type_is_a_value_error(tmp_path: Path, version: str) -> None:
    content = records()[version]
    for way in ways(content):
        if way[-1] == "sha256":
            continue
        for value in (*WRONG, NEVER_RIGHT):
            folder = write_record(tmp_path, changed(content, way, value))
            why = refusal(lambda folder=folder: read_trial(folder))
            # an environment of other facts is that of a newer program
            may_be_newer = way == ("environment",) or way[-1] in ANEW_IN_3
            if value == NEVER_RIGHT and "codecarbon" not in way[:-1] and not may_be_newer:
                assert why is not None, way
            if why is not None:
                assert why.startswith("trial.json: "), (way, value)
                assert "\n" not in why, (way, value)


@pytest.mark.parametrize("version", ["version 1", "version 2"])
def test_a_running_trial_with_a_wrong_field_is_a_line(paths: DataSetPaths, version: str) -> None:
    content = records()[version]
    if version == "version 1":
        head, lines = running_content(content)
    else:
        spec = builders.spec()
        item = builders.measured(1, of=spec)
        append(paths, spec, builders.origin(spec), "shuffled", [item])
        folder = paths.partial("pc", spec)
        head, lines = content_of(folder / "spec.json"), [json.loads(item.model_dump_json())]
        shutil.rmtree(folder)
    folder = write_running(paths, head, lines, ON_GPU)
    whole = {"head": head, "lines": lines[:1]}
    assert refusal(lambda: partial_record(folder)) is None
    for way in ways(whole):
        for value in (..., *WRONG, NEVER_RIGHT):
            if way in (("head",), ("lines",)) or (way == ("lines", 0) and value is ...):
                continue
            other = changed(whole, way, value)
            (folder / "spec.json").write_text(json.dumps(other["head"]), encoding="utf-8")
            text = json.dumps(other["lines"][0]) + "\n"
            (folder / "executions.jsonl").write_text(text, encoding="utf-8")
            why = refusal(lambda: partial_record(folder))
            if value == NEVER_RIGHT and "codecarbon" not in way and way[-1] not in ANEW_IN_3:
                assert why is not None, way
                for told in (*read_all(paths, unfinished=True)[1], *lines_of(paths)):
                    assert "\n" not in told, (way, value)


def lines_of(paths: DataSetPaths) -> list[str]:
    """What `validate` says of a data set with a running trial that can't be read."""
    lines = [finding.line() for finding in validate_folders(paths, running=True, tables=False)[1]]
    assert any("an unfinished trial that can't be read: " in line for line in lines)
    return lines


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("line", ["5", "[]", "{}", '""', "false", '{"execution": []}'])
def test_a_line_that_is_no_execution_is_refused_not_dropped(
    paths: DataSetPaths, version: int, line: str
) -> None:
    head, lines = running_content(content_of(ON_GPU))
    folder = write_running(paths, head, lines, ON_GPU)
    if version != 1:
        shutil.rmtree(folder)
        spec = builders.spec()
        append(paths, spec, builders.origin(spec), "shuffled", [builders.measured(1, of=spec)])
        folder = paths.partial("pc", spec)
    with (folder / "executions.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(line + "\n")
    with pytest.raises(ValueError, match=r"can't be read as a running trial: .+"):
        seal_left(paths)
    assert folder.exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.drop_columns(["started_at"]),
        lambda table: table.drop_columns(["flags"]),
        lambda table: table.set_column(0, "notes", pa.array([5] * table.num_rows)),
        lambda table: table.set_column(
            table.column_names.index("flags"), "flags", pa.array([5] * table.num_rows)
        ),
        lambda table: table.set_column(
            table.column_names.index("started_at"), "started_at", pa.array(["x"] * table.num_rows)
        ),
    ],
    ids=["no start", "no flags", "two notes", "flags are numbers", "start is no time"],
)
def test_a_damaged_table_of_version_1_is_a_user_error(
    tmp_path: Path, change: Callable[[pa.Table], pa.Table]
) -> None:
    paths = DataSetPaths(Path(shutil.copytree(SIMULATED, tmp_path / "copy")))
    pq.write_table(change(read_parquet(paths.executions)), paths.executions)
    with pytest.raises(UserError, match="`orchestrator summarize` makes it anew") as refused:
        read_data(paths)
    assert len(refused.value.lines) == 1


# --- the schema grows -----------------------------------------------------------------------------

KINDS: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "text": (str, builders.texts),
    "number": (int, st.integers(-(2**63), 2**63 - 1)),
    "share": (float, builders.finite),
    "flag": (bool, st.booleans()),
    "list": (
        tuple[str, ...],
        st.lists(st.from_regex("[a-z]{1,5}", fullmatch=True), max_size=3).map(tuple),
    ),
    "time": (
        AwareDatetime,
        st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)).map(  # noqa: DTZ001 - see map
            lambda time: time.replace(microsecond=0, tzinfo=UTC)
        ),
    ),
}
"""Kind of a column -> its type and what values it can have."""


class Growth(BaseModel):
    """A made-up column, and a value that a later program measures."""

    name: str
    kind: str
    nullable: bool
    default: Any
    value: Any

    def column(self) -> tuple[Any, Any]:
        """Type and default, as pydantic's create_model takes them."""
        kind = KINDS[self.kind][0]
        if self.nullable:
            return Annotated[kind | None, Column("made up", null="unknown")], self.default
        return Annotated[kind, Column("made up")], self.default

    def cell(self, value: Any) -> Any:
        """How a value stands in a table."""
        return ";".join(value) or "none" if isinstance(value, tuple) else value


@st.composite
def growths(draw: st.DrawFn) -> Growth:
    kind = draw(st.sampled_from(sorted(KINDS)))
    nullable = draw(st.booleans())
    values = KINDS[kind][1]
    return Growth(
        name=draw(st.from_regex("made_up_[a-z]{1,8}", fullmatch=True)),
        kind=kind,
        nullable=nullable,
        default=draw(st.none() | values if nullable else values),
        value=draw(st.none() | values if nullable else values),
    )


def grow(patch: pytest.MonkeyPatch, growth: Growth) -> type[Execution]:
    """Let the program be a later one whose executions have one more column."""
    field: dict[str, Any] = {growth.name: growth.column()}
    grown = create_model("Grown", __base__=Execution, **field)
    row = create_model("GrownRow", __base__=(JudgedColumns, grown, TrialColumns))
    measured = create_model("GrownMeasured", __base__=Measured, execution=(grown, ...))
    record = create_model("GrownRecord", __base__=TrialRecord, executions=(list[grown], ...))
    for module, name, model in (
        (trial_files, "Execution", grown),
        (trial_files, "Measured", measured),
        (trial_files, "TrialRecord", record),
        (tables, "ExecutionRow", row),
    ):
        patch.setattr(module, name, model)
    for model in (grown, record):  # where a pickle looks for them
        patch.setattr(sys.modules[__name__], model.__name__, model, raising=False)
    return grown


@settings(max_examples=40, deadline=None)
@given(growth=growths())
def test_a_column_that_is_new_is_at_its_default_in_what_was_written_without_it(
    growth: Growth, tmp_path_factory: pytest.TempPathFactory
) -> None:
    paths = DataSetPaths(tmp_path_factory.mktemp("grown"))
    shutil.copytree(SIMULATED / "cpu", paths.root / "cpu")
    sealed, running, later = (builders.spec(config_index=index) for index in (10, 11, 12))
    builders.seal_trial(paths, sealed, [builders.measured(1, of=sealed)])
    append(paths, running, builders.origin(running), "shuffled", [builders.measured(1, of=running)])
    with pytest.MonkeyPatch.context() as patch:
        grown = grow(patch, growth)
        old, faults = read_all(paths, unfinished=True)
        assert faults == []
        executions = [one for record in old.records() for one in record.executions]
        assert len(executions) == 6 + 1 + 1
        assert [getattr(one, growth.name) for one in executions] == [growth.default] * 8
        # what was cut off under the old program is sealed by the new one
        assert [len(record.executions) for record in seal_left(paths)] == [1]
        values = builders.execution(1, of=later).model_dump() | {growth.name: growth.value}
        new = trial_files.Measured(execution=grown(**values), codecarbon={})
        append(paths, later, builders.origin(later), "shuffled", [new])
        seal(paths, "pc", later)
        assert rebuild(paths) == (9, 6, [])
        cells = read_parquet(paths.executions)[growth.name].to_pylist()
        assert sorted(cells, key=repr) == sorted(
            [growth.cell(growth.default)] * 8 + [growth.cell(growth.value)], key=repr
        )
    # the program of today leaves out a column that it doesn't know
    assert rebuild(paths) == (9, 6, [])
    assert read_parquet(paths.executions).column_names == list(ExecutionRow.model_fields)


def test_a_grown_table_is_shorter_by_nothing(paths: DataSetPaths) -> None:
    """An environment of a program that recorded less has nothing in the places that are new."""
    assert Environment().model_dump(exclude_defaults=True) == {}
    spec = builders.spec()
    builders.seal_trial(paths, spec, [builders.measured(1, of=spec)])
    folder = paths.trial("pc", spec)
    content = content_of(folder / "trial.json")
    content["environment"] = {}
    assert read_trial(write_record(folder, content)).environment == Environment()


def test_what_a_newer_program_wrote_besides_is_left_out_and_told(paths: DataSetPaths) -> None:
    """A trial of a newer program, or of one with a meter of its own, is read without that."""
    spec = builders.spec()
    builders.seal_trial(paths, spec, [builders.measured(1, of=spec)])
    folder = paths.trial("pc", spec)
    before = read_trial(folder)
    content = content_of(folder / "trial.json")
    content["columns"]["galaxy"] = "Andromeda"
    content["environment"] |= {"weather": "rain", "orchestrator": "9.9"}
    content["executions"][0]["dark_energy_j"] = 1.5
    record = read_trial(write_record(folder, content))
    assert record.unknown_columns == ("dark_energy_j", "galaxy", "weather")
    assert record.executions == before.executions
    _, findings = validate_folders(paths, running=False, tables=False)
    told = next(finding.what for finding in findings if finding.severity == "warning")
    assert told == (
        "written by 9.9 of the program, with dark_energy_j, galaxy, weather, which version "
        f"{__version__} doesn't know and leaves out; update llm-energy-orchestrator"
    )


def test_a_running_trial_of_a_newer_program_is_refused_and_kept(paths: DataSetPaths) -> None:
    """Sealing would write it without what it holds besides."""
    head, lines = running_content(content_of(ON_GPU))
    head, lines = upgraded_running("spec.json", head, lines)
    lines[0]["execution"]["dark_energy_j"] = 1.5
    folder = write_running(paths, head, lines, ON_GPU)
    with pytest.raises(ValueError, match=r"a newer version .* \(it wrote dark_energy_j, which"):
        seal_left(paths)
    assert (folder / "executions.jsonl").exists()


def test_a_table_without_a_new_column_gets_its_default(paths: DataSetPaths) -> None:
    spec = builders.spec()
    builders.seal_trial(paths, spec, [builders.measured(1, of=spec)])
    rebuild(paths)
    table = read_parquet(paths.executions).drop_columns(["offload_fraction", "synthetic"])
    frame = upgraded_table("executions.parquet", table)
    assert (frame["offload_fraction"][0], frame["synthetic"][0]) == (0.0, False)


@pytest.mark.parametrize(
    ("column", "values", "says"),
    [
        ("energy_j", pa.array([5e-324]), "energy_j: must be 0 or at least 1e-30"),
        ("energy_j", pa.array([float("inf")]), "energy_j: Input should be less than or equal to"),
        ("pue", pa.array([-1.0]), "pue: Input should be greater than or equal to"),
        ("n_new_tokens", pa.array([-1]), "n_new_tokens: Input should be greater than or equal to"),
        ("top_p", pa.array([1e300]), "top_p: Input should be less than or equal to"),
        ("synthetic", pa.array([float("inf")]), "synthetic: holds other values than bool"),
        ("usable", pa.array(["x"]), "usable: holds other values than bool"),
        ("usable", pa.array([1]), "usable: holds other values than bool"),
        ("started_at", pa.array([1]), "started_at: holds other values than timestamp"),
        ("status", pa.array([None], pa.string()), "status: is null, which it never is"),
    ],
)
def test_a_table_that_holds_what_no_trial_can_is_told(
    paths: DataSetPaths, column: str, values: pa.Array, says: str
) -> None:
    spec = builders.spec(prompts=builders.prompts(["A prompt."]))
    builders.seal_trial(paths, spec, [builders.measured(1, of=spec)])
    rebuild(paths)
    table = read_parquet(paths.executions)
    assert len(upgraded_table("executions.parquet", table)) == 1
    changed = table.set_column(table.column_names.index(column), column, values)
    with pytest.raises(ValueError, match=says):
        upgraded_table("executions.parquet", changed)


# --- version 3 ------------------------------------------------------------------------------------

EXAMPLE = Path(__file__).parents[2] / "docs" / "example"
"""Its two trials were written by version 3."""
OF_VERSION_3 = sorted(EXAMPLE.glob("*/*/*/*/*/trial.json"))


@pytest.mark.parametrize("path", OF_VERSION_3, ids=name_of)
def test_a_trial_of_version_3_is_read_as_it_was_written(path: Path) -> None:
    old, record = content_of(path), read_trial(path.parent)
    assert (old["schema_version"], record.schema_version) == (3, SCHEMA_VERSION)
    now = record.model_dump(mode="json")
    assert now["columns"].pop("repetition") == old["columns"].pop("repeat") == 1
    assert now["columns"] == now["columns"] | old["columns"]
    for before, after in zip(old["executions"], now["executions"], strict=True):
        assert {name: after[name] for name in before if name != "started_at"} == {
            name: value for name, value in before.items() if name != "started_at"
        }


@pytest.mark.parametrize("path", OF_VERSION_3, ids=name_of)
def test_a_running_trial_of_version_3_is_sealed_as_the_present_one(
    paths: DataSetPaths, path: Path
) -> None:
    old = content_of(path)
    head = {
        "schema_version": 3,
        "spec": old["spec"],
        "origin": {"columns": old["columns"], "environment": old["environment"]},
        "order": old["order"],
    }
    lines = [
        {"execution": execution, "codecarbon": raw, "telemetry": []}
        for execution, raw in zip(old["executions"], old["codecarbon"], strict=True)
    ]
    write_running(paths, head, lines, path)
    (record,) = seal_left(paths)
    assert record.executions == read_trial(path.parent).executions
    assert record.columns == read_trial(path.parent).columns


def in_version_3(table: pa.Table) -> pa.Table:
    """Executions as version 3 wrote them: an older name, and empty texts for no entries."""
    old = table.rename_columns({"repetition": "repeat"})
    for name in LISTS:
        cells = ["" if cell == "none" else cell for cell in table[name].to_pylist()]
        place = old.column_names.index(name)
        old = old.set_column(place, name, pa.array(cells, pa.string()))
    return old.replace_schema_metadata({b"schema_version": b"3"})


def test_a_table_of_version_3_is_read_and_rewritten(paths: DataSetPaths) -> None:
    spec = builders.spec()
    builders.seal_trial(paths, spec, [builders.measured(1, of=spec, warning_flags=())])
    rebuild(paths)
    present = read_parquet(paths.executions)
    assert "none" in present["warning_flags"].to_pylist()
    old = in_version_3(present)
    upgraded = upgraded_table("executions.parquet", old)
    assert upgraded.columns.tolist() != old.column_names
    assert set(upgraded.columns) == set(present.column_names)
    assert upgraded["warning_flags"].tolist() == present["warning_flags"].to_pylist()
    pq.write_table(old, paths.executions)
    assert len(read_data(paths).all) == 1
    rebuild(paths)
    assert read_parquet(paths.executions) == present
