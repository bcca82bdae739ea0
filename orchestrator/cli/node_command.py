"""`cluster start`, `join`, `status` and `stop`: attach machines to one Ray cluster."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from orchestrator.cli.terminal import tell
from orchestrator.units import plural
from orchestrator.yaml_files import located

if TYPE_CHECKING:
    from orchestrator.cluster.ray_node import Offer
    from orchestrator.ray_tune.session import Node

F = TypeVar("F", bound=Callable[..., Any])

PORTS = click.option(
    "--ports",
    metavar="LOW-HIGH",
    help="Listen on these ports only, for a firewall. [default: the machine's file, else any free]",
)
CPUS = click.option(
    "--cpus", type=click.IntRange(1), metavar="N", help="CPUs to offer. [default: all]"
)
GPUS = click.option(
    "--gpus", type=click.IntRange(0), metavar="N", help="GPUs to offer. [default: all]"
)
MACHINE = click.option(
    "--machine", metavar="NAME", help="Kind of machine, a file in clusters/. [default: detected]"
)


@click.command()
@MACHINE
@click.option(
    "--host",
    metavar="ADDRESS",
    help="Address at which other machines reach this one. "
    "[default: the machine's file, else 127.0.0.1]",
)
@click.option(
    "--port",
    type=click.IntRange(1024, 65535),
    default=6379,
    show_default=True,
    metavar="PORT",
    help="Port on which other machines join.",
)
@PORTS
@CPUS
@GPUS
def start(*, machine: str | None, port: int, **offered: Any) -> None:
    """Start a Ray cluster with this machine as its head. A machine needs its token to join.

    \b
    Example:
      orchestrator cluster start --machine pc --host 192.168.1.10 --ports 20000-20100
    """  # noqa: D301 - click wants the character
    from orchestrator.cluster import ray_node as node
    from orchestrator.ray_tune.session import LOOPBACK, own_token

    head = node.start(_offer(machine, **offered), port)
    _say(f"This machine ({head.machine}) is the head of a Ray cluster at {head.address}.")
    if head.host == LOOPBACK:
        _say("It listens on 127.0.0.1 only; start it with --host ADDRESS to let others join.")
    else:
        _say(f"Copy {own_token()} to the other machines in a secure way, then run there:")
        _say(f"  orchestrator cluster join {head.address} --token-file FILE")
    _say(f"Then here: orchestrator tune lhs --address {head.address} [--machine each]")
    _say("Stop it: orchestrator cluster stop")


@click.command()
@click.argument("address", metavar="HOST:PORT")
@MACHINE
@click.option(
    "--host",
    metavar="ADDRESS",
    help="Address at which other machines reach this one. "
    "[default: the machine's file, else the address from which it reaches the head]",
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Copy of the head's token. [default: this user's own token]",
)
@PORTS
@CPUS
@GPUS
def join(*, address: str, machine: str | None, token_file: Path | None, **offered: Any) -> None:
    """Add this machine to a Ray cluster. A sweep that runs there uses it at once.

    \b
    Example:
      orchestrator cluster join 192.168.1.10:6379 --machine pc --token-file token
    """  # noqa: D301 - click wants the character
    from orchestrator.cluster import ray_node as node

    own = node.join(address, _offer(machine, **offered), token_file)
    _say(f"This machine ({own.machine}, {own.host}) is a node of the cluster at {own.address}.")
    _say("Leave it: orchestrator cluster stop    (trials that run here move to another machine)")


@click.command()
@click.option(
    "--address",
    metavar="HOST:PORT",
    help="The cluster's head. [default: the cluster that this machine is in]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the nodes as JSON.")
def status(address: str | None, *, as_json: bool) -> None:
    """Show the nodes of a Ray cluster.

    For each node: kind of machine, address, CPUs, GPUs, and whether it is alive.
    """
    from orchestrator.errors import UserError
    from orchestrator.ray_tune.own_cluster import attachment
    from orchestrator.ray_tune.session import check_answers, nodes_of, set_environment

    if address is None:
        own = attachment()
        if own is None:
            raise UserError(
                "this machine is in no cluster; name one with --address HOST:PORT, "
                "or start one with `cluster start`"
            )
        address = own.address
    check_answers(address)
    set_environment(address)
    nodes = nodes_of(address)
    if as_json:
        click.echo(json.dumps({"address": address, "nodes": list(map(_row, nodes))}))
        return
    _say(f"Ray cluster at {address}: {plural(sum(n.alive for n in nodes), 'node')}")
    for n in sorted(nodes, key=lambda n: (not n.alive, n.machine or "", n.host)):
        offers = f"{plural(int(n.cpus), 'CPU')}  {plural(n.gpus, 'GPU')}"
        line = f"  {n.machine or '(no label)':<12} {n.host:<16} {offers}"
        if not n.alive:
            line += "  lost"
        _say(line)


def _row(node: Node) -> dict[str, Any]:
    """One node as `cluster nodes --json` prints it."""
    return {
        "machine": node.machine,
        "address": node.host,
        "cpus": node.cpus,
        "gpus": node.gpus,
        "alive": node.alive,
    }


@click.command()
def stop() -> None:
    """Stop this machine's node of a Ray cluster.

    On the head this ends the cluster; any other machine only leaves it. Other Ray processes on this
    machine are not touched.
    """
    from orchestrator.cluster import ray_node as node

    stopped = node.stop()
    if stopped.head:
        _say(f"Stopped the cluster at {stopped.address}.")
    else:
        _say(f"This machine has left the cluster at {stopped.address}.")


def _offer(
    machine: str | None, *, host: str | None, ports: str | None, cpus: int | None, gpus: int | None
) -> Offer:
    """What this machine offers and where it listens: from the flags, else from the machine's file.

    Raises UserError where the machine's file can't be read or its ports are wrong.
    """
    from orchestrator.cluster.ray_node import Offer, port_flags
    from orchestrator.gpu.devices import visible_gpus
    from orchestrator.machine_files import detect, read_machine

    own, path = read_machine(machine or detect([gpu.name for gpu in visible_gpus()]))
    if ports is None:
        port_flags(own.listen.ports, f"{located(path, ('listen', 'ports'))}:")  # checks them
    return Offer(own.name, host or own.listen.host, ports or own.listen.ports, cpus, gpus)


def _say(line: str) -> None:
    """Print one line."""
    tell(line)
