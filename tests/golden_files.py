"""Texts that are compared with files of the repository: UPDATE_GOLDEN=1 rewrites those files."""

from __future__ import annotations

import os
from pathlib import Path

from orchestrator.yaml_files import packaged_folder

GOLDEN = Path(__file__).parent / "golden"


def golden(name: str, text: str) -> None:
    """Assert that a text is a golden file's; paths of this machine are masked."""
    masked = text.replace(str(packaged_folder("search_spaces").parent), "<package>")
    assert_same(GOLDEN / name, masked.replace(str(Path.cwd()), "<here>"))


def assert_same(path: Path, text: str) -> None:
    """Assert that a file holds exactly this text, or write it there where an update is wanted."""
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")
