"""Tokens a second and joules a token of each engine, quantization and number of rows.

    python -m tools.gpu.decoding OUT.jsonl [--cases transformers:nf4:1 compiled:int4:10 ...]
                                 [--model synthetic-llama2] [--longest 1024] [--new-tokens 400]
                                 [--profile]

Each case is a process of its own: it loads the model, builds what it needs up to `--longest`
tokens, and measures texts of a fixed length through the program's own engine and meters, in three
windows of 4 s or more. `--profile` adds where the time of one step goes. Prints a Markdown table;
one JSON line a case is added to OUT.jsonl. Without a GPU energies are unknown. docs/performance.md
has its figures.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from orchestrator.engine import ENGINES, BatchRow, Engine
from orchestrator.machine_files import read_machine
from orchestrator.metered import metered
from orchestrator.meters import Scene, meters_for
from orchestrator.nouns import QUANTIZATIONS, Setup, effective_of
from orchestrator.sweep.planning import make_plan
from orchestrator.sweep.request import Request, resolve_request
from orchestrator.sweep.staging import staged_revisions

CASES = (
    "transformers:nf4:1", "compiled:nf4:1", "compiled:int4:1", "transformers:none:1",
    "compiled:none:1", "compiled:int4:10", "compiled:nf4:10",
)  # fmt: skip
PROMPT = "Tell me of an old castle by the sea and of those who lived there."
WINDOWS, WINDOW_S = 3, 4.0
SHOWN_KERNELS = 8
COUNTER = "gpu_energy_counter_j"


def setup_of(model: str, engine: str, quantization: str) -> tuple[Setup, str]:
    """A setup as a sweep's, and its model's reference."""
    request = Request(
        space="lhs",
        samples=1,
        models=(model,),
        engines=(engine,),
        quantizations=(quantization,),
        use_cases=("fantasyWorld",),
        prompts=1,
    )
    resolved = resolve_request(request, [])
    plan = make_plan(resolved)
    plan = plan.with_revisions(staged_revisions(resolved, lambda _line: None))
    spec = next(iter(plan.specs()))
    return spec.setup, spec.model_ref


def text_of(engine: Engine, rows: int, n_new: int) -> Callable[[], None]:
    """Work that makes one text a row."""
    encoded = engine.encode(PROMPT)
    effective = effective_of(
        _configuration(encoded.n_tokens + n_new), prompt_tokens=encoded.n_tokens
    )

    batch = [BatchRow(encoded, effective, seed) for seed in range(1, rows + 1)]

    def work() -> None:
        engine.generate(batch, fixed_length=True)
        engine.synchronize()

    return work


def _configuration(max_length: int) -> Any:
    """The middle of the usual settings."""
    from orchestrator.nouns import Configuration

    return Configuration(max_length=max_length, top_p=0.9, top_k=50, temperature=0.8)


def measured(case: str, options: argparse.Namespace) -> dict[str, Any]:
    """One case, in this process."""
    name, quantization, of_rows = case.split(":")
    rows = int(of_rows)
    setup, model_ref = setup_of(options.model, name, quantization)
    assert setup.quantization == QUANTIZATIONS[quantization]
    kind = ENGINES[name]
    setup = setup.model_copy(update={"batch_size": rows})
    engine = kind.load(setup, model_ref, None, kind.gpu())
    began_s = time.perf_counter()
    built = engine.build_shapes(options.longest)
    build_s = time.perf_counter() - began_s
    machine, _ = read_machine("pc")
    meters = meters_for(Scene(machine, engine.gpu))
    work = text_of(engine, rows, options.new_tokens)
    first = text_of(engine, rows, 1)
    for _ in range(2):
        work()
    began_s = time.perf_counter()
    first()
    prefill_s = time.perf_counter() - began_s
    windows = [_window(engine, meters, work, rows * options.new_tokens) for _ in range(WINDOWS)]
    told = engine.info.columns
    row = {
        "case": case,
        "model": setup.model,
        "gpu": engine.gpu.gpu.name if engine.gpu else None,
        "kernels": told.kernels,
        "decoding": told.decoding,
        "longest": options.longest,
        "new_tokens": options.new_tokens,
        "load_s": engine.info.load_s,
        "build_s": build_s,
        "n_compiled": built.n_compiled,
        "n_from_disk": built.n_from_disk,
        "prefill_s": prefill_s,
        "tokens_per_s": [one[0] for one in windows],
        "j_per_token": [one[1] for one in windows],
        "versions": engine.info.versions | {"python": platform.python_version()},
    }
    if options.profile:
        row["kernels_of_a_step"] = _profile(engine, options, rows)
    for meter in meters:
        meter.close()
    engine.close()
    return row


def _window(
    engine: Engine, meters: list[Any], work: Callable[[], None], n_tokens: int
) -> tuple[float, float | None]:
    """(tokens/s, J/token) of a window; None: no counter."""

    def long_enough() -> int:
        began_s, times = time.perf_counter(), 0
        while time.perf_counter() - began_s < WINDOW_S:
            work()
            times += 1
        return times

    engine.synchronize()
    done = metered(meters, time.perf_counter, long_enough)
    tokens = done.result * n_tokens
    energy_j = done.reading.values.get(COUNTER)
    return tokens / done.window_s, None if energy_j is None else energy_j / tokens


def _profile(engine: Engine, options: argparse.Namespace, rows: int) -> list[tuple[str, float]]:
    """(kernel, milliseconds a step) of the costliest, by texts that differ in their length."""
    from torch.profiler import ProfilerActivity, profile

    totals: list[dict[str, float]] = []
    for n_new in (2, options.new_tokens // 4):
        work = text_of(engine, rows, n_new)
        with profile(activities=[ProfilerActivity.CUDA]) as seen:
            work()
        totals.append({one.key: one.device_time_total / 1000 for one in seen.key_averages()})
    short, long = totals
    steps = options.new_tokens // 4 - 2
    of_step = {key: (value - short.get(key, 0.0)) / steps for key, value in long.items()}
    return sorted(of_step.items(), key=lambda one: -one[1])[:SHOWN_KERNELS]


def show(rows: list[dict[str, Any]]) -> None:
    """Print the rows as a Markdown table, and profiles below it."""
    heads = ("engine", "quantization", "rows", "tokens/s", "J/token", "ms a step", "first token ms",
             "build s", "compiled, from disk")  # fmt: skip
    print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
    for row in rows:
        engine, quantization, n = row["case"].split(":")
        speed = median(row["tokens_per_s"])
        energies = [value for value in row["j_per_token"] if value is not None]
        spread = f"{min(row['tokens_per_s']):.1f} to {max(row['tokens_per_s']):.1f}"
        cells = (engine, quantization, n, f"{speed:.1f} ({spread})",
                 f"{median(energies):.3f}" if energies else "n/a", f"{1000 * int(n) / speed:.2f}",
                 f"{1000 * row['prefill_s']:.0f}", f"{row['build_s']:.0f}",
                 f"{row['n_compiled']}, {row['n_from_disk']}")  # fmt: skip
        print("| " + " | ".join(cells) + " |", flush=True)
    for row in rows:
        if "kernels_of_a_step" in row:
            print(f"\n{row['case']}, ms a step:")
            for name, milliseconds in row["kernels_of_a_step"]:
                print(f"  {milliseconds:7.3f}  {name[:90]}")


def main() -> None:
    """Measure each case in a process of its own, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--cases", nargs="+", default=CASES)
    parser.add_argument("--model", default="synthetic-llama2")
    parser.add_argument("--longest", type=int, default=1024)
    parser.add_argument("--new-tokens", type=int, default=400)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--one", action="store_true", help="this process is the case's own")
    options = parser.parse_args()
    if options.one:
        row = measured(options.cases[0], options)
        with options.out.open("a") as stream:
            stream.write(json.dumps(row) + "\n")
        return
    for case in options.cases:
        own = [sys.executable, "-m", "tools.gpu.decoding", *sys.argv[1:2], "--one", "--cases", case]
        own += ["--model", options.model, "--longest", str(options.longest)]
        own += ["--new-tokens", str(options.new_tokens), *["--profile"] * options.profile]
        done = subprocess.run(own, check=False, capture_output=True, text=True)
        if done.returncode:
            print(f"{case}: {done.stderr.strip().splitlines()[-1]}", flush=True)
            print(done.stderr, file=sys.stderr, flush=True)
    with options.out.open() as stream:
        rows = [json.loads(line) for line in stream]
    print(", ".join(f"{name} {version}" for name, version in rows[0]["versions"].items()))
    print(f"{rows[0]['gpu']}, {rows[0]['model']}")
    show(rows)


if __name__ == "__main__":
    main()
