"""Check what the Hugging Face Hub and its viewer can't take or show.

No measurement is at fault for it, so all findings are warnings. The limits are those of the Hub's
pages on data files, on the viewer and on repositories (docs/publish.md names them); the Hub itself
is not asked.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from orchestrator.dataset.checksums import published_files
from orchestrator.dataset.findings import Finding
from orchestrator.dataset.parquet import (
    largest_row_group_bytes,
    read_schema,
    row_count,
    table_version,
)
from orchestrator.dataset.paths import PLACEHOLDER, DataSetPaths
from orchestrator.dataset.reading import first_fault, reason_of
from orchestrator.dataset.schema import SCHEMA_VERSION
from orchestrator.outside_files import read_text
from orchestrator.strict_yaml import strict_yaml

if TYPE_CHECKING:
    import pyarrow as pa

ROW_GROUP_BYTES = 300_000_000
"""The viewer reads no larger part of a table at once."""
FILE_BYTES = 50_000_000_000
FOLDER_ENTRIES, REPOSITORY_FILES = 10_000, 100_000
"""The Hub takes no larger files, and asks for fewer entries and files."""
NAME_BYTES = 255
"""No file system of a reader holds longer names."""
BAD_IN_NAMES = re.compile(r'[<>:"\\|?*\x00-\x1f\x7f]|[. ]$')
"""What a file's name can't have on Windows, and `datasets` refuses in a configuration's."""
_HEAD = re.compile(r"---[ \t]*\r?\n(.*?\n)---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
"""A card's metadata: YAML between two lines of ---."""
_PICTURE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)\)")
Texts = str | list[str] | None


class _Split(BaseModel):
    """The files of one part of a configuration."""

    model_config = ConfigDict(extra="forbid")

    split: str = Field(pattern=r"^\w+(?:\.\w+)*$")
    path: str | list[str]


class _Configuration(BaseModel):
    """An entry of `configs`: what the viewer shows as one table."""

    config_name: str
    data_files: str | list[str] | list[_Split] | None = None
    default: bool = False

    def patterns(self) -> Iterator[str]:
        """Names of files, or patterns of such."""
        given = self.data_files or []
        for one in [given] if isinstance(given, str) else given:
            if isinstance(one, str):
                yield one
            else:
                yield from [one.path] if isinstance(one.path, str) else one.path


class _Metadata(BaseModel):
    """What the Hub and `datasets` read of a card's metadata; other keys are free."""

    configs: list[_Configuration] = []
    license: Texts = None
    language: Texts = None
    pretty_name: str | None = None
    size_categories: Texts = None
    task_categories: Texts = None
    tags: list[str] | None = None


def hub_findings(paths: DataSetPaths) -> Iterator[Finding]:
    """What of a data set the Hub would refuse, and its viewer not show. Raises UserError."""
    names = published_files(paths.root)
    yield from _name_findings(names)
    yield from _size_findings(paths, names)
    tables = {name for name in names if name.endswith(".parquet") and "/" not in name}
    metadata = _Metadata()
    if paths.readme.name in names:
        faults, metadata = _card(paths, names)
        yield from (Finding("warning", paths.readme.name, what) for what in faults)
    for configuration in metadata.configs:
        tables.update(_tables_of(configuration, names))
    for name in sorted(tables):
        yield from _table_findings(paths, name)


def _name_findings(names: Iterable[str]) -> Iterator[Finding]:
    """Names that some readers' systems, or the Hub, can't hold."""
    first: dict[str, str] = {}
    for name in names:
        for part in PurePosixPath(name).parts:
            if BAD_IN_NAMES.search(part) or not part.isprintable():
                what = f"the name {part!r} can't be stored on Windows; rename it"
                yield Finding("warning", name, what)
            elif len(part.encode(errors="surrogateescape")) > NAME_BYTES:
                yield Finding("warning", name, f"a name of more than {NAME_BYTES} bytes")
        other = first.setdefault(name.casefold(), name)
        if other != name:
            what = f"differs from {other} by the case of letters only; Windows and macOS keep one"
            yield Finding("warning", name, what)


def _size_findings(paths: DataSetPaths, names: Sequence[str]) -> Iterator[Finding]:
    """Files that are too large, and folders of too many."""
    for name in names:
        n_bytes = (paths.root / name).stat().st_size
        if n_bytes > FILE_BYTES:
            what = f"has {n_bytes / 1e9:.0f} GB; the Hub takes files of up to 50 GB"
            yield Finding("warning", name, what)
    advice = "; upload the tables and a zip of the trials' folders"
    if len(names) > REPOSITORY_FILES:
        what = f"{len(names):,} files; the Hub asks for fewer than {REPOSITORY_FILES:,}{advice}"
        yield Finding("warning", "files", what)
    entries: dict[PurePosixPath, set[str]] = defaultdict(set)
    for name in names:
        path = PurePosixPath(name)
        for inner, folder in zip((path, *path.parents), path.parents, strict=False):
            entries[folder].add(inner.name)
    for folder, inside in entries.items():
        if len(inside) > FOLDER_ENTRIES:
            what = f"{len(inside):,} entries; the Hub asks for fewer than {FOLDER_ENTRIES:,}"
            yield Finding("warning", str(folder), f"{what}{advice}")


def _card(paths: DataSetPaths, names: Sequence[str]) -> tuple[list[str], _Metadata]:
    """What is wrong with the data card, and its metadata as far as they can be read."""
    try:
        text = read_text(paths.readme, errors="replace")
    except (OSError, ValueError) as error:
        return [f"can't be read ({reason_of(error)})"], _Metadata()
    if text.startswith(PLACEHOLDER):
        return [], _Metadata()
    metadata = _metadata(text)
    if isinstance(metadata, str):
        return [metadata], _Metadata()
    faults = [
        f"shows the picture {target}, which isn't there"
        for target in _PICTURE.findall(text)
        if "://" not in target and target not in names
    ]
    faults += _configuration_faults(metadata.configs)
    for one in metadata.configs:
        faults += [
            f"configs: {one.config_name}: no file is called {pattern}"
            for pattern in one.patterns()
            if "://" not in pattern and not any(fnmatchcase(name, pattern) for name in names)
        ]
        faults += [
            f"configs: {one.config_name}: {what}"
            for what in _differences(paths, _tables_of(one, names))
        ]
    return faults, metadata


def _tables_of(configuration: _Configuration, names: Iterable[str]) -> list[str]:
    """The Parquet files that a configuration names."""
    patterns = list(configuration.patterns())
    return [
        name
        for name in names
        if name.endswith(".parquet") and any(fnmatchcase(name, pattern) for pattern in patterns)
    ]


def _metadata(text: str) -> _Metadata | str:
    """The metadata of a data card, or a sentence on why the Hub can't read them."""
    remedy = "remove the file, and `orchestrator publish` writes it anew"
    head = _HEAD.match(text)
    if head is None:
        return (
            "has no metadata (YAML between two lines of ---), so the Hub takes tables of different "
            f"columns for one; {remedy}"
        )
    try:
        return _Metadata.model_validate(strict_yaml().load(head[1]))
    except ValidationError as error:
        return f"its metadata: {first_fault(error)}; {remedy}"
    except MarkedYAMLError as error:
        # the first line of the file is ---
        line = f"line {error.problem_mark.line + 2}: " if error.problem_mark else ""
        return f"its metadata can't be read: {line}{error.problem}; {remedy}"
    except (YAMLError, ValueError, RecursionError) as error:
        return f"its metadata can't be read ({reason_of(error)}); {remedy}"


def _configuration_faults(configurations: Sequence[_Configuration]) -> Iterator[str]:
    """What is wrong with the configurations, apart from their files."""
    seen: set[str] = set()
    for one in configurations:
        if BAD_IN_NAMES.search(one.config_name) or "/" in one.config_name:
            yield f"configs: {one.config_name!r} can't be a name: it is one of a folder, too"
        if one.config_name in seen:
            yield f"configs: {one.config_name} is given twice"
        seen.add(one.config_name)
    if sum(one.default for one in configurations) > 1:
        yield "configs: more than one is the default"


def _differences(paths: DataSetPaths, files: Sequence[str]) -> Iterator[str]:
    """Columns that the tables of one configuration have with different types, or not at all."""
    schemas: dict[str, pa.Schema] = {}
    for name in files:
        try:
            schemas[name] = read_schema(paths.root / name)
        except (OSError, ValueError):
            continue  # that it can't be read is told of the table
    first = next(iter(schemas), "")
    for name, schema in schemas.items():
        wanted = {field.name: field.type for field in schemas[first]}
        found = {field.name: field.type for field in schema}
        for column in sorted(wanted.keys() | found.keys()):
            if wanted.get(column) != found.get(column):
                a, b = (kinds.get(column, "not at all") for kinds in (wanted, found))
                yield (
                    f"{column} is there as {a} in {first}, as {b} in {name}; the viewer wants the "
                    "same columns and types in all files"
                )
                break


def _table_findings(paths: DataSetPaths, name: str) -> Iterator[Finding]:
    """What of a table the viewer can't show, or tools for tables can't hold."""
    path = paths.root / name
    try:
        schema, n_rows, n_bytes = read_schema(path), row_count(path), largest_row_group_bytes(path)
    except (OSError, ValueError) as error:
        yield Finding("warning", name, f"can't be read ({reason_of(error)}), so it isn't shown")
        return
    version = table_version(schema)
    if version is not None and version < SCHEMA_VERSION:
        return  # `summarize` and `publish` write it anew
    if n_bytes > ROW_GROUP_BYTES:
        what = f"a row group of {n_bytes / 1e6:.0f} MB; the viewer reads at most 300 MB at once"
        yield Finding("warning", name, f"{what}; write it with smaller ones")
    if not n_rows:
        yield Finding("warning", name, "has no rows, so the viewer shows an error")
    for what in _column_faults(schema):
        yield Finding("warning", name, what)


def _column_faults(schema: pa.Schema) -> Iterator[str]:
    """Columns whose cells or names some tool can't hold."""
    import pyarrow as pa

    first: dict[str, str] = {}
    for field in schema:
        if pa.types.is_nested(field.type):
            yield (
                f"{field.name}: holds {field.type}; the viewer's filters, SQL and CSV want one "
                "value in a cell"
            )
        elif pa.types.is_null(field.type):
            yield f"{field.name}: has no type, since all of its values are null"
        other = first.setdefault(field.name.casefold(), field.name)
        if other != field.name:
            yield f"{field.name}: is the same column as {other} to SQL, which the viewer uses"
