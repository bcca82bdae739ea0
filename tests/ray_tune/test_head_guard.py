"""A dead head ends the process with the code of a sweep that can be resumed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import os, threading, time
from pathlib import Path
from orchestrator.ray_tune import head_guard

head_guard.LOOK_S = 0.05
head_guard.PATIENCE_S = float(os.environ["PATIENCE_S"])
find, found = head_guard._head, threading.Event()

def head(scratch):
    process = find(scratch)
    if process:
        found.set()
    return process

head_guard._head = head
with head_guard.head_guarded(Path(os.environ["SCRATCH"])):
    found.wait()
    print("found", flush=True)
    time.sleep(float(os.environ["WORKS_S"]))
"""
HEAD = "import ctypes, time; ctypes.CDLL(None).prctl(15, b'gcs_server'); time.sleep(60)"
"""15 is PR_SET_NAME: psutil and `ps` show this name."""


def test_a_call_that_waits_for_a_dead_head_is_ended(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    head = subprocess.Popen([sys.executable, "-c", HEAD, str(scratch)])
    beside = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", str(scratch)])
    guarded = _guarded(scratch, patience_s=0.1, works_s=60)
    head.kill()
    _, told = guarded.communicate(timeout=30)
    assert (guarded.returncode, told) == (
        75,
        "Ray's head died; run the same command again to resume\n",
    )
    assert beside.wait(timeout=10) == -9
    assert not scratch.exists()
    head.wait()


def test_a_sweep_that_ends_by_itself_is_left_alone(tmp_path: Path) -> None:
    head = subprocess.Popen([sys.executable, "-c", HEAD, str(tmp_path)])
    guarded = _guarded(tmp_path, patience_s=60, works_s=1)
    head.kill()
    assert guarded.communicate(timeout=30)[1] == ""
    assert guarded.returncode == 0
    assert tmp_path.exists()
    head.wait()


def _guarded(scratch: Path, patience_s: float, works_s: float) -> subprocess.Popen[str]:
    """A process that works under the guard, which has found the head."""
    # no path on its command line: it would count as a process of that Ray itself
    variables = {"SCRATCH": str(scratch), "PATIENCE_S": str(patience_s), "WORKS_S": str(works_s)}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "found\n"
    return process
