"""Flags, then the machine's profile, then general defaults; every reduction is told with the flag that lifts it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import UserError
from orchestrator.sweep.request import DEFAULT_SAMPLES, Request, resolve_request


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def resolve(gpus: tuple[str, ...] = (), **flags: Any):
    return resolve_request(Request(**{"space": "lhs", **flags}), list(gpus))


def test_without_a_gpu_the_profile_reduces_and_says_how_to_lift_it() -> None:
    resolved = resolve()
    axis = resolved.space.parameters.max_length
    assert (resolved.machine.name, resolved.models[0].label, resolved.samples, resolved.n_prompts) == ("cpu", "smollm2", 4, 2)
    assert (axis.low, axis.high) == (100, 250)
    notes = "\n".join(resolved.notes)
    for flag in ("--samples 20", "--prompts 10", "--range max_length=100:10000"):
        assert f"({flag} lifts it)" in notes


def test_flags_beat_the_profile() -> None:
    resolved = resolve(samples=20, prompts=10, ranges=("max_length=100:10000",), models=("mistral",), quantization="int8")
    assert (resolved.samples, resolved.n_prompts) == (20, 10)
    assert resolved.space.parameters.max_length.high == 10000
    assert (resolved.models[0].label, resolved.quantization.name) == ("mistral", "int8")
    assert not [note for note in resolved.notes if "lifts it" in note]


def test_with_a_gpu_nothing_is_reduced() -> None:
    resolved = resolve(("NVIDIA L4",))
    assert (resolved.machine.name, resolved.models[0].label, resolved.samples) == ("gpu", "llama2", DEFAULT_SAMPLES)
    assert resolved.n_prompts is None
    assert resolved.space.parameters.max_length.high == 10000
    assert resolved.quantization.name == "nf4"


@pytest.mark.parametrize(
    ("gpu", "machine"), [("NVIDIA GeForce GTX 1650 Ti", "pc"), ("NVIDIA A100-SXM-64GB", "leonardo"), ("Tesla T4", "gpu")]
)
def test_machines_are_known_by_their_gpu(gpu: str, machine: str) -> None:
    assert resolve((gpu,)).machine.name == machine


def test_country() -> None:
    assert any("no country is known" in note for note in resolve().notes)
    resolved = resolve(country="ITA")
    assert resolved.machine.country_iso_code == "ITA"
    assert resolved.machines["cpu"].country_iso_code == "ITA"
    assert not any("country" in note for note in resolved.notes)


def test_a_gpu_machine_without_gpu_is_told() -> None:
    assert any("runs on the CPU under that name" in note for note in resolve(machine="leonardo").notes)


def test_the_simulated_engine_has_folders_of_its_own() -> None:
    assert resolve(engine="simulated").models[0].label == "simulated-smollm2"


def test_a_file_in_the_working_folder_wins(tmp_path: Path) -> None:
    text = Path(resolve().space_file).read_text().replace("high: 100}", "high: 50}")
    (tmp_path / "search_spaces").mkdir()
    (tmp_path / "search_spaces" / "lhs.yaml").write_text(text)
    resolved = resolve()
    assert resolved.space_file == tmp_path / "search_spaces" / "lhs.yaml"
    assert resolved.space.parameters.top_k.high == 50


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(UserError) as raised:
        resolve(space="lsh", models=("lama2",), use_cases=("dance",), quantization="nf5", samples=0, ranges=("a=1",))
    assert len(raised.value.lines) == 6


def test_two_of_the_same_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("name: fantasyWorld\nprompts: [Dance.]\n")
    with pytest.raises(UserError, match="share the folder name fantasyWorld"):
        resolve(use_cases=("fantasyWorld", "mine.yaml"))
