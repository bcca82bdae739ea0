"""`review` as a process: it prints its address, ends on Ctrl-C, and rebuilds the tables."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from orchestrator.cli.review_command import _open
from orchestrator.dataset import lock
from orchestrator.dataset.parquet import read_parquet
from orchestrator.dataset.paths import DataSetPaths
from tests import builders
from tests.commandline import Outcome
from tests.review.serving import ask


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataSetPaths:
    monkeypatch.chdir(tmp_path)
    paths = DataSetPaths(tmp_path / "data")
    builders.seal_trial(
        paths, of := builders.spec(), [builders.measured(number, of=of) for number in (1, 2, 3)]
    )
    return paths


class Running:
    """`review` in a process of its own."""

    def __init__(self, paths: DataSetPaths) -> None:
        command = [
            sys.executable,
            "-m",
            "orchestrator",
            "review",
            "--out",
            str(paths.root),
            "--reviewer",
            "ada",
            "--no-browser",
        ]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, stdout=pipe, stderr=pipe, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"}
        )
        assert self.process.stdout is not None
        self.first = self.process.stdout.readline()
        match = re.search(r"http://127\.0\.0\.1:\d+/[\w-]{32}/", self.first)
        assert match, self.first + self.process.communicate(timeout=30)[1]
        self.address = match[0]

    def ask(self, path: str, body: object = None) -> dict[str, Any]:
        status, text, _ = ask(self.address, path, body, token=self.address.split("/")[3])
        assert status == 200, text
        return json.loads(text)

    def decide(self, place: int, word: str) -> None:
        shown = self.ask(f"execution?id={quote(self.ask('list')['entries'][place]['execution'])}")
        self.ask(
            "decision",
            {
                "execution": shown["execution"],
                "text_sha256": shown["text_sha256"],
                "decision": word,
            },
        )

    def end(self, number: int = signal.SIGINT) -> tuple[int, str, str]:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


@pytest.fixture
def running(data: DataSetPaths) -> Iterator[Running]:
    made = Running(data)
    yield made
    if made.process.poll() is None:
        made.process.kill()
        made.process.communicate()


def test_decide_and_end(running: Running, data: DataSetPaths) -> None:
    assert running.first.startswith("3 texts to review as ada: ")
    for place, word in ((0, "keep"), (1, "discard"), (2, "discard"), (2, "undecided")):
        running.decide(place, word)
    code, out, err = running.end()
    assert (code, err) == (0, "")
    assert "3 texts decided: 1 kept, 1 discarded, 1 taken back" in out
    rows = read_parquet(data.executions).to_pylist()
    assert [(row["usable"], row["decided_by"]) for row in rows] == [
        (True, "review"),
        (False, "review"),
        (None, None),
    ]
    assert read_parquet(data.summary).to_pylist()[0]["n_discarded"] == 1


def test_beside_a_sweep_the_decisions_stand_in_the_tables(
    running: Running, data: DataSetPaths
) -> None:
    """What the sweep has sealed meanwhile, too."""
    running.decide(0, "discard")
    with lock.held(data.root, print):
        second = builders.spec(config_index=1)
        builders.seal_trial(data, second, [builders.measured(1, of=second)])
        code, out, _ = running.end(signal.SIGTERM)
    assert (code, "Rebuilding the tables" in out) == (0, True)
    usable = read_parquet(data.executions).column("usable").to_pylist()
    assert usable == [False, None, None, None]


def test_nothing_decided_changes_nothing(running: Running, data: DataSetPaths) -> None:
    before = sorted(data.root.rglob("*"))
    code, out, _ = running.end()
    assert code == 0
    assert out.endswith("Nothing decided.\n")
    assert sorted(data.root.rglob("*")) == before


@pytest.mark.parametrize("name", ["", "  ", "x" * 65, "a\x1b[31m", "a\u202eb", "a\nb"])
def test_a_reviewers_name_can_be_printed(
    call: Callable[..., Outcome], data: DataSetPaths, name: str
) -> None:
    done = call("review", "--out", str(data.root), "--reviewer", name, "--no-browser")
    assert (done.code, done.err) == (2, "error: --reviewer: must be 1 to 64 printable characters\n")


def test_a_user_without_a_name_is_asked_for_one(
    call: Callable[..., Outcome], data: DataSetPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.setattr("getpass.getuser", nobody)
    done = call("review", "--out", str(data.root), "--no-browser")
    assert (done.code, done.err) == (
        2,
        "error: --reviewer: this user has no login name; give a name\n",
    )


def test_a_taken_port_is_a_user_error(call: Callable[..., Outcome], data: DataSetPaths) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = call(
            "review", "--out", str(data.root), "--port", port, "--reviewer", "ada", "--no-browser"
        )
    assert done.code == 2
    assert done.err.startswith(f"error: --port {port}: can't be used (")
    assert done.err.count("\n") == 1


def test_nothing_to_review_is_a_user_error(call: Callable[..., Outcome], tmp_path: Path) -> None:
    done = call("review", "--out", str(tmp_path), "--reviewer", "ada", "--no-browser")
    assert (done.code, done.err) == (
        2,
        f"error: --out {tmp_path}: holds no text to review; run `orchestrator tune` first\n",
    )


def test_the_browser_gets_the_address_by_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address is secret, but other users can read the arguments of a browser's process."""
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    _open("http://127.0.0.1:1/token/", tmp_path)
    assert opened == []
    monkeypatch.setenv("DISPLAY", ":0")
    _open("http://127.0.0.1:1/token/", tmp_path)
    assert opened == [(tmp_path / "open.html").as_uri()]
    assert "http://127.0.0.1:1/token/" in (tmp_path / "open.html").read_text()
