"""The pages in a real browser: no errors, nothing fetched, charts, keys, printing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchestrator.report.compare import compare
from orchestrator.report.execution_frame import data_of
from orchestrator.report.page import comparison_page, page
from tests.browser import browser_page
from tests.report.synthetic import Truth, executions
from tests.report.test_page import HOSTILE, judged

if TYPE_CHECKING:
    from playwright.sync_api import Page

N_CHARTS = 8


@pytest.fixture(scope="module")
def browser() -> Iterator[tuple[Page, list[str], list[str]]]:
    with browser_page() as (shown, errors):
        asked: list[str] = []
        shown.on("request", lambda request: asked.append(request.url))
        yield shown, errors, asked


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report and a comparison."""
    folder = tmp_path_factory.mktemp("pages")
    a = judged(executions(Truth(), 0, machine=HOSTILE, prompt_sha256="0"))
    b = judged(
        executions(Truth(), 0, machine="pc", prompt_sha256="0", model_revision=f"gguf:{'b' * 200}")
    )
    (folder / "report.html").write_text(page(data_of(a), HOSTILE), encoding="utf-8")
    (folder / "compare.html").write_text(
        comparison_page(compare(data_of(a), data_of(b)), "a", HOSTILE), encoding="utf-8"
    )
    return folder


@pytest.mark.parametrize(("name", "n_charts"), [("report", N_CHARTS), ("compare", 1)])
def test_it_is_all_there_and_asks_for_nothing(
    browser: tuple[Page, list[str], list[str]], folder: Path, name: str, n_charts: int
) -> None:
    shown, errors, asked = browser
    errors.clear()
    asked.clear()
    shown.goto(f"file://{folder}/{name}.html")
    sizes = shown.evaluate(
        "[...document.images].map(image => image.complete && image.naturalWidth)"
    )
    assert len(sizes) == n_charts
    assert all(size > 300 for size in sizes)
    assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
        "it needs no scrolling sideways"
    )
    assert shown.pdf().startswith(b"%PDF")
    assert errors == []
    assert [url for url in asked if not url.startswith("data:")] == [f"file://{folder}/{name}.html"]


def test_keys(browser: tuple[Page, list[str], list[str]], folder: Path) -> None:
    shown, errors, _ = browser
    shown.goto(f"file://{folder}/report.html")
    cards = shown.locator("#cards details")
    assert cards.count() == shown.locator("#cards details:visible").count() == 120
    shown.keyboard.press("/")
    shown.keyboard.type("fantasyworld 0003-r1")
    assert cards.and_(shown.locator(":visible")).count() == 1
    assert shown.inner_text("#count") == "1 of 120"
    shown.keyboard.press("Tab")
    shown.keyboard.press("Enter")
    assert shown.locator("#cards details[open]:visible").count() == 1, (
        "a card opens by the keyboard"
    )
    shown.locator("#filter").focus()
    shown.keyboard.press("Escape")
    assert shown.inner_text("#count") == "120 of 120"
    assert errors == []
