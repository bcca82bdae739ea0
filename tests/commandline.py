"""The command line, called in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from orchestrator.cli import main


@dataclass
class Outcome:
    """What it said, and its exit code."""

    code: int
    out: str
    err: str


def exit_code(*arguments: str) -> int:
    """Of a run with these arguments."""
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return int(ended.value.code or 0)


def caller(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """A function that runs it with some arguments."""

    def run(*arguments: str) -> Outcome:
        code = exit_code(*arguments)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run
