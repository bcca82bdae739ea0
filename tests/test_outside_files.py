"""Reading files that anybody may have written."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from orchestrator.outside_files import open_regular, read_bytes, read_text


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
