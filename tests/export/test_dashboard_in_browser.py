"""A real optuna-dashboard shows an exported study, and a live one as it grows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchestrator.export.studies import studies_of
from orchestrator.export.study_file import address, write_studies
from orchestrator.nouns import ANCHOR
from orchestrator.sweep.live_studies import LiveStudies
from tests import builders
from tests.browser import browser_page
from tests.export.dashboard import dashboard, until_text
from tests.export.swept import OUT_OF_MEMORY, Swept

if TYPE_CHECKING:
    from playwright.sync_api import Page


@pytest.fixture
def swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Swept:
    monkeypatch.chdir(tmp_path)
    return Swept(tmp_path / "measurements", samples=12)


@pytest.fixture
def page() -> Iterator[Page]:
    with browser_page(width=1400, height=1000) as (shown, _):
        yield shown


def test_an_exported_study_opens(swept: Swept, page: Page, tmp_path: Path) -> None:
    failed, *others = (spec for spec in swept.specs() if spec.strategy != ANCHOR)
    swept.measure(failed, (0.0, 0.0), **OUT_OF_MEMORY | {"energy_j": None})
    for number, spec in enumerate(others, 1):
        swept.measure(spec, (10.0 * number, 20.0))
    [study], _ = studies_of(swept.trials(), [swept.plan])
    file = tmp_path / "study.db"
    write_studies([study], file)
    before = file.read_bytes()
    number = next(i for i, trial in enumerate(study.trials) if not trial.values)
    with dashboard(address(file)) as url:
        page.goto(url, wait_until="commit")
        until_text(page, study.name)
        page.get_by_text(study.name).first.click()
        until_text(page, "Hyperparameter Importance")
        page.goto(f"{url}/studies/1/trials?numbers={number}", wait_until="commit")
        until_text(page, "energy_per_token_j")
        until_text(page, study.trials[number].attributes["trial"])
        until_text(page, "2 oom")
    assert file.read_bytes() == before, "looking changes nothing"


def test_a_live_study_grows_while_it_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: Page
) -> None:
    monkeypatch.chdir(tmp_path)
    swept = Swept(tmp_path / "measurements", "optuna")
    trials = swept.trials()
    live = LiveStudies(swept.plan, trials, swept.paths)

    def measure(index: int) -> None:
        spec = swept.proposed(index, builders.configuration(top_k=index + 1))
        record = swept.measure(spec, (10.0 + index, 20.0))
        trials.add(record)
        live.trial_sealed(record)

    measure(0)
    with dashboard(str(swept.paths.live_studies)) as url:
        page.goto(url, wait_until="commit")
        until_text(page, swept.plan.id)
        page.goto(f"{url}/studies/0/trials", wait_until="commit")
        until_text(page, "Trial 0")
        measure(1)
        page.reload(wait_until="commit")
        until_text(page, "Trial 1")
