"""Time and peak memory of `evaluate`, `summarize` and `report` over the number of executions.

    python -m tools.scale 10000 100000

Data sets of real folders, ten executions a trial, with the labelled texts of SmolLM2 in turn; energies are made up. Each verb
runs in a process of its own; memory is that process's peak, and its children's largest.
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

N_PROMPTS = 10
LABELS = Path(__file__).parents[1] / "labelled" / "labels.jsonl"
MEASURE = """
import resource, sys, time
from orchestrator.cli import main
began = time.perf_counter()
try:
    main(sys.argv[1:])
except SystemExit as ended:
    assert not ended.code, ended.code
own, children = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
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
                index=index,
                asked=asked,
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
    return builders.measured(i + 1, of=spec, text=text, **figures)  # type: ignore[arg-type]


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
    print(
        "| executions | made in | evaluate | summarize | report | report.html |\n|---|---|---|---|---|---|"
    )
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
    print(
        f"peak of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB",
        file=sys.stderr,
    )


if __name__ == "__main__":
    main()
