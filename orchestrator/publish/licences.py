"""Licences: of the measurements, as their author chooses, and of the texts, as the models' makers do."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.dataset.schema import TrialRecord
from orchestrator.models import KNOWN


@dataclass(frozen=True)
class Licence:
    """A licence for data."""

    name: str
    url: str
    hub: str
    """Its identifier on the Hugging Face Hub."""


LICENCES = {
    "CC-BY-4.0": Licence(
        "Creative Commons Attribution 4.0 International",
        "https://creativecommons.org/licenses/by/4.0/",
        "cc-by-4.0",
    ),
    "CC-BY-SA-4.0": Licence(
        "Creative Commons Attribution-ShareAlike 4.0 International",
        "https://creativecommons.org/licenses/by-sa/4.0/",
        "cc-by-sa-4.0",
    ),
    "CC0-1.0": Licence(
        "Creative Commons Zero 1.0 Universal",
        "https://creativecommons.org/publicdomain/zero/1.0/",
        "cc0-1.0",
    ),
    "ODbL-1.0": Licence(
        "Open Data Commons Open Database License 1.0",
        "https://opendatacommons.org/licenses/odbl/1-0/",
        "odbl",
    ),
}
"""By SPDX identifier."""

LLAMA2 = (
    "Llama 2 Community License (https://ai.meta.com/llama/license/). Llama 2 is licensed under the LLAMA 2 Community License, "
    "Copyright (c) Meta Platforms, Inc. All Rights Reserved. It forbids to use these texts to improve any other large language "
    "model (section 1.b.v), and its Acceptable Use Policy applies"
)
APACHE = "Apache-2.0 (https://www.apache.org/licenses/LICENSE-2.0); it claims nothing on what the model writes"
UNKNOWN = "not known to this program: read the model's own page, and say here what it asks before you publish its texts"


def licence_of_texts(record: TrialRecord) -> str:
    """What the maker of a trial's model asks of who uses its texts."""
    if record.columns.synthetic:
        return "none: no real model wrote these texts"
    return licence_by_name(record.spec.model_ref)


def licence_by_name(ref: str) -> str:
    """The same for a model as it was named: an alias of ours or a repository of the hub."""
    known = KNOWN.get(ref) or next(
        (model for model in KNOWN.values() if model.repo == ref.partition("@")[0]), None
    )
    return {"Llama 2 Community License": LLAMA2, "Apache-2.0": APACHE}.get(
        known.licence if known else "", UNKNOWN
    )
