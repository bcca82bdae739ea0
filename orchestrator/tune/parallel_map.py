"""Share plain work out over the CPUs, by a private Ray."""

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
    """The function's results on the items, `chunk` at a time, each chunk on a CPU of its own, in order.

    No more chunks are under way than twice the CPUs, so that a long list isn't held twice.
    """
    set_environment(None)
    import ray

    with ray_session(None, 0):

        def apply(
            some: Sequence[T],
        ) -> list[R]:  # Ray takes a function, not anything that can be called
            return function(some)

        work = ray.remote(num_cpus=1)(apply)
        under_way: deque[Any] = deque()
        for start in range(0, len(items), chunk):
            under_way.append(work.remote(items[start : start + chunk]))
            if len(under_way) >= 2 * (os.cpu_count() or 1):
                yield ray.get(under_way.popleft())
        while under_way:
            yield ray.get(under_way.popleft())
