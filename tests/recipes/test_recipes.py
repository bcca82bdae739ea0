"""CONTRIBUTING.md's six recipes, made in a copy of the package and seen in a sweep with them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"```python\n# (\S+) \(([^)]+)\)\n(.*?)```", re.DOTALL)

pytestmark = pytest.mark.real

SPACE = """name: halton
sampler: halton
parameters:
  max_length: {type: int, low: 100, high: 200}
  top_p: {type: float, low: 0.0, high: 1.0}
  top_k: {type: int, low: 0, high: 100}
  temperature: {type: float, low: 0.0, high: 2.0}
"""


def apply(package: Path, name: str, where: str, code: str) -> None:
    """Make one change of a recipe."""
    path = package / name
    if where == "new":
        path.write_text(code)
        return
    text = path.read_text()
    if where == "at the end":
        text += "\n\n" + code
    elif where.startswith("at the end of "):
        head = re.escape(where.removeprefix("at the end of "))
        table = re.search(rf"^{head}\b.*?^}}$", text, re.DOTALL | re.MULTILINE)
        assert table is not None, f"{name}: {where}"
        text = text[: table.end() - 1] + code + text[table.end() - 1 :]
    else:
        head = f"class {where.removeprefix('in ')}(Noun):"
        end = text.index("\n\n\nclass ", text.index(head))
        text = text[:end] + "\n" + code.rstrip("\n") + text[end:]
    assert code in text, f"{name}: {where}"
    path.write_text(text)


class Changed:
    """The package with all recipes, and a sweep that was run with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for part in ("orchestrator", "search_spaces", "prompts", "clusters", "tests"):
            shutil.copytree(ROOT / part, folder / part)
        shutil.copy(ROOT / "pyproject.toml", folder)
        recipes = BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text())
        for name, where, code in recipes:
            apply(folder, name, where, code)
        self.n_recipes = len(recipes)
        (folder / "search_spaces" / "halton.yaml").write_text(SPACE)

    def python(self, *arguments: str) -> str:
        """What a Python that finds this package first says."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(self.folder)},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    def orchestrator(self, *arguments: str) -> str:
        return self.python("-m", "orchestrator", *arguments)

    def rows(self, table: str = "executions") -> pd.DataFrame:
        return pd.read_parquet(self.folder / "measurements" / f"{table}.parquet")

    def dictionary(self) -> str:
        code = "from orchestrator.dataset.dictionary import data_dictionary as d; print(d())"
        return self.python("-c", code)

    def report(self) -> str:
        return (self.folder / "report.html").read_text()


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Changed:
    """All six at once, and a sweep of six executions with them."""
    made = Changed(tmp_path_factory.mktemp("recipes"))
    made.orchestrator(
        *("tune", "--space", "halton", "--engine", "echo", "--model", "smollm2", "--samples", "3"),
        *("--prompts", "2", "--use-case", "danceCoreography", "--machine", "cpu"),
    )
    made.orchestrator("report", "--file", "report.html")
    return made


def test_there_are_six(changed: Changed) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    heads = re.findall(r"^### An? (\w+)$", text, re.MULTILINE)
    assert heads == ["sampler", "engine", "meter", "column", "flag", "chart"]
    assert changed.n_recipes == 13, "a file, rows of tables, and rows of the tables' tests"
    assert set(changed.rows()["status"]) == {"ok"}
    assert json.loads(changed.orchestrator("validate", "--json"))["findings"] == []


def test_a_sampler(changed: Changed) -> None:
    assert set(changed.rows()["strategy"]) == {"haltonSampling"}
    assert (changed.folder / "measurements/cpu/echo-smollm2/haltonSampling").is_dir()
    assert changed.rows()["config_hash"].nunique() == 3


def test_an_engine(changed: Changed) -> None:
    rows = changed.rows()
    assert set(rows["engine"]) == {"echo"}
    assert all(
        set(text.split()) <= set(prompt.split())
        for text, prompt in zip(rows.output_text, rows.prompt_text, strict=True)
    )
    assert "echo: repeats the prompt" in changed.dictionary()


def test_two_engines_in_one_sweep(changed: Changed) -> None:
    """The same configurations and seeds for both, which the report compares pair by pair."""
    changed.orchestrator(
        *("tune", "--space", "halton", "--engine", "echo", "--engine", "simulated", "--out", "two"),
        *("--model", "smollm2", "--samples", "3", "--prompts", "2", "--machine", "cpu"),
        *("--use-case", "danceCoreography"),
    )
    rows = pd.read_parquet(changed.folder / "two" / "executions.parquet")
    assert dict(rows.groupby("engine").size()) == {"echo": 6, "simulated": 6}
    assert set(rows["model"]) == {"echo-smollm2"}
    for _, pair in rows.groupby(["config_index", "prompt_number"]):
        assert len(set(pair["seed"])) == 1
        assert len(set(pair["config_hash"])) == 2
    assert json.loads(changed.orchestrator("validate", "--out", "two", "--json"))["findings"] == []


def test_a_meter(changed: Changed) -> None:
    assert changed.rows()["host_load"].ge(0).all()
    assert "| `host_load` | double | 1 | load average of the last minute |" in changed.dictionary()
    assert "host_load" in changed.report()


def test_a_column(changed: Changed) -> None:
    rows = changed.rows()
    assert (rows["n_output_characters"] == rows["output_text"].str.len()).all()
    assert "| `n_output_characters` | int64 | characters |" in changed.dictionary()
    assert "n_output_characters" in changed.report()


def test_a_column_is_null_in_data_sets_measured_before(changed: Changed) -> None:
    """A data set that was measured without the column reads, and is put together with this one."""
    old = str(ROOT / "tests" / "data" / "version-1-simulated")
    changed.orchestrator("merge", old, "measurements", "--out", "both")
    both = pd.read_parquet(changed.folder / "both" / "executions.parquet")
    assert both["host_load"].isna().sum() == len(both) - len(changed.rows()) > 0
    assert set(both[both["host_load"].isna()]["engine"]) == {"simulated"}


def test_the_contract_suites_take_the_new_kinds(changed: Changed) -> None:
    said = changed.python(
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "halton or echo or load or tested"),
        *(f"tests/{family}/test_contract.py" for family in ("samplers", "engine", "meters")),
    )
    passed = re.search(r"(\d+) passed", said)
    assert passed is not None
    assert int(passed[1]) > 40, said


def test_no_other_test_must_be_touched(changed: Changed) -> None:
    """Those that look at all meters, columns, flags or charts at once."""
    said = changed.python(
        *("-m", "pytest", "-q", "-p", "no:cacheprovider"),
        *(
            "tests/test_measure.py",
            "tests/report/test_charts.py",
            "tests/report/test_page.py",
            "tests/meters/test_contract.py",
        ),
        *(f"tests/dataset/test_{name}.py" for name in ("schema", "flags", "upgrades")),
        *("-k", "flag or by_hand or axis or full_report or no_counter or outer or table_of"),
    )
    assert " passed" in said


def test_a_flag(changed: Changed) -> None:
    assert changed.rows()["warning_flags"].str.contains("instant").all()
    assert (
        "| `instant` | the window is shorter than 0.01 s | told | executions |"
        in changed.dictionary()
    )


def test_a_chart(changed: Changed) -> None:
    assert "New tokens of the answers" in changed.report()
    changed.orchestrator("plot", "tokens", "--file", "tokens.pdf")
    assert (changed.folder / "tokens.pdf").read_bytes().startswith(b"%PDF")
