"""`validate` names what the Hugging Face Hub would refuse and its viewer couldn't show."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.check import hub
from orchestrator.check.hub import hub_findings
from orchestrator.dataset.paths import PLACEHOLDER, DataSetPaths
from orchestrator.dataset.tables import rebuild
from orchestrator.publish.card import card
from orchestrator.publish.card_figures import content_of
from orchestrator.publish.conclusions import Conclusions
from orchestrator.publish.licences import LICENCES
from orchestrator.publish.publication import Publication
from tests import builders

EXAMPLE = Path(__file__).parents[2] / "docs" / "example"
LAST = "; remove the file, and `orchestrator publish` writes it anew"


@pytest.fixture
def paths(tmp_path: Path) -> DataSetPaths:
    """A data set with its data card."""
    paths = DataSetPaths(tmp_path / "data")
    spec = builders.spec()
    builders.seal_trial(paths, spec, [builders.measured(1, of=spec)])
    trials = rebuild_trials(paths)
    publication = Publication("A title", (), "CC0-1.0", LICENCES["CC0-1.0"])
    paths.readme.write_text(card(publication, content_of(paths, trials), Conclusions()))
    paths.dictionary.write_text("# Data dictionary")
    return paths


def rebuild_trials(paths: DataSetPaths) -> object:
    from orchestrator.dataset.tables import read_all

    rebuild(paths)
    return read_all(paths)[0]


def found(paths: DataSetPaths) -> list[str]:
    return [f"{finding.where}: {finding.what}" for finding in hub_findings(paths)]


def test_what_publish_writes_can_be_shown(paths: DataSetPaths) -> None:
    assert found(paths) == []
    assert found(DataSetPaths(EXAMPLE)) == []


def test_without_a_card_there_is_nothing_to_say_of_it(paths: DataSetPaths) -> None:
    paths.readme.write_text(f"{PLACEHOLDER}(...)")
    assert found(paths) == []
    paths.readme.unlink()
    assert found(paths) == []


HEAD = "---\nconfigs:\n- config_name: executions\n  data_files: executions.parquet\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "# My own words\n",
            (
                "has no metadata (YAML between two lines of ---), so the Hub takes tables of "
                f"different columns for one{LAST}"
            ),
        ),
        (
            "---\ntags: [energy\n---\n# x\n",
            (
                "its metadata can't be read: line 3: expected ',' or ']', but got '<stream end>'"
                f"{LAST}"
            ),
        ),
        ("---\n- a\n---\n", f"its metadata: Input should be {'{}'}{LAST}"),
        (
            "---\nconfigs: executions\n---\n",
            f"its metadata: configs: Input should be a valid list{LAST}",
        ),
        ("---\ntags: 5\n---\n", f"its metadata: tags: Input should be a valid list{LAST}"),
        (
            f"{HEAD.replace('executions.parquet', 'data/*.parquet')}---\n",
            "configs: executions: no file is called data/*.parquet",
        ),
        (
            f"{HEAD}{HEAD.split('configs:', 1)[1].lstrip()}---\n",
            "configs: executions is given twice",
        ),
        (
            f"{HEAD.replace(': executions', ': a/b', 1)}---\n",
            "configs: 'a/b' can't be a name: it is one of a folder, too",
        ),
        (
            (
                f"{HEAD}  default: true\n- config_name: summary\n  data_files: summary.parquet\n"
                "  default: true\n---\n"
            ),
            "configs: more than one is the default",
        ),
        (
            (
                f"{HEAD.replace(': executions.parquet', ': [executions.parquet, summary.parquet]')}"
                "---\n"
            ),
            (
                "configs: executions: baseline_id is there as string in executions.parquet, as not "
                "at all in summary.parquet; the viewer wants the same columns and types in all "
                "files"
            ),
        ),
        (f"{HEAD}---\n![a chart](chart.png)\n", "shows the picture chart.png, which isn't there"),
    ],
)
def test_a_card_that_the_hub_reads_otherwise(paths: DataSetPaths, text: str, says: str) -> None:
    paths.readme.write_text(text)
    (said,) = found(paths)
    if "{}" in says:
        assert said.startswith("README.md: its metadata: Input should be a valid dict")
    else:
        assert said == f"README.md: {says}"


def test_splits_and_patterns_are_followed(paths: DataSetPaths) -> None:
    paths.readme.write_text(
        "---\nconfigs:\n- config_name: all\n  data_files:\n  - split: train\n    path:\n"
        "    - exec*.parquet\n---\n"
    )
    assert found(paths) == []
    paths.readme.write_text(paths.readme.read_text().replace("split: train", "split: tr-ain"))
    assert "configs.0.data_files" in found(paths)[0]


TEN = pa.array(range(10))


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        (
            {"flags": pa.array([["a"]] * 10)},
            (
                "flags: holds list<element: string>; the viewer's filters, SQL and CSV want one "
                "value in a cell"
            ),
        ),
        ({"unknown": pa.nulls(10)}, "unknown: has no type, since all of its values are null"),
        (
            {"temp": TEN, "Temp": TEN},
            "Temp: is the same column as temp to SQL, which the viewer uses",
        ),
    ],
)
def test_a_table_that_the_viewer_cannot_show(
    paths: DataSetPaths, columns: dict[str, pa.Array], says: str
) -> None:
    pq.write_table(pa.table(columns), paths.root / "mine.parquet")
    assert found(paths) == [f"mine.parquet: {says}"]


def test_a_table_without_rows_and_one_that_is_none(paths: DataSetPaths) -> None:
    pq.write_table(pa.table({"a": TEN[:0]}), paths.root / "mine.parquet")
    assert found(paths) == ["mine.parquet: has no rows, so the viewer shows an error"]
    (paths.root / "mine.parquet").write_bytes(b"not a table")
    (said,) = found(paths)
    assert said.startswith("mine.parquet: can't be read (")


def test_row_groups_that_are_too_large(
    paths: DataSetPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq.write_table(pa.table({"a": TEN}), paths.root / "mine.parquet", row_group_size=1)
    group = pq.read_metadata(paths.root / "mine.parquet").row_group(0).total_byte_size
    monkeypatch.setattr(hub, "ROW_GROUP_BYTES", group)
    of_mine = [line for line in found(paths) if line.startswith("mine")]
    assert of_mine == [], "each of its groups is small enough"
    pq.write_table(pa.table({"a": TEN}), paths.root / "mine.parquet")
    of_mine = [line for line in found(paths) if line.startswith("mine")]
    assert of_mine == [
        (
            "mine.parquet: a row group of 0 MB; the viewer reads at most 300 MB at once; write it "
            "with smaller ones"
        )
    ]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("a:b.txt", "the name 'a:b.txt' can't be stored on Windows; rename it"),
        ("why?/note.txt", "the name 'why?' can't be stored on Windows; rename it"),
        ("end./note.txt", "the name 'end.' can't be stored on Windows; rename it"),
        (
            "Croissant.md",
            "differs from croissant.md by the case of letters only; Windows and macOS keep one",
        ),
    ],
)
def test_names_that_not_every_system_holds(paths: DataSetPaths, name: str, says: str) -> None:
    (paths.root / "croissant.md").write_text("x")
    path = paths.root / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("x")
    (said,) = found(paths)
    assert {said} <= {f"{name}: {says}", f"croissant.md: {says.replace('croissant', 'Croissant')}"}


def test_sizes_and_numbers(paths: DataSetPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "FOLDER_ENTRIES", 4)
    monkeypatch.setattr(hub, "REPOSITORY_FILES", 6)
    monkeypatch.setattr(hub, "FILE_BYTES", 100_000)
    for number in range(5):
        trial = paths.root / "pc" / "notes" / str(number)
        trial.mkdir(parents=True)
        (trial / "a.txt").write_text("x")
    (paths.root / "large.bin").write_bytes(b"x" * 100_001)
    said = found(paths)
    advice = "; upload the tables and a zip of the trials' folders"
    assert "large.bin: has 0 GB; the Hub takes files of up to 50 GB" in said
    assert f"pc/notes: 5 entries; the Hub asks for fewer than 4{advice}" in said
    (of_files,) = (line for line in said if line.startswith("files: "))
    assert of_files.endswith(f" files; the Hub asks for fewer than 6{advice}")
    assert {line.split(":")[0] for line in said} == {"large.bin", "pc/notes", "files", "."}
