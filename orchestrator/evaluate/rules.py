"""The rules that turn a text's signals into a verdict.

Their limits stand in rules.yaml beside this file. A researcher can copy and edit it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from orchestrator.dataset.verdicts import REASONS
from orchestrator.nouns import Noun, digest
from orchestrator.yaml_files import load_yaml, parse

PACKAGED = Path(__file__).with_name("rules.yaml")
"""The rules that come with the program."""

REASON_OF = {
    "n_words": "too_short",
    "distinct_2": "repetition",
    "zlib_ratio": "repetition",
    "max_repeat_run": "repetition",
    "dictionary_share": "gibberish",
    "distinct_1": "gibberish",
    "distinct_3": "repetition",
    "language_share": "gibberish",
    "echo_ratio": "prompt_echo",
    "prompt_overlap": "off_topic",
    "similarity": "off_topic",
    "judge_score": "judge",
}
"""Signal -> the reason for discarding a text whose signal is beyond its limit.

Two reasons more are special cases: `empty` of n_words, and `wrong_language` of dictionary_share."""

OTHER_LANGUAGE_SHARE = 0.8
"""With at least this share of words known in another language, a text is in that language.

Below it, a text whose words are unknown in the prompt's language is gibberish."""

SignalName = Literal[
    "n_words",
    "distinct_1",
    "distinct_2",
    "distinct_3",
    "zlib_ratio",
    "max_repeat_run",
    "dictionary_share",
    "language_share",
    "echo_ratio",
    "prompt_overlap",
    "similarity",
    "judge_score",
]


SCORE_AT_LIMIT = 0.5


class Limit(Noun):
    """The value from which on a signal discards a text, and the value of unsuspicious texts."""

    at_least: float | None = Field(default=None, allow_inf_nan=False)
    at_most: float | None = Field(default=None, allow_inf_nan=False)
    good: float = Field(allow_inf_nan=False)
    """From here on the signal's score is 1."""
    from_words: int = Field(default=0, ge=0)
    """Shorter texts are not judged by this signal."""

    @model_validator(mode="after")
    def _one_side(self) -> Self:
        """Refuse a limit on no side or both, and a good value on the side that fails."""
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("needs either at_least or at_most")
        good_is_below = self.at_least is not None and self.good <= self.at_least
        good_is_above = self.at_most is not None and self.good >= self.at_most
        if good_is_below or good_is_above:
            raise ValueError("good must lie on the side of the limit that passes")
        return self

    def passes(self, value: float) -> bool:
        """Whether a value keeps to the limit."""
        # By the score, so that a text's quality and its verdict can't contradict each other.
        return self.score(value) >= SCORE_AT_LIMIT

    def score(self, value: float) -> float:
        """The score of a value: 0.5 at the limit, and 1 at `good` and beyond.

        It is linear between, and falls to 0 as far on the other side of the limit.
        """
        limit = self.at_most
        if self.at_least is not None:
            limit = self.at_least
        assert limit is not None  # noqa: S101 - the validator makes sure of it
        score = SCORE_AT_LIMIT + (1 - SCORE_AT_LIMIT) * (value - limit) / (self.good - limit)
        return min(1.0, max(0.0, score))


class Rules(Noun):
    """All limits, with those that hold only for some use cases."""

    version: int = Field(ge=1)
    limits: dict[SignalName, Limit]
    use_cases: dict[str, dict[SignalName, Limit]] = Field(default_factory=dict)

    @cached_property
    def name(self) -> str:
        """The version, and a hash of all limits."""
        return f"{self.version}:{digest(self.model_dump())}"

    def of(self, use_case: str) -> dict[SignalName, Limit]:
        """The limits of a use case."""
        return {**self.limits, **self.use_cases.get(use_case, {})}

    def judge(
        self, signals: dict[str, Any], use_case: str, language: str | None
    ) -> tuple[tuple[str, ...], float]:
        """(reasons, quality) of a text, from its signals. Without a reason it is usable.

        `language` is that of the prompt. Quality is the lowest score of a known signal, from 0 to
        1; unknown signals are left out.
        """
        if not signals["n_words"]:
            return ("empty",), 0.0
        scores, reasons = [1.0], set()
        for name, limit, value in self._applied(signals, use_case):
            scores.append(limit.score(value))
            if not limit.passes(value):
                reasons.add(_reason(name, signals, language))
        return tuple(reason for reason in REASONS if reason in reasons), min(scores)

    def _applied(
        self, signals: dict[str, Any], use_case: str
    ) -> Iterator[tuple[str, Limit, float]]:
        """(signal, limit, value) of each known signal that judges a text of this length."""
        for name, limit in self.of(use_case).items():
            value = signals.get(name)
            if value is not None and signals["n_words"] >= limit.from_words:
                yield name, limit, float(value)


def _reason(name: str, signals: dict[str, Any], language: str | None) -> str:
    """The reason that a signal beyond its limit gives."""
    if name != "dictionary_share":
        return REASON_OF[name]
    # Few known words are either noise or good words of another language.
    in_another = signals["language"] not in (None, language)
    if in_another and (signals["language_share"] or 0) >= OTHER_LANGUAGE_SHARE:
        return "wrong_language"
    return REASON_OF[name]


@cache
def packaged_rules() -> Rules:
    """The rules that come with the program.

    They are read only once, since a learning sampler needs them after each trial.
    """
    return read_rules()


def read_rules(path: Path | None = None) -> Rules:
    """Read rules from a file, or the packaged ones. Raises UserError naming the faulty key."""
    file = path or PACKAGED
    return parse(Rules, load_yaml(file), file)
