"""Keeps Tune's books short: what a trial costs there is little and doesn't grow with their number.

Tune keeps every trial to the end, looks through all of them several times a step, and writes all of
them down when it ends. The data set has what they gave, so those that are over are struck off. And
for each trial it asks Ray's head three times for the class of a trainable, which never changes.

Tune has no settings for either, so this uses attributes of it that have no public name;
tests/ray_tune/test_books.py tells when a version of Ray has others.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from ray.tune import registry
from ray.tune.experiment import Trial
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import FIFOScheduler


class ShortBooks(FIFOScheduler):  # type: ignore[misc]  # ray has no types
    """First in, first out, as Tune's default; trials that are over are struck off before."""

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """The trial that waits for the longest time; None: none waits."""
        strike_off(tune_controller._tune_controller)  # noqa: SLF001 - the wrapper hides it
        waiting = (trial for trial in tune_controller.get_trials() if trial.status == Trial.PENDING)
        return next(waiting, None)


def strike_off(controller: Any) -> None:
    """Remove trials that are over from the books of a TuneController, but for those that failed."""
    over = controller._stopped_trials  # noqa: SLF001
    if not over:
        return
    # in place, since the lists and sets are shared with others
    controller._trials[:] = [one for one in controller._trials if one not in over]  # noqa: SLF001
    controller._trials_to_cache -= over  # noqa: SLF001
    for trial in over:
        controller._trial_metadata.pop(trial.trial_id, None)  # noqa: SLF001
    over.clear()


class NoProgress(TrialProgressCallback):  # type: ignore[misc]  # ray has no types
    """In place of Tune's own, which prints nothing here and keeps every trial with its results."""

    def on_trial_result(self, *_arguments: Any, **_info: Any) -> None:
        """Keep nothing."""

    def on_trial_error(self, *_arguments: Any, **_info: Any) -> None:
        """Keep nothing."""

    def on_trial_complete(self, *_arguments: Any, **_info: Any) -> None:
        """Keep nothing."""


@contextlib.contextmanager
def trainables_remembered() -> Iterator[None]:
    """Meanwhile Tune asks Ray's head only once for each class that was registered."""
    book = registry._global_registry  # noqa: SLF001
    ask_for, ask_whether = book.get, book.contains
    known: dict[tuple[str, str], Any] = {}

    def get(category: str, key: str) -> Any:
        """What is registered under a name."""
        if (category, key) not in known:
            known[category, key] = ask_for(category, key)
        return known[category, key]

    def contains(category: str, key: str) -> bool:
        """Whether something is registered under a name."""
        return (category, key) in known or ask_whether(category, key)

    book.get, book.contains = get, contains
    try:
        yield
    finally:
        del book.get, book.contains
