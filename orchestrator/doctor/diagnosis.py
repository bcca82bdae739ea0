"""All checks of a machine, one after the other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from orchestrator.doctor import setting
from orchestrator.doctor.checks import Check, Level, worst
from orchestrator.doctor.conclusion import conclusion
from orchestrator.doctor.cpu_at_rest import cpu_checks, cpu_rest
from orchestrator.doctor.gpu_at_rest import GpuRest, gpu_checks, gpu_rest
from orchestrator.doctor.other_meters import other_meters
from orchestrator.doctor.overhead import PAIRS, overhead
from orchestrator.doctor.rooms import Room, rooms
from orchestrator.errors import UserError
from orchestrator.gpu.access import GpuAccess, open_gpu
from orchestrator.gpu.devices import Gpu, visible_gpus
from orchestrator.machine_files import detect, read_machine
from orchestrator.say import Say, silent
from orchestrator.sweep.estimate import available_bytes, value_bytes

WINDOW_S = 10.0
"""How long each GPU is looked at: a hundred steps of an H100's counter."""


@dataclass(frozen=True)
class Diagnosis:
    """The results of all checks of a machine."""

    machine: str
    machine_file: Path
    checks: tuple[Check, ...]
    conclusion: str
    """What the energies measured here are good for, in a line."""
    memory_bytes: int
    """Memory for weights and caches: that of the smallest GPU, or of the host if there is none."""
    rooms: tuple[Room, ...]

    @property
    def level(self) -> Level:
        """The gravest level of all checks."""
        return worst(self.checks)


def diagnose(
    out: Path,
    *,
    with_overhead: bool = False,
    window_s: float | None = None,
    say: Say = silent,
) -> Diagnosis:
    """Check this machine, which takes seconds, and `window_s` more for each GPU.

    `out`: where the data set would be. `with_overhead`: measure what the meters take, too. `say`:
    hears what is waited for. Raises UserError where the machine's file can't be read.
    """
    window_s = WINDOW_S if window_s is None else window_s
    gpus = visible_gpus()
    machine, machine_file = read_machine(detect([gpu.name for gpu in gpus]))
    accesses, checks = _opened(gpus)
    checks = [setting.packages(), _gpus(gpus), *checks]
    rests: list[GpuRest] = []
    for access in accesses:
        label = "GPU" if len(gpus) == 1 else f"GPU {access.gpu.uuid[-4:]}"
        say(
            f"{label} ({access.gpu.name}): reading all meters for {window_s:g} s, while "
            "nothing runs"
        )
        rests.append(gpu_rest(label, access, machine, window_s))
        checks += gpu_checks(rests[-1])
    cpu = cpu_rest(machine)
    checks += cpu_checks(cpu, machine, machine_file, has_gpu=bool(gpus))
    checks += other_meters([*(gpu.at_rest for gpu in rests), cpu])
    if with_overhead:
        n_windows = 2 * PAIRS if accesses else PAIRS
        say(f"the meters' own cost: {n_windows} windows of {window_s:g} s")
        checks.append(overhead(machine, accesses[0] if accesses else None, window_s))
    checks += [
        setting.country(machine, machine_file),
        setting.weights_disk(),
        setting.data_disk(out),
        setting.hub(),
        setting.ray_ports(),
    ]
    memory_bytes = available_bytes(gpus)
    return Diagnosis(
        machine=machine.name,
        machine_file=machine_file,
        checks=tuple(checks),
        conclusion=conclusion(rests, cpu, has_gpu=bool(gpus)),
        memory_bytes=memory_bytes,
        rooms=tuple(rooms(memory_bytes, value_bytes(gpus))),
    )


def _gpus(gpus: list[Gpu]) -> Check:
    """Which GPUs there are; none is no problem."""
    if not gpus:
        return Check("GPU", "none, so small models only, on the CPU")
    return Check("GPU", ", ".join(map(_described, gpus)))


def _described(gpu: Gpu) -> str:
    """A GPU's name, memory and power limit."""
    limit = "no power limit told"
    if gpu.power_limit_w is not None:
        limit = f"{gpu.power_limit_w:.0f} W at most"
    return f"{gpu.name} ({gpu.memory_bytes / 2**30:.0f} GiB, {limit})"


def _opened(gpus: list[Gpu]) -> tuple[list[GpuAccess], list[Check]]:
    """The GPUs that a sweep may use, and a check for each that it may not."""
    accesses, refused = [], []
    for gpu in gpus:
        try:
            accesses.append(open_gpu(gpu.uuid))
        except UserError as error:
            remedy = "switch MIG off, or choose another GPU with CUDA_VISIBLE_DEVICES"
            refused.append(Check("GPU", str(error), "problem", remedy))
    return accesses, refused
