"""The sweeps that a metrics page tells of: what tune/metrics.py exports, read over HTTP from anywhere that reaches its port.

Counts are those of the run that exports them, from its start; the data set has the rest.
"""

from __future__ import annotations

import http.client
import math
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from orchestrator.errors import UserError

PREFIX = "ray_orchestrator_"
ANSWER_S = 10.0
LARGEST_BYTES = 64 * 2**20
"""A page of a node with many workers is some 100 KiB."""

Place = tuple[str, str, str]
"""machine, host, gpu ('none' without one)."""


@dataclass
class RunningSweep:
    """One sweep by its metrics."""

    id: str
    trials: dict[str, int] = field(default_factory=dict)
    """By state: waiting, running, finished, failed, given_up."""
    executions: dict[str, int] = field(default_factory=dict)
    """By kind of error; 'none': ok."""
    energy_j: float = 0.0
    energy_unknown: int = 0
    """Executions that `energy_j` lacks."""
    gpu_energy_j: float = 0.0
    tokens: int = 0
    window_s: float = 0.0
    lost: int = 0
    power_w: dict[Place, float] = field(default_factory=dict)
    gpu_power_w: dict[Place, float] = field(default_factory=dict)
    tokens_per_s: dict[Place, float] = field(default_factory=dict)
    """These three: of each place's last window."""
    buckets: dict[float, float] = field(default_factory=dict)
    """Upper bound of J/token -> executions up to it."""

    def median_j_per_token(self) -> float | None:
        """Upper bound of the bucket that holds the median; None before there is one."""
        total = max(self.buckets.values(), default=0.0)
        return next(
            (bound for bound, n in sorted(self.buckets.items()) if total and n >= total / 2), None
        )


def read_page(address: str) -> str:
    """The metrics page of HOST:PORT. Raises UserError where there is none."""
    host, _, port = (
        address.removeprefix("http://").rstrip("/").removesuffix("/metrics").rpartition(":")
    )
    if not host or not port.isdecimal():
        raise UserError(
            f"--address {address}: must be HOST:PORT, as `tune` prints it after 'Watch from elsewhere'"
        )
    direct = urllib.request.build_opener(
        urllib.request.ProxyHandler({})
    )  # a proxy is for the internet: it can't reach a node
    try:
        with direct.open(f"http://{host}:{port}/metrics", timeout=ANSWER_S) as answer:
            return str(answer.read(LARGEST_BYTES).decode("utf-8", "replace"))
    except (OSError, urllib.error.URLError, http.client.HTTPException, ValueError) as error:
        why = getattr(error, "reason", None) or error
        raise UserError(
            f"--address {address}: no metrics there ({why}); a sweep's port ends with it, and `tune` prints a new one"
        ) from error


def sweeps_of(page: str, address: str) -> list[RunningSweep]:
    """The sweeps on a page, by id. Raises UserError where it is no page of metrics."""
    from prometheus_client.parser import text_string_to_metric_families

    found: dict[str, RunningSweep] = {}
    buckets: dict[str, dict[float, float]] = defaultdict(lambda: defaultdict(float))
    try:
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                if sample.name.startswith(PREFIX) and "sweep" in sample.labels:
                    sweep = found.setdefault(
                        sample.labels["sweep"], RunningSweep(sample.labels["sweep"])
                    )
                    _take(
                        sweep,
                        sample.name.removeprefix(PREFIX),
                        sample.labels,
                        sample.value,
                        buckets[sweep.id],
                    )
    except (ValueError, KeyError, IndexError) as error:
        raise UserError(
            f"--address {address}: what answers there gives no page of Prometheus metrics"
        ) from error
    for sweep in found.values():
        sweep.buckets = dict(buckets[sweep.id])
    return [found[name] for name in sorted(found)]


def look(address: str) -> list[RunningSweep]:
    """The sweeps that run there now."""
    return sweeps_of(read_page(address), address)


SUMS = {
    "energy_joules_total": "energy_j",
    "gpu_energy_joules_total": "gpu_energy_j",
    "tokens_total": "tokens",
    "window_seconds_total": "window_s",
    "workers_lost_total": "lost",
}
"""Metric -> field that adds it up over machines and models."""
LAST_WINDOWS = {
    "power_watts": "power_w",
    "gpu_power_watts": "gpu_power_w",
    "tokens_per_second": "tokens_per_s",
}


def _take(
    sweep: RunningSweep,
    name: str,
    labels: dict[str, str],
    value: float,
    buckets: dict[float, float],
) -> None:
    if not math.isfinite(value):  # unknown
        return
    if name in SUMS:
        before = getattr(sweep, SUMS[name])
        setattr(sweep, SUMS[name], before + type(before)(value))
    elif name in LAST_WINDOWS:
        getattr(sweep, LAST_WINDOWS[name])[labels["machine"], labels["host"], labels["gpu"]] = value
    elif name == "trials":
        sweep.trials[labels["state"]] = int(value)
    elif name == "executions_total":
        sweep.executions[labels["error_kind"]] = sweep.executions.get(
            labels["error_kind"], 0
        ) + int(value)
    elif name == "energy_unknown_executions_total" and labels["column"] == "energy_j":
        sweep.energy_unknown += int(value)
    elif name == "energy_per_token_joules_bucket":
        buckets[float(labels["le"])] += value


def places_of(sweep: RunningSweep) -> Iterable[Place]:
    """Where it runs, sorted."""
    return sorted({*sweep.power_w, *sweep.gpu_power_w, *sweep.tokens_per_s})
