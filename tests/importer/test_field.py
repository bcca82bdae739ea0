"""What files of other people's repositories hold: each of these was once imported wrongly."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.dataset.imported import LeftOut, read_left_out, write_left_out
from orchestrator.dataset.parquet import read_parquet
from orchestrator.dataset.paths import DataSetPaths
from tests.commandline import Outcome
from tests.importer.test_import_tree import CELLS, NO_TABLE

DATA = Path(__file__).parent / "data"
LEVELS = ("--machine", "pc", "--model", "m", "--strategy", "s", "--use-case", "u")


@pytest.fixture
def paths(tmp_path: Path) -> DataSetPaths:
    return DataSetPaths(tmp_path / "set")


@pytest.fixture
def field(
    paths: DataSetPaths, tmp_path: Path, call: Callable[..., Outcome]
) -> Callable[..., Outcome]:
    """Import one of the files, or a folder of them, as it was found."""

    def run(name: str, *more: str) -> Outcome:
        source = tmp_path / "found"
        if (DATA / name).is_dir():
            shutil.copytree(DATA / name, source)
        else:
            source.mkdir()
            shutil.copy(DATA / name, source / "emissions.csv")
        return call("import", str(source), "--out", str(paths.root), *LEVELS, *more)

    return run


def rows(paths: DataSetPaths) -> list[dict[str, Any]]:
    return read_parquet(paths.imported).to_pylist()


def flags(row: dict[str, Any]) -> list[str]:
    return str(row["warning_flags"]).split(";")


def notes(row: dict[str, Any]) -> list[str]:
    return str(row["notes"]).split(";")


def test_zero_bytes_cost_their_line_only(
    paths: DataSetPaths, field: Callable[..., Outcome]
) -> None:
    done = field("zero-bytes.csv")
    assert done.code == 3
    assert done.err == (
        "left out: found/emissions.csv:3: holds zero bytes, as a crash leaves them\n"
    )
    assert [row["run_id"] for row in rows(paths)] == ["r1", "r3"]


def test_a_backup_counts_once(paths: DataSetPaths, field: Callable[..., Outcome]) -> None:
    done = field("copy")
    assert (done.code, done.err) == (0, "")
    assert "2 rows repeat the measurement of another row and aren't counted" in done.out
    assert [row["run_id"] for row in rows(paths)] == ["c1", "c2"]
    assert (paths.imports / "pc/m/s/u/emissions.csv.bak").exists(), "the file is kept"


def test_tasks_and_their_total_count_once(
    paths: DataSetPaths, field: Callable[..., Outcome]
) -> None:
    done = json.loads(field("tasks", "--json").out)
    total, *tasks = rows(paths)
    assert [row["task_name"] for row in tasks] == ["load", "prompt 1", "prompt 2"]
    assert (total["task_name"], "contains_tasks" in flags(total)) == (None, True)
    for row in tasks:
        assert not {"contains_tasks", "same_run_id"} & set(flags(row))
    assert done["energy_once_j"] == pytest.approx(0.0012 * 3.6e6)
    assert done["energy_once_rows"] == 3


def test_a_cpu_that_could_not_be_read_is_null(
    paths: DataSetPaths, field: Callable[..., Outcome]
) -> None:
    field("cpu-zero.csv")
    (row,) = rows(paths)
    assert row["cpu_energy_j"] is None
    assert "cpu_energy_j: CodeCarbon wrote 0, as where it can't read a counter" in notes(row)
    assert "zero_cpu_energy" in flags(row)
    assert row["gpu_energy_cc_j"] == pytest.approx(0.0002 * 3.6e6)


def test_version_1_of_codecarbon_recorded_no_gpu(
    paths: DataSetPaths, field: Callable[..., Outcome]
) -> None:
    field("version-1.csv")
    (row,) = rows(paths)
    assert row["run_id"] == "0f0f0f0f-1111-4222-8333-444444444444"
    assert "gpu_energy_cc_j: not recorded, the csv has no columns for GPUs" in notes(row)
    assert "cpu_energy_j: not recorded" in notes(row)
    assert not {"zero_gpu_energy", "zero_cpu_energy"} & set(flags(row))


def test_bad_values(paths: DataSetPaths, field: Callable[..., Outcome]) -> None:
    done = field("bad-values.csv")
    assert done.err == "left out: found/emissions.csv:3: duration: is no number ('12 s')\n"
    (row,) = rows(paths)
    assert (row["run_id"], row["gpu_energy_cc_j"], row["gpu_name"]) == ("b1", None, None)
    assert [row[name] for name in ("temperature", "top_p", "top_k")] == [None, None, None]
    assert {
        "gpu_energy_cc_j: the csv says 'None'",
        "gpu_name: the csv says 'nan'",
        "temperature: the csv says 65, which no temperature can be",
        "top_p: the csv says 95, which no top_p can be",
        "top_k: the csv says 2.5, which no top_k can be",
    } <= set(notes(row))
    assert {"not_a_configuration", "unknown_configuration"} <= set(flags(row))
    assert "not_a_configuration" in done.out


def test_a_file_has_one_decimal_sign(paths: DataSetPaths, field: Callable[..., Outcome]) -> None:
    done = field("separators.csv")
    assert "read as UTF-8, semicolons, decimal comma: 1 file\n" in done.out
    assert [row["window_s"] for row in rows(paths)] == [12.5, 1234.5, 1234.5]
    assert {row["energy_kwh"] for row in rows(paths)} == {4e-4}
    assert '"reading": "UTF-8, semicolons, decimal comma"' in paths.provenance.read_text()


A = "found/a/emissions.csv"
OTHER_NAME = "is not named emissions*.csv; if CodeCarbon wrote it, name a copy of it so"
HEAD = "timestamp;run_id;duration;energy_consumed;tracking_mode\n"


def write(folder: Path, name: str, *lines: str, head: str = HEAD) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{line}\n" for line in lines)
    (folder / name).write_text((head + text).replace(";", ","))


def line(minute: int, run: str, *, seconds: int = 60, mode: str = "machine") -> str:
    return f"2024-03-01T10:{minute:02}:00;{run};{seconds};0.001;{mode}"


def test_a_file_that_contains_another(
    paths: DataSetPaths, tmp_path: Path, call: Callable[..., Outcome]
) -> None:
    write(tmp_path / "found/a", "emissions.csv", line(1, "r1"), line(2, "r2"))
    write(tmp_path / "found/b", "emissions_all.csv", line(2, "r2"), line(3, "r3"), line(1, "r1"))
    done = call("import", str(tmp_path / "found"), "--out", str(paths.root), *LEVELS)
    assert "2 rows repeat the measurement" in done.out
    assert sorted(row["run_id"] for row in rows(paths)) == ["r1", "r2", "r3"]
    assert {flag for row in rows(paths) for flag in flags(row)}.isdisjoint(
        {"same_run_id", "copies_differ"}
    )


def test_a_copy_with_another_energy_is_told(
    paths: DataSetPaths, tmp_path: Path, call: Callable[..., Outcome]
) -> None:
    write(tmp_path / "found/a", "emissions.csv", line(1, "r1"))
    write(tmp_path / "found/b", "emissions.csv", line(1, "r1").replace("0.001", "0.002"))
    call("import", str(tmp_path / "found"), "--out", str(paths.root), *LEVELS)
    (row,) = rows(paths)
    assert (row["energy_kwh"], "copies_differ" in flags(row)) == (0.001, True)


def test_processes_of_one_machine_at_the_same_time_are_told(
    paths: DataSetPaths, tmp_path: Path, call: Callable[..., Outcome]
) -> None:
    for number in range(8):
        write(tmp_path / "found", f"emissions_{number}.csv", line(10, f"r{number}"))
    write(tmp_path / "found", "emissions.csv", line(11, "later"), line(10, "own", mode="process"))
    done = json.loads(
        call("import", str(tmp_path / "found"), "--out", str(paths.root), *LEVELS, "--json").out
    )
    found = {row["run_id"]: "overlapping" in flags(row) for row in rows(paths)}
    assert found == {"later": False, "own": False} | {f"r{number}": True for number in range(8)}
    assert done["flags"]["overlapping"] == 8
    assert done["energy_once_rows"] == 2


def test_left_out_rows_are_all_in_a_file_and_none_hides_another(
    paths: DataSetPaths, tmp_path: Path, call: Callable[..., Outcome]
) -> None:
    found = tmp_path / "found"
    bad = [line(1, f"r{number}").replace(";60;", f";{number} s;") for number in range(120)]
    write(found / "a", "emissions.csv", line(1, "a"), *bad, "cut;here")
    write(found / "b", "emissions.csv", line(2, "b"), line(2, "bad").replace(";60;", ";;"))
    write(found / "c", "emissions.csv", "1;2", head="a;b\n")
    arguments = ("import", str(found), "--out", str(paths.root), *LEVELS)
    done = call(*arguments)
    assert done.err.splitlines() == [
        f"left out: {A}: 120 lines (3, 4, 5, 6, 7, ...): duration: is no number; first ('0 s')",
        f"left out: {A}:123: {CELLS} ('2 cells under 5 columns')",
        "left out: found/b/emissions.csv:3: duration: is empty",
        f"left out: found/c/emissions.csv: {NO_TABLE}",
    ]
    with paths.left_out.open(newline="") as stream:
        assert len(list(csv.DictReader(stream))) == 123
    first = paths.left_out.read_bytes()
    call(*arguments)
    assert paths.left_out.read_bytes() == first
    # another import keeps them, and a mended file leaves the list
    write(tmp_path / "more", "emissions.csv", line(5, "m"), "1;2")
    call("import", str(tmp_path / "more"), "--out", str(paths.root), *LEVELS)
    assert len(read_left_out(paths)) == 124
    write(found / "c", "emissions.csv", line(9, "c"))
    call(*arguments)
    assert len(read_left_out(paths)) == 123
    checked = call("validate", "--out", str(paths.root))
    assert "imported/left-out.csv: lists 123 rows or files" in checked.out
    paths.left_out.write_text("a,b\n1,2\n")
    broken = call("validate", "--out", str(paths.root))
    assert (broken.code, "isn't a list of left-out rows" in broken.out) == (3, True)


def test_no_left_out_cell_is_a_formula_and_what_was_is_read_again(paths: DataSetPaths) -> None:
    texts = ("=1+1", "+1", "-1", "@A1", "\t=1", "a =1", "'a", "")
    items = [
        LeftOut(source=text, line=None, reason=text, found=text, copy_path=text) for text in texts
    ]
    write_left_out(paths, items)
    with paths.left_out.open(newline="") as stream:
        for row in csv.DictReader(stream):
            assert not any(cell.startswith(("=", "+", "-", "@", "\t")) for cell in row.values())
    assert {item.found for item in read_left_out(paths)} == set(texts)
    before = paths.left_out.read_bytes()
    write_left_out(paths, read_left_out(paths))
    assert paths.left_out.read_bytes() == before


def test_left_out_lines_of_one_place_have_an_order(paths: DataSetPaths) -> None:
    copies = [f"emissions_{number}.csv" for number in range(10, 40)]
    write_left_out(
        paths,
        [LeftOut(source="a", line=1, reason="r", found="f", copy_path=copy) for copy in copies],
    )
    assert [item.copy_path for item in read_left_out(paths)] == copies


def test_links_and_other_names_are_named(
    paths: DataSetPaths, tmp_path: Path, call: Callable[..., Outcome]
) -> None:
    found = tmp_path / "found"
    write(found / "a", "emissions.csv", line(1, "a"))
    write(found / "a", "results.csv", line(2, "b"))
    write(tmp_path / "elsewhere", "emissions.csv", line(3, "c"))
    (found / "a" / "emissions_link.csv").symlink_to(tmp_path / "elsewhere" / "emissions.csv")
    (found / "linked").symlink_to(tmp_path / "elsewhere")
    done = call("import", str(found), "--out", str(paths.root), *LEVELS)
    assert done.err.splitlines() == [
        "passed over: found/a/emissions_link.csv: is a link; put a copy there instead",
        f"passed over: found/a/results.csv: {OTHER_NAME}",
        "passed over: found/linked: is a link; put a copy there instead",
    ]
    assert (done.code, len(rows(paths))) == (0, 1)


def test_a_pipe_is_listed_and_not_waited_for(
    paths: DataSetPaths, tmp_path: Path, call: Callable[..., Outcome]
) -> None:
    write(tmp_path / "found", "emissions.csv", line(1, "a"))
    os.mkfifo(tmp_path / "found" / "emissions_pipe.csv")
    done = call("import", str(tmp_path / "found"), "--out", str(paths.root), *LEVELS)
    assert (done.code, len(rows(paths))) == (3, 1)
    assert "emissions_pipe.csv: is a pipe, not a file" in done.err


@pytest.mark.parametrize("inside", [True, False])
def test_a_data_set_in_the_tree_is_refused(
    tmp_path: Path,
    call: Callable[..., Outcome],
    monkeypatch: pytest.MonkeyPatch,
    *,
    inside: bool,
) -> None:
    source = tmp_path / "found"
    write(source, "emissions.csv", line(1, "a"))
    monkeypatch.chdir(source)
    arguments = (".", *LEVELS) if inside else (str(source), "--out", str(source / "x"), *LEVELS)
    for _ in range(2):
        done = call("import", *arguments)
        assert (done.code, "the folder to import; name a data set outside" in done.err) == (2, True)
    assert [path.name for path in source.iterdir()] == ["emissions.csv"]


def test_what_is_advised(
    paths: DataSetPaths,
    tmp_path: Path,
    call: Callable[..., Outcome],
    field: Callable[..., Outcome],
) -> None:
    field("copy")
    file = tmp_path / "found" / "emissions.csv"
    done = call("import", str(file), "--out", str(paths.root))
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert f"is a file; name its folder: `orchestrator import {file.parent} --machine" in done.err
    for arguments in (("report",), ("plot", "effects", "--file", str(tmp_path / "a.pdf"))):
        shown = call(*arguments, "--out", str(paths.root))
        assert (shown.code, shown.err.count("\n")) == (2, 1)
        assert "holds imported measurements only, which are in imported.parquet" in shown.err
        assert "summarize" not in shown.err


@pytest.mark.parametrize("where", ["tree", "copies"])
def test_a_folder_that_cannot_be_read_is_not_empty(
    paths: DataSetPaths,
    tmp_path: Path,
    call: Callable[..., Outcome],
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    found = tmp_path / "found"
    write(found / "a", "emissions.csv", line(1, "a"))
    write(found / "b", "emissions.csv", line(2, "b"))
    arguments = ("import", str(found), "--out", str(paths.root), *LEVELS)
    call(*arguments)
    before = paths.imported.read_bytes()
    closed = {"tree": found / "b", "copies": paths.imports / "pc/m/s/u/b"}[where]
    scandir = os.scandir

    def refuse(path: Any = ".") -> Any:
        if os.fspath(path) == str(closed):
            raise PermissionError(13, "Permission denied", str(closed))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    done = call(*arguments)
    expected = {
        "tree": (3, "left out: found/b: can't be read (Permission denied)\n"),
        "copies": (
            2,
            f"error: {closed}: can't be read or written (Permission denied); import again\n",
        ),
    }[where]
    assert (done.code, done.err) == expected
    assert paths.imported.read_bytes() == before


def test_names_that_are_not_utf_8(
    paths: DataSetPaths, tmp_path: Path, call: Callable[..., Outcome]
) -> None:
    found = tmp_path / "found"
    write(found / "a", "emissions.csv", line(1, "a"))
    for name in (b"a/emissions\xff.csv", b"a/other\xff.csv", b"b\xff/emissions.csv"):
        at = Path(os.fsdecode(os.fsencode(found) + b"/" + name))
        write(at.parent, at.name, line(2, "b"))
    done = call("import", str(found), "--out", str(paths.root), *LEVELS)
    assert (done.code, len(rows(paths)), len(read_left_out(paths))) == (3, 1, 2)
    for name in ("a/emissions", "a/other", "b"):
        assert f"found/{name}\\xff" in done.err
    again = paths.left_out.read_bytes()
    call("import", str(found), "--out", str(paths.root), *LEVELS)
    assert paths.left_out.read_bytes() == again
