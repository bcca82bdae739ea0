"""Flags that an execution gets for what its process did before or after it.

They follow from the records of all trials together, so they are set when records are read.
"""

from __future__ import annotations

from typing import NamedTuple

from orchestrator.dataset.first_lengths import FirstLengths
from orchestrator.dataset.flags import NEW_LENGTHS, SESSION_DRIFT
from orchestrator.dataset.schema import Execution, TrialRecord
from orchestrator.dataset.sessions import SessionTrials


class Caveat(NamedTuple):
    """What a trial's flags follow from."""

    new_lengths: frozenset[int]
    """Numbers of the prompts whose answers paid for lengths that were new to their process."""
    in_drift: bool
    """Whether an anchor beside the trial has moved."""


class Caveats:
    """What all trials together say of each. It is told of each trial once, and keeps little."""

    def __init__(self) -> None:
        self._lengths = FirstLengths()
        self._sessions = SessionTrials()

    def add(self, position: int, record: TrialRecord) -> None:
        """Take in a trial. `position`: what `found` is to call it."""
        self._lengths.add(position, record)
        self._sessions.add(position, record)

    def found(self) -> dict[int, Caveat]:
        """Position of a trial -> what its flags follow from; trials without any are left out."""
        paid, drifting = self._lengths.paid(), self._sessions.drifting()
        return {
            position: Caveat(frozenset(paid.get(position, ())), position in drifting)
            for position in sorted(paid.keys() | drifting)
        }


def marked(record: TrialRecord, caveat: Caveat) -> TrialRecord:
    """A record with the flags on its executions; the same one where all have them."""
    of_lengths = _flagged(record, NEW_LENGTHS, caveat.new_lengths)
    every = frozenset(execution.prompt_number for execution in record.executions)
    return _flagged(of_lengths, SESSION_DRIFT, every if caveat.in_drift else frozenset())


def _flagged(record: TrialRecord, flag: str, prompts: frozenset[int]) -> TrialRecord:
    """A record with a flag on the executions of some prompts; the same one where all have it."""

    def lacks_it(execution: Execution) -> bool:
        """Whether an execution has yet to get the flag."""
        return execution.prompt_number in prompts and flag not in execution.warning_flags

    def of(execution: Execution) -> Execution:
        """An execution, with the flag where it belongs."""
        if not lacks_it(execution):
            return execution
        flags = tuple(sorted({*execution.warning_flags, flag}))
        return execution.model_copy(update={"warning_flags": flags})

    if not any(map(lacks_it, record.executions)):
        return record
    return record.model_copy(update={"executions": [of(one) for one in record.executions]})
