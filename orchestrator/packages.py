"""What the metadata of installed packages say: no package is imported for it."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable

THIS_PACKAGE = "llm-energy-orchestrator"
REPOSITORY_LABELS = ("repository", "source", "source code")
"""Labels of a project's URLs that name its repository, in lower case."""


def package_versions(names: Iterable[str]) -> dict[str, str]:
    """Name to version, in the order of `names`; a package that isn't installed is left out."""
    versions = {}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def repository_url() -> str | None:
    """Where this program's source is published, as pyproject's `urls` say.

    None: they name no repository, or the program runs without being installed.
    """
    try:
        metadata = importlib.metadata.metadata(THIS_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return None
    for entry in metadata.get_all("Project-URL") or ():
        label, _, url = entry.partition(",")
        if label.strip().lower() in REPOSITORY_LABELS:
            return str(url.strip()) or None
    return None
