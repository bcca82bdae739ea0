"""`tune`: plan a sweep and run what is missing of it."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.exit_codes import DRAINED, FAULTS
from orchestrator.cli.options import given_to_sweep, run_options, sweep_options
from orchestrator.cli.terminal import say, tell

if TYPE_CHECKING:
    from orchestrator.cooldown import Cooldown
    from orchestrator.sweep.prepare import Prepared
    from orchestrator.sweep.run import RunOutcome


@click.command()
@sweep_options
@run_options
@click.option(
    "--report/--no-report",
    "with_report",
    default=None,
    help="Whether a complete sweep ends with its findings: `evaluate`, `report`, and its sentences "
    "printed. [default: yes, up to 1,000 trials in the data set; never with --json]",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print only a JSON object, at the end, on standard output.",
)
@click.pass_context
def tune(
    context: click.Context,
    /,
    *,
    as_json: bool,
    with_report: bool | None,
    rerun: tuple[str, ...],
    force: bool,
    execution_timeout_s: float | None,
    max_hours: float | None,
    max_kwh: float | None,
    max_gpu_hours: float | None,
    accept_drift: bool,
    min_busy_s: float | None,
    cooldown: Cooldown,
    log_to: tuple[str, ...],
    **_sweep: Any,
) -> int:
    """Run a sweep with Ray Tune, one trial per configuration, and write the data set.

    SPACE is the search space: lhs, uniform, grid, sobol, optuna, or a YAML file. The same command
    again resumes the sweep: it runs what is missing and nothing else. On SIGUSR1 or SIGTERM the
    running prompts finish and nothing more is started. Exit codes: 0 done, 2 usage error, 3 done
    but some executions failed, 75 to be resumed (drained, or a limit was reached), 130 Ctrl-C.

    \b
    Examples:
      orchestrator tune lhs
      orchestrator tune sobol --samples 32 --model llama2 --model mistral --repeats 3
      orchestrator tune lhs --use-case danceCoreography --range max_length=100:200
      orchestrator tune lhs --quantization nf4 --quantization int8 --quantization none
      orchestrator tune lhs --rerun oom --rerun timeout
      orchestrator tune lhs --max-hours 23.5 --execution-timeout 600
      orchestrator tune --plan published/sweeps/lhs-88079171f460.json --out mine
    """  # noqa: D301 - click wants the character
    from orchestrator.cli import run_result
    from orchestrator.cli.live import Live
    from orchestrator.cli.run_findings import tell_findings, tells_findings
    from orchestrator.gpu.devices import visible_gpus
    from orchestrator.ray_tune.halt import Drained, Halt, signals_to
    from orchestrator.sweep.assignments import RunOptions
    from orchestrator.sweep.budget import RunLimits
    from orchestrator.sweep.request import request_of
    from orchestrator.sweep.requested import swept

    request = request_of(given_to_sweep(context))
    limits = RunLimits(max_hours or math.inf, max_kwh or math.inf, max_gpu_hours or math.inf)
    options = RunOptions(
        rerun,
        force=force,
        accept_drift=accept_drift,
        execution_timeout_s=execution_timeout_s,
        min_busy_s=min_busy_s or 0.0,
        cooldown=cooldown,
        limits=limits,
        log_to=log_to,
    )
    halt = Halt()
    with signals_to(halt):
        gpus = visible_gpus()
        live = Live(gpus, quiet=as_json)
        try:
            prepared, outcome = swept(
                request,
                options,
                gpus,
                halt=halt,
                observer=live,
                say=live.say,
                during=live.waiting.during,
            )
        except Drained as drained:
            speak = say if as_json else tell
            speak(f"Drained ({drained}) before anything was started; the same command resumes it.")
            return DRAINED
        if as_json:
            click.echo(json.dumps(run_result.as_json(prepared, outcome)))
        else:
            run_result.print_result(live, prepared, outcome)
    complete = not outcome.drained and not outcome.left
    if complete and not as_json and tells_findings(prepared, wanted=with_report):
        tell_findings(live, prepared.paths)
    return exit_code(outcome, prepared)


def exit_code(outcome: RunOutcome, prepared: Prepared) -> int:
    """0: all is done; 3: done, but executions failed, now or earlier; 75: to be resumed."""
    if outcome.drained:
        return DRAINED
    return FAULTS if outcome.totals.failed or prepared.n_failed() else 0
