"""Config drift: whether two runs of one sweep measured under the same conditions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from orchestrator.dataset.environment import Environment
from orchestrator.dataset.flags import OF_DRIFT
from orchestrator.dataset.schema import Execution, TrialColumns, TrialRecord
from orchestrator.dataset.trial_files import Origin
from orchestrator.engine import ENGINES, SIMULATED_DEVICE
from orchestrator.meters import METERS
from orchestrator.nouns import Noun

_OF_ENGINES = [package for engine in ENGINES.values() for package in engine.packages]
_OF_METERS = [package for meter in METERS.values() for package in meter.packages]
DECIDING_PACKAGES = tuple(dict.fromkeys([*_OF_ENGINES, *_OF_METERS]))
"""Packages whose version may change a text, its time or its energy.

Others (ray, python) are recorded in trial.json and not compared.
"""


class Conditions(Noun):
    """What besides the setup decides a measurement on a kind of machine."""

    engine: str
    versions: dict[str, str]
    gpu_name: str | None


def _conditions_of(environment: Environment, columns: TrialColumns) -> Conditions:
    """The part of a trial's environment that must not change within a sweep."""
    # a simulated GPU is a part of the program; before version 3 there was none
    gpu_name = None if columns.device == SIMULATED_DEVICE else columns.gpu_name
    return Conditions(engine=columns.engine, versions=environment.versions, gpu_name=gpu_name)


def conditions(records: Iterable[TrialRecord]) -> dict[str, list[Conditions]]:
    """Machine -> the conditions under which its trials ran without drift, in the records' order.

    There is more than one where data sets were merged, or sweeps share trials.
    """
    by_machine: dict[str, list[Conditions]] = {}
    for record in records:
        if record.environment.drift:
            continue
        now = _conditions_of(record.environment, record.columns)
        known = by_machine.setdefault(record.columns.machine, [])
        of_engine = [one for one in known if one.engine == now.engine]
        if all(drift(one, now) for one in of_engine):
            known.append(now)
    return by_machine


def mixed(by_machine: Mapping[str, list[Conditions]]) -> list[str]:
    """Machines whose trials ran under several conditions, each as 'pc: torch 2.13.0 -> 2.14.1'."""
    lines = []
    for machine, known in sorted(by_machine.items()):
        for number, now in enumerate(known):
            if changes := _changes(known[:number], now):
                lines.append(f"{machine}: {'; '.join(changes)}")
    return lines


def _changes(known: Sequence[Conditions], now: Conditions) -> tuple[str, ...]:
    """How conditions differ from the first of each engine among the known ones; each change once.

    Engines of one sweep share most of their packages, and the GPU.
    """
    first_of = {one.engine: one for one in reversed(known)}
    return tuple(dict.fromkeys(change for one in first_of.values() for change in drift(one, now)))


def drift(before: Conditions, now: Conditions) -> tuple[str, ...]:
    """What differs, each as 'torch 2.13.0 -> 2.14.1'.

    Only what can change energy or texts is compared: DECIDING_PACKAGES and the GPU. Of two engines
    only the packages that both need: each records its own. () where nothing differs.
    """
    not_shared: set[str] = set()
    if before.engine != now.engine:
        not_shared = _packages_of(before.engine) ^ _packages_of(now.engine)
    pairs = {
        name: (before.versions.get(name), now.versions.get(name))
        for name in DECIDING_PACKAGES
        if name not in not_shared
    }
    pairs["GPU"] = (before.gpu_name, now.gpu_name)
    return tuple(
        f"{name} {old or 'none'} -> {new or 'none'}"
        for name, (old, new) in pairs.items()
        if old != new
    )


def _packages_of(engine: str) -> set[str]:
    """Packages that an engine records; none of one that this program doesn't have."""
    return set(ENGINES[engine].packages) if engine in ENGINES else set()


def changed_files(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Files of a model whose hashes differ, each as 'config.json sha256 12ab... is now 34cd...'.

    `before`, `now`: file -> SHA-256; {}: not recorded. [] where nothing differs, or one isn't
    recorded.
    """
    if not before or not now:
        return []
    lines = []
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if old != new:
            lines.append(f"{name} {_short_hash(old)} is now {_short_hash(new)}")
    return lines


def _short_hash(sha256: str | None) -> str:
    """The start of a hash, or that there is none."""
    return "not there" if sha256 is None else f"sha256 {sha256[:8]}..."


def other_weights(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Files of weights that differ, as `changed_files` says it.

    A model's other files have no say here: each version of transformers writes them its own way
    when it converts a model, and that version is compared by itself.
    """
    return changed_files(_weights_in(before), _weights_in(now))


def _weights_in(files: Mapping[str, str]) -> dict[str, str]:
    """The files of weights among a model's files."""
    return {name: sha256 for name, sha256 in files.items() if name.endswith(".safetensors")}


def mixed_weights(
    of_plan: Mapping[str, Mapping[str, str]], records: Iterable[TrialRecord]
) -> list[str]:
    """Models of which trials were measured with several weights, each with the files that differ.

    `of_plan`: model -> file -> SHA-256, what the sweep was started with.
    """
    known = {model: dict(files) for model, files in of_plan.items()}
    lines: dict[str, None] = {}  # a list in which each line stands once
    for record in records:
        model, now = record.spec.setup.model, record.environment.model_sha256
        for change in other_weights(known.get(model, {}), now):
            lines[f"{model}: {change}"] = None
        if not known.get(model):
            known[model] = now
    return list(lines)


class StartConditions:
    """The conditions that a sweep started with on each machine, and its weights on all of them.

    Where nothing ran yet, they are those of the first process there.
    """

    def __init__(
        self,
        started_with: Mapping[str, Sequence[Conditions]] = MappingProxyType({}),
        model_sha256: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
        *,
        accept: bool = False,
    ) -> None:
        self._started_with = {name: list(known) for name, known in started_with.items()}
        """Machine -> the first conditions of each engine."""
        self._model_sha256 = dict(model_sha256)
        self.accept = accept
        """Go on under other conditions, and say so in the rows."""

    def changes(self, origin: Origin) -> tuple[str, ...]:
        """How a process differs from what the sweep started with on its machine."""
        now = _conditions_of(origin.environment, origin.columns)
        known = self._started_with.setdefault(origin.columns.machine, [])
        changes = _changes(known, now)
        if not changes and now.engine not in {one.engine for one in known}:
            known.append(now)
        return changes

    def other_weights(self, model: str, origin: Origin) -> list[str]:
        """Files of weights of a process that aren't those the sweep started with."""
        now = origin.environment.model_sha256
        return other_weights(self._model_sha256.setdefault(model, now), now)


def marked(execution: Execution, changes: tuple[str, ...]) -> Execution:
    """An execution with the flag `drift` and what had changed; the same one without changes."""
    if not changes:
        return execution
    notes = (*execution.notes, *(f"drift: {change}" for change in changes))
    flags = tuple(sorted({*execution.warning_flags, *OF_DRIFT}))
    return execution.model_copy(update={"warning_flags": flags, "notes": notes})
