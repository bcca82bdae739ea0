"""Follow the trials of a data set that grows: look again and again, and read only what is new.

A sealed trial never changes, and the folder that contains it gets a new time when a trial appears
or goes. So a look checks the time of each such folder and the size of each running trial's file,
and reads only where one of them has changed.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.dataset.packed import PackedRecords
from orchestrator.dataset.paths import PARTIAL_SUFFIX, DataSetPaths, Stamp, holds, names_in, stamp
from orchestrator.dataset.schema import TrialRecord
from orchestrator.dataset.tables import Trials, gathered, read_running, read_sealed

FRESH_S = 5.0
"""A folder that changed less than this long ago is listed again at the next look.

File systems count time in steps, so a second change within the same step leaves no trace."""

ReadTrial = TrialRecord | str | None
"""What was read: a trial, a sentence why it can't be read, or None where nothing is there yet."""


@dataclass
class _TrialsFolder:
    """What is known of a folder that contains the trials of one use case."""

    time_ns: int = 0
    settled: bool = False
    """Whether the folder needs no listing as long as its time is `time_ns`."""
    sealed: dict[str, int | str | None] = field(default_factory=dict)
    """Name of a sealed trial's folder -> the trial's place in the records, or why it can't be read.
    """
    running: dict[str, tuple[Stamp | None, ReadTrial]] = field(default_factory=dict)
    """Name of a running trial's folder -> (the stamp of its file when it was read, the trial)."""


class Follower:
    """Follows the trials of a data set; it never writes."""

    def __init__(self, paths: DataSetPaths) -> None:
        self._paths = paths
        self._folders: dict[Path, _TrialsFolder] = {}
        self._records = PackedRecords()
        """Of all sealed trials that were read."""

    def look(self) -> bool:
        """Read what is new. Returns whether anything has changed."""
        folders = {
            path: self._folders.get(path, _TrialsFolder())
            for path in self._paths.use_case_folders()
        }
        changed = folders.keys() != self._folders.keys()
        self._folders = folders
        for path, folder in folders.items():
            changed |= self._list(path, folder)
            changed |= self._read_running(path, folder)
        return changed

    def trials(self) -> tuple[Trials, list[str]]:
        """The trials as of the last look, and a sentence for each that can't be read.

        Running trials are among them, with the executions that they have so far.
        """
        folders = [folder for _, folder in sorted(self._folders.items(), key=lambda item: item[0])]
        sealed = (self._sealed(one.sealed[name]) for one in folders for name in sorted(one.sealed))
        running = (one.running[name][1] for one in folders for name in sorted(one.running))
        return gathered(itertools.chain(sealed, running))

    def _sealed(self, kept: int | str | None) -> ReadTrial:
        """What was read of a sealed trial."""
        return self._records[kept] if isinstance(kept, int) else kept

    def _kept(self, trial: ReadTrial) -> int | str | None:
        """What was read of a sealed trial, as it is kept."""
        if trial is None or isinstance(trial, str):
            return trial
        self._records.append(trial)
        return len(self._records) - 1

    def _list(self, path: Path, folder: _TrialsFolder) -> bool:
        """List a folder if its time has changed. Returns whether its trials have changed."""
        now = stamp(path)
        if now is None or (folder.settled and now[0] == folder.time_ns):
            return False
        names = set(names_in(path))
        before = (set(folder.sealed), set(folder.running))
        # the time from before the listing: a change during it is seen at the next look
        folder.time_ns = now[0]
        folder.settled = abs(time.time_ns() - now[0]) > FRESH_S * 1e9
        hidden = {name for name in names if name.startswith(".")}
        new_trial = self._read_sealed(path, folder, names - hidden)
        folder.running = {
            name: folder.running.get(name, (None, None))
            for name in hidden
            if name.endswith(PARTIAL_SUFFIX) and self._paths.is_partial(path / name)
        }
        return new_trial or before != (set(folder.sealed), set(folder.running))

    def _read_sealed(self, path: Path, folder: _TrialsFolder, names: set[str]) -> bool:
        """Read the sealed trials that are new. Returns whether there was one."""
        # A trial that couldn't be read is tried again, hence it is forgotten here.
        folder.sealed = {
            name: trial
            for name, trial in folder.sealed.items()
            if name in names and not isinstance(trial, str)
        }
        new_trial = False
        for name in names - folder.sealed.keys():
            if holds(path / name, "trial.json"):
                folder.sealed[name] = self._kept(read_sealed(self._paths, path / name))
                new_trial = True
            else:
                # Somebody is copying this trial. When its trial.json comes, the time of the folder
                # that contains it will not change, so this must be listed again.
                folder.settled = False
        return new_trial

    def _read_running(self, path: Path, folder: _TrialsFolder) -> bool:
        """Read the running trials whose file has changed. Returns whether there was one."""
        changed = False
        for name, (before, _) in list(folder.running.items()):
            now = stamp(path / name / "executions.jsonl")
            if now is not None and now != before:
                folder.running[name] = (now, read_running(self._paths, path / name))
                changed = True
        return changed
