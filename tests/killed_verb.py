"""A program that runs a verb again and again, each time killed one step later than before.

python -m tests.killed_verb BASE WORK JSON STRIDE: BASE is the data set before, WORK where it is
copied to for each time; JSON has `killed`, the verb's arguments for the run that is killed, and
`again`, those of the run after it. For each step, of a STRIDE above 1 for every so many of them, it
prints a line of JSON: what the second run left. The verb is forked from this process, so that
nothing is imported more than once.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pandas as pd
import pyarrow.parquet

import orchestrator.check.validation
import orchestrator.evaluate.evaluation
import orchestrator.evaluate.words
import orchestrator.importer.import_tree
import orchestrator.merge
import orchestrator.publish.publishing
import orchestrator.publish.scan
import orchestrator.report.charts
import orchestrator.report.drawing
import orchestrator.report.page_content
import orchestrator.review.review_server
from orchestrator.cli import main

LOADED = (huggingface_hub, pd, pyarrow.parquet)
STEPS = ("fsync", "replace", "rename", "unlink", "mkdir", "rmdir", "truncate", "ftruncate")
"""Functions of os that change a disk; a kill comes just before one."""
MOST_STEPS = 300


def kill_at(step: int) -> None:
    """Let SIGKILL come before the call of this number, from 1."""
    calls = 0

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)

        return call

    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))


def decide_at_once() -> None:
    """Let `review` serve nothing: its reviewer discards the first text and leaves."""
    module = orchestrator.review.review_server
    queues: list[Any] = []

    class Server(module.ReviewServer):
        def __init__(self, queue: Any, token: str) -> None:
            queues.append(queue)
            super().__init__(queue, token)

    async def serve(_app: Any, _port: int, ready: Any, _ended: asyncio.Event) -> None:
        ready(1)
        (queue,) = queues
        queue.decide(next(iter(queue.items.values())), "discard", "")

    module.ReviewServer = Server  # type: ignore[misc]
    module.serve = serve


def run(arguments: list[str], step: int | None) -> int:
    """Run a verb in a process of its own, killed before a step; its exit status for the system."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    said = os.open(Path(tempfile.gettempdir()).parent / "said.txt", os.O_CREAT | os.O_WRONLY, 0o600)
    os.dup2(said, 1)
    os.dup2(said, 2)
    orchestrator.publish.scan.names_here = lambda _names: ()
    # the card's chart: to start what draws takes a second, and it writes nothing
    orchestrator.report.drawing.drawn = lambda *_arguments: b"a picture"
    decide_at_once()
    if step is not None:
        kill_at(step)
    try:
        main(arguments)
    except SystemExit as ended:
        os._exit(int(ended.code or 0))
    os._exit(99)


def left(work: Path) -> dict[str, str]:
    """Hash of every file, hidden ones too; of an import without its time."""
    hashes = {}
    for path in sorted(work.rglob("*")):
        if path.is_file() and path.name != "reviews.jsonl":
            content = re.sub(rb'"imported_at": "[^"]*"', b"", path.read_bytes())
            hashes[path.relative_to(work).as_posix()] = hashlib.sha256(content).hexdigest()
    return hashes


def fresh(base: Path, work: Path) -> None:
    """The data set as it was before."""
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(base, work, symlinks=True)


if __name__ == "__main__":
    base, work, arguments = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
    orchestrator.evaluate.words.looked_up("en")["word"]  # the dictionary, once for all that follow
    fresh(base, work)
    code = os.waitstatus_to_exitcode(run(arguments["again"], None))
    print(json.dumps({"step": 0, "codes": [code], "left": left(work)}))
    for step in range(1, MOST_STEPS, int(sys.argv[4])):
        fresh(base, work)
        killed = os.waitstatus_to_exitcode(run(arguments["killed"], step))
        if killed != -signal.SIGKILL:
            break
        again = os.waitstatus_to_exitcode(run(arguments["again"], None))
        temporary = sorted(path.name for path in Path(tempfile.gettempdir()).iterdir())
        result = {"step": step, "codes": [again], "left": left(work), "temporary": temporary}
        print(json.dumps(result))
