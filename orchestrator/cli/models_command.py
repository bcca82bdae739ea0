"""`models`: list the known models, and fetch one before it is needed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from orchestrator.engine.weights import Weights
    from orchestrator.models import Model


@click.group()
def models() -> None:
    """List the known models, or stage one (download its weights)."""


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def list_models(*, as_json: bool) -> None:
    """List the known models and whether their weights are on this machine.

    \b
    Example:
      orchestrator models list
    """  # noqa: D301 - click wants the character
    from orchestrator.engine.weights import locate
    from orchestrator.models import KNOWN

    if as_json:
        click.echo(json.dumps([_row(model, locate(model)) for model in KNOWN.values()]))
        return
    for name, model in KNOWN.items():
        size = "?"
        if model.architecture:
            size = f"{model.architecture.parameters() / 1e9:6.3f} B"
        staged = "staged"
        if locate(model) is None:
            staged = "not here"
        click.echo(f"{name:<8} {size}  {model.licence:<27} {staged:<8}  {model.description}")
    click.echo(
        "--model also takes synthetic-NAME[:hidden_size=..,num_hidden_layers=..] (random weights), "
        "org/name[@revision] of the hub, or a folder"
    )


def _row(model: Model, weights: Weights | None) -> dict[str, Any]:
    """A model as JSON; `weights`: those on this machine, None where there are none."""
    row: dict[str, Any] = {
        "name": model.label,
        "repository": model.repo,
        "revision": model.revision,
        "parameters": None,
        "licence": model.licence,
        "gated": model.gated,
        "here": None,
        "here_revision": None,
        "description": model.description,
    }
    if model.architecture:
        row["parameters"] = model.architecture.parameters()
    if weights:
        row |= {"here": str(weights.path), "here_revision": weights.revision}
    return row


@models.command()
@click.argument("name")
def stage(name: str) -> None:
    """Download a model's weights, check and cache them, for example before an offline run.

    \b
    Example:
      orchestrator models stage mistral
    """  # noqa: D301 - click wants the character
    import os

    os.environ.setdefault("TQDM_DISABLE", "1")
    from orchestrator.engine.weights import resolve
    from orchestrator.models import parse_model

    weights = resolve(parse_model(name), click.echo)
    click.echo(f"{name}: {weights.revision} in {weights.path}")
