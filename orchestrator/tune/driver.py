"""Run jobs on a Ray session: one Tuner, one trial a job, one GPU a trial."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from ray import tune

from orchestrator.errors import UserError
from orchestrator.tune.callback import FULL, DataSetCallback, DataSetStopper
from orchestrator.tune.halt import Halt
from orchestrator.tune.searcher import SweepSearcher
from orchestrator.tune.session import Session, own_node_lives
from orchestrator.tune.trainable import Measure

POLL_S = 0.2
LOOK_S = 5.0
"""How often Ray is asked whether our own node lives."""
STOP_S = 10.0
"""How long Tune may take to end its workers, loading ones too, before Ray itself is shut down over them."""


@dataclass(frozen=True)
class Placement:
    """What a trial asks of a node, and how many run at once: in all and on one host."""

    cpu: float
    gpu: int
    at_once: int
    per_host: int


def placement(session: Session, parallel: int) -> Placement:
    """One GPU a trial on the nodes that have GPUs; without any, `parallel` trials share the CPUs of each node.

    All trials of one Tuner must ask for the same, so the smallest node decides. Raises UserError where nothing can run, and
    for nodes of unequal CPUs without GPUs: Ray would put several trials on a large one, and each row says how many share a host.
    """
    with_gpus = [node for node in session.nodes if node.gpus]
    if with_gpus:
        cpu = min(1.0, *(node.cpus / node.gpus for node in with_gpus))
        gpus = [node.gpus for node in with_gpus]
        return Placement(cpu=cpu, gpu=1, at_once=sum(gpus), per_host=max(gpus))
    with_cpus = [node for node in session.nodes if node.cpus]
    if not with_cpus:
        raise UserError("the Ray cluster offers neither GPUs nor CPUs; add a node with `ray start --address ...`")
    if len(offers := sorted({node.cpus for node in with_cpus})) > 1:
        raise UserError(
            f"the nodes of the Ray cluster offer {' and '.join(f'{cpus:g}' for cpus in offers)} CPUs, and how many trials "
            f"share a host would be unknown; start each with `ray start --num-cpus {offers[0]:g}`"
        )
    cpu = offers[0] / parallel
    return Placement(cpu=cpu, gpu=0, at_once=parallel * len(with_cpus), per_host=parallel)


def run(
    searcher: SweepSearcher,
    callback: DataSetCallback,
    session: Session,
    place: Placement,
    *,
    on_drain: Callable[[str, int], None],
) -> None:
    """Run until the searcher ends or the callback's `halt` says so. What runs then is sealed with what it has.

    `on_drain` hears once why nothing more is begun, and how many prompts still run.

    Raises UserError where the sweep can't go on or the data set can't be written, KeyboardInterrupt after a Ctrl-C.
    """
    halt = callback.halt
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # what fails is told by the callback
    tuner = tune.Tuner(
        tune.with_resources(Measure, {"cpu": place.cpu, "gpu": place.gpu}),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=-1,
            max_concurrent_trials=place.at_once,
            reuse_actors=True,
            trial_name_creator=_trial_name,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(
            name="sweep",
            storage_path=str(session.storage),
            verbose=0,
            stop=DataSetStopper(callback),
            callbacks=[callback],
            failure_config=tune.FailureConfig(max_failures=0),  # the callback hands out again what a lost worker left
        ),
    )
    error = _fit(tuner, halt, on_drain)
    try:
        callback.close()
    except OSError as unwritten:
        error = error or unwritten
    cause = callback.error or error
    if isinstance(cause, OSError) and cause.errno in FULL and (halt.draining or halt.at_once):
        cause = None  # told; the next run runs what waited
    if isinstance(cause, OSError) and cause.errno is not None:  # the system's, not Ray's
        where = cause.filename or "the data set"
        raise UserError(
            f"{where}: can't be written ({cause.strerror}); what was finished before is kept, run the same command again"
        ) from error
    if cause is not None and not halt.at_once:
        raise cause
    if halt.interrupted:
        raise KeyboardInterrupt
    if halt.fatal and not halt.draining:  # after a signal the next run tells it
        raise UserError(halt.fatal)


def _fit(tuner: tune.Tuner, halt: Halt, on_drain: Callable[[str, int], None]) -> Exception | None:
    """Fit beside this thread, which stays free for signals.

    A Ctrl-C raised inside some calls of Ray is lost, and Tune puts its own handler for SIGUSR1 in our place if it runs on the
    main thread.
    """
    errors: list[Exception] = []

    def fit() -> None:
        try:
            tuner.fit()
        except Exception as error:  # noqa: BLE001 - raised again by the main thread
            errors.append(error)

    thread = threading.Thread(target=fit, name="tune", daemon=True)
    thread.start()
    stop_by = math.inf
    look_at = time.monotonic() + LOOK_S
    told = False
    while thread.is_alive() and time.monotonic() < stop_by:
        thread.join(POLL_S)
        if time.monotonic() > look_at and not halt.at_once:
            look_at = time.monotonic() + LOOK_S
            if not own_node_lives():
                halt.drain("Ray's node died")
                halt.at_once = True
        why = halt.draining or (halt.fatal if halt.running() else None)
        if why and not told:
            told = True
            on_drain(why, halt.running())
        if halt.stop_all() and stop_by == math.inf:
            stop_by = time.monotonic() + STOP_S
    return errors[0] if errors else None


def _trial_name(trial: tune.experiment.Trial) -> str:
    """What the Ray dashboard shows: model, use case, folder."""
    spec = trial.config["job"]["spec"]
    return f"{spec['setup']['model']}-{spec['setup']['use_case']}-{spec['index']:04d}-r{spec['repeat']}"
