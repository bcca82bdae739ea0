"""Run jobs on a Ray session: one Tuner, one trial a job, one GPU a trial."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

from ray import tune
from ray.tune.search import Searcher

from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.tables import TableWriter
from orchestrator.errors import ModelUnavailableError, UserError
from orchestrator.tune.callback import DataSetCallback, Halt, Observer
from orchestrator.tune.session import Session
from orchestrator.tune.trainable import Measure

MAX_WORKER_LOSSES = 3
"""How often a trial is begun again after its worker or node died."""


@dataclass(frozen=True)
class Placement:
    """What a trial asks of a node, and how many run at once: in all and on one host."""

    cpu: float
    gpu: int
    at_once: int
    per_host: int


def placement(session: Session, parallel: int) -> Placement:
    """One GPU a trial on the nodes that have GPUs; without any, `parallel` trials share the CPUs of each node.

    All trials of one Tuner must ask for the same, so the smallest node decides. Raises UserError where nothing can run.
    """
    with_gpus = [node for node in session.nodes if node.gpus]
    if with_gpus:
        cpu = min(1.0, *(node.cpus / node.gpus for node in with_gpus))
        gpus = [node.gpus for node in with_gpus]
        return Placement(cpu=cpu, gpu=1, at_once=sum(gpus), per_host=max(gpus))
    with_cpus = [node for node in session.nodes if node.cpus]
    if not with_cpus:
        raise UserError("the Ray cluster offers neither GPUs nor CPUs; add a node with `ray start --address ...`")
    cpu = min(node.cpus for node in with_cpus) / parallel
    return Placement(cpu=cpu, gpu=0, at_once=parallel * len(with_cpus), per_host=parallel)


def run(
    searcher: Searcher, session: Session, place: Placement, *, paths: DataSetPaths, tables: TableWriter, observer: Observer
) -> None:
    """Run until the searcher ends. Raises ModelUnavailableError where no trial could run; KeyboardInterrupt passes."""
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    halt = Halt()
    errors: list[Exception] = []
    resources = {"cpu": place.cpu, "gpu": place.gpu}
    tuner = tune.Tuner(
        tune.with_resources(Measure, resources),
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
            stop=halt,
            callbacks=[DataSetCallback(paths, tables, observer, errors)],
            failure_config=tune.FailureConfig(max_failures=MAX_WORKER_LOSSES),
        ),
    )
    try:
        with _noticing_interrupts(halt):
            tuner.fit()
    except Exception as error:
        cause = errors[0] if errors else error
        if isinstance(cause, OSError):
            raise UserError(
                f"{paths.root}: can't be written ({cause.strerror}); what was finished is kept, run the same command again"
            ) from error
        raise cause from None
    finally:
        tables.flush()
    if halt.interrupted:
        raise KeyboardInterrupt
    if halt.reason:
        raise ModelUnavailableError(halt.reason)


@contextlib.contextmanager
def _noticing_interrupts(halt: Halt) -> Iterator[None]:
    """Remember a Ctrl-C: raised inside some calls of Ray, a KeyboardInterrupt is lost and the sweep would run on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        halt.interrupted = True
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _trial_name(trial: tune.experiment.Trial) -> str:
    """What the Ray dashboard shows: model, use case, folder."""
    spec = trial.config["job"]["spec"]
    return f"{spec['setup']['model']}-{spec['setup']['use_case']}-{spec['index']:04d}-r{spec['repeat']}"
