"""The verbs, named and told of in a line each; a verb's module is imported when it is called.

Help and shell completion of the whole program import none of them (tests/test_imports.py).
"""

from __future__ import annotations

import importlib
from typing import NamedTuple

import click


class Verb(NamedTuple):
    """Where a verb is, and the first sentence of its own help."""

    help: str
    module: str
    """In this package."""
    function: str


VERBS = {
    "doctor": Verb(
        "Check what this machine can measure, and whether a sweep can run.",
        "doctor_command",
        "doctor",
    ),
    "tune": Verb(
        "Run a sweep with Ray Tune, one trial per configuration, and write the data set.",
        "tune_command",
        "tune",
    ),
    "plan": Verb(
        "Show what a sweep would run: trials, tokens, time, energy, memory.",
        "plan_command",
        "plan",
    ),
    "status": Verb("Show what is done, failed and left of each sweep.", "status_command", "status"),
    "watch": Verb("Follow a running sweep until it is complete.", "watch_command", "watch"),
    "evaluate": Verb(
        "Judge each text: usable or not, why, and how good it is.", "evaluate_command", "evaluate"
    ),
    "review": Verb(
        "Keep or discard texts by hand, on a page in the browser.", "review_command", "review"
    ),
    "report": Verb("Write one HTML file that shows what was measured.", "report_command", "report"),
    "plot": Verb("Write one chart of the report to a file, for a paper.", "report_command", "plot"),
    "summarize": Verb(
        "Rebuild executions.parquet and summary.parquet from the trial folders.",
        "summarize_command",
        "summarize",
    ),
    "validate": Verb(
        "Check a data set for errors and missing executions.", "validate_command", "validate"
    ),
    "merge": Verb(
        "Copy the trials and plans of other data sets into one, and rebuild its tables.",
        "merge_command",
        "merge",
    ),
    "publish": Verb(
        "Prepare a data set for publication: data card, citation, checksums.",
        "publish_command",
        "publish",
    ),
    "export": Verb(
        "Write the trials into a file that other tools open.", "export_command", "export"
    ),
    "import": Verb(
        "Copy measurements made with CodeCarbon alone into a data set.",
        "import_command",
        "import_",
    ),
    "models": Verb(
        "List the known models, stage one (download its weights), or verify the staged ones.",
        "models_command",
        "models",
    ),
    "bench": Verb("Compare `tune` with other ways to do the same work.", "bench_command", "bench"),
    "cluster": Verb("Run a sweep on several machines at once.", "cluster_command", "cluster"),
}
"""Name -> row, in the order of a sweep's life."""


def loaded(name: str) -> click.Command:
    """The verb itself; its module is imported."""
    verb = VERBS[name]
    command = getattr(importlib.import_module(f"orchestrator.cli.{verb.module}"), verb.function)
    assert isinstance(command, click.Command)  # noqa: S101 - held by a test
    return command


class Verbs(click.Group):
    """A group whose commands stand for the verbs until one is called.

    They have a name and the line that the group's own help shows, and no options.
    """

    def __init__(self, **settings: object) -> None:
        stand_ins = {name: click.Command(name, help=verb.help) for name, verb in VERBS.items()}
        super().__init__(commands=stand_ins, **settings)  # type: ignore[arg-type]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The verb that was called, by click and by shell completion."""
        name, stand_in, rest = super().resolve_command(ctx, args)
        if name is None or stand_in is None:
            return name, stand_in, rest
        return name, loaded(name), rest
