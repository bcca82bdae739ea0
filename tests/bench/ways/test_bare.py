"""How many tokens the other ways generate, and with what: as in a sweep."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator.bench.ways import bare
from orchestrator.nouns import Configuration, effective_of


@pytest.mark.parametrize("of_new_tokens", [False, True])
@pytest.mark.parametrize("context_length", [None, 150])
@pytest.mark.parametrize("max_length", [100, 140, 200])
@pytest.mark.parametrize("n_prompt", [20, 99, 130])
def test_a_length_leaves_as_many_new_tokens_as_in_a_sweep(
    max_length: int, n_prompt: int, context_length: int | None, *, of_new_tokens: bool
) -> None:
    work = {"of_new_tokens": of_new_tokens, "context_length": context_length}
    effective = effective_of(
        Configuration(max_length=max_length, top_p=1.0, top_k=0, temperature=1.0),
        prompt_tokens=n_prompt,
        context_length=context_length,
        of_new_tokens=of_new_tokens,
    )
    ours = effective.max_length - n_prompt
    assert bare._new_tokens(work, max_length, n_prompt) == ours


def test_greedy_texts_have_no_sampling() -> None:
    values: dict[str, Any] = {"do_sample": True, "top_k": 0, "top_p": 0.5, "temperature": 1.5}
    assert bare._sampling(values | {"seed": 1}) == values
    assert bare._sampling(values | {"do_sample": False}) == {"do_sample": False}


def test_a_program_reads_its_work_and_writes_its_answers(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, answers = tmp_path / "work.json", tmp_path / "answers.json"
    work.write_text(json.dumps({"trials": ["one", "two"]}))
    monkeypatch.setattr("sys.argv", ["a way", str(work), str(answers)])
    bare.main(lambda given, folder: [{"trial": one, "in": folder.name} for one in given["trials"]])
    assert json.loads(answers.read_text()) == [
        {"trial": "one", "in": tmp_path.name},
        {"trial": "two", "in": tmp_path.name},
    ]
