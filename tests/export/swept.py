"""A data set with the trials of a sweep, of figures that are known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.schema import TrialRecord
from orchestrator.dataset.sweep_plan import PlannedTrial, SweepPlan, write_plan
from orchestrator.dataset.tables import Trials, read_all
from orchestrator.nouns import Configuration, TrialSpec
from orchestrator.sweep.planning import make_plan
from orchestrator.sweep.request import Request, Resolved, resolve_request
from tests import builders

FLAGS: Mapping[str, Any] = {
    "engines": ("simulated",),
    "models": ("smollm2",),
    "use_cases": ("fantasyWorld",),
    "samples": 4,
    "prompts": 2,
    "machine": "cpu",
}
OUT_OF_MEMORY: Mapping[str, Any] = {
    "status": "failed",
    "error_kind": "oom",
    "error_message": "out of memory",
    **dict.fromkeys(
        ("n_new_tokens", "finish_reason", "window_s", "ttft_s", "tokens_per_s", "output_text")
    ),
    **dict.fromkeys(("energy_kwh", "energy_j", "cpu_energy_j", "ram_energy_j", "emissions_kg")),
    **dict.fromkeys(("energy_per_token_j", "energy_basis")),
}
"""What an execution has that failed."""


class Swept:
    """A sweep's plan in a data set, and trials as earlier runs left them there."""

    def __init__(self, out: Path, space: str = "lhs", **flags: Any) -> None:
        self.request = Request(space=space, out=out, **(dict(FLAGS) | flags))
        self.resolved: Resolved = resolve_request(self.request, [])
        drawn = make_plan(self.resolved)
        self.plan: SweepPlan = drawn.with_revisions(dict.fromkeys(drawn.models, "simulated"))
        self.paths = DataSetPaths(out)
        write_plan(self.plan, self.paths.sweep(self.plan.id))

    def specs(self) -> list[TrialSpec]:
        """The planned trials, by configuration."""
        return sorted(self.plan.specs(), key=lambda spec: (spec.config_index, spec.repeat))

    def proposed(self, index: int, configuration: Configuration, repeat: int = 1) -> TrialSpec:
        """A trial that a sampler which learns proposed."""
        trial = PlannedTrial(
            strategy=self.plan.strategy, setup=0, config_index=index, repeat=repeat
        )
        return self.plan.spec(trial, index, configuration)

    def measure(
        self,
        spec: TrialSpec,
        energies_j: Iterable[float] = (20.0, 20.0),
        *,
        machine: str = "cpu",
        synthetic: bool = True,
        **changes: Any,
    ) -> TrialRecord:
        """Seal a trial whose answers of 10 tokens took these energies, one a prompt."""
        items = [
            builders.measured(number, of=spec, **({"energy_j": joules} | changes))
            for number, joules in enumerate(energies_j, 1)
        ]
        where = builders.origin(spec, machine=machine, synthetic=synthetic)
        return builders.seal_trial(self.paths, spec, items, where)

    def trials(self) -> Trials:
        """What the data set has."""
        trials, faults = read_all(self.paths, unfinished=True)
        assert not faults
        return trials
