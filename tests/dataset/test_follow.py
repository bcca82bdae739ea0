"""Following a data set: the same as reading it all, and nothing is read twice."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from orchestrator.dataset import follow
from orchestrator.dataset.follow import Follower
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.schema import TrialRecord
from orchestrator.dataset.tables import read_all, read_running, read_sealed
from orchestrator.dataset.trial_files import append, seal
from tests import builders


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each folder was read."""
    counts: Counter[str] = Counter()

    def sealed(paths: DataSetPaths, folder: Path) -> TrialRecord | str:
        counts[folder.name] += 1
        return read_sealed(paths, folder)

    def running(paths: DataSetPaths, folder: Path) -> TrialRecord | str | None:
        counts[folder.name] += 1
        return read_running(paths, folder)

    monkeypatch.setattr(follow, "read_sealed", sealed)
    monkeypatch.setattr(follow, "read_running", running)
    return counts


def same(follower: Follower, paths: DataSetPaths) -> bool:
    """Whether it has the same as reading everything, except when a running trial was read."""
    (trials, faults), (all_trials, all_faults) = follower.trials(), read_all(paths, unfinished=True)
    found = [
        [record.model_copy(update={"sealed_at": ""}) for record in t.records()]
        for t in (trials, all_trials)
    ]
    return found[0] == found[1] and faults == all_faults


def test_a_sweep_from_its_first_prompt_to_its_end(paths: DataSetPaths, reads: Counter[str]) -> None:
    follower = Follower(paths)
    assert not follower.look(), "there is no such folder yet"
    specs = [builders.spec(config_index=index) for index in range(3)]
    for spec in specs:
        for number in (1, 2, 3):
            append(
                paths, spec, builders.origin(spec), "shuffled", [builders.measured(number, of=spec)]
            )
            assert follower.look()
            assert same(follower, paths)
        running = paths.partial("pc", spec).name
        assert reads[running] == 3
        seal(paths, "pc", spec)
        assert follower.look()
        assert same(follower, paths)
        assert not follower.look()
        assert (reads[running], reads[spec.folder()]) == (3, 1)
    assert sum(reads.values()) == 12


def test_what_goes_away_or_comes_late_is_seen(paths: DataSetPaths) -> None:
    specs = [builders.spec(config_index=index) for index in range(3)]
    for spec in specs:
        builders.seal_trial(paths, spec, [builders.measured(1, of=spec)])
    follower = Follower(paths)
    assert follower.look()
    folder = paths.trial("pc", specs[0])
    kept = folder.rename(paths.root.parent / "kept")
    assert follower.look()
    assert same(follower, paths)
    folder.mkdir()  # somebody copies it back, file by file
    assert not follower.look()
    shutil.copy(kept / "trial.json", folder)
    assert follower.look()
    assert len(follower.trials()[0]) == 3
    shutil.rmtree(folder.parents[2])
    assert follower.look()
    assert len(follower.trials()[0]) == 0


def test_what_cannot_be_read_is_told_and_tried_again(paths: DataSetPaths) -> None:
    spec = builders.spec()
    builders.seal_trial(paths, spec, [builders.measured(1, of=spec)])
    file = paths.trial("pc", spec) / "trial.json"
    whole = file.read_text()
    file.write_text(whole.replace("oracle", "") + "x")
    follower = Follower(paths)
    follower.look()
    assert same(follower, paths)
    assert len(follower.trials()[1]) == 1
    file.write_text(whole)
    assert follower.look()
    assert same(follower, paths)


def test_links_out_of_the_data_set_are_not_followed(paths: DataSetPaths, tmp_path: Path) -> None:
    spec = builders.spec()
    other = DataSetPaths(tmp_path / "other")
    append(other, spec, builders.origin(spec), "shuffled", [builders.measured(1, of=spec)])
    paths.use_case_folder("pc", spec).mkdir(parents=True)
    paths.partial("pc", spec).symlink_to(other.partial("pc", spec))
    follower = Follower(paths)
    follower.look()
    assert len(follower.trials()[0]) == 0


def test_two_thousand_trials_are_read_once(
    paths: DataSetPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing has changed, a look reads no trial and lists no settled folder.

    It is shown by counting the reads, not by the clock.
    """
    read: list[str] = []
    record = builders.record()
    monkeypatch.setattr(
        follow, "read_sealed", lambda _paths, folder: read.append(folder.name) or record
    )
    monkeypatch.setattr(follow, "FRESH_S", -1.0)  # as if the folders were old
    folder = paths.use_case_folder("pc", builders.spec())
    for index in range(2000):
        (folder / f"{index:04d}-r1").mkdir(parents=True)
        (folder / f"{index:04d}-r1" / "trial.json").touch()
    follower = Follower(paths)
    assert follower.look()
    assert len(read) == 2000
    listed: list[Path] = []
    iterdir = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda self: listed.append(self) or iterdir(self))
    for _ in range(3):
        assert not follower.look()
    assert (len(read), folder in listed) == (2000, False)
    (folder / "2000-r1").mkdir()
    (folder / "2000-r1" / "trial.json").touch()
    assert follower.look()
    assert (read[2000:], listed.count(folder)) == (["2000-r1"], 1)
