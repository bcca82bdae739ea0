"""The page in a real browser: keys, notes, filters, hostile texts, many texts, visible faults."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.verdicts import read_decisions
from tests.browser import browser_page, until
from tests.builders import HOSTILE_TEXTS
from tests.review.serving import decides, nth, queue, says, served

if TYPE_CHECKING:
    from playwright.sync_api import Page

TEXTS = tuple(f"Story {number} of the castle." for number in range(4))


@pytest.fixture(scope="module")
def browser() -> Iterator[tuple[Page, list[str]]]:
    with browser_page() as both:
        both[0].set_default_timeout(20_000)
        yield both


@pytest.fixture
def page(browser: tuple[Page, list[str]]) -> Iterator[Page]:
    """The page; whatever a test does, the console stays clean."""
    shown, errors = browser
    errors.clear()
    yield shown
    shown.goto("about:blank")
    assert errors == []


@pytest.fixture
def errors(browser: tuple[Page, list[str]]) -> list[str]:
    return browser[1]


def waits(page: Page, selector: str, text: str) -> None:
    from playwright.sync_api import expect

    expect(page.locator(selector)).to_have_text(text, timeout=20_000)


def test_keys(page: Page, tmp_path: Path) -> None:
    of = queue(tmp_path, TEXTS)
    with served(of) as address:
        page.goto(address)
        waits(page, "#text", TEXTS[0])
        page.keyboard.press("k")
        waits(page, "#text", TEXTS[1])
        page.keyboard.press("n")
        page.keyboard.type("jumps: k d u ?")
        page.keyboard.press("Escape")
        page.keyboard.press("d")
        waits(page, "#text", TEXTS[2])
        page.keyboard.press("ArrowRight")
        waits(page, "#text", TEXTS[3])
        page.keyboard.press("d")
        waits(page, "#count", "3 of 4 decided")
        page.keyboard.press("u")
        waits(page, "#count", "2 of 4 decided")
        page.keyboard.press("h")
        waits(page, "#text", TEXTS[2])
        page.keyboard.press("ArrowLeft")
        waits(page, "#text", TEXTS[1])
        assert page.input_value("#note") == "jumps: k d u ?"
        page.reload()
        waits(page, "#count", "2 of 4 decided")
        waits(page, "li:nth-child(1) .word", "✓ keep")
        waits(page, "li:nth-child(2) .word", "✗ discard")
        page.keyboard.press("?")
        assert page.is_visible("#help")
        page.keyboard.press("k")  # not under the help
        page.keyboard.press("Escape")
        assert not page.is_visible("#help")
    said = [
        (decision.execution, decision.decision, decision.note)
        for decision in read_decisions(DataSetPaths(tmp_path))
    ]
    first, second, _, last = (item.execution for item in of.items.values())
    assert said == [
        (first, "keep", ""),
        (second, "discard", "jumps: k d u ?"),
        (last, "discard", ""),
        (last, "undecided", ""),
    ]


def test_a_key_pressed_twice_decides_on_no_text_that_was_not_read(
    page: Page, tmp_path: Path
) -> None:
    with served(queue(tmp_path, TEXTS)) as address:
        page.goto(address)
        waits(page, "#text", TEXTS[0])
        page.evaluate(
            "for (const _ of [1, 2]) document.body.dispatchEvent(new KeyboardEvent('keydown', "
            "{key: 'd', bubbles: true}))"
        )
        waits(page, "#text", TEXTS[1])
        page.evaluate("saving")
        waits(page, "#count", "1 of 4 decided")
    assert len(read_decisions(DataSetPaths(tmp_path))) == 1


def test_buttons_and_a_note_after_the_decision(page: Page, tmp_path: Path) -> None:
    of = queue(tmp_path, TEXTS)
    with served(of) as address:
        page.goto(address)
        waits(page, "#text", TEXTS[0])
        page.uncheck("#advance")
        page.click("#keep")
        waits(page, "#keep[aria-pressed=true]", "k Keep")
        page.fill("#note", "added later")
        page.click("#next")  # leaving the note saves it
        waits(page, "#text", TEXTS[1])
        page.click("#list li:nth-child(1)")
        waits(page, "#text", TEXTS[0])
        page.fill("#note", "changed my mind")
        page.click("#discard")
        waits(page, "#discard[aria-pressed=true]", "d Discard")
    said = [
        (decision.decision, decision.note) for decision in read_decisions(DataSetPaths(tmp_path))
    ]
    assert said == [("keep", ""), ("keep", "added later"), ("discard", "changed my mind")]


def test_filters_and_blindness(page: Page, tmp_path: Path) -> None:
    of = queue(tmp_path, TEXTS)
    says(of, tmp_path, [True, False, True])
    decides(of, tmp_path, "bob", 0, "discard", note="too short")
    with served(of) as address:
        page.goto(address)
        waits(page, "#verdict", "✓ usable, quality 0.9")
        waits(page, "#others", "Other reviewers' decisions are shown once you have decided")
        assert "bob" not in page.content()
        page.check("#veil")
        waits(page, "#verdict", "hidden")
        page.uncheck("#advance")
        page.click("#keep")
        waits(page, "#others", "Others: bob: discard (too short)")
        waits(page, "#verdict", "✓ usable, quality 0.9")
        page.keyboard.press("/")
        assert page.evaluate("document.activeElement.name") == "decided"
        page.select_option("[name=decided]", "disagreement")
        waits(page, "#count", "1 of 4 decided, 1 shown")
        page.select_option("[name=decided]", "undecided")
        waits(page, "#count", "1 of 4 decided, 3 shown")
        page.select_option("[name=machine]", "unusable")
        waits(page, "#count", "0 of 1 decided")
        waits(page, "#verdict", "hidden")
        page.select_option("[name=use_case]", "fantasyWorld")
        waits(page, "#title", "No text matches the filters")
        assert page.is_disabled("#keep")
        page.keyboard.press("Escape")
        page.keyboard.press("k")
        page.click("#agreement summary")
        waits(page, "#agreement tbody tr:nth-child(1) td:nth-child(1)", "ada, bob")
    assert len(read_decisions(DataSetPaths(tmp_path))) == 2


SCRIPT = "<script>window.hit = 1</script><img src=x onerror='window.hit = 1'>"


def test_hostile_texts_are_text(page: Page, tmp_path: Path) -> None:
    texts = (SCRIPT, *HOSTILE_TEXTS, "x" * 100_000)
    of = queue(tmp_path, texts, reviewer="<b>ada")
    decides(of, tmp_path, SCRIPT, 0, "keep", note=SCRIPT)
    with served(of) as address:
        page.goto(address)
        waits(page, "#reviewer", "as <b>ada")
        page.uncheck("#advance")
        page.click("#keep")
        waits(page, "#others", f"Others: {SCRIPT}: keep ({SCRIPT})")
        for number, text in enumerate(texts):
            page.click(f"#list li:nth-child({number + 1})")
            until(
                page,
                "place => shown && shown.execution === entries[place].execution && at === place",
                number,
            )
            shown = page.text_content("#text")
            assert shown is not None
            if not text.strip():
                assert shown in ("(empty)", "(only white space)")
            else:
                assert len(shown) == len(text.replace("\r\n", "\n"))
            assert not any(c < " " and c not in "\n\t" for c in shown)
        assert page.evaluate("window.hit") is None
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_five_thousand_texts(page: Page, tmp_path: Path) -> None:
    of = queue(tmp_path, (f"Text {number}." for number in range(5000)))
    with served(of) as address:
        began = time.perf_counter()
        page.goto(address)
        waits(page, "#text", "Text 0.")
        page.keyboard.press("k")
        waits(page, "#text", "Text 1.")
        waits(page, "#count", "1 of 5000 decided")
        assert time.perf_counter() - began < 60  # it takes about one
        page.fill("[name=sample]", "25")
        page.keyboard.press("Tab")
        until(page, "entries.length === 25")


def test_what_could_not_be_saved_is_told_and_kept(
    page: Page, errors: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = queue(tmp_path, TEXTS)

    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    with served(of) as address:
        page.goto(address)
        waits(page, "#text", TEXTS[0])
        page.fill("#note", "worth keeping")
        with monkeypatch.context() as patch:
            patch.setattr("orchestrator.review.review_queue.append_decision", full)
            page.click("#discard")
            waits(
                page,
                "#alert",
                "The decision isn't saved: reviews.jsonl can't be written: No space left on device",
            )
        waits(page, "#text", TEXTS[0])
        assert page.get_attribute("#discard", "aria-pressed") == "false"
        assert page.input_value("#note") == "worth keeping"
        page.click("#discard")
        waits(page, "#text", TEXTS[1])
        assert page.is_hidden("#alert")
    page.keyboard.press("k")
    waits(
        page,
        "#alert",
        "The decision isn't saved: the program doesn't answer. "
        "Is `orchestrator review` still running?",
    )
    assert [decision.note for decision in read_decisions(DataSetPaths(tmp_path))] == [
        "worth keeping"
    ]
    assert all(
        "Failed to load resource" in error for error in errors
    )  # the browser's own lines about both
    errors.clear()
    assert nth(of, 0).execution in of.decided
