"""Readers for every earlier version of trials, sweep plans and tables.

Each step turns what one version wrote into what the next one would have written, as plain JSON
values. A file that was written by a newer version than this program's is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import TypeAdapter, ValidationError

from orchestrator.dataset.energy import (
    GPU_ENERGIES,
    TOTAL_ENERGY,
    energy_rel_statistical,
    energy_rel_systematic,
    energy_rel_uncertainty,
)
from orchestrator.dataset.parquet import NO_ENTRIES, SEPARATOR, arrow_schema, as_text, table_version
from orchestrator.dataset.reading import NOT_AS_WRITTEN, first_fault, list_in, reason_of
from orchestrator.dataset.schema import SCHEMA_VERSION, ExecutionRow
from orchestrator.nouns import ERROR_KINDS, STATUSES
from orchestrator.unknowns import product, quotient

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

Json = dict[str, Any]

RENAMED_IN_2 = {
    "prompt": "prompt_number",
    "flags": "warning_flags",
    "text": "output_text",
}
"""Columns of an execution: name in version 1 -> name in version 2."""
RENAMED_IN_4 = {"repeat": "repetition"}
"""Columns of a trial: name in version 3 -> name in version 4."""
LISTS = ("dormant", "limits", "warning_flags", "notes", "reasons")
"""Columns of executions.parquet whose cells hold lists."""


class NewerVersionError(ValueError):
    """A file was written by a newer program than this one."""

    def __init__(self, name: str, version: int, known: int) -> None:
        super().__init__(
            f"{name}: was written with version {version} of its format, this program reads up to "
            f"version {known}; update llm-energy-orchestrator"
        )


KNOWN: dict[str, set[str | None]] = {
    "status": {*STATUSES},
    "error_kind": {*ERROR_KINDS, None},
    "energy_basis": {*GPU_ENERGIES, TOTAL_ENERGY, None},
}
"""Columns of executions.parquet that hold these texts only."""


def _version_of(name: str, content: Json, key: str, known: int) -> int:
    """The version that a file says it has. Raises ValueError where it can't be read."""
    version = content.get(key)
    # in Python True is an int, and equals 1
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError(f"{name}: {key} is {version!r}, not a version of this program")
    if version > known:
        raise NewerVersionError(name, version, known)
    return version


def upgraded_record(name: str, content: Json) -> Json:
    """The content of a trial.json as the present version has it.

    `name` stands in messages. Raises ValueError for another version, and ValueError or one of
    NOT_AS_WRITTEN where the content is not that of its version.
    """
    for version in range(
        _version_of(name, content, "schema_version", SCHEMA_VERSION), SCHEMA_VERSION
    ):
        content = RECORD_STEPS[version](content)
    return content


def upgraded_running(name: str, head: Json, lines: list[Json]) -> tuple[Json, list[Json]]:
    """spec.json and the lines of executions.jsonl of a running trial, as the present version.

    Raises as `upgraded_record`.
    """
    for version in range(_version_of(name, head, "schema_version", SCHEMA_VERSION), SCHEMA_VERSION):
        head, lines = RUNNING_STEPS[version](head, lines)
    return head, lines


def upgraded_plan(name: str, plan: Json, known: int) -> Json:
    """The content of a sweep's plan as the present version has it. Raises as `upgraded_record`."""
    for version in range(_version_of(name, plan, "plan_version", known), known):
        plan = PLAN_STEPS[version](plan)
    return plan


def upgraded_table(name: str, table: pa.Table) -> pd.DataFrame:
    """executions.parquet of any version as a frame with the present names and types.

    Columns that the program got since the table was written have their default.

    Raises ValueError for a newer version, and where its columns are not those of its version.
    """
    version = table_version(table.schema) or 1
    if version > SCHEMA_VERSION:
        raise NewerVersionError(name, version, SCHEMA_VERSION)
    frame: pd.DataFrame = table.to_pandas(ignore_metadata=True)
    try:
        for step in range(version, SCHEMA_VERSION):
            frame = TABLE_STEPS[step](frame)
    except NOT_AS_WRITTEN as error:
        raise ValueError(reason_of(error)) from error
    frame = with_defaults(frame)
    check_values(frame)
    return frame


def with_defaults(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame, with the columns that the program got since its table was written."""
    for column, field in ExecutionRow.model_fields.items():
        if column not in frame and not field.is_required():
            default = field.get_default(call_default_factory=True)
            frame[column] = as_text(default) if isinstance(default, tuple) else default
    return frame


def check_values(frame: pd.DataFrame) -> None:
    """Raise ValueError naming a column that holds what no trial's file may hold.

    A table is derived, so it is read without the models. Its types are those of the schema, and its
    numbers within the bounds of the models.
    """
    import pyarrow as pa

    for field in arrow_schema(ExecutionRow):
        if field.name not in frame:
            continue
        column = frame[field.name]
        if not field.nullable and column.isna().any():
            raise ValueError(f"{field.name}: is null, which it never is")
        # Arrow would take a time for a number, and a number for a truth value
        kinds = {pa.timestamp("ms", tz="UTC"): "M", pa.bool_(): "bO"}.get(field.type, "biufO")
        try:
            if column.dtype.kind not in kinds and column.notna().any():
                raise TypeError(column.dtype)  # noqa: TRY301 - told as those below
            values = pa.Array.from_pandas(column, type=field.type)
        except (pa.ArrowException, ValueError, TypeError) as error:
            raise ValueError(f"{field.name}: holds other values than {field.type}") from error
        if field.type in (pa.float64(), pa.int64()):
            _check_bounds(field.name, values.drop_null().to_numpy(zero_copy_only=False))
        known = KNOWN.get(field.name)
        if known is not None and (strange := sorted(set(values.unique().to_pylist()) - known)):
            raise ValueError(f"{field.name}: holds {strange[0]!r}")


def _check_bounds(name: str, numbers: np.ndarray[Any, Any]) -> None:
    """Raise ValueError where a column's numbers are beyond the bounds of its field."""
    field = ExecutionRow.model_fields[name]
    annotation: Any = Annotated[(field.annotation, *field.metadata)]
    number_type: TypeAdapter[Any] = TypeAdapter(annotation)
    # a field takes a range of numbers, of which it may leave out those next to 0
    parts = [part for part in (numbers, numbers[numbers > 0]) if part.size]
    try:
        for part in parts:
            number_type.validate_python(part.min().item())
            number_type.validate_python(part.max().item())
    except ValidationError as error:
        raise ValueError(f"{name}: {first_fault(error)}") from error


# --- version 1 -> 2 -------------------------------------------------------------------------


def _setup_1(setup: Json) -> Json:
    """`cpu_offload` became an option of the engine."""
    options = {}
    if setup.get("cpu_offload"):
        options["cpu_offload"] = True
    return _without(setup, "cpu_offload") | {"engine_options": options}


def _spec_1(spec: Json) -> Json:
    """A trial's specification: two keys renamed, the setup upgraded."""
    return _without(spec, "index", "asked", "setup") | {
        "config_index": spec["index"],
        "configuration": spec["asked"],
        "setup": _setup_1(spec["setup"]),
    }


def _columns_1(columns: Json) -> Json:
    """A trial's columns: one key renamed."""
    return _without(columns, "index") | {"config_index": columns["index"]}


def _environment_1(environment: Json) -> Json:
    """What the power sensor means went into the rows."""
    return _without(environment, "power_semantics")


def _execution_1(execution: Json, codecarbon: Json, power_semantics: str | None) -> Json:
    """Names of columns; the verdict, never filled there, went; emissions came in."""
    for name in ("usable", "reasons"):
        if execution.get(name) is not None:
            raise TypeError(f"{name} was never filled there")
    notes = list(list_in(execution, "notes"))
    emissions_kg = _emissions_kg_1(execution, codecarbon)
    if emissions_kg is None:
        notes.append("emissions_kg: not recorded")
    return _renamed(_without(execution, "usable", "reasons"), RENAMED_IN_2) | {
        "emissions_kg": emissions_kg,
        "power_semantics": power_semantics,
        "notes": notes,
    }


def _emissions_kg_1(execution: Json, codecarbon: Json) -> float | None:
    """CodeCarbon's emissions, for the part of its energy that the row has."""
    emissions_kg, whole_kwh = codecarbon.get("emissions"), codecarbon.get("energy_consumed")
    return quotient(product(emissions_kg, execution["energy_kwh"]), whole_kwh)


def _record_1(content: Json) -> Json:
    """trial.json: its parts upgraded, and the copies of two of them left out."""
    environment = content["environment"]
    power_semantics = environment.get("power_semantics")
    spec = content["spec"]
    if (content["setup"], content["asked"]) != (spec["setup"], spec["asked"]):
        raise ValueError("trial.json: setup or configuration differ from those of its spec")
    executions = list_in(content, "executions")
    codecarbon = list_in(content, "codecarbon")
    # A record that is missing is a fault that `validate` tells; the executions are there.
    padded = codecarbon + [{}] * (len(executions) - len(codecarbon))
    pairs = zip(executions, padded, strict=False)
    return _without(content, "setup", "asked") | {
        "schema_version": 2,
        "columns": _columns_1(content["columns"]),
        "spec": _spec_1(spec),
        "environment": _environment_1(environment),
        "executions": [_execution_1(one, raw, power_semantics) for one, raw in pairs],
    }


def _running_1(head: Json, lines: list[Json]) -> tuple[Json, list[Json]]:
    """spec.json and the lines of executions.jsonl of a trial that runs."""
    origin = head["origin"]
    power_semantics = origin["environment"].get("power_semantics")
    new_origin = {
        "columns": _columns_1(origin["columns"]),
        "environment": _environment_1(origin["environment"]),
    }
    new_head = head | {"schema_version": 2, "spec": _spec_1(head["spec"]), "origin": new_origin}
    new_lines = []
    for line in lines:
        execution = _execution_1(line["execution"], line["codecarbon"], power_semantics)
        samples = list_in(line, "telemetry")
        telemetry = [_renamed(sample, {"prompt": "prompt_number"}) for sample in samples]
        new_lines.append(line | {"execution": execution, "telemetry": telemetry})
    return new_head, new_lines


def _without(values: Json, *names: str) -> Json:
    """A mapping without some of its keys."""
    return {name: value for name, value in values.items() if name not in names}


def _renamed(values: Json, names: dict[str, str]) -> Json:
    """A mapping with some of its keys renamed."""
    return {names.get(name, name): value for name, value in values.items()}


def _plan_1(plan: Json) -> Json:
    """A sweep's plan: its setups upgraded, a key of its trials renamed."""
    return plan | {
        "plan_version": 2,
        "setups": [_setup_1(setup) for setup in list_in(plan, "setups")],
        "trials": [_renamed(trial, {"index": "config_index"}) for trial in list_in(plan, "trials")],
    }


def _plan_2(plan: Json) -> Json:
    """A sweep's plan: its trials name their setup by its place."""
    setups = list_in(plan, "setups")
    places = {(setup["model"], setup["use_case"]): place for place, setup in enumerate(setups)}
    trials = [
        _without(trial, "model", "use_case") | {"setup": places[trial["model"], trial["use_case"]]}
        for trial in list_in(plan, "trials")
    ]
    return plan | {"plan_version": 3, "trials": trials}


def _table_1(frame: pd.DataFrame) -> pd.DataFrame:
    """executions.parquet: columns renamed, lists joined to texts, times parsed."""
    import pandas as pd

    frame = frame.rename(columns=RENAMED_IN_2 | {"index": "config_index"})
    for name in LISTS:
        lists = frame[name]
        frame[name] = [None if entries is None else SEPARATOR.join(entries) for entries in lists]
    frame["started_at"] = pd.to_datetime(frame["started_at"], utc=True, format="ISO8601")
    for name in ("emissions_kg", "power_semantics", "prompt_text"):
        frame[name] = None
    return frame


# --- version 2 -> 3 -------------------------------------------------------------------------

ANEW_IN_3 = ("energy_rel_uncertainty", "energy_per_token_j")
"""Columns that follow from others by another rule since version 3."""


def _execution_2(execution: Json, pue: float | None) -> Json:
    """The PUE came in; what follows from it is computed anew."""
    return _without(execution, *ANEW_IN_3) | {"pue": pue}


def _pue_2(environment: Json) -> float | None:
    """The PUE that CodeCarbon was given."""
    machine = environment.get("machine")
    return machine["pue"] if machine else None


def _record_2(content: Json) -> Json:
    """trial.json: its executions upgraded."""
    pue = _pue_2(content["environment"])
    executions = [_execution_2(one, pue) for one in list_in(content, "executions")]
    return content | {"schema_version": 3, "executions": executions}


def _running_2(head: Json, lines: list[Json]) -> tuple[Json, list[Json]]:
    """spec.json and the lines of executions.jsonl of a trial that runs."""
    pue = _pue_2(head["origin"]["environment"])
    new_lines = [line | {"execution": _execution_2(line["execution"], pue)} for line in lines]
    return head | {"schema_version": 3}, new_lines


def _table_2(frame: pd.DataFrame) -> pd.DataFrame:
    """executions.parquet: what follows by another rule is computed anew.

    A table doesn't say the PUE: energies without a GPU keep it until the table is rebuilt.
    """
    rows: list[Json] = frame.to_dict("records")  # type: ignore[assignment]
    for name, derive in (
        ("energy_rel_systematic", energy_rel_systematic),
        ("energy_rel_statistical", energy_rel_statistical),
        ("energy_rel_uncertainty", energy_rel_uncertainty),
    ):
        frame[name] = [derive(row) for row in rows]
    return frame


# --- version 3 -> 4 -------------------------------------------------------------------------


def _record_3(content: Json) -> Json:
    """trial.json: a key of its columns renamed."""
    columns = _renamed(content["columns"], RENAMED_IN_4)
    return content | {"schema_version": 4, "columns": columns}


def _running_3(head: Json, lines: list[Json]) -> tuple[Json, list[Json]]:
    """spec.json of a trial that runs; its executions stay as they are."""
    origin = head["origin"]
    new_origin = origin | {"columns": _renamed(origin["columns"], RENAMED_IN_4)}
    return head | {"schema_version": 4, "origin": new_origin}, lines


def _table_3(frame: pd.DataFrame) -> pd.DataFrame:
    """executions.parquet: a column renamed, lists without entries spelled out."""
    frame = frame.rename(columns=RENAMED_IN_4)
    for name in LISTS:
        if name in frame:
            frame[name] = frame[name].replace("", NO_ENTRIES)
    return frame


RECORD_STEPS: dict[int, Callable[[Json], Json]] = {1: _record_1, 2: _record_2, 3: _record_3}
RUNNING_STEPS: dict[int, Callable[[Json, list[Json]], tuple[Json, list[Json]]]] = {
    1: _running_1,
    2: _running_2,
    3: _running_3,
}
PLAN_STEPS: dict[int, Callable[[Json], Json]] = {1: _plan_1, 2: _plan_2}
TABLE_STEPS: dict[int, Callable[[pd.DataFrame], pd.DataFrame]] = {
    1: _table_1,
    2: _table_2,
    3: _table_3,
}
"""Version -> the step to the next one."""
