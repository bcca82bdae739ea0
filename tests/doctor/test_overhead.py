"""What the meters take: told against a truth, and only where it can be told."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from orchestrator.doctor.checks import Check
from orchestrator.doctor.overhead import Pair, overhead, overhead_check
from orchestrator.meters import Reading
from orchestrator.nouns import Machine
from tests.doctor.conftest import Host, Instrument

MACHINE = Machine(name="gpu", accelerator="gpu")


def judged(without_w: tuple[Any, Any], with_w: tuple[Any, Any]) -> Check:
    pairs = [Pair(*both, 0.003, 0.04) for both in zip(without_w, with_w, strict=True)]
    return overhead_check(pairs, has_gpu=True)


def test_little_is_under_the_limit() -> None:
    check = judged((75.0, 75.1), (75.2, 75.3))
    assert check.level == "ok"
    assert check.found == (
        "the meters take 0.20 ± 0.07 W of the GPU's 75 W at rest: under 1 %; on the CPU the "
        "poller takes 4.0 % of a core, this process 0.3 % of a core"
    )


def test_much_is_a_warning() -> None:
    check = judged((75.0, 75.1), (77.0, 77.1))
    assert check.level == "warning"
    assert ": over 1 %; " in check.found


def test_windows_alike_that_differ_tell_nothing() -> None:
    """A neighbour came or went: a mean of these would still look small."""
    for without_w, with_w in (((75.0, 85.0), (75.0, 85.1)), ((75.0, 75.0), (75.2, 78.8))):
        check = judged(without_w, with_w)
        assert check.level == "warning"
        assert "whether that is under 1 % can't be told" in check.found


@pytest.mark.parametrize("gone", [0, 1])
def test_a_window_without_a_reading_is_unknown_not_zero(gone: int) -> None:
    readings: list[Any] = [75.0, 75.0]
    readings[gone] = None
    check = judged((75.0, 75.0), tuple(readings))  # type: ignore[arg-type]
    assert (check.level, "extra_w" in check.values) == ("warning", False)


def test_on_a_gpu(host: Host) -> None:
    """Questions to a simulated GPU take no power, whatever their time."""
    check = overhead(MACHINE, host.add_gpu(call_s=0.004), 10.0)
    assert check.level == "ok"
    assert check.values["extra_w"] == pytest.approx(0, abs=0.1)
    assert check.values["gpu_power_w"] == pytest.approx(60, rel=0.01)


def test_meters_that_take_power_are_caught(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that wakes up with the first poller and stays so draws more with the meters."""
    access = host.add_gpu()
    device = access.simulated
    assert device is not None
    made = host.meters_for

    def waking(scene: Any) -> list[Any]:
        other = {"begins_s": device.clock(), "ends_s": device.clock() + 10.5, "watts": 3.0}
        truth = device.truth.model_dump()
        truth["neighbours"] = (*truth["neighbours"], other)
        device.truth = type(device.truth)(**truth)
        return made(scene)

    monkeypatch.setattr("orchestrator.doctor.rest.meters_for", waking)
    check = overhead(MACHINE, access, 10.0)
    assert ": over 1 %; " in check.found
    assert check.values["extra_w"] == pytest.approx(3, rel=0.1)


def test_without_a_gpu_the_cpu_s_time_is_told(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(1000))

    class Busy:
        """Takes a second of CPU with each look."""

        def children(self) -> list[Any]:
            return []

        def cpu_times(self) -> Any:
            return os.times_result((next(ticks), 0, 0, 0, 0))

    monkeypatch.setattr("psutil.Process", Busy)
    check = overhead(Machine(name="cpu", accelerator="cpu"), None, 0.01)
    assert check.level == "ok"
    assert check.found.startswith("no GPU to disturb; with the meters running, this process ")
    assert check.values["own_cores"] == pytest.approx(1 / 0.01, rel=0.5)


def test_processes_that_the_meters_start_are_counted_apart(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Poller(Instrument):
        """Computes all the time, in a process of its own."""

        def __init__(self) -> None:
            super().__init__(Reading({}))
            self._process = subprocess.Popen([sys.executable, "-c", "while True: pass"])

        def close(self) -> None:
            self._process.kill()
            self._process.wait()

    monkeypatch.setattr("orchestrator.doctor.rest.meters_for", lambda _scene: [Poller()])
    check = overhead(Machine(name="cpu", accelerator="cpu"), None, 0.5)
    assert check.values["poller_cores"] > 0.05
    assert check.values["own_cores"] < check.values["poller_cores"]
