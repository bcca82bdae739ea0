"""Which variants a sweep crosses: how its models are run, by flags and the space's file.

--quantization, --engine, --dtype and --batch-size are crossed with each other, and with each entry
of `setups:` in the space's file. An axis that an entry names can't be given as a flag, too: nobody
could say which of both was meant. What neither says is the default.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from orchestrator.engine import ENGINES, flag_of
from orchestrator.errors import UserError
from orchestrator.nouns import ANY_QUANTIZATION, QUANTIZATIONS, SERVED, SetupEntry, Variant
from orchestrator.yaml_files import located, nearest, short

AXES = tuple(SetupEntry.model_fields)
"""Names of the axes, as in the space's file."""
DEFAULTS: Mapping[str, Any] = {
    "quantization": "nf4",
    "engine": "transformers",
    "dtype": "auto",
    "batch_size": 1,
}
"""Axis -> what runs where nobody says it."""
QUANTIZATION_SYNONYMS = {
    "4bit": "nf4",
    "8bit": "int8",
    "16bit": "none",
    "bf16": "none",
    "bfloat16": "none",
    "float16": "none",
    "fp16": "none",
}
"""Other names of a quantization -> the one to suggest."""
ENGINE_SYNONYMS = {
    "hf": "transformers",
    "llamacpp": "server",
    "ollama": "server",
    "openai": "server",
    "sglang": "server",
    "tgi": "server",
    "vllm": "server",
}
"""What runs a model elsewhere -> the engine to suggest."""


@dataclass(frozen=True)
class _Value:
    """A value of an axis, and what tells where it was given: only a fault needs that."""

    value: Any
    where: Callable[[], str]


_Combination = dict[str, _Value]
"""Axis -> its value."""


def variants_of(
    flags: Mapping[str, Sequence[Any]],
    entries: Sequence[SetupEntry],
    space_file: Path | str,
    default_quantization: str | None,
) -> tuple[Variant, ...]:
    """The variants of a sweep, each once.

    `flags`: axis -> the values that were given. `entries`: those of the space's file.
    `default_quantization`: of the machine's profile. Raises UserError with all faults.
    """
    _check_given_once(flags, entries, space_file)
    defaults = {**DEFAULTS, "quantization": default_quantization or DEFAULTS["quantization"]}
    of_entries = [
        _combinations(flags, entry, defaults, space_file, number)
        # without entries the flags alone are crossed
        for number, entry in enumerate(entries or [SetupEntry()])
    ]
    of_entries = [
        [_with_quantization(one, flags) for one in combinations] for combinations in of_entries
    ]
    all_of_them = [combination for some in of_entries for combination in some]
    # what is unknown has no variant
    _raise(line for one in all_of_them for line in _unknown(one))
    _raise(line for one in all_of_them for line in _impossible(one))
    _raise(_mixed(all_of_them))
    variants: dict[Variant, int] = {}
    for number, some in enumerate(of_entries):
        for combination in some:
            variant = _variant(combination)
            first = variants.setdefault(variant, number)
            if first != number:
                place = located(space_file, ("setups", number))
                raise UserError(f"{place}: runs the same as setups[{first}]; leave one of them out")
    return tuple(variants)


def _raise(faults: Iterable[str]) -> None:
    """Raise UserError with these faults, each once, if there are any."""
    lines = list(dict.fromkeys(faults))
    if lines:
        raise UserError(*lines)


def _check_given_once(
    flags: Mapping[str, Sequence[Any]], entries: Sequence[SetupEntry], space_file: Path | str
) -> None:
    """Raise UserError for each flag of an axis that an entry of the space's file names, too."""
    _raise(
        f"{flag_of(axis)}: {space_file} names it in its `setups:`; leave the flag out, or the key"
        for axis in AXES
        if flags.get(axis) and any(getattr(entry, axis) is not None for entry in entries)
    )


def _combinations(
    flags: Mapping[str, Sequence[Any]],
    entry: SetupEntry,
    defaults: Mapping[str, Any],
    space_file: Path | str,
    number: int,
) -> list[_Combination]:
    """An entry's own values, crossed with those of the flags for the axes that it leaves open.

    `number`: of the entry, from 0.
    """
    axes = []
    for axis in AXES:
        own = getattr(entry, axis)
        if own is not None:
            axes.append([_Value(own, partial(located, space_file, ("setups", number, axis)))])
        else:
            # each once, however often it is named: twice would be two trials in one folder
            given = dict.fromkeys(flags.get(axis) or [defaults[axis]])
            axes.append([_Value(value, partial(flag_of, axis)) for value in given])
    return [dict(zip(AXES, values, strict=True)) for values in product(*axes)]


def _with_quantization(of_one: _Combination, flags: Mapping[str, Sequence[Any]]) -> _Combination:
    """The combination with its engine's only quantization, where it has one and none was given."""
    engine, where = ENGINES.get(of_one["engine"].value), of_one["quantization"].where
    if engine is None or engine.served_models is None:
        return of_one
    if flags.get("quantization") or where() != flag_of("quantization"):
        return of_one
    return {**of_one, "quantization": _Value(SERVED.name, where)}


def _unknown(of_one: _Combination) -> list[str]:
    """A sentence for each value of a combination that isn't one of its axis."""
    lines = []
    quantization, engine = of_one["quantization"], of_one["engine"]
    if quantization.value not in ANY_QUANTIZATION:
        hint = nearest(quantization.value, QUANTIZATIONS, QUANTIZATION_SYNONYMS)
        name = short(repr(quantization.value))
        lines.append(f"{quantization.where()}: there is no {name}: {hint}")
    if engine.value not in ENGINES:
        name = short(repr(engine.value))
        hint = nearest(engine.value, ENGINES, ENGINE_SYNONYMS)
        lines.append(f"{engine.where()}: there is no {name}: {hint}")
    return lines


def _impossible(of_one: _Combination) -> list[str]:
    """A sentence for each value of a combination that its engine can't run."""
    lines = []
    quantization, batch_size = of_one["quantization"], of_one["batch_size"]
    name = of_one["engine"].value
    engine = ENGINES[name]
    if engine.served_models is not None:
        return _impossible_served(of_one)
    if quantization.value not in engine.quantizations:
        lines.append(
            f"{quantization.where()}: the {name} engine has no {quantization.value} (it has "
            f"{', '.join(engine.quantizations)}); list the combinations that there are in "
            "`setups:` of the space's file"
        )
    if batch_size.value > 1 and not engine.batches:
        others = [other for other, kind in ENGINES.items() if kind.batches]
        instead = f", or take --engine {' or '.join(others)}" if others else ""
        lines.append(
            f"{batch_size.where()}: the {name} engine generates one prompt at a time, not "
            f"{batch_size.value}; leave it out{instead}"
        )
    return lines


def _impossible_served(of_one: _Combination) -> list[str]:
    """A sentence for each value that a server has chosen when it loaded its model."""
    lines = []
    for axis, as_it_is in (("quantization", SERVED.name), ("dtype", DEFAULTS["dtype"])):
        value = of_one[axis]
        if value.value != as_it_is:
            lines.append(
                f"{value.where()}: the server has loaded its model already; leave it out, and "
                "start the server with what you want"
            )
    if of_one["batch_size"].value > 1:
        lines.append(
            f"{of_one['batch_size'].where()}: the server engine asks for one prompt at a time; "
            "leave it out"
        )
    return lines


def _mixed(combinations: Sequence[_Combination]) -> list[str]:
    """A sentence for engines that can't share a sweep.

    Where some have a model and others none, their rows are no match; a server holds the GPU all the
    time, so nothing else can be measured on it.
    """
    engines = dict.fromkeys(one["engine"].value for one in combinations)
    served = [name for name in engines if ENGINES[name].served_models is not None]
    if served and len(engines) > 1:
        alone = "a server keeps its model loaded, beside which nothing else can be measured"
        return [f"--engine: {alone}; run {served[0]} in a sweep of its own"]
    real = [name for name in engines if ENGINES[name].needs_weights]
    others = [name for name in engines if name not in real]
    if not real or not others:
        return []
    alone = f"{others[0]} has no model, so nothing of it can be compared with {real[0]}"
    return [f"--engine: {alone}; run it in a sweep of its own"]


def _variant(of_one: _Combination) -> Variant:
    """The variant of a combination in which nothing is unknown."""
    return Variant(
        quantization=ANY_QUANTIZATION[of_one["quantization"].value],
        engine=of_one["engine"].value,
        compute_dtype=of_one["dtype"].value,
        batch_size=of_one["batch_size"].value,
    )
