"""Write what a published data set needs: card, metadata, citation, licence, checksums.

Measured data are never touched. Twice the same gives the same bytes: the only date is that of the
newest measurement.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.dataset.checksums import read_checksums, write_checksums
from orchestrator.dataset.paths import DataSetPaths, write_atomically
from orchestrator.dataset.tables import Trials
from orchestrator.dataset.trial_files import file_sha256
from orchestrator.errors import UserError
from orchestrator.publish.card import card
from orchestrator.publish.card_figures import Content, content_of
from orchestrator.publish.croissant import croissant
from orchestrator.publish.publication import Publication

PLACEHOLDER = "Data sets go here "
"""How README.md of the repository's folder measurements/ begins."""


def publish(
    paths: DataSetPaths, trials: Trials, publication: Publication, *, check: bool = False
) -> list[Path]:
    """Write the files (not with `check`) and give their paths.

    `trials`: of a data set that was found sound. Raises UserError where a file of such a name is
    there that isn't as this program left it, OSError where one can't be written.
    """
    content = content_of(paths, trials)
    if not content.executions and not content.imported:
        raise UserError(f"--out {paths.root}: holds no measurements; there is nothing to publish")
    files = {
        paths.readme: card(publication, content),
        paths.croissant: croissant(paths, publication, content),
        paths.citation: citation(publication, content),
        paths.licence: licence(publication, content),
    }
    _check_unedited(paths, files)
    if not check:
        for path, text in files.items():
            write_atomically(path, text.encode())
        write_checksums(paths)
    return [*files, paths.checksums]


def _check_unedited(paths: DataSetPaths, files: dict[Path, str]) -> None:
    """What somebody wrote or changed by hand isn't overwritten."""
    try:
        ours = read_checksums(paths)
    except ValueError:
        ours = {}
    for path, text in files.items():
        if not path.exists() or ours.get(path.name) == file_sha256(path):
            continue
        there = path.read_bytes()
        if there != text.encode() and not there.startswith(PLACEHOLDER.encode()):
            raise UserError(
                f"{path}: was written or changed by hand; "
                "rename it (NOTES.md, say, is published too) or remove it"
            )


def citation(publication: Publication, content: Content) -> str:
    """CITATION.cff, version 1.2.0."""
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
        "keywords": ["energy", "large language models", "inference", "hyperparameters"],
    }
    return str(yaml_dump(fields, sort_keys=False))


def _person(author: dict[str, Any]) -> dict[str, str]:
    names = {
        "given-names": author["given"],
        "family-names": author["family"],
        "orcid": author["orcid"],
    }
    return {name: value for name, value in names.items() if value}


def licence(publication: Publication, content: Content) -> str:
    """LICENSE.md."""
    texts = "\n".join(f"- {model}: {terms}." for model, terms in sorted(content.licences.items()))
    return f"""# Licence
The measurements of this data set, its metadata and prompts: {publication.licence.name}
({publication.spdx}), {publication.licence.url}

The generated texts (column `text`, files output.txt) also follow what the makers of the models ask:
{texts or "- there are none."}
"""
