"""Draws docs/images/report.png of docs/example: `python -m tools.report_screenshot`."""

from __future__ import annotations

from pathlib import Path

from tests.browser import browser_page

DOCS = Path(__file__).parents[2] / "docs"


def main() -> None:
    with browser_page(width=1100, height=1500) as (page, errors):
        page.goto(f"file://{DOCS / 'example' / 'report.html'}")
        page.screenshot(path=DOCS / "images" / "report.png")
        assert not errors, errors


if __name__ == "__main__":
    main()
