"""`review`: serve a page on which a person keeps or discards texts."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import webbrowser
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import existing_out_option
from orchestrator.cli.terminal import say
from orchestrator.units import plural

if TYPE_CHECKING:
    from orchestrator.dataset.paths import DataSetPaths
    from orchestrator.review.review_queue import Queue

LONGEST_NAME = 64


@click.command()
@existing_out_option
@click.option(
    "--reviewer",
    metavar="NAME",
    help="Your name, recorded and published with your decisions.  [default: your login name]",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default=True,
    help="Port on 127.0.0.1; 0 picks a free one.",
)
@click.option("--no-browser", is_flag=True, help="Print the page's address, but open no browser.")
def review(*, out: Path, reviewer: str | None, port: int, no_browser: bool) -> None:
    """Keep or discard texts by hand, on a page in the browser.

    The page shows each text with its prompt and configuration, and has a key for everything. The
    verdict of the rules stays hidden until you have decided. Only this machine can open the page,
    and Ctrl-C ends it. Each decision is saved at once, in reviews.jsonl, and overrules the rules;
    at the end the tables are rebuilt.

    \b
    Example:
      orchestrator review --reviewer ada
    """  # noqa: D301 - click wants the character
    import secrets

    from orchestrator.dataset.paths import DataSetPaths
    from orchestrator.dataset.tables import read_all
    from orchestrator.errors import UserError
    from orchestrator.ray_tune.temp_folders import remove_orphans, scratch_folder
    from orchestrator.review.review_queue import Queue
    from orchestrator.review.review_server import ReviewServer, serve
    from orchestrator.yaml_files import printable

    paths = DataSetPaths(out)
    name = _reviewer(reviewer)
    trials, faults = read_all(paths)
    for fault in faults:
        say(f"left out: {fault}")
    queue = Queue(paths, trials, name)
    if not queue.items:
        raise UserError(f"--out {out}: holds no text to review; run `orchestrator tune` first")
    token = secrets.token_urlsafe(24)

    def ready(bound: int) -> None:
        """Say where the page is once the port is open, and show it in the browser."""
        address = f"http://127.0.0.1:{bound}/{token}/"
        texts = plural(len(queue.items), "text")
        click.echo(f"{texts} to review as {printable(name)}: {address}\nStop with Ctrl-C.")
        if not no_browser:
            _open(address, folder)

    server = ReviewServer(queue, token).application()
    remove_orphans()  # a killed review leaves its folder, too
    with scratch_folder() as folder:
        asyncio.run(_until_stopped(lambda ended: serve(server, port, ready, ended)))
    _sum_up(paths, queue)


def _reviewer(name: str | None) -> str:
    """The reviewer's name to record. Raises UserError where there is none or it can't be used."""
    import getpass

    from orchestrator.errors import UserError

    if name is None:
        try:
            name = getpass.getuser()
        except (OSError, KeyError, ImportError):
            # a container's user may have no login name; what is raised depends on Python's version
            raise UserError("--reviewer: this user has no login name; give a name") from None
    name = name.strip()
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise UserError(f"--reviewer: must be 1 to {LONGEST_NAME} printable characters")
    return name


def _open(address: str, folder: Path) -> None:
    """Open the page in a browser if there is a display.

    The browser gets a file in a private folder that leads to the address: other users can read
    the arguments of processes, and the address holds a secret token.
    """
    displays = ("DISPLAY", "WAYLAND_DISPLAY")
    if sys.platform == "linux" and not any(os.environ.get(name) for name in displays):
        return
    file = folder / "open.html"
    file.write_text(
        f'<!doctype html><meta http-equiv="refresh" content="0; url={address}">', encoding="utf-8"
    )
    with contextlib.suppress(webbrowser.Error):
        webbrowser.open(file.as_uri())


async def _until_stopped(serving: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Serve the page until Ctrl-C or SIGTERM."""
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await serving(ended)


def _sum_up(paths: DataSetPaths, queue: Queue) -> None:
    """Say what was decided, and rebuild the tables with it."""
    from orchestrator.dataset.tables import rebuild
    from orchestrator.errors import UserError

    decisions = list(queue.decided.values())
    if not decisions:
        click.echo("Nothing decided.")
        return
    kept, discarded = decisions.count("keep"), decisions.count("discard")
    taken_back = len(decisions) - kept - discarded
    click.echo(
        f"{plural(len(decisions), 'text')} decided: "
        f"{kept} kept, {discarded} discarded, {taken_back} taken back"
    )
    click.echo("Rebuilding the tables ...")
    try:
        rebuild(paths, say)
    except OSError as error:
        what = f"{error.filename or paths.root}: can't be written ({error.strerror})"
        raise UserError(
            f"{what}; the decisions are kept, rebuild the tables with `orchestrator summarize`"
        ) from error
    click.echo(f"-> {paths.executions}, {paths.summary}")
