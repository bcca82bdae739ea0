"""Reading files that anybody may have written."""

from __future__ import annotations

import ast
import errno
import os
import socket
from pathlib import Path

import pytest

import orchestrator
from orchestrator.outside_files import (
    listed,
    open_for_appending,
    open_regular,
    read_bytes,
    read_text,
    status_of,
)


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes("né\n".encode())
    assert read_bytes(file) == "né\n".encode()
    assert read_text(file) == "né\n"


def test_a_file_of_just_the_limit_is_read_and_a_larger_one_is_not(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"x" * 10)
    assert len(read_bytes(file, limit_bytes=10)) == 10
    with pytest.raises(ValueError, match=r"a.txt: .* MiB, more than the .* MiB that are read"):
        read_bytes(file, limit_bytes=9)


def test_a_file_that_says_no_size_is_limited_all_the_same() -> None:
    status = Path("/proc/self/status")
    assert status.stat().st_size == 0
    assert read_bytes(status).startswith(b"Name:")
    with pytest.raises(ValueError, match="more than"):
        read_bytes(status, limit_bytes=10)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe: is a pipe, not a file"):
        read_bytes(tmp_path / "pipe")


def test_a_device_behind_a_link_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "zeros").symlink_to("/dev/zero")
    with pytest.raises(ValueError, match="zeros: is a device, not a file"):
        read_bytes(tmp_path / "zeros")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a folder, not a file"):
        open_regular(tmp_path)


def test_a_socket_is_an_error_of_the_system(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        with pytest.raises(OSError, match="No such device"):
            read_bytes(tmp_path / "s")


def test_a_link_to_itself_is_an_error_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="symbolic links"):
        read_bytes(tmp_path / "loop")


def test_a_missing_file_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_bytes(tmp_path / "none")


def test_what_is_not_utf_8_is_told_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"abc\xff")
    with pytest.raises(ValueError, match="not UTF-8 at byte 3"):
        read_text(file)
    assert read_text(file, errors="replace") == "abc�"


def test_a_line_is_added_to_regular_files_only(tmp_path: Path) -> None:
    with open_for_appending(tmp_path / "lines") as stream:
        stream.write(b"one\n")
    with open_for_appending(tmp_path / "lines") as stream:
        stream.write(b"two\n")
    assert (tmp_path / "lines").read_bytes() == b"one\ntwo\n"
    (tmp_path / "link").symlink_to("lines")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="symbolic links"):
        open_for_appending(tmp_path / "link")
    with pytest.raises(OSError, match="is a pipe, not a file"):
        open_for_appending(tmp_path / "pipe")


def test_a_file_that_is_a_hole_is_not_read_to_its_limit(tmp_path: Path) -> None:
    (tmp_path / "hole").touch()
    os.truncate(tmp_path / "hole", 2**40)
    with pytest.raises(ValueError, match="hole: 1,048,576 MiB, more than"):
        read_bytes(tmp_path / "hole")


# --- nobody opens files elsewhere -----------------------------------------------------------------


def test_a_folder_that_is_missing_is_empty_and_one_that_is_closed_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "b").touch()
    (tmp_path / "a").touch()
    assert listed(tmp_path) == ["a", "b"]
    assert listed(tmp_path / "none") == listed(tmp_path / "a") == []
    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(PermissionError):
        listed(tmp_path)


def test_what_leads_nowhere_is_not_there_and_what_is_closed_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").touch()
    for name in ("none", "loop", "file/below", "\0"):
        assert status_of(tmp_path / name) is None
    assert status_of(tmp_path / "file")
    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(PermissionError):
        status_of(tmp_path / "file")


def refuse(path: Path) -> None:
    """As the system does for what this user may not see; root may see all."""
    raise PermissionError(errno.EACCES, "Permission denied", str(path))


READERS = {
    "read_text",
    "read_bytes",
    "open",
    "read_table",
    "ParquetFile",
    "fdopen",
    "glob",
    "rglob",
}
ALLOWED = {
    "orchestrator/outside_files.py": "the one place",
    "orchestrator/atomic_files.py": "writes; its files are temporary and new",
    "orchestrator/dataset/lock.py": "/proc, and the lock file by its handle",
    "orchestrator/dataset/parquet.py": "reads what outside_files opened",
    "orchestrator/doctor/powercap.py": "/sys",
    "orchestrator/host.py": "/proc and /sys",
    "orchestrator/gpu/lock.py": "locks, which are never read",
    "orchestrator/cli/terminal.py": "/dev/null",
    "orchestrator/cli/bench_command.py": "tries whether it may write where it is told to",
    "orchestrator/bench/running.py": "new files of its own ways",
    "orchestrator/bench/ways/bare.py": "the work that bench wrote for it",
    "orchestrator/sweep/read_ahead.py": "weights, of which no byte is looked at here",
    "orchestrator/export/study_file.py": "new files in temporary folders of its own",
    "orchestrator/cli/review_command.py": "a browser",
    "orchestrator/cluster/slurm.py": "a file of the package",
    "orchestrator/cluster/ray_node.py": "a new file of this user",
    "orchestrator/report/page.py": "a file of the package",
    "orchestrator/review/review_server.py": "files of the package",
    "orchestrator/evaluate/judge.py": "an address",
    "orchestrator/ray_tune/metrics_page.py": "an address",
    "orchestrator/ray_tune/prometheus_targets.py": "this program's own files in this user's folder",
    "orchestrator/ray_tune/session.py": "a new file of this user",
    "orchestrator/ray_tune/temp_folders.py": "folders of Ray's own files",
    "orchestrator/engine/cache.py": "names in this program's own cache",
    "orchestrator/engine/weights.py": "weights, whose reader has tests of its own",
    "orchestrator/yaml_files.py": "names of files that outside_files opens",
}
"""File -> why it may open or list files by other means."""


def test_files_of_others_are_opened_in_one_place() -> None:
    package = Path(orchestrator.__file__).parent
    elsewhere, needed = [], set()
    for path in sorted(package.rglob("*.py")):
        where = path.relative_to(package.parent).as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = node.func
            method = isinstance(called, ast.Attribute) and called.attr in READERS
            if method or (isinstance(called, ast.Name) and called.id == "open"):
                needed.add(where)
                if where not in ALLOWED:
                    elsewhere.append(f"{where}:{node.lineno}")
    assert elsewhere == [], "open it by outside_files, or say in ALLOWED why not"
    assert ALLOWED.keys() - needed == set(), "they open nothing any more"
