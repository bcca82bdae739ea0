"""The options that `tune` and `plan` share, named as the fields of Request (sweep/request.py)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource
from pydantic.fields import FieldInfo

from orchestrator.cooldown import Cooldown, parse_cooldown
from orchestrator.engine import ENGINES, flag_of
from orchestrator.errors import UserError
from orchestrator.nouns import DTYPES, MOST_IN_A_BATCH, QUANTIZATIONS

F = TypeVar("F", bound=Callable[..., Any])


def check_data_set(folder: Path, where: str) -> None:
    """Raise UserError where a folder doesn't exist; `where` stands before its name."""
    try:
        is_there = folder.is_dir()
    except OSError:  # a name that no system takes
        is_there = False
    if not is_there:
        raise UserError(
            f"{where}{folder}: no such folder; name a data set written by `orchestrator tune`"
        )


def _existing(_context: click.Context, _option: click.Parameter, out: Path) -> Path:
    """Click's callback of --out for commands that need a data set: refuse a folder that is none."""
    check_data_set(out, "--out ")
    return out


def _out(callback: Callable[..., Path] | None = None) -> Callable[[F], F]:
    """The option --out, with a check of its value."""
    return click.option(
        "--out",
        type=click.Path(path_type=Path),
        default=Path("measurements"),
        show_default=True,
        metavar="FOLDER",
        help="The data set.",
        callback=callback,
    )


out_option = _out()
"""Of verbs that may make one."""
existing_out_option = _out(_existing)
"""Of verbs that read one."""


def _keep_engine_option(context: click.Context, option: click.Parameter, value: Any) -> None:
    """Click's callback of an engine's option: those that are given go into `engine_options`."""
    assert option.name is not None  # noqa: S101 - each has one
    given = context.params.setdefault("engine_options", {})
    if context.get_parameter_source(option.name) is not ParameterSource.DEFAULT:
        given[option.name] = value


def _engine_option(name: str, field: FieldInfo) -> Callable[[F], F]:
    """The option of a field of an engine's options.

    Its value is passed on as text: the engine's options know its type and limits, and check it
    with everything else (sweep/request.py).
    """
    meaning = str(field.description)
    if field.annotation is bool:
        how: dict[str, Any] = {"is_flag": True}
    else:
        how = {"metavar": "VALUE"}
        if field.default is not None:
            meaning = f"{meaning} [default: {field.default}]"
    return click.option(
        flag_of(name), help=meaning, expose_value=False, callback=_keep_engine_option, **how
    )


def engine_options() -> list[Callable[[F], F]]:
    """An option for each field of the engines' options."""
    fields: dict[str, FieldInfo] = {}
    for kind in ENGINES.values():
        fields |= kind.options.model_fields
    return [_engine_option(name, field) for name, field in fields.items()]


seed_option = click.option(
    "--seed",
    type=click.IntRange(0, 2**31 - 1),
    default=0,
    show_default=True,
    help="Seed of design, order and generations.",
)
max_new_tokens_option = click.option(
    "--max-new-tokens",
    is_flag=True,
    help="max_length counts the new tokens alone, not those of the prompt.",
)
range_option = click.option(
    "--range",
    "ranges",
    multiple=True,
    metavar="P=LOW:HIGH",
    help="Narrow one parameter, e.g. max_length=100:200. Repeatable.",
)
"""Of verbs that plan a sweep, `bench` too."""

OPTIONS = [
    click.option(
        "--space",
        metavar="NAME|FILE",
        help="Search space: lhs, uniform, grid, sobol, optuna, or a YAML file.",
    ),
    click.option(
        "--plan",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Instead of --space: repeat the sweep of this plan, a file in sweeps/ of any data "
        "set, with the same trials, prompts and seeds. Beside it may stand where to run and limits "
        "of the run.",
    ),
    click.option(
        "--samples",
        type=int,
        metavar="N",
        help="Configurations (default 20; a machine without a GPU: fewer).",
    ),
    seed_option,
    click.option(
        "--repeats",
        type=int,
        default=1,
        show_default=True,
        metavar="R",
        help="Repetitions of each configuration; 3 to publish.",
    ),
    click.option(
        "--model",
        "models",
        multiple=True,
        metavar="NAME",
        help="llama2, mistral, smollm2, synthetic-..., org/name[@revision] or a folder. "
        "Repeatable. [default: llama2 with a GPU, else smollm2]",
    ),
    click.option(
        "--quantization",
        "quantizations",
        multiple=True,
        metavar="NAME",
        help=f"{', '.join(QUANTIZATIONS)}. Repeatable, as the next three: a sweep crosses them "
        "all, on the same configurations and seeds. Single combinations can be listed in `setups:` "
        "of the space's file; a key that stands there can't be given as a flag. [default: nf4]",
    ),
    click.option(
        "--engine",
        "engines",
        multiple=True,
        metavar="NAME",
        help="; ".join(f"{name}: {kind.meaning}" for name, kind in ENGINES.items())
        + ". Repeatable. [default: transformers]",
    ),
    click.option(
        "--dtype",
        "dtypes",
        multiple=True,
        type=click.Choice(DTYPES),
        help="Compute type; auto: by the device. Repeatable. [default: auto]",
    ),
    click.option(
        "--batch-size",
        "batch_sizes",
        multiple=True,
        type=click.IntRange(1, MOST_IN_A_BATCH),
        metavar="N",
        help="Prompts generated at once, where the engine can. Repeatable. [default: 1]",
    ),
    click.option(
        "--chat-template",
        type=click.Choice(["auto", "off"]),
        default="auto",
        show_default=True,
        help="auto: where the model has one.",
    ),
    click.option(
        "--fixed-length",
        is_flag=True,
        help="Always generate max_length tokens: no text ends early.",
    ),
    max_new_tokens_option,
    *engine_options(),
    click.option(
        "--beyond-context",
        is_flag=True,
        help="Let max_length pass the model's context instead of lowering it.",
    ),
    click.option(
        "--use-case",
        "use_cases",
        multiple=True,
        metavar="NAME|FILE",
        help="Prompts: a name in prompts/ or a YAML file. Repeatable. [default: all]",
    ),
    click.option(
        "--prompts", type=int, metavar="N", help="Only the first N prompts of each use case."
    ),
    range_option,
    click.option(
        "--machine",
        metavar="NAME|any|each",
        help="Kind of machine, a file in clusters/. In a cluster: only nodes of this label; any: "
        "whichever is free; each: every kind runs the whole plan. [default: detected; in a "
        "cluster any]",
    ),
    click.option(
        "--country",
        metavar="ISO3",
        help="Country of the grid, e.g. ITA. [default: the machine's file]",
    ),
    click.option(
        "--parallel", type=int, metavar="N", help="Trials at once without a GPU. [default: 1]"
    ),
    click.option(
        "--isolation",
        type=click.Choice(["gpu", "host"]),
        help="gpu: a trial on each GPU at once; host: one at a time on a host, whose CPU and RAM "
        "energy is then its own. [default: the machine's file, else gpu]",
    ),
    click.option(
        "--order",
        type=click.Choice(["shuffled", "design"]),
        default="shuffled",
        show_default=True,
        help="Order of the trials.",
    ),
    click.option(
        "--shard",
        metavar="I/N",
        help="Only the I-th of N parts, for machines that can't reach each other; `merge` joins "
        "them.",
    ),
    out_option,
    click.option(
        "--address",
        metavar="HOST:PORT",
        help="A running Ray cluster. [default: a private Ray on this machine]",
    ),
]


class _Positive(click.FloatRange):
    """A finite number above 0: a range alone lets nan pass."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number, or click's error where it isn't finite: FloatRange lets inf and nan pass."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is no number above 0.", param, ctx)
        return number


POSITIVE = _Positive(min=0, min_open=True)


def _cooldown(_context: click.Context, _option: click.Parameter, text: str) -> Cooldown:
    """Click's callback of --cooldown."""
    try:
        return parse_cooldown(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


RUN_OPTIONS = [
    click.option(
        "--rerun",
        multiple=True,
        type=click.Choice(["failed", "oom", "timeout", "flagged"]),
        help="Run these finished executions once more, as new attempts: failed (of any kind), out "
        "of memory, timed out, or with a flag that doubts the measurement. Repeatable.",
    ),
    click.option("--force", is_flag=True, help="Try lengths again at which memory ran out before."),
    click.option(
        "--execution-timeout",
        "execution_timeout_s",
        type=POSITIVE,
        metavar="SECONDS",
        help="End a prompt after so long; it becomes a failed row (timeout).",
    ),
    click.option(
        "--min-busy-s",
        type=POSITIVE,
        metavar="SECONDS",
        help="Generate each answer again in its window until the windows of a trial last so long "
        "together; 60 to publish.",
    ),
    click.option(
        "--cooldown",
        default="none",
        show_default=True,
        metavar="none|30s|50C",
        callback=_cooldown,
        help="Let the GPU rest before each trial, for a time or until it is so cool.",
    ),
    click.option("--max-hours", type=POSITIVE, metavar="H", help="Wall time of this run."),
    click.option(
        "--max-kwh", type=POSITIVE, metavar="KWH", help="Energy of this run, by CodeCarbon."
    ),
    click.option(
        "--max-gpu-hours", type=POSITIVE, metavar="H", help="GPUs times wall time of this run."
    ),
    click.option(
        "--log-to",
        multiple=True,
        type=click.Choice(["tensorboard", "mlflow", "wandb"]),
        help="Also log each trial with this logger of Ray Tune (docs/dashboards.md). Repeatable.",
    ),
    click.option(
        "--accept-drift",
        is_flag=True,
        help="Go on with other versions of torch and the like, or another GPU, than the sweep was "
        "started with; the rows say so.",
    ),
]
"""The options of `tune` alone, each a field of RunOptions (sweep/run.py) but for the limits."""


def _all_of(options: list[Callable[[F], F]]) -> Callable[[F], F]:
    """A decorator that adds options to a command, in their order."""

    def add(command: F) -> F:
        """Put the options on a command, the last one first: so --help lists them in order."""
        for option in reversed(options):
            command = option(command)
        return command

    return add


sweep_options = _all_of(OPTIONS)
run_options = _all_of(RUN_OPTIONS)


def given_to_sweep(context: click.Context) -> dict[str, Any]:
    """The sweep's options that were given to a command: names of Request's fields -> values.

    Defaults are left out: Request has them, and beside --plan only what was given contradicts it.
    """
    from orchestrator.sweep.request import Request

    given = {}
    for field in dataclasses.fields(Request):
        value, source = context.params.get(field.name), context.get_parameter_source(field.name)
        is_given = source in (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
        # an option that isn't its parameter's own has no source
        if is_given or value not in (None, (), {}, field.default):
            given[field.name] = value
    return given
