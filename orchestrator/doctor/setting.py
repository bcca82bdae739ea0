"""What a sweep needs besides meters: packages, disk, the model hub, Ray's ports, a country."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

from orchestrator.dataset.folder_checks import check_folder
from orchestrator.doctor.checks import Check, Level
from orchestrator.engine.cache import cache_folder
from orchestrator.engine.hub import reach_hub
from orchestrator.errors import UserError
from orchestrator.nouns import Machine
from orchestrator.packages import package_versions

WEIGHTS_DISK_BYTES = 20 * 2**30
"""Free space for the weights of a model of 7 B, and for their parts while they are downloaded."""
DATA_DISK_BYTES = 2**30
"""Free space for a data set."""
PACKAGES = ("torch", "transformers", "bitsandbytes", "accelerate", "ray", "codecarbon", "optuna")


def packages() -> Check:
    """Whether the packages that a sweep needs are installed."""
    versions = package_versions(PACKAGES)
    missing = [name for name in PACKAGES if name not in versions]
    installed = ", ".join(f"{name} {version}" for name, version in versions.items())
    if not missing:
        return Check("packages", installed)
    found = f"{', '.join(missing)} not installed; installed: {installed}"
    return Check("packages", found, "problem", f"pip install {' '.join(missing)}")


def country(machine: Machine, file: Path) -> Check:
    """Whether the machine's country is set, which the emissions follow from."""
    if machine.country_iso_code:
        return Check("country", machine.country_iso_code)
    found = "not set, so emissions use the world average (energies don't depend on it)"
    remedy = f"give --country to `tune`, e.g. --country ITA, or set country_iso_code in {file}"
    return Check("country", found, "warning", remedy)


def weights_disk() -> Check:
    """Whether the weights of a large model have room.

    Little space is a warning, since small models fit. So is a folder that can't be written but
    holds something: weights that were staged there can be read.
    """
    folder = cache_folder()
    staged = folder.is_dir() and os.access(folder, os.R_OK) and any(folder.iterdir())
    unwritable: Level = "warning" if staged else "problem"
    return _disk(
        "disk for weights", folder, WEIGHTS_DISK_BYTES, "ORCHESTRATOR_CACHE", unwritable=unwritable
    )


def data_disk(out: Path) -> Check:
    """Whether the data set's folder can be written and has room."""
    return _disk("disk for data", out, DATA_DISK_BYTES, "--out", unwritable="problem")


def _disk(name: str, folder: Path, need_bytes: int, named_by: str, *, unwritable: Level) -> Check:
    """Whether a folder has so much free space.

    `named_by`: what sets the folder. `unwritable`: how grave it is that it can't be written.
    """
    remedy = f"choose another folder with {named_by}"
    try:
        existing = check_folder(folder, named_by)
    except UserError as error:
        return Check(name, str(error), unwritable, remedy)
    free_bytes = shutil.disk_usage(existing).free
    found, values = f"{free_bytes / 2**30:.0f} GiB free in {folder}", {"free_bytes": free_bytes}
    if not os.access(existing, os.W_OK):
        return Check(name, f"{found}, which can't be written", unwritable, remedy, values)
    if free_bytes < need_bytes:
        found += f", less than {need_bytes / 2**30:.0f} GiB"
        return Check(name, found, "warning", f"free space, or {remedy}", values)
    return Check(name, found, values=values)


def hub() -> Check:
    """Whether models can be downloaded."""
    from huggingface_hub import constants

    name = "model hub"
    if constants.HF_HUB_OFFLINE:
        return Check(name, "not used (HF_HUB_OFFLINE is set): stage models before a sweep")
    try:
        reach_hub()
    except OSError as error:
        why = error.strerror or error
        if isinstance(error, socket.gaierror):
            why = "its address isn't found, as without a network"
        found = f"{constants.ENDPOINT} can't be reached: {why}"
        remedy = (
            "use smollm2, which comes from the package index, or stage models on another machine "
            "(`orchestrator models stage`) and copy its cache"
        )
        return Check(name, found, "warning", remedy)
    return Check(name, f"{constants.ENDPOINT} answers")


def ray_ports() -> Check:
    """Whether Ray's processes can reach one another: they listen on ports of 127.0.0.1."""
    try:
        with socket.create_server(("127.0.0.1", 0)):
            pass
    except OSError as error:
        found = f"no port on 127.0.0.1 can be opened ({error.strerror or error})"
        return Check("Ray", found, "problem", "allow TCP ports on 127.0.0.1, which Ray needs")
    found = "ports on 127.0.0.1 can be opened"
    if "RAY_ADDRESS" in os.environ:
        found += "; RAY_ADDRESS is set but ignored, choose a cluster with --address"
    return Check("Ray", found)
