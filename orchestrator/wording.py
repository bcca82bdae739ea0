"""Words of messages that several parts of the program write."""

from __future__ import annotations


def counted(n: int, noun: str) -> str:
    """A number with its noun, in the plural unless it is one: '1 error', '2 errors', '0 files'."""
    if n == 1:
        return f"1 {noun}"
    return f"{n} {noun}s"
