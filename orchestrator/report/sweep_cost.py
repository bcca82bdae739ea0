"""What a sweep took besides its answers: warm-ups, loading, and GPUs waiting between executions.

All of it is read from the trials' own records. Every attempt counts, also one whose executions
were replaced by a later attempt.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import astuple, dataclass, replace

from orchestrator.dataset.energy import counted_energy_j
from orchestrator.dataset.schema import TrialRecord
from orchestrator.unknowns import known, product, sum_of_known


@dataclass(frozen=True)
class CostPart:
    """One thing that took time."""

    name: str
    n: int | None
    """How often it happened; None where counting it means nothing."""
    time_s: float | None
    gpu_s: float = 0.0
    """The part of `time_s` during which a GPU was held."""
    counted_energy_j: float | None = None
    """The sum of the known energies; None where none is known."""
    n_unmeasured: int = 0
    """How many of the `n` have an unknown energy."""


@dataclass(frozen=True)
class Cost:
    """The cost of all sealed trials of a data set."""

    parts: tuple[CostPart, ...]
    held_s: float | None
    """Seconds that GPUs were held, summed over all GPUs; None without a GPU."""
    n_trials: int
    n_unreadable: int


@dataclass(frozen=True, slots=True)
class _Event:
    """One execution, warm-up or loading of a model."""

    on_gpu: bool
    time_s: float | None
    counted_energy_j: float | None = None


@dataclass(slots=True)
class _Span:
    """A stretch of time on one GPU, in seconds since 1970."""

    start_s: float
    end_s: float
    begins_with_load: bool
    """Whether a process loaded its model at the start of this span."""


class CostTotals:
    """Adds up what trials took, one at a time."""

    def __init__(self) -> None:
        self.n_trials = 0
        self._executions = CostPart("executions", 0, None)
        self._warm_ups = CostPart("warm-up of a model", 0, None)
        self._loads = CostPart("loading a model", 0, None)
        self._anchors = CostPart("anchors of sessions", 0, None)
        self._spans: dict[tuple[str, str], list[_Span]] = defaultdict(list)
        """By host and GPU."""

    def add(self, record: TrialRecord) -> None:
        """Take in a trial."""
        self.n_trials += 1
        on_gpu = _on_gpu(record)
        self._executions = _with(self._executions, _executions(record))
        anchors = [
            _Event(on_gpu, _known(one.window_s), _known(one.energy_j)) for one in record.anchors
        ]
        self._anchors = _with(self._anchors, anchors)
        # A trial that found its model loaded repeats the figures of the trial that loaded it.
        if _loaded_here(record):
            of_load = record.environment
            load = _Event(on_gpu, _known(of_load.load_s), _known(of_load.load_energy_j))
            self._loads = _with(self._loads, [load])
            self._warm_ups = _with(self._warm_ups, _warm_ups(record))
        span = _span(record)
        if record.columns.gpu_uuid and span is not None:
            self._spans[record.columns.host, record.columns.gpu_uuid].append(span)

    def cost(self, n_unreadable: int = 0) -> Cost:
        """The cost of the trials so far. `n_unreadable`: how many more can't be read."""
        parts = [self._executions, self._warm_ups, self._loads]
        if self._anchors.n:
            parts.append(self._anchors)
        held = _held_times_s(self._spans)
        if not held:
            return Cost(tuple(parts), None, self.n_trials, n_unreadable)
        # Where a host's clock was set back, the spans are shorter than what was timed within them.
        known_s = sum(part.gpu_s for part in parts)
        held_s = max(sum(held), known_s)
        between = CostPart("between executions", None, held_s - known_s, held_s - known_s)
        whole = CostPart("a GPU held, overall", len(held), held_s, held_s)
        return Cost((*parts, between, whole), held_s, self.n_trials, n_unreadable)


def _with(part: CostPart, events: list[_Event]) -> CostPart:
    """A part of the cost with more events."""
    energies_j = known(event.counted_energy_j for event in events)
    times_on_gpu_s = known(event.time_s for event in events if event.on_gpu)
    return replace(
        part,
        n=(part.n or 0) + len(events),
        time_s=sum_of_known([part.time_s, *(event.time_s for event in events)]),
        gpu_s=sum(times_on_gpu_s, part.gpu_s),
        counted_energy_j=sum_of_known([part.counted_energy_j, *energies_j]),
        n_unmeasured=part.n_unmeasured + len(events) - len(energies_j),
    )


def _executions(record: TrialRecord) -> list[_Event]:
    """The executions of a trial as events."""
    on_gpu = _on_gpu(record)
    return [
        _Event(
            on_gpu,
            # an answer may have been generated several times in its window
            _known(product(execution.window_s, execution.n_in_window)),
            _known(product(counted_energy_j(vars(execution)), execution.n_in_window)),
        )
        for execution in record.executions
    ]


def _warm_ups(record: TrialRecord) -> list[_Event]:
    """The warm-up before a trial; none where the record has no pilot."""
    pilot = record.environment.pilot
    if pilot is None:
        return []
    warm_up_s, energy_j = _known(pilot.warm_up_s), _known(pilot.warm_up_energy_j)
    return [_Event(_on_gpu(record), warm_up_s, energy_j)]


def _held_times_s(of_gpu: Mapping[tuple[str, str], list[_Span]]) -> list[float]:
    """Seconds that each process held its GPU: from loading its model to its last execution's end.

    A process is known by the load that begins it. So the spans of one GPU are walked in order of
    time, and every span without a load prolongs the process before it.
    """
    times_s = []
    for spans in of_gpu.values():
        processes: list[_Span] = []
        for span in sorted(spans, key=astuple):
            # a data set may lack the trial that loaded the model, after a merge of a part
            if span.begins_with_load or not processes:
                processes.append(span)
            else:
                processes[-1].end_s = max(processes[-1].end_s, span.end_s)
        times_s += [process.end_s - process.start_s for process in processes]
    return times_s


def _span(record: TrialRecord) -> _Span | None:
    """From a trial's first execution, or the loading before it, to the end of its last execution.

    None where it has no execution.
    """
    if not record.executions:
        return None
    starts_s, ends_s = [], []
    for execution in record.executions:
        start_s = execution.started_at.timestamp()
        starts_s.append(start_s)
        ends_s.append(start_s + execution.whole_window_s)
    loads = _loaded_here(record)
    start_s = min(starts_s)
    if loads:
        start_s -= _ready_s(record)
    return _Span(start_s, max(ends_s), loads)


def _on_gpu(record: TrialRecord) -> bool:
    """Whether a trial had a GPU."""
    return bool(record.columns.gpu_uuid)


def _loaded_here(record: TrialRecord) -> bool:
    """Whether the model was loaded for this trial, and not kept from the trial before it."""
    return record.environment.loaded_here


def _ready_s(record: TrialRecord) -> float:
    """Seconds from the start of loading until the model was warm."""
    pilot = record.environment.pilot
    warm_up_s = _known(pilot.warm_up_s) if pilot else None
    return (_known(record.environment.load_s) or 0.0) + (warm_up_s or 0.0)


def _known(value: float | None) -> float | None:
    """A time or an energy of a record; None where it isn't a finite number from 0 on.

    A damaged clock or a record that was edited by hand may give any number.
    """
    return value if value is not None and 0 <= value < math.inf else None
