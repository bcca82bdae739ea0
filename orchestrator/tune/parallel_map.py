"""Apply a function to many items on all CPUs of this machine, with a private Ray."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from orchestrator.tune.session import ray_session, set_environment

T = TypeVar("T")
R = TypeVar("R")


def spread(
    function: Callable[[Sequence[T]], list[R]], items: Sequence[T], chunk: int
) -> Iterator[list[R]]:
    """Results of a function, one list for each `chunk` items, in the order of the items.

    Each chunk runs on one CPU. Only twice as many chunks as CPUs are handed out at once, so that
    memory never holds a long list twice.
    """
    set_environment(None)
    import ray

    with ray_session(None, 0):
        # Ray takes a function, but not an object that can be called, which `function` may be
        def apply(some: Sequence[T]) -> list[R]:
            """Apply the function to a part of the items."""
            return function(some)

        work = ray.remote(num_cpus=1)(apply)
        pending: deque[Any] = deque()
        for start in range(0, len(items), chunk):
            pending.append(work.remote(items[start : start + chunk]))
            if len(pending) >= 2 * (os.cpu_count() or 1):
                yield ray.get(pending.popleft())
        while pending:
            yield ray.get(pending.popleft())
