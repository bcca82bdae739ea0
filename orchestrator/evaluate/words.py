"""The words of a text, and their language.

Dictionaries are those of simplemma. Each is loaded when its language is first needed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from operator import and_

LANGUAGES = ("en", "it", "fr", "de", "es")
"""They are tried in this order, and the first one in which nearly all words are known is taken.

So an English data set loads only one dictionary."""

SURE = 0.8
"""With at least this share of known words, no other language is tried."""
LIKELY = 0.5
"""With a smaller share of known words, the language is unclear."""

SHORT = 2
"""Parts of at most this many letters are not looked up: 's, ll, d', sì, où."""

MOST_LOOKED_UP = 50_000
"""So many words of a language are remembered."""

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


class LookedUp(dict[str, bool]):
    """Whether lower-case words are in a language's dictionary; each is looked up once.

    Of contractions and elisions, each part must be known.
    """

    def __init__(self, language: str) -> None:
        super().__init__()
        self._language = language

    def __missing__(self, word: str) -> bool:
        """Look a word up, and remember it."""
        parts = word.replace("’", "'").split("'")  # noqa: RUF001
        found = all(_part_is_known(part, self._language) for part in parts)
        # noise has no end of words; lru_cache would take longer to forget them one by one
        if len(self) >= MOST_LOOKED_UP:
            self.clear()
        self[word] = found
        return found


looked_up = lru_cache(LookedUp)
"""What was looked up in the dictionary of a language, by its name."""


def _part_is_known(part: str, language: str) -> bool:
    """Whether a word without a hyphen is one of the language."""
    # In another script, two characters may be a whole word, which these languages don't have.
    is_latin = part < "\u0250"
    if len(part) <= SHORT and is_latin:
        return True
    if _stands_in_dictionary(part, language) or part in _invariant(language):
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
    return _stands_in_dictionary(verb, language)


def _stands_in_dictionary(part: str, language: str) -> bool:
    """Whether a lower-case word is in simplemma's dictionary, written small or as a name."""
    # other forms of accents and apostrophes are for is_known() alone, which takes much longer
    if not part.isascii():
        return _is_known_to_simplemma(part, language)
    dictionary = _dictionary(language)
    return dictionary.get(part) is not None or dictionary.get(part.capitalize()) is not None


@lru_cache
def _dictionary(language: str) -> Mapping[str, str]:
    """Simplemma's dictionary of a language: word -> base form."""
    from simplemma.strategies import DEFAULT_DICTIONARY_FACTORY

    dictionary: Mapping[str, str] = DEFAULT_DICTIONARY_FACTORY.get_dictionary(language)
    return dictionary


def _is_known_to_simplemma(part: str, language: str) -> bool:
    """Whether simplemma knows a word, in any form of writing."""
    import simplemma

    return bool(simplemma.is_known(part, lang=language))


@lru_cache
def _invariant(language: str) -> frozenset[str]:
    """Words of the language that its dictionary lacks."""
    return frozenset(INVARIANT.get(language, "").split())


@lru_cache(maxsize=200_000)
def lemma(word: str, language: str) -> str:
    """A lower-case word's base form."""
    import simplemma

    return str(simplemma.lemmatize(word, lang=language)).lower()


def lowest_share_known(
    words: Sequence[str], language: str, windows: Iterable[slice]
) -> float | None:
    """The lowest share of words in a language's dictionary in some windows; None without words.

    Capitalised words, which may be names, count only where a window has few others.
    """
    known = list(map(looked_up(language).__getitem__, map(str.lower, words)))
    common = [word[0].islower() for word in words]
    # how many there are before each word: windows overlap, and each word is counted once
    n_known, n_common, n_both = (
        list(accumulate(flags, initial=0)) for flags in (known, common, map(and_, known, common))
    )
    shares = []
    for window in windows:
        start, end, _ = window.indices(len(words))
        if n_common[end] - n_common[start] < (end - start) / 4:
            shares.append((n_known[end] - n_known[start]) / (end - start))
        else:
            shares.append((n_both[end] - n_both[start]) / (n_common[end] - n_common[start]))
    return min(shares, default=None)


def language_of(words: Sequence[str]) -> tuple[str | None, float | None]:
    """The language in which most words are known, with their share.

    (None, None) where that share is below LIKELY.
    """
    common = [word for word in words if word[0].islower()]
    judged = words
    if len(common) >= len(words) / 4:
        judged = common
    lower = [word.lower() for word in judged]
    best: tuple[str | None, float | None] = (None, None)
    for language in LANGUAGES:
        least = best[1] or LIKELY
        share = _share_if(lower, language, least)
        if share is not None and (best[1] is None or share > best[1]):
            best = (language, share)
        if share is not None and share >= SURE:
            break
    return best


def _share_if(words: list[str], language: str, least: float) -> float | None:
    """The share of lower-case words that are known; None without words, or if it is below `least`.

    It ends as soon as that is sure, since looking up what no dictionary has takes longest.
    """
    known = looked_up(language)
    n_unknown = 0
    for word in words:
        if not known[word]:
            n_unknown += 1
            if (len(words) - n_unknown) / len(words) < least:
                return None
    return (len(words) - n_unknown) / len(words) if words else None
