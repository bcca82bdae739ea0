"""Importing trees of CodeCarbon's files, in the documented layout and near it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.dataset.imported import read_provenance
from orchestrator.dataset.parquet import read_parquet
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.trial_texts import CODECARBON_FIELDS
from tests import builders
from tests.commandline import Outcome

NAMES = [
    {"run_id": "run-id", "tracking_mode": "Tracking_mode"}.get(name, name)
    for name in CODECARBON_FIELDS
]
ROW = {
    "timestamp": "2024-05-01T10:00:00", "project_name": "codecarbon", "run_id": "r1",
    "duration": 100, "emissions": 0.001, "cpu_power": 42.5, "cpu_energy": 0.001,
    "gpu_energy": 0.0014, "ram_energy": 0.0002, "energy_consumed": 0.0026,
    "country_iso_code": "ITA", "region": "lazio", "gpu_count": 1, "gpu_model": "1 x GTX 1650 Ti",
    "tracking_mode": "machine",
}  # fmt: skip
CELLS = "has more or fewer cells than there are columns; complete the row or remove it"
NO_TABLE = (
    "has no column duration and energy_consumed; its first line must name CodeCarbon's columns"
)
PLACE = "pc/llama2/uniformSampling/fantasyWorld"


def table(*changes: dict[str, Any], separator: str = ",", more: tuple[str, ...] = ()) -> str:
    lines = [separator.join([*NAMES, *more])]
    for number, change in enumerate(changes):
        own = {"run_id": f"r{number}", "cpu_power": 40 + number}
        row = {**ROW, **own, "timestamp": f"2024-05-01T10:{2 * number:02}:00", **change}
        lines.append(separator.join(str(row.get(name, "")) for name in (*CODECARBON_FIELDS, *more)))
    return "\n".join(lines) + "\n"


def write(folder: Path, csv: str, txt: str | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "emissions.csv").write_text(csv)
    if txt is not None:
        (folder / "output.txt").write_text(txt)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Three measurements in one file, and one in the folder of a run."""
    write(tmp_path / "old" / PLACE, table({}, {}, {}), "Output: a\nOutput: b\nOutput: c\n")
    write(
        tmp_path / "old" / "colab/mistral/latinHypercubeSampling/danceCoreography/run 1",
        table({"run_id": "dance", "timestamp": "2024-05-02T10:00:00"}),
        "A dance.",
    )
    return tmp_path / "old"


@pytest.fixture
def paths(tmp_path: Path) -> DataSetPaths:
    return DataSetPaths(tmp_path / "data")


def rows(paths: DataSetPaths) -> list[dict[str, Any]]:
    return read_parquet(paths.imported).to_pylist()


def flags(row: dict[str, Any]) -> list[str]:
    return str(row["warning_flags"]).split(";")


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_documented_layout(
    old: Path, paths: DataSetPaths, call: Callable[..., Outcome]
) -> None:
    source = tree(old)
    done = call("import", str(old), "--out", str(paths.root))
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("4 measurements of 4 files imported")
    assert tree(old) == source
    copied = tree(paths.imports)
    assert copied.pop("import.json")
    assert copied == source
    dance, first, second, _ = rows(paths)
    levels = ("machine", "model", "strategy", "use_case", "run")
    assert [dance[name] for name in levels] == [
        "colab", "mistral", "latinHypercubeSampling", "danceCoreography", "run 1",
    ]  # fmt: skip
    assert dance["output_text"] == "A dance."
    assert second["execution"] == f"imported/{PLACE}/emissions.csv#2"
    assert (first["output_text"], second["output_text"]) == ("a", "b")
    assert first["energy_j"] == pytest.approx(0.0026 * 3.6e6)
    assert (first["gpu_energy_cc_j"], first["window_s"]) == (pytest.approx(0.0014 * 3.6e6), 100)
    assert flags(first) == [
        "imported",
        "unknown_configuration",
        "unknown_seed",
        "unknown_tokens",
        "whole_machine",
    ]
    assert (first["max_length"], first["codecarbon_version"]) == (None, None)
    assert {file.source for file in read_provenance(paths)} == {f"old/{name}" for name in source}, (
        "no path of this machine"
    )
    assert call("validate", "--out", str(paths.root)).code == 0


def test_again_changes_nothing_and_more_is_added(
    old: Path, paths: DataSetPaths, call: Callable[..., Outcome]
) -> None:
    arguments = ("import", str(old), "--out", str(paths.root))
    call(*arguments)
    before = tree(paths.root)
    assert call(*arguments).out.startswith("0 measurements of 0 files imported")
    assert tree(paths.root) == before
    write(old / "pc/mistral/uniformSampling/fantasyWorld", table({"run_id": "another"}))
    assert call(*arguments).out.startswith("1 measurement of 1 file imported")
    assert len(rows(paths)) == 5


def test_a_dry_run_writes_nothing(
    old: Path, paths: DataSetPaths, call: Callable[..., Outcome]
) -> None:
    assert call("import", str(old), "--out", str(paths.root), "--dry-run").out.startswith(
        "4 measurements of 4 files would be"
    )
    assert not paths.root.exists()


def test_a_different_file_of_the_same_name_gets_a_number_and_stops_nothing(
    old: Path, paths: DataSetPaths, call: Callable[..., Outcome]
) -> None:
    arguments = ("import", str(old), "--out", str(paths.root))
    call(*arguments)
    before = tree(paths.imports)
    write(old / PLACE, table({"duration": 7}))
    write(old / "pc/mistral/uniformSampling/fantasyWorld", table({"run_id": "another"}))
    done = call(*arguments)
    assert done.code == 0
    assert done.out.startswith("2 measurements of 2 files imported")
    assert f"imported/{PLACE}/emissions_2.csv: got a number" in done.out
    after = tree(paths.imports)
    assert {name: after[name] for name in before if name != "import.json"} == {
        name: data for name, data in before.items() if name != "import.json"
    }
    assert call(*arguments).out.startswith("0 measurements of 0 files imported")
    assert tree(paths.imports) == after
    assert call("validate", "--out", str(paths.root)).code == 0


@pytest.mark.parametrize("with_columns", [False, True])
def test_a_file_that_has_grown_replaces_its_copy(
    old: Path, paths: DataSetPaths, call: Callable[..., Outcome], *, with_columns: bool
) -> None:
    arguments = ("import", str(old), "--out", str(paths.root))
    call(*arguments)
    first = (old / PLACE / "emissions.csv").read_text()
    grown = table({}, {}, {}, {}, {}, more=("wue",) if with_columns else ())
    write(old / PLACE, grown, "Output: a\nOutput: b\nOutput: c\nOutput: d\nOutput: e\n")
    ids = {row["execution"] for row in rows(paths)}
    done = call(*arguments)
    assert done.out.startswith("2 measurements of 2 files imported")
    assert f"imported/{PLACE}/emissions.csv: has grown" in done.out
    assert (paths.imports / PLACE / "emissions.csv").read_text() == grown
    assert ids < {row["execution"] for row in rows(paths)}
    assert rows(paths)[-1]["output_text"] == "e"
    assert call("validate", "--out", str(paths.root)).code == 0
    # an older state of the file has nothing new
    (old / PLACE / "emissions.csv").write_text(first)
    after = tree(paths.root)
    assert call(*arguments).out.startswith("0 measurements of 0 files imported")
    assert tree(paths.root) == after


def test_a_copy_that_is_gone_is_restored(
    old: Path, paths: DataSetPaths, call: Callable[..., Outcome]
) -> None:
    arguments = ("import", str(old), "--out", str(paths.root))
    call(*arguments)
    copy = paths.imports / PLACE / "emissions.csv"
    content = copy.read_bytes()
    copy.unlink()
    assert "is missing; import it again" in call("validate", "--out", str(paths.root)).out
    call(*arguments)
    assert copy.read_bytes() == content
    assert call("validate", "--out", str(paths.root)).code == 0


def test_a_copy_that_can_no_longer_be_read_loses_nothing_else(
    old: Path, paths: DataSetPaths, call: Callable[..., Outcome]
) -> None:
    arguments = ("import", str(old), "--out", str(paths.root))
    call(*arguments)
    (paths.imports / PLACE / "emissions.csv").write_text("a,b\n1,2\n")
    done = call(*arguments)
    assert (done.code, [row["run_id"] for row in rows(paths)]) == (3, ["dance"])
    assert f"left out: old/{PLACE}/emissions.csv: {NO_TABLE}" in done.err


def test_an_interrupted_import_is_resumed(
    old: Path, paths: DataSetPaths, call: Callable[..., Outcome]
) -> None:
    copied = paths.imports / PLACE
    copied.mkdir(parents=True)
    shutil.copy(old / PLACE / "emissions.csv", copied)
    assert call("import", str(old), "--out", str(paths.root)).out.startswith(
        "4 measurements of 4 files imported"
    )


def test_bad_rows_and_files_lose_nothing_else(
    old: Path, paths: DataSetPaths, call: Callable[..., Outcome]
) -> None:
    file = old / PLACE / "emissions.csv"
    file.write_text(file.read_text() + "cut,here\n")
    write(old / "pc/llama2/uniformSampling/other", "a,b\n1,2\n")
    done = call("import", str(old), "--out", str(paths.root))
    assert done.code == 3
    assert done.err.splitlines() == [
        f"left out: old/{PLACE}/emissions.csv:5: {CELLS} ('2 cells under 29 columns')",
        f"left out: old/pc/llama2/uniformSampling/other/emissions.csv: {NO_TABLE}",
    ]
    assert len(rows(paths)) == 4
    assert rows(paths)[1]["output_text"] is None, "three texts for four rows: nobody knows whose"


@pytest.mark.parametrize(
    ("change", "flag"),
    [
        ({"gpu_energy": 0, "energy_consumed": 0.0012}, "zero_gpu_energy"),
        ({"energy_consumed": 2.6}, "energy_sum_differs"),
        (
            {"energy_consumed": 2.6, "cpu_energy": 1, "gpu_energy": 1.4, "ram_energy": 0.2},
            "implausible_power",
        ),
        ({"country_iso_code": "CAN", "region": "quebec"}, "assumed_country"),
        ({"run_id": "r1"}, "same_run_id"),
    ],
)
def test_flags(
    old: Path, paths: DataSetPaths, call: Callable[..., Outcome], change: dict[str, Any], flag: str
) -> None:
    write(old / PLACE, table(change, {}))
    call("import", str(old), "--out", str(paths.root))
    found = {
        row["execution"].rpartition("/")[2]: flags(row)
        for row in rows(paths)
        if row["machine"] == "pc"
    }
    assert flag in found["emissions.csv#1"]
    assert (flag in found["emissions.csv#2"]) == (flag == "same_run_id")


def test_constant_cpu_and_what_wasnt_measured(
    old: Path, paths: DataSetPaths, call: Callable[..., Outcome]
) -> None:
    write(
        old / PLACE,
        table(
            *[
                {
                    "cpu_power": 42.5,
                    "energy_consumed": 0,
                    "gpu_energy": "",
                    "gpu_count": "",
                    "gpu_model": "",
                }
            ]
            * 3
        ),
    )
    call("import", str(old), "--out", str(paths.root))
    row = rows(paths)[1]
    assert "constant_cpu" in flags(row)
    assert (row["energy_j"], row["energy_kwh"], row["gpu_energy_cc_j"]) == (None, None, None)
    assert row["notes"].split(";") == [
        "energy_j: CodeCarbon wrote 0, so it measured nothing",
        "gpu_energy_cc_j: no GPU",
    ]


def test_configurations_that_a_csv_has(
    old: Path, paths: DataSetPaths, call: Callable[..., Outcome]
) -> None:
    asked = {"max_length": 200, "top_p": 0.9, "top_k": 50, "temperature": 0.7}
    write(old / PLACE, table(asked, more=tuple(asked)))
    call("import", str(old), "--out", str(paths.root))
    row = rows(paths)[1]
    assert {name: row[name] for name in asked} == asked
    assert "unknown_configuration" not in flags(row)


def test_levels_that_the_folders_dont_have(
    old: Path, paths: DataSetPaths, call: Callable[..., Outcome]
) -> None:
    below = old / "pc" / "llama2"
    refused = call("import", str(below), "--out", str(paths.root))
    assert refused.code == 3
    assert (
        "its path has no folders for machine, model, strategy, use_case; give those that are"
        in refused.err
    )
    done = call(
        "import", str(below), "--out", str(paths.root), "--machine", "pc", "--model", "llama2"
    )
    assert done.code == 0
    assert rows(paths)[0]["execution"] == f"imported/{PLACE}/emissions.csv#1"
    for name in ("..", "a/b", ".x", ""):
        assert call("import", str(below), "--out", str(paths.root), "--machine", name).code == 2


def test_a_refused_import_leaves_no_new_folder(
    tmp_path: Path, call: Callable[..., Outcome]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "mine").mkdir()
    out = tmp_path / "mine" / "new" / "newer" / "set"
    done = call("import", str(tmp_path / "empty"), "--out", str(out))
    assert (done.code, "holds no emissions.csv" in done.err) == (2, True)
    assert not list((tmp_path / "mine").iterdir())


def test_what_is_no_tree_of_codecarbon(
    old: Path, paths: DataSetPaths, call: Callable[..., Outcome], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "emissions.csv").symlink_to(old / PLACE / "emissions.csv")
    spec = builders.spec()
    builders.seal_trial(DataSetPaths(tmp_path / "ours"), spec, [builders.measured(1, of=spec)])
    for source, code, says in [
        ("missing", 2, "no such folder"),
        ("empty", 2, "holds no emissions.csv"),
        ("empty", 2, "empty/emissions.csv: is a link; put a copy there instead"),
        ("ours", 3, "is a trial of this program; take it over with `orchestrator merge`"),
    ]:
        done = call("import", str(tmp_path / source), "--out", str(paths.root))
        assert (done.code, says in done.err, "Traceback" in done.err) == (code, True, False)
    call("import", str(old), "--out", str(paths.root))
    assert (
        "lies in the data set itself"
        in call("import", str(paths.imports), "--out", str(paths.root)).err
    )
