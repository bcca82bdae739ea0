"""The files that ship: spaces, prompts, machines."""

from __future__ import annotations

import hashlib
import itertools
import re

import pytest

from orchestrator.models import KNOWN
from orchestrator.nouns import DOMAIN, PARAMETERS, QUANTIZATIONS, Machine, Space, UseCase
from orchestrator.report.effects import LEAST_AT_EQUAL_LENGTH
from orchestrator.samplers import SAMPLERS, sampler_of
from orchestrator.sweep.request import DEFAULT_SAMPLES
from orchestrator.yaml_files import names, packaged_folder, read

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
            assert (space.parameters[parameter].low, space.parameters[parameter].high) == DOMAIN[
                parameter
            ]


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


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("creativeStorytelling", "Tell a short story about "),
        ("danceCoreography", "Create a choreography for a "),
    ],
)
def test_the_other_use_cases_have_ten_subjects(name: str, start: str) -> None:
    prompts = read("prompts", name, UseCase)[0].prompts
    assert all(prompt.startswith(start) for prompt in prompts)
    words = [set(re.findall("[a-z-]{4,}", prompt.lower())) for prompt in prompts]
    frame = set.intersection(*words)
    for first, second in itertools.combinations([own - frame for own in words], 2):
        assert len(first & second) / len(first | second) < 0.25, (
            first & second,
            "two prompts on the same subject",
        )


def test_no_prompt_stands_twice_among_use_cases() -> None:
    prompts = [
        prompt for name in names("prompts") for prompt in read("prompts", name, UseCase)[0].prompts
    ]
    assert len(set(prompts)) == 30
    assert all(prompt == " ".join(prompt.split()) and prompt.isascii() for prompt in prompts)


@pytest.mark.parametrize("kind", ["search_spaces", "prompts", "clusters"])
def test_every_shipped_file_is_one_that_is_read(kind: str) -> None:
    beside = ["colab.ipynb", "grafana", "prometheus.yml", "Dockerfile", "apptainer.def"]
    others = beside if kind == "clusters" else []
    assert sorted(path.name for path in packaged_folder(kind).iterdir()) == sorted(
        [*others, *(f"{name}.yaml" for name in names(kind))]
    )


def test_machines() -> None:
    machines = {name: read("clusters", name, Machine)[0] for name in names("clusters")}
    assert set(machines) == {"cpu", "gpu", "pc", "colab", "lan", "leonardo"}
    assert all(machine.name == name for name, machine in machines.items())
    assert {
        name: machine.accelerator
        for name, machine in machines.items()
        if machine.accelerator == "cpu"
    } == {"cpu": "cpu"}
    assert {name for name, machine in machines.items() if machine.country_iso_code == "ITA"} == {
        "pc",
        "leonardo",
    }
    for name, machine in machines.items():
        profile = machine.profile
        assert profile.model is None or profile.model in KNOWN, name
        assert profile.quantization is None or profile.quantization in QUANTIZATIONS, name


def test_only_the_machine_without_a_gpu_reduces_what_is_run() -> None:
    for name in names("clusters"):
        profile = read("clusters", name, Machine)[0].profile
        if name == "cpu":
            expected = ("smollm2", 16, 1, {"max_length": (100.0, 130.0)})
            assert (profile.model, profile.samples, profile.prompts, profile.ranges) == expected
        else:
            assert (profile.samples, profile.prompts, profile.ranges) == (None, None, {}), name


def test_the_bare_command_has_configurations_enough_for_each_finding() -> None:
    for name in names("clusters"):
        samples = read("clusters", name, Machine)[0].profile.samples or DEFAULT_SAMPLES
        assert samples >= LEAST_AT_EQUAL_LENGTH, name
