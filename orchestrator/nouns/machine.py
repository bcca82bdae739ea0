"""A kind of hardware, as a file of clusters/ describes it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator

from orchestrator.nouns.base import Noun
from orchestrator.nouns.slurm_settings import Slurm
from orchestrator.nouns.space import KINDS, Parameter

MACHINE_NAME = r"^[a-z0-9][a-z0-9_-]{0,31}$"
"""What a kind of machine may be called."""
MachineName = Annotated[str, Field(pattern=MACHINE_NAME)]


class Profile(Noun):
    """What a kind of machine changes in the defaults; flags given by the user beat it."""

    model: str | None = None
    samples: int | None = Field(default=None, ge=1)
    prompts: int | None = Field(default=None, ge=1)
    quantization: str | None = None
    ranges: dict[Literal["max_length", "top_p", "top_k", "temperature"], tuple[float, float]] = {}

    @field_validator("ranges")
    @classmethod
    def _valid_axes(cls, ranges: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
        """Raise for impossible ranges here, where the file is named.

        Once they are merged with a space, the fault would look like one of --range.
        """
        for name, (low, high) in ranges.items():
            try:
                Parameter(type=KINDS[name], low=low, high=high)
            except ValidationError as error:
                raise ValueError(
                    f"{name}: " + error.errors()[0]["msg"].removeprefix("Value error, ")
                ) from error
        return ranges


class Listening(Noun):
    """Where a node of a Ray cluster listens; the flags of `cluster start` and `join` beat it."""

    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.:-]{0,252}$")] | None = None
    """An address or a name of this machine.

    None: 127.0.0.1 for a head, for others the address that reaches the head.
    """
    ports: Annotated[str, Field(pattern=r"^[0-9]{4,5}-[0-9]{4,5}$")] | None = None
    """LOW-HIGH; None: any free ones."""


class Machine(Noun):
    """A kind of hardware.

    Its name is a level of the data set's folders, and the label `machine` of a Ray node.
    """

    name: MachineName
    description: str = ""
    accelerator: Literal["gpu", "cpu"]
    country_iso_code: str | None = Field(default=None, pattern=r"^[A-Z]{3}$")
    """ISO 3166-1 alpha-3; without one CodeCarbon's world average is used and the row says so."""
    carbon_intensity_g_per_kwh: float | None = Field(default=None, gt=0)
    pue: float = Field(default=1.0, ge=1.0)
    cpu_power_w: float | None = Field(default=None, gt=0)
    """Nominal power of a CPU that CodeCarbon doesn't know. If it is given, RAPL is not used."""
    ram_power_w: float | None = Field(default=None, gt=0)
    """Power of all memory of a machine, in place of CodeCarbon's model.

    A trial is charged its part: of the memory that its SLURM job asked for, and of the trials that
    may run at once.
    """
    parallel_trials: int | None = Field(default=None, ge=1)
    """How many trials at once on one machine without a GPU; with GPUs it is one a GPU."""
    isolation: Literal["gpu", "host"] = "gpu"
    """What a trial has for itself: its GPU, or the whole host with the energy of CPU and RAM."""
    gpu_memory_gib: float | None = Field(default=None, gt=0)
    """Of one GPU. In a cluster a kind of machine that can't hold the model gets no trials."""
    profile: Profile = Profile()
    listen: Listening = Field(default=Listening(), exclude=True)
    """Never written with the machine: addresses of a network don't belong into published data."""
    slurm: Slurm = Field(default=Slurm(), exclude=True)
    """Never written with the machine: who paid for it doesn't belong into published data."""
