"""Job scripts for SLURM: a sweep on whole nodes, with a Ray cluster of its own that ends with the job.

Pure text but for `submit`. The script is settings, all quoted here, then slurm_job.sh, the same for every job. Doesn't know
what a sweep is: the arguments of `tune` pass through, checked by the command line.
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
"""Stands for an account that nobody named; sbatch refuses it."""
CACHES = ("ORCHESTRATOR_CACHE", "HF_HOME", "HF_HUB_CACHE")
"""Environment variables that say where weights are looked for."""
LEAD_S, LEAD_MORE_S = 900, 120
"""SLURM's signal comes so long before the end. With a limit on a prompt's time it is that and some more: SLURM is up to a
minute early, and Ray takes half a minute to end."""
MOST_LEAD_S = 65_535
"""SLURM's own limit."""
LEAST_WORK_S = 300
"""Shorter jobs would be over before Ray is up."""
ANSWER_S = 120
"""How long sbatch may take; a busy controller does for a minute."""


@dataclass(frozen=True)
class Job:
    """What a script is written for."""

    machine: Machine
    machine_name: str
    """As the user gave it: a name or a file."""
    slurm: Slurm
    """The machine's, after the command line."""
    nodes: int
    gpus: int | None
    """On each node; None: no GPU is asked for."""
    hours: float
    lead_s: int
    exclusive: bool
    chain: int
    dashboard: bool
    folder: Path
    """Where the job runs: paths among the arguments hang on it."""
    out: Path
    tune: tuple[str, ...]
    python: Path
    """Runs the program where neither an environment nor a container is named."""
    caches: dict[str, str]
    to_stage: tuple[str, ...] = ()
    """Models whose weights this machine doesn't have."""

    @property
    def minutes(self) -> int:
        """Wall time as SLURM counts it."""
        return math.ceil(self.hours * 60)

    def share(self, of_node: int | None) -> int | None:
        """What goes with the job's GPUs of something that a node has."""
        per_node = self.slurm.gpus_per_node
        if of_node is None or self.gpus is None or per_node is None or self.exclusive:
            return of_node
        return max(1, of_node * self.gpus // per_node)

    def shares_nodes(self) -> bool:
        """Whether other people's work may run beside it."""
        return not self.exclusive and self.gpus != self.slurm.gpus_per_node


def lead_s(execution_timeout_s: float | None) -> int:
    """How long before the end a job is to drain."""
    return LEAD_S if execution_timeout_s is None else math.ceil(execution_timeout_s) + LEAD_MORE_S


def check(job: Job) -> None:
    """Raise UserError for a job that can't run, or whose script would not be what it seems."""
    faults = []
    most = job.slurm.gpus_per_node
    if job.gpus is not None and most is not None and job.gpus > most:
        faults.append(
            f"--gpus {job.gpus}: a node of {job.machine.name} has {most}; give 1 to {most}, and more --nodes"
        )
    if not job.lead_s <= MOST_LEAD_S:
        faults.append(f"--lead {job.lead_s}: SLURM takes at most {MOST_LEAD_S} seconds")
    elif job.minutes * 60 < job.lead_s + LEAST_WORK_S:
        faults.append(
            f"--hours {job.hours:g}: it drains {job.lead_s} s before the end (--lead), which leaves less than "
            f"{LEAST_WORK_S // 60} minutes to work; give more hours"
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
        f"{printable(text)}: a job script takes no control characters; rename it"
        for text in texts
        if not text.isprintable()
    ]
    if faults:
        raise UserError(*faults)


def script(job: Job) -> str:
    """The whole job script."""
    return "\n".join([*_head(job), "", *_settings(job), "", BODY.read_text(encoding="utf-8")])


def _head(job: Job) -> list[str]:
    """What sbatch reads. Nothing in it is quoted: numbers, and names that can't have a space."""
    slurm = job.slurm
    options = {
        "job-name": f"orchestrator-{job.machine.name}",
        "account": slurm.account or PLACEHOLDER,
        "partition": slurm.partition,
        "qos": slurm.qos,
        "nodes": job.nodes,
        "ntasks-per-node": 1,
        "cpus-per-task": job.share(slurm.cpus_per_node),
        "gres": f"gpu:{job.gpus}" if job.gpus else None,
        "mem": f"{memory}M" if (memory := job.share(slurm.memory_mb_per_node)) else None,
        "time": f"{job.minutes // 60:02d}:{job.minutes % 60:02d}:00",
        "signal": f"B:USR1@{job.lead_s}",
        "output": "slurm-%j.log",
        "open-mode": "append",
    }
    lines = [
        "#!/bin/bash",
        "# Written by `orchestrator cluster slurm`; submit it with sbatch, options in the file.",
    ]
    lines += _comment(
        "Compute nodes have no network. On a login node, before:",
        *(_stage(ref) for ref in job.to_stage),
    )
    if not slurm.account:
        lines += _comment(f"{PLACEHOLDER} below: who pays, by `saldo -b` on CINECA's machines.")
    lines += [f"#SBATCH --{name}={value}" for name, value in options.items() if value is not None]
    return lines + (["#SBATCH --exclusive"] if job.exclusive else [])


def _stage(ref: str) -> str:
    return f"  orchestrator models stage {shlex.quote(ref)}"


def _comment(first: str, *more: str) -> list[str]:
    return [f"# {printable(line)}" for line in (first, *more)]


def _settings(job: Job) -> list[str]:
    """Shell variables for slurm_job.sh, each value quoted."""
    slurm = job.slurm
    found = {
        "folder": str(job.folder),
        "out": str(job.out),
        "machine": job.machine_name,
        "label": job.machine.name,
        "chain": job.chain,
        "limit_s": job.minutes * 60,
        "interface": slurm.interface or "",
        "dashboard": str(job.dashboard).lower(),
    }
    lines = [f"{name}={shlex.quote(str(value))}" for name, value in found.items()]
    lines += [f"tune=({shlex.join(job.tune)})", 'cd "$folder" || exit 1']
    if slurm.modules:
        lines.append(f"module load {shlex.join(slurm.modules)}")
    lines.append(f"run=({shlex.join(_container(job))})")
    if not slurm.container:
        programs = f"{slurm.venv.rstrip('/')}/bin" if slurm.venv else str(job.python.parent)
        lines.append(f'export PATH={shlex.quote(programs)}:"$PATH"')
    if not job.caches:
        lines.append(
            "# weights are looked for in the caches of the home folder: ORCHESTRATOR_CACHE and HF_HOME were not set"
        )
    return lines + [f"export {name}={shlex.quote(value)}" for name, value in job.caches.items()]


def _container(job: Job) -> list[str]:
    """What stands before each of our commands."""
    if job.slurm.container is None:
        return []
    seen = dict.fromkeys([str(job.folder), str(job.out.parent), *job.caches.values()])
    binds = [part for folder in seen for part in ("--bind", folder)]
    return ["apptainer", "exec", "--nv", *binds, job.slurm.container]


def submit(text: str, folder: Path) -> str:
    """Give a script to sbatch, in a folder; the job's number. Raises UserError where it is refused."""
    sbatch = shutil.which("sbatch")
    if sbatch is None:
        raise UserError(
            "--submit: there is no sbatch here; run this on a login node of the cluster, or print the script"
        )
    try:
        done = subprocess.run(  # noqa: S603 - the system's, with our text
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
            f"--submit: sbatch gives no answer ({type(error).__name__}); see `squeue --me` before trying again"
        ) from error
    number = done.stdout.strip().partition(";")[0]
    if done.returncode or not number.isdecimal():
        reason = " ".join((done.stderr or done.stdout).split()) or f"exit code {done.returncode}"
        raise UserError(
            f"--submit: sbatch refused the job: {reason.removeprefix('sbatch: ').removeprefix('error: ')}"
        )
    return number


def caches() -> dict[str, str]:
    """Where this process looks for weights, as far as the environment says."""
    return {
        name: str(Path(value).expanduser().absolute())
        for name in CACHES
        if (value := os.environ.get(name))
    }
