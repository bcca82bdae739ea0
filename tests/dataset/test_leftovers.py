"""What killed writers left is removed by the next one; nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.dataset.leftovers import alone
from orchestrator.dataset.paths import PARTIAL_SUFFIX, DataSetPaths
from orchestrator.dataset.trial_files import append, seal_left
from tests import builders

HALF = ".table.parquet.0123abcd.tmp"
OTHERS = (".mine", ".mine.tmp", "table.parquet.0123abcd.tmp", ".table.parquet.0123ABCD.tmp")
"""Names that this program gives to none of its files."""


def quiet(_line: str) -> None:
    """Hear nothing."""


def content(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def sealed(paths: DataSetPaths) -> Path:
    """A sealed trial, beside a plan's folder and an import."""
    spec = builders.spec()
    builders.seal_trial(paths, spec, [builders.measured(1, of=spec)])
    paths.sweeps.mkdir()
    (paths.imports / "pc" / "llama2").mkdir(parents=True)
    return paths.trial("pc", spec)


def places(paths: DataSetPaths, sealed: Path) -> tuple[Path, ...]:
    return (paths.root, paths.sweeps, sealed, paths.imports, paths.imports / "pc" / "llama2")


def test_half_written_files_are_removed_wherever_they_are_written(
    paths: DataSetPaths, sealed: Path
) -> None:
    before = content(paths.root)
    for place in places(paths, sealed):
        (place / HALF).write_bytes(b"half")
    (paths.merging / "0000-abc-r1").mkdir(parents=True)
    (paths.merging / "0000-abc-r1" / "trial.json").write_bytes(b"half")
    for name in ("executions.jsonl", "spec.json"):
        (sealed / name).write_bytes(b"of a sealing that was interrupted after its rename")
    with alone(paths, quiet):
        assert not list(paths.root.rglob(".*.tmp"))
        assert not paths.merging.exists()
    assert content(paths.root) == before, "the lock is removed, too"


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_not_ours_stays(paths: DataSetPaths, sealed: Path, name: str) -> None:
    for place in places(paths, sealed):
        (place / name).write_bytes(b"precious")
    before = content(paths.root)
    with alone(paths, quiet):
        pass
    assert content(paths.root) == before


def test_a_running_trial_is_its_sweep_s(paths: DataSetPaths, sealed: Path) -> None:
    """A sweep may be writing it just now."""
    spec = builders.spec(config_index=1)
    append(paths, spec, builders.origin(spec), "shuffled", [builders.measured(1, of=spec)])
    running = paths.partial("pc", spec)
    (running / HALF).write_bytes(b"half")
    before = content(running)
    with alone(paths, quiet):
        pass
    assert content(running) == before
    seal_left(paths)
    with alone(paths, quiet):
        pass
    assert not [p for p in paths.root.rglob(".*") if p.name == HALF or PARTIAL_SUFFIX in p.name]


def test_links_are_not_followed(paths: DataSetPaths, sealed: Path, tmp_path: Path) -> None:
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    (outside / HALF).write_bytes(b"precious")
    (paths.imports / "link").symlink_to(outside)
    paths.merging.symlink_to(outside)
    paths.sweeps.rmdir()
    paths.sweeps.symlink_to(outside)
    (sealed.parent / "linked").symlink_to(outside)
    for name in ("trial.json", "spec.json"):
        (outside / name).write_bytes(b"precious")
    (paths.root / HALF).symlink_to(outside / HALF)
    with alone(paths, quiet):
        assert not (paths.root / HALF).is_symlink(), "the link itself is no file of anybody"
    assert {p.name for p in outside.iterdir()} == {HALF, "trial.json", "spec.json"}
