"""The jobs that were submitted for a data set, and what SLURM's queue says of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field, ValidationError

from orchestrator.dataset.paths import DataSetPaths, make_folder
from orchestrator.nouns import Noun

MOST_JOBS = 50
"""Of the newest ones the queue is asked."""
MOST_BYTES = 2**20
"""Of the end of the notes: thousands of jobs."""
ANSWER_S = 10.0
"""A controller that takes longer is left alone."""


class JobNote(Noun):
    """A line of the notes; job scripts write the same (slurm_job.sh)."""

    job: str = Field(pattern=r"^[0-9]{1,19}$")
    after: str | None
    """The job that it goes on with."""
    link: int
    """So many jobs of its chain were before it."""
    submitted_at: str


@dataclass(frozen=True)
class QueuedJob:
    """A job that waits or runs."""

    job: str
    state: str
    reason: str
    """Why it waits; None while it runs is SLURM's own word."""
    left: str
    """Of its wall time."""

    def line(self) -> str:
        """For a person."""
        why = "" if self.reason in ("None", "") else f" ({self.reason})"
        return f"job {self.job}: {self.state}{why}, {self.left} of its wall time left"


def note(out: Path, job: str) -> None:
    """Write down that a job was submitted. Raises OSError."""
    path = DataSetPaths(out).slurm_jobs
    make_folder(out)
    line = JobNote(
        job=job, after=None, link=0, submitted_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    )
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    with os.fdopen(handle, "w") as stream:
        stream.write(json.dumps(line.model_dump()) + "\n")


def noted(out: Path) -> list[str]:
    """Numbers of the newest jobs, oldest first. Lines that are none are passed over."""
    try:
        with DataSetPaths(out).slurm_jobs.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - MOST_BYTES))
            lines = stream.read().splitlines()
    except OSError:
        return []
    jobs: dict[str, None] = {}
    for line in lines:
        try:
            jobs[JobNote.model_validate_json(line).job] = None
        except ValidationError:
            continue
    return list(jobs)[-MOST_JOBS:]


def queued(out: Path) -> list[QueuedJob]:
    """Those of a data set's jobs that are in the queue; none where there is no SLURM or it gives no answer."""
    squeue, jobs = shutil.which("squeue"), noted(out)
    if squeue is None or not jobs:
        return []
    # by user, not by number: squeue fails where it has forgotten all the numbers that it is asked for
    command = [squeue, "--noheader", "--me", "--format=%i|%T|%r|%L"]
    try:
        done = subprocess.run(  # noqa: S603 - the system's
            command, capture_output=True, text=True, timeout=ANSWER_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    rows = [line.split("|", 3) for line in done.stdout.splitlines()]
    found = {row[0]: QueuedJob(*row) for row in rows if len(row) == 4}  # noqa: PLR2004 - the format's fields
    return [found[job] for job in jobs if job in found]
