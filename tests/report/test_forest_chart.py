"""The forest plot of a comparison: a row a ratio, told apart from 1 only where its interval is."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pandas as pd
import pytest

from orchestrator.report.compare import Comparison, Match
from orchestrator.report.drawing import Drawing
from orchestrator.report.execution_frame import data_of
from orchestrator.report.forest_chart import MOST_ROWS, pair_names, ratios_chart
from orchestrator.report.pairs import Change
from tests.report.synthetic import Truth, executions

CHANGES = {
    "counted_energy_j": Change(1.27, 1.2, 1.34),
    "n_new_tokens": Change(1.0, 0.9, 1.1),
    "tokens_per_s": Change(0.5, note="fewer than 3 sessions on a side"),
}


def match(a: str, b: str, changes: Mapping[str, Change] = CHANGES, n_pairs: int = 1) -> Match:
    pairs = pd.DataFrame({"configuration": ["x"] * n_pairs})
    return Match(a, b, pairs, same_meter=True, same_model=True, changes=changes)


def drawing_of(*matches: Match) -> Drawing | None:
    data = data_of(executions(Truth(), 0).iloc[:0])
    return ratios_chart(Comparison(data, data, matches))


def test_a_row_a_ratio_says_whether_it_differs_from_one() -> None:
    drawing = drawing_of(match("pc / a / nf4", "hpc / a / nf4"))
    assert drawing is not None
    drawing.chart.to_dict(validate=True)
    json.dumps(drawing.spec(), allow_nan=False)
    rows = drawing.data["ratios"].set_index("ratio")
    assert list(rows["kind"]) == [
        "A and B differ beyond chance",
        "A and B may be equal",
        "no interval: nobody can tell",
    ]
    assert list(rows["text"]) == ["1.27 (1.2 to 1.34)", "1 (0.9 to 1.1)", "0.5"]
    assert (drawing.panels, set(rows["pair"])) == (1, {"pc → hpc / a / nf4"})
    assert drawing.message.startswith("An answer of B took 1.27 (1.2 to 1.34) times")


def test_of_several_pairs_each_ratio_has_a_panel_in_the_order_of_the_table() -> None:
    drawing = drawing_of(*(match(f"pc / {model} / nf4", f"hpc / {model} / nf4") for model in "abc"))
    assert drawing is not None
    drawing.chart.to_dict(validate=True)
    spec = drawing.spec()
    assert drawing.panels == 3
    assert spec["facet"]["sort"][0] == "energy of an answer"
    assert list(drawing.data["ratios"]["pair"].unique()) == ["a", "b", "c"]


def test_what_the_model_gave_is_marked() -> None:
    drawing = drawing_of(match("pc / a / nf4", "hpc / a / nf4", n_pairs=0))
    assert drawing is not None
    assert all(drawing.data["ratios"]["text"].str.endswith(", by model"))


def test_of_many_pairs_some_are_shown_and_it_says_so() -> None:
    n = MOST_ROWS + 5
    drawing = drawing_of(*(match(f"pc / a / {k}", f"hpc / a / {k}") for k in range(n)))
    assert drawing is not None
    assert drawing.data["ratios"]["pair"].nunique() == MOST_ROWS
    assert drawing.note.startswith(f"The first {MOST_ROWS} of {n} pairs")


def test_without_a_ratio_there_is_no_chart() -> None:
    assert drawing_of() is None
    usable = {"usable": Change(0.1, 0.0, 0.2)}
    assert drawing_of(match("pc / a / nf4", "hpc / a / nf4", usable)) is None


@pytest.mark.parametrize(
    ("pairs", "names"),
    [
        ([("pc / a / nf4", "pc / a / nf4")], ["pc / a / nf4"]),
        ([("pc / a / nf4", "hpc / a / none")], ["pc → hpc / a / nf4 → none"]),
        ([("pc / a / x", "hpc / a / x"), ("pc / b / x", "hpc / b / x")], ["a", "b"]),
        ([("my / pc / a / x", "hpc / a / x")], ["my / pc / a / x → hpc / a / x"]),
    ],
)
def test_a_pair_has_a_short_name(pairs: list[tuple[str, str]], names: list[str]) -> None:
    assert pair_names([match(*pair) for pair in pairs]) == names
