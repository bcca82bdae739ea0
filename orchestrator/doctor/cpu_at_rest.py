"""How the energies of CPU and RAM are known on this host: measured by RAPL, or a model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from orchestrator.doctor.checks import Check
from orchestrator.doctor.powercap import Rapl, period_s, rapl
from orchestrator.doctor.rest import Rest, rest, running_meters
from orchestrator.gpu.access import RealClock
from orchestrator.meters import Scene
from orchestrator.nouns import Machine
from orchestrator.units import number, plural

WINDOW_S = 1.0
PUBLISH_GPU = "publish the GPU's energy, not a total"
PUBLISH_NONE = "try things out here, and measure what you publish on a machine with a GPU"
CHMOD = "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj"
MODELS = {
    "cpu_load": "nominal power times this process's share of the CPU",
    "constant": "a constant power",
}
"""CodeCarbon's method -> what it computes."""


def cpu_rest(machine: Machine) -> Rest:
    """CodeCarbon over a moment, without any GPU."""
    clock = RealClock()
    with running_meters(Scene(machine), clock) as meters:
        return rest(meters, clock, WINDOW_S)


def cpu_checks(
    at_rest: Rest, machine: Machine, machine_file: Path, *, has_gpu: bool
) -> Iterator[Check]:
    """How the energies of CPU and RAM are known, with a live reading of each."""
    counters = rapl()
    why, remedy = _why_no_rapl(counters, machine, machine_file)
    yield _cpu(at_rest, counters, why, remedy or (PUBLISH_GPU if has_gpu else PUBLISH_NONE))
    watts = at_rest.codecarbon_watts("ram_energy_j")
    if watts is not None:
        found = f"a model of CodeCarbon's, as on every machine: {number(watts)} W"
        yield Check("RAM energy", found, values={"power_w": watts})


def _cpu(at_rest: Rest, counters: Rapl, why: str, remedy: str) -> Check:
    """Whether the CPU's energy is measured, a model or unknown.

    `why`, `remedy`: of RAPL that isn't used.
    """
    name, method = "CPU energy", at_rest.reading.values.get("cpu_method")
    watts = at_rest.codecarbon_watts("cpu_energy_j")
    values = {"method": method, "power_w": watts}
    if watts is None:
        found = f"unknown, so its columns will be null: {at_rest.why_not('cpu_energy_j')}; {why}"
        return Check(name, found, "warning", remedy, values)
    if method != "rapl":
        model = f"a model of CodeCarbon's ({MODELS.get(str(method), method)})"
        found = f"{model}: {number(watts, 2)} W at rest; {why}"
        return Check(name, found, "warning", remedy, values)
    found = f"measured by RAPL, {number(watts)} W while nothing runs"
    if counters.readable:
        values["period_s"] = period_s(counters.readable[0])
        found += f", {plural(len(counters.readable), 'package')}, {_step(values['period_s'])}"
    if counters.refused:
        found += f"; a part is missing: this user may not read {_listed(counters.refused)}"
        return Check(name, found, "warning", remedy, values)
    return Check(name, found, values=values)


def _listed(files: tuple[Path, ...]) -> str:
    """Files for a sentence."""
    return ", ".join(map(str, files))


def _step(seconds: float | None) -> str:
    """How often a RAPL counter moves."""
    if seconds is None:
        return "whose counter did not move when it was looked at"
    return f"one step every {number(1000 * seconds, 2)} ms"


def _why_no_rapl(counters: Rapl, machine: Machine, machine_file: Path) -> tuple[str, str | None]:
    """Why RAPL isn't used, or not for all packages; and what to do about it, if anything helps."""
    if counters.refused:
        ask = f"ask the administrator for `{CHMOD}`, which lasts until the next boot"
        return (
            f"RAPL is there, but this user may not read {_listed(counters.refused)}",
            f"{ask}; docs/machines.md has a udev rule that lasts",
        )
    if counters.hidden:
        why = f"RAPL is hidden, as is usual in containers ({counters.hidden[0]} is not there)"
        return why, "run outside the container to measure it"
    if not counters.readable:
        return "this host shows no RAPL, like most virtual machines", None
    if machine.cpu_power_w is not None:
        why = f"RAPL is there, but cpu_power_w in {machine_file} takes its place"
        return why, f"remove cpu_power_w from {machine_file}"
    return f"RAPL is there ({counters.readable[0]}), but CodeCarbon doesn't use it", None
