"""A small HTTP server that speaks the protocol as each kind of server does, without a model.

Its words are drawn from a generator that is seeded by what it is asked. In a process of its own:
`python -m tests.engine.fake_server KIND` prints its address. A prompt that holds the name of a
fault gets that fault.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.server import QuietHandler, QuietServer, serving

WORDS = ("the", "old", "castle", "by", "the", "sea", "opens", "its", "gate")
MODEL = "fake-model"
CONTEXT = 4096
OWNERS = {"vllm": "vllm", "sglang": "sglang", "llama.cpp": "llamacpp", "ollama": "library"}
TOLD: dict[str, dict[str, Any]] = {
    "vllm": {"/version": {"version": "0.28.0"}},
    "sglang": {"/server_info": {"version": "0.6.1", "tp_size": 1, "api_key": "sk-secret"}},
    "llama.cpp": {
        "/props": {
            "build_info": "b9999-abc",
            "default_generation_settings": {"n_ctx": CONTEXT},
            "model_path": "/home/somebody/models/fake.gguf",
        }
    },
    "ollama": {
        "/api/version": {"version": "0.40.12"},
        "/api/tags": {"models": [{"name": MODEL, "digest": "sha256:0123456789abcdef"}]},
    },
    "tgi": {"/info": {"version": "3.3.7", "max_total_tokens": CONTEXT, "model_sha": "f" * 40}},
    "transformers": {"/openapi.json": {"paths": {"/load_model": {}, "/v1/completions": {}}}},
    "unknown": {},
}
"""Kind -> path -> what the server tells there."""
TRANSFORMERS_FIELDS = {"model", "prompt", "messages", "stream", "max_tokens", "seed"} | {
    "generation_config"
}
FAULTS = ("DIES", "HANGS", "LIES", "UNTOLD", "REFUSES", "ENDLESS", "NONSENSE", "OOM")


@dataclass
class Behaviour:
    """How a server behaves, and what it was asked."""

    kind: str = "vllm"
    models: tuple[str, ...] = (MODEL,)
    """(): it fails when it is asked for them, as `transformers serve` without a cache."""
    chats: bool = True
    """Whether its model has a chat template."""
    has_usage: bool = True
    token_s: float = 0.0
    asked: list[dict[str, Any]] = field(default_factory=list)
    """Bodies of requests, the newest one last."""


class Handler(QuietHandler):
    """Answers requests as the server of a subclass behaves."""

    behaviour: Behaviour
    protocol_version = "HTTP/1.1"

    def _json(self, content: Any, status: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:  # noqa: N802
        behaviour = self.behaviour
        told = TOLD[behaviour.kind]
        if self.path == "/v1/models" and not behaviour.models:
            self._json({"error": "Internal Server Error"}, 500)
        elif self.path == "/v1/models":
            owner = OWNERS.get(behaviour.kind, "somebody")
            entries: list[dict[str, Any]] = [
                {"id": name, "object": "model", "owned_by": owner} for name in behaviour.models
            ]
            for entry in entries if behaviour.kind in ("vllm", "sglang") else ():
                entry |= {"max_model_len": CONTEXT, "root": "/home/somebody/weights"}
            self._json({"object": "list", "data": entries})
        elif self.path in told:
            self._json(told[self.path])
        else:
            self._json({"error": "not found"}, 404)

    def do_POST(self) -> None:  # noqa: N802
        behaviour = self.behaviour
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        behaviour.asked.append({**body, "path": self.path})
        chat = self.path == "/v1/chat/completions"
        prompt = body["messages"][0]["content"] if chat else body["prompt"]
        if chat and not behaviour.chats:
            self._json({"error": {"message": "the model has no chat template"}}, 400)
        elif body["model"] not in behaviour.models:
            self._json({"error": {"message": f"The model {body['model']} is not here"}}, 404)
        elif behaviour.kind == "transformers" and body.keys() - TRANSFORMERS_FIELDS:
            self._json({"detail": "Unexpected fields in the request"}, 422)
        elif "REFUSES" in prompt and body["max_tokens"] > 1:
            self._json({"error": {"message": "maximum context length"}}, 400)
        else:
            self._stream(body, prompt, chat=chat)

    def _piece(self, content: Any) -> None:
        data = content if isinstance(content, str) else json.dumps(content)
        line = f"data: {data}\n\n".encode()
        self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
        self.wfile.flush()

    def _break(self, fault: str) -> None:
        """What happens in the middle of an answer."""
        if fault == "DIES":
            os._exit(1)
        if fault == "HANGS":
            time.sleep(3600)
        if fault == "OOM":
            self._piece({"error": {"message": "CUDA out of memory"}})
        if fault == "NONSENSE":
            self._piece("{not json")

    def _stream(self, body: dict[str, Any], prompt: str, *, chat: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        behaviour, (words, reason) = self.behaviour, drawn(body, prompt)
        # a prompt is counted by a text of one token, which has no faults
        fault = next((f for f in FAULTS if f in prompt and body["max_tokens"] > 1), None)
        for number, word in enumerate(words):
            if number == 3 and fault is not None:
                self._break(fault)
            time.sleep(behaviour.token_s)
            text = f"{word} "
            choice = {"delta": {"content": text}} if chat else {"text": text}
            self._piece({"choices": [{"index": 0, **choice, "finish_reason": None}]})
        n_new = len(words) // 3 if fault == "LIES" else len(words)
        last: dict[str, Any] = {"choices": [{"index": 0, "text": "", "finish_reason": reason}]}
        if fault == "ENDLESS":
            last["choices"][0]["finish_reason"] = None
        if behaviour.has_usage and fault != "UNTOLD":
            last["usage"] = {"prompt_tokens": n_tokens(prompt), "completion_tokens": n_new}
            if behaviour.kind == "vllm":
                last["usage"]["prompt_tokens_details"] = {"cached_tokens": 0}
        self._piece(last)
        self._piece("[DONE]")
        self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True


def handler(behaviour: Behaviour) -> type[Handler]:
    """What answers the requests of one server."""
    return type("Answering", (Handler,), {"behaviour": behaviour})


def n_tokens(prompt: str) -> int:
    """Of a prompt: a word each."""
    return max(1, len(prompt.split()))


def drawn(body: dict[str, Any], prompt: str) -> tuple[list[str], str]:
    """The words of an answer, and why it ended, as the fields of this kind of server say."""
    config = json.loads(body.get("generation_config", "{}"))
    greedy = body.get("temperature") == 0.0 or config.get("do_sample") is False
    stream = random.Random(0 if greedy else f"{body['seed']}{prompt}")
    fixed = body.get("ignore_eos") or config.get("min_new_tokens")
    words: list[str] = []
    while len(words) < body["max_tokens"]:
        words.append(stream.choice(WORDS))
        if not fixed and stream.random() < 1 / 60:
            return words, "stop"
    return words, "length"


@contextmanager
def fake_server(behaviour: Behaviour) -> Iterator[str]:
    """The address, up to /v1, of a server in this process."""
    with serving(handler(behaviour)) as address:
        yield f"http://{address}/v1"


if __name__ == "__main__":
    server = QuietServer(("127.0.0.1", 0), handler(Behaviour(kind=sys.argv[1])))
    print(f"http://127.0.0.1:{server.server_port}/v1", flush=True)
    server.serve_forever()
