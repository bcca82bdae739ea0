"""`models`: which models are known, and fetching one before it is needed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from orchestrator.engine.weights import Weights
    from orchestrator.models import Model


@click.group()
def models() -> None:
    """List the known models, or stage one (fetch, check, cache)."""


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_models(*, as_json: bool) -> None:
    """List the known models and whether their weights are on this machine.

    \b
    Example:
      orchestrator models list
    """  # noqa: D301 - click wants the character
    from orchestrator.engine.weights import locate
    from orchestrator.models import KNOWN

    here = {name: locate(model) for name, model in KNOWN.items()}
    if as_json:
        click.echo(json.dumps([_row(model, here[name]) for name, model in KNOWN.items()]))
        return
    for name, model in KNOWN.items():
        size = f"{model.architecture.parameters() / 1e9:6.3f} B" if model.architecture else "?"
        staged = "staged" if here[name] else "not here"
        click.echo(f"{name:<8} {size}  {model.licence:<27} {staged:<8}  {model.description}")
    click.echo(
        "also: synthetic-NAME[:hidden_size=..,num_hidden_layers=..], org/name[@revision] of the hub, or a folder"
    )


def _row(model: Model, here: Weights | None) -> dict[str, Any]:
    return {
        "name": model.label,
        "repository": model.repo,
        "revision": model.revision,
        "parameters": model.architecture.parameters() if model.architecture else None,
        "licence": model.licence,
        "gated": model.gated,
        "here": str(here.path) if here else None,
        "here_revision": here.revision if here else None,
        "description": model.description,
    }


@models.command()
@click.argument("name")
def stage(name: str) -> None:
    """Fetch a model's weights, check them and cache them: before an offline run.

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
