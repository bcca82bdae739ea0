"""The base of all values and their hash."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict

SOUND = ConfigDict(allow_inf_nan=False, str_max_length=2**24)
"""Numbers are finite; texts are Unicode (which pydantic checks where their length is limited)."""


class Noun(BaseModel):
    """Base of all values: frozen, and no unknown key passes."""

    model_config = ConfigDict(frozen=True, extra="forbid", **SOUND)


def digest(value: Any, length: int = 12) -> str:
    """First `length` hex digits of the SHA-256 of the value's canonical JSON.

    The same on every machine.
    """
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )
    return text_sha256(text)[:length]


def text_sha256(text: str) -> str:
    """Hash of a text."""
    return hashlib.sha256(text.encode()).hexdigest()
