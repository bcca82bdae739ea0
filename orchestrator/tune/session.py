"""Ray: start a private one on this machine, or attach to the cluster the user names.

Never joins a cluster found by chance. A private one is bound to loopback, asks for a token, keeps its files in a folder
of its own that is removed at the end.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.engine.weights import cache_folder
from orchestrator.errors import UserError
from orchestrator.tune.own_cluster import attachment
from orchestrator.tune.temp_folders import remove_orphans, scratch_base, scratch_folder

DASHBOARD_PACKAGES = (
    "aiohttp",
    "aiohttp_cors",
    "opencensus",
    "opentelemetry.exporter.prometheus",
    "prometheus_client",
    "virtualenv",
)
"""What `ray[default]` has over `ray[tune]` and the dashboard can't do without."""

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_DEDUP_LOGS": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_THRESHOLD_S": "60",
    # nothing is restored from Tune's state (the data set is the truth), and writing it grows with the square of the trials
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    "OMP_WAIT_POLICY": "PASSIVE",
}

LOOPBACK_ONLY = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""What Ray does on systems on which it knows no clusters: every port, that of the metrics too, is bound to 127.0.0.1.

Without it Ray turns a node's address 127.0.0.1 into the host's, and most ports listen on all interfaces.
"""

LOOPBACK = "127.0.0.1"

ANSWER_S = 5.0
"""A cluster's port that doesn't answer within this time is taken for dead."""

FOR_THE_DRIVER = {signal.SIGUSR1, signal.SIGHUP}
"""What a batch system or a closing terminal sends to all processes of a job: Ray's are to live on while the driver drains."""


@dataclass(frozen=True)
class Node:
    """What a machine of the cluster offers."""

    cpus: float
    gpus: int
    machine: str | None = None
    """Its label `machine`."""
    host: str = ""
    alive: bool = True
    metrics: str | None = None
    """HOST:PORT where Prometheus finds its metrics."""


@dataclass(frozen=True)
class Session:
    """A Ray to run on."""

    nodes: tuple[Node, ...]
    dashboard: str | None
    """URL, or None where there is no dashboard."""
    token_file: Path | None
    metrics: str | None
    """HOST:PORT of this sweep's metrics: those of the node that the driver is on."""
    storage: Path
    """Tune's scratch folder, removed at the end."""


@contextlib.contextmanager
def _kept_from_children(signals: set[signal.Signals]) -> Iterator[None]:
    """Block signals; processes begun meanwhile, and those that they begin, never get them. Here they come at the end."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def dashboard_available() -> bool:
    """Whether the packages of Ray's dashboard are installed."""
    with contextlib.suppress(ModuleNotFoundError):
        return all(importlib.util.find_spec(name) is not None for name in DASHBOARD_PACKAGES)
    return False


def set_environment(address: str | None) -> None:
    """Set Ray's environment variables, some of which it reads when it is imported: call this before."""
    own = ENVIRONMENT if address else ENVIRONMENT | LOOPBACK_ONLY
    ours = attachment()
    if address and ours and ours.address == address:
        own = own | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(own_token())}
        own |= LOOPBACK_ONLY if ours.host == LOOPBACK else {}
    os.environ.update({name: value for name, value in own.items() if name not in os.environ})
    if "TMPDIR" in os.environ:  # Ray's processes make sockets there, too
        os.environ["TMPDIR"] = str(scratch_base())


@contextlib.contextmanager
def ray_session(address: str | None, n_gpus: int) -> Iterator[Session]:
    """Start or attach, and shut down or detach at the end. Raises UserError where the address doesn't answer."""
    remove_orphans()
    with scratch_folder() as scratch:
        token_file = own_token() if address is None else None
        if token_file:
            # the mode is left to ray.init(), which turns tokens on for a private Ray: set here it might come too late
            os.environ["RAY_AUTH_TOKEN_PATH"] = str(token_file)
        import ray

        _tame()
        try:
            dashboard = _start(scratch, n_gpus) if address is None else _attach(address)
            yield Session(
                nodes=tuple(living_nodes()[0]),
                dashboard=dashboard,
                token_file=token_file,
                metrics=_own_metrics(),
                storage=scratch / "tune",
            )
        finally:
            ray.shutdown()


def _start(scratch: Path, n_gpus: int) -> str | None:
    """A private Ray; gives the dashboard's URL."""
    import ray

    with _kept_from_children(FOR_THE_DRIVER):
        context = ray.init(
            address="local",
            num_cpus=max(os.cpu_count() or 1, n_gpus, 1),
            num_gpus=n_gpus,
            include_dashboard=dashboard_available(),
            dashboard_host="127.0.0.1",
            log_to_driver=False,
            logging_level="ERROR",
            object_store_memory=200 * 2**20,  # rows only: no weights travel through it
            _temp_dir=str(scratch / "ray"),
            _node_ip_address="127.0.0.1",
        )
    return f"http://{context.dashboard_url}" if context.dashboard_url else None


def _tame() -> None:
    """Keep Ray from what no setting forbids.

    It prints the last log lines of a worker or node that died into ours, whatever its log level; the callback tells it in a
    line. And it takes over SIGTERM, so that one that comes while it starts ends the process with an exit code of its own.
    """
    import ray._private.utils
    import ray._private.worker

    ray._private.worker.print_to_stdstream = lambda *_arguments, **_options: None  # noqa: SLF001
    ray._private.utils.set_sigterm_handler = lambda _handler: None  # noqa: SLF001


def own_token() -> Path:
    """Our token, made once; Ray would otherwise write one into the home folder that other commands meet."""
    token_file = cache_folder() / "ray_token"
    if not token_file.exists():
        token_file.parent.mkdir(parents=True, exist_ok=True)
        with (
            contextlib.suppress(FileExistsError),
            os.fdopen(os.open(token_file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as f,
        ):
            f.write(secrets.token_hex(32))
    return token_file


def check_answers(address: str) -> None:
    """Try the port first: Ray itself takes minutes to give up. Raises UserError."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if address == "auto":
        return
    if not colon or not port.isdigit():
        raise UserError(
            f"--address {address}: write it as HOST:PORT, as `orchestrator cluster start` prints it"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            f"--address {address}: no Ray cluster answers there ({error}); start one with `orchestrator cluster start`"
        ) from error


def _node(found: dict[str, Any]) -> Node:
    offer = found["Resources"]
    return Node(
        cpus=offer.get("CPU", 0.0),
        gpus=int(offer.get("GPU", 0)),
        machine=found["Labels"].get("machine"),
        host=found["NodeManagerAddress"],
        alive=found["Alive"],
        metrics=f"{found['NodeManagerAddress']}:{found['MetricsExportPort']}"
        if found.get("MetricsExportPort")
        else None,
    )


def nodes_of(address: str) -> list[Node]:
    """The nodes of a cluster, dead ones too. Raises UserError where it doesn't answer."""
    import ray

    with ray_session(address, 0):
        return [_node(node) for node in ray.nodes()]


def kinds_of(address: str) -> tuple[str, ...]:
    """The kinds of machine that a cluster has now, by its nodes' labels. Raises UserError where a node carries none."""
    labels = {node.machine for node in nodes_of(address) if node.alive and (node.cpus or node.gpus)}
    if None in labels or not labels:
        raise UserError(
            f"--machine each: a node of the cluster at {address} doesn't say which machine it is; "
            "join it with `orchestrator cluster join --machine NAME`"
        )
    return tuple(sorted(label for label in labels if label))


def living_nodes() -> tuple[list[Node], bool]:
    """The nodes that the cluster counts on now, and whether the one that this process is attached to is among them."""
    import ray

    own = ray.get_runtime_context().get_node_id()
    alive = [node for node in ray.nodes() if node["Alive"]]
    return [_node(node) for node in alive], any(node["NodeID"] == own for node in alive)


def _own_metrics() -> str | None:
    import ray

    own = ray.get_runtime_context().get_node_id()
    return next((_node(node).metrics for node in ray.nodes() if node["NodeID"] == own), None)


def _attach(address: str) -> str | None:
    import ray

    try:
        context = ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"--address {address}: no Ray cluster answers there ({reason}); start one with `orchestrator cluster start`, "
            "and set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH where another one asks for a token"
        ) from error
    return f"http://{context.dashboard_url}" if context.dashboard_url else None
