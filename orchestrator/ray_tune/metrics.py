"""The sweep's figures as Prometheus metrics on Ray's metrics port, with Ray's prefix `ray_`.

They are recorded in the driver, whose metrics Ray exports as it exports a worker's (within ten
seconds with Ray 2.60). Recording one takes some microseconds, between two measurement windows. The
metrics start at 0 with each run and end with a private Ray; the data set is the lasting record. An
unknown figure is counted as unknown, never as 0.

Ray forgets a gauge that isn't set again within twice its export interval (20 s). So the driver's
loop keeps setting the trials' states, and the figures of places that run a trial. A place that runs
no trial loses its power after a while.

The sum of a histogram is not exact: Ray exports buckets only, and makes the sum from their middles.
Means should be taken from the counters.
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
from orchestrator.ray_tune.observers import Observer
from orchestrator.ray_tune.trainable import Assignment
from orchestrator.unknowns import quotient

P = ParamSpec("P")

LOG = logging.getLogger(__name__)

BUCKETS = [
    round(mantissa * 10.0**exponent, 3)
    for exponent in range(-2, 3)
    for mantissa in (1, 1.5, 2.2, 3.3, 4.7, 6.8)
]
"""0.01 to 680 J/token, six a decade: from a small model on a large GPU to a large one on a CPU."""

NO_GPU = "none"
"""Label `gpu` of a place without one."""


@dataclass(frozen=True)
class Metric:
    """What one metric is."""

    kind: str
    """Name of its class in ray.util.metrics."""
    meaning: str
    labels: tuple[str, ...] = ("machine", "model")
    """Its labels; every metric has the label `sweep` too."""


PLACE = ("machine", "host", "gpu")
"""Labels that name the place of a measurement window."""
Place = tuple[str, str, str]
"""Values of the labels in PLACE."""

METRICS = {
    "orchestrator_counted_energy_joules_total": Metric(
        "Counter",
        "gross energy of the executions, of the column that energy_basis names",
        ("machine", "model", "energy_basis"),
    ),
    "orchestrator_energy_joules_total": Metric(
        "Counter", "CodeCarbon's total of CPU, GPU and RAM, as column energy_j"
    ),
    "orchestrator_energy_unknown_executions_total": Metric(
        "Counter",
        "executions whose energy in that column is unknown: its counter is a lower bound",
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
    "orchestrator_tokens_per_second": Metric("Gauge", "tokens a second in the last window", PLACE),
    "orchestrator_energy_per_token_joules": Metric(
        "Histogram", "energy per generated token of the executions"
    ),
}
"""Name -> what it is. Names contain the unit, as Prometheus recommends."""


def _harmless(
    method: Callable[Concatenate[Metrics, P], None],
) -> Callable[Concatenate[Metrics, P], None]:
    """Let a method that fails end the metrics with one warning, but never the sweep."""

    @functools.wraps(method)
    def tried(self: Metrics, /, *arguments: P.args, **options: P.kwargs) -> None:
        """The method, which stops all metrics with a warning where it raises."""
        if self.broken:
            return
        try:
            method(self, *arguments, **options)
        except Exception as error:  # noqa: BLE001 - whatever it is, the sweep matters more
            self.broken = True
            LOG.warning(
                "no more metrics in this run, the sweep continues: %s: %s",
                type(error).__name__,
                error,
            )

    return tried


class Metrics(Observer):
    """Records the metrics of a sweep. Ray must run before it is made.

    `library` replaces ray.util.metrics in tests.
    """

    def __init__(self, sweep_id: str, n_trials: int, library: Any = None) -> None:
        self.broken = False
        self._sweep_id = sweep_id
        self._n_trials = n_trials
        self._made: dict[str, Any] = {}
        self._running: dict[int, Place] = {}
        """Place of each running trial, by its order_index, which differs between attempts."""
        self._windows: dict[Place, dict[str, float | None]] = {}
        """Metric -> figure of the last window, for each place."""
        self._with_failures: set[tuple[TrialKey, str]] = set()
        self._ended = {"finished": 0, "failed": 0, "given_up": 0}
        self._make(library)
        self._tell_trials()

    @_harmless
    def _make(self, library: Any) -> None:
        """Make the metrics of the table; Ray's own library where none is given."""
        if library is None:
            import ray.util.metrics

            library = ray.util.metrics
        for name, metric in METRICS.items():
            options: dict[str, Any] = {
                "description": metric.meaning,
                "tag_keys": ("sweep", *metric.labels),
            }
            if metric.kind == "Histogram":
                options["boundaries"] = BUCKETS
            self._made[name] = getattr(library, metric.kind)(name, **options)

    def _add(self, name: str, value: float | None, **labels: str) -> None:
        """Add to a counter of this sweep; unknown adds nothing."""
        if value is not None and value > 0:  # Ray refuses to add 0
            self._made[name].inc(value, {"sweep": self._sweep_id, **labels})

    def _set(self, name: str, value: float | None, **labels: str) -> None:
        """Set a gauge of this sweep; unknown is nan."""
        if value is None:
            value = math.nan
        self._made[name].set(value, {"sweep": self._sweep_id, **labels})

    @_harmless
    def _tell_trials(self) -> None:
        """Set the number of trials in each state."""
        known = {"running": len(self._running), **self._ended}
        waiting = max(0, self._n_trials - sum(known.values()))
        for state, n in {"waiting": waiting, **known}.items():
            self._set("orchestrator_trials", n, state=state)

    def trial_started(self, spec: TrialSpec, origin: Origin) -> None:
        """Count a trial as running."""
        self._running[spec.order_index] = _place(origin.columns)
        self._tell_trials()

    @_harmless
    def execution_recorded(self, spec: TrialSpec, origin: Origin, execution: Execution) -> None:
        """Count an execution."""
        columns = origin.columns
        labels = {"machine": columns.machine, "model": columns.model}
        if execution.status != "ok":
            self._with_failures.add((spec.key(), columns.machine))
        kind = execution.error_kind or "none"
        self._add(
            "orchestrator_executions_total", 1, **labels, status=execution.status, error_kind=kind
        )
        self._add("orchestrator_tokens_total", execution.n_new_tokens, **labels)
        self._add("orchestrator_window_seconds_total", execution.window_s, **labels)
        counted_j = counted_energy_j(vars(execution))
        self._add(
            "orchestrator_counted_energy_joules_total",
            counted_j,
            **labels,
            energy_basis=execution.energy_basis or "none",
        )
        self._add("orchestrator_energy_joules_total", execution.energy_j, **labels)
        for column, joules in (("counted_energy_j", counted_j), ("energy_j", execution.energy_j)):
            if joules is None:
                unknown = "orchestrator_energy_unknown_executions_total"
                self._add(unknown, 1, **labels, column=column)
        if execution.energy_per_token_j is not None:
            self._made["orchestrator_energy_per_token_joules"].observe(
                execution.energy_per_token_j, {"sweep": self._sweep_id, **labels}
            )
        self._tell_window(columns, execution)

    def _tell_window(self, columns: TrialColumns, execution: Execution) -> None:
        """Set the figures of a place's last window; an unknown one becomes NaN."""
        # the next window of the same place takes the place of this one
        place = _place(columns)
        figures = {
            "orchestrator_tokens_per_second": execution.tokens_per_s,
            "orchestrator_power_watts": quotient(execution.energy_j, execution.window_s),
        }
        if columns.gpu_uuid:
            joules = counted_energy_j(vars(execution))
            figures["orchestrator_gpu_power_watts"] = quotient(joules, execution.window_s)
        self._windows[place] = figures
        self._set_all(place)

    def _set_all(self, place: Place) -> None:
        """Set all gauges of a place to what its last window said."""
        for name, value in self._windows.get(place, {}).items():
            self._set(name, value, **dict(zip(PLACE, place, strict=True)))

    @_harmless
    def tell_again(self) -> None:
        """Set the gauges once more, so that Ray doesn't forget them. Works in any thread."""
        self._tell_trials()
        for place in set(self._running.copy().values()):
            self._set_all(place)

    def trial_sealed(self, record: TrialRecord) -> None:
        """Count a trial as ended, or as waiting again if prompts of it are left."""
        self._running.pop(record.spec.order_index, None)
        if len(record.executions) == len(record.spec.prompts):
            # a failure may have been sealed with an earlier attempt of the trial
            if (record.spec.key(), record.columns.machine) in self._with_failures:
                self._ended["failed"] += 1
            else:
                self._ended["finished"] += 1
        self._tell_trials()

    def worker_lost(self, assignment: Assignment, reason: str, *, retried: bool) -> None:  # noqa: ARG002 - an observer's
        """Count a worker that died, and its trial as waiting again or given up."""
        self._running.pop(assignment.spec.order_index, None)
        # a trial that is retried waits again
        self._ended["given_up"] += not retried
        self._count_loss()
        self._tell_trials()

    @_harmless
    def _count_loss(self) -> None:
        """Count a worker that died."""
        self._add("orchestrator_workers_lost_total", 1)


def _place(columns: TrialColumns) -> Place:
    """The labels that tell where a trial runs."""
    return columns.machine, columns.host, columns.gpu_uuid or NO_GPU
