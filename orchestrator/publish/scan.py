"""Scan a data set for what mustn't be published: tokens, keys, passwords, addresses, paths, names.

A match in a model's text is a warning, since models make up addresses and passwords. A match
anywhere else is an error. Findings name the rule, but never show what matched.
"""

from __future__ import annotations

import csv
import getpass
import io
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from orchestrator.dataset.checksums import published_files
from orchestrator.dataset.findings import Finding, Severity
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.reading import TooManyValuesError, parsed, reason_of
from orchestrator.outside_files import read_text

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
WRITTEN_HERE = ("README.md", "LICENSE.md", "CITATION.cff", "croissant.json")
"""Not scanned: publishing writes them anew, and an author's name and ORCID belong in them."""
BINARY = (".parquet",)
"""Not scanned: tables are made from files that are."""


@dataclass(frozen=True)
class Scanner:
    """The rules, with the names of a person and a host that mustn't be published."""

    names: tuple[str, ...] = ()
    accepted: frozenset[str] = frozenset()
    """Rules whose matches are only warnings."""

    def matches(self, text: str) -> Iterator[tuple[str, str]]:
        """(rule, what it matches) for each rule that matches a text."""
        for rule, (pattern, what) in RULES.items():
            if pattern.search(text):
                yield rule, what
        lowered = text.lower()
        for name in self.names:
            # the plain comparison spares the slow search, which asks for whole words
            if name.lower() in lowered and re.search(
                rf"(?<![^\W_]){re.escape(name)}(?![^\W_])", text, re.IGNORECASE
            ):
                yield "own_name", "the login or host name of this machine"

    def file(self, path: Path, where: str) -> set[Finding]:
        """Findings of one file; `where`: its path in the data set.

        Each finding occurs once, however often its rule matches. A file that can't be read is an
        error.
        """
        try:
            content = read_text(path, errors="replace")
        except (OSError, ValueError) as error:
            return {Finding("error", where, f"can't be scanned: {reason_of(error)}")}
        findings = set()
        try:
            parts = list(_parts(path, content))
        except TooManyValuesError as error:
            return {Finding("error", where, f"can't be scanned: {reason_of(error)}")}
        for place, text, by_model in parts:
            for rule, what in self.matches(text):
                severity: Severity = "error"
                # a model makes up addresses and passwords, and the user may know a match to be
                # harmless
                if by_model or rule in self.accepted:
                    severity = "warning"
                message = f"holds {what} ({rule})"
                if place:
                    message = f"{place}: {message}"
                findings.add(Finding(severity, where, message))
        return findings


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


def _parts(path: Path, content: str) -> Iterator[tuple[str, str, bool]]:
    """The texts of a file, each as (place, text, whether a model wrote it).

    JSON is split into its values, a table into its cells, any other file into its lines.
    """
    if path.suffix in (".json", ".jsonl"):
        lines = [content] if path.suffix == ".json" else content.split("\n")
        return chain.from_iterable(map(_document, lines))
    by_model = path.suffix == ".html" or path.name.startswith("output")
    texts = content.splitlines()
    if (path.parent / "trial.json").exists():
        if path.name == "output.txt":
            return iter(())  # the same texts as in trial.json, which is scanned and has its hash
        if path.suffix == ".csv":
            texts = list(chain.from_iterable(csv.reader(io.StringIO(content, newline=""))))
    return (("", text, by_model) for text in texts)


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
    elif isinstance(value, str):
        yield key, f"{key}={value}", by_model  # with the key, so that "token": "..." matches
