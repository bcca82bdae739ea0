"""What this machine offers: GPUs, energy meters, disk, model hub, Ray, and models that fit.

Changes nothing on the machine.
"""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.dataset.folder_checks import check_folder
from orchestrator.engine.weights import cache_folder, reach_hub
from orchestrator.errors import UserError
from orchestrator.gpu.access import GpuAccess, open_gpu
from orchestrator.gpu.devices import Gpu, visible_gpus
from orchestrator.machine_files import detect, read_machine
from orchestrator.meters import Reading, Scene, joined, meters_for
from orchestrator.models import KNOWN, Architecture
from orchestrator.nouns import QUANTIZATIONS, Machine, Quantization
from orchestrator.packages import package_versions
from orchestrator.sweep.estimate import available_bytes, value_bytes

WINDOW_S = 0.5
"""Length of the window in which the meters are tried: several steps of a GPU's counter."""
WEIGHTS_DISK_BYTES = 20 * 2**30
"""Free space for the weights of a model of 7 B, and for their parts while they are downloaded."""
DATA_DISK_BYTES = 2**30
"""Free space for a data set."""
PACKAGES = ("torch", "transformers", "bitsandbytes", "accelerate", "ray", "codecarbon", "optuna")


@dataclass(frozen=True)
class Check:
    """The result of one check."""

    name: str
    found: str
    """What was found, for a person."""
    ok: bool = True
    remedy: str | None = None
    """What to do where it isn't ok."""


@dataclass(frozen=True)
class Room:
    """How long a text of a model can be in this machine's memory."""

    model: str
    quantization: str
    weights_bytes: int
    max_length: int
    """Tokens, prompt included; at most the model's context; 0 where the weights alone don't fit."""
    context_length: int


@dataclass(frozen=True)
class Diagnosis:
    """The results of all checks of a machine."""

    machine: str
    machine_file: Path
    checks: tuple[Check, ...]
    memory_bytes: int
    """Memory for weights and caches: that of the smallest GPU, or of the host if there is none."""
    rooms: tuple[Room, ...]

    def ok(self) -> bool:
        """Whether every check is ok."""
        return all(check.ok for check in self.checks)


def diagnose(out: Path) -> Diagnosis:
    """Check this machine, which takes some seconds; `out`: where the data set would be.

    Raises UserError where the machine's file can't be read.
    """
    gpus = visible_gpus()
    machine, machine_file = read_machine(detect([gpu.name for gpu in gpus]))
    memory_bytes = available_bytes(gpus)
    checks = (
        _packages(),
        _gpus(gpus),
        *_meters(machine, gpus),
        _country(machine, machine_file),
        _disk("disk for weights", cache_folder(), WEIGHTS_DISK_BYTES, "ORCHESTRATOR_CACHE"),
        _disk("disk for data", out, DATA_DISK_BYTES, "--out"),
        _hub(),
        _ray(),
    )
    return Diagnosis(
        machine=machine.name,
        machine_file=machine_file,
        checks=checks,
        memory_bytes=memory_bytes,
        rooms=tuple(rooms(memory_bytes, value_bytes(gpus))),
    )


def rooms(memory_bytes: int, dtype_bytes: int) -> Iterator[Room]:
    """How long a text can be in this memory, for each known model in each quantization.

    `dtype_bytes`: size of a value that isn't quantized.
    """
    for name, model in KNOWN.items():
        for quantization in QUANTIZATIONS.values():
            if model.architecture:
                yield _room(name, model.architecture, quantization, memory_bytes, dtype_bytes)


def _room(
    name: str,
    architecture: Architecture,
    quantization: Quantization,
    memory_bytes: int,
    dtype_bytes: int,
) -> Room:
    """How many tokens fit beside a model's weights in the memory, its context at most."""
    weights_bytes = architecture.weights_bytes(quantization, dtype_bytes)
    left = memory_bytes - weights_bytes
    tokens = max(0, left // architecture.cache_bytes_per_token(dtype_bytes))
    context = architecture.max_position_embeddings
    return Room(name, quantization.name, weights_bytes, min(tokens, context), context)


def _packages() -> Check:
    """Whether the packages that a sweep needs are installed."""
    versions = package_versions(PACKAGES)
    missing = [name for name in PACKAGES if name not in versions]
    installed = ", ".join(f"{name} {version}" for name, version in versions.items())
    if not missing:
        return Check("packages", installed)
    found = f"{', '.join(missing)} not installed; installed: {installed}"
    return Check("packages", found, ok=False, remedy=f"pip install {' '.join(missing)}")


def _gpus(gpus: list[Gpu]) -> Check:
    """Which GPUs there are; none is no problem."""
    if not gpus:
        return Check("GPU", "none, so small models only, on the CPU")
    return Check("GPU", ", ".join(f"{gpu.name} {gpu.memory_bytes / 2**30:.0f} GiB" for gpu in gpus))


def _meters(machine: Machine, gpus: list[Gpu]) -> Iterator[Check]:
    """Run every meter for a moment, once for each GPU."""
    accesses: list[GpuAccess | None] = [open_gpu(gpu.uuid) for gpu in gpus]
    for access in accesses or [None]:
        readings = []
        for meter in meters_for(Scene(machine, access)):
            meter.begin()
            began_s = time.perf_counter()
            time.sleep(WINDOW_S)
            ended_s = time.perf_counter()
            meter.end()
            readings.append(meter.reading(began_s, ended_s))
            meter.close()
        reading = joined(readings)
        if access is not None:
            name = "GPU energy"
            if len(gpus) > 1:
                name += f" {access.gpu.uuid[-4:]}"
            yield _gpu_energy(name, reading)
    yield _cpu_energy(reading)


def _gpu_energy(name: str, reading: Reading) -> Check:
    """Whether a GPU's energy counter moved during the test window."""
    joules = reading.values.get("gpu_energy_counter_j")
    if joules is None:
        why = reading.notes.get("gpu_energy_counter_j", "its energy counter gives no answer")
        remedy = "none; its energy is integrated from polled power, if the GPU reports its power"
        return Check(name, why, ok=False, remedy=remedy)
    return Check(name, f"measured by its energy counter, {joules / WINDOW_S:.0f} W just now")


def _cpu_energy(reading: Reading) -> Check:
    """Whether the CPU's energy is measured, estimated or unknown."""
    name, method = "CPU energy", reading.values.get("cpu_method")
    if reading.values.get("cpu_energy_j") is None:
        why = reading.notes.get("cpu_energy_j", "no answer")
        return Check(name, f"unknown: {why}", ok=False, remedy="none; its columns will be null")
    if method == "rapl":
        return Check(name, "measured by RAPL")
    return Check(name, f"estimated by CodeCarbon's method {method}, not measured")


def _country(machine: Machine, file: Path) -> Check:
    """Whether the machine's country is set, which the emissions follow from."""
    if machine.country_iso_code:
        return Check("country", machine.country_iso_code)
    found = "not set, so emissions use the world's average"
    remedy = f"give --country to `tune`, e.g. --country ITA, or set country_iso_code in {file}"
    return Check("country", found, ok=False, remedy=remedy)


def _disk(name: str, folder: Path, need_bytes: int, named_by: str) -> Check:
    """Whether a folder has so much free space; `named_by`: what sets the folder."""
    remedy = f"choose another folder with {named_by}"
    try:
        existing = check_folder(folder, named_by)
    except UserError as error:
        return Check(name, str(error), ok=False, remedy=remedy)
    free_bytes = shutil.disk_usage(existing).free
    found = f"{free_bytes / 2**30:.0f} GiB free in {folder}"
    if not os.access(existing, os.W_OK):
        return Check(name, f"{found}, which can't be written", ok=False, remedy=remedy)
    if free_bytes < need_bytes:
        found += f", less than {need_bytes / 2**30:.0f} GiB"
    return Check(name, found, ok=free_bytes >= need_bytes, remedy=remedy)


def _hub() -> Check:
    """Whether models can be downloaded."""
    from huggingface_hub import constants

    name = "model hub"
    if constants.HF_HUB_OFFLINE:
        return Check(name, "not used (HF_HUB_OFFLINE is set): stage models before a sweep")
    try:
        reach_hub()
    except OSError as error:
        found = f"{constants.ENDPOINT} can't be reached ({error.strerror or error})"
        remedy = (
            "use smollm2, which comes from the package index, or stage models on another machine "
            "(`orchestrator models stage`) and copy its cache"
        )
        return Check(name, found, ok=False, remedy=remedy)
    return Check(name, f"{constants.ENDPOINT} answers")


def _ray() -> Check:
    """Whether Ray's processes can reach one another: they listen on ports of 127.0.0.1."""
    try:
        with socket.create_server(("127.0.0.1", 0)):
            pass
    except OSError as error:
        found = f"no port on 127.0.0.1 can be opened ({error.strerror or error})"
        return Check("Ray", found, ok=False, remedy="allow TCP ports on 127.0.0.1, which Ray needs")
    found = "ports on 127.0.0.1 can be opened"
    if "RAY_ADDRESS" in os.environ:
        found += "; RAY_ADDRESS is set but ignored, choose a cluster with --address"
    return Check("Ray", found)
