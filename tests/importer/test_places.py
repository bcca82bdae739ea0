"""A file replaces its copy only where it holds all of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.importer.places import find_place

HEAD = "timestamp,run_id,duration,energy_consumed"
ONE = "2024-03-01T10:00:00,r1,10,0.001"
TWO = "2024-03-01T10:01:00,r2,11,0.002"


@pytest.mark.parametrize(
    ("copy", "now", "state"),
    [
        (None, [HEAD, ONE], "new"),
        ([HEAD, ONE], [HEAD, ONE], "new"),  # an interrupted import copied it
        ([HEAD, ONE], [HEAD, ONE, TWO], "grown"),
        ([HEAD, ONE], [f"{HEAD},gpu_energy", f"{ONE},0.0005", f"{TWO},0.0005"], "grown"),
        ([HEAD, ONE, TWO], [HEAD, ONE], "identical"),
        ([f"{HEAD},gpu_model", f"{ONE},A100"], [HEAD, ONE, TWO], "other name"),
        ([HEAD, ONE], [HEAD, TWO, ONE], "other name"),
        ([HEAD, ONE], [HEAD, ONE.replace("0.001", "0.003"), TWO], "other name"),
        ([HEAD, ONE, "cut"], [HEAD, f"{ONE} ", TWO, TWO], "other name"),
        (["a,b", "1,2"], [HEAD, ONE], "other name"),
    ],
)
def test_what_a_file_is_to_the_copy_at_its_place(
    tmp_path: Path, copy: list[str] | None, now: list[str], state: str
) -> None:
    file, place = tmp_path / "found.csv", tmp_path / "imported" / "a" / "emissions.csv"
    file.write_text("\n".join(now) + "\n")
    if copy is not None:
        place.parent.mkdir(parents=True)
        place.write_text("\n".join(copy) + "\n")
    path, found, _ = find_place(file, "a/emissions.csv", tmp_path / "imported", {}, ())
    if state == "other name":
        assert (path, found) == ("a/emissions_2.csv", "new")
    else:
        assert (path, found) == ("a/emissions.csv", state)


def test_files_of_one_tree_keep_apart(tmp_path: Path) -> None:
    file = tmp_path / "found.csv"
    file.write_text(HEAD)
    found = find_place(file, "a.csv", tmp_path, {}, {"a.csv", "a_2.csv"})
    assert found[:2] == ("a_3.csv", "new")
