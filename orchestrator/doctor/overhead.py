"""What the meters themselves take: power of a GPU at rest, and time of the CPU."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from statistics import mean

import psutil

from orchestrator.doctor.checks import Check
from orchestrator.doctor.rest import rest, running_meters
from orchestrator.gpu.access import Clock, GpuAccess, RealClock
from orchestrator.meters import Scene
from orchestrator.meters.counter import ENERGY, CounterMeter
from orchestrator.nouns import Machine
from orchestrator.units import number
from orchestrator.unknowns import known

PAIRS = 2
"""Windows without the meters, and as many with them, in turn: a drift shows in the spread."""
ALLOWED = 0.01
"""The part of the GPU's power that the meters may take."""
LIMIT = f"{100 * ALLOWED:g} %"


@dataclass(frozen=True)
class Pair:
    """A window without the meters, and one with them after it."""

    without_w: float | None
    with_w: float | None
    """Power of the GPU by its counter; None: no GPU, or no counter."""
    own_cores: float
    poller_cores: float
    """Seconds of CPU a second with the meters: this process, and those that it started."""


def overhead(machine: Machine, access: GpuAccess | None, window_s: float) -> Check:
    """Measure without the meters and with them, in turn; without a GPU only the CPU's time.

    Without them, too, the GPU's counter is read, but only at the edges of a window.
    """
    pairs = [_pair(machine, access, window_s) for _ in range(PAIRS)]
    return overhead_check(pairs, has_gpu=access is not None)


def _pair(machine: Machine, access: GpuAccess | None, window_s: float) -> Pair:
    """Measure one window of each kind."""
    clock: Clock = RealClock()
    without_w = None
    if access is not None:
        clock = access.clock
        without_w = rest([CounterMeter(access)], clock, window_s).watts(ENERGY)
    with running_meters(Scene(machine, access), clock) as meters:
        own, children = psutil.Process(), psutil.Process().children()
        own_s, children_s, began_s = _cpu_s([own]), _cpu_s(children), time.perf_counter()
        with_w = rest(meters, clock, window_s).watts(ENERGY)
        wall_s = time.perf_counter() - began_s
        own_cores = (_cpu_s([own]) - own_s) / wall_s
        poller_cores = (_cpu_s(children) - children_s) / wall_s
    return Pair(without_w, with_w, own_cores, poller_cores)


def _cpu_s(processes: list[psutil.Process]) -> float:
    """Seconds that processes have computed."""
    times = [process.cpu_times() for process in processes]
    return float(sum(one.user + one.system for one in times))


def overhead_check(pairs: list[Pair], *, has_gpu: bool) -> Check:
    """Whether the meters take less of the GPU's power than is allowed, as far as it can be told."""
    own_cores, poller_cores = (
        mean(pair.own_cores for pair in pairs),
        mean(pair.poller_cores for pair in pairs),
    )
    values: dict[str, float | None] = {"own_cores": own_cores, "poller_cores": poller_cores}
    cpu = f"this process {100 * own_cores:.1f} % of a core"
    if not has_gpu:
        return Check(
            "overhead", f"no GPU to disturb; with the meters running, {cpu}", values=values
        )
    cpu = f"on the CPU the poller takes {100 * poller_cores:.1f} % of a core, {cpu}"
    without_w = known(pair.without_w for pair in pairs)
    with_w = known(pair.with_w for pair in pairs)
    if len(without_w) < len(pairs) or len(with_w) < len(pairs):
        found = f"of the GPU's power unknown, since its counter tells nothing; {cpu}"
        return Check("overhead", found, "warning", "none for this GPU", values)
    extra_w, spread_w = mean(with_w) - mean(without_w), _spread_w(without_w, with_w)
    values |= {"gpu_power_w": mean(without_w), "extra_w": extra_w, "spread_w": spread_w}
    limit_w = ALLOWED * mean(without_w)
    found = (
        f"the meters take {round(extra_w, 2) + 0.0:.2f} ± {spread_w:.2f} W of the GPU's "
        f"{number(mean(without_w))} W at rest"
    )
    if extra_w + spread_w < limit_w:
        return Check("overhead", f"{found}: under {LIMIT}; {cpu}", values=values)
    if extra_w - spread_w > limit_w:
        remedy = "tell it with net energies; under load it is a smaller part"
        return Check("overhead", f"{found}: over {LIMIT}; {cpu}", "warning", remedy, values)
    found += f": whether that is under {LIMIT} can't be told; {cpu}"
    return Check("overhead", found, "warning", "try again when nothing else runs", values)


def _spread_w(without_w: list[float], with_w: list[float]) -> float:
    """How far the difference of two means may be off, by how windows of one kind differ."""
    halves = [(max(watts) - min(watts)) / 2 for watts in (without_w, with_w)]
    return math.hypot(*halves)
