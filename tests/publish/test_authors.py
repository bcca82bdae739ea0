from __future__ import annotations

import pytest

from orchestrator.errors import UserError
from orchestrator.publish.authors import parse_author


@pytest.mark.parametrize(
    ("text", "given", "family", "orcid"),
    [
        ("Ada Lovelace", "Ada", "Lovelace", None),
        ("Lovelace, Ada King", "Ada King", "Lovelace", None),
        (
            "Josiah Carberry <0000-0002-1825-0097>",
            "Josiah",
            "Carberry",
            "https://orcid.org/0000-0002-1825-0097",
        ),
        (
            "Plato <https://orcid.org/0000-0002-1694-233X>",
            "",
            "Plato",
            "https://orcid.org/0000-0002-1694-233X",
        ),
    ],
)
def test_authors(text: str, given: str, family: str, orcid: str | None) -> None:
    author = parse_author(text)
    assert (author.given, author.family, author.orcid) == (given, family, orcid)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "<0000-0002-1825-0097>",
        "Ada <0000-0002-1825-0098>",
        "Ada <me@example.org>",
        "Ada <0000",
        "A\nB",
        ", Ada",
    ],
)
def test_what_is_no_author(text: str) -> None:
    with pytest.raises(UserError, match="--author"):
        parse_author(text)
