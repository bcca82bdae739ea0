"""Draw docs/images/report.png from docs/example: `python -m tools.report_screenshot`."""

from __future__ import annotations

from pathlib import Path

from tests.browser import browser_page

DOCS = Path(__file__).parents[1] / "docs"


def main() -> None:
    """Draw it; fails where the page writes an error to its console."""
    with browser_page(width=1100, height=1500) as (page, errors):
        page.goto(f"file://{DOCS / 'example' / 'report.html'}")
        page.screenshot(path=DOCS / "images" / "report.png")
        assert not errors, errors


if __name__ == "__main__":
    main()
