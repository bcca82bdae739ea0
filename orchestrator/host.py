"""What a host says of itself: its CPU, how that is clocked, how busy it is, a job's part of it.

A job is SLURM's, which says in the environment what it gave. Doesn't know other schedulers, nor
partitions that give one CPU to several jobs.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
from pathlib import Path
from typing import Literal

import psutil

CPU_INFO = Path("/proc/cpuinfo")
GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


def cpu_model() -> str | None:
    """The CPU's name; None where the system doesn't tell."""
    with contextlib.suppress(OSError):
        match = re.search(r"^model name\s*:\s*(.+)$", CPU_INFO.read_text(), flags=re.MULTILINE)
        if match:
            return match.group(1).strip()
    return platform.processor() or None


def cpu_governor() -> str | None:
    """How Linux chooses the CPU's frequency; None where it doesn't tell, as in most VMs."""
    with contextlib.suppress(OSError):
        return GOVERNOR.read_text().strip()
    return None


def load_1min() -> float:
    """Processes that ran or waited for a CPU, a mean over the last minute."""
    return psutil.getloadavg()[0]


def memory_bytes() -> int:
    """The host's memory."""
    return psutil.virtual_memory().total


def slurm_node() -> Literal["whole", "part", "unknown"] | None:
    """What a SLURM job has of this host's CPUs; None outside of one.

    Other jobs run on the rest. Where SLURM counts cores and the system threads it is unknown.
    """
    if "SLURM_JOB_ID" not in os.environ:
        return None
    cpus = _slurm_cpus()
    if cpus is None:
        return "unknown"
    if cpus >= (os.cpu_count() or 1):
        return "whole"
    if cpus == psutil.cpu_count(logical=False):
        return "unknown"
    return "part"


def slurm_memory_bytes() -> int | None:
    """The memory that a SLURM job was given on this host; None outside of one, or not told."""
    per_node, per_cpu = (_number(os.environ.get(f"SLURM_MEM_PER_{of}")) for of in ("NODE", "CPU"))
    cpus = _slurm_cpus()
    if per_node == 0:  # SLURM's word for all
        return memory_bytes()
    if per_node is None and per_cpu is not None and cpus is not None:
        per_node = per_cpu * cpus
    return None if per_node is None else per_node * 2**20


def _slurm_cpus() -> int | None:
    """CPUs of the job on each of its nodes, the fewest where they differ: '32(x2),8' is 8."""
    text = os.environ.get("SLURM_JOB_CPUS_PER_NODE", "")
    counts = [_number(part.partition("(")[0]) for part in text.split(",")]
    return min((count for count in counts if count is not None), default=None)


def _number(text: str | None) -> int | None:
    """A whole number of the environment; None where it is none."""
    return int(text) if text and text.isdecimal() else None
