"""What happens to a trial whose worker or node died: the rest of it goes to another, not for ever.

A trial whose worker is lost is sealed with what it has; the rest is handed out again as its next
attempt. So what a folder says of host and GPU holds for all its executions, and a worker that was
given up can't write into it any more.
"""

from __future__ import annotations

from collections.abc import Collection

from orchestrator.ray_tune.trainable import Assignment

MAX_LOSSES = 3
"""A trial is given up for this run after so many workers in a row died without a prompt done."""


def rest_of(assignment: Assignment, done: Collection[int]) -> Assignment:
    """An assignment without the prompts that are done; where none is done it is one loss more.

    `done`: numbers of the prompts that were measured before the worker was lost. The rest may have
    no prompt at all.
    """
    spec = assignment.spec
    prompts = tuple(prompt for prompt in spec.prompts if prompt.number not in done)
    attempt, losses = spec.attempt, assignment.losses + 1
    if done:  # it was sealed, and the next worker may well get on
        attempt, losses = spec.attempt + 1, 0
    rest = spec.model_copy(update={"prompts": prompts, "attempt": attempt})
    return assignment.model_copy(update={"spec": rest, "losses": losses})


def may_be_retried(assignment: Assignment) -> bool:
    """Whether a trial gets another worker: it has lost fewer than MAX_LOSSES."""
    return assignment.losses < MAX_LOSSES
