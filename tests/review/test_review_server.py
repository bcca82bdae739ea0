"""Who is let in, what is refused, and what a decision does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.verdicts import read_decisions
from orchestrator.review.review_queue import LONGEST_NOTE, Queue
from orchestrator.review.review_server import PAGE_FILES
from tests.review.serving import TOKEN, ask, nth, queue, served


@pytest.fixture
def of(tmp_path: Path) -> Queue:
    return queue(tmp_path)


@pytest.fixture
def address(of: Queue) -> Iterator[str]:
    with served(of) as where:
        yield where


def asked(of: Queue, **changes: object) -> dict[str, object]:
    item = nth(of, 0)
    return {
        "execution": item.execution,
        "text_sha256": item.sha256,
        "decision": "keep",
        "note": "good",
    } | changes


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example:1", ""],
)
def test_other_hosts_are_refused(address: str, of: Queue, tmp_path: Path, host: str) -> None:
    assert ask(address, "decision", asked(of), host=host)[0] == 403
    assert ask(address, "list", host=host)[0] == 403
    assert read_decisions(DataSetPaths(tmp_path)) == []


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1:8080", "localhost"])
def test_a_tunnels_end_is_let_in(address: str, host: str) -> None:
    assert ask(address, "list", host=host)[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://[evil"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"},
    ],
)
def test_other_pages_are_refused_even_with_the_token(
    address: str, of: Queue, tmp_path: Path, headers: dict[str, str]
) -> None:
    for path, body in (("list", None), ("review.js", None), ("decision", asked(of))):
        assert ask(address, path, body, headers=headers)[0] == 403
    assert read_decisions(DataSetPaths(tmp_path)) == []


def test_another_page_s_form_is_refused(address: str, of: Queue, tmp_path: Path) -> None:
    """It makes the browser leave for here, which only reading may do."""
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert ask(address, "decision", asked(of), headers=headers)[0] == 403
    assert read_decisions(DataSetPaths(tmp_path)) == []


def test_the_page_and_whoever_opens_it_are_let_in(address: str, of: Queue) -> None:
    own = {"Origin": f"http://{urlsplit(address).netloc}", "Sec-Fetch-Site": "same-origin"}
    assert ask(address, "decision", asked(of), headers=own)[0] == 200
    led_by_a_file = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert ask(address, "", headers=led_by_a_file)[0] == 200
    assert ask(address, "", headers={"Sec-Fetch-Site": "none"})[0] == 200


def test_behind_a_tunnel_the_origin_is_the_tunnel_s_end(address: str, of: Queue) -> None:
    headers = {"Origin": "http://localhost:8080", "Sec-Fetch-Site": "same-origin"}
    assert ask(address, "decision", asked(of), host="localhost:8080", headers=headers)[0] == 200


@pytest.mark.parametrize(
    "token", ["", "wrong", TOKEN[:-1], TOKEN + "x", "%ff%ff", "..", f"x/{TOKEN}"]
)
def test_other_tokens_are_refused(address: str, of: Queue, tmp_path: Path, token: str) -> None:
    for path, body in (("", None), ("list", None), ("decision", asked(of))):
        status, text, _ = ask(address, path, body, token=token)
        assert status == 404
        assert TOKEN not in text
    assert read_decisions(DataSetPaths(tmp_path)) == []


@pytest.mark.parametrize(
    "path", ["", "review.js", "review.css", "state", "list", "agreement", "nothing"]
)
def test_headers_shut_everything_else_out(address: str, path: str) -> None:
    status, text, headers = ask(address, path)
    assert status == (404 if path == "nothing" else 200)
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';")
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert path not in PAGE_FILES or not any(
        word in text for word in ("innerHTML", "http://", "https://", "eval(", " style=")
    )


def test_a_decision_is_on_the_disk_when_it_is_answered(
    address: str, of: Queue, tmp_path: Path
) -> None:
    status, text, _ = ask(address, "decision", asked(of))
    assert (status, json.loads(text)["word"]) == (200, "keep")
    [decision] = read_decisions(DataSetPaths(tmp_path))
    assert (decision.reviewer, decision.decision, decision.note) == ("ada", "keep", "good")
    entry = json.loads(ask(address, "list")[1])["entries"][0]
    assert entry == {**entry, "execution": nth(of, 0).execution, "word": "keep"}


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"decision": "delete"}, 400),
        ({"reviewer": "bob"}, 400),
        ({"note": "x" * (LONGEST_NOTE + 1)}, 400),
        ({"note": None}, 400),
        ({"reasons": ["too_short"]}, 400),
        ({"decision": "discard", "reasons": ["judge"]}, 400),
        ({"decision": "discard", "reasons": ["too_short"] * 8}, 400),
        ({"execution": "no/such#1"}, 409),
        ({"text_sha256": "0" * 64}, 409),
    ],
)
def test_what_is_no_decision_is_refused(
    address: str, of: Queue, tmp_path: Path, changes: dict[str, object], status: int
) -> None:
    found, text, _ = ask(address, "decision", asked(of, **changes))
    assert found == status
    assert json.loads(text)["error"]
    assert read_decisions(DataSetPaths(tmp_path)) == []


@pytest.mark.parametrize(
    "body", ["", "{", "[]", '"keep"', "\x00", '{"note": "\\ud800"}', "[" * 50_000]
)
def test_what_is_no_json_is_refused(address: str, body: str) -> None:
    assert ask(address, "decision", body, method="POST")[0] == 400


@pytest.mark.parametrize(
    "query",
    ["decided=all", "machine=", "sample=0", "sample=x", "seed=-1", "other=1", f"seed={10**30}"],
)
def test_unknown_filters_are_refused(address: str, query: str) -> None:
    status, text, _ = ask(address, f"list?{query}")
    assert status == 400
    assert json.loads(text)["error"].startswith("this filter isn't valid: ")


def test_a_list_holds_first_words_and_a_text_comes_by_its_id(address: str, of: Queue) -> None:
    words = json.loads(ask(address, "list")[1])["entries"][0]["words"]
    assert words == "The castle stood above the sea, and every evening its lamps were lit one by"
    assert nth(of, 0).text not in words
    status, text, _ = ask(address, f"execution?id={quote(nth(of, 0).execution)}")
    assert (status, json.loads(text)["text"]) == (200, nth(of, 0).text)
    assert ask(address, "execution?id=../../etc/passwd")[0] == 404
    assert ask(address, "execution")[0] == 404


def test_reviews_that_break_meanwhile_are_told(address: str, tmp_path: Path) -> None:
    (tmp_path / "reviews.jsonl").write_text("no line of ours\n")
    status, text, _ = ask(address, "list")
    assert status == 500
    assert "line 1" in json.loads(text)["error"]
