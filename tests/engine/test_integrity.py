"""Weights that were altered, removed or added are noticed, wherever the model came from."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.engine import integrity
from orchestrator.engine.integrity import checked_files, file_hashes, record_files, remove_changed
from orchestrator.engine.weights import checked, locate, resolve
from orchestrator.errors import ModelUnavailableError
from orchestrator.models import KNOWN, parse_model
from orchestrator.say import silent
from tests.engine.conftest import FILES, REFS
from tests.processes import said_by_nobody

MIB = 2**20
SMOLLM2 = KNOWN["smollm2"]


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An own cache, in which files count as settled at once."""
    monkeypatch.setenv("ORCHESTRATOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(integrity, "SETTLED_NS", -(10**12))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's files; the weights are a file with a hole of 64 MiB."""
    made = tmp_path / "model"
    made.mkdir()
    for name, content in FILES.items():
        (made / name).write_bytes(content)
    with (made / "model.safetensors").open("wb") as weights:
        weights.truncate(64 * MIB)
        weights.seek(30 * MIB)
        weights.write(b"w" * 10 * MIB)
    return made


def snapshot(folder: Path, tmp_path: Path) -> Path:
    """The same files as the hub's client keeps them: links to files named by their hash."""
    blobs = tmp_path / "hub" / "blobs"
    made = tmp_path / "hub" / "snapshots" / ("c" * 40)
    blobs.mkdir(parents=True)
    made.mkdir(parents=True)
    for file in folder.iterdir():
        content = file.read_bytes()
        name = hashlib.sha256(content).hexdigest()
        if file.name != "model.safetensors":
            name = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()  # noqa: S324
        shutil.copy(file, blobs / name)
        (made / file.name).symlink_to(f"../../blobs/{name}")
    return made


def check(folder: Path) -> dict[str, str]:
    return checked_files(SMOLLM2, folder, silent)


def refused(folder: Path) -> str:
    """The one sentence that says what was altered."""
    with pytest.raises(ModelUnavailableError) as raised:
        check(folder)
    (line,) = raised.value.lines
    assert "\n" not in line
    return line


def overwrite(file: Path, offset: int, content: bytes) -> None:
    """Alter a file in place."""
    with file.open("r+b") as stream:
        stream.seek(offset)
        stream.write(content)


def flip_a_byte(folder: Path) -> None:
    overwrite(folder / "model.safetensors", 32 * MIB, b"v")


def zero_8_mib(folder: Path) -> None:
    overwrite(folder / "model.safetensors", 31 * MIB, bytes(8 * MIB))


def change(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(b'{"version": "1.1"}')


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def keep_size_and_mtime(folder: Path) -> None:
    """As a restored backup looks: only the ctime tells."""
    before = (folder / "tokenizer.json").stat()
    overwrite(folder / "tokenizer.json", 0, b'{"version": "1.1"}')
    os.utime(folder / "tokenizer.json", ns=(before.st_atime_ns, before.st_mtime_ns))


def replace_keeping_mtime(folder: Path) -> None:
    """Another inode with the same name, size and mtime."""
    old = folder / "chat_template.jinja"
    new = folder / "new"
    new.write_bytes(b"{{ massages }}")
    os.utime(new, ns=(old.stat().st_atime_ns, old.stat().st_mtime_ns))
    new.replace(old)


ALTERATIONS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a byte": (flip_a_byte, "model.safetensors of smollm2 has changed since it was converted on "),
    "8 MiB": (zero_8_mib, "model.safetensors of smollm2 has changed since it was converted on "),
    "tokenizer": (change("tokenizer.json"), "tokenizer.json of smollm2 has changed since"),
    "template": (change("chat_template.jinja"), "chat_template.jinja of smollm2 has changed since"),
    "config": (change("config.json"), "config.json of smollm2 has changed since"),
    "removed": (remove("tokenizer_config.json"), "tokenizer_config.json of smollm2 is gone since"),
    "added": (
        change("special_tokens_map.json"),
        "special_tokens_map.json of smollm2 has come since the model was converted on ",
    ),
    "old mtime": (keep_size_and_mtime, "tokenizer.json of smollm2 has changed since"),
    "other inode": (replace_keeping_mtime, "chat_template.jinja of smollm2 has changed since"),
}


@pytest.mark.parametrize("alteration", ALTERATIONS)
def test_what_was_converted_and_altered_is_refused(folder: Path, alteration: str) -> None:
    hashes = record_files(SMOLLM2, folder, "converted", silent)
    assert set(hashes) == {*FILES, "model.safetensors"}
    assert check(folder) == hashes
    alter, said = ALTERATIONS[alteration]
    alter(folder)
    line = refused(folder)
    assert line.startswith(said)
    assert line.endswith(
        "; fetch it anew with `orchestrator models stage smollm2 --again`, or name another model"
    )
    assert refused(folder) == line, "a refusal changes no record"


def test_the_sentence_says_both_hashes_and_how_many_more_files_differ(folder: Path) -> None:
    hashes = record_files(SMOLLM2, folder, "converted", silent)
    change("config.json")(folder)
    change("tokenizer.json")(folder)
    before = hashes["config.json"][:8]
    now = hashlib.sha256((folder / "config.json").read_bytes()).hexdigest()[:8]
    line = refused(folder)
    assert f"(sha256 {before}... is now {now}...), and 1 more of its files differ; " in line


def test_files_that_nobody_has_seen_before_count_from_then_on(folder: Path) -> None:
    check(folder)
    flip_a_byte(folder)
    assert "has changed since it was first checked on " in refused(folder)


def test_another_mtime_alone_is_no_change(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = check(folder)
    os.utime(folder / "model.safetensors", (1, 1))
    read = hashed_names(monkeypatch)
    assert check(folder) == hashes
    assert read == ["model.safetensors"]
    assert check(folder) == hashes
    assert read == ["model.safetensors"], "hashed once a change"


def test_files_that_nobody_touched_are_read_once_and_anew_when_asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = hashed_names(monkeypatch)
    check(folder)
    n_files = len(read)
    assert n_files == len(FILES) + 1
    check(folder)
    assert len(read) == n_files
    checked_files(SMOLLM2, folder, silent, anew=True)
    assert len(read) == 2 * n_files


def test_a_young_file_is_hashed_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its clock may be too coarse to show one more change at the same moment."""
    monkeypatch.setattr(integrity, "SETTLED_NS", 10**18)
    read = hashed_names(monkeypatch)
    check(folder)
    check(folder)
    assert read.count("model.safetensors") == 2
    monkeypatch.setattr(
        integrity, "_state", lambda status: (status.st_size, 1, 1, 1)
    )  # a clock that stands still
    zero_8_mib(folder)
    assert "model.safetensors of smollm2 has changed" in refused(folder)


def hashed_names(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are hashed from now on."""
    names: list[str] = []
    original = hashlib.file_digest

    def file_digest(stream: object, algorithm: str) -> object:
        names.append(Path(stream.name).name if isinstance(stream.name, str) else "")  # type: ignore[attr-defined]
        return original(stream, algorithm)  # type: ignore[call-overload]

    def opened(path: Path) -> object:
        return path.open("rb")

    monkeypatch.setattr(integrity, "open_regular", opened)
    monkeypatch.setattr(hashlib, "file_digest", file_digest)
    return names


# --- snapshots of the hub -------------------------------------------------------------------------


def test_a_sound_snapshot(folder: Path, tmp_path: Path) -> None:
    made = snapshot(folder, tmp_path)
    assert check(made) == check(folder)
    assert check(made) == check(folder)


@pytest.mark.parametrize(
    ("name", "algorithm"), [("model.safetensors", "sha256"), ("tokenizer.json", "sha1")]
)
def test_an_altered_file_of_the_hub_is_seen_even_the_first_time(
    folder: Path, tmp_path: Path, name: str, algorithm: str
) -> None:
    made = snapshot(folder, tmp_path)
    overwrite((made / name).resolve(), 0, b"!")
    line = refused(made)
    assert line.startswith(f"{name} of smollm2 isn't the hub's file any more ({algorithm} ")
    of_hub = (made / name).resolve().name
    assert f"({algorithm} {of_hub[:8]}... is now " in line


def shared(link: Path) -> Path:
    """Put a file of a snapshot into the store that all models of the cache share, as from Xet.

    There its name is another hash than that of its content.
    """
    blob = link.parent / link.readlink()
    store = link.parents[3] / "blobs" / "ab"
    store.mkdir(parents=True, exist_ok=True)
    stored = blob.rename(store / ("ab" * 32))
    blob.symlink_to(f"../../blobs/ab/{stored.name}")
    return stored


def test_a_file_in_the_store_of_all_models_is_checked_and_removed(
    folder: Path, tmp_path: Path
) -> None:
    made = snapshot(folder, tmp_path)
    link = made / "model.safetensors"
    stored = shared(link)
    assert check(made) == check(folder)
    flip_a_byte(made)
    of_hub = link.readlink().name
    assert f"isn't the hub's file any more (sha256 {of_hub[:8]}... is now " in refused(made)
    remove_changed(SMOLLM2, made, silent)
    blob = made.parents[1] / "blobs" / of_hub
    assert not any(os.path.lexists(path) for path in (link, blob, stored)), (
        "it would be taken again"
    )


def test_a_mirror_that_names_files_by_their_plain_sha1(folder: Path, tmp_path: Path) -> None:
    made = snapshot(folder, tmp_path)
    link = made / "config.json"
    content = link.read_bytes()
    blob = link.resolve().with_name(hashlib.sha1(content).hexdigest())  # noqa: S324
    blob.write_bytes(content)
    link.unlink()
    link.symlink_to(f"../../blobs/{blob.name}")
    check(made)


def test_a_link_to_another_whole_file_is_that_file_s_change(folder: Path, tmp_path: Path) -> None:
    """A blob that is sound in itself under a name that led to another one."""
    made = snapshot(folder, tmp_path)
    check(made)
    (made / "tokenizer.json").unlink()
    (made / "tokenizer.json").symlink_to((made / "config.json").readlink())
    assert refused(made).startswith("tokenizer.json of smollm2 has changed since it was first")


def test_what_the_hub_s_client_fetches_later_is_welcome_and_other_files_are_not(
    folder: Path, tmp_path: Path
) -> None:
    late = (folder / "chat_template.jinja").rename(tmp_path / "late")
    made = snapshot(folder, tmp_path)
    check(made)
    blob = tmp_path / "hub" / "blobs" / hashlib.sha256(late.read_bytes()).hexdigest()
    late.rename(blob)
    (made / "chat_template.jinja").symlink_to(blob)
    assert "chat_template.jinja" in check(made)
    change("special_tokens_map.json")(made)
    assert refused(made).startswith("special_tokens_map.json of smollm2 isn't from the hub; ")


def test_a_removed_file_of_a_snapshot(folder: Path, tmp_path: Path) -> None:
    made = snapshot(folder, tmp_path)
    check(made)
    (made / "tokenizer_config.json").unlink()
    assert "tokenizer_config.json of smollm2 is gone since it was first checked" in refused(made)


def test_only_altered_files_are_removed_to_be_fetched_anew(folder: Path, tmp_path: Path) -> None:
    made = snapshot(folder, tmp_path)
    kept = set(check(made))
    blob = (made / "model.safetensors").resolve()
    overwrite(blob, 32 * MIB, b"v")
    change("special_tokens_map.json")(made)
    said: list[str] = []
    remove_changed(SMOLLM2, made, said.append)
    assert {path.name for path in made.iterdir()} == kept - {"model.safetensors"}
    assert not blob.exists()
    assert [line.split(" ")[1] for line in said] == ["model.safetensors", "special_tokens_map.json"]


def test_repairing_removes_nothing_outside_the_hub_s_cache(folder: Path, tmp_path: Path) -> None:
    """Whatever links lead to: a file of somebody's with a hash for a name, or a folder."""
    made = snapshot(folder, tmp_path)
    mine = tmp_path / "mine" / ("a" * 40)
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    template = tmp_path / "templates" / "tools.jinja"
    template.parent.mkdir()
    template.write_text("mine")
    for name, leads_to in (("tokenizer.json", mine), (integrity.TEMPLATES, template.parent)):
        (made / name).unlink(missing_ok=True)
        (made / name).symlink_to(leads_to)
    blob = made.parents[1] / "blobs" / ("b" * 40)
    blob.symlink_to(mine)
    (made / "config.json").unlink()
    (made / "config.json").symlink_to(f"../../blobs/{blob.name}")
    said: list[str] = []
    remove_changed(SMOLLM2, made, said.append)
    assert len(said) == 3
    assert (mine.read_bytes(), template.read_text()) == (b"mine", "mine")
    assert not (made / "tokenizer.json").is_symlink()
    assert not (made / "config.json").is_symlink()
    assert not blob.is_symlink(), "the hub's client would take it for the file again"


def test_an_index_can_not_lead_out_of_the_folder(folder: Path, tmp_path: Path) -> None:
    """Else repairing could remove somebody's file."""
    (tmp_path / "mine.txt").write_text("mine")
    for name in ("../mine.txt", str(tmp_path / "mine.txt")):
        index = f'{{"weight_map": {{"a": "{name}"}}}}'
        (folder / "model.safetensors.index.json").write_text(index)
        assert "its index names weights outside the folder" in refused(folder)


# --- a user's own folder --------------------------------------------------------------------------


@pytest.mark.parametrize("alteration", ALTERATIONS)
def test_an_own_folder_with_other_files_is_another_revision(folder: Path, alteration: str) -> None:
    model = parse_model(str(folder))
    before = locate(model)
    assert before is not None
    ALTERATIONS[alteration][0](folder)
    after = locate(model)
    assert after is not None
    assert after.revision != before.revision
    assert after.sha256 != before.sha256


def test_weights_and_templates_in_subfolders_count(folder: Path) -> None:
    (folder / "parts").mkdir()
    (folder / "parts" / "one.safetensors").write_bytes(b"w")
    (folder / "model.safetensors.index.json").write_text(
        '{"weight_map": {"a": "parts/one.safetensors"}}'
    )
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tools.jinja").write_text("")
    found = file_hashes(SMOLLM2, folder, silent)
    assert {"parts/one.safetensors", "additional_chat_templates/tools.jinja"} <= set(found)


def test_an_own_folder_is_read_anew_when_asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What changes no time stamp, as a failing disk does, is seen by reading alone."""
    monkeypatch.setattr(integrity, "_state", lambda status: (status.st_size, 1, 1, 1))
    model = parse_model(str(folder))
    before = locate(model)
    assert before is not None
    assert checked(model, before, anew=True) == before
    flip_a_byte(folder)
    assert locate(model) == before
    with pytest.raises(ModelUnavailableError) as raised:
        checked(model, before, anew=True)
    told = "model.safetensors of model has changed since it was first checked on "
    assert str(raised.value).startswith(told)
    after = locate(model)
    assert after is not None
    assert after.revision != before.revision, "from now on it counts as what it is"
    assert checked(model, after, anew=True) == after


def test_an_own_folder_that_its_owner_changed_is_sound(folder: Path) -> None:
    model = parse_model(str(folder))
    before = locate(model)
    assert before is not None
    flip_a_byte(folder)
    after = locate(model)
    assert checked(model, before, anew=True) == after


@pytest.mark.parametrize("closed", [".", "additional_chat_templates"])
def test_a_folder_that_can_t_be_listed_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, closed: str
) -> None:
    """Not one without weights, nor one without templates."""
    (folder / "additional_chat_templates").mkdir()
    close(folder / closed, monkeypatch)
    with pytest.raises(ModelUnavailableError) as raised:
        locate(parse_model(str(folder)))
    assert str(raised.value) == f"{folder / closed}: can't be read (Permission denied)"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
@pytest.mark.parametrize("mode", [0o000, 0o111, 0o444])
def test_an_ordinary_user_is_told_of_a_closed_folder(folder: Path, mode: int) -> None:
    folder.chmod(mode)
    imports = (
        "from orchestrator.engine.weights import locate\n"
        "from orchestrator.errors import ModelUnavailableError\n"
        "from orchestrator.models import parse_model\n"
    )
    code = (
        "try: print(locate(parse_model(sys.argv[1])))\n"
        "except ModelUnavailableError as error: print(error)\n"
    )
    said = said_by_nobody(imports, code, folder)
    assert str(folder) in said
    assert "can't be read (Permission denied)" in said


def close(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Close a folder for this process, also where it is root's: it can't be listed."""
    original = Path.iterdir

    def iterdir(self: Path) -> object:
        if self == folder:
            raise PermissionError(13, "Permission denied", str(self))
        return original(self)

    monkeypatch.setattr(Path, "iterdir", iterdir)


def test_what_loading_does_not_read_is_free(folder: Path) -> None:
    before = check(folder)
    for name in ("README.md", "pytorch_model.bin", "modeling.py", "checkpoint-1/model.safetensors"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"!")
    assert check(folder) == before


def test_a_pipe_is_one_sentence(folder: Path) -> None:
    os.mkfifo(folder / "vocab.json")
    assert refused(folder) == f"{folder}/vocab.json: is a pipe, not a file"


def test_a_file_that_can_t_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(integrity, "open_regular", no)
    assert "can't be read (Permission denied)" in refused(folder)


def test_a_file_that_changes_while_it_is_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = hashlib.file_digest

    def file_digest(stream: object, algorithm: str) -> object:
        with (folder / "config.json").open("ab") as other:
            other.write(b"!")
        return original(stream, algorithm)  # type: ignore[call-overload]

    monkeypatch.setattr(hashlib, "file_digest", file_digest)
    assert "config.json: changes while it is read" in refused(folder)


def test_much_to_hash_is_told_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integrity, "TOLD_BYTES", 10 * MIB)
    said: list[str] = []
    checked_files(SMOLLM2, folder, said.append)
    checked_files(SMOLLM2, folder, said.append)
    assert said == ["smollm2: hashing 0.1 GB, which is done once after each change"]


# --- records --------------------------------------------------------------------------------------


def test_a_cache_that_can_t_be_written_costs_time_alone(folder: Path, cache: Path) -> None:
    cache.write_text("a file")
    assert check(folder) == check(folder)


def test_a_cache_that_was_copied_still_knows_what_came(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = parse_model(REFS["llama2"])
    resolve(model)
    copy = tmp_path / "copy"
    shutil.copytree(cache, copy)
    monkeypatch.setenv("ORCHESTRATOR_CACHE", str(copy))
    located = locate(model)
    assert located is not None
    checked(model, located)
    change("tokenizer.json")(located.path)
    with pytest.raises(ModelUnavailableError, match="has changed since it was made on"):
        checked(model, located)


def test_a_record_that_is_no_json_is_made_anew(folder: Path, cache: Path) -> None:
    hashes = check(folder)
    (record,) = (cache / "hashes").iterdir()
    record.write_text("{")
    assert check(folder) == hashes
    assert integrity.recorded_refs() == ["smollm2"]


def test_records_that_can_t_be_listed_are_not_no_records(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(folder)
    close(cache / "hashes", monkeypatch)
    with pytest.raises(ModelUnavailableError, match=r"hashes: can't be read \(Permission denied\)"):
        integrity.recorded_refs()


def test_a_record_that_can_t_be_read_is_not_a_missing_one(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else altered files would be taken for those that came."""
    check(folder)
    (record,) = (cache / "hashes").iterdir()

    def no(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(integrity, "read_bytes", no)
    assert refused(folder) == f"{record}: can't be read (Permission denied)"


def test_a_record_is_written_whole_or_not_at_all(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no(_self: Path, _target: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", no)
        hashes = check(folder)
    assert list((cache / "hashes").iterdir()) == []
    assert check(folder) == hashes
    assert len(list((cache / "hashes").iterdir())) == 1


def test_what_a_killed_writer_of_records_left_is_removed_by_the_next(
    folder: Path, cache: Path
) -> None:
    """But for a young one, which another process may be writing."""
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from orchestrator.engine.integrity import record_files\n"
        "from orchestrator.models import KNOWN\n"
        "from orchestrator.say import silent\n"
        "Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "record_files(KNOWN['smollm2'], Path(sys.argv[1]), 'made', silent)\n"
    )
    for _ in range(2):
        killed = subprocess.run([sys.executable, "-c", code, str(folder)], check=False)
        assert killed.returncode == -signal.SIGKILL
    old, young = (cache / "hashes").iterdir()
    os.utime(old, (0, 0))
    check(folder)
    assert not old.exists()
    assert young.exists()
    assert len(list((cache / "hashes").iterdir())) == 2


# --- random weights -------------------------------------------------------------------------------


def test_random_weights_are_checked_and_made_anew() -> None:
    model = parse_model(REFS["llama2"])
    made = checked(model, resolve(model))
    weights = made.path / "model.safetensors"
    overwrite(weights, weights.stat().st_size // 2, bytes(100))
    located = locate(model)
    assert located is not None
    with pytest.raises(ModelUnavailableError, match=r"has changed since it was made on .* --again"):
        checked(model, located)
    assert checked(model, resolve(model, again=True)).sha256 == made.sha256
    assert [path.name for path in made.path.parent.iterdir()] == [made.path.name]
