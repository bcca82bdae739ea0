"""Flags, then the machine's profile, then general defaults.

Every reduction is told with the flag that lifts it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import UserError
from orchestrator.nouns import ANCHOR
from orchestrator.sweep.planning import make_plan
from orchestrator.sweep.prepare import prepare
from orchestrator.sweep.request import DEFAULT_SAMPLES, Request, Resolved, resolve_request
from orchestrator.sweep.staging import known_revisions
from tests.engine.fake_server import Behaviour, fake_server


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def resolve(gpus: tuple[str, ...] = (), **flags: Any) -> Resolved:
    return resolve_request(Request(**{"space": "lhs", **flags}), list(gpus))


def quantization_of(resolved: Resolved) -> str:
    """Of a sweep of one variant."""
    (variant,) = resolved.variants
    return variant.quantization.name


def test_without_a_gpu_the_profile_reduces_and_says_how_to_lift_it() -> None:
    resolved = resolve()
    axis = resolved.space.parameters.max_length
    assert (
        resolved.machine.name,
        resolved.models[0].label,
        resolved.samples,
        resolved.n_prompts,
    ) == ("cpu", "smollm2", 16, 1)
    assert (axis.low, axis.high) == (100, 130)
    notes = "\n".join(resolved.notes)
    assert notes.splitlines()[:3] == [
        "profile of machine cpu: samples 16 instead of 20 (--samples 20 lifts it)",
        "profile of machine cpu: prompts 1 of 10 per use case (--prompts 10 lifts it)",
        (
            "profile of machine cpu: max_length 100..130 instead of 100..10000 "
            "(--range max_length=100:10000 lifts it)"
        ),
    ]


@pytest.mark.parametrize(
    ("lift", "left"),
    [
        ({"samples": 30}, ("prompts", "max_length")),
        ({"prompts": 10}, ("samples", "max_length")),
        ({"ranges": ("max_length=100:10000",)}, ("samples", "prompts")),
        ({"ranges": ("top_k=50",)}, ("samples", "prompts", "max_length")),
    ],
    ids=str,
)
def test_each_flag_lifts_its_own_reduction_and_no_other(
    lift: dict[str, Any], left: tuple[str, ...]
) -> None:
    told = [note.split(": ")[1].split()[0] for note in resolve(**lift).notes if "lifts it" in note]
    assert told == list(left)


def own_space(text: str) -> str:
    whole = Path(resolve().space_file).read_text()
    Path("own.yaml").write_text(whole.replace("{type: int, low: 100, high: 10000}", text))
    return "own.yaml"


def test_a_space_inside_the_profile_is_not_reduced() -> None:
    resolved = resolve(space=own_space("{type: int, low: 105, high: 125}"))
    assert (
        resolved.space.parameters.max_length.low,
        resolved.space.parameters.max_length.high,
    ) == (105, 125)
    assert not any("max_length" in note for note in resolved.notes)


def test_a_space_that_overlaps_the_profile_is_cut() -> None:
    resolved = resolve(space=own_space("{type: int, low: 120, high: 1000}"))
    assert (
        resolved.space.parameters.max_length.low,
        resolved.space.parameters.max_length.high,
    ) == (120, 130)
    assert any(
        "max_length 120..130 instead of 120..1000 (--range max_length=120:1000 lifts" in note
        for note in resolved.notes
    )


def test_a_space_outside_the_profile_stays_and_that_is_told() -> None:
    resolved = resolve(space=own_space("{type: int, low: 500, high: 1000}"))
    assert (
        resolved.space.parameters.max_length.low,
        resolved.space.parameters.max_length.high,
    ) == (500, 1000)
    said = "max_length stays 500..1000, which lies outside the profile's 100..130"
    assert f"profile of machine cpu: {said}" in resolved.notes


def test_a_profile_with_fewer_configurations_is_told() -> None:
    Path("few.yaml").write_text("accelerator: cpu\nprofile: {samples: 13}\n")
    resolved = resolve(machine="few.yaml")
    assert resolved.samples == 13
    told = "profile of machine few: samples 13 instead of 20 (--samples 20 lifts it)"
    assert told in resolved.notes
    assert not any("samples" in note for note in resolve(machine="few.yaml", samples=13).notes)


def test_the_profile_of_an_own_machine() -> None:
    profile = (
        "{model: mistral, quantization: int8, samples: 30, prompts: 20, ranges: {top_k: [40, 60]}}"
    )
    Path("lab.yaml").write_text(
        f"accelerator: gpu\ncountry_iso_code: FRA\nparallel_trials: 3\nprofile: {profile}\n"
    )
    resolved = resolve(("NVIDIA L4",), machine="lab.yaml")
    assert (resolved.machine.name, resolved.machines["lab"]) == ("lab", resolved.machine)
    assert (
        resolved.models[0].label,
        quantization_of(resolved),
        resolved.samples,
        resolved.n_prompts,
    ) == (
        "mistral",
        "int8",
        30,
        None,
    )
    assert (
        resolved.parallel,
        resolve(("NVIDIA L4",), machine="lab.yaml", parallel=2).parallel,
    ) == (3, 2)
    assert [note for note in resolved.notes if "profile" in note] == [
        "profile of machine lab: top_k 40..60 instead of 0..100 (--range top_k=0:100 lifts it)"
    ], "more samples than usual and more prompts than there are reduce nothing"
    given = resolve(
        ("NVIDIA L4",),
        machine="lab.yaml",
        quantizations=("fp4",),
        models=("smollm2",),
        samples=3,
        country="ITA",
    )
    assert (quantization_of(given), given.models[0].label, given.samples) == ("fp4", "smollm2", 3)
    assert given.machine.country_iso_code == "ITA"


def test_flags_beat_the_profile() -> None:
    resolved = resolve(
        samples=20,
        prompts=10,
        ranges=("max_length=100:10000",),
        models=("mistral",),
        quantizations=("int8",),
    )
    assert (resolved.samples, resolved.n_prompts) == (20, 10)
    assert resolved.space.parameters.max_length.high == 10000
    assert (resolved.models[0].label, quantization_of(resolved)) == ("mistral", "int8")
    assert not [note for note in resolved.notes if "lifts it" in note]


def test_with_a_gpu_nothing_is_reduced() -> None:
    resolved = resolve(("NVIDIA L4",))
    assert (resolved.machine.name, resolved.models[0].label, resolved.samples) == (
        "gpu",
        "llama2",
        DEFAULT_SAMPLES,
    )
    assert resolved.n_prompts is None
    assert resolved.space.parameters.max_length.high == 10000
    assert quantization_of(resolved) == "nf4"


@pytest.mark.parametrize(
    ("gpu", "machine"),
    [
        ("NVIDIA GeForce GTX 1650 Ti", "pc"),
        ("NVIDIA A100-SXM-64GB", "leonardo"),
        ("Tesla T4", "gpu"),
    ],
)
def test_machines_are_known_by_their_gpu(gpu: str, machine: str) -> None:
    assert resolve((gpu,)).machine.name == machine


def test_country() -> None:
    assert any("no country is known" in note for note in resolve().notes)
    resolved = resolve(country="ITA")
    assert resolved.machine.country_iso_code == "ITA"
    assert resolved.machines["cpu"].country_iso_code == "ITA"
    assert not any("country" in note for note in resolved.notes)
    assert resolve(country="ita").machine.country_iso_code == "ITA", (
        "CodeCarbon takes another spelling for the world"
    )
    for code in ("IT", "XXX", "", "ITALY"):
        with pytest.raises(UserError, match=f"^--country: {code} is no ISO 3166-1"):
            resolve(country=code)


def test_a_gpu_machine_without_gpu_is_told() -> None:
    assert any(
        "runs on the CPU under that name" in note for note in resolve(machine="leonardo").notes
    )


def test_the_simulated_engine_has_folders_of_its_own() -> None:
    assert resolve(engines=("simulated",)).models[0].label == "simulated-smollm2"


def test_a_file_in_the_working_folder_wins(tmp_path: Path) -> None:
    text = Path(resolve().space_file).read_text().replace("high: 100}", "high: 50}")
    (tmp_path / "search_spaces").mkdir()
    (tmp_path / "search_spaces" / "lhs.yaml").write_text(text)
    resolved = resolve()
    assert resolved.space_file == tmp_path / "search_spaces" / "lhs.yaml"
    assert resolved.space.parameters.top_k.high == 50


def test_all_faults_are_told_at_once() -> None:
    flags = {
        "models": ("lama2", "mistrl"),
        "use_cases": ("dance",),
        "quantizations": ("nf5",),
        "samples": 0,
        "ranges": ("a=1",),
    }
    with pytest.raises(UserError) as raised:
        resolve(space="lsh", machine="cpuu", engines=("vllm",), parallel=0, **flags)
    assert [line.split(":")[0] for line in raised.value.lines] == [
        *(
            "clusters",
            "search_spaces",
            "--model",
            "--model",
            "prompts",
            "--range a=1",
            "--quantization",
        ),
        *("--engine", "--samples 0", "--parallel 0"),
    ]


def test_one_fault_of_the_machine_hides_no_other_and_invents_none() -> None:
    for flags, first in (({"machine": "cpuu"}, "clusters"), ({"country": "XXX"}, "--country")):
        with pytest.raises(UserError) as raised:
            resolve(**flags)
        assert [line.split(":")[0] for line in raised.value.lines] == [first]
        with pytest.raises(UserError) as raised:
            resolve(prompts=0, **flags)
        assert [line.split(":")[0] for line in raised.value.lines] == [first, "--prompts 0"]


RANGES = {
    "top_q=0:1": "there is no parameter 'top_q': did you mean top_p? "
    "Known: max_length, top_p, top_k, temperature",
    "": "there is no parameter '': Known: max_length, top_p, top_k, temperature",
    "top_p": "write it as top_p=low:high, within top_p=0:1",
    "max_length=:200": "write it as max_length=low:high, within max_length=100:10000",
    "top_k=1:2:3": "write it as top_k=low:high, within top_k=0:100",
}


@pytest.mark.parametrize("item", RANGES)
def test_ranges_that_are_none(item: str) -> None:
    with pytest.raises(UserError) as raised:
        resolve(ranges=(item,))
    assert raised.value.lines == (f"--range {item}: {RANGES[item]}",)


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ("max_length=50:200", "$.parameters.max_length: 50..200 leaves the domain 100..10000"),
        (
            "max_length=100.5:200",
            "$.parameters.max_length: an int parameter needs whole numbers, not 100.5 and 200",
        ),
        ("temperature=1:0.5", "$.parameters.temperature: low 1 is above high 0.5"),
        ("top_p=0:inf", "$.parameters.top_p.high: must be a finite number"),
    ],
)
def test_ranges_outside_the_domain(item: str, said: str) -> None:
    with pytest.raises(UserError) as raised:
        resolve(ranges=(item,))
    assert raised.value.lines == (f"--range: {said}",)


def test_a_range_of_one_value() -> None:
    axis = resolve(ranges=("top_k=50",)).space.parameters.top_k
    assert (axis.low, axis.high) == (50, 50)


def test_the_same_thing_twice_is_taken_once() -> None:
    resolved = resolve(models=("mistral", "mistral"), use_cases=("fantasyWorld", "fantasyWorld"))
    assert (len(resolved.models), len(resolved.use_cases)) == (1, 1)


def test_on_a_cluster_each_node_says_what_it_is() -> None:
    assert resolve().machine_fixed
    assert resolve(address="10.0.0.1:6379", machine="leonardo").machine_fixed
    assert not resolve(address="10.0.0.1:6379").machine_fixed


def test_two_of_the_same_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("name: fantasyWorld\nprompts: [Dance.]\n")
    with pytest.raises(UserError, match="share the folder name fantasyWorld"):
        resolve(use_cases=("fantasyWorld", "mine.yaml"))


@pytest.mark.parametrize("item", ["max_length=100:", "top_p=:1", "top_k=:"])
def test_a_range_with_an_empty_bound_is_refused(item: str) -> None:
    with pytest.raises(UserError, match="write it as"):
        resolve(ranges=(item,))


def test_a_million_configurations_are_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^--samples 1000000: more than 20,000 configurations"):
        resolve(samples=1_000_000)
    (tmp_path / "keen.yaml").write_text("accelerator: cpu\nprofile: {samples: 1000000}\n")
    with pytest.raises(
        UserError,
        match=r"^the machine profile's samples 1000000: more than 20,000 configurations",
    ):
        resolve(machine="keen.yaml")
    assert resolve(machine="keen.yaml", samples=20_000).samples == 20_000


def test_more_trials_than_can_be_planned() -> None:
    with pytest.raises(UserError) as raised:
        resolve(
            samples=20_000,
            repeats=4,
            use_cases=("fantasyWorld",),
            models=("smollm2", "llama2", "mistral"),
        )
    product = "20000 configurations x 3 models x 1 use cases x 4 repeats are 240,000 trials"
    assert raised.value.lines == (f"{product}, more than 200,000; split it into several sweeps",)
    with pytest.raises(UserError, match="split it into several sweeps"):
        resolve(space="optuna", repeats=10**30)


@pytest.mark.parametrize(
    "flags", [{"machine": ""}, {"quantizations": ("",)}, {"engines": ("",)}], ids=str
)
def test_an_empty_name_is_no_default(flags: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="there is no ''"):
        resolve(**flags)


def test_only_the_own_machine_is_read_without_a_cluster() -> None:
    assert set(resolve().machines) == {"cpu"}
    assert set(resolve(address="127.0.0.1:6379").machines) == {
        "colab",
        "cpu",
        "gpu",
        "lan",
        "leonardo",
        "pc",
    }


def test_a_broken_machine_file_stops_only_clusters(tmp_path: Path) -> None:
    (tmp_path / "clusters").mkdir()
    (tmp_path / "clusters" / "attic.yaml").write_text("accelerator: steam\n")
    assert resolve().machine.name == "cpu"
    with pytest.raises(UserError, match=r"attic.yaml:1:14: \$.accelerator"):
        resolve(address="127.0.0.1:6379")
    with pytest.raises(UserError, match=r"attic.yaml:1:14: \$.accelerator"):
        resolve(machine="attic")


@pytest.mark.parametrize(("kind", "flag"), [("clusters", "machine"), ("prompts", "use_cases")])
def test_a_file_says_no_other_name_than_its_own(tmp_path: Path, kind: str, flag: str) -> None:
    (tmp_path / kind).mkdir()
    content = (
        "name: other\naccelerator: cpu\n"
        if kind == "clusters"
        else "name: other\nprompts: [Write.]\n"
    )
    (tmp_path / kind / "mine.yaml").write_text(content)
    with pytest.raises(
        UserError, match=r"mine.yaml:1:7: \$.name: is 'other', but the file is found as mine"
    ):
        resolve(**{flag: "mine" if flag == "machine" else ("mine",)})


def test_a_country_in_a_file_is_checked_too(tmp_path: Path) -> None:
    (tmp_path / "clusters").mkdir()
    (tmp_path / "clusters" / "home.yaml").write_text("accelerator: cpu\ncountry_iso_code: XXX\n")
    with pytest.raises(
        UserError, match=r"home.yaml:2:19: \$.country_iso_code: XXX is no ISO 3166-1"
    ):
        resolve(machine="home")


def test_isolation_is_the_flag_s_else_the_machine_s(tmp_path: Path) -> None:
    assert resolve().isolation_of(None) == "gpu"
    assert resolve(isolation="host").isolation_of("cpu") == "host"
    (tmp_path / "clusters").mkdir()
    text = "name: lone\naccelerator: gpu\nisolation: host\n"
    (tmp_path / "clusters" / "lone.yaml").write_text(text)
    assert resolve(machine="lone").isolation_of(None) == "host"
    assert resolve(machine="lone", isolation="gpu").isolation_of("lone") == "gpu"
    for flags in ({"isolation": "host"}, {"machine": "lone"}):
        with pytest.raises(UserError, match="--parallel 2: with isolation host one trial at a"):
            resolve(parallel=2, **flags)


def test_isolation_changes_no_id() -> None:
    """It is how a trial ran, as its rows say, and not what is measured."""
    plans = [make_plan(resolve(isolation=given)) for given in (None, "gpu", "host")]
    assert len({plan.id for plan in plans}) == 1


@pytest.mark.parametrize("key", ["pue", "cpu_power_w", "ram_power_w", "carbon_intensity_g_per_kwh"])
@pytest.mark.parametrize("value", [".inf", ".nan", "'inf'", "1e999", "'1e999'"])
def test_a_machine_has_finite_numbers(tmp_path: Path, key: str, value: str) -> None:
    (tmp_path / "lab.yaml").write_text(f"accelerator: cpu\n{key}: {value}\n")
    with pytest.raises(UserError, match=rf"^lab\.yaml:2:\d+: \$\.{key}: must be "):
        resolve(machine="lab.yaml")


@pytest.mark.parametrize("key", ["model", "quantization"])
def test_a_name_as_long_as_a_file_is_cut(tmp_path: Path, key: str) -> None:
    (tmp_path / "lab.yaml").write_text(f"accelerator: cpu\nprofile: {{{key}: {'k' * 100_000}}}\n")
    with pytest.raises(UserError, match=f"^--{key}: there is no 'kkk") as raised:
        resolve(machine="lab.yaml")
    assert all(len(line) < 1000 for line in raised.value.lines)


# --- shards ---------------------------------------------------------------------------------------


def keys_of(shard: str | None, **flags: Any) -> set[tuple[Any, ...]]:
    """Trials that a machine runs."""
    resolved = resolve(**{"engines": ("simulated",), "shard": shard, **flags})
    plan = make_plan(resolved)
    revisions = known_revisions(resolved, plan)
    prepared = prepare(resolved, plan.with_revisions(revisions))
    return {
        (s.strategy, s.setup.model, s.setup.use_case, s.config_index, s.repeat)
        for s in prepared.parts[0].missing
    }


@pytest.mark.parametrize("n", [1, 2, 3, 11])
@pytest.mark.parametrize("space", ["sobol", "lhs"])
def test_shards_share_out_a_plan(n: int, space: str) -> None:
    flags: dict[str, Any] = {
        "space": space,
        "samples": 11,
        "repeats": 2,
        "models": ("smollm2", "llama2"),
    }
    parts = [keys_of(f"{i}/{n}", **flags) for i in range(1, n + 1)]
    assert set.union(*parts) == keys_of(None, **flags)
    assert sum(map(len, parts)) == len(keys_of(None, **flags)), "each trial once"
    for part in parts:
        of = [
            {key[3] for key in part if key[0] != ANCHOR and key[2] == use_case}
            for use_case in {key[2] for key in part}
        ]
        assert all(indices == of[0] for indices in of), "a configuration's use cases stay together"


def test_a_larger_design_leaves_a_shard_its_trials() -> None:
    assert keys_of("2/3", space="sobol", samples=5) < keys_of("2/3", space="sobol", samples=9)


@pytest.mark.parametrize(
    "text", ["", "2", "0/3", "4/3", "1/0", "-1/3", "1/3/2", "a/b", "1/1e9", "²/3", "1/99999999999"]
)
def test_a_shard_that_is_none(text: str) -> None:
    with pytest.raises(UserError, match=r"--shard .*: write it as I/N, e.g. 2/3"):
        resolve(shard=text)


def test_what_learns_has_nothing_to_share_out() -> None:
    with pytest.raises(
        UserError, match="--shard 1/2: optuna asks for its configurations as it goes"
    ):
        resolve(space="optuna", shard="1/2")


def test_an_empty_shard_is_refused() -> None:
    with pytest.raises(UserError, match="--shard 3/30: there are only 16 configurations"):
        resolve(shard="3/30")


@pytest.mark.parametrize(
    ("changes", "gpus", "message"),
    [
        (
            {"engines": ("simulated",)},
            ["A100"],
            "--cpu-offload: the simulated engine doesn.t have it",
        ),
        ({}, [], "--cpu-offload: this machine has no GPU"),
    ],
)
def test_offload_is_refused_where_it_means_nothing(
    changes: dict[str, Any], gpus: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        resolve_request(Request(space="lhs", engine_options={"cpu_offload": True}, **changes), gpus)


def test_offload_is_part_of_the_setup() -> None:
    resolved = resolve_request(
        Request(space="lhs", engine_options={"cpu_offload": True}, models=("smollm2",)),
        ["Tesla T4"],
    )
    options = [setup.engine_options for setup in make_plan(resolved).setups]
    assert options == [{"cpu_offload": True}] * len(resolved.use_cases)


@pytest.mark.parametrize(
    ("name", "meant"), [("4bit", "nf4"), ("4-bit", "nf4"), ("8bit", "int8"), ("bf16", "none")]
)
def test_a_quantization_by_its_bits_is_understood(name: str, meant: str) -> None:
    with pytest.raises(UserError, match=f"there is no '{name}': did you mean {meant}[?] Known: "):
        resolve(quantizations=(name,))


# --- a server -------------------------------------------------------------------------------------


@pytest.fixture
def server_url() -> Iterator[str]:
    """The address of a server that behaves as vLLM."""
    with fake_server(Behaviour("vllm")) as url:
        yield url


def served(url: str, **flags: Any) -> Resolved:
    """A request for a server's model."""
    return resolve(engines=("server",), engine_options={"server_url": url}, **flags)


def test_a_served_model_is_the_servers_own_and_so_is_its_quantization(server_url: str) -> None:
    resolved = served(server_url)
    [model] = resolved.models
    assert (model.label, model.ref, model.kind) == ("vllm-fake-model", "fake-model", "served")
    assert quantization_of(resolved) == "served", "whatever the machine's profile says"
    assert (resolved.is_served, resolved.needs_weights) == (True, False)
    plan = make_plan(resolved)
    assert known_revisions(resolved, plan) == {"vllm-fake-model": "served:vllm:fake-model"}


def test_on_another_port_it_is_the_same_sweep(server_url: str) -> None:
    with fake_server(Behaviour("vllm")) as other_url:
        assert make_plan(served(server_url)).id == make_plan(served(other_url)).id
    with fake_server(Behaviour("llama.cpp")) as another_kind:
        assert make_plan(served(server_url)).id != make_plan(served(another_kind)).id


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"quantizations": ("nf4",)}, "--quantization: the server has loaded its model already"),
        ({"dtypes": ("float16",)}, "--dtype: the server has loaded its model already"),
        ({"batch_sizes": (2,)}, "--batch-size: the server engine asks for one prompt at a time"),
        ({"engines": ("server", "transformers")}, "run server in a sweep of its own"),
        ({"parallel": 2}, "--parallel 2: the server is asked for one text at a time"),
        ({"address": "127.0.0.1:1"}, "--address: a server is measured on its own host"),
        ({"models": ("other",)}, "--model: the server has no 'other': Known: fake-model"),
    ],
)
def test_what_is_the_servers_business_is_refused(
    server_url: str, flags: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError) as raised:
        resolve(**{"engines": ("server",), "engine_options": {"server_url": server_url}, **flags})
    assert said in str(raised.value)


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8000", "ftp://x/v1", "http://me:pw@x/v1", "http://x/v1?a=b", "http://x:y/v1"]
)
def test_an_address_is_one(url: str) -> None:
    with pytest.raises(UserError, match=r"--server-url .*: must be an address such as http://127"):
        served(url)


def test_other_engines_have_no_server() -> None:
    with pytest.raises(UserError, match="--server-url: the transformers engine doesn't have it"):
        resolve(engine_options={"server_url": "http://127.0.0.1:1/v1"})
