"""What a person is shown of a comparison."""

from __future__ import annotations

from orchestrator.bench.catalogue import LETTERS, ways_of
from orchestrator.bench.table import HEAD, notes, table_rows
from tests.bench.fakes import run

A, B, C, OURS, COMPILED = ways_of(LETTERS, ("transformers", "compiled"))


def test_a_row_has_medians_with_least_and_most() -> None:
    rows = table_rows({A: [run(1, wall_s=20.0), run(2, wall_s=30.0)], B: [run(1), run(2)]})
    assert [dict(zip(HEAD, row, strict=True)) for row in rows] == [
        {
            "way": "a: the report's way",
            "wall s": "25 (20..30)",
            "of b": "2.50 (2.00..3.00)",
            "in generate s": "4",
            "overhead s per trial": "10.5 (8..13)",
            "to first window s": "3",
            "rest of b": "3.14 (2.43..3.86)",
            "tokens/s": "10",
            "GPU energy": "n/a",
        },
        {
            "way": "b: bare warm loop",
            "wall s": "10",
            "of b": "1.00",
            "in generate s": "4",
            "overhead s per trial": "3",
            "to first window s": "3",
            "rest of b": "1.00",
            "tokens/s": "10",
            "GPU energy": "n/a",
        },
    ]


def test_energies_of_one_way_have_one_unit() -> None:
    known = {"energy_unknown_because": None}
    runs = {B: [run(1, energy_j=9000.0, **known), run(2, energy_j=12000.0, **known)]}
    assert table_rows(runs)[0][-1] == "2.92 Wh (2.5 Wh..3.33 Wh)"


def test_notes_say_what_is_equal_what_is_unknown_and_how_busy_it_was() -> None:
    runs = {B: [run()], OURS: [run(protocol_s=20.0)], COMPILED: [run(load_1min=3.25)]}
    assert notes(runs, []) == [
        "Texts are the same, byte by byte: bare warm loop; tune, transformers.",
        "The same number of tokens, but other texts: tune, compiled.",
        (
            "tune, transformers: 20 s of it are the protocol (meters, idle power, warm-up), which "
            "the other ways don't have."
        ),
        "Energy: no GPU: a CPU has no energy counter that can be read around a way.",
        "Load average before each way: 0.5 to 3.2.",
    ]


def test_nothing_is_called_equal_where_something_differs() -> None:
    assert not any("same" in line for line in notes({A: [run()], B: [run()]}, ["a text differs"]))
