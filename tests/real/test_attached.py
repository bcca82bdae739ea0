"""`--address`: trials go to every attached node, and each node's label is a folder's name."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.dataset.schema import TrialRecord
from tests.real.conftest import Orchestrator

SIMULATED = (
    "--engine",
    "simulated",
    "--model",
    "smollm2",
    "--range",
    "max_length=100:150",
    "--prompts",
    "2",
)


@pytest.fixture
def address(orchestrator: Orchestrator) -> Iterator[str]:
    """Address of a two-node cluster."""
    environment = orchestrator.environment(
        RAY_AUTH_MODE="disabled", ORCHESTRATOR_SIMULATED_TOKEN_S="0.003"
    )
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
    assert {(r.columns.model, r.columns.synthetic) for r in records} == {
        ("simulated-smollm2", True)
    }
    again = orchestrator.tune(*arguments, RAY_AUTH_MODE="disabled")
    assert (again["trials_run"], again["executions_done_before"]) == (0, 24)


def test_each_kind_of_machine_runs_the_whole_plan(
    orchestrator: Orchestrator, address: str, trials: Callable[[Path], list[TrialRecord]]
) -> None:
    out = orchestrator.folder / "measurements"
    arguments = (
        "--space",
        "optuna",
        "--samples",
        "3",
        "--use-case",
        "fantasyWorld",
        *SIMULATED,
        "--address",
        address,
    )
    cluster = {"RAY_AUTH_MODE": "disabled"}
    one = orchestrator.tune(*arguments, "--machine", "pc", **cluster)
    assert (one["executions_run"], {r.columns.machine for r in trials(out)}) == (6, {"pc"})
    result = orchestrator.tune(*arguments, "--machine", "each", **cluster)
    assert (result["executions_done_before"], result["executions_run"], result["failed"]) == (
        6,
        6,
        0,
    )
    records = trials(out)
    n_trials = Counter((r.columns.machine, len(r.executions)) for r in records)
    assert n_trials == {("pc", 2): 3, ("cpu", 2): 3}
    orders = [r.columns.order_index for r in records]
    assert len(set(orders)) == len(orders)
    assert len({tuple(r.spec.configuration.model_dump().items()) for r in records}) > 3, (
        "each has a study of its own"
    )
    assert "12 of 12 executions" in orchestrator.run("status").stdout
    assert "0 errors" in orchestrator.run("validate").stdout
    unknown = orchestrator.run(
        "tune", *arguments, "--machine", "leonardo", expect=2, **cluster
    ).stderr
    assert (
        "--machine leonardo: no node of the cluster carries that label; there are cpu, pc"
        in unknown
    )


def test_an_address_where_nothing_answers_is_one_sentence(orchestrator: Orchestrator) -> None:
    done = orchestrator.run(
        "tune", "--space", "uniform", *SIMULATED, "--address", "127.0.0.1:9", expect=2
    )
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "--address 127.0.0.1:9" in errors[0]
    assert "Traceback" not in done.stderr
