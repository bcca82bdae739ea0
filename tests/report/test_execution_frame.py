"""The table of executions that the report is made of."""

from __future__ import annotations

import pytest

from orchestrator.report.execution_frame import data_of
from tests.report.synthetic import Truth, executions


def test_the_energy_that_counts_holds_no_pue() -> None:
    """As in the rows themselves, since a GPU's counter holds none either."""
    frame = executions(Truth(), 0, points=2, energy_basis="energy_j", energy_j=54.0, pue=1.5)
    data = data_of(frame)
    assert set(data.kept["counted_energy_j"]) == {36.0}
    per_token_j = (36.0 / frame["n_new_tokens"]).to_list()
    assert data.kept["energy_per_token_j"].to_list() == pytest.approx(per_token_j)
    frame["pue"] = None  # an earlier version
    assert set(data_of(frame).kept["counted_energy_j"]) == {54.0}
