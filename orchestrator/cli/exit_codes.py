"""Exit codes of the command line; 0 is success. Those of a process that is ended are of its end."""

from orchestrator.process_end import DRAINED, INTERRUPTED

__all__ = ["DIFFERENT", "DRAINED", "FAULTS", "INTERRUPTED", "USER_ERROR"]

DIFFERENT = 1
"""What was compared isn't the same work."""
USER_ERROR = 2
"""The user can mend it: a wrong option, file or address."""
FAULTS = 3
"""The command ran to its end, but executions failed or checks found errors."""
