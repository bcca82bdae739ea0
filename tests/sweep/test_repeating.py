"""Repeating a sweep from its plan: what stays the same, what may differ, what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.sweep_plan import PLAN_VERSION, SweepPlan, read_plan, write_plan
from orchestrator.errors import UserError
from orchestrator.nouns import digest, generation_seed
from orchestrator.say import silent
from orchestrator.sweep.planning import make_plan
from orchestrator.sweep.prepare import Prepared
from orchestrator.sweep.repeating import check_repetition
from orchestrator.sweep.request import Request, request_of, resolve_request
from orchestrator.sweep.requested import planned, sweep_of
from tests.engine.fake_server import Behaviour, fake_server
from tests.version_1.frozen import SIMULATED, executions_in, rows_of, simulated_truth

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "example"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder on a machine without a GPU."""
    monkeypatch.chdir(tmp_path)


def made(**flags: Any) -> SweepPlan:
    """A plan of the simulated engine, as `tune` writes it."""
    given = {"space": "lhs", "engines": ("simulated",), "models": ("smollm2",), "samples": 3}
    resolved = resolve_request(Request(**{**given, **flags}), [])
    drawn = make_plan(resolved)
    names = {setup.model for setup in drawn.setups}
    return drawn.with_revisions(dict.fromkeys(names, "simulated"))


def written(plan: SweepPlan) -> Path:
    """Its file."""
    path = DataSetPaths(Path("published")).sweep(plan.id)
    write_plan(plan, path)
    return path


def again(file: Path, **given: Any) -> Prepared:
    """The sweep of a plan's file, as it would run here."""
    return planned(request_of({"plan": file, **given}), [], silent)


def refused(file: Path, **given: Any) -> str:
    """Why it isn't repeated."""
    with pytest.raises(UserError) as error:
        again(file, **given)
    return str(error.value)


def edited(change: Callable[[dict[str, Any]], object], plan: SweepPlan | None = None) -> Path:
    """A plan that says something else, with a hash that fits."""
    content = (plan or made()).model_dump(mode="json")
    change(content)
    path = Path("edited.json")
    path.write_text(json.dumps({"sha256": digest(content, 64), "plan": content}))
    return path


# --- what stays the same --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flags",
    [
        {"samples": 12, "seed": 5, "repeats": 2, "prompts": 2},
        {"space": "sobol", "order": "design", "use_cases": ("fantasyWorld",)},
        {"quantizations": ("nf4", "none"), "batch_sizes": (1, 2), "prompts": 2},
        {"fixed_length": True, "chat_template": "off", "ranges": ("max_length=100:200",)},
    ],
    ids=str,
)
def test_trials_are_those_of_the_plan(flags: dict[str, Any]) -> None:
    plan = made(**flags)
    repetition = again(written(plan)).plan
    assert list(repetition.specs()) == list(plan.specs())
    assert repetition.id == plan.id


def test_the_example_is_repeated_from_its_published_copy_alone() -> None:
    """Hashes, prompts and seeds are those of the rows that were measured."""
    published = Path(shutil.copytree(EXAMPLE, "published"))
    measured = executions_in(published).values()
    for file in sorted(published.glob("sweeps/*.json")):
        plan = again(file, out=Path("mine")).plan
        planned_rows = {
            (
                spec.sweep_id,
                spec.strategy,
                spec.config_index,
                spec.config_hash(),
                spec.repeat,
                prompt.number,
                generation_seed(spec.setup.seed, spec.configuration, prompt.text, spec.repeat),
            )
            for spec in plan.specs()
            for prompt in spec.prompts
        }
        keys = ("sweep_id", "strategy", "index", "config_hash", "repeat", "prompt", "seed")
        rows = {tuple(row[key] for key in keys) for row in measured}
        assert planned_rows == {row for row in rows if row[0] == plan.id}
        assert planned_rows
    assert not Path("mine").exists()


def test_a_plan_of_version_1_is_repeated() -> None:
    (file,) = SIMULATED.glob("sweeps/*.json")
    truth = simulated_truth()
    hashes = {spec.config_hash() for spec in again(file).plan.specs()}
    assert hashes == {fact["config_hash"] for fact in truth}


def test_prompts_come_from_the_plan_and_not_from_this_machine() -> None:
    plan = made(use_cases=("fantasyWorld",))
    file = written(plan)
    Path("prompts").mkdir()
    Path("prompts/fantasyWorld.yaml").write_text("prompts: [Another text.]\n")
    assert list(again(file).plan.specs()) == list(plan.specs())


def test_a_sampler_that_learns_starts_from_the_plans_space_and_seed() -> None:
    plan = made(space="optuna", seed=3)
    prepared = again(written(plan))
    assert (prepared.plan.id, prepared.plan.samples) == (plan.id, 3)
    assert any("only as far as the results are" in note for note in prepared.resolved.notes)


def test_what_was_measured_here_before_is_not_missing() -> None:
    copy = Path(shutil.copytree(SIMULATED, "copy"))
    (file,) = copy.glob("sweeps/*.json")
    assert again(file, out=copy, machine="cpu").n_missing() == 0
    assert again(file, out=Path("fresh")).n_missing() == 6


# --- what may differ ------------------------------------------------------------------------------


def test_it_runs_as_this_machine_and_says_so() -> None:
    file = written(made(machine="gpu"))
    prepared = again(file, machine="pc", country="ITA")
    assert prepared.plan.machine == "pc"
    assert prepared.resolved.machine.country_iso_code == "ITA"
    (note,) = [note for note in prepared.resolved.notes if "plan was made" in note]
    assert note.startswith("the plan was made for gpu, this machine is pc")


def test_on_a_cluster_it_runs_on_whatever_is_free() -> None:
    file = written(made(machine="gpu"))
    assert again(file, address="10.0.0.1:6379").plan.machine is None
    assert again(file, address="10.0.0.1:6379", machine="leonardo").plan.machine == "leonardo"


def test_a_part_of_it_is_run() -> None:
    plan = made(samples=4)
    parts = [again(written(plan), shard=f"{number}/2").n_missing() for number in (1, 2)]
    assert sum(parts) == plan.n_executions()
    assert "only 4 configurations to share out" in refused(written(plan), shard="1/5")


def test_a_served_sweep_is_repeated_on_this_host_s_server() -> None:
    with fake_server(Behaviour("vllm")) as url:
        plan = made(engines=("server",), models=(), engine_options={"server_url": url})
        published = written(plan.with_revisions({"vllm-fake-model": "served:vllm:fake-model"}))
    with fake_server(Behaviour("vllm")) as here:
        prepared = again(published, engine_options={"server_url": here})
    with fake_server(Behaviour("llama.cpp")) as another_kind:
        said = refused(published, engine_options={"server_url": another_kind})
    assert "has it as llama.cpp-fake-model, so it is one of another kind" in said
    assert prepared.plan.id == plan.id
    assert {setup.engine_options["server_url"] for setup in prepared.plan.setups} == {here}
    before = [spec.config_hash() for spec in read_plan(published, "").specs()]
    assert [spec.config_hash() for spec in prepared.plan.specs()] == before


# --- weights --------------------------------------------------------------------------------------


def with_model(ref: str, label: str, revision: str) -> Path:
    """The plan of a sweep with a model's real weights, from some other machine."""

    def change(plan: dict[str, Any]) -> None:
        plan["models"] = {label: ref}
        for setup in plan["setups"]:
            setup |= {"model": label, "revision": revision, "engine": "transformers"}

    return edited(change)


@pytest.mark.parametrize(
    ("ref", "label", "revision", "exact"),
    [
        ("org/name", "org--name", "hub:" + "a" * 40, "org/name@" + "a" * 40),
        ("org/name@main", "org--name", "hub:" + "a" * 40, "org/name@" + "a" * 40),
        (
            "llama2",
            "llama2",
            "hub:f5db02db724555f92da89c216ac04704f23d4590",
            "llama2",
        ),
        ("llama2", "llama2", "hub:" + "b" * 40, "llama2@hub:" + "b" * 40),
        ("smollm2", "smollm2", "hub:" + "c" * 40, "smollm2@hub:" + "c" * 40),
    ],
)
def test_a_model_is_bound_to_the_planned_revision(
    ref: str, label: str, revision: str, exact: str
) -> None:
    prepared = again(with_model(ref, label, revision))
    assert prepared.plan.models == {label: exact}
    assert {setup.revision for setup in prepared.plan.setups} == {revision}
    assert {setup.model for setup in prepared.plan.setups} == {label}


def test_a_revision_that_nobody_has_any_more_is_refused() -> None:
    file = with_model("smollm2", "smollm2", "gguf:" + "0" * 64)
    assert refused(file).startswith(
        f"--plan {file}: its model smollm2 can't be had here: --model smollm2@gguf:000"
    )


def test_a_folder_of_another_machine_is_named_by_model(tmp_path: Path) -> None:
    file = with_model("/home/ada/tuned", "tuned", "local:1234")
    assert "its model tuned can't be had here: --model /home/ada/tuned: no config.json" in refused(
        file
    )
    for name in ("tuned", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / "model.safetensors").write_text(name)
    assert "beside --plan it says where the folder of one of its models is" in refused(
        file, models=(str(tmp_path / "other"),)
    )
    said = refused(file, models=(str(tmp_path / "tuned"),))
    assert "was started with tuned local:1234 and would go on with local:" in said
    assert said.endswith("others are another sweep (without --plan)")


def test_files_other_than_the_plans_are_refused() -> None:
    file = written(made())
    resolved, plan = sweep_of(request_of({"plan": file}), [])
    check_repetition(resolved, plan)
    (label,) = plan.models
    source = resolved.repeats
    assert source is not None
    hashed = source.with_model_files({label: {"model.safetensors": "1" * 64}})
    other = plan.with_model_files({label: {"model.safetensors": "2" * 64}})
    with pytest.raises(UserError, match="started with other weights of"):
        check_repetition(replace(resolved, repeats=hashed), other)


# --- what is refused ------------------------------------------------------------------------------


def change_text(plan: dict[str, Any]) -> None:
    plan["use_cases"][0]["prompts"][0] = "Another text."


def without_texts(plan: dict[str, Any]) -> None:
    plan["use_cases"][0]["prompts"] = []


def other_engine(plan: dict[str, Any]) -> None:
    plan["setups"][0]["engine"] = "warp"


def other_nf4(plan: dict[str, Any]) -> None:
    plan["setups"][0]["quantization"]["double_quant"] = False


def newer(plan: dict[str, Any]) -> None:
    plan["plan_version"] = PLAN_VERSION + 1


def other_sampler(plan: dict[str, Any]) -> None:
    plan["space"]["sampler"] = "halton"


def other_option(plan: dict[str, Any]) -> None:
    plan["setups"][0]["engine_options"] = {"paged": True}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            change_text,
            "the prompts of creativeStorytelling are not the ones that were planned (their hash ",
        ),
        (without_texts, "use_cases.0.prompts"),
        (other_engine, "there is no engine 'warp' here: "),
        (other_nf4, "this version's simulated engine has no nf4 as it was planned; update"),
        (newer, f"was written with version {PLAN_VERSION + 1} of its format, this program reads"),
        (other_sampler, "$.sampler: there is no 'halton'"),
        (other_option, "--plan edited.json: --paged: the simulated engine doesn't have it"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(
    change: Callable[[dict[str, Any]], object], said: str
) -> None:
    line = refused(edited(change))
    assert said in line
    assert "\n" not in line


def test_a_plan_that_was_edited_or_is_missing_or_none_is_refused() -> None:
    file = written(made())
    file.write_text(file.read_text().replace('"repeats": 1', '"repeats": 2'))
    assert refused(file).endswith(
        "was edited by hand (its hash differs); restore it, or take an unchanged copy of the data "
        "set"
    )
    assert refused(Path("none.json")) == "none.json: can't be read: No such file or directory"
    Path("other.json").write_text("{}")
    assert refused(Path("other.json")).startswith("other.json: not a sweep's plan")


@pytest.mark.parametrize(
    ("given", "flags"),
    [
        ({"space": "lhs"}, "--space"),
        ({"samples": 20, "seed": 0}, "--samples, --seed"),
        ({"quantizations": ("nf4",), "ranges": ("top_p=1",)}, "--quantization, --range"),
        ({"engine_options": {"cpu_offload": True}}, "--cpu-offload"),
    ],
)
def test_what_the_plan_says_itself_is_not_said_twice(given: dict[str, Any], flags: str) -> None:
    file = written(made())
    line = refused(file, **given)
    assert line.startswith(f"--plan {file}: says itself what is run, so leave out {flags}; beside")


def test_rows_of_the_example_name_their_sweeps() -> None:
    """Else the comparison of planned and measured rows would compare nothing."""
    ids = {row["sweep_id"] for row in rows_of(EXAMPLE / "executions.parquet")}
    assert ids == {read_plan(path).id for path in EXAMPLE.glob("sweeps/*.json")}
