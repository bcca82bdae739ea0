"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from orchestrator.atomic_files import write_atomically, write_files


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_write_that_is_cut_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "table.bin"
    write_atomically(path, b"old")

    def cut(_self: Path, _target: Path) -> None:
        raise OSError(errno.EIO, "cut")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", cut)
        with pytest.raises(OSError, match="cut"):
            write_atomically(path, b"new")
    assert contents(tmp_path) == {"table.bin": b"old"}
    write_atomically(path, b"new")
    assert contents(tmp_path) == {"table.bin": b"new"}


def test_files_are_written_before_the_first_is_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One journal entry may then hold them all."""
    events: list[str] = []
    real = Path.write_bytes

    def noted(self: Path, data: bytes) -> int:
        events.append("write")
        return real(self, data)

    monkeypatch.setattr(Path, "write_bytes", noted)
    monkeypatch.setattr(os, "fsync", lambda _handle: events.append("flush"))
    write_files(tmp_path, {"a": b"1", "b": b"2"})
    assert events == ["write", "write", "flush", "flush"]
    assert contents(tmp_path) == {"a": b"1", "b": b"2"}


def test_one_of_several_files_that_fails_leaves_the_old_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path, {"a": b"old", "b": b"old"})

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="full"):
            write_files(tmp_path, {"a": b"new", "b": b"new"})
    assert contents(tmp_path) == {"a": b"old", "b": b"old"}
