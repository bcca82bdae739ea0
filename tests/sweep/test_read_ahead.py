"""Weights are read ahead while Ray starts: whose, how much, and that nothing depends on it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.engine.weights import Weights
from orchestrator.models import Model
from orchestrator.sweep import read_ahead
from orchestrator.sweep.read_ahead import STEP_BYTES, start_reading
from orchestrator.sweep.request import Request, Resolved, resolve_request

SIZES = {"a.safetensors": 3 * STEP_BYTES, "b.safetensors": STEP_BYTES + 1}


def request(**flags: Any) -> Resolved:
    return resolve_request(Request(space="lhs", **{"models": ("smollm2",), **flags}), [])


@pytest.fixture
def advised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Bytes that the system was advised of, by file; smollm2 is here, in two files."""
    index = {"weight_map": dict(zip(("x", "y"), SIZES, strict=True))}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    for name, size_bytes in SIZES.items():
        (tmp_path / name).write_bytes(bytes(size_bytes))
    seen: dict[str, int] = {}

    def advise(descriptor: int, offset: int, length: int, advice: int) -> None:
        assert advice == os.POSIX_FADV_WILLNEED
        assert length <= STEP_BYTES
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        assert seen.get(name, 0) == offset, "each part once, in its order"
        seen[name] = offset + length

    def locate(model: Model) -> Weights | None:
        return Weights(tmp_path, "hub:x", "cache") if model.label == "smollm2" else None

    monkeypatch.setattr(os, "posix_fadvise", advise)
    monkeypatch.setattr(read_ahead, "locate", locate)
    free(monkeypatch, 100 * STEP_BYTES)
    return seen


def free(monkeypatch: pytest.MonkeyPatch, free_bytes: int) -> None:
    """Give the host so much free memory."""
    memory = SimpleNamespace(available=free_bytes, total=free_bytes)
    monkeypatch.setattr("psutil.virtual_memory", lambda: memory)


def read(resolved: Resolved) -> None:
    thread = start_reading(resolved)
    assert thread is not None
    thread.join()


def test_each_file_of_weights_is_read_whole(advised: dict[str, int]) -> None:
    read(request())
    assert list(advised) == list(SIZES)
    assert all(advised[name] >= size_bytes for name, size_bytes in SIZES.items())


def test_no_more_than_half_of_the_free_memory_is_filled(
    advised: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved = request()
    free(monkeypatch, 2 * SIZES["a.safetensors"])
    read(resolved)
    assert list(advised) == ["a.safetensors"]


def test_a_file_or_a_model_that_is_not_there_is_left_out(
    advised: dict[str, int], tmp_path: Path
) -> None:
    (tmp_path / "a.safetensors").unlink()
    read(request(models=("mistral", "smollm2")))
    assert list(advised) == ["b.safetensors"]


@pytest.mark.parametrize("flags", [{"engines": ("simulated",)}, {"address": "10.0.0.1:6379"}])
def test_what_this_host_does_not_load_is_not_read(
    advised: dict[str, int], flags: dict[str, Any]
) -> None:
    assert start_reading(request(**flags)) is None
    assert advised == {}
