"""Reading files of a data set that may be damaged, edited, or somebody else's."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator.nouns import text_sha256
from orchestrator.outside_files import check_size, open_regular, read_text

JSON_LIMIT_BYTES = 128 * 2**20
"""Largest file of one JSON object: a hundred texts of 10,000 tokens are 10 MiB."""
HASHED_LIMIT_BYTES = 2 * 2**30
"""Largest file that is hashed: some seconds."""
MOST_VALUES = 2_000_000
"""In one JSON value; the largest plan, of 200,000 trials, has 1.4 million."""
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')
"""A text within JSON."""
NOT_AS_WRITTEN = (KeyError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What code raises that takes a file's content for what its version writes, and meets another."""


def content_sha256(content: dict[str, Any]) -> str:
    """Hash of a trial.json's parsed content without its own hash.

    Layout and order of keys don't matter.
    """
    rest = {key: value for key, value in content.items() if key != "sha256"}
    return text_sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")))


class TooManyValuesError(ValueError):
    """A JSON text holds more than any file of this program."""


def parsed(text: str, name: str) -> Any:
    """A JSON value. `name`: of the file, for messages.

    Raises ValueError where it is none, and TooManyValuesError before it is parsed: millions of
    empty lists take 20 times the memory of their text.
    """
    # a model may write a text of commas alone
    if _n_marks(text) > MOST_VALUES and _n_marks(_STRING.sub("", text)) > MOST_VALUES:
        raise TooManyValuesError(f"{name}: holds more than {MOST_VALUES:,} values")
    try:
        content = json.loads(text)
        json.dumps(content)  # a little deeper than it can be read it can't be hashed
    except RecursionError as error:
        raise ValueError(f"{name}: nested too deeply for a file of this program") from error
    return content


def _n_marks(text: str) -> int:
    """How many characters that precede a value stand in a JSON text, those in its texts too."""
    return sum(text.count(mark) for mark in "[{,")


def read_object(path: Path) -> dict[str, Any]:
    """A file's JSON object. Raises OSError, or ValueError where this program didn't write it."""
    text = read_text(path, limit_bytes=JSON_LIMIT_BYTES)
    try:
        content = parsed(text, path.name)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path.name}: isn't JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path.name}: holds no JSON object")  # noqa: TRY004 - the file is wrong
    return content


def bytes_sha256(data: bytes) -> str:
    """Hash of bytes."""
    return hashlib.sha256(data).hexdigest()


def file_sha256(path: Path) -> str:
    """Hash of a file's bytes.

    Raises OSError, or ValueError where it is no regular file or larger than any of a data set: a
    file that is all hole may say any size.
    """
    with open_regular(path) as stream:
        check_size(path, os.fstat(stream.fileno()).st_size, HASHED_LIMIT_BYTES)
        return hashlib.file_digest(stream, "sha256").hexdigest()


def list_in(content: dict[str, Any], name: str) -> list[Any]:
    """A list in a file's content.

    Raises KeyError where it is missing, TypeError where it is none: other values can be iterated
    over, too, and would pass for a list.
    """
    value = content[name]
    if not isinstance(value, list):
        raise TypeError(f"{name} is no list")
    return value


def first_fault(error: ValidationError) -> str:
    """Where a record differs from the schema, and how."""
    item = error.errors(include_url=False, include_input=False, include_context=False)[0]
    what = item["msg"].removeprefix("Value error, ")
    if not item["loc"]:  # a fault of the whole, as a prompt that the trial doesn't have
        return what
    return f"{'.'.join(map(str, item['loc']))}: {what}"


def reason_of(error: Exception) -> str:
    """What is wrong with a file of a data set, on one line."""
    if isinstance(error, ValidationError):
        return first_fault(error)
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    if isinstance(error, KeyError):
        return f"{error} is missing"
    if isinstance(error, NOT_AS_WRITTEN):
        return f"not as its version writes it ({error})".partition("\n")[0]
    return str(error).partition("\n")[0]
