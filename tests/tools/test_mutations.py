"""The table of mutations is up to date, and the program tells what is caught from what isn't.

All of them: `pytest -m slow tests/tools`, or `python -m tools.mutations`.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tools.mutation_table import MUTATIONS, Mutation
from tools.mutations import check, main, out_of_date

BY_NAME = {mutation.name: mutation for mutation in MUTATIONS}
CHEAP = BY_NAME["opening-edge-anywhere"]


def test_the_table_is_up_to_date() -> None:
    assert [fault for mutation in MUTATIONS if (fault := out_of_date(mutation))] == []
    assert len(BY_NAME) == len(MUTATIONS)
    assert all(mutation.old != mutation.new for mutation in MUTATIONS)


@pytest.mark.parametrize(
    ("stale", "says"),
    [
        (replace(CHEAP, old="no such text"), "its text stands 0 times in"),
        (replace(CHEAP, old="self"), "times in orchestrator/meters/counter.py, not once"),
        (replace(CHEAP, tests=("tests/meters/test_counter.py::test_gone",)), "there is no tests/"),
        (replace(CHEAP, tests=("tests/meters/gone.py::test_gone",)), "there is no tests/"),
    ],
)
def test_what_is_out_of_date_is_told(
    stale: Mutation, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as raised:
        check([stale])
    assert raised.value.code == 3
    assert says in capsys.readouterr().out


def test_what_is_caught_and_what_survives(capsys: pytest.CaptureFixture[str]) -> None:
    harmless = replace(CHEAP, name="harmless", new=f"{CHEAP.old}  # the same")
    with pytest.raises(SystemExit) as raised:
        check([CHEAP, harmless, BY_NAME["power-semantics-by-name"]])
    assert raised.value.code == 3
    _, _, edge, same, semantics, _, last = capsys.readouterr().out.splitlines()
    assert "| meters/test_counter.py::test_both_edges_are_unbiased[0.5-65.0] |" in edge
    assert "| **SURVIVED** |" in same
    assert "| gpu/test_architectures.py::test_what_power_means[NVIDIA RTX A3000-" in semantics
    assert last == "2 of 3 mutations are caught."


@pytest.mark.slow
def test_every_mutation_is_caught() -> None:
    main([])
