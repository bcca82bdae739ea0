"""What only shows a sweep must never end it: metrics, live studies, loggers."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")

LOG = logging.getLogger(__name__)


class Showing(Protocol):
    """What shows a sweep."""

    shows: str
    """What it is called where it ends: 'no more ... in this run'."""
    broken: bool
    """Whether it has failed."""


S = TypeVar("S", bound=Showing)


def harmless(method: Callable[Concatenate[S, P], None]) -> Callable[Concatenate[S, P], None]:
    """Let a method that fails end what it belongs to with one warning, but never the sweep."""

    @functools.wraps(method)
    def tried(self: S, /, *arguments: P.args, **options: P.kwargs) -> None:
        """The method; nothing once one of them has raised."""
        if self.broken:
            return
        try:
            method(self, *arguments, **options)
        except Exception as error:  # noqa: BLE001 - whatever it is, the sweep matters more
            self.broken = True
            LOG.warning(
                "no more %s in this run, the sweep continues: %s: %s",
                self.shows,
                type(error).__name__,
                error,
            )

    return tried
