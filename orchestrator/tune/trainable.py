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
import platform
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import Field
from ray import tune

from orchestrator import __version__
from orchestrator.dataset.energy import counted_energy_j
from orchestrator.dataset.environment import Environment, Pilot
from orchestrator.dataset.schema import Execution, PlaceColumns, SpecColumns, TrialColumns
from orchestrator.dataset.trial_files import Origin
from orchestrator.engine import ENGINES, Engine, GenerationError
from orchestrator.engine.too_large import TooLargeEngine
from orchestrator.errors import ModelTooLargeError, UserError
from orchestrator.machine_files import detect
from orchestrator.measure import ExecutionLimits, Instrumented, execute, warm_up
from orchestrator.meters import METERS, Scene, meters_for
from orchestrator.meters.nvml import Gpu, list_gpus
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
    gpu: Gpu | None
    oom_tokens: int | None = None
    """Shortest length at which memory ran out in this process."""


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
    if _loaded is not None:
        # before the next model is loaded: both might not fit
        _loaded.tools.close()
        _loaded = None
    machine = _machine(assignment)
    engine = _engine(assignment)
    fits = not isinstance(engine, TooLargeEngine)
    gpu_uuid = engine.info.columns.gpu_uuid
    gpus = list_gpus()
    # by UUID: Ray, CUDA and NVML number the GPUs differently
    gpu = next((gpu for gpu in gpus if gpu.uuid == gpu_uuid), None)
    n_parallel = assignment.n_parallel
    if gpu is not None:  # with one trial a GPU no more can share this host
        n_parallel = min(n_parallel, len(gpus))
    scene = Scene(machine, gpu_uuid, n_parallel, project_name=assignment.spec.sweep_id)
    tools = Instrumented(
        engine=engine,
        meters=meters_for(scene) if fits else [],
        pue=machine.pue,
        n_parallel=n_parallel,
        country_known=machine.country_iso_code is not None,
    )
    pilot = warm_up(tools) if fits else None
    _loaded = Loaded(key, tools, machine, pilot, gpu)
    return _loaded, fits


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
    info, gpu = loaded.tools.engine.info, loaded.gpu
    place = PlaceColumns(
        machine=loaded.machine.name,
        host=hashlib.sha256(socket.gethostname().encode()).hexdigest()[:12],
        gpu_name=gpu.name if gpu else None,
        country_iso_code=loaded.machine.country_iso_code,
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
        loaded_here=loaded_here,
        weights_bytes=info.weights_bytes,
        context_length=info.context_length,
        memory_tokens=info.memory_tokens,
        pilot=loaded.pilot,
        power_limit_w=gpu.power_limit_w if gpu else None,
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
