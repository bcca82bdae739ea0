"""A GPU that isn't there, with a true power curve, behind functions of the names of NVML's.

The true energy of any span of time is known, so meters, baselines and intervals can be held against
it; and everybody can try every verb without a GPU. Its time is its own: it passes only where
something sleeps or works on it, and never waits for real. Rows that come of it say SIMULATED.
"""

from __future__ import annotations

import bisect
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from pydantic import Field, NonNegativeFloat, PositiveFloat

from orchestrator.nouns import Noun

SIMULATED_UUID = "SIMULATED-"
"""How the UUID of a GPU begins that isn't there."""
COUNTER_START_MJ = 123_456_789
"""What a counter has counted since the driver was loaded."""
RAMP_STEPS = 16
"""Points in which the mean over a ramp is taken."""
HEAT_S = 30.0
"""Time over which power becomes heat."""
INSTANT_S = 0.001
"""Time over which power counts as that of a moment."""
SW_THERMAL_SLOWDOWN = 0x20
"""NVML's bit for a GPU that slows itself down for heat."""

Span = tuple[float, float]
"""From, to: seconds of the device's clock."""


class Neighbour(Noun):
    """Another process on the GPU for a time, and what it draws."""

    begins_s: float
    ends_s: float
    watts: float
    pid: int = 4242


class GpuTruth(Noun):
    """How a simulated GPU behaves. The defaults are those of an H100 with a 7B model at batch 1."""

    name: str = "SIMULATED GPU"
    memory_bytes: int = 80 * 2**30
    power_limit_w: float | None = 700.0
    architecture: int = 9
    """NVML's number: 9 is Hopper."""

    bare_w: NonNegativeFloat = 60.0
    """Idle, before any process has a context on it."""
    context_w: NonNegativeFloat = 75.0
    """Idle with a context; a loaded model draws no more."""
    drift_w_per_hour: float = 0.0
    """How the idle power changes with time, as when the room warms up."""
    load_s: NonNegativeFloat = 5.0
    load_w: NonNegativeFloat = 30.0
    """Loading a model: how long it takes, and what it draws above idle."""
    prompt_token_s: NonNegativeFloat = 0.0002
    prompt_token_j: NonNegativeFloat = 0.03
    """Above idle."""
    new_token_s: NonNegativeFloat = 0.025
    new_token_j: NonNegativeFloat = 1.6
    """Above idle."""
    shape_s: NonNegativeFloat = 0.0
    """Time to build what each new length needs once a process; 0: nothing is built."""
    shape_w: NonNegativeFloat = 20.0
    """Power above idle while it is built."""
    session_noise: NonNegativeFloat = 0.0
    """Standard deviation of the factor on time a token that each process has, relative."""
    token_noise: NonNegativeFloat = 0.0
    """Standard deviation of the factor on the energy of each generation, relative."""
    ramp_s: NonNegativeFloat = 0.0
    """The power drawn follows the work by so much: a mean over the last so many seconds."""

    counter_step_s: PositiveFloat = 0.1
    counter_lag_s: NonNegativeFloat = 0.0
    """How old the energy is that the counter shows."""
    has_counter: bool = True
    counter_frozen_from_s: float | None = None
    """None: never."""
    counter_resets_at_s: float | None = None
    """None: never."""
    gain: PositiveFloat = 1.0
    """What every sensor of the device shows for a true 1."""
    has_instant_power: bool = True
    average_s: PositiveFloat = 1.0
    """Time over which the older power query averages."""
    unpolled: tuple[Span, ...] = ()
    """When polling gets no turn."""
    cold_c: float = 30.0
    heat_c_per_w: NonNegativeFloat = 0.1
    """Temperature: that when no power is drawn, and what each watt of the last half minute adds."""
    throttled: tuple[Span, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    call_s: NonNegativeFloat = 0.0
    """How long a question to it takes; 0.004 on one virtual machine with an H100."""
    refuses: frozenset[str] = Field(default_factory=frozenset)
    """Functions of NVML that answer 'not supported'."""


@dataclass
class SimulatedClock:
    """A clock that moves only where somebody sleeps on it."""

    now_s: float = 0.0

    def __call__(self) -> float:
        """Seconds since the clock began."""
        return self.now_s

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now_s += max(0.0, seconds)


@dataclass
class SimulatedGpu:
    """One device: its truth, its clock and the work that it did."""

    truth: GpuTruth = field(default_factory=GpuTruth)
    uuid: str = f"{SIMULATED_UUID}0"
    seed: int = 0
    clock: SimulatedClock = field(default_factory=SimulatedClock)
    context_from_s: float = math.inf
    """When a process first made a context on it."""

    def __post_init__(self) -> None:
        """Draw what the device's process adds to each token's time."""
        self._random = random.Random(self.seed)  # noqa: S311 - not for secrets
        self._token_factor = max(0.1, self._random.gauss(1.0, self.truth.session_noise))
        # works follow one another, so that a search finds the one that a moment lies in
        self._works: list[tuple[float, float, float]] = []
        self._done_j = [0.0]
        """Energy of all works before each one, and of all."""
        self._built: set[int] = set()
        self._launched: list[tuple[float, float]] = []
        self._noise = 1.0

    def open_context(self) -> None:
        """A process begins to use the device."""
        self.context_from_s = min(self.context_from_s, self.clock())

    def build(self, lengths: Sequence[int]) -> None:
        """Build what lengths need that no generation of this process has reached yet."""
        new = set(lengths) - self._built
        self._built |= new
        self.work(len(new) * self.truth.shape_s, self.truth.shape_w)

    def prefill(self, n_tokens: int) -> None:
        """Take in a prompt: a generation begins, with a noise of its own."""
        self._noise = max(0.0, self._random.gauss(1.0, self.truth.token_noise))
        token_s = self.truth.prompt_token_s
        if token_s > 0:
            self.work(n_tokens * token_s, self.truth.prompt_token_j / token_s)

    def launch_token(self) -> None:
        """Begin the next token and don't wait for it: `synchronize` does."""
        seconds = self.truth.new_token_s * self._token_factor
        if seconds > 0:
            self._launched.append((seconds, self.truth.new_token_j * self._noise / seconds))

    def synchronize(self) -> None:
        """Wait for what was launched."""
        launched, self._launched = self._launched, []
        for seconds, watts in launched:
            self.work(seconds, watts)

    def work(self, seconds: float, watts: float) -> None:
        """Draw so much above idle for a time, which passes."""
        if seconds <= 0:
            return
        began_s = self.clock()
        self.clock.sleep(seconds)
        if self._works and self._works[-1][1:] == (began_s, watts):
            began_s, *_ = self._works.pop()  # the same work goes on: one entry, not one a token
            self._done_j.pop()
        self._works.append((began_s, self.clock(), watts))
        self._done_j.append(self._done_j[-1] + (self.clock() - began_s) * watts)

    @property
    def last_work_ended_s(self) -> float:
        """When it last finished some work; 0 where it did none."""
        return self._works[-1][1] if self._works else 0.0

    def is_unpolled(self, at_s: float) -> bool:
        """Whether a poller gets no turn at a moment."""
        return _within(at_s, self.truth.unpolled)

    def energy_j(self, began_s: float, ended_s: float, *, neighbours: bool = True) -> float:
        """The true energy between two moments; without neighbours only what is our own."""
        whole = self._energy_until_j(ended_s, neighbours=neighbours)
        return whole - self._energy_until_j(began_s, neighbours=neighbours)

    def power_w(self, at_s: float, over_s: float = INSTANT_S) -> float:
        """The true mean power over the time before a moment."""
        return self.energy_j(at_s - over_s, at_s) / over_s

    def _energy_until_j(self, at_s: float, *, neighbours: bool) -> float:
        """Energy since the clock's 0."""
        return self._idle_until_j(at_s) + self._ramped_until_j(at_s, neighbours=neighbours)

    def _idle_until_j(self, at_s: float) -> float:
        """Idle energy: bare, then with a context, with the drift on top."""
        with_context_s = max(0.0, at_s - self.context_from_s)
        bare_j = self.truth.bare_w * (at_s - with_context_s)
        drift_j = self.truth.drift_w_per_hour / 3600 * at_s * at_s / 2
        return bare_j + self.truth.context_w * with_context_s + drift_j

    def _ramped_until_j(self, at_s: float, *, neighbours: bool) -> float:
        """Energy of all work, spread over the ramp."""
        ramp_s = self.truth.ramp_s
        if ramp_s == 0:
            return self._work_until_j(at_s, neighbours=neighbours)
        moments = [at_s - ramp_s * (step + 0.5) / RAMP_STEPS for step in range(RAMP_STEPS)]
        parts = [self._work_until_j(moment, neighbours=neighbours) for moment in moments]
        return sum(parts) / RAMP_STEPS

    def _work_until_j(self, at_s: float, *, neighbours: bool) -> float:
        """Energy of all work until a moment, without a ramp."""
        n_begun = bisect.bisect_right(self._works, at_s, key=lambda work: work[0])
        own_j = self._done_j[n_begun]
        if n_begun:
            _, ended_s, watts = self._works[n_begun - 1]
            own_j -= watts * max(0.0, ended_s - at_s)
        if not neighbours:
            return own_j
        others = self.truth.neighbours
        return own_j + sum(
            other.watts * max(0.0, min(at_s, other.ends_s) - other.begins_s) for other in others
        )


class NVMLError(Exception):
    """The base class of NVML's errors."""


class NotSupportedError(NVMLError):
    """What a GPU without a function answers."""


class SimulatedNvml:
    """The functions of pynvml that the program and CodeCarbon call, over simulated GPUs.

    `clock` is the moment that answers are of; a poller gives its own.
    """

    NVMLError = NVMLError
    NVMLError_NotSupported = NotSupportedError
    NVML_TEMPERATURE_GPU = 0
    NVML_CLOCK_SM = 1
    NVML_CLOCK_MEM = 2

    def __init__(self, *gpus: SimulatedGpu, clock: SimulatedClock | None = None) -> None:
        self.gpus = gpus
        self._clock = clock

    def by(self, clock: SimulatedClock) -> SimulatedNvml:
        """The same host as it answers by another clock."""
        return SimulatedNvml(*self.gpus, clock=clock)

    def _now_s(self, gpu: SimulatedGpu) -> float:
        """The moment of an answer."""
        return (self._clock or gpu.clock)()

    def _ask(self, gpu: SimulatedGpu, function: str) -> GpuTruth:
        """The device's truth, after the time that a question takes.

        Raises where it refuses a function.
        """
        (self._clock or gpu.clock).sleep(gpu.truth.call_s)
        if function in gpu.truth.refuses:
            raise NotSupportedError(function)
        return gpu.truth

    def nvmlInit(self) -> None:
        pass

    def nvmlSystemGetDriverVersion(self) -> str:
        return "simulated"

    def nvmlSystemGetCudaDriverVersion_v2(self) -> int:
        return 13000

    def nvmlDeviceGetCount(self) -> int:
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> SimulatedGpu:
        self._ask(self.gpus[index], "nvmlDeviceGetHandleByIndex")
        return self.gpus[index]

    def nvmlDeviceGetUUID(self, gpu: SimulatedGpu) -> str:
        self._ask(gpu, "nvmlDeviceGetUUID")
        return gpu.uuid

    def nvmlDeviceGetName(self, gpu: SimulatedGpu) -> str:
        return self._ask(gpu, "nvmlDeviceGetName").name

    def nvmlDeviceGetMemoryInfo(self, gpu: SimulatedGpu) -> Any:
        total = self._ask(gpu, "nvmlDeviceGetMemoryInfo").memory_bytes
        return SimpleNamespace(total=total, free=total, used=0)

    def nvmlDeviceGetEnforcedPowerLimit(self, gpu: SimulatedGpu) -> int:
        limit_w = self._ask(gpu, "nvmlDeviceGetEnforcedPowerLimit").power_limit_w
        if limit_w is None:
            raise NotSupportedError("nvmlDeviceGetEnforcedPowerLimit")
        return round(limit_w * 1000)

    def nvmlDeviceGetArchitecture(self, gpu: SimulatedGpu) -> int:
        return self._ask(gpu, "nvmlDeviceGetArchitecture").architecture

    def nvmlDeviceGetTotalEnergyConsumption(self, gpu: SimulatedGpu) -> int:
        truth = self._ask(gpu, "nvmlDeviceGetTotalEnergyConsumption")
        if not truth.has_counter:
            raise NotSupportedError("nvmlDeviceGetTotalEnergyConsumption")
        now_s = self._now_s(gpu)
        # a little more, since a sum of steps may lie just below the step that it stands for
        steps = math.floor((now_s - truth.counter_lag_s) / truth.counter_step_s + 1e-9)
        shown_s = steps * truth.counter_step_s
        if truth.counter_frozen_from_s is not None:
            shown_s = min(shown_s, truth.counter_frozen_from_s)
        joules = gpu.energy_j(0.0, shown_s)
        reset_s = truth.counter_resets_at_s
        if reset_s is not None and now_s >= reset_s:
            return round(gpu.energy_j(reset_s, shown_s) * truth.gain * 1000)
        return COUNTER_START_MJ + round(joules * truth.gain * 1000)

    def nvmlDeviceGetPowerUsage(self, gpu: SimulatedGpu) -> int:
        truth = self._ask(gpu, "nvmlDeviceGetPowerUsage")
        return round(gpu.power_w(self._now_s(gpu), truth.average_s) * truth.gain * 1000)

    def nvmlDeviceGetFieldValues(self, gpu: SimulatedGpu, ids: list[int]) -> list[Any]:
        truth = self._ask(gpu, "nvmlDeviceGetFieldValues")
        if not truth.has_instant_power:
            return [SimpleNamespace(nvmlReturn=3) for _ in ids]
        milliwatts = round(gpu.power_w(self._now_s(gpu)) * truth.gain * 1000)
        value = SimpleNamespace(uiVal=milliwatts)
        return [SimpleNamespace(nvmlReturn=0, value=value) for _ in ids]

    def nvmlDeviceGetTemperature(self, gpu: SimulatedGpu, _sensor: int) -> int:
        truth = self._ask(gpu, "nvmlDeviceGetTemperature")
        return round(truth.cold_c + truth.heat_c_per_w * gpu.power_w(self._now_s(gpu), HEAT_S))

    def nvmlDeviceGetClockInfo(self, gpu: SimulatedGpu, kind: int) -> int:
        self._ask(gpu, "nvmlDeviceGetClockInfo")
        return {self.NVML_CLOCK_SM: 1980, self.NVML_CLOCK_MEM: 2619}[kind]

    def nvmlDeviceGetUtilizationRates(self, gpu: SimulatedGpu) -> Any:
        self._ask(gpu, "nvmlDeviceGetUtilizationRates")
        return SimpleNamespace(gpu=97, memory=50)

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, gpu: SimulatedGpu) -> int:
        truth = self._ask(gpu, "nvmlDeviceGetCurrentClocksThrottleReasons")
        return SW_THERMAL_SLOWDOWN * _within(self._now_s(gpu), truth.throttled)

    def nvmlDeviceGetPerformanceState(self, gpu: SimulatedGpu) -> int:
        self._ask(gpu, "nvmlDeviceGetPerformanceState")
        return 0

    def nvmlDeviceGetMigMode(self, gpu: SimulatedGpu) -> list[int]:
        self._ask(gpu, "nvmlDeviceGetMigMode")
        return [0, 0]

    def nvmlDeviceGetVirtualizationMode(self, gpu: SimulatedGpu) -> int:
        self._ask(gpu, "nvmlDeviceGetVirtualizationMode")
        return 0

    def nvmlDeviceGetComputeRunningProcesses(self, gpu: SimulatedGpu) -> list[Any]:
        truth = self._ask(gpu, "nvmlDeviceGetComputeRunningProcesses")
        now_s = self._now_s(gpu)
        there = [one.pid for one in truth.neighbours if one.begins_s <= now_s < one.ends_s]
        return [SimpleNamespace(pid=pid, usedGpuMemory=2**30) for pid in there]


def _within(at_s: float, spans: tuple[Span, ...]) -> bool:
    """Whether a moment lies in one of the spans."""
    return any(began_s <= at_s < ended_s for began_s, ended_s in spans)
