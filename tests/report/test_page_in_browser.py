"""The pages in a real browser: nothing fetched, charts, tables, keys, phones, dark, print."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.tables import rebuild
from orchestrator.report.compare import compare
from orchestrator.report.execution_frame import data_of, read_data
from orchestrator.report.page import comparison_page, page
from tests import builders
from tests.browser import browser_page, until
from tests.report.synthetic import Truth, executions
from tests.report.test_page import HOSTILE, judged

if TYPE_CHECKING:
    from playwright.sync_api import Page

N_CHARTS = 7
DRAWN = "[...document.querySelectorAll('.chart')].every(chart => chart.querySelector('svg'))"
SHOWN = "[...document.querySelectorAll('#trials tbody tr')].length"


@pytest.fixture(scope="module")
def one_browser() -> Iterator[tuple[Page, list[str], list[str]]]:
    with browser_page() as (shown, errors):
        asked: list[str] = []
        shown.on("request", lambda request: asked.append(request.url))
        yield shown, errors, asked


@pytest.fixture
def browser(
    one_browser: tuple[Page, list[str], list[str]],
) -> tuple[Page, list[str], list[str]]:
    """A page with its errors and what it asked for, on a light and wide screen."""
    shown, errors, asked = one_browser
    shown.set_viewport_size({"width": 1280, "height": 800})
    shown.emulate_media(media="screen", color_scheme="light")
    shown.goto("about:blank")
    errors.clear()
    asked.clear()
    return one_browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reports of hostile data, without a GPU, a large one, one in its data set; a comparison."""
    folder = tmp_path_factory.mktemp("pages")
    of_a, of_b = {"machine": HOSTILE}, {"machine": "pc", "model_revision": f"gguf:{'b' * 200}"}
    a, b = (
        judged(executions(Truth(), 0, 20, 2, prompt_sha256="0", **columns))
        for columns in (of_a, of_b)
    )
    cpu = pd.concat(
        [executions(Truth(), 0, 20, 2, 1, quantization=kind) for kind in ("nf4", "none")],
        ignore_index=True,
    )
    cpu = judged(cpu.assign(energy_basis="energy_j", device="cpu", gpu_name=None))
    cpu.loc[len(cpu) - 1, "warning_flags"] = "drift"
    large = executions(Truth(), 0, points=334, prompts=3)
    spec = builders.spec()
    builders.seal_trial(
        DataSetPaths(folder), spec, [builders.measured(p.number, of=spec) for p in spec.prompts]
    )
    rebuild(DataSetPaths(folder))
    pages = {
        "report": page(data_of(a), HOSTILE),
        "compare": comparison_page(compare(data_of(a), data_of(b)), "a", HOSTILE),
        "cpu": page(data_of(cpu), "cpu"),
        "large": page(data_of(large), "large"),
        "inside": page(read_data(DataSetPaths(folder)), "inside", folder),
    }
    for name, text in pages.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return folder


def opened(shown: Page, folder: Path, name: str) -> None:
    """Open a page and wait for its charts."""
    shown.goto(f"file://{folder}/{name}.html")
    until(shown, DRAWN)


def column(shown: Page, head: str) -> list[str]:
    """The texts of a column of the table of trials."""
    heads = shown.locator("#trials th").all_inner_texts()
    place = next(i for i, text in enumerate(heads) if text.startswith(head)) + 1
    return shown.locator(f"#trials tbody td:nth-child({place})").all_inner_texts()


@pytest.mark.parametrize(
    ("name", "n_charts"), [("report", N_CHARTS), ("compare", 2), ("cpu", N_CHARTS)]
)
def test_it_is_all_there_and_asks_for_nothing(
    browser: tuple[Page, list[str], list[str]], folder: Path, name: str, n_charts: int
) -> None:
    shown, errors, asked = browser
    opened(shown, folder, name)
    widths = shown.evaluate(
        "[...document.querySelectorAll('.chart svg')].map(chart => chart.clientWidth)"
    )
    assert len(widths) == n_charts
    assert all(width > 800 for width in widths), "charts use the width"
    assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert errors == []
    assert [url for url in asked if url.startswith(("file:", "http"))] == [
        f"file://{folder}/{name}.html"
    ]


def test_names_of_a_data_set_stay_texts(
    browser: tuple[Page, list[str], list[str]], folder: Path
) -> None:
    shown, errors, _ = browser
    opened(shown, folder, "report")
    assert shown.evaluate("document.querySelectorAll('script').length") == 3
    assert "<script>alert(1)</script>" in column(shown, "machine")[0]
    shown.locator("#chart-energy-length svg").scroll_into_view_if_needed()
    shown.locator("#chart-energy-length .mark-symbol.role-mark path").first.hover(force=True)
    tip = shown.locator("#vg-tooltip-element.visible")
    tip.wait_for()
    assert "<b>" not in tip.inner_html()
    assert errors == []


def test_a_point_tells_its_values(browser: tuple[Page, list[str], list[str]], folder: Path) -> None:
    shown, _, _ = browser
    opened(shown, folder, "cpu")
    shown.locator("#chart-energy-length svg").scroll_into_view_if_needed()
    shown.locator("#chart-energy-length .mark-symbol.role-mark path").nth(5).hover(force=True)
    tip = shown.locator("#vg-tooltip-element.visible")
    tip.wait_for()
    for word in ("new tokens", "J/token", "gpu/smollm2/latinHypercubeSampling"):
        assert word in tip.inner_text()


def test_a_ratio_tells_its_interval(
    browser: tuple[Page, list[str], list[str]], folder: Path
) -> None:
    shown, errors, _ = browser
    shown.set_viewport_size({"width": 390, "height": 800})
    opened(shown, folder, "compare")
    mark = shown.locator("#chart-ratios .mark-symbol.role-mark path").first
    mark.scroll_into_view_if_needed()
    mark.hover(force=True)
    tip = shown.locator("#vg-tooltip-element.visible")
    tip.wait_for()
    for word in ("B / A", "energy of an answer", "pc / smollm2 / nf4"):
        assert word in tip.inner_text()
    assert errors == []


def test_a_thousand_trials_sort_and_filter_at_once(
    browser: tuple[Page, list[str], list[str]], folder: Path
) -> None:
    shown, errors, _ = browser
    opened(shown, folder, "large")
    assert shown.evaluate(SHOWN) == 1002
    assert shown.inner_text("#trials-title") == "Trials: 1002 of 1002"
    took_ms = shown.evaluate(
        """() => {
            const start = performance.now();
            document.querySelectorAll("#trials th button")[6].click();
            document.getElementById("filter").value = "fantasyworld nf4";
            document.getElementById("filter").dispatchEvent(new Event("input"));
            document.body.offsetHeight;
            return performance.now() - start;
        }"""
    )
    assert took_ms < 3000, "generous: the host may be busy"
    assert shown.inner_text("#trials-count") == "334 of 1002"
    lengths = [int(text.replace(",", "")) for text in column(shown, "max_length")]
    assert lengths == sorted(lengths)
    assert shown.locator("#trials th[aria-sort=ascending]").inner_text().startswith("max_length")
    assert errors == []


def test_keys(browser: tuple[Page, list[str], list[str]], folder: Path) -> None:
    shown, errors, _ = browser
    opened(shown, folder, "cpu")
    shown.keyboard.press("/")
    shown.keyboard.type("doubtful")
    assert shown.inner_text("#trials-count") == "1 of 40"
    assert shown.inner_text("#configurations-count") == "1 of 40"
    shown.locator("#trials summary").focus()
    shown.keyboard.press("Enter")
    assert "drift: " in shown.inner_text("#trials details[open]")
    shown.locator("#filter").focus()
    shown.keyboard.press("Escape")
    assert shown.inner_text("#trials-count") == "40 of 40"
    button = shown.locator("#trials th button", has_text="temperature")
    for falling in (False, True):
        button.focus()
        shown.keyboard.press("Enter")
        values = [float(text) for text in column(shown, "temperature")]
        assert values == sorted(values, reverse=falling)
    assert shown.evaluate(
        "[...document.querySelectorAll('.scroll')].every(table => table.tabIndex === 0)"
    ), "the keyboard can scroll what scrolls"
    assert errors == []


def test_what_is_unknown_is_last_in_both_orders(
    browser: tuple[Page, list[str], list[str]], folder: Path
) -> None:
    shown, _, _ = browser
    opened(shown, folder, "report")
    for _ in range(2):
        shown.locator("#trials th button", has_text="J/token").click()
        values = column(shown, "J/token")
        n_known = sum(map(bool, values))
        assert 0 < n_known < len(values)
        assert all(values[:n_known])


def test_a_trial_leads_to_its_texts(
    browser: tuple[Page, list[str], list[str]], folder: Path
) -> None:
    shown, _, _ = browser
    opened(shown, folder, "inside")
    shown.locator("#trials a").click()
    shown.wait_for_url("**/output.txt")
    assert "Text of prompt 1." in shown.inner_text("body")


@pytest.mark.parametrize("name", ["report", "compare", "cpu", "inside"])
def test_a_phone_needs_no_scrolling_sideways(
    browser: tuple[Page, list[str], list[str]], folder: Path, name: str
) -> None:
    shown, errors, _ = browser
    shown.set_viewport_size({"width": 390, "height": 800})
    opened(shown, folder, name)
    assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert errors == []


LIGHT = """() => {
    const of = element => getComputedStyle(element);
    const sum = colour => colour.match(/[0-9.]+/g).slice(0, 3).map(Number).reduce((a, b) => a + b);
    const text = document.querySelector(".chart svg text");
    return [of(document.body).backgroundColor, of(text).fill].map(sum);
}"""
"""How light the ground and a chart's text are, 0 to 765."""


def test_a_dark_screen_and_white_paper(
    browser: tuple[Page, list[str], list[str]], folder: Path
) -> None:
    shown, _, _ = browser
    shown.emulate_media(color_scheme="dark")
    opened(shown, folder, "report")
    ground, text = shown.evaluate(LIGHT)
    assert ground < 150
    assert text > 600
    shown.emulate_media(media="print")
    ground, text = shown.evaluate(LIGHT)
    assert ground == 765
    assert text < 150
    # A4 without Chromium's margins
    shown.set_viewport_size({"width": 718, "height": 1000})
    assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_paper_has_all_charts_and_not_a_thousand_rows(
    browser: tuple[Page, list[str], list[str]], folder: Path
) -> None:
    shown, _, _ = browser
    # at once: most charts are not drawn yet
    shown.goto(f"file://{folder}/large.html", wait_until="domcontentloaded")
    shown.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert shown.evaluate(DRAWN)
    assert 3 < shown.pdf().count(b"/Type /Page\n") < 20
    shown.emulate_media(media="print")
    assert shown.locator("#trials tbody tr:visible").count() == 40
    assert shown.locator(".print:visible").count() > 0


@pytest.mark.parametrize("name", ["report", "compare"])
@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing_serious(
    browser: tuple[Page, list[str], list[str]], folder: Path, name: str, dark: bool
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not here")
    shown, _, _ = browser
    shown.emulate_media(color_scheme="dark" if dark else "light")
    opened(shown, folder, name)
    found: Any = axe.Axe().run(shown).response["violations"]
    serious = [one for one in found if one["impact"] in ("serious", "critical")]
    assert [(one["id"], one["nodes"][0]["html"][:200]) for one in serious] == []
