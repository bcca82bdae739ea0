"""`plan`: what a sweep would run and take; loads no model, starts no Ray, writes nothing."""

from __future__ import annotations

import json
from typing import Any

import click

from orchestrator.cli.options import sweep_options


@click.command()
@sweep_options
@click.option("--json", "as_json", is_flag=True, help="Print the whole plan as JSON.")
def plan(*, as_json: bool, **flags: Any) -> None:
    """Show what a sweep would run: trials, tokens, time, energy, memory.

    SPACE is the search space: lhs, uniform, grid, sobol, optuna, or a YAML file. The options are
    those of `tune`. Loads no model and writes nothing.

    \b
    Example:
      orchestrator plan sobol --samples 32 --model mistral
    """  # noqa: D301 - click wants the character
    from orchestrator.cli.plan_view import print_plan
    from orchestrator.cli.sweep_request import resolved_request
    from orchestrator.cli.terminal import console, say
    from orchestrator.dataset.folder_checks import check_folder
    from orchestrator.gpu.devices import visible_gpus
    from orchestrator.sweep.planning import make_plan
    from orchestrator.sweep.prepare import prepare
    from orchestrator.sweep.request import Request
    from orchestrator.sweep.staging import known_revisions

    request = Request(**flags)
    check_folder(request.out)
    gpus = visible_gpus()
    resolved = resolved_request(request, gpus)
    drawn = make_plan(resolved)
    revisions = known_revisions(resolved, drawn, say)
    prepared = prepare(resolved, drawn.with_revisions(revisions))
    if as_json:
        content = prepared.plan.model_dump(mode="json")
        click.echo(json.dumps({**content, "missing_executions": prepared.n_missing()}))
        return
    print_plan(console(), prepared, gpus)
