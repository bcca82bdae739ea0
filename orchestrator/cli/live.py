"""A running sweep on the terminal: a bar with trials, prompts, speed, power and time left.

Without a terminal (a log file) it is a line a trial. Doesn't measure: it adds up what the rows say.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from orchestrator.cli.plan_view import load_name, print_plan, takes
from orchestrator.cli.terminal import console
from orchestrator.dataset.environment import Pilot
from orchestrator.dataset.gross_energy import energy_row, gross_energy
from orchestrator.dataset.schema import Execution, TrialRecord
from orchestrator.dataset.trial_files import Origin
from orchestrator.nouns import LoadKey, TrialSpec
from orchestrator.sweep.estimate import Figures
from orchestrator.sweep.prepare import Prepared
from orchestrator.sweep.run import RunObserver
from orchestrator.sweep.totals import Totals
from orchestrator.units import duration, plural
from orchestrator.unknowns import known
from orchestrator.yaml_files import printable

if TYPE_CHECKING:
    from orchestrator.gpu.devices import Gpu
    from orchestrator.ray_tune.session import Session
    from orchestrator.ray_tune.trainable import Assignment


class Live(RunObserver):
    """Shows a run on the terminal as it is told of the run's stages and events."""

    def __init__(self, gpus: list[Gpu], *, quiet: bool = False) -> None:
        self._gpus = gpus
        self.console = console(quiet=quiet)
        self._totals = Totals()
        self._prepared: Prepared | None = None
        self._at_once = 1
        self._bound_done = 0
        self._bound = 0
        self._bounds: dict[LoadKey, int] = {}
        """Most new tokens of each model and variant."""
        self._piloted: set[LoadKey] = set()
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
        self._bounds = prepared.token_bounds()
        self._bound = sum(self._bounds.values())
        print_plan(self.console, prepared, self._gpus)

    def started(self, session: Session, at_once: int, totals: Totals) -> None:
        """Ray is up: where to watch, and the bar."""
        self._at_once, self._totals = at_once, totals
        self.say(f"Ray dashboard: {self._dashboard(session)}")
        if session.metrics and session.dashboard:
            self.say(f"Watch from elsewhere: orchestrator watch --address {session.metrics}")
        self._progress.add_task("", total=self.prepared.n_missing(), counts="", figures="")
        if self.console.is_terminal:
            self._progress.start()
        self._show("loading the model")

    def _dashboard(self, session: Session) -> str:
        """Where it is, or why there is none."""
        if session.dashboard:
            token = f" (token in {session.token_file})" if session.token_file else ""
            return f"{session.dashboard}{token}"
        if self.prepared.resolved.request.address is not None:
            return "none, the cluster runs without one"
        return "none, its packages are missing (pip install 'ray[default]')"

    def _show(self, figures: str) -> None:
        """Redraw the bar: the counts at its left, `figures` at its right."""
        totals, prepared = self._totals, self.prepared
        trials = f"trials {totals.trials}/{prepared.n_missing_trials()}"
        counts = f"{trials}  prompts {totals.executions}/{prepared.n_missing()}"
        for task in self._progress.task_ids:
            self._progress.update(task, completed=totals.executions, counts=counts, figures=figures)

    def trial_started(self, spec: TrialSpec, origin: Origin) -> None:
        """A worker begins a trial; the first pilot of each model says what its part will take."""
        if not origin.environment.loaded_here:
            return
        pilot = origin.environment.pilot
        load_key = spec.setup.load_key()
        # each worker has a pilot; the first one of each variant is enough for an estimate
        if pilot is not None and load_key not in self._piloted:
            self._piloted.add(load_key)
            self._tell_pilot(load_key, origin, pilot)
        self._show("running")

    def _tell_pilot(self, load_key: LoadKey, origin: Origin, pilot: Pilot) -> None:
        """What loading took, and what the pilot says of the time and energy to come."""
        environment, columns = origin.environment, origin.columns
        name, takes_what = columns.model, "Takes"
        # each part is told with its own speed
        if len(self._bounds) > 1:
            name = load_name(load_key)
            takes_what = f"{name} takes"
        where = f"on {columns.device} ({columns.compute_dtype})"
        self.say(
            f"{name} loaded in {environment.load_s or 0:.1f} s {where}, "
            f"warmed up in {pilot.warm_up_s:.1f} s"
        )
        if pilot.tokens_per_s is not None:
            figures = Figures(pilot.tokens_per_s, pilot.energy_j_per_token, "a pilot")
            self.say(f"{takes_what} {takes(self._bounds[load_key], figures, self._at_once)}")

    def execution_recorded(self, spec: TrialSpec, origin: Origin, execution: Execution) -> None:  # noqa: ARG002
        """One more prompt is done."""
        totals, number = self._totals, execution.prompt_number
        if execution.status == "failed":
            trial = f"{self._name(spec)} {spec.config_index:04d}"
            why = f"{execution.error_kind}: {execution.error_message}"
            self.say(f"{trial} prompt {number}: {why}")
        self._bound_done += self.prepared.prompt_bound(spec, number)
        speed = math.nan
        if totals.window_s:
            speed = totals.tokens / totals.window_s
        left = duration(self._left_s())
        self._show(f"{speed:.1f} tokens/s  left {left}  {_energy(totals)}")

    def _left_s(self) -> float:
        """Seconds that are left, if tokens take as long as so far; nan before the first."""
        if not self._bound_done:
            return math.nan
        left = self._bound - self._bound_done
        return max(0.0, left * self._totals.wall_s() / self._bound_done)

    def trial_sealed(self, record: TrialRecord) -> None:
        """A trial is complete, or interrupted; without a terminal that is a line."""
        if self.console.is_terminal:
            return
        columns, executions = record.columns, record.executions
        took = gross_energy(energy_row(one, columns) for one in executions).text()
        tokens = sum(known(one.n_new_tokens for one in executions))
        count = f"[{self._totals.trials}/{self.prepared.n_missing_trials()}]"
        trial = f"{self._name(record.spec)} {record.spec.folder()}"
        self.say(f"{count} {trial}: {tokens} tokens, {took}")

    def worker_lost(self, assignment: Assignment, reason: str, *, retried: bool) -> None:
        """A worker or its node died, or a step raised."""
        what = "given up for now; the same command again tries it"
        if retried:
            what = "the rest of its trial goes to another worker"
        spec = assignment.spec
        self.say(f"{self._name(spec)} {spec.config_index:04d}: {reason}; {what}")

    def _name(self, spec: TrialSpec) -> str:
        """Model and use case of a trial; with how it is run, where that differs in the sweep."""
        model, use_case = spec.setup.model, spec.setup.use_case
        if self.prepared.plan.several_variants():
            model = load_name(spec.setup.load_key())
        return f"{model} {use_case}"

    def disk_full(self, line: str) -> None:
        """Print the line that says that the disk is full."""
        self.say(line)

    def draining(self, why: str, running: int) -> None:
        """Nothing more is started."""
        line = f"{why}: nothing more is started"
        if running:
            line += (
                f", {plural(running, 'running prompt')} to finish (a second signal stops at once)"
            )
        self.say(line)
        self._show("draining")

    def finished(self) -> None:
        """Take the bar away."""
        self._progress.stop()


def _energy(totals: Totals) -> str:
    """'59 W  GPU energy (counter) 1,512 J ± 4.8 %, gross'; no power of several meters together."""
    so_far = totals.energies.now()
    if not so_far.of_basis:
        return so_far.text()
    watts = ""
    if so_far.only is not None and totals.measured_s:
        watts = f"{so_far.only.counted_energy_j / totals.measured_s:.0f} W  "
    return f"{watts}{so_far.text()}, gross"
