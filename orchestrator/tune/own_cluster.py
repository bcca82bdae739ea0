"""This machine's node in a Ray cluster, as `orchestrator cluster start` and `join` wrote it down."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from orchestrator.engine.weights import cache_folder
from orchestrator.nouns import Noun


class Attachment(Noun):
    """A node that was started here."""

    address: str
    """HOST:PORT of the cluster's head."""
    host: str
    """The address under which the others find this node."""
    machine: str
    head: bool
    folder: str
    """Where Ray's files lie: the processes carry its name."""
    since: str


def attachment_file() -> Path:
    """There is one node a machine, or rather a cache."""
    return cache_folder() / "node.json"


def attachment() -> Attachment | None:
    """This machine's node, dead or alive; None: there is none."""
    try:
        return Attachment.model_validate_json(attachment_file().read_bytes()[:4096])
    except (OSError, ValidationError):
        return None
