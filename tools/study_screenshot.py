"""Draw docs/images/optuna-dashboard.png from docs/example: `python -m tools.study_screenshot`.

Needs optuna-dashboard and Chromium.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.sweep_plan import read_plans
from orchestrator.dataset.tables import read_all, read_judgements
from orchestrator.export.studies import studies_of
from orchestrator.export.study_file import address, write_studies
from tests.browser import browser_page
from tests.export.dashboard import dashboard, until_text

DOCS = Path(__file__).parents[1] / "docs"


def main() -> None:
    """A study of two objectives, as its page shows it."""
    paths = DataSetPaths(DOCS / "example")
    trials, _ = read_all(paths)
    trials.judgements, _ = read_judgements(paths)
    studies, _ = studies_of(trials, read_plans(paths)[0])
    largest = max(studies, key=lambda study: len(study.trials))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "study.db"
        write_studies(studies, file)
        with dashboard(address(file)) as url, browser_page(width=1280, height=900) as (page, _):
            page.goto(url)
            until_text(page, largest.name)
            page.get_by_text(largest.name).first.click()
            until_text(page, "Hyperparameter Importance")
            page.wait_for_timeout(3000)  # its charts are drawn one after the other
            page.screenshot(path=DOCS / "images" / "optuna-dashboard.png")


if __name__ == "__main__":
    main()
