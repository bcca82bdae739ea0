"""Other processes on the GPU are seen, and their rows flagged."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import psutil
import pytest

from orchestrator.gpu.access import simulated_access
from orchestrator.gpu.simulated import GpuTruth, Neighbour, SimulatedGpu
from orchestrator.meters import Reading
from orchestrator.meters.neighbours import NeighbourMeter


def window(own: tuple[int, ...] = (), root_pid: int | None = None, **truth: Any) -> Reading:
    """A window from second 1 to second 2."""
    gpu = SimulatedGpu(GpuTruth(**truth))
    meter = NeighbourMeter(simulated_access(gpu), frozenset(own), root_pid)
    gpu.clock.sleep(1.0)
    meter.begin()
    gpu.work(1.0, 100.0)
    meter.end()
    return meter.reading(1.0, 2.0)


@pytest.mark.parametrize(
    ("begins_s", "ends_s", "n"), [(0, 9, 1), (0, 1.5, 1), (1.5, 9, 1), (0, 0.9, 0), (3, 9, 0)]
)
def test_a_neighbour_before_or_after_is_counted(begins_s: float, ends_s: float, n: int) -> None:
    reading = window(neighbours=(Neighbour(begins_s=begins_s, ends_s=ends_s, watts=200, pid=7),))
    assert reading.values == {"n_foreign_processes": n}
    assert reading.flags == ({"foreign_load"} if n else frozenset())


def test_the_process_itself_is_no_neighbour() -> None:
    itself = Neighbour(begins_s=0, ends_s=9, watts=0, pid=7)
    assert window((7,), neighbours=(itself,)).values == {"n_foreign_processes": 0}


def test_what_descends_from_the_server_is_no_neighbour() -> None:
    """A server may start its processes after the first question, or anew."""
    command = [sys.executable, "-c", "input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
        both = tuple(Neighbour(begins_s=0, ends_s=9, watts=0, pid=pid) for pid in (child.pid, 7))
        server, stranger = psutil.Process().pid, child.pid
        assert window(root_pid=server, neighbours=both).values == {"n_foreign_processes": 1}
        assert window(root_pid=stranger, neighbours=both).values == {"n_foreign_processes": 2}
        child.communicate()


def test_a_gpu_that_does_not_tell_is_unknown() -> None:
    reading = window(refuses=frozenset({"nvmlDeviceGetComputeRunningProcesses"}))
    assert reading.values == {"n_foreign_processes": None}
    assert "doesn't tell" in reading.notes["n_foreign_processes"]
    assert reading.flags == frozenset()
