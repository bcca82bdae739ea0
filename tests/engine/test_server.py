"""The engine that asks a server: what it sends, what it makes of the answers, and faults."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest

from orchestrator.engine import GenerationError, ServerOptions, server_host, server_http
from orchestrator.engine.server import ServerEngine, served_models
from orchestrator.engine.server_http import Answer, ServerError
from orchestrator.engine.server_kinds import SERVERS
from orchestrator.errors import ModelUnavailableError, UserError
from orchestrator.gpu.simulated import Neighbour
from tests.engine.fake_server import CONTEXT, MODEL, Behaviour, fake_server
from tests.engine.served import load_served
from tests.engine.subject import Subject, subject_of
from tests.meters.fake_nvml import host, installed, uuid

Served = Callable[..., ServerEngine]

SENT: dict[str, dict[str, Any]] = {
    "vllm": {"top_p": 0.9, "top_k": 5, "min_p": 0.0, "repetition_penalty": 1.0},
    "sglang": {"top_p": 0.9, "top_k": 5, "min_p": 0.0, "repetition_penalty": 1.0},
    "llama.cpp": {
        "top_p": 0.9, "top_k": 5, "samplers": ["temperature", "top_k", "top_p"],
        "repeat_penalty": 1.0, "cache_prompt": False,
    },
    "ollama": {"top_p": 0.9},
    "tgi": {"top_p": 0.9},
    "unknown": {"top_p": 0.9},
}  # fmt: skip
"""Kind -> what it gets of a sampled text, beside what all get."""
FIXED: dict[str, dict[str, Any]] = {
    "vllm": {"ignore_eos": True, "min_tokens": 40},
    "sglang": {"ignore_eos": True, "min_tokens": 40},
    "llama.cpp": {"ignore_eos": True},
}
"""What it gets for a text that must not end early."""


def asked_by(behaviour: Behaviour, subject: Subject, **options: Any) -> dict[str, Any]:
    """The body of the request for a text of at most 40 tokens."""
    length = subject.encoded.n_tokens + 40
    values = {"max_length": length, "top_p": 0.9, "top_k": 5, "temperature": 0.7} | options
    subject.generate(2**40 + 77, **values)
    return behaviour.asked[-1]


def test_each_kind_of_server_is_in_the_tests_table() -> None:
    assert set(SENT) | {"transformers"} == set(SERVERS)


@pytest.mark.parametrize("kind", SENT)
def test_a_server_is_sent_the_fields_that_it_has(kind: str, served: Served) -> None:
    behaviour = Behaviour(kind)
    subject = subject_of(served(behaviour=behaviour))
    body = asked_by(behaviour, subject)
    salted = kind in ("vllm", "sglang")
    salt = body.pop("cache_salt", None)
    assert (salt is not None) == salted
    assert body == SENT[kind] | {
        "model": MODEL,
        "prompt": subject.encoded.ids,
        "path": "/v1/completions",
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 40,
        "temperature": 0.7,
        "seed": 77,
    }
    if salted:
        assert asked_by(behaviour, subject)["cache_salt"] != salt
    fixed = asked_by(behaviour, subject, fixed_length=True)
    assert {name: fixed[name] for name in fixed.keys() - body.keys() - {"cache_salt"}} == FIXED.get(
        kind, {}
    )


def test_transformers_gets_a_whole_generation_config(served: Served) -> None:
    behaviour = Behaviour("transformers")
    subject = subject_of(served(behaviour=behaviour))
    body = asked_by(behaviour, subject, fixed_length=True)
    config = json.loads(body.pop("generation_config"))
    assert config == {
        "do_sample": True,
        "repetition_penalty": 1.0,
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": 5,
        "min_new_tokens": 40,
    }
    assert body == {
        "model": MODEL,
        "prompt": subject.encoded.ids,
        "path": "/v1/completions",
        "stream": True,
        "max_tokens": 40,
        "seed": 77,
    }
    greedy = asked_by(behaviour, subject, top_k=1)
    assert json.loads(greedy["generation_config"]) == {
        "do_sample": False,
        "repetition_penalty": 1.0,
    }


@pytest.mark.parametrize("kind", SENT)
def test_greedy_is_a_temperature_of_0(kind: str, served: Served) -> None:
    behaviour = Behaviour(kind)
    body = asked_by(behaviour, subject_of(served(behaviour=behaviour)), top_k=1)
    assert body["temperature"] == 0.0
    assert not body.keys() & {"top_p", "min_p"}
    if kind == "llama.cpp":
        assert (body["top_k"], body["samplers"]) == (1, ["top_k"])
    else:
        assert not body.keys() & {"top_k", "samplers"}


@pytest.mark.parametrize(("kind", "off"), [("vllm", -1), ("sglang", -1), ("llama.cpp", 0)])
def test_no_top_k_is_said_in_each_servers_own_way(kind: str, off: int, served: Served) -> None:
    behaviour = Behaviour(kind)
    assert asked_by(behaviour, subject_of(served(behaviour=behaviour)), top_k=0)["top_k"] == off


def test_tgi_gets_no_top_p_of_1_which_it_refuses(served: Served) -> None:
    behaviour = Behaviour("tgi")
    assert "top_p" not in asked_by(behaviour, subject_of(served(behaviour=behaviour)), top_p=1.0)


@pytest.mark.parametrize(
    ("kind", "version", "context", "not_taken"),
    [
        ("vllm", "0.28.0", CONTEXT, ()),
        ("sglang", "0.6.1", CONTEXT, ("seed",)),
        ("llama.cpp", "b9999-abc", CONTEXT, ()),
        ("ollama", "0.40.12", None, ("top_k", "fixed_length", "chat_template")),
        ("tgi", "3.3.7", CONTEXT, ("top_k", "fixed_length")),
        ("transformers", None, None, ()),
        ("unknown", None, None, ("top_k", "fixed_length")),
    ],
)
def test_what_a_server_tells_is_recorded(
    kind: str, version: str | None, context: int | None, not_taken: tuple[str, ...], served: Served
) -> None:
    info = served(kind, length_mode="fixed").info
    assert info.server is not None
    assert (info.server.kind, info.server.version) == (kind, version)
    assert info.columns.server == (f"{kind} {version}" if version else kind)
    assert info.versions == ({kind: version} if version else {})
    assert info.context_length == context
    assert info.columns.not_taken == not_taken
    assert info.columns.chat_template is (kind == "ollama"), "Ollama puts each prompt into it"
    assert (info.columns.device, info.columns.gpu_uuid) == ("cpu", None)
    assert info.columns.synthetic is False
    assert "secret" not in info.model_dump_json()
    assert "/home" not in info.model_dump_json()


def test_a_parameter_that_is_not_taken_is_dormant_and_its_effect_unknown(served: Served) -> None:
    from orchestrator.nouns import effective_of
    from tests import builders

    not_taken = served("ollama").info.columns.not_taken
    effective = effective_of(builders.configuration(top_k=50), not_taken=not_taken)
    assert (effective.do_sample, effective.top_k, effective.dormant) == (True, None, ("top_k",))
    greedy = effective_of(builders.configuration(top_k=1), not_taken=not_taken)
    assert (greedy.do_sample, greedy.dormant) == (False, ("top_p", "temperature"))


@pytest.mark.parametrize(
    ("kind", "revision"),
    [
        ("vllm", f"served:vllm:{MODEL}"),
        ("ollama", f"served:ollama:{MODEL}@0123456789ab"),
        ("tgi", f"served:tgi:{MODEL}@ffffffffffff"),
    ],
)
def test_weights_are_named_as_far_as_the_server_tells(
    kind: str, revision: str, served: Served
) -> None:
    assert served(kind).info.columns.model_revision == revision


def test_a_server_with_other_weights_than_planned_is_refused(served: Served) -> None:
    with pytest.raises(ModelUnavailableError, match="planned with served:vllm:other, and"):
        served("vllm", revision="served:vllm:other")


# --- which endpoint -------------------------------------------------------------------------------


def test_a_prompt_goes_into_the_models_own_template_by_the_endpoint_of_chats(
    served: Served,
) -> None:
    behaviour = Behaviour()
    engine = served(behaviour=behaviour, chat_template="auto")
    body = asked_by(behaviour, subject_of(engine))
    assert body["path"] == "/v1/chat/completions"
    assert [message["role"] for message in body["messages"]] == ["user"]
    assert engine.info.columns.chat_template is True


def test_a_model_without_a_template_gets_the_bare_prompt(served: Served) -> None:
    behaviour = Behaviour(chats=False)
    engine = served(behaviour=behaviour, chat_template="auto")
    assert asked_by(behaviour, subject_of(engine))["path"] == "/v1/completions"
    assert engine.info.columns.chat_template is False
    assert engine.info.server is not None
    assert engine.info.server.facts["chat_refused"] == ("HTTP 400: the model has no chat template")


# --- answers --------------------------------------------------------------------------------------


def test_tokens_end_and_first_token_are_as_the_server_tells(served: Served) -> None:
    subject = subject_of(served(behaviour=Behaviour(token_s=0.01)))
    generated = subject.generate(fixed_length=True, max_length=subject.encoded.n_tokens + 9)
    assert (generated.n_new, generated.finish_reason) == (9, "length")
    assert generated.n_cached_tokens == 0
    assert generated.ttft_s is not None
    assert 0.01 <= generated.ttft_s < 0.09
    assert len(subject.engine.decode(generated).split()) == 9


def test_a_prompt_is_counted_once_a_session(served: Served) -> None:
    behaviour = Behaviour()
    engine = served(behaviour=behaviour)
    before = len(behaviour.asked)
    assert engine.encode("one two three").n_tokens == engine.encode("one two three").n_tokens == 3
    assert len(behaviour.asked) == before + 1


def test_pieces_of_each_shape_are_taken_in() -> None:
    answer = Answer()
    thought = {"choices": [{"delta": {"reasoning_content": "hm"}}]}
    for at_s, chunk in enumerate(
        [
            {"choices": [{"delta": {"role": "assistant", "content": ""}}]},
            thought,
            {"choices": [{"delta": {"content": "Sea"}}], "usage": None},
            {"choices": [{"text": "side", "finish_reason": "length"}]},
            {"choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": 3}},
        ]
    ):
        answer.take(chunk, float(at_s))
    assert answer == Answer("Seaside", "length", 1.0, 3, 4, None, 3)


@pytest.mark.parametrize("chunk", [[], "x", {"error": "broken"}, {"error": {"message": "no"}}])
def test_what_is_no_piece_of_an_answer_is_refused(chunk: Any) -> None:
    with pytest.raises(ServerError):
        Answer().take(chunk, 0.0)


def test_it_can_be_asked_where_a_loop_runs_already(served: Served) -> None:
    """As in a notebook."""
    subject = subject_of(served())

    async def cell() -> int:
        return subject.generate().n_new

    assert asyncio.run(cell()) > 0


# --- faults ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        ("LIES", "server", "it says that it generated 5 tokens: asked for were 16 at most, and "),
        ("UNTOLD", "server", "it doesn't tell how many tokens it generated"),
        ("REFUSES", "server", "HTTP 400: maximum context length"),
        ("ENDLESS", "server", "the text ended for no reason, neither stop nor length"),
        ("NONSENSE", "server", "its answer can't be read"),
        ("OOM", "oom", "it broke off with: CUDA out of memory"),
    ],
)
def test_a_fault_fails_its_prompt_and_others_go_on(
    fault: str, kind: str, said: str, served: Served
) -> None:
    subject = subject_of(served())
    prompt = subject.engine.encode(f"Tell of {fault} in an old castle.")
    with pytest.raises(GenerationError, match=said) as raised:
        subject.generate(prompt=prompt, fixed_length=True, max_length=prompt.n_tokens + 16)
    assert raised.value.kind == kind
    assert subject.generate(fixed_length=True).n_new == 16


def test_a_server_that_hangs_ends_by_the_timeout(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_http, "GRACE_S", 0.1)
    subject = subject_of(served())
    prompt = subject.engine.encode("This HANGS.")
    began_s = time.perf_counter()
    with pytest.raises(GenerationError, match=r"ended after 0.2 s with 3 new tokens") as raised:
        subject.generate(prompt=prompt, fixed_length=True, timeout_s=0.2)
    assert raised.value.kind == "timeout"
    assert time.perf_counter() - began_s < 5
    assert subject.generate().n_new > 0


def test_without_a_timeout_a_silent_server_is_taken_for_hung(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_http, "SILENT_S", 0.2)
    subject = subject_of(served())
    prompt = subject.engine.encode("This HANGS.")
    with pytest.raises(GenerationError, match=r"no byte for 0.2 s, after 3 pieces") as raised:
        subject.generate(prompt=prompt, fixed_length=True)
    assert raised.value.kind == "server"


@contextmanager
def server_process(kind: str = "vllm") -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A fake server in a process of its own: its address, and the process."""
    command = [sys.executable, "-m", "tests.engine.fake_server", kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip(), process
        finally:
            process.kill()


def test_a_server_that_dies_fails_its_prompt_and_then_the_device_is_lost() -> None:
    with server_process() as (url, process):
        engine = load_served(url)
        assert engine.info.served_by is not None
        assert engine.info.served_by.pid == process.pid
        assert engine.info.server is not None
        assert engine.info.server.n_processes == 1
        assert engine.info.server.command[1:] == ("-m", "tests.engine.fake_server", "vllm")
        subject = subject_of(engine)
        prompt = engine.encode("This server DIES.")
        with pytest.raises(GenerationError, match="the connection broke off") as raised:
            subject.generate(prompt=prompt, fixed_length=True)
        assert raised.value.kind == "server"
        # a corpse until its parent looks at it
        with pytest.raises(RuntimeError, match=f"process {process.pid} has ended"):
            engine.encode("Another prompt.")
        process.wait()
        with pytest.raises(RuntimeError, match=f"process {process.pid} has ended"):
            engine.synchronize()
        with pytest.raises(ModelUnavailableError, match="nobody answers there"):
            load_served(url)
        engine.close()


# --- what is refused before anything runs ---------------------------------------------------------


def models(url: str | None, *refs: str, **options: Any) -> list[str]:
    """Labels of the models as a sweep would have them."""
    found = served_models(ServerOptions(server_url=url, **options), refs)
    return [model.label for model in found]


def test_the_only_model_needs_no_name_and_its_label_tells_the_server() -> None:
    with fake_server(Behaviour("llama.cpp", models=("org/some-7B",))) as url:
        assert models(url) == models(url, "org/some-7B") == ["llama.cpp-org--some-7B"]


@pytest.mark.parametrize(
    ("listed", "refs", "said"),
    [
        (("a", "b"), (), "--model: name the model as the server does; it lists 2: a, b"),
        ((), (), "it lists 0: none"),
        (("fake-model",), ("fakemodel",), "the server has no 'fakemodel': did you mean fake-model"),
    ],
)
def test_a_model_that_the_server_has_not_is_refused(
    listed: tuple[str, ...], refs: tuple[str, ...], said: str
) -> None:
    with (
        fake_server(Behaviour(models=listed)) as url,
        pytest.raises(UserError, match=said),
    ):
        models(url, *refs)


def test_a_server_that_fails_to_list_its_models_is_asked_for_the_one_that_is_named() -> None:
    with fake_server(Behaviour("transformers", models=())) as url:
        assert models(url, "org/pinned") == ["transformers-org--pinned"]


def test_a_model_that_gives_no_text_is_refused_when_it_is_loaded() -> None:
    """`transformers serve` lists its cache, whatever it was started with."""
    with fake_server(Behaviour("transformers", models=("pinned",))) as url:
        assert models(url, "/some/folder/other") == ["transformers-other"]
        with pytest.raises(ModelUnavailableError, match=r"gives no text by /completions: HTTP 404"):
            load_served(url, "/some/folder/other")


def test_a_server_that_tells_no_tokens_is_refused(served: Served) -> None:
    with pytest.raises(ModelUnavailableError, match="doesn't tell how many tokens"):
        served(behaviour=Behaviour(has_usage=False))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (None, "--engine server needs the server's address: --server-url http://127.0.0.1:8000/v1"),
        ("http://127.0.0.1:1/v1", r"--server-url http://127.0.0.1:1/v1: nobody answers there"),
        ("http://192.0.2.1:80/v1", r"192.0.2.1 is another host, .* or give --server-elsewhere"),
        ("http://no-such-host.invalid/v1", "there is no host no-such-host.invalid"),
    ],
)
def test_an_address_without_a_server_here_is_refused(url: str | None, said: str) -> None:
    with pytest.raises(UserError, match=said):
        models(url)


def test_what_is_no_openai_server_is_refused() -> None:
    with fake_server(Behaviour()) as url:
        with pytest.raises(ModelUnavailableError, match=r"HTTP 404: not found; the address goes"):
            models(url.removesuffix("/v1"))
        with pytest.raises(ModelUnavailableError, match=r"HTTP 404"):
            models(f"{url}/other")


def test_a_port_that_is_only_forwarded_is_refused_unless_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server_host, "FORWARDERS", {psutil.Process().name()})
    with fake_server(Behaviour()) as url:
        with pytest.raises(UserError, match="passes on to a server that can't be seen from here"):
            models(url)
        assert models(url, server_elsewhere=True) == [f"vllm-{MODEL}"]


def test_a_process_that_cannot_be_seen_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "net_connections", lambda _kind: [])
    with (
        fake_server(Behaviour()) as url,
        pytest.raises(UserError, match="can't be seen, so it is another user's or in a container"),
    ):
        models(url)


def test_a_server_elsewhere_has_no_device_and_no_energy(served: Served) -> None:
    engine = served(engine_options={"server_elsewhere": True})
    assert engine.info.columns.device == "elsewhere"
    assert engine.info.served_by is not None
    assert engine.info.served_by.pid is None
    assert engine.info.served_by.why_unmeasured is not None
    assert engine.info.server is not None
    assert engine.info.server.n_processes is None
    engine.synchronize()


# --- on a GPU -------------------------------------------------------------------------------------


def on_gpus(*pids: int) -> Any:
    """A host with a GPU for each process that computes on one."""
    nvml = host(*(300.0 for _ in pids))
    for gpu, pid in zip(nvml.gpus, pids, strict=True):
        one = Neighbour(begins_s=0.0, ends_s=1e9, watts=0.0, pid=pid)
        gpu.truth = gpu.truth.model_copy(update={"neighbours": (one,)})
    return installed(nvml)


def test_its_gpu_is_the_one_that_its_processes_compute_on(served: Served) -> None:
    with on_gpus(7, os.getpid()):
        engine = served()
    assert engine.gpu is not None
    assert engine.gpu.gpu.uuid == engine.info.columns.gpu_uuid == uuid(1)
    assert engine.info.columns.device == "cuda"
    assert engine.info.served_by is not None
    assert os.getpid() in engine.info.served_by.nvml_pids
    assert 7 not in engine.info.served_by.nvml_pids


def test_in_a_container_its_gpu_is_the_one_whose_device_it_holds_open(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_host, "_open_devices", lambda _pids: {"/dev/null", "/dev/nvidia0"})
    monkeypatch.setattr(server_host, "_device_of", lambda access: f"/dev/nvidia{access.gpu.index}")
    with on_gpus(4711):
        engine = served()
    assert engine.info.columns.gpu_uuid == uuid(0)
    assert engine.info.served_by is not None
    assert 4711 in engine.info.served_by.nvml_pids, "it is there, and can only be the server's"


def test_several_gpus_are_refused(served: Served) -> None:
    with (
        on_gpus(os.getpid(), os.getpid()),
        pytest.raises(UserError, match=r"are on 2 GPUs \(GPU-0.*only the energy of one"),
    ):
        served()


def test_a_gpu_that_is_not_nvidias_is_refused(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_host, "_open_devices", lambda _pids: {"/dev/kfd"})
    with pytest.raises(UserError, match="a GPU that is not NVIDIA's"):
        served()


# --- what may be published ------------------------------------------------------------------------


def test_a_command_line_has_no_secrets_and_no_folders() -> None:
    command = [
        "/opt/venv/bin/python", "-m", "server", "--api-key", "sk-123", "--model", "/home/me/w.gguf",
        "--hf-token=hf_1", "--max-tokens", "9", "--download-dir=/data/me/models", "hf_2", "--flag",
    ]  # fmt: skip
    assert list(server_host._scrubbed(command)) == [
        "python", "-m", "server", "--api-key", "(left out)", "--model", "w.gguf",
        "--hf-token=(left out)", "--max-tokens", "9", "--download-dir=models", "(left out)",
        "--flag",
    ]  # fmt: skip
