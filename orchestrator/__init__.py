"""Energy measurements of LLM inference over generation hyperparameters.

From Python: `plan` what a sweep would run, `tune` to run it, `load` a data set as pandas tables
(docs/python.md). Nothing is imported before it is used: Ray, torch and pandas take seconds.

Each verb of the command line begins in cli/. A sweep is planned and run in sweep/, a prompt
measured in measure.py, and what was measured written and read in dataset/. docs/architecture.md
tells the rest.
"""

import importlib

__version__ = "0.1.0"
__all__ = ["DataSet", "Plan", "TryAgainError", "UserError", "load", "plan", "tune"]

_HOMES = {
    "DataSet": "orchestrator.api.data_set",
    "load": "orchestrator.api.data_set",
    "Plan": "orchestrator.api.sweeps",
    "plan": "orchestrator.api.sweeps",
    "tune": "orchestrator.api.sweeps",
    "TryAgainError": "orchestrator.errors",
    "UserError": "orchestrator.errors",
}
"""Name -> the module that has it. Type checkers read __init__.pyi instead."""


def __getattr__(name: str) -> object:
    """A public name, from its module, which is imported now."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """What completion offers: the public names and what is imported already."""
    return sorted({*globals(), *__all__})
