"""Plan and run a sweep from Python: `orchestrator.plan` and `orchestrator.tune`."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, Unpack

from orchestrator.api.data_set import DataSet
from orchestrator.errors import TryAgainError, UserError

if TYPE_CHECKING:
    import pandas as pd

    from orchestrator.sweep.assignments import RunOptions
    from orchestrator.sweep.prepare import Prepared
    from orchestrator.sweep.request import Request

Dtype: TypeAlias = Literal["auto", "float32", "float16", "bfloat16"]
Rerun: TypeAlias = Literal["failed", "oom", "timeout", "flagged"]


class SweepOptions(TypedDict, total=False):
    """What a sweep is and where it runs: flags of `orchestrator tune`.

    In the plural where a flag may be given several times. What is left out has its default.
    """

    plan: str | Path
    """Repeat the sweep of this plan (sweeps/*.json of a data set); then no `space`."""
    samples: int
    seed: int
    repeats: int
    models: str | Sequence[str]
    quantizations: str | Sequence[str]
    engines: str | Sequence[str]
    dtypes: Dtype | Sequence[Dtype]
    batch_sizes: int | Sequence[int]
    chat_template: Literal["auto", "off"]
    fixed_length: bool
    max_new_tokens: bool
    beyond_context: bool
    engine_options: Mapping[str, Any]
    """Flags of engines, without dashes: {"cpu_offload": True}."""
    use_cases: str | Sequence[str]
    prompts: int
    ranges: Mapping[str, tuple[float, float] | float]
    """Parameter -> (low, high), or one value."""
    machine: str
    country: str
    parallel: int
    isolation: Literal["gpu", "host"]
    order: Literal["shuffled", "design"]
    shard: str
    out: str | Path
    address: str


class Plan:
    """A sweep as it would run, beside what its data set has. Printed, it is what `plan` shows."""

    def __init__(self, prepared: Prepared, text: str) -> None:
        self._prepared = prepared
        self._text = text

    @property
    def id(self) -> str:
        """Names the sweep: its plan is sweeps/<id>.json in the data set."""
        return self._prepared.plan.id

    @property
    def n_trials(self) -> int:
        """Trials overall."""
        return self._prepared.plan.n_trials()

    @property
    def n_executions(self) -> int:
        """Executions overall: a trial has one for each prompt."""
        return self._prepared.plan.n_executions()

    @property
    def n_missing(self) -> int:
        """Executions that the data set doesn't have yet."""
        return self._prepared.n_missing()

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know before it starts."""
        return (*self._prepared.resolved.notes, *self._prepared.notes)

    @property
    def trials(self) -> pd.DataFrame:
        """A row a trial, in the order of execution; of a sampler that learns, those it proposed.

        `config_hash` is that of the trial's folder and rows: it covers configuration and setup.
        """
        import pandas as pd

        from orchestrator.dataset.remaining import specs_of

        specs = specs_of(self._prepared.plan, self._prepared.records)
        rows = [
            {
                "strategy": spec.strategy,
                "model": spec.setup.model,
                "setup": spec.setup.variant().label(),
                "use_case": spec.setup.use_case,
                "config_index": spec.config_index,
                "config_hash": spec.config_hash(),
                "repetition": spec.repeat,
                **spec.configuration.model_dump(),
                "n_prompts": len(spec.prompts),
            }
            for spec in specs
        ]
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        """What the command line shows, so that a notebook's cell ends with it."""
        return self._text


def plan(space: str | Path | None = None, **options: Unpack[SweepOptions]) -> Plan:
    """What `tune` would run with the same arguments. Loads no model, starts no Ray, writes nothing.

    `space`: the name or file of a search space, such as "lhs". Raises UserError, with the sentences
    of the command line.
    """
    from io import StringIO

    from rich.console import Console

    from orchestrator.cli.plan_view import print_plan
    from orchestrator.cli.terminal import LOG_WIDTH
    from orchestrator.gpu.devices import visible_gpus
    from orchestrator.say import silent
    from orchestrator.sweep.requested import planned

    gpus = visible_gpus()
    prepared = planned(_request(space, options), gpus, silent)
    text = StringIO()
    shown = Console(file=text, width=LOG_WIDTH, highlight=False, force_jupyter=False)
    print_plan(shown, prepared, gpus)
    return Plan(prepared, text.getvalue().rstrip())


def tune(
    space: str | Path | None = None,
    *,
    rerun: Rerun | Sequence[Rerun] = (),
    force: bool = False,
    execution_timeout_s: float | None = None,
    min_busy_s: float | None = None,
    cooldown: str = "none",
    log_to: str | Sequence[str] = (),
    max_hours: float | None = None,
    max_kwh: float | None = None,
    max_gpu_hours: float | None = None,
    accept_drift: bool = False,
    show: bool = True,
    **options: Unpack[SweepOptions],
) -> DataSet:
    """Run what is missing of a sweep, and give its data set.

    The same call again runs what is missing and nothing else. `show`: print the plan, progress and
    result, as the command line does. The Ray that it starts ends with it. `DataSet.run` tells how
    it ended: a limit, or a signal, may leave executions to the next call.

    Raises UserError, with the sentences of the command line, and TryAgainError where the next call
    may go well. KeyboardInterrupt passes; what is finished is kept.
    """
    from orchestrator.cli.live import Live
    from orchestrator.cli.run_result import as_json, print_result
    from orchestrator.gpu.devices import visible_gpus
    from orchestrator.ray_tune.halt import Drained, Halt, signals_to
    from orchestrator.sweep.requested import swept

    request = _request(space, options)
    run_options = _run_options(
        rerun=_several(rerun),
        force=force,
        accept_drift=accept_drift,
        cooldown=cooldown,
        log_to=_several(log_to),
        above_0={
            "--execution-timeout": execution_timeout_s,
            "--min-busy-s": min_busy_s,
            "--max-hours": max_hours,
            "--max-kwh": max_kwh,
            "--max-gpu-hours": max_gpu_hours,
        },
    )
    halt = Halt()
    with _environment_kept(), signals_to(halt):
        gpus = visible_gpus()
        live = Live(gpus, quiet=not show)
        try:
            prepared, outcome = swept(
                request,
                run_options,
                gpus,
                halt=halt,
                observer=live,
                say=live.say,
                during=live.waiting.during,
            )
        except Drained as drained:
            raise TryAgainError(
                f"Drained ({drained}) before anything was started; the same call resumes it"
            ) from None
        if show:
            print_result(live, prepared, outcome)
    return DataSet(prepared.paths.root, as_json(prepared, outcome))


SEVERAL = ("models", "quantizations", "engines", "dtypes", "batch_sizes", "use_cases")
"""Options that take one value or a sequence of them."""


def _request(space: str | Path | None, options: Mapping[str, Any]) -> Request:
    """The request of a call. Raises UserError, and TypeError for an option that there isn't."""
    from orchestrator.sweep.request import request_of
    from orchestrator.yaml_files import nearest

    known = list(SweepOptions.__annotations__)
    for name in options:
        if name not in known:
            raise TypeError(f"there is no option {name!r}: {nearest(name, known)}")
    given = {name: value for name, value in options.items() if value is not None}
    for name in SEVERAL:
        if name in given:
            given[name] = _several(given[name])
    if "ranges" in given:
        given["ranges"] = tuple(_range(*item) for item in given["ranges"].items())
    if space is not None:
        given["space"] = str(space)
    return request_of(given)


def _several(value: Any) -> tuple[Any, ...]:
    """One value, or those of a sequence, as a tuple."""
    return (value,) if isinstance(value, str | int) else tuple(value)


def _range(name: str, bounds: tuple[float, float] | float) -> str:
    """A range as it is written on the command line."""
    low, high = bounds if isinstance(bounds, Sequence) else (bounds, bounds)
    return f"{name}={low}:{high}"


def _run_options(
    *,
    rerun: tuple[str, ...],
    force: bool,
    accept_drift: bool,
    cooldown: str,
    log_to: tuple[str, ...],
    above_0: Mapping[str, float | None],
) -> RunOptions:
    """The options of a run. `above_0`: flag -> its number. Raises UserError."""
    from orchestrator.cooldown import parse_cooldown
    from orchestrator.dataset.remaining import RERUN
    from orchestrator.ray_tune.log_to import LOGGERS
    from orchestrator.sweep.assignments import RunOptions
    from orchestrator.sweep.budget import RunLimits
    from orchestrator.yaml_files import nearest

    for flag, value in above_0.items():
        if value is not None and not 0 < value < math.inf:
            raise UserError(f"{flag} {value}: must be a number above 0")
    for flag, names, known in (("--rerun", rerun, RERUN), ("--log-to", log_to, LOGGERS)):
        for name in names:
            if name not in known:
                raise UserError(f"{flag}: there is no {name!r}: {nearest(name, list(known))}")
    try:
        rest = parse_cooldown(cooldown)
    except ValueError as error:
        raise UserError(f"--cooldown: {error}") from error
    limits = ("--max-hours", "--max-kwh", "--max-gpu-hours")
    return RunOptions(
        rerun,
        force=force,
        accept_drift=accept_drift,
        execution_timeout_s=above_0["--execution-timeout"],
        min_busy_s=above_0["--min-busy-s"] or 0.0,
        cooldown=rest,
        log_to=log_to,
        limits=RunLimits(*(above_0[flag] or math.inf for flag in limits)),
    )


@contextlib.contextmanager
def _environment_kept() -> Iterator[None]:
    """Put this process's environment variables back: what Ray is told concerns a sweep alone."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)
