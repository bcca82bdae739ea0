"""Python processes of a test's own: started, listened to, ended with the test."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

Start = Callable[..., "subprocess.Popen[str]"]


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
