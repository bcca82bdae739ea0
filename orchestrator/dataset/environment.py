"""What a trial's process ran with, beside the columns of its rows: recorded in trial.json."""

from __future__ import annotations

from orchestrator.nouns import Machine, Noun


class Pilot(Noun):
    """What the last warm-up generation showed: time and energy of a sweep are foreseen from it."""

    tokens_per_s: float
    energy_j_per_token: float | None
    energy_basis: str | None
    warm_up_s: float
    warm_up_energy_j: float | None


class Environment(Noun):
    """Versions, machine, load figures and conditions of the process that ran a trial.

    Every field has a default: what an earlier version didn't record is None or empty.
    """

    orchestrator: str | None = None
    """Version of this program."""
    python: str | None = None
    platform: str | None = None
    versions: dict[str, str] = {}
    """Package -> version, of the engine, the meters and Ray."""
    machine: Machine | None = None
    load_s: float | None = None
    """Seconds that loading the model took in this process; not in this trial if it was loaded."""
    loaded_here: bool = False
    """Whether the model was loaded for this trial, the first of its process."""
    weights_bytes: int | None = None
    context_length: int | None = None
    memory_tokens: int | None = None
    pilot: Pilot | None = None
    """None: the model was too large to be loaded."""
    power_limit_w: float | None = None
    """What the driver keeps the GPU's power below; None: no GPU, or not told."""
    cpu_model: str | None = None
    cpu_governor: str | None = None
    """How the CPU's frequency is chosen; None: the system doesn't tell, as in most VMs."""
    load_1min: float | None = None
    """The host's load average as the trial began; 1 is one busy CPU."""
    host_memory_bytes: int | None = None
    slurm_memory_bytes: int | None = None
    """What its job was given of that; None: no SLURM job, or not told."""
    driver_version: str | None = None
    """Of the GPU; None: no GPU."""
    cuda_driver_version: int | None = None
    """The newest CUDA that the driver knows, 13000 for 13.0."""
    performance_state: int | None = None
    """NVML's P-state as the trial began: 0 is the fastest."""
    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    """Clocks as the trial began."""
    drift: tuple[str, ...] = ()
    """How the conditions differ from those under which the sweep was started (--accept-drift)."""
