"""What each quantization does to a model's answers: perplexity and agreement of greedy tokens.

    python -m tools.quantization_quality [--model smollm2] [--quantizations none nf4 fp4 int8 int4]

Perplexity is that of a fixed text, docs/measurement.md, in pieces of 1,024 tokens: e to the power
of the mean negative log-likelihood of each piece's tokens after its first one. Agreement: of 20
prompts, the share of greedy tokens, of 64 each, before the first one that differs from the
unquantized model's. Runs on a GPU, or in float32 on a CPU. Prints a Markdown table;
docs/performance.md has its figures.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import platform
from itertools import takewhile
from pathlib import Path
from statistics import mean

from orchestrator.engine import ENGINES, BatchRow
from orchestrator.engine.hf import HfEngine
from orchestrator.nouns import QUANTIZATIONS, UseCase, effective_of
from orchestrator.yaml_files import names, read
from tests import builders
from tools.gpu.decoding import setup_of

TEXT = Path("docs/measurement.md")
PIECE, MOST_PIECES = 1024, 8
N_TOKENS, MOST_PROMPTS = 64, 20


def main() -> None:
    """Measure each quantization and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--quantizations", nargs="+", default=list(QUANTIZATIONS))
    options = parser.parse_args()
    wanted = sorted(options.quantizations, key=lambda name: name != "none")
    text = TEXT.read_text(encoding="utf-8")
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    print(f"{options.model}, {TEXT} (sha256 {digest}), Python {platform.python_version()}")
    print("| quantization | kernels | weights, MB | perplexity | greedy tokens as unquantized |")
    print("|---|---|---|---|---|")
    reference: list[list[int]] = []
    for name in wanted:
        engine = loaded(options.model, "transformers", name)
        tokens = [greedy_tokens(engine, prompt) for prompt in prompts()[:MOST_PROMPTS]]
        reference = reference or tokens
        agreement = mean(map(agreeing, tokens, reference))
        megabytes = (engine.info.weights_bytes or 0) / 1e6
        figures = f"{megabytes:.0f} | {perplexity(engine, text):.2f} | {100 * agreement:.0f} %"
        print(f"| {name} | {engine.info.columns.kernels} | {figures} |", flush=True)
        versions = engine.info.versions
        engine.close()
    print(", ".join(f"{package} {version}" for package, version in versions.items()))


def loaded(model: str, engine: str, quantization: str) -> HfEngine:
    """An engine with its model."""
    setup, model_ref = setup_of(model, engine, quantization)
    kind = ENGINES[engine]
    one = kind.load(setup, model_ref, None, kind.gpu())
    assert isinstance(one, HfEngine)
    return one


def prompts() -> list[str]:
    """The prompts of the use cases."""
    texts: list[str] = []
    for name in names("prompts"):
        use_case, _ = read("prompts", name, UseCase)
        texts += use_case.prompts
    return texts


def greedy_tokens(engine: HfEngine, prompt: str) -> list[int]:
    """The model's most probable continuation."""
    encoded = engine.encode(prompt)
    asked = builders.configuration(temperature=0.0, max_length=encoded.n_tokens + N_TOKENS)
    effective = effective_of(asked, prompt_tokens=encoded.n_tokens)
    (generated,) = engine.generate([BatchRow(encoded, effective, 0)], fixed_length=True)
    return generated.tokens


def agreeing(tokens: list[int], reference: list[int]) -> float:
    """The share of tokens before the first that differs."""
    pairs = zip(tokens, reference, strict=True)
    return len(list(takewhile(lambda pair: pair[0] == pair[1], pairs))) / len(reference)


def perplexity(engine: HfEngine, text: str) -> float:
    """Of a text, in pieces."""
    import torch

    ids = engine.tokenizer(text, return_tensors="pt")["input_ids"][0].to(engine.model.device)
    losses = []
    for piece in ids.split(PIECE)[:MOST_PIECES]:
        if len(piece) == PIECE:
            with torch.inference_mode():
                logits = engine.model(piece[None], use_cache=False).logits[0, :-1].float()
            losses.append(torch.nn.functional.cross_entropy(logits, piece[1:]).item())
    return math.exp(mean(losses))


if __name__ == "__main__":
    main()
