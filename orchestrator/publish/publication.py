"""What a person says about a data set when it is published."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.publish.authors import Author
from orchestrator.publish.card_figures import Content
from orchestrator.publish.licences import Licence


@dataclass(frozen=True)
class Publication:
    """Title, authors and licence."""

    title: str
    authors: tuple[Author, ...]
    spdx: str
    licence: Licence

    def version(self, content: Content) -> str:
        """Of the data set: the date of its newest part, without leading zeros as semantic versions want it."""
        return ".".join(str(int(part)) for part in content.date.split("-"))
