"""What becomes of a trial whose worker or node died."""

from __future__ import annotations

import pytest

from orchestrator.ray_tune.retry import MAX_LOSSES, may_be_retried, rest_of
from tests.ray_tune.fake_tune import assignment


@pytest.mark.parametrize("done", [set(), {1}, {2}, {1, 3}])
def test_the_rest_is_what_is_not_done(done: set[int]) -> None:
    rest = rest_of(assignment(), done)
    assert {prompt.number for prompt in rest.spec.prompts} == {1, 2, 3} - done


def test_with_a_prompt_done_the_rest_is_the_next_attempt_and_losses_are_forgotten() -> None:
    rest = rest_of(assignment(attempt=2, losses=2), {1})
    assert (rest.spec.attempt, rest.losses) == (3, 0)


def test_without_any_it_is_the_same_attempt_and_one_loss_more() -> None:
    lost = assignment(attempt=2, losses=1)
    rest = rest_of(lost, ())
    assert rest == lost.model_copy(update={"losses": 2})


def test_nothing_is_left_of_a_whole_trial() -> None:
    assert rest_of(assignment(), {1, 2, 3}).spec.prompts == ()


@pytest.mark.parametrize(
    ("losses", "retried"), [(0, True), (MAX_LOSSES - 1, True), (MAX_LOSSES, False)]
)
def test_a_trial_is_given_up_after_so_many_losses_in_a_row(losses: int, retried: bool) -> None:
    assert may_be_retried(assignment(losses=losses)) is retried
