"""A fault of a data set, as every check reports it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True, order=True)
class Finding:
    """One fault of a data set.

    An error: something can't be trusted, or is missing. A warning: something to know.
    """

    severity: Severity
    where: str
    what: str

    def line(self) -> str:
        """For a person."""
        return f"{self.severity}: {self.where}: {self.what}"
