"""The head of a report: devices, models, days and versions."""

from __future__ import annotations

from pathlib import Path

from orchestrator.dataset.paths import DataSetPaths
from orchestrator.report.circumstances import circumstances
from orchestrator.report.execution_frame import data_of, read_data
from tests.report.synthetic import Truth, executions
from tests.report.test_page import out

__all__ = ["out"]  # the fixture of a data set


def test_versions_come_from_the_trials(out: Path) -> None:
    facts = dict(circumstances(read_data(DataSetPaths(out))))
    assert facts["packages"] == "torch 2.11"
    assert facts["GPU"] == "none"
    assert facts["measured"] == "2026-01-02"
    assert facts["model"] == "smollm2"


def test_what_is_unknown_has_its_reason() -> None:
    facts = dict(circumstances(data_of(executions(Truth(), 0, points=2))))
    assert facts["packages"].startswith("unknown: ")
    assert facts["GPU"] == "GPU"
    assert facts["measured"] == "unknown"
    assert circumstances(data_of(executions(Truth(), 0).iloc[:0])) == []


def test_some_executions_without_a_gpu_are_told() -> None:
    frame = executions(Truth(), 0, points=2)
    frame.loc[0, "gpu_name"] = None
    assert dict(circumstances(data_of(frame)))["GPU"] == "GPU; some executions had none"
