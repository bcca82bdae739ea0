"""Measurements that were made without this program, and imported into a data set.

Their files are copied below imported/, and their rows stand in imported.parquet. They are not
trials: most of what a trial must record (configuration, seeds, tokens, the model's revision) was
never recorded, and nothing here guesses it. So they have a table of their own, with null where a
value is unknown, and no sum of summary.parquet includes them.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from typing import Annotated

from pydantic import TypeAdapter, ValidationError

from orchestrator.atomic_files import write_atomically
from orchestrator.dataset.delimited import cell_text, plain_cell
from orchestrator.dataset.flags import Severity
from orchestrator.dataset.parquet import to_table, write_parquet
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.reading import first_fault, parsed
from orchestrator.nouns import Column, MomentText, Noun, PathBelow
from orchestrator.outside_files import read_text
from orchestrator.unknowns import known

IMPORT_FLAGS: dict[str, tuple[str, Severity]] = {
    "imported": ("made without this program; on every row", "told"),
    "unknown_tokens": ("no such file says how many tokens were generated; on every row", "told"),
    "unknown_seed": ("no such file says the seed of the generation; on every row", "told"),
    "unknown_configuration": (
        "the csv has no columns max_length, top_p, top_k and temperature",
        "told",
    ),
    "zero_gpu_energy": ("a GPU is named, but its energy is 0 or missing: null here", "doubtful"),
    "constant_cpu": (
        "all rows (three or more) of the file have the same CPU power: a model, no measurement",
        "told",
    ),
    "whole_machine": (
        "CodeCarbon tracked the machine, not the process: everything that ran is in it",
        "doubtful",
    ),
    "same_run_id": (
        "several rows of one run, whose later ones may contain the earlier ones: add none up",
        "doubtful",
    ),
    "contains_tasks": (
        "the total of a run whose tasks are rows, too: add up the tasks or the total",
        "told",
    ),
    "overlapping": (
        "another run on the same machine at the same time, whose energy it may have: add none up",
        "doubtful",
    ),
    "copies_differ": (
        "another file has this measurement with another energy: numbers may have been changed",
        "doubtful",
    ),
    "zero_cpu_energy": (
        "the CPU's energy is 0, as where its counter can't be read: null, and not in the total",
        "doubtful",
    ),
    "not_a_configuration": (
        "a column named like a hyperparameter holds what none can be: null here, see notes",
        "told",
    ),
    "energy_sum_differs": (
        "CPU, GPU and RAM don't add up to the total within 1 %: numbers may have been changed",
        "doubtful",
    ),
    "implausible_power": (
        "mean power below 0.5 W or above 20 kW: another unit, or no measurement",
        "doubtful",
    ),
    "assumed_country": (
        "Quebec or Kansas, which CodeCarbon takes when its look-up fails: maybe another grid",
        "doubtful",
    ),
}
"""Flag of imported.parquet -> (meaning, severity); imported_rows.py and measurements.py of the
importer set them."""
COUNTED_ELSEWHERE = frozenset({"contains_tasks", "same_run_id", "overlapping"})
"""Flags of rows whose energy may stand in other rows, too: no sum may have them."""


def describe_import_flags() -> str:
    """The table of import flags as Markdown, for the data dictionary."""
    lines = ["| flag | meaning | severity |", "|---|---|---|"]
    for name, (meaning, severity) in IMPORT_FLAGS.items():
        lines.append(f"| `{name}` | {meaning} | {severity} |")
    return "\n".join(lines)


class ImportedRow(Noun):
    """A row of imported.parquet, made from a row of an emissions.csv of CodeCarbon."""

    execution: Annotated[str, Column("id: the csv's path, #, the row's number in it from 1")]
    machine: Annotated[str, Column("as in the folder's name")]
    model: Annotated[
        str, Column("as in the folder's name; which revision or quantization is not known")
    ]
    strategy: Annotated[str, Column("sampling strategy, as in the folder's name")]
    use_case: Annotated[str, Column("as in the folder's name")]
    run: Annotated[str, Column("folders below the use case; empty: none")]
    codecarbon_timestamp: Annotated[
        str | None,
        Column(
            "as CodeCarbon wrote it: end of the measurement, local time of unknown zone",
            null="none",
        ),
    ]
    project_name: Annotated[str | None, Column("as CodeCarbon wrote it", null="none")]
    run_id: Annotated[
        str | None,
        Column("as CodeCarbon wrote it; its version 1 named it experiment_id", null="none"),
    ]
    task_name: Annotated[
        str | None, Column("task within the run, in CodeCarbon's task mode", null="no task")
    ] = None
    max_length: Annotated[
        float | None, Column("requested, where the csv has such a column", "tokens", "not recorded")
    ]
    top_p: Annotated[
        float | None, Column("requested, where the csv has such a column", null="not recorded")
    ]
    top_k: Annotated[
        float | None, Column("requested, where the csv has such a column", null="not recorded")
    ]
    temperature: Annotated[
        float | None, Column("requested, where the csv has such a column", null="not recorded")
    ]
    window_s: Annotated[float | None, Column("CodeCarbon's duration", "s", "not recorded")]
    energy_kwh: Annotated[
        float | None, Column("CodeCarbon's energy_consumed", "kWh", "not measured, see notes")
    ]
    energy_j: Annotated[float | None, Column("the same in joules", "J", "not measured, see notes")]
    gpu_energy_cc_j: Annotated[
        float | None,
        Column("GPU energy by CodeCarbon", "J", "no GPU, not recorded or not measured, see notes"),
    ]
    cpu_energy_j: Annotated[
        float | None,
        Column(
            "CPU energy by CodeCarbon, by an unknown method",
            "J",
            "not recorded or not measured, see notes",
        ),
    ]
    ram_energy_j: Annotated[
        float | None,
        Column("RAM energy by CodeCarbon: a model", "J", "not recorded or not measured, see notes"),
    ]
    emissions_kg: Annotated[
        float | None, Column("CodeCarbon's emissions, CO2 equivalent", "kg", "not recorded")
    ]
    country_iso_code: Annotated[
        str | None, Column("country that CodeCarbon assumed", null="not recorded")
    ]
    tracking_mode: Annotated[str | None, Column("machine or process", null="not recorded")]
    codecarbon_version: Annotated[str | None, Column("version of CodeCarbon", null="not recorded")]
    cpu_model: Annotated[str | None, Column("as CodeCarbon wrote it", null="not recorded")]
    gpu_name: Annotated[str | None, Column("as CodeCarbon wrote it", null="no GPU or not recorded")]
    warning_flags: Annotated[tuple[str, ...], Column("what to know or to doubt of it")]
    notes: Annotated[tuple[str, ...], Column("why a value is null: 'column: reason'")]
    output_text: Annotated[
        str | None,
        Column("what the model wrote", null="output.txt is missing or can't be told apart by rows"),
    ]


class ImportedFile(Noun):
    """An entry of import.json: where a copied file below imported/ came from."""

    path: PathBelow
    """The copy's path, relative to imported/."""
    sha256: str
    """Of the copy."""
    source: str
    """The original's path, from the name of the imported folder on.

    The path to that folder is left out, since it may contain private names."""
    imported_at: MomentText
    imported_by: str
    reading: str | None = None
    """How a table was read: encoding, separator, decimal sign. None: no table, or not recorded."""
    original_sha256: str | None = None
    """Of the file as it was imported, where private content was removed from the copy since."""
    removed: tuple[str, ...] = ()
    """Columns in which private content was removed from the copy, or from an earlier state of it.

    Without `original_sha256` it was removed from an earlier state only: the file was imported once
    more since, and its copy is as it was imported."""

    @property
    def removed_before(self) -> tuple[str, ...]:
        """Columns in which private content was removed, and came back with another import."""
        return () if self.original_sha256 else self.removed


class LeftOut(Noun):
    """A line of left-out.csv: a row, or a whole file, that could not be imported."""

    source: str
    """The file's path, from the name of the imported folder on."""
    line: int | None
    """None: the whole file."""
    reason: str
    found: str
    """What stands there; "" where it can't be shown."""
    copy_path: str
    """The file's copy, relative to imported/; "" where the file was not copied."""

    @property
    def order(self) -> tuple[str, int, str, str, str]:
        """Lines of left-out.csv stand in this order, and no two of them are alike in all of it."""
        return self.source, self.line or 0, self.reason, self.found, self.copy_path


_FILES = TypeAdapter(list[ImportedFile])


def read_provenance(paths: DataSetPaths) -> list[ImportedFile]:
    """The entries of import.json; empty where nothing was imported.

    Raises OSError where it can't be read, and ValueError where this program didn't write it.
    """
    if not paths.provenance.exists():
        return []
    try:
        return _FILES.validate_python(parsed(read_text(paths.provenance), ""))
    except ValidationError as error:
        why = f"isn't a list of imported files as this program writes it ({first_fault(error)})"
        raise ValueError(why) from error


def write_provenance(paths: DataSetPaths, files: Iterable[ImportedFile]) -> None:
    """Replace import.json by these entries, ordered by path."""
    entries = [file.model_dump() for file in sorted(files, key=lambda file: file.path)]
    text = json.dumps(entries, indent=1, ensure_ascii=False) + "\n"
    write_atomically(paths.provenance, text.encode())


def write_imported(paths: DataSetPaths, rows: Iterable[ImportedRow]) -> None:
    """Replace imported.parquet by these rows, in one step."""
    write_parquet(paths.imported, to_table(ImportedRow, (row.model_dump() for row in rows)))


def energy_once_j(rows: Iterable[ImportedRow]) -> tuple[float, int]:
    """(energy in J, number of rows) of the rows that can be added up.

    Those whose energy is not known, or may stand in other rows, too, are left out.
    """
    once = [row for row in rows if not COUNTED_ELSEWHERE & set(row.warning_flags)]
    energies_j = known(row.energy_j for row in once)
    return sum(energies_j), len(energies_j)


def read_left_out(paths: DataSetPaths) -> list[LeftOut]:
    """The lines of left-out.csv; empty where everything could be imported.

    Raises OSError where it can't be read, and ValueError where this program didn't write it.
    """
    if not paths.left_out.exists():
        return []
    lines = csv.DictReader(io.StringIO(read_text(paths.left_out), newline=""))
    try:
        rows = [{name: cell_text(cell) for name, cell in line.items()} for line in lines]
        return [LeftOut.model_validate({**row, "line": row["line"] or None}) for row in rows]
    # a line with fewer or more cells than columns has None or a list among them
    except (ValidationError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise ValueError("isn't a list of left-out rows as this program writes it") from error


def write_left_out(paths: DataSetPaths, items: Iterable[LeftOut]) -> None:
    """Replace left-out.csv, in one step; without items there is none."""
    ordered = sorted(set(items), key=lambda item: item.order)
    if not ordered:
        paths.left_out.unlink(missing_ok=True)
        return
    out = io.StringIO()
    writer = csv.DictWriter(out, list(LeftOut.model_fields), lineterminator="\n")
    writer.writeheader()
    for item in ordered:
        writer.writerow({name: plain_cell(value) for name, value in item.model_dump().items()})
    write_atomically(paths.left_out, out.getvalue().encode())
