"""How an execution can end: its statuses and the kinds of error. Docs and checks come from here."""

from __future__ import annotations

STATUSES = {
    "ok": "a text was generated",
    "failed": "no text: error_kind and error_message say why",
}
"""Status of an execution -> what it means."""

ERROR_KINDS = {
    "oom": "memory ran out, or the text is too long for the memory that is left",
    "nan": "the model gave probabilities that are no numbers",
    "timeout": "the generation was ended by --execution-timeout",
    "server": "the server refused, broke off, or told what can't be true (--engine server)",
    "other": "any other error of the engine; its first line is in error_message",
}
"""Kind of error of a failed execution -> what it means."""
