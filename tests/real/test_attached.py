"""`--address`: trials go to every attached node, and each node's label is a leaf of the data set."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.dataset.schema import TrialRecord
from tests.real.conftest import Orchestrator

SIMULATED = ("--engine", "simulated", "--model", "smollm2", "--range", "max_length=100:150", "--prompts", "2")


@pytest.fixture
def address(orchestrator: Orchestrator) -> Iterator[str]:
    """Address of a two-node cluster."""
    environment = orchestrator.environment(RAY_AUTH_MODE="disabled", ORCHESTRATOR_SIMULATED_TOKEN_S="0.003")
    cluster = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("cluster.py")],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert cluster.stdout is not None
    yield cluster.stdout.readline().strip()
    cluster.communicate(timeout=60)


def test_every_node_gets_trials_under_its_own_label(
    orchestrator: Orchestrator, address: str, trials: Callable[[Path], list[TrialRecord]]
) -> None:
    arguments = ("--space", "uniform", "--samples", "4", *SIMULATED, "--address", address)
    result = orchestrator.tune(*arguments, RAY_AUTH_MODE="disabled")
    assert (result["trials_run"], result["failed"]) == (12, 0)
    records = trials(orchestrator.folder / "measurements")
    assert {r.columns.machine for r in records} == {"cpu", "pc"}
    assert {(r.columns.model, r.columns.synthetic) for r in records} == {("simulated-smollm2", True)}
    again = orchestrator.tune(*arguments, RAY_AUTH_MODE="disabled")
    assert (again["trials_run"], again["executions_done_before"]) == (0, 24)


def test_an_address_where_nothing_answers_is_one_sentence(orchestrator: Orchestrator) -> None:
    done = orchestrator.run("tune", "--space", "uniform", *SIMULATED, "--address", "127.0.0.1:9", expect=2)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "--address 127.0.0.1:9" in errors[0]
    assert "Traceback" not in done.stderr
