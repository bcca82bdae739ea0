"""A row of imported.parquet from a row of CodeCarbon's: what is known, and flags and notes for what isn't."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from orchestrator.dataset.imported import ImportedRow
from orchestrator.importer.emissions_files import Emissions, EmissionsRow

J_PER_KWH = 3.6e6
CONFIGURATION = ("max_length", "top_p", "top_k", "temperature")
POWER_W = (0.5, 20_000.0)
"""Mean power of a host that computes. Outside of it: another unit (Wh for kWh is a factor of 1000), or no measurement."""
SUM_TOLERANCE = 0.01
CONSTANT_FROM = 3
"""Rows of a file from which equal CPU powers are taken for a model's constant."""
ASSUMED = {("CAN", "quebec"), ("USA", "kansas")}
"""Where CodeCarbon takes itself to be when its geographic look-up fails, by version (mlco2/codecarbon#854)."""


def imported_rows(
    place: Sequence[str], name: str, read: Emissions, texts: list[str] | None
) -> list[ImportedRow]:
    """Rows of one csv. `place`: machine, model, strategy, use case, run; `name`: of the csv in the data set."""
    runs = Counter(row.texts.get("run_id") for row in read.rows)
    powers = {row.numbers.get("cpu_power") for row in read.rows}
    of_file = (
        {"constant_cpu"}
        if len(read.rows) >= CONSTANT_FROM and len(powers) == 1 and powers != {None}
        else set()
    )
    rows = []
    for row in read.rows:
        flags = of_file | (
            {"same_run_id"}
            if runs[row.texts.get("run_id")] > 1 and row.texts.get("run_id")
            else set()
        )
        rows.append(_row(place, name, row, texts[row.number - 1] if texts else None, flags))
    return rows


def _row(
    place: Sequence[str], name: str, row: EmissionsRow, text: str | None, flags: set[str]
) -> ImportedRow:
    numbers, texts = row.numbers, row.texts
    machine, model, strategy, use_case, run = place
    notes = []
    kwh = numbers["energy_consumed"] or None
    if kwh is None:
        notes.append("energy_j: CodeCarbon wrote 0, so it measured nothing")
    gpu_kwh, gpu_name = numbers.get("gpu_energy"), texts.get("gpu_model")
    has_gpu = bool(gpu_name or numbers.get("gpu_count") or gpu_kwh)
    if not gpu_kwh:
        notes.append(
            "gpu_energy_cc_j: "
            + ("CodeCarbon wrote 0 or nothing, though there is a GPU" if has_gpu else "no GPU")
        )
    if text is None:
        notes.append("text: no output.txt from which it could be told")
    return ImportedRow(
        execution=f"{name}#{row.number}",
        machine=machine,
        model=model,
        strategy=strategy,
        use_case=use_case,
        run=run,
        timestamp=texts.get("timestamp"),
        project_name=texts.get("project_name"),
        run_id=texts.get("run_id"),
        max_length=numbers.get("max_length"),
        top_p=numbers.get("top_p"),
        top_k=numbers.get("top_k"),
        temperature=numbers.get("temperature"),
        window_s=numbers["duration"],
        energy_kwh=kwh,
        energy_j=kwh and kwh * J_PER_KWH,
        gpu_energy_cc_j=gpu_kwh * J_PER_KWH if gpu_kwh else None,
        cpu_energy_j=_joules(numbers.get("cpu_energy")),
        ram_energy_j=_joules(numbers.get("ram_energy")),
        emissions_kg=numbers.get("emissions"),
        country_iso_code=texts.get("country_iso_code"),
        tracking_mode=texts.get("tracking_mode"),
        codecarbon_version=texts.get("codecarbon_version"),
        cpu_model=texts.get("cpu_model"),
        gpu_name=gpu_name,
        flags=tuple(sorted({"imported", *flags, *_flags(row, has_gpu=has_gpu)})),
        notes=tuple(notes),
        text=text,
    )


def _flags(row: EmissionsRow, *, has_gpu: bool) -> set[str]:
    """Labels for caution that follow from one row."""
    numbers, texts = row.numbers, row.texts
    found = {"unknown_tokens", "unknown_seed"}
    if any(name not in numbers for name in CONFIGURATION):
        found.add("unknown_configuration")
    if has_gpu and not numbers.get("gpu_energy"):
        found.add("zero_gpu_energy")
    kwh, duration = numbers["energy_consumed"], numbers["duration"]
    if kwh and duration and not POWER_W[0] <= kwh * J_PER_KWH / duration <= POWER_W[1]:
        found.add("implausible_power")
    parts = [numbers.get(f"{part}_energy") for part in ("cpu", "gpu", "ram")]
    if (
        kwh
        and None not in parts
        and abs(sum(part or 0.0 for part in parts) - kwh) > SUM_TOLERANCE * kwh
    ):
        found.add("energy_sum_differs")
    if (texts.get("country_iso_code"), texts.get("region", "").lower()) in ASSUMED:
        found.add("assumed_country")
    if texts.get("tracking_mode") == "machine":
        found.add("whole_machine")
    return found


def _joules(kwh: float | None) -> float | None:
    return None if kwh is None else kwh * J_PER_KWH
