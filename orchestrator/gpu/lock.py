"""One sweep a GPU: a lock on a GPU's UUID, over all data sets and users of a host.

Two sweeps on one GPU would each be charged for both. The lock is an flock of a file in the host's
temporary folder, so it ends with the process that holds it, however that ends. Containers with
temporary folders of their own don't see each other's.
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import os
import tempfile
from pathlib import Path

from orchestrator.errors import UserError

OPEN = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
LONGEST_BYTES = 1000
HOST_TEMP = "ORCHESTRATOR_HOST_TEMP"
"""The variable that names the host's temporary folder to processes that have one of their own."""


class GpuLock:
    """A GPU that this process holds until it ends or lets go of it."""

    def __init__(self, uuid: str, handle: int) -> None:
        self.uuid = uuid
        self._handle: int | None = handle

    def release(self) -> None:
        """Let go of it; more calls do nothing."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def lock_file(uuid: str) -> Path:
    """The file of a GPU's lock."""
    # workers have a temporary folder of their own
    folder = os.environ.get(HOST_TEMP, tempfile.gettempdir())
    return Path(folder, f"llm-energy-orchestrator-{uuid}.lock")


def hold_gpu(uuid: str, purpose: str) -> GpuLock | None:
    """Hold a GPU. None where the temporary folder can't be written, so that nobody is kept off.

    `purpose` is told to whoever asks for it meanwhile. Raises UserError naming the holder.
    """
    handle = _opened(lock_file(uuid))
    if handle is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(handle, LONGEST_BYTES).decode(errors="replace").strip()
        os.close(handle)
        raise UserError(in_use(uuid, holder)) from error
    os.ftruncate(handle, 0)
    os.write(handle, f"{purpose}, process {os.getpid()} of {_user()}\n".encode())
    return GpuLock(uuid, handle)


def holder_of_gpu(uuid: str) -> str | None:
    """Who holds a GPU, in words; None: nobody does."""
    handle = _opened(lock_file(uuid))
    if handle is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return os.read(handle, LONGEST_BYTES).decode(errors="replace").strip()
    finally:
        os.close(handle)
    return None


def in_use(uuid: str, holder: str) -> str:
    """A sentence on a GPU that somebody else holds."""
    return (
        f"the GPU {uuid} is in use by {holder or 'another sweep'}, and each would be charged for "
        "both; wait until that ends, or choose another GPU with CUDA_VISIBLE_DEVICES"
    )


def _opened(path: Path) -> int | None:
    """The lock's file, made where it is missing and open to all users; None: it can't be."""
    # a file of another user in a shared folder must be opened without O_CREAT (protected_regular)
    for flags in (OPEN, OPEN | os.O_CREAT | os.O_EXCL, OPEN):
        with contextlib.suppress(OSError):
            handle = os.open(path, flags, 0o666)
            with contextlib.suppress(OSError):  # it is somebody else's
                os.fchmod(handle, 0o666)
            return handle
    return None


def _user() -> str:
    """The user's name, or number where it has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"
