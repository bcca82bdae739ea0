"""A real Prometheus scrapes a real sweep by clusters/prometheus.yml.

What it has agrees with the data set.
"""

from __future__ import annotations

import itertools
import json
import re
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from orchestrator.yaml_files import packaged_folder
from tests.real.conftest import Orchestrator
from tests.real.test_sweep_life import wait_for

SWEEP = (
    *(
        "--space",
        "uniform",
        "--samples",
        "4",
        "--engine",
        "simulated",
        "--model",
        "smollm2",
        "--use-case",
        "fantasyWorld",
    ),
    *("--prompts", "3", "--range", "max_length=110:130"),
)
PACE = {"ORCHESTRATOR_SIMULATED_TOKEN_S": "0.03", "RAY_metrics_report_interval_ms": "2000"}
"""Twelve executions of a second or two; Ray exports every ten seconds else."""
DEAD_PROXY = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY"), "http://127.0.0.1:9")
"""A proxy for the internet, of which Ray's processes know, reaches nothing on this host."""
N_TRIALS = 4


class Prometheus:
    """One of its own."""

    def __init__(self, address: str) -> None:
        self._address = address

    def query(self, expression: str) -> list[dict[str, Any]]:
        """What an expression gives now. Raises URLError while it starts."""
        url = f"http://{self._address}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return result

    def history(self, metric: str) -> list[tuple[dict[str, str], list[float]]]:
        """(labels, values) of each series of a metric."""
        found = self.query(f"ray_orchestrator_{metric}[10m]")
        return [
            (series["metric"], [float(value) for _, value in series["values"]]) for series in found
        ]

    def knows(self, expression: str) -> bool:
        """Whether an expression gives anything."""
        try:
            return bool(self.query(expression))
        except urllib.error.URLError:
            return False


@pytest.fixture
def prometheus(orchestrator: Orchestrator, tmp_path: Path) -> Iterator[Prometheus]:
    """It runs by the configuration that ships, but for the user's home, and looks more often."""
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip(
            "there is no Prometheus here "
            "(Debian: apt-get install --no-install-recommends prometheus)"
        )
    text = (packaged_folder("clusters") / "prometheus.yml").read_text(encoding="utf-8")
    text = text.replace("/home/USER/.cache/orchestrator", str(orchestrator.cache))
    config = tmp_path / "prometheus.yml"
    config.write_text(
        re.sub(r"(scrape_interval|evaluation_interval|refresh_interval): 10s", r"\1: 1s", text)
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    flags = [
        f"--config.file={config}",
        f"--storage.tsdb.path={tmp_path / 'tsdb'}",
        f"--web.listen-address={address}",
    ]
    server = subprocess.Popen(
        [binary, *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield Prometheus(address)
    finally:
        server.terminate()
        server.wait(timeout=30)


def test_prometheus_and_the_dashboard_during_a_sweep(
    orchestrator: Orchestrator, prometheus: Prometheus
) -> None:
    folder = orchestrator.cache / "prometheus"
    log = orchestrator.folder / "log"
    with log.open("w") as said:
        command, environment = (
            orchestrator.command("tune", *SWEEP),
            orchestrator.environment(**PACE, **DEAD_PROXY),
        )
        driver = subprocess.Popen(
            command, cwd=orchestrator.folder, env=environment, stdout=said, stderr=said
        )
    try:
        assert wait_for(lambda: list(folder.glob("*.json"))), log.read_text()
        assert wait_for(
            lambda: [True] if prometheus.knows("ray_orchestrator_tokens_total") else []
        ), log.read_text()
        check_dashboard(orchestrator, log.read_text())
        check_watch(orchestrator, log.read_text())
        assert driver.wait(timeout=60) == 0, log.read_text()
    finally:
        if driver.poll() is None:
            driver.send_signal(signal.SIGTERM)
            driver.wait(timeout=60)
    assert list(folder.iterdir()) == [], "nothing is left to scrape"
    check_figures(prometheus, orchestrator.folder / "measurements")
    check_panels(prometheus)


def check_figures(prometheus: Prometheus, out: Path) -> None:
    """Each value that was scraped is the sum over the first so many executions.

    The last ones may never be scraped.
    """
    rows = sorted(
        pq.read_table(out / "executions.parquet").to_pylist(), key=lambda row: row["started_at"]
    )
    assert len(rows) == 3 * N_TRIALS
    for metric, column in (
        ("tokens_total", "n_new_tokens"),
        ("energy_joules_total", "energy_j"),
        ("window_seconds_total", "window_s"),
    ):
        sums = list(itertools.accumulate(row[column] for row in rows))
        ((labels, values),) = prometheus.history(metric)
        assert (labels["machine"], labels["model"], labels["sweep"]) == (
            rows[0]["machine"],
            rows[0]["model"],
            rows[0]["sweep_id"],
        )
        assert all(any(value == pytest.approx(total) for total in sums) for value in values), (
            metric,
            values,
            sums,
        )
        assert values[-1] >= sums[len(sums) // 2], "most of it was scraped"
    ((labels, values),) = prometheus.history("executions_total")
    assert (labels["status"], labels["error_kind"]) == ("ok", "none")
    assert len(rows) / 2 <= values[-1] <= len(rows)
    ((_, values),) = prometheus.history("energy_per_token_joules_count")
    assert len(rows) / 2 <= values[-1] <= len(rows)
    states = {labels["state"]: values for labels, values in prometheus.history("trials")}
    assert set(states) == {"waiting", "running", "finished", "failed", "given_up"}
    assert set(states["running"]) <= {0.0, 1.0}
    assert states["finished"] == sorted(states["finished"])
    assert 2 <= states["finished"][-1] <= N_TRIALS
    assert states["waiting"][0] <= N_TRIALS
    assert {*states["failed"], *states["given_up"]} == {0.0}
    ((place, watts),) = prometheus.history("power_watts")
    assert (place["host"], place["gpu"]) == (rows[0]["host"], "SIMULATED-0")
    known = [row["energy_j"] / row["window_s"] for row in rows]
    assert all(min(known) <= value * 1.001 and value <= max(known) * 1.001 for value in watts)


def check_panels(prometheus: Prometheus) -> None:
    """Prometheus takes every expression of the Grafana dashboard: a wrong one is an HTTP error."""
    dashboard = json.loads(
        (packaged_folder("clusters") / "grafana" / "orchestrator.json").read_text(encoding="utf-8")
    )
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            prometheus.query(
                target["expr"]
                .replace("$sweep", ".*")
                .replace("$__rate_interval", "1m")
                .replace("$__range", "5m")
            )


def check_watch(orchestrator: Orchestrator, said: str) -> None:
    """The address that `tune` prints shows the sweep to `watch`."""
    match = re.search(r"orchestrator watch (--address \S+)", said)
    assert match, said
    seen = orchestrator.run("watch", *match[1].split(), "--once")
    assert seen.returncode == 0, seen.stderr
    assert re.search(r"uniform-[0-9a-f]{12}", seen.stdout), seen.stdout
    assert re.search(r"executions +[1-9][0-9]* ok in this run", seen.stdout), seen.stdout


def check_dashboard(orchestrator: Orchestrator, said: str) -> None:
    """Ray's dashboard has a page for everybody, and shows the sweep to whoever has the token."""
    match = re.search(r"Ray dashboard: (\S+) \(token in (\S+)\)", said)
    assert match, said
    with urllib.request.urlopen(match[1], timeout=20) as page:  # noqa: S310 - our own dashboard
        assert page.status == 200
        assert "Ray Dashboard" in page.read().decode()
    headers = {"Authorization": f"Bearer {Path(match[2]).read_text()}"}

    def asked(path: str) -> Any:
        request = urllib.request.Request(f"{match[1]}{path}", headers=headers)  # noqa: S310
        return json.load(urllib.request.urlopen(request, timeout=20))  # noqa: S310

    (job,) = asked("/api/jobs/")
    assert (job["status"], "orchestrator tune" in job["entrypoint"]) == ("RUNNING", True)
    actors = [
        actor
        for actor in asked("/logical/actors")["data"]["actors"].values()
        if actor["state"] == "ALIVE"
    ]
    (plan,) = (orchestrator.folder / "measurements" / "sweeps").glob("*.json")
    assert [(actor["className"], actor["reprName"]) for actor in actors] == [
        ("Measure", f"sweep {plan.stem}")
    ]
