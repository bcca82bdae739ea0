"""What is measured reaches the disk: a full one is waited for, a data set that is gone ends it."""

from __future__ import annotations

import errno
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from orchestrator.dataset import recorder as module
from orchestrator.dataset import tables, trial_files
from orchestrator.dataset.lock import Lock, held
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.recorder import DISK_POLL_S, DISK_WAIT_S, GIVEN_UP, WAITING, Recorder
from orchestrator.dataset.tables import TableWriter, Trials
from orchestrator.dataset.trial_files import read_partial, read_trial
from orchestrator.nouns import TrialSpec
from orchestrator.say import silent
from tests import builders

SPEC = builders.spec()


class Clock:
    """Stands for the time module: sleeping takes no time, but is counted."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.slept_s: list[float] = []
        self.while_asleep: Callable[[], None] = lambda: None

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now_s += seconds
        self.while_asleep()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def lock(paths: DataSetPaths) -> Iterator[Lock]:
    with held(paths.root, silent) as lock:
        yield lock


@pytest.fixture
def told() -> list[str]:
    """What the recorder told."""
    return []


@pytest.fixture
def patience() -> list[float]:
    """After how many waits it is asked to give up; empty: never."""
    return []


@pytest.fixture
def recorder(
    paths: DataSetPaths, lock: Lock, clock: Clock, told: list[str], patience: list[float]
) -> Recorder:
    return Recorder(
        paths,
        TableWriter(paths, Trials()),
        lock,
        give_up=lambda: any(len(clock.slept_s) >= waits for waits in patience),
        tell=told.append,
    )


def record(recorder: Recorder, *numbers: int, spec: TrialSpec = SPEC) -> None:
    """Append executions of one trial."""
    origin = builders.origin(spec)
    for number in numbers:
        measured = builders.measured(number, of=spec)
        recorder.append(spec, origin, "shuffled", [measured], first=number == 1)


class Full:
    """A disk that has no room for some writes of executions, and then has."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.errors: list[OSError] = []
        real = trial_files.append_line

        def write(path: Path, line: str) -> None:
            if self.errors:
                raise self.errors.pop(0)
            real(path, line)

        monkeypatch.setattr(trial_files, "append_line", write)

    def refuse(self, times: int, number: int = errno.ENOSPC) -> None:
        self.errors = [OSError(number, "No space left on device") for _ in range(times)]


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Full:
    return Full(monkeypatch)


def test_executions_become_a_trial_and_rows(recorder: Recorder, paths: DataSetPaths) -> None:
    record(recorder, 1, 2, 3)
    assert len(read_partial(paths.partial("pc", SPEC)).measured) == 3
    sealed = recorder.seal("pc", SPEC)
    assert read_trial(paths.trial("pc", SPEC)) == sealed
    assert list(recorder.tables.trials.records()) == [sealed]
    assert pq.read_table(paths.executions)["prompt_number"].to_pylist() == [1, 2, 3]
    assert pq.read_table(paths.summary)["n_ok"].to_pylist() == [3]


def test_tables_that_wait_are_written_in_the_end(
    recorder: Recorder, paths: DataSetPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of a large data set are written once a tenth is new."""
    monkeypatch.setattr(tables, "FRESH_ROWS", 0)
    first = builders.spec(prompts=builders.prompts(f"Prompt {n}." for n in range(20)))
    record(recorder, *range(1, 21), spec=first)
    recorder.seal("pc", first)
    second = first.model_copy(update={"repeat": 2})
    record(recorder, 1, spec=second)
    recorder.seal("pc", second)
    assert pq.read_table(paths.executions).num_rows == 20
    recorder.flush()
    assert pq.read_table(paths.executions).num_rows == 21


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_waited_for_and_told_once(
    recorder: Recorder, clock: Clock, full: Full, told: list[str], number: int
) -> None:
    paths = recorder.paths
    record(recorder, 1)
    full.refuse(5, number)
    record(recorder, 2)
    assert clock.slept_s == [DISK_POLL_S] * 5
    assert told == [f"{paths.root}: No space left on device: {WAITING}"]
    full.refuse(1)
    record(recorder, 3)
    assert len(told) == 2, "another time is told again"
    numbers = [
        one.execution.prompt_number for one in read_partial(paths.partial("pc", SPEC)).measured
    ]
    assert numbers == [1, 2, 3]


@pytest.mark.parametrize("name", ["trial.json", "executions.parquet", "summary.parquet"])
def test_a_full_disk_while_a_trial_is_sealed_is_waited_for(
    recorder: Recorder,
    clock: Clock,
    told: list[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    paths = recorder.paths
    left = 2
    real = Path.replace

    def no_room(self: Path, target: Path) -> Path:
        nonlocal left
        if target.name == name and left:
            left -= 1
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, target)

    record(recorder, 1)
    monkeypatch.setattr(Path, "replace", no_room)
    recorder.seal("pc", SPEC)
    assert (len(clock.slept_s), len(told)) == (2, 1)
    assert read_trial(paths.trial("pc", SPEC)).spec == SPEC
    assert len(recorder.tables.trials.records()) == 1, "the trial is taken in once"
    assert pq.read_table(paths.summary).num_rows == 1


def test_waiting_ends_when_asked(
    recorder: Recorder, clock: Clock, full: Full, told: list[str], patience: list[float]
) -> None:
    patience.append(3)
    full.refuse(99)
    with pytest.raises(OSError, match="No space left on device"):
        record(recorder, 1)
    assert clock.slept_s == [DISK_POLL_S] * 3
    assert [line.rpartition(": ")[2] for line in told] == [WAITING, GIVEN_UP]


def test_nobody_is_waited_for_who_has_been_asked_to_end(
    recorder: Recorder, clock: Clock, full: Full, told: list[str], patience: list[float]
) -> None:
    patience.append(0)
    full.refuse(1)
    with pytest.raises(OSError, match="No space left on device"):
        record(recorder, 1)
    assert clock.slept_s == []
    assert [line.rpartition(": ")[2] for line in told] == [GIVEN_UP]


def test_waiting_ends_after_half_an_hour(
    recorder: Recorder, clock: Clock, full: Full, told: list[str]
) -> None:
    full.refuse(10_000)
    with pytest.raises(OSError, match="No space left on device"):
        record(recorder, 1)
    assert DISK_WAIT_S < clock.now_s <= DISK_WAIT_S + 2 * DISK_POLL_S
    assert [line.rpartition(": ")[2] for line in told] == [WAITING, GIVEN_UP]


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.EACCES])
def test_another_error_is_not_waited_for(
    recorder: Recorder, clock: Clock, full: Full, told: list[str], number: int
) -> None:
    full.refuse(1, number)
    with pytest.raises(OSError, match=rf"\[Errno {number}\]"):
        record(recorder, 1)
    assert (clock.slept_s, told) == ([], [])


def test_a_data_set_that_was_removed_ends_it(recorder: Recorder, paths: DataSetPaths) -> None:
    record(recorder, 1)
    shutil.rmtree(paths.root)
    with pytest.raises(FileNotFoundError, match="the data set's folder was removed or replaced"):
        record(recorder, 2)
    with pytest.raises(FileNotFoundError, match="removed or replaced"):
        recorder.flush()
    assert not paths.root.exists(), "nothing is made anew"


def test_a_data_set_that_was_replaced_is_left_alone(
    recorder: Recorder, paths: DataSetPaths
) -> None:
    record(recorder, 1)
    shutil.rmtree(paths.root)
    paths.root.mkdir()
    with pytest.raises(FileNotFoundError, match="removed or replaced"):
        recorder.seal("pc", SPEC)
    assert list(paths.root.iterdir()) == []


def test_a_data_set_that_is_removed_while_it_is_full_ends_the_waiting(
    recorder: Recorder, paths: DataSetPaths, clock: Clock, full: Full
) -> None:
    record(recorder, 1)
    full.refuse(99)
    clock.while_asleep = lambda: shutil.rmtree(paths.root, ignore_errors=True)
    with pytest.raises(FileNotFoundError, match="removed or replaced"):
        record(recorder, 2)
    assert len(clock.slept_s) == 1


def test_a_running_trial_that_was_removed_ends_it(recorder: Recorder, paths: DataSetPaths) -> None:
    record(recorder, 1)
    shutil.rmtree(paths.partial("pc", SPEC))
    with pytest.raises(FileNotFoundError, match="a running trial's folder was removed"):
        record(recorder, 2)


def test_it_takes_no_state_along_when_it_is_pickled(recorder: Recorder) -> None:
    assert vars(pickle.loads(pickle.dumps(recorder))) == {}
