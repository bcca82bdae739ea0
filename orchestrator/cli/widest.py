"""Of several forms of the same figures the one with most columns for which there is room."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

UNLIMITED = 10_000
"""Columns: more than anything needs."""


@dataclass(frozen=True)
class Widest:
    """Shows the first of its forms that fits in the width, or the last one where none does.

    So a narrow terminal gets fewer columns, and no cell is broken inside a word.
    """

    forms: tuple[RenderableType, ...]
    """The widest one first."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Rich calls this with the width that there is."""
        wide = options.update(max_width=UNLIMITED)
        for form in self.forms[:-1]:
            if console.measure(form, options=wide).maximum <= options.max_width:
                yield form
                return
        yield self.forms[-1]
