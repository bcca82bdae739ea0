"""Find and read the YAML files that a researcher edits: spaces, prompts, machines.

Look-up: a path (it has a separator or ends in .yaml), then `<working folder>/<kind>/<name>.yaml`, then the copy that
came with the package. Doesn't know what the files mean: the nouns check themselves.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from orchestrator.errors import UserError
from orchestrator.nouns import Noun

N = TypeVar("N", bound=Noun)

SIZE_LIMIT_BYTES = 2 * 2**20
"""No file a person writes is larger; more is a mistake (a data file named by accident)."""
MOST_VALUES = 20_000
"""Keys and values in a file: reading takes time by their number, half a minute for the ones of 2 MiB."""
LONGEST_NUMBER = 40
"""Digits and signs: floats have 17 digits, and the longest range ends at 10000."""
MOST_FAULTS, LONGEST_WORD = 50, 300
"""More lines, or characters of what a file says in one, help nobody: it is a data file named by accident."""


class _StrictLoader(yaml.SafeLoader):
    """YAML's safe loader that refuses what the plain one takes in silence.

    A key given twice (the last would win), aliases and merges (few lines of them unfold into billions of values), more
    values than a person writes, numbers in base 60 (1:30 is 90) or of thousands of digits, tags for bytes and sets (a set
    has another order in each process), and escapes for characters that no file or hash can hold.
    """

    n_values = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _refused("aliases (*name) are not supported; write the value out", event)
        self.n_values += 1
        if self.n_values > MOST_VALUES:
            raise _refused(
                f"more than {MOST_VALUES:,} values; this is not a file of settings", event
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if not isinstance(key_node, yaml.ScalarNode):
                raise _refused("a key must be one word", key_node)
            if key_node.tag == "tag:yaml.org,2002:merge":
                raise _refused("merging by << is not supported; write the keys out", key_node)
            key = str(key_node.value)
            if key in seen:
                raise _refused(f"the key {key!r} is given twice", key_node)
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        value = super().construct_scalar(node)
        if isinstance(value, str) and (bad := _NO_TEXT.search(value)):
            raise _refused(f"the character {bad[0]!r} can't stand in a text", node)
        return value

    def construct_number(self, node: yaml.ScalarNode) -> Any:
        text = str(self.construct_scalar(node))
        if ":" in text:
            raise _refused(
                f"{text[:LONGEST_NUMBER]} is a number in base 60 to YAML; put a text in quotes",
                node,
            )
        if len(text) > LONGEST_NUMBER:
            raise _refused(f"a number of {len(text):,} characters; at most {LONGEST_NUMBER}", node)
        return yaml.SafeLoader.yaml_constructors[node.tag](self, node)


for _tag in ("int", "float"):
    _StrictLoader.add_constructor(f"tag:yaml.org,2002:{_tag}", _StrictLoader.construct_number)
for _tag in ("binary", "set", "omap", "pairs"):
    del _StrictLoader.yaml_constructors[f"tag:yaml.org,2002:{_tag}"]


_NO_TEXT = re.compile(r"[\0\ud800-\udfff]")
"""NUL, and halves of a surrogate pair: YAML's escapes can write them, UTF-8 can't or the hash of prompts would be ambiguous."""


def _refused(problem: str, at: yaml.Node | yaml.Event) -> yaml.constructor.ConstructorError:
    mark: Any = at.start_mark
    return yaml.constructor.ConstructorError(None, None, problem, mark)


def packaged_folder(kind: str) -> Path:
    """Where the copy that travels with the package lies: inside a wheel, or at the top of a checkout."""
    package = Path(__file__).parent
    in_wheel = package / "data" / kind
    return in_wheel if in_wheel.is_dir() else package.parent / kind


def folders(kind: str) -> list[Path]:
    """The folders searched for a name, first wins."""
    found = [Path.cwd() / kind, packaged_folder(kind)]
    return [
        f
        for i, f in enumerate(found)
        if f.is_dir() and f.resolve() not in [g.resolve() for g in found[:i]]
    ]


def names(kind: str) -> list[str]:
    """Every name that `find` would take, sorted."""
    return sorted({p.stem for folder in folders(kind) for p in folder.glob("[!.]*.yaml")})


def nearest(word: str, known: list[str]) -> str:
    """The sentence's end for an unknown name: the nearest known one, and what there is."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return (f"did you mean {close[0]}? " if close else "") + "Known: " + ", ".join(known)


def by_name(name: str) -> bool:
    """Whether a name is looked up, and not a path."""
    return not name.endswith((".yaml", ".yml")) and "/" not in name


def find(kind: str, name: str) -> Path:
    """The file for a name or path. Raises UserError with what exists and the nearest name."""
    if not by_name(name):
        path = Path(name)
        if not _is_file(path):
            raise UserError(
                f"{name}: no such file; give an existing .yaml file or a name of {kind}: {', '.join(names(kind))}"
            )
        return path
    for folder in folders(kind):
        path = folder / f"{name}.yaml"
        if _is_file(path):
            return path
    raise UserError(f"{kind}: there is no {name!r}: {nearest(name, names(kind))}")


def _is_file(path: Path) -> bool:
    """Whether a path is a file. Raises UserError where the system won't tell (no permission, a name too long)."""
    try:
        return path.is_file()
    except OSError as error:
        raise UserError(f"{path}: can't be read: {error.strerror}") from error


def load_yaml(path: Path) -> Any:
    """Parse one YAML file. Raises UserError naming file, line and fault."""
    try:
        if path.stat().st_size > SIZE_LIMIT_BYTES:
            raise UserError(
                f"{path}: larger than {SIZE_LIMIT_BYTES // 2**20} MiB; this is not a file of settings"
            )
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from error
    except OSError as error:
        raise UserError(f"{path}: can't be read: {error.strerror}") from error
    except RecursionError as error:
        raise UserError(f"{path}: nested too deeply to be a file of settings") from error
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UserError(f"{path}:{where} is not valid YAML: {short(problem)}") from error
    except (
        LookupError,
        AttributeError,
        TypeError,
    ) as error:  # how yaml fails on a tag such as `!!int ""` or `!!bool maybe`
        raise UserError(
            f"{path}: is not valid YAML: a value doesn't have the type that its !! tag names"
        ) from error


def faults(
    error: ValidationError, model: type[BaseModel], where: str, root: str = "$"
) -> list[str]:
    """One line a fault, each with its path in the file: `file: $.parameters.top_p.high: ...`."""
    lines = []
    for item in error.errors(include_url=False, include_context=False):
        path = root + "".join(
            f"[{p}]" if isinstance(p, int) else f".{printable(short(p))}"
            for p in item["loc"]
            if p != "[key]"
        )
        message = (
            str(item["msg"]).removeprefix("Value error, ").replace("Input should be", "must be")
        )
        if item["type"] == "missing":
            message = "is missing"
        elif item["type"] == "extra_forbidden":
            message = f"there is no such key: {nearest(str(item['loc'][-1]), _keys(model, item['loc'][:-1]))}"
        lines += [f"{where}: {path}: {line}" for line in message.splitlines()]
    return lines


def short(text: str) -> str:
    """The start of a text that may be as long as a file."""
    return text if len(text) <= LONGEST_WORD else text[:LONGEST_WORD] + " ..."


def printable(text: str) -> str:
    """Untrusted text on one line, with what a terminal would obey (escapes, line ends, writing direction) spelled out."""
    return "".join(
        c if c.isprintable() or c in _KEPT or unicodedata.category(c) == "Zs" else repr(c)[1:-1]
        for c in text
    )


_KEPT = "\u200c\u200d"
"""Joiners: parts of words in many scripts, and of emoji."""


def _keys(model: Any, path: tuple[int | str, ...]) -> list[str]:
    """Keys that are valid at a path of a model."""
    for part in path:
        field = getattr(model, "model_fields", {}).get(part)
        model = field.annotation if field else None
    return list(getattr(model, "model_fields", {}))


def parse(model: type[N], value: Any, where: str, root: str = "$") -> N:
    """Build a noun from parsed data. Raises UserError with all faults at once."""
    if not isinstance(value, dict):
        raise UserError(
            f"{where}: {root}: must be a mapping of keys to values, not {type(value).__name__}"
        )
    try:
        return model.model_validate({str(k): v for k, v in value.items()})
    except ValidationError as error:
        lines = faults(error, model, where, root)
        more = (
            [f"{where}: ... and {len(lines) - MOST_FAULTS:,} more"]
            if len(lines) > MOST_FAULTS
            else []
        )
        raise UserError(*lines[:MOST_FAULTS], *more) from error


def read(kind: str, name: str, model: type[N]) -> tuple[N, Path]:
    """Read the noun of a name or file; a `name:` missing in the file is the file's own name."""
    path = find(kind, name)
    value = load_yaml(path)
    if isinstance(value, dict):
        if by_name(name) and value.get("name", path.stem) != path.stem:
            raise UserError(
                f"{path}: $.name: is {short(repr(value['name']))}, but the file is found as {path.stem}; leave the key out"
            )
        value = {"name": path.stem, **value}
    return parse(model, value, str(path)), path
