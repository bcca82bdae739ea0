"""From a request to a sweep: the one way that the command line and `import orchestrator` share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from orchestrator import process_end
from orchestrator.dataset.folder_checks import check_folder, check_writable
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.sweep_plan import SweepPlan, read_plan
from orchestrator.gpu.devices import Gpu
from orchestrator.ray_tune.halt import Halt
from orchestrator.ray_tune.log_to import check_loggers, shown_by
from orchestrator.say import Say
from orchestrator.sweep.assignments import RunOptions
from orchestrator.sweep.planning import make_plan
from orchestrator.sweep.prepare import Prepared, prepare
from orchestrator.sweep.repeating import check_repetition, repeated
from orchestrator.sweep.request import EACH, Request, Resolved, resolve_request
from orchestrator.sweep.run import RunObserver, RunOutcome, opened, run_sweep
from orchestrator.sweep.staging import checked_files, known_revisions, staged_revisions


def planned(request: Request, gpus: Sequence[Gpu], say: Say) -> Prepared:
    """What a sweep would run, beside what its data set has. Reads only, and asks no network.

    `gpus`: those of this machine. `say` gets a line where something takes long. Raises UserError.
    """
    check_folder(request.out)
    resolved, drawn = sweep_of(request, gpus)
    plan = drawn.with_revisions(known_revisions(resolved, drawn, say))
    check_repetition(resolved, plan)
    return prepare(resolved, plan)


def swept(
    request: Request,
    options: RunOptions,
    gpus: Sequence[Gpu],
    *,
    halt: Halt,
    observer: RunObserver,
    say: Say,
    during: Callable[[str], AbstractContextManager[None]],
) -> tuple[Prepared, RunOutcome]:
    """Plan a sweep, fetch its weights and run what is missing until `halt` says no.

    `during`: tells what is waited for meanwhile.

    Raises UserError, and Drained where a signal came before anything ran; KeyboardInterrupt passes
    with all finished kept.
    """
    check_loggers(options.log_to)
    resolved, drawn = sweep_of(request, gpus)
    check_writable(request.out)
    # an impossible design, and a plan that can't be read, are told before weights are fetched
    check_plan_file(request.out, drawn.id)
    staged = drawn.with_revisions(staged_revisions(resolved, say))
    with during("Checking the models' files"):
        plan = staged.with_model_files(checked_files(resolved, say))
    check_repetition(resolved, plan)
    with opened(resolved, plan, options, say) as (prepared, lock):
        for line in shown_by(options.log_to, prepared.paths):
            say(line)
        try:
            outcome = run_sweep(prepared, lock, options, halt=halt, observer=observer)
            # from here on no signal may say that something is left to be done
            halt.over = True
            process_end.decided()
            return prepared, outcome
        finally:
            observer.finished()


def sweep_of(request: Request, gpus: Sequence[Gpu]) -> tuple[Resolved, SweepPlan]:
    """A request with every default filled in, and its plan. Raises UserError.

    --machine each needs the kinds of machine that the cluster has: only then Ray is asked.
    """
    machines: tuple[str, ...] = ()
    if request.address and request.machine == EACH:
        from orchestrator.ray_tune.session import check_answers, kinds_of, set_environment

        check_answers(request.address)
        set_environment(request.address)
        machines = kinds_of(request.address)
    return drawn_or_read(request, [gpu.name for gpu in gpus], machines)


def drawn_or_read(
    request: Request, gpu_names: list[str], machines: tuple[str, ...] = ()
) -> tuple[Resolved, SweepPlan]:
    """The same for a known cluster. `machines`: its kinds, for --machine each. Raises UserError."""
    if request.plan is not None:
        return repeated(request, request.plan, gpu_names, machines)
    resolved = resolve_request(request, gpu_names, machines)
    return resolved, make_plan(resolved)


def check_plan_file(out: Path, sweep_id: str) -> None:
    """Read the sweep's plan, if there is one. Raises UserError where it can't be read."""
    path = DataSetPaths(out).sweep(sweep_id)
    if path.exists():
        read_plan(path)
