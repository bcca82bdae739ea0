"""Signals: what can be computed from a text without a model.

They distinguish language from garbage, not truth from error. Shares of n-grams and the rate of
compression fall as a text gets longer, so they are taken over windows of 100 words. Of a longer
text the worst window counts, since a text that ends in a loop or in noise may have begun well.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from orchestrator.evaluate.words import language_of, lemma, lowest_share_known, words_of
from orchestrator.unknowns import least_of_known, quotient

WINDOW_WORDS = 100
LONGEST_PERIOD = 30
"""Direct repetitions are looked for of phrases of at most this many words."""
ECHO_WORDS = 5
"""A run of this many words that also stands in the prompt counts as copied."""
CONTENT_LETTERS = 5
"""Words of at least this many letters tell what a prompt is about.

Shorter ones are mostly articles, pronouns and the like."""


@lru_cache(maxsize=1000)
def signals_of(text: str, prompt: str) -> Mapping[str, Any]:
    """The signals of a text that answers a prompt: the fields of Signals that need no model.

    A signal that can't be told for this text is None. Cached, since greedy decoding gives the same
    text again and again.
    """
    words = words_of(text)
    lower = list(map(str.lower, words))
    windows = list(_windows(len(words)))
    language = prompt_language(prompt)
    reads_like, language_share = language_of(words[:WINDOW_WORDS])
    first = lower[:WINDOW_WORDS]
    return {
        "n_words": len(words),
        "distinct_1": distinct(first, 1),
        "distinct_2": _distinct_pairs(lower, windows),
        "distinct_3": distinct(first, 3),
        "zlib_ratio": least_of_known(_compressed(" ".join(words[window])) for window in windows),
        "dictionary_share": _dictionary_share(words, windows, language),
        "language": reads_like,
        "language_share": language_share,
        "echo_ratio": _echo(lower, prompt),
        # Over the whole text: a loop may be longer than a window.
        "max_repeat_run": repeat_run(lower),
        "prompt_overlap": _overlap(lower, prompt, language),
    }


def _dictionary_share(words: list[str], windows: list[slice], language: str | None) -> float | None:
    """The lowest share of known words in a window; None where the language is unknown."""
    if language is None:
        return None
    return lowest_share_known(words, language, windows)


@lru_cache(maxsize=10_000)
def prompt_language(prompt: str) -> str | None:
    """The language that an answer should be in: that of the prompt; None where it is unclear."""
    return language_of(words_of(prompt))[0]


def distinct(words: Sequence[str], n: int) -> float | None:
    """The share of n-grams that are different (distinct-n, Li et al. 2016, arXiv 1510.03055).

    None for fewer than n words.
    """
    grams = _grams(words, n)
    return quotient(len(set(grams)), len(grams))


def _distinct_pairs(words: Sequence[str], windows: Iterable[slice]) -> float | None:
    """The lowest share of different pairs of words in a window; None for fewer than 2 words."""
    pairs = _grams(words, 2)
    inside = (pairs[window.start : window.stop - 1] for window in windows)
    return least_of_known(quotient(len(set(some)), len(some)) for some in inside)


def _grams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """All runs of n words, in order."""
    return list(zip(*(words[i:] for i in range(n)), strict=False))


def repeat_run(words: Sequence[str]) -> int:
    """How often the most repeated phrase occurs in direct succession; 1 without repetition.

    Phrases have 1 to LONGEST_PERIOD words. A text without words gives 0.
    """
    import numpy as np

    longest = min(1, len(words))
    numbers = {word: number for number, word in enumerate(set(words))}
    text = np.array(list(map(numbers.__getitem__, words)))
    for period in range(1, min(LONGEST_PERIOD, len(words) // 2) + 1):
        # a byte a word: whether it equals the word one period before it
        equal = (text[period:] == text[:-period]).tobytes()
        if b"\1" * period in equal:
            same = max(map(len, equal.split(b"\0")))
            longest = max(longest, same // period + 1)
    return longest


def _windows(n_words: int) -> Iterator[slice]:
    """Windows of WINDOW_WORDS words of a text; a shorter text is one window.

    Each begins half a window after the one before it, and the last ends with the text.
    """
    if not n_words:
        return
    # the last window is a full one, too: shares of a short rest would not compare
    last = max(0, n_words - WINDOW_WORDS)
    for start in (*range(0, last, WINDOW_WORDS // 2), last):
        yield slice(start, start + WINDOW_WORDS)


def _compressed(text: str) -> float:
    """Compressed size over plain size."""
    raw = text.encode()
    return len(zlib.compress(raw, 9)) / len(raw)


def _echo(words: Sequence[str], prompt: str) -> float | None:
    """The share of the text's runs of ECHO_WORDS words that stand in the prompt, too."""
    grams = _grams(words, ECHO_WORDS)
    if not grams:
        return None
    of_prompt = _phrases(prompt)
    return sum(map(of_prompt.__contains__, grams)) / len(grams)


@lru_cache(maxsize=10_000)
def _phrases(prompt: str) -> frozenset[tuple[str, ...]]:
    """A prompt's runs of ECHO_WORDS words; cached, since many texts answer one prompt."""
    return frozenset(_grams([word.lower() for word in words_of(prompt)], ECHO_WORDS))


def _overlap(words: Sequence[str], prompt: str, language: str | None) -> float | None:
    """The share of the prompt's long words that stand in the text, too, in any form."""
    content = _content(prompt, language)
    if not content:
        return None
    return len(content & _base_forms(words, language)) / len(content)


@lru_cache(maxsize=10_000)
def _content(prompt: str, language: str | None) -> frozenset[str]:
    """The base forms of a prompt's long words; cached, since many texts answer one prompt."""
    return _base_forms([word.lower() for word in words_of(prompt)], language)


def _base_forms(words: Iterable[str], language: str | None) -> frozenset[str]:
    """The long ones of these lower-case words, in their base form if the language is known."""
    long = {word for word in set(words) if len(word) >= CONTENT_LETTERS}
    if language is None:
        return frozenset(long)
    return frozenset(lemma(word, language) for word in long)
