"""The trial on its machine: a Ray Tune Trainable whose step() is one prompt, or a batch of them.

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
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from pydantic import Field
from ray import tune

from orchestrator import __version__, host
from orchestrator.baselines import has_moved, measured_baseline
from orchestrator.cooldown import Cooldown, cooled_down
from orchestrator.dataset.energy import GPU_ENERGIES, counted_energy_j
from orchestrator.dataset.environment import Anchor, Baseline, Environment, Pilot
from orchestrator.dataset.remaining import oom_lengths
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
from orchestrator.gpu.access import GpuAccess, compute_pids, state_of
from orchestrator.gpu.devices import list_gpus
from orchestrator.gpu.lock import GpuLock, hold_gpu
from orchestrator.machine_files import detect
from orchestrator.measure import (
    ExecutionLimits,
    Instrumented,
    execute,
    measured_anchor,
    warm_up,
)
from orchestrator.metered import metered
from orchestrator.meters import METERS, Scene, meters_for
from orchestrator.meters.counter import CounterMeter
from orchestrator.nouns import Machine, Noun, Prompt, Setup, TrialSpec, derived_values
from orchestrator.packages import package_versions
from orchestrator.unknowns import least_of_known, quotient

HUNG_FACTOR, HUNG_EXTRA_S = 2.0, 60.0
"""An execution is taken for hung after so many times its timeout and so many seconds more."""
CHECK_EVERY = 10
"""A session measures an anchor and its idle power before each so many trials."""
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
    """Tokens of the longest text that the sweep may ask for."""
    timeout_s: float | None = None
    """Of one execution, or of a batch of them."""
    oom_tokens: dict[str, int] = Field(default_factory=dict)
    """Machine -> length at which memory ran out before: as much is not tried again."""
    least_window_s: float = 0.0
    """An answer, or a batch of them, is generated again in its window until so long has passed."""
    cooldown: Cooldown = Cooldown()
    """How the GPU rests before the trial."""
    is_last: bool = False
    """Whether its worker may get nothing after it: then it ends with an anchor."""
    may_not_fit: bool = False
    """What a model that doesn't fit in memory here means.

    True: rows that say so, since other kinds of machine run it too. False: the sweep ends.
    """
    losses: int = 0
    """How many workers died over it without finishing a prompt."""


class HandedOut:
    """An assignment as the one value of a trial's configuration in Tune.

    Tune copies a configuration several times, flattens it, spells out each of its values and sends
    it back with each result. All of that is short for a value that copies as itself.
    """

    def __init__(self, assignment: Assignment) -> None:
        self._assignment: Assignment | None = assignment
        self._json = ""
        """What a process unpickled, until somebody asks for the assignment."""

    @property
    def assignment(self) -> Assignment:
        """The assignment. Not to be asked for after `forget`."""
        if self._assignment is None:
            self._assignment = Assignment.model_validate_json(self._json)
        return self._assignment

    def forget(self) -> None:
        """Let the assignment go once its trial is over: Tune keeps trials longer."""
        self._assignment = None
        self._json = ""

    def __deepcopy__(self, _memo: dict[int, Any]) -> HandedOut:
        """The same one: an assignment is frozen."""
        return self

    def __getstate__(self) -> str:
        """The assignment as JSON; "" once it is forgotten."""
        return self._assignment.model_dump_json() if self._assignment else self._json

    def __setstate__(self, state: str) -> None:
        """Take it from a pickle; it is parsed when it is asked for."""
        self._assignment, self._json = None, state

    def __repr__(self) -> str:
        """What Tune puts into names and command lines."""
        return "assignment"


@dataclass
class Loaded:
    """The engine of this process and what it was loaded for."""

    key: tuple[Setup, str]
    tools: Instrumented
    machine: Machine
    pilot: Pilot | None
    """None where the model doesn't fit in memory."""
    session_id: str
    load_energy_j: float | None
    """What loading took by the GPU's counter; None: no GPU or no counter."""
    libraries_and_load_s: float = 0.0
    """Seconds until the model was there, the engine's libraries included."""
    oom_tokens: int | None = None
    """Shortest length at which memory ran out in this process."""
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))
    n_trials: int = 0
    """Trials that the session has begun."""


_gpu_lock: GpuLock | None = None
_has_context = False
"""Whether this process has made a context on its GPU."""
_nvml_pids: frozenset[int] = frozenset()
"""This process as NVML numbers it, from when it made its context on."""
_loaded: Loaded | None = None
"""One a process, and a process has one GPU."""


def _load_key(setup: Setup, model_ref: str) -> tuple[Setup, str]:
    """What a loaded engine depends on: it is kept across use cases and seeds."""
    free = {
        "use_case": "",
        "prompts_sha256": "",
        "seed": 0,
        "length_mode": "natural",
        "length_of": "text",
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
    session_id = uuid.uuid4().hex[:12]
    gpu = ENGINES[assignment.spec.setup.engine].gpu()
    pids_before = _hold_gpu(gpu, assignment)
    before = _measured_before(gpu, assignment, session_id)
    began_s = time.perf_counter()
    engine, load_energy_j = _loaded_engine(gpu, assignment)
    libraries_and_load_s = time.perf_counter() - began_s
    served_by = engine.info.served_by
    if served_by is not None:
        # which GPU the server is on is known only now
        _hold_gpu(engine.gpu, assignment)
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
        pid=served_by.pid if served_by else None,
        why_unmeasured=served_by.why_unmeasured if served_by else None,
    )
    tools = Instrumented(
        engine=engine,
        meters=meters_for(scene) if fits else [],
        pue=machine.pue,
        n_parallel=n_parallel,
        country_known=machine.country_iso_code is not None,
        batch_size=assignment.spec.setup.batch_size,
        clock=engine.gpu.clock if engine.gpu else time.perf_counter,
        baselines=before if engine.gpu else [],
    )
    pilot = warm_up(tools, assignment.longest_length) if fits else None
    _loaded = Loaded(key, tools, machine, pilot, session_id, load_energy_j, libraries_and_load_s)
    if fits:
        _measure_idle(_loaded)
    return _loaded, fits


def _measured_before(
    gpu: GpuAccess | None, assignment: Assignment, session_id: str
) -> list[Baseline]:
    """The idle powers before and after this process makes its context on the GPU.

    A process that has one keeps it, so both are known of its first model alone.
    """
    global _has_context  # noqa: PLW0603 - a process has one context
    if gpu is None or (_has_context and gpu.simulated is None):
        return []
    meters = [CounterMeter(gpu)]
    bare = measured_baseline(meters, gpu.clock, state="bare", name=f"{session_id}-bare")
    ENGINES[assignment.spec.setup.engine].open_context(gpu)
    _has_context = True
    context = measured_baseline(meters, gpu.clock, state="context", name=f"{session_id}-context")
    return [bare, context]


def _loaded_engine(gpu: GpuAccess | None, assignment: Assignment) -> tuple[Engine, float | None]:
    """The engine, and the GPU's energy while it was loaded; None: no GPU or no counter."""
    if gpu is None:
        return _engine(gpu, assignment), None
    loading = metered([CounterMeter(gpu)], gpu.clock, partial(_engine, gpu, assignment))
    return loading.result, loading.reading.values.get(GPU_ENERGIES[0])


def _measure_idle(loaded: Loaded) -> None:
    """Measure the idle power with the model loaded; keep it where it is the first or has moved."""
    tools = loaded.tools
    if tools.engine.gpu is None:
        return
    of_state = [one for one in tools.baselines if one.state == "loaded"]
    now = measured_baseline(
        tools.meters,
        tools.engine.gpu.clock,
        state="loaded",
        name=f"{loaded.session_id}-{len(of_state)}",
    )
    if not of_state or has_moved(of_state[-1], now):
        tools.baselines.append(now)


def unload() -> None:
    """Free the engine that this process holds, if any; the next assignment loads its own."""
    global _loaded  # noqa: PLW0603
    if _loaded is not None:
        _loaded.tools.close()
        _loaded = None


def _hold_gpu(access: GpuAccess | None, assignment: Assignment) -> frozenset[int]:
    """Hold the GPU that the engine will use, and list who computes on it already.

    Raises UserError naming who holds it.
    """
    global _gpu_lock  # noqa: PLW0603 - held until the process ends
    if access is None or access.simulated is not None:
        return frozenset()
    if _gpu_lock is None or _gpu_lock.uuid != access.gpu.uuid:
        _gpu_lock = hold_gpu(access.gpu.uuid, f"sweep {assignment.spec.sweep_id}")
    return compute_pids(access) or frozenset()


def _own_pids(engine: Engine, before: frozenset[int]) -> frozenset[int]:
    """What generates as NVML knows it: this process, in a container by another number, or a server.

    This process is the one that came with the context, which stays from the first model on.
    """
    global _nvml_pids  # noqa: PLW0603 - a process has one context
    if engine.info.served_by is not None:
        return engine.info.served_by.nvml_pids
    now = compute_pids(engine.gpu) if engine.gpu else None
    _nvml_pids |= (now or frozenset()) - before
    return _nvml_pids | {os.getpid()}


def _engine(gpu: GpuAccess | None, assignment: Assignment) -> Engine:
    """An assignment's engine with its model; one that fails each prompt where that may not fit."""
    setup = assignment.spec.setup
    try:
        return ENGINES[setup.engine].load(setup, assignment.spec.model_ref, assignment.threads, gpu)
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


def _origin(
    assignment: Assignment,
    loaded: Loaded,
    *,
    loaded_here: bool,
    cooldown_s: float | None,
    ready_s: float,
) -> Origin:
    """Where and with what a trial runs; `ready_s`: what getting ready for it took."""
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
        load_energy_j=loaded.load_energy_j,
        baselines=tuple(loaded.tools.baselines),
        cooldown_s=cooldown_s,
        loaded_here=loaded_here,
        protocol_s=ready_s - loaded.libraries_and_load_s if loaded_here else None,
        weights_bytes=info.weights_bytes,
        model_sha256=info.model_sha256,
        context_length=info.context_length,
        memory_tokens=info.memory_tokens,
        pilot=loaded.pilot,
        server=info.server,
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
    """One trial: its first step tells where it runs, each other one is a prompt or a batch.

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

    def get_auto_filled_metrics(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        """What Tune adds to each result, without the configuration: the driver handed it out."""
        metrics: dict[str, Any] = super().get_auto_filled_metrics(*arguments, **options)
        metrics.pop("config", None)
        return metrics

    def _take(self, config: dict[str, Any]) -> None:
        """Take over an assignment; of the one before nothing is kept but the loaded model."""
        self._assignment = config["assignment"].assignment
        self._queue = self._assignment.spec.batches()
        self._ready: Loaded | None = None
        self._energy_kwh = self._energy_j = self._counted_energy_j = self._window_s = 0.0
        self._tokens = 0
        self._anchors: list[Anchor] = []

    def step(self) -> dict[str, Any]:
        """Get ready, or run the next prompt or batch."""
        if self._ready is None:
            return self._get_ready()
        return self._run(self._ready, self._queue.pop(0))

    def _get_ready(self) -> dict[str, Any]:
        """Load and warm up the model; the result that says so, or that it can't be."""
        assignment, began_s = self._assignment, time.perf_counter()
        try:
            with _ended_if_hung(assignment.timeout_s and HUNG_LOAD_S):
                self._ready, loaded_here = loaded_for(assignment)
        except GenerationError as error:
            model = assignment.spec.setup.model
            message = f"{model}: even the warm-up failed ({error.kind}): {error}"
            return {"event": "fatal", "message": message, "done": True}
        except UserError as error:
            return {"event": "fatal", "message": str(error), "done": True}
        cooldown_s = self._prepare(self._ready, loaded_here=loaded_here)
        origin = _origin(
            assignment,
            self._ready,
            loaded_here=loaded_here,
            cooldown_s=cooldown_s,
            ready_s=time.perf_counter() - began_s,
        )
        self._ready.n_trials += 1
        return {"event": "ready", "origin": origin.model_dump_json()}

    def _prepare(self, loaded: Loaded, *, loaded_here: bool) -> float | None:
        """Let the GPU rest, and look at its idle power and an anchor every few trials.

        How long it rested; None where it wasn't asked to.
        """
        gpu = loaded.tools.engine.gpu
        if gpu is None or loaded.pilot is None:
            return None
        cooldown_s = cooled_down(self._assignment.cooldown, gpu)
        if loaded.n_trials % CHECK_EVERY == 0:
            if not loaded_here:
                _measure_idle(loaded)
            self._anchor(loaded)
        return cooldown_s

    def _anchor(self, loaded: Loaded) -> None:
        """Measure an anchor; it goes with the next execution that is told."""
        tools, longest_length = loaded.tools, self._assignment.longest_length
        anchor = measured_anchor(tools, longest_length, loaded.n_trials)
        if anchor is not None:
            self._anchors.append(anchor)

    def _run(self, loaded: Loaded, prompts: Sequence[Prompt]) -> dict[str, Any]:
        """Measure a prompt or a batch; the result that holds the measurements, one a prompt."""
        assignment = self._assignment
        began = time.perf_counter()
        elsewhere = assignment.oom_tokens.get(loaded.machine.name)
        oom_tokens = least_of_known([loaded.oom_tokens, elsewhere])
        timeout_s = assignment.timeout_s
        limits = ExecutionLimits(timeout_s, oom_tokens, assignment.least_window_s)
        hung_s = timeout_s and HUNG_FACTOR * timeout_s + HUNG_EXTRA_S + assignment.least_window_s
        with _ended_if_hung(hung_s):
            measured = execute(loaded.tools, assignment.spec, prompts, assignment.order, limits)
            if not self._queue and assignment.is_last and loaded.tools.has_gpu and loaded.pilot:
                self._anchor(loaded)
        measured[0] = measured[0].model_copy(update={"anchors": tuple(self._anchors)})
        self._anchors = []
        executions = [one.execution for one in measured]
        loaded.oom_tokens = least_of_known([loaded.oom_tokens, *oom_lengths(executions)])
        for execution in executions:
            self._add(execution)
        return {
            "event": "executions",
            # texts, since Tune keeps books on each number that it finds in a result
            "measured": [one.model_dump_json() for one in measured],
            "busy_s": time.perf_counter() - began,
            **self._metrics(),
            "done": not self._queue,
        }

    def _add(self, execution: Execution) -> None:
        """Count an execution in the trial's figures."""
        if execution.status == "ok":
            self._tokens += execution.n_new_tokens or 0
            self._window_s += execution.window_s or 0.0
            self._energy_kwh += _nan(execution.energy_kwh)
            self._energy_j += _nan(execution.energy_j)
            self._counted_energy_j += _nan(counted_energy_j(vars(execution)))

    def _metrics(self) -> dict[str, float]:
        """The trial's figures so far, as metrics of Tune; nan where one part is unknown."""
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
