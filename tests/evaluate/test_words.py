"""Words that the dictionaries lack, and what must not pass with them."""

from __future__ import annotations

import unicodedata

import pytest

from orchestrator.evaluate.rules import read_rules
from orchestrator.evaluate.verdict import Text, verdict_on
from orchestrator.evaluate.words import is_known, language_of, words_of

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
    assert [word for word in words.split() if not is_known(word, language)] == []


@pytest.mark.parametrize("word", ["zorbed", "qvest", "fenktarlo", "世界", "мы"])
def test_what_is_no_word_is_not(word: str) -> None:
    assert not is_known(word, "it")


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
