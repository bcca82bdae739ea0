"""Signals to a whole job, storms of them, and the deaths of Ray's own processes, on real Ray.

Whatever comes, the exit code is right, nothing is a traceback and no process is left.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from orchestrator.dataset.schema import TrialRecord
from tests.real.conftest import Orchestrator
from tests.real.test_faults import SLOW, SMALL, first_execution, start, temporary_folders
from tests.real.test_sweep_life import keys, processes_of, wait_for

Trials = Callable[[Path], list[TrialRecord]]
HALF_A_MINUTE_S = 30


def named(orchestrator: Orchestrator, name: str) -> list[int]:
    """Living processes of a test whose names begin so."""
    found = []
    for pid in processes_of(orchestrator):
        with contextlib.suppress(psutil.Error):  # it has ended meanwhile
            if psutil.Process(pid).name().startswith(name):
                found.append(pid)
    return found


def nothing_is_left(orchestrator: Orchestrator) -> bool:
    return bool(wait_for(lambda: [True] if not processes_of(orchestrator) else [], seconds=20))


def ended(driver: subprocess.Popen[str], code: int) -> str:
    """What the driver said; it ends within half a minute, with this code and no traceback."""
    said, _ = driver.communicate(timeout=HALF_A_MINUTE_S)
    assert driver.returncode == code, said
    assert "Traceback" not in said
    assert "Exception ignored" not in said
    return said


@pytest.mark.usefixtures("default_signals")
@pytest.mark.parametrize(
    "to", ["the driver and its group", pytest.param("every process", marks=pytest.mark.slow)]
)
def test_a_job_that_is_ended_drains(orchestrator: Orchestrator, trials: Trials, to: str) -> None:
    """`timeout` signals the driver and then its group; systemd and SLURM every process of a job."""
    out = orchestrator.folder / "measurements"
    driver = start(orchestrator, *SMALL, **SLOW)
    assert first_execution(out)
    before = sum(len(p.read_text().splitlines()) for p in out.rglob("executions.jsonl"))
    if to == "every process":
        for pid in processes_of(orchestrator):
            os.kill(pid, signal.SIGTERM)
    else:
        driver.send_signal(signal.SIGTERM)
        os.killpg(driver.pid, signal.SIGTERM)
    said = ended(driver, 75)
    assert "SIGTERM: nothing more is started, 1 running prompt to finish" in said
    left = re.search(r"Drained in [\d.]+ s \(SIGTERM\): (\d) executions left", said)
    assert left, said
    assert before < len(keys(trials(out))) == 6 - int(left[1]), "the running prompt was finished"
    assert nothing_is_left(orchestrator)


@pytest.mark.slow
@pytest.mark.usefixtures("default_signals")
@pytest.mark.parametrize("when", ["first of all", "while Ray starts", "measuring", "at its end"])
@pytest.mark.parametrize(
    ("number", "code", "times"), [(signal.SIGTERM, 75, 20), (signal.SIGINT, 130, 25)]
)
def test_a_storm_of_signals(
    orchestrator: Orchestrator, when: str, number: signal.Signals, code: int, times: int
) -> None:
    out = orchestrator.folder / "measurements"
    speed = {} if when == "at its end" else SLOW
    driver = start(orchestrator, *SMALL, **speed)
    assert wait_for(lambda: [True] if handles_signals(driver.pid) else [], seconds=30)
    if when == "while Ray starts":
        assert wait_for(lambda: named(orchestrator, "gcs_server"))
    elif when == "measuring":
        assert first_execution(out)
    elif when == "at its end":
        assert wait_for(lambda: [1] if len(list(out.rglob("trial.json"))) == 2 else [])
    draw = random.Random(number)
    for _ in range(times):
        if driver.poll() is None:
            driver.send_signal(number)
        time.sleep(draw.uniform(0, 2 * 2 / times))
    said, _ = driver.communicate(timeout=HALF_A_MINUTE_S)
    codes = {code} if when != "at its end" else {code, 0}
    assert driver.returncode in codes, said
    assert "Traceback" not in said
    assert "Exception ignored" not in said
    assert nothing_is_left(orchestrator)


def handles_signals(pid: int) -> bool:
    """Whether a process has a handler for SIGTERM, and so for all."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return False
    (caught,) = [line.split()[1] for line in lines if line.startswith("SigCgt")]
    return bool(int(caught, 16) & 1 << signal.SIGTERM - 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("victim", "told"), [("gcs_server", "Ray's head died"), ("raylet", "Ray's node died")]
)
def test_a_daemon_of_ray_that_dies(
    orchestrator: Orchestrator, trials: Trials, victim: str, told: str
) -> None:
    out = orchestrator.folder / "measurements"
    driver = start(orchestrator, *SMALL, **SLOW)
    assert first_execution(out)
    (pid,) = named(orchestrator, victim)
    os.kill(pid, signal.SIGKILL)
    said = ended(driver, 75)
    assert f"({told})" in said
    assert len(keys(trials(out))) >= 1, "what was finished is kept"
    assert nothing_is_left(orchestrator)
    orchestrator.run("tune", *SMALL)
    assert (len(keys(trials(out))), set(keys(trials(out)).values())) == (6, {1})


@pytest.mark.slow
def test_a_ray_that_starts_too_slowly_is_one_sentence(orchestrator: Orchestrator) -> None:
    driver = start(orchestrator, *SMALL)
    (pid,) = wait_for(lambda: list(named(orchestrator, "raylet")))
    assert isinstance(pid, int)
    os.kill(pid, signal.SIGSTOP)
    said, _ = driver.communicate(timeout=90)
    assert driver.returncode == 75, said
    assert said.splitlines()[-1].startswith("error: Ray didn't start (")
    assert said.splitlines()[-1].endswith(
        "so try the same command again when the host is less busy"
    )
    assert "Traceback" not in said
    assert nothing_is_left(orchestrator)


@pytest.mark.slow
def test_what_a_driver_left_that_was_killed_at_its_end_is_removed(
    orchestrator: Orchestrator,
) -> None:
    out, targets = orchestrator.folder / "measurements", orchestrator.cache / "prometheus"
    driver = start(orchestrator, *SMALL)
    assert wait_for(lambda: [1] if len(list(out.rglob("trial.json"))) == 2 else [])
    (scratch,) = {folder.parent for folder in temporary_folders(set(processes_of(orchestrator)))}
    driver.kill()
    driver.communicate()
    assert scratch.exists()
    assert list(targets.iterdir())
    said = orchestrator.run("tune", *SMALL).stdout
    assert "Nothing is left to do: all 6 executions are in measurements." in said
    assert not scratch.exists()
    assert list(targets.iterdir()) == []
    assert processes_of(orchestrator) == {}
