"""A machine on which scripts of the tests replace SLURM's commands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commandline import Outcome, caller


class Commands:
    """Scripts on PATH that replace commands; each records its arguments."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)

    def add(self, name: str, text: str) -> None:
        """Replace a command; calls(name) gives its arguments."""
        path = self.folder / name
        path.write_text(f'#!/bin/bash\necho "$*" >>"{self.folder}/{name}.calls"\n{text}\n')
        path.chmod(0o755)

    def calls(self, name: str) -> list[str]:
        """The arguments of each call of a command."""
        path = self.folder / f"{name}.calls"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    commands = Commands(tmp_path / "commands")
    monkeypatch.setenv("PATH", f"{commands.folder}:/usr/bin:/bin")
    return commands


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """Run the command line in an empty folder, with no account and no caches in the environment."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name in ("SBATCH_ACCOUNT", "ORCHESTRATOR_CACHE", "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("sys.executable", "/opt/venv/bin/python")
    return caller(capsys)
