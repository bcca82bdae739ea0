"""What CodeCarbon's CPU energy says: windows of busy and idle CPU, as docs/measurement.md has them.

Each window is measured by the program's own CodeCarbonMeter on a machine of which nothing is known.

    python -m tools.cpu_worth
"""

from __future__ import annotations

import threading
import time

import psutil

from orchestrator.meters import Scene
from orchestrator.meters.codecarbon import CodeCarbonMeter
from orchestrator.nouns import Machine

WINDOWS = [(cores, window_s) for window_s in (5.0, 10.0) for cores in (0, 1, 2)]
"""Busy cores, seconds."""
BUFFER = bytes(2**24)


def _busy(until_s: float) -> None:
    """Use a core: hashing large buffers lets other threads of Python run."""
    import hashlib

    while time.perf_counter() < until_s:
        hashlib.sha256(BUFFER)


def _work(cores: int, seconds: float) -> None:
    """Keep so many cores busy with threads of this process."""
    until_s = time.perf_counter() + seconds
    threads = [threading.Thread(target=_busy, args=(until_s,)) for _ in range(cores)]
    for thread in threads:
        thread.start()
    time.sleep(max(0.0, until_s - time.perf_counter()))
    for thread in threads:
        thread.join()


def main() -> None:
    """Print a row for each window."""
    meter = CodeCarbonMeter(Scene(Machine(name="any", accelerator="cpu")))
    meter.begin()
    _work(0, 0.2)
    meter.end()  # the first window of a process looks for the hardware
    print(
        "| window s | busy cores | process time s | host's CPU % | method | CPU J | CPU W | RAM W |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for cores, seconds in WINDOWS:
        psutil.cpu_percent()
        began_cpu_s = time.process_time()
        meter.begin()
        began_s = time.perf_counter()
        _work(cores, seconds)
        ended_s = time.perf_counter()
        meter.end()
        cpu_s = time.process_time() - began_cpu_s
        host_percent = psutil.cpu_percent()
        values = meter.reading(began_s, ended_s).values
        window_s = ended_s - began_s
        cpu_j, ram_j = values["cpu_energy_j"], values["ram_energy_j"]
        print(
            f"| {window_s:.1f} | {cores} | {cpu_s:.2f} | {host_percent:.0f} "
            f"| {values['cpu_method']} | {cpu_j:.1f} | {cpu_j / window_s:.1f} "
            f"| {ram_j / window_s:.1f} |"
        )


if __name__ == "__main__":
    main()
