"""A held data set."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestrator.dataset.lock import Lock, held
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.say import silent


@pytest.fixture
def lock(paths: DataSetPaths) -> Iterator[Lock]:
    with held(paths.root, silent) as lock:
        yield lock
