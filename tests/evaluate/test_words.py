"""Words that the dictionaries lack, and what must not pass with them."""

from __future__ import annotations

import random
import unicodedata

import pytest
import simplemma

from orchestrator.evaluate import words as module
from orchestrator.evaluate.rules import read_rules
from orchestrator.evaluate.verdict import Text, verdict_on
from orchestrator.evaluate.words import (
    LANGUAGES,
    LIKELY,
    SURE,
    _stands_in_dictionary,
    language_of,
    looked_up,
    lowest_share_known,
    words_of,
)
from tests.evaluate.texts import ENGLISH, FRENCH, GIBBERISH

ITALIAN = (
    "La città di Verona era già sveglia quando Lucia aprì la finestra. Non c'era più nessuno "
    "nella piazza, perché la pioggia "
    "aveva cacciato via tutti. Così prese l'ombrello di suo papà e camminò fino all'università. "
    "Lì incontrò un uomo che non "
    "aveva età: poteva avere trent'anni o settanta. Può aiutarmi, le chiese guardandola. Sì, "
    "rispose lei, ma devo tornare."
)


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("it", "città virtù lunedì sempre settanta aiutarmi guardandola all'università c'è sì"),
        ("fr", "toujours très voix où l'été"),
        ("en", "don't wizard's it's"),
        ("es", "antes él después"),
        ("de", "über größer sehr"),
    ],
)
def test_common_words_are_known(language: str, words: str) -> None:
    assert [word for word in words.split() if not looked_up(language)[word]] == []


@pytest.mark.parametrize("word", ["zorbed", "qvest", "fenktarlo", "世界", "мы"])
def test_what_is_no_word_is_not(word: str) -> None:
    assert not looked_up("it")[word]


def test_good_italian_is_far_from_the_limit_however_its_accents_are_written() -> None:
    for form in ("NFC", "NFD"):
        text = unicodedata.normalize(form, ITALIAN)
        verdict = verdict_on(
            Text(
                "a#1",
                "any",
                "Racconta la storia di una ragazza che incontra un uomo in città.",
                text,
            ),
            read_rules(),
        )
        assert (verdict.usable, verdict.language) == (True, "it")
        assert verdict.dictionary_share is not None
        assert verdict.dictionary_share > 0.95


def test_another_script_is_none_of_the_languages() -> None:
    assert language_of(words_of("世界 мы 龙")) == (None, None)


WORDS = sorted(
    {*words_of(f"{ENGLISH} {FRENCH} {ITALIAN} {GIBBERISH}"), "Köln", "rome", "\u02bceau"}
)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_word_is_known_where_simplemma_knows_it(language: str) -> None:
    """Words in ASCII are looked up in its dictionary without it."""
    for word in (word.lower() for word in WORDS):
        known = bool(simplemma.is_known(word, lang=language))
        assert _stands_in_dictionary(word, language) == known, word


@pytest.mark.parametrize("seed", range(40))
def test_the_language_is_that_of_the_largest_share(seed: int) -> None:
    """Words are looked up only until it is clear that a language isn't taken."""
    draw = random.Random(seed)
    words = [draw.choice(WORDS) for _ in range(draw.randint(0, 30))]
    best: tuple[str | None, float | None] = (None, None)
    for language in LANGUAGES:
        share = lowest_share_known(words, language, [slice(None)] if words else [])
        if share is not None and share > (best[1] or 0.0):
            best = (language, share)
        if share is not None and share >= SURE:
            break
    if best[1] is None or best[1] < LIKELY:
        best = (None, None)
    assert language_of(words) == best


def test_only_so_many_words_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_LOOKED_UP", 3)
    words = module.LookedUp("en")
    for word in ("winter", "xqzzk", "storm", "kzzqx", "winter"):
        assert words[word] == (word in ("winter", "storm"))
        assert len(words) <= 3
