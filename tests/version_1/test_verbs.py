"""Every verb that reads a data set works on one of schema version 1.

Counts, ids, hashes, texts and energies are compared. Tables are read through frozen.py here,
since some columns have other names and types in later versions.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.dataset.parquet import read_parquet
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.schema import ExecutionRow
from tests import builders
from tests.cli.test_review import Running
from tests.commandline import Outcome, caller
from tests.real.conftest import Orchestrator
from tests.version_1.frozen import (
    MEASURED,
    SIMULATED,
    SWEEP,
    executions_in,
    rows_of,
    simulated_truth,
    trial_bytes,
    truth_in,
)

INCOMPLETE = {
    "sweeps/lhs-12b380eebdee.json": "incomplete: 185 of 190 executions",
    "sweeps/lhs-e419d0431621.json": "incomplete: 25 of 30 executions",
}
"""What MEASURED misses of its plans: its only errors."""

Call = Callable[..., Outcome]


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Call:
    """Run the command line in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    return caller(capsys)


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """A copy of the two trials measured on a GPU."""
    return Path(shutil.copytree(MEASURED, tmp_path / "measured"))


@pytest.fixture
def simulated(tmp_path: Path) -> Path:
    """A copy of the complete simulated sweep."""
    return Path(shutil.copytree(SIMULATED, tmp_path / "simulated"))


@pytest.fixture
def fresh(tmp_path: Path, call: Call) -> Path:
    """A data set of the present version: one trial of three executions."""
    paths = DataSetPaths(tmp_path / "fresh")
    spec = builders.spec()
    items = [builders.measured(number, of=spec) for number in (1, 2, 3)]
    builders.seal_trial(paths, spec, items)
    assert call("summarize", "--out", str(paths.root)).code == 0
    return paths.root


def as_json(done: Outcome, code: int = 0) -> Any:
    """What a verb with --json said; it ended with this exit code."""
    assert done.code == code, done.err
    return json.loads(done.out)


def text_of(fact: dict[str, Any]) -> tuple[str, int, str]:
    """What tells a text: its configuration, its seed, its hash."""
    return fact["config_hash"], fact["generation_seed"], fact["text_sha256"]


def assert_only_incomplete(findings: list[dict[str, str]]) -> None:
    """The findings are those that MEASURED has had since it was frozen."""
    errors = [finding for finding in findings if finding["severity"] == "error"]
    assert {finding["where"] for finding in errors} == set(INCOMPLETE)
    assert len(errors) == len(INCOMPLETE)
    (caveat,) = [finding for finding in findings if finding["severity"] == "warning"]
    assert caveat["what"].startswith("3 of 10 on a GPU are flagged new_lengths")
    for finding in errors:
        assert finding["what"].startswith(INCOMPLETE[finding["where"]])


def test_status(call: Call, measured: Path, simulated: Path) -> None:
    printed = as_json(call("status", "--json", "--out", str(measured)))
    counts = {s["id"]: (s["done"], s["missing"], s["planned"]) for s in printed["sweeps"]}
    assert counts == {"lhs-12b380eebdee": (5, 185, 190), "lhs-e419d0431621": (5, 25, 30)}
    energies_j = {
        sweep["id"]: [
            (one["energy_basis"], one["counted_energy_j"])
            for one in sweep["gross_energy"]["of_basis"]
        ]
        for sweep in printed["sweeps"]
    }
    counter = "gpu_energy_counter_j"
    assert energies_j["lhs-12b380eebdee"] == [(counter, pytest.approx(392.981, rel=1e-5))]
    assert energies_j["lhs-e419d0431621"] == [(counter, pytest.approx(1309.544, rel=1e-5))]
    (sweep,) = as_json(call("status", "--json", "--out", str(simulated)))["sweeps"]
    assert (sweep["id"], sweep["done"], sweep["missing"]) == ("lhs-3f67acc214ce", 6, 0)
    assert sweep["gross_energy"] == {"of_basis": [], "n_unmeasured": 6}


def test_watch_once(call: Call, measured: Path) -> None:
    done = call("watch", "--once", "--out", str(measured))
    assert (done.code, done.err) == (0, "")
    assert "5 of 190 executions" in done.out
    assert "5 of 30 executions" in done.out
    assert "GPU energy (counter) 393 J ± 10 %, gross" in done.out


def test_validate(call: Call, measured: Path, simulated: Path) -> None:
    printed = as_json(call("validate", "--json", "--out", str(measured)), code=3)
    assert (printed["trials"], printed["executions"]) == (2, 10)
    assert_only_incomplete(printed["findings"])
    printed = as_json(call("validate", "--json", "--out", str(simulated)))
    assert (printed["trials"], printed["executions"], printed["findings"]) == (3, 6, [])


def test_validate_finds_an_edited_file(call: Call, simulated: Path) -> None:
    edited = next(simulated.glob("*/*/*/*/*/output.txt"))
    edited.write_text("Another text.", encoding="utf-8")
    (finding,) = as_json(call("validate", "--json", "--out", str(simulated)), code=3)["findings"]
    assert finding["where"] == edited.parent.relative_to(simulated).as_posix()
    assert finding["what"].startswith("output.txt: ")


@pytest.mark.parametrize("frozen", [MEASURED, SIMULATED])
def test_summarize(call: Call, tmp_path: Path, frozen: Path) -> None:
    copy = Path(shutil.copytree(frozen, tmp_path / "copy"))
    for name in ("executions.parquet", "summary.parquet"):
        (copy / name).unlink()
    printed = as_json(call("summarize", "--json", "--out", str(copy)))
    assert printed["left_out"] == []
    assert executions_in(copy) == executions_in(frozen)
    for name in ("n_executions", "n_usable", "n_discarded", "n_new_tokens", "energy_j", "flags"):
        for new, old in zip(
            rows_of(copy / "summary.parquet"), rows_of(frozen / "summary.parquet"), strict=True
        ):
            assert new[name] == old[name], name
    assert trial_bytes(copy) == trial_bytes(frozen)
    after = as_json(
        call("validate", "--json", "--out", str(copy)), code=3 if frozen == MEASURED else 0
    )
    assert all(finding["where"] in {*INCOMPLETE, "executions"} for finding in after["findings"])


def test_the_simulated_sweep_is_the_one_of_the_hashes(call: Call, simulated: Path) -> None:
    assert call("summarize", "--out", str(simulated)).code == 0
    assert truth_in(simulated) == simulated_truth()


def test_evaluate_knows_the_verdicts(call: Call, measured: Path) -> None:
    printed = as_json(call("evaluate", "--json", "--out", str(measured)))
    assert (printed["judged"], printed["known"], printed["faults"]) == (0, 10, [])
    assert (printed["kept"], printed["discarded"], printed["overruled"]) == (2, 8, 4)
    assert printed["wasted_energy_j"] == pytest.approx(1384.446)
    assert executions_in(measured) == executions_in(MEASURED)


def test_evaluate_judges_the_texts_anew(call: Call, measured: Path) -> None:
    (measured / "verdicts.parquet").unlink()
    assert as_json(call("evaluate", "--json", "--out", str(measured)))["judged"] == 10
    for new, old in zip(
        rows_of(measured / "verdicts.parquet"), rows_of(MEASURED / "verdicts.parquet"), strict=True
    ):
        for name in ("execution", "text_sha256", "usable", "reasons"):
            assert new[name] == old[name]
    assert trial_bytes(measured) == trial_bytes(MEASURED)


def test_evaluate_leaves_synthetic_texts_alone(call: Call, simulated: Path) -> None:
    printed = as_json(call("evaluate", "--json", "--out", str(simulated)))
    assert (printed["judged"], printed["synthetic"], printed["faults"]) == (0, 6, [])


def test_review(measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue has every text, and a decision is added to those of version 1."""
    monkeypatch.chdir(tmp_path)
    page = Running(DataSetPaths(measured))
    try:
        assert page.first.startswith("10 texts to review as ada: ")
        entries = page.ask("list")["entries"]
        assert {entry["execution"] for entry in entries} == set(executions_in(MEASURED))
        page.decide(0, "keep")
        code, out, err = page.end()
    finally:
        page.process.kill()
        page.process.communicate()
    assert (code, err) == (0, "")
    assert "1 text decided: 1 kept" in out
    lines = (measured / "reviews.jsonl").read_bytes()
    assert lines.startswith((MEASURED / "reviews.jsonl").read_bytes())
    assert lines.count(b"\n") == 5
    decided = json.loads(lines.splitlines()[-1])["execution"]
    row = executions_in(measured)[decided]
    assert row["text"] == executions_in(MEASURED)[decided]["text"]
    assert trial_bytes(measured) == trial_bytes(MEASURED)


def test_report(call: Call, measured: Path, simulated: Path) -> None:
    assert call("report", "--out", str(measured), "--tables", "tables.md").code == 0
    page = (measured / "report.html").read_text(encoding="utf-8")
    assert "<b>1,703 J ± 6.2 %</b>" in page, "energy of all executions by the GPU's counter"
    (payload,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page)
    rows = json.loads(payload)["rows"]
    keys = rows["keys"]
    trials = {(row[keys.index("use_case")], row[keys.index("name")]) for row in rows["trials"]}
    assert {("danceCoreography", "0001-r1"), ("creativeStorytelling", "0000-r1")} <= trials
    tables = Path("tables.md").read_text(encoding="utf-8")
    assert "| prompt_echo | 3 |" in tables
    assert call("report", "--out", str(simulated)).code == 0
    assert (simulated / "report.html").stat().st_size > 10_000


def test_report_compares_with_a_data_set_of_the_present(
    call: Call, measured: Path, fresh: Path
) -> None:
    again = Path(shutil.copytree(measured, "again"))
    assert call("summarize", "--out", str(again)).code == 0
    done = call("report", "--compare", str(measured), str(again), "--tables", "same.md")
    assert done.code == 0, done.err
    same = Path("same.md").read_text(encoding="utf-8")
    equal = same.partition("equal in A and B: ")[2]
    assert "configurations, prompts" in equal
    for pair in ((measured, fresh), (fresh, measured)):
        done = call("report", "--compare", *map(str, pair), "--tables", "other.md")
        assert done.code == 0, done.err
        assert "1,703 J" in Path("other.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("chart", ["energy-length", "usable"])
def test_plot(call: Call, measured: Path, chart: str) -> None:
    done = call("plot", chart, "--out", str(measured), "--file", "chart.svg")
    assert done.code == 0, done.err
    assert "<svg" in Path("chart.svg").read_text(encoding="utf-8")


def test_publish(call: Call, measured: Path, simulated: Path) -> None:
    """An incomplete data set is refused for that alone; a complete one is published."""
    accept = ("--accept", "own_name")  # a host's name may be a word of a text
    refused = call("publish", "--check", "--json", *accept, "--out", str(measured))
    assert_only_incomplete(as_json(refused, code=3)["findings"])
    done = as_json(call("publish", "--json", *accept, "--out", str(simulated)))
    assert (done["written"], done["findings"]) == (True, [])
    card = (simulated / "README.md").read_text(encoding="utf-8")
    assert "6 executions" in card
    columns = read_parquet(DataSetPaths(simulated).executions).column_names
    assert columns == list(ExecutionRow.model_fields), "those that the card describes"
    assert trial_bytes(simulated) == trial_bytes(SIMULATED)
    assert as_json(call("validate", "--json", "--out", str(simulated)))["findings"] == []


def test_publish_loses_no_row_that_only_the_table_has(call: Call, simulated: Path) -> None:
    """A shortened data set: its tables hold more trials than it has folders."""
    table = DataSetPaths(simulated).executions
    before = table.read_bytes()
    shutil.rmtree(next(simulated.glob("*/*/*/*/*")))
    assert call("publish", "--out", str(simulated)).code == 3
    assert table.read_bytes() == before


@pytest.mark.parametrize("into", ["old into new", "new into old"])
def test_merge_with_a_data_set_of_the_present(
    call: Call, measured: Path, fresh: Path, into: str
) -> None:
    wanted = executions_in(measured) | executions_in(fresh)
    assert len(wanted) == 13
    bytes_before = trial_bytes(measured) | trial_bytes(fresh)
    source, target = (measured, fresh) if into == "old into new" else (fresh, measured)
    printed = as_json(call("merge", str(source), "--json", "--out", str(target)))
    assert len(printed["sources"][0]["copied"]) == (2 if source == measured else 1)
    assert trial_bytes(target) == bytes_before
    merged = executions_in(target)
    assert merged.keys() == wanted.keys()
    judgements = {"usable", "reasons", "quality", "decided_by"}
    for name, row in merged.items():
        for column in row.keys() - judgements:  # merge takes no verdicts and reviews along
            assert row[column] == wanted[name][column], (name, column)
    again = as_json(call("merge", str(source), "--json", "--out", str(target)))
    assert again["sources"][0]["copied"] == []
    findings = as_json(call("validate", "--json", "--out", str(target)), code=3)["findings"]
    assert {finding["where"] for finding in findings if finding["severity"] == "error"} == set(
        INCOMPLETE
    )


def test_merge_into_a_new_data_set(
    call: Call, measured: Path, simulated: Path, fresh: Path
) -> None:
    sources = [str(measured), str(fresh), str(simulated)]
    printed = as_json(call("merge", *sources, "--json", "--out", "all"))
    missing = {sweep["id"]: sweep["missing"] for sweep in printed["sweeps"]}
    assert missing["lhs-3f67acc214ce"] == 0
    assert [len(source["copied"]) for source in printed["sources"]] == [2, 1, 3]
    assert len(executions_in(Path("all"))) == 10 + 3 + 6


def test_plan(call: Call, simulated: Path) -> None:
    """A plan of the same sweep finds everything there; a larger one only what is new."""
    same = ("plan", "--json", *SWEEP, "--samples", "3", "--prompts", "2", "--out", str(simulated))
    plan = as_json(call(*same))
    assert (plan["id"], plan["missing_executions"]) == ("lhs-3f67acc214ce", 0)
    more = as_json(call(*same, "--repeats", "2"))
    assert (more["id"], more["missing_executions"]) == ("lhs-3f67acc214ce", 6)
    more = as_json(call(*same, "--prompts", "3"))
    assert (more["id"], more["missing_executions"]) == ("lhs-3f67acc214ce", 3)
    other = as_json(call(*same, "--samples", "4"))
    assert other["id"] != "lhs-3f67acc214ce"
    assert other["missing_executions"] == 8


@pytest.mark.real
def test_tune_resumes(call: Call, simulated: Path, tmp_path: Path) -> None:
    """Nothing is missing; of a larger sweep only the new executions run. No sealed file changes.

    More samples of lhs are a new design, which runs beside the old one.
    """
    program = Orchestrator(tmp_path, tmp_path / "cache")
    flags = (*SWEEP, "--out", str(simulated))
    same = program.tune(*flags, "--samples", "3", "--prompts", "2")
    assert same["sweep"] == "lhs-3f67acc214ce"
    assert (same["trials_run"], same["executions_done_before"]) == (0, 6)
    assert truth_in(simulated) == simulated_truth()
    more = program.tune(*flags, "--samples", "3", "--prompts", "3", "--repeats", "2")
    assert more["sweep"] == "lhs-3f67acc214ce"
    assert (more["executions_done_before"], more["executions_run"]) == (6, 12)
    new = {
        (row["config_hash"], row["repeat"], row["prompt"])
        for row in executions_in(simulated).values()
    }
    assert len(new) == len(executions_in(simulated)) == 3 * 3 * 2
    known = {text_of(fact) for fact in truth_in(simulated)}
    assert known >= {text_of(fact) for fact in simulated_truth()}
    beside = program.tune(*flags, "--samples", "4", "--prompts", "2")
    assert beside["sweep"] != "lhs-3f67acc214ce"
    assert (beside["trials_run"], beside["executions_run"]) == (4, 8)
    assert trial_bytes(SIMULATED).items() <= trial_bytes(simulated).items()
    assert as_json(call("validate", "--json", "--out", str(simulated)))["findings"] == []


@pytest.mark.real
@pytest.mark.slow  # in short: test_the_simulated_sweep_is_the_one_of_the_hashes
def test_tune_measures_the_same_texts_as_version_1(tmp_path: Path) -> None:
    program = Orchestrator(tmp_path, tmp_path / "cache")
    flags = (*SWEEP, "--samples", "3", "--prompts", "2", "--out", str(tmp_path / "anew"))
    assert program.tune(*flags)["sweep"] == "lhs-3f67acc214ce"
    assert truth_in(tmp_path / "anew") == simulated_truth()
