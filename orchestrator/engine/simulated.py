"""An engine without a model: words drawn from a seeded generator, at a fixed time a token.

For trying out spaces, machines and clusters without weights. Its rows carry `engine` = simulated;
nothing in them says anything about a real model. Its windows are too short for most meters unless
ORCHESTRATOR_SIMULATED_TOKEN_S is set. Doesn't need torch.
"""

from __future__ import annotations

import os
import random
import time

from orchestrator import __version__
from orchestrator.engine import Encoded, EngineColumns, EngineInfo, Generated, timed_out
from orchestrator.models import parse_model
from orchestrator.nouns import Effective, Setup

WORDS = (
    "the", "a", "castle", "forest", "dragon", "step", "turn", "river", "light", "slow", "quick",
    "of", "and", "under", "over", "mountain", "dancer", "arm", "leap", "returns", "opens", "sings",
    "old", "golden", "silent", "city", "sea", "island", "ancient", "tree", "story", "begins",
    "ends",
)  # fmt: skip
EOS = len(WORDS)


class SimulatedEngine:
    """Draws words from a seeded generator.

    ORCHESTRATOR_SIMULATED_TOKEN_S and ORCHESTRATOR_SIMULATED_LOAD_S in the environment say how
    many seconds a token and loading take; the default is 0.
    """

    def __init__(self, setup: Setup, model_ref: str, threads: int | None) -> None:
        began = time.perf_counter()
        self._token_s = float(os.environ.get("ORCHESTRATOR_SIMULATED_TOKEN_S", "0"))
        time.sleep(float(os.environ.get("ORCHESTRATOR_SIMULATED_LOAD_S", "0")))
        architecture = parse_model(model_ref).architecture
        self.info = EngineInfo(
            columns=EngineColumns(
                model_revision=setup.revision,
                synthetic=True,
                compute_dtype="none",
                device="none",
                threads=threads,
            ),
            context_length=architecture.max_position_embeddings if architecture else None,
            load_s=time.perf_counter() - began,
            versions={"simulated": __version__},
        )

    def encode(self, prompt: str) -> Encoded:
        """One token a word."""
        words = prompt.split()
        return Encoded(len(words), words)

    def generate(
        self,
        encoded: Encoded,
        effective: Effective,
        seed: int,
        *,
        fixed_length: bool,
        timeout_s: float | None = None,
    ) -> Generated:
        """Draw words until the end of sequence (p = 1/60 a token when sampling) or max_length."""
        draw = random.Random(seed if effective.do_sample else 0)  # noqa: S311 - not for secrets
        tokens: list[int] = []
        began = time.perf_counter()
        ttft_s = 0.0
        for _ in range(effective.max_length - encoded.n_tokens):
            if self._token_s:
                time.sleep(self._token_s)
            ended = not fixed_length and draw.random() < 1 / 60
            tokens.append(EOS if ended else draw.randrange(EOS))
            if len(tokens) == 1:
                ttft_s = time.perf_counter() - began
            if timeout_s is not None and time.perf_counter() - began > timeout_s:
                raise timed_out(timeout_s, len(tokens))
            if ended:
                return Generated(tokens, "eos", ttft_s)
        return Generated(tokens, "length", ttft_s)

    def decode(self, generated: Generated) -> str:
        """The words."""
        return " ".join(WORDS[token] for token in generated.tokens if token != EOS)

    def synchronize(self) -> None:
        """Do nothing: there is no device that works on by itself."""

    def close(self) -> None:
        """Do nothing: nothing is held."""
