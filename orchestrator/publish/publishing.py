"""Write the files that a published data set needs: card, metadata, citation, licence, checksums.

Measured data are never touched. Publishing again without new data gives the same bytes: the only
date in the files is that of the newest measurement.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.atomic_files import write_atomically
from orchestrator.dataset.checksums import checksum_lines, read_checksums, write_checksums
from orchestrator.dataset.dictionary import data_dictionary
from orchestrator.dataset.paths import PLACEHOLDER, DataSetPaths
from orchestrator.dataset.reading import bytes_sha256, file_sha256
from orchestrator.dataset.tables import Trials
from orchestrator.errors import UserError
from orchestrator.outside_files import read_bytes
from orchestrator.publish.card import card
from orchestrator.publish.card_figures import Content, content_of
from orchestrator.publish.conclusions import Conclusions
from orchestrator.publish.croissant import croissant
from orchestrator.publish.publication import Publication


def publish(
    paths: DataSetPaths,
    trials: Trials,
    publication: Publication,
    conclusions: Conclusions,
    *,
    check: bool = False,
) -> list[Path]:
    """Write the files and return their paths; with `check` write nothing.

    `trials`: those of the data set, in which `validate` has found no error. `conclusions`: what the
    report concludes from them. Raises UserError where
    there are no measurements or a person has edited one of the files, and OSError where a file
    can't be written.
    """
    content = content_of(paths, trials)
    if not content.executions and not content.imported:
        raise UserError(f"--out {paths.root}: holds no measurements; run `orchestrator tune` first")
    texts = {
        paths.readme: card(publication, content, conclusions),
        paths.dictionary: dictionary(),
        paths.croissant: croissant(paths, publication, content),
        paths.citation: citation(publication, content),
        paths.licence: licence(publication, content),
    }
    files = {path: text.encode() for path, text in texts.items()}
    if conclusions.chart:
        files[paths.chart] = conclusions.chart.png
    _check_unedited(paths, files)
    if not check:
        _write(paths, files)
    return [*files, paths.checksums]


def _write(paths: DataSetPaths, files: dict[Path, bytes]) -> None:
    """Write the files and the checksums of everything. Raises OSError.

    Between the two the checksums don't fit. So the hashes of what is about to be written stand in a
    hidden file meanwhile: whoever goes on after an interruption knows what this program wrote.
    """
    hashes = {path.name: bytes_sha256(data) for path, data in files.items()}
    write_atomically(paths.publishing, checksum_lines(hashes))
    for path, data in files.items():
        write_atomically(path, data)
    write_checksums(paths)
    paths.publishing.unlink()


def _check_unedited(paths: DataSetPaths, files: dict[Path, bytes]) -> None:
    """Raise UserError for a file that this program didn't write or that was edited since."""
    known = [_hashes(paths.checksums), _hashes(paths.publishing)]
    for path, data in files.items():
        if not path.exists():
            continue
        sha256 = file_sha256(path)
        if any(hashes.get(path.name) == sha256 for hashes in known):
            continue
        present = read_bytes(path)
        # a file that holds just this loses nothing
        if present != data and not present.startswith(PLACEHOLDER.encode()):
            raise UserError(
                f"{path}: was written or edited by hand; remove it, "
                "or rename it (for example to NOTES.md, which is published too)"
            )


def _hashes(checksums: Path) -> dict[str, str]:
    """File -> hash, as a file of checksums says; empty where it says none that can be read."""
    try:
        return read_checksums(checksums)
    except ValueError:
        return {}


def dictionary() -> str:
    """The text of data-dictionary.md."""
    return f"# Data dictionary\n{data_dictionary()}"


def citation(publication: Publication, content: Content) -> str:
    """The text of CITATION.cff, in version 1.2.0 of its format."""
    # not by ruamel.yaml, which reads our files: it writes YAML 1.2, in which a family name No needs
    # no quotes, and those who read citations know it as a boolean of YAML 1.1
    from huggingface_hub.utils import yaml_dump

    persons = [_person(author.model_dump()) for author in publication.authors]
    fields = {
        "cff-version": "1.2.0",
        "message": "If you use this data set, please cite it as below.",
        "type": "dataset",
        "title": publication.title,
        "authors": persons or [{"name": "anonymous"}],
        "version": publication.version(content),
        "date-released": content.date,
        "license": publication.spdx,
        **({"url": publication.url} if publication.url else {}),
        "keywords": ["energy", "large language models", "inference", "hyperparameters"],
    }
    return str(yaml_dump(fields, sort_keys=False))


def _person(author: dict[str, Any]) -> dict[str, str]:
    """An author as CITATION.cff has one; unknown parts are left out."""
    names = {
        "given-names": author["given"],
        "family-names": author["family"],
        "orcid": author["orcid"],
    }
    return {name: value for name, value in names.items() if value}


def licence(publication: Publication, content: Content) -> str:
    """The text of LICENSE.md."""
    texts = "\n".join(f"- {model}: {terms}." for model, terms in sorted(content.licences.items()))
    return f"""# Licence
The measurements of this data set, its metadata and prompts: {publication.licence.name}
({publication.spdx}), {publication.licence.url}

For the generated texts (column `output_text`, files output.txt) the terms of the models' makers
apply too:
{texts or "- there are none."}
"""
