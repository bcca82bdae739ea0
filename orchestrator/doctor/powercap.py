"""RAPL, the energy counters of a CPU's packages, as Linux shows them below /sys/class/powercap.

CodeCarbon reads these files. This page only says whether they are there, whether this user may
read them, and how often they move; AMD's CPUs have them under Intel's name, too.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
LOOK_FOR_S = 0.1
"""How long a counter is looked at; it moves about each millisecond."""


@dataclass(frozen=True)
class Rapl:
    """The energy counters of this host's CPU packages."""

    readable: tuple[Path, ...] = ()
    refused: tuple[Path, ...] = ()
    """There, but not for this user."""
    hidden: tuple[Path, ...] = ()
    """Named, but not there: what containers mask."""


def rapl() -> Rapl:
    """Which counters there are. A folder intel-rapl:N is a package, intel-rapl:N:M a part of it."""
    found: dict[str, list[Path]] = {"readable": [], "refused": [], "hidden": []}
    zones = [zone for zone in POWERCAP.glob("intel-rapl:*") if zone.name.count(":") == 1]
    for zone in sorted(zones):
        # psys, the whole platform, stands beside the packages
        if _name(zone).startswith("package"):
            file = zone / "energy_uj"
            found[_access(file)].append(file)
    return Rapl(**{access: tuple(files) for access, files in found.items()})


def _name(zone: Path) -> str:
    """What a zone is; a package where it doesn't tell."""
    with contextlib.suppress(OSError):
        return (zone / "name").read_text().strip()
    return "package"


def _access(file: Path) -> str:
    """How a counter answers: readable, refused or hidden."""
    try:
        int(file.read_text())
    except FileNotFoundError:
        return "hidden"
    except (OSError, ValueError):
        return "refused"
    return "readable"


def period_s(file: Path, clock: Callable[[], float] = time.perf_counter) -> float | None:
    """Mean time between two steps of a counter; None where it hardly moves."""
    began_s, shown = clock(), file.read_text()
    steps_s: list[float] = []
    while clock() - began_s < LOOK_FOR_S:
        now = file.read_text()
        if now != shown:
            steps_s.append(clock())
            shown = now
    if len(steps_s) < 2:  # noqa: PLR2004 - a period lies between two steps
        return None
    return (steps_s[-1] - steps_s[0]) / (len(steps_s) - 1)
