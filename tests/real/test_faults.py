"""Faults on real Ray with the simulated engine.

Drain, budgets, two drivers, full disk, timeouts, drift, what is left open.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import psutil
import pyarrow.parquet as pq
import pytest

from orchestrator.dataset.schema import TrialRecord
from tests.real.conftest import Orchestrator
from tests.real.test_sweep_life import hashes, keys, processes_of, wait_for

SMALL = (
    *(
        "--space",
        "uniform",
        "--samples",
        "2",
        "--engine",
        "simulated",
        "--model",
        "smollm2",
        "--use-case",
        "fantasyWorld",
    ),
    *("--prompts", "3", "--range", "max_length=120:160"),
)
"""Six executions, each of up to 160 tokens."""
SLOW = {"ORCHESTRATOR_SIMULATED_TOKEN_S": "0.02"}

Trials = Callable[[Path], list[TrialRecord]]


def start(orchestrator: Orchestrator, *arguments: str, **extra: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        orchestrator.command("tune", *arguments),
        cwd=orchestrator.folder,
        env=orchestrator.environment(**extra),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def first_execution(out: Path) -> bool:
    return bool(wait_for(lambda: [*out.rglob("executions.jsonl"), *out.rglob("trial.json")]))


@pytest.mark.slow
def test_drained_held_and_bounded(orchestrator: Orchestrator, trials: Trials) -> None:
    out = orchestrator.folder / "measurements"
    driver = start(orchestrator, *SMALL, **SLOW)
    assert first_execution(out)
    # beside it: nobody else may write, everybody may read
    second = orchestrator.run("tune", *SMALL, expect=2)
    assert re.search(rf"process {driver.pid} on \S+ since 20\S+ runs a sweep there", second.stderr)
    assert "running (process" in orchestrator.run("status").stdout
    printed = json.loads(orchestrator.run("validate", "--json", expect=3).stdout)["findings"]
    assert [f["what"].partition(":")[0] for f in printed] == ["incomplete"]
    driver.send_signal(signal.SIGUSR1)
    struck = time.monotonic()
    said, _ = driver.communicate(timeout=60)
    took = time.monotonic() - struck
    assert driver.returncode == 75, said
    assert took < 20, "a prompt takes 3 s, and Ray a moment to end"
    assert "SIGUSR1: nothing more is started" in said
    left = re.search(
        r"Drained in [\d.]+ s \(SIGUSR1\): (\d) executions left; the same command resumes it",
        said,
    )
    assert left, said
    before = hashes(out)
    assert len(keys(trials(out))) == 6 - int(left[1])
    # a larger sweep with a budget that is used up at once: one trial is started, the rest waits
    more = (*SMALL, "--samples", "4")
    result = orchestrator.tune(
        *more, "--max-kwh", "1e-12", expect=75, ORCHESTRATOR_SIMULATED_TOKEN_S="0.03"
    )
    assert (result["drained"], result["executions_run"]) == ("--max-kwh", 1)
    assert result["executions_left"] == 12 - len(keys(trials(out)))
    orchestrator.run("tune", *more)
    assert set(keys(trials(out)).values()) == {1}
    assert len(keys(trials(out))) == 12
    assert before.items() <= hashes(out).items()
    assert "12 executions of 4 trials: 0 errors, 0 warnings" in orchestrator.run("validate").stdout
    orders = sorted(r.columns.order_index for r in trials(out))
    assert orders == list(range(len(orders))), (
        "the order in which attempts were handed out, over all runs"
    )


@pytest.mark.parametrize(("struck", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_before_anything_is_started(
    orchestrator: Orchestrator, struck: signal.Signals, code: int
) -> None:
    """While it watches whether another host, which left its lock, is alive."""
    out = orchestrator.folder / "measurements"
    out.mkdir()
    left = {"host": "another", "pid": 1, "process": "1", "since": "2026-01-01T00:00:00+00:00"}
    (out / ".tune.lock").write_text(json.dumps(left))
    driver = start(orchestrator, *SMALL)
    assert driver.stdout
    assert "watching for up to 45 s" in lines_until(driver.stdout, "watching")[-1]
    driver.send_signal(struck)
    said, _ = driver.communicate(timeout=30)
    assert driver.returncode == code
    assert said.lstrip() in (
        "Drained (SIGTERM) before anything was started; the same command resumes it.\n",
        "Interrupted. Finished work is kept; run the same command again to resume.\n",
    )
    assert [p.name for p in out.iterdir()] == [".tune.lock"], "whose lock it is"


@pytest.mark.slow
def test_timed_out_rerun_and_drifted(
    orchestrator: Orchestrator, trials: Trials, tmp_path: Path
) -> None:
    out = orchestrator.folder / "measurements"
    small = (*SMALL[:-4], "--prompts", "2", *SMALL[-2:], "--fixed-length")
    result = orchestrator.tune(
        *small, "--execution-timeout", "0.2", expect=3, ORCHESTRATOR_SIMULATED_TOKEN_S="0.005"
    )
    assert (result["failed"], result["executions_run"]) == (4, 4)
    rows = pq.read_table(out / "executions.parquet").to_pylist()
    assert {(r["status"], r["error_kind"]) for r in rows} == {("failed", "timeout")}
    assert all("ended after 0.2 s with" in r["error_message"] and r["energy_j"] > 0 for r in rows)
    again = orchestrator.run("tune", *small, expect=3).stdout
    assert "Nothing is left to do: all 4 executions" in again
    assert "Failed in earlier runs: 4 timeout; --rerun failed tries them again." in again
    # other versions than the sweep was started with
    fake = tmp_path / "fake" / "codecarbon-9.9.9.dist-info"
    fake.mkdir(parents=True)
    (fake / "METADATA").write_text("Metadata-Version: 2.1\nName: codecarbon\nVersion: 9.9.9\n")
    other = {"PYTHONPATH": os.pathsep.join([str(fake.parent), os.environ.get("PYTHONPATH", "")])}
    refused = orchestrator.run("tune", *small, "--rerun", "timeout", expect=2, **other).stderr
    assert refused.startswith("error: sweep uniform-")
    assert "-> 9.9.9; restore them" in refused
    result = orchestrator.tune(*small, "--rerun", "timeout", "--accept-drift", **other)
    assert (result["executions_run"], result["failed"]) == (4, 0)
    rows = pq.read_table(out / "executions.parquet").to_pylist()
    assert {(r["status"], r["attempt"]) for r in rows} == {("ok", 2)}
    assert all("drift" in r["warning_flags"].split(";") for r in rows)
    assert all("-> 9.9.9" in r["notes"] for r in rows)
    assert len(trials(out)) == 4, "the first attempts are still there"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small one of its own."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=False)


def test_a_full_disk_pauses_the_sweep(
    orchestrator: Orchestrator, trials: Trials, disk: Path
) -> None:
    out, ballast = disk / "data", disk / "ballast"
    driver = start(orchestrator, *SMALL, "--out", str(out), **SLOW)
    assert first_execution(out)
    fill(ballast)
    assert driver.stdout
    said = lines_until(driver.stdout, "paused until there is room")
    assert said[-1].startswith(f"{out}: No space left on device: paused"), said
    ballast.unlink()
    rest, _ = driver.communicate(timeout=90)
    assert driver.returncode == 0, rest
    assert (len(keys(trials(out))), set(keys(trials(out)).values())) == (6, {1})
    orchestrator.run("validate", "--out", str(out))


@pytest.mark.slow
@pytest.mark.parametrize(("struck", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_sweep_ended_on_a_full_disk_keeps_what_was_finished(
    orchestrator: Orchestrator, trials: Trials, disk: Path, struck: signal.Signals, code: int
) -> None:
    out, ballast = disk / "data", disk / "ballast"
    driver = start(orchestrator, *SMALL, "--out", str(out), **SLOW)
    assert wait_for(lambda: list(out.rglob("executions.jsonl")))
    done = keys(trials(out))
    fill(ballast)
    assert driver.stdout
    said = lines_until(driver.stdout, "paused")
    driver.send_signal(struck)
    rest, _ = driver.communicate(timeout=90)
    assert driver.returncode == code, [*said, rest]
    assert "nobody made room, so what waited to be written is run again" in rest
    assert ("Drained in" in rest) == (code == 75)
    assert "Traceback" not in rest, rest
    ballast.unlink()
    orchestrator.run("tune", *SMALL, "--out", str(out))
    tallied = keys(trials(out))
    assert (len(tallied), set(tallied.values())) == (6, {1})
    assert done <= tallied
    orchestrator.run("validate", "--out", str(out))


def lines_until(stream: IO[str], part: str) -> list[str]:
    """Lines up to the one that has a part, or all."""
    lines = []
    for line in stream:
        lines.append(line)
        if part in line:
            break
    return lines


def fill(ballast: Path) -> None:
    """Leave not a byte."""
    with ballast.open("wb", buffering=0) as stream:
        for size in (2**16, 2**12, 1):
            try:
                while True:
                    stream.write(b"\0" * size)
            except OSError:
                continue


@pytest.mark.slow
def test_nothing_is_open_or_told_to_others(orchestrator: Orchestrator) -> None:
    planted = "hf_" + "planted" * 5
    out = orchestrator.folder / "measurements"
    long = out.parent / "a-folder-for-temporary-files-whose-name-is-too-long-for-sockets"
    long.mkdir()
    secrets = {"HF_TOKEN": planted, "HUGGING_FACE_HUB_TOKEN": planted, "TMPDIR": str(long)}
    driver = start(orchestrator, *SMALL, **SLOW, **secrets)
    assert driver.stdout
    try:
        *_, said = lines_until(driver.stdout, "Ray dashboard: ")
        assert "Ray dashboard: http" in said
        assert first_execution(out)
        token_file = orchestrator.cache / "ray_token"
        token = token_file.read_text()
        assert token_file.stat().st_mode & 0o077 == 0
        pids = set(processes_of(orchestrator))
        listening = [
            c
            for c in psutil.net_connections("tcp")
            if c.status == psutil.CONN_LISTEN and c.pid in pids
        ]
        assert len(listening) > 5
        assert {c.laddr.ip for c in listening} <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
        api = said.split()[2] + "/api/jobs/"
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(api, timeout=20)  # noqa: S310 - our own dashboard
        authorized = urllib.request.Request(api, headers={"Authorization": f"Bearer {token}"})  # noqa: S310
        assert planted not in urllib.request.urlopen(authorized, timeout=20).read().decode()  # noqa: S310
        time.sleep(3)  # Ray writes what it knows of its processes every few seconds
        (scratch,) = [
            folder
            for folder in Path("/tmp").glob("orch-*")  # noqa: S108
            if (folder / "ray") in temporary_folders(pids)
        ]
        assert len(list(scratch.rglob("*.log"))) > 5
        assert [p for p in scratch.rglob("*") if p.is_file() and contains(p, planted, token)] == []
    finally:
        driver.send_signal(signal.SIGTERM)
        said, _ = driver.communicate(timeout=60)
    assert driver.returncode == 75, said
    assert planted not in said
    assert [p for p in out.rglob("*") if p.is_file() and contains(p, planted, token)] == []
    assert not scratch.exists()
    assert wait_for(lambda: [True] if not processes_of(orchestrator) else [], seconds=20), (
        processes_of(orchestrator)
    )


def temporary_folders(pids: set[int]) -> set[Path]:
    """Those that Ray's processes have on their command lines."""
    lines = [psutil.Process(pid).cmdline() for pid in pids if psutil.pid_exists(pid)]
    return {
        Path(part.partition("=")[2])
        for line in lines
        for part in line
        if part.startswith(("--temp_dir=", "--temp-dir="))
    }


@pytest.mark.usefixtures("default_signals")
def test_a_closed_terminal_drains(orchestrator: Orchestrator, trials: Trials) -> None:
    """Its processes get SIGHUP, and nothing can be printed any more."""
    out = orchestrator.folder / "measurements"
    ours, theirs = pty.openpty()
    driver = subprocess.Popen(
        ["setsid", "--ctty", *orchestrator.command("tune", *SMALL)],
        cwd=orchestrator.folder,
        env=orchestrator.environment(**SLOW),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    threading.Thread(target=read_all, args=(ours,), daemon=True).start()
    assert first_execution(out)
    for pid in processes_of(orchestrator):  # a batch system signals all processes of a job
        if pid != driver.pid:
            os.kill(pid, signal.SIGUSR1)
    before = sum(len(p.read_text().splitlines()) for p in out.rglob("executions.jsonl")) + len(
        keys(trials(out))
    )
    os.close(ours)
    assert driver.wait(timeout=60) == 75
    done = keys(trials(out))
    assert before < len(done) < 6, "the running prompt was finished, and no other started"
    assert wait_for(lambda: [True] if not processes_of(orchestrator) else [], seconds=20), (
        processes_of(orchestrator)
    )
    orchestrator.run("tune", *SMALL)
    assert (len(keys(trials(out))), set(keys(trials(out)).values())) == (6, {1})


def read_all(terminal: int) -> None:
    with contextlib.suppress(OSError):
        while os.read(terminal, 4096):
            pass


@pytest.mark.slow
def test_it_goes_on_when_nobody_reads_what_it_says(
    orchestrator: Orchestrator, trials: Trials
) -> None:
    driver = start(orchestrator, *SMALL, ORCHESTRATOR_SIMULATED_TOKEN_S="0.005")
    assert driver.stdout
    driver.stdout.readline()
    driver.stdout.close()
    assert driver.wait(timeout=90) == 0
    assert len(keys(trials(orchestrator.folder / "measurements"))) == 6


def contains(path: Path, *secrets: str) -> bool:
    try:
        content = path.read_bytes()
    except OSError:
        return False
    return any(secret.encode() in content for secret in secrets)
