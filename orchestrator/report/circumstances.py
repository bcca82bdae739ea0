"""Under which circumstances a data set was measured: devices, models, days, versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.report.execution_frame import Data

if TYPE_CHECKING:
    import pandas as pd

MOST_VALUES = 6
"""At most this many values are listed."""
MAIN_PACKAGES = ("torch", "transformers", "codecarbon")
"""Packages whose versions the head of a report names."""


def circumstances(data: Data) -> list[tuple[str, str]]:
    """(name, values) of what the head of a report tells. What is unknown has its reason."""
    frame = data.all
    if frame.empty:
        return []
    n_gpu = int(frame["gpu_name"].notna().sum())
    gpus = values(frame["gpu_name"]) if n_gpu else "none"
    if 0 < n_gpu < len(frame):
        gpus += "; some executions had none"
    versions = package_versions(data)
    packages = [
        f"{name} {', '.join(sorted(versions[name]))}" for name in MAIN_PACKAGES if name in versions
    ]
    unknown = "unknown: their versions stand in the trials' folders, which are not here"
    return [
        ("machine", values(frame["machine"])),
        ("GPU", gpus),
        ("model", values(frame["model"])),
        ("quantization", values(frame["quantization"])),
        ("use case", values(frame["use_case"])),
        ("measured", days(frame["started_at"])),
        ("packages", ", ".join(packages) or unknown),
    ]


def package_versions(data: Data) -> dict[str, set[str]]:
    """Package -> its versions in all trials; empty where the trials' folders are not there."""
    versions: dict[str, set[str]] = {}
    for of_machine in data.trials.conditions.values():
        for condition in of_machine:
            for package, version in condition.versions.items():
                versions.setdefault(package, set()).add(version)
    return versions


def days(started_at: pd.Series) -> str:
    """The first and the last day of measurement, or the only one."""
    of_executions = sorted(str(at)[:10] for at in started_at.dropna())
    if not of_executions:
        return "unknown"
    first, last = of_executions[0], of_executions[-1]
    return first if first == last else f"{first} to {last}"


def values(column: pd.Series) -> str:
    """The different values of a column in one cell."""
    names = sorted({str(value) for value in column.dropna()})
    if not names:
        return "unknown"
    if len(names) <= MOST_VALUES:
        return ", ".join(names)
    return f"{', '.join(names[:MOST_VALUES])} and {len(names) - MOST_VALUES} more"
