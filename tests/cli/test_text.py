"""What so many tokens take, in words; and streams whose reader goes away."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from orchestrator.cli.plan_view import takes
from orchestrator.cli.terminal import LONGEST_LINE, shortened
from orchestrator.sweep.estimate import Figures
from orchestrator.units import duration
from tests.commandline import Outcome


def test_what_so_many_tokens_take() -> None:
    said = "at most about 1.7 h and 2.78 Wh (1 tokens/s, 1.67 J/token from a pilot)"
    assert takes(6000, Figures(1.0, 10_000 / 6000, "a pilot")) == said
    assert takes(6000, Figures(1.0, 10_000 / 6000, "a pilot"), at_once=2).startswith(
        "at most about 50 min and 2.78 Wh (1 tokens/s"
    )
    assert (
        takes(50, Figures(10.0, None, "x"))
        == "at most about 5 s and energy unknown (10 tokens/s from x)"
    )


def test_a_pilot_of_no_tokens_is_no_crash() -> None:
    assert takes(10, Figures(0.0, None, "x")).startswith("at most about ")
    assert not math.isnan(float(duration(math.inf).split()[0]))


ECHO = """
import os, sys
from orchestrator.cli.terminal import lasting_streams
with lasting_streams():
    for line in range(3):
        print("words", flush=line > 0)
        if line == 0:
            sys.stdin.readline()
    os.write(int(sys.argv[1]), b"went on")
sys.exit(75)
"""


@pytest.mark.parametrize("gone", ["reader", "room", "stream"])
def test_a_program_goes_on_when_nobody_can_read_it_and_ends_with_its_own_code(gone: str) -> None:
    ours, theirs = os.pipe()
    shell = {"reader": '"$@"', "room": '"$@" > /dev/full', "stream": '"$@" >&-'}[gone]
    command = ["sh", "-c", shell, "sh", sys.executable, "-c", ECHO, str(theirs)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=[theirs],
        text=True,
    )
    os.close(theirs)
    assert process.stdin
    assert process.stdout
    assert process.stderr
    process.stdout.close()
    process.stdin.write("\n")
    process.stdin.close()
    assert process.stderr.read() == ""
    assert process.wait(20) == 75
    assert os.read(ours, 100) == b"went on"
    os.close(ours)


@pytest.mark.parametrize("length", [900, 1000, 1001, 100_000])
def test_no_line_on_standard_error_is_longer_than_a_thousand(length: int) -> None:
    line = "from " + "x" * (length - 8) + " to"
    short = shortened(line)
    assert len(short) <= LONGEST_LINE
    assert (short == line) == (length <= LONGEST_LINE)
    assert short.startswith("from xxx")
    assert short.endswith("xxx to")


def test_an_error_does_not_repeat_a_long_argument(call: Callable[..., Outcome]) -> None:
    """Also where each character of it takes several to be spelled out."""
    for word in ("x" * 100_000, "\x1b" * 100_000):
        for arguments in (("plan", "--space", word), (word,), ("report", "--out", word)):
            done = call(*arguments)
            assert done.code == 2
            assert "\x1b" not in done.err
            assert max(map(len, done.err.splitlines())) <= LONGEST_LINE
