"""Where trials go and how a run ends.

What a trial asks of a node, and which of several reasons is told.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import UserError
from orchestrator.ray_tune import driver
from orchestrator.ray_tune.driver import Placement, placement_of
from orchestrator.ray_tune.halt import Halt
from orchestrator.ray_tune.session import Node, Session


def session(*nodes: Node) -> Session:
    return Session(
        nodes=nodes, dashboard=None, token_file=None, metrics=None, storage=Path("unused")
    )


@pytest.mark.parametrize(
    ("nodes", "parallel", "expected"),
    [
        ([Node(8, 0)], 1, Placement(cpu=8, gpu=0, at_once=1, per_host=1)),
        ([Node(8, 0)], 2, Placement(cpu=4, gpu=0, at_once=2, per_host=2)),
        ([Node(8, 0), Node(0, 0), Node(8, 0)], 2, Placement(cpu=4, gpu=0, at_once=4, per_host=2)),
        # one GPU a trial, whatever --parallel says; nodes without GPUs get none
        ([Node(16, 4)], 3, Placement(cpu=1, gpu=1, at_once=4, per_host=4)),
        (
            [Node(1, 2), Node(64, 1), Node(32, 0)],
            1,
            Placement(cpu=0.5, gpu=1, at_once=3, per_host=2),
        ),
    ],
)
def test_placement(nodes: list[Node], parallel: int, expected: Placement) -> None:
    assert placement_of(session(*nodes), parallel, None) == expected


def test_labels_decide_where_there_are_any() -> None:
    nodes = Node(8, 0, "pc"), Node(4, 2, "colab"), Node(16, 4, "leonardo"), Node(16, 4, "leonardo")
    assert placement_of(session(*nodes), 1, "leonardo") == Placement(1, 1, 8, 4, "leonardo")
    assert placement_of(session(*nodes), 1, "pc") == Placement(8, 0, 1, 1, "pc")
    assert placement_of(session(*nodes), 1, None) == Placement(1, 1, 10, 4)
    assert placement_of(session(Node(8, 0), Node(8, 0)), 1, "pc") == Placement(8, 0, 2, 1), (
        "nobody says: it is what the user says"
    )
    with pytest.raises(
        UserError, match=r"--machine attic: no node .* there are colab, leonardo, pc"
    ):
        placement_of(session(*nodes), 1, "attic")


def test_kinds_that_are_too_small_for_the_model_get_no_trials() -> None:
    nodes = Node(8, 1, "pc"), Node(4, 1, "colab"), Node(16, 4)
    placement = placement_of(session(*nodes), 1, None, ("pc",))
    assert placement == Placement(1, 1, 5, 4, None, ("pc",))
    assert placement.room(nodes) == 5
    assert "!in(pc)" in repr(placement.bundles())
    with pytest.raises(
        UserError, match="doesn't fit on colab, pc, and the cluster has nothing else"
    ):
        placement_of(session(*nodes[:2]), 1, None, ("colab", "pc"))


def test_nodes_that_come_and_go_change_how_much_runs_at_once() -> None:
    gpu, cpu = Placement(1, 1, 4, 4, "leonardo"), Placement(4, 0, 2, 2)
    assert gpu.room([Node(16, 4, "leonardo"), Node(8, 1, "colab"), Node(16, 4, "leonardo")]) == 8
    assert gpu.room([]) == 1, "what is handed out waits for a node"
    assert cpu.room([Node(8, 0), Node(0, 0), Node(8, 0), Node(4, 0)]) == 5
    assert placement_of(session(Node(9, 0)), 7, None).room([Node(9, 0)]) == 7


def test_a_cluster_without_anything_is_refused() -> None:
    with pytest.raises(UserError, match="neither GPUs nor CPUs"):
        placement_of(session(Node(0, 0)), 1, None)


def test_unequal_cpus_are_refused_since_nobody_would_know_how_many_trials_share_a_host() -> None:
    with pytest.raises(
        UserError, match=r"offer 4 and 32 CPUs, .* `orchestrator cluster join --cpus 4`"
    ):
        placement_of(session(Node(32, 0), Node(4, 0), Node(4, 0)), 1, None)


def test_a_trial_may_have_a_host_for_itself() -> None:
    def alone(*nodes: Node, label: str | None = None) -> Placement:
        return placement_of(session(*nodes), 3, label, one_a_host=True)

    gpus, cpus = Node(16, 4, isolates=True), Node(8, 0, isolates=True)
    assert alone(cpus) == Placement(8, 0, 1, 1, one_a_host=True), "all CPUs, whatever --parallel"
    assert alone(gpus, gpus, cpus) == Placement(1, 1, 2, 1, one_a_host=True)
    assert alone(gpus, Node(16, 4)).at_once == 1, "the second one can't keep others off"
    assert alone(gpus).room([gpus, gpus, Node(16, 4), cpus]) == 2
    assert alone(gpus).bundles().required_resources == {"CPU": 1, "GPU": 1, "energy_host": 1}
    shared = placement_of(session(gpus), 3, None)
    assert shared == Placement(1, 1, 4, 4)
    assert shared.bundles().required_resources == {"CPU": 1, "GPU": 1}
    with pytest.raises(UserError, match="--isolation host: no node of the cluster offers"):
        alone(Node(16, 4))


# --- the end --------------------------------------------------------------------------------------

FULL = OSError(errno.ENOSPC, "No space left", "/data/executions.jsonl")
BROKEN = OSError(errno.EIO, "Input/output error", "/data/trial.json")
BUG = ValueError("a bug")


class Played:
    """A callback after a sweep: what went wrong in it, and what sealing the rest gives."""

    def __init__(self, error: Exception | None, closing: OSError | None, **halted: Any) -> None:
        self.error, self.closing = error, closing
        self.halt = Halt()
        for name, value in halted.items():
            setattr(self.halt, name, value)
        self.closed = 0

    def close(self) -> None:
        self.closed += 1
        if self.closing:
            raise self.closing


@pytest.mark.parametrize(
    "case",
    [  # the callback's error, closing's, the fit's, what halt says: what is raised
        (None, None, None, {}, None),
        # a full disk: an error of its own, but after a signal the next run goes on
        (
            FULL,
            None,
            RuntimeError("wrapped"),
            {},
            (UserError, "^/data/executions.jsonl: can't be written .No space left.; what"),
        ),
        (FULL, FULL, RuntimeError("wrapped"), {"draining": "SIGTERM"}, None),
        (None, FULL, None, {"draining": "SIGTERM"}, None),
        (None, FULL, None, {}, (UserError, "No space left")),
        (FULL, FULL, None, {"at_once": True, "interrupted": True}, (KeyboardInterrupt, "^$")),
        # a broken disk: always told
        (
            BROKEN,
            None,
            None,
            {"draining": "SIGTERM"},
            (UserError, "^/data/trial.json: can't be written .Input/output error."),
        ),
        (
            OSError(errno.ENOENT, "removed"),
            None,
            None,
            {"draining": "SIGTERM"},
            (UserError, "^the data set: can't be written"),
        ),
        # bugs keep their traceback, but what was stopped at once is torn anyway
        (BUG, None, RuntimeError("wrapped"), {}, (ValueError, "a bug")),
        (BUG, None, None, {"draining": "SIGTERM"}, (ValueError, "a bug")),
        (None, None, ConnectionError("Ray's"), {}, (ConnectionError, "Ray's")),
        (
            None,
            None,
            ConnectionError("Ray's"),
            {"at_once": True, "interrupted": True},
            (KeyboardInterrupt, "^$"),
        ),
        (BUG, None, None, {"at_once": True, "draining": "SIGTERM"}, None),
        # why no trial could run; after a signal the next run tells it
        (None, None, None, {"fatal": "gated"}, (UserError, "^gated$")),
        (None, None, None, {"fatal": "gated", "draining": "SIGTERM"}, None),
        (
            None,
            None,
            None,
            {"fatal": "gated", "at_once": True, "interrupted": True},
            (KeyboardInterrupt, "^$"),
        ),
    ],
)
def test_which_end_is_told(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    case: tuple[
        Exception | None,
        OSError | None,
        Exception | None,
        dict[str, Any],
        tuple[type[BaseException], str] | None,
    ],
) -> None:
    error, closing, fitted, halted, told = case

    class Tuner:
        """Tune's, when all trials are through."""

        def __init__(self, *_: object, **_more: object) -> None:
            pass

        def fit(self) -> None:
            if fitted:
                raise fitted

    monkeypatch.setattr("ray.tune.Tuner", Tuner)
    monkeypatch.setattr(driver, "head_answers", lambda: True)
    monkeypatch.setattr(driver, "living_nodes", lambda: ([], True))
    callback = Played(error, closing, **halted)
    where = Session(nodes=(), dashboard=None, token_file=None, metrics=None, storage=tmp_path)

    def run() -> None:
        part = driver.RunningPart(None, callback, Placement(1, 0, 1, 1), driver.Slots(1))
        driver.run([part, part], callback.halt, where, on_drain=lambda *_: None)

    if told is None:
        run()
    else:
        with pytest.raises(told[0], match=told[1]):
            run()
    assert callback.closed == 2, "what ran is sealed on every machine, however it ended"


@pytest.mark.parametrize("head", [True, False])
def test_what_tune_raises_since_ray_died_is_a_drain(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, head: bool
) -> None:
    class Tuner:
        """Tune's, whose Ray died."""

        def __init__(self, *_: object, **_more: object) -> None:
            pass

        def fit(self) -> None:
            raise RuntimeError

    monkeypatch.setattr("ray.tune.Tuner", Tuner)
    monkeypatch.setattr(driver, "head_answers", lambda: head)
    monkeypatch.setattr(driver, "living_nodes", lambda: ([], False))
    callback = Played(None, None)
    where = Session(nodes=(), dashboard=None, token_file=None, metrics=None, storage=tmp_path)
    part = driver.RunningPart(None, callback, Placement(1, 0, 1, 1), driver.Slots(1))
    driver.run([part], callback.halt, where, on_drain=lambda *_: None)
    assert callback.halt.draining == ("Ray's node died" if head else "Ray's head died")
    assert callback.closed == 1
