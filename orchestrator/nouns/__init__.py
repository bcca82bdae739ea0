"""The nouns of the project: frozen values with their few pure derivations, and no file access.

Units stand in the names: `_j` joules, `_kwh` kilowatt hours, `_s` seconds, `_w` watts, `_bytes`.
"""

from orchestrator.nouns.base import SOUND, Noun, digest, text_sha256
from orchestrator.nouns.bounds import (
    Amount,
    Count,
    Fact,
    FolderName,
    Moment,
    MomentText,
    Number,
    PathBelow,
    ProcessId,
    Real,
    Seconds,
    Whole,
    one_of,
)
from orchestrator.nouns.column import Column, columns_of, derived_values
from orchestrator.nouns.effective import GREEDY_BELOW_TEMPERATURE, Effective, effective_of
from orchestrator.nouns.machine import MACHINE_NAME, Listening, Machine, MachineName, Profile
from orchestrator.nouns.outcome import ERROR_KINDS, STATUSES
from orchestrator.nouns.setup import (
    DTYPES,
    MOST_IN_A_BATCH,
    PLACES,
    QUANTIZATIONS,
    SERVED,
    Dtype,
    LoadKey,
    Quantization,
    Setup,
    SetupEntry,
    SetupKey,
    Variant,
)
from orchestrator.nouns.slurm_settings import ModuleName, NodePath, Slurm, SlurmName
from orchestrator.nouns.space import (
    DOMAIN,
    KINDS,
    PARAMETERS,
    Configuration,
    Parameter,
    Parameters,
    Space,
)
from orchestrator.nouns.trial import ANCHOR, TrialKey, TrialSpec, generation_seed
from orchestrator.nouns.use_case import LONGEST_PROMPT, Prompt, UseCase

__all__ = [
    "Amount",
    "Count",
    "Fact",
    "FolderName",
    "Moment",
    "MomentText",
    "Number",
    "PathBelow",
    "ProcessId",
    "Real",
    "Seconds",
    "Whole",
    "one_of",
    "ANCHOR",
    "Column",
    "Configuration",
    "DOMAIN",
    "DTYPES",
    "Dtype",
    "ERROR_KINDS",
    "Effective",
    "GREEDY_BELOW_TEMPERATURE",
    "KINDS",
    "LONGEST_PROMPT",
    "Listening",
    "LoadKey",
    "MACHINE_NAME",
    "MOST_IN_A_BATCH",
    "MachineName",
    "SERVED",
    "SOUND",
    "Machine",
    "ModuleName",
    "NodePath",
    "Noun",
    "PARAMETERS",
    "PLACES",
    "Parameter",
    "Parameters",
    "Profile",
    "Prompt",
    "QUANTIZATIONS",
    "Quantization",
    "STATUSES",
    "Setup",
    "SetupEntry",
    "SetupKey",
    "Slurm",
    "SlurmName",
    "Space",
    "TrialKey",
    "TrialSpec",
    "UseCase",
    "Variant",
    "columns_of",
    "derived_values",
    "digest",
    "generation_seed",
    "effective_of",
    "text_sha256",
]
