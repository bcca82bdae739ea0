"""SLURM jobs that are recorded in a data set, and their state in the queue."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.check.folders import validate_folders
from orchestrator.cluster.slurm_queue import MOST_JOBS, note, noted, queued
from orchestrator.dataset.paths import DataSetPaths
from tests.cluster.conftest import Commands
from tests.commandline import Outcome

SQUEUE = (
    r"printf '7|RUNNING|None|23:10:02\n8|PENDING|Dependency|1-00:00:00\n"
    r"99|RUNNING|None|1:00\nodd\n'"
)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "data"


def test_notes_are_kept_in_order_and_odd_lines_passed_over(out: Path) -> None:
    assert noted(out) == []
    note(out, "7")
    with (out / ".slurm.jsonl").open(
        "a"
    ) as stream:  # as a job writes, and what a full disk or a hand may leave
        stream.write(
            '{"job": "8", "after": "7", "link": 1, "submitted_at": "2026-11-23T15:22:35Z"}\n'
        )
        stream.write(
            '{"job": "7", "after": null, "link": 0, "submitted_at": "x"}\n'
            '{"job": "1;x", "link"\n\xff\n{"job": "--me"}\n'
        )
    assert noted(out) == ["7", "8"]
    for number in range(100, 200):
        note(out, str(number))
    assert noted(out) == [str(number) for number in range(200 - MOST_JOBS, 200)]


def test_only_the_data_set_s_own_jobs_are_told(
    out: Path, commands: Commands, call: Callable[..., Outcome]
) -> None:
    for job in ("6", "7", "8"):
        note(out, job)
    assert queued(out) == [], "there is no squeue"
    commands.add("squeue", SQUEUE)
    assert [job.line() for job in queued(out)] == [
        "job 7: RUNNING, 23:10:02 of its wall time left",
        "job 8: PENDING (Dependency), 1-00:00:00 of its wall time left",
    ]
    said = call("status", "--out", str(out)).out.splitlines()
    assert said[-2:] == [job.line() for job in queued(out)]
    printed = json.loads(call("status", "--out", str(out), "--json").out)["queue"]
    assert [job["job"] for job in printed] == ["7", "8"]
    commands.add("squeue", "echo 'slurm_load_jobs error' >&2; exit 1")
    assert queued(out) == []
    assert "job" not in call("status", "--out", str(out)).out


def test_a_controller_that_hangs_doesn_t_hold_up_status(
    out: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    note(out, "7")
    commands.add("squeue", "sleep 30")
    monkeypatch.setattr("orchestrator.cluster.slurm_queue.ANSWER_S", 0.2)
    assert queued(out) == []


def test_without_notes_squeue_is_not_asked(out: Path, commands: Commands) -> None:
    commands.add("squeue", SQUEUE)
    assert queued(out) == []
    assert commands.calls("squeue") == []


def test_validate_finds_nothing_in_the_notes(out: Path) -> None:
    note(out, "7")
    assert validate_folders(DataSetPaths(out), running=False)[1] == []
