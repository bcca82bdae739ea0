"""A Ray cluster of several hosts, each of a kind of machine that runs the whole plan.

A host is cut off, others join late.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.dataset.schema import TrialRecord
from tests.real.conftest import Orchestrator
from tests.real.hosts import Host, network
from tests.real.test_sweep_life import wait_for

SWEEP = (
    *(
        "--space",
        "sobol",
        "--samples",
        "6",
        "--engine",
        "simulated",
        "--model",
        "smollm2",
        "--use-case",
        "fantasyWorld",
    ),
    *("--prompts", "2", "--range", "max_length=110:160"),
)
QUICK = {
    "RAY_health_check_initial_delay_ms": "2000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
    "ORCHESTRATOR_SIMULATED_TOKEN_S": "0.06",
}
"""A host that is cut off is given up after nine seconds instead of half a minute."""


@dataclass
class Attached:
    """Runs commands on hosts, each with a cache of its own."""

    orchestrator: Orchestrator
    started: list[Host]

    def environment(self, host: Host) -> dict[str, str]:
        return self.orchestrator.environment(
            **QUICK, ORCHESTRATOR_CACHE=str(self.orchestrator.folder / host.name)
        )

    def run(self, host: Host, *arguments: str) -> str:
        done = subprocess.run(
            host.command(*self.orchestrator.command(*arguments)),
            cwd=self.orchestrator.folder,
            env=self.environment(host),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, host: Host, machine: str) -> str:
        """A head; its address."""
        self.started.append(host)
        said = self.run(
            host, "cluster", "start", "--machine", machine, "--host", host.address, "--cpus", "1"
        )
        match = re.search(r"at (\S+:\d+)\.", said)
        assert match
        return match[1]

    def join(self, host: Host, machine: str, address: str, token: Path) -> None:
        self.started.append(host)
        ports = ("--ports", "20000-20060")
        self.run(
            host,
            "cluster",
            "join",
            address,
            "--machine",
            machine,
            "--cpus",
            "1",
            "--token-file",
            str(token),
            *ports,
        )

    def stop(self, host: Host) -> None:
        self.started.remove(host)
        self.run(host, "cluster", "stop")


@pytest.fixture
def attached(orchestrator: Orchestrator) -> Iterator[Attached]:
    attached = Attached(orchestrator, [])
    yield attached
    for host in list(attached.started):
        with contextlib.suppress(AssertionError):
            attached.stop(host)


@pytest.mark.slow
def test_hosts_that_are_cut_off_and_join_late(
    attached: Attached, trials: Callable[[Path], list[TrialRecord]]
) -> None:
    out = attached.orchestrator.folder / "measurements"
    with network("pc", "colab", "leonardo", "late") as (pc, colab, leonardo, late):
        address = attached.start(pc, "pc")
        token = attached.orchestrator.folder / "pc" / "ray_token"
        attached.join(colab, "colab", address, token)
        attached.join(leonardo, "leonardo", address, token)
        nodes = attached.run(pc, "cluster", "status")
        assert [line.split()[:2] for line in nodes.splitlines()[1:]] == [
            ["colab", colab.address], ["leonardo", leonardo.address], ["pc", pc.address]
        ]  # fmt: skip
        tune = attached.orchestrator.command(
            "tune", *SWEEP, "--address", address, "--machine", "each"
        )
        driver = subprocess.Popen(
            pc.command(*tune), cwd=attached.orchestrator.folder, env=attached.environment(pc),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        said: list[str] = []
        reader = threading.Thread(target=lambda: said.extend(driver.stdout or ()), daemon=True)
        reader.start()
        try:
            assert wait_for(
                lambda: list((out / "leonardo").rglob("executions.jsonl")), seconds=60
            ), said
            leonardo.cable("down")
            attached.join(late, "colab", address, token)
            assert wait_for(
                lambda: [line for line in said if "goes to another" in line], seconds=60
            ), said
            leonardo.cable("up")
            attached.stop(leonardo)  # whatever still runs there is late: nobody listens any more
            attached.join(leonardo, "leonardo", address, token)
            assert driver.wait(timeout=180) == 0, said
        finally:
            driver.kill()
            reader.join(10)
        for host in list(attached.started):
            attached.stop(host)
    records = trials(out)
    executions = Counter(
        (r.columns.machine, r.spec.key(), e.prompt_number) for r in records for e in r.executions
    )
    assert set(executions.values()) == {1}
    assert Counter(machine for machine, *_ in executions) == {"pc": 12, "colab": 12, "leonardo": 12}
    hosts = {(r.columns.machine, r.columns.host) for r in records}
    assert Counter(machine for machine, _ in hosts) == {"pc": 1, "colab": 2, "leonardo": 1}
    assert "36 of 36 executions" in attached.orchestrator.run("status").stdout
    assert "0 errors, 0 warnings" in attached.orchestrator.run("validate").stdout
