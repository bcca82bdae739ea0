"""Job scripts for SLURM: a sweep on nodes of a cluster, with a Ray that ends with the job.

A script is a list of settings, each quoted here, followed by slurm_job.sh, which is the same for
every job. Only `submit` talks to SLURM. This module doesn't know what a sweep is: it passes on the
arguments of `tune`, which the command line has checked.
"""

from __future__ import annotations

import math
import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import UserError
from orchestrator.nouns import Machine, Slurm
from orchestrator.yaml_files import printable

BODY = Path(__file__).with_name("slurm_job.sh")

PLACEHOLDER = "YOUR_ACCOUNT"
"""Stands in the script for an account that is not known; sbatch refuses it."""
CACHES = ("ORCHESTRATOR_CACHE", "HF_HOME", "HF_HUB_CACHE")
"""Environment variables that say where weights are looked for."""
LEAD_S = 900
"""How long before the end of the job SLURM sends its signal to drain."""
LEAD_MORE_S = 120
"""With a limit on a prompt's time the signal comes that limit and this before the end.

SLURM is up to a minute early, and Ray takes half a minute to end.
"""
MOST_LEAD_S = 65_535
"""Largest lead that SLURM takes."""
LEAST_WORK_S = 300
"""Least time for work between the job's start and its signal: Ray takes a while to start."""
ANSWER_S = 120
"""How long sbatch may take to answer; a busy controller takes a minute."""


@dataclass(frozen=True)
class BatchJob:
    """What a script is written for."""

    machine: Machine
    machine_name: str
    """The machine as the user gave it: a name or a file."""
    slurm: Slurm
    """The machine's SLURM settings, with options of the command line in their place."""
    nodes: int
    gpus: int | None
    """GPUs a node; None: the job requests none."""
    hours: float
    """Wall time of the job."""
    lead_s: int
    """How long before the end of the job it is told to drain."""
    exclusive: bool
    chain: int
    """Most follow-up jobs."""
    dashboard: bool
    folder: Path
    """Folder in which the job runs; relative paths in the arguments of `tune` start there."""
    out: Path
    """The data set."""
    tune: tuple[str, ...]
    """Arguments of `tune`."""
    python: Path
    """Runs the program where the machine's file names neither an environment nor a container."""
    caches: dict[str, str]
    """Environment variables that say where the weights are."""
    to_stage: tuple[str, ...] = ()
    """Models whose weights this machine doesn't have."""

    @property
    def minutes(self) -> int:
        """Wall time in whole minutes, the unit of SLURM."""
        return math.ceil(self.hours * 60)

    def share(self, of_node: int | None) -> int | None:
        """The part of a node's CPUs or memory that goes with the job's part of its GPUs."""
        per_node = self.slurm.gpus_per_node
        if of_node is None or self.gpus is None or per_node is None or self.exclusive:
            return of_node
        return max(1, of_node * self.gpus // per_node)

    def shares_nodes(self) -> bool:
        """Whether other jobs may run on the same nodes."""
        return not self.exclusive and self.gpus != self.slurm.gpus_per_node


def lead_s(execution_timeout_s: float | None) -> int:
    """How long before its end a job must start to drain, so that running prompts can finish."""
    if execution_timeout_s is None:
        return LEAD_S
    return math.ceil(execution_timeout_s) + LEAD_MORE_S


def check(job: BatchJob) -> None:
    """Raise UserError for a job that can't run, or whose script would not mean what was written."""
    faults = []
    most = job.slurm.gpus_per_node
    if job.gpus is not None and most is not None and job.gpus > most:
        faults.append(
            f"--gpus {job.gpus}: a node of {job.machine.name} has {most}; "
            f"give 1 to {most}, and more --nodes"
        )
    if job.lead_s > MOST_LEAD_S:
        faults.append(f"--lead {job.lead_s}: SLURM takes at most {MOST_LEAD_S} seconds")
    elif job.minutes * 60 < job.lead_s + LEAST_WORK_S:
        faults.append(
            f"--hours {job.hours:g}: the job drains {job.lead_s} s before its end (--lead), which "
            f"leaves less than {LEAST_WORK_S // 60} minutes to work; give more hours"
        )
    texts = (
        *job.tune,
        job.machine_name,
        str(job.folder),
        str(job.out),
        str(job.python),
        *job.caches.values(),
    )
    faults += [
        f"{printable(text)}: holds control characters, which a job script can't; rename it"
        for text in texts
        if not text.isprintable()
    ]
    if faults:
        raise UserError(*faults)


def script(job: BatchJob) -> str:
    """The whole job script."""
    return "\n".join([*_head(job), "", *_settings(job), "", BODY.read_text(encoding="utf-8")])


def _head(job: BatchJob) -> list[str]:
    """The lines that sbatch reads.

    They need no quotes: values are numbers, or names that can't hold a space.
    """
    slurm = job.slurm
    gres = memory = None
    if job.gpus:
        gres = f"gpu:{job.gpus}"
    memory_mb = job.share(slurm.memory_mb_per_node)
    if memory_mb:
        memory = f"{memory_mb}M"
    options = {
        "job-name": f"orchestrator-{job.machine.name}",
        "account": slurm.account or PLACEHOLDER,
        "partition": slurm.partition,
        "qos": slurm.qos,
        "nodes": job.nodes,
        "ntasks-per-node": 1,
        "cpus-per-task": job.share(slurm.cpus_per_node),
        "gres": gres,
        "mem": memory,
        "time": f"{job.minutes // 60:02d}:{job.minutes % 60:02d}:00",
        "signal": f"B:USR1@{job.lead_s}",
        "output": "slurm-%j.log",
        "open-mode": "append",
    }
    lines = [
        "#!/bin/bash",
        "# Written by `orchestrator cluster slurm`. Submit it with sbatch; it needs no options.",
        "# Compute nodes have no network: stage the weights on a login node first.",
    ]
    lines += [
        f"#   orchestrator models stage {printable(shlex.quote(ref))}" for ref in job.to_stage
    ]
    if not slurm.account:
        lines.append(
            f"# Replace {PLACEHOLDER} by the account to bill (`saldo -b` lists yours at CINECA)."
        )
    lines += [f"#SBATCH --{name}={value}" for name, value in options.items() if value is not None]
    if job.exclusive:
        lines.append("#SBATCH --exclusive")
    return lines


def _settings(job: BatchJob) -> list[str]:
    """Shell variables for slurm_job.sh, each value quoted."""
    slurm = job.slurm
    variables = {
        "folder": str(job.folder),
        "out": str(job.out),
        "machine": job.machine_name,
        "label": job.machine.name,
        "chain": job.chain,
        "limit_s": job.minutes * 60,
        "interface": slurm.interface or "",
        "dashboard": str(job.dashboard).lower(),
    }
    lines = [f"{name}={shlex.quote(str(value))}" for name, value in variables.items()]
    lines += [f"tune=({shlex.join(job.tune)})", 'cd "$folder" || exit 1']
    if slurm.modules:
        lines.append(f"module load {shlex.join(slurm.modules)}")
    lines.append(f"run=({shlex.join(_container(job))})")
    # a container has its own programs
    if not slurm.container:
        programs = str(job.python.parent)
        if slurm.venv:
            programs = f"{slurm.venv.rstrip('/')}/bin"
        lines.append(f'export PATH={shlex.quote(programs)}:"$PATH"')
    if not job.caches:
        lines.append(
            "# ORCHESTRATOR_CACHE and HF_HOME were not set: weights are read from the home folder"
        )
    return lines + [f"export {name}={shlex.quote(value)}" for name, value in job.caches.items()]


def _container(job: BatchJob) -> list[str]:
    """The command that runs another one in the machine's container; [] where it has none."""
    if job.slurm.container is None:
        return []
    command = ["apptainer", "exec", "--nv"]
    # folders that the container must see; each only once
    for folder in dict.fromkeys([str(job.folder), str(job.out.parent), *job.caches.values()]):
        command += ["--bind", folder]
    return [*command, job.slurm.container]


def submit(text: str, folder: Path) -> str:
    """Submit a script from a folder and return the job's number.

    Raises UserError where there is no sbatch, it doesn't answer, or it refuses the job.
    """
    sbatch = shutil.which("sbatch")
    if sbatch is None:
        raise UserError(
            "--submit: there is no sbatch here; "
            "run this on a login node of the cluster, or print the script"
        )
    try:
        done = subprocess.run(  # noqa: S603 - the system's sbatch, with the script on its input
            [sbatch, "--parsable"],
            input=text,
            capture_output=True,
            text=True,
            cwd=folder,
            timeout=ANSWER_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(
            f"--submit: sbatch gives no answer ({type(error).__name__}); "
            "see `squeue --me` before you try again"
        ) from error
    # sbatch --parsable prints NUMBER, or NUMBER;CLUSTER
    number = done.stdout.strip().partition(";")[0]
    if done.returncode or not number.isdecimal():
        reason = " ".join((done.stderr or done.stdout).split()) or f"exit code {done.returncode}"
        reason = reason.removeprefix("sbatch: ").removeprefix("error: ")
        raise UserError(f"--submit: sbatch refused the job: {reason}")
    return number


def caches() -> dict[str, str]:
    """Those environment variables of CACHES that are set, as absolute paths."""
    folders = {}
    for name in CACHES:
        value = os.environ.get(name)
        if value:
            folders[name] = str(Path(value).expanduser().absolute())
    return folders
