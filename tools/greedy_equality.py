"""Whether the compiled engine makes the greedy tokens of the transformers engine.

    python -m tools.greedy_equality [--model smollm2] [--quantization none] [--lengths 16 64 256]

50 prompts, each with every length in new tokens; a text may end earlier. Where two texts part, the
gap is told: by how much transformers' model prefers its token, over prompt and common text, to the
compiled engine's, in units of the logits' standard deviation. A gap below TIE is a tie, which
rounding may break either way; another difference is an error (exit code 1). In float32 on a CPU,
in bfloat16 on a GPU. docs/performance.md has its figures.
"""

from __future__ import annotations

import argparse
import platform
import sys
from itertools import takewhile

import torch

from orchestrator.engine import BatchRow
from orchestrator.engine.hf import HfEngine
from orchestrator.nouns import effective_of
from tests import builders
from tools.quantization_quality import loaded, prompts

TOPICS = (
    "a volcano is", "rain comes from", "a bank does", "a violin is", "the moon does to the sea",
    "a bee makes", "a dictionary is for", "an election is", "makes bread rise", "an echo is",
    "a map shows", "a doctor does", "glass is made of", "a lighthouse is for", "gravity is",
    "a percentage means", "winter is", "a bridge must bear", "a seed needs", "silence is",
)  # fmt: skip
TIE = {torch.float32: 1e-4, torch.bfloat16: 0.05, torch.float16: 0.01}
"""Of the logits' standard deviation: some roundings of the type (a step is 2^-23, 2^-8, 2^-10)."""


def main() -> None:
    """Compare the engines on each prompt and length, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--quantization", default="none")
    parser.add_argument("--lengths", nargs="+", type=int, default=[16, 64, 256])
    options = parser.parse_args()
    eager, compiled = (
        loaded(options.model, name, options.quantization) for name in ("transformers", "compiled")
    )
    tie = TIE[eager.model.dtype]
    print(f"{options.model}, {options.quantization}, {eager.model.dtype}, ties below {tie}")
    print(", ".join(f"{name} {of}" for name, of in compiled.info.versions.items()), end=", ")
    print(f"Python {platform.python_version()}")
    texts = prompts() + [f"Explain to a child what {topic}." for topic in TOPICS]
    compiled.build_shapes(max(eager.encode(text).n_tokens for text in texts) + max(options.lengths))
    n_errors = 0
    for n_new in options.lengths:
        gaps = [gap_of(eager, compiled, text, n_new) for text in texts]
        parted = [gap for gap in gaps if gap is not None]
        errors = [gap for gap in parted if gap >= tie]
        n_errors += len(errors)
        widest = f", widest gap {max(parted):.2g}" if parted else ""
        print(
            f"{n_new} new tokens: {len(gaps) - len(parted)} of {len(gaps)} texts equal, "
            f"{len(parted) - len(errors)} part at a tie, {len(errors)} differ{widest}",
            flush=True,
        )
    sys.exit(1 if n_errors else 0)


def gap_of(eager: HfEngine, compiled: HfEngine, text: str, n_new: int) -> float | None:
    """How much the model prefers its own token where the two texts part; None: they are equal."""
    encoded = eager.encode(text)
    asked = builders.configuration(temperature=0.0, max_length=encoded.n_tokens + n_new)
    row = BatchRow(encoded, effective_of(asked, prompt_tokens=encoded.n_tokens), 0)
    ours, theirs = (
        engine.generate([row], fixed_length=False)[0].tokens for engine in (eager, compiled)
    )
    if ours == theirs:
        return None
    n_common = len(
        list(takewhile(lambda pair: pair[0] == pair[1], zip(ours, theirs, strict=False)))
    )
    if n_common == min(len(ours), len(theirs)):
        return float("inf")  # one of them ended where the other went on with the same tokens
    common = torch.tensor([ours[:n_common]], dtype=torch.long)
    given = torch.cat([encoded.ids.cpu(), common], dim=1).to(eager.model.device)
    with torch.inference_mode():
        logits = eager.model(given, use_cache=False).logits[0, -1].float()
    return float((logits[ours[n_common]] - logits[theirs[n_common]]).abs() / logits.std())


if __name__ == "__main__":
    main()
