"""Where power samples come from: a process that polls a GPU, or a simulated one.

Each sample is a row in the order of `orchestrator.meters.poller.FIELDS`.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import replace
from typing import Any, Protocol

from orchestrator.gpu.access import GpuAccess
from orchestrator.gpu.simulated import SimulatedClock, SimulatedGpu
from orchestrator.meters.poller import Sampler

INTERVAL_S = 0.1
KEPT_SAMPLES = 36_000
"""An hour at ten a second. Longer windows lose their beginning, and their integral is null."""
WAIT_S = 1.0
LOOK_S = 0.02

Sample = tuple[Any, ...]


class SampleSource(Protocol):
    """Samples of one GPU at about ten a second."""

    semantics: str
    """What the power is: instant, average_1s or unknown."""

    def around(self, began_s: float, ended_s: float) -> list[Sample]:
        """Samples of a window that is over, with one on either side where there is one."""

    def close(self) -> None:
        """End it; more calls do nothing."""


class PollerProcess:
    """A running poller and its latest samples."""

    def __init__(self, uuid: str, interval_s: float = INTERVAL_S) -> None:
        if interval_s < INTERVAL_S:
            raise ValueError(
                f"polling every {interval_s:g} s would disturb what it measures; "
                f"{INTERVAL_S:g} s is the least"
            )
        self.semantics = "unknown"
        self._samples: deque[Sample] = deque(maxlen=KEPT_SAMPLES)
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "orchestrator.meters.poller", uuid, str(interval_s)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            text=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def pid(self) -> int:
        """The poller's process."""
        return self._process.pid

    def _read(self) -> None:
        """Take in the poller's lines: first what its power means, then a list a sample."""
        assert self._process.stdout is not None  # noqa: S101 - asked for above
        for line in self._process.stdout:
            with contextlib.suppress(ValueError):
                value = json.loads(line)
                if isinstance(value, dict):
                    self.semantics = value["power_semantics"]
                else:
                    self._samples.append(tuple(value))

    def around(self, began_s: float, ended_s: float) -> list[Sample]:
        """Samples of a window; waits up to WAIT_S for the first one after it."""
        self._wait_for_sample_after(ended_s)
        samples = list(self._samples)
        first = max((i for i, one in enumerate(samples) if one[0] <= began_s), default=0)
        after = [i for i, one in enumerate(samples) if one[0] >= ended_s]
        return samples[first : after[0] + 1 if after else None]

    def _wait_for_sample_after(self, ended_s: float) -> None:
        """Wait until a sample closes the window; not for a poller that died, nor above WAIT_S."""
        deadline_s = time.perf_counter() + WAIT_S
        while time.perf_counter() < deadline_s and self._process.poll() is None:
            if self._samples and self._samples[-1][0] >= ended_s:
                return
            time.sleep(LOOK_S)

    def close(self) -> None:
        """End the poller."""
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)


class SimulatedPoller:
    """Reads a simulated GPU as a poller would have read it, after the fact."""

    def __init__(self, access: GpuAccess, device: SimulatedGpu) -> None:
        self._access, self._device = access, device
        self.semantics = Sampler(access).semantics

    def around(self, began_s: float, ended_s: float) -> list[Sample]:
        """Samples at each tenth of a second from the last one before the window on."""
        clock = SimulatedClock()
        nvml = self._access.nvml.by(clock)
        sampler = Sampler(replace(self._access, nvml=nvml, clock=clock))
        samples = []
        # one more on either side, since reading a sample takes time
        first = math.floor(began_s / INTERVAL_S) - 1
        last = math.ceil(ended_s / INTERVAL_S) + 1
        for step in range(first, last + 1):
            clock.now_s = step * INTERVAL_S
            if not self._device.is_unpolled(clock.now_s):
                samples.append(tuple(sampler.sample()))
        return samples

    def close(self) -> None:
        """Do nothing: no process runs."""


def sample_source(access: GpuAccess) -> SampleSource:
    """The samples of a GPU, real or simulated."""
    if access.simulated is not None:
        return SimulatedPoller(access, access.simulated)
    return PollerProcess(access.gpu.uuid)
