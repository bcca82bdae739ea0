"""The one place where files are opened that another program, or another person, may have written.

Any path may lead to a pipe that never ends, to a device, or to more than fits in memory.
"""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedRandom, BufferedReader
from pathlib import Path

SIZE_LIMIT_BYTES = 256 * 2**20
"""Largest file that is read whole: ten texts of 10,000 tokens are 1 MiB."""


def open_regular(path: Path) -> BufferedReader:
    """Open a file for reading.

    Raises OSError where it can't be opened, and ValueError with one sentence where it is no regular
    file.
    """
    return os.fdopen(_opened(path, os.O_RDONLY), "rb")


def open_for_appending(path: Path) -> BufferedRandom:
    """Open a file for reading and for adding to its end; it is made where it is missing.

    Raises OSError where it can't be opened, is no regular file, or is a link: what is added would
    stand in another file.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
    try:
        return os.fdopen(_opened(path, flags), "a+b")
    except ValueError as error:
        raise OSError(errno.EINVAL, str(error).removeprefix(f"{path.name}: "), str(path)) from error


def _opened(path: Path, flags: int) -> int:
    """The handle of a regular file. Raises as `open_regular` does."""
    # O_NONBLOCK: opening a pipe that nobody writes to would wait for ever
    handle = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        raise ValueError(f"{path.name}: is {_kind(mode)}, not a file")
    return handle


def first_bytes(path: Path, n_bytes: int) -> bytes:
    """The beginning of a file that should be short. Raises as `open_regular` does."""
    with open_regular(path) as stream:
        return stream.read(n_bytes)


def read_bytes(path: Path, limit_bytes: int = SIZE_LIMIT_BYTES) -> bytes:
    """A whole file.

    Raises OSError where it can't be read, and ValueError with one sentence where it is no regular
    file or larger than the limit.
    """
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        check_size(path, size, limit_bytes)
        # a file of /proc says 0, and one may grow meanwhile: so the limit holds for reading, too
        content = stream.read(limit_bytes + 1)
    check_size(path, len(content), limit_bytes)
    return content


def check_size(path: Path, size_bytes: int, limit_bytes: int) -> None:
    """Raise ValueError where a file is larger than the limit."""
    if size_bytes > limit_bytes:
        raise ValueError(
            f"{path.name}: {size_bytes / 2**20:,.0f} MiB, more than the "
            f"{limit_bytes / 2**20:,.0f} MiB that are read"
        )


def read_text(path: Path, errors: str = "strict", limit_bytes: int = SIZE_LIMIT_BYTES) -> str:
    """A text file in UTF-8; `errors` as of bytes.decode().

    Raises as `read_bytes` does, and ValueError where it is not UTF-8.
    """
    try:
        return read_bytes(path, limit_bytes).decode("utf-8", errors)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name}: not UTF-8 at byte {error.start}") from error


def listed(folder: Path) -> list[str]:
    """The names in a folder, sorted; none where it isn't there, or no folder.

    Raises OSError where it can't be read. Path.glob() passes that over in some versions of Python.
    """
    try:
        return sorted(path.name for path in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):  # it may have been renamed meanwhile
        return []


def status_of(path: Path) -> os.stat_result | None:
    """What the system says of a path; None: there is nothing, or a link that leads nowhere.

    Raises OSError where the folder that it is in can't be searched. Path.exists() passes that over
    in some versions of Python.
    """
    try:
        return path.stat()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise
    except ValueError:  # no file can have such a name
        return None


def leads_into(path: Path, root: Path) -> bool:
    """Whether a path lies in a folder once all links are followed; a loop of links leads nowhere.

    Not by Path.resolve(), which raises another error for a loop in each version of Python.
    """
    try:
        end = os.path.realpath(path, strict=True)
    except OSError:
        return False
    return Path(end).is_relative_to(os.path.realpath(root))


def _kind(mode: int) -> str:
    """What something is that is no regular file."""
    kinds = (
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    )
    for is_kind, name in kinds:
        if is_kind(mode):
            return name
    return "something else"
