"""What a person states about a data set on publishing it."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.publish.authors import Author
from orchestrator.publish.card_figures import Content
from orchestrator.publish.licences import Licence


@dataclass(frozen=True)
class Publication:
    """Title, authors and licence of a data set."""

    title: str
    authors: tuple[Author, ...]
    spdx: str
    licence: Licence

    def version(self, content: Content) -> str:
        """Version of the data set: the date of its newest part, as a semantic version: 2026.7.9."""
        return ".".join(str(int(part)) for part in content.date.split("-"))
