"""Runs the ways one at a time, each in a process of its own, and measures them from outside."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from orchestrator import host
from orchestrator.bench.catalogue import Way
from orchestrator.bench.preparing import Prepared
from orchestrator.bench.work import Work, trial_name
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.schema import TrialRecord
from orchestrator.dataset.tables import read_all
from orchestrator.errors import UserError
from orchestrator.gpu.access import GpuAccess
from orchestrator.ray_tune.ray_environment import LOOPBACK_ONLY, RAY_DEFAULTS, needed
from orchestrator.ray_tune.session import own_token
from orchestrator.ray_tune.temp_folders import end_processes, scratch_base
from orchestrator.say import Say
from orchestrator.units import duration
from orchestrator.unknowns import sum_of_known

WAYS = "orchestrator.bench.ways"
AFTER_INTERRUPT_S = 60.0
"""A way that was interrupted may take so long to end by itself."""
LAST_LINES = 20
"""Of what a way that failed has said."""
NO_GPU = "no GPU: a CPU has no energy counter that can be read around a way"
NO_COUNTER = "this GPU has no energy counter"


@dataclass(frozen=True)
class Answer:
    """One text of a way."""

    trial: str
    prompt: int
    began_at: float
    """Seconds since the epoch."""
    window_s: float
    """Seconds inside generate."""
    n_new_tokens: int
    text: str


@dataclass(frozen=True)
class WayRun:
    """What one way took in one round."""

    round: int
    wall_s: float
    """From the start of its process to the end."""
    generate_s: float
    """Seconds inside generate, of all texts."""
    overhead_s_per_trial: float
    """The rest of wall_s over the number of trials."""
    to_first_window_s: float
    """From the start of its process to its first text's."""
    after_first_window_s: float
    """The rest of wall_s."""
    n_new_tokens: int
    tokens_per_s: float
    """New tokens over the seconds inside generate."""
    energy_j: float | None
    """By the GPU's counter, from the start of its process to the end."""
    energy_unknown_because: str | None
    protocol_s: float | None
    """Of ours: meters, idle power, warm-up; None: the way has no such thing."""
    load_1min: float
    """The host's load average before it was started."""
    answers: tuple[Answer, ...] = dataclasses.field(repr=False)


def run_rounds(prepared: Prepared, n_rounds: int, say: Say) -> dict[Way, list[WayRun]]:
    """Run every way once a round, one at a time; each second round goes backwards.

    So what changes on the host meanwhile is no single way's. Raises UserError where one fails.
    """
    runs: dict[Way, list[WayRun]] = {way: [] for way in prepared.ways}
    for number_of_round in range(1, n_rounds + 1):
        in_turn = prepared.ways if number_of_round % 2 else prepared.ways[::-1]
        for way in in_turn:
            run = run_way(way, number_of_round, prepared.work, prepared.tune_flags, prepared.gpu)
            say(f"round {number_of_round} of {n_rounds}, {way.name}: {duration(run.wall_s)}")
            runs[way].append(run)
    return runs


def run_way(
    way: Way, number: int, work: Work, tune_flags: list[str], gpu: GpuAccess | None
) -> WayRun:
    """Do the work in one way; `number`: of the round, `tune_flags`: those of the same plan.

    Raises UserError with what the way said where it failed.
    """
    with _folder() as folder:
        command, out = _command(way, work, tune_flags, folder)
        environment = environment_of(work.threads, gpu)
        load_1min = host.load_1min()
        energy_before_j = _energy_j(gpu)
        began_at, began_s = time.time(), time.perf_counter()
        _run(way, command, environment, folder)
        wall_s = time.perf_counter() - began_s
        energy_after_j = _energy_j(gpu)
        answers, protocol_s = _answers(way, out)
    energy_j = None
    unknown: str | None = NO_GPU if gpu is None else NO_COUNTER
    if energy_before_j is not None and energy_after_j is not None:
        energy_j, unknown = energy_after_j - energy_before_j, None
    return way_run(
        number,
        answers,
        wall_s=wall_s,
        began_at=began_at,
        n_trials=len(work.trials),
        energy_j=energy_j,
        energy_unknown_because=unknown,
        protocol_s=protocol_s,
        load_1min=load_1min,
    )


def way_run(
    number: int,
    answers: tuple[Answer, ...],
    *,
    wall_s: float,
    began_at: float,
    n_trials: int,
    energy_j: float | None,
    energy_unknown_because: str | None,
    protocol_s: float | None,
    load_1min: float,
) -> WayRun:
    """The figures of a way that ended. Raises UserError where it gave no answer."""
    if not answers:
        raise UserError("bench: a way ended without any answer, so there is nothing to compare")
    generate_s = sum(answer.window_s for answer in answers)
    n_new_tokens = sum(answer.n_new_tokens for answer in answers)
    to_first_window_s = min(answer.began_at for answer in answers) - began_at
    return WayRun(
        round=number,
        wall_s=wall_s,
        generate_s=generate_s,
        overhead_s_per_trial=(wall_s - generate_s) / n_trials,
        to_first_window_s=to_first_window_s,
        after_first_window_s=wall_s - to_first_window_s,
        n_new_tokens=n_new_tokens,
        tokens_per_s=n_new_tokens / generate_s,
        energy_j=energy_j,
        energy_unknown_because=energy_unknown_because,
        protocol_s=protocol_s,
        load_1min=load_1min,
        answers=answers,
    )


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """A folder for a way's files; at the end no process of a Ray works in it any more."""
    with tempfile.TemporaryDirectory(
        prefix="bench-", dir=scratch_base(), ignore_cleanup_errors=True
    ) as name:
        try:
            yield Path(name)
        finally:
            end_processes(Path(name))


def _command(way: Way, work: Work, tune_flags: list[str], folder: Path) -> tuple[list[str], Path]:
    """The command of a way, and where its answers will be."""
    if way.module is None:
        out = folder / "data"
        flags = [*tune_flags, "--engine", way.engine, "--out", str(out), "--json"]
        return [sys.executable, "-m", "orchestrator", "tune", *flags], out
    work_file, out = folder / "work.json", folder / "answers.json"
    work_file.write_text(json.dumps(dataclasses.asdict(work), default=str), encoding="utf-8")
    return [sys.executable, "-m", f"{WAYS}.{way.module}", str(work_file), str(out)], out


def environment_of(threads: int, gpu: GpuAccess | None) -> dict[str, str]:
    """The environment of every way: the same threads, GPU and silence for all of them."""
    same = {
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "CODECARBON_LOG_LEVEL": "error",  # it prints what is logged before its tracker is made
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TQDM_DISABLE": "1",
        "RAY_AUTH_TOKEN_PATH": str(own_token()),
    }
    if gpu is not None:
        same["CUDA_VISIBLE_DEVICES"] = gpu.gpu.uuid
    return needed(os.environ) | RAY_DEFAULTS | LOOPBACK_ONLY | same


def _run(way: Way, command: list[str], environment: dict[str, str], folder: Path) -> None:
    """Run a command to its end. Raises UserError where it fails.

    Ctrl-C reaches it, too: it gets time to end by itself.
    """
    log = folder / "log.txt"
    with (
        log.open("w", encoding="utf-8") as output,
        _ended(command, environment, output) as process,
    ):
        code = process.wait()
    if code != 0:
        said = log.read_text(encoding="utf-8", errors="replace").splitlines()
        raise UserError(
            f"bench: {way.name} failed with exit code {code}; it said last:", *said[-LAST_LINES:]
        )


@contextlib.contextmanager
def _ended(
    command: list[str], environment: dict[str, str], output: IO[str]
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has ended when the context ends."""
    process = subprocess.Popen(  # noqa: S603 - our own programs
        command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
    )
    try:
        yield process
    finally:
        try:
            process.wait(timeout=AFTER_INTERRUPT_S)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):  # or Ctrl-C once more
            process.kill()
            process.wait()


def _energy_j(gpu: GpuAccess | None) -> float | None:
    """The GPU's counter; None where there is none."""
    if gpu is None:
        return None
    energy_mj = gpu.ask(lambda: gpu.nvml.nvmlDeviceGetTotalEnergyConsumption(gpu.handle))
    return None if energy_mj is None else energy_mj / 1000


def _answers(way: Way, out: Path) -> tuple[tuple[Answer, ...], float | None]:
    """A way's answers and, of ours, the seconds of its protocol."""
    if way.module is not None:
        written = json.loads(out.read_text(encoding="utf-8"))
        return tuple(Answer(**one) for one in written), None
    trials, _ = read_all(DataSetPaths(out))
    records = trials.records()
    answers = [answer for record in records for answer in _of_record(record)]
    return tuple(answers), sum_of_known(record.environment.protocol_s for record in records)


def _of_record(record: TrialRecord) -> Iterator[Answer]:
    """The answers of a trial of ours."""
    columns = record.columns
    name = trial_name(columns.use_case, columns.strategy, columns.config_index, columns.repeat)
    for execution in record.executions:
        if execution.window_s is None or execution.n_new_tokens is None:
            continue  # it failed, and so it will be missed
        yield Answer(
            trial=name,
            prompt=execution.prompt_number,
            began_at=execution.started_at.timestamp(),
            window_s=execution.window_s,
            n_new_tokens=execution.n_new_tokens,
            text=execution.output_text or "",
        )
