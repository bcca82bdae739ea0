"""A held data set."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestrator.dataset.lock import Lock, held
from orchestrator.dataset.paths import DataSetPaths


@pytest.fixture
def lock(paths: DataSetPaths) -> Iterator[Lock]:
    with held(paths.root, lambda _line: None) as lock:
        yield lock
