"""How a window's edges see the GPU's energy counter: which readings give the energy that was drawn.

    python -m tools.gpu.counter_edges OUT.jsonl

Needs one GPU that nobody else uses, torch and nvidia-ml-py. For windows of 0.5 to 60 s at low and
high power it opens each window where the counter has just moved, runs a steady load, and reads the
counter and the instantaneous power every few milliseconds until 1.5 s after the end.
One line a window goes to OUT.jsonl; a table is printed. docs/measurement.md has its figures.
"""

from __future__ import annotations

import itertools
import json
import random
import sys
import threading
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

WINDOWS_S = {0.5: 18, 1.0: 18, 3.0: 8, 10.0: 3}
"""Length -> how often."""
INSTANT_FIELD = 186
AFTER_S = 0.7


class Poller(threading.Thread):
    """Reads counter and power all the time: (seconds, millijoules, watts) a row."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        super().__init__(daemon=True)
        self._nvml, self._handle = nvml, handle
        self.rows: list[tuple[float, int, float]] = []
        self.running = True

    def run(self) -> None:
        """Poll until told to stop."""
        nvml, handle = self._nvml, self._handle
        while self.running:
            began_s = time.perf_counter()
            joules_m = nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
            middle_s = time.perf_counter()
            field = nvml.nvmlDeviceGetFieldValues(handle, [INSTANT_FIELD])[0]
            self.rows.append(((began_s + middle_s) / 2, joules_m, field.value.uiVal / 1000))
            time.sleep(0.004)


def load_of(torch: Any, level: str) -> Any:
    """A function that keeps the GPU at steady power for so many seconds."""
    size = {"low": 1024, "high": 8192}[level]
    left = torch.randn(size, size, device="cuda", dtype=torch.bfloat16)
    right = torch.randn(size, size, device="cuda", dtype=torch.bfloat16)

    def run(seconds: float) -> None:
        ends_s = time.perf_counter() + seconds
        while time.perf_counter() < ends_s:
            for _ in range(4 if level == "high" else 2):
                torch.mm(left, right)
            torch.cuda.synchronize()
            if level == "low":
                time.sleep(0.0005)

    return run


def window(nvml: Any, handle: Any, load: Any, seconds: float) -> dict[str, Any]:
    """One window, with all that was read around it."""
    poller = Poller(nvml, handle)
    poller.start()
    time.sleep(0.3)
    first = poller.rows[-1][1]
    while poller.rows[-1][1] == first:
        time.sleep(0.001)
    began_s, opened_mj = time.perf_counter(), nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    load(seconds)
    ended_s, closed_mj = time.perf_counter(), nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    time.sleep(AFTER_S)
    poller.running = False
    poller.join()
    rows = poller.rows
    before = [watts for at_s, _, watts in rows if at_s < began_s]
    tail = [(at_s - ended_s, mj, watts) for at_s, mj, watts in rows if at_s > ended_s - 0.3]
    steps = [(at_s, mj) for (_, last, _), (at_s, mj, _) in itertools.pairwise(rows) if mj > last]
    gaps = [b[0] - a[0] for a, b in itertools.pairwise(steps)]
    inside = [(at_s, watts) for at_s, _, watts in rows if began_s <= at_s <= ended_s]
    return {
        "window_s": ended_s - began_s,
        "counter_j": (closed_mj - opened_mj) / 1000,
        "idle_w": mean(before),
        "steady_w": mean(w for _, w in inside[len(inside) // 4 :]),
        "step_s": mean(gaps),
        "step_s_sd": stdev(gaps),
        "after": [
            (at_s - ended_s, (mj - opened_mj) / 1000) for at_s, mj in steps if at_s > ended_s
        ],
        "tail": tail,
        "instant_j": sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in itertools.pairwise(inside)),
    }


def main(out: Path) -> None:
    """Run all windows at both levels and print the table."""
    import pynvml as nvml
    import torch

    nvml.nvmlInit()
    handle = nvml.nvmlDeviceGetHandleByIndex(0)
    rows = []
    for level in ("low", "high"):
        load = load_of(torch, level)
        load(6.0)
        for seconds, times in WINDOWS_S.items():
            for _ in range(times):
                row = window(nvml, handle, load, seconds + random.uniform(0, 0.1))
                rows.append({"level": level, "asked_s": seconds} | row)
                with out.open("a") as stream:
                    stream.write(json.dumps(rows[-1]) + "\n")
                time.sleep(0.2)
    print(f"{torch.cuda.get_device_name(0)}, driver {nvml.nvmlSystemGetDriverVersion()}")
    for level in ("low", "high"):
        of_level = [row for row in rows if row["level"] == level]
        longest = max(of_level, key=lambda row: row["window_s"])
        print(level, "steady W", longest["counter_j"] / longest["window_s"], longest["steady_w"])
        for seconds in WINDOWS_S:
            some = [row for row in of_level if row["asked_s"] == seconds]
            watts = longest["counter_j"] / longest["window_s"]
            off_j = [row["counter_j"] - watts * row["window_s"] for row in some]
            next_j = [
                row["after"][0][1] - watts * row["window_s"] - row["idle_w"] * row["after"][0][0]
                for row in some
                if row["after"]
            ]
            inst_j = [row["instant_j"] - watts * row["window_s"] for row in some]
            spread = stdev(off_j) if len(off_j) > 1 else 0.0
            print(
                f"{level:5} {seconds:5} s: counter at the end {mean(off_j):+7.2f} J (sd "
                f"{spread:.2f}), at its next step {mean(next_j):+7.2f} J, integrated "
                f"{mean(inst_j):+7.2f} J; step {mean(row['step_s'] for row in some) * 1000:.1f} ms"
                f" +- {mean(row['step_s_sd'] for row in some) * 1000:.1f}; idle "
                f"{mean(row['idle_w'] for row in some):.1f} W"
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
