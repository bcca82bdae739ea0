"""Processes of a test's own: started, listened to, looked for, ended with the test."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Start = Callable[..., "subprocess.Popen[str]"]
NOBODY = 65534
"""An ordinary user, on whom closed folders have an effect: root may read all."""


@contextlib.contextmanager
def processes(code: str, **pipes: Any) -> Iterator[Start]:
    """Gives a function that runs `code` with arguments; what it started is killed at the end."""
    begun: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        begun.append(
            subprocess.Popen(
                [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True, **pipes
            )
        )
        return begun[-1]

    yield start
    for process in begun:
        process.kill()
        process.communicate()


def heard(process: subprocess.Popen[str]) -> str:
    """The next line that a process says."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def living_with(variable: str) -> dict[int, str]:
    """Command lines, by process id, of living processes with NAME=VALUE in their environment.

    Ray's processes leave the session and the group of the program that started them; they keep its
    environment.
    """
    living = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile, or belongs to another user
            if variable.encode() in (process / "environ").read_bytes().split(b"\0"):
                command = (process / "cmdline").read_text().replace("\0", " ")
                living[int(process.name)] = command
    return living


def said_by_nobody(imports: str, code: str, folder: Path) -> str:
    """What code prints that an ordinary user runs, who may reach `folder` (sys.argv[1]).

    The imports are root's: the other user may not be able to read the program.
    """
    for path in folder.parents:
        if path.stat().st_mode & 0o005 != 0o005:
            path.chmod(0o755)  # pytest's folders are their owner's alone
    whole = f"{imports}\nimport os, sys\nos.setuid({NOBODY})\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", whole, str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
