"""The driver's callback, fed as Tune does.

Executions reach the disk once, whatever workers, disk and signals do.
"""

from __future__ import annotations

import errno
import itertools
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from orchestrator.dataset import recorder, tables
from orchestrator.dataset.drift import Conditions, StartConditions
from orchestrator.dataset.lock import Lock
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.schema import Execution
from orchestrator.dataset.tables import read_all
from orchestrator.dataset.trial_files import Origin, read_partial, read_trial, seal_left
from orchestrator.nouns import TrialSpec
from orchestrator.ray_tune.callback import REASON_LENGTH, DataSetCallback
from orchestrator.ray_tune.halt import Halt
from orchestrator.ray_tune.observers import Observer
from orchestrator.ray_tune.retry import MAX_LOSSES
from orchestrator.ray_tune.trainable import HandedOut
from tests import builders
from tests.ray_tune.fake_tune import FakeTune, Trial, assignment

Sweep = Callable[..., FakeTune]

STARTED = Conditions(engine="simulated", versions={"torch": "2.11"}, gpu_name=None)


@pytest.fixture
def sweep(paths: DataSetPaths, lock: Lock) -> Sweep:
    """A sweep of some trials of three prompts."""

    def make(n: int = 1, **searcher: Any) -> FakeTune:
        return FakeTune(
            paths, lock, [assignment(config_index=index) for index in range(n)], **searcher
        )

    return make


def on_disk(paths: DataSetPaths) -> list[tuple[int, int, int, str | None]]:
    """(config_index, prompt, attempt, text) of every execution of every sealed folder."""
    assert paths.partial_trials() == []
    records = [read_trial(folder, paths.root) for folder in paths.sealed_trials()]
    return sorted(
        (r.spec.config_index, e.prompt_number, r.spec.attempt, e.output_text)
        for r in records
        for e in r.executions
    )


def rows_of(paths: DataSetPaths) -> list[tuple[int, int, int]]:
    return [(index, prompt, attempt) for index, prompt, attempt, _ in on_disk(paths)]


def lines(paths: DataSetPaths, trial: Trial) -> int:
    return len((paths.partial("pc", trial.spec) / "executions.jsonl").read_text().splitlines())


# --- the way of a trial ---------------------------------------------------------------------------


def test_each_execution_is_on_the_disk_before_the_next(sweep: Sweep, paths: DataSetPaths) -> None:
    run = sweep()
    trial = run.start(loading=True)
    run.ready(trial, loaded_here=True)
    for prompt in (1, 2):
        run.give(trial, prompt)
        assert lines(paths, trial) == prompt
    run.give(trial, 3)
    assert run.seen.events == [
        "model loaded",
        "execution 0 1",
        "execution 0 2",
        "execution 0 3",
        "sealed 0 a1",
    ]
    assert rows_of(paths) == [(0, 1, 1), (0, 2, 1), (0, 3, 1)]
    assert pq.read_metadata(paths.executions).num_rows == 3
    assert pq.read_metadata(paths.summary).num_rows == 1
    assert run.callback.n_written == 3


def test_rows_of_a_batch_are_written_together(sweep: Sweep, paths: DataSetPaths) -> None:
    run = sweep()
    trial = run.start()
    run.give_batch(trial, 1, 2)
    assert lines(paths, trial) == 2
    run.give_batch(trial, 1, 2)
    assert (lines(paths, trial), run.callback.n_written) == (2, 2), "told twice, written once"
    run.give(trial, 3)
    assert rows_of(paths) == [(0, 1, 1), (0, 2, 1), (0, 3, 1)]


def test_a_worker_that_is_lost_in_a_batch_leaves_the_whole_batch(
    sweep: Sweep, paths: DataSetPaths
) -> None:
    run = sweep()
    trial = run.start()
    run.give_batch(trial, 1, 2)
    run.lose(trial)
    again = run.start()
    assert again.numbers() == [3]


def test_a_prompt_that_is_told_twice_is_written_once(sweep: Sweep, paths: DataSetPaths) -> None:
    run = sweep()
    trial = run.start()
    run.give(trial, 1, output_text="first")
    run.give(trial, 1, output_text="again")
    run.give(trial, 2)
    run.give(trial, 3)
    assert on_disk(paths)[0][-1] == "first"
    assert run.seen.events.count("execution 0 1") == 1
    assert run.callback.n_written == 3


def test_results_of_a_trial_that_was_not_started_are_ignored(
    sweep: Sweep, paths: DataSetPaths
) -> None:
    run = sweep()
    unknown = Trial("unknown", {"assignment": HandedOut(assignment(config_index=7))})
    run.ready(unknown)
    run.give(unknown, 1)
    assert run.seen.events == []
    assert not list(paths.root.glob("pc*"))


def test_results_of_a_trial_that_ended_are_ignored(sweep: Sweep, paths: DataSetPaths) -> None:
    """A worker that was given up may still finish its prompt."""
    run = sweep()
    trial = run.start()
    run.give(trial, 1)
    run.lose(trial)
    events = list(run.seen.events)
    run.give(trial, 2)
    run.give(trial, 3)
    assert run.seen.events == events
    assert rows_of(paths) == [(0, 1, 1)]


def test_two_trials_at_once_keep_apart(sweep: Sweep, paths: DataSetPaths) -> None:
    run = sweep(2)
    first, second = run.start(), run.start()
    for prompt in (1, 2, 3):
        run.give(second, prompt, output_text=f"second {prompt}")
        run.give(first, prompt, output_text=f"first {prompt}")
    assert [text for *_, text in on_disk(paths)] == [
        f"{name} {n}" for name in ("first", "second") for n in (1, 2, 3)
    ]


def test_memory_that_ran_out_is_told_to_the_searcher(sweep: Sweep) -> None:
    run = sweep(2)
    trial = run.start()
    run.give(trial, 1, **builders.FAILED, effective_max_length=90)
    run.give(trial, 2, **builders.FAILED, effective_max_length=80)
    run.give(trial, 3, **(builders.FAILED | {"error_kind": "timeout"}), effective_max_length=10)
    assert run.start().assignment.oom_tokens == {"pc": 80}


def test_it_can_be_pickled_as_tune_does(sweep: Sweep) -> None:
    assert isinstance(pickle.loads(pickle.dumps(sweep().callback)), DataSetCallback)


# --- workers that are lost ------------------------------------------------------------------------

GONE = "its worker or node died"


@pytest.mark.parametrize("n_done", [0, 1, 2])
def test_what_a_lost_worker_left_goes_to_another(
    sweep: Sweep, paths: DataSetPaths, n_done: int
) -> None:
    run = sweep()
    trial = run.start()
    for prompt in range(1, n_done + 1):
        run.give(trial, prompt, output_text="old")
    run.lose(trial)
    rest = list(range(n_done + 1, 4))
    assert run.seen.events[-1] == f"lost 0 [{','.join(map(str, rest))}] again: {GONE}"
    assert rows_of(paths) == [(0, p, 1) for p in range(1, n_done + 1)], "sealed with what it has"
    again = run.start()
    attempt = 2 if n_done else 1
    assert (again.numbers(), again.spec.attempt, again.assignment.losses) == (
        rest,
        attempt,
        0 if n_done else 1,
    )
    run.whole(again)
    assert rows_of(paths) == [(0, p, 1 if p <= n_done else attempt) for p in (1, 2, 3)]
    assert run.hand_out() is None
    assert run.finished


def test_a_worker_lost_before_its_trial_began(sweep: Sweep, paths: DataSetPaths) -> None:
    run = sweep()
    trial = run.hand_out()
    assert trial is not None
    run.lose(trial)
    assert run.seen.events == [f"lost 0 [1,2,3] again: {GONE}"]
    run.whole(run.start())
    assert len(rows_of(paths)) == 3


def test_a_worker_lost_after_the_last_prompt_changes_nothing(
    sweep: Sweep, paths: DataSetPaths
) -> None:
    """Tune may report the end of an actor whose trial is over."""
    run = sweep()
    trial = run.start()
    run.whole(trial)
    events = list(run.seen.events)
    run.lose(trial)
    assert run.seen.events == events
    assert run.hand_out() is None
    assert run.finished


def test_a_loss_that_is_told_twice_counts_once(sweep: Sweep) -> None:
    run = sweep()
    trial = run.start()
    run.lose(trial)
    run.lose(trial)
    assert len(run.seen.events) == 1
    assert run.hand_out() is not None
    assert run.hand_out() is None


def test_a_trial_that_kills_its_workers_is_given_up(sweep: Sweep, paths: DataSetPaths) -> None:
    run = sweep(2)
    for losses in range(MAX_LOSSES):
        trial = run.start()
        if losses == 0:
            other = run.start()
        assert (trial.spec.config_index, trial.assignment.losses) == (0, losses)
        run.lose(trial)
    assert [event.rpartition("]")[2] for event in run.seen.events] == [f" again: {GONE}"] * 2 + [
        f" given up: {GONE}"
    ]
    assert run.hand_out() is None
    run.whole(other)
    assert run.hand_out() is None
    assert run.finished
    assert {index for index, *_ in on_disk(paths)} == {1}


def test_progress_makes_up_for_losses(sweep: Sweep, paths: DataSetPaths) -> None:
    """Each worker but every third finishes a prompt: that is a bad host, not a bad trial."""
    run = sweep()
    for prompt in (1, 2, 3):
        for _ in range(MAX_LOSSES - 1):
            run.lose(run.start())
        trial = run.start()
        run.give(trial, prompt)
        if prompt < 3:
            run.lose(trial)
    assert rows_of(paths) == [(0, 1, 1), (0, 2, 2), (0, 3, 3)]
    assert not any("given up" in event for event in run.seen.events)


def test_the_reason_is_the_last_line_of_tune_s_error_file(sweep: Sweep, tmp_path: Path) -> None:
    file = tmp_path / "error.txt"
    file.write_bytes(
        b"Traceback ...\n  more\nray.exceptions.ActorDiedError: killed \xff" + b"x" * 400 + b"\n\n"
    )
    run = sweep()
    run.lose(run.start(), file)
    reason = run.seen.events[-1].partition("again: ")[2]
    assert reason.startswith("ray.exceptions.ActorDiedError: killed ")
    assert len(reason) == REASON_LENGTH


@pytest.mark.parametrize("make", [None, "empty", "missing"])
def test_without_a_reason_it_is_the_worker(sweep: Sweep, tmp_path: Path, make: str | None) -> None:
    file = tmp_path / "error.txt" if make else None
    if make == "empty":
        (tmp_path / "error.txt").write_text("\n")
    run = sweep()
    run.lose(run.start(), file)
    assert run.seen.events[-1].endswith(GONE)


def test_a_second_folder_of_the_same_attempt_is_bumped(sweep: Sweep, paths: DataSetPaths) -> None:
    """Another data set was copied into this one after it was read."""
    builders.seal_trial(paths, builders.spec(), [builders.measured(1, output_text="copied")])
    run = sweep()
    trial = run.start()
    run.give(trial, 1)
    run.lose(trial)
    assert run.seen.events[1] == "sealed 0 a2"
    run.whole(run.start())
    assert rows_of(paths) == [(0, 1, 1), (0, 1, 2), (0, 2, 3), (0, 3, 3)]


# --- the end --------------------------------------------------------------------------------------


def test_draining_lets_the_running_prompt_finish(sweep: Sweep, paths: DataSetPaths) -> None:
    run = sweep(2)
    first, second = run.start(), run.start()
    run.give(first, 1)
    run.halt.drain("SIGUSR1")
    assert not run.halt.stop_all()
    run.give(first, 2)
    assert not run.halt.stop_all(), "the other one still runs its first"
    run.give(second, 1)
    assert run.halt.stop_all()
    run.callback.close()
    assert rows_of(paths) == [(0, 1, 1), (0, 2, 1), (1, 1, 1)]
    assert run.live == {}


def test_the_result_that_reaches_a_limit_is_its_trial_s_last(
    sweep: Sweep, paths: DataSetPaths
) -> None:
    """Tune asks whether a trial goes on before it tells the callbacks."""

    class Limit(Observer):
        halt = Halt()

        def execution_recorded(self, _spec: TrialSpec, _from: Origin, _one: Execution) -> None:
            self.halt.drain("--max-kwh")

    limit = Limit()
    run = sweep(2, observers=[limit])
    limit.halt = run.halt
    trial = run.start()
    run.give(trial, 1)
    assert run.live == {}
    assert run.halt.stop_all()
    assert rows_of(paths) == [(0, 1, 1)]


def test_a_result_that_tune_asks_about_twice_is_taken_in_once(
    sweep: Sweep, paths: DataSetPaths
) -> None:
    run = sweep()
    trial = run.start(loading=True)
    for result in (
        (
            ready := {
                "event": "ready",
                "origin": builders.origin(trial.spec).model_dump_json(),
            }
        ),
        ready,
    ):
        assert run.stopper(trial.trial_id, result) is False
    run.whole(trial)
    assert rows_of(paths) == [(0, 1, 1), (0, 2, 1), (0, 3, 1)]


def test_draining_does_not_wait_for_a_model_that_is_loaded(
    sweep: Sweep, paths: DataSetPaths
) -> None:
    run = sweep(2)
    first, second = run.start(), run.start(loading=True)
    run.halt.drain("SIGTERM")
    assert run.callback.n_running() == 1
    run.give(first, 1)
    assert run.halt.stop_all()
    run.callback.close()
    assert rows_of(paths) == [(0, 1, 1)]
    assert second.trial_id in run.live


def test_a_trial_that_is_handed_out_before_draining_begins_no_prompt(
    sweep: Sweep, paths: DataSetPaths
) -> None:
    run = sweep(2)
    first, waiting = run.start(), run.hand_out()
    run.halt.drain("SIGTERM")
    waiting = run.start(waiting)
    assert waiting.trial_id not in run.live, "it ended as soon as it told that it is ready"
    run.give(first, 1)
    assert run.halt.stop_all()
    run.callback.close()
    assert rows_of(paths) == [(0, 1, 1)]


def test_a_loss_while_draining_is_not_started_again(sweep: Sweep, paths: DataSetPaths) -> None:
    run = sweep()
    trial = run.start()
    run.give(trial, 1)
    run.halt.drain("SIGTERM")
    run.lose(trial)
    assert run.seen.events[-1] == f"lost 0 [2,3] given up: {GONE}"
    assert run.halt.stop_all()
    assert rows_of(paths) == [(0, 1, 1)]


def test_a_loss_after_the_searcher_ended_is_not_started_again(
    sweep: Sweep, paths: DataSetPaths
) -> None:
    """A budget allows no further trial: Tune asks no more."""
    answers = iter([None, "--max-hours"])
    run = sweep(2, allows=lambda _assignment: next(answers))
    trial = run.start()
    assert run.hand_out() is None
    assert run.finished
    run.give(trial, 1)
    run.lose(trial)
    assert run.seen.events[-1] == f"lost 0 [2,3] given up: {GONE}"


def test_a_worker_that_gives_up_ends_the_sweep(sweep: Sweep, paths: DataSetPaths) -> None:
    run = sweep(2)
    first, second = run.start(), run.start()
    run.give(first, 1)
    run.tell(second, {"event": "fatal", "message": "gated", "done": True})
    assert run.halt.fatal == "gated"
    assert not run.halt.stop_all(), "the other one still runs its second"
    run.give(first, 2)
    assert run.halt.stop_all()
    run.callback.close()
    assert rows_of(paths) == [(0, 1, 1), (0, 2, 1)]


def test_close_seals_what_runs_and_takes_nothing_more(sweep: Sweep, paths: DataSetPaths) -> None:
    run = sweep(3)
    first, second, third = run.start(), run.start(), run.start()
    run.give(first, 1)
    run.give(second, 2)
    run.callback.close()
    before = on_disk(paths)
    assert [row[:3] for row in before] == [(0, 1, 1), (1, 2, 1)]
    run.give(first, 2)
    run.give(third, 1)
    run.lose(second)
    run.callback.on_trial_start(trial=third)
    run.give(third, 2)
    run.callback.close()
    assert on_disk(paths) == before
    assert pq.read_metadata(paths.executions).num_rows == 2


# --- drift ----------------------------------------------------------------------------------------

OTHER = {"versions": {"torch": "9.9"}}
CHANGE = "torch 2.11 -> 9.9"


@pytest.mark.parametrize("started", [True, False])
def test_other_conditions_end_the_sweep_before_a_prompt(
    sweep: Sweep, paths: DataSetPaths, started: bool
) -> None:
    """Than those of an earlier run, or of another node of the same kind in the first run."""
    run = sweep(
        2,
        start=StartConditions({"pc": [STARTED]} if started else {}),
    )
    if not started:
        first = run.start()
        run.give(first, 1)
    second = run.start(loading=True)
    run.ready(second, environment=OTHER)
    assert run.halt.fatal
    assert f"was started on pc under other conditions: {CHANGE}; restore them" in run.halt.fatal
    assert second.trial_id not in run.live, "its worker begins none"
    run.give(second, 1)
    if not started:
        assert not run.halt.stop_all(), "what runs where all is as it was is not lost"
        run.give(first, 2)
    assert run.halt.stop_all()
    run.callback.close()
    assert rows_of(paths) == ([] if started else [(0, 1, 1), (0, 2, 1)])


@pytest.mark.parametrize("accept", [True, False])
def test_a_worker_with_other_weights_ends_the_sweep_before_a_prompt(
    sweep: Sweep, paths: DataSetPaths, accept: bool
) -> None:
    """Also with --accept-drift: rows of other weights would be those of another model."""
    weights = {"model.safetensors": "a" * 64}
    run = sweep(2, start=StartConditions({}, {"smollm2": weights}, accept=accept))
    trial = run.start(loading=True)
    run.ready(trial, environment={"model_sha256": {"model.safetensors": "b" * 64}})
    assert run.halt.fatal
    assert (
        "was started with other weights of smollm2 than pc has: model.safetensors sha256 "
        "aaaaaaaa... is now sha256 bbbbbbbb...; stage the same ones there with "
        "`orchestrator models stage smollm2 --again`"
    ) in run.halt.fatal
    assert trial.trial_id not in run.live, "its worker begins none"
    run.callback.close()
    assert rows_of(paths) == []


def test_accepted_drift_is_written_into_the_rows(sweep: Sweep, paths: DataSetPaths) -> None:
    run = sweep(
        2,
        start=StartConditions({"pc": [STARTED]}, accept=True),
    )
    same, other = run.start(), run.start(loading=True)
    run.ready(other, environment=OTHER)
    run.whole(same)
    run.whole(other)
    assert run.halt.fatal is None
    first, second = (read_trial(folder) for folder in paths.sealed_trials())
    assert (first.environment.drift, second.environment.drift) == ((), (CHANGE,))
    assert not any(
        "drift" in word for e in first.executions for word in (*e.warning_flags, *e.notes)
    )
    assert all(
        "drift" in e.warning_flags and e.notes[-1] == f"drift: {CHANGE}" for e in second.executions
    )


# --- the disk -------------------------------------------------------------------------------------


class Disk:
    """Fails as it is told to, some times or (None) for ever."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.slept: list[float] = []
        monkeypatch.setattr(recorder.time, "sleep", self.slept.append)

    def _failing(
        self, real: Callable[..., Any], number: int, times: int | None, wanted: Callable[..., bool]
    ) -> Callable[..., Any]:
        left = [times]

        def call(*arguments: Any, **more: Any) -> Any:
            if wanted(*arguments) and left[0] != 0:
                left[0] = None if left[0] is None else left[0] - 1
                raise OSError(number, os.strerror(number))
            return real(*arguments, **more)

        return call

    def append(self, number: int, times: int | None = None) -> None:
        """Appending fails before anything is written."""
        self._monkeypatch.setattr(
            recorder, "append", self._failing(recorder.append, number, times, lambda *_: True)
        )

    def torn_append(self, number: int, n_bytes: int) -> None:
        """The next append stops in the middle of its line."""
        real = recorder.append
        torn: list[int] = []

        def call(paths: DataSetPaths, spec: Any, *arguments: Any, **more: Any) -> None:
            lines = paths.partial("pc", spec) / "executions.jsonl"
            before = lines.stat().st_size if lines.exists() else 0
            real(paths, spec, *arguments, **more)
            if not torn:
                torn.append(1)
                os.truncate(lines, before + n_bytes)
                raise OSError(number, os.strerror(number))

        self._monkeypatch.setattr(recorder, "append", call)

    def rename_to(self, name: str, number: int, times: int | None = None) -> None:
        """A file can't be put in its place."""
        wanted = lambda _self, target: target.name == name  # noqa: E731
        self._monkeypatch.setattr(
            Path, "replace", self._failing(Path.replace, number, times, wanted)
        )


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("prompt", [1, 2, 3])
def test_a_full_disk_pauses_until_there_is_room(
    sweep: Sweep, paths: DataSetPaths, disk: Disk, number: int, prompt: int
) -> None:
    run = sweep()
    trial = run.start()
    for n in range(1, prompt):
        run.give(trial, n)
    disk.append(number, times=3)
    for n in range(prompt, 4):
        run.give(trial, n)
    assert disk.slept == [recorder.DISK_POLL_S] * 3
    told = [e for e in run.seen.events if e.startswith("disk full")]
    assert told == [f"disk full: {os.strerror(number)}: {recorder.WAITING}"], "once a pause"
    assert rows_of(paths) == [(0, 1, 1), (0, 2, 1), (0, 3, 1)]
    assert run.callback.error is None


@pytest.mark.parametrize("n_bytes", [0, 1, 100, 10_000_000])
@pytest.mark.parametrize("prompt", [1, 2])
def test_a_torn_line_of_a_full_disk_loses_and_doubles_nothing(
    sweep: Sweep, paths: DataSetPaths, disk: Disk, n_bytes: int, prompt: int
) -> None:
    """Up to a whole line: only making it durable failed."""
    run = sweep()
    trial = run.start()
    if prompt == 2:
        run.give(trial, 1)
    whole = n_bytes > 10_000
    disk.torn_append(
        errno.ENOSPC,
        len(builders.measured(prompt, of=trial.spec).model_dump_json()) + 1 if whole else n_bytes,
    )
    for n in range(prompt, 4):
        run.give(trial, n)
    assert [text for *_, text in on_disk(paths)] == [f"Text of prompt {n}." for n in (1, 2, 3)]
    assert len(run.seen.events) == 5


@pytest.mark.parametrize("name", ["emissions.csv", "output.txt", "trial.json"])
def test_a_full_disk_while_sealing_pauses(
    sweep: Sweep, paths: DataSetPaths, disk: Disk, name: str
) -> None:
    run = sweep()
    trial = run.start()
    disk.rename_to(name, errno.ENOSPC, times=2)
    run.whole(trial)
    assert run.seen.events[-2:] == [
        f"disk full: No space left on device: {recorder.WAITING}",
        "sealed 0 a1",
    ]
    assert len(rows_of(paths)) == 3
    assert sorted(p.name for p in paths.trial("pc", trial.spec).iterdir()) == [
        "emissions.csv",
        "output.txt",
        "trial.json",
    ]


@pytest.mark.parametrize("name", ["executions.parquet", "summary.parquet"])
def test_a_full_disk_while_the_tables_are_written_pauses(
    sweep: Sweep, paths: DataSetPaths, disk: Disk, name: str
) -> None:
    run = sweep(2)
    disk.rename_to(name, errno.ENOSPC, times=2)
    run.whole(run.start())
    run.whole(run.start())
    assert run.seen.events.count(f"disk full: No space left on device: {recorder.WAITING}") == 1
    assert [record.spec.config_index for record in run.trials.records()] == [0, 1], "taken in once"
    assert pq.read_metadata(paths.executions).num_rows == 6
    assert pq.read_metadata(paths.summary).num_rows == 2


@pytest.mark.parametrize("drain", [True, False])
def test_a_pause_ends_with_the_sweep(
    sweep: Sweep, disk: Disk, monkeypatch: pytest.MonkeyPatch, drain: bool
) -> None:
    """By a signal, or when it took too long."""
    run = sweep()
    trial = run.start()
    run.give(trial, 1)
    disk.append(errno.ENOSPC)
    now = [0.0]
    monkeypatch.setattr(recorder.time, "monotonic", lambda: now[0])

    def pass_time(seconds: float) -> None:
        disk.slept.append(seconds)
        now[0] += seconds
        if drain and len(disk.slept) == 5:
            run.halt.drain("SIGTERM")

    monkeypatch.setattr(recorder.time, "sleep", pass_time)
    with pytest.raises(OSError, match="No space"):
        run.give(trial, 2)
    assert len(disk.slept) == (
        5 if drain else pytest.approx(recorder.DISK_WAIT_S / recorder.DISK_POLL_S, abs=2)
    )
    assert isinstance(run.callback.error, OSError)
    assert [e.rpartition(", so ")[2] for e in run.seen.events[-1:]] == [
        "what waited to be written is run again"
    ]


def test_a_disk_that_stays_full_keeps_what_was_written(
    sweep: Sweep, paths: DataSetPaths, disk: Disk, lock: Lock
) -> None:
    run = sweep()
    trial = run.start()
    run.give(trial, 1)
    run.halt.drain("SIGTERM")
    with pytest.MonkeyPatch.context() as full:
        Disk(full).rename_to("emissions.csv", errno.ENOSPC)
        with pytest.raises(OSError, match="No space"):
            run.give(trial, 2)
        run.callback.close()
    assert isinstance(run.callback.error, OSError)
    assert [
        e.prompt_number
        for e in (m.execution for m in read_partial(paths.partial("pc", trial.spec)).measured)
    ] == [1, 2]
    seal_left(paths)
    assert rows_of(paths) == [(0, 1, 1), (0, 2, 1)]


@pytest.mark.parametrize("number", [errno.EROFS, errno.EIO, errno.EACCES])
def test_a_disk_that_is_broken_is_an_error_at_once(sweep: Sweep, disk: Disk, number: int) -> None:
    run = sweep()
    trial = run.start()
    disk.append(number)
    with pytest.raises(OSError, match=os.strerror(number)):
        run.give(trial, 1)
    assert disk.slept == []
    assert isinstance(run.callback.error, OSError)
    assert run.callback.error.errno == number
    assert run.seen.events == []


def test_the_first_error_is_kept(sweep: Sweep, disk: Disk) -> None:
    run = sweep(2)
    first, second = run.start(), run.start()
    with pytest.MonkeyPatch.context() as broken:
        Disk(broken).append(errno.EROFS)
        with pytest.raises(OSError, match="Read-only"):
            run.give(first, 1)
    disk.append(errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        run.give(second, 1)
    assert isinstance(run.callback.error, OSError)
    assert run.callback.error.errno == errno.EROFS


def test_close_seals_the_others_where_one_can_not_be(sweep: Sweep, paths: DataSetPaths) -> None:
    run = sweep(3)
    trials = [run.start() for _ in range(3)]
    for trial in trials:
        run.give(trial, 1)
    shutil.rmtree(paths.partial("pc", trials[1].spec))
    run.callback.close()
    assert isinstance(run.callback.error, FileNotFoundError)
    assert rows_of(paths) == [(0, 1, 1), (2, 1, 1)]
    assert pq.read_metadata(paths.executions).num_rows == 2


# --- a folder that is not ours any more -----------------------------------------------------------


def test_a_trial_s_folder_removed_in_mid_trial_is_an_error(
    sweep: Sweep, paths: DataSetPaths, disk: Disk
) -> None:
    """Going on would seal a trial that lacks its first prompts and looks whole."""
    run = sweep()
    trial = run.start()
    run.give(trial, 1)
    shutil.rmtree(paths.partial("pc", trial.spec))
    with pytest.raises(FileNotFoundError, match="running trial's folder was removed"):
        run.give(trial, 2)
    assert disk.slept == []
    assert not paths.partial("pc", trial.spec).exists()


@pytest.mark.parametrize("n_done", [0, 1])
def test_a_data_set_removed_in_mid_trial_is_an_error_and_stays_removed(
    sweep: Sweep, paths: DataSetPaths, n_done: int
) -> None:
    run = sweep(2)
    run.whole(run.start())
    trial = run.start()
    if n_done:
        run.give(trial, 1)
    shutil.rmtree(paths.root)
    with pytest.raises(FileNotFoundError, match="removed or replaced"):
        run.give(trial, 1 + n_done)
    with pytest.raises(FileNotFoundError, match="removed or replaced"):
        run.callback.close()
    assert not paths.root.exists()


@pytest.mark.parametrize("event", ["result", "last result", "loss", "close"])
def test_nothing_is_written_into_a_data_set_that_took_the_place_of_ours(
    sweep: Sweep, paths: DataSetPaths, event: str
) -> None:
    run = sweep()
    trial = run.start()
    for prompt in range(1, 3 if event == "last result" else 2):
        run.give(trial, prompt)
    shutil.move(paths.root, paths.root.with_name("old"))
    other = builders.spec(config_index=9)
    builders.seal_trial(paths, other, [builders.measured(1, of=other)])
    tables.rebuild(paths)
    before = {p: p.read_bytes() for p in paths.root.rglob("*") if p.is_file()}
    acts: dict[str, Callable[[], None]] = {
        "result": lambda: run.give(trial, 2),
        "last result": lambda: run.give(trial, 3),
        "loss": lambda: run.lose(trial),
        "close": run.callback.close,
    }
    with pytest.raises(FileNotFoundError, match="removed or replaced"):
        acts[event]()
    assert {p: p.read_bytes() for p in paths.root.rglob("*") if p.is_file()} == before


def test_a_data_set_replaced_while_the_disk_is_full(
    sweep: Sweep, paths: DataSetPaths, disk: Disk, monkeypatch: Any
) -> None:
    run = sweep()
    trial = run.start()
    run.give(trial, 1)
    disk.append(errno.ENOSPC)
    monkeypatch.setattr(recorder.time, "sleep", lambda _s: shutil.rmtree(paths.root))
    with pytest.raises(FileNotFoundError, match="removed or replaced"):
        run.give(trial, 2)


# --- clocks ---------------------------------------------------------------------------------------


def test_the_order_of_trials_is_that_of_their_handing_out(
    sweep: Sweep, paths: DataSetPaths
) -> None:
    """Not of clocks, and over all runs: a later one begins where the earlier ended."""
    run = sweep(3, orders=itertools.count(5))
    trials = [run.start() for _ in range(3)]
    for trial, year in zip(reversed(trials), ("1999", "2001", "2050"), strict=True):
        run.whole(trial, started_at=f"{year}-01-01T00:00:00.000+00:00")
    found, _ = read_all(paths)
    assert sorted((r.columns.order_index, r.spec.config_index) for r in found.records()) == [
        (5, 0),
        (6, 1),
        (7, 2),
    ]
