"""`tune`: plan a sweep and run what is missing of it."""

from __future__ import annotations

import json
import math
from typing import Any

import click

from orchestrator.cli.exit_codes import DRAINED, FAULTS
from orchestrator.cli.options import run_options, sweep_options


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
    **flags: Any,
) -> int:
    """Run a sweep with Ray Tune, one trial a configuration, and write the data set.

    The same command again runs what is missing and nothing else. SIGUSR1 or SIGTERM: running prompts finish, nothing more
    is begun. Exit codes: 0 done, 2 an error of the user, 3 done but some executions failed, 75 to be resumed (drained, or a
    limit), 130 Ctrl-C.

    \b
    Examples:
      orchestrator tune --space lhs
      orchestrator tune --space sobol --samples 32 --model llama2 --model mistral --repeats 3
      orchestrator tune --space lhs --model smollm2 --use-case danceCoreography --range max_length=100:200
      orchestrator tune --space lhs --rerun oom --rerun timeout
      orchestrator tune --space lhs --max-hours 23.5 --execution-timeout 600
    """  # noqa: D301 - click wants the character
    from orchestrator.cli import run_result as result
    from orchestrator.cli.live import Live
    from orchestrator.meters.nvml import visible_gpus
    from orchestrator.sweep.budget import Limits
    from orchestrator.sweep.jobs import RunOptions
    from orchestrator.sweep.planning import begun_setups
    from orchestrator.sweep.prepare import check_writable, staged_revisions
    from orchestrator.sweep.request import Request, resolve_request
    from orchestrator.sweep.run import begun, run_sweep
    from orchestrator.tune.halt import Drained, Halt, signals_to

    request = Request(**flags)
    limits = Limits(max_hours or math.inf, max_kwh or math.inf, max_gpu_hours or math.inf)
    options = RunOptions(rerun, force, accept_drift, execution_timeout_s, limits)
    gpus = visible_gpus()
    live = Live(gpus, quiet=as_json)
    resolved = resolve_request(request, [gpu.name for gpu in gpus])
    check_writable(request.out)
    begun_setups(
        resolved
    )  # tells an impossible design or an edited plan before weights are fetched for it
    halt = Halt()
    try:
        with signals_to(halt):
            revisions = staged_revisions(resolved, live.say)
            with begun(resolved, revisions, options, live.say) as (prepared, lock):
                try:
                    outcome = run_sweep(
                        prepared, lock, options, halt=halt, observer=live, watcher=live
                    )
                finally:
                    live.finished()
    except Drained as drained:
        click.echo(
            f"Drained ({drained}) before anything was begun; the same command again goes on.",
            err=as_json,
        )
        return DRAINED
    if as_json:
        click.echo(json.dumps(result.as_json(live, prepared, outcome)))
    else:
        result.print_result(live, prepared, outcome)
    if outcome.drained:
        return DRAINED
    return FAULTS if live.totals.failed or prepared.n_failed() else 0
