"""Executions that paid for lengths which were new to their process: a caveat on older data sets.

Before version 3 the engine let torch choose cuDNN's attention on a GPU. It builds a plan for each
length of the text that the process hasn't reached yet, inside the window that reaches it: such an
answer was charged up to 1.9 times its energy. Which rows those are follows from the data set:
`loaded_here` says where a process began, the numbers of tokens say which lengths it reached.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from orchestrator.dataset.schema import Execution, TrialRecord

MOST_NEW = 0.05
"""A larger share of new lengths among an answer's tokens makes its energy doubtful.

A plan cost 40 to 75 ms, up to three times as long as a token took: 5 % of them add some 10 %."""
ATTENTION_WITH_PLANS = "sdpa"
"""What rows on a GPU say whose attention might build plans."""


def paid_for_new_lengths(records: Iterable[TrialRecord]) -> dict[int, set[int]]:
    """Id of a record -> numbers of the prompts whose answers paid for lengths new to a process."""
    of_gpu: dict[tuple[str, str], list[TrialRecord]] = defaultdict(list)
    for record in records:
        columns = record.columns
        if columns.gpu_uuid is not None and columns.attention == ATTENTION_WITH_PLANS:
            of_gpu[columns.host, columns.gpu_uuid].append(record)
    prompts: dict[int, set[int]] = defaultdict(set)
    for of_one in of_gpu.values():
        reached: set[int] = set()
        for record in sorted(of_one, key=_began):
            if record.environment.loaded_here:
                reached = set()
            for execution in sorted(record.executions, key=lambda one: one.started_at):
                lengths = _lengths(execution)
                if lengths and len(lengths - reached) > MOST_NEW * len(lengths):
                    prompts[id(record)].add(execution.prompt_number)
                reached |= lengths
    return prompts


def _began(record: TrialRecord) -> float:
    """When a trial's first execution began; 0 where it has none."""
    return min((one.started_at.timestamp() for one in record.executions), default=0.0)


def _lengths(execution: Execution) -> set[int]:
    """The lengths that the text had as its tokens were generated."""
    if execution.n_prompt_tokens is None or not execution.n_new_tokens:
        return set()
    first = execution.n_prompt_tokens + 1
    return set(range(first, first + execution.n_new_tokens))
