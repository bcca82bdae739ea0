"""A machine whose meters give fixed readings, or whose GPU is simulated."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.doctor import cpu_at_rest, diagnosis, powercap, rest
from orchestrator.gpu.access import GpuAccess, simulated_access
from orchestrator.gpu.simulated import GpuTruth, SimulatedGpu
from orchestrator.meters import Reading, Scene
from tests import builders

GIB = 2**30


class Instrument:
    """A meter that gives a fixed reading."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self.is_closed = False

    def begin(self) -> None: ...

    def end(self) -> None: ...

    def reading(self, _began_s: float, _ended_s: float) -> Reading:
        return self._reading

    def close(self) -> None:
        self.is_closed = True


class Host:
    """What a test says of the machine."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, powercap_folder: Path) -> None:
        self.accesses: list[GpuAccess] = []
        self.cpu: dict[str, Any] = {"cpu_energy_j": 3.0, "cpu_method": "rapl"}
        self.notes: dict[str, str] = {}
        self.free_bytes = 100 * GIB
        self.powercap = powercap_folder
        self._monkeypatch = monkeypatch

    def add_gpu(self, uuid: str = "GPU-1234", **truth: Any) -> GpuAccess:
        """A simulated GPU."""
        access = simulated_access(SimulatedGpu(truth=GpuTruth(**truth), uuid=uuid))
        self.accesses.append(access)
        return access

    def open_gpu(self, uuid: str) -> GpuAccess:
        return next(access for access in self.accesses if access.gpu.uuid == uuid)

    def meters_for(self, scene: Scene) -> list[Any]:
        """The real meters of a simulated GPU, but a fixed reading in place of CodeCarbon's."""
        from orchestrator.meters import METERS

        fixed = Instrument(Reading(dict(self.cpu), dict(self.notes)))
        own = [kind.make(scene) for name, kind in METERS.items() if name != "codecarbon"]
        return [fixed, *(meter for meter in own if meter is not None)]

    def add_package(self, number: int, *, energy: str | None = "1000", name: str = "") -> Path:
        """A CPU package as Linux shows it. `energy`: None where a container hides the counter."""
        zone = self.powercap / f"intel-rapl:{number}"
        zone.mkdir(parents=True)
        (zone / "name").write_text((name or f"package-{number}") + "\n")
        if energy is not None:
            (zone / "energy_uj").write_text(energy + "\n")
        return zone / "energy_uj"

    def refuse(self, file: Path) -> None:
        """Let nobody read a file; root could in spite of its mode."""
        read = Path.read_text

        def refusing(path: Path, *arguments: Any, **options: Any) -> str:
            if path == file:
                raise PermissionError(13, "Permission denied")
            return read(path, *arguments, **options)

        self._monkeypatch.setattr(Path, "read_text", refusing)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Host:
    """A machine without a GPU, with CPU energy by RAPL; a test changes it."""
    monkeypatch.chdir(tmp_path)
    host = Host(monkeypatch, tmp_path / "powercap")
    monkeypatch.setattr(diagnosis, "visible_gpus", lambda: [access.gpu for access in host.accesses])
    monkeypatch.setattr(diagnosis, "open_gpu", host.open_gpu)
    monkeypatch.setattr(rest, "meters_for", host.meters_for)
    monkeypatch.setattr(rest, "FIRST_S", 0.001)
    monkeypatch.setattr(cpu_at_rest, "WINDOW_S", 0.001)
    monkeypatch.setattr(powercap, "POWERCAP", host.powercap)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=host.free_bytes))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    builders.host_memory(monkeypatch, 16 * GIB)
    return host
