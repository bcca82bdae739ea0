"""Fit the rules' limits on labelled texts, and count their mistakes on other texts.

    python -m tools.labelled.fit [--embedding FOLDER] [--rules FILE] > tables.md

Answers to prompts of odd number are fitted on, answers to prompts of even number are held out.
Prints Markdown: the limits that the fit would choose, and what the rules in force (not the fitted
ones) get right and wrong among the held-out texts. Doesn't know whether a label is right. Both
halves hold texts of the same configurations and of the same model.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from orchestrator.evaluate.rules import Limit, Rules, SignalName, read_rules
from orchestrator.evaluate.signals import prompt_language, signals_of

LABELS = Path(__file__).with_name("labels.jsonl")

FALSE_ALARM_COST = 2.0
"""Throwing a usable text away is taken to be this many times as bad as keeping an unusable one."""

GOOD_QUANTILE = 0.25
"""`good` is what all but this share of the usable texts reach."""

GRIDS: dict[str, Iterable[float]] = {
    "n_words": range(2, 21),
    "distinct_1": np.arange(80, 101, 1) / 100,
    "distinct_2": np.arange(10, 82, 2) / 100,
    "distinct_3": np.arange(10, 82, 2) / 100,
    "zlib_ratio": np.arange(10, 52, 2) / 100,
    "max_repeat_run": range(2, 13),
    "dictionary_share": np.arange(60, 99, 1) / 100,
    "language_share": np.arange(60, 99, 1) / 100,
    "echo_ratio": np.arange(5, 105, 5) / 100,
    "prompt_overlap": np.arange(0, 32, 2) / 100,
    "similarity": np.arange(0, 65, 5) / 100,
}
"""Limits that are tried."""

BANDS = {"T <= 1.0": (0.0, 1.0), "1.0 < T <= 1.5": (1.0, 1.5), "T > 1.5": (1.5, 2.0)}


@dataclass(frozen=True)
class Case:
    """A labelled text, measured."""

    id: str
    use_case: str
    prompt_number: int
    text: str
    temperature: float | None
    usable: bool
    reason: str
    signals: dict[str, Any]
    language: str | None

    def reasons(self, rules: Rules) -> tuple[str, ...]:
        """Why the rules would discard it."""
        return rules.judge(self.signals, self.use_case, self.language)[0]


@dataclass(frozen=True)
class Confusion:
    """Counts; `caught` are unusable texts that were discarded."""

    caught: int
    missed: int
    false_alarms: int
    kept: int

    @property
    def cost(self) -> float:
        """Mean of the two error rates, that of false alarms weighted; no texts, no errors."""
        false_alarms = self.false_alarms / max(1, self.false_alarms + self.kept)
        misses = self.missed / max(1, self.missed + self.caught)
        return (FALSE_ALARM_COST * false_alarms + misses) / (FALSE_ALARM_COST + 1)


def read_cases(
    path: Path, similarities: Callable[[list[tuple[str, str]]], list[float]] | None = None
) -> list[Case]:
    """The labelled texts with their signals."""
    rows = [
        json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()
    ]
    found = (
        similarities([(row["prompt"], row["text"]) for row in rows])
        if similarities
        else [None] * len(rows)
    )
    return [
        Case(
            **{
                name: row.get(name)
                for name in ("id", "use_case", "prompt_number", "text", "temperature")
            },
            usable={"usable": True, "unusable": False}[row["label"]],
            reason=row.get("reason") or "",
            signals=signals_of(row["text"], row["prompt"])
            | {"similarity": similarity, "judge_score": None},
            language=prompt_language(row["prompt"]),
        )
        for row, similarity in zip(rows, found, strict=True)
    ]


def confusion(cases: Iterable[Case], rules: Rules) -> Confusion:
    """How the rules' words compare with the labels."""
    pairs = [(case.usable, not case.reasons(rules)) for case in cases]
    return Confusion(
        *(
            pairs.count(pair)
            for pair in [(False, False), (False, True), (True, False), (True, True)]
        )
    )


def fit(cases: Sequence[Case], rules: Rules) -> Rules:
    """Limits of the least cost on the cases, one at a time until none changes.

    Of limits with equal cost, the one nearest to the limit in force is taken.
    """
    start = rules
    for _ in range(10):
        before = rules
        for name in rules.limits:
            if any(case.signals[name] is not None for case in cases) and name in GRIDS:
                rules = min(
                    (
                        _with(rules, name, value)
                        for value in (
                            _at(rules.limits[name]),
                            _at(start.limits[name]),
                            *GRIDS[name],
                        )
                    ),
                    key=lambda tried: (
                        confusion(cases, tried).cost,
                        abs(_at(tried.limits[name]) - _at(start.limits[name])),
                    ),
                )
        if rules == before:
            break
    return _good(rules, [case for case in cases if case.usable])


def _at(limit: Limit) -> float:
    return float(limit.at_least if limit.at_least is not None else limit.at_most or 0.0)


def _with(rules: Rules, name: SignalName, value: float, good: float | None = None) -> Rules:
    """The rules with another limit; without a new `good`, it moves along."""
    old = rules.limits[name]
    side = "at_least" if old.at_least is not None else "at_most"
    good = old.good + float(value) - _at(old) if good is None else good
    limit = Limit(**{side: float(value), "good": round(good, 4), "from_words": old.from_words})
    return rules.model_copy(update={"limits": {**rules.limits, name: limit}})


def _good(rules: Rules, usable: Sequence[Case]) -> Rules:
    """`good` from the usable texts; not that of n_words, since short isn't bad."""
    for name, limit in rules.limits.items():
        values = [case.signals[name] for case in usable if case.signals[name] is not None]
        if name == "n_words" or not values:
            continue
        least = limit.at_least is not None
        good = round(float(np.quantile(values, GOOD_QUANTILE if least else 1 - GOOD_QUANTILE)), 2)
        if good > _at(limit) if least else good < _at(limit):
            rules = _with(rules, name, _at(limit), good)
    return rules


def share(k: int, n: int) -> str:
    """A share with Wilson's 95 % interval."""
    if not n:
        return "-"
    interval = binomtest(k, n).proportion_ci(method="wilson")
    return f"{k / n:.2f} ({interval.low:.2f}-{interval.high:.2f})"


def table(groups: dict[str, list[Case]], rules: Rules) -> list[str]:
    """A line of Markdown a group."""
    lines = [
        (
            "| texts | n | unusable: discarded | unusable: kept "
            "| usable: discarded | usable: kept | precision | recall |"
        ),
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, cases in groups.items():
        c = confusion(cases, rules)
        precision, recall = (
            share(c.caught, c.caught + c.false_alarms),
            share(c.caught, c.caught + c.missed),
        )
        lines.append(
            f"| {name} | {len(cases)} | {c.caught} | {c.missed} "
            f"| {c.false_alarms} | {c.kept} | {precision} | {recall} |"
        )
    return lines


def by_reason(cases: Sequence[Case], rules: Rules) -> list[str]:
    """Which kinds of unusable texts are found."""
    lines = ["| labelled reason | n | discarded | for that reason |", "|---|---|---|---|"]
    for reason in sorted({case.reason for case in cases if not case.usable}):
        given = [case.reasons(rules) for case in cases if not case.usable and case.reason == reason]
        discarded = sum(bool(reasons) for reasons in given)
        for_that_reason = sum(reason in reasons for reasons in given)
        lines.append(f"| {reason} | {len(given)} | {discarded} | {for_that_reason} |")
    return lines


def groups_of(cases: Sequence[Case]) -> dict[str, list[Case]]:
    """All, by use case, by temperature; handmade texts have no temperature."""
    groups = {"all": list(cases)}
    for name in sorted({case.use_case for case in cases}):
        groups[name] = [case for case in cases if case.use_case == name]
    for name, (low, high) in BANDS.items():
        groups[name] = [
            case
            for case in cases
            if case.temperature is not None
            and (low < case.temperature <= high or case.temperature == low == 0.0)
        ]
    handmade = [case for case in cases if case.temperature is None]
    if handmade:
        groups["handmade"] = handmade
    return groups


def wrong(cases: Sequence[Case], rules: Rules, *, usable: bool) -> list[str]:
    """The texts of one label that the rules take for the other."""
    lines = []
    for case in cases:
        reasons = case.reasons(rules)
        if case.usable == usable and usable == bool(
            reasons
        ):  # usable and discarded, or unusable and kept
            told = ", ".join(reasons) or f"labelled {case.reason}"
            lines.append(f"- {case.id}: {told}: {json.dumps(case.text[:80], ensure_ascii=False)}")
    return lines or ["- none"]


def limits_of(rules: Rules) -> list[str]:
    """As they stand in rules.yaml."""
    lines = []
    for name, limit in rules.limits.items():
        values = limit.model_dump(exclude_defaults=True)
        inside = ", ".join(f"{key}: {value:g}" for key, value in values.items())
        lines.append(f"  {name}: {{{inside}}}")
    return lines


def report(cases: Sequence[Case], rules: Rules) -> list[str]:
    """All of it, as Markdown."""
    fitted_on = [case for case in cases if case.prompt_number % 2]
    held_out = [case for case in cases if not case.prompt_number % 2]
    fitted = fit(fitted_on, rules)
    usable = sum(case.usable for case in cases)
    return [
        (
            f"{len(cases)} labelled texts, {usable} usable; "
            f"{len(fitted_on)} fitted on, {len(held_out)} held out."
        ),
        f"Rules in force: {rules.name}.",
        "",
        "Limits that the fit chooses:",
        "",
        "```yaml",
        *limits_of(fitted),
        "```",
        "",
        *table({"fitted on": fitted_on, "held out": held_out}, fitted),
        "",
        "The rules in force:",
        "",
        *table({"fitted on": fitted_on}, rules),
        "",
        "The rules in force, held-out texts (95 % intervals by Wilson):",
        "",
        *table(groups_of(held_out), rules),
        "",
        *by_reason(held_out, rules),
        "",
        "False alarms:",
        "",
        *wrong(held_out, rules, usable=True),
        "",
        "Missed:",
        "",
        *wrong(held_out, rules, usable=False),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the report on labels.jsonl."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--labels", type=Path, default=LABELS)
    parser.add_argument("--rules", type=Path)
    parser.add_argument("--embedding", metavar="FOLDER")
    options = parser.parse_args(arguments)
    similarities = None
    if options.embedding:
        from orchestrator.evaluate.embedding import load

        similarities = load(options.embedding).similarities
    print("\n".join(report(read_cases(options.labels, similarities), read_rules(options.rules))))


if __name__ == "__main__":
    main()
