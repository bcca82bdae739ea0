"""`doctor`: what a machine offers, and a remedy for each problem."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator import doctor as module
from orchestrator.cli import main
from orchestrator.doctor import Check, diagnose, rooms
from orchestrator.gpu.access import simulated_access
from orchestrator.gpu.devices import Gpu
from orchestrator.gpu.simulated import SimulatedGpu
from orchestrator.meters import Reading
from orchestrator.models import KNOWN
from orchestrator.nouns import QUANTIZATIONS, Machine
from orchestrator.sweep.estimate import GPU_OVERHEAD_BYTES
from tests import builders

GIB = 2**30


class Instrument:
    """A meter that gives a fixed reading."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self.calls: list[str] = []

    def begin(self) -> None:
        self.calls.append("begin")

    def end(self) -> None:
        self.calls.append("end")

    def reading(self, _began_s: float, _ended_s: float) -> Reading:
        self.calls.append("reading")
        return self._reading

    def close(self) -> None:
        self.calls.append("close")


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """A machine without a GPU; a test can change it through this dictionary."""
    monkeypatch.chdir(tmp_path)
    now: dict[str, Any] = {
        "gpus": [],
        "values": {"cpu_energy_j": 3.0, "cpu_method": "rapl"},
        "notes": {},
        "free": 100 * GIB,
    }
    monkeypatch.setattr(module, "visible_gpus", lambda: now["gpus"])
    monkeypatch.setattr(module, "open_gpu", lambda uuid: simulated_access(SimulatedGpu(uuid=uuid)))
    monkeypatch.setattr(
        module, "meters_for", lambda _scene: [Instrument(Reading(now["values"], now["notes"]))]
    )
    monkeypatch.setattr(module, "WINDOW_S", 0.001)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=now["free"]))
    builders.host_memory(monkeypatch, 16 * GIB)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return now


def checks(out: Path = Path("data")) -> dict[str, Check]:
    return {check.name: check for check in diagnose(out).checks}


def gpu(gib: float, name: str = "GTX 1650 Ti", uuid: str = "GPU-1234") -> Gpu:
    return Gpu(0, uuid, name, int(gib * GIB))


def test_every_remedy_is_told_and_only_where_it_is_needed() -> None:
    for check in checks().values():
        assert check.ok or check.remedy, check.name


def test_a_machine_without_a_gpu(machine: dict[str, Any]) -> None:
    by_name = checks()
    assert by_name["GPU"].ok
    assert "GPU energy" not in by_name
    assert by_name["CPU energy"].found == "measured by RAPL"
    machine["values"] = {"cpu_energy_j": 0.0, "cpu_method": "cpu_load"}
    assert checks()["CPU energy"].found == "estimated by CodeCarbon's method cpu_load, not measured"
    machine["values"], machine["notes"] = (
        {"cpu_energy_j": None},
        {"cpu_energy_j": "the window was too short"},
    )
    assert not checks()["CPU energy"].ok
    assert checks()["CPU energy"].found == "unknown: the window was too short"


def test_a_gpu_s_counter_is_tried(machine: dict[str, Any]) -> None:
    machine["gpus"] = [gpu(4)]
    machine["values"] = {
        "gpu_energy_counter_j": 0.05,
        "cpu_energy_j": 1.0,
        "cpu_method": "cpu_load",
    }
    assert checks()["GPU energy"].found == "measured by its energy counter, 50 W just now"
    machine["values"] |= {"gpu_energy_counter_j": None}
    machine["notes"] = {"gpu_energy_counter_j": "this GPU has no energy counter"}
    assert (checks()["GPU energy"].ok, checks()["GPU energy"].found) == (
        False,
        "this GPU has no energy counter",
    )


def test_each_of_two_gpus_is_tried(machine: dict[str, Any]) -> None:
    machine["gpus"] = [gpu(40, uuid="GPU-aaaa"), gpu(40, uuid="GPU-bbbb")]
    machine["values"] = {
        "gpu_energy_counter_j": 0.05,
        "cpu_energy_j": 1.0,
        "cpu_method": "cpu_load",
    }
    assert {"GPU energy aaaa", "GPU energy bbbb", "CPU energy"} <= checks().keys()


def test_little_disk(machine: dict[str, Any]) -> None:
    machine["free"] = 5 * GIB
    by_name = checks()
    assert (by_name["disk for weights"].ok, by_name["disk for data"].ok) == (False, True)
    assert "5 GiB free" in by_name["disk for weights"].found


def test_a_folder_that_can_not_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert checks()["disk for data"].found.endswith("which can't be written")


@pytest.mark.parametrize("out", ["x" * 300, "file/below"])
def test_a_folder_that_can_not_be(out: str) -> None:
    Path("file").write_text("")
    check = checks(Path(out))["disk for data"]
    assert not check.ok
    assert check.found.startswith(f"--out {out}: ")


def test_the_hub_is_asked_unless_it_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks()["model hub"].found.startswith("not used (HF_HUB_OFFLINE is set)")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)

    def unreachable(*_arguments: object) -> socket.socket:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket, "create_connection", unreachable)
    hub = checks()["model hub"]
    assert not hub.ok
    assert hub.found.endswith(" can't be reached (Network is unreachable)")
    assert "models stage" in (hub.remedy or "")
    asked: list[object] = []

    class Open:
        def close(self) -> None:
            asked.append("closed")

    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://mirror.example:8080/hub")
    monkeypatch.setattr(
        socket, "create_connection", lambda address, _timeout: asked.append(address) or Open()
    )
    assert checks()["model hub"].found == "http://mirror.example:8080/hub answers"
    assert asked == [("mirror.example", 8080), "closed"]


def test_a_package_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "bitsandbytes":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    check = checks()["packages"]
    assert (check.ok, check.remedy) == (False, "pip install bitsandbytes")


# --- memory ---------------------------------------------------------------------------------------


def longest(memory_bytes: int) -> dict[tuple[str, str], int]:
    return {(room.model, room.quantization): room.max_length for room in rooms(memory_bytes, 2)}


def test_what_fits_in_four_gib(machine: dict[str, Any]) -> None:
    """7 B models need more than 4 GiB even with 4 bits; the small one fits with all its context."""
    machine["gpus"] = [gpu(4)]
    rooms = {(room.model, room.quantization): room for room in diagnose(Path("data")).rooms}
    assert diagnose(Path("data")).memory_bytes == 4 * GIB - GPU_OVERHEAD_BYTES
    assert rooms["llama2", "nf4"].max_length == rooms["mistral", "nf4"].max_length == 0
    assert rooms["smollm2", "none"].max_length == rooms["smollm2", "none"].context_length == 8192


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_a_text_fits_up_to_its_room_and_no_further(name: str, quantization: str) -> None:
    architecture = KNOWN[name].architecture
    assert architecture
    weights = architecture.weights_bytes(QUANTIZATIONS[quantization], 2)
    token = architecture.cache_bytes_per_token(2)
    assert longest(weights - 1)[name, quantization] == 0
    assert longest(weights + 100 * token)[name, quantization] == 100
    assert longest(weights + 100 * token - 1)[name, quantization] == 99
    assert longest(10**13)[name, quantization] == architecture.max_position_embeddings


# --- the verb -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("free", "code"), [(100 * GIB, 3), (GIB // 2, 3)])
def test_the_verb_tells_all(
    machine: dict[str, Any], capsys: pytest.CaptureFixture[str], free: int, code: int
) -> None:
    machine["free"] = free
    with pytest.raises(SystemExit) as ended:
        main(["doctor"])
    said = capsys.readouterr().out
    assert ended.value.code == code, "no country is known"
    assert said.startswith("machine            cpu, described in ")
    little = "0 GiB free in measurements, less than 1 GiB -> choose another folder with --out"
    assert (f"disk for data      PROBLEM: {little}" in said) == (free < GIB)
    assert "llama2   nf4 4096 (4.1 GiB of weights)" in said
    assert "none does not fit" in said
    with pytest.raises(SystemExit):
        main(["doctor", "--json"])
    assert json.loads(capsys.readouterr().out)["ok"] is False


def test_a_sound_machine_ends_with_0(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    in_italy = Machine(name="cpu", accelerator="cpu", country_iso_code="ITA")
    monkeypatch.setattr(module, "read_machine", lambda _name: (in_italy, Path("cpu.yaml")))
    with pytest.raises(SystemExit) as ended:
        main(["doctor"])
    assert ended.value.code == 0
    assert "PROBLEM" not in capsys.readouterr().out
