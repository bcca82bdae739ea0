"""The hub of models: what of it is in its client's cache, and downloading what isn't."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from orchestrator.engine.cache import check_disk
from orchestrator.engine.integrity import LOADED_FILES, remove_changed, weight_files
from orchestrator.errors import ModelUnavailableError
from orchestrator.models import Model
from orchestrator.outside_files import read_text, status_of
from orchestrator.say import Say

HUB_TIMEOUT_S = 8.0
"""A hub that doesn't answer within this time counts as unreachable."""

SNAPSHOTS = "snapshots"
"""The folder of the commits in the cache of the hub's client."""

T = TypeVar("T")


def cached_snapshot(model: Model) -> Path | None:
    """The model's folder in the cache of the hub's client, if it is complete.

    That cache has one folder for each commit. It may lack files where a download was cut off or
    somebody cleaned up, so config, tokenizer and all weights must be there.

    Raises OSError where this user may not look.
    """
    commit = model.revision or "main"
    # there is none of a commit, and of what was never fetched
    with contextlib.suppress(OSError, ValueError):
        commit = read_text(_ref(model), limit_bytes=100).strip()
    snapshot = _hub_folder(model) / SNAPSHOTS / commit
    parts = weight_files(snapshot)
    tokenizers = ("tokenizer.json", "tokenizer.model", "vocab.json")
    has_tokenizer = any(status_of(snapshot / name) for name in tokenizers)
    has_weights = all(status_of(snapshot / name) for name in ("config.json", *parts))
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


def fetched_snapshot(model: Model, say: Say, altered: Path | None = None) -> Path:
    """Download a model from the hub; its folder in the cache of the hub's client.

    `altered`: a snapshot there whose commit is fetched; its altered files are removed first.

    Raises ModelUnavailableError, in one sentence, where it can't be had.
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
            wanted = {n: size for n, size in wanted.items() if not (altered / n).exists()}
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
    return Path(folder)


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
