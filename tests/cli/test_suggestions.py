"""What a mistyped word is answered with: thirty typos and more, each with the right suggestion."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.cli.suggestions import OPTIONS, VERBS
from orchestrator.cli.verbs import VERBS as KNOWN_VERBS
from orchestrator.yaml_files import closest
from tests.commandline import Outcome

TUNE = ("tune", "--engine", "simulated")
TYPOS = [
    # verbs: mistyped, shortened, and as other programs call them
    (("tun", "lhs"), "did you mean `orchestrator tune`?"),
    (("Tune", "lhs"), "did you mean `orchestrator tune`?"),
    (("run", "lhs"), "did you mean `orchestrator tune`?"),
    (("resume",), "did you mean `orchestrator tune`?"),
    (("stauts",), "did you mean `orchestrator status`?"),
    (("eval",), "did you mean `orchestrator evaluate`?"),
    (("validat",), "did you mean `orchestrator validate`?"),
    (("check",), "did you mean `orchestrator validate`?"),
    (("summarise",), "did you mean `orchestrator summarize`?"),
    (("analyse",), "did you mean `orchestrator report`?"),
    (("monitor",), "did you mean `orchestrator watch`?"),
    (("download", "mistral"), "did you mean `orchestrator models stage`?"),
    (("models", "verfy"), "did you mean `orchestrator models verify`?"),
    (("cluster", "slrum"), "did you mean `orchestrator cluster slurm`?"),
    (("frobnicate",), "`orchestrator --help` lists them"),
    # options
    ((*TUNE, "lhs", "--sample", "3"), "did you mean --samples?"),
    ((*TUNE, "lhs", "--resume"), "the same command again resumes the sweep"),
    ((*TUNE, "lhs", "--continue"), "the same command again resumes the sweep"),
    ((*TUNE, "lhs", "--models", "smollm2"), "did you mean --model?"),
    ((*TUNE, "lhs", "--quantisation", "nf4"), "did you mean --quantization?"),
    ((*TUNE, "lhs", "--use_case", "fantasyWorld"), "did you mean --use-case?"),
    ((*TUNE, "lhs", "--load-in-4bit"), "write --quantization nf4"),
    ((*TUNE, "lhs", "--max-length", "200"), "write --range max_length=LOW:HIGH"),
    ((*TUNE, "lhs", "--dry-run"), "`orchestrator plan` with the same options"),
    ((*TUNE, "lhs", "--output", "x"), "did you mean --out?"),
    ((*TUNE, "lhs", "-o", "x"), "did you mean --out?"),
    (("publish", "data", "--licens", "CC0-1.0"), "did you mean --license?"),
    (("doctor", "--resume"), "`orchestrator doctor --help` lists them"),
    # values
    (("plan", "lsh"), "did you mean lhs?"),
    (("plan", "LHS"), "did you mean lhs?"),
    (("plan", "latin-hypercube"), "did you mean lhs?"),
    (("plan", "random"), "did you mean uniform?"),
    (("plan", "lhs", "--quantization", "4bit"), "did you mean nf4?"),
    (("plan", "lhs", "--quantization", "8-bit"), "did you mean int8?"),
    (("plan", "lhs", "--quantization", "bf16"), "did you mean none?"),
    (("plan", "lhs", "--dtype", "fp16"), "did you mean float16?"),
    (("plan", "lhs", "--dtype", "bf16"), "did you mean bfloat16?"),
    (("plan", "lhs", "--model", "llama-2"), "did you mean llama2?"),
    (("plan", "lhs", "--model", "SmolLM"), "did you mean smollm2?"),
    (("plan", "lhs", "--model", "synthetic-lama2"), "did you mean synthetic-llama2?"),
    (("plan", "lhs", "--use-case", "dance"), "did you mean danceCoreography?"),
    (("plan", "lhs", "--use-case", "fantasy-world"), "did you mean fantasyWorld?"),
    (("plan", "lhs", "--machine", "leonardo-booster"), "did you mean leonardo?"),
    (("plan", "lhs", "--range", "temprature=0:1"), "did you mean temperature?"),
    (("plan", "lhs", "--engine", "transformer"), "did you mean transformers?"),
    (("plot", "effect"), "did you mean effects?"),
    (("publish", "data", "--licence", "cc-by"), "Known: CC-BY-4.0"),
]


@pytest.mark.parametrize(("words", "said"), TYPOS, ids=lambda one: " ".join(one)[:40])
def test_a_typo_gets_the_right_suggestion(
    words: tuple[str, ...],
    said: str,
    call: Callable[..., Outcome],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    done = call(*words)
    assert (done.code, done.out) == (2, "")
    (line,) = done.err.splitlines()
    assert said in line


@pytest.mark.parametrize("spelling", ["--licence", "--license"])
def test_licence_is_taken_in_both_spellings(
    spelling: str, call: Callable[..., Outcome], tmp_path: Path
) -> None:
    done = call("publish", str(tmp_path), spelling, "CC0-1.0", "--check")
    assert "option" not in done.err


def test_each_word_of_others_leads_to_a_verb_and_is_none() -> None:
    assert not VERBS.keys() & KNOWN_VERBS.keys()
    assert {verb.split()[0] for verb in VERBS.values()} <= KNOWN_VERBS.keys()


def test_a_hint_stands_for_no_option_that_there_is(call: Callable[..., Outcome]) -> None:
    offered = set(call("tune", "--help").out.split())
    assert not OPTIONS.keys() & offered


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("alpha", "alpha"),
        ("ALPHA_2", "alpha-2"),
        ("alp", "alpha"),  # begins both: the nearer one
        ("beta", "betaRay"),
        ("ray", "betaRay"),
        ("be", None),  # too short
        ("btaray", "betaRay"),
        ("zzz", None),
        ("", None),
    ],
)
def test_closest(word: str, meant: str | None) -> None:
    assert closest(word, ["alpha", "alpha-2", "betaRay"]) == meant


def test_other_words_come_first() -> None:
    assert closest("4-bit", ["nf4", "int8"], {"4bit": "nf4"}) == "nf4"
