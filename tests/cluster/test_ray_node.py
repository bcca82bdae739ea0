"""This machine's node: the flags of `ray start`, what is recorded, and that nothing else is ended.

A script replaces Ray.
"""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.cli.node_command import _offer
from orchestrator.cluster import ray_node as node
from orchestrator.cluster.ray_node import HEALTH_CHECK, LEAST_PORTS, Offer, join, start, stop
from orchestrator.errors import UserError
from orchestrator.machine_files import read_machine
from orchestrator.ray_tune.own_cluster import attachment, attachment_file
from orchestrator.ray_tune.session import own_token, set_environment
from tests.processes import processes

TOKEN = "0123456789abcdef" * 4


class PlayedRay:
    """Replaces `ray start`: records its call, and starts a process that names the node's folder."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, begin: Any) -> None:
        self.commands: list[list[str]] = []
        self.environments: list[dict[str, str]] = []
        self.fails: str | None = None
        self._begin = begin
        monkeypatch.setattr(node.subprocess, "run", self.run)

    def run(
        self, command: list[str], *, env: dict[str, str], **_more: Any
    ) -> subprocess.CompletedProcess[str]:
        self.commands.append(command)
        self.environments.append(env)
        if self.fails:
            return subprocess.CompletedProcess(command, 1, "", self.fails)
        (folder,) = [part.partition("=")[2] for part in command if part.startswith("--temp-dir=")]
        self._begin(folder)
        return subprocess.CompletedProcess(command, 0, "", "")

    def flags(self) -> list[str]:
        """Flags of the last call, without those that are random."""
        return [part for part in self.commands[-1][4:] if not part.startswith("--temp-dir=")]


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[PlayedRay]:
    monkeypatch.setenv("ORCHESTRATOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(node, "scratch_base", lambda: tmp_path)
    with processes("import time; time.sleep(600)") as begin:
        yield PlayedRay(monkeypatch, begin)


@pytest.fixture
def head() -> Iterator[str]:
    """Address of a program that listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def other_dashboards(address: tuple[str, int], **_more: object) -> socket.socket:
    """Connect to the dashboards of two other Rays, the only programs that listen."""
    if address[1] in (8265, 8266):
        return socket.socket()
    raise ConnectionRefusedError


def test_a_head_listens_on_loopback_and_asks_for_a_token(
    ray: PlayedRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setattr(socket, "create_connection", other_dashboards)
    found = start(Offer("pc"), port)
    assert ray.flags() == [
        "--head", f"--port={port}", "--include-dashboard=true",
        "--dashboard-host=127.0.0.1", "--dashboard-port=8267",
        "--node-ip-address=127.0.0.1",
        "--labels=machine=pc", '--resources={"energy_host": 1}',
        "--object-store-memory=200000000", "--disable-usage-stats",
    ]  # fmt: skip
    environment = ray.environments[-1]
    assert environment["RAY_AUTH_MODE"] == "token"
    assert Path(environment["RAY_AUTH_TOKEN_PATH"]) == own_token()
    assert own_token().stat().st_mode & 0o077 == 0
    assert environment["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"
    assert environment.items() >= HEALTH_CHECK.items()
    assert (attachment(), found.address) == (found, f"127.0.0.1:{port}")


def test_an_address_opens_it_to_others_on_the_ports_that_are_asked_for(ray: PlayedRay) -> None:
    start(Offer("pc", host="10.0.0.7", ports="20000-20015", cpus=4, gpus=1), free_port())
    assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" not in ray.environments[-1]
    flags = ray.flags()
    assert {"--node-ip-address=10.0.0.7", "--num-cpus=4", "--num-gpus=1"} <= set(flags)
    ports = {
        int(flag.rpartition("=")[2])
        for flag in flags
        if "-port=" in flag and not flag.startswith(("--port", "--dashboard-port"))
    }
    assert ports == {*range(20000, 20007), 20015}


def test_settings_of_the_environment_stay(ray: PlayedRay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_health_check_period_ms", "77")
    start(Offer("pc"), free_port())
    assert ray.environments[-1]["RAY_health_check_period_ms"] == "77"


def test_temporary_files_of_a_node_s_processes_go_with_its_folder(ray: PlayedRay) -> None:
    """Torch makes a folder in each worker. Locks of GPUs stay where the host's sweeps meet."""
    own = start(Offer("pc"), free_port())
    environment = ray.environments[-1]
    assert environment["TMPDIR"] == f"{own.folder}/t"
    assert Path(environment["TMPDIR"]).is_dir()
    assert environment["ORCHESTRATOR_HOST_TEMP"] == tempfile.gettempdir()


def test_a_node_joins_with_the_head_s_token(ray: PlayedRay, head: str, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n")
    found = join(head, Offer("colab"), token)
    assert (found.head, found.host, found.machine) == (False, "127.0.0.1", "colab")
    assert ray.flags()[0] == f"--address={head}"
    assert own_token().read_text() == TOKEN
    assert own_token().stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("text", ["", "short", "\x00" * 64, "a b" * 20])
def test_what_is_no_token_is_not_taken(
    ray: PlayedRay, head: str, tmp_path: Path, text: str
) -> None:
    before = own_token().read_text()
    (tmp_path / "token").write_text(text)
    for token in (tmp_path / "token", tmp_path / "none"):
        with pytest.raises(UserError, match="--token-file"):
            join(head, Offer("colab"), token)
    assert own_token().read_text() == before
    assert ray.commands == []


def test_a_sweep_on_this_machine_s_cluster_knows_its_token(
    ray: PlayedRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = start(Offer("pc"), free_port())
    monkeypatch.setattr(os, "environ", {"ORCHESTRATOR_CACHE": os.environ["ORCHESTRATOR_CACHE"]})
    set_environment("127.0.0.1:1")
    assert "RAY_AUTH_MODE" not in os.environ, "another cluster may have another"
    set_environment(found.address)
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert ray.commands


def test_one_node_a_machine(ray: PlayedRay, head: str) -> None:
    start(Offer("pc"), free_port())
    for again in (lambda: start(Offer("pc"), free_port()), lambda: join(head, Offer("pc"), None)):
        with pytest.raises(
            UserError,
            match=r"a node of the cluster at \S+ since .* with `orchestrator cluster stop`",
        ):
            again()
    assert len(ray.commands) == 1


def test_stop_ends_its_own_processes_and_no_other(ray: PlayedRay, tmp_path: Path) -> None:
    found = start(Offer("pc"), free_port())
    with processes("import time; time.sleep(600)") as begin:
        other = begin(str(tmp_path / "orchn-other"))
        stop()
        assert other.poll() is None
    left = [
        p
        for p in psutil.process_iter(["cmdline"])
        if found.folder in " ".join(p.info["cmdline"] or ())
    ]
    assert [p for p in left if p.status() != psutil.STATUS_ZOMBIE] == []
    assert not Path(found.folder).exists()
    assert attachment() is None
    with pytest.raises(UserError, match="this machine is in no cluster"):
        stop()


def test_a_node_that_died_is_forgotten(ray: PlayedRay) -> None:
    """As after a restart of the machine."""
    first = start(Offer("pc"), free_port())
    node.end_processes(Path(first.folder))
    second = start(Offer("pc"), free_port())
    assert second.folder != first.folder
    assert not Path(first.folder).exists()
    assert len(ray.commands) == 2


def test_a_file_that_says_nothing_is_no_node(ray: PlayedRay) -> None:
    attachment_file().parent.mkdir(parents=True)
    for content in (b"", b"{}", b"\xff" * 9000):
        attachment_file().write_bytes(content)
        assert attachment() is None
    assert ray.commands == []


def test_ray_s_reason_is_told_and_nothing_is_left(ray: PlayedRay, tmp_path: Path) -> None:
    ray.fails = "Traceback\n  more\n\x1b[31mRuntimeError: no memory\x1b[0m\nbye"
    with pytest.raises(UserError, match=r"^ray start: RuntimeError: no memory$"):
        start(Offer("pc"), free_port())
    assert attachment() is None
    assert not list(tmp_path.glob("orchn-*"))


def test_a_port_that_is_taken(ray: PlayedRay, head: str) -> None:
    with pytest.raises(UserError, match=r"another program listens at 127\.0\.0\.1"):
        start(Offer("pc"), int(head.rpartition(":")[2]))
    assert ray.commands == []


@pytest.mark.parametrize(
    "ports",
    ["", "20000", "20100-20000", "20000-20010", "80-9000", "60000-70000", "a-b", "20000-20100;x"],
)
def test_ports_that_make_no_sense(ray: PlayedRay, ports: str) -> None:
    with pytest.raises(UserError, match=rf"--ports .* at least {LEAST_PORTS} ports"):
        start(Offer("pc", ports=ports), free_port())
    assert ray.commands == []


def test_a_machines_file_says_where_it_listens_and_flags_beat_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "clusters").mkdir()
    text = "name: lab\naccelerator: cpu\nlisten: {host: 10.0.0.7, ports: 20000-20100}\n"
    (tmp_path / "clusters" / "lab.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    given = {"host": None, "ports": None, "cpus": None, "gpus": None}
    assert _offer("lab", **given) == Offer("lab", host="10.0.0.7", ports="20000-20100")
    assert _offer("lab", **(given | {"host": "10.0.0.8", "cpus": 2})) == Offer(
        "lab", "10.0.0.8", "20000-20100", 2
    )
    assert _offer("cpu", **given) == Offer("cpu"), "loopback, any port"
    assert "listen" not in read_machine("lab")[0].model_dump(), "addresses stay out of data sets"


def test_ports_of_a_file_that_make_no_sense_are_told_with_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "clusters").mkdir()
    (tmp_path / "clusters" / "lab.yaml").write_text(
        "name: lab\naccelerator: cpu\nlisten: {ports: 20000-20003}\n"
    )
    monkeypatch.chdir(tmp_path)
    given = {"host": None, "cpus": None, "gpus": None}
    with pytest.raises(
        UserError, match=r"lab\.yaml:3:17: \$\.listen\.ports: 20000-20003: write it as LOW-HIGH"
    ):
        _offer("lab", ports=None, **given)
    assert _offer("lab", ports="20000-20100", **given).ports == "20000-20100"
