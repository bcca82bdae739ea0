"""After each verb, killed or not, and one rerun: no process, no temporary file, no folder outside.

A verb may write into its data set, into the cache, and where it is told to. Home folder, working
folder and folder for temporary files are the test's own.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.processes import living_with

REPOSITORY = Path(__file__).parents[2]
ENDS_WITHIN_S = 20.0
"""Ray's processes end by themselves within this time."""
SWEEP = (
    *("tune", "--engine", "simulated", "--model", "smollm2", "--machine", "cpu"),
    *("--space", "lhs", "--samples", "2", "--prompts", "2", "--range", "max_length=100:110"),
    *("--use-case", "fantasyWorld"),
)
OTHER_SWEEP = (*SWEEP, "--seed", "7", "--out", "other")
EMISSIONS = """\
run_id,timestamp,duration,emissions,energy_consumed
r1,2025-03-01T10:00:00,10.5,0.0001,0.0004
"""
VERBS = [
    ("plan", "--space", "lhs", "--model", "smollm2", "--machine", "cpu"),
    ("status",),
    ("validate",),
    ("summarize",),
    ("evaluate",),
    ("report",),
    ("report", "--compare", "measurements", "other"),
    ("import", "old"),
    ("merge", "other"),
    ("publish", "--author", "Ada Lovelace"),
    ("doctor",),
    ("models", "list"),
    ("review", "--reviewer", "ada", "--no-browser"),
]
"""Verbs that work on a data set, with their arguments."""


@dataclass
class Place:
    """An empty home, and folders for everything that a verb may or may not write into."""

    root: Path
    temporary: Path
    """Its path must be short: Ray makes sockets there."""

    def environment(self) -> dict[str, str]:
        """The least that a program needs; no setting of the caller's."""
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(REPOSITORY),
            "HOME": str(self.root / "home"),
            "TMPDIR": str(self.temporary),
            "ORCHESTRATOR_CACHE": str(self.root / "cache"),
            "ORCHESTRATOR_SIMULATED_TOKEN_S": "0.002",
            "HF_HUB_OFFLINE": "1",
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the program in the working folder."""
        return subprocess.Popen(
            [sys.executable, "-m", "orchestrator", *arguments],
            cwd=self.root / "work",
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str) -> str:
        """Run the program to its end, `review` until a Ctrl-C; what it said."""
        process = self.start(*arguments)
        if arguments[0] == "review":
            assert process.stdout
            # it serves as soon as it names its address
            said = process.stdout.readline()
            process.send_signal(signal.SIGINT)
            rest, _ = process.communicate(timeout=120)
            assert process.returncode in (0, 130), said + rest
            return said + rest
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said
        return said

    def left(self) -> list[str]:
        """What lies where nothing may lie, and processes that still run."""
        until = time.monotonic() + ENDS_WITHIN_S
        marker = f"ORCHESTRATOR_CACHE={self.root / 'cache'}"
        while living_with(marker) and time.monotonic() < until:
            time.sleep(0.2)
        # the comparison is what a verb was asked for
        expected = {"measurements", "other", "old", "compare.html"}
        work = self.root / "work"
        found = [p for folder in (self.root / "home", self.temporary) for p in folder.rglob("*")]
        found += [p for p in work.iterdir() if p.name not in expected]
        found += work.rglob("*.tmp")
        found += work.rglob("measurements/**/.*")
        return [*map(str, found), *living_with(marker).values()]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """An empty place."""
    temporary = Path(f"/tmp/{secrets.token_hex(3)}")  # noqa: S108 - the path must be short
    temporary.mkdir(mode=0o700)
    for name in ("home", "work", "cache"):
        (tmp_path / name).mkdir()
    yield Place(tmp_path, temporary)
    for pid in living_with(f"ORCHESTRATOR_CACHE={tmp_path / 'cache'}"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(temporary, ignore_errors=True)


def make_other_data(place: Place) -> None:
    """What `merge` and `import` take."""
    place.run(*OTHER_SWEEP)
    old = place.root / "work" / "old" / "pc" / "llama2" / "greedy" / "fantasyWorld"
    old.mkdir(parents=True)
    (old / "emissions.csv").write_text(EMISSIONS)


def test_a_whole_use_leaves_nothing_behind(place: Place) -> None:
    place.run(*SWEEP)
    assert place.left() == []
    make_other_data(place)
    for verb in VERBS:
        place.run(*verb)
        assert place.left() == [], verb


@pytest.mark.slow
def test_killed_verbs_leave_nothing_behind_after_a_rerun(place: Place) -> None:
    place.run(*SWEEP)
    make_other_data(place)
    for verb in VERBS:
        process = place.start(*verb)
        # most verbs take about as long: some are killed while they write
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=1.2)
        process.kill()
        process.communicate()
        place.run(*verb)
        assert place.left() == [], verb


@pytest.mark.parametrize(
    "at",
    [
        "end",
        pytest.param("start", marks=pytest.mark.slow),
        pytest.param("measuring", marks=pytest.mark.slow),
    ],
)
def test_a_killed_sweep_leaves_nothing_behind_after_a_rerun(place: Place, at: str) -> None:
    process = place.start(*SWEEP)
    assert process.stdout
    if at == "start":
        time.sleep(4)
    else:
        out = place.root / "work" / "measurements"
        wanted = 1 if at == "measuring" else 2
        while len(list(out.rglob("trial.json"))) < wanted and process.poll() is None:
            time.sleep(0.02)
    process.kill()
    process.communicate()
    place.run(*SWEEP)
    assert place.left() == []
