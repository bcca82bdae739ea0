"""What the shell offers for values."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from orchestrator.cli import cli
from orchestrator.engine import ENGINES
from orchestrator.models import KNOWN
from orchestrator.nouns import QUANTIZATIONS
from orchestrator.report.charts import CHARTS, COMPARISON_CHARTS
from orchestrator.yaml_files import names


def offered(*words: str) -> list[tuple[str, str]]:
    """(value, kind) of what is offered for the last word."""
    shell = ShellComplete(cli, {}, "orchestrator", "_ORCHESTRATOR_COMPLETE")
    return [(item.value, item.type) for item in shell.get_completions(list(words[:-1]), words[-1])]


def plain(*known: str) -> list[tuple[str, str]]:
    return [(name, "plain") for name in known]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("plot", ""), plain(*CHARTS, *COMPARISON_CHARTS)),
        (("plot", "effects", "data"), [("data", "dir")]),
        (("tune", ""), plain(*names("search_spaces"))),
        (("tune", "my"), [("my", "file")]),
        (("plan", "--space", "l"), plain("lhs")),
        (("bench", "--space", "l"), plain("lhs")),
        (("tune", "--model", "s"), plain("smollm2", *(f"synthetic-{name}" for name in KNOWN))),
        (("tune", "--model", "./m"), [("./m", "dir")]),
        (("tune", "--use-case", ""), plain(*names("prompts"))),
        (("tune", "--quantization", ""), plain(*QUANTIZATIONS)),
        (("tune", "--quantization", "zz"), []),
        (("tune", "--engine", ""), plain(*ENGINES)),
        (("tune", "--machine", "c"), plain("colab", "cpu")),
        (("tune", "--dtype", "b"), plain("bfloat16")),
        (("report", "mea"), [("mea", "dir")]),
        (("status", "--out", ""), [("", "dir")]),
    ],
    ids=lambda one: " ".join(map(str, one))[:30],
)
def test_values(
    words: tuple[str, ...],
    expected: list[tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert offered(*words) == expected
