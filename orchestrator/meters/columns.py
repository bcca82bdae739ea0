"""The columns that each meter writes, with their meaning. Doesn't load any instrument."""

from __future__ import annotations

from typing import Annotated

from orchestrator.nouns import Amount, Column, Count, Noun, Real, Seconds


class NeighbourColumns(Noun):
    """Who else was on the GPU."""

    n_foreign_processes: Annotated[
        Count | None,
        Column(
            "other processes that computed on the GPU before or after the window",
            null="no GPU, or it doesn't tell",
        ),
    ] = None


class CodeCarbonColumns(Noun):
    """What CodeCarbon gives of a window."""

    energy_kwh: Annotated[
        Amount | None,
        Column("CodeCarbon's total of CPU, GPU and RAM, times the PUE", "kWh", "see notes"),
    ] = None
    energy_j: Annotated[Amount | None, Column("energy_kwh in joules", "J", "see notes")] = None
    emissions_kg: Annotated[
        Amount | None,
        Column("CO2 equivalent of energy_kwh by CodeCarbon's carbon intensity", "kg", "see notes"),
    ] = None
    gpu_energy_cc_j: Annotated[
        Amount | None,
        Column("GPU energy as CodeCarbon has it, times the PUE", "J", "no GPU, see notes"),
    ] = None
    cpu_energy_j: Annotated[
        Amount | None,
        Column("CPU energy by CodeCarbon; of a shared package an equal part", "J", "see notes"),
    ] = None
    cpu_method: Annotated[
        str | None, Column("rapl (measured), cpu_load or constant (models)", null="not measured")
    ] = None
    ram_energy_j: Annotated[
        Amount | None, Column("RAM energy as CodeCarbon has it: a model", "J", "see notes")
    ] = None
    ram_method: Annotated[str | None, Column("process_rss or constant", null="not measured")] = None
    ram_scope: Annotated[
        str | None,
        Column(
            "whose memory ram_energy_j is of: process; node: the whole host's; requested: the "
            "SLURM job's part of it (node and requested: an equal part for each of n_parallel)",
            null="not measured, or before version 3",
        ),
    ] = None
    slurm_node: Annotated[
        str | None,
        Column(
            "what the SLURM job had of the host's CPUs: whole, part (other jobs may use the rest) "
            "or unknown",
            null="no SLURM job, or before version 3",
        ),
    ] = None
    pue: Annotated[
        Amount | None,
        Column(
            "what CodeCarbon's energies are multiplied by for the building's own use",
            "1",
            "not recorded by an earlier version",
        ),
    ] = None


class CounterColumns(Noun):
    """What the GPU's energy counter gives."""

    gpu_energy_counter_j: Annotated[
        Amount | None,
        Column("GPU energy by NVML's counter", "J", "no GPU or no counter, see notes"),
    ] = None
    counter_rest_j: Annotated[
        Real | None,
        Column(
            "part of it between the counter's steps and the window's two edges",
            "J",
            "no GPU or no counter",
        ),
    ] = None
    counter_steps: Annotated[
        Count | None, Column("steps of the counter in the window", null="no GPU or no counter")
    ] = None
    counter_look_s: Annotated[
        Seconds | None,
        Column(
            "time between two looks at the counter around a step: how sharply it is seen",
            "s",
            "no GPU or no counter",
        ),
    ] = None
    power_before_w: Annotated[
        Amount | None,
        Column(
            "mean power of the GPU in the counter's step before the window: idle, model loaded",
            "W",
            "no GPU or no counter",
        ),
    ] = None
    counter_period_s: Annotated[
        Seconds | None, Column("time between two of them", "s", "no GPU or no counter")
    ] = None


class PowerColumns(Noun):
    """What polled power of the GPU gives."""

    gpu_energy_integrated_j: Annotated[
        Amount | None,
        Column("GPU energy by integrated power", "J", "no GPU or no samples, see notes"),
    ] = None
    power_semantics: Annotated[
        str | None,
        Column("what the polled power is: instant, average_1s or unknown", null="no GPU"),
    ] = None
    temperature_begin_c: Annotated[
        Real | None,
        Column("temperature of the GPU as the window began", "°C", "no GPU, or it doesn't tell"),
    ] = None
    temperature_end_c: Annotated[
        Real | None,
        Column("temperature of the GPU as it ended", "°C", "no GPU, or it doesn't tell"),
    ] = None
    throttled: Annotated[
        bool | None,
        Column(
            "whether the GPU slowed itself down for heat or power, looked at every 0.1 s",
            null="no GPU, or it doesn't tell",
        ),
    ] = None
