"""The faults, how each is caused, and with which exit codes a run may end after it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable

from tools.chaos.cluster import Cluster
from tools.chaos.sweep import Sweep

Driver = subprocess.Popen[bytes]

SIGNALS = {
    "driver SIGKILL": signal.SIGKILL,
    "driver SIGTERM": signal.SIGTERM,
    "driver SIGINT": signal.SIGINT,
    "driver SIGUSR1": signal.SIGUSR1,
    "driver SIGUSR2": signal.SIGUSR2,
    "driver SIGHUP": signal.SIGHUP,
}
GROUP = "group SIGTERM"
"""To all processes of the driver's group, as `timeout`, systemd and containers send it."""
STORMS = {"SIGTERM storm": (signal.SIGTERM, 20), "SIGINT storm": (signal.SIGINT, 25)}
"""A signal, and how often it is sent within two seconds."""
TWO = "two signals"
STOP = "driver stopped for 5 s"
PROCESSES = {
    "worker SIGKILL": ("ray::Measure", "ray::ResourceTr"),
    "raylet SIGKILL": ("raylet",),
    "GCS SIGKILL": ("gcs_server",),
    "agent SIGKILL": ("ray::DashboardA", "ray::RuntimeEnv"),
}
"""Processes of Ray, by the starts of their names."""
NODE = "node killed"

FAULTS = {
    "private": [
        *SIGNALS,
        GROUP,
        GROUP,
        *STORMS,
        TWO,
        STOP,
        "worker SIGKILL",
        "worker SIGKILL",
        "raylet SIGKILL",
        "GCS SIGKILL",
        "agent SIGKILL",
    ],
    "cluster": [*SIGNALS, GROUP, *STORMS, TWO, STOP, "worker SIGKILL", NODE, NODE, NODE],
}
"""What may happen to a sweep, by the Ray that it runs on."""
KILLS = ["driver SIGKILL", "driver SIGKILL", "worker SIGKILL"]
"""With --real, one a run; the worker's last, since a run that loses a worker still completes."""

EXIT_CODES = {
    "driver SIGKILL": {-signal.SIGKILL},
    "driver SIGUSR2": {-signal.SIGUSR2},
    "driver SIGINT": {130, -signal.SIGINT},  # Python's own way while it starts
    "driver SIGTERM": {75, -signal.SIGTERM},
    "driver SIGUSR1": {75, -signal.SIGUSR1},
    "driver SIGHUP": {75, -signal.SIGHUP},
    GROUP: {75, -signal.SIGTERM},
    "SIGTERM storm": {75, -signal.SIGTERM},
    "SIGINT storm": {130, -signal.SIGINT},
    TWO: {75, -signal.SIGTERM},
    "raylet SIGKILL": {75},
    "GCS SIGKILL": {75},
    "agent SIGKILL": {75},  # Ray ends a node whose agent died
}
"""Exit codes that a fault may cause, besides 0. Negative ones: the driver had no handlers yet.

A run with any other fault must end with 0, since workers and nodes are replaced."""

DRAINING = {*SIGNALS, GROUP, *STORMS, TWO}
"""Faults after which a run must end soon."""


def strike(sweep: Sweep, fault: str, driver: Driver, cluster: Cluster | None) -> None:
    """Cause one fault."""
    sweep.faults.append(fault)
    with contextlib.suppress(ProcessLookupError):
        if fault in SIGNALS:
            driver.send_signal(SIGNALS[fault])
        elif fault == GROUP:
            os.killpg(driver.pid, signal.SIGTERM)
        elif fault in STORMS:
            number, times = STORMS[fault]
            _repeat(lambda: driver.send_signal(number), times, 2.0 / times)
        elif fault == TWO:
            _repeat(lambda: driver.send_signal(signal.SIGTERM), 2, sweep.draw.uniform(0, 0.5))
        elif fault == STOP:
            driver.send_signal(signal.SIGSTOP)
            time.sleep(5)
            driver.send_signal(signal.SIGCONT)
        elif fault == NODE and cluster:
            cluster.tell("kill")
            cluster.tell("add")
        else:
            victims = sweep.processes(*PROCESSES[fault])
            if victims:
                os.kill(sweep.draw.choice(victims), signal.SIGKILL)


def _repeat(send: Callable[[], None], times: int, every_s: float) -> None:
    """Send a signal several times."""
    for _ in range(times):
        send()
        time.sleep(every_s)
