"""How long the program takes to start: its help, a plan, and a sweep up to its first window.

The first table is CPU time of whole processes, beside a bare interpreter; commands take turns. The
second is what a sweep takes to its first window, beside a bare program on Ray that starts it in the
same way, imports the same libraries in an actor and loads the same model; the two take turns. But
for its protocol (idle power, warm-up), the sweep is to take at most 3 s more. On a busy machine the
CPU time of both programs' driver and worker tells more than seconds; with the simulated engine,
neither loads anything and the protocol takes no time.

    python -m tools.startup --rounds 10
    python -m tools.startup --engine simulated
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

WORKER = "ray::Measure"
COMPLETION = {
    "_ORCHESTRATOR_COMPLETE": "bash_complete",
    "COMP_WORDS": "orchestrator tu",
    "COMP_CWORD": "1",
}
COMMANDS: dict[str, tuple[list[str], dict[str, str]]] = {
    "bare interpreter": (["-c", "pass"], {}),
    "--help": (["-m", "orchestrator", "--help"], {}),
    "shell completion": (["-m", "orchestrator"], COMPLETION),
    "tune --help": (["-m", "orchestrator", "tune", "--help"], {}),
    "plan --space lhs": (["-m", "orchestrator", "plan", "--space", "lhs"], {}),
    "plan --space sobol": (["-m", "orchestrator", "plan", "--space", "sobol"], {}),
}
SWEEP = (
    *("tune", "--space", "lhs", "--samples", "1", "--prompts", "1", "--use-case", "fantasyWorld"),
    *("--range", "max_length=100:101"),
)

BARE = """\
import os, sys, time

from orchestrator.ray_tune.ray_environment import LOOPBACK_ONLY, RAY_DEFAULTS
from orchestrator.ray_tune.session import dashboard_available, own_token

engine, model, folder = sys.argv[1:]
# Ray reads some when it is imported; without the last it writes a token into the home folder
os.environ.update(RAY_DEFAULTS | LOOPBACK_ONLY)
os.environ["RAY_AUTH_TOKEN_PATH"] = str(own_token())
import ray

ray.init(
    address="local", include_dashboard=dashboard_available(), dashboard_host="127.0.0.1",
    log_to_driver=False, logging_level="CRITICAL", object_store_memory=200 * 2**20,
    _temp_dir=folder, _node_ip_address="127.0.0.1",
)

@ray.remote(num_cpus=1)
class Actor:
    def load(self):
        if engine == "simulated":
            return 0.0, time.process_time()
        from orchestrator.engine import ENGINES
        from orchestrator.engine.weights import expected_revision
        from orchestrator.models import parse_model
        from orchestrator.nouns import QUANTIZATIONS, Setup

        parsed = parse_model(model)
        setup = Setup(
            model=parsed.label, revision=expected_revision(parsed), engine=engine,
            quantization=QUANTIZATIONS["nf4"], use_case="bare", prompts_sha256="", seed=0,
        )
        loaded = ENGINES[engine].load(setup, parsed.ref, os.cpu_count(), None)
        return loaded.info.load_s, time.process_time()

actor = Actor.remote()
load_s, cpu_s = ray.get(actor.load.remote())
print("LOADED", load_s, time.time(), time.process_time() + cpu_s, flush=True)
ray.shutdown()
"""


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--sweeps", type=int, default=5, help="rounds of the second table")
    parser.add_argument("--engine", default="transformers", choices=["transformers", "simulated"])
    parser.add_argument("--model", default="smollm2")
    options = parser.parse_args()
    _print_commands(options.rounds)
    if options.sweeps:
        _print_sweeps(options.sweeps, options.engine, options.model)


def cpu_s(arguments: list[str], variables: dict[str, str]) -> float:
    """CPU time of a Python process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | variables,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _print_commands(n_rounds: int) -> None:
    """CPU time of each command: median, least and most."""
    seen: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(n_rounds):
        for name, (arguments, variables) in COMMANDS.items():
            seen[name].append(cpu_s(arguments, variables))
    print(f"CPU seconds, {n_rounds} rounds: median (least to most)")
    for name, values in seen.items():
        middle = statistics.median(values)
        print(f"{name:<20} {middle:.3f} ({min(values):.3f} to {max(values):.3f})")


def _print_sweeps(n_rounds: int, engine: str, model: str) -> None:
    """A row a round: the sweep, the bare program, and what the sweep took more."""
    print("\nSeconds from the start of the process; CPU: of driver and worker until it is loaded")
    print(f"{'':5}  {'sweep':48}  bare program")
    print(
        "round  plan shown  first window  loading  protocol  CPU  loaded  loading   CPU  more  CPU"
    )
    more, more_cpu = [], []
    for number in range(1, n_rounds + 1):
        ours = sweep_start(engine, model)
        bare = bare_start(engine, model)
        more.append(ours["first_window_s"] - ours["protocol_s"] - bare["loaded_s"])
        more_cpu.append(ours["cpu_s"] - bare["cpu_s"])
        print(
            f"{number:5}  {ours['planned_s']:10.1f}  {ours['first_window_s']:12.1f}  "
            f"{ours['load_s']:7.1f}  {ours['protocol_s']:8.1f}  {ours['cpu_s']:3.1f}  "
            f"{bare['loaded_s']:6.1f}  {bare['load_s']:7.1f}  {bare['cpu_s']:4.1f}  "
            f"{more[-1]:4.1f}  {more_cpu[-1]:3.1f}",
            flush=True,
        )
    print(
        f"more than the bare program, median: {statistics.median(more):.1f} s, "
        f"{statistics.median(more_cpu):.1f} s CPU"
    )


def sweep_start(engine: str, model: str) -> dict[str, float]:
    """What a sweep of one prompt took until its window opened, and parts of that."""
    with tempfile.TemporaryDirectory(prefix="startup-") as folder:
        command = (*SWEEP, "--engine", engine, "--model", model, "--out", folder)
        began_s = time.time()
        process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", *command],
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        lines = []
        planned_s = used_s = 0.0
        for line in process.stdout:
            planned_s = planned_s or time.time() - began_s
            if " loaded in " in line:
                used_s = _used_s(process.pid)
            lines.append(line)
        if process.wait():
            raise SystemExit("".join(lines))
        (record,) = _records(Path(folder))
    started_at = datetime.fromisoformat(record["executions"][0]["started_at"])
    return {
        "planned_s": planned_s,
        "cpu_s": used_s,
        "first_window_s": started_at.timestamp() - began_s,
        "load_s": record["environment"]["load_s"],
        "protocol_s": record["environment"]["protocol_s"],
    }


def _used_s(driver_pid: int) -> float:
    """CPU time of a sweep's driver and worker so far."""
    driver = psutil.Process(driver_pid)
    processes = [driver, *driver.children(recursive=True)]
    measuring = [one for one in processes if one is driver or one.name().startswith(WORKER)]
    return sum(one.cpu_times().user + one.cpu_times().system for one in measuring)


def _records(folder: Path) -> list[dict[str, Any]]:
    """The trials of a data set."""
    files = folder.rglob("trial.json")
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def bare_start(engine: str, model: str) -> dict[str, float]:
    """What the bare program took until the model was loaded."""
    # sockets have short names, so their folder has one, too
    with tempfile.TemporaryDirectory(
        prefix="st-", dir="/tmp", ignore_cleanup_errors=True
    ) as folder:
        began_s = time.time()
        done = subprocess.run(
            [sys.executable, "-c", BARE, engine, model, folder],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("LOADED"))
    _, load_s, at_s, used_s = line.split()
    return {
        "load_s": float(load_s),
        "loaded_s": float(at_s) - began_s,
        "cpu_s": float(used_s),
    }


if __name__ == "__main__":
    main()
