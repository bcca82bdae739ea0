"""`cluster slurm` on a real SLURM of two nodes on this machine.

A drain in mid-sweep, and the follow-up that completes it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.dataset.trial_files import read_trial
from tests.real.conftest import Orchestrator
from tests.real.test_sweep_life import keys, wait_for

ROOT = Path(__file__).parents[2]
TWO_NODES = Path(__file__).with_name("slurm") / "two_nodes.sh"
PACKAGES = ("slurm-wlm", "munge", "iproute2")
COMMANDS = ("sbatch", "slurmctld", "slurmd", "munged", "ip", "unshare")
MACHINE = """\
description: two test nodes, of one machine's CPU
accelerator: gpu
country_iso_code: ITA
slurm: {partition: main, gpus_per_node: 2, cpus_per_node: 2, memory_mb_per_node: 4000}
"""
SWEEP = (
    *(
        "tune",
        "--space",
        "lhs",
        "--samples",
        "8",
        "--engine",
        "simulated",
        "--model",
        "smollm2",
        "--use-case",
        "fantasyWorld",
    ),
    *("--prompts", "2", "--range", "max_length=150:200", "--fixed-length"),
)
"""Sixteen executions of some 6 s at the speed below, four at once.

That is longer than a node may take to join on a busy host.
"""
TOKEN_S = "0.04"


def _packages() -> str | None:
    """Install SLURM where it is missing; why that is not possible."""
    if all(shutil.which(name) for name in COMMANDS):
        return None
    if shutil.which("apt-get") is None:
        return "there is no SLURM here, and no apt-get to install it"
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", *PACKAGES]):
        done = subprocess.run(
            ["apt-get", "-qq", *command],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            return f"apt-get {command[0]} failed: {done.stderr.strip()[-200:]}"
    return None


def _impossible() -> str | None:
    """Why no nodes can be made here; None: they can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs root, for namespaces of network and processes"
    if psutil.virtual_memory().available < 4 * 2**30:
        return "needs 4 GiB of free memory for two Rays"
    tried = subprocess.run(
        ["unshare", "--net", "--uts", "--pid", "--mount", "--fork", "--mount-proc", "true"],
        capture_output=True,
        check=False,
    )
    if tried.returncode:
        return "namespaces can't be made here (a container without CAP_SYS_ADMIN?)"
    if why := _packages():
        return why
    running = {
        p.info["name"]
        for p in psutil.process_iter(["name", "status"])
        if p.info["status"] != psutil.STATUS_ZOMBIE
    }
    if running & {"slurmctld", "slurmd"}:
        return "a SLURM runs here already"
    return None


@pytest.fixture
def base() -> Iterator[Path]:
    """Folder of two SLURM nodes. Not in /tmp, which each node has for itself, as on a cluster."""
    if why := _impossible():
        pytest.skip(why)
    folder = Path(tempfile.mkdtemp(prefix="orchestrator-slurm-", dir="/var/tmp"))
    shared = [str(path) for path in {ROOT, Path(sys.prefix)} if path.is_relative_to("/tmp")]  # noqa: S108
    try:
        up = subprocess.run(
            [TWO_NODES, "up", folder, *shared],
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        if up.returncode and "Operation not permitted" in up.stderr:
            pytest.skip(f"nodes can't be made here: {up.stderr.strip()}")
        assert up.returncode == 0, up.stderr
        yield folder
    finally:
        subprocess.run([TWO_NODES, "down", folder], check=True)
        shutil.rmtree(folder, ignore_errors=True)


def test_a_job_drains_and_its_follow_up_completes_the_sweep(base: Path) -> None:
    orchestrator = Orchestrator(base / "run", base / "cache")
    (orchestrator.folder / "clusters").mkdir(parents=True)
    (orchestrator.folder / "clusters" / "testbed.yaml").write_text(MACHINE)
    extra = {
        "PATH": f"{base}/bin:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "ORCHESTRATOR_SIMULATED_TOKEN_S": TOKEN_S,
    }
    out = orchestrator.folder / "measurements"

    def log() -> str:
        return "\n".join(
            path.read_text() for path in sorted(orchestrator.folder.glob("slurm-*.log"))
        )

    flags = ("--machine", "testbed", "--hours", "1", "--chain", "3", "--account", "nobody")
    said = orchestrator.run("cluster", "slurm", *flags, "--submit", "--", *SWEEP, **extra).stdout
    assert said.startswith("Submitted as job 1: 2 nodes")
    assert wait_for(lambda: list(out.glob("*/*/*/*/.*.partial/executions.jsonl")), 90), log()
    printed = json.loads(orchestrator.run("status", "--json", **extra).stdout)
    assert [(job["job"], job["state"]) for job in printed["queue"]] == [("1", "RUNNING")]
    subprocess.run([base / "bin" / "scancel", "--batch", "--signal=USR1", "1"], check=True)
    assert wait_for(lambda: [path for path in jobs_of(out) if path["job"] == "2"], 60), log()
    done_by_first = {
        path.parent: path.stat().st_mtime_ns for path in out.glob("*/*/*/*/*/trial.json")
    }
    assert wait_for(lambda: re.findall("job 2, link 1 of 3: Ray is down", log()), 180), log()
    assert "job 2, link 1 of 3: tune ended with 0" in log()

    files = sorted(out.glob("*/*/*/*/*/trial.json"))
    records = [read_trial(path.parent) for path in files]
    executions = keys(records)
    assert (len(executions), set(executions.values())) == (16, {1}), "each execution exactly once"
    assert 0 < len(done_by_first) < len(records)
    assert all(
        (path / "trial.json").stat().st_mtime_ns == time for path, time in done_by_first.items()
    )
    assert {record.columns.machine for record in records} == {"testbed"}
    assert len({record.columns.host for record in records}) == 2, "both nodes measured"
    machines = [json.loads(path.read_text())["environment"]["machine"] for path in files]
    assert all("slurm" not in machine for machine in machines), "nobody's account is published"
    orchestrator.run("validate", **extra)
    assert [(job["job"], job["after"], job["link"]) for job in jobs_of(out)] == [
        ("1", None, 0),
        ("2", "1", 1),
    ]
    # the token is gone, and with the job its Ray: no file of it, no process
    left = [path for path in orchestrator.folder.iterdir() if path.name.startswith(".slurm-")]
    left += base.glob("slurm-n*/tmp/ray-*")
    assert not left
    assert json.loads(orchestrator.run("status", "--json", **extra).stdout)["queue"] == []
    assert not [
        process
        for process in psutil.process_iter(["name"])
        if process.info["name"] == "raylet" and _of(process, base)
    ]


def jobs_of(out: Path) -> list[dict[str, Any]]:
    """The notes of submitted jobs."""
    return [json.loads(line) for line in (out / ".slurm.jsonl").read_text().splitlines()]


def _of(process: psutil.Process, base: Path) -> bool:
    """Whether a process works in a job of ours."""
    try:
        return str(base) in process.environ().get("SLURM_SUBMIT_DIR", "")
    except psutil.Error:
        return False
