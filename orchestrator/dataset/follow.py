"""The trials of a data set that grows, looked at again and again: what hasn't changed isn't read again.

A sealed trial never changes, and one that appears or goes changes its leaf's time. So a look takes a leaf's time, a running
trial's size, and reads only what is new.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.dataset.paths import PARTIAL_SUFFIX, DataSetPaths, Stamp, stamp
from orchestrator.dataset.schema import TrialRecord
from orchestrator.dataset.tables import Trials, gathered, read_running, read_sealed

FRESH_S = 5.0
"""A leaf whose time is that near may change once more within its file system's tick: it is listed again."""

Found = TrialRecord | str | None
"""A trial, a line why it can't be read, or nothing yet."""


@dataclass
class _Leaf:
    """What is known of a leaf."""

    time_ns: int = 0
    settled: bool = False
    """Whether a look that finds the same time needs to list nothing."""
    sealed: dict[str, Found] = field(default_factory=dict)
    running: dict[str, tuple[Stamp | None, Found]] = field(default_factory=dict)


class Follower:
    """Follows a data set; reads only."""

    def __init__(self, paths: DataSetPaths) -> None:
        self._paths = paths
        self._leaves: dict[Path, _Leaf] = {}

    def look(self) -> bool:
        """Read what is new; whether anything is."""
        leaves = {path: self._leaves.get(path) or _Leaf() for path in self._paths.leaves()}
        changed = leaves.keys() != self._leaves.keys()
        self._leaves = leaves
        for path, leaf in leaves.items():
            changed |= self._list(path, leaf)
            changed |= self._read_running(path, leaf)
        return changed

    def trials(self) -> tuple[Trials, list[str]]:
        """What the last look left: sealed trials, running ones with what they have, and lines for what can't be read."""
        leaves = [self._leaves[path] for path in sorted(self._leaves)]
        sealed = [leaf.sealed[name] for leaf in leaves for name in sorted(leaf.sealed)]
        return gathered(
            [*sealed, *(leaf.running[name][1] for leaf in leaves for name in sorted(leaf.running))]
        )

    def _list(self, path: Path, leaf: _Leaf) -> bool:
        now = stamp(path)
        if now is None or (leaf.settled and now[0] == leaf.time_ns):
            return False
        try:
            names = {entry.name for entry in path.iterdir()}
        except OSError:  # it goes away just now
            return False
        before = (set(leaf.sealed), set(leaf.running))
        read = False
        leaf.time_ns = now[0]
        leaf.settled = abs(time.time_ns() - now[0]) > FRESH_S * 1e9
        hidden = {name for name in names if name.startswith(".")}
        # what couldn't be read is tried again with each listing
        leaf.sealed = {
            name: found
            for name, found in leaf.sealed.items()
            if name in names and not isinstance(found, str)
        }
        for name in names - hidden - leaf.sealed.keys():
            if (path / name / "trial.json").exists():
                leaf.sealed[name] = read_sealed(self._paths, path / name)
                read = True
            else:  # somebody copies it: its own file won't change the leaf's time
                leaf.settled = False
        running = (
            name
            for name in hidden
            if name.endswith(PARTIAL_SUFFIX) and self._paths.is_partial(path / name)
        )
        leaf.running = {name: leaf.running.get(name, (None, None)) for name in running}
        return read or before != (set(leaf.sealed), set(leaf.running))

    def _read_running(self, path: Path, leaf: _Leaf) -> bool:
        changed = False
        for name, (before, _) in list(leaf.running.items()):
            now = stamp(path / name / "executions.jsonl")
            if now is not None and now != before:
                leaf.running[name] = (now, read_running(self._paths, path / name))
                changed = True
        return changed
