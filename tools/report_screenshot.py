"""Draw the head of a report: `python -m tools.report_screenshot [REPORT.html PICTURE.png]`.

Without arguments docs/images/report.png of docs/example. docs/images/first-report.png is that of
README's first command.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.browser import browser_page

DOCS = Path(__file__).parents[1] / "docs"


def main(report: Path, picture: Path, height: int) -> None:
    """Draw it, `height` pixels; fails where the page writes an error to its console."""
    with browser_page(width=1100, height=height) as (page, errors):
        page.goto(f"file://{report.resolve()}")
        page.screenshot(path=picture)
        assert not errors, errors


if __name__ == "__main__":
    if sys.argv[1:]:
        main(Path(sys.argv[1]), Path(sys.argv[2]), height=900)
    else:
        main(DOCS / "example" / "report.html", DOCS / "images" / "report.png", height=1500)
