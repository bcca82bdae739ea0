"""Whether a model's files are still those that were fetched, converted or made.

Every file that loading reads is hashed whole: samples of a file would miss what is altered between
them. What a file has to be is known from the hub, whose cache names each file by its hash, or from
a record in this program's cache, written when the model came. A file that hasn't been touched since
it was hashed isn't read again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from orchestrator.atomic_files import TEMPORARY, write_atomically
from orchestrator.engine.cache import ABANDONED_S, cache_folder
from orchestrator.errors import ModelUnavailableError
from orchestrator.models import Model
from orchestrator.nouns import Noun
from orchestrator.outside_files import leads_into, listed, open_regular, read_bytes, status_of
from orchestrator.say import Say

LOADED_FILES = (".safetensors", ".json", ".jinja", ".model", ".tiktoken", "vocab.txt", "merges.txt")
"""Only files whose names end so are fetched and loaded: no pickles, and no code."""
BLOBS = "blobs"
"""The folders of the files themselves in the cache of the hub's client: of a model, and of all."""
TEMPLATES = "additional_chat_templates"
"""The one subfolder that transformers looks into by itself."""
SETTLED_NS = 2 * 10**9
"""A younger file is hashed again next time: its clock is too coarse to show one more change."""
TOLD_BYTES = 2 * 10**9
"""Hashing more than this takes seconds, so it is told."""

Came = Literal["fetched", "converted", "made", "first checked"]


class HashedFile(Noun):
    """A file's hash, and by what it is seen that nobody touched the file since."""

    sha256: str
    state: tuple[int, int, int, int] | None
    """Size in bytes, mtime and ctime in ns, inode; None: too young, so it is hashed again."""


class Record(Noun):
    """hashes/<folder>.json in the cache: the files of a model as they came."""

    ref: str
    """What stands after --model."""
    came: Came
    on: str
    """The date, UTC."""
    files: dict[str, HashedFile]


def loaded_files(folder: Path) -> dict[str, Path]:
    """Name -> path of each file that loading a model may read.

    Raises ModelUnavailableError where the folder can't be read, or its index names files elsewhere.
    """
    # an index may name parts in other folders
    parts = sorted(weight_files(folder))
    if any(Path(name).is_absolute() or ".." in Path(name).parts for name in parts):
        raise ModelUnavailableError(
            f"{folder}: its index names weights outside the folder; keep them inside"
        )
    try:
        beside = [name for name in listed(folder) if name.endswith(LOADED_FILES)]
        templates = [f"{TEMPLATES}/{name}" for name in listed(folder / TEMPLATES)]
        names = [*beside, *(name for name in templates if name.endswith(".jinja")), *parts]
        return {os.path.normpath(name): folder / name for name in names if _is_file(folder / name)}
    except OSError as error:
        raise unreadable(folder, error) from error


def _is_file(path: Path) -> bool:
    """Whether there is anything but a folder. Raises OSError where this user may not know."""
    status = status_of(path)
    return status is not None and not stat.S_ISDIR(status.st_mode)


def unreadable(folder: Path, error: OSError) -> ModelUnavailableError:
    """What to tell of a file or folder that this user may not read."""
    return ModelUnavailableError(f"{error.filename or folder}: can't be read ({error.strerror})")


def weight_files(folder: Path) -> set[str]:
    """Names of the files of weights, as the index says where there is one."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        index = json.loads(read_bytes(folder / "model.safetensors.index.json"))
        return {str(name) for name in index["weight_map"].values()}
    return {"model.safetensors"}


def file_hashes(model: Model, folder: Path, say: Say, *, anew: bool = False) -> dict[str, str]:
    """Name -> SHA-256 of the files of a user's own folder, which may say whatever they say.

    `anew`: read them all again, also those that weren't touched.

    Raises ModelUnavailableError where one can't be read, or has changed though by its time stamps
    nobody wrote it, as on a failing disk. That is told once: then it counts as what it is.
    """
    record = _read(folder)
    files = _hashed(model, folder, None if anew else record, say)
    if record is not None and record.files == files:
        return _by_name(files)
    _write(folder, model, "first checked", files)
    for name, file in files.items():
        known = record.files.get(name) if record else None
        if known and known.state and known.state == file.state and known.sha256 != file.sha256:
            raise ModelUnavailableError(
                f"{name} of {model.label} {_has_changed(record, known, file)}, though by its time "
                "stamps nobody wrote it; restore it, or measure anew: as it is, it counts as other "
                "weights"
            )
    return _by_name(files)


def record_files(model: Model, folder: Path, came: Came, say: Say) -> dict[str, str]:
    """Hash files that have just come, and record them as what they have to be from now on.

    Returns name -> SHA-256. Raises ModelUnavailableError where one can't be read.
    """
    files = _hashed(model, folder, None, say)
    _write(folder, model, came, files)
    return _by_name(files)


def checked_files(
    model: Model, folder: Path, say: Say, *, came: Came = "first checked", anew: bool = False
) -> dict[str, str]:
    """Name -> SHA-256 of the files, which are those that once came.

    `came`: what to record of files that nobody has seen before. `anew`: read them all again, also
    those that weren't touched.

    Raises ModelUnavailableError, in one sentence, where one was altered, removed or added.
    """
    record = _read(folder)
    files = _hashed(model, folder, None if anew else record, say)
    changes = list(_changes(folder, record, files))
    if changes:
        name, what = changes[0]
        more = f", and {len(changes) - 1} more of its files differ" if changes[1:] else ""
        raise ModelUnavailableError(
            f"{name} of {model.label} {what}{more}; fetch it anew with "
            f"`orchestrator models stage {model.ref} --again`, or name another model"
        )
    if record is None or record.files != files:
        _write(folder, model, record.came if record else came, files, record)
    return _by_name(files)


def remove_changed(model: Model, folder: Path, say: Say) -> None:
    """Remove the files of a snapshot of the hub that aren't what they were, to be fetched anew.

    No link is followed out of the cache of the hub's client: what lies there may be somebody's.
    Raises OSError.
    """
    record = _read(folder)
    files = _hashed(model, folder, None, say)
    # all are found before any is removed: two names may lead to one file
    for name, what in list(_changes(folder, record, files)):
        say(f"{model.label}: {name} {what}")
        if leads_into((folder / name).parent, folder):
            _unlink(folder / name, folder)
    _record_path(folder).unlink(missing_ok=True)


def _unlink(path: Path, snapshot: Path) -> None:
    """Remove a file of a snapshot and, within the cache of the hub's client, what it leads to.

    The client takes what is there for right: the model's own copy, and in the store that all models
    share the file to which that may be a link. Raises OSError.
    """
    stores = [folder / BLOBS for folder in snapshot.parents[1:3]]
    while path.is_symlink():
        leads_to = path.parent / path.readlink()
        path.unlink()
        if not any(leads_into(leads_to.parent, store) for store in stores):
            return
        path = leads_to
    path.unlink(missing_ok=True)


def recorded_refs() -> list[str]:
    """What stands after --model for each model that was ever checked on this machine.

    Raises ModelUnavailableError where the records can't be read.
    """
    folder = cache_folder() / "hashes"
    try:
        names = [name for name in listed(folder) if name.endswith(".json")]
    except OSError as error:
        raise unreadable(folder, error) from error
    refs = set()
    for name in names:
        record = _read_record(folder / name)
        if record is not None:
            refs.add(record.ref)
    return sorted(refs)


# --- what has changed -----------------------------------------------------------------------------


def _changes(
    folder: Path, record: Record | None, files: dict[str, HashedFile]
) -> Iterator[tuple[str, str]]:
    """Each file that isn't what it has to be, and how it differs."""
    before = record.files if record else {}
    since = _since(record)
    hashes = {name: _hash_by_hub(folder / name) for name in files}
    for name, file in files.items():
        known = before.get(name)
        if known is file:  # it wasn't touched
            continue
        of_hub = hashes[name]
        other = _other_than_the_hub_s(folder / name, file, of_hub) if of_hub else None
        if other is not None:
            yield name, other
        elif known is not None and known.sha256 != file.sha256:
            yield name, _has_changed(record, known, file)
        elif any(hashes.values()) and not (folder / name).is_symlink():
            yield name, "isn't from the hub"
        # the client of the hub may fetch one more of a commit's files later
        elif known is None and record is not None and of_hub is None:
            yield name, f"has come {since.replace('it was', 'the model was')}"
    for name in before:
        if name not in files:
            yield name, f"is gone {since}"


def _since(record: Record | None) -> str:
    """Since when the files of a model are known; "" where they aren't."""
    return f"since it was {record.came} on {record.on}" if record else ""


def _has_changed(record: Record | None, known: HashedFile, file: HashedFile) -> str:
    """That a file has another content than the record says."""
    return f"has changed {_since(record)} ({_hashes('sha256', known.sha256, file.sha256)})"


def _hash_by_hub(path: Path) -> str | None:
    """The name to which a snapshot's link leads: a hash of the file's content.

    It has 64 digits (SHA-256) for large files and 40 (SHA-1) for others. None: no such link. That
    file may itself be a link into a store whose names are other hashes.
    """
    if not path.is_symlink():
        return None
    name = path.readlink().name
    return name if re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", name) else None


def _other_than_the_hub_s(path: Path, file: HashedFile, of_hub: str) -> str | None:
    """How a file differs from what the hub says of it; None where it doesn't."""
    algorithm, now = "sha256", [file.sha256]
    if len(of_hub) == hashlib.sha1(usedforsecurity=False).digest_size * 2:
        algorithm, now = "sha1", _sha1s(path)
    if of_hub in now:
        return None
    return f"isn't the hub's file any more ({_hashes(algorithm, of_hub, now[0])})"


def _sha1s(path: Path) -> list[str]:
    """A file's SHA-1 as git takes it, with a head, and without: some mirrors of the hub do that."""
    plain = hashlib.sha1(usedforsecurity=False)
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        of_git = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
        while block := stream.read(2**20):
            of_git.update(block)
            plain.update(block)
    return [of_git.hexdigest(), plain.hexdigest()]


def _hashes(algorithm: str, before: str, now: str) -> str:
    """Two hashes, short."""
    return f"{algorithm} {before[:8]}... is now {now[:8]}..."


# --- hashing --------------------------------------------------------------------------------------


def _hashed(model: Model, folder: Path, record: Record | None, say: Say) -> dict[str, HashedFile]:
    """All files of a model with their hashes; those of `record` where they weren't touched."""
    paths = loaded_files(folder)
    known = {} if record is None else record.files
    try:
        unread = sum(
            path.stat().st_size
            for name, path in paths.items()
            if name not in known or known[name].state != _state(path.stat())
        )
        if unread > TOLD_BYTES:
            say(
                f"{model.label}: hashing {unread / 1e9:.1f} GB, which is done once after "
                "each change"
            )
        return {name: _hash(path, known.get(name)) for name, path in paths.items()}
    except OSError as error:
        raise unreadable(folder, error) from error
    except ValueError as error:
        raise ModelUnavailableError(f"{folder}/{error}") from error


def _hash(path: Path, known: HashedFile | None) -> HashedFile:
    """A file with its hash; `known` itself where it wasn't touched since.

    Raises OSError, and ValueError with one sentence where it is no file, or changes meanwhile.
    """
    with open_regular(path) as stream:
        state = _state(os.fstat(stream.fileno()))
        if known is not None and known.state == state:
            return known
        now_ns = time.time_ns()
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        if _state(os.fstat(stream.fileno())) != state:
            raise ValueError(f"{path.name}: changes while it is read; try again when it is whole")
    _, _, ctime_ns, _ = state
    is_settled = ctime_ns < now_ns - SETTLED_NS
    return HashedFile(sha256=sha256, state=state if is_settled else None)


def _state(status: os.stat_result) -> tuple[int, int, int, int]:
    """What changes with a file's content: nobody can set the ctime."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _by_name(files: dict[str, HashedFile]) -> dict[str, str]:
    """Name -> SHA-256."""
    return {name: file.sha256 for name, file in sorted(files.items())}


# --- records --------------------------------------------------------------------------------------


def _record_path(folder: Path) -> Path:
    """Where the record of a model's folder is kept.

    Of a folder in the cache it is the same wherever the cache was moved or copied to.
    """
    place = folder
    if folder.is_relative_to(cache_folder()):
        place = folder.relative_to(cache_folder())
    whole = hashlib.sha256(os.fsencode(place)).hexdigest()
    return cache_folder() / "hashes" / f"{folder.name}-{whole[:12]}.json"


def _read(folder: Path) -> Record | None:
    """The record of a folder; None where there is none."""
    return _read_record(_record_path(folder))


def _read_record(path: Path) -> Record | None:
    """A record; None where it isn't there or isn't whole.

    Raises ModelUnavailableError where it can't be read: what was altered would count as sound.
    """
    try:
        return Record.model_validate_json(read_bytes(path))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    except OSError as error:
        raise unreadable(path, error) from error


def _write(
    folder: Path,
    model: Model,
    came: Came,
    files: dict[str, HashedFile],
    before: Record | None = None,
) -> None:
    """Write a record in one step; `before`: the one whose date stays.

    A cache that can't be written costs time alone: all is hashed again.
    """
    on = before.on if before else datetime.now(UTC).date().isoformat()
    record = Record(ref=model.ref, came=came, on=on, files=files)
    path = _record_path(folder)
    with contextlib.suppress(OSError):
        _remove_left(path.parent)
        write_atomically(path, record.model_dump_json(indent=1).encode())


def _remove_left(folder: Path) -> None:
    """Remove what killed writers left: nobody takes so long to write a record. Raises OSError."""
    for name in listed(folder):
        left = folder / name
        if TEMPORARY.fullmatch(name) and time.time() - left.stat().st_mtime > ABANDONED_S:
            left.unlink(missing_ok=True)
