"""The files that ship: spaces, prompts, machines."""

from __future__ import annotations

import hashlib

import pytest

from orchestrator.nouns import DOMAIN, PARAMETERS, Machine, Space, UseCase
from orchestrator.reader import names, read
from orchestrator.samplers import SAMPLERS, sampler_of

FANTASY = (
    "19083483ef4e",
    "af62a31a9abc",
    "8e1b63ea3196",
    "42d56eeda1a7",
    "dc4767d97c25",
    "d41b8bdbd9b6",
    "2a5aee3d396a",
    "5cfb0e809cb1",
    "43dd561deff7",
    "38d56e7553ac",
)
"""Start of the SHA-256 of the report's ten prompts, section 3.1."""


def test_every_sampler_has_a_space_over_the_reports_domain() -> None:
    assert set(names("search_spaces")) == set(SAMPLERS)
    for name in SAMPLERS:
        space, path = read("search_spaces", name, Space)
        assert space.sampler == name
        sampler_of(space, str(path))
        for parameter in PARAMETERS:
            assert (space.parameters[parameter].low, space.parameters[parameter].high) == DOMAIN[parameter]


def test_three_use_cases_of_ten() -> None:
    assert names("prompts") == ["creativeStorytelling", "danceCoreography", "fantasyWorld"]
    for name in names("prompts"):
        use_case, _ = read("prompts", name, UseCase)
        assert (use_case.name, len(use_case.prompts)) == (name, 10)


def test_fantasy_world_is_the_reports_word_for_word() -> None:
    prompts = read("prompts", "fantasyWorld", UseCase)[0].prompts
    assert tuple(hashlib.sha256(prompt.encode()).hexdigest()[:12] for prompt in prompts) == FANTASY


@pytest.mark.parametrize("name", ["creativeStorytelling", "danceCoreography"])
def test_the_other_use_cases_give_a_similar_amount_of_direction(name: str) -> None:
    counts = [len(prompt.split()) for prompt in read("prompts", name, UseCase)[0].prompts]
    assert max(counts) <= 1.15 * min(counts)


def test_machines() -> None:
    machines = {name: read("clusters", name, Machine)[0] for name in names("clusters")}
    assert set(machines) == {"cpu", "gpu", "pc", "colab", "leonardo"}
    assert all(machine.name == name for name, machine in machines.items())
    assert machines["leonardo"].country_iso_code == "ITA"
