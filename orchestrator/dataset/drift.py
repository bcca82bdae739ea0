"""Config drift: whether two runs of one sweep measured under the same conditions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from orchestrator.dataset.schema import Execution, TrialRecord
from orchestrator.dataset.trial_files import Origin
from orchestrator.nouns import Noun

DECIDING = ("torch", "transformers", "bitsandbytes", "accelerate", "codecarbon", "simulated")
"""Packages whose version may change a text, its time or its energy. Others (ray, python) are recorded in trial.json."""


class Conditions(Noun):
    """What besides the setup decides a measurement on a kind of machine."""

    versions: dict[str, str]
    gpu_name: str | None


def conditions(records: Iterable[TrialRecord]) -> dict[str, list[Conditions]]:
    """Machine -> the conditions under which its trials ran without drift, in the order of the records.

    More than one where data sets were merged, or sweeps share trials.
    """
    found: dict[str, list[Conditions]] = {}
    for record in records:
        if record.environment.get("drift"):
            continue
        now = Conditions(
            versions=record.environment.get("versions", {}), gpu_name=record.columns.gpu_name
        )
        known = found.setdefault(record.columns.machine, [])
        if all(drift(one, now) for one in known):
            known.append(now)
    return found


def mixed(found: Mapping[str, list[Conditions]]) -> list[str]:
    """Machines whose trials ran under more than one set of conditions, each as 'pc: torch 2.13.0 -> 2.14.1'."""
    return [
        f"{machine}: {'; '.join(drift(first, other))}"
        for machine, (first, *others) in sorted(found.items())
        for other in others
    ]


def drift(begun: Conditions, now: Conditions) -> tuple[str, ...]:
    """What differs, each as 'torch 2.13.0 -> 2.14.1'."""
    pairs = {name: (begun.versions.get(name), now.versions.get(name)) for name in DECIDING}
    pairs["GPU"] = (begun.gpu_name, now.gpu_name)
    return tuple(
        f"{name} {before or 'none'} -> {after or 'none'}"
        for name, (before, after) in pairs.items()
        if before != after
    )


class Baseline:
    """What a sweep was begun with on each machine; where nothing ran yet, what the first process there shows."""

    def __init__(
        self, begun: Mapping[str, Conditions] = MappingProxyType({}), *, accept: bool = False
    ) -> None:
        self._begun = dict(begun)
        self.accept = accept
        """Go on under other conditions, and say so in the rows."""

    def changes(self, origin: Origin) -> tuple[str, ...]:
        """How a process differs from what the sweep was begun with on its machine."""
        now = Conditions(
            versions=origin.environment.get("versions", {}), gpu_name=origin.columns.gpu_name
        )
        return drift(self._begun.setdefault(origin.columns.machine, now), now)


def marked(execution: Execution, changes: tuple[str, ...]) -> Execution:
    """An execution that says what had changed."""
    if not changes:
        return execution
    flags = tuple(sorted({*execution.flags, "drift"}))
    return execution.model_copy(
        update={"flags": flags, "notes": (*execution.notes, *(f"drift: {c}" for c in changes))}
    )
