"""Run sweeps on real Ray, kill processes at random times, run again until each is complete.

The engine is the simulated one, or with --real a small model. Beside the runs, and between them,
the other verbs that write work on the same data set, and some of them are killed. After every run:
no finished folder has changed. At the end of every sweep: each execution stands in the data set
and in its tables exactly once, `validate` reports nothing, no temporary file and no process is
left. Exits with 1 at the first sweep for which that doesn't hold, and keeps its folder. The same
--seed gives the same sweeps and faults; when exactly a fault hits depends on the machine's timing,
too.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tools.chaos import verbs
from tools.chaos.checks import check_complete, check_no_process_left, check_unchanged
from tools.chaos.cluster import Cluster, cluster_of
from tools.chaos.faults import DRAINING, EXIT_CODES, FAULTS, KILLS, Driver, strike
from tools.chaos.sweep import BrokenPromiseError, Sweep

RUN_LIMIT_S = 180.0
"""A run that takes longer hangs."""
DRAIN_LIMIT_S = 30.0
"""From a signal to the exit: a prompt of about a second, and Ray's own end."""


def main() -> None:
    """Run the sweeps, print a row for each and the totals."""
    options = _options()
    # under nohup, drivers would rightly ignore it
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    began, totals, beside = time.monotonic(), Counter[str](), Counter[str]()
    drained: list[float] = []
    made = Path(tempfile.mkdtemp(prefix="chaos-"))
    other = verbs.make_other(made)
    print("| sweep | Ray | runs | faults | executions | exit codes | s |")
    print("|---|---|---|---|---|---|---|")
    for number in range(options.sweeps):
        mode = options.mode if options.mode != "both" else ("private", "cluster")[number % 2]
        folder = Path(tempfile.mkdtemp(prefix="chaos-"))
        draw = random.Random(f"{options.seed}-{number}")
        sweep = Sweep(
            number, mode, folder, draw, options.faults, options.kind or [], real=options.real
        )
        start = time.monotonic()
        try:
            verbs.prepare(sweep, other)
            one_sweep(sweep)
        except BrokenPromiseError as error:
            sweep.end_processes()
            print(f"\nsweep {number} ({mode}): {error}")
            print(f"faults: {sweep.faults}, exit codes: {sweep.codes}, kept: {folder}")
            sys.exit(1)
        shutil.rmtree(folder)
        totals.update(sweep.faults)
        beside.update(sweep.verbs)
        drained += sweep.drained_s
        totals["runs"] += sweep.runs
        totals["executions"] += sweep.executions
        codes = " ".join(map(str, sweep.codes))
        row = (number, mode, sweep.runs, ", ".join(sweep.faults), sweep.executions, codes)
        print(f"| {' | '.join(map(str, row))} | {time.monotonic() - start:.0f} |", flush=True)
    shutil.rmtree(made)
    runs, executions = totals.pop("runs"), totals.pop("executions")
    slowest = f"; slowest drain {max(drained):.1f} s" if drained else ""
    print(f"\n{options.sweeps} sweeps, {runs} runs, {totals.total()} faults ({_counted(totals)})")
    print(f"other verbs: {_counted(beside)}")
    print(f"{executions} executions: lost 0, doubled 0{slowest}")
    print(f"seed {options.seed}, {(time.monotonic() - began) / 60:.1f} min")


def _options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sweeps", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", type=int, default=5, help="most of one sweep")
    parser.add_argument("--kind", action="append", help="only this kind of fault; repeatable")
    parser.add_argument(
        "--real", action="store_true", help="the real small model, three kills a sweep"
    )
    parser.add_argument("--mode", choices=["private", "cluster", "both"], default="both")
    return parser.parse_args()


def _counted(names: Counter[str]) -> str:
    """How often each name was counted, on one line."""
    return ", ".join(f"{n} {name}" for name, n in sorted(names.items()))


def one_sweep(sweep: Sweep) -> None:
    """Run a sweep to its end under faults, and check it."""
    arguments, planned = arguments_of(sweep)
    with cluster_of(sweep) as cluster:
        if cluster:
            arguments += ["--address", cluster.address]
        run_until_complete(sweep, arguments, cluster)
        verbs.run_all(sweep)
        check_complete(sweep, planned)
        if sweep.mode == "private":
            check_no_process_left(sweep)


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


def run_until_complete(sweep: Sweep, arguments: list[str], cluster: Cluster | None) -> None:
    """Run the same command again and again; the last run has no fault left to suffer."""
    draw = sweep.draw
    to_come = KILLS
    if not sweep.real:
        n_to_come = draw.randint(1, sweep.most_faults)
        kinds = [kind for kind in FAULTS[sweep.mode] if kind in sweep.kinds or not sweep.kinds]
        to_come = [draw.choice(kinds) for _ in range(n_to_come)]
    for _ in range(12):
        n_faults = 1 if sweep.real else draw.choice([1, 2, 3])
        faults, to_come = to_come[:n_faults], to_come[n_faults:]
        sweep.runs += 1
        before = len(sweep.faults)
        code = run_once(sweep, arguments, faults, cluster)
        struck = sweep.faults[before:]
        sweep.codes.append(code)
        allowed = {0}.union(*(EXIT_CODES.get(fault, set()) for fault in struck))
        if verbs.HOLDERS.intersection(sweep.beside):
            allowed.add(verbs.REFUSED)
        if code not in allowed:
            raise BrokenPromiseError(f"a run ended with {code} after {struck}; the log tells more")
        check_unchanged(sweep)
        verbs.kill_one(sweep)
        check_unchanged(sweep)
        if code == 0:
            return
        if not faults:
            raise BrokenPromiseError(f"a run without a fault ended with {code}")
    raise BrokenPromiseError("it doesn't come to an end")


def run_once(sweep: Sweep, arguments: list[str], faults: list[str], cluster: Cluster | None) -> int:
    """One run with faults at random times, and other verbs beside it; its exit code."""
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
    beside = []
    sweep.beside.clear()
    for fault in faults:
        if draw.random() < 0.5:
            verb = draw.choice(list(verbs.VERBS))
            sweep.beside.append(verb)
            beside.append((verb, verbs.start(sweep, verb)))
        if draw.random() < 0.25:  # while it starts
            wait_until(driver, time.monotonic() + draw.uniform(0, 9))
        else:  # while it measures
            wait_for_more(sweep, driver, draw.randrange(1, 4), began + RUN_LIMIT_S)
            wait_until(driver, time.monotonic() + draw.uniform(0, 0.8))
        if driver.poll() is None:
            strike(sweep, fault, driver, cluster)
    must_drain = bool(DRAINING.intersection(faults))
    limit = DRAIN_LIMIT_S if must_drain else RUN_LIMIT_S
    struck = time.monotonic()
    try:
        code = driver.wait(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(driver.pid, signal.SIGKILL)
        raise BrokenPromiseError(f"a run didn't end within {limit:.0f} s after {faults}") from None
    finally:
        verbs.check_beside(sweep, beside)
    if code == 75 and must_drain:
        sweep.drained_s.append(time.monotonic() - struck)
    return code


def wait_until(driver: Driver, when: float) -> None:
    """Sleep until a time of the monotonic clock, or until the driver has ended."""
    while driver.poll() is None and time.monotonic() < when:
        time.sleep(0.02)


def wait_for_more(sweep: Sweep, driver: Driver, n_more: int, until: float) -> None:
    """Sleep until so many more executions are written, or the driver has ended."""
    goal = sweep.written() + n_more
    while driver.poll() is None and sweep.written() < goal and time.monotonic() < until:
        time.sleep(0.1)


if __name__ == "__main__":
    main()
