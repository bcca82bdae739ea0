"""Sentence embeddings: how similar a text is to its prompt.

They come from a BERT-like model of the sentence-transformers kind, on the CPU. It is loaded only
where --embedding names it, and never runs inside a measurement window. Offline, only models that
are on this machine can be used.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.engine.cache import keep_compiled_code_in_cache
from orchestrator.errors import ModelUnavailableError

LONGEST_TOKENS = 256
"""Longer texts are cut here, since these models were trained on texts of this length."""
BATCH = 32
"""The number of pairs of texts that go through the model at once."""


@dataclass(frozen=True)
class Embedding:
    """A loaded embedding model."""

    name: str
    """Name and revision, as verdicts record it."""
    model: Any
    tokenizer: Any

    def similarities(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """The cosine similarity of each pair of texts, from -1 to 1."""
        import torch

        cosines: list[float] = []
        for start in range(0, len(pairs), BATCH):
            batch = pairs[start : start + BATCH]
            with torch.inference_mode():
                left = self._embed([first for first, _ in batch])
                right = self._embed([second for _, second in batch])
            # The vectors have length 1, so their product is the cosine, except for rounding.
            cosines += (left * right).sum(1).clamp(-1, 1).tolist()
        return cosines

    def _embed(self, texts: list[str]) -> Any:
        """One vector of length 1 for each text, as a tensor (texts, hidden size).

        It is the mean of the tokens' last hidden states (Reimers & Gurevych 2019, arXiv
        1908.10084), without the tokens that only pad a shorter text.
        """
        import torch

        batch = self.tokenizer(
            texts, padding=True, truncation=True, max_length=LONGEST_TOKENS, return_tensors="pt"
        )
        hidden = self.model(**batch).last_hidden_state
        mask = batch["attention_mask"].unsqueeze(-1)
        mean = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)
        return torch.nn.functional.normalize(mean, dim=1)


def load(name: str) -> Embedding:
    """Load a model by its folder, or by its name on the hub.

    Raises ModelUnavailableError, in one sentence, where it can't be loaded.
    """
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    keep_compiled_code_in_cache()
    import transformers

    transformers.logging.set_verbosity_error()
    local = Path(name).is_dir()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            name, local_files_only=local, trust_remote_code=False
        )
        model = transformers.AutoModel.from_pretrained(
            name, local_files_only=local, trust_remote_code=False, use_safetensors=True
        ).eval()
    # The hub's client and each file format have exceptions of their own, with no common base.
    except Exception as error:
        raise ModelUnavailableError(
            f"--embedding {name}: can't be loaded ({type(error).__name__}); give a folder with a "
            "sentence-transformers model, or a name on the hub that is staged or can be fetched"
        ) from error
    revision = getattr(model.config, "_commit_hash", None) or "local"
    short_name = name
    if local:
        short_name = Path(name).name
    return Embedding(f"{short_name}@{revision}", model, tokenizer)
