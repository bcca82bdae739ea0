"""The engine for a model that an OpenAI-compatible server on this host runs, one prompt at a time.

What was loaded, and how, is the server's business: it is recorded as far as the server tells. The
texts, tokens and ends are as it says; what it says is checked for what can't be. Doesn't know who
else asks the server meanwhile.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any
from urllib.parse import urlsplit

import psutil

from orchestrator.engine import (
    BatchRow,
    Built,
    Encoded,
    EngineColumns,
    EngineInfo,
    EngineOptions,
    Generated,
    GenerationError,
    ServedBy,
    ServerFacts,
    ServerOptions,
    options_of,
    timed_out,
)
from orchestrator.engine.server_host import (
    command_of,
    gpus_of,
    is_here,
    listener,
    publishable,
    scrubbed,
    tree,
)
from orchestrator.engine.server_http import Answer, Client, ServerError, SlowError
from orchestrator.engine.server_kinds import (
    FIXED_LENGTH,
    SERVERS,
    Asked,
    ServerKind,
    Told,
    kind_of,
    told_by,
)
from orchestrator.errors import ModelUnavailableError, UserError
from orchestrator.gpu.access import GpuAccess, compute_pids
from orchestrator.models import Model, slug
from orchestrator.nouns import SERVED, Effective, Setup
from orchestrator.yaml_files import nearest, short

CHAT, PLAIN = "chat/completions", "completions"
"""The endpoint that puts a prompt into the model's chat template, and the one that doesn't."""
PROBE = "Hello"
NO_SUCH_ENDPOINT = (400, 404, 405, 422, 501)
"""HTTP statuses of a server that has no such endpoint, or whose model has no chat template."""
SERVER_FAILED = 500
FINISH_REASONS = {
    "stop": "eos",
    "eos_token": "eos",
    "stop_sequence": "eos",
    "length": "length",
}
"""A server's word -> ours."""
SLACK_TOKENS = 4
"""A server may give so many tokens more than it was asked for: llama.cpp ends no character half."""
SLACK_CHUNKS = 1
"""The rest of a text may come in a piece of its own, after its last token."""
ELSEWHERE = "the server is on another host (--server-elsewhere)"
DEVICE_ELSEWHERE = "elsewhere"
"""The column `device` where nobody knows what the server computes on."""


@dataclass(frozen=True)
class Server:
    """A server that answers, and what it tells."""

    client: Client
    told: Told
    models: Mapping[str, dict[str, Any]]
    """Name -> the entry of its list of models."""

    @property
    def kind(self) -> ServerKind:
        """Its row of the table."""
        return SERVERS[self.told.kind]

    def digest(self, model: str) -> str | None:
        """A hash of a model's weights; None: not told."""
        places = [self.models.get(model, {}), self.told.facts]
        if self.told.kind == "ollama":
            tags = (self.client.told("/api/tags") or {}).get("models") or []
            places += [one for one in tags if one.get("name") in (model, f"{model}:latest")]
        found = [place[key] for place in places for key in self.kind.digests if place.get(key)]
        return str(found[0]) if found else None

    def context_length(self, model: str) -> int | None:
        """Tokens of the longest text; None: not told."""
        entry = self.models.get(model, {})
        facts = self.told.facts
        settings = facts.get("default_generation_settings") or {}
        for place in (entry, entry.get("meta") or {}, settings, facts):
            for key in self.kind.context:
                if isinstance(place.get(key), int) and place[key] > 0:
                    return int(place[key])
        return None

    def revision(self, model: str) -> str:
        """What tells its weights from others, as far as it is told."""
        digest = self.digest(model)
        name = f"served:{self.told.kind}:{scrubbed(model)}"
        return f"{name}@{digest.removeprefix('sha256:')[:12]}" if digest else name


def connect(options: ServerOptions) -> Server:
    """The server at --server-url. Raises UserError where there is none, or it is elsewhere."""
    url = options.server_url
    if url is None:
        raise UserError(
            "--engine server needs the server's address: --server-url http://127.0.0.1:8000/v1"
        )
    _check_place(url, elsewhere=options.server_elsewhere)
    client = Client(url)
    try:
        models = _listed(client)
    except ServerError as error:
        client.close()
        hint = "start the server, and wait until it has loaded its model"
        if error.status is not None:
            hint = "the address goes up to /v1, which it includes, and OPENAI_API_KEY holds its key"
        raise ModelUnavailableError(f"--server-url {url}: {error}; {hint}") from error
    except (LookupError, TypeError) as error:
        client.close()
        raise ModelUnavailableError(
            f"--server-url {url}: what answers is no OpenAI-compatible server: {url}/models lists "
            "no models"
        ) from error
    owners = {str(entry.get("owned_by")) for entry in models.values()}
    return Server(client, told_by(client, kind_of(client, owners)), models)


def _listed(client: Client) -> dict[str, dict[str, Any]]:
    """The server's list of models, by name.

    Raises ServerError, and LookupError or TypeError for what is no such list.
    """
    try:
        listed = client.facts(f"{client.url}/models")
    except ServerError as error:
        # `transformers serve` lists its cache, and fails where there is none
        if error.status != SERVER_FAILED:
            raise
        return {}
    entries = [entry for entry in listed["data"] or [] if isinstance(entry, dict)]
    return {str(entry["id"]): entry for entry in entries}


def _check_place(url: str, *, elsewhere: bool) -> None:
    """Raise UserError for a server on another host, unless that was said."""
    host = urlsplit(url).hostname or ""
    try:
        here = is_here(host)
    except OSError as error:
        raise UserError(f"--server-url {url}: there is no host {short(host)} ({error})") from error
    if not here and not elsewhere:
        raise UserError(
            f"--server-url {url}: {short(host)} is another host, whose energy can't be measured "
            "from here; run this command there, or give --server-elsewhere, then no energy is "
            "measured"
        )


def served_models(options: EngineOptions, refs: Sequence[str]) -> list[Model]:
    """The models of these names as the server has them; its only one where none is named.

    The kind of server is part of the label: rows of two servers never lie among each other.
    Raises UserError.
    """
    assert isinstance(options, ServerOptions)  # noqa: S101 - its own
    server = connect(options)
    try:
        if not options.server_elsewhere:
            _process(options, server.kind)
        return [_model(server, ref) for ref in refs or [_only_model(server)]]
    finally:
        server.client.close()


def _only_model(server: Server) -> str:
    """The name of the only model of a server. Raises UserError where it has none or several."""
    names = sorted(server.models)
    if len(names) != 1:
        listed = short(", ".join(names)) or "none"
        raise UserError(
            f"--model: name the model as the server does; it lists {len(names)}: {listed}"
        )
    return names[0]


def _model(server: Server, ref: str) -> Model:
    """A model by the name that the server gives it. Raises UserError where it has none such."""
    # `transformers serve` lists what lies in its cache, not the model that it was started with
    if ref not in server.models and server.told.kind != "transformers":
        raise UserError(
            f"--model: the server has no {short(repr(ref))}: {nearest(ref, sorted(server.models))}"
        )
    name = PurePath(ref).name if ref.startswith("/") else ref.replace("/", "--")
    label = slug(f"{server.told.kind}-{name}")
    return Model(ref, label, "served", revision=server.revision(ref))


def _process(options: ServerOptions, kind: ServerKind) -> psutil.Process:
    """The process at the root of the server's tree. Raises UserError where it can't be seen."""
    parts = urlsplit(options.server_url or "")
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    return listener(parts.hostname or "", port, kind.launcher)


def load(
    setup: Setup, model_ref: str, _threads: int | None = None, _gpu: GpuAccess | None = None
) -> ServerEngine:
    """The engine of a model that a server runs.

    Raises ModelUnavailableError, in one sentence, where it doesn't answer with that model, or with
    another than the sweep was planned with.
    """
    options = options_of(setup)
    assert isinstance(options, ServerOptions)  # noqa: S101 - its own
    server = connect(options)
    revision = server.revision(model_ref)
    if setup.revision != revision:
        raise ModelUnavailableError(
            f"--server-url {options.server_url}: the sweep was planned with {setup.revision}, and "
            f"the server now has {revision}; start it as it was, or take another --out"
        )
    return ServerEngine(setup, model_ref, server, options)


class ServerEngine:
    """A model that a server runs."""

    def __init__(
        self, setup: Setup, model_ref: str, server: Server, options: ServerOptions
    ) -> None:
        """Ask for a first token, so that the server has loaded the model, and look where it is."""
        self._server, self._model = server, model_ref
        self._prompt_tokens: dict[str, int] = {}
        began_s = time.perf_counter()
        self._endpoint, refused = self._probed(setup)
        load_s = time.perf_counter() - began_s
        self._process: psutil.Process | None = None
        self.gpu: GpuAccess | None = None
        served_by = ServedBy(pid=None, why_unmeasured=ELSEWHERE)
        if not options.server_elsewhere:
            self._process = _process(options, server.kind)
            self.gpu = _only_gpu(tree(self._process))
            served_by = self._server_here(self._process)
        info = self._describe(setup, load_s, refused)
        self.info = info.model_copy(update={"served_by": served_by})

    def _probed(self, setup: Setup) -> tuple[str, str | None]:
        """The endpoint that takes the prompts, and why it isn't that of chats, if it should be.

        Raises ModelUnavailableError where no endpoint gives a text.
        """
        if setup.chat_template == "off":
            self._ask_first(PLAIN)
            return PLAIN, None
        try:
            self._ask_first(CHAT)
        except ModelUnavailableError as refused:
            cause = refused.__cause__
            if not isinstance(cause, ServerError) or cause.status not in NO_SUCH_ENDPOINT:
                raise
            self._ask_first(PLAIN)
            return PLAIN, str(cause)
        return CHAT, None

    def _ask_first(self, endpoint: str) -> None:
        """Get a token from an endpoint. Raises ModelUnavailableError."""
        try:
            answer = self._answer(endpoint, PROBE, Asked(1, GREEDY, 0, fixed_length=False), None)
        except ServerError as error:
            raise ModelUnavailableError(
                f"--server-url {self._server.client.url}: {short(repr(self._model))} gives no text "
                f"by /{endpoint}: {error}"
            ) from error
        if answer.n_new_tokens is None or answer.n_prompt_tokens is None:
            raise ModelUnavailableError(
                f"--server-url {self._server.client.url}: the server doesn't tell how many tokens "
                "prompts and texts have (`usage` in its answers), so nothing could be said of them"
            )

    def _server_here(self, process: psutil.Process) -> ServedBy:
        """The server's processes, as the meters need to know them."""
        pids = tree(process)
        if self.gpu is not None:
            on_gpu = compute_pids(self.gpu) or frozenset()
            # in a container NVML numbers them otherwise: those that are there now are taken for it
            pids = pids if on_gpu & pids else pids | on_gpu
        return ServedBy(pid=process.pid, nvml_pids=pids)

    def _describe(self, setup: Setup, load_s: float, refused: str | None) -> EngineInfo:
        """What the server tells of itself, and what it doesn't take."""
        told, kind = self._server.told, self._server.kind
        device = "cuda" if self.gpu is not None else "cpu"
        if self._process is None:
            device = DEVICE_ELSEWHERE
        entry = publishable(dict(self._server.models.get(self._model, {})))
        facts = publishable(dict(told.facts)) | entry
        if refused is not None:
            facts["chat_refused"] = refused
        return EngineInfo(
            columns=EngineColumns(
                model_revision=setup.revision,
                compute_dtype=SERVED.name,
                device=device,
                chat_template=self._endpoint == CHAT or kind.templates_all,
                attention=SERVED.name,
                cache=SERVED.name,
                gpu_uuid=self.gpu.gpu.uuid if self.gpu else None,
                server=f"{told.kind} {told.version}" if told.version else told.kind,
                not_taken=self._not_taken(setup),
            ),
            context_length=self._server.context_length(self._model),
            load_s=load_s,
            versions={told.kind: told.version} if told.version else {},
            server=ServerFacts(
                kind=told.kind,
                version=told.version,
                model=scrubbed(self._model),
                endpoint=self._endpoint,
                keeps_prompts=kind.keeps_prompts,
                facts=facts,
                command=command_of(self._process) if self._process else (),
                n_processes=len(tree(self._process)) if self._process else None,
            ),
        )

    def _not_taken(self, setup: Setup) -> tuple[str, ...]:
        """What was requested and the server has no field for."""
        kind = self._server.kind
        missing = [name for name in kind.not_taken if name != FIXED_LENGTH]
        if setup.length_mode == "fixed" and FIXED_LENGTH in kind.not_taken:
            missing.append(FIXED_LENGTH)
        if kind.seed_needs and not self._server.told.facts.get(kind.seed_needs):
            missing.append("seed")
        if setup.chat_template == "off" and kind.templates_all:
            missing.append("chat_template")
        return tuple(missing)

    def build_shapes(self, _longest: int) -> Built:
        """Do nothing: what the server builds, it builds by itself."""
        return Built()

    def encode(self, prompt: str) -> Encoded:
        """How many tokens a prompt has, which the server tells with a text of one token.

        Once a session. Raises GenerationError.
        """
        self.synchronize()
        if prompt not in self._prompt_tokens:
            asked = Asked(1, GREEDY, 0, fixed_length=False)
            answer = self._known_errors(prompt, asked, None)
            if answer.n_prompt_tokens is None:
                raise GenerationError("server", "it doesn't tell how many tokens the prompt has")
            self._prompt_tokens[prompt] = answer.n_prompt_tokens
        return Encoded(self._prompt_tokens[prompt], prompt)

    def generate(
        self,
        rows: Sequence[BatchRow],
        *,
        fixed_length: bool,
        timeout_s: float | None = None,
    ) -> list[Generated]:
        """Ask for the text of the only row, streamed."""
        [row] = rows
        asked = Asked(row.n_new, row.effective, row.seed, fixed_length=fixed_length)
        answer = self._known_errors(row.encoded.ids, asked, timeout_s)
        return [_generated(answer, row.n_new)]

    def _known_errors(self, prompt: str, asked: Asked, timeout_s: float | None) -> Answer:
        """An answer. Raises GenerationError of the kind timeout, oom or server."""
        try:
            return self._answer(self._endpoint, prompt, asked, timeout_s)
        except SlowError as error:
            if timeout_s is not None:
                raise timed_out(timeout_s, error.n_chunks) from error
            raise GenerationError("server", str(error)) from error
        except ServerError as error:
            kind = "oom" if "out of memory" in str(error).lower() else "server"
            raise GenerationError(kind, str(error)) from error

    def _answer(self, endpoint: str, prompt: str, asked: Asked, timeout_s: float | None) -> Answer:
        """An answer of an endpoint. Raises ServerError."""
        body = {"model": self._model, **self._server.kind.fields(asked)}
        if endpoint == CHAT:
            body["messages"] = [{"role": "user", "content": prompt}]
        else:
            body["prompt"] = prompt
        return self._server.client.stream(endpoint, body, timeout_s)

    def decode(self, generated: Generated) -> str:
        """The text, which came with the tokens' number."""
        return generated.text or ""

    def synchronize(self) -> None:
        """Raise RuntimeError where the process that was measured has ended, started anew or not."""
        if self._process is not None and not _is_alive(self._process):
            raise RuntimeError(
                f"the server's process {self._process.pid} has ended; start the server again"
            )

    def close(self) -> None:
        """Let go of the connection; the server goes on."""
        self._server.client.close()


GREEDY = Effective(
    max_length=1,
    do_sample=False,
    temperature=None,
    top_p=None,
    top_k=None,
    dormant=(),
    limits=(),
)
"""Of questions whose text nobody reads."""


def _is_alive(process: psutil.Process) -> bool:
    """Whether it is the same process still, and no corpse that its parent hasn't looked at."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _only_gpu(pids: frozenset[int]) -> GpuAccess | None:
    """The GPU of these processes; None: they compute on the CPU. Raises UserError for several."""
    gpus = gpus_of(pids)
    if len(gpus) > 1:
        uuids = ", ".join(access.gpu.uuid for access in gpus)
        raise UserError(
            f"--server-url: the server's processes are on {len(gpus)} GPUs ({uuids}), and only the "
            "energy of one can be measured; start it with CUDA_VISIBLE_DEVICES set to one, or give "
            "--server-elsewhere, then no energy is measured"
        )
    return gpus[0] if gpus else None


def _generated(answer: Answer, n_new: int) -> Generated:
    """A server's answer as a text. Raises GenerationError for what can't be true."""
    n_told = answer.n_new_tokens
    if n_told is None:
        raise GenerationError("server", "it doesn't tell how many tokens it generated")
    if not n_told or n_told > n_new + SLACK_TOKENS or answer.n_chunks > n_told + SLACK_CHUNKS:
        raise GenerationError(
            "server",
            f"it says that it generated {n_told} tokens: asked for were {n_new} at most, and its "
            f"text came in {answer.n_chunks} pieces",
        )
    reason = FINISH_REASONS.get(answer.finish_reason or "")
    if reason is None:
        why = short(repr(answer.finish_reason)) if answer.finish_reason else "no reason"
        raise GenerationError("server", f"the text ended for {why}, neither stop nor length")
    return Generated(
        tokens=[],
        finish_reason=reason,
        ttft_s=answer.first_text_s,
        text=answer.text,
        n_told=n_told,
        n_cached_tokens=answer.n_cached_tokens,
    )
