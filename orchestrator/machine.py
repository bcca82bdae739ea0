"""Machines: which kind of hardware this is (clusters/*.yaml), without loading anything heavy."""

from __future__ import annotations

from pathlib import Path

from orchestrator.nouns import Machine
from orchestrator.reader import read

KIND = "clusters"

BY_GPU_NAME = {
    "A100-SXM-64GB": "leonardo",
    "GTX 1650 Ti": "pc",
}
"""Part of NVML's device name -> machine. A T4 is 'colab' only where Colab's own folder exists."""


def read_machine(name: str) -> tuple[Machine, Path]:
    """The machine of a name or file. Raises UserError."""
    return read(KIND, name, Machine)


def detect(gpu_names: list[str]) -> str:
    """Name of the machine's file for the GPUs that NVML lists here ([] = none)."""
    if not gpu_names:
        return "cpu"
    if Path("/content").is_dir() and any("T4" in name for name in gpu_names):
        return "colab"
    for part, machine in BY_GPU_NAME.items():
        if any(part in name for name in gpu_names):
            return machine
    return "gpu"
