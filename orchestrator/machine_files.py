"""Machine files (clusters/*.yaml), and which of them describes this machine."""

from __future__ import annotations

import math
from pathlib import Path

from orchestrator.errors import UserError
from orchestrator.nouns import Machine
from orchestrator.yaml_files import located, read

KIND = "clusters"

BY_GPU_NAME = {
    "A100-SXM-64GB": "leonardo",
    "GTX 1650 Ti": "pc",
}
"""Part of a GPU's name in NVML -> machine."""


def read_machine(name: str) -> tuple[Machine, Path]:
    """Read a machine by its name or file; returns the file too. Raises UserError."""
    machine, path = read(KIND, name, Machine)
    for key, value in machine:
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{located(path, (key,))}: must be a finite number")
    if machine.country_iso_code is not None:
        country(machine.country_iso_code, located(path, ("country_iso_code",)))
    return machine, path


def country(code: str, where: str) -> str:
    """The ISO 3166-1 alpha-3 code of a country, in capitals; `where` names its source.

    Raises UserError for anything else, which CodeCarbon would take for the world's average.
    """
    import pycountry

    known = pycountry.countries.get(alpha_3=code)
    if known is None:
        raise UserError(
            f"{where}: {code} is no ISO 3166-1 alpha-3 code; "
            "write three capital letters such as ITA"
        )
    return str(known.alpha_3)


def detect(gpu_names: list[str]) -> str:
    """Name of the machine's file for the GPUs that NVML lists here; [] where there are none."""
    if not gpu_names:
        return "cpu"
    # line ends between the names, so that a part can't match across two of them
    names = "\n".join(gpu_names)
    # many machines have a T4; only Colab has this folder too
    if "T4" in names and Path("/content").is_dir():
        return "colab"
    for part, machine in BY_GPU_NAME.items():
        if part in names:
            return machine
    return "gpu"
