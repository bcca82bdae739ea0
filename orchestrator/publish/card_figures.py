"""What a data set holds, counted: the figures of its card and its metadata."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from orchestrator.dataset.imported import read_provenance
from orchestrator.dataset.parquet import read_parquet
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.reading import read_text
from orchestrator.dataset.schema import TrialRecord, spent_j
from orchestrator.dataset.tables import Trials
from orchestrator.publish.licences import licence_by_name, licence_of_texts

TABLES = {
    "executions": "a row an execution: one prompt under one configuration on one machine",
    "summary": "a row a trial: one configuration on the prompts of a use case",
    "verdicts": "a row an evaluated execution: the signals measured on its text and what the rules make of them",
    "imported": "a row a measurement that was made without this program",
}
"""Tables that are published, and what a row of them is."""
GROUP = ("machine", "model", "quantization", "strategy", "use_case")


@dataclass
class Group:
    """Executions of one machine, model, quantization, strategy and use case."""

    executions: int = 0
    ok: int = 0
    evaluated: int = 0
    discarded: int = 0
    energy_j: float = 0.0
    """Of energy_basis, over the ok executions in which it was measured."""
    wasted_j: float = 0.0
    """The same of the discarded ones."""
    unmeasured: int = 0
    """Ok executions without an energy."""

    def add(self, row: dict[str, Any]) -> None:
        """Count an execution."""
        self.executions += 1
        if row["status"] != "ok":
            return
        self.ok += 1
        self.evaluated += row["usable"] is not None
        self.discarded += row["usable"] is False
        joules = spent_j(row)
        if joules is None:
            self.unmeasured += 1
            return
        self.energy_j += joules
        self.wasted_j += joules if row["usable"] is False else 0.0


@dataclass
class Content:
    """Figures of a data set."""

    groups: dict[tuple[str, ...], Group] = field(default_factory=dict)
    meters: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    """(machine, GPU, energy basis, CPU method) -> executions."""
    licences: dict[str, str] = field(default_factory=dict)
    """Model -> licence of its texts."""
    flags: Counter[str] = field(default_factory=Counter)
    tables: list[str] = field(default_factory=list)
    """Those that are there and hold something."""
    versions: set[str] = field(default_factory=set)
    languages: set[str] = field(default_factory=set)
    trials: int = 0
    synthetic: int = 0
    """Executions whose text means nothing."""
    imported: int = 0
    date: str = ""
    """When the newest trial was sealed, or file imported."""

    @property
    def executions(self) -> int:
        """All rows."""
        return sum(group.executions for group in self.groups.values())

    def total(self, name: str) -> float:
        """Sum over the groups."""
        return float(sum(getattr(group, name) for group in self.groups.values()))


def content_of(paths: DataSetPaths, trials: Trials) -> Content:
    """Count a data set that was found sound."""
    found = Content(trials=len(trials))
    for key in trials:
        for row in trials.execution_rows(key):
            group = tuple(row[name] for name in GROUP)
            found.groups.setdefault(group, Group()).add(row)
            gpu, basis, method = (
                row[name] or "none" for name in ("gpu_name", "energy_basis", "cpu_method")
            )
            found.meters[row["machine"], gpu, basis, method] += 1
            found.flags.update(row["flags"])
            found.synthetic += row["synthetic"]
    for record in trials.records():
        _add_record(found, record)
    files = read_provenance(paths)
    if files:
        imported = read_parquet(paths.imported)
        found.imported = imported.num_rows
        for model in set(imported["model"].to_pylist()):
            found.licences.setdefault(
                f"{model} (imported, by its folder's name)", licence_by_name(model)
            )
    found.date = max([found.date, *(file.imported_at for file in files)])[:10]
    found.languages = _languages(paths)
    for name in TABLES:
        path = paths.root / f"{name}.parquet"
        if path.exists() and read_parquet(path).num_rows:
            found.tables.append(name)
    return found


def _add_record(found: Content, record: TrialRecord) -> None:
    found.licences[record.columns.model] = licence_of_texts(record)
    found.date = max(found.date, record.sealed_at)
    found.versions.update(
        f"{name} {version}" for name, version in record.environment.get("versions", {}).items()
    )


def _languages(paths: DataSetPaths) -> set[str]:
    """Languages of the use cases, as the plans have them."""
    found: set[str] = set()
    for path in sorted(paths.sweeps.glob("[!.]*.json")):
        plan = json.loads(read_text(path))["plan"]
        found.update(use_case["language"] for use_case in plan["use_cases"])
    return found
