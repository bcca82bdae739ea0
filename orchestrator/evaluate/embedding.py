"""Sentence embeddings: how near a text is to its prompt. A BERT-like model of the sentence-transformers kind, on the CPU.

Never inside a measurement window, and never fetched without being asked for: offline, only what is there is used.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import ModelUnavailableError

LONGEST_TOKENS = 256
"""What these models were trained on; the rest of a longer text is not seen."""
BATCH = 32


@dataclass(frozen=True)
class Embedding:
    """A loaded model."""

    name: str
    """Name and revision, as verdicts record it."""
    model: Any
    tokenizer: Any

    def similarities(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Cosine of each pair of texts, -1 to 1."""
        import torch

        found: list[float] = []
        for start in range(0, len(pairs), BATCH):
            some = pairs[start : start + BATCH]
            with torch.inference_mode():
                left, right = (self._embed([pair[side] for pair in some]) for side in (0, 1))
            found += (left * right).sum(1).clamp(-1, 1).tolist()
        return found

    def _embed(self, texts: list[str]) -> Any:
        """Mean over the tokens' last hidden states, of length 1 (Reimers & Gurevych 2019, arXiv 1908.10084)."""
        import torch

        batch = self.tokenizer(
            texts, padding=True, truncation=True, max_length=LONGEST_TOKENS, return_tensors="pt"
        )
        hidden = self.model(**batch).last_hidden_state
        mask = batch["attention_mask"].unsqueeze(-1)
        return torch.nn.functional.normalize(
            (hidden * mask).sum(1) / mask.sum(1).clamp(min=1), dim=1
        )


def load(name: str) -> Embedding:
    """A model by its folder or its name on the hub. Raises ModelUnavailableError in one sentence."""
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
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
    except (
        Exception
    ) as error:  # of the hub's client and of the file formats: each has a tree of its own
        raise ModelUnavailableError(
            f"--embedding {name}: can't be loaded ({type(error).__name__}); give a folder with a sentence-transformers "
            "model, or a hub name that is staged or can be fetched"
        ) from error
    revision = getattr(model.config, "_commit_hash", None) or "local"
    return Embedding(f"{Path(name).name if local else name}@{revision}", model, tokenizer)
