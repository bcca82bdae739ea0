"""The fit of the rules' limits: its counts by hand, the limit it finds, what it holds out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.evaluate.rules import Limit, Rules
from tests.evaluate import texts
from tools.labelled.fit import (
    BANDS,
    Case,
    Confusion,
    by_reason,
    confusion,
    fit,
    groups_of,
    main,
    read_cases,
    share,
    wrong,
)

RULES = Rules(version=1, limits={"distinct_2": Limit(at_least=0.45, good=0.85)})


def case(distinct_2: float, *, usable: bool, **changes: Any) -> Case:
    signals = {"n_words": 50, "language": "en", "language_share": 1.0, "distinct_2": distinct_2}
    known = {
        "id": f"{distinct_2}-{usable}",
        "use_case": "any",
        "prompt_number": 1,
        "text": "text",
        "temperature": 0.7,
    }
    given = (
        known
        | {
            "usable": usable,
            "reason": "" if usable else "repetition",
            "signals": signals,
            "language": "en",
        }
        | changes
    )
    return Case(**given)


CASES = [
    case(0.5, usable=False),
    case(0.3, usable=False),
    case(0.9, usable=True),
    case(0.4, usable=True),
]


def test_counts_and_cost_by_hand() -> None:
    assert confusion(CASES, RULES) == Confusion(caught=1, missed=1, false_alarms=1, kept=1)
    assert confusion(CASES, RULES).cost == pytest.approx((2 * 0.5 + 0.5) / 3)
    assert confusion([], RULES).cost == 0


def test_a_limit_that_parts_the_two_kinds_is_found_and_moves_no_further_than_needed() -> None:
    cases = [
        case(0.52, usable=False),
        case(0.6, usable=False),
        case(0.71, usable=True),
        case(0.9, usable=True),
    ]
    fitted = fit(cases, RULES)
    assert confusion(cases, fitted).cost == 0
    assert fitted.limits["distinct_2"].at_least == pytest.approx(0.62)
    assert fitted.limits["distinct_2"].good == pytest.approx(0.76), (
        "what three quarters of the usable ones reach"
    )


def test_a_limit_that_makes_no_mistake_stays() -> None:
    cases = [case(0.1, usable=False), case(0.9, usable=True)]
    assert fit(cases, RULES).limits["distinct_2"].at_least == 0.45


def test_false_alarms_weigh_more_than_misses() -> None:
    cases = [
        case(0.5, usable=True),
        case(0.5, usable=False),
        case(0.9, usable=True),
        case(0.1, usable=False),
    ]
    assert confusion(cases, fit(cases, RULES)).false_alarms == 0


def test_shares_have_wilsons_interval() -> None:
    assert share(8, 10) == "0.80 (0.49-0.94)"  # Wilson 1927, by hand
    assert share(0, 0) == "-"


def test_every_generated_text_is_in_one_band() -> None:
    temperatures = [0.0, 0.5, 1.0, 1.01, 1.5, 1.51, 2.0]
    groups = groups_of(
        [case(0.9, usable=True, temperature=t) for t in temperatures]
        + [case(0.9, usable=True, temperature=None)]
    )
    assert [len(groups[name]) for name in BANDS] == [3, 2, 2]
    assert (len(groups["all"]), len(groups["handmade"])) == (8, 1)


def test_mistakes_are_listed_with_reason_and_beginning() -> None:
    assert wrong(CASES, RULES, usable=True) == ['- 0.4-True: repetition: "text"']
    assert wrong(CASES, RULES, usable=False) == ['- 0.5-False: labelled repetition: "text"']
    assert wrong([], RULES, usable=True) == ["- none"]
    assert by_reason(CASES, RULES)[2:] == ["| repetition | 2 | 1 | 1 |"]


def _row(number: int, text: str, label: str, reason: str = "") -> dict[str, Any]:
    known = {
        "id": f"{label}-{number}",
        "origin": "handmade",
        "use_case": "creativeStorytelling",
        "temperature": None,
    }
    return known | {
        "prompt_number": number,
        "prompt": texts.PROMPT,
        "text": text,
        "label": label,
        "reason": reason,
    }


def test_the_report_holds_out_even_prompts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [_row(n, texts.ENGLISH, "usable") for n in (1, 2)] + [
        _row(n, texts.LOOP, "unusable", "repetition") for n in (1, 2, 4)
    ]
    labels = tmp_path / "labels.jsonl"
    labels.write_text("".join(json.dumps(row) + "\n" for row in rows))
    main(["--labels", str(labels)])
    said = capsys.readouterr().out
    assert "5 labelled texts, 2 usable; 2 fitted on, 3 held out." in said
    assert "| all | 3 | 2 | 0 | 0 | 1 | 1.00 (0.34-1.00) | 1.00 (0.34-1.00) |" in said
    assert "| handmade | 3 |" in said
    labels.write_text(json.dumps(_row(1, texts.ENGLISH, "perhaps")))
    with pytest.raises(KeyError, match="perhaps"):
        read_cases(labels)
