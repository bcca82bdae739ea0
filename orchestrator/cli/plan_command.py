"""`plan`: what a sweep would run and take; loads no model, starts no Ray, writes nothing."""

from __future__ import annotations

import json
from typing import Any

import click

from orchestrator.cli.options import given_to_sweep, sweep_options


@click.command()
@sweep_options
@click.option("--json", "as_json", is_flag=True, help="Print the whole plan as JSON.")
@click.pass_context
def plan(context: click.Context, /, *, as_json: bool, **_sweep: Any) -> None:
    """Show what a sweep would run: trials, tokens, time, energy, memory.

    SPACE is the search space: lhs, uniform, grid, sobol, optuna, or a YAML file. The options are
    those of `tune`. Loads no model and writes nothing.

    \b
    Examples:
      orchestrator plan sobol --samples 32 --model mistral
      orchestrator plan --plan published/sweeps/lhs-88079171f460.json
    """  # noqa: D301 - click wants the character
    from orchestrator.cli.plan_view import print_plan
    from orchestrator.cli.terminal import console, say
    from orchestrator.gpu.devices import visible_gpus
    from orchestrator.sweep.request import request_of
    from orchestrator.sweep.requested import planned

    gpus = visible_gpus()
    prepared = planned(request_of(given_to_sweep(context)), gpus, say)
    if as_json:
        content = prepared.plan.model_dump(mode="json")
        click.echo(json.dumps({**content, "missing_executions": prepared.n_missing()}))
        return
    print_plan(console(), prepared, gpus)
