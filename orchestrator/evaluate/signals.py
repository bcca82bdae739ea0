"""Signals: what can be measured on a text without a model. They tell garbage from language, not truth from error.

Shares of n-grams and compression fall with a text's length by themselves, so they are taken over windows of 100 words; of a
longer text the worst window counts, since a text that ends in a loop or in noise began well.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from orchestrator.evaluate.words import language_of, lemma, share_known, words_of

WINDOW_WORDS = 100
LONGEST_PERIOD = 30
"""Words of the longest phrase whose direct repetition is looked for."""
ECHO_WORDS = 5
CONTENT_LETTERS = 5
"""Of the shortest word that says what a prompt is about; shorter ones are mostly articles, pronouns and the like."""


def signals_of(text: str, prompt: str) -> dict[str, Any]:
    """The model-free fields of dataset.verdicts.Signals for a text that answers a prompt."""
    words = words_of(text)
    lower = [word.lower() for word in words]
    windows = list(_windows(words))
    language = prompt_language(prompt)
    reads_like, language_share = language_of(words[:WINDOW_WORDS])
    shares = [
        share
        for window in windows
        if language and (share := share_known(window, language)) is not None
    ]
    return {
        "n_words": len(words),
        "distinct_1": distinct(lower[:WINDOW_WORDS], 1),
        "distinct_2": min(
            filter(None, (distinct([w.lower() for w in window], 2) for window in windows)),
            default=None,
        ),
        "distinct_3": distinct(lower[:WINDOW_WORDS], 3),
        "zlib_ratio": min((_compressed(" ".join(window)) for window in windows), default=None),
        "dictionary_share": min(shares, default=None),
        "language": reads_like,
        "language_share": language_share,
        "echo_ratio": _echo(lower, prompt),
        "max_repeat_run": repeat_run(lower),
        "prompt_overlap": _overlap(lower, prompt, language),
    }


@lru_cache(maxsize=10_000)
def prompt_language(prompt: str) -> str | None:
    """The language that an answer should be in; None where it can't be told."""
    return language_of(words_of(prompt))[0]


def distinct(words: Sequence[str], n: int) -> float | None:
    """Share of different n-grams (distinct-n, Li et al. 2016, arXiv 1510.03055); None for fewer than n words."""
    grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    return len(set(grams)) / len(grams) if grams else None


def repeat_run(words: Sequence[str]) -> int:
    """How often at most the same phrase of 1 to LONGEST_PERIOD words stands in direct succession; 1 without repetition."""
    longest = min(1, len(words))
    for period in range(1, min(LONGEST_PERIOD, len(words) // 2) + 1):
        same = 0
        for here, before in zip(words[period:], words, strict=False):
            same = same + 1 if here == before else 0
            if same >= period:
                longest = max(longest, same // period + 1)
    return longest


def _windows(words: Sequence[str]) -> Iterator[Sequence[str]]:
    """Windows of 100 words, each begun half a window after the one before, the last at the end; a shorter text is one."""
    last = max(0, len(words) - WINDOW_WORDS)
    starts = [*range(0, last, WINDOW_WORDS // 2), last] if words else []
    return (words[start : start + WINDOW_WORDS] for start in starts)


def _compressed(text: str) -> float:
    raw = text.encode()
    return len(zlib.compress(raw, 9)) / len(raw)


def _echo(words: Sequence[str], prompt: str) -> float | None:
    asked = [word.lower() for word in words_of(prompt)]
    of_prompt = {tuple(asked[i : i + ECHO_WORDS]) for i in range(len(asked) - ECHO_WORDS + 1)}
    grams = [tuple(words[i : i + ECHO_WORDS]) for i in range(len(words) - ECHO_WORDS + 1)]
    return sum(gram in of_prompt for gram in grams) / len(grams) if grams else None


def _overlap(words: Sequence[str], prompt: str, language: str | None) -> float | None:
    content = _content(prompt, language)
    if not content:
        return None
    found = {
        lemma(word, language) if language else word
        for word in set(words)
        if len(word) >= CONTENT_LETTERS
    }
    return len(content & found) / len(content)


@lru_cache(maxsize=10_000)
def _content(prompt: str, language: str | None) -> frozenset[str]:
    long = {word.lower() for word in words_of(prompt) if len(word) >= CONTENT_LETTERS}
    return frozenset(lemma(word, language) if language else word for word in long)
