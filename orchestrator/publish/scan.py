"""Look for what mustn't be published: tokens, keys, passwords, addresses, paths and names that tell who and where.

In what a model wrote a find is a warning: it makes up addresses and passwords. Anywhere else it is an error. A find is named,
never shown.
"""

from __future__ import annotations

import csv
import getpass
import io
import json
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.dataset.checksums import published_files
from orchestrator.dataset.findings import Finding, Severity
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.reading import reason_of

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
            r"\b(?:password|passwd|secret|token|api_?key|(?:access|auth|secret)_(?:token|key))\b[\"']?[ \t]{0,4}[=:][ \t]{0,4}"
            r"[\"']?[^\s\"',;]{6,}",
            re.IGNORECASE,
        ),
        "a password or token",
    ),
    # the part of RFC 5322 that people use
    "e_mail": (
        re.compile(
            r"\b[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,4}\.[A-Za-z]{2,24}\b"
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
            r"(?<![\w.-])(?!127\.|0\.0\.0\.0)(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?![\w.-])"
        ),
        "an IP address",
    ),
}
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
"""Login and host names that tell nothing about anybody."""
SHORTEST_NAME = 3
WRITTEN_BY_US = ("README.md", "LICENSE.md", "CITATION.cff", "croissant.json")
"""Made anew with what the user gives for it: an author's name and ORCID are meant to be there."""
BINARY = (".parquet",)
"""Derived from the files that are read."""


@dataclass(frozen=True)
class Scanner:
    """The rules and the names of a person and a host that mustn't be found."""

    names: tuple[str, ...] = ()
    accepted: frozenset[str] = frozenset()
    """Rules whose finds are only warnings."""

    def finds(self, text: str) -> Iterator[tuple[str, str]]:
        """(rule, what was found) for each rule that a text breaks."""
        for rule, (pattern, what) in RULES.items():
            if pattern.search(text):
                yield rule, what
        lowered = text.lower()
        for name in self.names:
            if name.lower() in lowered and re.search(
                rf"(?<![^\W_]){re.escape(name)}(?![^\W_])", text, re.IGNORECASE
            ):
                yield "own_name", "the login or host name of this machine"

    def file(self, path: Path, where: str) -> set[Finding]:
        """Findings of one file."""
        try:
            content = path.read_bytes().decode("utf-8", "replace")
        except OSError as error:
            return {Finding("error", where, f"can't be scanned: {reason_of(error)}")}
        found = set()
        for place, text, by_model in _parts(path, content):
            for rule, what in self.finds(text):
                severity: Severity = "warning" if by_model or rule in self.accepted else "error"
                at = f"{place}: " if place else ""
                found.add(Finding(severity, where, f"{at}holds {what} ({rule})"))
        return found


def scan(paths: DataSetPaths, scanner: Scanner) -> list[Finding]:
    """Findings of every file that would be published."""
    found: set[Finding] = set()
    for name in published_files(paths.root):
        if name not in WRITTEN_BY_US and not name.endswith(BINARY):
            found |= scanner.file(paths.root / name, name)
    return sorted(found)


def names_here(known: set[str]) -> tuple[str, ...]:
    """Login and host name of this machine, where they tell something; `known`: words that the data set's folders consist of."""
    try:
        login = getpass.getuser()
    except (KeyError, OSError):
        login = ""
    host = socket.gethostname()
    return tuple(
        sorted(
            name
            for name in {login, host, host.partition(".")[0]}
            if len(name) >= SHORTEST_NAME
            and name.lower() not in COMMON_NAMES | {word.lower() for word in known}
        )
    )


def _parts(path: Path, content: str) -> Iterator[tuple[str, str, bool]]:
    """(place, text, whether a model wrote it) of a file: JSON by its values, tables by their cells, the rest by lines."""
    if path.suffix in (".json", ".jsonl"):
        documents = content.split("\n") if path.suffix == ".jsonl" else [content]
        for document in filter(None, documents):
            try:
                yield from _values(json.loads(document))
            except (ValueError, RecursionError):
                yield "", document, False
    elif path.name == "output.txt" and (path.parent / "trial.json").exists():
        return  # made from trial.json, whose hash it has there
    elif path.suffix == ".csv" and (path.parent / "trial.json").exists():
        for cells in csv.reader(io.StringIO(content, newline="")):
            yield from (("", cell, False) for cell in cells)
    else:
        by_model = path.suffix == ".html" or path.name.startswith("output")
        yield from (("", line, by_model) for line in content.splitlines())


def _values(
    value: Any, key: str = "", *, by_model: bool = False
) -> Iterator[tuple[str, str, bool]]:
    """Every text in a JSON value with its key."""
    if isinstance(value, dict):
        for name, item in value.items():
            if name != "versions":  # 12.8.4.1 is no address
                yield from _values(
                    item, name, by_model=by_model or (name == "text" and "status" in value)
                )
            yield key, name, by_model
    elif isinstance(value, list):
        for item in value:
            yield from _values(item, key, by_model=by_model)
    elif isinstance(value, str):
        yield key, f"{key}={value}", by_model  # "token": "..." is one in JSON, too
