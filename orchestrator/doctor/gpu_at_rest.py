"""Each meter of a GPU, read while this program does nothing on it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from orchestrator.dataset.energy import (
    AVERAGED_FROM_S,
    STATISTICAL_FACTOR,
    energy_basis,
    energy_rel_statistical,
)
from orchestrator.dataset.flags import DISAGREEMENT, TOO_SHORT_S
from orchestrator.doctor.checks import Check
from orchestrator.doctor.rest import Rest, rest, running_meters
from orchestrator.gpu.access import GpuAccess
from orchestrator.meters import Scene
from orchestrator.meters.counter import ENERGY as COUNTER
from orchestrator.meters.power import ENERGY as INTEGRATED
from orchestrator.meters.samples import INTERVAL_S
from orchestrator.nouns import Machine
from orchestrator.units import number

GOOD = 0.01
"""A window is long enough where 95 % of the errors of its edges are smaller than this part."""
ROUND_S = (TOO_SHORT_S, 2, 5, 10, 20, 50, 100, 200, 500)
"""Lengths that are told: a shorter one is flagged in any case."""
POWERS = {
    "instant": "the power of the moment",
    "average_1s": "an average over a second",
    "unknown": "it is unknown whether an average or the power of the moment",
}
"""power_semantics -> what the GPU tells when its power is asked for."""


@dataclass(frozen=True)
class GpuRest:
    """What the meters of one GPU gave while this program did nothing on it."""

    label: str
    """GPU, with the end of its UUID where there are several."""
    at_rest: Rest
    refusal: str | None
    """What the driver answers where it refuses the energy counter."""

    @property
    def values(self) -> dict[str, Any]:
        """The meters' columns."""
        return self.at_rest.reading.values

    @property
    def basis(self) -> str | None:
        """The column whose energy would count in a long window; None: there is none."""
        window_s = max(self.at_rest.window_s, AVERAGED_FROM_S)
        return energy_basis(self.values, has_gpu=True, window_s=window_s)

    @property
    def difference(self) -> float | None:
        """By how much the counter lies above integrated power, as a part of the latter."""
        counted_j, integrated_j = self.values.get(COUNTER), self.values.get(INTEGRATED)
        if counted_j is None or not integrated_j:
            return None
        return float(counted_j / integrated_j - 1)

    @property
    def agrees(self) -> bool:
        """Whether counter and power agree, as far as both are known."""
        return self.difference is None or abs(self.difference) <= DISAGREEMENT

    @property
    def n_others(self) -> int:
        """Processes that compute on it; 0 also where it doesn't tell."""
        return self.values.get("n_foreign_processes") or 0

    @property
    def state(self) -> str:
        """At rest, as far as is known."""
        return "beside others" if self.n_others else "at rest"

    def least_window_s(self) -> float | None:
        """The length from which on a window's edges matter little, rounded up.

        None: no energy counts.
        """
        window_s = self.at_rest.window_s
        edges = energy_rel_statistical(
            self.values | {"energy_basis": self.basis, "window_s": window_s}
        )
        if edges is None:
            return None
        least_s = STATISTICAL_FACTOR * edges * window_s / GOOD
        return next((length for length in ROUND_S if length >= least_s), math.ceil(least_s))


def gpu_rest(label: str, access: GpuAccess, machine: Machine, window_s: float) -> GpuRest:
    """Read all meters of a GPU over a time."""
    with running_meters(Scene(machine, access), access.clock) as meters:
        at_rest = rest(meters, access.clock, window_s)
    return GpuRest(label, at_rest, _refusal(access))


def _refusal(access: GpuAccess) -> str | None:
    """What the driver answers where it refuses the energy counter; None: it doesn't."""
    try:
        access.nvml.nvmlDeviceGetTotalEnergyConsumption(access.handle)
    except (access.nvml.NVMLError, AttributeError) as error:
        return str(error)
    return None


def gpu_checks(gpu: GpuRest) -> Iterator[Check]:
    """A check of each meter, and whether they agree."""
    yield _counter(gpu)
    yield _power(gpu)
    if gpu.difference is not None:
        yield _agreement(gpu, gpu.difference)
    if gpu.values.get("gpu_energy_cc_j") is not None:
        watts = gpu.at_rest.codecarbon_watts("gpu_energy_cc_j")
        found = f"{number(watts)} W, by the same counter"
        yield Check(f"{gpu.label} CodeCarbon", found, values={"power_w": watts})
    if gpu.n_others:
        yield Check(
            f"{gpu.label} neighbours",
            f"other processes computing on it: {gpu.n_others}, so it was not at rest",
            "warning",
            "end them; a sweep leaves the rows that they touch out of its report",
            {"n_foreign_processes": gpu.n_others},
        )


def _counter(gpu: GpuRest) -> Check:
    """Whether the energy counter moves, how often, and how sharply its steps are seen."""
    name, watts = f"{gpu.label} counter", gpu.at_rest.watts(COUNTER)
    columns = ("counter_period_s", "counter_steps", "counter_look_s")
    values = {"power_w": watts} | {column: gpu.values.get(column) for column in columns}
    if watts is None:
        why = gpu.at_rest.why_not(COUNTER)
        if gpu.refusal:
            why += f" (the driver says: {gpu.refusal})"
        remedy = "none for this GPU; its energy is then integrated from its power, if it tells that"
        if gpu.refusal and "permission" in gpu.refusal.lower():
            remedy = "ask the administrator to let this user or container read NVML's counters"
        return Check(name, why, "warning", remedy, values)
    found = f"{number(watts)} W {gpu.state}"
    period_s, look_s = values["counter_period_s"], values["counter_look_s"]
    if period_s and look_s:
        found += (
            f"; one step every {number(1000 * period_s)} ms ({number(period_s * watts)} J), "
            f"its moment seen to {number(1000 * look_s, 2)} ms ({number(look_s * watts, 2)} J)"
        )
    return Check(name, found, values=values)


def _power(gpu: GpuRest) -> Check:
    """Whether the power can be polled, and what it means."""
    name, watts = f"{gpu.label} power", gpu.at_rest.watts(INTEGRATED)
    semantics = str(gpu.values.get("power_semantics"))
    values = {"power_w": watts, "power_semantics": semantics, "interval_s": INTERVAL_S}
    if watts is None:
        remedy = "none for this GPU; the counter counts, without a second opinion"
        if gpu.basis is None:
            remedy = "none for this GPU; a sweep runs, but its energies will be null"
        return Check(name, gpu.at_rest.why_not(INTEGRATED), "warning", remedy, values)
    found = f"{number(watts)} W {gpu.state}; {POWERS[semantics]}, asked for every {INTERVAL_S:g} s"
    if semantics != "instant":
        found += f", so it counts in windows of {AVERAGED_FROM_S:g} s and more"
    if gpu.values.get("throttled") is None:
        found += "; it doesn't tell whether it slows down for heat"
    return Check(name, found, values=values)


def _agreement(gpu: GpuRest, difference: float) -> Check:
    """Whether the counter agrees with integrated power."""
    percent, seconds = 100 * difference, number(gpu.at_rest.window_s)
    found = f"counter {round(percent, 1) + 0.0:+.1f} % against power over {seconds} s"
    name, values = f"{gpu.label} agreement", {"counter_above_power_pct": percent}
    if gpu.agrees:
        return Check(name, found, values=values)
    remedy = (
        "don't publish before you know which of them is right: compare both under load "
        "(columns gpu_energy_counter_j and gpu_energy_integrated_j), or with an external meter"
    )
    return Check(name, f"{found}, more than {100 * DISAGREEMENT:g} %", "warning", remedy, values)
