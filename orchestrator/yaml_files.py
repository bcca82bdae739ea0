"""Find and read the YAML files that a researcher edits: spaces, prompts, machines.

Look-up: a path (it has a separator or ends in .yaml), then `<working folder>/<kind>/<name>.yaml`,
then the copy that came with the package. Doesn't know what the files mean: the nouns check
themselves; strict_yaml.py says what YAML is read.
"""

from __future__ import annotations

import difflib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from orchestrator.errors import UserError
from orchestrator.nouns import Noun
from orchestrator.outside_files import read_text
from orchestrator.strict_yaml import strict_yaml

N = TypeVar("N", bound=Noun)

SIZE_LIMIT_BYTES = 2 * 2**20
"""No file a person writes is larger; more is a mistake (a data file named by accident)."""
MOST_FAULTS, LONGEST_WORD = 50, 300
"""Lines of faults that are told, and characters of a file's text in each: more help nobody."""
LEAST_PART = 3
"""Letters of a shortened name from which on it is understood."""
OTHER_NAMES = {
    "search_spaces": {
        "bayesian": "optuna",
        "latinhypercube": "lhs",
        "latinhypercubesampling": "lhs",
        "random": "uniform",
        "tpe": "optuna",
    }
}
"""Kind -> other words for the names that come with the program."""


def packaged_folder(kind: str) -> Path:
    """Where the package's own copy lies: inside a wheel, or at the top of a checkout."""
    package = Path(__file__).parent
    in_wheel = package / "data" / kind
    return in_wheel if in_wheel.is_dir() else package.parent / kind


def folders(kind: str) -> list[Path]:
    """The folders searched for a name, first wins."""
    folders: dict[Path, Path] = {}
    for folder in (Path.cwd() / kind, packaged_folder(kind)):
        if folder.is_dir():  # in a checkout both are the same one
            folders.setdefault(folder.resolve(), folder)
    return list(folders.values())


def names(kind: str) -> list[str]:
    """Every name that `find` would take, sorted."""
    return sorted({p.stem for folder in folders(kind) for p in folder.glob("[!.]*.yaml")})


def nearest(word: str, known: Iterable[str], also: Mapping[str, str] | None = None) -> str:
    """The sentence's end for an unknown name: the one that is meant, and what there is.

    `also`: other words for known names, in small letters and digits alone.
    """
    known = list(known)
    listed = f"Known: {', '.join(known)}"
    meant = closest(word, known, also)
    if meant is None:
        return listed
    return f"did you mean {meant}? {listed}"


def closest(word: str, known: Iterable[str], also: Mapping[str, str] | None = None) -> str | None:
    """The known name that a mistyped or shortened word means; None where none is near."""
    by_plain = {_plain(name): name for name in known}
    asked = _plain(word[:LONGEST_WORD])
    if meant := (also or {}).get(asked):
        return meant
    if asked in by_plain:
        return by_plain[asked]
    if len(asked) >= LEAST_PART:
        begins = [name for plain, name in by_plain.items() if plain.startswith(asked)]
        holds = [name for plain, name in by_plain.items() if asked in plain]
        # where several have that part, the letters decide
        for found in (begins, holds):
            if len(found) == 1:
                return found[0]
    return next(
        (by_plain[plain] for plain in difflib.get_close_matches(asked, by_plain, n=1)), None
    )


def _plain(name: str) -> str:
    """A name's small letters and digits: what people remember of it."""
    return "".join(filter(str.isalnum, name.casefold()))


def by_name(name: str) -> bool:
    """Whether a name is looked up, and not a path."""
    return not name.endswith((".yaml", ".yml")) and "/" not in name


def find(kind: str, name: str) -> Path:
    """The file for a name or path. Raises UserError with what exists and the nearest name.

    `kind`: the folder that names are looked up in: search_spaces, prompts or clusters.
    """
    if not by_name(name):
        path = Path(name)
        if not _is_file(path):
            raise UserError(
                f"{name}: no such file; give an existing .yaml file "
                f"or a name of {kind}: {', '.join(names(kind))}"
            )
        return path
    # the working folder comes first, so a file of the user's wins over the package's
    for folder in folders(kind):
        path = folder / f"{name}.yaml"
        if _is_file(path):
            return path
    raise UserError(
        f"{kind}: there is no {name!r}: {nearest(name, names(kind), OTHER_NAMES.get(kind))}"
    )


def _is_file(path: Path) -> bool:
    """Whether a path is a file.

    Raises UserError where the system won't tell (no permission, a name too long).
    """
    try:
        return path.is_file()
    except OSError as error:
        raise UserError(f"{path}: can't be read: {error.strerror}") from error


def _text_of(path: Path) -> str:
    """A file's text. Raises OSError, or UserError where it is no text file of a fitting size."""
    try:
        return read_text(path, limit_bytes=SIZE_LIMIT_BYTES)
    except ValueError as error:
        why = str(error).removeprefix(f"{path.name}: ")
        raise UserError(f"{path}: {why}; give a file of settings, saved as UTF-8") from error


def load_yaml(path: Path) -> Any:
    """Parse one file as YAML 1.2. Raises UserError naming file, line, column and fault."""
    try:
        return strict_yaml().load(_text_of(path))
    except OSError as error:
        raise UserError(f"{path}: can't be read: {error.strerror}") from error
    except RecursionError as error:
        raise UserError(f"{path}: nested too deeply for a file of settings") from error
    except MarkedYAMLError as error:
        where = _at(path, error.problem_mark)
        raise UserError(f"{where}: is not valid YAML: {short(error.problem)}") from error
    except YAMLError as error:
        problem = str(error).partition("\n")[0]
        raise UserError(f"{path}: is not valid YAML: {short(problem)}") from error


def _at(path: Path, mark: Any) -> str:
    """A place in a file as `file:line:column`; without a mark the file alone."""
    if mark is None:
        return str(path)
    return f"{path}:{mark.line + 1}:{mark.column + 1}"


def located(where: Path | str, steps: Sequence[int | str], *, key: bool = False) -> str:
    """Where a value stands, for a person: `spaces/mine.yaml:12:7: $.parameters.top_p.high`.

    `where`: the file, or a text such as a flag, which has no lines. `steps`: the keys and indexes
    that lead to the value. `key`: the place of its key, not of the value itself.
    """
    return _located(where, _composed(where), steps, key=key)


def _located(where: Path | str, node: Any, steps: Sequence[int | str], *, key: bool) -> str:
    """As `located`; `node`: what `_composed` gave."""
    mark = _mark(node, steps, key=key)
    if isinstance(where, Path) and mark is not None:
        where = _at(where, mark)
    return f"{where}: ${''.join(map(_step, steps))}"


def _composed(where: Path | str) -> Any:
    """The outermost node of a file; None: no file, or it has changed since it was read.

    The file is read once more for its lines, since only one with a fault needs them.
    """
    if not isinstance(where, Path):
        return None
    try:
        return strict_yaml().compose(read_text(where, limit_bytes=SIZE_LIMIT_BYTES))
    except (OSError, ValueError, RecursionError, YAMLError):
        return None


def _mark(node: Any, steps: Sequence[int | str], *, key: bool) -> Any:
    """The mark of a value below a node; of the last step that is there, where it is missing."""
    mark = None if node is None else node.start_mark
    for step in steps:
        below = _below(node, step)
        if below is None:
            break
        key_node, node = below
        # ruamel.yaml takes what comes next for the place of a value that is left out
        is_empty = isinstance(node, ScalarNode) and not node.value and not node.style
        mark = (key_node if key or is_empty else node).start_mark
    return mark


def _below(node: Any, step: int | str) -> tuple[Any, Any] | None:
    """The nodes of a key and of its value (of an item: twice itself); None: not there."""
    if isinstance(node, MappingNode):
        pairs = [pair for pair in node.value if pair[0].value == step]
        return pairs[0] if pairs else None
    if isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step], node.value[step]
    return None


def faults(
    error: ValidationError,
    model: type[BaseModel],
    where: Path | str,
    root: tuple[str, ...] = (),
) -> list[str]:
    """One line a fault, each with its place: `file:12:7: $.parameters.top_p.high: ...`.

    `model`: what the file should hold, for the names of its keys. `where`: as of `located`.
    `root`: the keys that lead to the part of it that was checked.
    """
    lines: list[str] = []
    node = _composed(where)
    for item in error.errors(include_url=False, include_context=False):
        # "[key]" is pydantic's mark for a fault of the key before it
        of_key = item["type"] == "extra_forbidden" or "[key]" in item["loc"]
        steps = (*root, *(step for step in item["loc"] if step != "[key]"))
        # finding a place takes time, and no more faults than these are told
        if len(lines) < MOST_FAULTS:
            place = _located(where, node, steps, key=of_key)
        lines += [f"{place}: {line}" for line in _message(item, model).splitlines()]
    return lines


def _step(part: int | str) -> str:
    """A part of a fault's path: an index, or a key, which may be any text."""
    if isinstance(part, int):
        return f"[{part}]"
    return f".{printable(short(part))}"


def _message(item: ErrorDetails, model: type[BaseModel]) -> str:
    """What is wrong at one place, in this program's words; one line or more."""
    if item["type"] == "missing":
        return "is missing"
    if item["type"] == "extra_forbidden":
        *path, key = item["loc"]
        return f"there is no such key: {nearest(str(key), _keys(model, path))}"
    message = str(item["msg"]).removeprefix("Value error, ").replace("Input should be", "must be")
    if item["type"] in WANTED:
        message += f", not {_as_written(item['input'])}{_advice(item['type'], item['input'])}"
    return message


WANTED = ("float_type", "int_type", "bool_type", "string_type")
"""Pydantic's names of faults where a value has another type."""


def _as_written(value: Any) -> str:
    """A value that has another type than is wanted, as it stands in the file."""
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    if isinstance(value, str):
        return printable(short(repr(value)))
    return short(json.dumps(value))


def _advice(wanted: str, value: Any) -> str:
    """What to write instead; '' where nothing is near."""
    if wanted == "bool_type":
        return "; write true or false"
    if wanted == "string_type" and not isinstance(value, dict | list):
        return "; put a text in quotes"
    if isinstance(value, str) and _COMMA.fullmatch(value):
        return "; decimals have a point (0.1, not 0,1)"
    return ""


_COMMA = re.compile(r"[-+]?[0-9]+,[0-9]+")


def short(text: str) -> str:
    """The start of a text that may be as long as a file."""
    if len(text) <= LONGEST_WORD:
        return text
    return text[:LONGEST_WORD] + " ..."


def printable(text: str) -> str:
    """Untrusted text on one line.

    What a terminal would obey (escapes, line ends, writing direction) is spelled out.
    """
    return "".join(
        c if c.isprintable() or c in _KEPT or unicodedata.category(c) == "Zs" else repr(c)[1:-1]
        for c in text
    )


_KEPT = "\u200c\u200d"
"""Joiners: parts of words in many scripts, and of emoji."""


def _keys(model: Any, path: Iterable[int | str]) -> list[str]:
    """Keys that are valid at a path of a model."""
    for part in path:
        if isinstance(part, int):  # an item of a list: all are of one kind
            model = next(iter(get_args(model)), None)
            continue
        field = getattr(model, "model_fields", {}).get(part)
        model = field.annotation if field else None
    return list(getattr(model, "model_fields", {}))


def parse(model: type[N], value: Any, where: Path | str, root: tuple[str, ...] = ()) -> N:
    """Build a noun from parsed data. Raises UserError with all faults at once.

    `where`: as of `located`. `root`: the keys that lead to `value` in it. At most MOST_FAULTS
    faults are told.
    """
    if not isinstance(value, dict):
        kind = type(value).__name__
        raise UserError(f"{located(where, root)}: must be a mapping of keys to values, not {kind}")
    try:
        # as JSON, since pydantic is strict there (no "1" and no true for a number) and has lists
        return model.model_validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        lines = faults(error, model, where, root)
        n_more = len(lines) - MOST_FAULTS
        if n_more > 0:
            lines[MOST_FAULTS:] = [f"{where}: ... and {n_more:,} more"]
        raise UserError(*lines) from error


def read(kind: str, name: str, model: type[N]) -> tuple[N, Path]:
    """Read the noun of a name or file; a `name:` missing in the file is the file's own name.

    Returns the file, too.

    Raises UserError where there is no such file, or it doesn't hold such a noun.
    """
    path = find(kind, name)
    value = load_yaml(path)
    if isinstance(value, dict):
        # a file that is found by one name and calls itself another would be two spaces to a reader
        if by_name(name) and value.get("name", path.stem) != path.stem:
            raise UserError(
                f"{located(path, ('name',))}: is {short(repr(value['name']))}, "
                f"but the file is found as {path.stem}; leave the key out"
            )
        # the name stands in folders and tables, so it must be there
        value = {"name": path.stem, **value}
    return parse(model, value, path), path
