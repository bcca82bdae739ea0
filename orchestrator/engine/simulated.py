"""An engine without a model, on a GPU that isn't there: words drawn from a seeded generator.

For trying out every verb, spaces, machines and clusters without weights. Its rows carry `engine` =
simulated and `gpu_name` = SIMULATED GPU; nothing in them says anything about a real model. Time and
energy of a token are those of a simulated device (gpu/simulated.py), whose clock doesn't wait.
Doesn't need torch.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence

from orchestrator import __version__
from orchestrator.engine import (
    SIMULATED_DEVICE,
    BatchRow,
    Built,
    Encoded,
    EngineColumns,
    EngineInfo,
    Generated,
    n_steps,
    timed_out,
)
from orchestrator.gpu.access import GpuAccess, simulated_access
from orchestrator.gpu.simulated import GpuTruth, SimulatedGpu
from orchestrator.models import parse_model
from orchestrator.nouns import Setup

WORDS = (
    "the", "a", "castle", "forest", "dragon", "step", "turn", "river", "light", "slow", "quick",
    "of", "and", "under", "over", "mountain", "dancer", "arm", "leap", "returns", "opens", "sings",
    "old", "golden", "silent", "city", "sea", "island", "ancient", "tree", "story", "begins",
    "ends",
)  # fmt: skip
EOS = len(WORDS)


def device_of_environment() -> SimulatedGpu:
    """A device that behaves as the environment says (SimulatedEngine)."""
    truth = GpuTruth.model_validate_json(os.environ.get("ORCHESTRATOR_SIMULATED_GPU", "{}"))
    if token_s := _real_token_s():
        truth = truth.model_copy(update={"new_token_s": token_s})
    return SimulatedGpu(truth)


def _real_token_s() -> float:
    """How many seconds a token really takes."""
    return float(os.environ.get("ORCHESTRATOR_SIMULATED_TOKEN_S", "0"))


class _Text:
    """A row's words as they are drawn."""

    def __init__(self, row: BatchRow, *, fixed_length: bool) -> None:
        seed = row.seed if row.effective.do_sample else 0
        self._random = random.Random(seed)  # noqa: S311 - not for secrets
        self._n_new = row.n_new
        self._fixed_length = fixed_length
        self.tokens: list[int] = []
        self.finish_reason = ""
        """"" until its end."""

    def draw(self) -> None:
        """Draw the next word, unless the text has ended."""
        if self.finish_reason:
            return
        if not self._fixed_length and self._random.random() < 1 / 60:
            self.tokens.append(EOS)
            self.finish_reason = "eos"
            return
        self.tokens.append(self._random.randrange(EOS))
        if len(self.tokens) == self._n_new:
            self.finish_reason = "length"


class SimulatedEngine:
    """Draws words from a seeded generator.

    In the environment, ORCHESTRATOR_SIMULATED_TOKEN_S and ORCHESTRATOR_SIMULATED_LOAD_S say how
    many seconds a token and loading really take, for tests of a sweep's life; the default is 0.
    ORCHESTRATOR_SIMULATED_GPU is a JSON object of fields of GpuTruth: how the device behaves.
    """

    def __init__(
        self,
        setup: Setup,
        model_ref: str,
        threads: int | None,
        device: SimulatedGpu | None = None,
    ) -> None:
        """`device`: None for one that behaves as the environment says."""
        began = time.perf_counter()
        self._token_s = _real_token_s()
        self.device = device or device_of_environment()
        self.gpu: GpuAccess | None = simulated_access(self.device)
        self.device.open_context()
        self.device.work(self.device.truth.load_s, self.device.truth.load_w)
        time.sleep(float(os.environ.get("ORCHESTRATOR_SIMULATED_LOAD_S", "0")))
        architecture = parse_model(model_ref).architecture
        self.info = EngineInfo(
            columns=EngineColumns(
                model_revision=setup.revision,
                synthetic=True,
                compute_dtype="none",
                device=SIMULATED_DEVICE,
                threads=threads,
                gpu_uuid=self.device.uuid,
            ),
            context_length=architecture.max_position_embeddings if architecture else None,
            load_s=time.perf_counter() - began,
            versions={"simulated": __version__},
        )

    def build_shapes(self, longest: int) -> Built:
        """Build what the device needs for each length."""
        self.device.build(range(1, longest + 1))
        return Built()

    def encode(self, prompt: str) -> Encoded:
        """One token a word."""
        words = prompt.split()
        return Encoded(len(words), words)

    def generate(
        self,
        rows: Sequence[BatchRow],
        *,
        fixed_length: bool,
        timeout_s: float | None = None,
    ) -> list[Generated]:
        """Draw words until the end of sequence (p = 1/60 a token when sampling) or max_length.

        A step takes the device as long for several rows as for one.
        """
        texts = [_Text(row, fixed_length=fixed_length) for row in rows]
        device, began_s = self.device, self.device.clock()
        n_prompt = max(row.encoded.n_tokens for row in rows)
        device.prefill(len(rows) * n_prompt)
        ttft_s = 0.0
        for n_done in range(1, n_steps(rows) + 1):
            if self._token_s:
                time.sleep(self._token_s)
            device.build((n_prompt + n_done,))
            # as on a real device, the last token is launched when this returns, and not yet done
            device.synchronize()
            device.launch_token()
            for text in texts:
                text.draw()
            if n_done == 1:
                device.synchronize()
                ttft_s = device.clock() - began_s
            if timeout_s is not None and device.clock() - began_s > timeout_s:
                raise timed_out(timeout_s, n_done)
            if all(text.finish_reason for text in texts):
                break
        return [
            Generated(text.tokens, text.finish_reason, ttft_s, n_done - len(text.tokens))
            for text in texts
        ]

    def decode(self, generated: Generated) -> str:
        """The words."""
        return " ".join(WORDS[token] for token in generated.tokens if token != EOS)

    def synchronize(self) -> None:
        """Wait for the token that was launched last."""
        self.device.synchronize()

    def close(self) -> None:
        """Do nothing: nothing is held."""
