"""Random lives of a sweep: workers, disks, signals and whole drivers fail at any moment.

No execution is lost or doubled.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orchestrator.check.folders import validate_folders
from orchestrator.dataset.leftovers import alone
from orchestrator.dataset.lock import LOCK_FILE, held
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.remaining import FinishedExecutions
from orchestrator.dataset.tables import read_all
from orchestrator.dataset.trial_files import append, read_trial, seal_left
from orchestrator.nouns import TrialSpec
from orchestrator.say import silent
from tests import builders
from tests.ray_tune.fake_tune import FakeTune, Trial, assignment

AT_ONCE = 3


class SweepLife(RuleBasedStateMachine):
    """The data set is real; Tune and its workers are played."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(os, "fsync", lambda _handle: None)  # nothing here cuts the power
        self.patch.setattr("orchestrator.dataset.recorder.time.sleep", lambda _s: None)
        self.stack = contextlib.ExitStack()
        self.root = Path(tempfile.mkdtemp(prefix="sweep-life-"))
        self.paths = DataSetPaths(self.root / "measurements")
        self.plan: list[TrialSpec] = []
        self.run: FakeTune | None = None
        self.sealed: dict[Path, dict[str, bytes]] = {}
        """Every folder that was ever sealed, as it was first seen."""
        self.measured: dict[str | None, tuple[Any, int]] = {}
        """Text -> (trial, prompt) of all executions that were told and not told before."""
        self.n_drivers = 0

    def teardown(self) -> None:
        try:
            self.check_the_end()
        finally:
            self.stack.close()
            self.patch.undo()
            shutil.rmtree(self.root)

    # --- drivers

    @initialize(n_trials=st.integers(2, 5), n_prompts=st.integers(2, 3))
    def planned(self, n_trials: int, n_prompts: int) -> None:
        prompts = builders.prompts()[:n_prompts]
        self.plan = [
            builders.spec(config_index=index, prompts=prompts) for index in range(n_trials)
        ]
        self.open()

    def open(self) -> None:
        """As `tune` does at its start."""
        self.n_drivers += 1
        lock = self.stack.enter_context(held(self.paths.root, silent))
        seal_left(self.paths)
        with alone(self.paths, silent):
            pass  # only to remove what killed writers left
        trials, faults = read_all(self.paths)
        assert faults == []
        finished = FinishedExecutions(trials, "pc")
        missing = [left for spec in self.plan if (left := finished.missing(spec))]
        orders = [record.spec.order_index for record in trials.records()]
        self.run = FakeTune(
            self.paths,
            lock,
            [assignment(spec) for spec in missing],
            trials,
            orders=itertools.count(max(orders, default=-1) + 1),
        )

    @property
    def now(self) -> FakeTune:
        assert self.run is not None
        return self.run

    def worker(self, data: st.DataObject) -> Trial | None:
        """One that works on a trial; a driver and trials are started if need be.

        None: nothing is left.
        """
        if self.run and self.run.halt.stop_all():
            self.driver_ends()
        if self.run is None:
            self.open()
        while (
            not self.now.halt.ending()
            and len(self.now.live) < AT_ONCE
            and (trial := self.now.hand_out())
        ):
            self.now.start(trial)
        working = [trial for trial in self.now.live.values() if trial.started]
        return data.draw(st.sampled_from(working)) if working else None

    def result(self, trial: Trial, **changes: Any) -> int:
        """A worker finishes its next prompt."""
        prompt = next(number for number in trial.numbers() if number not in trial.given)
        text = f"{self.n_drivers} {trial.trial_id} {prompt}"
        self.now.give(trial, prompt, output_text=text, **changes)
        self.measured[text] = (trial.spec.key(), prompt)
        return prompt

    @rule(data=st.data(), twice=st.booleans(), year=st.sampled_from(["1999", "2026", "2050"]))
    def prompt_is_done(self, data: st.DataObject, twice: bool, year: str) -> None:
        """Told once, or once more; under any clock."""
        if trial := self.worker(data):
            prompt = self.result(trial, started_at=f"{year}-01-01T00:00:00.000+00:00")
            if twice:
                self.now.give(trial, prompt, output_text="told again")

    @rule(data=st.data())
    def worker_loads(self, data: st.DataObject) -> None:
        if trial := self.worker(data):
            self.now.ready(trial, loaded_here=True)

    @rule(data=st.data(), n_bytes=st.sampled_from([0, 1, 200, None]), times=st.integers(1, 3))
    def prompt_is_done_on_a_full_disk(
        self, data: st.DataObject, n_bytes: int | None, times: int
    ) -> None:
        """Appending fails some times, with any part of its line on the disk."""
        left = times

        def full(paths: DataSetPaths, spec: TrialSpec, *arguments: Any, **more: Any) -> None:
            nonlocal left
            lines = paths.partial("pc", spec) / "executions.jsonl"
            before = lines.stat().st_size if lines.exists() else 0
            append(paths, spec, *arguments, **more)
            if left:
                left -= 1
                if n_bytes is not None:
                    os.truncate(lines, before + n_bytes)
                raise OSError(errno.ENOSPC, "no space")

        trial = self.worker(data)
        if trial and not self.now.halt.ending():
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("orchestrator.dataset.recorder.append", full)
                self.result(trial)
            assert left == 0

    @rule(
        data=st.data(),
        name=st.sampled_from(["trial.json", "output.txt", "executions.parquet"]),
        lost=st.booleans(),
    )
    def sealing_meets_a_full_disk(self, data: st.DataObject, name: str, lost: bool) -> None:
        real, left = Path.replace, 1

        def full(path: Path, target: Path) -> Path:
            nonlocal left
            if target.name == name and left:
                left = 0
                raise OSError(errno.ENOSPC, "no space")
            return real(path, target)

        trial = self.worker(data)
        if trial and not self.now.halt.ending():
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Path, "replace", full)
                self.result(trial)
                if lost:
                    self.now.lose(trial)

    @rule(data=st.data(), n_done=st.integers(0, 3))
    def worker_is_lost(self, data: st.DataObject, n_done: int) -> None:
        """After some prompts more; and its next one comes all the same, late."""
        if trial := self.worker(data):
            while n_done and trial.trial_id in self.now.live:
                self.result(trial)
                n_done -= 1
            self.now.lose(trial)
            late = trial.numbers()[0]
            self.now.give(trial, late, output_text="of a worker that was given up")

    @rule(data=st.data())
    def worker_is_lost_before_its_trial_begins(self, data: st.DataObject) -> None:
        if self.run and not self.run.halt.ending() and (trial := self.run.hand_out()):
            self.run.lose(trial)

    @precondition(lambda self: self.run and self.run.live)
    @rule()
    def drain(self) -> None:
        self.now.halt.drain("SIGTERM")

    @precondition(lambda self: self.run and self.n_results_of_driver() > 1)
    @rule()
    def driver_ends(self) -> None:
        """In good order, with whatever still runs."""
        self.now.callback.close()
        self.stack.close()
        self.run = None
        assert [p.name for p in self.paths.root.rglob(".*")] == [], "nothing hidden is left"

    @precondition(lambda self: self.run and self.n_results_of_driver() > 1)
    @rule(n_bytes=st.sampled_from([0, 1, 30, 500]), zeros=st.booleans(), trash=st.booleans())
    def driver_is_killed(self, n_bytes: int, zeros: bool, trash: bool) -> None:
        """At once.

        A line may be torn or not be on the disk yet, a file half-written, the lock's file left.
        """
        line = builders.measured(1, output_text="x" * 500).model_dump_json().encode()
        torn = b"\0" * n_bytes if zeros else line[:n_bytes]
        holder = (self.paths.root / LOCK_FILE).read_bytes()
        self.stack.close()
        self.run = None
        (self.paths.root / LOCK_FILE).write_bytes(
            holder.replace(b'"process": "', b'"process": "another ')
        )
        for folder in self.paths.partial_trials():
            with (folder / "executions.jsonl").open("ab") as stream:
                stream.write(torn)
            if trash:
                (folder / ".trial.json.01234567.tmp").write_bytes(b"half")
                (folder / "emissions.csv").write_bytes(b"old")
        if trash:
            (self.paths.root / ".summary.parquet.01234567.tmp").write_bytes(b"half")

    def n_results_of_driver(self) -> int:
        return self.now.callback.n_written

    # --- what always holds

    @invariant()
    def sealed_folders_never_change(self) -> None:
        for folder in self.paths.sealed_trials():
            content = {p.name: p.read_bytes() for p in folder.iterdir()}
            if self.sealed.setdefault(folder, content) != content:
                raise AssertionError(f"{folder.name} changed after it was sealed")
        assert set(self.sealed) <= set(self.paths.sealed_trials()), "one is gone"

    def check_the_end(self) -> None:
        """Run what is missing without any fault.

        Then the data set is whole, and each execution is there once.
        """
        if not self.plan:
            return
        if self.run:
            self.driver_ends()
        self.open()
        while trial := self.now.hand_out():
            self.now.start(trial)
            while trial.trial_id in self.now.live:
                self.result(trial)
        assert self.now.finished
        self.driver_ends()
        self.sealed_folders_never_change()
        records = [read_trial(folder, self.paths.root) for folder in self.paths.sealed_trials()]
        measured = [(r.spec.key(), e.prompt_number) for r in records for e in r.executions]
        wanted = [(spec.key(), prompt.number) for spec in self.plan for prompt in spec.prompts]
        assert sorted(measured) == sorted(wanted), "every execution exactly once"
        texts = {
            e.output_text: (r.spec.key(), e.prompt_number) for r in records for e in r.executions
        }
        assert texts == self.measured, "each the one that was measured first"
        orders = [record.spec.order_index for record in records]
        assert len(set(orders)) == len(orders), "no place was given twice"
        faults = validate_folders(self.paths, running=False)[1]
        assert [fault for fault in faults if "started_at" not in fault.what] == [], (
            "but for the clocks that were played"
        )
        assert {fault.severity for fault in faults} <= {"warning"}


TestSweepLife = SweepLife.TestCase
TestSweepLife.settings = settings(max_examples=20, stateful_step_count=25, deadline=None)
