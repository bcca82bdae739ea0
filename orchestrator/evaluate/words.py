"""Words of a text, and which language they are of: dictionaries of simplemma, loaded when a language is first asked for."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

LANGUAGES = ("en", "it", "fr", "de", "es")
"""Asked in this order: the first in which most words are known is taken, so an English data set loads one dictionary."""

SURE = 0.8
"""Share of known words from which on no other language is asked."""
LIKELY = 0.5
"""Share below which a language can't be told."""

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")  # noqa: RUF001 - the typographic apostrophe stands in texts


def words_of(text: str) -> list[str]:
    """Runs of letters of any script, apostrophes within included, as they stand."""
    return _WORD.findall(unicodedata.normalize("NFC", text))  # an accent written as a mark of its own would end a word


@lru_cache(maxsize=200_000)
def known(word: str, language: str) -> bool:
    """Whether a lower-case word is in a language's dictionary; contractions and elisions by their parts."""
    import simplemma

    parts = word.replace("’", "'").split("'")  # noqa: RUF001
    short = 2  # 's, ll, d', sì, où; but two signs of another script say nothing for a language in Latin ones
    return all((len(part) <= short and part < "\u0250") or simplemma.is_known(part, lang=language) for part in parts)


@lru_cache(maxsize=200_000)
def lemma(word: str, language: str) -> str:
    """A lower-case word's base form."""
    import simplemma

    return str(simplemma.lemmatize(word, lang=language)).lower()


def share_known(words: Sequence[str], language: str) -> float | None:
    """Share of words in a dictionary. Capitalised ones (names) count only where there are few others; None without words."""
    common = [word for word in words if word[0].islower()]
    counted = common if len(common) >= len(words) / 4 else words
    if not counted:
        return None
    return sum(known(word.lower(), language) for word in counted) / len(counted)


def language_of(words: Sequence[str]) -> tuple[str | None, float | None]:
    """The language in which most words are known, with their share; (None, None) where that is less than half."""
    best: tuple[float, str] | None = None
    for language in LANGUAGES:
        share = share_known(words, language)
        if share is None:
            return None, None
        if best is None or share > best[0]:
            best = (share, language)
        if share >= SURE:
            break
    assert best is not None  # noqa: S101 - there are languages
    return (best[1], best[0]) if best[0] >= LIKELY else (None, None)
