"""What this machine offers: GPUs, meters that answer, disk, hub, Ray's needs, models that fit in memory. Changes nothing."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.engine.weights import cache_folder, reach_hub
from orchestrator.errors import UserError
from orchestrator.machine_files import detect, read_machine
from orchestrator.measure import merged
from orchestrator.meters import Reading, Scene, meters_for
from orchestrator.meters.nvml import Gpu, visible_gpus
from orchestrator.models import KNOWN, Architecture
from orchestrator.nouns import QUANTIZATIONS, Machine, Quantization
from orchestrator.packages import package_versions
from orchestrator.sweep.estimate import available_bytes, value_bytes
from orchestrator.sweep.prepare import check_folder

WINDOW_S = 0.5
"""Of the window in which the meters are tried: several steps of a GPU's counter."""
LITTLE_DISK_BYTES = 20 * 2**30
"""Less free space than this doesn't take the weights of a model of 7 B and their parts while they are fetched."""
LITTLE_DATA_BYTES = 2**30
PACKAGES = ("torch", "transformers", "bitsandbytes", "accelerate", "ray", "codecarbon", "optuna")


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    found: str
    ok: bool = True
    remedy: str | None = None
    """What to do where it isn't ok."""


@dataclass(frozen=True)
class Room:
    """How long a text of a model may be in this machine's memory."""

    model: str
    quantization: str
    weights_bytes: int
    max_length: int
    """Tokens, prompt included; at most the model's context; 0: the weights alone don't fit."""
    context_length: int


@dataclass(frozen=True)
class Diagnosis:
    """All of it."""

    machine: str
    machine_file: Path
    checks: tuple[Check, ...]
    memory_bytes: int
    """That weights and caches may take: of the smallest GPU, without one of the host."""
    rooms: tuple[Room, ...]

    def ok(self) -> bool:
        """Whether everything is."""
        return all(check.ok for check in self.checks)


def diagnose(out: Path) -> Diagnosis:
    """Look at everything; takes some seconds. Raises UserError where the machine's file can't be read."""
    gpus = visible_gpus()
    machine, machine_file = read_machine(detect([gpu.name for gpu in gpus]))
    memory_bytes = available_bytes(gpus)
    checks = (
        _packages(),
        _gpus(gpus),
        *_meters(machine, gpus),
        _country(machine, machine_file),
        _disk("disk for weights", cache_folder(), LITTLE_DISK_BYTES, "ORCHESTRATOR_CACHE"),
        _disk("disk for data", out, LITTLE_DATA_BYTES, "--out"),
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
    """Each known model in each quantization against so much memory, with values of so many bytes."""
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
    weights_bytes = architecture.weights_bytes(quantization, dtype_bytes)
    left = memory_bytes - weights_bytes
    tokens = max(0, left // architecture.cache_bytes_per_token(dtype_bytes))
    context = architecture.max_position_embeddings
    return Room(name, quantization.name, weights_bytes, min(tokens, context), context)


def _packages() -> Check:
    versions = package_versions(PACKAGES)
    missing = [name for name in PACKAGES if name not in versions]
    remedy = f"pip install {' '.join(missing)}" if missing else None
    installed = ", ".join(f"{name} {version}" for name, version in versions.items())
    return Check("packages", installed, ok=not missing, remedy=remedy)


def _gpus(gpus: list[Gpu]) -> Check:
    if not gpus:
        return Check("GPU", "none: small models on the CPU, energies by models instead of counters")
    return Check("GPU", ", ".join(f"{gpu.name} {gpu.memory_bytes / 2**30:.0f} GiB" for gpu in gpus))


def _meters(machine: Machine, gpus: list[Gpu]) -> Iterator[Check]:
    """Open every meter for a moment, on each GPU."""
    uuids: list[str | None] = [gpu.uuid for gpu in gpus]
    for uuid in uuids or [None]:
        readings = []
        for meter in meters_for(Scene(machine, uuid)):
            meter.settle()
            meter.begin()
            time.sleep(WINDOW_S)
            readings.append(meter.end())
            meter.close()
        reading = merged(readings)
        if uuid:
            yield _gpu_energy(f"GPU energy {uuid[-4:]}" if len(gpus) > 1 else "GPU energy", reading)
    yield _cpu_energy(reading)


def _gpu_energy(name: str, reading: Reading) -> Check:
    joules = reading.values.get("gpu_energy_counter_j")
    if joules is None:
        why = reading.notes.get("gpu_energy_counter_j", "no answer")
        return Check(
            name,
            why,
            ok=False,
            remedy="its energy is then integrated from polled power, where there is a reading",
        )
    return Check(name, f"its counter answers: {joules / WINDOW_S:.0f} W just now")


def _cpu_energy(reading: Reading) -> Check:
    method = reading.values.get("cpu_method")
    if reading.values.get("cpu_energy_j") is None:
        return Check(
            "CPU energy",
            reading.notes.get("cpu_energy_j", "no answer"),
            ok=False,
            remedy="rows have null there",
        )
    return Check(
        "CPU energy",
        "measured by RAPL"
        if method == "rapl"
        else f"CodeCarbon's model {method}: not a measurement",
    )


def _country(machine: Machine, file: Path) -> Check:
    if machine.country_iso_code:
        return Check("country", machine.country_iso_code)
    remedy = f"--country ITA, or country_iso_code in {file}: else emissions use the world's average"
    return Check("country", "unknown", ok=False, remedy=remedy)


def _disk(name: str, folder: Path, need_bytes: int, named_by: str) -> Check:
    remedy = f"{named_by} names another folder"
    try:
        existing = check_folder(folder, named_by)
    except UserError as error:
        return Check(name, str(error), ok=False, remedy=remedy)
    free = shutil.disk_usage(existing).free
    writable = os.access(existing, os.W_OK)
    found = f"{free / 2**30:.0f} GiB free in {folder}" + (
        "" if writable else ", which can't be written"
    )
    return Check(name, found, ok=writable and free >= need_bytes, remedy=remedy)


def _hub() -> Check:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return Check("model hub", "not asked (HF_HUB_OFFLINE): models must be staged before")
    remedy = "stage models elsewhere (`models stage`) and copy the cache, or use smollm2, which comes from the package index"
    return _answers("model hub", reach_hub, f"{constants.ENDPOINT} answers", remedy)


def _ray() -> Check:
    def listen() -> None:
        with socket.create_server(("127.0.0.1", 0)):
            pass

    found = "loopback ports can be opened"
    if "RAY_ADDRESS" in os.environ:
        found += "; RAY_ADDRESS is set and not used: name a cluster with --address"
    return _answers("Ray", listen, found, "a private Ray needs TCP ports on 127.0.0.1")


def _answers(name: str, attempt: Callable[[], None], found: str, remedy: str) -> Check:
    try:
        attempt()
    except OSError as error:
        return Check(name, f"{error.strerror or error}", ok=False, remedy=remedy)
    return Check(name, found)
