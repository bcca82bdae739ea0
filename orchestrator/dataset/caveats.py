"""Flags that an execution gets for what its process did before or after it.

They follow from the records of all trials together, so they are set when records are read.
"""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.dataset.first_lengths import paid_for_new_lengths
from orchestrator.dataset.flags import NEW_LENGTHS, SESSION_DRIFT
from orchestrator.dataset.schema import Execution, TrialRecord
from orchestrator.dataset.sessions import in_drifting_sessions


def with_caveats(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """The records, with the flags of their processes on their executions."""
    whole = list(records)
    new_lengths, drifting = paid_for_new_lengths(whole), in_drifting_sessions(whole)
    marked = []
    for record in whole:
        of_lengths = _flagged(record, NEW_LENGTHS, new_lengths.get(id(record), set()))
        every = {execution.prompt_number for execution in record.executions}
        in_drift = every if id(record) in drifting else set()
        marked.append(_flagged(of_lengths, SESSION_DRIFT, in_drift))
    return marked


def _flagged(record: TrialRecord, flag: str, prompts: set[int]) -> TrialRecord:
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
