"""How the CPU's energy is known: RAPL in simulated trees of /sys/class/powercap, or a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.doctor.checks import Check
from orchestrator.doctor.conclusion import conclusion
from orchestrator.doctor.cpu_at_rest import cpu_checks, cpu_rest
from orchestrator.doctor.powercap import Rapl, period_s, rapl
from orchestrator.gpu.simulated import SimulatedClock
from orchestrator.nouns import Machine
from tests.doctor.conftest import Host

FILE = Path("clusters/cpu.yaml")


def cpu(host: Host, *, has_gpu: bool = False, **machine: Any) -> Check:
    described = Machine(name="cpu", accelerator="cpu", **machine)
    at_rest = cpu_rest(described)
    return next(iter(cpu_checks(at_rest, described, FILE, has_gpu=has_gpu)))


def model(host: Host) -> None:
    host.cpu = {"cpu_energy_j": 0.004, "cpu_method": "cpu_load", "ram_energy_j": 0.01}


def test_rapl(host: Host) -> None:
    host.add_package(0)
    host.add_package(1)
    check = cpu(host)
    assert check.level == "ok"
    assert check.found.startswith("measured by RAPL, ")
    assert check.found.endswith("2 packages, whose counter did not move when it was looked at")


def test_rapl_that_may_not_be_read_is_named_with_its_remedy(host: Host) -> None:
    model(host)
    file = host.add_package(0)
    host.refuse(file)
    check = cpu(host)
    assert check.level == "warning"
    assert f"this user may not read {file}" in check.found
    assert "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj" in str(check.remedy)
    assert "udev rule" in Path(__file__).parents[2].joinpath("docs/machines.md").read_text()


def test_one_of_two_packages_that_may_not_be_read_is_told(host: Host) -> None:
    """CodeCarbon would take the other one for the whole CPU without a word."""
    host.add_package(0)
    file = host.add_package(1)
    host.refuse(file)
    check = cpu(host)
    assert check.level == "warning"
    assert check.found.endswith(f"; a part is missing: this user may not read {file}")


def test_a_model_says_so_and_what_to_publish(host: Host) -> None:
    model(host)
    check = cpu(host)
    assert check.level == "warning"
    assert check.found.startswith(
        "a model of CodeCarbon's (nominal power times this process's share of the CPU): "
    )
    assert "this host shows no RAPL" in check.found
    assert "on a machine with a GPU" in str(check.remedy)
    assert cpu(host, has_gpu=True).remedy == "publish the GPU's energy, not a total"


def test_rapl_that_a_container_hides(host: Host) -> None:
    model(host)
    host.add_package(0, energy=None)
    assert "RAPL is hidden, as is usual in containers" in cpu(host).found


def test_rapl_that_the_machine_s_file_replaces(host: Host) -> None:
    model(host)
    host.add_package(0)
    check = cpu(host, cpu_power_w=65.0)
    assert f"cpu_power_w in {FILE} takes its place" in check.found
    assert check.remedy == f"remove cpu_power_w from {FILE}"


def test_unknown_is_a_warning(host: Host) -> None:
    host.cpu, host.notes = {"cpu_energy_j": None}, {"cpu_energy_j": "the window was too short"}
    check = cpu(host)
    assert check.level == "warning"
    assert check.found.startswith("unknown, so its columns will be null: the window was too short")


def test_the_ram_s_energy_is_a_model(host: Host) -> None:
    model(host)
    described = Machine(name="cpu", accelerator="cpu")
    *_, ram = cpu_checks(cpu_rest(described), described, FILE, has_gpu=False)
    assert (ram.name, ram.level) == ("RAM energy", "ok")
    assert ram.found.startswith("a model of CodeCarbon's")


def test_only_packages_count(host: Host) -> None:
    """Parts of a package are within it, and psys is the whole platform."""
    first = host.add_package(0)
    host.add_package(1, name="psys")
    (host.powercap / "intel-rapl:0:0").mkdir()
    (host.powercap / "intel-rapl-mmio:0").mkdir()
    assert rapl() == Rapl(readable=(first,))


def test_the_period_of_a_counter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A counter that moves each millisecond, looked at every quarter of one."""
    clock = SimulatedClock()

    def moving(_path: Path) -> str:
        clock.sleep(0.00025)
        return str(int(clock() / 0.001 + 1e-6))

    monkeypatch.setattr(Path, "read_text", moving)
    assert period_s(tmp_path, clock) == pytest.approx(0.001, rel=0.01)


@pytest.mark.parametrize(
    ("reading", "said"),
    [
        ({"cpu_energy_j": 1.0, "cpu_method": "rapl"}, "no GPU: the CPU's energy is measured by"),
        (
            {"cpu_energy_j": 1.0, "cpu_method": "cpu_load"},
            "no GPU: energies are models, good for trying out, not for publishing",
        ),
        (
            {"cpu_energy_j": None, "cpu_method": "rapl"},
            "no GPU, and the CPU's energy is unknown: nothing can be measured here",
        ),
    ],
)
def test_the_conclusion_without_a_gpu(host: Host, reading: dict[str, Any], said: str) -> None:
    host.cpu = reading
    at_rest = cpu_rest(Machine(name="cpu", accelerator="cpu"))
    assert conclusion([], at_rest, has_gpu=False).startswith(said)
