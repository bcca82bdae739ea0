"""Setups of one data set side by side: a known ratio is found, and only pairs are compared."""

from __future__ import annotations

import pandas as pd
import pytest

from orchestrator.report.execution_frame import Data, data_of
from orchestrator.report.page import page
from orchestrator.report.page_content import tables
from orchestrator.report.setups import MOST_EACH, all_tables, setups_compared, setups_table
from tests.report.test_compare import rows

PLAIN = {"compute_dtype": "bfloat16", "batch_size": 1, "machine": "gpu"}


def seeds(frame: pd.DataFrame) -> pd.Series:
    """A seed a configuration and prompt, as a sweep has them."""
    return frame["config_index"] * 100 + frame["prompt_number"]


def setup(number: int, factor: float = 1.0, **columns: object) -> pd.DataFrame:
    """One setup's answers on the same configurations and prompts, costlier by a factor."""
    frame = rows(0, noise=number, **(PLAIN | columns))
    frame["gpu_energy_counter_j"] *= factor
    return frame.assign(seed=seeds(frame))


def data(*frames: pd.DataFrame) -> Data:
    return data_of(pd.concat(frames, ignore_index=True))


def test_a_known_ratio_between_quantizations_is_found() -> None:
    of_data = data(setup(0), setup(1, 1.5, quantization="none"))
    (comparison,) = setups_compared(of_data).values()
    (match,) = comparison.matches
    assert (match.a, match.b) == ("gpu / smollm2 / nf4", "gpu / smollm2 / none")
    assert match.n_points == 12
    per_token = match.changes["energy_per_token_j"]
    assert per_token.interval is not None
    assert per_token.interval[0] < 1.5 < per_token.interval[1]
    assert match.changes["n_new_tokens"].value == pytest.approx(1)
    table = setups_table(of_data)
    assert [row[:4] for row in table.rows] == [(match.a, match.b, "12", "180")]
    assert table.rows[0][-1] == "GPU energy (counter)"
    assert "Setups side by side" in page(of_data, "test")


def test_the_one_that_was_measured_first_is_a() -> None:
    of_data = data(setup(1, quantization="nf4"), setup(0, quantization="none"))
    (row,) = setups_table(of_data).rows
    assert row[:2] == ("gpu / smollm2 / none", "gpu / smollm2 / nf4")


@pytest.mark.parametrize(
    ("other", "names"),
    [
        ({"quantization": "none"}, ["nf4", "none"]),
        ({"engine": "compiled"}, ["nf4, compiled", "nf4, transformers"]),
        ({"compute_dtype": "float16"}, ["nf4, bfloat16", "nf4, float16"]),
        ({"batch_size": 8}, ["nf4, batch 1", "nf4, batch 8"]),
        ({"quantization": "none", "compute_dtype": "float32"}, ["nf4", "none"]),
        ({"machine": "pc", "compute_dtype": "float16"}, ["nf4"]),
        (
            {"engine": "compiled", "quantization": "int4"},
            ["int4, compiled", "nf4, transformers"],
        ),
    ],
    ids=str,
)
def test_a_group_s_name_says_what_differs(other: dict[str, object], names: list[str]) -> None:
    both = data(setup(0), setup(1, **other))
    assert sorted(both.all["setup"].unique()) == names
    assert set(both.all["group"]) == {
        f"{machine} / smollm2 / {name}"
        for machine, name in zip(both.all["machine"], both.all["setup"], strict=True)
    }


def test_only_answers_with_the_same_seed_on_one_machine_match() -> None:
    other = setup(1, quantization="none")
    assert not setups_table(data(setup(0))).rows
    assert not setups_table(data(setup(0), other.assign(seed=other["seed"] + 10**6))).rows
    assert not setups_table(data(setup(0), other.assign(machine="pc"))).rows
    assert not setups_table(data(setup(0), other.assign(model="llama2"))).rows
    half = other[other["config_index"] < 6]
    (row,) = setups_table(data(setup(0), half)).rows
    assert row[2:4] == ("6", "90")


def test_only_answers_of_one_meter_match() -> None:
    other = setup(1, quantization="none")
    other["gpu_energy_integrated_j"] = other["gpu_energy_counter_j"]
    is_short = other["config_index"] == 0
    other.loc[is_short, "energy_basis"] = "gpu_energy_integrated_j"
    (row,) = setups_table(data(setup(0), other)).rows
    assert row[2] == "11"
    assert "n/a" not in row[4:8], "the rest has its ratios"


def test_of_many_setups_each_is_compared_with_the_first() -> None:
    n_all = MOST_EACH + 1
    some = [setup(number, quantization=f"q{number}") for number in range(n_all)]
    assert len(setups_table(data(*some[:-1])).rows) == MOST_EACH * (MOST_EACH - 1) // 2
    table = setups_table(data(*some))
    assert [row[1].rpartition(" ")[2] for row in table.rows] == [f"q{n}" for n in range(1, n_all)]


def test_a_data_set_of_one_setup_has_no_such_table() -> None:
    one, two = data(setup(0)), data(setup(0), setup(1, quantization="none"))
    assert [table.name for table in all_tables(one)] == [table.name for table in tables(one)]
    assert all_tables(two)[0].name == "setups"
