"""`models`: list the known models, fetch one before it is needed, and check what is here."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.exit_codes import FAULTS
from orchestrator.cli.terminal import console, fits, tell

if TYPE_CHECKING:
    from orchestrator.engine.weights import Weights
    from orchestrator.models import Model


@click.group()
def models() -> None:
    """List the known models, stage one (download its weights), or verify the staged ones."""


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
        line = f"{name:<8} {size}  {model.licence:<27} {staged:<8}"
        whole = f"{line}  {model.description}"
        if fits(whole, sys.stdout):
            tell(whole)
        else:
            tell(line.rstrip())
            tell(f"{'':<9}{model.description}", hang=0)
    tell(
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
@click.option(
    "--again",
    is_flag=True,
    help="Fetch again what is already here, for example where files were altered.",
)
def stage(name: str, *, again: bool) -> None:
    """Download a model's weights, check and cache them, for example before an offline run.

    \b
    Examples:
      orchestrator models stage mistral
      orchestrator models stage smollm2 --again
    """  # noqa: D301 - click wants the character
    import os

    os.environ.setdefault("TQDM_DISABLE", "1")
    from orchestrator.cli.waiting import Waiting
    from orchestrator.engine.weights import checked, resolve
    from orchestrator.models import parse_model

    model = parse_model(name)
    waiting = Waiting(console())
    with waiting.during(f"Fetching and checking {name}"):
        weights = checked(model, resolve(model, waiting.say, again=again), waiting.say)
    tell(f"{name}: {weights.revision} in {weights.path}")


@models.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def verify(names: tuple[str, ...], *, as_json: bool) -> int:
    """Read all files of staged models, and tell which have changed.

    Without a name, all models on this machine are verified. Exit codes: 0 all are sound, 2 usage
    error (also where a named model isn't here), 3 files were altered, removed or added, or can't be
    read.

    \b
    Examples:
      orchestrator models verify
      orchestrator models verify mistral smollm2
    """  # noqa: D301 - click wants the character
    from orchestrator.engine.integrity import recorded_refs
    from orchestrator.models import KNOWN

    for name in names:
        _check_here(name)
    rows = map(_verified, names or dict.fromkeys([*KNOWN, *recorded_refs()]))
    found = [row for row in rows if row is not None]
    if as_json:
        click.echo(json.dumps(found))
    else:
        for each in found:
            tell(_line_of(each))
        if not found:
            tell("There is no model on this machine.")
    return 0 if all(each["sound"] for each in found) else FAULTS


def _check_here(name: str) -> None:
    """Raise UserError for a name that is none, or whose weights aren't on this machine."""
    from orchestrator.engine.weights import locate
    from orchestrator.errors import ModelUnavailableError, UserError
    from orchestrator.models import parse_model

    # what is here and can't be read is a fault that is found
    with contextlib.suppress(ModelUnavailableError):
        if locate(parse_model(name)) is None:
            raise UserError(
                f"{name}: its weights aren't on this machine; "
                f"fetch them with `orchestrator models stage {name}`"
            )


def _verified(name: str) -> dict[str, Any] | None:
    """A model as JSON: whether its files are sound, and what is wrong with them if not.

    None where its weights aren't on this machine.
    """
    from orchestrator.engine.weights import checked, locate
    from orchestrator.errors import ModelUnavailableError, UserError
    from orchestrator.models import parse_model

    row: dict[str, Any] = {
        "name": name,
        "revision": None,
        "path": None,
        "sound": True,
        "problem": None,
        "sha256": {},
    }
    try:
        model = parse_model(name)
        weights = locate(model)
        if weights is None:
            return None
        row |= {"name": model.ref, "revision": weights.revision, "path": str(weights.path)}
        weights = checked(model, weights, anew=True)
        row |= {"revision": weights.revision, "sha256": weights.sha256}
    except ModelUnavailableError as error:
        row |= {"sound": False, "problem": str(error)}
    except UserError:  # a folder that was used once and is gone
        return None
    return row


def _line_of(verified: dict[str, Any]) -> str:
    """What `verify` prints of a model."""
    if verified["problem"]:
        return str(verified["problem"])
    n_files = len(verified["sha256"])
    return f"{verified['name']}: sound, {n_files} files ({verified['revision']})"
