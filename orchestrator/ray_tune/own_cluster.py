"""This machine's node in a Ray cluster, as `orchestrator cluster start` or `join` recorded it."""

from __future__ import annotations

from pathlib import Path

from orchestrator.engine.cache import cache_folder
from orchestrator.nouns import Noun
from orchestrator.outside_files import first_bytes


class Attachment(Noun):
    """The node that was started on this machine."""

    address: str
    """HOST:PORT of the cluster's head."""
    host: str
    """The address at which other nodes reach this one."""
    machine: str
    """Kind of machine: the node's label."""
    head: bool
    """Whether this node is the head of its cluster."""
    folder: str
    """Folder of Ray's files; its path is on the command lines of the node's processes."""
    since: str
    """When it was started, in ISO 8601."""


def attachment_file() -> Path:
    """The file that records the node; in the cache folder, so one user has one node a machine."""
    return cache_folder() / "node.json"


def attachment() -> Attachment | None:
    """The node that was recorded, whether or not it is alive; None where there is none."""
    try:
        return Attachment.model_validate_json(first_bytes(attachment_file(), 4096))
    except (OSError, ValueError):
        return None
