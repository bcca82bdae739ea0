"""`cluster start`, `join`, `status` and `stop`: attach machines to one Ray cluster."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from orchestrator.yaml_files import printable

if TYPE_CHECKING:
    from orchestrator.cluster.ray_node import Offer

F = TypeVar("F", bound=Callable[..., Any])

PORTS = click.option(
    "--ports",
    metavar="LOW-HIGH",
    help="Listen on these only, for a firewall. [default: its file's, else any free]",
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
    help="This machine's address for the others. [default: its file's, else 127.0.0.1]",
)
@click.option(
    "--port",
    type=click.IntRange(1024, 65535),
    default=6379,
    show_default=True,
    metavar="PORT",
    help="For joining.",
)
@PORTS
@CPUS
@GPUS
def start(*, machine: str | None, port: int, **offered: Any) -> None:
    """Start a Ray cluster with this machine as its head. It asks for a token.

    \b
    Example:
      orchestrator cluster start --machine pc --host 192.168.1.10 --ports 20000-20100
    """  # noqa: D301 - click wants the character
    from orchestrator.cluster import ray_node as node
    from orchestrator.tune.session import LOOPBACK, own_token

    found = node.start(_offer(machine, **offered), port)
    _say(f"This machine ({found.machine}) is the head of a Ray cluster at {found.address}.")
    if found.host == LOOPBACK:
        _say("It listens on 127.0.0.1: other machines can't join it (--host ADDRESS lets them).")
    else:
        _say(f"Copy {own_token()} to the other machines, by a safe way, and there:")
        _say(f"  orchestrator cluster join {found.address} --token-file FILE")
    _say(f"Then here: orchestrator tune --space lhs --address {found.address} [--machine each]")
    _say("End it: orchestrator cluster stop")


@click.command()
@click.argument("address", metavar="HOST:PORT")
@MACHINE
@click.option(
    "--host",
    metavar="ADDRESS",
    help="This machine's address for the others. [default: its file's, else as it reaches the head]",
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The head's token. [default: the one here]",
)
@PORTS
@CPUS
@GPUS
def join(*, address: str, machine: str | None, token_file: Path | None, **offered: Any) -> None:
    """Attach this machine to a Ray cluster, also while a sweep runs there: it gets trials at once.

    \b
    Example:
      orchestrator cluster join 192.168.1.10:6379 --machine pc --token-file token
    """  # noqa: D301 - click wants the character
    from orchestrator.cluster import ray_node as node

    found = node.join(address, _offer(machine, **offered), token_file)
    _say(
        f"This machine ({found.machine}) is a node of the cluster at {found.address}, as {found.host}."
    )
    _say("Leave it: orchestrator cluster stop    (trials that run here go to another machine)")


@click.command()
@click.option(
    "--address",
    metavar="HOST:PORT",
    help="The cluster's head. [default: the cluster that this machine is in]",
)
@click.option("--json", "as_json", is_flag=True, help="The nodes as JSON.")
def status(address: str | None, *, as_json: bool) -> None:
    """Show a cluster's nodes: kind of machine, address, CPUs, GPUs, and whether each is alive."""
    from orchestrator.errors import UserError
    from orchestrator.tune.own_cluster import attachment
    from orchestrator.tune.session import check_answers, nodes_of, set_environment

    found = attachment()
    if address is None and found is None:
        raise UserError(
            "this machine is in no cluster; name one with --address HOST:PORT, or start one with `cluster start`"
        )
    where = address or (found.address if found else "")
    check_answers(where)
    set_environment(where)
    nodes = nodes_of(where)
    if as_json:
        rows = [
            {
                "machine": n.machine,
                "address": n.host,
                "cpus": n.cpus,
                "gpus": n.gpus,
                "alive": n.alive,
            }
            for n in nodes
        ]
        click.echo(json.dumps({"address": where, "nodes": rows}))
        return
    _say(f"Ray cluster at {where}: {sum(n.alive for n in nodes)} nodes")
    for n in sorted(nodes, key=lambda n: (not n.alive, n.machine or "", n.host)):
        life = "" if n.alive else "  lost"
        _say(f"  {n.machine or '(no label)':<12} {n.host:<16} {n.cpus:g} CPUs  {n.gpus} GPUs{life}")


@click.command()
def stop() -> None:
    """End this machine's node: the cluster if it is its head, else it only leaves. Other Rays are left alone."""
    from orchestrator.cluster import ray_node as node

    found = node.stop()
    _say(
        f"Stopped: {'the cluster' if found.head else 'this node of the cluster'} at {found.address}."
    )


def _offer(
    machine: str | None, *, host: str | None, ports: str | None, cpus: int | None, gpus: int | None
) -> Offer:
    """What this machine gives, and where it listens: by flags, else by its file. Raises UserError where there is none."""
    from orchestrator.cluster.ray_node import Offer, port_flags
    from orchestrator.machine_files import detect, read_machine
    from orchestrator.meters.nvml import visible_gpus

    found, path = read_machine(machine or detect([gpu.name for gpu in visible_gpus()]))
    if ports is None:
        port_flags(found.listen.ports, f"{path}: $.listen.ports:")
    return Offer(found.name, host or found.listen.host, ports or found.listen.ports, cpus, gpus)


def _say(line: str) -> None:
    click.echo(printable(line))
