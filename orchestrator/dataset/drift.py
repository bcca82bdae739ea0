"""Config drift: whether two runs of one sweep measured under the same conditions."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.dataset.schema import TrialRecord
from orchestrator.nouns import Noun

DECIDING = ("torch", "transformers", "bitsandbytes", "accelerate", "codecarbon", "simulated")
"""Packages whose version may change a text, its time or its energy. Others (ray, python) are recorded in trial.json."""


class Conditions(Noun):
    """What besides the setup decides a measurement on a kind of machine."""

    versions: dict[str, str]
    gpu_name: str | None


def conditions(records: Iterable[TrialRecord]) -> dict[str, Conditions]:
    """Machine -> the conditions of its earliest trial that ran without drift."""
    first: dict[str, TrialRecord] = {}
    for record in records:
        name = record.columns.machine
        earlier = name not in first or record.columns.order_index < first[name].columns.order_index
        if earlier and not record.environment.get("drift"):
            first[name] = record
    return {
        name: Conditions(versions=record.environment.get("versions", {}), gpu_name=record.columns.gpu_name)
        for name, record in first.items()
    }


def drift(begun: Conditions | None, now: Conditions) -> tuple[str, ...]:
    """What differs, each as 'torch 2.13.0 -> 2.14.1'; () for a first run."""
    if begun is None:
        return ()
    pairs = {name: (begun.versions.get(name), now.versions.get(name)) for name in DECIDING}
    pairs["GPU"] = (begun.gpu_name, now.gpu_name)
    return tuple(f"{name} {before or 'none'} -> {after or 'none'}" for name, (before, after) in pairs.items() if before != after)
