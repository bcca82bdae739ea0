"""The sweep's figures as Prometheus metrics on Ray's own metrics port, where they carry Ray's prefix `ray_`.

They are made and recorded in the driver, whose metrics Ray exports like a worker's (seen with Ray 2.60, within ten seconds).
A record is some microseconds in memory, between two windows. They begin anew with each run, and end with a private Ray: the
data set is the truth. A figure that is unknown is counted apart, never as 0.

Ray forgets a gauge that isn't told anew within twice its export interval (20 s): the driver's loop tells the trials' states and
the last windows of places that run a trial. So a place that runs none has no power after a while.

Doesn't know a histogram's true sum: Ray sends buckets and makes the sum of their middles. Means come from the counters.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec

from orchestrator.dataset.energy import counted_energy_j
from orchestrator.dataset.schema import Execution, TrialColumns, TrialRecord
from orchestrator.dataset.trial_files import Origin
from orchestrator.nouns import TrialKey, TrialSpec
from orchestrator.tune.observers import Observer
from orchestrator.tune.trainable import Job

P = ParamSpec("P")

LOG = logging.getLogger(__name__)

BUCKETS = [
    round(mantissa * 10.0**exponent, 3)
    for exponent in range(-2, 3)
    for mantissa in (1, 1.5, 2.2, 3.3, 4.7, 6.8)
]
"""0.01 to 680 J/token, six a decade: from a small model on a large GPU to a large one on a CPU."""

NO_GPU = "none"


@dataclass(frozen=True)
class Metric:
    """What one metric is; `sweep` is a label of each."""

    kind: str
    """Class of ray.util.metrics."""
    meaning: str
    labels: tuple[str, ...] = ("machine", "model")


PLACE = ("machine", "host", "gpu")
Place = tuple[str, str, str]
"""Values of these labels."""

METRICS = {
    "orchestrator_energy_joules_total": Metric(
        "Counter", "energy of the executions by CodeCarbon, as column energy_j"
    ),
    "orchestrator_gpu_energy_joules_total": Metric(
        "Counter", "energy by the GPU's counter, as column gpu_energy_counter_j"
    ),
    "orchestrator_energy_unknown_executions_total": Metric(
        "Counter",
        "executions with an unknown energy in that column: its counter is a lower bound",
        ("machine", "model", "column"),
    ),
    "orchestrator_window_seconds_total": Metric("Counter", "length of the measurement windows"),
    "orchestrator_tokens_total": Metric("Counter", "tokens generated"),
    "orchestrator_executions_total": Metric(
        "Counter",
        "executions in the data set, by status and kind of error",
        ("machine", "model", "status", "error_kind"),
    ),
    "orchestrator_workers_lost_total": Metric(
        "Counter", "workers or nodes that died during a trial, or raised", ()
    ),
    "orchestrator_trials": Metric(
        "Gauge", "trials of this run by state; the states add up to all of them", ("state",)
    ),
    "orchestrator_power_watts": Metric(
        "Gauge", "mean power of CPU, GPU and RAM in the last window, by CodeCarbon", PLACE
    ),
    "orchestrator_gpu_power_watts": Metric(
        "Gauge", "mean power of the GPU in its last window", PLACE
    ),
    "orchestrator_tokens_per_second": Metric("Gauge", "tokens a second of the last window", PLACE),
    "orchestrator_energy_per_token_joules": Metric(
        "Histogram", "energy per generated token of the executions"
    ),
}
"""Name -> what it is. Units stand in the names, as Prometheus has them."""


def _harmless(
    method: Callable[Concatenate[Metrics, P], None],
) -> Callable[Concatenate[Metrics, P], None]:
    """What fails in here is told once and ends the metrics, not the sweep."""

    @functools.wraps(method)
    def tried(self: Metrics, /, *arguments: P.args, **options: P.kwargs) -> None:
        if self.broken:
            return
        try:
            method(self, *arguments, **options)
        except Exception as error:  # noqa: BLE001 - whatever it is, the sweep is worth more
            self.broken = True
            LOG.warning("metrics end here, the sweep goes on: %s: %s", type(error).__name__, error)

    return tried


class Metrics(Observer):
    """Make it after Ray is up; `library` stands for ray.util.metrics."""

    def __init__(self, sweep_id: str, n_trials: int, library: Any = None) -> None:
        self.broken = False
        self._sweep_id = sweep_id
        self._n_trials = n_trials
        self._made: dict[str, Any] = {}
        self._running: dict[int, Place] = {}
        """By their number in the order, which each attempt has of its own."""
        self._windows: dict[Place, dict[str, float | None]] = {}
        """The figures of each place's last window."""
        self._with_failures: set[tuple[TrialKey, str]] = set()
        self._ended = {"finished": 0, "failed": 0, "given_up": 0}
        self._make(library)
        self._tell_trials()

    @_harmless
    def _make(self, library: Any) -> None:
        if library is None:
            import ray.util.metrics

            library = ray.util.metrics
        for name, metric in METRICS.items():
            more = {"boundaries": BUCKETS} if metric.kind == "Histogram" else {}
            make = getattr(library, metric.kind)
            self._made[name] = make(
                name, description=metric.meaning, tag_keys=("sweep", *metric.labels), **more
            )

    def _add(self, name: str, value: float | None, **labels: str) -> None:
        if value is not None and value > 0:  # Ray refuses to add 0
            self._made[name].inc(value, {"sweep": self._sweep_id, **labels})

    def _set(self, name: str, value: float | None, **labels: str) -> None:
        self._made[name].set(
            math.nan if value is None else value, {"sweep": self._sweep_id, **labels}
        )

    @_harmless
    def _tell_trials(self) -> None:
        known = {"running": len(self._running), **self._ended}
        for state, n in {"waiting": max(0, self._n_trials - sum(known.values())), **known}.items():
            self._set("orchestrator_trials", n, state=state)

    def trial_started(self, spec: TrialSpec, origin: Origin) -> None:
        """A trial runs."""
        self._running[spec.order_index] = _place(origin.columns)
        self._tell_trials()

    @_harmless
    def execution_recorded(self, spec: TrialSpec, origin: Origin, execution: Execution) -> None:
        """Count an execution."""
        columns = origin.columns
        of = {"machine": columns.machine, "model": columns.model}
        if execution.status != "ok":
            self._with_failures.add((spec.key(), columns.machine))
        kind = execution.error_kind or "none"
        self._add(
            "orchestrator_executions_total", 1, **of, status=execution.status, error_kind=kind
        )
        self._add("orchestrator_tokens_total", execution.n_new_tokens, **of)
        self._add("orchestrator_window_seconds_total", execution.window_s, **of)
        energies = {"energy_j": "orchestrator_energy_joules_total"}
        if columns.gpu_uuid:
            energies["gpu_energy_counter_j"] = "orchestrator_gpu_energy_joules_total"
        for column, name in energies.items():
            joules = getattr(execution, column)
            self._add(name, joules, **of)
            if joules is None:
                self._add("orchestrator_energy_unknown_executions_total", 1, **of, column=column)
        if execution.energy_per_token_j is not None:
            self._made["orchestrator_energy_per_token_joules"].observe(
                execution.energy_per_token_j, {"sweep": self._sweep_id, **of}
            )
        self._tell_window(columns, execution)

    def _tell_window(self, columns: TrialColumns, execution: Execution) -> None:
        """The last window of a place; what is unknown of it is no number, not the one before."""
        place = _place(columns)
        figures = {
            "orchestrator_tokens_per_second": execution.tokens_per_s,
            "orchestrator_power_watts": _watts(execution.energy_j, execution.window_s),
        }
        if columns.gpu_uuid:
            joules = counted_energy_j(vars(execution))
            figures["orchestrator_gpu_power_watts"] = _watts(joules, execution.window_s)
        self._windows[place] = figures
        self._set_all(place)

    def _set_all(self, place: Place) -> None:
        for name, value in self._windows.get(place, {}).items():
            self._set(name, value, **dict(zip(PLACE, place, strict=True)))

    @_harmless
    def tell_again(self) -> None:
        """Tell the gauges that still hold, lest Ray forget them. From any thread."""
        self._tell_trials()
        for place in set(self._running.copy().values()):
            self._set_all(place)

    def trial_sealed(self, record: TrialRecord) -> None:
        """A trial is over, or what is left of it waits again."""
        self._running.pop(record.spec.order_index, None)
        if len(record.executions) == len(record.spec.prompts):
            failed = (record.spec.key(), record.columns.machine) in self._with_failures
            self._ended["failed" if failed else "finished"] += 1
        self._tell_trials()

    def worker_lost(self, job: Job, reason: str, *, retried: bool) -> None:  # noqa: ARG002 - an observer's
        """Its worker died."""
        self._running.pop(job.spec.order_index, None)
        self._ended["given_up"] += not retried
        self._count_loss()
        self._tell_trials()

    @_harmless
    def _count_loss(self) -> None:
        self._add("orchestrator_workers_lost_total", 1)


def _place(columns: TrialColumns) -> Place:
    return columns.machine, columns.host, columns.gpu_uuid or NO_GPU


def _watts(joules: float | None, seconds: float | None) -> float | None:
    return joules / seconds if joules is not None and seconds else None
