"""What a trial takes, over the trials that a sweep has done: the driver's time and memory.

    python -m tools.scale_sweep 10000 --picture docs/performance/scale.svg

One sweep of so many trials of the simulated engine, whose answers take no time: what is left is Ray
Tune, this program, CodeCarbon, and the disk. The driver notes each trial that it seals, and the
time that it waits for the disk (fsync). A table goes to the terminal, a line for each tenth of the
sweep; its times are the driver's, from one sealed trial to the next.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import psutil

PARTS = 10
"""The sweep is told in so many parts."""
SMOOTH = 100
"""A point of the picture is a mean over so many trials."""


MARKS = "marks.json"


class Mark(NamedTuple):
    """How far the driver was when it had sealed a trial."""

    at_s: float
    fsync_s: float
    """Waited for the disk until then."""
    n_fsync: int
    cpu_s: float
    """Of the driver's process."""
    rss_bytes: int


class Watch:
    """Stands before os.fsync and before what seals a trial, and notes what they take."""

    def __init__(self) -> None:
        self.marks: list[Mark] = []
        self._fsync, self._fsync_s, self._n_fsync = os.fsync, 0.0, 0
        self._process = psutil.Process()

    def fsync(self, handle: Any) -> None:
        """os.fsync, timed."""
        began = time.perf_counter()
        self._fsync(handle)
        self._fsync_s += time.perf_counter() - began
        self._n_fsync += 1

    def noting(self, seal: Callable[..., Any]) -> Callable[..., Any]:
        """What seals a trial, with a mark afterwards."""

        def sealed(*arguments: Any) -> Any:
            """Seal it and note when."""
            done = seal(*arguments)
            times = resource.getrusage(resource.RUSAGE_SELF)
            self.marks.append(
                Mark(
                    time.perf_counter(),
                    self._fsync_s,
                    self._n_fsync,
                    times.ru_utime + times.ru_stime,
                    self._process.memory_info().rss,
                )
            )
            return done

        return sealed


def drive(n_trials: int, n_prompts: int, folder: str) -> None:
    """Run the sweep in this process; its marks go to a file in the folder."""
    from orchestrator.cli import main as orchestrator
    from orchestrator.dataset import recorder

    watch = Watch()
    os.fsync = watch.fsync  # type: ignore[assignment]
    recorder.seal = watch.noting(recorder.seal)
    try:
        orchestrator(
            f"tune --space lhs --engine simulated --samples {n_trials} "
            f"--use-case fantasyWorld --prompts {n_prompts} --out {folder}/out".split()
        )
    finally:
        Path(folder, MARKS).write_text(json.dumps(watch.marks), encoding="utf-8")


def marks_of(n_trials: int, n_prompts: int) -> list[Mark]:
    """Run the sweep in a process of its own, in a folder that is removed."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tools.scale_sweep", str(n_trials), "--drive", folder]
        command += ["--prompts", str(n_prompts)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)
        text = Path(folder, MARKS).read_text(encoding="utf-8")
        return [Mark(*values) for values in json.loads(text)]


def table(marks: list[Mark]) -> str:
    """A line for each part of the sweep."""
    lines = [
        "| trials | ms a trial | fsync | beside fsync | fsyncs | driver's CPU, ms | driver, MiB |",
        "|---|---|---|---|---|---|---|",
    ]
    step = max(1, len(marks) // PARTS)
    for first in range(0, len(marks) - step, step):
        a, b = marks[first], marks[first + step]
        whole_ms, fsync_ms, cpu_ms = (
            1000 * (after - before) / step
            for before, after in ((a.at_s, b.at_s), (a.fsync_s, b.fsync_s), (a.cpu_s, b.cpu_s))
        )
        cells = (
            f"{first + 1:,} to {first + step:,}",
            f"{whole_ms:.0f}",
            f"{fsync_ms:.0f}",
            f"{whole_ms - fsync_ms:.0f}",
            f"{(b.n_fsync - a.n_fsync) / step:.1f}",
            f"{cpu_ms:.1f}",
            f"{b.rss_bytes / 2**20:.0f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(marks: list[Mark], picture: Path) -> None:
    """The same as a picture: milliseconds a trial, and the driver's memory."""
    import altair as alt

    times, memory = [], []
    for i in range(SMOOTH, len(marks), SMOOTH):
        a, b = marks[i - SMOOTH], marks[i]
        whole_ms = 1000 * (b.at_s - a.at_s) / SMOOTH
        fsync_ms = 1000 * (b.fsync_s - a.fsync_s) / SMOOTH
        cpu_ms = 1000 * (b.cpu_s - a.cpu_s) / SMOOTH
        lines = {"all": whole_ms, "beside fsync": whole_ms - fsync_ms, "driver's CPU": cpu_ms}
        times += [{"trials": i, "ms": ms, "what": what} for what, ms in lines.items()]
        memory.append({"trials": i, "MiB": b.rss_bytes / 2**20})
    x = alt.X("trials:Q", title="trials done")
    of_time = (
        alt.Chart(alt.Data(values=times), title=f"Milliseconds a trial, means of {SMOOTH}")
        .mark_line()
        .encode(
            x=x,
            y=alt.Y("ms:Q", title="ms a trial", scale=alt.Scale(zero=True)),
            color=alt.Color("what:N", title=None, sort=None, legend=alt.Legend(orient="top")),
        )
    )
    of_memory = (
        alt.Chart(alt.Data(values=memory), title="The driver's memory")
        .mark_line()
        .encode(x=x, y=alt.Y("MiB:Q", title="MiB", scale=alt.Scale(zero=True)))
    )
    both = alt.hconcat(
        of_time.properties(width=380, height=220), of_memory.properties(width=260, height=220)
    )
    picture.parent.mkdir(parents=True, exist_ok=True)
    both.save(str(picture))


def circumstances() -> str:
    """When and on what this was measured."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("ray", "pydantic", "pyarrow"))
    cpus = f"{os.cpu_count()} CPUs, {psutil.virtual_memory().total / 2**30:.0f} GiB"
    day = datetime.now(UTC).date()
    return f"{day}, Python {platform.python_version()}, {versions}; {cpus}"


def main() -> None:
    """Run the sweep, print its table and draw it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trials", type=int)
    parser.add_argument("--picture", type=Path, metavar="FILE", help=".svg or .png")
    parser.add_argument("--prompts", type=int, default=1, help="of each trial, 1 to 10")
    parser.add_argument("--drive", metavar="FOLDER", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.drive:
        drive(asked.trials, asked.prompts, asked.drive)
        return
    marks = marks_of(asked.trials, asked.prompts)
    print(circumstances())
    print(table(marks))
    if asked.picture:
        draw(marks, asked.picture)


if __name__ == "__main__":
    main()
