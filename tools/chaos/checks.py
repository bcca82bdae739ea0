"""What must hold after each run of a sweep, and when it is complete."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter

import pyarrow.parquet as pq

from tools.chaos.sweep import BrokenPromiseError, Sweep
from tools.chaos.verbs import N_IMPORTED, N_MERGED

ENDS_WITHIN_S = 20.0
"""Processes of a complete sweep end by themselves within this time."""


def check_unchanged(sweep: Sweep) -> None:
    """A finished file has the content that it had after the run before."""
    now = sweep.hashes()
    changed = [name for name, sha256 in sweep.sealed.items() if now.get(name) != sha256]
    if changed:
        raise BrokenPromiseError(f"finished files changed or are gone: {changed}")
    sweep.sealed = now


def check_complete(sweep: Sweep, planned: int) -> None:
    """Each execution is there once, in the tables too; the data set is valid; nothing is left."""
    times_measured: Counter[tuple[object, ...]] = Counter()
    for path in sweep.out.glob("*/*/*/*/*/trial.json"):
        record = json.loads(path.read_text())
        columns = record["columns"]
        for execution in record["executions"]:
            of_trial = columns["use_case"], columns["config_hash"], columns["repetition"]
            times_measured[*of_trial, execution["prompt_number"]] += 1
    doubled = {key: n for key, n in times_measured.items() if n > 1}
    if doubled:
        raise BrokenPromiseError(f"doubled: {doubled}")
    in_all = planned + N_MERGED
    if len(times_measured) != in_all:
        raise BrokenPromiseError(f"{len(times_measured)} executions instead of {in_all}")
    sweep.executions = len(times_measured)
    # texts of the simulated engine are never judged
    n_judged = in_all - N_MERGED if sweep.real else 0
    rows = {"executions": in_all, "verdicts": n_judged, "imported": N_IMPORTED}
    for name, n_rows in rows.items():
        found = pq.read_metadata(sweep.out / f"{name}.parquet").num_rows
        if found != n_rows:
            raise BrokenPromiseError(f"{name}.parquet has {found} rows instead of {n_rows}")
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


def check_no_process_left(sweep: Sweep) -> None:
    """All processes of the sweep have ended."""
    until = time.monotonic() + ENDS_WITHIN_S
    while sweep.processes() and time.monotonic() < until:
        time.sleep(0.5)
    if sweep.processes():
        raise BrokenPromiseError(f"processes are left: {sweep.processes()}")
