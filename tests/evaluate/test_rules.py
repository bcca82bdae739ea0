"""Rules: typical texts by the packaged ones, limits and quality, files that a researcher edits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.dataset.verdicts import REASONS
from orchestrator.errors import UserError
from orchestrator.evaluate.rules import PACKAGED, Limit, Rules, read_rules
from orchestrator.evaluate.verdict import Text, verdict_on
from tests.evaluate import texts

RULES = read_rules()


levels = st.integers(-200, 200).map(lambda n: n / 100)


def judged(
    text: str, prompt: str = texts.PROMPT, rules: Rules = RULES, **changes: Any
) -> tuple[bool, tuple[str, ...]]:
    verdict = verdict_on(Text("a#1", "creativeStorytelling", prompt, text, **changes), rules)
    assert verdict.usable == (not verdict.reasons)
    assert verdict.usable == (verdict.quality >= 0.5), "0.5 is where a limit stands"
    return verdict.usable, verdict.reasons


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        (texts.ENGLISH, texts.PROMPT),
        (texts.ENGLISH[:200], texts.PROMPT),
        (texts.ITALIAN, texts.PROMPT_IT),
        (texts.POEM, texts.PROMPT),
        (
            texts.CHOREOGRAPHY,
            (
                "Create a choreography for a slow waltz danced by a couple in a ballroom, with two "
                "natural turns."
            ),
        ),
        (texts.ENGLISH * 2, texts.PROMPT),
    ],
    ids=["story", "cut off", "Italian", "poem", "list", "twice as long"],
)
def test_sense_is_usable(text: str, prompt: str) -> None:
    assert judged(text, prompt) == (True, ())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("... 123 !", "empty"),
        ("The sea.", "too_short"),
        (texts.LOOP, "repetition"),
        (texts.ENGLISH + texts.LOOP, "repetition"),
        (texts.SALAD, "repetition"),
        (texts.GIBBERISH, "gibberish"),
        (texts.ENGLISH + texts.GIBBERISH * 3, "gibberish"),
        (texts.PROMPT, "prompt_echo"),
        (texts.FRENCH, "wrong_language"),
        (texts.ITALIAN, "wrong_language"),
        (texts.OFF_TOPIC, "off_topic"),
    ],
)
def test_nonsense_is_not(text: str, reason: str) -> None:
    usable, reasons = judged(text)
    assert not usable
    assert reason in reasons


def test_a_text_in_another_language_is_not_called_gibberish() -> None:
    assert "gibberish" not in judged(texts.ITALIAN)[1]
    assert "wrong_language" not in judged(texts.GIBBERISH)[1]


def test_models_signals_count_where_they_are_known() -> None:
    assert judged(texts.ENGLISH, similarity=0.1) == (False, ("off_topic",))
    assert judged(texts.ENGLISH, similarity=0.7) == (True, ())
    assert judged(texts.ENGLISH, judge_score=0.2) == (False, ("judge",))


@given(levels, levels, levels, st.booleans())
def test_quality_is_monotone_continuous_and_half_at_the_limit(
    limit: float, value: float, step: float, least: bool
) -> None:
    rule = (
        Limit(at_least=limit, good=limit + 0.5) if least else Limit(at_most=limit, good=limit - 0.5)
    )
    assert 0 <= rule.score(value) <= 1
    assert rule.score(limit) == 0.5
    assert (rule.score(rule.good), rule.passes(rule.good)) == (1, True)
    assert rule.passes(value) == (rule.score(value) >= 0.5)
    better, worse = (max, min) if least else (min, max)
    assert rule.score(better(value, value + step)) >= rule.score(worse(value, value + step))
    assert abs(rule.score(value + 1e-9) - rule.score(value)) < 1e-6


def test_the_worst_signal_is_the_quality() -> None:
    signals = {
        "n_words": 50,
        "language": "en",
        "language_share": 1.0,
        "distinct_2": 0.65,
        "dictionary_share": 0.895,
    }
    limits = {
        "distinct_2": Limit(at_least=0.45, good=0.85),
        "dictionary_share": Limit(at_least=0.84, good=0.95),
    }
    assert Rules(version=1, limits=limits).judge(signals, "any", "en") == ((), pytest.approx(0.75))
    signals["distinct_2"] = 0.25
    assert Rules(version=1, limits=limits).judge(signals, "any", "en") == (
        ("repetition",),
        pytest.approx(0.25),
    )


def test_unknown_signals_and_short_texts_are_left_alone() -> None:
    limits = {
        "distinct_1": Limit(at_most=0.9, good=0.5, from_words=30),
        "similarity": Limit(at_least=0.4, good=0.6),
    }
    signals = {
        "n_words": 29,
        "language": None,
        "language_share": None,
        "distinct_1": 1.0,
        "similarity": None,
    }
    rules = Rules(version=1, limits=limits)
    assert rules.judge(signals, "any", None) == ((), 1.0)
    assert rules.judge(signals | {"n_words": 30}, "any", None)[0] == ("gibberish",)


def test_a_use_case_has_limits_of_its_own() -> None:
    rules = Rules(
        version=1,
        limits={"distinct_2": Limit(at_least=0.9, good=1.0)},
        use_cases={"danceCoreography": {"distinct_2": Limit(at_least=0.2, good=0.5)}},
    )
    signals = {"n_words": 50, "language": "en", "language_share": 1.0, "distinct_2": 0.4}
    assert rules.judge(signals, "fantasyWorld", "en")[0] == ("repetition",)
    assert rules.judge(signals, "danceCoreography", "en")[0] == ()


def test_every_change_of_a_rule_changes_the_name_that_verdicts_record(tmp_path: Path) -> None:
    text = PACKAGED.read_text()
    names = {RULES.name}
    for old, new in [
        ("version: 1", "version: 2"),
        ("at_least: 5", "at_least: 6"),
        ("from_words: 30", "from_words: 31"),
    ]:
        assert old in text
        (tmp_path / "mine.yaml").write_text(text.replace(old, new, 1))
        names.add(read_rules(tmp_path / "mine.yaml").name)
    assert len(names) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version: 1\nlimits: {distinct_9: {at_least: 1, good: 2}}", "distinct_9"),
        ("version: 1\nlimits: {distinct_2: {good: 2}}", "needs either at_least or at_most"),
        (
            "version: 1\nlimits: {distinct_2: {at_least: 1, good: 0.5}}",
            "good must lie on the side of the limit that passes",
        ),
        ("limits: {}", "version"),
        ("[]", "mine.yaml"),
    ],
)
def test_a_faulty_file_is_told_by_its_key(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        read_rules(tmp_path / "mine.yaml")


def test_reasons_stand_in_the_schemas_order() -> None:
    reasons = judged("blorp " * 60)[1]
    assert len(reasons) > 1
    assert list(reasons) == [reason for reason in REASONS if reason in reasons]
