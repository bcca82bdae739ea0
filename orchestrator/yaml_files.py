"""Find and read the YAML files that a researcher edits: spaces, prompts, machines.

Look-up: a path (it has a separator or ends in .yaml), then `<working folder>/<kind>/<name>.yaml`,
then the copy that came with the package. Doesn't know what the files mean: the nouns check
themselves.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent
from ruamel.yaml.nodes import MappingNode, ScalarNode
from ruamel.yaml.resolver import VersionedResolver

from orchestrator.errors import UserError
from orchestrator.nouns import Noun
from orchestrator.outside_files import read_text

N = TypeVar("N", bound=Noun)

SIZE_LIMIT_BYTES = 2 * 2**20
"""No file a person writes is larger; more is a mistake (a data file named by accident)."""
MOST_VALUES = 20_000
"""Keys and values in a file: the time to read it grows with them, to half a minute for 2 MiB."""
LONGEST_NUMBER = 40
"""Digits and signs: floats have 17 digits, and the longest range ends at 10000."""
MOST_FAULTS, LONGEST_WORD = 50, 300
"""Lines of faults that are told, and characters of a file's text in each: more help nobody."""


class _Composer(Composer):
    """Composes nodes, and refuses what a file of settings doesn't need.

    Aliases (few lines of them unfold into billions of values), more values than a person writes,
    numbers that YAML 1.1 reads as other ones (base 60, octal) or that have thousands of digits, and
    escapes for characters that no file or hash can hold.
    """

    def __init__(self, loader: Any = None) -> None:
        super().__init__(loader=loader)
        self.warn_double_anchors = False  # without aliases an anchor means nothing
        self._n_values = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """A node; refuses an alias, and one value too many."""
        event = self.parser.peek_event()
        if isinstance(event, AliasEvent):
            raise _refused("aliases (*name) are not supported; write the value out", event)
        self._n_values += 1
        if self._n_values > MOST_VALUES:
            problem = f"more than {MOST_VALUES:,} values; this is not a file of settings"
            raise _refused(problem, event)
        return super().compose_node(parent, index)

    def compose_scalar_node(self, anchor: Any) -> Any:
        """A scalar; refuses characters that are no text, and odd numbers."""
        node = super().compose_scalar_node(anchor)
        if bad := _NO_TEXT.search(node.value):
            raise _refused(f"the character {bad[0]!r} can't stand in a text", node)
        if not node.style:  # without quotes
            _check_number(node)
        return node


class _Constructor(SafeConstructor):
    """Constructs values, and refuses what would be read in silence as something else.

    Keys that are no words, a key given twice, merging by <<, and values that don't have the type
    that their tag names. Tags for bytes and sets are unknown: a set has another order in each
    process.
    """

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """A mapping whose keys are all texts."""
        pairs = node.value if isinstance(node, MappingNode) else ()
        for key_node, _ in pairs:
            _check_key(key_node)
        return super().construct_mapping(node, deep)

    def check_mapping_key(
        self, node: Any, key_node: Any, mapping: Any, key: Any, value: Any
    ) -> bool:
        """Refuse a key that is given twice; True: take this pair."""
        del node, value
        if key in mapping:
            raise _refused(f"the key {key!r} is given twice", key_node)
        return True

    def construct_non_recursive_object(self, node: Any, tag: str | None = None) -> Any:
        """A value, or a fault with line and column where ruamel.yaml raises errors without them."""
        try:
            return super().construct_non_recursive_object(node, tag)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            # how ruamel.yaml fails on a tag such as `!!int ""`, and on the date 2001-13-01
            problem = "a value doesn't have the type that its !! tag names"
            if str(node.tag) == _TAG + "timestamp" and isinstance(error, ValueError):
                problem = str(error)
            raise _refused(problem, node) from error

    def construct_yaml_timestamp(self, node: Any, values: Any = None) -> Any:
        """A time; ruamel.yaml itself fails on a text tagged as one."""
        if not self.timestamp_regexp.match(node.value):
            raise TypeError(node.value)
        return super().construct_yaml_timestamp(node, values)


class _Resolver(VersionedResolver):
    """Reads every file as YAML 1.2, also one whose %YAML line names 1.1: yes and no are words."""

    processing_version = (1, 2)


_TAG = "tag:yaml.org,2002:"
for _name in ("binary", "set", "omap", "pairs"):
    _Constructor.add_constructor(_TAG + _name, _Constructor.construct_undefined)
_Constructor.add_constructor(_TAG + "timestamp", _Constructor.construct_yaml_timestamp)

_BASE_60 = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
_OCTAL = re.compile(r"[-+]?0[0-9_]+")
_NO_TEXT = re.compile(r"[\0\ud800-\udfff]")
"""NUL, and halves of a surrogate pair.

YAML's escapes can write them. UTF-8 can't, or the hash of prompts would be ambiguous.
"""


def _check_number(node: Any) -> None:
    """Refuse a number that is too long, or that YAML 1.1 and 1.2 read differently."""
    text, kind = node.value, str(node.tag)
    if _BASE_60.fullmatch(text):
        short_text = text[:LONGEST_NUMBER]
        raise _refused(f"{short_text} is a number in base 60 to YAML; put a text in quotes", node)
    if kind not in (_TAG + "int", _TAG + "float"):
        return
    if len(text) > LONGEST_NUMBER:
        raise _refused(f"a number of {len(text):,} characters; at most {LONGEST_NUMBER}", node)
    if _OCTAL.fullmatch(text):
        raise _refused(
            f"{text} begins with 0, which makes it octal to some programs; leave the 0 out", node
        )


def _check_key(node: Any) -> None:
    """Refuse a key that isn't a text."""
    if not isinstance(node, ScalarNode):
        raise _refused("a key must be one word", node)
    kind = str(node.tag).removeprefix(_TAG)
    if kind == "merge":
        raise _refused("merging by << is not supported; write the keys out", node)
    if kind in ("int", "float"):
        raise _refused(
            f"the key {short(node.value)} is a number; decimals have a point (0.1, not 0,1)", node
        )


def _refused(problem: str, at: Any) -> ConstructorError:
    """A fault with its place in the file."""
    return ConstructorError(None, None, problem, at.start_mark)


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


def nearest(word: str, known: list[str]) -> str:
    """The sentence's end for an unknown name: the nearest known one, and what there is."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    listed = f"Known: {', '.join(known)}"
    if not close:
        return listed
    return f"did you mean {close[0]}? {listed}"


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
    raise UserError(f"{kind}: there is no {name!r}: {nearest(name, names(kind))}")


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
        return _parsed(_text_of(path))
    except OSError as error:
        raise UserError(f"{path}: can't be read: {error.strerror}") from error
    except RecursionError as error:
        raise UserError(f"{path}: nested too deeply to be a file of settings") from error
    except MarkedYAMLError as error:
        mark, where = error.problem_mark, ""
        if mark:
            where = f" line {mark.line + 1}, column {mark.column + 1}"
        raise UserError(f"{path}:{where} is not valid YAML: {short(error.problem)}") from error
    except YAMLError as error:
        problem = str(error).partition("\n")[0]
        raise UserError(f"{path}: is not valid YAML: {short(problem)}") from error


def _parsed(text: str) -> Any:
    """The values of a YAML text."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer = _Composer
    yaml.Constructor = _Constructor
    yaml.Resolver = _Resolver
    return yaml.load(text)


def faults(
    error: ValidationError, model: type[BaseModel], where: str, root: str = "$"
) -> list[str]:
    """One line a fault, each with its path in the file: `file: $.parameters.top_p.high: ...`.

    `model`: what the file should hold, for the names of its keys. `where`: the file. `root`: path
    of the part of it that was checked.
    """
    lines = []
    for item in error.errors(include_url=False, include_context=False):
        path = root + "".join(map(_step, item["loc"]))
        lines += [f"{where}: {path}: {line}" for line in _message(item, model).splitlines()]
    return lines


def _step(part: int | str) -> str:
    """A part of a fault's path: an index, or a key, which may be any text."""
    if isinstance(part, int):
        return f"[{part}]"
    if part == "[key]":  # pydantic's mark for a fault of the key before it
        return ""
    return f".{printable(short(part))}"


def _message(item: ErrorDetails, model: type[BaseModel]) -> str:
    """What is wrong at one place, in this program's words; one line or more."""
    if item["type"] == "missing":
        return "is missing"
    if item["type"] == "extra_forbidden":
        *path, key = item["loc"]
        return f"there is no such key: {nearest(str(key), _keys(model, path))}"
    return str(item["msg"]).removeprefix("Value error, ").replace("Input should be", "must be")


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
        field = getattr(model, "model_fields", {}).get(part)
        model = field.annotation if field else None
    return list(getattr(model, "model_fields", {}))


def parse(model: type[N], value: Any, where: str, root: str = "$") -> N:
    """Build a noun from parsed data. Raises UserError with all faults at once.

    `where`: the file. `root`: path of `value` in it. At most MOST_FAULTS faults are told.
    """
    if not isinstance(value, dict):
        raise UserError(
            f"{where}: {root}: must be a mapping of keys to values, not {type(value).__name__}"
        )
    try:
        return model.model_validate({str(k): v for k, v in value.items()})
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
                f"{path}: $.name: is {short(repr(value['name']))}, "
                f"but the file is found as {path.stem}; leave the key out"
            )
        # the name stands in folders and tables, so it must be there
        value = {"name": path.stem, **value}
    return parse(model, value, str(path)), path
