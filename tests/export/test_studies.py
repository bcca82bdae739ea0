"""Which studies a data set has, and what a trial of one says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.dataset.tables import read_judgements
from orchestrator.errors import UserError
from orchestrator.evaluate.evaluation import evaluate
from orchestrator.evaluate.rules import packaged_rules
from orchestrator.export.studies import OBJECTIVES, Study, studies_of
from orchestrator.nouns import ANCHOR
from orchestrator.say import silent
from tests import builders
from tests.export.swept import OUT_OF_MEMORY, Swept

GOOD = (
    "In this imaginary world the fantastic setting is a chain of islands that float above the "
    "clouds. Whoever lives there can be experienced in many adventures: they ride on whales of "
    "mist, trade songs for lamps, and describe each new harbour to the keeper of the old maps."
)
"""A text that no rule discards."""


@pytest.fixture
def swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Swept:
    monkeypatch.chdir(tmp_path)
    return Swept(tmp_path / "measurements")


def only_study(swept: Swept, **objectives: str) -> Study:
    """The one study that there is."""
    trials = swept.trials()
    trials.judgements, _ = read_judgements(swept.paths)
    [study], _ = studies_of(trials, [swept.plan], objectives or None)
    return study


def test_a_trial_has_its_configuration_and_energy_per_token(swept: Swept) -> None:
    for number, spec in enumerate(swept.specs()):
        swept.measure(spec, (10.0 + number, 20.0))
    study = only_study(swept)
    assert study.objectives == {"energy_per_token_j": "min"}
    by_index = {trial.attributes["config_index"]: trial for trial in study.trials}
    for number, spec in enumerate(swept.specs()):
        trial = by_index[spec.config_index]
        assert trial.configuration == spec.configuration
        # two answers of ten tokens
        assert trial.values == ((30.0 + number) / 20,)
        assert trial.attributes["n_new_tokens"] == 20
        assert trial.attributes["machine"] == "cpu"
        assert (swept.paths.root / trial.attributes["trial"] / "trial.json").exists()
        assert trial.started_at < trial.ended_at


def test_trials_stand_in_the_order_in_which_they_were_handed_out(swept: Swept) -> None:
    for spec in swept.specs():
        swept.measure(spec)
    order = [trial.attributes["order_index"] for trial in only_study(swept).trials]
    assert order == [0, 1, 2, 3]


def test_unknown_figures_are_left_out_and_never_0(swept: Swept) -> None:
    swept.measure(swept.specs()[0])
    attributes = only_study(swept).trials[0].attributes
    assert None not in attributes.values()
    assert {"gpu_energy_counter_j", "quality", "n_usable", "usable_share"}.isdisjoint(attributes)
    assert attributes["warning_flags"].split(";")[0] == "estimated_cpu"


def test_a_trial_without_any_answer_failed_and_says_why(swept: Swept) -> None:
    lost, whole = swept.specs()[:2]
    swept.measure(lost, (0.0, 0.0), **OUT_OF_MEMORY | {"energy_j": None})
    swept.measure(whole)
    study = only_study(swept)
    by_index = {trial.attributes["config_index"]: trial for trial in study.trials}
    failed = by_index[lost.config_index]
    assert failed.values is None
    assert failed.attributes["failed"] == "2 oom"
    assert failed.attributes["unknown"] == "energy_per_token_j"
    assert by_index[whole.config_index].values == (2.0,)
    assert study.n_failed() == 1


def test_a_trial_of_which_prompts_are_missing_is_left_out_until_it_is_whole(swept: Swept) -> None:
    spec = swept.specs()[0]
    swept.measure(spec, (20.0,))
    assert studies_of(swept.trials(), [swept.plan]) == ([], 1)
    rest = spec.model_copy(update={"attempt": 2, "prompts": spec.prompts[1:]})
    items = [builders.measured(2, of=rest, energy_j=40.0)]
    builders.seal_trial(swept.paths, rest, items, builders.origin(rest, machine="cpu"))
    [trial] = only_study(swept).trials
    assert trial.values == (3.0,)
    assert trial.attributes["attempt"] == 2


def test_each_kind_of_machine_has_a_study(swept: Swept) -> None:
    for machine in ("cpu", "t4"):
        swept.measure(swept.specs()[0], machine=machine)
    studies, _ = studies_of(swept.trials(), [swept.plan])
    names = [study.name for study in studies]
    sweep = f"sweep {swept.plan.id}"
    assert names == [
        f"simulated-smollm2 fantasyWorld (nf4, simulated) on cpu, {sweep}",
        f"simulated-smollm2 fantasyWorld (nf4, simulated) on t4, {sweep}",
    ]
    assert [study.attributes["machine"] for study in studies] == ["cpu", "t4"]


def test_each_variant_and_use_case_has_a_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    swept = Swept(
        tmp_path / "measurements",
        quantizations=("nf4", "none"),
        use_cases=("fantasyWorld", "danceCoreography"),
        repeats=2,
    )
    for spec in swept.specs():
        swept.measure(spec)
    studies, _ = studies_of(swept.trials(), [swept.plan])
    assert sorted({(s.attributes["quantization"], s.attributes["use_case"]) for s in studies}) == [
        ("nf4", "danceCoreography"),
        ("nf4", "fantasyWorld"),
        ("none", "danceCoreography"),
        ("none", "fantasyWorld"),
    ]
    for study in studies:
        repeats = [(t.attributes["config_index"], t.attributes["repetition"]) for t in study.trials]
        assert sorted(repeats) == [(index, repeat) for index in range(4) for repeat in (1, 2)]


def test_anchors_are_in_no_study(swept: Swept) -> None:
    spec = swept.specs()[0]
    swept.measure(spec)
    swept.measure(spec.model_copy(update={"strategy": ANCHOR}))
    assert len(only_study(swept).trials) == 1


def test_a_sweep_without_its_plan_is_refused(swept: Swept) -> None:
    swept.measure(swept.specs()[0])
    with pytest.raises(UserError, match=f"sweeps/{swept.plan.id}.json: is missing"):
        studies_of(swept.trials(), [])


def test_what_was_evaluated_has_quality_too(swept: Swept) -> None:
    first, second = swept.specs()[:2]
    swept.measure(first, synthetic=False, output_text=GOOD)
    swept.measure(second, synthetic=False, output_text="no no no no no no no no no no no no no")
    assert only_study(swept).objectives == {"energy_per_token_j": "min"}
    evaluate(swept.paths.root, packaged_rules(), say=silent)
    study = only_study(swept)
    assert study.objectives == {"energy_per_token_j": "min", "quality": "max"}
    by_index = {trial.attributes["config_index"]: trial for trial in study.trials}
    good, bad = by_index[first.config_index], by_index[second.config_index]
    assert (good.attributes["usable_share"], bad.attributes["usable_share"]) == (1.0, 0.0)
    assert good.values is not None
    assert bad.values is not None
    assert good.values[1] > bad.values[1]
    # discarded texts took energy all the same
    assert bad.values[0] == bad.attributes["energy_per_token_j"] == 2.0
    assert bad.attributes["wasted_energy_j"] == 40.0
    assert good.attributes["energy_per_usable_j"] == 20.0
    chosen = only_study(swept, energy_per_usable_j="min", usable_share="max")
    assert sorted(map(str, (trial.values for trial in chosen.trials))) == ["(20.0, 1.0)", "None"]


def test_a_part_that_was_evaluated_makes_no_objective(swept: Swept) -> None:
    first, second = swept.specs()[:2]
    swept.measure(first, synthetic=False, output_text=GOOD)
    swept.measure(second)
    evaluate(swept.paths.root, packaged_rules(), say=silent)
    assert only_study(swept).objectives == {"energy_per_token_j": "min"}


@pytest.mark.parametrize("flags", [{}, {"machine": "each"}])
def test_a_sampler_that_learned_has_its_own_objectives_and_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: Any
) -> None:
    """One over all machines, or one a kind of machine where it had one for each."""
    monkeypatch.chdir(tmp_path)
    swept = Swept(tmp_path / "measurements", "optuna")
    plan = swept.plan.model_copy(update={"machine": None})
    if flags:
        plan = plan.model_copy(update={"each": ("cpu", "t4")})
    spec = swept.proposed(0, builders.configuration())
    swept.measure(spec, machine="cpu", output_text=GOOD)
    swept.measure(swept.proposed(1, builders.configuration(top_k=7)), machine="t4")
    studies, _ = studies_of(swept.trials(), [plan])
    assert [len(study.trials) for study in studies] == ([1, 1] if flags else [2])
    for study in studies:
        assert study.objectives == {"energy_per_token_j": "min", "quality": "max"}
        assert study.n_failed() == 0


def test_every_number_of_the_summary_may_be_an_objective() -> None:
    assert {"energy_per_token_j", "energy_per_usable_j", "tokens_per_s", "quality"} <= {*OBJECTIVES}
    assert {"energy_basis", "warning_flags"}.isdisjoint(OBJECTIVES)
