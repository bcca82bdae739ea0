"""The compiled engine: transformers' model, decoded by one compiled step (decoding.py).

At batch 1 `generate` of transformers measures how fast the host's Python launches kernels. Here a
step is launched at once, so the GPU decides. Weights, tokenizer and the pass over the prompt are
those of the transformers engine.

A window holds that pass, one step for each further token and, on a GPU, at most one step more: the
host looks at a token while the next one is being made. `n_steps_beyond` counts it.

Its programs are for one number of rows. A batch of fewer prompts is filled up with copies of its
last one, which are thrown away.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator.engine import (
    BatchRow,
    Built,
    EngineInfo,
    Generated,
    GenerationError,
    n_steps,
    padded_length,
    timed_out,
)
from orchestrator.engine.cache import keep_compiled_code_in_cache
from orchestrator.engine.decoding import DecodingStep
from orchestrator.engine.hf import HfEngine, load_as
from orchestrator.engine.joined import join
from orchestrator.engine.sampling import NOT_A_NUMBER
from orchestrator.engine.static_cache import longest_room
from orchestrator.errors import ModelUnavailableError
from orchestrator.gpu.access import GpuAccess
from orchestrator.nouns import Setup

CHECKED_TOKENS = 8
"""Length of the text on which a model's step must agree with its own pass."""
TOLERANCE = 0.3
"""Most that their logits may differ, relative to the logits' spread (root mean squares).

Kernels round differently: 0.04 in bfloat16 on random weights. A wrong mask or place gives 1.4."""


def load(
    setup: Setup, model_ref: str, threads: int | None, gpu: GpuAccess | None = None
) -> CompiledEngine:
    """As `load` of the transformers engine, with compiled code kept on the disk."""
    keep_compiled_code_in_cache()
    return load_as(CompiledEngine, setup, model_ref, threads, gpu)


class CompiledEngine(HfEngine):
    """A causal language model of transformers whose decoding step is compiled."""

    compiles = True
    """False in tests of what a step does: compiling takes a minute on a CPU."""

    def __init__(self, *arguments: Any) -> None:
        """Load as HfEngine does. Raises ModelUnavailableError for a model without such a step."""
        super().__init__(*arguments)
        self._check_step()
        joins = self._cuda and join(self.model)
        if joins:
            self._check_step()
        self.info = self._told(self.info, joins=joins)

    def _told(self, info: EngineInfo, *, joins: bool) -> EngineInfo:
        """What was loaded, and how it is decoded."""
        columns = info.columns.model_copy(
            update={
                "attention": "products and sums, compiled",
                "cache": "static",
                "decoding": "compiled, CUDA graph" if self._cuda else "compiled",
                "kernels": f"{info.columns.kernels}{', joined' if joins else ''}",
            }
        )
        return info.model_copy(update={"columns": columns})

    def _memory_tokens(self, folder: Path, dtype: Any) -> int | None:
        """As of HfEngine, in the steps in which the cache grows."""
        tokens = super()._memory_tokens(folder, dtype)
        return None if tokens is None else longest_room(tokens)

    def _check_step(self) -> None:
        """Compare a step with the model's own pass over the same text."""
        torch = self._torch
        vocabulary = self.model.get_input_embeddings().weight.shape[0]
        ids = torch.arange(1, CHECKED_TOKENS + 1, device=self._device)[None] * 7 % vocabulary
        ids = ids.expand(self._batch_size, -1)
        try:
            with torch.inference_mode():
                whole = self.model(input_ids=ids, use_cache=False).logits[0, -1].float()
                self._step = self._new_step(CHECKED_TOKENS)
                self._step.prefill(ids[:, :-1], [0] * self._batch_size)
                stepped = self._step.logits_after(ids[:, -1:])[0]
        except (AttributeError, NotImplementedError, TypeError, ValueError) as error:
            raise self._unfit(f"{type(error).__name__}: {error}") from error
        difference = float((stepped - whole).std() / whole.std())
        if not difference < TOLERANCE:
            raise self._unfit(f"its logits differ by {difference:.2g} of their spread")

    def _unfit(self, why: str) -> ModelUnavailableError:
        """The error for a model whose decoding can't be one step over a static cache."""
        return ModelUnavailableError(
            f"{self.model.config.model_type} can't be decoded over a static cache "
            f"({' '.join(why.split())[:200]}); use --engine transformers"
        )

    def _new_step(self, longest: int) -> DecodingStep:
        """The decoding step for texts up to so many tokens."""
        return DecodingStep(self.model, self._batch_size, longest, compiles=self.compiles)

    def build_shapes(self, longest: int) -> Built:
        """Compile and capture a step for each length of the cache and each way to draw a token."""
        from torch._dynamo.utils import counters  # torch has no public name for it

        if longest <= self._built_up_to:
            return Built()
        before = counters["inductor"].copy()
        try:
            self._make_room(longest)
            with self._torch.inference_mode():
                self._step.build()
            self._built_up_to = self._step.longest
        except RuntimeError as error:
            raise self._failed(error, longest) from error
        new = counters["inductor"] - before
        return Built(n_compiled=new["fxgraph_cache_miss"], n_from_disk=new["fxgraph_cache_hit"])

    def _make_room(self, longest: int) -> None:
        """A step for texts up to so many tokens; its programs are built anew where it is longer."""
        if longest > self._step.longest:
            del self._step  # its memory first
            self._built_up_to = 0
            try:
                self._step = self._new_step(longest)
            except RuntimeError:
                self._step = self._new_step(CHECKED_TOKENS)  # a later text may be shorter
                raise

    def generate(
        self,
        rows: Sequence[BatchRow],
        *,
        fixed_length: bool,
        timeout_s: float | None = None,
    ) -> list[Generated]:
        """Generate with every parameter explicit; a row's random numbers follow from its own seed.

        Raises GenerationError of a kind: oom, nan, timeout or other.
        """
        longest = padded_length(rows)
        try:
            self._make_room(longest)
            with self._torch.inference_mode():
                return self._texts(rows, fixed_length=fixed_length, timeout_s=timeout_s)
        except RuntimeError as error:
            raise self._failed(error, self._batch_size * longest) from error

    def _texts(
        self, rows: Sequence[BatchRow], *, fixed_length: bool, timeout_s: float | None
    ) -> list[Generated]:
        """The rows' texts: their tokens are looked at while the next ones are being made."""
        began_s = time.perf_counter()
        step, n_most = self._step, n_steps(rows)
        self._take_in(rows, fixed_length=fixed_length)
        texts = [_Text(row.n_new, self._special.eos) for row in rows]
        first_token_s, n_launched, n_seen = None, 1, 0
        while not all(text.finish_reason for text in texts):
            while n_launched < min(n_most, n_seen + 1 + step.ahead):
                step.launch()
                n_launched += 1
            for text, token in zip(texts, step.tokens(n_seen), strict=False):  # copies beyond them
                text.take(token)
            n_seen += 1
            elapsed_s = time.perf_counter() - began_s
            first_token_s = first_token_s or elapsed_s
            if timeout_s is not None and elapsed_s > timeout_s:
                raise timed_out(timeout_s, n_seen)
        return [
            Generated(
                text.tokens,
                text.finish_reason,
                first_token_s,
                n_steps_beyond=n_launched - len(text.tokens),
                cache_length=step.length_seen,
            )
            for text in texts
        ]

    def _take_in(self, rows: Sequence[BatchRow], *, fixed_length: bool) -> None:
        """Take in the prompts of a batch, filled up, and make the first token of each."""
        copies = [rows[-1]] * (self._batch_size - len(rows))
        whole = [*rows, *copies]
        # where the length is fixed, no token may end a text
        forbidden = self._special.eos if fixed_length else []
        seeds = [row.seed for row in whole]
        self._step.begin(rows[0].effective, padded_length(rows), seeds, forbidden)
        self._step.prefill(*self.padded(whole))

    def close(self) -> None:
        """Release the step, the model and their memory."""
        del self._step
        super().close()


class _Text:
    """A row's text as its tokens are seen."""

    def __init__(self, n_new: int, ends: Sequence[int]) -> None:
        """`n_new`: the most tokens that it may get; `ends`: tokens that end it."""
        self._n_new, self._ends = n_new, ends
        self.tokens: list[int] = []
        self.finish_reason = ""
        """"" until its end."""

    def take(self, token: int) -> None:
        """Take a token, unless the text has ended. Raises GenerationError for unfit logits."""
        if self.finish_reason:
            return
        if token == NOT_A_NUMBER:
            raise GenerationError("nan", "probabilities with nan or inf")
        self.tokens.append(token)
        if token in self._ends:
            self.finish_reason = "eos"
        elif len(self.tokens) == self._n_new:
            self.finish_reason = "length"
