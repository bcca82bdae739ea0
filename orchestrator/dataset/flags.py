"""Warning flags: what to know, or to doubt, of a measurement. One table; a flag is set here alone.

A flag never removes a row. Its severity says what readers of the data do with it: `told` is named
beside the number, `doubtful` rows may be wrong, and rows that are `left out by default` enter no
effect of the report.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from orchestrator.dataset.energy import GPU_ENERGIES, host_scope
from orchestrator.unknowns import known

Severity = Literal["told", "doubtful", "left out by default"]

TOO_SHORT_S = 1.0
"""A window below it holds fewer than ten steps of the GPU's counter."""
SHORT_TRIAL_S = 60.0
"""A trial below it is short: power that is worth publishing wants a minute of load."""
MISMATCH = 0.01
"""CodeCarbon and the counter read one sensor: a larger difference is a wrong window or GPU."""
CODECARBON_EDGES_S = 0.4
"""CodeCarbon's window begins before the counter's and ends after it: by 0.11 to 0.29 s in all on an
H100, and so much is allowed for."""
RAM_SHARE = 0.20
"""Of the GPU's energy: more for RAM says that a model decides what the whole took."""
THERMAL_DRIFT_C = 10.0
"""Hotter silicon leaks more."""
DISAGREEMENT = 0.10
"""Counter and integrated power see the same GPU by different sensors."""


@dataclass(frozen=True)
class Window:
    """What is known of an execution when its flags are set."""

    values: dict[str, Any]
    """The meters' readings, column -> value."""
    seen: frozenset[str]
    """Flags that a meter saw by itself."""
    window_s: float
    n_parallel: int
    pue: float
    country_known: bool
    order: str
    """shuffled or design."""
    offload_fraction: float
    n_in_batch: int = 1
    """Prompts that were generated at once in it."""
    batch_size: int = 1
    """How many there were to be."""


@dataclass(frozen=True)
class TrialSum:
    """What is known of a trial when its flags are set."""

    busy_s: float
    """Sum of the windows of its ok executions."""


def _never(_: object) -> bool:
    """The condition of a flag that is set by another one."""
    return False


@dataclass(frozen=True)
class Flag:
    """One row of the table: when it is set, and what that means."""

    meaning: str
    severity: Severity
    of_window: Callable[[Window], bool] = _never
    """Whether an execution gets it."""
    of_trial: Callable[[TrialSum], bool] = _never
    """Whether a trial gets it."""
    of_drift: bool = False
    """Whether an execution gets it that ran under other conditions than its sweep (drift.py)."""
    of_process: bool = False
    """Whether an execution gets it for what its process did before or after it (caveats.py)."""
    rerun: bool = False
    """Whether `--rerun flagged` measures again: another try may come out better."""

    def __post_init__(self) -> None:
        """Refuse a flag that nothing sets."""
        conditions: set[object] = {self.of_window, self.of_trial}
        if conditions == {_never} and not (self.of_drift or self.of_process):
            raise ValueError(f"nothing sets this flag: {self.meaning}")

    def set_on(self) -> str:
        """What it is set on: trials or executions."""
        if self.of_trial is not _never:
            return "trials"
        return "executions"


def _window_mismatch(window: Window) -> bool:
    """Whether CodeCarbon's GPU energy and the counter's differ by more than an edge explains."""
    counter_j = window.values.get(GPU_ENERGIES[0])
    codecarbon_j = window.values.get("gpu_energy_cc_j")
    if not counter_j or not codecarbon_j or window.window_s < TOO_SHORT_S:
        return False
    allowed = max(MISMATCH, CODECARBON_EDGES_S / window.window_s)
    return bool(abs(codecarbon_j / window.pue - counter_j) > allowed * counter_j)


def _meter_disagreement(window: Window) -> bool:
    """Whether two meters of the GPU differ by more than 10 % of the first one."""
    first_j, *others_j = [window.values.get(column) for column in GPU_ENERGIES]
    if not first_j or window.window_s < TOO_SHORT_S:
        return False
    return any(other_j and abs(other_j - first_j) > DISAGREEMENT * first_j for other_j in others_j)


def _thermal_drift(window: Window) -> bool:
    """Whether the GPU's temperature changed much during the window."""
    began_c = window.values.get("temperature_begin_c")
    ended_c = window.values.get("temperature_end_c")
    if began_c is None or ended_c is None:
        return False
    return bool(abs(ended_c - began_c) > THERMAL_DRIFT_C)


def _estimated_cpu(window: Window) -> bool:
    """Whether the CPU's energy was not measured by RAPL."""
    measured = window.values.get("cpu_energy_j") is not None
    return measured and window.values.get("cpu_method") != "rapl"


def _high_ram(window: Window) -> bool:
    """Whether the energy that is charged for RAM is large beside the GPU's."""
    ram_j = window.values.get("ram_energy_j")
    gpu_j = known(window.values.get(column) for column in GPU_ENERGIES)
    return bool(ram_j and gpu_j and ram_j / window.pue > RAM_SHARE * gpu_j[0])


NEW_LENGTHS, SESSION_DRIFT = "new_lengths", "session_drift"
"""The flags that are set when records are read."""

FLAGS: dict[str, Flag] = {
    "throttled": Flag(
        "the GPU slowed itself down because of heat or power",
        "left out by default",
        of_window=lambda window: "throttled" in window.seen,
        rerun=True,
    ),
    "foreign_load": Flag(
        "another process computed on the GPU: its energy is in the row as well",
        "left out by default",
        of_window=lambda window: "foreign_load" in window.seen,
        rerun=True,
    ),
    NEW_LENGTHS: Flag(
        "before version 3, on a GPU: the answer reached lengths that were new to its process, and "
        "paid for what attention built for them, up to 1.9 times its energy",
        "left out by default",
        of_process=True,
        rerun=True,
    ),
    "meter_disagreement": Flag(
        "two meters of the GPU differ by more than 10 %",
        "left out by default",
        of_window=_meter_disagreement,
        rerun=True,
    ),
    SESSION_DRIFT: Flag(
        "the anchors of its session moved by more than 5 %",
        "doubtful",
        of_process=True,
    ),
    "thermal_drift": Flag(
        "the GPU became more than 10 °C hotter or cooler during the window",
        "doubtful",
        of_window=_thermal_drift,
    ),
    "window_mismatch": Flag(
        "CodeCarbon's GPU energy differs from that of the GPU's counter",
        "left out by default",
        of_window=_window_mismatch,
        rerun=True,
    ),
    "too_short": Flag(
        "a window shorter than 1 s: the steps of the GPU's counter dominate",
        "doubtful",
        of_window=lambda window: window.window_s < TOO_SHORT_S,
    ),
    "drift": Flag(
        "versions or a GPU that differ from those the sweep was started with (--accept-drift)",
        "left out by default",
        of_drift=True,
    ),
    "estimated_cpu": Flag(
        "the CPU's energy is a model, not a measurement",
        "told",
        of_window=_estimated_cpu,
    ),
    "shared_host": Flag(
        "other trials, or other jobs of SLURM, could run on the host at the same time",
        "told",
        of_window=lambda window: host_scope(window.values, window.n_parallel) != "exclusive",
    ),
    "high_ram": Flag(
        "RAM is charged more than 20 % of the GPU's energy, by CodeCarbon's model or by "
        "ram_power_w of the machine's file: look at the GPU's energy alone",
        "told",
        of_window=_high_ram,
    ),
    "cpu_offload": Flag(
        "layers lay in the host's memory, unquantized: slower than a whole model on the GPU",
        "told",
        of_window=lambda window: window.offload_fraction > 0,
    ),
    "apportioned": Flag(
        "it was generated in a batch: time and energy are its share by new tokens, so energy a "
        "token and tokens a second are those of the batch",
        "told",
        of_window=lambda window: window.n_in_batch > 1,
    ),
    "partial_batch": Flag(
        "its batch had fewer prompts than --batch-size, so it shows what a smaller batch takes",
        "told",
        of_window=lambda window: window.n_in_batch < window.batch_size,
    ),
    "no_country": Flag(
        "the country is unknown: emissions use a world average (energy is not affected)",
        "told",
        of_window=lambda window: not window.country_known,
    ),
    "unshuffled": Flag(
        "trials ran in the order of the design, so drift may look like an effect",
        "told",
        of_window=lambda window: window.order == "design",
    ),
    "short_trial": Flag(
        "the windows of a trial add up to less than 60 s",
        "told",
        of_trial=lambda trial: trial.busy_s < SHORT_TRIAL_S,
    ),
}
"""Name -> row, the gravest first."""


def window_flags(window: Window) -> tuple[str, ...]:
    """The flags of one execution, sorted. Raises ValueError for a meter's flag without a row."""
    if unknown := sorted(window.seen - FLAGS.keys()):
        raise ValueError(f"a meter saw {unknown[0]}, which is not in the table of flags")
    return tuple(sorted(name for name, flag in FLAGS.items() if flag.of_window(window)))


def trial_flags(trial: TrialSum) -> tuple[str, ...]:
    """The flags of a whole trial, sorted."""
    return tuple(sorted(name for name, flag in FLAGS.items() if flag.of_trial(trial)))


LEFT_OUT = frozenset(n for n, flag in FLAGS.items() if flag.severity == "left out by default")
DOUBTFUL = LEFT_OUT | {name for name, flag in FLAGS.items() if flag.severity == "doubtful"}
OF_DRIFT = frozenset(name for name, flag in FLAGS.items() if flag.of_drift)
RERUN = frozenset(name for name, flag in FLAGS.items() if flag.rerun)
"""Names of the flags whose rows enter no effect, may be wrong, ran under other conditions than
their sweep, or are worth another try."""


def describe_flags() -> str:
    """The table of flags as Markdown, for the data dictionary."""
    lines = ["| flag | meaning | severity | set on |", "|---|---|---|---|"]
    for name, flag in FLAGS.items():
        lines.append(f"| `{name}` | {flag.meaning} | {flag.severity} | {flag.set_on()} |")
    return "\n".join(lines)
