"""Run assignments on a Ray session: a Tuner a kind of machine, an assignment a trial of Tune."""

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
from orchestrator.ray_tune.books import NoProgress, ShortBooks, trainables_remembered
from orchestrator.ray_tune.callback import DataSetCallback, TakingInStopper
from orchestrator.ray_tune.halt import Halt
from orchestrator.ray_tune.searcher import SweepSearcher
from orchestrator.ray_tune.session import HOST_RESOURCE, Node, Session, head_answers, living_nodes
from orchestrator.ray_tune.trainable import Measure
from orchestrator.unknowns import known

POLL_S = 0.2
LOOK_S = 5.0
"""How often Ray is asked which nodes live."""
MANY = 10_000
STOP_S = 10.0
"""How long Tune may take to end its workers before Ray itself is shut down."""


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
    one_a_host: bool = False
    """Whether no two trials run on a host at once (--isolation host)."""

    def takes(self, node: Node) -> bool:
        """Whether such a trial may run on a node."""
        if self.label is None:
            return node.machine not in self.without
        return node.machine == self.label

    def room(self, nodes: Sequence[Node]) -> int:
        """How many such trials nodes hold at once, at least one: without a node they wait."""
        mine = [node for node in nodes if self.takes(node)]
        if self.one_a_host:
            return max(1, sum(self._fits_alone(node) for node in mine))
        if self.gpu:
            return max(1, sum(node.gpus for node in mine))
        # rounded, since 9 / (9 / 7) is a little below 7
        shares = [int(round(node.cpus / self.cpu, 6)) for node in mine]
        return max(1, sum(min(self.per_host, share) for share in shares))

    def _fits_alone(self, node: Node) -> bool:
        """Whether a node can run one such trial and keep others off."""
        return node.isolates and node.gpus >= self.gpu and node.cpus >= self.cpu

    def bundles(self) -> tune.PlacementGroupFactory:
        """What a trial asks of a node, in the form that Tune takes."""
        wanted = self.label
        if wanted is None and self.without:
            # Ray's syntax for a label that is none of these
            wanted = f"!in({','.join(self.without)})"
        selector = None
        if wanted:
            selector = [{"machine": wanted}]
        bundle = {"CPU": self.cpu, "GPU": self.gpu}
        if self.one_a_host:
            bundle[HOST_RESOURCE] = 1
        return tune.PlacementGroupFactory([bundle], bundle_label_selector=selector)


def placement_of(
    session: Session,
    parallel: int,
    machine: str | None,
    small: tuple[str, ...] = (),
    *,
    one_a_host: bool = False,
) -> Placement:
    """How trials are placed: one a GPU; without GPUs `parallel` trials share a node's CPUs.

    Or `one_a_host`, whatever GPUs and CPUs that has.

    Where nodes are labelled, only those of `machine` count (None: all but those that are too
    `small`). All trials of one Tuner must ask for the same, so the smallest node decides.

    Raises UserError where nothing can run, and for nodes of unequal CPUs without GPUs: Ray would
    put several trials on a large one, and each row says how many share a host.
    """
    labels = sorted({node.machine for node in session.nodes if node.machine})
    listed = ", ".join(labels)
    label = None
    if labels:
        label = machine
    if label and label not in labels:
        raise UserError(
            f"--machine {label}: no node of the cluster carries that label; there are {listed}"
        )
    # only to ask which nodes take such a trial
    where = Placement(cpu=0, gpu=0, at_once=0, per_host=0, label=label, without=small)
    nodes = [node for node in session.nodes if where.takes(node)]
    if small and not nodes:
        raise UserError(
            f"a model doesn't fit on {listed}, and the cluster has nothing else; choose a smaller "
            "model"
        )
    placement = _placement(nodes, 1 if one_a_host else parallel)
    placement = dataclasses.replace(placement, label=label, without=small)
    return _alone(placement, nodes) if one_a_host else placement


def _alone(placement: Placement, nodes: list[Node]) -> Placement:
    """The same with one trial a host. Raises UserError where no node can keep others off."""
    if not any(node.isolates for node in nodes):
        raise UserError(
            f"--isolation host: no node of the cluster offers Ray's resource {HOST_RESOURCE}; "
            "start its nodes with `orchestrator cluster start` and `orchestrator cluster join`"
        )
    alone = dataclasses.replace(placement, per_host=1, one_a_host=True)
    return dataclasses.replace(alone, at_once=alone.room(nodes))


def _placement(nodes: list[Node], parallel: int) -> Placement:
    """How trials are placed on these nodes. Raises UserError where they can't be."""
    with_gpus = [node for node in nodes if node.gpus]
    if with_gpus:
        return _one_a_gpu(with_gpus)
    with_cpus = [node for node in nodes if node.cpus]
    if with_cpus:
        return _sharing_cpus(with_cpus, parallel)
    raise UserError(
        "the Ray cluster offers neither GPUs nor CPUs; add a node with `orchestrator cluster join`"
    )


def _one_a_gpu(nodes: list[Node]) -> Placement:
    """One trial on each GPU, with at most one CPU: fewer where a node has more GPUs than CPUs."""
    gpus = [node.gpus for node in nodes]
    # all trials of a Tuner ask for the same, so the node with the fewest CPUs a GPU decides
    cpu = min(1.0, *(node.cpus / node.gpus for node in nodes))
    return Placement(cpu=cpu, gpu=1, at_once=sum(gpus), per_host=max(gpus))


def _sharing_cpus(nodes: list[Node], parallel: int) -> Placement:
    """`parallel` trials on each node, which share its CPUs. Raises UserError."""
    offers = sorted({node.cpus for node in nodes})
    if len(offers) > 1:
        told = " and ".join(f"{cpus:g}" for cpus in offers)
        raise UserError(
            f"the nodes of the Ray cluster offer {told} CPUs, so that it would be unknown how "
            f"many trials share a host; start each with `orchestrator cluster join --cpus "
            f"{offers[0]:g}`"
        )
    at_once = parallel * len(nodes)
    return Placement(cpu=offers[0] / parallel, gpu=0, at_once=at_once, per_host=parallel)


@dataclass
class Slots:
    """How many trials may be out at once; nodes come and go."""

    n: int


@dataclass(frozen=True)
class RunningPart:
    """The part of a sweep that one kind of machine runs, or all of it on whatever is free.

    It has one Tuner, whose trials all ask for the same resources.
    """

    searcher: SweepSearcher
    callback: DataSetCallback
    placement: Placement
    slots: Slots
    loggers: Sequence[tune.Callback] = ()
    """What else Tune tells of each trial."""


def run(
    parts: Sequence[RunningPart],
    halt: Halt,
    session: Session,
    *,
    on_drain: Callable[[str, int], None],
    on_look: Callable[[], None] = lambda: None,
) -> None:
    """Run until all searchers end or `halt` says so. What runs then is sealed with what it has.

    `on_drain` hears once why nothing more is started, and how many prompts are to finish;
    `on_look` is called every LOOK_S.

    Raises UserError where the sweep can't go on or the data set can't be written, and
    KeyboardInterrupt after a Ctrl-C.
    """
    halt.running = lambda: sum(part.callback.n_running() for part in parts)
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # what fails is told by the callback
    with trainables_remembered():
        tuners = [_tuner(part, session) for part in parts]
        error = _fit(tuners, parts, halt, on_drain, on_look)
    unwritten = _close(parts)
    # what a callback raised comes first: Tune's own error only wraps it
    causes = known([*(part.callback.error for part in parts), error, *unwritten])
    if causes and not _was_told(causes[0], halt):
        _raise(causes[0], halt)
    if halt.interrupted:
        raise KeyboardInterrupt
    if halt.fatal and not halt.draining:  # after a signal the next run tells it
        raise UserError(halt.fatal)


def _close(parts: Sequence[RunningPart]) -> list[OSError]:
    """Seal what still runs, on all kinds of machine; the errors of those that couldn't be."""
    errors = []
    for part in parts:
        try:
            part.callback.close()
        except OSError as error:  # the others can be sealed all the same
            errors.append(error)
    return errors


def _was_told(cause: Exception, halt: Halt) -> bool:
    """Whether it is a full disk that was told when it ended the sweep: the next run resumes."""
    is_full = isinstance(cause, OSError) and cause.errno in DISK_IS_FULL
    return is_full and (halt.draining is not None or halt.at_once)


def _raise(cause: Exception, halt: Halt) -> None:
    """Raise what went wrong: as a UserError where the system refused to write.

    Not what Ray raises while it is being stopped at once.
    """
    if isinstance(cause, OSError) and cause.errno is not None:  # the system's, not Ray's
        where = cause.filename or "the data set"
        raise UserError(
            f"{where}: can't be written ({cause.strerror}); what was finished before is kept, run "
            "the same command again"
        ) from cause
    # stopping at once kills workers, and that looks like errors
    if not halt.at_once:
        raise cause


def _tuner(part: RunningPart, session: Session) -> tune.Tuner:
    """A Tuner for one kind of machine.

    Tune looks a trainable up by name, and its resources with it: each has a name of its own.
    """
    placement = part.placement
    name = f"Measure-{placement.label or 'any'}"
    trainable = tune.with_resources(Measure, placement.bundles())
    # the dashboard names actors by it, and Tune's wrapper has one that says nothing
    trainable.__qualname__ = Measure.__qualname__
    tune.register_trainable(name, trainable)
    return tune.Tuner(
        name,
        tune_config=tune.TuneConfig(
            search_alg=part.searcher,
            scheduler=ShortBooks(),
            num_samples=-1,
            max_concurrent_trials=MANY,  # the searcher knows how many
            reuse_actors=True,
            trial_name_creator=_trial_name,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(
            name=f"sweep-{placement.label or 'any'}",
            storage_path=str(session.storage),
            verbose=0,
            stop=TakingInStopper(part.callback),
            callbacks=[part.callback, NoProgress(), *part.loggers],
            # what a trial has is in the data set: a checkpoint would be one more call a trial
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            # the callback hands out again what a lost worker left
            failure_config=tune.FailureConfig(max_failures=0),
        ),
    )


def _fit(
    tuners: Sequence[tune.Tuner],
    parts: Sequence[RunningPart],
    halt: Halt,
    on_drain: Callable[[str, int], None],
    on_look: Callable[[], None],
) -> Exception | None:
    """Fit beside this thread, which stays free for signals; returns the first error.

    A Ctrl-C that is raised inside some calls of Ray is lost, and on the main thread Tune would put
    its own handler for SIGUSR1 in our place.
    """
    errors: list[Exception] = []

    def fit(tuner: tune.Tuner) -> None:
        """Run one Tuner to its end; after an error the others start nothing more."""
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
    _wait(threads, parts, halt, on_drain, on_look)
    if errors:
        _look(parts, halt)  # it may be that Ray died a moment ago
    return next(iter(errors), None)


def _wait(
    threads: Sequence[threading.Thread],
    parts: Sequence[RunningPart],
    halt: Halt,
    on_drain: Callable[[str, int], None],
    on_look: Callable[[], None],
) -> None:
    """Wait until the threads end, and STOP_S at most once the sweep is to end at once.

    Meanwhile look at the cluster every LOOK_S, and tell once why nothing more is started.
    """
    stop_by = math.inf
    look_at = time.monotonic() + LOOK_S
    # the first reason is told: a later one changes nothing any more
    told = False
    while time.monotonic() < stop_by:
        alive = [thread for thread in threads if thread.is_alive()]
        if not alive:
            return
        alive[0].join(POLL_S)  # in short steps, between which signals are handled
        if time.monotonic() > look_at and not halt.at_once:
            look_at = time.monotonic() + LOOK_S
            _look(parts, halt)
            on_look()
        why = _why_draining(halt)
        if why and not told:
            told = True
            on_drain(why, 0 if halt.at_once else halt.running())
        if halt.stop_all():
            stop_by = min(stop_by, time.monotonic() + STOP_S)


def _why_draining(halt: Halt) -> str | None:
    """Why nothing more is started; None while trials start.

    What is fatal is raised at the end, so it is told now only where prompts still run.
    """
    if halt.draining is None and halt.running():
        return halt.fatal
    return halt.draining


def _look(parts: Sequence[RunningPart], halt: Halt) -> None:
    """Give work to nodes that joined; end where the cluster's head or our own node died.

    No worker can be had then, and Ray itself doesn't tell: trials that wait for one would wait for
    ever.
    """
    if not head_answers():
        halt.drain("Ray's head died")
        halt.at_once = True
        return
    nodes, own_lives = living_nodes()
    for part in parts:
        part.slots.n = part.placement.room(nodes)
    if not own_lives:
        halt.drain("Ray's node died")
        halt.at_once = True


def _trial_name(trial: tune.experiment.Trial) -> str:
    """What Tune calls a trial in its errors and logs: model, use case, index and repeat."""
    spec = trial.config["assignment"].assignment.spec
    return f"{spec.setup.model}-{spec.setup.use_case}-{spec.config_index:04d}-r{spec.repeat}"
