# What type checkers read of the package. It stands nearly alone: following the modules would lead
# them into torch and Ray, which takes minutes. tests/api/test_stub.py holds it against the code.
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypedDict, Unpack

import pandas as pd

from orchestrator.errors import TryAgainError as TryAgainError
from orchestrator.errors import UserError as UserError

__all__ = ["DataSet", "Plan", "TryAgainError", "UserError", "load", "plan", "tune"]
__version__: str

Dtype: TypeAlias = Literal["auto", "float32", "float16", "bfloat16"]
Rerun: TypeAlias = Literal["failed", "oom", "timeout", "flagged"]

class SweepOptions(TypedDict, total=False):
    plan: str | Path
    samples: int
    seed: int
    repeats: int
    models: str | Sequence[str]
    quantizations: str | Sequence[str]
    engines: str | Sequence[str]
    dtypes: Dtype | Sequence[Dtype]
    batch_sizes: int | Sequence[int]
    chat_template: Literal["auto", "off"]
    fixed_length: bool
    max_new_tokens: bool
    beyond_context: bool
    engine_options: Mapping[str, Any]
    use_cases: str | Sequence[str]
    prompts: int
    ranges: Mapping[str, tuple[float, float] | float]
    machine: str
    country: str
    parallel: int
    isolation: Literal["gpu", "host"]
    order: Literal["shuffled", "design"]
    shard: str
    out: str | Path
    address: str

class Plan:
    @property
    def id(self) -> str: ...
    @property
    def n_trials(self) -> int: ...
    @property
    def n_executions(self) -> int: ...
    @property
    def n_missing(self) -> int: ...
    @property
    def notes(self) -> tuple[str, ...]: ...
    @property
    def trials(self) -> pd.DataFrame: ...

class DataSet:
    folder: Path
    run: Mapping[str, Any] | None
    @property
    def executions(self) -> pd.DataFrame: ...
    @property
    def summary(self) -> pd.DataFrame: ...
    @property
    def trials(self) -> pd.DataFrame: ...
    @property
    def frontier(self) -> pd.DataFrame: ...
    @property
    def effects(self) -> pd.DataFrame: ...
    @property
    def findings(self) -> tuple[str, ...]: ...
    @property
    def columns(self) -> pd.DataFrame: ...

def load(folder: str | Path) -> DataSet: ...
def plan(space: str | Path | None = None, **options: Unpack[SweepOptions]) -> Plan: ...
def tune(
    space: str | Path | None = None,
    *,
    rerun: Rerun | Sequence[Rerun] = (),
    force: bool = False,
    execution_timeout_s: float | None = None,
    min_busy_s: float | None = None,
    cooldown: str = "none",
    log_to: str | Sequence[str] = (),
    max_hours: float | None = None,
    max_kwh: float | None = None,
    max_gpu_hours: float | None = None,
    accept_drift: bool = False,
    show: bool = True,
    **options: Unpack[SweepOptions],
) -> DataSet: ...
