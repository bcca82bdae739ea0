"""The trial on its machine: a Ray Tune Trainable whose step() is one prompt.

The engine is loaded in the first step, not in setup(): a load in setup() leaves GPUs idle (Tune gives waiting trials to
finished actors). It stays in the process across trials, since Tune reuses actors.
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
from orchestrator.dataset.schema import Execution, TrialColumns
from orchestrator.dataset.trial_files import Origin
from orchestrator.engine import ENGINES, Engine, GenerationError
from orchestrator.engine.too_large import Unfit
from orchestrator.errors import ModelTooLargeError, UserError
from orchestrator.machine_files import detect
from orchestrator.measure import Bench, Limits, Pilot, execute, warm_up
from orchestrator.meters import Scene, meters_for
from orchestrator.meters.nvml import Gpu, list_gpus
from orchestrator.meters.telemetry import Telemetry
from orchestrator.nouns import Machine, Noun, Prompt, Setup, TrialSpec
from orchestrator.packages import package_versions

HUNG_FACTOR, HUNG_EXTRA_S = 2.0, 60.0
"""An execution is taken for hung after so many times its timeout and so many seconds more."""
HUNG_LOAD_S = 3600.0
"""A model that isn't loaded and warm after this is taken for hung, too, where there is a timeout."""


class Job(Noun):
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
    """A model that doesn't fit here becomes rows that say so, since other kinds of machine run it; else it ends the sweep."""
    losses: int = 0
    """How many workers died over it without finishing a prompt."""


@dataclass
class Loaded:
    """The engine of this process and what it was loaded for."""

    key: tuple[Setup, str]
    engine: Engine
    bench: Bench
    machine: Machine
    pilot: Pilot | None
    """None where the model doesn't fit."""
    gpu: Gpu | None
    oom_tokens: int | None = None
    """Shortest length at which memory ran out in this process."""


_loaded: Loaded | None = None
"""One a process, and a process has one GPU."""


def _load_key(setup: Setup, model_ref: str) -> tuple[Setup, str]:
    """What a loaded engine depends on: the setup without use case and seed, so it's kept across use cases."""
    return setup.model_copy(
        update={
            "use_case": "",
            "prompts_sha256": "",
            "seed": 0,
            "length_mode": "natural",
            "beyond_context": False,
        }
    ), model_ref


def loaded_for(job: Job) -> tuple[Loaded, bool]:
    """The loaded engine for a job, and whether it had to be loaded for it. Raises UserError."""
    global _loaded  # noqa: PLW0603 - the process is the cache: Tune makes new Trainables in it
    setup = job.spec.setup
    key = _load_key(setup, job.spec.model_ref)
    if _loaded is not None and _loaded.key == key:
        return _loaded, False
    if _loaded is not None:
        _loaded.bench.close()
        _loaded = None
    machine = _machine(job)
    engine = _engine(job)
    fits = not isinstance(engine, Unfit)
    gpus = list_gpus()
    gpu = next((g for g in gpus if g.uuid == engine.info.gpu_uuid), None)
    n_parallel = min(job.n_parallel, len(gpus)) if gpu else job.n_parallel
    scene = Scene(machine, engine.info.gpu_uuid, n_parallel, project_name=job.spec.sweep_id)
    bench = Bench(
        engine=engine,
        meters=meters_for(scene) if fits else [],
        telemetry=Telemetry(engine.info.gpu_uuid) if engine.info.gpu_uuid else None,
        pue=machine.pue,
        n_parallel=n_parallel,
        country_known=machine.country_iso_code is not None,
    )
    pilot = warm_up(bench) if fits else None
    _loaded = Loaded(key, engine, bench, machine, pilot, gpu)
    return _loaded, fits


def _engine(job: Job) -> Engine:
    setup = job.spec.setup
    try:
        return ENGINES[setup.engine](setup, job.spec.model_ref, job.threads)
    except ModelTooLargeError as error:
        if not job.may_not_fit:
            raise
        return Unfit(setup, str(error))


def _machine(job: Job) -> Machine:
    import ray

    name = job.machine or ray.get_runtime_context().get_node_labels().get("machine")
    name = name or detect([gpu.name for gpu in list_gpus()])
    if name not in job.machines:
        raise UserError(
            f"a node carries the label machine={name}, but there is no clusters/{name}.yaml; add one and start again"
        )
    return job.machines[name]


def _versions(loaded: Loaded) -> dict[str, str]:
    return package_versions(("ray", "codecarbon")) | loaded.engine.info.versions


def _origin(job: Job, loaded: Loaded, *, loaded_here: bool) -> Origin:
    spec, setup, info = job.spec, job.spec.setup, loaded.engine.info
    columns = TrialColumns(
        machine=loaded.machine.name,
        model=setup.model,
        strategy=spec.strategy,
        use_case=setup.use_case,
        index=spec.index,
        config_hash=spec.config_hash(),
        repeat=spec.repeat,
        attempt=spec.attempt,
        sweep_id=spec.sweep_id,
        order_index=spec.order_index,
        **spec.asked.model_dump(),
        quantization=setup.quantization.name,
        bits=setup.quantization.bits,
        double_quant=info.double_quant,
        engine=setup.engine,
        model_revision=info.revision,
        synthetic=info.synthetic,
        length_mode=setup.length_mode,
        batch_size=setup.batch_size,
        compute_dtype=info.compute_dtype,
        device=info.device,
        chat_template=info.uses_chat_template,
        attention=info.attention,
        cache=info.cache,
        offload_fraction=info.offload_fraction,
        threads=info.threads,
        host=hashlib.sha256(socket.gethostname().encode()).hexdigest()[:12],
        gpu_uuid=info.gpu_uuid,
        gpu_name=loaded.gpu.name if loaded.gpu else None,
        country_iso_code=loaded.machine.country_iso_code,
    )
    environment = {
        "orchestrator": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": _versions(loaded),
        "machine": loaded.machine.model_dump(mode="json"),
        "load_s": info.load_s,
        "loaded_here": loaded_here,
        "weights_bytes": info.weights_bytes,
        "context_length": info.context_length,
        "memory_tokens": info.memory_tokens,
        "pilot": loaded.pilot.model_dump() if loaded.pilot else None,
        "power_limit_w": loaded.gpu.power_limit_w if loaded.gpu else None,
        "power_semantics": loaded.bench.telemetry.power_semantics
        if loaded.bench.telemetry
        else None,
    }
    return Origin(columns=columns, environment=environment)


class Measure(tune.Trainable):  # type: ignore[misc]  # ray has no types
    """One trial. Its first step tells where it runs, on a fresh process after loading and warming up; each other is a prompt.

    Telling is a step of its own so that the driver can end the trial before any prompt is begun.
    """

    def __repr__(self) -> str:
        """What Ray's dashboard shows of its actor: Ray asks once, and the process may come to another model."""
        return f"sweep {self._job.spec.sweep_id}"

    def setup(self, config: dict[str, Any]) -> None:
        """Take the job; loads nothing."""
        self._take(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next job in the same process; always possible (False would stall Tune)."""
        self._take(new_config)
        return True

    def _take(self, config: dict[str, Any]) -> None:
        self._job = Job.model_validate(config["job"])
        self._queue: list[Prompt] = list(self._job.spec.prompts)
        self._ready: Loaded | None = None
        self._energy_kwh = self._energy_j = self._basis_j = self._window_s = 0.0
        self._tokens = 0

    def step(self) -> dict[str, Any]:
        """Get ready, or run the next prompt."""
        if self._ready is None:
            return self._get_ready()
        return self._run(self._ready, self._queue.pop(0))

    def _get_ready(self) -> dict[str, Any]:
        job = self._job
        try:
            with _ended_if_hung(job.timeout_s and HUNG_LOAD_S):
                self._ready, loaded_here = loaded_for(job)
        except GenerationError as error:
            message = f"{job.spec.setup.model}: already the warm-up failed ({error.kind}): {error}"
            return {"event": "fatal", "message": message, "done": True}
        except UserError as error:
            return {"event": "fatal", "message": str(error), "done": True}
        return {
            "event": "ready",
            "origin": _origin(job, self._ready, loaded_here=loaded_here).model_dump(mode="json"),
        }

    def _run(self, loaded: Loaded, prompt: Prompt) -> dict[str, Any]:
        job = self._job
        began = time.perf_counter()
        limits = Limits(
            job.timeout_s, _least(loaded.oom_tokens, job.oom_tokens.get(loaded.machine.name))
        )
        with _ended_if_hung(job.timeout_s and HUNG_FACTOR * job.timeout_s + HUNG_EXTRA_S):
            measured = execute(loaded.bench, job.spec, prompt, job.order, limits)
        execution = measured.execution
        if execution.error_kind == "oom":
            loaded.oom_tokens = _least(loaded.oom_tokens, execution.effective_max_length)
        return {
            "event": "execution",
            "measured": measured.model_dump(mode="json"),
            "busy_s": time.perf_counter() - began,
            **self._metrics(execution),
            "done": not self._queue,
        }

    def _metrics(self, execution: Execution) -> dict[str, float]:
        """The trial's figures so far, as Tune metrics; nan where one part is unknown."""
        if execution.status == "ok":
            self._tokens += execution.n_new_tokens or 0
            self._window_s += execution.window_s or 0.0
            self._energy_kwh += _nan(execution.energy_kwh)
            self._energy_j += _nan(execution.energy_j)
            self._basis_j += _nan(
                getattr(execution, execution.energy_basis) if execution.energy_basis else None
            )
        return {
            "energy_kwh": self._energy_kwh,
            "energy_j": self._energy_j,
            "energy_per_token_j": self._basis_j / self._tokens if self._tokens else math.nan,
            "tokens": float(self._tokens),
            "tokens_per_s": self._tokens / self._window_s if self._window_s else math.nan,
        }

    def save_checkpoint(self, _checkpoint_dir: str) -> None:
        """Nothing to save: the driver has every finished execution."""

    def load_checkpoint(self, _checkpoint: Any) -> None:
        """Nothing to load."""


def _nan(value: float | None) -> float:
    return math.nan if value is None else value


def _least(*values: int | None) -> int | None:
    return min((v for v in values if v is not None), default=None)


@contextlib.contextmanager
def _ended_if_hung(after_s: float | None) -> Iterator[None]:
    """End the process where what runs here doesn't come back in time (a kernel that hangs); None: never.

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
