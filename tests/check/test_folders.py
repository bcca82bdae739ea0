"""A data set that somebody has changed: `validate` names each fault, and nothing crashes.

`summarize` leaves out what can't be read.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.check import folders
from orchestrator.check.folders import validate_folders
from orchestrator.dataset import parquet
from orchestrator.dataset.parquet import read_parquet, write_parquet
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.reading import content_sha256
from orchestrator.dataset.schema import SCHEMA_VERSION
from orchestrator.dataset.tables import rebuild
from orchestrator.dataset.trial_files import append, read_trial
from orchestrator.nouns import TrialSpec
from tests import builders


@pytest.fixture
def paths(tmp_path: Path) -> DataSetPaths:
    """Two trials and their tables."""
    paths = DataSetPaths(tmp_path / "data")
    for index in (0, 1):
        spec = builders.spec(config_index=index)
        builders.seal_trial(
            paths, spec, [builders.measured(p.number, of=spec) for p in spec.prompts]
        )
    rebuild(paths)
    return paths


def folder(paths: DataSetPaths, index: int = 0) -> Path:
    return paths.trial("pc", builders.spec(config_index=index))


def lines(paths: DataSetPaths, *, running: bool = False) -> list[str]:
    return [finding.line() for finding in sorted(validate_folders(paths, running=running)[1])]


def edit(
    paths: DataSetPaths, change: Callable[[dict[str, Any]], None], *, rehash: bool = True
) -> None:
    """Change a trial.json; with `rehash` its hash fits again, so that other checks must see it."""
    file = folder(paths) / "trial.json"
    content = json.loads(file.read_text())
    change(content)
    if rehash:
        content["sha256"] = content_sha256(content)
    file.write_text(json.dumps(content))


def read(file: Path) -> str:
    return file.read_text(encoding="utf-8")


AT = '"started_at": '


def test_a_sound_data_set(paths: DataSetPaths) -> None:
    trials, findings = validate_folders(paths, running=False)
    assert (len(trials), findings) == (2, [])


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda f: f.write_bytes(f.read_bytes()[:500]), "trial.json: isn't JSON: "),
        (lambda f: f.write_bytes(b""), "trial.json: isn't JSON: Expecting value"),
        (lambda f: f.write_bytes(b"\xff\xfe{}"), "not UTF-8 at byte 0"),
        (lambda f: f.write_text("[" * 100_000), "nested too deeply"),
        (lambda f: f.write_text("[]"), "holds no JSON object"),
        (lambda f: f.write_text("{}"), "schema_version is None"),
        (
            lambda f: f.write_text(
                f.read_text().replace(f'"schema_version": {SCHEMA_VERSION}', '"schema_version": 99')
            ),
            "version 99 of its format",
        ),
        (
            lambda f: f.write_text(f.read_text().replace("Text of prompt 1", "A better text")),
            "was edited",
        ),
        (
            lambda f: f.write_text(f.read_text().replace('"energy_j": 20.0', '"energy_j": 2.0', 1)),
            "was edited",
        ),
        (
            lambda f: f.write_text(f.read_text().replace('"status": "ok"', '"status": 7', 1)),
            "status",
        ),
        (
            lambda f: f.write_text(re.sub(r'"started_at": "[^"]*"', AT + '"yesterday"', read(f))),
            "started_at: Input should be a valid datetime",
        ),
        (
            lambda f: f.write_text(
                re.sub(r'"started_at": "[^"]*"', AT + '"2026-01-02T03:04:05"', read(f))
            ),
            "started_at: Input should have timezone info",
        ),
        (lambda f: os.truncate(f, 300 * 2**20), "300 MiB"),
        (lambda f: (f.unlink(), f.symlink_to("/etc/hostname")), "a link out of the data set"),
    ],
    ids=[
        "cut",
        "empty",
        "not-utf8",
        "deep",
        "list",
        "object",
        "version",
        "text",
        "energy",
        "type",
        "no-time",
        "no-time-zone",
        "huge",
        "link",
    ],
)
def test_a_damaged_trial_is_named_and_left_out(
    paths: DataSetPaths, damage: Callable[[Path], Any], says: str
) -> None:
    damage(folder(paths) / "trial.json")
    where = folder(paths).relative_to(paths.root).as_posix()
    named = [line for line in lines(paths) if line.startswith(f"error: {where}: ")]
    assert len(named) == 1
    assert re.search(says, named[0]), named
    executions, trials, faults = rebuild(paths)
    assert (executions, trials) == (3, 1)
    assert len(faults) == 1
    assert faults[0].startswith(f"{where}: ")


@pytest.mark.parametrize("name", ["emissions.csv", "output.txt"])
def test_files_beside_are_hashed(paths: DataSetPaths, name: str) -> None:
    with (folder(paths) / name).open("a") as stream:
        stream.write("one more line\n")
    (folder(paths, 1) / name).unlink()
    (folder(paths, 1) / "notes.md").write_text("mine")
    told = "\n".join(lines(paths))
    assert f"{name}: was edited after it was written" in told
    assert f"{name}: is missing" in told
    assert "notes.md: was not written by this program" in told


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda c: c["columns"].update(model="gpt"),
            "model: is 'gpt', but its specification gives 'smollm2'",
        ),
        (lambda c: c["columns"].update(top_k=3), "top_k: is 3"),
        (lambda c: c["columns"].update(config_hash="0" * 12), "config_hash: is '000000000000'"),
        (lambda c: c["spec"]["configuration"].update(top_p=0.1), "top_p: is 0.9, but"),
        (lambda c: c["executions"][0].update(seed=1), "prompt 1: seed: is not the one"),
        (
            lambda c: c["executions"][0].update(prompt_sha256="0"),
            "prompt 1: prompt_sha256: is not the hash of its prompt",
        ),
        (
            lambda c: c["executions"][0].update(prompt_number=77),
            "trial.json: prompt 77 is none of the trial's prompts",
        ),
        (lambda c: c["executions"][1].update(c["executions"][0]), "prompt 1: occurs twice"),
        (
            lambda c: c["executions"][0].update(energy_j=-1.0),
            "executions.0.energy_j: Input should be greater than or equal to 0",
        ),
        (lambda c: c["executions"][0].update(output_text=None), "is ok but has no text"),
        (
            lambda c: c["executions"][0].update(status="perfect"),
            "executions.0.status: String",
        ),
        (lambda c: c["codecarbon"].pop(), "2 CodeCarbon records for 3 executions"),
    ],
)
def test_what_a_new_hash_would_hide(
    paths: DataSetPaths, change: Callable[[dict[str, Any]], None], says: str
) -> None:
    edit(paths, change)
    assert says in "\n".join(line for line in lines(paths) if line.startswith("error: pc/"))


def test_copies_are_no_second_measurement(paths: DataSetPaths) -> None:
    shutil.copytree(folder(paths), folder(paths).with_name("0000-copy-r1"))
    told = "\n".join(lines(paths))
    assert "0000-copy-r1: lies in the wrong folder" in told
    assert "the same attempt of the same trial as" in told


@pytest.mark.parametrize(
    "damage",
    [lambda p: p.unlink(), lambda p: os.truncate(p, 100), lambda p: p.write_bytes(b"PAR1")],
)
@pytest.mark.parametrize("name", ["executions.parquet", "summary.parquet"])
def test_tables_that_are_gone_or_broken_are_made_anew(
    paths: DataSetPaths, name: str, damage: Callable[[Path], Any]
) -> None:
    damage(paths.root / name)
    (line,) = lines(paths)
    assert line.startswith(f"error: {name}: ")
    assert "rebuild it with `orchestrator summarize`" in line
    rebuild(paths)
    assert lines(paths) == []


def test_tables_that_lag_behind(paths: DataSetPaths) -> None:
    spec = builders.spec(config_index=2)
    builders.seal_trial(paths, spec, [builders.measured(1, of=spec)])
    assert [line.split(":")[1].strip() for line in lines(paths)] == [
        "executions.parquet",
        "summary.parquet",
    ]
    assert lines(paths, running=True) == [], "a running sweep's tables may lag"


def test_tables_from_before_a_column_was_added_are_no_fault(paths: DataSetPaths) -> None:
    """Its default is all that the trials hold of it; a column that holds more must be there."""
    for path, column in ((paths.executions, "error_message"), (paths.summary, "gpu_uuid")):
        write_parquet(path, read_parquet(path).drop_columns([column]))
    assert lines(paths) == []
    for column in ("window_s", "energy_j"):
        write_parquet(paths.executions, read_parquet(paths.executions).drop_columns([column]))
        (line,) = lines(paths)
        assert line.startswith("error: executions.parquet: differs from the trial folders")
        rebuild(paths)


@pytest.mark.parametrize("at_once", [1, 2, 4, 5, 6, 7])
def test_tables_are_compared_bit_by_bit(
    paths: DataSetPaths, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """Wherever the file's parts and the compared ones end; six rows in all."""
    monkeypatch.setattr(parquet, "ROWS_AT_ONCE", 4)
    monkeypatch.setattr(folders, "ROWS_AT_ONCE", at_once)
    assert lines(paths) == []
    table = read_parquet(paths.executions)
    for row in range(6):
        texts = table["output_text"].to_pylist()
        texts[row] = "another"
        column = table.column_names.index("output_text")
        field = table.schema.field("output_text")
        write_parquet(paths.executions, table.set_column(column, field, [texts]))
        (line,) = lines(paths)
        assert line.startswith("error: executions.parquet: differs from the trial folders")
    for some in (table[:5], table[:0]):
        write_parquet(paths.executions, some)
        (line,) = lines(paths)
        assert line.startswith("error: executions.parquet: differs from the trial folders")


def test_leftovers_and_links(paths: DataSetPaths, tmp_path: Path) -> None:
    spec = builders.spec(config_index=2)
    append(paths, spec, builders.origin(spec), "shuffled", [builders.measured(1, of=spec)])
    (paths.root / ".executions.parquet.12ab.tmp").write_bytes(b"half")
    (tmp_path / "outside").mkdir()
    (paths.root / "elsewhere").symlink_to(tmp_path / "outside")
    (paths.root / "pc" / f"{paths.partial('pc', spec).name}").mkdir()
    told = lines(paths)
    assert [line.partition(" ")[0] for line in told] == [
        "error:",
        "warning:",
        "warning:",
        "warning:",
    ]
    assert "elsewhere: a link out of the data set" in told[0]
    assert sum("an unfinished trial with 1 execution;" in line for line in told) == 1
    assert sum("a temporary file of an interrupted program" in line for line in told) == 1
    assert sum("in the wrong folder" in line for line in told) == 1
    assert [
        line
        for line in lines(paths, running=True)
        if "warning" in line and "wrong folder" not in line
    ] == []


def test_a_column_s_name_that_can_not_be_decoded_is_a_line(paths: DataSetPaths) -> None:
    """Arrow reads such a table and fails only when it is asked for its names."""
    rebuild(paths)
    whole = paths.executions.read_bytes()
    paths.executions.write_bytes(whole.replace(b"prompt_sha256", b"\x80rompt_sha256"))
    findings = validate_folders(paths, running=False)[1]
    (told,) = [finding for finding in findings if finding.where == "executions.parquet"]
    assert told.what.startswith("can't be read (")


@settings(
    deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_bytes_give_findings_and_no_crash(paths: DataSetPaths, data: st.DataObject) -> None:
    """Cut or change any file: that gives a finding or no difference, never another exception."""
    spec: TrialSpec = builders.spec(config_index=5)
    if not paths.partial("pc", spec).exists():
        append(paths, spec, builders.origin(spec), "shuffled", [builders.measured(1, of=spec)])
    files = sorted(p for p in paths.root.rglob("*") if p.is_file())
    target = data.draw(st.sampled_from(files))
    before = target.read_bytes()
    at = data.draw(st.integers(0, 1000)) * len(before) // 1000
    kind = data.draw(st.sampled_from(["cut", "change", "insert", "random"]))
    junk = data.draw(st.binary(min_size=1, max_size=40))
    after = {
        "cut": before[:at],
        "change": before[:at] + junk + before[at + len(junk) :],
        "insert": before[:at] + junk + before[at:],
        "random": junk,
    }[kind]
    target.write_bytes(after)
    try:
        findings = validate_folders(paths, running=False)[1]
        rebuild(paths)
        unseen = (
            target.name in ("spec.json", "executions.jsonl") or target.suffix == ".parquet"
        )  # equal as tables
        if after != before and not unseen:
            assert any(f.severity == "error" for f in findings) or same(target, before)
    finally:
        target.write_bytes(before)
        rebuild(paths)


def same(target: Path, before: bytes) -> bool:
    """Whether a changed file has the same content, as after a change of white space in JSON."""
    if target.name != "trial.json":
        return False
    now = read_trial(target.parent)
    target.write_bytes(before)
    return now == read_trial(target.parent)
