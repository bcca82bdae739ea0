"""Scan a data set for what mustn't be published: secrets, addresses, paths, names, coordinates.

A match in a model's text is a warning, since models make up addresses and passwords. A match
anywhere else is an error. Findings name the rule, but never show what matched.
"""

from __future__ import annotations

import codecs
import getpass
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.dataset.checksums import published_files
from orchestrator.dataset.delimited import Record, read_delimited
from orchestrator.dataset.findings import Finding, Severity
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.reading import TooManyValuesError, parsed, reason_of
from orchestrator.outside_files import read_bytes

RULES = {
    # huggingface.co/docs/hub/security-tokens
    "hf_token": (re.compile(r"\bhf_[A-Za-z0-9]{30,}"), "a token of the Hugging Face Hub"),
    # docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids
    "aws_key": (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"), "an access key of AWS"),
    # github.blog/2021-04-05-behind-githubs-new-authentication-token-formats
    "github_token": (
        re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,})"),
        "a token of GitHub",
    ),
    # RFC 7468
    "private_key": (re.compile(r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY"), "a private key"),
    "password": (
        re.compile(
            r"\b(?:password|passwd|secret|token|api_?key|(?:access|auth|secret)_(?:token|key))\b"
            r"[\"']?[ \t]{0,4}[=:][ \t]{0,4}[\"']?[^\s\"',;]{6,}",
            re.IGNORECASE,
        ),
        "a password or token",
    ),
    # the part of RFC 5322 that people use
    "e_mail": (
        re.compile(
            r"\b[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}"
            r"(?:\.[A-Za-z0-9-]{1,63}){0,4}\.[A-Za-z]{2,24}\b"
        ),
        "an e-mail address",
    ),
    "home_path": (
        re.compile(r"(?:/home/|/Users/|[A-Za-z]:\\+Users\\+)[\w.-]+|(?<![\w/])/root/\w"),
        "a path in somebody's home folder",
    ),
    # all but unspecified and loopback addresses
    "ip_address": (
        re.compile(
            r"(?<![\w.-])(?!127\.|0\.0\.0\.0)(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}"
            r"(?:25[0-5]|2[0-4]\d|1?\d?\d)(?![\w.-])"
        ),
        "an IP address",
    ),
}
"""Rule -> (what it matches, how a person calls that)."""
# in tables only: elsewhere a path such as /usr/lib tells nothing
ABSOLUTE_PATH = re.compile(r"(?:/|[A-Za-z]:[\\/]|\\\\)[\w.@ -]+[\\/].*")


class ColumnRule(NamedTuple):
    """What mustn't be published of columns and keys that have one of some names."""

    names: frozenset[str]
    """In lower case."""
    harmless: re.Pattern[str]
    """Values that tell nothing."""
    what: str
    """How a person calls it."""


NOTHING = r"(?:|none|nan|null|n/?a|<na>|removed-\w+)"
COLUMN_RULES = {
    # a whole degree is about 100 km
    "coordinates": ColumnRule(
        frozenset({"longitude", "latitude", "lon", "lng", "lat"}),
        re.compile(rf"{NOTHING}|-?\d+(?:[.,]0*)?", re.IGNORECASE),
        "coordinates of a place",
    ),
    # this program writes a hash as `host`
    "host_name": ColumnRule(
        frozenset({"host", "hostname", "host_name", "node", "nodename", "node_name"})
        | {"computer", "computer_name", "machine_name"},
        re.compile(rf"{NOTHING}|localhost|[0-9a-f]{{12,64}}", re.IGNORECASE),
        "the name of a host",
    ),
    "user_name": ColumnRule(
        frozenset({"user", "username", "user_name", "login"}),
        re.compile(rf"{NOTHING}|root|user", re.IGNORECASE),
        "the name of a user",
    ),
}
"""Rule -> columns and keys that it looks at."""
REMOVED_LINE = "removed-line"
"""What stands for a line of a table that can't be read and may hold something private."""
TABLES = (".csv", ".bak", ".tsv")
COMMON_NAMES = {
    "root",
    "user",
    "admin",
    "ubuntu",
    "debian",
    "runner",
    "guest",
    "test",
    "jovyan",
    "localhost",
    "colab",
    "home",
}
"""Login and host names that tell nothing about a person or a place."""
SHORTEST_NAME = 3
"""Shorter login and host names would match everywhere."""
WRITTEN_HERE = (
    "README.md",
    "LICENSE.md",
    "CITATION.cff",
    "croissant.json",
    "data-dictionary.md",
    "chart.png",
)
"""Not scanned: publishing writes them anew, and an author's name and ORCID belong in them."""
BINARY = (".parquet",)
"""Not scanned: tables are made from files that are."""


@dataclass(frozen=True)
class Scanner:
    """The rules, with the names of a person and a host that mustn't be published."""

    names: tuple[str, ...] = ()
    accepted: frozenset[str] = frozenset()
    """Rules whose matches are only warnings."""

    def matches_in(self, column: str, cell: str) -> Iterator[tuple[str, str]]:
        """(rule, what it matches) for each rule that matches a cell of a table."""
        yield from self.matches(cell)
        yield from column_matches(column, cell)
        if ABSOLUTE_PATH.fullmatch(cell):
            yield "path", "a path"

    def matches(self, text: str) -> Iterator[tuple[str, str]]:
        """(rule, what it matches) for each rule that matches a text."""
        for rule, (pattern, what) in RULES.items():
            if pattern.search(text):
                yield rule, what
        lowered = text.lower()
        for name in self.names:
            # the plain comparison spares the slow search, which asks for whole words
            if name.lower() in lowered and _whole_word(name).search(text):
                yield "own_name", "the login or host name of this machine"

    def without_names(self, text: str) -> str:
        """A text with `removed-own_name` in the place of the names."""
        for name in self.names:
            text = _whole_word(name).sub("removed-own_name", text)
        return text

    def file(self, path: Path, where: str) -> set[Finding]:
        """Findings of one file; `where`: its path in the data set.

        Each finding occurs once, however often its rule matches. A file that can't be read is an
        error.
        """
        try:
            data = read_bytes(path)
        except (OSError, ValueError) as error:
            return {Finding("error", where, f"can't be scanned: {reason_of(error)}")}
        if path.name.endswith(TABLES):
            by_model = path.name.startswith("output")
            found = self._in_table(data)
            return {self._finding(where, *match, by_model=by_model) for match in found}
        findings = set()
        try:
            parts = list(_parts(path, _decoded(data)))
        except TooManyValuesError as error:
            return {Finding("error", where, f"can't be scanned: {reason_of(error)}")}
        for place, text, by_model in parts:
            matches = chain(self.matches(text), column_matches(place, text.partition("=")[2]))
            for rule, what in matches:
                findings.add(self._finding(where, place, rule, what, by_model=by_model))
        return findings

    def _finding(
        self, where: str, place: str, rule: str, what: str, *, by_model: bool = False
    ) -> Finding:
        """A finding: an error, unless a model wrote it or the user knows it to be harmless."""
        severity: Severity = "error"
        if by_model or rule in self.accepted:
            severity = "warning"
        message = f"holds {what} ({rule})"
        if place:
            message = f"{place}: {message}"
        return Finding(severity, where, message)

    def _in_table(self, data: bytes) -> Iterator[tuple[str, str, str]]:
        """(column, rule, what it matches) for each match in a table."""
        header: tuple[str, ...] = ()
        for record in read_delimited(data).records:
            if not header and not record.is_blank:
                header = record.cells
            if is_readable(record, header):
                for column, cell in zip(header, record.cells, strict=True):
                    for rule, what in self.matches_in(column.strip(), cell.strip()):
                        yield column.strip(), rule, what
            else:
                for rule, what in chain(self.matches(record.raw), hidden_matches(header, record)):
                    yield f"line {record.line}", rule, what


def _whole_word(name: str) -> re.Pattern[str]:
    """What matches a name where no letter or digit stands beside it."""
    return re.compile(rf"(?<![^\W_]){re.escape(name)}(?![^\W_])", re.IGNORECASE)


def is_readable(record: Record, header: tuple[str, ...]) -> bool:
    """Whether the cells of a record stand under the columns of its table."""
    return not record.fault and len(record.cells) == len(header)


def column_matches(column: str, value: str) -> Iterator[tuple[str, str]]:
    """(rule, what it matches) for the rule that looks at a column or key of this name."""
    if value.strip() == column:  # the table's header
        return
    for rule, (names, harmless, what) in COLUMN_RULES.items():
        if column.lower() in names and not harmless.fullmatch(value.strip()):
            yield rule, what


def hidden_matches(header: tuple[str, ...], record: Record) -> Iterator[tuple[str, str]]:
    """(rule, what it may match) for a record that can't be read under private columns."""
    if record.is_blank or record.raw.strip() == REMOVED_LINE:
        return
    for column in header:
        for rule, (names, _, what) in COLUMN_RULES.items():
            if column.strip().lower() in names:
                yield rule, f"what can't be read and may be {what}"


def scan(paths: DataSetPaths, scanner: Scanner) -> list[Finding]:
    """Findings of all files that would be published.

    Sorted, errors first. Tables are left out, and what publishing writes itself.
    """
    findings: set[Finding] = set()
    for name in published_files(paths.root):
        if name not in WRITTEN_HERE and not name.endswith(BINARY):
            findings |= scanner.file(paths.root / name, name)
    return sorted(findings)


def names_here(harmless: set[str]) -> tuple[str, ...]:
    """Login and host name of this machine, sorted, without names that are common or too short.

    `harmless`: further names to leave out, since folders of the data set are called so.
    """
    try:
        login = getpass.getuser()
    except (KeyError, OSError):
        login = ""
    host = socket.gethostname()
    left_out = COMMON_NAMES | {name.lower() for name in harmless}
    # a host is named with its domain in some files and without it in others
    candidates = {login, host, host.partition(".")[0]}
    telling = [name for name in candidates if name.lower() not in left_out]
    return tuple(sorted(name for name in telling if len(name) >= SHORTEST_NAME))


def _decoded(data: bytes) -> str:
    """The text of a file in UTF-8, or in UTF-16, which editors on Windows write."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", "replace")
    return data.decode("utf-8", "replace")


def _parts(path: Path, content: str) -> Iterator[tuple[str, str, bool]]:
    """The texts of a file, each as (place, text, whether a model wrote it).

    JSON is split into its values, any other file into its lines.
    """
    if path.suffix in (".json", ".jsonl"):
        lines = [content] if path.suffix == ".json" else content.split("\n")
        return chain.from_iterable(map(_document, lines))
    by_model = path.suffix == ".html" or path.name.startswith("output")
    if path.name == "output.txt" and (path.parent / "trial.json").exists():
        return iter(())  # the same texts as in trial.json, which is scanned and has its hash
    return (("", text, by_model) for text in content.splitlines())


def _document(text: str) -> Iterator[tuple[str, str, bool]]:
    """The texts of a JSON document; the whole as one text where it is no valid JSON."""
    if not text:
        return
    try:
        yield from _values(parsed(text, ""))
    except TooManyValuesError:
        raise
    except (ValueError, RecursionError):
        yield "", text, False


def _values(
    value: Any, key: str = "", *, by_model: bool = False
) -> Iterator[tuple[str, str, bool]]:
    """Every text in a JSON value, as (its key, text, whether a model wrote it)."""
    if isinstance(value, dict):
        for name, item in value.items():
            if name != "versions":  # a version such as 12.8.4.1 would match as an IP address
                text_of_execution = name in ("output_text", "text") and "status" in value
                yield from _values(item, name, by_model=by_model or text_of_execution)
            yield key, name, by_model
    elif isinstance(value, list):
        for item in value:
            yield from _values(item, key, by_model=by_model)
    elif isinstance(value, str) or key.lower() in COLUMN_RULES["coordinates"].names:
        yield key, f"{key}={value}", by_model  # with the key, so that "token": "..." matches
