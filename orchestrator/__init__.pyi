from orchestrator.api.data_set import DataSet as DataSet
from orchestrator.api.data_set import load as load
from orchestrator.api.sweeps import Plan as Plan
from orchestrator.api.sweeps import plan as plan
from orchestrator.api.sweeps import tune as tune
from orchestrator.errors import TryAgainError as TryAgainError
from orchestrator.errors import UserError as UserError

__all__ = ["DataSet", "Plan", "TryAgainError", "UserError", "load", "plan", "tune"]

__version__: str
