"""The options that `tune` and `plan` share, named as the fields of Request (sweep/request.py)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource
from pydantic.fields import FieldInfo

from orchestrator.cli import completion
from orchestrator.cli.argument_or_flag import argument_or_flag
from orchestrator.cli.completion import DATA_SETS
from orchestrator.cooldown import Cooldown, parse_cooldown
from orchestrator.engine import ENGINES, flag_of
from orchestrator.errors import UserError
from orchestrator.nouns import DTYPES, MOST_IN_A_BATCH, QUANTIZATIONS

F = TypeVar("F", bound=Callable[..., Any])


DEFAULT_FOLDER = Path("measurements")
"""The data set where none is named."""
WRITTEN_FILES = (".html", ".htm", ".pdf", ".svg", ".png", ".md", ".tex", ".json")
"""Endings of files that verbs write; no data set's name ends so."""


def check_data_set(folder: Path, where: str) -> None:
    """Raise UserError where a folder doesn't exist; `where` stands before its name."""
    try:
        is_there = folder.is_dir()
    except OSError:  # a name that no system takes
        is_there = False
    if is_there:
        return
    if folder.suffix.lower() in WRITTEN_FILES:
        raise UserError(
            f"{where}{folder}: this names the data set to read, and must be a folder; the file to "
            "write is named by --file (--help shows whether a verb writes one)"
        )
    raise UserError(
        f"{where}{folder}: no such folder; name a data set written by `orchestrator tune`"
    )


def _data_set(*, must_exist: bool) -> Callable[[F], F]:
    """The argument DATASET or, as before, --out: the parameter `out`.

    With `must_exist` it is a folder that is there; else None where none is named.
    """

    def check(where: str, out: Path) -> None:
        """Refuse a folder that isn't there."""
        check_data_set(out, where)

    return argument_or_flag(
        "out",
        "DATASET",
        "--out",
        help=f"The same as DATASET, a folder that `tune` wrote. [default: {DEFAULT_FOLDER}]",
        value_type=click.Path(path_type=Path),
        default=DEFAULT_FOLDER if must_exist else None,
        check=check,
        completion=DATA_SETS,
        flag_metavar="FOLDER",
    )


data_set = _data_set(must_exist=True)
"""Of verbs that read one."""
data_set_if_named = _data_set(must_exist=False)
"""Of verbs that can do without one; `existing_data_set` then gives it."""
out_option = click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=DEFAULT_FOLDER,
    show_default=True,
    metavar="FOLDER",
    help="The data set to write to.",
    shell_complete=DATA_SETS,
)
"""Of verbs that may make one."""


def existing_data_set(named: Path | None) -> Path:
    """The data set that was named, or the default one. Raises UserError where that isn't there."""
    if named is not None:
        return named  # checked when it was named
    check_data_set(DEFAULT_FOLDER, "")
    return DEFAULT_FOLDER


class OneOf(click.Choice[str]):
    """One of some words, with the one that is meant where another was typed.

    `also`: other words for them, in small letters and digits alone.
    """

    def __init__(self, words: Sequence[str], also: Mapping[str, str] | None = None) -> None:
        super().__init__(words)
        self._also = also

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:  # noqa: ARG002
        """Click puts the option's name in front."""
        from orchestrator.yaml_files import nearest

        return f"there is no {value!r}: {nearest(str(value), self.choices, self._also)}"


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
    help="Seed for the design, the order and the generations.",
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

DTYPE_SYNONYMS = {
    "bf16": "bfloat16",
    "fp16": "float16",
    "fp32": "float32",
    "half": "float16",
}
"""Other names of a compute type -> the one to suggest."""

OPTIONS = [
    argument_or_flag(
        "space",
        "SPACE",
        "--space",
        help="The same as SPACE.",
        completion=completion.SPACES,
        flag_metavar="NAME|FILE",
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
        help="Number of configurations. [default: 20; fewer on a machine without a GPU]",
    ),
    seed_option,
    click.option(
        "--repeats",
        type=int,
        default=1,
        show_default=True,
        metavar="R",
        help="Repetitions of each configuration; 3 or more to publish.",
    ),
    click.option(
        "--model",
        "models",
        multiple=True,
        metavar="NAME",
        shell_complete=completion.MODELS,
        help="llama2, mistral, smollm2, synthetic-..., org/name[@revision] or a folder. "
        "Repeatable. [default: llama2 with a GPU, else smollm2]",
    ),
    click.option(
        "--quantization",
        "quantizations",
        multiple=True,
        metavar="NAME",
        shell_complete=completion.QUANTIZATIONS,
        help=f"{', '.join(QUANTIZATIONS)}. Repeatable, like the next three: a sweep runs all "
        "combinations of their values, with the same configurations and seeds. To run only some of "
        "them, list those in `setups:` of the space's file instead. [default: nf4]",
    ),
    click.option(
        "--engine",
        "engines",
        multiple=True,
        metavar="NAME",
        shell_complete=completion.ENGINES,
        help="; ".join(f"{name}: {kind.meaning}" for name, kind in ENGINES.items())
        + ". Repeatable. [default: transformers]",
    ),
    click.option(
        "--dtype",
        "dtypes",
        multiple=True,
        type=OneOf(DTYPES, DTYPE_SYNONYMS),
        help="Compute type; auto: what suits the device. Repeatable. [default: auto]",
    ),
    click.option(
        "--batch-size",
        "batch_sizes",
        multiple=True,
        type=click.IntRange(1, MOST_IN_A_BATCH),
        metavar="N",
        help="Prompts generated together, if the engine can. Repeatable. [default: 1]",
    ),
    click.option(
        "--chat-template",
        type=OneOf(["auto", "off"]),
        default="auto",
        show_default=True,
        help="auto: use the model's chat template if it has one.",
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
        help="Let max_length exceed the model's context instead of lowering it.",
    ),
    click.option(
        "--use-case",
        "use_cases",
        multiple=True,
        metavar="NAME|FILE",
        shell_complete=completion.USE_CASES,
        help="Prompts: a name in prompts/ or a YAML file. Repeatable. [default: all]",
    ),
    click.option(
        "--prompts", type=int, metavar="N", help="Only the first N prompts of each use case."
    ),
    range_option,
    click.option(
        "--machine",
        metavar="NAME|any|each",
        shell_complete=completion.MACHINES,
        help="Kind of machine, a file in clusters/. In a cluster: only nodes with this label; any: "
        "whichever is free; each: every kind runs the whole plan. [default: detected; in a "
        "cluster any]",
    ),
    click.option(
        "--country",
        metavar="ISO3",
        help="Country of the grid, e.g. ITA. [default: the machine's file]",
    ),
    click.option(
        "--parallel",
        type=int,
        metavar="N",
        help="Trials at the same time on a machine without a GPU. [default: 1]",
    ),
    click.option(
        "--isolation",
        type=OneOf(["gpu", "host"]),
        help="gpu: one trial on each GPU at the same time; host: one trial at a time on a host, "
        "so that the host's CPU and RAM energy is that trial's. [default: the machine's file, "
        "else gpu]",
    ),
    click.option(
        "--order",
        type=OneOf(["shuffled", "design"]),
        default="shuffled",
        show_default=True,
        help="Order of the trials.",
    ),
    click.option(
        "--shard",
        metavar="I/N",
        help="Run only the I-th of N parts, for machines that can't reach each other; `merge` "
        "puts them together.",
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
            self.fail(f"{value} is not a number above 0.", param, ctx)
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
        type=OneOf(["failed", "oom", "timeout", "flagged"]),
        help="Run these finished executions once more, as new attempts: failed (for any reason), "
        "out of memory, timed out, or with a flag that casts doubt on the measurement. "
        "Repeatable.",
    ),
    click.option(
        "--force", is_flag=True, help="Try lengths again at which memory ran out earlier."
    ),
    click.option(
        "--execution-timeout",
        "execution_timeout_s",
        type=POSITIVE,
        metavar="SECONDS",
        help="Stop a prompt after this time; its row is then a failed one (timeout).",
    ),
    click.option(
        "--min-busy-s",
        type=POSITIVE,
        metavar="SECONDS",
        help="Repeat each answer within its window until the windows of a trial add up to this "
        "time; 60 to publish.",
    ),
    click.option(
        "--cooldown",
        default="none",
        show_default=True,
        metavar="none|30s|50C",
        callback=_cooldown,
        help="Let the GPU rest before each trial, for a time or until it has cooled to a "
        "temperature.",
    ),
    click.option("--max-hours", type=POSITIVE, metavar="H", help="Most wall time of this run."),
    click.option(
        "--max-kwh", type=POSITIVE, metavar="KWH", help="Most energy of this run, by CodeCarbon."
    ),
    click.option(
        "--max-gpu-hours",
        type=POSITIVE,
        metavar="H",
        help="Most GPU hours of this run: its GPUs times its wall time.",
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
        help="Resume although the GPU, or versions of torch and the like, differ from those that "
        "the sweep was started with; the rows say so.",
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
