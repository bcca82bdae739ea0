"""How jobs are submitted on a machine that is run by SLURM."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from orchestrator.nouns.base import Noun

SlurmName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
"""An account, partition or quality of service: it stands unquoted in a line of #SBATCH."""


ModuleName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+/-]{0,127}$")]
"""As `module load` takes it, e.g. cuda/12.2."""


def _absolute(path: str) -> str:
    """Job scripts quote it, so neither ~ nor variables are resolved in it."""
    if not path.startswith("/") or not path.isprintable():
        raise ValueError(
            "must be an absolute path that all nodes see, without ~, variables or control "
            "characters"
        )
    return path


NodePath = Annotated[str, AfterValidator(_absolute)]


class Slurm(Noun):
    """How jobs are submitted on a machine that is run by SLURM."""

    account: SlurmName | None = None
    """Whom the hours are billed to; a person's or a group's, so it is in no data set."""
    partition: SlurmName | None = None
    qos: SlurmName | None = None
    gpus_per_node: int | None = Field(default=None, ge=1, le=64)
    cpus_per_node: int | None = Field(default=None, ge=1, le=4096)
    """Cores of the whole node; a job with fewer GPUs asks for their share."""
    memory_mb_per_node: int | None = Field(default=None, ge=1, le=2**27)
    """What SLURM gives out of a node; shared out like the cores."""
    interface: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,14}$")] | None = None
    """Network interface for Ray, e.g. ib0; without one the address that a node's host name has."""
    modules: tuple[ModuleName, ...] = ()
    venv: NodePath | None = None
    """Virtual environment to run from; without one that of the Python which wrote the script."""
    container: NodePath | None = None
    """Apptainer image that has the program, in place of an environment."""

    @model_validator(mode="after")
    def _one_environment(self) -> Self:
        """Refuse a job in both a virtual environment and a container."""
        if self.venv and self.container:
            raise ValueError("venv and container exclude each other; leave one out")
        return self
