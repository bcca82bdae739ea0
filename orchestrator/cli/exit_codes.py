"""Exit codes of the command line; 0 is success."""

USER_ERROR = 2
"""The user can mend it: a wrong option, file or address."""
FAULTS = 3
"""The command ran to its end, but executions failed or checks found errors."""
DRAINED = 75
"""A sweep stopped before its end and can be resumed (EX_TEMPFAIL of sysexits.h)."""
INTERRUPTED = 130
"""Ctrl-C: 128 + SIGINT, as shells report it."""
