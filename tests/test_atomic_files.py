"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from orchestrator.atomic_files import write_atomically


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
