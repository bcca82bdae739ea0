"""The page in a real browser: keys, notes, filters, hostile texts, many texts, visible faults."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.verdicts import append_decision, read_decisions
from tests.browser import browser_page, serious_findings, until
from tests.builders import HOSTILE_TEXTS
from tests.review.serving import decides, nth, queue, says, served

if TYPE_CHECKING:
    from playwright.sync_api import Page

TEXTS = tuple(f"Story {number} of the castle." for number in range(4))
HIDDEN = "hidden until you have decided"


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
    shown.set_viewport_size({"width": 1280, "height": 800})
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
        waits(page, "#notice", "“discard” was ignored: the next text wasn't on the screen yet.")
        waits(page, "#count", "1 of 4 decided")
        page.keyboard.press("d")
        waits(page, "#text", TEXTS[2])
        waits(page, "#notice", "")
    assert len(read_decisions(DataSetPaths(tmp_path))) == 2


def test_keys_pressed_while_a_decision_is_saved_take_effect_in_their_order(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*given: Any) -> None:
        time.sleep(0.6)
        append_decision(*given)

    monkeypatch.setattr("orchestrator.review.review_queue.append_decision", slow)
    with served(queue(tmp_path, TEXTS)) as address:
        page.goto(address)
        waits(page, "#text", TEXTS[0])
        page.keyboard.press("k")
        page.keyboard.press("j")
        page.keyboard.press("j")
        waits(page, "#notice", "Saving …")
        waits(page, "#text", TEXTS[3])  # the next one, and twice the one after it
        page.keyboard.press("2")
        page.keyboard.press("d")
        page.keyboard.press("n")  # a note on this text
        page.keyboard.type("too few words")
        waits(page, "#count", "2 of 4 decided")
        assert page.text_content("#text") == TEXTS[3]
        page.keyboard.press("Escape")
        until(page, "shown.note === 'too few words' && unsaved === 0")
    said = read_decisions(DataSetPaths(tmp_path))
    assert [(one.decision, one.reasons, one.note) for one in said] == [
        ("keep", (), ""),
        ("discard", ("too_short",), ""),
        ("discard", ("too_short",), "too few words"),
    ]


def test_reasons_by_key_and_by_mouse(page: Page, tmp_path: Path) -> None:
    with served(queue(tmp_path, TEXTS)) as address:
        page.goto(address)
        waits(page, "#text", TEXTS[0])
        page.uncheck("#advance")
        page.keyboard.press("1")
        page.keyboard.press("5")
        page.keyboard.press("1")  # taken back
        page.keyboard.press("j")
        waits(page, "#text", TEXTS[1])
        assert page.locator("#reasons :checked").count() == 0
        page.keyboard.press("h")  # what was ticked is still there
        waits(page, "#text", TEXTS[0])
        page.keyboard.press("d")
        waits(page, "#count", "1 of 4 decided")
        page.click("#reasons label:has-text('wrong language')")  # saved, as it is discarded
        until(page, "unsaved === 0 && shown.reasons.length === 2")
        page.keyboard.press("k")
        until(page, "unsaved === 0 && shown.word === 'keep'")
        assert page.locator("#reasons :checked").count() == 0
    said = read_decisions(DataSetPaths(tmp_path))
    assert [(one.decision, one.reasons) for one in said] == [
        ("discard", ("off_topic",)),
        ("discard", ("off_topic", "wrong_language")),
        ("keep", ()),
    ]


def test_it_opens_on_the_first_undecided_text_and_goes_on_to_the_next(
    page: Page, tmp_path: Path
) -> None:
    of = queue(tmp_path, TEXTS)
    for number in (0, 2):
        decides(of, tmp_path, "ada", number, "keep")
    with served(of) as address:
        page.goto(address)
        waits(page, "#text", TEXTS[1])
        page.keyboard.press("k")
        waits(page, "#text", TEXTS[3])
        page.keyboard.press("d")
        waits(page, "#notice", "All texts of this list are decided.")
        waits(page, "#text", TEXTS[3])
        page.click("#list li:nth-child(2)")
        waits(page, "#text", TEXTS[1])
        page.keyboard.press("u")
        waits(page, "#count", "3 of 4 decided")
        page.click("#list li:nth-child(4)")
        waits(page, "#text", TEXTS[3])
        page.keyboard.press("k")
        waits(page, "#notice", "This was the last text; some above are still undecided.")
        page.reload()
        waits(page, "#text", TEXTS[1])


def test_the_list_shows_first_words_and_is_used_by_keyboard(page: Page, tmp_path: Path) -> None:
    texts = ("Once\n\nupon  a time " + "x" * 500, " \n", "\x1b[31mred")
    with served(queue(tmp_path, texts)) as address:
        page.goto(address)
        until(page, "shown !== null")
        words = page.locator("#list li span:nth-child(2)").all_text_contents()
        assert words[0].startswith("Once upon a time xxx")
        assert len(words[0]) < 100
        assert words[1:] == ["(blank)", "␛[31mred"]
        page.focus("#list")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        waits(page, "#text", "␛[31mred")
        assert page.get_attribute("#list", "aria-activedescendant") == "line-2"
        page.keyboard.press("Home")
        until(page, "at === 0 && shown !== null")
        assert "smollm2" in (page.text_content("#list li[aria-selected=true] .place") or "")


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
    decides(of, tmp_path, "bob", 0, "discard", note="three words", reasons=("too_short",))
    with served(of) as address:
        page.goto(address)
        waits(page, "#verdict", HIDDEN)
        waits(page, "#others", "Other reviewers' decisions are shown once you have decided")
        assert "bob" not in page.content()
        assert "quality" not in page.content()
        assert page.is_hidden("#signals")
        page.keyboard.press("v")
        waits(page, "#verdict", "✓ usable, quality 0.9")
        page.keyboard.press("v")
        waits(page, "#verdict", HIDDEN)
        page.uncheck("#advance")
        page.click("#keep")
        waits(page, "#others", "Others: bob: discard (too short, three words)")
        waits(page, "#verdict", "✓ usable, quality 0.9")
        page.keyboard.press("/")
        assert page.evaluate("document.activeElement.name") == "decided"
        page.select_option("[name=decided]", "disagreement")
        waits(page, "#count", "1 of 4 decided, 1 shown")
        page.select_option("[name=decided]", "undecided")
        waits(page, "#count", "1 of 4 decided, 3 shown")
        page.select_option("[name=machine]", "unusable")
        waits(page, "#count", "0 of 1 decided")
        waits(page, "#verdict", HIDDEN)
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


BROKEN_WORDS = """() => {
  const found = [];
  for (const cell of document.querySelectorAll("#agreement th, #agreement td, aside th")) {
    const words = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
    while (words.nextNode()) {
      for (const { 0: word, index } of words.currentNode.data.matchAll(/\\S+/g)) {
        const range = document.createRange();
        range.setStart(words.currentNode, index);
        range.setEnd(words.currentNode, index + word.length);
        if (range.getClientRects().length > 1) found.push(word);
      }
    }
  }
  return found;
}"""
ON_TOP = """id => {
  const { x, y, width, height } = document.getElementById(id).getBoundingClientRect();
  const there = document.elementFromPoint(x + width / 2, y + height / 2);
  return there?.closest("button")?.id === id;
}"""
LONG = " ".join(f"Sentence {number} of a long story about a castle." for number in range(200))


def at_rest(page: Page) -> None:
    until(page, "shown !== null && unsaved === 0")


@pytest.mark.parametrize(
    ("width", "height", "narrowest", "stacked"),
    [
        (390, 844, 350, True),
        (768, 1024, 430, False),
        (1440, 900, 650, False),
        (844, 390, 650, True),  # a phone on its side
    ],
)
def test_widths(
    page: Page, tmp_path: Path, width: int, height: int, narrowest: int, *, stacked: bool
) -> None:
    """The text has room, the buttons are always at hand, and nothing is cut off or broken."""
    of = queue(tmp_path, (LONG, *TEXTS), reviewer="augusta")
    says(of, tmp_path, [True, False, True, False, True])
    for number, word in enumerate(("keep", "keep", "discard", "discard", "keep")):
        decides(of, tmp_path, "augusta", number, word)
        decides(of, tmp_path, "charles", number, "keep")
    page.set_viewport_size({"width": width, "height": height})
    with served(of) as address:
        page.goto(address)
        at_rest(page)
        page.click("#agreement summary")
        page.wait_for_selector("#agreement tbody tr:nth-child(3)")
        assert page.evaluate(BROKEN_WORDS) == []
        for part in ("html", "main", "aside", "nav", "#undecided"):
            wide = "part => document.querySelector(part).scrollWidth"
            shown = "part => document.querySelector(part).clientWidth"
            assert page.evaluate(wide, part) <= page.evaluate(shown, part), part
        page.keyboard.press("j")
        page.keyboard.press("h")
        at_rest(page)
        box = page.locator("#text").bounding_box()
        assert box is not None
        assert narrowest <= box["width"] <= 760
        corners = [page.locator(one).bounding_box() for one in ("#text", "#reasons", "#list")]
        tops = [corner["y"] for corner in corners if corner]
        assert (tops == sorted(tops)) == stacked
        for scrolled in (0, 1_000_000):
            page.evaluate("y => scrollTo(0, y)", scrolled)
            for button in ("keep", "discard", "undecided", "previous", "next"):
                assert page.evaluate(ON_TOP, button), button
        page.click("#next")
        waits(page, "#text", TEXTS[0])
        assert page.evaluate("scrollY") == 0


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize(("width", "height"), [(390, 844), (768, 1024), (1440, 900)])
def test_axe_finds_nothing_serious(
    page: Page, tmp_path: Path, width: int, height: int, *, dark: bool
) -> None:
    of = queue(tmp_path, (LONG, "", *TEXTS))
    says(of, tmp_path, [True, False, True])
    decides(of, tmp_path, "bob", 0, "discard", note="too long", reasons=("off_topic",))
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme="dark" if dark else "light")
    with served(of) as address:
        page.goto(address)
        at_rest(page)
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(255, 255, 255)") != dark
        assert serious_findings(page) == []
        page.uncheck("#advance")
        page.keyboard.press("1")
        page.keyboard.press("d")
        until(page, "unsaved === 0 && shown.word === 'discard'")
        page.click("#agreement summary")
        page.wait_for_selector("#agreement tbody tr")
        assert serious_findings(page) == []
        page.keyboard.press("?")
        assert serious_findings(page) == []
        page.keyboard.press("Escape")
        page.select_option("[name=use_case]", "danceCoreography")
        page.select_option("[name=machine]", "none")
        waits(page, "#title", "No text matches the filters")
        assert serious_findings(page) == []
    page.emulate_media(color_scheme="light")
