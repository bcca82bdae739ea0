"""croissant.json: tables and columns of a data set in the Croissant format 1.0.

The format is specified at docs.mlcommons.org/croissant.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from orchestrator.dataset.parquet import read_schema
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.reading import file_sha256
from orchestrator.publish.authors import Author
from orchestrator.publish.card import bibtex
from orchestrator.publish.card_figures import TABLES, Content
from orchestrator.publish.publication import Publication

if TYPE_CHECKING:
    import pyarrow as pa

CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The JSON-LD context of the specification, unchanged."""
ANONYMOUS = {"@type": "sc:Person", "name": "anonymous"}
"""The creator where no author is named, as in CITATION.cff: Croissant asks for one."""
TYPES = {
    "string": "sc:Text",
    "int64": "sc:Integer",
    "double": "sc:Float",
    "bool": "sc:Boolean",
    "timestamp[ms, tz=UTC]": "sc:DateTime",
}
"""Arrow's type of a column -> Croissant's."""


def croissant(paths: DataSetPaths, publication: Publication, content: Content) -> str:
    """The whole file, for the tables that the data set has.

    Croissant 1.0, as JSON. The tables must have been written: their hashes and schemas are read.
    """
    described: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": publication.title,
        "description": "Energy of LLM inference over the generation hyperparameters max_length, "
        f"top_p, top_k and temperature: {content.executions} executions of {content.trials} "
        "trials, with their texts.",
        "license": publication.licence.url,
        "citeAs": bibtex(publication, content),
        "creator": [_person(author) for author in publication.authors] or [ANONYMOUS],
        "url": publication.url or "",
        "datePublished": content.date,
        "version": publication.version(content),
        "keywords": ["energy", "large language models", "inference", "hyperparameters"],
        "inLanguage": sorted(content.languages),
        "isLiveDataset": False,
        "distribution": [_file(paths, name) for name in content.tables],
        "recordSet": [
            _record_set(name, read_schema(paths.root / f"{name}.parquet"))
            for name in content.tables
        ],
    }
    filled = {key: value for key, value in described.items() if value not in ([], "")}
    return json.dumps(filled, indent=1, ensure_ascii=False) + "\n"


def _person(author: Author) -> dict[str, Any]:
    """An author as schema.org describes one."""
    person = {"@type": "sc:Person", "name": author.name}
    if author.orcid:
        person["url"] = author.orcid
    return person


def _file(paths: DataSetPaths, table: str) -> dict[str, Any]:
    """A table's file, with its size and hash."""
    path = paths.root / f"{table}.parquet"
    return {
        "@type": "cr:FileObject",
        "@id": path.name,
        "name": path.name,
        "description": TABLES[table],
        "contentUrl": path.name,
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": "application/x-parquet",
        "sha256": file_sha256(path),
    }


def _record_set(table: str, schema: pa.Schema) -> dict[str, Any]:
    """A table's rows: its key and its columns."""
    record_set: dict[str, Any] = {
        "@type": "cr:RecordSet",
        "@id": table,
        "name": table,
        "description": TABLES[table],
    }
    if "execution" in schema.names:
        record_set["key"] = {"@id": f"{table}/execution"}
    record_set["field"] = [_field(table, schema.field(name)) for name in schema.names]
    return record_set


def _field(table: str, column: pa.Field) -> dict[str, Any]:
    """A column, described by what the table's own metadata says of it."""
    import pyarrow as pa

    about = {name.decode(): text.decode() for name, text in (column.metadata or {}).items()}
    description = about.get("meaning", "")
    if about.get("unit"):
        description += f" [{about['unit']}]"
    if about.get("null", "never") != "never":
        description += f"; null: {about['null']}"
    described: dict[str, Any] = {
        "@type": "cr:Field",
        "@id": f"{table}/{column.name}",
        "name": column.name,
        "description": description,
    }
    if pa.types.is_list(column.type):
        described |= {"dataType": TYPES[str(column.type.value_type)], "repeated": True}
    else:
        described["dataType"] = TYPES[str(column.type)]
    described["source"] = {
        "fileObject": {"@id": f"{table}.parquet"},
        "extract": {"column": column.name},
    }
    return described
