"""Files of Optuna: what Optuna reads of them, and that none is ever changed."""

from __future__ import annotations

import sqlite3
from datetime import datetime
from pathlib import Path

import optuna
import pytest

from orchestrator.check.validation import validate
from orchestrator.errors import UserError
from orchestrator.export.optuna_storage import journal, sqlite
from orchestrator.export.studies import Study, studies_of
from orchestrator.export.study_file import KINDS, address, write_studies
from orchestrator.nouns import PARAMETERS
from tests.export.swept import OUT_OF_MEMORY, Swept

STORAGES = {".db": sqlite, ".log": journal}


@pytest.fixture
def swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Swept:
    """Four trials, one of which failed."""
    monkeypatch.chdir(tmp_path)
    swept = Swept(tmp_path / "measurements")
    failed, *others = swept.specs()
    swept.measure(failed, (0.0, 0.0), **OUT_OF_MEMORY | {"energy_j": None})
    for number, spec in enumerate(others, 1):
        swept.measure(spec, (10.0 * number, 20.0))
    return swept


def studies(swept: Swept) -> list[Study]:
    return studies_of(swept.trials(), [swept.plan])[0]


@pytest.mark.parametrize("ending", STORAGES)
def test_optuna_reads_what_was_measured(swept: Swept, tmp_path: Path, ending: str) -> None:
    [study] = studies(swept)
    file = tmp_path / f"study{ending}"
    assert write_studies([study], file)
    read = optuna.load_study(study_name=study.name, storage=STORAGES[ending](file))
    assert [direction.name for direction in read.directions] == ["MINIMIZE"]
    assert read.metric_names == ["energy_per_token_j"]
    assert read.user_attrs["sweep"] == swept.plan.id
    assert read.user_attrs["units"] == {"energy_per_token_j": "J"}
    assert [trial.number for trial in read.trials] == [0, 1, 2, 3]
    for trial, said in zip(read.trials, study.trials, strict=True):
        assert trial.params == said.configuration.model_dump()
        assert trial.user_attrs == said.attributes
        assert trial.values == (None if said.values is None else list(said.values))
        assert trial.state.name == ("FAIL" if said.values is None else "COMPLETE")
        assert trial.datetime_start == local(said.started_at)
        assert trial.datetime_complete == local(said.ended_at)
        for name in PARAMETERS:
            axis, ranges = swept.plan.space.parameters[name], trial.distributions[name]
            assert (ranges.low, ranges.high, ranges.log) == (axis.low, axis.high, False)
    assert [trial.state.name for trial in read.trials].count("FAIL") == 1
    best = min(trial.values for trial in study.trials if trial.values)
    assert read.best_trial.values == list(best)


def local(moment: datetime) -> datetime:
    return datetime.fromtimestamp(moment.timestamp())  # noqa: DTZ006 - Optuna's times have no zone


@pytest.mark.parametrize("ending", STORAGES)
def test_the_same_again_changes_nothing(swept: Swept, tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"study{ending}"
    assert write_studies(studies(swept), file)
    before = file.read_bytes()
    assert not write_studies(studies(swept), file)
    assert file.read_bytes() == before
    assert sorted(tmp_path.glob(f"*study{ending}*")) == [file]


def test_what_a_person_added_to_the_file_stays(swept: Swept, tmp_path: Path) -> None:
    """A dashboard keeps notes in it."""
    [study] = studies(swept)
    write_studies([study], tmp_path / "study.db")
    storage = sqlite(tmp_path / "study.db")
    optuna.load_study(study_name=study.name, storage=storage).set_user_attr("note", "a thought")
    assert not write_studies([study], tmp_path / "study.db")
    assert optuna.load_study(study_name=study.name, storage=storage).user_attrs["note"]


@pytest.mark.parametrize("ending", STORAGES)
def test_a_file_of_an_earlier_state_is_not_overwritten(
    swept: Swept, tmp_path: Path, ending: str
) -> None:
    file = tmp_path / f"study{ending}"
    [study] = studies(swept)
    write_studies([study.with_trials(study.trials[:2])], file)
    before = file.read_bytes()
    with pytest.raises(UserError, match="exists and holds something else") as refused:
        write_studies([study], file)
    assert len(refused.value.lines) == 1
    assert file.read_bytes() == before


def foreign_database(file: Path) -> None:
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE mine (number INTEGER)")
        database.execute("INSERT INTO mine VALUES (7)")
    database.close()


FOREIGN = {
    "a text": lambda file: file.write_text("my notes\n"),
    "JSON": lambda file: file.write_text('{"a": 1}\n'),
    "nothing": lambda file: file.write_text(""),
    "a database": foreign_database,
    "a folder": lambda file: file.mkdir(),
    "a link that leads nowhere": lambda file: file.symlink_to("nowhere"),
}


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("ending", STORAGES)
def test_a_file_of_others_is_not_touched(
    swept: Swept, tmp_path: Path, ending: str, kind: str
) -> None:
    file = tmp_path / f"mine{ending}"
    FOREIGN[kind](file)
    before = file.read_bytes() if file.is_file() else None
    names = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match="exists and holds something else"):
        write_studies(studies(swept), file)
    assert (file.read_bytes() if file.is_file() else None) == before
    assert sorted(tmp_path.iterdir()) == names


def test_a_file_that_cannot_be_written_is_told_in_a_sentence(swept: Swept, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"--file .*study.db: can't be written"):
        write_studies(studies(swept), tmp_path / "file" / "study.db")


def test_other_endings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"study.csv: must end in .db, .sqlite3 or .log"):
        write_studies([], tmp_path / "study.csv")


def test_every_kind_of_file_has_an_address() -> None:
    assert [address(Path(f"a{ending}")) for ending in KINDS] == [
        "sqlite:///a.db",
        "sqlite:///a.sqlite3",
        "a.log",
    ]


def test_links_that_other_tools_make_are_no_fault_of_the_data_set(swept: Swept) -> None:
    """W&B's logs are links to a folder of its own."""
    swept.paths.dashboards.mkdir()
    (swept.paths.dashboards / "debug.log").symlink_to("/nowhere")
    _, findings = validate(swept.paths.root)
    assert not [one for one in findings if "link" in one.what]
    (swept.paths.root / "debug.log").symlink_to("/nowhere")
    _, findings = validate(swept.paths.root)
    assert [one.where for one in findings if "link" in one.what] == ["debug.log"]
