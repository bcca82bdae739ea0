"""Reading a metrics page as Ray 2.60 exports it, with unknown figures, and other pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import UserError
from orchestrator.ray_tune.metrics import METRICS
from orchestrator.ray_tune.metrics_page import RunningSweep, look, sweeps_of
from tests.server import QuietHandler, serving

PAGE = (Path(__file__).parents[1] / "golden" / "metrics-page.txt").read_text(encoding="utf-8")


@pytest.fixture
def server() -> Iterator[tuple[str, dict[str, bytes]]]:
    """HOST:PORT of a server, and its pages by path, which a test can change."""
    said = {"body": PAGE.encode()}

    class Handler(QuietHandler):
        def do_GET(self) -> None:  # noqa: N802 - the base class names it
            self.send_response(200 if self.path == "/metrics" else 404)
            self.end_headers()
            self.wfile.write(said["body"])

    with serving(Handler) as address:
        yield address, said


def test_the_page_holds_every_metric_that_a_sweep_tells() -> None:
    assert not [name for name in METRICS if f"ray_{name}" not in PAGE]


def test_a_sweep_is_read_over_http(server: tuple[str, dict[str, bytes]]) -> None:
    (first, second) = look(server[0])
    assert (first.id, second.id) == ("lhs-0123456789ab", "uniform-ba9876543210")
    assert first.trials == {"waiting": 7, "running": 2, "finished": 3, "failed": 1, "given_up": 0}
    assert first.executions == {"none": 11, "oom": 2}
    assert first.energies_j == {"energy_j": 300.0, "gpu_energy_counter_j": 900.0}
    assert first.energy_unknown == 1
    assert (first.tokens, first.window_s, first.lost) == (600, 60.0, 1)
    gpu = ("colab", "abc", "GPU-1")
    assert (first.power_w[gpu], first.gpu_power_w[gpu], first.tokens_per_s[gpu]) == (
        80.0,
        60.0,
        11.5,
    )
    assert first.median_j_per_token() == 3.3
    assert second.median_j_per_token() is None


def test_an_unknown_figure_is_absent_not_zero() -> None:
    (first, _) = sweeps_of(PAGE, "here:1")
    assert ("pc", "def", "none") not in first.power_w
    assert ("pc", "def", "none") in first.tokens_per_s


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf"])
def test_what_is_no_number_is_unknown(value: str) -> None:
    names = ("trials", "tokens_total", "counted_energy_joules_total")
    labels = '{sweep="lhs-1",state="waiting",machine="pc",model="m",energy_basis="energy_j"}'
    page = "".join(f"ray_orchestrator_{name}{labels} {value}\n" for name in names)
    assert sweeps_of(page, "here:1") == [RunningSweep("lhs-1")]


def test_a_proxy_for_the_internet_is_not_asked(
    server: tuple[str, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert len(look(server[0])) == 2


def test_a_page_of_something_else_has_no_sweeps() -> None:
    assert sweeps_of("# HELP up x\n# TYPE up gauge\nup 1\n", "here:1") == []
    assert sweeps_of("", "here:1") == []


@pytest.mark.parametrize(
    "body", [b"<html>no</html>", b"ray_orchestrator_trials{", b"\xff\xfe\x00", b"a b c d e"]
)
def test_what_is_no_page_of_metrics_is_told(
    server: tuple[str, dict[str, bytes]], body: bytes
) -> None:
    server[1]["body"] = body
    with pytest.raises(UserError, match="serves no Prometheus metrics"):
        look(server[0])


def test_where_nothing_answers() -> None:
    with pytest.raises(UserError, match=r"--address 127\.0\.0\.1:1: no metrics there \(.*refused"):
        look("127.0.0.1:1")


@pytest.mark.parametrize("address", ["", "host", "host:", "host:x", ":9"])
def test_an_address_is_host_and_port(address: str) -> None:
    with pytest.raises(UserError, match="must be HOST:PORT"):
        look(address)
