"""What names a person or a place in imported tables is found, and removed if asked for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.dataset.imported import read_left_out, read_provenance
from orchestrator.dataset.parquet import read_parquet, write_parquet
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.reading import bytes_sha256
from orchestrator.dataset.tables import rebuild
from tests import builders
from tests.commandline import Outcome
from tests.importer.test_field import DATA, LEVELS

HEAD = "timestamp,run_id,duration,energy_consumed,project_name,longitude,latitude,hostname,user\n"
PRIVATE = ("9.18951", "45.46427", "ada-pc", "/data/ada", "ada.l", "ada@example.org", "lovelace")
ROWS = (
    "2024-03-01T10:07:00,l1,10.0,0.0004,/data/ada/My Projects/x,9.18951,45.46427,ada-pc,lovelace\n"
    "2024-03-01T10:08:00,l2,10.0,0.0004,of ada@example.org,9,45.0,localhost,\n"
    "2024-03-01T10:09:00,l3,/data/ada/t,0.0004,p,,,,\n"
    '"cut at 45.46427,9.18951\n'
    "2024-03-01T10:10:00,l4,10.0,0.0004,p,nan,None,,root\n"
)


@pytest.fixture
def paths(tmp_path: Path, call: Callable[..., Outcome]) -> DataSetPaths:
    """A data set with one imported file, of somebody at home."""
    paths = DataSetPaths(tmp_path / "set")
    source = tmp_path / "found"
    source.mkdir()
    (source / "emissions.csv").write_text(HEAD + ROWS)
    call("import", str(source), "--out", str(paths.root), *LEVELS)
    return paths


def copy_of(paths: DataSetPaths) -> Path:
    return paths.imports / "pc/m/s/u/emissions.csv"


def test_coordinates_are_found_by_file_and_column(
    tmp_path: Path, call: Callable[..., Outcome]
) -> None:
    paths = DataSetPaths(tmp_path / "set")
    (tmp_path / "found").mkdir()
    shutil.copy(DATA / "coordinates.csv", tmp_path / "found" / "emissions.csv")
    call("import", str(tmp_path / "found"), "--out", str(paths.root), *LEVELS)
    done = call("publish", "--out", str(paths.root))
    assert done.code == 3
    at = "error: imported/pc/m/s/u/emissions.csv"
    for column in ("longitude", "latitude"):
        assert f"{at}: {column}: holds coordinates of a place (coordinates)" in done.out
    assert "45.46427" not in done.out
    assert "--remove-private removes it from the copies of imported tables" in done.out
    accepted = call("publish", "--out", str(paths.root), "--accept", "coordinates")
    assert accepted.code == 0
    assert "45.46427" in copy_of(paths).read_text()
    assert call("publish", "--out", str(paths.root), "--remove-private").code == 0
    assert "45.46427" not in copy_of(paths).read_text()


def test_each_place_is_named(paths: DataSetPaths, call: Callable[..., Outcome]) -> None:
    found = json.loads(call("publish", "--out", str(paths.root), "--json").out)["findings"]
    what = set()
    for finding in found:
        if finding["severity"] == "error":
            column, _, rest = finding["what"].partition(":")
            what.add((finding["where"], rest.rpartition("(")[2].rstrip(")"), column))
    at = "imported/pc/m/s/u/emissions.csv"
    assert what == {
        (at, "coordinates", "longitude"),
        (at, "coordinates", "latitude"),
        (at, "coordinates", "line 5"),
        (at, "host_name", "hostname"),
        (at, "host_name", "line 5"),
        (at, "user_name", "user"),
        (at, "user_name", "line 5"),
        (at, "path", "project_name"),
        (at, "path", "duration"),
        (at, "e_mail", "project_name"),
        ("imported/left-out.csv", "path", "found"),
    }


def test_removed_is_removed_everywhere_and_the_rest_stays(
    paths: DataSetPaths, call: Callable[..., Outcome]
) -> None:
    before = read_parquet(paths.imported).to_pylist()
    original = copy_of(paths).read_bytes()
    dry = call("publish", "--out", str(paths.root), "--remove-private", "--check")
    assert "would be removed from imported/pc/m/s/u/emissions.csv: duration, hostname" in dry.out
    assert copy_of(paths).read_bytes() == original
    done = call("publish", "--out", str(paths.root), "--remove-private")
    assert done.code == 0, done.out
    assert copy_of(paths).read_text() == HEAD + (
        "2024-03-01T10:07:00,l1,10.0,0.0004,removed-path,,,removed-host_name,removed-user_name\n"
        "2024-03-01T10:08:00,l2,10.0,0.0004,of removed-e_mail,9,45.0,localhost,\n"
        "2024-03-01T10:09:00,l3,removed-path,0.0004,p,,,,\n"
        "removed-line\n"
        "2024-03-01T10:10:00,l4,10.0,0.0004,p,nan,None,,root\n"
    )
    after = read_parquet(paths.imported).to_pylist()
    assert [row["project_name"] for row in after] == ["removed-path", "of removed-e_mail", "p"]
    for row in (*before, *after):
        del row["project_name"]
    assert before == after
    assert [item.line for item in read_left_out(paths)] == [4, 5]
    for file in paths.root.rglob("*"):
        for private in PRIVATE:
            text = str(read_parquet(file).to_pylist()) if file.suffix == ".parquet" else ""
            if file.is_file() and file != paths.citation:
                text += file.read_bytes().decode("utf-8", "replace")
            assert private not in text, file
    (entry,) = read_provenance(paths)
    assert entry.original_sha256 == bytes_sha256(original)
    assert entry.sha256 == bytes_sha256(copy_of(paths).read_bytes())
    assert set(entry.removed) >= {"longitude", "latitude", "hostname", "lines that can't be read"}
    assert call("validate", "--out", str(paths.root)).code == 0


def test_again_removes_no_more_and_the_original_isnt_imported_again(
    paths: DataSetPaths, tmp_path: Path, call: Callable[..., Outcome]
) -> None:
    call("publish", "--out", str(paths.root), "--remove-private")
    content = copy_of(paths).read_bytes(), paths.provenance.read_bytes()
    assert "removed from" not in call("publish", "--out", str(paths.root), "--remove-private").out
    again = call("import", str(tmp_path / "found"), "--out", str(paths.root), *LEVELS)
    assert again.out.startswith("0 measurements of 0 files imported")
    assert (copy_of(paths).read_bytes(), paths.provenance.read_bytes()) == content


@pytest.mark.parametrize("change", ["grown", "gone"])
def test_what_comes_back_with_another_import_is_told_and_not_published(
    paths: DataSetPaths, tmp_path: Path, call: Callable[..., Outcome], change: str
) -> None:
    source = tmp_path / "found"
    text = HEAD + ROWS
    arguments = ("import", str(source), "--out", str(paths.root), *LEVELS)
    call("publish", "--out", str(paths.root), "--remove-private")
    columns = list(read_provenance(paths)[0].removed)
    assert {"hostname", "latitude", "lines that can't be read"} < set(columns)
    if change == "grown":
        text += "2024-03-01T10:11:00,l5,10.0,0.0004,p,,,,\n"
        (source / "emissions.csv").write_text(text)
    else:
        copy_of(paths).unlink()
    at = "imported/pc/m/s/u/emissions.csv"
    dry = json.loads(call(*arguments, "--json", "--dry-run").out)
    assert dry["removed_before"] == {"pc/m/s/u/emissions.csv": columns}
    done = call(*arguments)
    told = f"{at}: holds again what was removed as private ({', '.join(columns)})"
    assert f"{told}; `orchestrator publish --remove-private` removes it" in done.out
    assert not (paths.imports / "pc/m/s/u/emissions_2.csv").exists()
    assert copy_of(paths).read_text() == text, "what was imported is whole"
    # whatever the scan finds or is told to ignore: another machine doesn't know the names of this
    accept = [word for rule in ("coordinates", "e_mail", "host_name", "own_name", "path",
        "user_name") for word in ("--accept", rule)]  # fmt: skip
    refused = call("publish", "--out", str(paths.root), *accept)
    assert (refused.code, f"error: {at}: holds again what was removed" in refused.out) == (3, True)
    assert "--remove-private removes it from the copies" in refused.out
    # an import of the same again changes nothing of it
    assert "removed as private" not in call(*arguments).out
    assert call("publish", "--out", str(paths.root), "--check").code == 3
    assert call("publish", "--out", str(paths.root), "--remove-private").code == 0
    assert "45.46427" not in copy_of(paths).read_text()
    (entry,) = read_provenance(paths)
    assert (list(entry.removed), entry.original_sha256) == (columns, bytes_sha256(text.encode()))
    assert call("publish", "--out", str(paths.root)).code == 0


def test_after_a_crash_the_same_command_ends_it(
    paths: DataSetPaths, call: Callable[..., Outcome]
) -> None:
    original = copy_of(paths).read_bytes()
    call("publish", "--out", str(paths.root), "--remove-private")
    without = copy_of(paths).read_bytes()
    copy_of(paths).write_bytes(original)  # as if it had ended after import.json
    assert call("publish", "--out", str(paths.root), "--remove-private").code == 0
    assert copy_of(paths).read_bytes() == without
    assert read_provenance(paths)[0].original_sha256 == bytes_sha256(original)


def test_an_edited_copy_is_left_alone(paths: DataSetPaths, call: Callable[..., Outcome]) -> None:
    edited = copy_of(paths).read_text() + "edited"
    copy_of(paths).write_text(edited)
    done = call("publish", "--out", str(paths.root), "--remove-private")
    assert (done.code, "was edited after it was imported" in done.out) == (3, True)
    assert copy_of(paths).read_text() == edited


def test_a_sealed_trial_stays_and_it_is_said(tmp_path: Path, call: Callable[..., Outcome]) -> None:
    paths = DataSetPaths(tmp_path / "set")
    spec = builders.spec()
    builders.seal_trial(
        paths,
        spec,
        [builders.measured(1, of=spec)],
        builders.origin(spec, environment={"platform": "/home/ada/x"}),
    )
    rebuild(paths)
    (trial,) = paths.sealed_trials()
    sealed = (trial / "trial.json").read_bytes()
    done = call("publish", "--out", str(paths.root), "--remove-private")
    assert (done.code, "a trial.json is sealed and stays as it is: give --accept" in done.out) == (
        3,
        True,
    )
    assert (trial / "trial.json").read_bytes() == sealed


@pytest.mark.parametrize(
    ("encoding", "delimiter", "end"),
    [("utf-16", ";", "\r\n"), ("cp1252", "\t", "\n"), ("utf-8-sig", ",", "\r\n")],
)
def test_in_any_encoding_only_what_is_private_changes(
    tmp_path: Path, call: Callable[..., Outcome], encoding: str, delimiter: str, end: str
) -> None:
    paths = DataSetPaths(tmp_path / "set")
    (tmp_path / "found").mkdir()
    text = "run_id,duration,energy_consumed,project_name,latitude\n"
    text += 'r1,10,1,"caffè ""A""",45.5\nr2,11,1,è,\n'
    text = text.replace(",", delimiter).replace("\n", end)
    (tmp_path / "found" / "emissions.csv").write_bytes(text.encode(encoding))
    call("import", str(tmp_path / "found"), "--out", str(paths.root), *LEVELS)
    assert call("publish", "--out", str(paths.root)).code == 3
    assert call("publish", "--out", str(paths.root), "--remove-private").code == 0
    assert copy_of(paths).read_bytes() == text.replace("45.5", "").encode(encoding)


def test_a_table_of_an_earlier_version_is_made_anew(
    paths: DataSetPaths, call: Callable[..., Outcome]
) -> None:
    table = read_parquet(paths.imported)
    write_parquet(paths.imported, table.drop_columns(["task_name"]))
    assert call("publish", "--out", str(paths.root), "--remove-private").code == 0
    assert "task_name" in read_parquet(paths.imported).column_names
    write_parquet(paths.imported, table.drop_columns(["task_name"]))
    assert call("publish", "--out", str(paths.root)).code == 0
    assert "task_name" in read_parquet(paths.imported).column_names
