"""Where the program's source is, as its metadata say."""

from __future__ import annotations

import importlib.metadata
from email.message import Message
from typing import Any

import pytest

from orchestrator.packages import package_versions, repository_url


@pytest.mark.parametrize(
    ("entries", "url"),
    [
        (["Repository, https://x.example/y"], "https://x.example/y"),
        (["Homepage, https://x.example", "Source Code,https://x.example/z"], "https://x.example/z"),
        (["Homepage, https://x.example"], None),
        (["Repository, "], None),
        ([], None),
    ],
)
def test_the_repository_is_that_of_the_projects_urls(
    entries: list[str], url: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = Message()
    for entry in entries:
        metadata["Project-URL"] = entry
    monkeypatch.setattr(importlib.metadata, "metadata", lambda _: metadata)
    assert repository_url() == url


def test_a_checkout_that_is_not_installed_names_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "metadata", missing)
    assert repository_url() is None


def test_versions_are_told_of_what_is_installed() -> None:
    assert list(package_versions(["no-such-package", "pydantic"])) == ["pydantic"]
