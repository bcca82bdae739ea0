"""Every observer hears of every event."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.ray_tune.observers import Observer, Observers
from tests import builders
from tests.ray_tune.fake_tune import assignment

SPEC = builders.spec()
EVENTS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "model_loaded": ((builders.origin(),), {}),
    "trial_started": ((SPEC, builders.origin()), {}),
    "execution_recorded": ((SPEC, builders.origin(), builders.execution()), {}),
    "trial_sealed": ((builders.record(),), {}),
    "worker_lost": ((assignment(), "its worker died"), {"retried": True}),
    "disk_full": (("no space",), {}),
}
"""Event -> its positional and named arguments."""


class Listening(Observer):
    """Tells a list of each event that it hears of, under its name."""

    def __init__(self, name: str, heard: list[Any]) -> None:
        def hearing(event: str) -> Callable[..., None]:
            return lambda *given, **named: heard.append((name, event, given, named))

        for event in EVENTS:
            setattr(self, event, hearing(event))


def test_there_is_a_case_for_each_event() -> None:
    assert set(EVENTS) == {name for name in vars(Observer) if not name.startswith("_")}


@pytest.mark.parametrize("event", EVENTS)
def test_an_event_is_passed_on_to_all_in_their_order(event: str) -> None:
    heard: list[Any] = []
    given, named = EVENTS[event]
    observers = Observers(Listening("first", heard), Listening("second", heard))
    getattr(observers, event)(*given, **named)
    assert heard == [("first", event, given, named), ("second", event, given, named)]


@pytest.mark.parametrize("event", EVENTS)
def test_an_observer_need_not_listen(event: str) -> None:
    given, named = EVENTS[event]
    getattr(Observer(), event)(*given, **named)
    getattr(Observers(), event)(*given, **named)
