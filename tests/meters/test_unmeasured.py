"""Where nothing can be measured each energy is null, for a reason."""

from __future__ import annotations

from orchestrator.metered import metered
from orchestrator.meters import Scene, meters_for
from orchestrator.meters.codecarbon import FIGURES
from orchestrator.nouns import Machine

ELSEWHERE = Scene(
    Machine(name="test", accelerator="cpu", cpu_power_w=100), why_unmeasured="it is elsewhere"
)


def test_no_meter_reads_this_host_in_place_of_another() -> None:
    done = metered(meters_for(ELSEWHERE), lambda: 0.0, lambda: "text")
    assert done.result == "text"
    assert set(done.reading.values.values()) == {None}
    assert done.reading.notes == dict.fromkeys(FIGURES, "it is elsewhere")
    assert done.reading.codecarbon == {}
