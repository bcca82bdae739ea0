"""What CodeCarbon's monitor costs, a thread that it runs each second: docs/measurement.md.

It looks for the children of its process among all processes of the host. So it is called here
beside more and more idle processes, which are no children of this one.

    python -m tools.monitor_cost [PROCESSES ...]
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
from codecarbon import OfflineEmissionsTracker

N_CALLS = 20


@contextmanager
def idle_processes(count: int) -> Iterator[None]:
    """So many processes that sleep, adopted by the system's first process."""
    loop = f"echo $$; exec >&-; for i in $(seq {count}); do sleep 60 & done; wait"
    told = subprocess.run(
        ["/usr/bin/setsid", "--fork", "/bin/sh", "-c", loop],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True,
    )  # fmt: skip
    time.sleep(1 + count / 500)
    try:
        yield
    finally:
        os.killpg(int(told.stdout), signal.SIGTERM)


def main(counts: list[int]) -> None:
    """Print a row for each number of processes."""
    os.environ["CODECARBON_LOG_LEVEL"] = "error"
    tracker = OfflineEmissionsTracker(
        country_iso_code="ITA", measure_power_secs=1e6, tracking_mode="process", output_methods=[]
    )
    tracker.start()
    print("| processes of the host | one call, CPU ms |\n|---|---|")
    for count in counts:
        with idle_processes(count):
            began_s = time.process_time()
            for _ in range(N_CALLS):
                tracker._monitor_power()  # noqa: SLF001 - what is measured
            cpu_ms = (time.process_time() - began_s) / N_CALLS * 1000
            print(f"| {len(psutil.pids())} | {cpu_ms:.1f} |")
    tracker.stop()


if __name__ == "__main__":
    main([int(text) for text in sys.argv[1:]] or [0, 100, 1000])
