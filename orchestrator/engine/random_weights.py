"""Models of random weights in a real shape: what they cost is real, what they write is garbage.

The tokenizer has one token a byte (so a prompt is about four times as many tokens as with the real one) and fillers up
to the vocabulary's size, so that every id can be decoded.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from orchestrator.models import Architecture

UNKNOWN, BOS, EOS = 0, 1, 2
SPECIAL = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}


def make(architecture: Architecture, folder: Path) -> None:
    """Write config, weights (float16, seed 0) and tokenizer into `folder`, built on the GPU where there is one."""
    os.environ.setdefault("TQDM_DISABLE", "1")
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = architecture.model_dump(exclude={"family"}, exclude_none=True)
    special = {"bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": EOS}
    config = AutoConfig.for_model(architecture.family, **sizes, **special)
    torch.manual_seed(0)  # before construction: the same weights on the same device
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float16)
    model.save_pretrained(folder, max_shard_size="4GB")
    byte_tokenizer(architecture).save_pretrained(folder)


def byte_tokenizer(architecture: Architecture) -> Any:
    """A tokenizer of 256 bytes, three special tokens and fillers; lossless on any text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<unk>": UNKNOWN, "<s>": BOS, "</s>": EOS}
    for symbol in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocabulary[symbol] = len(vocabulary)
    for filler in range(len(vocabulary), architecture.vocab_size):
        vocabulary[f"\u0120w{filler}"] = filler  # Ġ: a space in the byte alphabet
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
