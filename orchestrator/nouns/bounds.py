"""Types of fields that are read from files: what no file of this program holds is refused there.

`Noun` refuses inf, NaN and text that is no Unicode in any field. The types here add how large a
number may be: one that is far from anything measured overflows in a later sum or quotient.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, Field

INT64_MAX = 2**63 - 1
"""Largest whole number of a column in Parquet."""
SMALLEST, LARGEST = 1e-30, 1e30
"""Sizes of a physical quantity: their squares and quotients are still floats."""
FIRST_YEAR, LAST_YEAR = 1970, 2999
"""Years of a measurement: its time can be moved to any zone, and a window added to it."""

Whole = Annotated[int, Field(ge=0, le=INT64_MAX)]
"""A seed, bytes, a mask of bits."""
Count = Annotated[int, Field(ge=0, le=2**40)]
"""How many, or a number from 0. Millions of them add up to less than INT64_MAX."""
Number = Annotated[int, Field(ge=1, le=2**40)]
"""A number from 1."""
ProcessId = Annotated[int, Field(ge=1, le=2**31 - 1)]
Real = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
"""A temperature, a difference, a setting: it may be negative."""


def _no_crumb(value: float) -> float:
    """Refuse what is smaller than any quantity but not 0: to divide by it gives inf."""
    if 0 < value < SMALLEST:
        raise ValueError(f"must be 0 or at least {SMALLEST:g}")
    return value


Amount = Annotated[float, Field(ge=0, le=LARGEST), AfterValidator(_no_crumb)]
"""A physical quantity: energy, power, length, uncertainty."""
Seconds = Annotated[float, Field(ge=0, le=1e9), AfterValidator(_no_crumb)]
"""A duration; 1e9 s are 30 years."""


def _sensible(moment: datetime) -> datetime:
    """Refuse a year in which nothing was measured."""
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise ValueError(f"year {moment.year} is not within {FIRST_YEAR}..{LAST_YEAR}")
    return moment


Moment = Annotated[AwareDatetime, AfterValidator(_sensible)]
"""A time with its zone."""


def _is_moment(text: str) -> str:
    """Refuse a text that is no date and time with a zone."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("has no time zone")
    _sensible(moment)
    return text


MomentText = Annotated[str, AfterValidator(_is_moment)]
"""A time in ISO 8601 with its zone, kept as it was written."""

FolderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
"""A level of a path: no separator, and neither . nor .. nor hidden."""


def _is_below(path: str) -> str:
    """Refuse a path that leads out of the folder that it is relative to."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path:
        raise ValueError("must be a path below its folder")
    return path


PathBelow = Annotated[str, AfterValidator(_is_below)]
"""A relative path with /."""

Fact = bool | Annotated[int, Field(ge=-INT64_MAX, le=INT64_MAX)] | float | str | None
"""A value of a record whose fields another program chose."""


def one_of(names: Iterable[str]) -> Any:
    """The constraint of a text that is one of these names."""
    return Field(pattern=f"^(?:{'|'.join(names)})$")
