"""Rows of imported.parquet from rows of CodeCarbon's tables.

What CodeCarbon recorded is taken over; flags and notes say what is unknown or doubtful.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from orchestrator.dataset.imported import ImportedRow
from orchestrator.importer.emissions_files import Emissions, EmissionsRow
from orchestrator.units import J_PER_KWH
from orchestrator.unknowns import known, product

CONFIGURATION = ("max_length", "top_p", "top_k", "temperature")
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
    runs = Counter(row.texts.get("run_id") for row in table.rows)
    flags_of_table: set[str] = set()
    if _has_constant_cpu(table):
        flags_of_table.add("constant_cpu")
    rows = []
    for row in table.rows:
        flags = flags_of_table | _flags(row)
        run_id = row.texts.get("run_id")
        if run_id and runs[run_id] > 1:
            flags.add("same_run_id")
        text = None
        if texts:
            text = texts[row.number - 1]
        rows.append(_row(destination, name, row, text, flags))
    return rows


def _has_constant_cpu(table: Emissions) -> bool:
    """Whether the CPU's power never changes: then CodeCarbon assumed it instead of measuring."""
    powers = {row.numbers.get("cpu_power") for row in table.rows}
    return len(table.rows) >= CONSTANT_FROM and len(powers) == 1 and None not in powers


def _has_gpu(row: EmissionsRow) -> bool:
    """Whether CodeCarbon noted any GPU for a row."""
    return bool(
        row.texts.get("gpu_model") or row.numbers.get("gpu_count") or row.numbers.get("gpu_energy")
    )


def _notes(row: EmissionsRow, text: str | None) -> list[str]:
    """Why columns of a row are null."""
    notes = []
    if not row.numbers["energy_consumed"]:
        notes.append("energy_j: CodeCarbon wrote 0, so it measured nothing")
    if not row.numbers.get("gpu_energy"):
        if _has_gpu(row):
            notes.append("gpu_energy_cc_j: CodeCarbon wrote 0 or nothing, though there is a GPU")
        else:
            notes.append("gpu_energy_cc_j: no GPU")
    if text is None:
        notes.append("output_text: no output.txt from which it could be told")
    return notes


def _row(
    destination: Destination, name: str, row: EmissionsRow, text: str | None, flags: set[str]
) -> ImportedRow:
    """An imported measurement as a row of imported.parquet."""
    numbers, texts = row.numbers, row.texts
    # CodeCarbon writes 0 for an energy that it didn't measure; an execution takes some
    kwh = numbers["energy_consumed"] or None
    gpu_kwh = numbers.get("gpu_energy") or None
    return ImportedRow(
        execution=f"{name}#{row.number}",
        machine=destination.machine,
        model=destination.model,
        strategy=destination.strategy,
        use_case=destination.use_case,
        run=destination.run,
        timestamp=texts.get("timestamp"),
        project_name=texts.get("project_name"),
        run_id=texts.get("run_id"),
        max_length=numbers.get("max_length"),
        top_p=numbers.get("top_p"),
        top_k=numbers.get("top_k"),
        temperature=numbers.get("temperature"),
        window_s=numbers["duration"],
        energy_kwh=kwh,
        energy_j=product(kwh, J_PER_KWH),
        gpu_energy_cc_j=product(gpu_kwh, J_PER_KWH),
        cpu_energy_j=product(numbers.get("cpu_energy"), J_PER_KWH),
        ram_energy_j=product(numbers.get("ram_energy"), J_PER_KWH),
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
    return not row.numbers.keys() >= set(CONFIGURATION)


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
FLAGS_OF_TABLE = {"constant_cpu", "same_run_id"}
"""Flags that only all rows of a table together show."""
FLAGS_OF_ROW: dict[str, Callable[[EmissionsRow], bool]] = {
    "unknown_configuration": _lacks_configuration,
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
