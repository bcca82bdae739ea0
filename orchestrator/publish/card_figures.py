"""Counts and sums over a data set, for its data card and its metadata."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from orchestrator.dataset.gross_energy import EnergyTotals
from orchestrator.dataset.imported import read_provenance
from orchestrator.dataset.parquet import read_parquet
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.schema import TrialRecord
from orchestrator.dataset.sweep_plan import read_plans
from orchestrator.dataset.tables import Trials
from orchestrator.publish.licences import licence_by_name, licence_of_texts

TABLES = {
    "executions": "one row per execution: one prompt under one configuration on one machine",
    "summary": "one row per trial: one configuration on the prompts of a use case",
    "verdicts": "one row per evaluated execution: the signals measured on its text, and "
    "the verdict",
    "imported": "one row per measurement that was made without this program",
}
"""Tables that are published, each with what one of its rows is."""
WHERE_THEY_DIFFER = ("engine", "compute_dtype", "batch_size")
"""Columns of GROUP that the card shows where the data set has several values of them."""
GROUP = ("machine", "model", "quantization", *WHERE_THEY_DIFFER, "strategy", "use_case")
"""Columns whose values tell executions apart that are no repetitions of one another."""


@dataclass
class Group:
    """Executions that share the values of GROUP."""

    executions: int = 0
    ok: int = 0
    evaluated: int = 0
    discarded: int = 0
    energies: EnergyTotals = field(default_factory=EnergyTotals)
    """Of the ok executions."""
    wasted: EnergyTotals = field(default_factory=EnergyTotals)
    """Of the discarded ones among them."""

    def add(self, row: dict[str, Any]) -> None:
        """Count one row of executions.parquet."""
        self.executions += 1
        if row["status"] != "ok":
            return
        discarded = row["usable"] is False
        self.ok += 1
        self.evaluated += row["usable"] is not None
        self.discarded += discarded
        self.energies.add(row)
        if discarded:
            self.wasted.add(row)


@dataclass
class Content:
    """Counts and sums over a data set."""

    groups: dict[tuple[str, ...], Group] = field(default_factory=dict)
    """By the columns of GROUP."""
    whole: Group = field(default_factory=Group)
    """All executions."""
    meters: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    """(machine, GPU, energy basis, CPU method) -> executions."""
    licences: dict[str, str] = field(default_factory=dict)
    """Model -> licence of its texts."""
    flags: Counter[str] = field(default_factory=Counter)
    """Flag -> executions that carry it."""
    tables: list[str] = field(default_factory=list)
    """Names of TABLES that the data set has and that aren't empty."""
    versions: set[str] = field(default_factory=set)
    """Software used, as 'name version'."""
    programs: set[str] = field(default_factory=set)
    """Versions of this program that measured."""
    plans: list[str] = field(default_factory=list)
    """Ids of the sweeps whose plans are there."""
    prompts: set[tuple[str, int, str]] = field(default_factory=set)
    """(use case, number, text) of the prompts that were measured."""
    example: dict[str, Any] | None = None
    """A row of executions.parquet: the first usable one, else the first with a text."""
    languages: set[str] = field(default_factory=set)
    """Languages of the use cases."""
    trials: int = 0
    imported: int = 0
    """Measurements that were made without this program."""
    date: str = ""
    """Day on which the newest trial was finished or the newest file imported, YYYY-MM-DD."""

    @property
    def executions(self) -> int:
        """Number of executions, failed ones included."""
        return self.whole.executions


def content_of(paths: DataSetPaths, trials: Trials) -> Content:
    """Count a data set in which `validate` has found no error.

    `trials`: those of the data set. Energies are in joules. Raises OSError or
    ValueError where a file can't be read.
    """
    content = Content(trials=len(trials))
    for key in trials:
        for row in trials.execution_rows(key):
            _add_row(content, row)
    for record in trials.records():
        _add_record(content, record)
    files = read_provenance(paths)
    if files:
        imported = read_parquet(paths.imported)
        content.imported = imported.num_rows
        for model in set(imported["model"].to_pylist()):
            # the folder's name is all that is known of such a model
            content.licences.setdefault(
                f"{model} (imported, by its folder's name)", licence_by_name(model)
            )
    content.date = max([content.date, *(file.imported_at for file in files)])[:10]
    plans, _ = read_plans(paths)
    content.plans = [plan.id for plan in plans]
    content.languages = {use_case.language for plan in plans for use_case in plan.use_cases}
    for name in TABLES:
        path = paths.root / f"{name}.parquet"
        if path.exists() and read_parquet(path).num_rows:
            content.tables.append(name)
    return content


def _add_row(content: Content, row: dict[str, Any]) -> None:
    """Count one row of executions.parquet."""
    group = tuple(str(row[name]) for name in GROUP)
    content.groups.setdefault(group, Group()).add(row)
    content.whole.add(row)
    gpu, basis, method = (
        row[name] or "none" for name in ("gpu_name", "energy_basis", "cpu_method")
    )
    content.meters[row["machine"], gpu, basis, method] += 1
    content.flags.update(row["warning_flags"])
    if row["prompt_text"] is not None:
        content.prompts.add((row["use_case"], row["prompt_number"], row["prompt_text"]))
    if row["status"] == "ok" and _shows_more(row, content.example):
        content.example = row


def _shows_more(row: dict[str, Any], example: dict[str, Any] | None) -> bool:
    """Whether an execution with a text is a better example than the one so far."""
    return example is None or (row["usable"] is True and example["usable"] is not True)


def _add_record(content: Content, record: TrialRecord) -> None:
    """Take licence, date and versions from one trial."""
    content.licences[record.columns.model] = licence_of_texts(record)
    content.date = max(content.date, record.sealed_at.isoformat())
    for name, version in record.environment.versions.items():
        content.versions.add(f"{name} {version}")
    if record.environment.python:
        content.versions.add(f"python {record.environment.python}")
    if record.environment.orchestrator:
        content.programs.add(record.environment.orchestrator)
