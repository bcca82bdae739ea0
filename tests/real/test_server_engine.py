"""Sweeps of a model that a server runs: a fake one with faults, and `transformers serve`."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.dataset.schema import TrialRecord
from orchestrator.engine import BatchRow
from orchestrator.engine.hf import load
from orchestrator.engine.server_http import Client
from orchestrator.engine.weights import locate
from orchestrator.models import parse_model
from orchestrator.nouns import effective_of
from tests import builders
from tests.engine.served import load_served
from tests.real.conftest import Orchestrator

REPOSITORY = Path(__file__).parents[2]
Trials = Callable[[Path], list[TrialRecord]]

FAULTS = """
prompts:
  - Tell of an old castle.
  - This server LIES about its tokens.
  - This prompt it REFUSES.
  - This server HANGS.
  - Tell of an island.
"""
DEATH = "prompts: [Tell of an old castle., This server DIES., Tell of an island.]"
LENGTH = ("--range", "max_length=100:110", "--max-new-tokens", "--fixed-length")
NEEDED = ("fastapi", "uvicorn", "openai")
"""What `transformers serve` needs (the extra dev has them)."""


@contextmanager
def fake_server_process(kind: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    command = [sys.executable, "-m", "tests.engine.fake_server", kind]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip(), process
        finally:
            process.kill()


def served(orchestrator: Orchestrator, url: str, use_case: str, prompts: str) -> tuple[str, ...]:
    """A sweep of one configuration on these prompts."""
    (orchestrator.folder / f"{use_case}.yaml").write_text(prompts)
    return (
        *("--space", "lhs", "--samples", "1", "--use-case", f"{use_case}.yaml", *LENGTH),
        *("--engine", "server", "--server-url", url),
    )


@pytest.mark.slow  # in short: tests/engine/test_server.py
def test_faults_of_a_server_fail_their_prompts_and_others_go_on(
    orchestrator: Orchestrator, trials: Trials
) -> None:
    out = orchestrator.folder / "measurements"
    with fake_server_process("ollama") as (url, process):
        sweep = served(orchestrator, url, "faults", FAULTS)
        result = orchestrator.tune(*sweep, "--prompts", "5", "--execution-timeout", "1", expect=3)
        assert result["executions_run"] == 5
        [record] = trials(out)
        columns, server = record.columns, record.environment.server
        assert (columns.model, columns.engine) == ("ollama-fake-model", "server")
        assert columns.server == "ollama 0.40.12"
        assert columns.not_taken == ("top_k", "fixed_length")
        assert server is not None
        assert server.command[-1] == "ollama"
        kinds = [execution.error_kind for execution in record.executions]
        assert kinds == [None, "server", "server", "timeout", None]
        for ok in (record.executions[0], record.executions[4]):
            assert ok.dormant == ("top_k",)
            assert ok.effective_top_k is None
            assert ok.n_new_tokens == len((ok.output_text or "").split())
            # a server that computes nothing may have taken no time of the CPU: unknown, never 0
            assert ok.cpu_energy_j is None or ok.cpu_energy_j > 0
        assert process.poll() is None, "the server goes on"
    orchestrator.run("validate")


@pytest.mark.slow  # in short: tests/engine/test_server.py
def test_a_server_that_dies_ends_the_sweep_which_its_next_start_resumes(
    orchestrator: Orchestrator, trials: Trials
) -> None:
    out = orchestrator.folder / "measurements"
    with fake_server_process("vllm") as (url, process):
        sweep = served(orchestrator, url, "death", DEATH)
        died = orchestrator.run("tune", *sweep, "--prompts", "3", expect=2)
        assert process.wait(60) == 1
    assert f"--server-url {url}: nobody answers there" in died.stderr
    kinds = [one.error_kind for record in trials(out) for one in record.executions]
    assert kinds == [None, "server"]
    with fake_server_process("vllm") as (url, _):
        sweep = served(orchestrator, url, "death", DEATH)
        resumed = orchestrator.tune(*sweep, "--prompts", "3", expect=3)
    assert (resumed["executions_done_before"], resumed["executions_run"]) == (2, 1)
    kinds = [one.error_kind for record in trials(out) for one in record.executions]
    assert Counter(kinds) == {None: 2, "server": 1}


@pytest.fixture(scope="module")
def transformers_serve(
    real_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    """`transformers serve` with the small model in float32: its address, and the model's name."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"transformers serve needs {', '.join(missing)}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORCHESTRATOR_CACHE", str(real_cache))
        weights = locate(parse_model("smollm2"))
    assert weights is not None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("serve") / "log"
    command = (
        *(str(Path(sys.executable).with_name("transformers")), "serve", str(weights.path)),
        *("--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--dtype", "float32"),
    )
    with log.open("w") as output, subprocess.Popen(command, stdout=output, stderr=output) as one:
        client, deadline_s = Client(f"http://127.0.0.1:{port}/v1"), time.monotonic() + 120
        while client.told("/health") is None:
            assert one.poll() is None, log.read_text()
            assert time.monotonic() < deadline_s, log.read_text()
            time.sleep(0.2)
        client.close()
        yield client.url, str(weights.path)
        one.kill()


@pytest.mark.slow
@pytest.mark.parametrize("chat_template", ["auto", "off"])
def test_transformers_serve_writes_what_the_transformers_engine_writes(
    transformers_serve: tuple[str, str],
    chat_template: str,
    real_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same weights by the same library: the same greedy text, tokens and end."""
    monkeypatch.setenv("ORCHESTRATOR_CACHE", str(real_cache))
    weights = locate(parse_model("smollm2"))
    assert weights is not None
    url, model = transformers_serve
    own = load(
        builders.setup(
            engine="transformers",
            quantization="none",
            compute_dtype="float32",
            revision=weights.revision,
            chat_template=chat_template,
        ),
        "smollm2",
        2,
    )
    server = load_served(url, model, chat_template=chat_template)
    assert server.info.columns.server == "transformers"
    assert server.info.columns.not_taken == ()
    assert server.info.columns.chat_template is own.info.columns.chat_template
    made = []
    for engine in (own, server):
        encoded = engine.encode("Name the capital of France.")
        asked = builders.configuration(temperature=0.0, max_length=encoded.n_tokens + 24)
        row = BatchRow(encoded, effective_of(asked, prompt_tokens=encoded.n_tokens), 7)
        [generated] = engine.generate([row], fixed_length=False)
        text = engine.decode(generated)
        made.append((encoded.n_tokens, text, generated.n_new, generated.finish_reason))
    assert made[0] == made[1]
    server.close()


@pytest.mark.slow
def test_a_sweep_by_transformers_serve(
    transformers_serve: tuple[str, str], orchestrator: Orchestrator, trials: Trials
) -> None:
    url, model = transformers_serve
    result = orchestrator.tune(
        *("--space", "lhs", "--samples", "2", "--prompts", "2", "--use-case", "fantasyWorld"),
        *(*LENGTH, "--engine", "server", "--server-url", url, "--model", model),
        # one that can be told from the server's own thread pools on any machine
        *("--country", "ITA"),
    )
    assert result["executions_run"] == 4
    for record in trials(orchestrator.folder / "measurements"):
        server = record.environment.server
        assert record.columns.server == "transformers"
        assert server is not None
        assert (server.kind, server.version) == ("transformers", None)
        assert server.endpoint == "chat/completions"
        assert "serve" in server.command
        for one in record.executions:
            assert one.status == "ok"
            assert one.n_new_tokens == one.effective_max_length - (one.n_prompt_tokens or 0)
            assert one.finish_reason == "length"
            assert one.output_text
            assert one.ttft_s is not None
            assert one.window_s is not None
            assert 0 < one.ttft_s < one.window_s
            assert (one.energy_basis, one.cpu_energy_j is None) == ("energy_j", False)
    orchestrator.run("validate")
