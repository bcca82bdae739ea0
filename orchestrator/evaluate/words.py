"""The words of a text, and their language.

Dictionaries are those of simplemma. Each is loaded when its language is first needed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

LANGUAGES = ("en", "it", "fr", "de", "es")
"""They are tried in this order, and the first one in which nearly all words are known is taken.

So an English data set loads only one dictionary."""

SURE = 0.8
"""With at least this share of known words, no other language is tried."""
LIKELY = 0.5
"""With a smaller share of known words, the language is unclear."""

SHORT = 2
"""Parts of at most this many letters are not looked up: 's, ll, d', sì, où."""

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")  # noqa: RUF001 - the typographic apostrophe stands in texts

INVARIANT = {
    "it": "sempre adesso domani due tre quattro cinque otto nove cento mille trenta quaranta "
    "cinquanta sessanta settanta ottanta novanta bar sport film crisi tesi foto auto moto radio "
    "blu all dell nell dall sull coll quell quest nient trent",
    "fr": "temps corps voix repas bras dos pays assez trop toujours jamais souvent parfois "
    "ailleurs dehors dessus longtemps tôt tard vite peu beaucoup très déjà plutôt dont plusieurs "
    "seulement jusqu lorsqu puisqu quelqu aujourd hui",
    "es": "antes",
}
"""Common words that these dictionaries lack: words without other forms, and elided ones.

Without them, sound Italian and French texts come near the limit of dictionary_share."""

_ITALIAN_ACCENT = re.compile(r"[a-zà-ù]{2,}[àèéìòù]")
"""Nouns without other forms that the dictionary lacks, too: città, virtù, lunedì."""
_ITALIAN_CLITIC = re.compile(r"(.+[aei]r|.+ndo)(?:mi|ti|ci|vi|si|lo|la|li|le|ne|gli)")
"""A verb with a pronoun: an infinitive without its e (aiutarmi), or a gerund (guardandola)."""


def words_of(text: str) -> list[str]:
    """The runs of letters of any script in a text; apostrophes between letters belong to them."""
    # An accent that is written as a character of its own would end a word: NFC joins the two.
    return _WORD.findall(unicodedata.normalize("NFC", text))


@lru_cache(maxsize=200_000)
def is_known(word: str, language: str) -> bool:
    """Whether a lower-case word is in a language's dictionary.

    Of contractions and elisions, each part must be known.
    """
    return all(_part_is_known(part, language) for part in word.replace("’", "'").split("'"))  # noqa: RUF001


def _part_is_known(part: str, language: str) -> bool:
    """Whether a word without a hyphen is one of the language."""
    import simplemma

    # In another script, two characters may be a whole word, which these languages don't have.
    is_latin = part < "\u0250"
    if len(part) <= SHORT and is_latin:
        return True
    if simplemma.is_known(part, lang=language) or part in _invariant(language):
        return True
    if language != "it":
        return False
    if _ITALIAN_ACCENT.fullmatch(part):
        return True
    clitic = _ITALIAN_CLITIC.fullmatch(part)
    if clitic is None:
        return False
    verb = clitic[1]
    if verb.endswith("r"):
        verb += "e"
    return bool(simplemma.is_known(verb, lang=language))


@lru_cache
def _invariant(language: str) -> frozenset[str]:
    """Words of the language that its dictionary lacks."""
    return frozenset(INVARIANT.get(language, "").split())


@lru_cache(maxsize=200_000)
def lemma(word: str, language: str) -> str:
    """A lower-case word's base form."""
    import simplemma

    return str(simplemma.lemmatize(word, lang=language)).lower()


def share_known(words: Sequence[str], language: str) -> float | None:
    """The share of words that are in a language's dictionary; None without words.

    Capitalised words, which may be names, count only where there are few others.
    """
    common = [word for word in words if word[0].islower()]
    judged = words
    if len(common) >= len(words) / 4:
        judged = common
    if not judged:
        return None
    return sum(is_known(word.lower(), language) for word in judged) / len(judged)


def language_of(words: Sequence[str]) -> tuple[str | None, float | None]:
    """The language in which most words are known, with their share.

    (None, None) where that share is below LIKELY.
    """
    best: tuple[float, str] | None = None
    for language in LANGUAGES:
        share = share_known(words, language)
        if share is None:
            return None, None
        if best is None or share > best[0]:
            best = (share, language)
        if share >= SURE:
            break
    assert best is not None  # noqa: S101 - LANGUAGES isn't empty
    share, language = best
    if share < LIKELY:
        return None, None
    return language, share
