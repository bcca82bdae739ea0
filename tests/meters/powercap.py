"""A host with RAPL that isn't there: a folder like /sys/class/powercap, which CodeCarbon reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

RANGE_UJ = 262_143_328_850
"""The range of Intel's server CPUs: 262 kJ, then the counter starts again at 0."""


class Powercap:
    """Energy counters of packages; energy is used only by `use`."""

    def __init__(self, folder: Path, *, starts_uj: tuple[int, ...] = (1_000_000,)) -> None:
        self.folder = folder / "intel-rapl"
        for number, start_uj in enumerate(starts_uj):
            domain = self._domain(number)
            domain.mkdir(parents=True)
            (domain / "name").write_text(f"package-{number}\n")
            (domain / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")
            (domain / "energy_uj").write_text(f"{start_uj}\n")

    def _domain(self, number: int) -> Path:
        """The folder of a package."""
        return self.folder / f"intel-rapl:{number}"

    def use(self, joules: float, package: int = 0) -> None:
        """Let a package use energy; its counter goes round."""
        counter = self._domain(package) / "energy_uj"
        now_uj = (int(counter.read_text()) + round(joules * 1e6)) % RANGE_UJ
        counter.write_text(f"{now_uj}\n")

    def hide(self, name: str, package: int = 0) -> None:
        """Take a file of a package away."""
        (self._domain(package) / name).unlink()


@contextmanager
def installed(tree: Powercap) -> Iterator[Powercap]:
    """CodeCarbon finds this tree in place of the host's."""
    from codecarbon.core import cpu, hardware_cache
    from codecarbon.external import hardware

    found, read = cpu.is_rapl_available, cpu.IntelRAPL
    where = str(tree.folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu, "is_rapl_available", lambda: found(where))
        patch.setattr(
            hardware, "IntelRAPL", lambda **options: read(**options | {"rapl_dir": where})
        )
        patch.setattr(hardware_cache, "_plans", {})  # what it found of the real host
        yield tree
