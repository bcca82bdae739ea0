"""Rules: from signals to a verdict. The limits stand in a YAML that a researcher can edit (rules.yaml beside this file)."""

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
"""The reason that a signal beyond its limit gives; `empty` and `wrong_language` come from n_words and dictionary_share."""

OTHER_LANGUAGE_SHARE = 0.8
"""Known words in another language from which on a text is in that language, not gibberish."""

SignalName = Literal[
    "n_words", "distinct_1", "distinct_2", "distinct_3", "zlib_ratio", "max_repeat_run", "dictionary_share", "language_share",
    "echo_ratio", "prompt_overlap", "similarity", "judge_score",
]  # fmt: skip


class Limit(Noun):
    """Where a signal begins to condemn a text, and where it is beyond suspicion."""

    at_least: float | None = Field(default=None, allow_inf_nan=False)
    at_most: float | None = Field(default=None, allow_inf_nan=False)
    good: float = Field(allow_inf_nan=False)
    from_words: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _one_side(self) -> Self:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("needs one of at_least and at_most")
        if (self.at_least is not None and self.good <= self.at_least) or (
            self.at_most is not None and self.good >= self.at_most
        ):
            raise ValueError("good must lie on the side that passes")
        return self

    def passes(self, value: float) -> bool:
        """Whether a value keeps to it."""
        return self.score(value) >= 0.5  # noqa: PLR2004 - so that quality and usable can't contradict each other

    def score(self, value: float) -> float:
        """0.5 at the limit, 1 at `good` and beyond, 0 as far on the other side; straight between."""
        limit = self.at_least if self.at_least is not None else self.at_most
        assert limit is not None  # noqa: S101 - by the validator
        return min(1.0, max(0.0, 0.5 + 0.5 * (value - limit) / (self.good - limit)))


class Rules(Noun):
    """All limits, with those of single use cases."""

    version: int = Field(ge=1)
    limits: dict[SignalName, Limit]
    use_cases: dict[str, dict[SignalName, Limit]] = Field(default_factory=dict)

    @cached_property
    def name(self) -> str:
        """Version and hash of what is in force."""
        return f"{self.version}:{digest(self.model_dump())}"

    def of(self, use_case: str) -> dict[SignalName, Limit]:
        """The limits for a use case."""
        return {**self.limits, **self.use_cases.get(use_case, {})}

    def judge(
        self, signals: dict[str, Any], use_case: str, language: str | None
    ) -> tuple[tuple[str, ...], float]:
        """(reasons, quality) for the signals of a text whose prompt is in `language`; no reasons: usable.

        Quality is the worst signal's score; an unknown signal says nothing.
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
        for name, limit in self.of(use_case).items():
            value = signals.get(name)
            if value is not None and signals["n_words"] >= limit.from_words:
                yield name, limit, float(value)


def _reason(name: str, signals: dict[str, Any], language: str | None) -> str:
    other = (
        signals["language"] not in (None, language)
        and (signals["language_share"] or 0) >= OTHER_LANGUAGE_SHARE
    )
    return "wrong_language" if name == "dictionary_share" and other else REASON_OF[name]


@cache
def packaged_rules() -> Rules:
    """The rules that come with the program, read once: a learning sampler asks for them with each trial."""
    return read_rules()


def read_rules(path: Path | None = None) -> Rules:
    """The packaged rules, or those of a file. Raises UserError naming the faulty key."""
    file = path or PACKAGED
    return parse(Rules, load_yaml(file), str(file))
