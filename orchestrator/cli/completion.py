"""What the shell offers for the value of an option or argument when Tab is pressed."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import click
from click.shell_completion import CompletionItem

Completion = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

FOLDER, FILE = "dir", "file"
"""What the shell itself completes, by click's names."""


def of_names(names: Callable[[], Iterable[str]], *, or_path: str | None = None) -> Completion:
    """Names that begin with what is typed; where none does what the shell finds.

    `names` is called when something is to be completed, so its imports cost nothing before.
    `or_path`: FOLDER or FILE; None: names alone are valid.
    """

    def complete(
        _context: click.Context, _parameter: click.Parameter, typed: str
    ) -> list[CompletionItem]:
        """Click's shell_complete."""
        found = [CompletionItem(name) for name in names() if name.startswith(typed)]
        if not found and or_path is not None:
            return [CompletionItem(typed, type=or_path)]
        return found

    return complete


def _files_of(kind: str) -> Completion:
    """Names of a folder of YAML files (search_spaces, prompts, clusters), or a file."""

    def names() -> list[str]:
        """Those that would be found."""
        from orchestrator.yaml_files import names

        return names(kind)

    return of_names(names, or_path=FILE)


def _models() -> list[str]:
    """Names of the known models, and of those shapes with random weights."""
    from orchestrator.models import KNOWN

    return [*KNOWN, *(f"synthetic-{name}" for name in KNOWN)]


def _charts() -> list[str]:
    """Names of the report's charts."""
    from orchestrator.report.charts import CHARTS, COMPARISON_CHARTS

    return [*CHARTS, *COMPARISON_CHARTS]


def _quantizations() -> Iterable[str]:
    """Names of the quantizations."""
    from orchestrator.nouns import QUANTIZATIONS

    return QUANTIZATIONS


def _engines() -> Iterable[str]:
    """Names of the engines."""
    from orchestrator.engine import ENGINES

    return ENGINES


SPACES = _files_of("search_spaces")
USE_CASES = _files_of("prompts")
MACHINES = _files_of("clusters")
MODELS = of_names(_models, or_path=FOLDER)
QUANTIZATIONS = of_names(_quantizations)
ENGINES = of_names(_engines)
CHARTS = of_names(_charts)
DATA_SETS = of_names(tuple, or_path=FOLDER)
