"""Other verbs on the data set of a sweep: beside a run, killed while they write, and at its end."""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tools.chaos.sweep import BrokenPromiseError, Sweep

EMISSIONS = """\
run_id,timestamp,duration,emissions,energy_consumed,cpu_energy,gpu_energy,ram_energy
r1,2025-03-01T10:00:00,10.5,0.0001,0.0004,0.0001,0.0002,0.0001
r2,2025-03-01T10:01:00,11.5,0.0001,0.0005,0.0001,0.0003,0.0001
"""
N_IMPORTED = 2
N_MERGED = 2
VERBS = {
    "summarize": (),
    "evaluate": (),
    "import": ("old",),
    "merge": ("other",),
    "publish": ("--author", "Ada Lovelace"),
    "review": ("--reviewer", "ada", "--no-browser"),
}
"""Each verb that writes, and its arguments."""
HOLDERS = {"merge", "publish"}
"""Verbs that hold the data set, so that a run which begins meanwhile is refused."""
IN_ORDER = ("merge", "import", "evaluate", "summarize", "publish")
"""As a person runs them when a sweep is complete."""
LONGEST_S = 60.0
"""A verb that takes longer hangs."""
REFUSED = 2
FAULTS_FOUND = 3

Process = subprocess.Popen[str]


def make_other(folder: Path) -> Path:
    """Measure the small data set that every sweep merges."""
    sweep = Sweep(-1, "private", folder, random.Random(0))
    options = [
        *("--space", "uniform", "--samples", "1", "--prompts", str(N_MERGED)),
        *("--engine", "simulated", "--model", "smollm2", "--machine", "cpu"),
        *("--range", "max_length=100:110", "--use-case", "danceCoreography"),
    ]
    subprocess.run(
        [sys.executable, "-m", "orchestrator", "tune", *options],
        cwd=folder,
        env=sweep.environment(),
        capture_output=True,
        check=True,
    )
    return sweep.out


def prepare(sweep: Sweep, other: Path) -> None:
    """Give a sweep what `import` and `merge` take: files of CodeCarbon, and a small data set."""
    place = sweep.folder / "old" / "pc" / "llama2" / "greedy" / "fantasyWorld"
    place.mkdir(parents=True)
    (place / "emissions.csv").write_text(EMISSIONS)
    shutil.copytree(other, sweep.folder / "other")


def start(sweep: Sweep, verb: str) -> Process:
    """Start a verb on the sweep's data set."""
    return subprocess.Popen(
        [sys.executable, "-m", "orchestrator", verb, *VERBS[verb]],
        cwd=sweep.folder,
        env=sweep.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(sweep: Sweep, verb: str, process: Process) -> tuple[int, str]:
    """Let a verb end; its exit code and what it said. `review` is ended by Ctrl-C."""
    if verb == "review":
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=sweep.draw.uniform(1, 4))
        process.send_signal(signal.SIGINT)
    try:
        said, _ = process.communicate(timeout=LONGEST_S)
    except subprocess.TimeoutExpired:
        process.kill()
        raise BrokenPromiseError(f"{verb} didn't end within {LONGEST_S:.0f} s") from None
    if "Traceback" in said:
        raise BrokenPromiseError(f"{verb}: {said}")
    return process.returncode, said


def check_beside(sweep: Sweep, running: Sequence[tuple[str, Process]]) -> None:
    """End the verbs that ran beside a run: each did its work, or was refused in a sentence."""
    for verb, process in running:
        code, said = finish(sweep, verb, process)
        # `publish` refuses what isn't complete; Ctrl-C may come while `review` starts
        if code not in {0, REFUSED, FAULTS_FOUND, 130, -signal.SIGINT}:
            raise BrokenPromiseError(f"{verb} beside a run ended with {code}: {said}")
        sweep.verbs[f"{verb} beside a run: {_word(code)}"] += 1


def _word(code: int) -> str:
    """How a verb ended."""
    if code == REFUSED:
        return "refused"
    return "done"


def kill_one(sweep: Sweep) -> None:
    """Start a verb that writes and kill it at a random moment."""
    verb = sweep.draw.choice(list(VERBS))
    process = start(sweep, verb)
    before = _writing_began(sweep.out)
    until = time.monotonic() + sweep.draw.uniform(0.3, 4)
    # most moments lie before the first write, so wait for that, and then some milliseconds
    while (
        process.poll() is None and time.monotonic() < until and before == _writing_began(sweep.out)
    ):
        time.sleep(0.005)
    time.sleep(sweep.draw.uniform(0, 0.05))
    process.kill()
    process.communicate()
    sweep.verbs[f"{verb} SIGKILL"] += 1


def _writing_began(out: Path) -> tuple[int, ...]:
    """Changes with every name that appears or goes in the folders that verbs write into."""
    times = []
    for folder in (out, out / "imported", out / "sweeps"):
        with contextlib.suppress(OSError):
            times.append(folder.stat().st_mtime_ns)
    return tuple(times)


def run_all(sweep: Sweep) -> None:
    """Run each verb undisturbed on the complete sweep. Raises BrokenPromiseError."""
    for verb in IN_ORDER:
        code, said = finish(sweep, verb, start(sweep, verb))
        if code:
            raise BrokenPromiseError(f"{verb} ended with {code}: {said}")
