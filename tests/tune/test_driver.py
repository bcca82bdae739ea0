"""Where trials go: what one asks of a node, how many run at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import UserError
from orchestrator.tune.driver import Placement, placement
from orchestrator.tune.session import Node, Session


def session(*nodes: Node) -> Session:
    return Session(nodes=nodes, dashboard=None, token_file=None, storage=Path("unused"))


@pytest.mark.parametrize(
    ("nodes", "parallel", "expected"),
    [
        ([Node(8, 0)], 1, Placement(cpu=8, gpu=0, at_once=1, per_host=1)),
        ([Node(8, 0)], 2, Placement(cpu=4, gpu=0, at_once=2, per_host=2)),
        ([Node(8, 0), Node(0, 0), Node(8, 0)], 2, Placement(cpu=4, gpu=0, at_once=4, per_host=2)),
        # one GPU a trial, whatever --parallel says; nodes without GPUs get none
        ([Node(16, 4)], 3, Placement(cpu=1, gpu=1, at_once=4, per_host=4)),
        ([Node(1, 2), Node(64, 1), Node(32, 0)], 1, Placement(cpu=0.5, gpu=1, at_once=3, per_host=2)),
    ],
)
def test_placement(nodes: list[Node], parallel: int, expected: Placement) -> None:
    assert placement(session(*nodes), parallel) == expected


def test_a_cluster_without_anything_is_refused() -> None:
    with pytest.raises(UserError, match="neither GPUs nor CPUs"):
        placement(session(Node(0, 0)), 1)


def test_unequal_cpus_are_refused_since_nobody_would_know_how_many_trials_share_a_host() -> None:
    with pytest.raises(UserError, match=r"offer 4 and 32 CPUs, .* `ray start --num-cpus 4`"):
        placement(session(Node(32, 0), Node(4, 0), Node(4, 0)), 1)
