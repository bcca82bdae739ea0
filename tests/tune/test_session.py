"""Attaching to a cluster whose nodes come one after another."""

from __future__ import annotations

import itertools

import pytest
import ray

from orchestrator.tune import session

NODES = [{"Alive": True, "Resources": {"GPU": float(number)}} for number in (1, 2)]


def test_as_many_nodes_as_are_to_come_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    dead = {"Alive": False, "Resources": {"GPU": 8.0}}
    seen = itertools.chain([[NODES[0]], [NODES[0], dead]], itertools.repeat(NODES))
    monkeypatch.setattr(ray, "nodes", lambda: next(seen))
    monkeypatch.setattr(session.time, "sleep", lambda _seconds: None)
    assert session._alive(2) == [{"GPU": 1.0}, {"GPU": 2.0}]


def test_a_node_that_doesn_t_come_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: NODES[:1])
    monkeypatch.setattr(session, "NODES_S", 0.01)
    assert session._alive(2) == [{"GPU": 1.0}]
