"""tests/data: the frozen data sets have the bytes that version 1 of the schema was written with."""

from __future__ import annotations

import hashlib
from pathlib import Path

DATA = Path(__file__).parents[1] / "data"
NOT_FROZEN = {"README.md", ".gitattributes", "checksums.sha256"}


def test_no_byte_of_the_frozen_data_sets_changed() -> None:
    frozen = {}
    for line in (DATA / "checksums.sha256").read_text(encoding="utf-8").splitlines():
        digest, name = line.split(maxsplit=1)
        frozen[name] = digest
    found = {}
    for path in DATA.rglob("*"):
        name = path.relative_to(DATA).as_posix()
        if path.is_file() and name not in NOT_FROZEN:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    assert found == frozen
