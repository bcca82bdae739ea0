"""A running sweep on the terminal: a bar with trials, prompts, tokens/s, watts, energy and time left.

Without a terminal (a log file) it is a line a trial. Doesn't measure: it adds up what the rows say.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from orchestrator.cli.plan_view import print_plan, takes
from orchestrator.cli.terminal import console
from orchestrator.dataset.schema import Execution, TrialRecord
from orchestrator.dataset.trial_files import Origin
from orchestrator.nouns import TrialSpec
from orchestrator.sweep.estimate import Figures
from orchestrator.sweep.prepare import Prepared
from orchestrator.units import duration, energy
from orchestrator.yaml_files import printable

if TYPE_CHECKING:
    from orchestrator.meters.nvml import Gpu
    from orchestrator.tune.session import Session
    from orchestrator.tune.trainable import Job


@dataclass
class Totals:
    """What a run has done so far."""

    trials: int = 0
    executions: int = 0
    failed: int = 0
    """Executions that failed, and trials whose workers died too often."""
    workers_lost: int = 0
    tokens: int = 0
    energy_j: float = 0.0
    energy_unknown: int = 0
    """Executions without a figure: then energy_j is a lower bound."""
    window_s: float = 0.0
    began: float = field(default_factory=time.monotonic)

    def wall_s(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.began


class Live:
    """Follows a sweep: Watcher and Observer of it."""

    def __init__(self, gpus: list[Gpu], *, quiet: bool = False) -> None:
        self._gpus = gpus
        self.console = console(quiet=quiet)
        self.totals = Totals()
        self.records: list[TrialRecord] = []
        self._prepared: Prepared | None = None
        self._at_once = 1
        self._bound_done = 0
        self._bound = 0
        self._piloted = False
        self._progress = Progress(
            TextColumn("{task.fields[counts]}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[figures]}"),
            console=self.console,
            refresh_per_second=1,  # a redraw costs CPU that is being measured
            transient=True,
        )

    def say(self, line: str) -> None:
        """A line of plain text."""
        self.console.print(Text(printable(line)), soft_wrap=True)

    @property
    def prepared(self) -> Prepared:
        """The plan that runs."""
        assert self._prepared is not None  # noqa: S101 - planned() comes first
        return self._prepared

    def planned(self, prepared: Prepared) -> None:
        """The plan, before anything runs."""
        self._prepared = prepared
        self._bound = prepared.token_bound()
        print_plan(self.console, prepared, self._gpus)

    def started(self, session: Session, at_once: int) -> None:
        """Ray is up: where to watch, and the bar."""
        self._at_once = at_once
        if session.dashboard:
            token = f" (token in {session.token_file})" if session.token_file else ""
            self.say(f"Ray dashboard: {session.dashboard}{token}")
        else:
            attached = self.prepared.resolved.request.address is not None
            why = (
                "the cluster runs without one"
                if attached
                else "its packages are missing (pip install 'ray[default]')"
            )
            self.say(f"Ray dashboard: none, {why}")
        if session.metrics and session.dashboard:
            self.say(f"Watch from elsewhere: orchestrator watch --address {session.metrics}")
        self.totals = Totals()
        self._progress.add_task("", total=self.prepared.n_missing(), counts="", figures="")
        if self.console.is_terminal:
            self._progress.start()
        self._show("loading the model")

    def _show(self, figures: str) -> None:
        totals, prepared = self.totals, self.prepared
        trials = f"trials {totals.trials}/{prepared.n_missing_trials()}"
        counts = f"{trials}  prompts {totals.executions}/{prepared.n_missing()}"
        for task in self._progress.task_ids:
            self._progress.update(task, completed=totals.executions, counts=counts, figures=figures)

    def ready(self, origin: Origin) -> None:
        """A model is loaded and warm; the first pilot says what the sweep will take."""
        pilot, columns = origin.environment["pilot"], origin.columns
        if not self._piloted:
            self._piloted = True
            load_s = origin.environment["load_s"]
            where = f"on {columns.device} ({columns.compute_dtype})"
            self.say(
                f"{columns.model} loaded in {load_s:.1f} s {where}, warm after {pilot['warm_up_s']:.1f} s more"
            )
            figures = Figures(pilot["tokens_per_s"], pilot["energy_j_per_token"], "a pilot")
            self.say(f"Takes {takes(self._bound, figures, self._at_once)}")
        self._show("running")

    def begun(self, spec: TrialSpec, origin: Origin) -> None:
        """The bar shows what is finished."""

    def execution(self, spec: TrialSpec, origin: Origin, execution: Execution) -> None:
        """One more prompt is done."""
        totals = self.totals
        totals.executions += 1
        totals.tokens += execution.n_new_tokens or 0
        totals.energy_j += execution.energy_j or 0.0
        totals.energy_unknown += execution.energy_j is None
        totals.window_s += execution.window_s or 0.0
        if execution.status == "failed":
            totals.failed += 1
            columns = origin.columns
            where = (
                f"{columns.model} {columns.use_case} {columns.index:04d} prompt {execution.prompt}"
            )
            self.say(f"{where}: {execution.error_kind}: {execution.error_message}")
        self._bound_done += self.prepared.prompt_bound(spec, execution.prompt)
        left_s = (
            (self._bound - self._bound_done) * totals.wall_s() / self._bound_done
            if self._bound_done
            else math.nan
        )
        watts = totals.energy_j / totals.window_s if totals.window_s else math.nan
        speed = totals.tokens / totals.window_s if totals.window_s else math.nan
        self._show(
            f"{speed:.1f} tokens/s  {watts:.0f} W  {energy(totals.energy_j)}  left {duration(max(0.0, left_s))}"
        )

    def sealed(self, record: TrialRecord) -> None:
        """A trial is complete, or what a lost worker or a drain left of it; without a terminal that is a line."""
        self.totals.trials += len(record.executions) == len(record.spec.prompts)
        self.records.append(record)
        if self.console.is_terminal:
            return
        columns = record.columns
        known = [e.energy_j for e in record.executions if e.energy_j is not None]
        joules = sum(known) if len(known) == len(record.executions) else None
        tokens = sum(e.n_new_tokens or 0 for e in record.executions)
        count = f"[{self.totals.trials}/{self.prepared.n_missing_trials()}]"
        self.say(
            f"{count} {columns.model} {columns.use_case} {record.spec.folder()}: {tokens} tokens, {energy(joules)}"
        )

    def lost(self, job: Job, reason: str, *, retried: bool) -> None:
        """A worker or its node died, or a step raised."""
        self.totals.workers_lost += 1
        self.totals.failed += not retried
        spec = job.spec
        what = (
            "the rest of its trial goes to another"
            if retried
            else "given up for now; the same command again tries it"
        )
        self.say(f"{spec.setup.model} {spec.setup.use_case} {spec.index:04d}: {reason}; {what}")

    def paused(self, line: str) -> None:
        """The disk is full."""
        self.say(line)

    def draining(self, why: str, running: int) -> None:
        """Nothing more is begun."""
        self.say(
            f"{why}: nothing more is begun, {running} running prompts finish (a second signal stops at once)"
        )
        self._show("draining")

    def finished(self) -> None:
        """Take the bar away."""
        self._progress.stop()
