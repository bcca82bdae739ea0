"""What was meant by a verb or an option that there isn't, in one sentence."""

from __future__ import annotations

from collections.abc import Iterable

import click
from click.exceptions import NoSuchCommand, NoSuchOption

VERBS = {
    "analyse": "report",
    "analyze": "report",
    "benchmark": "bench",
    "chart": "plot",
    "check": "validate",
    "continue": "tune",
    "dashboard": "watch",
    "diagnose": "doctor",
    "download": "models stage",
    "figure": "plot",
    "follow": "watch",
    "graph": "plot",
    "judge": "evaluate",
    "monitor": "watch",
    "progress": "status",
    "resume": "tune",
    "run": "tune",
    "score": "evaluate",
    "stage": "models stage",
    "start": "tune",
    "sweep": "tune",
    "upload": "publish",
    "verify": "validate",
}
"""What other programs call it -> our verb."""

OPTIONS = {
    "--continue": "none is needed: the same command again resumes the sweep",
    "--dir": "the data set's folder is --out FOLDER",
    "--dry-run": "`orchestrator plan` with the same options shows what would run",
    "--gpus": "each GPU runs a trial; choose them with CUDA_VISIBLE_DEVICES",
    "--limit": "--samples N limits the configurations, --max-hours H the time",
    "--load-in-4bit": "write --quantization nf4",
    "--load-in-8bit": "write --quantization int8",
    "--max-length": "write --range max_length=LOW:HIGH",
    "--num-samples": "did you mean --samples?",
    "--output": "did you mean --out?",
    "--resume": "none is needed: the same command again resumes the sweep",
    "--temperature": "write --range temperature=LOW:HIGH",
    "--top-k": "write --range top_k=LOW:HIGH",
    "--top-p": "write --range top_p=LOW:HIGH",
    "-m": "did you mean --model?",
    "-n": "did you mean --samples?",
    "-o": "did you mean --out?",
}
"""An option that others have -> what to do here, where the command has what is named."""


def usage_error(error: click.ClickException) -> str:
    """What is wrong with the words that were typed, with the command in front."""
    message = error.format_message().strip()
    context = getattr(error, "ctx", None)
    if context is None:
        return message
    if isinstance(error, NoSuchOption):
        message = _no_option(error.option_name, context)
    elif isinstance(error, NoSuchCommand):
        message = _no_verb(error.command_name, context)
    return f"{context.command_path}: {message}"


def _no_option(name: str, context: click.Context) -> str:
    """The sentence for an option that the command doesn't have."""
    from orchestrator.yaml_files import closest

    missing = f"there is no option {name}"
    known = [opt for parameter in context.command.get_params(context) for opt in parameter.opts]
    meant = closest(name, [opt for opt in known if opt.startswith("--")])
    hint = OPTIONS.get(name.replace("_", "-"))
    if hint is not None and _fits(hint, known, context):
        return f"{missing}; {hint}"
    if meant is not None:
        return f"{missing}; did you mean {meant}?"
    return f"{missing}; `{context.command_path} --help` lists them"


def _fits(hint: str, known: Iterable[str], context: click.Context) -> bool:
    """Whether a hint is one for this command: it has the option that is named, or it is `tune`."""
    named = [word.strip("`,?;") for word in hint.split() if word.startswith("--")]
    if named:
        return set(named) <= set(known)
    return context.command.name in ("tune", "plan")


def _no_verb(name: str, context: click.Context) -> str:
    """The sentence for a verb that there isn't."""
    from orchestrator.yaml_files import closest

    assert isinstance(context.command, click.Group)  # noqa: S101 - others have no verbs
    missing = f"there is no verb {name!r}"
    also = VERBS if context.parent is None else {}
    meant = closest(name, context.command.commands, also)
    if meant is None:
        return f"{missing}; `{context.command_path} --help` lists them"
    return f"{missing}; did you mean `{context.command_path} {meant}`?"
