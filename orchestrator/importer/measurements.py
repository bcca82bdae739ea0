"""All measurements of a data set's imported files: each once, with what only all together show.

The same measurement may lie in several files: a backup, a file that has grown, one that contains
another. It is the same where run, timestamp, duration and task are equal.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from orchestrator.dataset.imported import ImportedRow
from orchestrator.dataset.reading import bytes_sha256, reason_of
from orchestrator.importer.emissions_files import Emissions, Fault, read_emissions
from orchestrator.importer.imported_rows import Destination, imported_rows
from orchestrator.importer.output_files import split_texts
from orchestrator.outside_files import read_bytes

OVERLAP_S = 1.0
"""Longest overlap that two windows, one after the other, may show: timestamps are whole seconds."""
FLAGS_OF_ALL = {"same_run_id", "contains_tasks", "overlapping", "copies_differ"}
"""Flags that only the rows of all files together show."""


@dataclass
class Measurements:
    """What imported files hold."""

    rows: list[ImportedRow] = field(default_factory=list)
    """Each measurement once, ordered by file and row."""
    faults: dict[str, tuple[Fault, ...]] = field(default_factory=dict)
    """File -> its rows that can't be read. Files are named by their path below imported/."""
    n_same: Counter[str] = field(default_factory=Counter)
    """File -> its rows that stand in an earlier file or row, too."""
    readings: dict[str, str] = field(default_factory=dict)
    """Table -> how it was read."""


class _Table(NamedTuple):
    """A table that was read."""

    path: str
    sha256: str
    emissions: Emissions

    @property
    def name(self) -> str:
        """Its path in the data set."""
        return f"imported/{self.path}"


def measurements(files: Mapping[str, Path], is_table: Callable[[str], bool]) -> Measurements:
    """The measurements of files: path below imported/ -> the file to read.

    `is_table`: whether such a path is that of a table; the others are texts.
    """
    folders: dict[str, list[str]] = defaultdict(list)
    for path in sorted(files):
        folders[str(PurePosixPath(path).parent)].append(path)
    result = Measurements()
    places: dict[tuple[object, ...], int] = {}
    differing: set[int] = set()
    for folder, paths in sorted(folders.items()):
        tables, texts = [], []
        for path in paths:
            try:
                data = read_bytes(files[path])
                if is_table(path):
                    sha256 = bytes_sha256(data)
                    tables.append(_Table(path, sha256, read_emissions(data)))
                else:
                    texts.append(data.decode("utf-8", "replace"))
            except (OSError, ValueError) as error:  # a copy that was edited since
                result.faults[path] = (Fault(0, reason_of(error), ""),)
        for table, rows in _rows_of_folder(_destination(folder), tables, texts):
            result.faults[table.path] = table.emissions.faults
            result.readings[table.path] = table.emissions.reading
            for row in rows:
                place = places.setdefault(_identity(table, row), len(result.rows))
                if place == len(result.rows):
                    result.rows.append(row)
                    continue
                result.n_same[table.path] += 1
                if result.rows[place].energy_kwh != row.energy_kwh:
                    differing.add(place)
    result.rows = _flagged(result.rows, differing)
    return result


def _destination(folder: str) -> Destination:
    """The levels that the path of a copy names."""
    machine, model, strategy, use_case, *run = PurePosixPath(folder).parts
    return Destination(machine, model, strategy, use_case, "/".join(run))


def _rows_of_folder(
    destination: Destination, tables: list[_Table], texts: list[str]
) -> Iterator[tuple[_Table, list[ImportedRow]]]:
    """The rows of each table of a folder, with their texts where these can be told."""
    names: set[tuple[object, ...]] = set()
    own = []
    for table in tables:
        rows = imported_rows(destination, table.name, table.emissions, None)
        new = {_identity(table, row) for row in rows}
        if not new <= names:
            own.append(table)
        names |= new
    # with several tables nothing says which text belongs to which; a copy of another is none
    split = None
    if len(own) == 1:
        split = _only_split(texts, own[0].emissions.n_rows)
    for table in tables:
        of_table = split if table in own else None
        yield table, imported_rows(destination, table.name, table.emissions, of_table)


def _only_split(texts: list[str], n_rows: int) -> list[str] | None:
    """The texts of a table's rows, from the only file that has as many; None: there is none."""
    splits = [split for text in texts if (split := split_texts(text, n_rows))]
    return splits[0] if len(splits) == 1 else None


def _identity(table: _Table, row: ImportedRow) -> tuple[object, ...]:
    """What is equal for the same measurement in another file, and for no other one."""
    if row.run_id:
        return row.run_id, row.codecarbon_timestamp, row.window_s, row.task_name
    if row.codecarbon_timestamp:
        energies = row.energy_kwh, row.gpu_energy_cc_j, row.cpu_energy_j, row.ram_energy_j
        return (
            "",
            row.codecarbon_timestamp,
            row.window_s,
            row.task_name,
            row.project_name,
            *energies,
        )
    # nothing names it: it is the same in a file with the same bytes only
    return table.sha256, row.execution.rpartition("#")[2]


def _flagged(rows: list[ImportedRow], differing: set[int]) -> list[ImportedRow]:
    """The rows with the flags that all of them together show.

    `differing`: places of rows that another file has with another energy.
    """
    n_of_run = Counter(row.run_id for row in rows if row.run_id and row.task_name is None)
    with_tasks = {row.run_id for row in rows if row.run_id and row.task_name is not None}
    overlapping = _overlapping(rows)
    flagged = []
    for place, row in enumerate(rows):
        flags = set(row.warning_flags)
        if row.task_name is None:
            if row.run_id and n_of_run[row.run_id] > 1:
                flags.add("same_run_id")
            if row.run_id in with_tasks:
                flags.add("contains_tasks")
        if place in overlapping:
            flags.add("overlapping")
        if place in differing:
            flags.add("copies_differ")
        flagged.append(row.model_copy(update={"warning_flags": tuple(sorted(flags))}))
    return flagged


class Window(NamedTuple):
    """When a row was measured, in seconds since any one moment."""

    began_s: float
    ended_s: float
    run: str
    place: int
    """Of the row."""


def _overlapping(rows: list[ImportedRow]) -> set[int]:
    """Places of the rows in whose window another run of the same machine was measured, too.

    Rows that say they measured their process alone are left out.
    """
    windows: dict[str, list[Window]] = defaultdict(list)
    for place, row in enumerate(rows):
        ended_s = _seconds(row.codecarbon_timestamp)
        if ended_s is None or not row.window_s or row.tracking_mode == "process":
            continue
        # without a name each row is a run of its own
        run = row.run_id or f"#{place}"
        windows[row.machine].append(Window(ended_s - row.window_s, ended_s, run, place))
    found: set[int] = set()
    for of_machine in windows.values():
        found |= overlapping_windows(of_machine)
    return found


def overlapping_windows(windows: Iterable[Window]) -> set[int]:
    """Places of windows that overlap by more than OVERLAP_S with one of another run."""
    # a shorter window can't overlap by so much
    ordered = sorted(one for one in windows if one.ended_s - one.began_s > OVERLAP_S)
    found = set()
    # of two runs, so that one of them is another than that of the window which is looked at
    latest: list[Window] = []
    for window in ordered:
        for other in latest:
            if other.run != window.run and other.ended_s - window.began_s > OVERLAP_S:
                found.add(window.place)
        latest = _two_runs([window, *latest], key=lambda one: -one.ended_s)
    next_ones: list[Window] = []
    for window in reversed(ordered):
        for other in next_ones:
            if other.run != window.run and window.ended_s - other.began_s > OVERLAP_S:
                found.add(window.place)
        next_ones = _two_runs([window, *next_ones], key=lambda one: one.began_s)
    return found


def _two_runs(windows: list[Window], key: Callable[[Window], float]) -> list[Window]:
    """The first window by a key, and the first one of another run."""
    first, *rest = sorted(windows, key=key)
    others = [window for window in rest if window.run != first.run]
    return [first, *others[:1]]


def _seconds(timestamp: str | None) -> float | None:
    """A time in seconds; one without a zone counts as UTC, since a machine has one zone."""
    try:
        moment = datetime.fromisoformat(timestamp or "")
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp()
