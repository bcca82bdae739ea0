"""Rest for a GPU before a trial: hotter silicon leaks more, so what ran before would be charged.

Until a temperature, or for a time (Cruz, "Green software engineering done right", 2021).
"""

from __future__ import annotations

import re

from orchestrator.gpu.access import GpuAccess
from orchestrator.nouns import Noun

LONGEST_S = 600.0
"""A GPU that doesn't become so cool in this time is not waited for any longer."""
LOOK_S = 1.0
SHAPE = re.compile(r"(?P<number>\d+(\.\d+)?)(?P<unit>s|C)")


class Cooldown(Noun):
    """How a GPU rests before a trial: for a time, until a temperature, or not at all."""

    seconds: float | None = None
    until_c: float | None = None


def parse_cooldown(text: str) -> Cooldown:
    """A cool-down as a user writes it: none, 30s or 50C. Raises ValueError, in one sentence."""
    if text == "none":
        return Cooldown()
    match = SHAPE.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{text!r} is not a cooldown; give none, seconds (30s) or a temperature (50C)"
        )
    number = float(match["number"])
    return Cooldown(seconds=number) if match["unit"] == "s" else Cooldown(until_c=number)


def cooled_down(cooldown: Cooldown, gpu: GpuAccess) -> float | None:
    """Let a GPU rest; how long it did, None: it wasn't asked to.

    One that doesn't tell its temperature is not waited for, one that stays hot for LONGEST_S.
    """
    if cooldown.seconds is not None:
        gpu.clock.sleep(cooldown.seconds)
        return cooldown.seconds
    if cooldown.until_c is None:
        return None
    nvml, began_s = gpu.nvml, gpu.clock()
    while gpu.clock() - began_s < LONGEST_S:
        now_c = gpu.ask(
            lambda: nvml.nvmlDeviceGetTemperature(gpu.handle, nvml.NVML_TEMPERATURE_GPU)
        )
        if now_c is None or now_c <= cooldown.until_c:
            break
        gpu.clock.sleep(LOOK_S)
    return gpu.clock() - began_s
