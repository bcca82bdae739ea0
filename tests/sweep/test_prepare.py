"""What is to be run: notes on what the plan can't tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.sweep.planning import make_plan
from orchestrator.sweep.prepare import prepare
from orchestrator.sweep.request import Request, resolve_request


def notes(samples: int, out: Path, space: str = "lhs") -> list[str]:
    """Of a plan of so many configurations, those on their number."""
    request = Request(space=space, samples=samples, engines=("simulated",), out=out)
    resolved = resolve_request(request, [])
    said = prepare(resolved, make_plan(resolved)).notes
    return [note for note in said if "can't tell" in note]


FEW = (
    "can't tell what a hyperparameter does: 12 are needed, 15 to tell it apart from the length, "
    "and 20 tell more (--samples 20)"
)
BESIDE_LENGTH = (
    "can't tell what a hyperparameter does beside the length of the text: 15 are needed, and 20 "
    "tell more (--samples 20)"
)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (1, [f"1 configuration {FEW}"]),
        (11, [f"11 configurations {FEW}"]),
        (12, [f"12 configurations {BESIDE_LENGTH}"]),
        (14, [f"14 configurations {BESIDE_LENGTH}"]),
        (15, []),
        (20, []),
    ],
)
def test_too_few_configurations_are_told_before_they_run(
    samples: int, expected: list[str], tmp_path: Path
) -> None:
    assert notes(samples, tmp_path / "out") == expected


def test_what_counts_is_what_the_grid_has(tmp_path: Path) -> None:
    """The largest grid of at most 15 points has 8."""
    (note,) = notes(15, tmp_path / "out", "grid")
    assert note.startswith("8 configurations can't tell")
