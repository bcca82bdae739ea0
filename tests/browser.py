"""A headless Chromium for tests of pages; they are skipped where there is none."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def until(page: Page, expression: str, arg: object = None) -> None:
    """Wait until a JavaScript expression is true.

    Playwright's own wait evaluates inside the page, and the page's policy forbids that.
    """
    deadline = time.monotonic() + 60
    while not page.evaluate(expression, arg):
        assert time.monotonic() < deadline, expression
        page.wait_for_timeout(20)


def serious_findings(page: Page) -> list[str]:
    """What keeps people from using a page: the serious and critical findings of axe-core."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe isn't installed")
    found = axe.Axe().run(page).response["violations"]
    return [
        f"{rule['id']}: {node['html']}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


@contextlib.contextmanager
def browser_page(
    *, width: int = 1280, height: int = 800, dark: bool = False
) -> Iterator[tuple[Page, list[str]]]:
    """A blank page, and the list in which its console's errors and warnings gather.

    So do uncaught exceptions.
    """
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"no Chromium here (looked for {', '.join(NAMES)})")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            page = browser.new_page(
                viewport={"width": width, "height": height},
                color_scheme="dark" if dark else "light",
                reduced_motion="reduce",
            )
            errors: list[str] = []
            page.on(
                "console",
                lambda said: (
                    errors.append(said.text) if said.type in ("error", "warning") else None
                ),
            )
            page.on("pageerror", lambda error: errors.append(str(error)))
            yield page, errors
        finally:
            browser.close()
