"""What a host says of itself: its CPU, how that is clocked, and how busy it is."""

from __future__ import annotations

import contextlib
import platform
import re
from pathlib import Path

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
