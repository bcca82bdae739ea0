"""Each meter of a GPU at rest, on simulated GPUs whose truth is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.doctor.checks import Check
from orchestrator.doctor.conclusion import conclusion
from orchestrator.doctor.gpu_at_rest import GpuRest, gpu_checks, gpu_rest
from orchestrator.doctor.rest import Rest
from orchestrator.gpu.simulated import NVMLError, SimulatedNvml
from orchestrator.meters import Reading
from orchestrator.nouns import Machine
from tests.doctor.conftest import Host

MACHINE = Machine(name="gpu", accelerator="gpu")
NO_ANSWER = Rest(Reading({}), 1.0)


def at_rest(host: Host, window_s: float = 10.0, **truth: Any) -> GpuRest:
    return gpu_rest("GPU", host.add_gpu(**truth), MACHINE, window_s)


def by_name(gpu: GpuRest) -> dict[str, Check]:
    return {check.name.removeprefix("GPU "): check for check in gpu_checks(gpu)}


def test_a_sound_gpu(host: Host) -> None:
    gpu = at_rest(host, bare_w=80.0, call_s=0.004)
    checks = by_name(gpu)
    assert list(checks) == ["counter", "power", "agreement"]
    assert {check.level for check in checks.values()} == {"ok"}
    assert checks["counter"].found == (
        "80 W at rest; one step every 100 ms (8 J), its moment seen to 6 ms (0.48 J)"
    )
    assert checks["counter"].values == {
        "power_w": pytest.approx(80, rel=0.001),
        "counter_period_s": pytest.approx(0.1, rel=0.01),
        "counter_steps": pytest.approx(99, abs=1),
        "counter_look_s": pytest.approx(0.006),
    }
    assert checks["power"].found == "80 W at rest; the power of the moment, asked for every 0.1 s"
    assert checks["agreement"].found == "counter +0.0 % against power over 10 s"
    assert conclusion([gpu], NO_ANSWER, has_gpu=True) == (
        "GPU energy: counter, 100 ms steps, good for windows of 1 s and more; CPU: unknown"
    )


def test_a_slow_counter_is_measured_not_assumed(host: Host) -> None:
    gpu = at_rest(host, counter_step_s=0.25)
    assert "one step every 250 ms" in by_name(gpu)["counter"].found
    assert "counter, 250 ms steps" in conclusion([gpu], NO_ANSWER, has_gpu=True)


def test_power_that_is_an_average_is_good_for_long_windows_only(host: Host) -> None:
    gpu = at_rest(host, has_counter=False, has_instant_power=False)
    checks = by_name(gpu)
    assert checks["counter"].level == "warning"
    assert checks["power"].values["power_semantics"] == "average_1s"
    assert checks["power"].found.endswith("so it counts in windows of 20 s and more")
    assert conclusion([gpu], NO_ANSWER, has_gpu=True).startswith(
        "GPU energy: integrated power, good for windows of 100 s and more"
    )


def test_power_of_the_moment_without_a_counter(host: Host) -> None:
    gpu = at_rest(host, has_counter=False)
    assert "agreement" not in by_name(gpu)
    assert gpu.least_window_s() == 10


def test_a_counter_that_disagrees_with_power_is_not_to_be_published(host: Host) -> None:
    """187 J by the counter against 327 J by power were once seen on the same GPU at rest."""
    gpu = at_rest(host)
    halved = gpu.values | {"gpu_energy_counter_j": gpu.values["gpu_energy_counter_j"] * 0.57}
    wrong = replace(gpu, at_rest=replace(gpu.at_rest, reading=Reading(halved)))
    agreement = by_name(wrong)["agreement"]
    assert agreement.level == "warning"
    assert agreement.found == "counter -43.0 % against power over 10 s, more than 10 %"
    assert "find out which is right" in conclusion([wrong], NO_ANSWER, has_gpu=True)


def test_somebody_else_on_the_gpu(host: Host) -> None:
    other = {"begins_s": 0.0, "ends_s": 1e6, "watts": 200.0}
    gpu = at_rest(host, neighbours=(other,))
    checks = by_name(gpu)
    assert checks["neighbours"].level == "warning"
    assert checks["counter"].found.startswith("260 W beside others")
    assert "other processes are computing on it now" in conclusion([gpu], NO_ANSWER, has_gpu=True)


QUERIES = [name for name in vars(SimulatedNvml) if name.startswith("nvmlDeviceGet")]


@pytest.mark.parametrize("query", [query for query in QUERIES if query != "nvmlDeviceGetCount"])
def test_whatever_a_gpu_refuses_doctor_finishes(host: Host, query: str) -> None:
    """Identity apart, each query may be refused: its meter is listed as a warning at most."""
    access = host.add_gpu()
    device = access.simulated
    assert device is not None
    device.truth = device.truth.model_copy(update={"refuses": frozenset({query})})
    gpu = gpu_rest("GPU", access, MACHINE, 10.0)
    levels = {name: check.level for name, check in by_name(gpu).items()}
    expected = "warning" if query == "nvmlDeviceGetTotalEnergyConsumption" else "ok"
    assert levels["counter"] == expected
    assert "problem" not in levels.values()
    assert "GPU energy: " in conclusion([gpu], NO_ANSWER, has_gpu=True)


def test_a_gpu_that_tells_neither_energy_nor_power(host: Host) -> None:
    gpu = at_rest(
        host, has_counter=False, refuses={"nvmlDeviceGetPowerUsage", "nvmlDeviceGetFieldValues"}
    )
    checks = by_name(gpu)
    assert checks["power"].level == "warning"
    assert "its energies will be null" in str(checks["power"].remedy)
    assert conclusion([gpu], NO_ANSWER, has_gpu=True).startswith("GPU energy: can't be measured;")


def test_a_counter_that_needs_a_permission_names_who_gives_it(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise NVMLError("Insufficient Permissions")

    monkeypatch.setattr(SimulatedNvml, "nvmlDeviceGetTotalEnergyConsumption", refuse)
    counter = by_name(at_rest(host))["counter"]
    assert counter.found.endswith("(the driver says: Insufficient Permissions)")
    assert "ask the administrator" in str(counter.remedy)


def test_a_poller_that_starts_late_is_waited_for(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a process of its own, which takes a second or two to give its first sample."""
    monkeypatch.setattr("orchestrator.doctor.rest.FIRST_S", 1.0)
    assert by_name(at_rest(host, unpolled=((0.0, 2.5),)))["power"].level == "ok"


def test_codecarbon_s_reading_is_told_where_it_has_one(host: Host) -> None:
    host.cpu |= {"gpu_energy_cc_j": 900.0, "pue": 1.2}
    assert by_name(at_rest(host))["CodeCarbon"].found == "75 W, by the same counter"


def test_the_meters_are_closed_even_after_an_error(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestrator.doctor import rest
    from tests.doctor.conftest import Instrument

    class Failing(Instrument):
        def end(self) -> None:
            raise RuntimeError("broken")

    meter = Failing(Reading({}))
    monkeypatch.setattr(rest, "meters_for", lambda _scene: [meter])
    with pytest.raises(RuntimeError, match="broken"):
        at_rest(host)
    assert meter.is_closed
