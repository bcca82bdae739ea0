"""What a SLURM job has of its host, by the variables that SLURM sets."""

from __future__ import annotations

import os

import psutil
import pytest

from orchestrator import host
from orchestrator.dataset.energy import host_scope


@pytest.fixture(autouse=True)
def threads_and_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node of 64 threads on 32 cores, and no job."""
    for name in list(os.environ):
        if name.startswith("SLURM_"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: 64 if logical else 32)


def job(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    """Be in a job for which SLURM sets these variables."""
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    for name, value in variables.items():
        monkeypatch.setenv(f"SLURM_{name}", value)


@pytest.mark.parametrize(
    ("cpus", "node", "scope"),
    [
        ("64", "whole", "exclusive"),
        ("64(x2)", "whole", "exclusive"),
        ("64(x2),8", "part", "shared"),
        ("8", "part", "shared"),
        # half of the threads, or all cores where SLURM counts cores
        ("32", "unknown", "unknown"),
        ("", "unknown", "unknown"),
        ("many", "unknown", "unknown"),
    ],
)
def test_the_part_of_a_node(
    cpus: str, node: str, scope: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job(monkeypatch, JOB_CPUS_PER_NODE=cpus)
    assert host.slurm_node() == node
    assert host_scope({"slurm_node": node}, 1) == scope
    assert host_scope({"slurm_node": node}, 2) == "shared", "by this sweep's own trials"


def test_outside_of_a_job_the_host_is_ours() -> None:
    assert host.slurm_node() is None
    assert host.slurm_memory_bytes() is None
    assert host_scope({"slurm_node": None}, 1) == "exclusive"
    assert host_scope({}, 1) == "exclusive", "a row of an earlier version"


@pytest.mark.parametrize(
    ("variables", "mib"),
    [
        ({"MEM_PER_NODE": "123500"}, 123500),
        ({"MEM_PER_CPU": "1000", "JOB_CPUS_PER_NODE": "8(x2)"}, 8000),
        ({"MEM_PER_CPU": "1000"}, None),
        ({"MEM_PER_NODE": "a lot"}, None),
        ({}, None),
    ],
)
def test_the_memory_of_a_job(
    variables: dict[str, str], mib: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    job(monkeypatch, **variables)
    assert host.slurm_memory_bytes() == (None if mib is None else mib * 2**20)


def test_all_memory_is_asked_for_by_0(monkeypatch: pytest.MonkeyPatch) -> None:
    job(monkeypatch, MEM_PER_NODE="0")
    assert host.slurm_memory_bytes() == host.memory_bytes()
