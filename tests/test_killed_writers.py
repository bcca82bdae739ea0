"""Verbs that are killed before every single step that changes the disk, then run once more.

What is there afterwards is what an undisturbed run leaves, and no temporary file. `publish` has
many steps, and each of its runs takes a second: its short form kills before some of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.tables import rebuild
from orchestrator.dataset.verdicts import read_decisions
from orchestrator.evaluate.evaluation import evaluate
from orchestrator.evaluate.rules import read_rules
from orchestrator.say import silent
from tests.commandline import Outcome
from tests.evaluate.test_evaluation import seal
from tests.evaluate.texts import ENGLISH, LOOP
from tests.importer.test_import_tree import PLACE, table, write
from tests.test_merge import plan_of, run

FEWEST_STEPS = {
    "summarize": 8,
    "evaluate": 12,
    "review": 12,
    "import": 15,
    "merge": 30,
    "publish": 20,
    "publish under another title": 20,
}
"""So many steps at least each verb has: a test that kills nowhere shows nothing."""

STRIDES = {"publish": 6, "publish under another title": 9}
"""Verb -> steps from one kill to the next, in the short form."""


@pytest.fixture
def base(tmp_path: Path) -> DataSetPaths:
    """Two trials with their tables, and a third that came after."""
    paths = DataSetPaths(tmp_path / "base")
    seal(paths, 0, [ENGLISH, LOOP])
    seal(paths, 1, [ENGLISH])
    rebuild(paths)
    seal(paths, 2, [LOOP])
    return paths


def killed_everywhere(
    base: DataSetPaths,
    tmp_path: Path,
    killed: list[str],
    again: list[str] | None = None,
    stride: int = 1,
) -> list[dict[str, Any]]:
    """What each second run left; the first entry is of an undisturbed run."""
    work = tmp_path / "work"
    (tmp_path / "tmp").mkdir()
    both = {"killed": killed, "again": again or killed}
    both = {name: [*words, "--out", str(work)] for name, words in both.items()}
    arguments = [str(base.root), str(work), json.dumps(both), str(stride)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.killed_verb", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"TMPDIR": str(tmp_path / "tmp")},
        cwd=Path(__file__).parents[1],
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("verb", "stride"),
    [
        *((verb, STRIDES.get(verb, 1)) for verb in FEWEST_STEPS),
        *(pytest.param(verb, 1, marks=pytest.mark.slow) for verb in STRIDES),
    ],
)
def test_killed_before_every_step_and_run_again(
    base: DataSetPaths,
    tmp_path: Path,
    call: Callable[..., Outcome],
    monkeypatch: pytest.MonkeyPatch,
    *,
    verb: str,
    stride: int,
) -> None:
    killed, again = [verb], None
    if verb == "import":
        write(tmp_path / "old" / PLACE, table({}, {}), "Output: a\nOutput: b\n")
        write(tmp_path / "old" / PLACE / "more", table({}))
        killed = ["import", str(tmp_path / "old")]
    if verb == "merge":
        evaluate(base.root, read_rules(), say=silent)
        plan = plan_of(4)
        for spec in list(plan.specs())[:2]:
            run(tmp_path / "source", spec, "pc")
        rebuild(DataSetPaths(tmp_path / "source"))
        killed = ["merge", str(tmp_path / "source")]
    if verb == "review":
        killed = ["review", "--reviewer", "ada", "--no-browser"]
    if verb.startswith("publish"):
        evaluate(base.root, read_rules(), say=silent)
        monkeypatch.setattr("orchestrator.publish.scan.names_here", lambda _: ())
        assert call("publish", "--out", str(base.root), "--title", "Before").code == 0
        killed = ["publish", "--title", "Energy"]
        if verb == "publish under another title":
            again = ["publish", "--title", "Power"]
    whole, *results = killed_everywhere(base, tmp_path, killed, again, stride)
    assert whole["codes"] == [0]
    assert len(results) * stride >= FEWEST_STEPS[verb]
    for result in results:
        assert result["codes"] == [0], f"killed before step {result['step']}"
        assert result["left"] == whole["left"], f"killed before step {result['step']}"
        assert result["temporary"] == [], f"killed before step {result['step']}"
    if verb == "review":
        decisions = read_decisions(DataSetPaths(tmp_path / "work"))
        assert {decision.decision for decision in decisions} == {"discard"}
