"""The Ray cluster that a sweep runs on, in a process of its own."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

from tools.chaos.sweep import REPOSITORY, Sweep


class Cluster:
    """A head and two nodes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert process.stdout
        self.address = process.stdout.readline().strip()

    def tell(self, line: str) -> None:
        """Give a command, and wait until it is done."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        self._process.stdout.readline()


@contextlib.contextmanager
def cluster_of(sweep: Sweep) -> Iterator[Cluster | None]:
    """A Ray cluster for a sweep that runs on one; None for a private Ray."""
    if sweep.mode == "private":
        yield None
        return
    command = [sys.executable, "-m", "tools.chaos.cluster_process", str(sweep.number)]
    environment = {**sweep.environment(), "RAY_AUTH_MODE": "disabled"}
    environment["TMPDIR"] = "/tmp"  # noqa: S108 - the paths of Ray's sockets must be short
    with (sweep.folder / "cluster.log").open("a") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment,
            cwd=REPOSITORY,
        )
        try:
            yield Cluster(process)
        finally:
            assert process.stdin
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=30)
            process.kill()
            sweep.end_processes()
