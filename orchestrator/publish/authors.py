"""Authors of a data set, read from "Given Family <ORCID>"."""

from __future__ import annotations

import re

from pydantic import Field

from orchestrator.errors import UserError
from orchestrator.nouns import Noun

_ORCID = re.compile(r"(?:https?://orcid\.org/)?(\d{4}-\d{4}-\d{4}-\d{3}[\dX])", re.ASCII)


class Author(Noun):
    """A person who made the data set."""

    given: str
    family: str = Field(min_length=1)
    orcid: str | None = None
    """URL of the ORCID record."""

    @property
    def name(self) -> str:
        """Given and family name, as a person reads them."""
        return f"{self.given} {self.family}".strip()


def parse_author(text: str) -> Author:
    """Read `Given Family <0000-0000-0000-0000>` or `Family, Given`. Raises UserError."""
    name, _, rest = text.partition("<")
    name, identifier = " ".join(name.split()), rest.strip().removesuffix(">").strip()
    if not name or not text.isprintable() or ("<" in text) != text.rstrip().endswith(">"):
        raise UserError(f'--author {text!r}: write "Given Family" or "Given Family <ORCID>"')
    orcid = None
    if identifier:
        match = _ORCID.fullmatch(identifier)
        if not match or not _check_digit_fits(match[1]):
            raise UserError(
                f"--author {text!r}: {identifier!r} is no valid ORCID; "
                "write it like 0000-0002-1825-0097, whose last digit is a check digit"
            )
        orcid = f"https://orcid.org/{match[1]}"
    family, comma, given = name.partition(",")
    if not comma:
        given, _, family = name.rpartition(" ")
    if not family.strip():
        raise UserError(f'--author {text!r}: write "Given Family" or "Given Family <ORCID>"')
    return Author(given=given.strip(), family=family.strip(), orcid=orcid)


def _check_digit_fits(orcid: str) -> bool:
    """Whether the last digit is the check digit of the others (ISO 7064 11,2)."""
    digits = orcid.replace("-", "")
    total = 0
    for digit in digits[:-1]:
        total = (total + int(digit)) * 2
    return "0123456789X"[(12 - total % 11) % 11] == digits[-1]
