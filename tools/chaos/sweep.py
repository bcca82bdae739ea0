"""A sweep that suffers faults: its folder, its environment, its processes, what it has written."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import signal
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.processes import living_with

REPOSITORY = Path(__file__).parents[2]
TOKEN_S = 0.006
"""Of the simulated engine: a prompt takes about a second."""


class BrokenPromiseError(Exception):
    """A sweep lost, doubled, changed or left behind something, or ended as it must not."""


@dataclass
class Sweep:
    """One sweep from its first run to its completion."""

    number: int
    mode: str
    """private or cluster: on which Ray it runs."""
    folder: Path
    draw: random.Random
    most_faults: int = 5
    kinds: list[str] = field(default_factory=list)
    """Only these kinds of fault; empty: all."""
    real: bool = False
    """On the real small model instead of the simulated engine."""
    faults: list[str] = field(default_factory=list)
    """Those that were caused."""
    verbs: Counter[str] = field(default_factory=Counter)
    """Other verbs: how often each was killed, and how it ended beside a run."""
    beside: list[str] = field(default_factory=list)
    """Verbs that were started beside the last run."""
    runs: int = 0
    executions: int = 0
    codes: list[int] = field(default_factory=list)
    drained_s: list[float] = field(default_factory=list)
    sealed: dict[str, str] = field(default_factory=dict)
    """Hash of each finished file after the last run."""

    @property
    def out(self) -> Path:
        """The data set's folder."""
        return self.folder / "measurements"

    @property
    def marker(self) -> str:
        """Stands in the environment of every process that this sweep starts."""
        return f"ORCHESTRATOR_CHAOS_FOLDER={self.folder}"

    def environment(self) -> dict[str, str]:
        """The environment of a run: none of the caller's settings, and a marker."""
        kept = {
            k: v
            for k, v in os.environ.items()
            if not k.startswith(("RAY_", "TUNE_", "ORCHESTRATOR_"))
        }
        cache = os.environ.get("ORCHESTRATOR_TEST_CACHE") if self.real else None
        own = {
            "ORCHESTRATOR_CHAOS_FOLDER": str(self.folder),
            "ORCHESTRATOR_CACHE": cache or str(self.folder / "cache"),
            "ORCHESTRATOR_SIMULATED_TOKEN_S": str(TOKEN_S),
            "HF_HUB_OFFLINE": "1",
        }
        return {**kept, **own, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}

    def written(self) -> int:
        """Executions on the disk, of running trials too."""
        total = 0
        for lines in self.out.rglob("executions.jsonl"):
            with contextlib.suppress(FileNotFoundError):  # it was sealed meanwhile
                total += lines.read_bytes().count(b"\n")
        for record in self.out.glob("*/*/*/*/*/trial.json"):
            total += len(json.loads(record.read_text())["executions"])
        return total

    def hashes(self) -> dict[str, str]:
        """SHA-256 of every finished file, by its path in the data set."""
        files = [
            p
            for p in self.out.glob("*/*/*/*/[!.]*/[!.]*")
            if p.is_file() and p.name not in ("executions.jsonl", "spec.json")
        ]
        return {
            p.relative_to(self.out).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in files
        }

    def processes(self, *names: str) -> list[int]:
        """Living processes whose names begin so; all of this sweep's without names."""
        pids = []
        for pid in living_with(self.marker):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                name = Path(f"/proc/{pid}/comm").read_text()
                if name.startswith(names or ("",)):
                    pids.append(pid)
        return pids

    def end_processes(self) -> None:
        """Kill whatever this sweep started."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
