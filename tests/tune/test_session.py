"""A private Ray that doesn't start."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import ray

from orchestrator.errors import TryAgainError
from orchestrator.tune import session
from orchestrator.tune.session import ray_session


def test_a_ray_that_does_not_start_is_one_sentence_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    base.mkdir()
    monkeypatch.setattr("orchestrator.tune.temp_folders.scratch_base", lambda: base)
    monkeypatch.setattr(session, "_override_ray", lambda: None)
    monkeypatch.setenv("MY_SECRET", "planted")
    seen: dict[str, str] = {}

    def init(**_flags: object) -> None:
        seen.update(os.environ)
        raise Exception("The current node timed out during startup.\nmore")  # noqa: TRY002 - Ray's

    monkeypatch.setattr(ray, "init", init)

    def begin() -> None:
        with ray_session(None, 0):
            pass

    with pytest.raises(TryAgainError) as told:
        begin()
    (line,) = told.value.lines
    assert line.startswith("Ray didn't start (The current node timed out during startup.); ")
    assert line.endswith("so try the same command again when the host is less busy")
    assert "MY_SECRET" not in seen
    assert os.environ["MY_SECRET"] == "planted"
    assert list(base.iterdir()) == []
