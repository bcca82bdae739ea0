"""How a column of a table is declared: meaning, unit, when it is null, how it is derived."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel


@dataclass(frozen=True)
class Column:
    """What a column means."""

    meaning: str
    unit: str = ""
    null: str = ""
    """When the value is null; empty: never."""
    derived: Callable[[Any], Any] | None = None
    """Computes the value from the source that the row's model names; None: the value is given."""


def columns_of(row: type[BaseModel]) -> Iterator[tuple[str, Any, Column]]:
    """(name, Python type, Column) of each field of a row's model, in order.

    Raises TypeError for a field that is not declared as a column.
    """
    for name, field in row.model_fields.items():
        column = next((item for item in field.metadata if isinstance(item, Column)), None)
        if column is None:
            raise TypeError(f"{row.__name__}.{name} is not declared as a Column")
        yield name, field.annotation, column


def derived_values(row: type[BaseModel], source: Any) -> dict[str, Any]:
    """The values of all derived columns of a row's model, computed from `source`.

    `source`: whatever the columns' `derived` functions take. Columns without one are left out.
    """
    values = {}
    for name, _, column in columns_of(row):
        if column.derived is not None:
            values[name] = column.derived(source)
    return values
