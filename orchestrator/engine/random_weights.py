"""Models with random weights in a real architecture: their cost is real, their texts are garbage.

The tokenizer has one token for each byte, so a prompt has about four times as many tokens as with
the real tokenizer. Fillers make up the rest of the vocabulary, so that every id can be decoded.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from orchestrator.engine.cache import keep_compiled_code_in_cache
from orchestrator.models import Architecture

UNKNOWN, BOS, EOS = 0, 1, 2
SPECIAL = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}


def make(architecture: Architecture, folder: Path) -> None:
    """Write config, weights (float16, seed 0) and tokenizer into `folder`.

    They are made on the GPU where there is one, since this is much faster.
    """
    os.environ.setdefault("TQDM_DISABLE", "1")
    keep_compiled_code_in_cache()
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = architecture.model_dump(exclude={"family"}, exclude_none=True)
    special = {"bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": EOS}
    config = AutoConfig.for_model(architecture.family, **sizes, **special)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    # Weights are drawn during construction: the same device draws the same ones.
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float16)
    model.save_pretrained(folder, max_shard_size="4GB")
    byte_tokenizer(architecture).save_pretrained(folder)


def byte_tokenizer(architecture: Architecture) -> Any:
    """A tokenizer of 256 bytes, three special tokens and fillers. It loses nothing of any text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<unk>": UNKNOWN, "<s>": BOS, "</s>": EOS}
    for symbol in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocabulary[symbol] = len(vocabulary)
    for filler in range(len(vocabulary), architecture.vocab_size):
        # In the alphabet of bytes, U+0120 stands for a space.
        vocabulary[f"\u0120w{filler}"] = filler
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))  # noqa: S106 - no password
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", BOS)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **SPECIAL,
        model_max_length=architecture.max_position_embeddings,
    )
