"""`export optuna` on the command line: what it writes, says and refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from tests.commandline import Outcome
from tests.export.swept import OUT_OF_MEMORY, Swept


@pytest.fixture
def swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Swept:
    """Three whole trials, one of them failed, and a part of a fourth, in the working folder."""
    monkeypatch.chdir(tmp_path)
    swept = Swept(Path("measurements"))
    failed, part, *others = swept.specs()
    swept.measure(failed, (0.0, 0.0), **OUT_OF_MEMORY | {"energy_j": None})
    swept.measure(part, (20.0,))
    for spec in others:
        swept.measure(spec)
    return swept


def test_it_says_what_it_wrote_and_how_to_open_it(
    swept: Swept, call: Callable[..., Outcome]
) -> None:
    done = call("export", "optuna")
    name = f"simulated-smollm2 fantasyWorld (nf4, simulated) on cpu, sweep {swept.plan.id}"
    said = [
        f"{name}: 3 trials (1 failed); energy_per_token_j min",
        "Left out: 1 trial of which prompts are missing",
        "Open it with: optuna-dashboard sqlite:///study.db",
    ]
    assert (done.code, done.err, done.out.splitlines()) == (0, "", said)
    assert optuna.get_all_study_names("sqlite:///study.db") == [name]
    again = call("export", "optuna", "--json")
    study = {
        "name": name,
        "objectives": {"energy_per_token_j": "min"},
        "trials": 3,
        "failed": 1,
    }
    assert json.loads(again.out) == {"file": "study.db", "studies": [study], "left_out": 1}
    assert "study.db: has these studies already" in call("export", "optuna").out


def test_a_file_that_holds_something_else_is_refused(
    swept: Swept, call: Callable[..., Outcome]
) -> None:
    Path("study.db").write_text("mine")
    done = call("export", "optuna")
    said = (
        "error: --file study.db: exists and holds something else than these studies, perhaps the "
        "data set as it was earlier; name a new file, or remove this one\n"
    )
    assert (done.code, done.out, done.err) == (2, "", said)
    assert Path("study.db").read_text() == "mine"


@pytest.mark.usefixtures("swept")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--file", "study.csv"), "--file study.csv: must end in .db, .sqlite3 or .log"),
        (("--objective", "energy_per_tokn_j=min"), "did you mean energy_per_token_j?"),
        (("--objective", "quality"), "--objective quality: write quality=min or quality=max"),
        (("--objective", "quality=best"), "--objective quality=best: write quality=min or"),
        (("--out", "nowhere"), "--out nowhere: no such folder"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_sentence(
    call: Callable[..., Outcome], arguments: tuple[str, ...], said: str
) -> None:
    done = call("export", "optuna", *arguments)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert done.err.count("\n") == 1
    assert not Path("study.db").exists()


def test_other_objectives(swept: Swept, call: Callable[..., Outcome]) -> None:
    done = call(
        "export", "optuna", "--objective", "tokens_per_s=max", "--objective", "energy_j=min"
    )
    assert done.out.splitlines()[0].endswith(
        ": 3 trials (1 failed); tokens_per_s max, energy_j min"
    )
    [name] = optuna.get_all_study_names("sqlite:///study.db")
    study = optuna.load_study(study_name=name, storage="sqlite:///study.db")
    assert [trial.values for trial in study.trials if trial.values] == [[5.0, 40.0]] * 2


def test_a_data_set_without_a_whole_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[..., Outcome]
) -> None:
    monkeypatch.chdir(tmp_path)
    Swept(Path("measurements"))
    done = call("export", "optuna")
    assert (done.code, done.err) == (
        2,
        "error: measurements: no trial is complete yet; see `orchestrator status`\n",
    )


def test_a_plan_that_was_edited_is_refused(swept: Swept, call: Callable[..., Outcome]) -> None:
    file = swept.paths.sweep(swept.plan.id)
    file.write_text(file.read_text().replace('"seed": 0', '"seed": 1', 1))
    done = call("export", "optuna")
    assert done.code == 2
    assert f"measurements/sweeps/{swept.plan.id}.json: was edited by hand" in done.err
