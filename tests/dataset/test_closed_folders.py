"""A folder of a data set that the system keeps closed is never taken for an empty one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.tables import rebuild
from orchestrator.errors import UserError
from tests import builders
from tests.commandline import Outcome
from tests.processes import said_by_nobody

PLAN = ("--space", "sobol", "--engine", "simulated", "--model", "smollm2", "--samples", "2")

Call = Callable[..., Outcome]


@pytest.fixture
def whole(paths: DataSetPaths) -> DataSetPaths:
    """A data set of one trial, with its tables."""
    spec = builders.spec()
    builders.seal_trial(paths, spec, [builders.measured(p.number, of=spec) for p in spec.prompts])
    paths.sweeps.mkdir()
    rebuild(paths)
    return paths


@pytest.fixture
def closed(whole: DataSetPaths, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Closes a folder for this process, also where it is root's."""

    def close(folder: Path) -> None:
        iterdir, stat = Path.iterdir, Path.stat

        def refuse(path: Path) -> None:
            if path == folder:
                raise PermissionError(13, "Permission denied", str(path))

        def closed_iterdir(self: Path) -> object:
            refuse(self)
            return iterdir(self)

        def closed_stat(self: Path, **named: bool) -> os.stat_result:
            refuse(self.parent)
            return stat(self, **named)

        monkeypatch.setattr(Path, "iterdir", closed_iterdir)
        monkeypatch.setattr(Path, "stat", closed_stat)

    return close


@pytest.mark.parametrize("level", range(6))
@pytest.mark.parametrize(
    "verb",
    [
        *(("status",), ("validate",), ("summarize",), ("evaluate",), ("plan", *PLAN)),
        *(("tune", *PLAN), ("report",), ("publish",), ("publish", "--check"), ("watch", "--once")),
        ("review", "--reviewer", "ada", "--no-browser"),
    ],
)
def test_every_verb_names_the_folder(
    whole: DataSetPaths,
    closed: Callable[[Path], None],
    call: Call,
    level: int,
    verb: tuple[str, ...],
) -> None:
    """From the data set's own folder down to a trial's."""
    trial = whole.trial("pc", builders.spec())
    folder = [trial, *trial.parents][5 - level]
    before = whole.executions.read_bytes()
    closed(folder)
    done = call(*verb, "--out", str(whole.root))
    assert done.code == 2
    assert f"error: {folder}: can't be read" in done.err
    assert "(Permission denied)" in done.err
    assert whole.executions.read_bytes() == before


@pytest.mark.parametrize("level", range(6))
@pytest.mark.parametrize("of_target", [True, False])
def test_a_merge_names_the_folder(
    whole: DataSetPaths,
    closed: Callable[[Path], None],
    call: Call,
    tmp_path: Path,
    level: int,
    *,
    of_target: bool,
) -> None:
    """Of the data set that is merged into, and of one that is merged."""
    trial = whole.trial("pc", builders.spec())
    folder = [trial, *trial.parents][5 - level]
    other = tmp_path / "other"
    shutil.copytree(whole.root, other)
    source, out = (other, whole.root) if of_target else (whole.root, other)
    before = (out / "executions.parquet").read_bytes()
    closed(folder)
    done = call("merge", str(source), "--out", str(out))
    assert done.code == 2
    can_not = "can't be written" if of_target and level == 0 else "can't be read"
    assert f"{folder}: {can_not} (Permission denied)" in done.err
    assert (out / "executions.parquet").read_bytes() == before


def test_plans_that_cannot_be_listed_are_not_no_plans(
    whole: DataSetPaths, closed: Callable[[Path], None]
) -> None:
    closed(whole.sweeps)
    with pytest.raises(UserError, match="sweeps: can't be read"):
        whole.plans()


def test_what_is_no_machine_of_the_data_set_may_be_closed(
    whole: DataSetPaths, closed: Callable[[Path], None]
) -> None:
    """As lost+found is on a disk of its own."""
    (whole.root / "lost+found").mkdir()
    closed(whole.root / "lost+found")
    assert len(whole.sealed_trials()) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
@pytest.mark.parametrize("mode", [0o000, 0o111, 0o444])
def test_an_ordinary_user_is_told(whole: DataSetPaths, mode: int) -> None:
    (folder,) = whole.use_case_folders()
    folder.chmod(mode)
    imports = (
        "from pathlib import Path\n"
        "from orchestrator.dataset.paths import DataSetPaths\n"
        "from orchestrator.errors import UserError\n"
    )
    code = (
        "try: print(DataSetPaths(Path(sys.argv[1]).parents[3]).sealed_trials())\n"
        "except UserError as error: print(error)\n"
    )
    assert "can't be read (Permission denied)" in said_by_nobody(imports, code, folder)
