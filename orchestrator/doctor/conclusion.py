"""What the energies of this machine are good for, in one line of plain words."""

from __future__ import annotations

from orchestrator.doctor.gpu_at_rest import GpuRest
from orchestrator.doctor.rest import Rest
from orchestrator.meters.counter import ENERGY as COUNTER
from orchestrator.units import number

CPU = {"rapl": "measured by RAPL", None: "unknown"}
"""cpu_method -> what the CPU's energy is beside a GPU's; CPU_MODEL with any other one."""
CPU_MODEL = "a model, don't publish it"
NO_GPU = {
    "rapl": (
        "no GPU: the CPU's energy is measured by RAPL, the RAM's is a model, and so is a part of "
        "their total"
    ),
    None: "no GPU, and the CPU's energy is unknown: nothing can be measured here",
}
"""cpu_method -> the line without a GPU; NO_GPU_MODELS with any other one."""
NO_GPU_MODELS = "no GPU: energies are models, good for trying out, not for publishing"


def conclusion(gpus: list[GpuRest], cpu: Rest, *, has_gpu: bool) -> str:
    """The line. `has_gpu`: there is one, though perhaps none that can be read."""
    method = cpu.reading.values.get("cpu_method")
    if cpu.reading.values.get("cpu_energy_j") is None:
        method = None
    if not has_gpu:
        return NO_GPU.get(method, NO_GPU_MODELS)
    parts = dict.fromkeys(map(_gpu, gpus)) or {"can't be measured": None}
    energies = [f"GPU energy: {part}" for part in parts]
    return "; ".join([*energies, f"CPU: {CPU.get(method, CPU_MODEL)}"])


def _gpu(gpu: GpuRest) -> str:
    """How good a GPU's energy is."""
    least_s = gpu.least_window_s()
    if gpu.basis is None or least_s is None:
        return "can't be measured"
    how = "integrated power"
    if gpu.basis == COUNTER:
        how = f"counter, {number(1000 * gpu.values['counter_period_s'])} ms steps"
    found = f"{how}, good for windows of {number(least_s)} s and more"
    if not gpu.agrees:
        found += ", but counter and power disagree: find out which is right before you publish"
    if gpu.n_others:
        found += ", but other processes are computing on it now"
    return found
