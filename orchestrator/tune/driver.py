"""Run jobs on a Ray session: one Tuner, one trial a job, one GPU a trial."""

from __future__ import annotations

import dataclasses
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ray import tune

from orchestrator.dataset.recorder import DISK_IS_FULL
from orchestrator.errors import UserError
from orchestrator.tune.callback import DataSetCallback, TakingInStopper
from orchestrator.tune.halt import Halt
from orchestrator.tune.searcher import SweepSearcher
from orchestrator.tune.session import Node, Session, living_nodes
from orchestrator.tune.trainable import Measure

POLL_S = 0.2
LOOK_S = 5.0
"""How often Ray is asked which nodes live."""
MANY = 10_000
STOP_S = 10.0
"""How long Tune may take to end its workers, loading ones too, before Ray itself is shut down over them."""


@dataclass(frozen=True)
class Placement:
    """What a trial asks of a node, and how many run at once: in all and on one host."""

    cpu: float
    gpu: int
    at_once: int
    per_host: int
    label: str | None = None
    """Only on nodes with this label `machine`; None: on any."""
    without: tuple[str, ...] = ()
    """Labels of nodes that get none."""

    def takes(self, node: Node) -> bool:
        """Whether such a trial may run on a node."""
        return (
            node.machine not in self.without if self.label is None else node.machine == self.label
        )

    def room(self, nodes: Sequence[Node]) -> int:
        """How many such trials nodes hold at once, at least one: without a node they wait."""
        mine = [node for node in nodes if self.takes(node)]
        if self.gpu:
            return max(1, sum(node.gpus for node in mine))
        return max(
            1, sum(min(self.per_host, int(round(node.cpus / self.cpu, 6))) for node in mine)
        )  # 9 / (9 / 7) is below 7

    def bundles(self) -> tune.PlacementGroupFactory:
        """The same for Tune."""
        wanted = self.label or (f"!in({','.join(self.without)})" if self.without else None)
        selector = [{"machine": wanted}] if wanted else None
        return tune.PlacementGroupFactory(
            [{"CPU": self.cpu, "GPU": self.gpu}], bundle_label_selector=selector
        )


def placement(
    session: Session, parallel: int, machine: str | None, small: tuple[str, ...] = ()
) -> Placement:
    """One GPU a trial on the nodes that have GPUs; without any, `parallel` trials share the CPUs of each node.

    Where nodes are labelled, only those of `machine` count (None: all but those that are too `small`). All trials of one Tuner
    must ask for the same, so the smallest node decides. Raises UserError where nothing can run, and for nodes of unequal CPUs
    without GPUs: Ray would put several trials on a large one, and each row says how many share a host.
    """
    labels = sorted({node.machine for node in session.nodes if node.machine})
    label = machine if labels else None
    if label and label not in labels:
        raise UserError(
            f"--machine {label}: no node of the cluster carries that label; there are {', '.join(labels)}"
        )
    where = Placement(cpu=0, gpu=0, at_once=0, per_host=0, label=label, without=small)
    nodes = [node for node in session.nodes if where.takes(node)]
    if small and not nodes:
        raise UserError(
            f"a model doesn't fit on {', '.join(labels)}, and the cluster has nothing else; choose a smaller one"
        )
    return dataclasses.replace(_placement(nodes, parallel), label=label, without=small)


def _placement(nodes: list[Node], parallel: int) -> Placement:
    with_gpus = [node for node in nodes if node.gpus]
    if with_gpus:
        cpu = min(1.0, *(node.cpus / node.gpus for node in with_gpus))
        gpus = [node.gpus for node in with_gpus]
        return Placement(cpu=cpu, gpu=1, at_once=sum(gpus), per_host=max(gpus))
    with_cpus = [node for node in nodes if node.cpus]
    if not with_cpus:
        raise UserError(
            "the Ray cluster offers neither GPUs nor CPUs; add a node with `orchestrator cluster join`"
        )
    if len(offers := sorted({node.cpus for node in with_cpus})) > 1:
        raise UserError(
            f"the nodes of the Ray cluster offer {' and '.join(f'{cpus:g}' for cpus in offers)} CPUs, and how many trials "
            f"share a host would be unknown; start each with `orchestrator cluster join --cpus {offers[0]:g}`"
        )
    cpu = offers[0] / parallel
    return Placement(cpu=cpu, gpu=0, at_once=parallel * len(with_cpus), per_host=parallel)


@dataclass
class Slots:
    """How many trials may be out at once; nodes come and go."""

    n: int


@dataclass(frozen=True)
class Lane:
    """The trials of one kind of machine, or of whatever machine is free: one Tuner, whose trials all ask for the same."""

    searcher: SweepSearcher
    callback: DataSetCallback
    place: Placement
    slots: Slots


def run(
    lanes: Sequence[Lane],
    halt: Halt,
    session: Session,
    *,
    on_drain: Callable[[str, int], None],
    on_look: Callable[[], None] = lambda: None,
) -> None:
    """Run until all searchers end or `halt` says so. What runs then is sealed with what it has.

    `on_drain` hears once why nothing more is begun, and how many prompts still run; `on_look` is called every LOOK_S.

    Raises UserError where the sweep can't go on or the data set can't be written, KeyboardInterrupt after a Ctrl-C.
    """
    halt.running = lambda: sum(lane.callback.n_running() for lane in lanes)
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # what fails is told by the callback
    error = _fit([_tuner(lane, session) for lane in lanes], lanes, halt, on_drain, on_look)
    for lane in lanes:
        try:
            lane.callback.close()
        except OSError as unwritten:
            error = error or unwritten
    cause = next((lane.callback.error for lane in lanes if lane.callback.error), error)
    if (
        isinstance(cause, OSError)
        and cause.errno in DISK_IS_FULL
        and (halt.draining or halt.at_once)
    ):
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


def _tuner(lane: Lane, session: Session) -> tune.Tuner:
    """A Tuner, with what it runs registered under a name of its own: Tune looks it up by name, and with it its resources."""
    place = lane.place
    name = f"Measure-{place.label or 'any'}"
    tune.register_trainable(name, tune.with_resources(Measure, place.bundles()))
    return tune.Tuner(
        name,
        tune_config=tune.TuneConfig(
            search_alg=lane.searcher,
            num_samples=-1,
            max_concurrent_trials=MANY,  # the searcher knows how many
            reuse_actors=True,
            trial_name_creator=_trial_name,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(
            name=f"sweep-{place.label or 'any'}",
            storage_path=str(session.storage),
            verbose=0,
            stop=TakingInStopper(lane.callback),
            callbacks=[lane.callback],
            failure_config=tune.FailureConfig(
                max_failures=0
            ),  # the callback hands out again what a lost worker left
        ),
    )


def _fit(
    tuners: Sequence[tune.Tuner],
    lanes: Sequence[Lane],
    halt: Halt,
    on_drain: Callable[[str, int], None],
    on_look: Callable[[], None],
) -> Exception | None:
    """Fit beside this thread, which stays free for signals; the first error.

    A Ctrl-C raised inside some calls of Ray is lost, and Tune puts its own handler for SIGUSR1 in our place if it runs on the
    main thread.
    """
    errors: list[Exception] = []

    def fit(tuner: tune.Tuner) -> None:
        try:
            tuner.fit()
        except Exception as error:  # noqa: BLE001 - raised again by the main thread
            errors.append(error)
            if len(tuners) > 1:
                halt.fatal = halt.fatal or "the trials of another machine ended with an error"

    threads = [
        threading.Thread(target=fit, args=(tuner,), name="tune", daemon=True) for tuner in tuners
    ]
    for thread in threads:
        thread.start()
    stop_by = math.inf
    look_at = time.monotonic() + LOOK_S
    told = False
    while any(thread.is_alive() for thread in threads) and time.monotonic() < stop_by:
        next((thread for thread in threads if thread.is_alive()), threads[0]).join(POLL_S)
        if time.monotonic() > look_at and not halt.at_once:
            look_at = time.monotonic() + LOOK_S
            _look(lanes, halt)
            on_look()
        why = halt.draining or (halt.fatal if halt.running() else None)
        if why and not told:
            told = True
            on_drain(why, halt.running())
        if halt.stop_all() and stop_by == math.inf:
            stop_by = time.monotonic() + STOP_S
    return errors[0] if errors else None


def _look(lanes: Sequence[Lane], halt: Halt) -> None:
    """Give nodes that joined work; end where our own node died, without which no worker can be asked for.

    Ray itself doesn't tell: trials that wait for a worker would wait for ever.
    """
    nodes, own_lives = living_nodes()
    for lane in lanes:
        lane.slots.n = lane.place.room(nodes)
    if not own_lives:
        halt.drain("Ray's node died")
        halt.at_once = True


def _trial_name(trial: tune.experiment.Trial) -> str:
    """What Tune calls it in its errors and logs: model, use case, folder. Ray's dashboard shows no trials, only their actors."""
    spec = trial.config["job"]["spec"]
    index = f"{spec['config_index']:04d}-r{spec['repeat']}"
    return f"{spec['setup']['model']}-{spec['setup']['use_case']}-{index}"
