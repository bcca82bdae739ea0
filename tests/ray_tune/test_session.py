"""A Ray that doesn't start."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import ray

from orchestrator.errors import TryAgainError, UserError
from orchestrator.ray_tune import session
from orchestrator.ray_tune.session import ray_session


def test_a_ray_that_does_not_start_is_one_sentence_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    base.mkdir()
    monkeypatch.setattr("orchestrator.ray_tune.temp_folders.scratch_base", lambda: base)
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


@pytest.mark.parametrize("address", [None, "127.0.0.1:1"])
def test_a_working_folder_that_ray_cannot_name_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str | None
) -> None:
    folder = tmp_path / os.fsdecode(b"perch\xe9")
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(ray, "init", lambda **_flags: pytest.fail("Ray was started"))
    with (
        pytest.raises(UserError, match="its name isn't in the encoding of the locale"),
        ray_session(address, 0),
    ):
        pass
