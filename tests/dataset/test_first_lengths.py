"""Which rows of older data sets paid for lengths that were new to their process."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.dataset.environment import Environment
from orchestrator.dataset.schema import TrialRecord
from tests import builders

ON_GPU: dict[str, Any] = {"gpu_uuid": "GPU-1", "attention": "sdpa"}
BEGAN = datetime(2026, 1, 2, 3, tzinfo=UTC)


def trial(
    index: int, *tokens: tuple[int, int], loaded_here: bool = False, **columns: Any
) -> TrialRecord:
    """A trial of executions with (prompt tokens, new tokens), one an hour after the other."""
    spec = builders.spec(config_index=index)
    executions = [
        builders.execution(
            number,
            of=spec,
            n_prompt_tokens=n_prompt,
            n_new_tokens=n_new,
            started_at=BEGAN + timedelta(hours=index, minutes=number),
            warning_flags=("short_trial",),
        )
        for number, (n_prompt, n_new) in enumerate(tokens, 1)
    ]
    return builders.record(
        spec,
        executions=executions,
        environment=Environment(loaded_here=loaded_here),
        **(ON_GPU | columns),
    )


def flagged(*records: TrialRecord) -> list[list[bool]]:
    """Whether each execution of each record is flagged."""
    return [
        ["new_lengths" in one.warning_flags for one in record.executions]
        for record in builders.with_caveats(*records)
    ]


def test_who_reaches_a_length_first_pays() -> None:
    first = trial(0, (10, 100), (10, 100), loaded_here=True)
    second = trial(1, (10, 90), (10, 200))
    assert flagged(first, second) == [[True, False], [False, True]]


def test_the_order_is_that_of_time_not_of_folders() -> None:
    first, second = trial(0, (10, 100), loaded_here=True), trial(1, (10, 100))
    assert flagged(second, first) == [[False], [True]]


def test_a_new_process_pays_again() -> None:
    records = (trial(0, (10, 100), loaded_here=True), trial(1, (10, 100), loaded_here=True))
    assert flagged(*records) == [[True], [True]]


def test_a_few_new_lengths_are_within_the_noise() -> None:
    assert flagged(trial(0, (10, 100), (10, 104), (10, 120), loaded_here=True)) == [
        [True, False, True]
    ]


@pytest.mark.parametrize(
    "columns",
    [{"gpu_uuid": None}, {"attention": "sdpa without cudnn"}, {"attention": "eager"}],
    ids=["on a CPU", "of this version", "without plans"],
)
def test_where_no_plan_is_built_nobody_pays(columns: dict[str, Any]) -> None:
    assert flagged(trial(0, (10, 100), loaded_here=True, **columns)) == [[False]]


def test_each_gpu_has_its_own_process() -> None:
    one = trial(0, (10, 100), loaded_here=True)
    other = trial(1, (10, 100), gpu_uuid="GPU-2")
    assert flagged(one, other) == [[True], [True]]


def test_a_failed_execution_reached_nothing() -> None:
    record = trial(0, (10, 100), (10, 100), loaded_here=True)
    failed = record.executions[0].model_copy(update={"n_new_tokens": None})
    executions = [failed, record.executions[1]]
    record = record.model_copy(update={"executions": executions})
    assert flagged(record) == [[False, True]]


def test_other_flags_stay_and_the_record_is_not_changed() -> None:
    record = trial(0, (10, 100), loaded_here=True)
    (new,) = builders.with_caveats(record)
    assert new.executions[0].warning_flags == ("new_lengths", "short_trial")
    assert record.executions[0].warning_flags == ("short_trial",)
