"""Executions that paid for lengths which were new to their process: a caveat on older data sets.

Before version 3 the engine let torch choose cuDNN's attention on a GPU. It builds a plan for each
length of the text that the process hasn't reached yet, inside the window that reaches it: such an
answer was charged up to 1.9 times its energy. Which rows those are follows from the data set:
`loaded_here` says where a process began, the numbers of tokens say which lengths it reached.
"""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from orchestrator.dataset.schema import Execution, TrialRecord

MOST_NEW = 0.05
"""A larger share of new lengths among an answer's tokens makes its energy doubtful.

A plan cost 40 to 75 ms, up to three times as long as a token took: 5 % of them add some 10 %."""
ATTENTION_WITH_PLANS = "sdpa"
"""What rows on a GPU say whose attention might build plans."""


class _Answer(NamedTuple):
    """An execution on a GPU whose attention might build plans."""

    started_at_s: float
    prompt_number: int
    lengths: range
    """Those that the text had as its tokens were generated."""


class _Trial(NamedTuple):
    """A trial on such a GPU."""

    began_s: float
    position: int
    loaded_here: bool
    answers: tuple[_Answer, ...]


class FirstLengths:
    """Finds the answers that paid for lengths which were new to their process.

    It is told of each trial once, and keeps of it only what that takes.
    """

    def __init__(self) -> None:
        self._of_gpu: dict[tuple[str, str], list[_Trial]] = defaultdict(list)

    def add(self, position: int, record: TrialRecord) -> None:
        """Take in a trial. `position`: what `paid` is to call it."""
        columns = record.columns
        if columns.gpu_uuid is None or columns.attention != ATTENTION_WITH_PLANS:
            return
        answers = tuple(map(_answer, record.executions))
        began_s = min((one.started_at_s for one in answers), default=0.0)
        loaded_here = record.environment.loaded_here
        trial = _Trial(began_s, position, loaded_here, answers)
        self._of_gpu[columns.host, columns.gpu_uuid].append(trial)

    def paid(self) -> dict[int, set[int]]:
        """Position of a trial -> numbers of the prompts whose answers paid."""
        prompts: dict[int, set[int]] = defaultdict(set)
        for of_one in self._of_gpu.values():
            reached: set[int] = set()
            for trial in sorted(of_one, key=lambda one: one.began_s):
                if trial.loaded_here:
                    reached = set()
                for answer in sorted(trial.answers, key=lambda one: one.started_at_s):
                    lengths = set(answer.lengths)
                    if lengths and len(lengths - reached) > MOST_NEW * len(lengths):
                        prompts[trial.position].add(answer.prompt_number)
                    reached |= lengths
        return prompts


def _answer(execution: Execution) -> _Answer:
    """What of an execution decides."""
    lengths = range(0)
    if execution.n_prompt_tokens is not None and execution.n_new_tokens:
        first = execution.n_prompt_tokens + 1
        lengths = range(first, first + execution.n_new_tokens)
    return _Answer(execution.started_at.timestamp(), execution.prompt_number, lengths)
