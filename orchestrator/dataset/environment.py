"""What a trial's process ran with, beside the columns of its rows: recorded in trial.json."""

from __future__ import annotations

from typing import Literal

from orchestrator.dataset.energy import EnergyBasis
from orchestrator.engine import ServerFacts
from orchestrator.nouns import Amount, Count, Machine, Moment, Noun, Seconds, Whole

GpuStateName = Literal["bare", "context", "loaded"]
"""No process uses the GPU; one has a context on it; the model is loaded and warm."""


class Baseline(Noun):
    """The idle power of a GPU in one of its states."""

    id: str
    """Of the session and a number; rows name the one that their net energy leaves out."""
    state: GpuStateName
    power_w: Amount | None
    """None: no meter gives the GPU's energy."""
    window_s: Seconds
    started_at: Moment


class Anchor(Noun):
    """A text that is always the same, generated between the trials of a session.

    Its energy shows how a session drifts, and how far sessions differ.
    """

    started_at: Moment
    session_trial: Count
    """How many trials of the session had begun before it."""
    n_new_tokens: Count
    window_s: Seconds
    energy_j: Amount | None
    """None: not measured."""
    energy_basis: EnergyBasis | None
    baseline_w: Amount | None = None
    """The session's idle power then, model loaded; None: not measured."""


class Pilot(Noun):
    """What the last warm-up generation showed: time and energy of a sweep are foreseen from it."""

    tokens_per_s: Amount | None
    energy_j_per_token: Amount | None
    energy_basis: EnergyBasis | None
    warm_up_s: Seconds
    """From loading to the first window, with build_s."""
    warm_up_energy_j: Amount | None
    """Of the discarded generations and of building."""
    build_s: Seconds | None = None
    """What making programs and memory for all lengths took of it; None: not recorded."""
    build_energy_j: Amount | None = None
    n_compiled: Count | None = None
    """Programs that were compiled; None: the engine compiles nothing, or not recorded."""
    n_from_disk: Count | None = None
    """Programs that an earlier process had compiled."""


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
    load_s: Seconds | None = None
    """Seconds that loading the model took in this process; not in this trial if it was loaded."""
    loaded_here: bool = False
    """Whether the model was loaded for this trial, the first of its process."""
    protocol_s: Seconds | None = None
    """What the protocol took before the trial, where its model was loaded for it.

    Meters, idle power, warm-up, the first anchor and rest; neither libraries nor loading.
    """
    weights_bytes: Whole | None = None
    model_sha256: dict[str, str] = {}
    """File of the model -> SHA-256, of all that loading reads; {}: not recorded, or no model."""
    context_length: Count | None = None
    memory_tokens: Count | None = None
    load_energy_j: Amount | None = None
    """What loading took by the GPU's counter; None: it has none, or it was loaded before."""
    pilot: Pilot | None = None
    """None: the model was too large to be loaded."""
    baselines: tuple[Baseline, ...] = ()
    """Idle powers that the session has measured so far."""
    cooldown_s: Seconds | None = None
    """How long the GPU rested before the trial (--cooldown); None: it wasn't asked to."""
    power_limit_w: Amount | None = None
    """What the driver keeps the GPU's power below; None: no GPU, or not told."""
    cpu_model: str | None = None
    cpu_governor: str | None = None
    """How the CPU's frequency is chosen; None: the system doesn't tell, as in most VMs."""
    load_1min: Amount | None = None
    """The host's load average as the trial began; 1 is one busy CPU."""
    host_memory_bytes: Whole | None = None
    slurm_memory_bytes: Whole | None = None
    """What its job was given of that; None: no SLURM job, or not told."""
    server: ServerFacts | None = None
    """None: the model ran in the worker."""
    driver_version: str | None = None
    """Of the GPU; None: no GPU."""
    cuda_driver_version: Count | None = None
    """The newest CUDA that the driver knows, 13000 for 13.0."""
    performance_state: Count | None = None
    """NVML's P-state as the trial began: 0 is the fastest."""
    sm_clock_mhz: Count | None = None
    memory_clock_mhz: Count | None = None
    """Clocks as the trial began."""
    drift: tuple[str, ...] = ()
    """How the conditions differ from those under which the sweep was started (--accept-drift)."""
