"""The SLURM jobs that were submitted for a data set, and their state in SLURM's queue."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field, ValidationError

from orchestrator.atomic_files import make_folder
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.nouns import Count, MomentText, Noun
from orchestrator.outside_files import open_for_appending, open_regular

MOST_JOBS = 50
"""Only this many of the newest jobs are looked up in the queue."""
MOST_BYTES = 2**20
"""Only this much of the end of the file is read: thousands of jobs."""
ANSWER_S = 10.0
"""How long squeue may take to answer."""


class JobNote(Noun):
    """A line of the file of submitted jobs; job scripts write such lines too (slurm_job.sh)."""

    job: str = Field(pattern=r"^[0-9]{1,19}$")
    after: str | None
    """The job whose sweep it resumes; None for the first job of a chain."""
    link: Count
    """How many jobs of its chain come before it."""
    submitted_at: MomentText


@dataclass(frozen=True)
class QueuedJob:
    """A job that waits or runs, as squeue prints it."""

    job: str
    state: str
    reason: str
    """Why it waits; SLURM writes "None" for a job that runs."""
    left: str
    """What is left of its wall time."""

    def line(self) -> str:
        """One line for a person."""
        state = self.state
        if self.reason not in ("None", ""):
            state += f" ({self.reason})"
        return f"job {self.job}: {state}, {self.left} of its wall time left"


def note(out: Path, job: str) -> None:
    """Record in the data set that a job was submitted. Raises OSError."""
    path = DataSetPaths(out).slurm_jobs
    make_folder(out)
    line = JobNote(
        job=job, after=None, link=0, submitted_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    )
    # several writers add lines here: none may look for another's torn one
    with open_for_appending(path) as stream:
        stream.write(json.dumps(line.model_dump()).encode() + b"\n")


def noted(out: Path) -> list[str]:
    """Numbers of the newest jobs that were recorded, oldest first; malformed lines are skipped."""
    try:
        with open_regular(DataSetPaths(out).slurm_jobs) as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - MOST_BYTES))
            lines = stream.read().splitlines()
    except (OSError, ValueError):
        return []
    jobs: dict[str, None] = {}
    for line in lines:
        try:
            jobs[JobNote.model_validate_json(line).job] = None
        except ValidationError:
            continue
    return list(jobs)[-MOST_JOBS:]


def queued(out: Path) -> list[QueuedJob]:
    """Jobs of a data set that wait or run; [] where there is no SLURM or it doesn't answer."""
    squeue, jobs = shutil.which("squeue"), noted(out)
    if squeue is None or not jobs:
        return []
    # asked by user and not by number: squeue fails if it has forgotten all the numbers
    command = [squeue, "--noheader", "--me", "--format=%i|%T|%r|%L"]
    try:
        done = subprocess.run(  # noqa: S603 - the system's squeue
            command, capture_output=True, text=True, timeout=ANSWER_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    queue = {}
    for line in done.stdout.splitlines():
        fields = line.split("|", 3)
        # squeue may print a warning among its lines
        if len(fields) == 4:  # noqa: PLR2004 - as many as --format names
            queue[fields[0]] = QueuedJob(*fields)
    return [queue[job] for job in jobs if job in queue]
