"""Licences: of the measurements, which their author chooses, and of the texts, by their model."""

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
    """Identifier on the Hugging Face Hub."""


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
"""Licences of the measurements by SPDX identifier."""

TERMS = {
    "Llama 2 Community License": "Llama 2 Community License (https://ai.meta.com/llama/license/). "
    "Llama 2 is licensed under the LLAMA 2 Community License, Copyright (c) Meta Platforms, Inc. "
    "All Rights Reserved. It forbids using these texts to improve any other large language model "
    "(section 1.b.v), and its Acceptable Use Policy applies",
    "Apache-2.0": "Apache-2.0 (https://www.apache.org/licenses/LICENSE-2.0); it makes no claim on "
    "what the model writes",
}
"""Licence of a model -> what it says about texts that the model writes."""
UNKNOWN = (
    "not known to this program: read the model's own page, and write its terms here before you "
    "publish its texts"
)


def licence_of_texts(record: TrialRecord) -> str:
    """Terms under which the texts of a trial may be used, as its model's maker sets them."""
    if record.columns.synthetic:
        return "none: no real model wrote these texts"
    return licence_by_name(record.spec.model_ref)


def licence_by_name(ref: str) -> str:
    """Terms for the texts of a model, named by its known name or its repository on the hub."""
    named = ref.partition("@")[0]
    for name, model in KNOWN.items():
        if named in (name, model.repo):
            return TERMS.get(model.licence, UNKNOWN)
    return UNKNOWN
