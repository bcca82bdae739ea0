"""Ray sessions: start a private Ray on this machine, or attach to the cluster that the user names.

Never attaches to a cluster that only happens to run here. A private Ray listens on loopback only,
asks for a token, and keeps its files in a folder of its own that is removed at the end.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator import process_end
from orchestrator.engine.cache import cache_folder
from orchestrator.errors import TryAgainError, UserError
from orchestrator.ray_tune.halt import held_back
from orchestrator.ray_tune.head_guard import head_guarded
from orchestrator.ray_tune.leftovers import remove_leftovers
from orchestrator.ray_tune.own_cluster import attachment
from orchestrator.ray_tune.ray_environment import LOOPBACK_ONLY, RAY_DEFAULTS, only_needed
from orchestrator.ray_tune.temp_folders import (
    end_processes,
    scratch_base,
    scratch_folder,
    temporary_files_in,
)
from orchestrator.unknowns import known

DASHBOARD_PACKAGES = (
    "aiohttp",
    "aiohttp_cors",
    "opencensus",
    "opentelemetry.exporter.prometheus",
    "prometheus_client",
    "virtualenv",
)
"""Packages that the dashboard needs and that come with `ray[default]`, but not with `ray[tune]`."""

ENVIRONMENT = RAY_DEFAULTS | {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_DEDUP_LOGS": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_THRESHOLD_S": "60",
    # Tune's state is never restored, since a resumed sweep reads the data set, and the time to
    # write it grows with the square of the number of trials
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    "OMP_WAIT_POLICY": "PASSIVE",
}
"""Environment variables of Ray and Tune, where the user hasn't set them."""

LOOPBACK = "127.0.0.1"

HOST_RESOURCE = "energy_host"
"""A resource of which a node offers one, so that trials that ask for it (--isolation host) never
run on a host at once."""

OWN_TOKEN = ("RAY_AUTH_TOKEN",)
"""Holds the token of a cluster that the user names, for this process only."""

ANSWER_S = 5.0
"""A cluster whose port doesn't answer within this time counts as dead."""


@dataclass(frozen=True)
class Node:
    """A node of a Ray cluster and what it offers."""

    cpus: float
    gpus: int
    machine: str | None = None
    """Kind of machine, by the node's label `machine`; None where it has none."""
    host: str = ""
    """Address of the node."""
    alive: bool = True
    metrics: str | None = None
    """HOST:PORT of the node's metrics for Prometheus; None where it exports none."""
    isolates: bool = False
    """Whether it offers HOST_RESOURCE, as those do that this program started."""

    def can_run(self) -> bool:
        """Whether it lives and offers anything to a trial; a head may offer nothing."""
        return self.alive and (self.gpus > 0 or self.cpus > 0)


@dataclass(frozen=True)
class Session:
    """A Ray on which a sweep can run."""

    nodes: tuple[Node, ...]
    dashboard: str | None
    """URL; None where there is no dashboard."""
    token_file: Path | None
    """Holds the token of a private Ray; None for a cluster that the user named."""
    metrics: str | None
    """HOST:PORT of this sweep's metrics, which the driver's node exports."""
    storage: Path
    """Tune's scratch folder, removed at the end."""


def dashboard_available() -> bool:
    """Whether the packages of Ray's dashboard are installed."""
    with contextlib.suppress(ModuleNotFoundError):
        return all(importlib.util.find_spec(name) is not None for name in DASHBOARD_PACKAGES)
    return False


def set_environment(address: str | None) -> None:
    """Set Ray's environment variables; call this before Ray is imported, when it reads some.

    `address`: the cluster to attach to; None for a private Ray. Variables that are set are kept.
    """
    variables = dict(ENVIRONMENT)
    own = attachment()
    if address is None:
        variables |= LOOPBACK_ONLY
    elif own and own.address == address:  # the cluster was started or joined by this program
        variables |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(own_token())}
        if own.host == LOOPBACK:
            variables |= LOOPBACK_ONLY
    for name, value in variables.items():
        os.environ.setdefault(name, value)
    if "TMPDIR" in os.environ:  # Ray's processes make sockets there, whose paths must be short
        os.environ["TMPDIR"] = str(scratch_base())


@contextlib.contextmanager
def ray_session(address: str | None, n_gpus: int) -> Iterator[Session]:
    """Start a private Ray with `n_gpus` GPUs, or attach to the cluster at an address.

    At the end the private Ray is shut down, or the cluster left. Raises UserError where the address
    doesn't answer or Ray can't run in this folder, and TryAgainError where the private Ray doesn't
    start in time.
    """
    _check_working_folder()
    remove_leftovers()
    with scratch_folder() as scratch, only_needed(besides=() if address is None else OWN_TOKEN):
        token_file = None
        if address is None:
            token_file = own_token()
            # RAY_AUTH_MODE isn't set here, where it could come too late: ray.init() turns tokens on
            # for a private Ray
            os.environ["RAY_AUTH_TOKEN_PATH"] = str(token_file)
        _override_ray()
        with head_guarded(scratch) if address is None else contextlib.nullcontext():
            try:
                with held_back():
                    dashboard = _start(scratch, n_gpus) if address is None else _attach(address)
                yield Session(
                    nodes=tuple(living_nodes()[0]),
                    dashboard=dashboard,
                    token_file=token_file,
                    metrics=_own_metrics(),
                    storage=scratch / "tune",
                )
            finally:
                with held_back():
                    _end()
                    if address is None:
                        end_processes(scratch)


def _check_working_folder() -> None:
    """Raise UserError where Ray, which notes it as UTF-8, can't name the working folder."""
    folder = Path.cwd()
    try:
        str(folder).encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"{folder}: Ray can't run in this folder, since its name isn't in the encoding of the "
            f"locale ({sys.getfilesystemencoding()}); work in another folder, or set LC_ALL=C.UTF-8"
        ) from error


def _dashboard_url(host_and_port: str | None) -> str | None:
    """The URL of a dashboard at HOST:PORT; None where there is none."""
    if not host_and_port:
        return None
    return f"http://{host_and_port}"


def _start(scratch: Path, n_gpus: int) -> str | None:
    """Start a private Ray; returns the URL of its dashboard, None where it has none.

    Raises TryAgainError where Ray doesn't start in its time, half a minute a step.
    """
    import ray
    import ray._private.worker

    try:
        with temporary_files_in(scratch / "t"):
            context = ray.init(
                address="local",
                # each trial asks for a CPU, even where there are fewer CPUs than GPUs
                num_cpus=max(os.cpu_count() or 1, n_gpus, 1),
                num_gpus=n_gpus,
                resources={HOST_RESOURCE: 1},
                include_dashboard=dashboard_available(),
                dashboard_host="127.0.0.1",
                log_to_driver=False,
                logging_level="CRITICAL",
                object_store_memory=200 * 2**20,  # only rows travel through it, never weights
                _temp_dir=str(scratch / "ray"),
                _node_ip_address="127.0.0.1",
            )
    except Exception as error:  # Ray raises plain Exception for a timeout
        reason = str(error).strip().partition("\n")[0]
        raise TryAgainError(
            f"Ray didn't start ({reason}); nothing was run, so try the same command again when "
            "the host is less busy"
        ) from error
    # Ray ends its processes one after the other, and waits a second for each that blocks SIGTERM
    ray._private.worker._global_node.kill_all_processes = lambda **_: end_processes(scratch)  # noqa: SLF001
    return _dashboard_url(context.dashboard_url)


def head_answers() -> bool:
    """Whether the head of the cluster takes connections.

    Ray's own calls wait a minute for a dead head, and then end the process.
    """
    import ray

    host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
    # asked twice: a busy host may miss a call
    return any(answers(host.strip("[]"), int(port)) for _ in range(2))


def answers(host: str, port: int, within_s: float = ANSWER_S) -> bool:
    """Whether a port takes connections within a time."""
    try:
        socket.create_connection((host, port), timeout=within_s).close()
    except OSError:
        return False
    return True


def _end() -> None:
    """Leave Ray; a private one ends. One whose head died is only left behind: nothing answers."""
    import ray

    if not ray.is_initialized():
        return
    if head_answers():
        ray.shutdown()
    else:
        # on exit, too, Ray waits for the head
        process_end.will_hang()


def _override_ray() -> None:
    """Change four things that Ray does and that no setting changes.

    It prints the last log lines of a worker or node that died, whatever the log level; the callback
    says that in one line. It handles SIGTERM, so that this signal, while Ray starts, would end
    the process with an exit code of Ray's. And its processes share the driver's process group, so
    that they get its signals: each is to have a session of its own. (What a batch system sends to
    every process of a job, they never get: `held_back`.) It notes the command line as UTF-8, which
    a path in it need not be.
    """
    import ray._private.services
    import ray._private.utils
    import ray._private.worker

    ray._private.worker.print_to_stdstream = lambda *_arguments, **_options: None  # noqa: SLF001
    ray._private.utils.set_sigterm_handler = lambda _handler: None  # noqa: SLF001
    ray._private.utils.get_entrypoint_name = lambda: "orchestrator tune"  # noqa: SLF001
    own_session = functools.partial(subprocess.Popen, start_new_session=True)
    ray._private.services.ConsolePopen = own_session  # noqa: SLF001


def own_token() -> Path:
    """The file of this user's Ray token, which is made once.

    Without it Ray would write a token into the home folder, where other programs would use it.
    """
    token_file = cache_folder() / "ray_token"
    if not token_file.exists():
        # of two programs that start at once the first one's token stands, hence O_EXCL
        token_file.parent.mkdir(parents=True, exist_ok=True)
        with (
            contextlib.suppress(FileExistsError),
            os.fdopen(os.open(token_file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as f,
        ):
            f.write(secrets.token_hex(32))
    return token_file


def check_answers(address: str) -> None:
    """Raise UserError where no port answers at an address; Ray itself takes minutes to give up."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    # Ray looks for that address itself
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
            f"--address {address}: no Ray cluster answers there ({error}); "
            "start one with `orchestrator cluster start`"
        ) from error


def _node(described: dict[str, Any]) -> Node:
    """A node as ray.nodes() describes it."""
    resources = described["Resources"]
    host = described["NodeManagerAddress"]
    metrics = None
    if described.get("MetricsExportPort"):
        metrics = f"{host}:{described['MetricsExportPort']}"
    return Node(
        cpus=resources.get("CPU", 0.0),
        gpus=int(resources.get("GPU", 0)),
        machine=described["Labels"].get("machine"),
        host=host,
        alive=described["Alive"],
        metrics=metrics,
        isolates=resources.get(HOST_RESOURCE, 0) >= 1,
    )


def nodes_of(address: str) -> list[Node]:
    """The nodes of the cluster at an address, dead ones too. Raises UserError."""
    import ray

    with ray_session(address, 0):
        return [_node(node) for node in ray.nodes()]


def kinds_of(address: str) -> tuple[str, ...]:
    """The kinds of machine in a cluster now, by its nodes' labels, sorted.

    Raises UserError where a living node has no label.
    """
    able = [node for node in nodes_of(address) if node.can_run()]
    labels = {node.machine for node in able}
    if None in labels or not labels:
        raise UserError(
            f"--machine each: a node of the cluster at {address} has no label `machine`; "
            "join it with `orchestrator cluster join --machine NAME`"
        )
    return tuple(sorted(known(labels)))


def living_nodes() -> tuple[list[Node], bool]:
    """The cluster's living nodes, and whether the node of this process is one of them."""
    import ray

    own = ray.get_runtime_context().get_node_id()
    alive = [node for node in ray.nodes() if node["Alive"]]
    own_lives = any(
        node["NodeID"] == own and answers(node["NodeManagerAddress"], node["NodeManagerPort"])
        for node in alive
    )  # the head takes a quarter of a minute to notice
    return [_node(node) for node in alive], own_lives


def _own_metrics() -> str | None:
    """HOST:PORT of the metrics of this process's node; None where it exports none."""
    import ray

    own = ray.get_runtime_context().get_node_id()
    for node in ray.nodes():
        if node["NodeID"] == own:
            return _node(node).metrics
    return None


def _attach(address: str) -> str | None:
    """Attach to a cluster; returns the URL of its dashboard, None where it has none.

    Raises UserError where no cluster answers, or it asks for another token.
    """
    import ray

    try:
        context = ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"--address {address}: no Ray cluster answers there ({reason}); start one with "
            "`orchestrator cluster start`, or set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH if "
            "that cluster asks for a token"
        ) from error
    return _dashboard_url(context.dashboard_url)
