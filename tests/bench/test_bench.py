"""`bench` still runs: a tiny real model, one round. Nothing here judges speed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.bench import fakes
from tests.commandline import Outcome, caller
from tests.engine.conftest import REFS


@pytest.fixture
def bench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[Outcome, dict[str, Any]]]:
    """Runs it on two configurations of one prompt; returns what it said and its JSON."""
    root = str(Path(__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", root)
    monkeypatch.setenv("ORCHESTRATOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    call = caller(capsys)

    def run(ways: str, *flags: str) -> tuple[Outcome, dict[str, Any]]:
        work = ("--model", REFS["llama2"], "--samples", "2", "--prompts", "1", "--max-new-tokens")
        size = ("--range", "max_length=100", "--quantization", "none", "--rounds", "1")
        done = call("bench", "--ways", ways, *work, *size, "--json", "bench.json", *flags)
        content: dict[str, Any] = json.loads(Path("bench.json").read_text(encoding="utf-8"))
        return done, content

    return run


Bench = Callable[..., tuple[Outcome, dict[str, Any]]]


def _check(content: dict[str, Any], letters: str) -> None:
    assert "".join(way["way"] for way in content["ways"]) == letters
    assert (content["same_work"], content["differences"]) == (True, [])
    for way in content["ways"]:
        (only,) = way["rounds"]
        assert only["n_new_tokens"] == 200
        assert 0 < only["generate_s"] < only["wall_s"]
        assert 0 < only["to_first_window_s"] < only["wall_s"]


def test_the_reports_way_and_the_warm_loop_write_the_same_texts(bench: Bench) -> None:
    done, content = bench("a,b", "--markdown")
    assert done.code == 0, done.err
    _check(content, "ab")
    assert "| a: the report's way | " in done.out
    assert "Texts are the same, byte by byte: the report's way; bare warm loop." in done.out


@pytest.mark.slow  # Ray starts twice
def test_all_ways_write_the_same_texts(bench: Bench) -> None:
    done, content = bench("a,b,c,d")
    assert done.code == 0, done.err
    _check(content, "abcd")
    assert content["ways"][-1]["figures"]["protocol_s"]["median"] > 0


def test_other_texts_end_with_1_and_a_sentence(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestrator.bench import preparing, running
    from orchestrator.bench.catalogue import ways_of

    a, b = ways_of(("a", "b"), ())
    runs = {a: [fakes.run()], b: [fakes.run(given=fakes.answers(text="other"))]}
    monkeypatch.setattr(
        preparing, "prepare", lambda *_: preparing.Prepared((a, b), fakes.work(), [], None)
    )
    monkeypatch.setattr(running, "run_rounds", lambda *_: runs)
    done, content = bench("a,b")
    assert done.code == 1
    assert "error: bare warm loop, round 1: 1 of 4 answers" in done.err
    assert not content["same_work"]


def test_a_file_that_cannot_be_written_is_told_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = caller(capsys)("bench", "--json", str(tmp_path / "missing" / "bench.json"))
    assert done.code == 2
    assert "can't be written (No such file or directory); name another file" in done.err
