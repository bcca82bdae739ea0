"""The tables of docs/measurement.md that need a GPU, as Markdown.

    python -m tools.gpu.tables OUT_FOLDER windows
    python -m tools.gpu.tables OUT_FOLDER answers
    python -m tools.gpu.tables OUT_FOLDER session      (three times; each is a process of its own)
    python -m tools.gpu.tables OUT_FOLDER sessions     (the table of what `session` measured)
    python -m tools.gpu.tables OUT_FOLDER parallel     (needs two GPUs)

Needs GPUs that nobody else uses. Each part takes 2 to 6 minutes and is printed as soon as it is
done; what was measured is kept in OUT_FOLDER.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.schema import TrialRecord
from orchestrator.dataset.sessions import anchor_energy_per_token_j, sessions_of
from orchestrator.dataset.trial_files import read_trial
from orchestrator.gpu.access import GpuAccess, open_gpu, state_of
from orchestrator.gpu.devices import visible_gpus
from orchestrator.machine_files import read_machine
from orchestrator.metered import Metered, metered
from orchestrator.meters import Meter, Scene, meters_for
from tools.gpu.counter_edges import load_of

WINDOWS_S = {0.5: 6, 1.0: 6, 3.0: 4, 10.0: 2, 60.0: 1}
"""Length -> how often."""
PRODUCTS = 6000
"""Matrix products of one window of fixed work: about 10 s of an H100."""
FIXED_WINDOWS = 4
METERS = {
    "counter": "gpu_energy_counter_j",
    "power": "gpu_energy_integrated_j",
    "CodeCarbon": "gpu_energy_cc_j",
}


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a Markdown table."""
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |", flush=True)


def kept(out: Path, row: dict[str, Any]) -> dict[str, Any]:
    """A row, after it was added to a file."""
    with out.open("a") as stream:
        stream.write(json.dumps(row) + "\n")
    return row


def opened() -> tuple[GpuAccess, list[Meter]]:
    """The first visible GPU, and the program's own meters on it; torch has its context."""
    import torch

    torch.zeros(1, device="cuda")
    access = open_gpu(visible_gpus()[0].uuid)
    machine, _ = read_machine("pc")
    own_pids = frozenset({os.getpid()})
    return access, meters_for(Scene(machine, access, own_pids=own_pids))


def percent(part: float, whole: float) -> str:
    """How far a part is from the whole, for the table."""
    return f"{100 * (part / whole - 1):+.2f}"


# --- windows --------------------------------------------------------------------------------------


def windows(out: Path) -> None:
    """Windows of five lengths at low and high power, by all three meters."""
    import torch

    access, meters = opened()
    state = state_of(access)
    print(f"{access.gpu.name}, driver {state.driver_version}, torch {torch.__version__}")
    found = []
    for level in ("low", "high"):
        load = load_of(torch, level)
        load(6.0)
        rows = []
        for seconds, times in WINDOWS_S.items():
            for _ in range(times):
                done = metered(meters, access.clock, partial(_until_idle, torch, load, seconds))
                row = {"level": level, "asked_s": seconds, "window_s": done.window_s}
                rows.append(kept(out / "windows.jsonl", row | done.reading.values))
                time.sleep(0.3)
        found += [_windows_row(level, seconds, rows) for seconds in WINDOWS_S]
    _close(meters)
    header = ("power", "window", "n", "counter, W", "spread, %", "power - counter, %",
              "CodeCarbon - counter, %", "stated, 95 %, %")  # fmt: skip
    table(header, found)


def _until_idle(torch: Any, load: Callable[[float], None], seconds: float) -> None:
    """A load that has ended when this returns."""
    load(seconds)
    torch.cuda.synchronize()


def _windows_row(level: str, seconds: float, rows: list[dict[str, Any]]) -> tuple[Any, ...]:
    """One line: how the meters differ, and how the counter's power differs from window to window.

    The last column is what the program states for the statistical part.
    """
    from orchestrator.dataset.energy import STATISTICAL_FACTOR, energy_rel_statistical

    some = [row for row in rows if row["asked_s"] == seconds]
    watts = [row[METERS["counter"]] / row["window_s"] for row in some]
    spread = f"{100 * stdev(watts) / mean(watts):.2f}" if len(watts) > 1 else "-"
    basis = METERS["counter"]
    stated = [energy_rel_statistical(row | {"energy_basis": basis}) or 0.0 for row in some]
    others = [
        percent(mean(row[METERS[name]] for row in some), mean(row[basis] for row in some))
        for name in ("power", "CodeCarbon")
    ]
    level_w = f"{level}, {mean(watts):.0f} W"
    return (level_w, f"{seconds:g} s", len(some), f"{mean(watts):.1f}", spread, *others,
            f"{100 * STATISTICAL_FACTOR * mean(stated):.2f}")  # fmt: skip


def _close(meters: list[Meter]) -> None:
    """End the meters' processes."""
    for meter in meters:
        meter.close()


# --- first and later answers ----------------------------------------------------------------------


def answers(out: Path) -> None:
    """First against later answers of three processes."""
    for number in range(3):
        to = out / f"answers-{number}.jsonl"
        command = [sys.executable, "-m", "tools.gpu.first_answers", str(to)]
        subprocess.run(command, check=True)
    rows = []
    for number in range(3):
        lines = (out / f"answers-{number}.jsonl").read_text().splitlines()
        values = [json.loads(line)["energy_per_token_j"] for line in lines]
        ratios = [a / b for a, b in zip(values[::2], values[1::2], strict=True)]
        error = stdev(ratios) / len(ratios) ** 0.5
        rows.append((number + 1, len(ratios), f"{mean(ratios):.3f} ± {error:.3f}"))
    table(("process", "pairs", "first / later answer, J/token"), rows)


# --- sessions -------------------------------------------------------------------------------------


def session(out: Path) -> None:
    """One session of 12 short trials of a model of Llama-2-7B's shape, in a process of its own."""
    number = len(list(out.glob("session-*")))
    command = [
        sys.executable, "-m", "orchestrator", "tune", "--space", "lhs", "--samples", "12",
        "--model", "synthetic-llama2", "--use-case", "fantasyWorld", "--prompts", "1",
        "--range", "max_length=160:220", "--out", str(out / f"session-{number}"),
    ]  # fmt: skip
    began_s = time.monotonic()
    with (out / f"session-{number}.log").open("w") as log:
        subprocess.run(command, check=True, stdout=log, stderr=subprocess.STDOUT)
    print(f"session {number}: {time.monotonic() - began_s:.0f} s")


def _records(out: Path) -> list[TrialRecord]:
    """The trials of all sessions."""
    records = []
    for folder in sorted(out.glob("session-*/")):
        records += [read_trial(trial) for trial in DataSetPaths(folder).sealed_trials()]
    return records


def sessions(out: Path) -> None:
    """Anchors, idle power, loading, prefill and decode of each session."""
    records = _records(out)
    found = sessions_of(records)
    for one in found:
        kept(out / "sessions.jsonl", asdict(one) | {"started_at": str(one.started_at)})
    table(
        (
            "session",
            "anchors",
            "J/token",
            "within, CV %",
            "last / first, %",
            "net J/token",
            "within, CV %",
        ),
        [
            (
                number,
                one.n_anchors,
                f"{one.energy_per_token_j or 0:.3f}",
                f"{100 * (one.relative_spread or 0):.2f}",
                f"{100 * (one.drift or 0):+.2f}",
                f"{one.net_energy_per_token_j or 0:.3f}",
                f"{100 * (one.net_relative_spread or 0):.2f}",
            )
            for number, one in enumerate(found, 1)
        ],
    )
    for what, figures in (
        ("gross", [one.energy_per_token_j for one in found]),
        ("net", [one.net_energy_per_token_j for one in found]),
    ):
        means = [one for one in figures if one is not None]
        if len(means) > 1:
            print(f"\nbetween sessions, {what}: CV {100 * stdev(means) / mean(means):.2f} %")
    anchors = [anchor for record in records for anchor in record.anchors]
    speeds = [one.n_new_tokens / one.window_s for one in anchors]
    per_token = [anchor_energy_per_token_j(one) or 0.0 for one in anchors]
    print(f"anchors: {min(speeds):.1f} to {max(speeds):.1f} tokens/s, {min(per_token):.2f} to "
          f"{max(per_token):.2f} J/token\n")  # fmt: skip
    _states(records)


def _states(records: list[TrialRecord]) -> None:
    """Idle power by state; loading, warm-up, prefill and decode."""
    rows = []
    for state in ("bare", "context", "loaded"):
        by_id = {
            one.id: one.power_w
            for record in records
            for one in record.environment.baselines
            if one.state == state and one.power_w is not None
        }
        powers = ", ".join(f"{watts:.1f}" for watts in by_id.values())
        rows.append((f"idle, {state}", f"{powers} W"))
    first = {
        record.columns.session_id: record for record in records if record.environment.loaded_here
    }
    loads = [record.environment for record in first.values()]
    rows.append(
        (
            "loading",
            ", ".join(
                f"{one.load_energy_j or 0:.0f} J in {one.load_s or 0:.0f} s" for one in loads
            ),
        )
    )
    pilots = [one.pilot for one in loads if one.pilot]
    rows.append(
        (
            "warm-up",
            ", ".join(
                f"{one.warm_up_energy_j or 0:.0f} J in {one.warm_up_s:.0f} s" for one in pilots
            ),
        )
    )
    executions = [execution for record in records for execution in record.executions]
    for name in ("prefill_energy_j", "decode_energy_per_token_j", "energy_per_token_j"):
        values = [getattr(one, name) for one in executions]
        known = [one for one in values if one is not None]
        spread = f" (CV {100 * stdev(known) / mean(known):.1f} %)" if len(known) > 1 else ""
        rows.append((f"`{name}`", f"{mean(known):.2f} J{spread}, {len(set(known))} values"))
    net = [
        one.net_energy_j / one.n_new_tokens
        for one in executions
        if one.net_energy_j is not None and one.n_new_tokens
    ]
    rows.append(
        ("net energy a token", f"{mean(net):.2f} J (CV {100 * stdev(net) / mean(net):.1f} %)")
    )
    n_prompt = {one.n_prompt_tokens for one in executions}
    rows.append(("tokens of the prompt", ", ".join(map(str, sorted(filter(None, n_prompt))))))
    uncertain = [one.prefill_rel_uncertainty for one in executions if one.prefill_rel_uncertainty]
    rows.append(("`prefill_rel_uncertainty`", f"{mean(uncertain):.4f}"))
    table(("what", "measured"), rows)


# --- two trials at once ---------------------------------------------------------------------------


def fixed_work(start_s: float) -> None:
    """Windows of the same matrix products on one GPU, from a moment of the monotonic clock on."""
    import torch

    access, meters = opened()
    left = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)

    def work() -> None:
        """The same number of products each time."""
        for _ in range(PRODUCTS):
            torch.mm(left, left)
        torch.cuda.synchronize()

    work()
    time.sleep(max(0.0, start_s - time.monotonic()))
    for _ in range(FIXED_WINDOWS):
        done: Metered[None] = metered(meters, access.clock, work)
        print(
            json.dumps({"uuid": access.gpu.uuid, "window_s": done.window_s, **done.reading.values}),
            flush=True,
        )
    _close(meters)


def parallel(out: Path) -> None:
    """The same work on each GPU alone, then on both at once."""
    gpus = visible_gpus()
    if len(gpus) < 2:
        raise SystemExit("this table needs two GPUs")
    alone = [_at_once([gpu.uuid]) for gpu in gpus[:2]]
    both = _at_once([gpu.uuid for gpu in gpus[:2]])
    rows = []
    for gpu, of_gpu in zip(gpus[:2], alone, strict=True):
        together = [row for row in both if row["uuid"] == gpu.uuid]
        for name, some in (("alone", of_gpu), ("at once", together)):
            for row in some:
                kept(out / "parallel.jsonl", row | {"how": name})
        alone_j = mean(row[METERS["counter"]] for row in of_gpu)
        both_j = mean(row[METERS["counter"]] for row in together)
        seconds = [mean(row["window_s"] for row in some) for some in (of_gpu, together)]
        rows.append((gpu.index, f"{alone_j:.0f} J, {seconds[0]:.2f} s",
                     f"{both_j:.0f} J, {seconds[1]:.2f} s", percent(both_j, alone_j)))  # fmt: skip
    table(("GPU", "alone", "both at once", "difference of energy, %"), rows)


def _at_once(uuids: list[str]) -> list[dict[str, Any]]:
    """What windows of fixed work gave, on these GPUs at the same time."""
    start_s = time.monotonic() + 45
    command = [
        sys.executable,
        "-m",
        "tools.gpu.tables",
        "-",
        "fixed-work",
        "--start-s",
        str(start_s),
    ]
    running = [
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"CUDA_VISIBLE_DEVICES": uuid},
        )
        for uuid in uuids
    ]
    outputs = [process.communicate()[0] for process in running]
    return [
        json.loads(line)
        for output in outputs
        for line in output.splitlines()
        if line.startswith("{")
    ]


def main() -> None:
    """Run one part."""
    parts = {"windows": windows, "answers": answers, "session": session, "sessions": sessions,
             "parallel": parallel}  # fmt: skip
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("part", choices=[*parts, "fixed-work"])
    parser.add_argument("--start-s", type=float, default=0.0)
    arguments = parser.parse_args()
    if arguments.part == "fixed-work":
        fixed_work(arguments.start_s)
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    parts[arguments.part](arguments.out)


if __name__ == "__main__":
    main()
