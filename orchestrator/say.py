"""How a function tells its caller, a line at a time, what it waits for or does."""

from __future__ import annotations

from collections.abc import Callable

Say = Callable[[str], None]
"""Takes a line of plain text for the user."""


def silent(_line: str) -> None:
    """Say nothing."""
