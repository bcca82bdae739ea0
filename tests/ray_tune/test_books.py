"""Tune's books: what is over is struck off, and a trial that waits is found.

The controller and the trials are Tune's own, without a Ray that runs: a version of Ray whose
controller has other attributes fails here.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from ray.train._internal.storage import StorageContext
from ray.tune import registry
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.utils.callback import _create_default_callbacks

from orchestrator.ray_tune.books import NoProgress, ShortBooks, trainables_remembered


@pytest.fixture
def controller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TuneController:
    """Tune's controller of no trial yet."""
    # else it asks Ray for the CPUs that there are
    monkeypatch.setenv("TUNE_MAX_PENDING_TRIALS_PG", "1")
    storage = StorageContext(storage_path=str(tmp_path), experiment_dir_name="sweep")
    return TuneController(storage=storage)


def add(controller: TuneController, trial_id: str, *statuses: str) -> Trial:
    """A trial that went through these statuses."""
    trial = Trial("Measure-any", stub=True, trial_id=trial_id, config={})
    trial.create_placement_group_factory = lambda: None
    trial.placement_group_factory = "a GPU"
    controller.add_trial(trial)
    controller._pending_trials_list.clear()  # as its next step does
    for status in statuses:
        controller._set_trial_status(trial, status)
    if statuses and statuses[-1] == Trial.TERMINATED:
        controller._live_trials.discard(trial)
    return trial


def choose(controller: TuneController) -> Any:
    return ShortBooks().choose_trial_to_run(controller._wrapped())


def kept(controller: TuneController) -> set[str]:
    """Ids of the trials that Tune still holds, in whichever of its books."""
    books = vars(controller).values()
    held = [item for book in books if isinstance(book, (list, set)) for item in book]
    in_books = {trial.trial_id for trial in held if isinstance(trial, Trial)}
    return in_books | controller._trial_metadata.keys()


def test_trials_that_are_over_are_struck_off(controller: TuneController) -> None:
    over = [add(controller, f"over-{n}", Trial.RUNNING, Trial.TERMINATED) for n in range(3)]
    failed = add(controller, "failed", Trial.RUNNING, Trial.ERROR)
    running = add(controller, "running", Trial.RUNNING)
    assert kept(controller) == {*(one.trial_id for one in over), "failed", "running"}
    assert choose(controller) is None
    assert kept(controller) == {"failed", "running"}
    assert controller.get_trials() == [failed, running]


def test_the_first_that_waits_is_chosen(controller: TuneController) -> None:
    add(controller, "over", Trial.RUNNING, Trial.TERMINATED)
    first, second = add(controller, "first"), add(controller, "second")
    assert choose(controller) is first
    controller._set_trial_status(first, Trial.RUNNING)
    assert choose(controller) is second


def test_the_books_do_not_grow(controller: TuneController) -> None:
    for number in range(50):
        trial = add(controller, str(number))
        assert choose(controller) is trial
        controller._set_trial_status(trial, Trial.RUNNING)
        controller._set_trial_status(trial, Trial.TERMINATED)
        controller._live_trials.discard(trial)
        assert len(kept(controller)) == 1
    choose(controller)
    assert kept(controller) == set()
    assert controller._get_trial_checkpoints() == {}, "nothing to write down in the end"


def test_a_class_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def ask(_self: Any, _category: str, key: str) -> type:
        asked.append(key)
        return int

    book = registry._global_registry
    monkeypatch.setattr(type(book), "get", ask)
    monkeypatch.setattr(type(book), "contains", ask)
    with trainables_remembered():
        for _ in range(3):
            assert registry.get_trainable_cls("Measure-any") is int
    assert asked == ["Measure-any"] * 2, "whether it is there, and what it is"
    registry.get_trainable_cls("Measure-any")
    assert len(asked) == 4, "afterwards it is as before"


def test_no_callback_of_tune_keeps_trials(
    controller: TuneController, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tune adds one of its own where none of its kind is given."""
    trial = add(controller, "over", Trial.RUNNING)
    callbacks = [NoProgress()]
    monkeypatch.setenv("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    assert _create_default_callbacks(list(callbacks), config={}, air_verbosity=None) == callbacks
    before = pickle.dumps(callbacks)
    for event in ("on_trial_result", "on_trial_complete", "on_trial_error"):
        getattr(callbacks[0], event)(
            iteration=1, trials=[trial], trial=trial, result={"done": True}
        )
    assert pickle.dumps(callbacks) == before
