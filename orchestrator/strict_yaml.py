"""YAML 1.2 as a person writes settings in it; what could be read in two ways is refused."""

from __future__ import annotations

import re
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.events import AliasEvent
from ruamel.yaml.nodes import MappingNode, ScalarNode
from ruamel.yaml.resolver import VersionedResolver

MOST_VALUES = 20_000
"""Keys and values in a file: the time to read it grows with them, to half a minute for 2 MiB."""
LONGEST_NUMBER = 40
"""Digits and signs: floats have 17 digits, and the longest range ends at 10000."""


def strict_yaml() -> YAML:
    """A reader; it raises ruamel.yaml's errors, most of them with line and column."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer = _Composer
    yaml.Constructor = _Constructor
    yaml.Resolver = _Resolver
    return yaml


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
            # how ruamel.yaml fails on a tag such as `!!int ""`
            problem = "a value doesn't have the type that its !! tag names"
            raise _refused(problem, node) from error


class _Resolver(VersionedResolver):
    """Reads every file as YAML 1.2, also one whose %YAML line names 1.1: yes and no are words."""

    processing_version = (1, 2)

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        """The type of a value without a tag: a date is a text, as YAML 1.2 says."""
        tag = super().resolve(kind, value, implicit)
        return self.DEFAULT_SCALAR_TAG if tag == _TIMESTAMP else tag


_TAG = "tag:yaml.org,2002:"
for _name in ("binary", "set", "omap", "pairs", "timestamp"):
    _Constructor.add_constructor(_TAG + _name, _Constructor.construct_undefined)

_BASE_60 = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
_OCTAL = re.compile(r"[-+]?0[0-9_]+")
_TIMESTAMP = _TAG + "timestamp"
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
        number = node.value[:LONGEST_NUMBER]
        problem = f"the key {number} is a number; decimals have a point (0.1, not 0,1)"
        raise _refused(problem, node)


def _refused(problem: str, at: Any) -> ConstructorError:
    """A fault with its place in the file."""
    return ConstructorError(None, None, problem, at.start_mark)
