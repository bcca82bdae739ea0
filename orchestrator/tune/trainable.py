"""The trial on its machine: a Ray Tune Trainable whose step() is one prompt.

The engine is loaded in the first step, not in setup(): a load in setup() leaves GPUs idle, as Tune
gives waiting trials to finished actors. It stays in the process across trials, since Tune reuses
actors.
"""

from __future__ import annotations

import contextlib
import faulthandler
import hashlib
import math
import os
import platform
import socket
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic import Field
from ray import tune

from orchestrator import __version__, host
from orchestrator.dataset.energy import counted_energy_j
from orchestrator.dataset.environment import Environment, Pilot
from orchestrator.dataset.schema import (
    Execution,
    PlaceColumns,
    SpecColumns,
    TrialColumns,
)
from orchestrator.dataset.trial_files import Origin
from orchestrator.engine import ENGINES, Engine, GenerationError
from orchestrator.engine.too_large import TooLargeEngine
from orchestrator.errors import ModelTooLargeError, UserError
from orchestrator.gpu.access import compute_pids, open_gpu, state_of
from orchestrator.gpu.devices import list_gpus, visible_gpus
from orchestrator.gpu.lock import GpuLock, hold_gpu
from orchestrator.machine_files import detect
from orchestrator.measure import ExecutionLimits, Instrumented, execute, warm_up
from orchestrator.meters import METERS, Scene, meters_for
from orchestrator.nouns import Machine, Noun, Prompt, Setup, TrialSpec, derived_values
from orchestrator.packages import package_versions
from orchestrator.unknowns import least_of_known, quotient

HUNG_FACTOR, HUNG_EXTRA_S = 2.0, 60.0
"""An execution is taken for hung after so many times its timeout and so many seconds more."""
HUNG_LOAD_S = 3600.0
"""A model that isn't loaded and warm after this is taken for hung, where there is a timeout."""


class Assignment(Noun):
    """What a worker gets for one trial."""

    spec: TrialSpec
    order: str
    machine: str | None
    """None: the node's label `machine`, else what its hardware shows."""
    machines: dict[str, Machine]
    threads: int | None
    n_parallel: int
    """Trials that may run on one host at once; with GPUs no more than that host has."""
    longest_length: int
    """The largest max_length that the sweep may ask for."""
    timeout_s: float | None = None
    """Of one execution."""
    oom_tokens: dict[str, int] = Field(default_factory=dict)
    """Machine -> length at which memory ran out before: as much is not tried again."""
    may_not_fit: bool = False
    """What a model that doesn't fit in memory here means.

    True: rows that say so, since other kinds of machine run it too. False: the sweep ends.
    """
    losses: int = 0
    """How many workers died over it without finishing a prompt."""


@dataclass
class Loaded:
    """The engine of this process and what it was loaded for."""

    key: tuple[Setup, str]
    tools: Instrumented
    machine: Machine
    pilot: Pilot | None
    """None where the model doesn't fit in memory."""
    oom_tokens: int | None = None
    """Shortest length at which memory ran out in this process."""
    session_id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))
    n_trials: int = 0
    """Trials that the session has begun."""


_gpu_lock: GpuLock | None = None
_loaded: Loaded | None = None
"""One a process, and a process has one GPU."""


def _load_key(setup: Setup, model_ref: str) -> tuple[Setup, str]:
    """What a loaded engine depends on: it is kept across use cases and seeds."""
    free = {
        "use_case": "",
        "prompts_sha256": "",
        "seed": 0,
        "length_mode": "natural",
        "beyond_context": False,
    }
    return setup.model_copy(update=free), model_ref


def loaded_for(assignment: Assignment) -> tuple[Loaded, bool]:
    """The loaded engine for an assignment, and whether it was loaded just now. Raises UserError."""
    global _loaded  # noqa: PLW0603 - the process is the cache: Tune makes new Trainables in it
    key = _load_key(assignment.spec.setup, assignment.spec.model_ref)
    if _loaded is not None and _loaded.key == key:
        return _loaded, False
    # before the next model is loaded: both might not fit
    unload()
    machine = _machine(assignment)
    pids_before = _hold_gpu(assignment)
    engine = _engine(assignment)
    fits = not isinstance(engine, TooLargeEngine)
    n_parallel = assignment.n_parallel
    if engine.gpu is not None and engine.gpu.simulated is None:
        # with one trial a GPU no more can share this host
        n_parallel = min(n_parallel, len(list_gpus()))
    scene = Scene(
        machine,
        engine.gpu,
        own_pids=_own_pids(engine, pids_before),
        n_parallel=n_parallel,
        project_name=assignment.spec.sweep_id,
    )
    tools = Instrumented(
        engine=engine,
        meters=meters_for(scene) if fits else [],
        pue=machine.pue,
        n_parallel=n_parallel,
        country_known=machine.country_iso_code is not None,
        clock=engine.gpu.clock if engine.gpu else time.perf_counter,
    )
    pilot = warm_up(tools, assignment.longest_length) if fits else None
    _loaded = Loaded(key, tools, machine, pilot)
    return _loaded, fits


def unload() -> None:
    """Free the engine that this process holds, if any; the next assignment loads its own."""
    global _loaded  # noqa: PLW0603
    if _loaded is not None:
        _loaded.tools.close()
        _loaded = None


def _hold_gpu(assignment: Assignment) -> frozenset[int]:
    """Hold the GPU that the engine will use, and list who computes on it already.

    Raises UserError naming who holds it.
    """
    global _gpu_lock  # noqa: PLW0603 - held until the process ends
    gpus = visible_gpus() if ENGINES[assignment.spec.setup.engine].needs_weights else []
    if not gpus:
        return frozenset()
    gpu = gpus[0]  # Ray shows a worker its own alone
    if _gpu_lock is None or _gpu_lock.uuid != gpu.uuid:
        _gpu_lock = hold_gpu(gpu.uuid, f"sweep {assignment.spec.sweep_id}")
    return compute_pids(open_gpu(gpu.uuid)) or frozenset()


def _own_pids(engine: Engine, before: frozenset[int]) -> frozenset[int]:
    """This process as NVML knows it: in a container its number is another one."""
    now = compute_pids(engine.gpu) if engine.gpu else None
    return frozenset({os.getpid(), *((now or frozenset()) - before)})


def _engine(assignment: Assignment) -> Engine:
    """An assignment's engine with its model; one that fails each prompt where that may not fit."""
    setup = assignment.spec.setup
    try:
        return ENGINES[setup.engine].load(setup, assignment.spec.model_ref, assignment.threads)
    except ModelTooLargeError as error:
        if not assignment.may_not_fit:
            raise
        return TooLargeEngine(setup, str(error))


def _machine(assignment: Assignment) -> Machine:
    """The machine that this worker runs on: as the assignment, the node's label or its GPU says.

    Raises UserError for a label without a file.
    """
    import ray

    name = assignment.machine or ray.get_runtime_context().get_node_labels().get("machine")
    name = name or detect([gpu.name for gpu in list_gpus()])
    if name not in assignment.machines:
        raise UserError(
            f"a node carries the label machine={name}, but there is no clusters/{name}.yaml; "
            "add one and start again"
        )
    return assignment.machines[name]


def _versions(engine: Engine) -> dict[str, str]:
    """Versions of the packages that generate and measure."""
    of_meters = [package for kind in METERS.values() for package in kind.packages]
    return package_versions(("ray", *of_meters)) | engine.info.versions


def _origin(assignment: Assignment, loaded: Loaded, *, loaded_here: bool) -> Origin:
    """Where and with what a trial runs."""
    info, access = loaded.tools.engine.info, loaded.tools.engine.gpu
    gpu = access.gpu if access else None
    place = PlaceColumns(
        machine=loaded.machine.name,
        host=hashlib.sha256(socket.gethostname().encode()).hexdigest()[:12],
        gpu_name=gpu.name if gpu else None,
        country_iso_code=loaded.machine.country_iso_code,
        session_id=loaded.session_id,
        session_started_at=loaded.started_at,
        session_trial=loaded.n_trials,
    )
    loaded.n_trials += 1
    columns = TrialColumns(
        **place.model_dump(),
        **derived_values(SpecColumns, assignment.spec),
        **info.columns.model_dump(),
    )
    environment = Environment(
        orchestrator=__version__,
        python=platform.python_version(),
        platform=platform.platform(),
        versions=_versions(loaded.tools.engine),
        machine=loaded.machine,
        load_s=info.load_s,
        loaded_here=loaded_here,
        weights_bytes=info.weights_bytes,
        context_length=info.context_length,
        memory_tokens=info.memory_tokens,
        pilot=loaded.pilot,
        power_limit_w=gpu.power_limit_w if gpu else None,
        cpu_model=host.cpu_model(),
        cpu_governor=host.cpu_governor(),
        load_1min=host.load_1min(),
        host_memory_bytes=host.memory_bytes(),
        slurm_memory_bytes=host.slurm_memory_bytes(),
        **(asdict(state_of(access)) if access else {}),
    )
    return Origin(columns=columns, environment=environment)


class Measure(tune.Trainable):  # type: ignore[misc]  # ray has no types
    """One trial: its first step tells where it runs, each other one is a prompt.

    On a fresh process the first step loads the model and warms it up. Telling is a step of its
    own, so that the driver can end the trial before any prompt is started.
    """

    def __repr__(self) -> str:
        """What Ray's dashboard shows of its actor.

        Ray asks once, and the process may come to another model.
        """
        return f"sweep {self._assignment.spec.sweep_id}"

    def setup(self, config: dict[str, Any]) -> None:
        """Take the assignment; loads nothing."""
        self._take(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next assignment in this process; always possible (False would stall Tune)."""
        self._take(new_config)
        return True

    def _take(self, config: dict[str, Any]) -> None:
        """Take over an assignment; of the one before nothing is kept but the loaded model."""
        self._assignment = Assignment.model_validate(config["assignment"])
        self._queue: list[Prompt] = list(self._assignment.spec.prompts)
        self._ready: Loaded | None = None
        self._energy_kwh = self._energy_j = self._counted_energy_j = self._window_s = 0.0
        self._tokens = 0

    def step(self) -> dict[str, Any]:
        """Get ready, or run the next prompt."""
        if self._ready is None:
            return self._get_ready()
        return self._run(self._ready, self._queue.pop(0))

    def _get_ready(self) -> dict[str, Any]:
        """Load and warm up the model; the result that says so, or that it can't be."""
        assignment = self._assignment
        try:
            with _ended_if_hung(assignment.timeout_s and HUNG_LOAD_S):
                self._ready, loaded_here = loaded_for(assignment)
        except GenerationError as error:
            model = assignment.spec.setup.model
            message = f"{model}: already the warm-up failed ({error.kind}): {error}"
            return {"event": "fatal", "message": message, "done": True}
        except UserError as error:
            return {"event": "fatal", "message": str(error), "done": True}
        origin = _origin(assignment, self._ready, loaded_here=loaded_here)
        return {"event": "ready", "origin": origin.model_dump(mode="json")}

    def _run(self, loaded: Loaded, prompt: Prompt) -> dict[str, Any]:
        """Measure one prompt; the result that holds the measurement."""
        assignment = self._assignment
        began = time.perf_counter()
        elsewhere = assignment.oom_tokens.get(loaded.machine.name)
        oom_tokens = least_of_known([loaded.oom_tokens, elsewhere])
        timeout_s = assignment.timeout_s
        limits = ExecutionLimits(timeout_s, oom_tokens)
        with _ended_if_hung(timeout_s and HUNG_FACTOR * timeout_s + HUNG_EXTRA_S):
            measured = execute(loaded.tools, assignment.spec, prompt, assignment.order, limits)
        execution = measured.execution
        if execution.error_kind == "oom":
            ran_out_at = execution.effective_max_length
            loaded.oom_tokens = least_of_known([loaded.oom_tokens, ran_out_at])
        return {
            "event": "execution",
            "measured": measured.model_dump(mode="json"),
            "busy_s": time.perf_counter() - began,
            **self._metrics(execution),
            "done": not self._queue,
        }

    def _metrics(self, execution: Execution) -> dict[str, float]:
        """The trial's figures so far, as metrics of Tune; nan where one part is unknown."""
        if execution.status == "ok":
            self._tokens += execution.n_new_tokens or 0
            self._window_s += execution.window_s or 0.0
            self._energy_kwh += _nan(execution.energy_kwh)
            self._energy_j += _nan(execution.energy_j)
            self._counted_energy_j += _nan(counted_energy_j(vars(execution)))
        return {
            "energy_kwh": self._energy_kwh,
            "energy_j": self._energy_j,
            "energy_per_token_j": _nan(quotient(self._counted_energy_j, self._tokens)),
            "tokens": float(self._tokens),
            "tokens_per_s": _nan(quotient(self._tokens, self._window_s)),
        }

    def save_checkpoint(self, _checkpoint_dir: str) -> None:
        """Nothing to save: the driver has every finished execution."""

    def load_checkpoint(self, _checkpoint: Any) -> None:
        """Nothing to load."""


def _nan(value: float | None) -> float:
    """A number for Tune, which takes no None."""
    if value is None:
        return math.nan
    return value


@contextlib.contextmanager
def _ended_if_hung(after_s: float | None) -> Iterator[None]:
    """End the process where what runs here hangs, like a kernel, for so long; None: never.

    The driver then begins the trial again in a new one.
    """
    if after_s is None:
        yield
        return
    faulthandler.dump_traceback_later(after_s, exit=True, file=2)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
