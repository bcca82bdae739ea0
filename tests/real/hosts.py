"""Hosts of a network of their own on this machine. Needs root.

Each has a network namespace and a host name; a bridge joins them. Processes, files and shared
memory are this machine's; what a host can't reach is what its cable doesn't lead to.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

BRIDGE = f"orch{os.getpid()}b"
AS_HOST = 'hostname "$1"; shift; exec "$@"'


@dataclass(frozen=True)
class Host:
    """One of them."""

    name: str
    number: int

    @property
    def namespace(self) -> str:
        return f"orch{os.getpid()}h{self.number}"

    @property
    def address(self) -> str:
        return f"10.78.0.{10 + self.number}"

    def command(self, *command: str) -> list[str]:
        """The same command on this host."""
        return [
            "ip",
            "netns",
            "exec",
            self.namespace,
            "unshare",
            "--uts",
            "sh",
            "-c",
            AS_HOST,
            "sh",
            self.name,
            *command,
        ]

    def cable(self, state: str) -> None:
        """Cut it (down) or mend it (up)."""
        ip("-n", BRIDGE, "link", "set", f"v{self.number}", state)


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@contextlib.contextmanager
def network(*names: str) -> Iterator[list[Host]]:
    """Hosts by these names; skips the test where there can't be any."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("network namespaces need root and iproute2")
    hosts = [Host(name, number) for number, name in enumerate(names, start=1)]
    with contextlib.ExitStack() as stack:
        for namespace in (BRIDGE, *(host.namespace for host in hosts)):
            try:
                ip("netns", "add", namespace)
            except subprocess.CalledProcessError as error:
                pytest.skip(f"no network namespaces here: {error.stderr.strip()}")
            stack.callback(subprocess.run, ["ip", "netns", "del", namespace], check=False)
            ip("-n", namespace, "link", "set", "lo", "up")
        ip("-n", BRIDGE, "link", "add", "br0", "type", "bridge")
        ip("-n", BRIDGE, "link", "set", "br0", "up")
        for host in hosts:
            veth = f"v{host.number}"
            ip(
                "link",
                "add",
                "eth0",
                "netns",
                host.namespace,
                "type",
                "veth",
                "peer",
                "name",
                veth,
                "netns",
                BRIDGE,
            )
            ip("-n", BRIDGE, "link", "set", veth, "master", "br0", "up")
            ip("-n", host.namespace, "addr", "add", f"{host.address}/24", "dev", "eth0")
            ip("-n", host.namespace, "link", "set", "eth0", "up")
        yield hosts
