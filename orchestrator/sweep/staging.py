"""The weights of a sweep's models: their revisions, and fetching what is not on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.sweep_plan import SweepPlan, read_plan
from orchestrator.engine.weights import checked, expected_revision, locate
from orchestrator.errors import ModelUnavailableError
from orchestrator.models import Model
from orchestrator.say import Say, silent
from orchestrator.sweep.request import Resolved


def known_revisions(resolved: Resolved, plan: SweepPlan, say: Say = silent) -> dict[str, str]:
    """Revision of each model's weights by its label, as far as it is known without network.

    A sweep that was started says its own, and so does a plan that is repeated. `say` gets a line
    where hashing takes long.

    Raises UserError for a plan that can't be read.
    """
    if not resolved.needs_weights:
        return _own_revisions(resolved)
    path = DataSetPaths(resolved.request.out).sweep(plan.id)
    setups = read_plan(path).setups if path.exists() else plan.setups
    of_sweep = {setup.model: setup.revision for setup in setups if setup.revision}
    return {
        model.label: expected_revision(model, say) or of_sweep.get(model.label, "not staged yet")
        for model in resolved.models
    }


def staged_revisions(resolved: Resolved, say: Say) -> dict[str, str]:
    """Revision of each model's weights by its label; what is not here yet is fetched.

    Fetching runs in a process of its own: it needs torch, and the driver is to stay small and idle
    while trials measure. Raises ModelUnavailableError.
    """
    if not resolved.needs_weights:
        return _own_revisions(resolved)
    return {model.label: staged_weights(model, say) for model in resolved.models}


def checked_files(resolved: Resolved, say: Say) -> dict[str, dict[str, str]]:
    """Label of a model -> file -> SHA-256, of weights that are on this machine and unaltered.

    Raises ModelUnavailableError, in one sentence, where a file was altered, removed or added.
    """
    if not resolved.needs_weights:
        return {}
    files = {}
    for model in resolved.models:
        weights = locate(model, say)
        # random weights have no original: each version of torch may draw them differently
        if weights is not None:
            checked_sha256 = checked(model, weights, say).sha256
            if model.kind != "synthetic":
                files[model.label] = checked_sha256
    return files


def _own_revisions(resolved: Resolved) -> dict[str, str]:
    """Engines without weights: the name of the first stands for them, as in the models' labels.

    Of a served model what its server tells.
    """
    if resolved.is_served:
        return {model.label: str(model.revision) for model in resolved.models}
    return {model.label: min(resolved.engines) for model in resolved.models}


def staged_weights(model: Model, say: Say) -> str:
    """The revision of a model's weights, which are staged first where they are missing.

    Raises ModelUnavailableError with the last lines of what staging said.
    """
    weights = locate(model, say)
    if weights:
        return weights.revision
    say(f"{model.label}: not on this machine yet, fetching it")
    command = [sys.executable, "-m", "orchestrator", "models", "stage", model.ref]
    environment = os.environ | {"TQDM_DISABLE": "1"}
    code, errors = _run(command, environment, say)
    weights = locate(model) if code == 0 else None
    if weights is None:
        told = [line for line in errors.splitlines() if line.strip()][-3:]
        reasons = told or ["staging failed"]
        raise ModelUnavailableError(*(line.removeprefix("error: ") for line in reasons))
    return weights.revision


def _run(command: list[str], environment: dict[str, str], say: Say) -> tuple[int, str]:
    """Run a command, say each line that it prints at once; returns its code and its errors."""
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors,
        subprocess.Popen(  # noqa: S603 - our own command
            command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        try:
            for line in process.stdout or ():
                say(line.rstrip("\n"))
            code = process.wait()
        except BaseException:  # a signal: nothing goes on downloading without us
            process.kill()
            raise
        errors.seek(0)
        return code, errors.read()
