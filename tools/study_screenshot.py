"""Draw docs/images/optuna-dashboard.png from a data set's live study.

Needs optuna-dashboard and Chromium. The picture in the docs is of
`tune --space optuna --samples 40 --engine simulated --model llama2 --use-case fantasyWorld
--prompts 2 --country ITA`, then `python -m tools.study_screenshot measurements`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from orchestrator.dataset.paths import DataSetPaths
from tests.browser import browser_page
from tests.export.dashboard import dashboard, until_text

TARGET = Path(__file__).parents[1] / "docs" / "images" / "optuna-dashboard.png"


def main(folder: Path) -> None:
    """The page of its first study, as a window of 1280 x 900 shows it."""
    live = DataSetPaths(folder).live_studies
    with dashboard(str(live)) as url, browser_page(width=1280, height=900) as (page, _):
        page.goto(f"{url}/studies/0", wait_until="commit")
        until_text(page, "Hyperparameter Importance")
        page.wait_for_timeout(5000)  # its charts are drawn one after the other
        page.screenshot(path=TARGET)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
