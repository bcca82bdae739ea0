"""A real optuna-dashboard for tests; they are skipped where it isn't installed."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

PATIENCE_S = 180


@contextlib.contextmanager
def dashboard(storage: str) -> Iterator[str]:
    """The address of an optuna-dashboard that shows a storage."""
    if find_spec("optuna_dashboard") is None:
        pytest.skip("optuna-dashboard isn't installed (pip install optuna-dashboard)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Path(sys.executable).with_name("optuna-dashboard")
    command = [str(program), storage, "--port", str(port), "--server", "wsgiref"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}/dashboard"
    try:
        _await(url)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=30)


def _await(url: str) -> None:
    """Wait until it answers."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()  # noqa: S310 - of this host
        except (urllib.error.URLError, TimeoutError):
            assert time.monotonic() < deadline, "optuna-dashboard doesn't answer"
            time.sleep(0.1)
        else:
            return


def until_text(page: Page, text: str) -> None:
    """Wait until the page shows a text; a busy machine takes long for its ten megabytes of code."""
    page.get_by_text(text).first.wait_for(timeout=PATIENCE_S * 1000)
