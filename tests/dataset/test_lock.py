"""The lock of a data set, with real processes; another host is played by a forged lock file."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.dataset import lock as module
from orchestrator.dataset.lock import (
    LOCK_FILE,
    BusyError,
    Holder,
    held,
    holder_of,
    seems_alive,
    writing,
)
from orchestrator.errors import UserError
from tests.processes import Start, heard, processes

HOLD = """
import sys
from pathlib import Path
from orchestrator.dataset.lock import held
from orchestrator.errors import UserError
print("ready", flush=True)
sys.stdin.readline()
try:
    with held(Path(sys.argv[1]), print):
        print("held", flush=True)
        sys.stdin.readline()
except UserError as error:
    print(error, flush=True)
"""
"""Waits for a line, takes the data set, holds it until the next line."""


def quiet(_line: str) -> None:
    """Hear nothing."""


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "measurements"


@pytest.fixture
def start() -> Iterator[Start]:
    """Processes that are ready to take the data set they are given; ended with the test."""
    with processes(HOLD, stdin=subprocess.PIPE) as start:
        yield start


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def holding(start: Start, out: Path) -> subprocess.Popen[str]:
    """A process that holds a data set."""
    process = start(str(out))
    assert heard(process) == "ready"
    tell(process)
    assert heard(process) == "held"
    return process


SINCE = "2026-01-02T03:04:05+00:00"


def forge(out: Path, **changes: Any) -> Path:
    """The file of a holder that is not this process, without the system's lock."""
    out.mkdir(parents=True, exist_ok=True)
    holder = {
        "host": "elsewhere",
        "pid": 4711,
        "process": "another boot 1",
        "since": "2026-01-02T03:04:05+00:00",
    } | changes
    (out / LOCK_FILE).write_text(json.dumps(holder))
    return out / LOCK_FILE


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> float:
    """Seconds for which another host's lock is watched."""
    monkeypatch.setattr(module, "STALE_S", 0.5)
    return 0.5


# --- one process ----------------------------------------------------------------------------------


def test_a_held_data_set_says_who_holds_it(out: Path) -> None:
    assert holder_of(out) is None
    with held(out, quiet) as lock:
        holder = holder_of(out)
        assert holder is not None
        assert (holder.host, holder.pid) == (socket.gethostname(), os.getpid())
        assert seems_alive(out, holder)
        assert (
            holder.line() == f"process {os.getpid()} on {socket.gethostname()} since {holder.since}"
        )
        assert lock.held()
    assert holder_of(out) is None
    assert list(out.iterdir()) == [], "the file is removed"


def test_it_can_be_taken_again_after_each_release(out: Path) -> None:
    for _ in range(3):
        with held(out, quiet) as lock:
            assert lock.held()


def test_it_is_released_after_an_error(out: Path) -> None:
    with pytest.raises(KeyboardInterrupt), held(out, quiet):
        raise KeyboardInterrupt
    assert not (out / LOCK_FILE).exists()


def test_taken_twice_in_one_process_is_refused(out: Path) -> None:
    with held(out, quiet) as lock:
        with pytest.raises(UserError, match=f"process {os.getpid()} on "), held(out, quiet):
            pass
        assert lock.held(), "the refused one took nothing away"


def test_the_heartbeat_moves(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT_S", 0.01)
    with held(out, quiet):
        os.utime(out / LOCK_FILE, (1, 1))
        until = time.monotonic() + 20
        while (out / LOCK_FILE).stat().st_mtime < 2:
            assert time.monotonic() < until
            time.sleep(0.01)


def test_no_file_is_left_open(out: Path) -> None:
    before = psutil.Process().num_fds()
    for _ in range(5):
        with held(out, quiet), pytest.raises(UserError), held(out, quiet):
            pass
    assert psutil.Process().num_fds() == before


def test_the_heartbeat_ends_with_the_lock(out: Path) -> None:
    before = threading.active_count()
    with held(out, quiet):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


@pytest.mark.parametrize("content", [b"", b"\x00\xff", b"[]", b"{}", b'{"host": 1}', b"x" * 10_000])
def test_a_file_that_says_nothing_is_taken(out: Path, content: bytes) -> None:
    out.mkdir()
    (out / LOCK_FILE).write_bytes(content)
    assert holder_of(out) is None
    with held(out, quiet) as lock:
        assert lock.held()


def test_a_link_is_not_written_through(out: Path, tmp_path: Path) -> None:
    out.mkdir()
    (tmp_path / "precious").write_text("content")
    (out / LOCK_FILE).symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="symbolic"), held(out, quiet):
        pass
    assert (tmp_path / "precious").read_text() == "content"


def test_a_folder_that_can_not_be_made_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"), held(tmp_path / "file" / "measurements", quiet):
        pass


# --- ours no more ---------------------------------------------------------------------------------


def replaced_folder(out: Path) -> None:
    shutil.move(out, out.with_name("old"))
    shutil.copytree(out.with_name("old"), out)


def taken_over(out: Path) -> None:
    """By another host that took us for dead, as after a long suspend."""
    forge(out)


LOSSES: dict[str, Callable[[Path], Any]] = {
    "folder removed": shutil.rmtree,
    "folder replaced by a copy": replaced_folder,
    "folder moved away": lambda out: shutil.move(out, out.with_name("old")),
    "file removed": lambda out: (out / LOCK_FILE).unlink(),
    "taken over": taken_over,
    "emptied": lambda out: os.truncate(out / LOCK_FILE, 0),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_data_set_that_is_not_ours_any_more_is_noticed(out: Path, loss: str) -> None:
    with held(out, quiet) as lock:
        assert lock.held()
        LOSSES[loss](out)
        assert not lock.held()
        left = (out / LOCK_FILE).read_bytes() if (out / LOCK_FILE).exists() else None
    assert ((out / LOCK_FILE).read_bytes() if (out / LOCK_FILE).exists() else None) == left, (
        "another's file stays"
    )


# --- processes of this host -----------------------------------------------------------------------


def test_a_second_process_is_refused_by_the_first_one_s_id(start: Start, out: Path) -> None:
    first = holding(start, out)
    with pytest.raises(UserError) as raised, held(out, quiet):
        pass
    (line,) = raised.value.lines
    assert line.startswith(f"--out {out}: process {first.pid} on {socket.gethostname()} since 20")
    assert line.endswith(" runs a sweep there; wait for it, stop it, or name another folder")
    tell(first)
    assert first.wait(20) == 0
    with held(out, quiet):
        assert holder_of(out).pid == os.getpid()  # type: ignore[union-attr]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_lock_of_a_killed_process_is_taken_at_once(
    start: Start, out: Path, how: signal.Signals
) -> None:
    first = holding(start, out)
    first.send_signal(how)
    first.wait(20)
    left = holder_of(out)
    assert left is not None, "it couldn't remove its file"
    assert seems_alive(out, left) is False
    said: list[str] = []
    with held(out, said.append) as lock:
        assert lock.held()
        assert holder_of(out).pid == os.getpid()  # type: ignore[union-attr]
    assert said == [], "nothing to watch: the system knows that it is dead"


def test_a_stopped_process_still_holds(start: Start, out: Path) -> None:
    first = holding(start, out)
    first.send_signal(signal.SIGSTOP)
    with pytest.raises(UserError, match=f"process {first.pid} on "), held(out, quiet):
        pass
    first.send_signal(signal.SIGCONT)


def test_an_id_that_was_used_again_is_no_holder(out: Path) -> None:
    """The id is of a living process, this one, but that began at another time."""
    forge(out, host=socket.gethostname(), pid=os.getpid())
    assert seems_alive(out, holder_of(out)) is False  # type: ignore[arg-type]
    with held(out, quiet) as lock:
        assert lock.held()


def test_a_dead_process_that_nobody_reaped_holds_nothing(start: Start, out: Path) -> None:
    """In a container whose first process waits for nobody."""
    first = holding(start, out)
    first.kill()
    os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)
    left = holder_of(out)
    assert left is not None
    assert seems_alive(out, left) is False
    with held(out, quiet) as lock:
        assert lock.held()


def test_a_process_is_told_from_another_whatever_the_clock_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = module._process(os.getpid())
    monkeypatch.setattr(time, "time", lambda: 0.0)
    monkeypatch.setattr(psutil.Process, "create_time", lambda _process: 0.0)
    assert module._process(os.getpid()) == before
    assert before != module._process(1)
    assert module._process(2**22 + 1) is None


def test_where_flock_means_nothing_the_holder_s_file_decides(
    start: Start, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(_handle: int, _operation: int) -> None:
        raise OSError(38, "Function not implemented")

    first = holding(start, out)
    monkeypatch.setattr(module.fcntl, "flock", unknown)
    with pytest.raises(UserError, match=f"process {first.pid} on "), held(out, quiet):
        pass
    first.kill()
    first.wait(20)
    with held(out, quiet) as lock:
        assert lock.held()


def test_of_many_processes_at_once_exactly_one_wins(start: Start, out: Path) -> None:
    racers = [start(str(out)) for _ in range(6)]
    for racer in racers:
        assert heard(racer) == "ready"
    for racer in racers:
        tell(racer)
    said = [heard(racer) for racer in racers]
    assert said.count("held") == 1
    assert sum("runs a sweep there" in line for line in said) == 5
    tell(racers[said.index("held")])
    assert [racer.wait(20) for racer in racers] == [0] * 6
    assert not (out / LOCK_FILE).exists()


def test_threads_that_take_and_release_never_hold_together(out: Path) -> None:
    """Among them the file is removed and made anew all the time."""
    inside, most, taken, faults = 0, 0, [0, 0, 0, 0], []
    guard = threading.Lock()

    def one(number: int) -> None:
        nonlocal inside, most
        while taken[number] < 15 and not faults:
            try:
                with held(out, quiet) as lock:
                    with guard:
                        inside += 1
                        most = max(most, inside)
                        taken[number] += 1
                    if not lock.held():
                        faults.append("holds a file that is no more")
                    with guard:
                        inside -= 1
            except UserError:
                continue
            except Exception as error:  # noqa: BLE001 - told below
                faults.append(repr(error))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert most == 1


def test_a_holder_that_lets_go_between_our_opening_and_our_lock(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was opened is no file any more: it is opened anew."""
    real, calls = module.try_flock, 0

    def late(handle: int) -> bool | None:
        nonlocal calls
        calls += 1
        if calls == 1:
            (out / LOCK_FILE).unlink()
        return real(handle)

    monkeypatch.setattr(module, "try_flock", late)
    with held(out, quiet) as lock:
        assert calls == 2
        assert lock.held()


# --- another host ---------------------------------------------------------------------------------


def beating(path: Path, ended: threading.Event) -> threading.Thread:
    """Another host's heartbeat."""

    def beat() -> None:
        now = 1000
        while not ended.wait(0.02):
            now += 1
            os.utime(path, (now, now))  # its clock is far behind: only the movement counts

    thread = threading.Thread(target=beat)
    thread.start()
    return thread


def test_another_host_that_lives_is_refused(out: Path, impatient: float) -> None:
    path = forge(out)
    before = path.read_bytes()
    ended = threading.Event()
    thread = beating(path, ended)
    said: list[str] = []
    try:
        with (
            pytest.raises(UserError, match="process 4711 on elsewhere since 2026"),
            held(out, said.append),
        ):
            pass
    finally:
        ended.set()
        thread.join()
    assert len(said) == 1
    assert "was held by process 4711 on elsewhere" in said[0]
    assert path.read_bytes() == before, "its file stays"


@pytest.mark.parametrize("mtime", [1.0, 4e9])
def test_another_host_that_is_dead_is_taken_after_the_watch(
    out: Path, impatient: float, mtime: float
) -> None:
    """Whatever its clock said: in the past or in the future."""
    path = forge(out)
    os.utime(path, (mtime, mtime))
    began = time.monotonic()
    with held(out, quiet) as lock:
        assert time.monotonic() - began >= impatient
        assert lock.held()
        assert holder_of(out).pid == os.getpid()  # type: ignore[union-attr]


def test_another_host_that_lets_go_while_it_is_watched(
    out: Path, impatient: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = forge(out)

    def sleep(_seconds: float) -> None:
        path.unlink(missing_ok=True)

    monkeypatch.setattr(module.time, "sleep", sleep)
    with held(out, quiet) as lock:
        assert lock.held(), "the file is a new one"
        assert path.exists()


def test_another_host_lives_for_verbs_that_only_read_while_it_beats(out: Path) -> None:
    path = forge(out)
    holder = holder_of(out)
    assert holder is not None
    assert seems_alive(out, holder) is True
    for age_s in (-2 * module.STALE_S, 2 * module.STALE_S):
        os.utime(path, (time.time() - age_s,) * 2)
        assert seems_alive(out, holder) is None, "nobody here knows"
    path.unlink()
    assert seems_alive(out, holder) is None


def test_a_holder_is_what_was_written(out: Path) -> None:
    forge(out, host="h", pid=1, process="boot 2", since=SINCE)
    assert holder_of(out) == Holder(host="h", pid=1, process="boot 2", since=SINCE)


def test_times_leave_several_beats_before_a_lock_is_stale() -> None:
    assert module.STALE_S >= 3 * module.BEAT_S


# --- the lock of those who write tables -----------------------------------------------------------


def test_a_writer_waits_and_tells_once(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    waits = threading.Event()

    def say(line: str) -> None:
        said.append(line)
        waits.set()

    def second() -> None:
        with writing(out, say):
            order.append("second")

    order: list[str] = []
    monkeypatch.setattr(module, "POLL_S", 0.001)
    thread = threading.Thread(target=second)
    with writing(out, quiet, "imports there"):
        thread.start()
        assert waits.wait(60)
        time.sleep(0.05)
        order.append("first")
    thread.join(60)
    assert order == ["first", "second"]
    assert len(said) == 1
    assert said[0].startswith(f"{out}: process {os.getpid()} on {socket.gethostname()} since 20")
    assert said[0].endswith(" imports there; waiting for it")
    assert list(out.iterdir()) == []


def test_the_two_locks_do_not_exclude_each_other(out: Path) -> None:
    with held(out, quiet), writing(out, quiet):
        assert holder_of(out) is not None
    with writing(out, quiet), held(out, quiet):
        pass
    assert list(out.iterdir()) == []


def test_a_writer_s_patience_ends(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_S", 0.0)
    with (
        writing(out, quiet, "publishes it"),
        pytest.raises(BusyError, match="publishes it") as raised,
        writing(out, quiet),
    ):
        pass
    assert (raised.value.errno, raised.value.filename) == (errno.EBUSY, str(out))


def test_who_does_not_wait_does_not_watch_another_host(out: Path) -> None:
    forge(out).rename(out / module.WRITE_LOCK_FILE)
    began = time.monotonic()
    with (
        pytest.raises(BusyError, match="process 4711 on elsewhere"),
        writing(out, quiet, wait=False),
    ):
        pass
    assert time.monotonic() - began < module.STALE_S / 10


def test_another_host_s_dead_writer_is_watched_then_replaced(out: Path, impatient: float) -> None:
    forge(out).rename(out / module.WRITE_LOCK_FILE)
    said: list[str] = []
    with writing(out, said.append):
        pass
    assert len(said) == 1
    assert "watching for up to" in said[0]


def test_a_killed_writer_is_not_waited_for(start: Start, out: Path) -> None:
    code = HOLD.replace("import held", "import writing").replace("with held", "with writing")
    with processes(code, stdin=subprocess.PIPE) as begin:
        first = begin(str(out))
        assert heard(first) == "ready"
        tell(first)
        assert heard(first) == "held"
        first.kill()
        first.wait(20)
    said: list[str] = []
    with writing(out, said.append):
        pass
    assert said == []


@pytest.mark.parametrize("pid", [-1, 0, 2**31, 2**70])
def test_a_number_that_no_process_has_names_nobody(out: Path, pid: int) -> None:
    forge(out, host=socket.gethostname(), pid=pid)
    assert holder_of(out) is None
    with held(out, quiet) as lock:
        assert lock.held()


def test_a_pipe_in_place_of_the_file_is_not_read(out: Path) -> None:
    out.mkdir()
    os.mkfifo(out / LOCK_FILE)
    assert holder_of(out) is None
    with pytest.raises(OSError, match="Invalid argument"), held(out, quiet):
        pass
