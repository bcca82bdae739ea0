"""This machine as a node of a Ray cluster: start one, join one, leave it; thin over `ray start`.

A node is told by its own folder: its processes carry it on their command lines, and `stop` ends these and no others (`ray
stop` would end every Ray of the user). Nothing listens beyond loopback unless an address is given.
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

from orchestrator.dataset.paths import write_atomically
from orchestrator.errors import UserError
from orchestrator.tune.own_cluster import Attachment, attachment, attachment_file
from orchestrator.tune.session import LOOPBACK, LOOPBACK_ONLY, check_answers, own_token
from orchestrator.tune.temp_folders import end_processes, processes_of, scratch_base
from orchestrator.yaml_files import short

HEALTH_CHECK = {
    "RAY_health_check_initial_delay_ms": "3000",
    "RAY_health_check_period_ms": "3000",
    "RAY_health_check_timeout_ms": "5000",
    "RAY_health_check_failure_threshold": "4",
}
"""Of the head: a host that is cut off counts as lost after half a minute (Ray's default: a minute), a busy one doesn't."""
OBJECT_STORE_BYTES = 200_000_000
"""Rows only: no weights travel through it."""
DASHBOARD_PORT = 8265
"""Ray's own; another Ray of this host may have it, and then it is the next that is free."""
START_S = 120.0
"""`ray start` gives up by itself after half a minute a step."""
FIXED_PORTS = (
    "node-manager-port",
    "object-manager-port",
    "runtime-env-agent-port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "metrics-export-port",
)
"""What a node listens on besides its workers' ports and the head's."""
LEAST_PORTS = len(FIXED_PORTS) + 10


@dataclass(frozen=True)
class Offer:
    """What this machine gives to a cluster, and where it listens; None: Ray's choice."""

    machine: str
    host: str | None = None
    ports: str | None = None
    """LOW-HIGH."""
    cpus: int | None = None
    gpus: int | None = None


def start(offer: Offer, port: int) -> Attachment:
    """Make this machine the head of a new cluster. Raises UserError."""
    host = offer.host or LOOPBACK
    _refuse_two()
    if _answers(host, port):
        raise UserError(
            f"--port {port}: something answers at {host}:{port} already; take another port"
        )
    free = next(
        (p for p in range(DASHBOARD_PORT, DASHBOARD_PORT + 100) if not _answers(LOOPBACK, p)),
        DASHBOARD_PORT,
    )
    dashboard = [
        "--include-dashboard=true",
        "--dashboard-host=127.0.0.1",
        f"--dashboard-port={free}",
    ]
    found = _attachment(f"{host}:{port}", host, offer, head=True)
    _ray_start(["--head", f"--port={port}", *dashboard], found, offer)
    return found


def join(address: str, offer: Offer, token: Path | None) -> Attachment:
    """Make this machine a node of the cluster whose head is at `address`. Raises UserError."""
    check_answers(address)
    _refuse_two()
    if token is not None:
        _take_token(token)
    found = _attachment(address, offer.host or _own_address(address), offer, head=False)
    _ray_start([f"--address={address}"], found, offer)
    return found


def stop() -> Attachment:
    """End this machine's node and nothing else. Raises UserError where there is none."""
    found = attachment()
    if found is None:
        raise UserError(
            "no node was started here; `orchestrator cluster start` or `join` starts one"
        )
    folder = Path(found.folder)
    end_processes(folder)
    shutil.rmtree(folder, ignore_errors=True)
    attachment_file().unlink(missing_ok=True)
    return found


def _refuse_two() -> None:
    found = attachment()
    if found and processes_of(Path(found.folder)):
        raise UserError(
            f"this machine is a node of the cluster at {found.address} since {found.since}; `orchestrator cluster stop` ends it"
        )
    if found:  # it was killed, or the machine started anew
        stop()


def _attachment(address: str, host: str, offer: Offer, *, head: bool) -> Attachment:
    return Attachment(
        address=address,
        host=host,
        machine=offer.machine,
        head=head,
        folder=tempfile.mkdtemp(prefix="orchn-", dir=scratch_base()),
        since=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _ray_start(flags: list[str], found: Attachment, offer: Offer) -> None:
    """Run `ray start` and write down what it started. Raises UserError with Ray's reason."""
    offered = [
        f"--num-{name}={n}"
        for name, n in (("cpus", offer.cpus), ("gpus", offer.gpus))
        if n is not None
    ]
    command = [
        *(
            sys.executable,
            "-m",
            "ray.scripts.scripts",
            "start",
            *flags,
            *port_flags(offer.ports),
            *offered,
        ),
        *(
            f"--node-ip-address={found.host}",
            f"--labels=machine={found.machine}",
            f"--temp-dir={found.folder}/ray",
        ),
        *(f"--object-store-memory={OBJECT_STORE_BYTES}", "--disable-usage-stats"),
    ]
    write_atomically(attachment_file(), found.model_dump_json().encode())
    try:
        done = subprocess.run(  # noqa: S603 - Ray's own command
            command,
            env=_environment(found),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=START_S,
            check=False,
        )
        faults = [] if done.returncode == 0 else _reasons(done.stderr + done.stdout)
    except (OSError, subprocess.TimeoutExpired) as error:
        faults = [f"ray start: {error}"]
    if faults:
        stop()
        raise UserError(*faults)


def _environment(found: Attachment) -> dict[str, str]:
    own = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(own_token()),
        "RAY_USAGE_STATS_ENABLED": "0",
        **({} if found.host != LOOPBACK else LOOPBACK_ONLY),
    }
    return HEALTH_CHECK | dict(os.environ) | own


def _reasons(said: str) -> list[str]:
    """What Ray gives as its reason, on one line."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in said.splitlines()]
    errors = [line for line in lines if "Error" in line or "error" in line] or [
        line for line in lines if line
    ][-1:]
    return [f"ray start: {short(errors[-1]) if errors else 'failed without a word'}"]


def port_flags(text: str | None, where: str = "--ports") -> list[str]:
    """`20000-20100` -> Ray's flags, so that a firewall needs to know one range. Raises UserError; `where` it was said."""
    if text is None:
        return []
    found = re.fullmatch(r"(\d{4,5})-(\d{4,5})", text, re.ASCII)
    low, high = map(int, found.groups()) if found else (0, 0)
    if not (found and low >= 1024 and high < 2**16 and high - low + 1 >= LEAST_PORTS):  # noqa: PLR2004 - 1024: the user's
        raise UserError(
            f"{where} {short(text)}: write it as LOW-HIGH, at least {LEAST_PORTS} ports within 1024-65535"
        )
    flags = [f"--{name}={low + i}" for i, name in enumerate(FIXED_PORTS)]
    return [*flags, f"--min-worker-port={low + len(FIXED_PORTS)}", f"--max-worker-port={high}"]


def _own_address(address: str) -> str:
    """The address of this machine from which it reaches another one."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=5) as reached:
        return str(reached.getsockname()[0])


def _answers(host: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
        return True
    return False


def _take_token(token: Path) -> None:
    """Put the cluster's token where this machine's own lies. Raises UserError."""
    try:
        text = token.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise UserError(
            f"--token-file {token}: can't be read; copy the file that `cluster start` named"
        ) from error
    if not re.fullmatch(r"[0-9A-Za-z_-]{16,256}", text):
        raise UserError(
            f"--token-file {token}: holds no token; copy the file that `cluster start` named"
        )
    target = own_token()
    with _private(target) as handle:
        os.write(handle, text.encode())


@contextlib.contextmanager
def _private(path: Path) -> Iterator[int]:
    """Open a file anew that only its owner can read."""
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        yield handle
    finally:
        os.close(handle)
