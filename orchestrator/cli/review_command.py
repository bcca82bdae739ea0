"""`review`: a page where a person keeps or discards texts."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
import webbrowser
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import existing_out_option

if TYPE_CHECKING:
    from orchestrator.dataset.paths import DataSetPaths
    from orchestrator.review.review_queue import Queue

LONGEST_NAME = 64


@click.command()
@existing_out_option
@click.option(
    "--reviewer",
    metavar="NAME",
    help="Whose decisions they are; it is published with them. [default: the login name]",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default=True,
    help="On 127.0.0.1; 0: a free one.",
)
@click.option("--no-browser", is_flag=True, help="Print the address, open nothing.")
def review(*, out: Path, reviewer: str | None, port: int, no_browser: bool) -> None:
    """Read outputs beside their configuration and the machine's verdict, and keep or discard them with the keyboard.

    Serves a page on this machine alone until Ctrl-C. Decisions are written at once to reviews.jsonl and stand above the machine's
    verdicts; at the end they are taken into the tables.

    \b
    Example:
      orchestrator review --reviewer ada
    """  # noqa: D301 - click wants the character
    import secrets

    from orchestrator.dataset.paths import DataSetPaths
    from orchestrator.dataset.tables import read_all
    from orchestrator.errors import UserError
    from orchestrator.review.review_queue import Queue
    from orchestrator.review.review_server import ReviewServer, serve
    from orchestrator.yaml_files import printable

    paths = DataSetPaths(out)
    name = _reviewer(reviewer)
    trials, faults = read_all(paths)
    for fault in faults:
        click.echo(printable(f"left out: {fault}"), err=True)
    queue = Queue(paths, trials, name)
    if not queue.items:
        raise UserError(f"--out {out}: has no text to review; run `orchestrator tune` first")
    token = secrets.token_urlsafe(24)

    def ready(bound: int) -> None:
        address = f"http://127.0.0.1:{bound}/{token}/"
        click.echo(
            f"{len(queue.items)} texts to review as {printable(name)}: {address}\nCtrl-C ends it."
        )
        if not no_browser:
            _open(address, Path(folder))

    server = ReviewServer(queue, token).application()
    with tempfile.TemporaryDirectory(prefix="review-") as folder:
        asyncio.run(_until_stopped(lambda ended: serve(server, port, ready, ended)))
    _sum_up(paths, queue)


def _reviewer(name: str | None) -> str:
    """The name to write down. Raises UserError where there is none that can be."""
    import getpass

    from orchestrator.errors import UserError

    if name is None:
        try:
            name = getpass.getuser()
        except (
            OSError,
            KeyError,
            ImportError,
        ):  # a container's user without an entry; which one depends on Python's version
            raise UserError("--reviewer: give a name, this user has none") from None
    name = name.strip()
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise UserError(f"--reviewer: must be 1 to {LONGEST_NAME} printable characters")
    return name


def _open(address: str, folder: Path) -> None:
    """Show the page if there is a display, by way of a file in a folder of this user: others see the arguments of processes."""
    if sys.platform == "linux" and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        return
    file = folder / "open.html"
    file.write_text(
        f'<!doctype html><meta http-equiv="refresh" content="0; url={address}">', encoding="utf-8"
    )
    with contextlib.suppress(webbrowser.Error):
        webbrowser.open(file.as_uri())


async def _until_stopped(serving: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Serve until Ctrl-C or SIGTERM."""
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await serving(ended)


def _sum_up(paths: DataSetPaths, queue: Queue) -> None:
    """Say what was decided, and take it into the tables unless a sweep does."""
    from orchestrator.dataset.lock import holder_of, seems_alive
    from orchestrator.dataset.tables import rebuild
    from orchestrator.errors import UserError

    words = list(queue.decided.values())
    if not words:
        click.echo("Nothing decided.")
        return
    kept, discarded = words.count("keep"), words.count("discard")
    click.echo(
        f"{len(words)} decided: {kept} kept, {discarded} discarded, {len(words) - kept - discarded} taken back"
    )
    if (holder := holder_of(paths.root)) and seems_alive(paths.root, holder):
        click.echo("A sweep runs there and takes them into the tables.")
        return
    click.echo("Taking them into the tables ...")
    try:
        rebuild(paths)
    except OSError as error:
        what = f"{error.filename or paths.root}: can't be written ({error.strerror})"
        raise UserError(
            f"{what}; the decisions are kept, `orchestrator summarize` takes them into the tables"
        ) from error
    click.echo(f"-> {paths.executions}, {paths.summary}")
