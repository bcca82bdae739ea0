"""Exit codes; 0 is success."""

USER_ERROR = 2
FAULTS = 3
"""It ran, and what it ran or looked at has faults."""
DRAINED = 75
"""EX_TEMPFAIL of sysexits.h: to be run again."""
INTERRUPTED = 130
"""By Ctrl-C, as a shell counts it."""
