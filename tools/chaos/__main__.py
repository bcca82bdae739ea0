"""Run sweeps on real Ray, kill processes at random times, run again until each is complete.

The engine is the simulated one, or with --real a small model. After every run: no finished folder
has changed. At the end of every sweep: each execution stands in the data set exactly once,
`validate` reports nothing, no temporary file and no process is left. Exits with 1 at the first
sweep for which that doesn't hold, and keeps its folder. The same --seed gives the same sweeps and
faults; when exactly a fault hits depends on the machine's timing, too.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.processes import living_with

REPOSITORY = Path(__file__).parents[2]
TOKEN_S = 0.006
RUN_LIMIT_S = 180.0
"""A run that takes longer hangs."""
DRAIN_LIMIT_S = 30.0
"""From a signal to the exit: a prompt of about a second, and Ray's own end."""

SIGNALS = {
    "driver SIGKILL": signal.SIGKILL,
    "driver SIGTERM": signal.SIGTERM,
    "driver SIGINT": signal.SIGINT,
    "driver SIGUSR1": signal.SIGUSR1,
    "driver SIGUSR2": signal.SIGUSR2,
    "driver SIGHUP": signal.SIGHUP,
}
FAULTS = {
    "private": [*SIGNALS, "two signals", "worker SIGKILL", "worker SIGKILL", "raylet SIGKILL"],
    "cluster": [
        *SIGNALS,
        "two signals",
        "worker SIGKILL",
        "node killed",
        "node killed",
        "node killed",
    ],
}

KILLS = ["driver SIGKILL", "driver SIGKILL", "worker SIGKILL"]
"""With --real, one a run; the worker's last, since a run that loses a worker still completes."""

EXIT_CODES = {
    "driver SIGKILL": {-signal.SIGKILL},
    "driver SIGUSR2": {-signal.SIGUSR2},
    "driver SIGINT": {130, -signal.SIGINT},  # Python's own way while it starts
    "driver SIGTERM": {75, -signal.SIGTERM},
    "driver SIGUSR1": {75, -signal.SIGUSR1},
    "driver SIGHUP": {75, -signal.SIGHUP},
    "two signals": {75, -signal.SIGTERM},
    "raylet SIGKILL": {75},
}
"""Exit codes that a fault may cause, besides 0. Negative ones: the driver had no handlers yet.

A run with any other fault must end with 0, since workers and nodes are replaced."""


class BrokenPromiseError(Exception):
    """A sweep lost, doubled, changed or left behind something, or ended as it must not."""


@dataclass
class Sweep:
    """One sweep from its first run to its completion."""

    number: int
    mode: str
    folder: Path
    draw: random.Random
    most_faults: int = 5
    real: bool = False
    """On the real small model instead of the simulated engine."""
    faults: list[str] = field(default_factory=list)
    runs: int = 0
    executions: int = 0
    codes: list[int] = field(default_factory=list)
    drained_s: list[float] = field(default_factory=list)
    sealed: dict[str, str] = field(default_factory=dict)

    @property
    def out(self) -> Path:
        """The data set's folder."""
        return self.folder / "measurements"

    @property
    def marker(self) -> str:
        """Stands in the environment of every process that this sweep starts."""
        return f"CHAOS_FOLDER={self.folder}"

    def environment(self) -> dict[str, str]:
        """The environment of a run: none of the caller's settings, and a marker."""
        kept = {
            k: v
            for k, v in os.environ.items()
            if not k.startswith(("RAY_", "TUNE_", "ORCHESTRATOR_"))
        }
        cache = os.environ.get("ORCHESTRATOR_TEST_CACHE") if self.real else None
        own = {
            "CHAOS_FOLDER": str(self.folder),
            "ORCHESTRATOR_KEEP_ENV": "CHAOS_FOLDER",
            "ORCHESTRATOR_CACHE": cache or str(self.folder / "cache"),
            "ORCHESTRATOR_SIMULATED_TOKEN_S": str(TOKEN_S),
            "HF_HUB_OFFLINE": "1",
        }
        return {**kept, **own, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}

    def written(self) -> int:
        """Executions on the disk, of running trials too."""
        total = sum(
            p.read_bytes().count(b"\n") for p in self.out.rglob("executions.jsonl") if p.exists()
        )
        return total + sum(
            len(json.loads(p.read_text())["executions"])
            for p in self.out.glob("*/*/*/*/*/trial.json")
        )

    def hashes(self) -> dict[str, str]:
        """SHA-256 of every finished file, by its path in the data set."""
        files = [
            p
            for p in self.out.glob("*/*/*/*/[!.]*/*")
            if p.is_file() and p.name not in ("executions.jsonl", "spec.json")
        ]
        return {
            p.relative_to(self.out).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in files
        }


@contextlib.contextmanager
def cluster_of(sweep: Sweep) -> Iterator[subprocess.Popen[str] | None]:
    """A Ray cluster for a sweep that runs on one, with its address in its first line."""
    if sweep.mode == "private":
        yield None
        return
    command = [sys.executable, "-m", "tools.chaos.cluster", str(sweep.number)]
    environment = {**sweep.environment(), "RAY_AUTH_MODE": "disabled"}
    environment["TMPDIR"] = "/tmp"  # noqa: S108 - the paths of Ray's sockets must be short
    with (sweep.folder / "cluster.log").open("a") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment,
            cwd=REPOSITORY,
        )
        try:
            yield process
        finally:
            assert process.stdin
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=30)
            process.kill()
            end_processes(sweep)


def tell(cluster: subprocess.Popen[str], line: str) -> None:
    """Give the cluster's process a command, and wait until it is done."""
    assert cluster.stdin
    assert cluster.stdout
    cluster.stdin.write(f"{line}\n")
    cluster.stdin.flush()
    cluster.stdout.readline()


def processes(sweep: Sweep, *names: str) -> list[int]:
    """Living processes of a sweep whose names begin so; all of them without names."""
    pids = []
    for pid in living_with(sweep.marker):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            name = Path(f"/proc/{pid}/comm").read_text()
            if name.startswith(names or ("",)):
                pids.append(pid)
    return pids


def end_processes(sweep: Sweep) -> None:
    """Kill whatever this sweep started."""
    for pid in processes(sweep):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def run_once(
    sweep: Sweep, arguments: list[str], faults: list[str], cluster: subprocess.Popen[str] | None
) -> int:
    """One run with faults at random times; its exit code."""
    draw = sweep.draw
    with (sweep.folder / "log").open("a") as log:
        log.write(f"--- run {sweep.runs}: {faults}\n")
        log.flush()
        driver = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", "tune", *arguments],
            cwd=sweep.folder,
            env=sweep.environment(),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    began = time.monotonic()
    for fault in faults:
        if draw.random() < 0.25:  # while it starts
            wait_until(driver, time.monotonic() + draw.uniform(0, 9))
        else:  # while it measures
            goal = sweep.written() + draw.randrange(1, 4)
            while (
                driver.poll() is None
                and sweep.written() < goal
                and time.monotonic() - began < RUN_LIMIT_S
            ):
                time.sleep(0.1)
            wait_until(driver, time.monotonic() + draw.uniform(0, 0.8))
        if driver.poll() is None:
            strike(sweep, fault, driver, cluster)
    limit = (
        RUN_LIMIT_S
        if not any(f in SIGNALS or f == "two signals" for f in faults)
        else DRAIN_LIMIT_S
    )
    struck = time.monotonic()
    try:
        code = driver.wait(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(driver.pid, signal.SIGKILL)
        raise BrokenPromiseError(f"a run didn't end within {limit:.0f} s after {faults}") from None
    if code == 75 and any(f in SIGNALS or f == "two signals" for f in faults):
        sweep.drained_s.append(time.monotonic() - struck)
    return code


def wait_until(driver: subprocess.Popen[bytes], when: float) -> None:
    """Sleep until a time of the monotonic clock, or until the driver has ended."""
    while driver.poll() is None and time.monotonic() < when:
        time.sleep(0.02)


def strike(
    sweep: Sweep, fault: str, driver: subprocess.Popen[bytes], cluster: subprocess.Popen[str] | None
) -> None:
    """Cause one fault."""
    sweep.faults.append(fault)
    with contextlib.suppress(ProcessLookupError):
        if fault in SIGNALS:
            driver.send_signal(SIGNALS[fault])
        elif fault == "two signals":
            driver.send_signal(signal.SIGTERM)
            time.sleep(sweep.draw.uniform(0, 0.5))
            driver.send_signal(signal.SIGTERM)
        elif fault == "node killed" and cluster:
            tell(cluster, "kill")
            tell(cluster, "add")
        else:
            workers = ("ray::Measure", "ray::ResourceTr")
            names = workers if fault == "worker SIGKILL" else ("raylet",)
            victims = processes(sweep, *names)
            if victims:
                os.kill(sweep.draw.choice(victims), signal.SIGKILL)


def check_unchanged(sweep: Sweep) -> None:
    """A finished file has the content that it had after the run before."""
    now = sweep.hashes()
    changed = [name for name, sha256 in sweep.sealed.items() if now.get(name) != sha256]
    if changed:
        raise BrokenPromiseError(f"finished files changed or are gone: {changed}")
    sweep.sealed = now


def check_complete(sweep: Sweep, planned: int) -> None:
    """Each planned execution is there once, the data set is valid, no hidden file is left."""
    times_measured: Counter[tuple[object, ...]] = Counter()
    for path in sweep.out.glob("*/*/*/*/*/trial.json"):
        record = json.loads(path.read_text())
        columns = record["columns"]
        for execution in record["executions"]:
            of_trial = columns["use_case"], columns["config_hash"], columns["repeat"]
            times_measured[*of_trial, execution["prompt_number"]] += 1
    doubled = {key: n for key, n in times_measured.items() if n > 1}
    if doubled:
        raise BrokenPromiseError(f"doubled: {doubled}")
    if len(times_measured) != planned:
        raise BrokenPromiseError(f"{len(times_measured)} executions instead of {planned}")
    sweep.executions = len(times_measured)
    hidden = [str(p) for p in sweep.out.rglob(".*")]
    if hidden:
        raise BrokenPromiseError(f"left behind: {hidden}")
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", "validate"],
        cwd=sweep.folder,
        env=sweep.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BrokenPromiseError(f"validate: {done.stdout}{done.stderr}")


def arguments_of(sweep: Sweep) -> tuple[list[str], int]:
    """A small random sweep, and how many executions it has."""
    draw = sweep.draw
    samples, repeats, prompts = draw.randint(2, 3), draw.randint(1, 2), draw.randint(2, 3)
    space = draw.choice(["sobol", "uniform", "lhs", "grid", "optuna"])
    if sweep.real:  # long enough for three kills
        space, samples, repeats, prompts = "uniform", 3, 1, 3
    samples = 2 if space == "grid" else samples
    engine, longest = ("transformers", 110) if sweep.real else ("simulated", 160)
    arguments = [
        *("--space", space, "--samples", str(samples)),
        *("--repeats", str(repeats), "--prompts", str(prompts)),
        *("--seed", str(draw.randrange(1000)), "--range", f"max_length=100:{longest}"),
        *("--engine", engine, "--model", "smollm2", "--machine", "cpu"),
        *("--use-case", "fantasyWorld"),
    ]
    if sweep.mode == "private" and not sweep.real and draw.random() < 0.5:
        arguments += ["--parallel", "2"]
    return arguments, samples * repeats * prompts


def one_sweep(sweep: Sweep) -> None:
    """Run a sweep to its end under faults, and check it."""
    arguments, planned = arguments_of(sweep)
    with cluster_of(sweep) as cluster:
        if cluster and cluster.stdout:
            arguments += ["--address", cluster.stdout.readline().strip()]
        run_until_complete(sweep, arguments, cluster)
        check_complete(sweep, planned)
        if sweep.mode == "private":
            until = time.monotonic() + 20
            while processes(sweep) and time.monotonic() < until:
                time.sleep(0.5)
            if processes(sweep):
                raise BrokenPromiseError(f"processes are left: {processes(sweep)}")


def run_until_complete(
    sweep: Sweep, arguments: list[str], cluster: subprocess.Popen[str] | None
) -> None:
    """Run the same command again and again; the last run has no fault left to suffer."""
    draw = sweep.draw
    to_come = (
        KILLS
        if sweep.real
        else [draw.choice(FAULTS[sweep.mode]) for _ in range(draw.randint(1, sweep.most_faults))]
    )
    for _ in range(12):
        n_faults = 1 if sweep.real else draw.choice([1, 2, 3])
        faults, to_come = to_come[:n_faults], to_come[n_faults:]
        sweep.runs += 1
        before = len(sweep.faults)
        code = run_once(sweep, arguments, faults, cluster)
        struck = sweep.faults[before:]
        sweep.codes.append(code)
        allowed = {0}.union(*(EXIT_CODES.get(fault, set()) for fault in struck))
        if code not in allowed:
            raise BrokenPromiseError(f"a run ended with {code} after {struck}; the log tells more")
        check_unchanged(sweep)
        if code == 0:
            return
        if not faults:
            raise BrokenPromiseError(f"a run without a fault ended with {code}")
    raise BrokenPromiseError("it doesn't come to an end")


def main() -> None:
    """Run the sweeps, print a row for each and the totals."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sweeps", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", type=int, default=5, help="most of one sweep")
    parser.add_argument(
        "--real", action="store_true", help="the real small model, three kills a sweep"
    )
    parser.add_argument("--mode", choices=["private", "cluster", "both"], default="both")
    options = parser.parse_args()
    began, totals = time.monotonic(), Counter[str]()
    drained: list[float] = []
    print("| sweep | Ray | runs | faults | executions | exit codes | s |")
    print("|---|---|---|---|---|---|---|")
    for number in range(options.sweeps):
        mode = options.mode if options.mode != "both" else ("private", "cluster")[number % 2]
        folder = Path(tempfile.mkdtemp(prefix="chaos-"))
        draw = random.Random(f"{options.seed}-{number}")
        sweep = Sweep(number, mode, folder, draw, options.faults, options.real)
        start = time.monotonic()
        try:
            one_sweep(sweep)
        except BrokenPromiseError as error:
            end_processes(sweep)
            print(f"\nsweep {number} ({mode}): {error}")
            print(f"faults: {sweep.faults}, exit codes: {sweep.codes}, kept: {folder}")
            sys.exit(1)
        shutil.rmtree(folder)
        totals.update(sweep.faults)
        drained += sweep.drained_s
        totals["runs"] += sweep.runs
        totals["executions"] += sweep.executions
        row = (
            number,
            mode,
            sweep.runs,
            ", ".join(sweep.faults),
            sweep.executions,
            " ".join(map(str, sweep.codes)),
        )
        print(f"| {' | '.join(map(str, row))} | {time.monotonic() - start:.0f} |", flush=True)
    runs, executions = totals.pop("runs"), totals.pop("executions")
    faults = ", ".join(f"{n} {fault}" for fault, n in sorted(totals.items()))
    slowest = f"; slowest drain {max(drained):.1f} s" if drained else ""
    print(f"\n{options.sweeps} sweeps, {runs} runs, {totals.total()} faults ({faults})")
    print(f"{executions} executions: lost 0, doubled 0{slowest}")
    print(f"seed {options.seed}, {(time.monotonic() - began) / 60:.1f} min")


if __name__ == "__main__":
    main()
