"""Every file name of a data set, in one class."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from pathlib import Path

from orchestrator.nouns import TrialSpec

PARTIAL_SUFFIX = ".partial"
WORKING_FILES = ("executions.jsonl", "spec.json")
"""Of a running trial; a sealed one has trial.json instead."""
MERGING = ".merging"


@dataclass(frozen=True)
class DataSetPaths:
    """Names below the data set's folder."""

    root: Path

    @property
    def sweeps(self) -> Path:
        """Plans."""
        return self.root / "sweeps"

    def sweep(self, sweep_id: str) -> Path:
        """Plan of one sweep."""
        return self.sweeps / f"{sweep_id}.json"

    @property
    def executions(self) -> Path:
        """Derived: a row an execution."""
        return self.root / "executions.parquet"

    @property
    def summary(self) -> Path:
        """Derived: a row a trial."""
        return self.root / "summary.parquet"

    @property
    def verdicts(self) -> Path:
        """Derived: the machine's verdicts on the texts."""
        return self.root / "verdicts.parquet"

    @property
    def reviews(self) -> Path:
        """Persons' decisions about the texts, a JSON object a line; only ever added to."""
        return self.root / "reviews.jsonl"

    @property
    def judgements(self) -> Path:
        """What a judging model was asked and said, a JSON object a line."""
        return self.root / "judgements.jsonl"

    @property
    def report(self) -> Path:
        """The report."""
        return self.root / "report.html"

    @property
    def readme(self) -> Path:
        """The data card."""
        return self.root / "README.md"

    @property
    def croissant(self) -> Path:
        """The data card for programs: Croissant metadata."""
        return self.root / "croissant.json"

    @property
    def citation(self) -> Path:
        """How to cite it."""
        return self.root / "CITATION.cff"

    @property
    def licence(self) -> Path:
        """Who may do what with it."""
        return self.root / "LICENSE.md"

    @property
    def checksums(self) -> Path:
        """Hashes of everything that was published."""
        return self.root / "checksums.sha256"

    @property
    def publishing(self) -> Path:
        """Hashes of the files that are just being published; an interruption leaves it."""
        return self.root / ".publishing.sha256"

    @property
    def imports(self) -> Path:
        """Copies of files that were measured without this program."""
        return self.root / "imported"

    @property
    def provenance(self) -> Path:
        """Where those copies came from."""
        return self.imports / "import.json"

    @property
    def left_out(self) -> Path:
        """Rows and files that could not be imported, each with its reason."""
        return self.imports / "left-out.csv"

    @property
    def imported(self) -> Path:
        """Derived from those copies: a row a measurement."""
        return self.root / "imported.parquet"

    @property
    def merging(self) -> Path:
        """Trials that are being copied from another data set."""
        return self.root / MERGING

    @property
    def slurm_jobs(self) -> Path:
        """Jobs that were submitted to run sweeps here, a JSON object a line."""
        return self.root / ".slurm.jsonl"

    def use_case_folder(self, machine: str, spec: TrialSpec) -> Path:
        """The folder of a use case's trials: <machine>/<model>/<strategy>/<useCase>."""
        return self.root / machine / spec.setup.model / spec.strategy / spec.setup.use_case

    def trial(self, machine: str, spec: TrialSpec) -> Path:
        """A sealed trial."""
        return self.use_case_folder(machine, spec) / spec.folder()

    def partial(self, machine: str, spec: TrialSpec) -> Path:
        """A trial that runs: a hidden folder beside the sealed ones, renamed at the end."""
        return self.use_case_folder(machine, spec) / f".{spec.folder()}{PARTIAL_SUFFIX}"

    def use_case_folders(self) -> list[Path]:
        """All folders that may hold trials of a use case, sorted."""
        return sorted(p for p in self.root.glob("*/*/*/*") if p.is_dir())

    def sealed_trials(self) -> list[Path]:
        """Folders of all sealed trials, sorted."""
        return sorted(
            p.parent
            for p in self.root.glob("*/*/*/*/*/trial.json")
            if not p.parent.name.startswith(".")
        )

    def partial_trials(self) -> list[Path]:
        """Folders of all unfinished trials, sorted. Links are left out: this program makes none."""
        return sorted(
            p for p in self.root.glob(f"*/*/*/*/.*{PARTIAL_SUFFIX}") if self.is_partial(p)
        )

    def is_partial(self, folder: Path) -> bool:
        """Whether a folder is an unfinished trial: no link, nor one on its way out of here."""
        return (
            folder.is_dir()
            and not folder.is_symlink()
            and folder.resolve().is_relative_to(self.root.resolve())
        )


def execution_id(machine: str, spec: TrialSpec, prompt: int) -> str:
    """The name of an execution within a data set: its trial's folder, #, its prompt's number.

    The folder is relative to the data set's and has / on every system, so a copy has the same ids.
    """
    return f"{DataSetPaths(Path()).trial(machine, spec).as_posix()}#{prompt}"


Stamp = tuple[int, int, int]


def stamp(path: Path) -> Stamp | None:
    """What tells a file or folder that was changed; None: it isn't there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def write_atomically(path: Path, data: bytes) -> None:
    """Write beside and rename, flushed to the disk.

    A reader sees the old file or the new one, never half of one.
    """
    make_folder(path.parent)
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with beside.open("wb") as stream:
            stream.write(data)
            stream.flush()
            # before the rename: else a power failure could leave the new name on an empty file
            os.fsync(stream.fileno())
        beside.replace(path)
        sync_folder(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, each entry on the disk when this returns."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename inside the folder survive a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
