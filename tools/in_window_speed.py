"""Speed within the windows of a sweep beside a bare loop: it should be the same.

A round is a short sweep, and a loop of plain transformers in a process of its own, which loads the
model once and generates the same texts from the same seeds. Both have the same number of threads.
The texts must be equal. Rounds take turns in what comes first. For a machine without a GPU, on
which nothing else runs.

    python -m tools.in_window_speed --rounds 10
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

SWEEP = (
    *("tune", "--engine", "transformers", "--machine", "cpu"),
    *("--quantization", "none", "--fixed-length"),
    *("--space", "lhs", "--samples", "2", "--prompts", "3", "--range", "max_length=100:101"),
    *("--use-case", "fantasyWorld"),
)
WORKER = "ray::Measure"
LOOK_S = 0.5


@dataclass(frozen=True)
class Speed:
    """What one side of a round did."""

    tokens_per_s: float
    texts: str
    """Hash of all texts, in the order of their configurations and prompts."""
    niceness: tuple[int, ...] = ()
    """Of the processes that measured."""


def main() -> None:
    """Print a row for each round, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10, help="at least two")
    parser.add_argument("--model", default="smollm2")
    options = parser.parse_args()
    compare(options.rounds, options.model)


def compare(n_rounds: int, model: str) -> None:
    """Run the rounds and print them; ends with a sentence where the two sides' texts differ."""
    ratios, niceness = [], set[int]()
    print("| round | first | loop, tokens/s | sweep, tokens/s | sweep / loop |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="speed-") as name:
        folder = Path(name)
        plan = folder / "plan"
        _sweep(plan, model)  # stages the model, too, and gives the loop its configurations
        for number in range(n_rounds):
            if number % 2 == 0:
                first = "sweep"
                sweep = _sweep(folder / str(number), model)
                loop = _loop(plan, model)
            else:
                first = "loop"
                loop = _loop(plan, model)
                sweep = _sweep(folder / str(number), model)
            if sweep.texts != loop.texts:
                sys.exit("the two sides wrote different texts")
            niceness.update(sweep.niceness)
            ratios.append(sweep.tokens_per_s / loop.tokens_per_s)
            speeds = f"{loop.tokens_per_s:.2f} | {sweep.tokens_per_s:.2f} | {ratios[-1]:.3f}"
            print(f"| {number + 1} | {first} | {speeds} |", flush=True)
    mean, median = statistics.mean(ratios), statistics.median(ratios)
    error = statistics.stdev(ratios) / n_rounds**0.5
    print(f"\nmean {mean:.3f} ± {error:.3f} (standard error), median {median:.3f}")
    print(f"niceness of the processes that measured: {sorted(niceness)}; texts equal")


def _sweep(folder: Path, model: str) -> Speed:
    """Run the sweep into a new folder."""
    command = [sys.executable, "-m", "orchestrator", *SWEEP, "--model", model, "--out", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    niceness = set[int]()
    while process.poll() is None:
        time.sleep(LOOK_S)
        niceness.update(_niceness_of_workers())
    if process.returncode:
        sys.exit(f"the sweep ended with {process.returncode}")
    rows = _rows(folder)
    n_tokens = sum(row["n_new_tokens"] for row in rows)
    window_s = sum(row["window_s"] for row in rows)
    texts = _hash_of([row["output_text"] for row in rows])
    return Speed(n_tokens / window_s, texts, tuple(niceness))


def _niceness_of_workers() -> set[int]:
    """Niceness of Ray's workers that run a trial."""
    found = set()
    for process in psutil.process_iter(["name", "nice"]):
        if process.info["name"].startswith(WORKER):
            found.add(process.info["nice"])
    return found


def _loop(plan: Path, model: str) -> Speed:
    """Run the bare loop over the executions of a data set, in a process of its own."""
    command = [sys.executable, "-m", "tools.in_window_speed", "loop", str(plan), model]
    # as the sweep's processes have it: threads that wait don't spin
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "TQDM_DISABLE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return Speed(**json.loads(done.stdout.splitlines()[-1]))


def loop(plan: Path, model_name: str) -> None:
    """Generate each text of a data set once more, and print tokens/s and the texts' hash."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from orchestrator.engine.weights import resolve
    from orchestrator.models import parse_model

    rows = _rows(plan)
    torch.set_num_threads(rows[0]["threads"])
    folder = resolve(parse_model(model_name)).path
    tokenizer = AutoTokenizer.from_pretrained(folder)
    dtype = getattr(torch, rows[0]["compute_dtype"])
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()

    def generate(row: dict[str, Any]) -> tuple[str, int]:
        """The text of a row and its number of tokens."""
        text = row["prompt_text"]
        if row["chat_template"]:
            message = [{"role": "user", "content": text}]
            text = tokenizer.apply_chat_template(
                message, tokenize=False, add_generation_prompt=True
            )
        # a template has written the special tokens already
        encoded = tokenizer(text, return_tensors="pt", add_special_tokens=not row["chat_template"])
        ids = encoded["input_ids"]
        torch.manual_seed(row["seed"])
        with torch.inference_mode():
            output = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=row["n_new_tokens"],
                min_new_tokens=row["n_new_tokens"],
                do_sample=row["effective_do_sample"],
                temperature=row["effective_temperature"],
                top_p=row["effective_top_p"],
                top_k=row["effective_top_k"],
            )
        new = output[0, ids.shape[1] :]
        return tokenizer.decode(new, skip_special_tokens=True), len(new)

    generate(rows[0])  # warm
    texts, n_tokens, spent_s = [], 0, 0.0
    for row in rows:
        began = time.perf_counter()
        text, n_new = generate(row)
        spent_s += time.perf_counter() - began
        texts.append(text)
        n_tokens += n_new
    print(json.dumps({"tokens_per_s": n_tokens / spent_s, "texts": _hash_of(texts)}))


def _rows(folder: Path) -> list[dict[str, Any]]:
    """The executions of a data set, in the order of their configurations and prompts."""
    import pyarrow.parquet as pq

    rows = pq.read_table(folder / "executions.parquet").to_pylist()
    return sorted(rows, key=lambda row: (row["config_index"], row["prompt_number"]))


def _hash_of(texts: list[str]) -> str:
    """SHA-256 of texts."""
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()


if __name__ == "__main__":
    if sys.argv[1:2] == ["loop"]:
        loop(Path(sys.argv[2]), sys.argv[3])
    else:
        main()
