"""`doctor`: what a machine offers, how grave each finding is, and a remedy for each."""

from __future__ import annotations

import importlib.metadata
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.doctor import diagnosis as module
from orchestrator.doctor.checks import LEVELS, Check, worst
from orchestrator.doctor.diagnosis import diagnose
from orchestrator.doctor.rooms import rooms
from orchestrator.errors import UserError
from orchestrator.meters import METERS, MeterKind, Reading, Scene
from orchestrator.models import KNOWN
from orchestrator.nouns import QUANTIZATIONS, Machine, Noun
from orchestrator.sweep.estimate import GPU_OVERHEAD_BYTES
from tests.commandline import Outcome
from tests.doctor.conftest import GIB, Host, Instrument


@pytest.fixture(autouse=True)
def _machine(host: Host) -> None:
    """No test looks at the real machine."""


def checks(out: Path = Path("data")) -> dict[str, Check]:
    return {check.name: check for check in diagnose(out).checks}


def test_every_remedy_is_told_where_it_is_needed_and_nowhere_else(host: Host) -> None:
    host.add_gpu(has_counter=False)
    host.free_bytes = GIB // 2
    found = checks().values()
    assert {check.level for check in found} == {"ok", "warning"}
    for check in found:
        assert bool(check.remedy) == (check.level != "ok"), check.name


def test_the_gravest_level_counts() -> None:
    assert worst([]) == "ok"
    for at, level in enumerate(LEVELS):
        assert worst([Check("a", "", one) for one in LEVELS[: at + 1]]) == level


def test_a_machine_without_a_gpu() -> None:
    by_name = checks()
    assert by_name["GPU"].level == "ok"
    assert not [name for name in by_name if name.startswith("GPU ")]
    assert by_name["CPU energy"].found.startswith("measured by RAPL")


def test_each_of_two_gpus_is_looked_at(host: Host) -> None:
    host.add_gpu("GPU-aaaa", power_limit_w=None)
    host.add_gpu("GPU-bbbb", counter_step_s=0.02)
    heard: list[str] = []
    found = diagnose(Path("data"), say=heard.append)
    names = {check.name for check in found.checks}
    assert {"GPU aaaa counter", "GPU bbbb counter", "CPU energy"} <= names
    assert "100 ms steps" in found.conclusion
    assert "20 ms steps" in found.conclusion
    assert "no power limit told" in checks()["GPU"].found
    assert heard == [
        f"GPU {uuid} (SIMULATED GPU): reading all meters for 10 s, while nothing runs"
        for uuid in ("aaaa", "bbbb")
    ]


def test_gpus_alike_are_concluded_once(host: Host) -> None:
    host.add_gpu("GPU-aaaa")
    host.add_gpu("GPU-bbbb")
    assert diagnose(Path("data")).conclusion.count("GPU energy") == 1


def test_a_gpu_that_is_refused_is_a_problem(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(uuid: str) -> None:
        raise UserError(f"the GPU {uuid} is cut into MIG slices")

    host.add_gpu()
    monkeypatch.setattr(module, "open_gpu", refuse)
    found = diagnose(Path("data"))
    assert found.level == "problem"
    assert "cut into MIG slices" in str(found.checks)
    assert found.conclusion.startswith("GPU energy: can't be measured")


def test_a_meter_that_others_added_is_told_as_it_is(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Columns(Noun):
        host_load: float | None = None

    def make(_scene: Scene) -> Any:
        return Instrument(Reading({"host_load": 0.25}))

    monkeypatch.setitem(METERS, "load", MeterKind(make, Columns))
    assert checks()["load"].found == "host_load 0.25"
    silent = Instrument(Reading({"host_load": None}, {"host_load": "the host doesn't tell"}))
    monkeypatch.setitem(METERS, "load", MeterKind(lambda _scene: silent, Columns))
    assert (checks()["load"].level, checks()["load"].found) == ("warning", "the host doesn't tell")


# --- disk, hub, packages, Ray ---------------------------------------------------------------------


def test_little_disk_is_a_warning(host: Host) -> None:
    host.free_bytes = 5 * GIB
    by_name = checks()
    assert (by_name["disk for weights"].level, by_name["disk for data"].level) == ("warning", "ok")
    assert "5 GiB free" in by_name["disk for weights"].found


def test_a_folder_that_can_not_be_written_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda _path, mode: mode != os.W_OK)
    by_name = checks()
    assert by_name["disk for data"].found.endswith("which can't be written")
    assert by_name["disk for data"].level == by_name["disk for weights"].level == "problem"


def test_weights_that_are_staged_need_no_writing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cache" / "models").mkdir(parents=True)
    monkeypatch.setattr(os, "access", lambda _path, mode: mode != os.W_OK)
    assert checks()["disk for weights"].level == "warning"


@pytest.mark.parametrize("out", ["x" * 300, "file/below"])
def test_a_folder_that_can_not_be(out: str) -> None:
    Path("file").write_text("")
    check = checks(Path(out))["disk for data"]
    assert check.level == "problem"
    assert check.found.startswith(f"--out {out}: ")


def test_the_hub_is_asked_unless_it_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks()["model hub"].found.startswith("not used (HF_HUB_OFFLINE is set)")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)

    def unreachable(*_arguments: object) -> socket.socket:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket, "create_connection", unreachable)
    hub = checks()["model hub"]
    assert hub.level == "warning"
    assert hub.found.endswith(" can't be reached: Network is unreachable")
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


def test_a_package_that_is_missing_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "bitsandbytes":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    check = checks()["packages"]
    assert (check.level, check.remedy) == ("problem", "pip install bitsandbytes")


def test_ports_that_can_not_be_opened_are_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> socket.socket:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(socket, "create_server", refuse)
    check = checks()["Ray"]
    assert check.level == "problem"
    assert "Operation not permitted" in check.found


# --- memory ---------------------------------------------------------------------------------------


def longest(memory_bytes: int) -> dict[tuple[str, str], int]:
    return {(room.model, room.quantization): room.max_length for room in rooms(memory_bytes, 2)}


def test_what_fits_in_four_gib(host: Host) -> None:
    """7 B models need more than 4 GiB even with 4 bits; the small one fits with all its context."""
    host.add_gpu(memory_bytes=4 * GIB)
    found = diagnose(Path("data"))
    by_name = {(room.model, room.quantization): room for room in found.rooms}
    assert found.memory_bytes == 4 * GIB - GPU_OVERHEAD_BYTES
    assert by_name["llama2", "nf4"].max_length == by_name["mistral", "nf4"].max_length == 0
    small = by_name["smollm2", "none"]
    assert small.max_length == small.context_length == 8192


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


def test_the_verb_tells_all_and_a_warning_is_no_failure(
    host: Host, call: Callable[..., Outcome]
) -> None:
    host.free_bytes = GIB // 2
    host.cpu = {"cpu_energy_j": 0.1, "cpu_method": "cpu_load"}
    done = call("doctor")
    assert done.code == 0, "no country is known, and there is little disk: a sweep runs"
    assert done.err == "", "without a GPU nothing is waited for"
    assert done.out.startswith("machine            cpu, described in ")
    little = "0 GiB free in measurements, less than 1 GiB"
    assert f"disk for data      warning: {little}\n{'':<18} -> free space, or choose" in done.out
    assert "llama2   nf4: 4096 (4.1 GiB)" in done.out
    assert "none: does not fit" in done.out
    assert "PROBLEM" not in done.out
    assert done.out.splitlines()[-1] == (
        "In short: no GPU: energies are models, good for trying out, not for publishing."
    )
    as_json = json.loads(call("doctor", "--json").out)
    assert as_json["level"] == "warning"
    levels = {check["name"]: check["level"] for check in as_json["checks"]}
    assert (levels["country"], levels["packages"]) == ("warning", "ok")
    assert as_json["conclusion"].startswith("no GPU: ")


def test_a_problem_ends_with_3(call: Callable[..., Outcome]) -> None:
    Path("file").write_text("")
    done = call("doctor", "--out", "file/below")
    assert done.code == 3
    assert "disk for data      PROBLEM: --out file/below: " in done.out
    assert "No sweep can run here until each PROBLEM above is solved." in done.out
    assert json.loads(call("doctor", "--out", "file/below", "--json").out)["level"] == "problem"


def test_a_sound_machine_has_no_warning(
    monkeypatch: pytest.MonkeyPatch, call: Callable[..., Outcome]
) -> None:
    in_italy = Machine(name="cpu", accelerator="cpu", country_iso_code="ITA")
    monkeypatch.setattr(module, "read_machine", lambda _name: (in_italy, Path("cpu.yaml")))
    done = call("doctor")
    assert done.code == 0
    assert "PROBLEM" not in done.out
    assert "warning" not in done.out


def test_the_verb_with_a_gpu_and_the_meters_own_cost(
    host: Host, call: Callable[..., Outcome]
) -> None:
    host.add_gpu()
    done = call("doctor", "--overhead")
    assert done.code == 0
    assert done.err.splitlines() == [
        "GPU (SIMULATED GPU): reading all meters for 10 s, while nothing runs",
        "the meters' own cost: 4 windows of 10 s",
    ]
    assert "GPU counter        ok: 60 W at rest; one step every 100 ms" in done.out
    assert "overhead           ok: the meters take 0.00 ± 0.00 W of the GPU's 60 W" in done.out
    assert "overhead" not in call("doctor").out
    counter = next(
        check
        for check in json.loads(call("doctor", "--json").out)["checks"]
        if check["name"] == "GPU counter"
    )
    assert counter["values"]["counter_period_s"] == pytest.approx(0.1, rel=0.01)
