"""Resume: what of a plan the data set lacks, after every kind of cut."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.dataset import flags
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.remaining import RERUN, FinishedExecutions, oom_lengths
from orchestrator.dataset.tables import Trials, read_all
from orchestrator.dataset.trial_files import append, seal
from orchestrator.nouns import ANCHOR, TrialSpec
from tests import builders

TIMEOUT = builders.FAILED | {"error_kind": "timeout"}


@pytest.fixture
def paths(tmp_path: Path) -> DataSetPaths:
    return DataSetPaths(tmp_path)


def write(
    paths: DataSetPaths, spec: TrialSpec, *numbers: int, machine: str = "cpu", **changes: Any
) -> None:
    """Append executions of a running trial."""
    origin = builders.origin(spec, machine=machine)
    for number in numbers:
        append(
            paths, spec, origin, "shuffled", [builders.measured(prompt=number, of=spec, **changes)]
        )


def sealed(
    paths: DataSetPaths, spec: TrialSpec, *numbers: int, machine: str = "cpu", **changes: Any
) -> None:
    write(paths, spec, *numbers, machine=machine, **changes)
    seal(paths, machine, spec)


def attempt(spec: TrialSpec, number: int, *prompts: int) -> TrialSpec:
    """A later attempt of some prompts."""
    return spec.model_copy(
        update={"attempt": number, "prompts": tuple(p for p in spec.prompts if p.number in prompts)}
    )


def finished(
    paths: DataSetPaths, machine: str | None = "cpu", rerun: tuple[str, ...] = ()
) -> FinishedExecutions:
    trials, faults = read_all(paths, unfinished=True)
    assert faults == []
    return FinishedExecutions(trials, machine, rerun)


def missing(of: FinishedExecutions, spec: TrialSpec) -> tuple[tuple[int, ...], int] | None:
    """(prompts, attempt) of what is missing; nothing else of the trial may change."""
    left = of.missing(spec)
    if left is None:
        return None
    assert left.model_copy(update={"prompts": spec.prompts, "attempt": spec.attempt}) == spec
    assert [p for p in spec.prompts if p in left.prompts] == list(left.prompts), (
        "in their order, with their texts"
    )
    return tuple(p.number for p in left.prompts), left.attempt


def prompts_done(of: FinishedExecutions, spec: TrialSpec) -> list[int]:
    return [execution.prompt_number for execution in of.of(spec)]


def test_nothing_done(paths: DataSetPaths) -> None:
    nothing = finished(paths)
    assert missing(nothing, builders.spec()) == ((1, 2, 3), 1)
    assert nothing.of(builders.spec()) == []


def test_all_done(paths: DataSetPaths) -> None:
    spec = builders.spec()
    sealed(paths, spec, 1, 2, 3)
    assert missing(finished(paths), spec) is None
    assert prompts_done(finished(paths), spec) == [1, 2, 3]


def test_more_prompts_are_a_new_attempt_beside_the_sealed_folder(paths: DataSetPaths) -> None:
    spec = builders.spec()
    sealed(paths, attempt(spec, 1, 1, 2), 1, 2)
    assert missing(finished(paths), spec) == ((3,), 2)
    assert prompts_done(finished(paths), spec) == [1, 2]


def test_fewer_prompts_are_done(paths: DataSetPaths) -> None:
    spec = builders.spec()
    sealed(paths, spec, 1, 2, 3)
    fewer = attempt(spec, 1, 1, 3)
    assert missing(finished(paths), fewer) is None
    assert prompts_done(finished(paths), fewer) == [1, 3], "the others are not counted"


@pytest.mark.parametrize(
    ("done", "left"),
    [
        ((), (1, 2, 3, 4, 5)),
        ((1, 2), (3, 4, 5)),
        ((1,), (1, 2, 3, 4, 5)),  # cut off in the middle of a batch
        ((1, 2, 3), (3, 4, 5)),  # one prompt of the next batch, which was smaller or cut off
        ((1, 2, 3, 4), (5,)),
        ((2, 3, 4, 5), (1, 2)),
    ],
)
def test_a_batch_of_which_a_prompt_is_missing_is_run_as_a_whole(
    paths: DataSetPaths, done: tuple[int, ...], left: tuple[int, ...]
) -> None:
    texts = [f"Tell me {n}." for n in range(5)]
    setup = builders.setup(batch_size=2)
    spec = builders.spec(setup=setup, prompts=builders.prompts(texts))
    if done:
        sealed(paths, spec, *done)
    again = finished(paths).missing(spec)
    assert again is not None
    assert tuple(prompt.number for prompt in again.prompts) == left
    numbers = [[prompt.number for prompt in batch] for batch in again.batches()]
    assert all(batch in ([1, 2], [3, 4], [5]) for batch in numbers), "as the plan has them"


def test_memory_ran_out_at_the_longest_text_of_a_batch() -> None:
    oom = {"status": "failed", "error_kind": "oom", "error_message": "full"}
    of_batch = {**oom, "n_in_batch": 2, "batch_number": 1}
    rows = [
        builders.execution(1, effective_max_length=110, **of_batch),
        builders.execution(2, effective_max_length=600, **of_batch),
        builders.execution(3, effective_max_length=700, **oom),
        builders.execution(4, effective_max_length=50),
    ]
    assert oom_lengths(rows) == [600, 700]


@pytest.mark.parametrize("is_sealed", [True, False])
def test_a_cut_off_trial_goes_on_as_the_next_attempt(paths: DataSetPaths, is_sealed: bool) -> None:
    """Unsealed it counts the same: `plan` reads a data set that no `tune` has sealed yet."""
    spec = builders.spec()
    (sealed if is_sealed else write)(paths, spec, 2)
    assert missing(finished(paths), spec) == ((1, 3), 2)
    assert prompts_done(finished(paths), spec) == [2]


def test_attempts_count_on_from_the_highest(paths: DataSetPaths) -> None:
    spec = builders.spec()
    sealed(paths, attempt(spec, 5, 1), 1)
    sealed(paths, attempt(spec, 2, 2), 2)
    assert missing(finished(paths), spec) == ((3,), 6)


def test_the_next_attempt_s_folder_is_free(paths: DataSetPaths) -> None:
    spec = builders.spec()
    for _ in spec.prompts:
        left = finished(paths).missing(spec)
        assert left is not None
        assert not paths.trial("cpu", left).exists()
        sealed(paths, left, left.prompts[0].number)
    assert finished(paths).missing(spec) is None
    assert [p.name.removeprefix(spec.folder()) for p in paths.sealed_trials()] == ["", "-a2", "-a3"]


def test_a_failed_execution_is_a_row_and_not_run_again(paths: DataSetPaths) -> None:
    spec = builders.spec()
    write(paths, spec, 1)
    write(paths, spec, 2, **builders.FAILED)
    assert missing(finished(paths), spec) == ((3,), 2)


def test_a_torn_line_is_run_again(paths: DataSetPaths) -> None:
    spec = builders.spec()
    write(paths, spec, 1, 2)
    lines = paths.partial("cpu", spec) / "executions.jsonl"
    lines.write_bytes(lines.read_bytes()[:-40])
    assert missing(finished(paths), spec) == ((2, 3), 2)


def test_another_sweep_has_the_same_trials_but_its_own_anchors(paths: DataSetPaths) -> None:
    for strategy, again in (("sobolSampling", None), (ANCHOR, ((1, 2, 3), 1))):
        sealed(paths, builders.spec(strategy=strategy), 1, 2, 3)
        assert (
            missing(finished(paths), builders.spec(strategy=strategy, sweep_id="another")) == again
        )


@pytest.mark.parametrize(
    "changed",
    [
        {"config_index": 1},
        {"repeat": 2},
        {"setup": builders.setup(quantization="int8")},
        {"configuration": builders.configuration(top_k=9)},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_another_trial_is_missing_whole(paths: DataSetPaths, changed: dict[str, Any]) -> None:
    sealed(paths, builders.spec(), 1, 2, 3)
    assert missing(finished(paths), builders.spec(**changed)) == ((1, 2, 3), 1)


def test_a_half_written_folder_is_no_trial(paths: DataSetPaths) -> None:
    spec = builders.spec()
    paths.partial("cpu", spec).mkdir(parents=True)
    assert missing(finished(paths), spec) == ((1, 2, 3), 1)


# --- machines -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("machine", "done"), [("cpu", [1, 2, 3]), ("gpu", []), (None, [1, 2, 3])])
def test_another_machine_has_its_own_executions_unless_any_will_do(
    paths: DataSetPaths, machine: str | None, done: list[int]
) -> None:
    spec = builders.spec()
    sealed(paths, spec, 1, 2, 3)
    assert prompts_done(finished(paths, machine), spec) == done
    assert missing(finished(paths, machine), spec) == (None if done else ((1, 2, 3), 1))


@pytest.mark.parametrize("machines", [("a", "b"), ("b", "a")])
def test_on_whatever_machine_one_ok_is_enough(
    paths: DataSetPaths, machines: tuple[str, str]
) -> None:
    spec = builders.spec()
    sealed(paths, spec, 1, 2, machine=machines[0], **builders.FAILED)
    sealed(paths, attempt(spec, 3, 1), 1, machine=machines[1])
    everywhere = finished(paths, None, ("failed",))
    assert {e.prompt_number: e.status for e in everywhere.of(spec)} == {1: "ok", 2: "failed"}
    assert missing(everywhere, spec) == ((2, 3), 4), "above the attempts of all machines"


# --- --rerun --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rerun", "again"),
    [
        ((), ()),
        (("failed",), (1, 2)),
        (("oom",), (1,)),
        (("timeout",), (2,)),
        (("oom", "timeout"), (1, 2)),
        (("flagged",), (3,)),
        (("failed", "flagged"), (1, 2, 3)),
    ],
)
def test_what_is_asked_for_is_run_again(
    paths: DataSetPaths, rerun: tuple[str, ...], again: tuple[int, ...]
) -> None:
    spec = builders.spec()
    write(paths, spec, 1, **builders.FAILED)
    write(paths, spec, 2, **TIMEOUT)
    sealed(paths, spec, 3, warning_flags=("estimated_cpu", "throttled"))
    finished_now = finished(paths, rerun=rerun)
    assert missing(finished_now, spec) == ((again, 2) if again else None)
    assert prompts_done(finished_now, spec) == [1, 2, 3], "it is in the data set all the same"


@pytest.mark.parametrize("flag", ["throttled", "meter_disagreement", "window_mismatch"])
def test_a_suspect_measurement_is_one_that_may_come_out_better(flag: str) -> None:
    assert RERUN["flagged"](builders.execution(warning_flags=(flag,)))


@pytest.mark.parametrize(
    "flag", ["estimated_cpu", "too_short", "shared_host", "no_country", "unshuffled", "drift"]
)
def test_what_a_machine_always_has_is_not_suspect(flag: str) -> None:
    assert flag not in flags.RERUN
    assert not RERUN["flagged"](builders.execution(warning_flags=(flag,)))


def test_once_it_came_out_well_it_is_not_run_again(paths: DataSetPaths) -> None:
    spec = builders.spec()
    sealed(paths, spec, 1, 2, 3, **builders.FAILED)
    sealed(paths, attempt(spec, 2, 1, 2, 3), 1, 2, 3)
    assert missing(finished(paths, rerun=("failed", "oom", "flagged")), spec) is None


def test_as_long_as_it_fails_it_is_run_again(paths: DataSetPaths) -> None:
    spec = builders.spec()
    for number in (1, 2, 3):
        assert missing(finished(paths, rerun=("oom",)), spec) == ((1, 2, 3), number)
        sealed(paths, attempt(spec, number, 1, 2, 3), 1, 2, 3, **builders.FAILED)


def test_a_rerun_that_fails_does_not_undo_an_ok(paths: DataSetPaths) -> None:
    spec = builders.spec()
    sealed(paths, spec, 1, 2, 3, warning_flags=("throttled",))
    sealed(paths, attempt(spec, 2, 1, 2, 3), 1, 2, 3, **builders.FAILED)
    assert missing(finished(paths, rerun=("failed",)), spec) is None
    assert missing(finished(paths, rerun=("flagged",)), spec) == ((1, 2, 3), 3)


# --- clocks ---------------------------------------------------------------------------------------


def test_a_later_attempt_counts_whatever_the_clocks_say(paths: DataSetPaths) -> None:
    spec = builders.spec()
    sealed(paths, spec, 1, 2, 3, output_text="first", warning_flags=("throttled",))
    sealed(
        paths,
        attempt(spec, 2, 1, 2, 3),
        1,
        2,
        3,
        output_text="second",
        started_at="1999-01-01T00:00:00.000+00:00",
    )
    trials, _ = read_all(paths)
    late, early = sorted(trials.records(), key=lambda record: record.columns.attempt)
    early.sealed_at = datetime(1999, 1, 1, 0, 0, 1, tzinfo=UTC)
    for order in ([late, early], [early, late]):
        again = Trials()
        for record in order:
            again.add(record)
        finished_now = FinishedExecutions(again, "cpu", ("flagged",))
        assert {one.started_at.year for one in finished_now.of(spec)} == {1999}
        assert finished_now.missing(spec) is None
