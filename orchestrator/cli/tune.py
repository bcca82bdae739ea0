"""`tune`: plan a sweep and run what is missing of it."""

from __future__ import annotations

import json
from typing import Any

import click

from orchestrator.cli.options import sweep_options

EXIT_FAILED_TRIALS = 3


@click.command()
@sweep_options
@click.option("--json", "as_json", is_flag=True, help="Only a JSON object at the end, on standard output.")
def tune(*, as_json: bool, **flags: Any) -> int:
    """Run a sweep with Ray Tune, one trial a configuration, and write the data set.

    The same command again runs what is missing and nothing else.

    \b
    Examples:
      orchestrator tune --space lhs
      orchestrator tune --space sobol --samples 32 --model llama2 --model mistral --repeats 3
      orchestrator tune --space lhs --model smollm2 --use-case danceCoreography --range max_length=100:200
    """  # noqa: D301 - click wants the character
    from orchestrator.cli import result
    from orchestrator.cli.live import Live
    from orchestrator.meters.nvml import visible_gpus
    from orchestrator.sweep.plan import begun_setups
    from orchestrator.sweep.request import Request, resolve_request
    from orchestrator.sweep.run import check_writable, prepare, run_sweep, staged_revisions

    request = Request(**flags)
    gpus = visible_gpus()
    live = Live(gpus, quiet=as_json)
    resolved = resolve_request(request, [gpu.name for gpu in gpus])
    check_writable(request.out)
    begun_setups(resolved)  # tells an impossible design or an edited plan before weights are fetched for it
    prepared = prepare(resolved, staged_revisions(resolved, live.say))
    try:
        run_sweep(prepared, live, live)
    finally:
        live.finished()
    if as_json:
        click.echo(json.dumps(result.as_json(live, prepared)))
    else:
        result.print_result(live, prepared)
    return EXIT_FAILED_TRIALS if live.totals.failed else 0
