"""Signals on typical texts and on any text at all."""
# ruff: noqa: RUF001 - typographic apostrophes are what texts have

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.dataset.verdicts import Signals
from orchestrator.evaluate.signals import distinct, prompt_language, repeat_run, signals_of
from orchestrator.evaluate.words import language_of, lowest_share_known, words_of
from tests import builders
from tests.evaluate.texts import ENGLISH, FRENCH, GIBBERISH, ITALIAN, LOOP, PROMPT, PROMPT_IT

SHARES = (
    "distinct_1",
    "distinct_2",
    "distinct_3",
    "dictionary_share",
    "language_share",
    "echo_ratio",
    "prompt_overlap",
)


def check_signals(text: str, prompt: str) -> None:
    """They are the same each time, fit the columns and are possible."""
    signals = signals_of(text, prompt)
    assert signals == signals_of(text, prompt)
    Signals.model_validate(signals | {"similarity": None, "judge_score": None})
    assert all(signals[name] is None or 0 <= signals[name] <= 1 for name in SHARES)
    assert signals["max_repeat_run"] <= signals["n_words"]


@settings(max_examples=60)
@given(text=builders.texts | st.text(max_size=400), prompt=builders.texts)
def test_any_text_gives_valid_signals_the_same_each_time(text: str, prompt: str) -> None:
    check_signals(text, prompt)


@pytest.mark.parametrize("text", builders.HOSTILE_TEXTS, ids=range(len(builders.HOSTILE_TEXTS)))
def test_hostile_texts_give_valid_signals(text: str) -> None:
    check_signals(text, PROMPT)


def test_words_are_of_any_script_and_keep_their_apostrophes() -> None:
    assert words_of("L'età dell’oro, 3rd don't_stop — мир 世界") == [
        "L'età",
        "dell’oro",
        "rd",
        "don't",
        "stop",
        "мир",
        "世界",
    ]


@pytest.mark.parametrize(
    ("text", "language"),
    [(ENGLISH, "en"), (ITALIAN, "it"), (FRENCH, "fr"), (GIBBERISH, None), ("", None)],
)
def test_the_language_of_a_text(text: str, language: str | None) -> None:
    assert language_of(words_of(text))[0] == language


def test_the_language_asked_for_is_the_prompts() -> None:
    assert (prompt_language(PROMPT), prompt_language(PROMPT_IT), prompt_language("世界")) == (
        "en",
        "it",
        None,
    )


def test_names_are_not_words_that_a_dictionary_should_know() -> None:
    words = words_of("Then Elara and Kaelith rode to Zanthoria with Brimwald")
    assert lowest_share_known(words, "en", [slice(None)]) == 1.0
    names = ["Elara", "Kaelith"]
    assert lowest_share_known(names, "en", [slice(None)]) == 0.0, (
        "a text of nothing else is counted"
    )
    assert lowest_share_known(words + names, "en", [slice(0, 8), slice(8, None)]) == 0.0


def test_distinct_by_hand() -> None:
    words = ["a", "b", "a", "b", "a"]
    assert (distinct(words, 1), distinct(words, 2), distinct(["a"], 2)) == (2 / 5, 2 / 4, None)


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("", 0),
        ("a", 1),
        ("a b c", 1),
        ("a a a b", 3),
        ("x a b a b a b y", 3),
        ("a b c a b c a b", 2),
        ("no no yes yes yes yes", 4),
    ],
)
def test_the_longest_repetition_by_hand(text: str, times: int) -> None:
    assert repeat_run(text.split()) == times


@given(st.lists(st.sampled_from("abc"), max_size=30))
def test_the_longest_repetition_as_one_would_look_for_it(words: list[str]) -> None:
    longest = min(1, len(words))
    for size in range(1, len(words) // 2 + 1):
        for start in range(len(words)):
            phrase, times = words[start : start + size], 1
            while (
                len(phrase) == size
                and words[start + times * size : start + (times + 1) * size] == phrase
            ):
                times += 1
            longest = max(longest, times)
    assert repeat_run(words) == longest


def test_a_text_that_ends_in_a_loop_is_seen_by_its_worst_window() -> None:
    whole = signals_of(ENGLISH * 3 + LOOP, PROMPT)
    alone = signals_of(ENGLISH, PROMPT)
    assert whole["distinct_2"] < 0.2 < alone["distinct_2"]
    assert whole["zlib_ratio"] < 0.2 < alone["zlib_ratio"]


def test_noise_at_the_end_is_seen_too() -> None:
    assert (
        signals_of(ENGLISH + GIBBERISH * 3, PROMPT)["dictionary_share"]
        < 0.6
        < signals_of(ENGLISH, PROMPT)["dictionary_share"]
    )


def test_echo_and_overlap_tell_the_prompt_from_an_answer() -> None:
    echo, answer = signals_of(PROMPT, PROMPT), signals_of(ENGLISH, PROMPT)
    assert (echo["echo_ratio"], echo["prompt_overlap"]) == (1.0, 1.0)
    assert answer["echo_ratio"] == 0.0
    assert answer["prompt_overlap"] > 0.2
    assert signals_of(ITALIAN, PROMPT)["prompt_overlap"] < 0.1
