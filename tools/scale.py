"""Time and peak memory of `evaluate`, `summarize` and `report` over the number of executions.

    python -m tools.scale 10000 100000

The data sets are folders as a sweep writes them, with ten executions a trial. Their texts are the
labelled ones of SmolLM2 in turn, their energies are made up. Each verb runs in a process of its
own; memory is that process's peak, and in brackets that of its largest child.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np

from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.trial_files import Measured
from orchestrator.nouns import Configuration, Prompt
from tests import builders
from tools.labelled.fit import LABELS

N_PROMPTS = 10
MEASURE = """
import resource, sys, time
from orchestrator.cli import main
began = time.perf_counter()
try:
    main(sys.argv[1:])
except SystemExit as ended:
    assert not ended.code, ended.code
own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(f"\\nMEASURED {time.perf_counter() - began} {own} {children}")
"""


def write(root: Path, n: int) -> None:
    """A data set of n executions, without waiting for the disk."""
    rng = np.random.default_rng(1)
    labelled = [json.loads(line) for line in LABELS.read_text(encoding="utf-8").splitlines()]
    texts = [row["text"] for row in labelled if row["origin"] == "smollm2"]
    prompts = tuple(
        Prompt(number=i + 1, text=f"{labelled[i]['prompt']} ({i})") for i in range(N_PROMPTS)
    )
    paths = DataSetPaths(root)
    with mock.patch.object(os, "fsync"):
        for index in range(n // N_PROMPTS):
            u = rng.random(4)
            asked = Configuration(
                max_length=100 + int(900 * u[0]),
                top_p=u[1],
                top_k=int(100 * u[2]),
                temperature=2 * u[3],
            )
            spec = builders.spec(
                config_index=index,
                configuration=asked,
                prompts=prompts,
                setup=builders.setup(engine="transformers"),
            )
            where = builders.origin(spec, synthetic=False, machine="pc")
            builders.seal_trial(
                paths,
                spec,
                (item(spec, i, texts[(index * 7 + i) % len(texts)], rng) for i in range(N_PROMPTS)),
                where,
            )


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
    """Seconds and GiB of a verb."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *arguments], capture_output=True, text=True, check=False
    )
    if "MEASURED" not in done.stdout:
        raise SystemExit(done.stderr)
    seconds, own, children = done.stdout.rpartition("MEASURED")[2].split()
    return (
        f"{float(seconds):.0f} s, {int(own) / 2**20:.2f} GiB (children {int(children) / 2**20:.2f})"
    )


def main() -> None:
    """Print a row a size."""
    print("| executions | made in | evaluate | summarize | report | report.html |")
    print("|---|---|---|---|---|---|")
    for n in map(int, sys.argv[1:]):
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            write(Path(folder), n)
            made = f"{time.perf_counter() - began:.0f} s"
            cells = [
                measured(verb, "--out", folder) for verb in ("evaluate", "summarize", "report")
            ]
            size = f"{(Path(folder) / 'report.html').stat().st_size / 1e6:.1f} MB"
            print(f"| {n:,} | {made} | {' | '.join(cells)} | {size} |", flush=True)
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak of this process: {peak_gib:.2f} GiB", file=sys.stderr)


if __name__ == "__main__":
    main()
