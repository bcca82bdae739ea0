"""Time and peak memory of the verbs that read a whole data set, over the number of executions.

    python -m tools.scale 10000 100000
    python -m tools.scale 1000000 --prompts 100 --verbs summarize status

The data sets are folders as a sweep writes them, with its plan. Their texts are the labelled ones
of SmolLM2 in turn, their energies are made up. Each verb runs in a process of its own. Memory is
that process's peak; in brackets that of it and its children together, in which what they share
counts once.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np
import psutil
import yaml

from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.sweep_plan import SweepPlan, write_plan
from orchestrator.dataset.trial_files import Measured
from orchestrator.sweep.planning import make_plan
from orchestrator.sweep.request import Request, resolve_request
from tests import builders
from tools.labelled.fit import LABELS
from tools.scale_sweep import circumstances

VERBS = ("evaluate", "summarize", "report", "validate", "status")
LOOK_S = 0.5
MEASURE = """
import resource, sys, time
from orchestrator.cli import main
began = time.perf_counter()
try:
    main(sys.argv[1:])
except SystemExit as ended:
    assert not ended.code, ended.code
own = resource.getrusage(resource.RUSAGE_SELF)
print(f"\\nMEASURED {time.perf_counter() - began} {own.ru_utime + own.ru_stime} {own.ru_maxrss}")
"""


def planned(n_trials: int, prompts: list[str], folder: Path) -> SweepPlan:
    """A plan of so many configurations with these prompts."""
    file = folder / "manyPrompts.yaml"
    file.write_text(yaml.safe_dump({"name": "manyPrompts", "prompts": prompts}), encoding="utf-8")
    request = Request(
        space="lhs",
        samples=n_trials,
        models=("smollm2",),
        use_cases=(str(file),),
        out=folder,
        machine="pc",
    )
    return make_plan(resolve_request(request, [])).with_revisions({"smollm2": "made up"})


def write(root: Path, n: int, n_prompts: int) -> None:
    """A data set of n executions, and those of the anchor, without waiting for the disk."""
    rng = np.random.default_rng(1)
    labelled = [json.loads(line) for line in LABELS.read_text(encoding="utf-8").splitlines()]
    texts = [row["text"] for row in labelled if row["origin"] == "smollm2"]
    prompts = [f"{labelled[i % len(labelled)]['prompt']} ({i})" for i in range(n_prompts)]
    with tempfile.TemporaryDirectory() as folder:
        plan = planned(n // n_prompts, prompts, Path(folder))
    paths = DataSetPaths(root)
    with mock.patch.object(os, "fsync"):
        write_plan(plan, paths.sweep(plan.id))
        for index, spec in enumerate(plan.specs()):
            where = builders.origin(spec, synthetic=False, machine="pc")
            some = [texts[(index * 7 + i) % len(texts)] for i in range(n_prompts)]
            items = [item(spec, i, text, rng) for i, text in enumerate(some)]
            builders.seal_trial(paths, spec, items, where)


def item(spec: object, i: int, text: str, rng: np.random.Generator) -> Measured:
    """One execution with a text and an energy that hangs on its length."""
    tokens = max(1, len(text.split()))
    joules = (20 + 2 * tokens) * float(np.exp(rng.normal(0, 0.05)))
    figures = {
        "n_new_tokens": tokens,
        "energy_j": joules,
        "energy_kwh": joules / 3.6e6,
        "energy_per_token_j": joules / tokens,
    }
    return builders.measured(i + 1, of=spec, output_text=text, **figures)  # type: ignore[arg-type]


def measured(*arguments: str) -> str:
    """Seconds, CPU seconds and GiB of a verb."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as told:
        verb = psutil.Popen(
            [sys.executable, "-c", MEASURE, *arguments], stdout=told, stderr=subprocess.STDOUT
        )
        peak_bytes = 0
        while verb.poll() is None:
            peak_bytes = max(peak_bytes, together(verb))
            time.sleep(LOOK_S)
        told.seek(0)
        text = told.read()
    if "MEASURED" not in text:
        raise SystemExit(text)
    seconds, cpu_s, own_kib = map(float, text.rpartition("MEASURED")[2].split())
    memory = f"{own_kib / 2**20:.2f} GiB ({peak_bytes / 2**30:.2f})"
    return f"{seconds:.0f} s, CPU {cpu_s:.0f} s, {memory}"


def together(verb: psutil.Process) -> int:
    """Bytes of a process and its children; what several share counts once."""
    n_bytes = 0
    with contextlib.suppress(psutil.Error):
        for process in (verb, *verb.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                n_bytes += process.memory_full_info().pss
    return n_bytes


def main() -> None:
    """Print a row a size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("executions", type=int, nargs="+")
    parser.add_argument("--prompts", type=int, default=10, help="executions a trial")
    parser.add_argument("--verbs", nargs="+", choices=VERBS, default=VERBS)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="make the data there, once")
    asked = parser.parse_args()
    print(circumstances())
    print(f"| executions | trials | made in | {' | '.join(asked.verbs)} |")
    print("|---|---|---|" + "---|" * len(asked.verbs))
    for n in asked.executions:
        with tempfile.TemporaryDirectory() as temporary:
            folder = asked.keep or Path(temporary)
            made = "before"
            if not DataSetPaths(folder).sweeps.exists():
                began = time.perf_counter()
                write(folder, n, asked.prompts)
                made = f"{time.perf_counter() - began:.0f} s"
            print(f"| {n:,} | {n // asked.prompts:,} | {made} |", end="", flush=True)
            for verb in asked.verbs:
                print(f" {measured(verb, '--out', str(folder))} |", end="", flush=True)
            print()


if __name__ == "__main__":
    main()
