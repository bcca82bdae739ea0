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

SHORT = 2
"""Letters of parts that are not looked up: 's, ll, d', sì, où."""

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")  # noqa: RUF001 - the typographic apostrophe stands in texts

INVARIANT = {
    "it": "sempre adesso domani due tre quattro cinque otto nove cento mille trenta quaranta cinquanta sessanta settanta ottanta "
    "novanta bar sport film crisi tesi foto auto moto radio blu all dell nell dall sull coll quell quest nient trent",
    "fr": "temps corps voix repas bras dos pays assez trop toujours jamais souvent parfois ailleurs dehors dessus longtemps tôt "
    "tard vite peu beaucoup très déjà plutôt dont plusieurs seulement jusqu lorsqu puisqu quelqu aujourd hui",
    "es": "antes",
}
"""Common words without other forms, and elided ones, which these dictionaries lack:
without them sane Italian and French come near the limit."""

_ITALIAN_ACCENT = re.compile(r"[a-zà-ù]{2,}[àèéìòù]")
"""città, virtù, lunedì: invariant nouns, likewise lacking."""
_ITALIAN_CLITIC = re.compile(r"(.+[aei]r|.+ndo)(?:mi|ti|ci|vi|si|lo|la|li|le|ne|gli)")
"""aiutarmi, guardandola: an infinitive without its e, or a gerund, and a pronoun."""


def words_of(text: str) -> list[str]:
    """Runs of letters of any script, apostrophes within included, as they stand."""
    return _WORD.findall(
        unicodedata.normalize("NFC", text)
    )  # an accent written as a mark of its own would end a word


@lru_cache(maxsize=200_000)
def known(word: str, language: str) -> bool:
    """Whether a lower-case word is in a language's dictionary; contractions and elisions by their parts."""
    return all(_part_known(part, language) for part in word.replace("’", "'").split("'"))  # noqa: RUF001


def _part_known(part: str, language: str) -> bool:
    import simplemma

    if (
        len(part) <= SHORT and part < "\u0250"
    ):  # in Latin letters; two signs of another script say nothing for these languages
        return True
    if simplemma.is_known(part, lang=language) or part in _invariant(language):
        return True
    if language != "it":
        return False
    clitic = _ITALIAN_CLITIC.fullmatch(part)
    stem = clitic[1] + ("e" if clitic[1].endswith("r") else "") if clitic else ""
    return bool(_ITALIAN_ACCENT.fullmatch(part)) or (
        bool(stem) and simplemma.is_known(stem, lang=language)
    )


@lru_cache
def _invariant(language: str) -> frozenset[str]:
    return frozenset(INVARIANT.get(language, "").split())


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
