"""Machines: which kind of hardware this is (clusters/*.yaml), without loading anything heavy."""

from __future__ import annotations

import math
from pathlib import Path

from orchestrator.errors import UserError
from orchestrator.nouns import Machine
from orchestrator.yaml_files import read

KIND = "clusters"

BY_GPU_NAME = {
    "A100-SXM-64GB": "leonardo",
    "GTX 1650 Ti": "pc",
}
"""Part of NVML's device name -> machine. A T4 is 'colab' only where Colab's own folder exists."""


def read_machine(name: str) -> tuple[Machine, Path]:
    """The machine of a name or file. Raises UserError."""
    machine, path = read(KIND, name, Machine)
    for key, value in machine:
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{path}: $.{key}: must be a finite number")
    if machine.country_iso_code is not None:
        country(machine.country_iso_code, f"{path}: $.country_iso_code")
    return machine, path


def country(code: str, where: str) -> str:
    """An ISO 3166-1 alpha-3 code in capitals. Raises UserError for another: CodeCarbon would take it for the world."""
    import pycountry

    if found := pycountry.countries.get(alpha_3=code):
        return str(found.alpha_3)
    raise UserError(
        f"{where}: {code} is no ISO 3166-1 alpha-3 code; write three capital letters such as ITA"
    )


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
