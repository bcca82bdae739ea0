"""Read the metrics of running sweeps over HTTP, as metrics.py exports them.

Works on any machine that can reach the port. Counts are those of the present run only; the data set
holds what earlier runs measured.
"""

from __future__ import annotations

import http.client
import math
import threading
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass, field

from orchestrator.errors import UserError

PREFIX = "ray_orchestrator_"
ANSWER_S = 10.0
"""How long a page may take to arrive, all in all."""
LARGEST_BYTES = 64 * 2**20
"""Most that is read of a page; a node with many workers has some 100 KiB."""

Place = tuple[str, str, str]
"""machine, host, gpu ('none' without one)."""


@dataclass
class RunningSweep:
    """One running sweep, as its metrics describe it."""

    id: str
    trials: dict[str, int] = field(default_factory=dict)
    """State (waiting, running, finished, failed, given_up) -> number of trials."""
    executions: dict[str, int] = field(default_factory=dict)
    """Kind of error ('none' for ok) -> number of executions."""
    energies_j: dict[str, float] = field(default_factory=dict)
    """energy_basis -> gross energy of that column."""
    energy_unknown: int = 0
    """Executions whose energy was not measured: they are in none of energies_j."""
    tokens: int = 0
    window_s: float = 0.0
    """Length of all measurement windows together."""
    lost: int = 0
    """Workers that died."""
    power_w: dict[Place, float] = field(default_factory=dict)
    """Mean power in the last window of each place."""
    gpu_power_w: dict[Place, float] = field(default_factory=dict)
    """Mean power of the GPU in the last window of each place."""
    tokens_per_s: dict[Place, float] = field(default_factory=dict)
    """Speed in the last window of each place."""
    buckets: dict[float, float] = field(default_factory=dict)
    """Upper bound of J/token -> executions up to it."""

    def median_j_per_token(self) -> float | None:
        """Upper bound of the bucket that holds the median; None before the first execution."""
        total = max(self.buckets.values(), default=0.0)
        if not total:
            return None
        for bound, n in sorted(self.buckets.items()):
            if n >= total / 2:
                return bound
        return None


def read_page(address: str) -> str:
    """The metrics page at HOST:PORT. Raises UserError where there is none."""
    host, _, port = (
        address.removeprefix("http://").rstrip("/").removesuffix("/metrics").rpartition(":")
    )
    if not host or not port.isdecimal():
        raise UserError(
            f"--address {address}: must be HOST:PORT, "
            "as `tune` prints it after 'Watch from elsewhere'"
        )
    pages: list[str] = []
    why: object = f"no whole page within {ANSWER_S:.0f} s"

    def fetch() -> None:
        """Put the page into `pages`, or the reason why there is none into `why`."""
        nonlocal why
        # without a proxy, which is there for the internet and can't reach a node
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(f"http://{host}:{port}/metrics", timeout=ANSWER_S) as answer:
                pages.append(answer.read(LARGEST_BYTES).decode("utf-8", "replace"))
        except (OSError, http.client.HTTPException, ValueError) as error:
            why = getattr(error, "reason", None) or error

    # a timeout of a socket is none of the whole: a host may send a byte now and then for ever
    fetching = threading.Thread(target=fetch, daemon=True)
    fetching.start()
    fetching.join(ANSWER_S)
    if not pages:
        raise UserError(
            f"--address {address}: no metrics there ({why}); "
            "each run has a new port, which `tune` prints"
        )
    return pages[0]


def sweeps_of(page: str, address: str) -> list[RunningSweep]:
    """The sweeps on a page, sorted by id. Raises UserError where it is no page of metrics.

    `page`: Prometheus' text format. `address`: HOST:PORT that it came from, for the message. Other
    metrics on it are left out.
    """
    from prometheus_client.parser import text_string_to_metric_families

    sweeps: dict[str, RunningSweep] = {}
    try:
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                if sample.name.startswith(PREFIX) and "sweep" in sample.labels:
                    sweep_id = sample.labels["sweep"]
                    sweep = sweeps.setdefault(sweep_id, RunningSweep(sweep_id))
                    name = sample.name.removeprefix(PREFIX)
                    if math.isfinite(sample.value):  # NaN stands for an unknown figure
                        _take(sweep, name, sample.labels, sample.value)
    except (ValueError, KeyError, IndexError) as error:
        raise UserError(
            f"--address {address}: this port serves no Prometheus metrics; "
            "take the address that `tune` prints"
        ) from error
    return [sweeps[name] for name in sorted(sweeps)]


def look(address: str) -> list[RunningSweep]:
    """The sweeps that run now, from the page at HOST:PORT. Raises UserError."""
    return sweeps_of(read_page(address), address)


SUMS = {
    "tokens_total": "tokens",
    "window_seconds_total": "window_s",
    "workers_lost_total": "lost",
}
"""Metric -> field of RunningSweep that sums it over machines and models."""
LAST_WINDOWS = {
    "power_watts": "power_w",
    "gpu_power_watts": "gpu_power_w",
    "tokens_per_second": "tokens_per_s",
}
"""Metric -> field of RunningSweep that holds it for each place."""


def _take(sweep: RunningSweep, name: str, labels: dict[str, str], value: float) -> None:
    """Put one value of a metric into its sweep."""
    if name in SUMS:
        before = getattr(sweep, SUMS[name])
        setattr(sweep, SUMS[name], before + type(before)(value))
    elif name in LAST_WINDOWS:
        getattr(sweep, LAST_WINDOWS[name])[labels["machine"], labels["host"], labels["gpu"]] = value
    elif name == "trials":
        sweep.trials[labels["state"]] = int(value)
    elif name == "executions_total":
        kind = labels["error_kind"]
        sweep.executions[kind] = sweep.executions.get(kind, 0) + int(value)
    elif name == "counted_energy_joules_total":
        basis = labels["energy_basis"]
        sweep.energies_j[basis] = sweep.energies_j.get(basis, 0.0) + value
    elif name == "energy_unknown_executions_total" and labels["column"] == "counted_energy_j":
        sweep.energy_unknown += int(value)
    elif name == "energy_per_token_joules_bucket":
        bound = float(labels["le"])
        sweep.buckets[bound] = sweep.buckets.get(bound, 0.0) + value


def places_of(sweep: RunningSweep) -> Iterable[Place]:
    """The places at which a sweep runs, sorted."""
    return sorted({*sweep.power_w, *sweep.gpu_power_w, *sweep.tokens_per_s})
