"""A file of Optuna with all studies of a data set, written once and never changed."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.atomic_files import written_atomically
from orchestrator.errors import UserError
from orchestrator.export.optuna_storage import (
    DIGEST,
    add_study,
    journal,
    quiet,
    sqlite,
    study_digest,
)
from orchestrator.export.studies import Study
from orchestrator.outside_files import open_regular

if TYPE_CHECKING:
    import optuna

KINDS: Mapping[str, Callable[[Path], optuna.storages.BaseStorage]] = {
    ".db": sqlite,
    ".sqlite3": sqlite,
    ".log": journal,
}
"""The ending of a file's name -> its storage."""
SQLITE_HEAD = b"SQLite format 3\0"


def check_kind(file: Path) -> None:
    """Raise UserError unless a file's name says which storage it is."""
    if file.suffix.lower() not in KINDS:
        raise UserError(f"--file {file}: must end in {', '.join(list(KINDS)[:-1])} or .log")


def address(file: Path) -> str:
    """What optuna-dashboard is given for a file."""
    if KINDS[file.suffix.lower()] is sqlite:
        return f"sqlite:///{file}"
    return str(file)


def write_studies(studies: Sequence[Study], file: Path) -> bool:
    """Write a new file with these studies; False: it is there already and holds them.

    Raises UserError where it holds anything else, or can't be written.
    """
    check_kind(file)
    with quiet():
        marked = [_marked(study) for study in studies]
        if file.exists() or file.is_symlink():
            if _digests_in(file) == {study.name: study.attributes[DIGEST] for study in marked}:
                return False
            raise UserError(
                f"--file {file}: exists and holds something else than these studies, perhaps the "
                "data set as it was earlier; name a new file, or remove this one"
            )
        # made elsewhere: SQLite's locks fail on network file systems
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder) / file.name
            _write(marked, made)
            try:
                with written_atomically(file) as target, made.open("rb") as source:
                    shutil.copyfileobj(source, target)
            except OSError as error:
                raise UserError(f"--file {file}: can't be written ({error.strerror})") from error
    return True


def _marked(study: Study) -> Study:
    """A study with its hash among its attributes."""
    return dataclasses.replace(study, attributes={**study.attributes, DIGEST: study_digest(study)})


def _write(studies: Sequence[Study], file: Path) -> None:
    """Write studies into a new file."""
    storage = KINDS[file.suffix.lower()](file)
    for study in studies:
        add_study(storage, study)
    storage.remove_session()


def _digests_in(file: Path) -> dict[str, str] | None:
    """Name of each study in a file -> its hash; None where it is no file of studies.

    A copy is read: opening a storage may write into its file.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / file.name
        try:
            with open_regular(file) as source, copy.open("wb") as target:
                shutil.copyfileobj(source, target)
            return _digests(copy)
        except (OSError, ValueError):
            return None


def _digests(file: Path) -> dict[str, str]:
    """The same of a file that may be written. Raises ValueError where it holds no studies."""
    import optuna

    try:
        storage = KINDS[file.suffix.lower()](file)
        summaries = optuna.get_all_study_summaries(storage, include_best_trial=False)
        found = {one.study_name: str(one.user_attrs.get(DIGEST)) for one in summaries}
        storage.remove_session()
    except Exception as error:  # whatever Optuna and SQLAlchemy raise for a foreign file
        raise ValueError(f"{file.name}: no file of studies") from error
    return found
