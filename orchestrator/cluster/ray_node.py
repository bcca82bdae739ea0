"""This machine as a node of a Ray cluster: start, join or leave one; a layer on `ray start`.

Each node has a folder of its own, whose path is on the command lines of its processes. `stop` ends
those processes only, since `ray stop` would end every Ray of the user. Nothing listens beyond
loopback unless an address is given.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.atomic_files import write_atomically
from orchestrator.errors import UserError
from orchestrator.outside_files import first_bytes
from orchestrator.ray_tune.own_cluster import Attachment, attachment, attachment_file
from orchestrator.ray_tune.ray_environment import LOOPBACK_ONLY, RAY_DEFAULTS, needed
from orchestrator.ray_tune.session import (
    HOST_RESOURCE,
    LOOPBACK,
    answers,
    check_answers,
    own_token,
)
from orchestrator.ray_tune.temp_folders import (
    end_processes,
    processes_of,
    scratch_base,
    temporary_files_in,
)
from orchestrator.yaml_files import short

HEALTH_CHECK = {
    "RAY_health_check_initial_delay_ms": "3000",
    "RAY_health_check_period_ms": "3000",
    "RAY_health_check_timeout_ms": "5000",
    "RAY_health_check_failure_threshold": "4",
}
"""How the head checks its nodes: one that is cut off counts as lost after half a minute.

Ray's default is a minute. A shorter time would lose nodes that are only busy.
"""
OBJECT_STORE_BYTES = 200_000_000
"""Enough, since only rows travel through Ray's object store, never weights."""
DASHBOARD_PORT = 8265
"""Ray's default; if another Ray on this host uses it, the next free port is taken."""
FREE_S = 1.0
"""A port that doesn't answer within this time counts as free."""
START_S = 120.0
"""How long `ray start` may take; it gives up by itself after half a minute a step."""
FIXED_PORTS = (
    "node-manager-port",
    "object-manager-port",
    "runtime-env-agent-port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "metrics-export-port",
)
"""Ports on which every node listens, besides those of its workers and of the head."""
LEAST_PORTS = len(FIXED_PORTS) + 10
"""Fewest ports a range must have: the fixed ones and some for workers."""


@dataclass(frozen=True)
class Offer:
    """What this machine offers to a cluster, and where it listens; None: Ray decides."""

    machine: str
    host: str | None = None
    ports: str | None = None
    """A range, LOW-HIGH."""
    cpus: int | None = None
    gpus: int | None = None


def start(offer: Offer, port: int) -> Attachment:
    """Make this machine the head of a new cluster.

    `port`: where other machines join. The dashboard listens on 127.0.0.1 only.

    Raises UserError where this machine is in a cluster already, the port is taken, or Ray doesn't
    start.
    """
    host = offer.host or LOOPBACK
    _refuse_second_node()
    if answers(host, port, FREE_S):
        raise UserError(
            f"--port {port}: another program listens at {host}:{port}; choose another port"
        )
    dashboard = [
        "--include-dashboard=true",
        "--dashboard-host=127.0.0.1",
        f"--dashboard-port={_dashboard_port()}",
    ]
    own = _attachment(f"{host}:{port}", host, offer, head=True)
    _ray_start(["--head", f"--port={port}", *dashboard], own, offer)
    return own


def _dashboard_port() -> int:
    """The first free port from Ray's default on; the default itself if 100 are taken."""
    for port in range(DASHBOARD_PORT, DASHBOARD_PORT + 100):
        if not answers(LOOPBACK, port, FREE_S):
            return port
    return DASHBOARD_PORT


def join(address: str, offer: Offer, token: Path | None) -> Attachment:
    """Make this machine a node of the cluster whose head is at `address`.

    `address`: HOST:PORT. `token`: a copy of the head's token file; None where this user's own token
    is the same.

    Raises UserError where nothing answers, this machine is in a cluster already, the token can't be
    read, or Ray doesn't start.
    """
    check_answers(address)
    _refuse_second_node()
    if token is not None:
        _take_token(token)
    own = _attachment(address, offer.host or _own_address(address), offer, head=False)
    _ray_start([f"--address={address}"], own, offer)
    return own


def stop() -> Attachment:
    """End this machine's node and nothing else. Raises UserError where there is none."""
    own = attachment()
    if own is None:
        raise UserError(
            "this machine is in no cluster; start or join one with `orchestrator cluster start` or "
            "`orchestrator cluster join`"
        )
    folder = Path(own.folder)
    end_processes(folder)
    shutil.rmtree(folder, ignore_errors=True)
    attachment_file().unlink(missing_ok=True)
    return own


def _refuse_second_node() -> None:
    """Raise UserError where this machine has a living node; tidy up after a dead one."""
    own = attachment()
    if own is None:
        return
    if processes_of(Path(own.folder)):
        raise UserError(
            f"this machine has been a node of the cluster at {own.address} since {own.since}; "
            "leave it first with `orchestrator cluster stop`"
        )
    stop()  # the node was killed, or the machine was restarted


def _attachment(address: str, host: str, offer: Offer, *, head: bool) -> Attachment:
    """A new node with a folder of its own."""
    return Attachment(
        address=address,
        host=host,
        machine=offer.machine,
        head=head,
        folder=tempfile.mkdtemp(prefix="orchn-", dir=scratch_base()),
        since=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _ray_start(flags: list[str], own: Attachment, offer: Offer) -> None:
    """Run `ray start` after recording the node. Raises UserError with Ray's reason."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", *flags]
    command += port_flags(offer.ports)
    if offer.cpus is not None:
        command.append(f"--num-cpus={offer.cpus}")
    if offer.gpus is not None:
        command.append(f"--num-gpus={offer.gpus}")
    command += [
        f"--node-ip-address={own.host}",
        f"--labels=machine={own.machine}",
        f'--resources={{"{HOST_RESOURCE}": 1}}',
        f"--temp-dir={own.folder}/ray",
        f"--object-store-memory={OBJECT_STORE_BYTES}",
        "--disable-usage-stats",
    ]
    # recorded before it starts, so that `stop` finds its processes whatever happens
    write_atomically(attachment_file(), own.model_dump_json().encode())
    reason = None
    try:
        with temporary_files_in(Path(own.folder) / "t"):
            done = subprocess.run(  # noqa: S603 - Ray's own command
                command,
                env=_environment(own),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=START_S,
                check=False,
                start_new_session=True,  # a signal to this process's group is not for Ray
            )
        if done.returncode != 0:
            reason = _reason(done.stderr + done.stdout)
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = str(error)
    # a failed start may leave processes behind
    if reason is not None:
        stop()
        raise UserError(f"ray start: {reason}")


def _environment(own: Attachment) -> dict[str, str]:
    """Environment variables for `ray start`, which no secret of the user's is among."""
    fixed = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(own_token())}
    if own.host == LOOPBACK:
        fixed |= LOOPBACK_ONLY
    # the user may change how nodes are checked, but not that the cluster asks for a token
    return HEALTH_CHECK | RAY_DEFAULTS | needed(os.environ) | fixed


def _reason(output: str) -> str:
    """Why `ray start` failed, on one line: its last line with an error, else its last line."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", output)  # without colours
    lines = list(filter(None, map(str.strip, plain.splitlines())))
    errors = [line for line in lines if "error" in line.lower()]
    reasons = errors or lines or ["failed without giving a reason"]
    return short(reasons[-1])


def port_flags(text: str | None, where: str = "--ports") -> list[str]:
    """Flags of `ray start` for a range such as `20000-20100`, so that a firewall needs one rule.

    Raises UserError where the range is malformed or too small; `where` names its source.
    """
    if text is None:
        return []
    match = re.fullmatch(r"(\d{4,5})-(\d{4,5})", text, re.ASCII)
    low, high = 0, 0
    if match:
        low, high = int(match[1]), int(match[2])
    # ports below 1024 need root
    if low < 1024 or high >= 2**16 or high - low + 1 < LEAST_PORTS:  # noqa: PLR2004
        raise UserError(
            f"{where} {short(text)}: write it as LOW-HIGH, at least {LEAST_PORTS} ports within "
            "1024-65535"
        )
    flags = [f"--{name}={low + i}" for i, name in enumerate(FIXED_PORTS)]
    return [*flags, f"--min-worker-port={low + len(FIXED_PORTS)}", f"--max-worker-port={high}"]


def _own_address(address: str) -> str:
    """This machine's address as the machine at `address` sees it."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=5) as reached:
        return str(reached.getsockname()[0])


def _take_token(token: Path) -> None:
    """Replace this user's token by the cluster's. Raises UserError where the file holds none."""
    try:
        text = first_bytes(token, 4096).decode("ascii").strip()
    except (OSError, ValueError) as error:
        raise UserError(
            f"--token-file {token}: can't be read; copy the token file that `cluster start` names"
        ) from error
    if not re.fullmatch(r"[0-9A-Za-z_-]{16,256}", text):
        raise UserError(
            f"--token-file {token}: holds no token; copy the token file that `cluster start` names"
        )
    target = own_token()
    with _private(target) as handle:
        os.write(handle, text.encode())


@contextlib.contextmanager
def _private(path: Path) -> Iterator[int]:
    """A handle to a new file that only its owner can read; an old one of the name is removed."""
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        yield handle
    finally:
        os.close(handle)
