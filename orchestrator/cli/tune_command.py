"""`tune`: plan a sweep and run what is missing of it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator import process_end
from orchestrator.cli.exit_codes import DRAINED, FAULTS
from orchestrator.cli.options import run_options, sweep_options

if TYPE_CHECKING:
    from orchestrator.cli.live import Live
    from orchestrator.cooldown import Cooldown
    from orchestrator.gpu.devices import Gpu
    from orchestrator.ray_tune.halt import Halt
    from orchestrator.sweep.assignments import RunOptions
    from orchestrator.sweep.prepare import Prepared
    from orchestrator.sweep.request import Request
    from orchestrator.sweep.run import RunOutcome


@click.command()
@sweep_options
@run_options
@click.option(
    "--json", "as_json", is_flag=True, help="Only a JSON object at the end, on standard output."
)
def tune(
    *,
    as_json: bool,
    rerun: tuple[str, ...],
    force: bool,
    execution_timeout_s: float | None,
    max_hours: float | None,
    max_kwh: float | None,
    max_gpu_hours: float | None,
    accept_drift: bool,
    min_busy_s: float | None,
    cooldown: Cooldown,
    **flags: Any,
) -> int:
    """Run a sweep with Ray Tune, one trial a configuration, and write the data set.

    The same command again runs what is missing and nothing else. On SIGUSR1 or SIGTERM the running
    prompts finish and nothing more is started. Exit codes: 0 done, 2 usage error, 3 done but some
    executions failed, 75 to be resumed (drained, or a limit), 130 Ctrl-C.

    \b
    Examples:
      orchestrator tune --space lhs
      orchestrator tune --space sobol --samples 32 --model llama2 --model mistral --repeats 3
      orchestrator tune --space lhs --use-case danceCoreography --range max_length=100:200
      orchestrator tune --space lhs --quantization nf4 --quantization int8 --quantization none
      orchestrator tune --space lhs --rerun oom --rerun timeout
      orchestrator tune --space lhs --max-hours 23.5 --execution-timeout 600
    """  # noqa: D301 - click wants the character
    from orchestrator.cli import run_result
    from orchestrator.cli.live import Live
    from orchestrator.gpu.devices import visible_gpus
    from orchestrator.ray_tune.halt import Drained, Halt, signals_to
    from orchestrator.sweep.assignments import RunOptions
    from orchestrator.sweep.budget import RunLimits
    from orchestrator.sweep.request import Request

    limits = RunLimits(max_hours or math.inf, max_kwh or math.inf, max_gpu_hours or math.inf)
    options = RunOptions(
        rerun,
        force=force,
        accept_drift=accept_drift,
        execution_timeout_s=execution_timeout_s,
        min_busy_s=min_busy_s or 0.0,
        cooldown=cooldown,
        limits=limits,
    )
    halt = Halt()
    with signals_to(halt):
        gpus = visible_gpus()
        live = Live(gpus, quiet=as_json)
        try:
            prepared, outcome = _run(Request(**flags), options, gpus, live, halt)
        except Drained as drained:
            click.echo(
                f"Drained ({drained}) before anything was started; the same command resumes it.",
                err=as_json,
            )
            return DRAINED
        if as_json:
            click.echo(json.dumps(run_result.as_json(prepared, outcome)))
        else:
            run_result.print_result(live, prepared, outcome)
    return exit_code(outcome, prepared)


def _run(
    request: Request, options: RunOptions, gpus: list[Gpu], live: Live, halt: Halt
) -> tuple[Prepared, RunOutcome]:
    """Plan a sweep, fetch its weights and run what is missing. Raises UserError and Drained."""
    from orchestrator.cli.sweep_request import resolved_request
    from orchestrator.dataset.folder_checks import check_writable
    from orchestrator.sweep.planning import make_plan
    from orchestrator.sweep.run import opened, run_sweep
    from orchestrator.sweep.staging import checked_files, staged_revisions

    resolved = resolved_request(request, gpus)
    check_writable(request.out)
    drawn = make_plan(resolved)  # an impossible design is told before weights are fetched for it
    check_plan_file(request.out, drawn.id)
    staged = drawn.with_revisions(staged_revisions(resolved, live.say))
    plan = staged.with_model_files(checked_files(resolved, live.say))
    with opened(resolved, plan, options, live.say) as (prepared, lock):
        try:
            outcome = run_sweep(prepared, lock, options, halt=halt, observer=live)
            # from here on no signal may say that something is left to be done
            halt.over = True
            process_end.decided()
            return prepared, outcome
        finally:
            live.finished()


def exit_code(outcome: RunOutcome, prepared: Prepared) -> int:
    """0: all is done; 3: done, but executions failed, now or earlier; 75: to be resumed."""
    if outcome.drained:
        return DRAINED
    return FAULTS if outcome.totals.failed or prepared.n_failed() else 0


def check_plan_file(out: Path, sweep_id: str) -> None:
    """Read the sweep's plan, if there is one. Raises UserError where it can't be read."""
    from orchestrator.dataset.paths import DataSetPaths
    from orchestrator.dataset.sweep_plan import read_plan

    path = DataSetPaths(out).sweep(sweep_id)
    if path.exists():
        read_plan(path)
