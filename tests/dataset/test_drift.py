"""Whether two runs measured under the same conditions: what counts, and against which trial."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.dataset.drift import (
    DECIDING_PACKAGES,
    Conditions,
    StartConditions,
    changed_files,
    conditions,
    drift,
    marked,
    mixed,
    mixed_weights,
    other_weights,
)
from orchestrator.dataset.schema import TrialRecord
from orchestrator.dataset.trial_files import Origin
from orchestrator.engine import ENGINES
from tests import builders

VERSIONS = dict.fromkeys((*DECIDING_PACKAGES, "ray"), "1.0")


def record(order: int, torch: str = "1.0", machine: str = "pc", **changes: Any) -> TrialRecord:
    environment = {
        "versions": VERSIONS | {"torch": torch},
        "drift": [],
        **changes.pop("environment", {}),
    }
    return builders.record(
        builders.spec(order_index=order, config_index=order),
        machine=machine,
        environment=environment,
        **changes,
    )


def now(gpu: str | None = None, **versions: str | None) -> Conditions:
    found = {
        name: version for name, version in (VERSIONS | versions).items() if version is not None
    }
    return Conditions(engine="simulated", versions=found, gpu_name=gpu)


def at(machine: str = "pc", gpu: str | None = None, torch: str = "1.0") -> Origin:
    return builders.origin(
        machine=machine, gpu_name=gpu, environment={"versions": VERSIONS | {"torch": torch}}
    )


def test_a_first_run_has_no_drift() -> None:
    assert conditions([]) == {}
    assert StartConditions().changes(at(torch="9")) == ()


def test_the_first_process_on_a_machine_sets_its_conditions() -> None:
    """Two nodes of one kind that differ would mix measurements in the first run already."""
    start = StartConditions({"colab": [now(torch="2")]})
    assert start.changes(at()) == ()
    assert start.changes(at("other", torch="3")) == ()
    assert start.changes(at("pc", "H100", "1.1")) == ("torch 1.0 -> 1.1", "GPU none -> H100")
    assert start.changes(at()) == (), "what drifted sets nothing"
    assert start.changes(at("colab")) == ("torch 2 -> 1.0",)


def test_engines_of_one_sweep_are_compared_in_the_packages_that_they_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that needs no bitsandbytes records none: that is no change of conditions."""
    bare = replace(ENGINES["transformers"], packages=("torch", "transformers"))
    monkeypatch.setitem(ENGINES, "bare", bare)

    def ran(engine: str, **versions: str) -> TrialRecord:
        setup = builders.setup(engine=engine)
        return builders.record(builders.spec(setup=setup), environment={"versions": versions})

    first = ran("transformers", torch="1", transformers="5", bitsandbytes="0.1")
    other = ran("bare", torch="1", transformers="5")
    assert mixed(conditions([first, other])) == []
    assert len(conditions([first, other, first, other])["pc"]) == 2
    newer = ran("bare", torch="2", transformers="5")
    assert mixed(conditions([first, newer])) == ["pc: torch 1 -> 2"]
    assert mixed(conditions([first, other, newer])) == ["pc: torch 1 -> 2"]
    own = ran("transformers", torch="1", transformers="5", bitsandbytes="0.2")
    assert mixed(conditions([other, first, own])) == ["pc: bitsandbytes 0.1 -> 0.2"]
    start = StartConditions(conditions([first]))
    for record, changes in ((other, ()), (newer, ("torch 1 -> 2",)), (other, ())):
        origin = builders.origin(record.spec, environment=record.environment.model_dump())
        assert start.changes(origin) == changes


def test_drift_is_marked_in_the_row() -> None:
    row = builders.execution(warning_flags=("too_short",), notes=("one",))
    assert marked(row, ()) == row
    row_now = marked(row, ("torch 1 -> 2", "GPU A -> B"))
    assert (row_now.warning_flags, row_now.notes) == (
        ("drift", "too_short"),
        ("one", "drift: torch 1 -> 2", "drift: GPU A -> B"),
    )
    before = {"warning_flags": row.warning_flags, "notes": row.notes}
    assert row_now.model_copy(update=before) == row


def test_the_same_conditions_are_no_drift() -> None:
    assert drift(now("H100"), now("H100")) == ()


@pytest.mark.parametrize("name", DECIDING_PACKAGES)
def test_each_deciding_package_counts(name: str) -> None:
    assert drift(now(), now(**{name: "1.1"})) == (f"{name} 1.0 -> 1.1",)


def test_others_do_not() -> None:
    assert drift(now(), now(ray="2.0", python="3.12")) == ()


@pytest.mark.parametrize(
    ("begun", "later", "told"),
    [
        (now(bitsandbytes=None), now(), ("bitsandbytes none -> 1.0",)),
        (now(), now(bitsandbytes=None), ("bitsandbytes 1.0 -> none",)),
        (now("A100"), now("H100"), ("GPU A100 -> H100",)),
        (now(None), now("H100"), ("GPU none -> H100",)),
        (now("A100"), now(None, torch="2"), ("torch 1.0 -> 2", "GPU A100 -> none")),
        (now(simulated=None), now(simulated=None), ()),
    ],
)
def test_what_differs_is_told(begun: Conditions, later: Conditions, told: tuple[str, ...]) -> None:
    assert drift(begun, later) == told


def test_each_machine_s_conditions_are_told_in_the_order_of_its_trials() -> None:
    records = [
        record(1, "1.1", gpu_name="A100"),
        record(2, "1.2"),
        record(3, "1.1", gpu_name="A100"),
        record(0, "2.0", machine="colab"),
    ]
    by_machine = conditions(records)
    assert {
        name: [(c.versions["torch"], c.gpu_name) for c in of_machine]
        for name, of_machine in by_machine.items()
    } == {
        "pc": [("1.1", "A100"), ("1.2", None)],
        "colab": [("2.0", None)],
    }
    assert mixed(by_machine) == ["pc: torch 1.1 -> 1.2; GPU A100 -> none"]


def test_what_may_differ_mixes_nothing() -> None:
    one, other = record(0), record(1, environment={"versions": VERSIONS | {"ray": "9.9"}})
    assert mixed(conditions([one, other])) == []


def test_a_trial_that_drifted_sets_nothing() -> None:
    """Else what was once accepted would become the rule, and the old conditions the drift."""
    drifted = record(0, "0", environment={"drift": ["torch 1 -> 0"]})
    assert conditions([drifted]) == {}
    assert [c.versions["torch"] for c in conditions([drifted, record(4, "4")])["pc"]] == ["4"]


def test_records_without_such_fields_are_read() -> None:
    assert conditions([builders.record(environment={})])["pc"] == [
        Conditions(engine="simulated", versions={}, gpu_name=None)
    ]


# --- weights --------------------------------------------------------------------------------------

SOUND = {"config.json": "c" * 64, "model.safetensors": "a" * 64}
ZEROED = SOUND | {"model.safetensors": "b" * 64}
CHANGE = "model.safetensors sha256 aaaaaaaa... is now sha256 bbbbbbbb..."


def test_files_that_differ_are_told() -> None:
    assert changed_files(SOUND, SOUND) == []
    assert changed_files(SOUND, ZEROED) == [CHANGE]
    assert changed_files(SOUND, {"model.safetensors": "a" * 64}) == [
        "config.json sha256 cccccccc... is now not there"
    ]


def test_what_was_not_recorded_is_no_difference() -> None:
    assert changed_files({}, SOUND) == changed_files(SOUND, {}) == []


def test_only_weights_have_to_be_the_same_on_all_machines() -> None:
    """Each version of transformers writes a converted model's config.json its own way."""
    assert other_weights(SOUND, SOUND | {"config.json": "d" * 64}) == []
    assert other_weights(SOUND, ZEROED) == [CHANGE]


def with_weights(order: int, files: dict[str, str], machine: str = "pc") -> TrialRecord:
    return record(order, machine=machine, environment={"model_sha256": files})


def test_trials_of_other_weights_are_told_on_whatever_machine() -> None:
    sound, zeroed = with_weights(0, SOUND), with_weights(1, ZEROED, "colab")
    unknown = with_weights(2, {})
    assert mixed_weights({}, [unknown, sound, unknown]) == []
    assert mixed_weights({}, [unknown, sound, zeroed, zeroed]) == [f"smollm2: {CHANGE}"]
    assert mixed_weights({"smollm2": SOUND}, [zeroed]) == [f"smollm2: {CHANGE}"]
    assert mixed_weights({"mistral": SOUND}, [zeroed]) == []


def test_a_process_with_other_weights_than_the_sweep_s_or_the_first_process() -> None:
    sound = builders.origin(environment={"model_sha256": SOUND})
    zeroed = builders.origin(environment={"model_sha256": ZEROED})
    start = StartConditions({}, {"smollm2": SOUND}, accept=True)
    assert start.other_weights("smollm2", sound) == []
    assert start.other_weights("smollm2", zeroed) == [CHANGE]
    start = StartConditions()
    assert start.other_weights("smollm2", sound) == []
    assert start.other_weights("smollm2", zeroed) == [CHANGE]
    assert start.other_weights("mistral", zeroed) == []
