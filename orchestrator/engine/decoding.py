"""One decoding step over a static cache: compiled by torch and, on a GPU, captured as a CUDA graph.

Everything that a step reads and writes is a tensor that stays where it is: the last token, its
place, the random numbers, the hyperparameters. So one program serves every configuration. There is
one for each length of the cache that a step sees and each way to draw a token.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.engine.rotary_table import use_table
from orchestrator.engine.sampling import SAMPLERS, Sampler, sampler_of, uniform_numbers
from orchestrator.engine.static_cache import (
    ATTENTION,
    CacheAt,
    StaticCache,
    masks,
    one_token_attention,
    seen_length,
    seen_lengths,
)
from orchestrator.nouns import Effective

WARM_UPS = 3
"""Steps before one is captured: libraries make their workspaces in the first ones."""
MOST_PROGRAMS = 64
"""Programs that torch may compile of one function; by itself it gives up after 8."""


@dataclass(frozen=True)
class _Tensors:
    """What a step reads and writes. `longest`: tokens of the longest text."""

    token: Any
    """Each row's last token, int64 [rows, 1]."""
    place: Any
    """Where it stands in the cache, int64 [1]."""
    number: Any
    """How many tokens a row has been given so far, int64 [1]."""
    padding: Any
    """Places that a row leaves free at its left, int64 [rows]."""
    uniform: Any
    """Random numbers, float64 [longest, rows]."""
    made: Any
    """The new tokens, int64 [longest, rows]; NOT_A_NUMBER where the logits were unfit."""
    forbidden: Any
    """Added to the logits, float32 [vocabulary]: -inf for tokens that must not come."""
    temperature: Any
    top_k: Any
    top_p: Any
    """The hyperparameters, [1] each."""


class DecodingStep:
    """A model's decoding step for a fixed number of rows and texts up to a length."""

    def __init__(self, model: Any, rows: int, longest: int, *, compiles: bool) -> None:
        """`compiles`: False runs the same step in plain Python. Raises torch's errors of memory."""
        import torch
        from transformers import AttentionInterface

        AttentionInterface.register(ATTENTION, one_token_attention)
        self._torch = torch
        self._model = model
        self._device = model.device
        self._cuda = self._device.type == "cuda"
        self._compiles = compiles
        self.lengths = seen_lengths(longest)
        self._programs: dict[tuple[int, str], Callable[[], object]] = {}
        self._compiled_logits = self._compiled(self._logits)
        self._compiled_draw = self._compiled(self._draw)
        self._sampler = "greedy"
        self._n_prompt = self._n_made = 0
        with torch.inference_mode():
            token = torch.zeros((rows, 1), dtype=torch.long, device=self._device)
            shaped = model(input_ids=token, use_cache=True)
            use_table(model, self.longest)
            self._cache = StaticCache(shaped.past_key_values, self.longest)
            self._tensors = self._zeros(rows, shaped.logits.shape[-1])
        self._on_host = torch.zeros((self.longest, rows), dtype=torch.long, pin_memory=self._cuda)
        self._events = [torch.cuda.Event(), torch.cuda.Event()] if self._cuda else []

    @property
    def longest(self) -> int:
        """Tokens of the longest text that fits."""
        return self.lengths[-1]

    @property
    def length_seen(self) -> int:
        """Places of the cache that the last step saw."""
        return self._seen(self._n_prompt + self._n_made - 1)

    @property
    def ahead(self) -> int:
        """Tokens that may be launched before the last one has been looked at."""
        return 1 if self._cuda else 0

    def _zeros(self, rows: int, vocabulary: int) -> _Tensors:
        """The step's tensors."""
        torch = self._torch

        def of(shape: Sequence[int], dtype: Any, value: float = 0) -> Any:
            return torch.full(shape, value, dtype=dtype, device=self._device)

        return _Tensors(
            token=of((rows, 1), torch.long),
            place=of((1,), torch.long),
            number=of((1,), torch.long),
            padding=of((rows,), torch.long),
            uniform=of((self.longest, rows), torch.float64),
            made=of((self.longest, rows), torch.long),
            forbidden=of((vocabulary,), torch.float32),
            temperature=of((1,), torch.float32, 1),
            top_k=of((1,), torch.long, 1),
            top_p=of((1,), torch.float64, 1),
        )

    def _seen(self, n_tokens: int) -> int:
        """Places that the step sees as a text gets so many tokens."""
        return seen_length(self.lengths, n_tokens)

    # --- programs -------------------------------------------------------------------------------

    def build(self) -> None:
        """Compile and capture all programs; it may take minutes the first time.

        The longest prompt is taken in once, so that its memory is the process's own; several rows
        take in as many tokens together.
        """
        torch = self._torch
        rows = len(self._tensors.padding)
        n_each = max(1, (self.longest - 1) // rows)
        ids = torch.zeros((rows, n_each), dtype=torch.long, device=self._device)
        self.prefill(ids, [0] * rows)
        for length in self.lengths:
            for sampler in SAMPLERS:
                self._program(length, sampler)

    def _program(self, length: int, sampler: str) -> Callable[[], object]:
        """What makes one token of each row, seeing `length` places of the cache."""
        torch, key = self._torch, (length, sampler)
        if key not in self._programs:
            layers = self._cache.beginning(length)

            def step() -> None:
                self._compiled_draw(SAMPLERS[sampler], self._compiled_logits(layers))

            with torch.inference_mode(), self._one_token_attention():
                self._programs[key] = self._captured(step) if self._cuda else self._warmed(step)
        return self._programs[key]

    def _compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, compiled at its first call with arguments of other kinds."""
        if not self._compiles:
            return function
        self._torch._dynamo.config.recompile_limit = MOST_PROGRAMS  # noqa: SLF001 - no other name
        compiled: Callable[..., Any] = self._torch.compile(function, fullgraph=True)
        return compiled

    def _warmed(self, step: Callable[[], None]) -> Callable[[], None]:
        """The step after it has been compiled, attending as one token does."""
        self._rehearse(step)

        def attending() -> None:
            with self._one_token_attention():
                step()

        return attending

    def _rehearse(self, step: Callable[[], None]) -> None:
        """Make a token that stands nowhere."""
        self._tensors.place.zero_()
        self._tensors.number.zero_()
        step()

    def _captured(self, step: Callable[[], None]) -> Callable[[], object]:
        """The step as a CUDA graph; it is compiled in its first call, before the capture."""
        torch = self._torch
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                self._rehearse(step)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        replay: Callable[[], object] = graph.replay
        return replay

    @contextlib.contextmanager
    def _one_token_attention(self) -> Iterator[None]:
        """Let the model attend by `one_token_attention`."""
        config = self._model.config
        before = config._attn_implementation  # noqa: SLF001 - the public setter checks the hub
        config._attn_implementation = ATTENTION  # noqa: SLF001
        try:
            yield
        finally:
            config._attn_implementation = before  # noqa: SLF001

    # --- what a program does --------------------------------------------------------------------

    def _logits(self, layers: list[tuple[Any, Any]]) -> Any:
        """The logits after the last token, float32 [rows, vocabulary]; its keys are cached."""
        tensors = self._tensors
        output = self._model(
            input_ids=tensors.token,
            position_ids=(tensors.place - tensors.padding)[:, None],
            attention_mask=masks(
                self._model.config, layers[0][0].shape[2], tensors.place, tensors.padding
            ),
            past_key_values=CacheAt(layers, tensors.place),
            use_cache=False,
        )
        return output.logits[:, -1].float()

    def _draw(self, sampler: Sampler, logits: Any) -> None:
        """Choose each row's next token, note it and go one place on."""
        tensors = self._tensors
        tokens = sampler(
            logits + tensors.forbidden,
            tensors.uniform.index_select(0, tensors.number)[0],
            tensors.temperature,
            tensors.top_k,
            tensors.top_p,
        )
        tensors.made.index_copy_(0, tensors.number, tokens[None])
        tensors.token.copy_(tokens.clamp(min=0)[:, None])
        tensors.number.add_(1)
        tensors.place.add_(1)

    # --- a text ---------------------------------------------------------------------------------

    def begin(
        self,
        effective: Effective,
        longest: int,
        seeds: Sequence[int],
        forbidden: Sequence[int],
    ) -> None:
        """Set what the next texts are made with.

        `longest`: tokens of the longest text, its padding included. `seeds`: of each row.
        `forbidden`: tokens that must not come.
        """
        tensors = self._tensors
        self._sampler = sampler_of(effective)
        # what was built before the first window is found here; nothing may be built in mid-text
        for length in self.lengths[: self.lengths.index(self._seen(longest)) + 1]:
            self._program(length, self._sampler)
        self._n_made = 0
        tensors.number.zero_()
        tensors.uniform.copy_(uniform_numbers(list(seeds), self.longest))
        tensors.forbidden.zero_()
        if forbidden:
            tensors.forbidden[list(forbidden)] = float("-inf")
        if effective.do_sample:
            tensors.temperature.fill_(effective.temperature)
            tensors.top_k.fill_(effective.top_k)
            tensors.top_p.fill_(effective.top_p)

    def prefill(self, ids: Any, padding: Sequence[int]) -> None:
        """Take in the prompts and make the first token of each.

        `ids`: int64 [rows, tokens of the longest prompt], `padding` free places at a row's left.
        """
        torch, tensors = self._torch, self._tensors
        _, n_prompt = ids.shape
        tensors.padding.copy_(torch.tensor(padding))
        mask = torch.arange(n_prompt, device=self._device) >= tensors.padding[:, None]
        output = self._model(
            input_ids=ids,
            attention_mask=mask.long(),
            position_ids=(mask.long().cumsum(-1) - 1).clamp(min=0),
            use_cache=True,
            logits_to_keep=1,
        )
        self._cache.fill(output.past_key_values, n_prompt)
        # the first new token stands right after the prompt
        tensors.place.fill_(n_prompt - 1)
        self._n_prompt = n_prompt
        self._draw(SAMPLERS[self._sampler], output.logits[:, -1].float())
        self._note()

    def launch(self) -> None:
        """Make one token more; on a GPU it is launched, and not yet done when this returns."""
        self._program(self._seen(self._n_prompt + self._n_made), self._sampler)()
        self._note()

    def _note(self) -> None:
        """Let the host have the tokens made last, once they are there."""
        if self._cuda:
            self._on_host[self._n_made].copy_(self._tensors.made[self._n_made], non_blocking=True)
            self._events[self._n_made % 2].record()
        self._n_made += 1

    def tokens(self, number: int) -> list[int]:
        """Each row's new token of that number, from 0; waits until it is there.

        At most one token may have been launched after it.
        """
        if not self._cuda:
            return self._tensors.made[number].tolist()  # type: ignore[no-any-return]
        self._events[number % 2].synchronize()
        return self._on_host[number].tolist()  # type: ignore[no-any-return]

    def logits_after(self, token: Any) -> Any:
        """The logits after a token that follows the prompt; for comparison, and not compiled."""
        self._tensors.token.copy_(token)
        self._tensors.place.fill_(self._n_prompt)
        with self._one_token_attention():
            return self._logits(self._cache.beginning(self.lengths[0]))
