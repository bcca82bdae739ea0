"""A data set at a path with letters that the locale's encoding lacks is found by every verb."""

from __future__ import annotations

import json

from tests.real.conftest import Orchestrator
from tests.real.test_sweep_life import SIMULATED

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""Python decodes names of files as ASCII then."""


def test_a_data_set_with_another_alphabet(orchestrator: Orchestrator) -> None:
    at = ("--out", "città")
    sweep = ("--space", "uniform", "--samples", "1", "--use-case", "fantasyWorld")
    assert orchestrator.tune(*sweep, *at, *SIMULATED, **ASCII)["executions_run"] == 2
    assert {path.name for path in orchestrator.folder.iterdir()} == {"cache", "città"}
    for verb in ("validate", "summarize", "evaluate", "report"):
        orchestrator.run(verb, *at, **ASCII)
    status = json.loads(orchestrator.run("status", "--json", *at, **ASCII).stdout)
    assert status["sweeps"][0]["done"] == 2
    assert (orchestrator.folder / "città" / "report.html").stat().st_size > 0
    assert orchestrator.tune(*sweep, *at, *SIMULATED, **ASCII)["executions_done_before"] == 2
