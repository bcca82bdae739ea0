"""The processes of a server on this host: who listens, on which GPUs its processes compute.

Doesn't know what lies behind a proxy that listens in the server's stead, other than by its name.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import Any

import psutil

from orchestrator.errors import UserError
from orchestrator.gpu.access import GpuAccess, compute_pids, open_gpu
from orchestrator.gpu.devices import list_gpus

FORWARDERS = frozenset(
    {"ssh", "sshd", "docker-proxy", "rootlessport", "slirp4netns", "pasta", "socat", "kubectl"}
)
"""Programs that listen here for a server that is elsewhere, or in a container's network."""
SECRET = re.compile(r"(?:key|token)$|secret|passw|credential", re.IGNORECASE)
"""In the name of a flag or a fact: its value is left out. `max_tokens` is none."""
LOOKS_SECRET = re.compile(r"^(?:hf_|sk-|Bearer )\S+$")
HIDDEN = "(left out)"
OTHER_GPUS = ("/dev/kfd", "/dev/dri/renderD")
"""Devices of GPUs that NVML doesn't know."""
MOST_ARGUMENTS, LONGEST_ARGUMENT = 200, 300


def is_here(host: str) -> bool:
    """Whether all addresses of a host's name are of this machine. Raises OSError: no such host."""
    own = {
        address.address.partition("%")[0]
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
    }
    return all(
        one in own or ipaddress.ip_address(one).is_loopback or _is_any(one)
        for one in _addresses(host)
    )


def _addresses(host: str) -> set[str]:
    """All addresses of a host's name. Raises OSError: there is no such host."""
    return {str(entry[4][0]).partition("%")[0] for entry in socket.getaddrinfo(host, None)}


def _is_any(address: str) -> bool:
    """Whether it stands for all addresses of a host."""
    return ipaddress.ip_address(address.partition("%")[0]).is_unspecified


def _listening(host: str, port: int) -> set[int]:
    """The processes that listen at a host's port, as far as this user may see them."""
    addresses, pids = _addresses(host), set()
    with contextlib.suppress(psutil.AccessDenied):
        for one in psutil.net_connections("tcp"):
            if one.status != psutil.CONN_LISTEN or not one.laddr or one.laddr.port != port:
                continue
            if one.pid and (one.laddr.ip in addresses or _is_any(one.laddr.ip)):
                pids.add(one.pid)
    return pids


def listener(host: str, port: int, launcher: str | None) -> psutil.Process:
    """The process at the root of a server's tree: that which listens, or its launcher.

    Raises UserError where it can't be seen, or only forwards what is elsewhere.
    """
    remedy = (
        "run this command where it can be seen, or give --server-elsewhere, then no energy is "
        "measured"
    )
    pids = _listening(host, port)
    if not pids:
        raise UserError(
            f"--server-url: the process that listens at port {port} can't be seen, so it is "
            f"another user's or in a container; {remedy}"
        )
    # of several that share the socket the others are its children
    process = psutil.Process(min(pids))
    if process.name() in FORWARDERS:
        raise UserError(
            f"--server-url: at port {port} listens {process.name()}, which passes on to a server "
            f"that can't be seen from here; {remedy}"
        )
    parent = process.parent()
    if launcher is not None and parent is not None and parent.name() == launcher:
        return parent
    return process


def tree(process: psutil.Process) -> frozenset[int]:
    """A process and all that descend from it; empty where it has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return frozenset(one.pid for one in (process, *process.children(recursive=True)))
    return frozenset()


def gpus_of(pids: frozenset[int]) -> list[GpuAccess]:
    """The GPUs on which these processes compute, opened.

    In a container NVML numbers processes otherwise: then the devices count that they hold open.
    Raises UserError for GPUs whose energy can't be measured.
    """
    devices = _open_devices(pids)
    if any(device.startswith(OTHER_GPUS) for device in devices):
        raise UserError(
            "--server-url: the server computes on a GPU that is not NVIDIA's, whose energy can't "
            "be measured here; give --server-elsewhere to go on without energies"
        )
    opened = [open_gpu(gpu.uuid) for gpu in list_gpus()]
    numbered = [access for access in opened if (compute_pids(access) or frozenset()) & pids]
    return numbered or [access for access in opened if _device_of(access) in devices]


def _open_devices(pids: frozenset[int]) -> set[str]:
    """The device files that these processes hold open, as far as it may be seen."""
    devices = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for file in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    devices.add(str(file.readlink()))
    return {device for device in devices if device.startswith("/dev/")}


def _device_of(access: GpuAccess) -> str | None:
    """The device file of a GPU; None where it doesn't tell its number."""
    nvml, handle = access.nvml, access.handle
    minor = access.ask(lambda: nvml.nvmlDeviceGetMinorNumber(handle))
    return None if minor is None else f"/dev/nvidia{minor}"


def command_of(process: psutil.Process) -> tuple[str, ...]:
    """How a process was started: without secrets, and of paths their last part.

    Empty where it isn't told.
    """
    with contextlib.suppress(psutil.Error):
        return tuple(_scrubbed(process.cmdline()))[:MOST_ARGUMENTS]
    return ()


def _scrubbed(arguments: Iterable[str]) -> Iterable[str]:
    """Arguments that may be published."""
    hides_next = False
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        is_flag = flag.startswith("-")
        if hides_next and not is_flag:
            hides_next = False
            yield HIDDEN
            continue
        hides_next = is_flag and not equals and bool(SECRET.search(flag))
        if is_flag and equals:
            yield f"{flag}={HIDDEN if SECRET.search(flag) else scrubbed(value)}"
        else:
            yield scrubbed(argument)


def scrubbed(text: str) -> str:
    """A text that may be published: a path without its folders, and nothing like a secret."""
    if LOOKS_SECRET.match(text):
        return HIDDEN
    if text.startswith(("/", "~")) and "\n" not in text:
        text = PurePath(text).name
    return text[:LONGEST_ARGUMENT]


def publishable(facts: dict[str, Any]) -> dict[str, Any]:
    """Of a server's facts those that are plain values, and no secrets."""
    plain = {}
    for name, value in facts.items():
        if isinstance(value, bool | int | float | str) and not SECRET.search(name):
            plain[name] = scrubbed(value) if isinstance(value, str) else value
    return plain
