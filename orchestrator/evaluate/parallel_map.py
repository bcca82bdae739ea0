"""Apply a function to many items on all CPUs of this machine, in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def spread(
    function: Callable[[Sequence[T]], list[R]], items: Iterable[T], chunk: int
) -> Iterator[list[R]]:
    """Results of a function, one list for each `chunk` items, in the order of the items.

    Each chunk runs on one CPU. Only twice as many chunks as CPUs are handed out at once, so that
    memory never holds a long list. `function`: a module's, since processes get it by its name.
    """
    n_cpus = len(os.sched_getaffinity(0))
    # not forked: a copy of this process would have its memory, and locks of threads it lacks
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_cpus, context, initializer=_end_with_parent) as pool:
        pending: deque[Future[list[R]]] = deque()
        try:
            for some in chunks(items, chunk):
                pending.append(pool.submit(function, some))
                if len(pending) >= 2 * n_cpus:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """Let a new process leave Ctrl-C to its parent, and end when that is gone, even killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def wait() -> None:
        """Wait for the parent's end."""
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items, `size` at a time, as itertools.batched of Python 3.12; the last may be shorter."""
    left = iter(items)
    while chunk := list(islice(left, size)):
        yield chunk
