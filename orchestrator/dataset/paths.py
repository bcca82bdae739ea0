"""Every file name of a data set, in one class."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import UserError
from orchestrator.nouns import MACHINE_NAME, TrialSpec
from orchestrator.outside_files import leads_into, listed, status_of

PARTIAL_SUFFIX = ".partial"
WORKING_FILES = ("executions.jsonl", "spec.json")
"""Of a running trial; a sealed one has trial.json instead."""
MERGING = ".merging"
PLACEHOLDER = "Data sets go here "
"""How README.md of the repository's empty folder measurements/ begins: it is no data card."""


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
    def chart(self) -> Path:
        """The chart that the data card shows."""
        return self.root / "chart.png"

    @property
    def dictionary(self) -> Path:
        """What each column of each table means."""
        return self.root / "data-dictionary.md"

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

    @property
    def dashboards(self) -> Path:
        """What other tools' dashboards read: made from the trials, never published."""
        return self.root / ".dashboards"

    @property
    def live_studies(self) -> Path:
        """The studies of samplers that learn, as Optuna's JournalStorage keeps them."""
        return self.dashboards / "optuna.log"

    def use_case_folder(self, machine: str, spec: TrialSpec) -> Path:
        """The folder of a use case's trials: <machine>/<model>/<strategy>/<useCase>."""
        return self.root / machine / spec.setup.model / spec.strategy / spec.setup.use_case

    def trial(self, machine: str, spec: TrialSpec) -> Path:
        """A sealed trial."""
        return self.use_case_folder(machine, spec) / spec.folder()

    def partial(self, machine: str, spec: TrialSpec) -> Path:
        """A trial that runs: a hidden folder beside the sealed ones, renamed at the end."""
        return self.use_case_folder(machine, spec) / f".{spec.folder()}{PARTIAL_SUFFIX}"

    def plans(self) -> list[Path]:
        """All plans of sweeps, sorted. Raises as `names_in`."""
        names = names_in(self.sweeps)
        return [self.sweeps / n for n in names if n.endswith(".json") and not n.startswith(".")]

    def use_case_folders(self) -> list[Path]:
        """All folders that may hold trials of a use case, sorted. Raises as `names_in`."""
        # folders that are no machine's may be anybody's, as lost+found of a disk is
        machines = [name for name in names_in(self.root) if re.fullmatch(MACHINE_NAME, name)]
        folders = [self.root / name for name in machines if _is_folder(self.root / name)]
        for _level in ("model", "strategy", "use case"):
            folders = [inner for folder in folders for inner in _folders_in(folder)]
        return sorted(folders)

    def sealed_trials(self) -> list[Path]:
        """Folders of all sealed trials, sorted. Raises as `names_in`."""
        folders = [inner for folder in self.use_case_folders() for inner in _folders_in(folder)]
        return sorted(folder for folder in folders if holds(folder, "trial.json"))

    def partial_trials(self) -> list[Path]:
        """Folders of all unfinished trials, sorted. Links are left out: this program makes none.

        Raises as `names_in`.
        """
        found = []
        for folder in self.use_case_folders():
            for name in names_in(folder):
                hidden = name.startswith(".") and name.endswith(PARTIAL_SUFFIX)
                if hidden and self.is_partial(folder / name):
                    found.append(folder / name)
        return sorted(found)

    def is_partial(self, folder: Path) -> bool:
        """Whether a folder is an unfinished trial: no link, nor one on its way out of here."""
        return not folder.is_symlink() and _is_folder(folder) and leads_into(folder, self.root)


def names_in(folder: Path) -> list[str]:
    """The names in a folder, sorted; none where it isn't there, or no folder.

    Raises UserError where it can't be read: what it holds would be taken for missing, and a table
    or a plan made without it.
    """
    try:
        return listed(folder)
    except OSError as error:
        raise unreadable(folder, error) from error


def _folders_in(folder: Path) -> list[Path]:
    """The folders in a folder, without hidden ones. Raises as `names_in`."""
    inner = [folder / name for name in names_in(folder) if not name.startswith(".")]
    return [path for path in inner if _is_folder(path)]


def _is_folder(path: Path) -> bool:
    """Whether a path leads to a folder. Raises as `names_in`, of the folder that it is in."""
    status = _status(path)
    return status is not None and stat.S_ISDIR(status.st_mode)


def holds(folder: Path, name: str) -> bool:
    """Whether a folder holds a file of that name. Raises as `names_in`."""
    return _status(folder / name) is not None


def _status(path: Path) -> os.stat_result | None:
    """As `status_of`. Raises UserError where the folder that it is in can't be searched."""
    try:
        return status_of(path)
    except OSError as error:
        raise unreadable(path.parent, error) from error


def unreadable(folder: Path, error: OSError) -> UserError:
    """What to tell of a folder that the system keeps closed."""
    return UserError(
        f"{folder}: can't be read ({error.strerror}), and what it holds must not be taken for "
        "missing; let this user read it, or move it away"
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
