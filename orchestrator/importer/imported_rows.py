"""Rows of imported.parquet from rows of CodeCarbon's tables.

What CodeCarbon recorded is taken over; flags and notes say what is unknown or doubtful.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from orchestrator.dataset.imported import ImportedRow
from orchestrator.importer.emissions_files import Emissions, EmissionsRow
from orchestrator.nouns import DOMAIN
from orchestrator.units import J_PER_KWH
from orchestrator.unknowns import known, product

CONFIGURATION = {
    "max_length": (1, float("inf")),
    "top_p": DOMAIN["top_p"],
    "top_k": DOMAIN["top_k"],
    "temperature": DOMAIN["temperature"],
}
"""Hyperparameter -> (lowest, highest value). Others may have measured with any length."""
WHOLE_NUMBERS = ("max_length", "top_k")
GPU_COLUMNS = {"gpu_energy", "gpu_power", "gpu_count", "gpu_model"}
PARTS_OF_ENERGY = ("cpu_energy", "gpu_energy", "ram_energy")
"""Columns of CodeCarbon whose sum is its `energy_consumed`."""
POWER_W = (0.5, 20_000.0)
"""Mean power of a host that computes.

Outside of this range the energy has another unit (Wh for kWh is a factor of 1000) or was not
measured.
"""
SUM_TOLERANCE = 0.01
"""Largest share by which the parts of an energy may differ from its total."""
CONSTANT_FROM = 3
"""From so many rows on, equal CPU powers in a file mean that the power is an assumed constant."""
ASSUMED = {("CAN", "quebec"), ("USA", "kansas")}
"""Where CodeCarbon assumes to be when its geographic look-up fails (mlco2/codecarbon#854)."""


NULLABLE = {
    "gpu_energy": "gpu_energy_cc_j",
    "cpu_energy": "cpu_energy_j",
    "ram_energy": "ram_energy_j",
    "emissions": "emissions_kg",
    "gpu_model": "gpu_name",
} | {
    name: name
    for name in (
        *CONFIGURATION, "timestamp", "project_name", "run_id", "task_name", "country_iso_code",
        "tracking_mode", "codecarbon_version", "cpu_model",
    )
}  # fmt: skip
"""Column of CodeCarbon that a row may lack -> column of imported.parquet."""


@dataclass(frozen=True)
class Destination:
    """Where imported files belong in the data set."""

    machine: str
    model: str
    strategy: str
    use_case: str
    run: str
    """The folders below the use case, joined by "/"; "" where there are none."""

    def file(self, name: str) -> str:
        """Path of a file below imported/."""
        folder = PurePosixPath(self.machine, self.model, self.strategy, self.use_case, self.run)
        return str(folder / name)


def imported_rows(
    destination: Destination, name: str, table: Emissions, texts: list[str] | None
) -> list[ImportedRow]:
    """Rows of imported.parquet for one table.

    `name`: path of the table in the data set. `texts`: the text of each row of the table,
    unreadable rows included; None where the texts can't be told apart.
    """
    flags_of_table: set[str] = set()
    if _has_constant_cpu(table):
        flags_of_table.add("constant_cpu")
    rows = []
    for row in table.rows:
        flags = flags_of_table | _flags(row)
        text = None
        if texts:
            text = texts[row.number - 1]
        rows.append(_row(destination, name, row, text, flags))
    return rows


def _has_constant_cpu(table: Emissions) -> bool:
    """Whether the CPU's power never changes: then CodeCarbon assumed it instead of measuring."""
    powers = {row.numbers.get("cpu_power") for row in table.rows}
    # 0 is no constant but a power that wasn't measured
    return len(table.rows) >= CONSTANT_FROM and len(powers) == 1 and not powers & {None, 0}


def _has_gpu(row: EmissionsRow) -> bool:
    """Whether CodeCarbon noted any GPU for a row."""
    return bool(
        row.texts.get("gpu_model") or row.numbers.get("gpu_count") or row.numbers.get("gpu_energy")
    )


def _notes(row: EmissionsRow, text: str | None) -> list[str]:
    """Why columns of a row are null."""
    notes = {}
    if not row.numbers["energy_consumed"]:
        notes["energy_j"] = "CodeCarbon wrote 0, so it measured nothing"
    for column, name in NULLABLE.items():
        if column in row.unread:
            # ";" stands between the notes of a row
            notes[name] = row.unread[column].replace(";", ",")
    for column in ("cpu_energy", "ram_energy"):
        if not row.numbers.get(column):
            notes.setdefault(NULLABLE[column], _missing_energy(row, column))
    if not row.numbers.get("gpu_energy"):
        notes.setdefault("gpu_energy_cc_j", _missing_gpu_energy(row))
    for name in CONFIGURATION:
        if name in row.numbers and not _is_configuration(row, name):
            notes[name] = f"the csv says {row.numbers[name]:g}, which no {name} can be"
    if text is None:
        notes["output_text"] = "no output.txt from which it could be told"
    return [f"{name}: {reason}" for name, reason in notes.items()]


def _missing_energy(row: EmissionsRow, column: str) -> str:
    """Why the energy of CPU or RAM is unknown."""
    if column in row.numbers:
        return "CodeCarbon wrote 0, as where it can't read a counter"
    return "not recorded"


def _missing_gpu_energy(row: EmissionsRow) -> str:
    """Why the energy of GPUs is unknown."""
    if not GPU_COLUMNS & row.columns:
        return "not recorded, the csv has no columns for GPUs"
    if _has_gpu(row):
        return "CodeCarbon wrote 0 or nothing, though there is a GPU"
    return "no GPU"


def _is_configuration(row: EmissionsRow, name: str) -> bool:
    """Whether the number in a hyperparameter's column can be one."""
    low, high = CONFIGURATION[name]
    value = row.numbers[name]
    return low <= value <= high and (name not in WHOLE_NUMBERS or value.is_integer())


def _configuration(row: EmissionsRow, name: str) -> float | None:
    """A hyperparameter; None where it wasn't recorded or the number can't be one."""
    if name in row.numbers and _is_configuration(row, name):
        return row.numbers[name]
    return None


def _run_id(row: EmissionsRow) -> str | None:
    """The run: CodeCarbon 1.x called it experiment_id, a name that means another thing since."""
    if "run_id" in row.columns:
        return row.texts.get("run_id")
    return row.texts.get("experiment_id")


def _row(
    destination: Destination, name: str, row: EmissionsRow, text: str | None, flags: set[str]
) -> ImportedRow:
    """An imported measurement as a row of imported.parquet."""
    numbers, texts = row.numbers, row.texts
    # CodeCarbon writes 0 for an energy that it didn't measure; an execution takes some
    kwh = numbers["energy_consumed"] or None
    gpu_kwh, cpu_kwh, ram_kwh = (
        numbers.get(name) or None for name in ("gpu_energy", "cpu_energy", "ram_energy")
    )
    return ImportedRow(
        execution=f"{name}#{row.number}",
        machine=destination.machine,
        model=destination.model,
        strategy=destination.strategy,
        use_case=destination.use_case,
        run=destination.run,
        codecarbon_timestamp=texts.get("timestamp"),
        project_name=texts.get("project_name"),
        run_id=_run_id(row),
        task_name=texts.get("task_name"),
        max_length=_configuration(row, "max_length"),
        top_p=_configuration(row, "top_p"),
        top_k=_configuration(row, "top_k"),
        temperature=_configuration(row, "temperature"),
        window_s=numbers["duration"],
        energy_kwh=kwh,
        energy_j=product(kwh, J_PER_KWH),
        gpu_energy_cc_j=product(gpu_kwh, J_PER_KWH),
        cpu_energy_j=product(cpu_kwh, J_PER_KWH),
        ram_energy_j=product(ram_kwh, J_PER_KWH),
        emissions_kg=numbers.get("emissions"),
        country_iso_code=texts.get("country_iso_code"),
        tracking_mode=texts.get("tracking_mode"),
        codecarbon_version=texts.get("codecarbon_version"),
        cpu_model=texts.get("cpu_model"),
        gpu_name=texts.get("gpu_model"),
        warning_flags=tuple(sorted(flags)),
        notes=tuple(_notes(row, text)),
        output_text=text,
    )


def _lacks_configuration(row: EmissionsRow) -> bool:
    """Whether a hyperparameter wasn't recorded."""
    return None in [_configuration(row, name) for name in CONFIGURATION]


def _has_other_numbers(row: EmissionsRow) -> bool:
    """Whether a hyperparameter's column holds what none can be, as the temperature of a GPU."""
    return any(name in row.numbers and not _is_configuration(row, name) for name in CONFIGURATION)


def _has_zero_gpu_energy(row: EmissionsRow) -> bool:
    """Whether there is a GPU whose energy wasn't measured."""
    return _has_gpu(row) and not row.numbers.get("gpu_energy")


def _has_implausible_power(row: EmissionsRow) -> bool:
    """Whether energy over time is no power of a host; unknown energies have a note instead."""
    kwh, duration_s = row.numbers["energy_consumed"], row.numbers["duration"]
    if not kwh or not duration_s:
        return False
    low, high = POWER_W
    return not low <= kwh * J_PER_KWH / duration_s <= high


def _sum_differs(row: EmissionsRow) -> bool:
    """Whether the parts of the energy, all known, don't add up to its total."""
    kwh = row.numbers["energy_consumed"]
    parts = known(row.numbers.get(name) for name in PARTS_OF_ENERGY)
    if not kwh or len(parts) < len(PARTS_OF_ENERGY):
        return False
    return abs(sum(parts) - kwh) > SUM_TOLERANCE * kwh


def _has_assumed_country(row: EmissionsRow) -> bool:
    """Whether the place is one that CodeCarbon takes where it knows none."""
    return (row.texts.get("country_iso_code"), row.texts.get("region", "").lower()) in ASSUMED


FLAGS_OF_EVERY_ROW = {"imported", "unknown_tokens", "unknown_seed"}
FLAGS_OF_TABLE = {"constant_cpu"}
"""Flags that only all rows of a table together show."""
FLAGS_OF_ROW: dict[str, Callable[[EmissionsRow], bool]] = {
    "unknown_configuration": _lacks_configuration,
    "not_a_configuration": _has_other_numbers,
    "zero_cpu_energy": lambda row: row.numbers.get("cpu_energy") == 0,
    "zero_gpu_energy": _has_zero_gpu_energy,
    "implausible_power": _has_implausible_power,
    "energy_sum_differs": _sum_differs,
    "assumed_country": _has_assumed_country,
    "whole_machine": lambda row: row.texts.get("tracking_mode") == "machine",
}
"""Flag of IMPORT_FLAGS -> whether one row alone shows it."""


def _flags(row: EmissionsRow) -> set[str]:
    """Flags that follow from one row alone."""
    return FLAGS_OF_EVERY_ROW | {name for name, applies in FLAGS_OF_ROW.items() if applies(row)}
