"""What a person states about a data set on publishing it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from orchestrator.publish.authors import Author
from orchestrator.publish.card_figures import Content
from orchestrator.publish.licences import Licence

_HUB_PAGE = re.compile(r"https://huggingface\.co/datasets/([\w.-]+/[\w.-]+)/?", re.ASCII)


@dataclass(frozen=True)
class Publication:
    """Title, authors, licence and page of a data set."""

    title: str
    authors: tuple[Author, ...]
    spdx: str
    licence: Licence
    url: str | None = None
    """The data set's own page; None: it has none yet."""

    @property
    def hub_name(self) -> str | None:
        """ORG/NAME, where the page is one of the Hugging Face Hub."""
        match = _HUB_PAGE.fullmatch(self.url or "")
        return match[1] if match else None

    def version(self, content: Content) -> str:
        """Version of the data set: the date of its newest part, as a semantic version: 2026.7.9."""
        return ".".join(str(int(part)) for part in content.date.split("-"))
