"""Texts to label: SmolLM2 in four quantizations, on all prompts of the three use cases.

    python -m tools.labelled.generate OUT.jsonl [I/N]

The configurations are spread over the whole domain of the hyperparameters, but for max_length: it
is drawn from 100 to 1,000 tokens, evenly over its logarithm, because a person shall read the texts.
The prompts of a configuration run as one batch, so no energies come out of this. `I/N` makes the
I-th of N parts, for several processes side by side.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import qmc

from orchestrator.engine.hf import bitsandbytes_config, dtype_of
from orchestrator.engine.weights import resolve
from orchestrator.models import parse_model
from orchestrator.nouns import DOMAIN, QUANTIZATIONS, Configuration, UseCase, effective_of
from orchestrator.yaml_files import read

N_CONFIGURATIONS = 20
LONGEST = 1000
USE_CASES = ("creativeStorytelling", "danceCoreography", "fantasyWorld")
SEED = 20261123


def configurations() -> list[tuple[str, Configuration]]:
    """Quantization and configuration: a Latin hypercube over the domain."""
    points = qmc.LatinHypercube(4, rng=np.random.default_rng(SEED)).random(N_CONFIGURATIONS)
    found = []
    for i, (u, top_p, top_k, temperature) in enumerate(points):
        length = DOMAIN["max_length"][0] * (LONGEST / DOMAIN["max_length"][0]) ** u
        asked = Configuration(
            max_length=round(length),
            top_p=round(top_p * DOMAIN["top_p"][1], 3),
            top_k=round(top_k * DOMAIN["top_k"][1]),
            temperature=round(temperature * DOMAIN["temperature"][1], 3),
        )
        found.append((sorted(QUANTIZATIONS)[i % len(QUANTIZATIONS)], asked))
    return found


def prompts(i: int) -> list[tuple[str, int, str]]:
    """Use case, number and text of six prompts a use case, others for each configuration."""
    found = []
    for name in USE_CASES:
        texts = read("prompts", name, UseCase)[0].prompts
        found += [
            (name, number, text) for number, text in enumerate(texts, 1) if (number + i) % 5 < 3
        ]
    return found


def write(i: int, quantization: str, asked: Configuration) -> list[dict[str, Any]]:
    """The texts of one configuration."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = resolve(parse_model("smollm2")).path
    cuda = torch.cuda.is_available()
    dtype = dtype_of("auto", torch)
    record = bitsandbytes_config(QUANTIZATIONS[quantization], dtype)
    more = {"quantization_config": record} if record else {}
    model = AutoModelForCausalLM.from_pretrained(
        path, dtype=dtype, device_map={"": 0} if cuda else None, **more
    ).eval()
    tokenizer = AutoTokenizer.from_pretrained(path, padding_side="left")
    tokenizer.pad_token = (
        tokenizer.pad_token or tokenizer.eos_token
    )  # other versions of transformers leave it out
    asked_prompts = prompts(i)
    chats = [[{"role": "user", "content": text}] for _, _, text in asked_prompts]
    heads = [
        tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        for chat in chats
    ]
    batch = tokenizer(heads, return_tensors="pt", padding=True, add_special_tokens=False).to(
        model.device
    )
    effective = effective_of(asked)
    sampling = {
        "temperature": effective.temperature,
        "top_p": effective.top_p,
        "top_k": effective.top_k or 0,
    }
    torch.manual_seed(SEED + i)
    shortest = int(batch["attention_mask"].sum(1).min())
    with torch.inference_mode():
        output = model.generate(
            **batch,
            max_new_tokens=max(1, asked.max_length - shortest),
            do_sample=effective.do_sample,
            pad_token_id=tokenizer.eos_token_id,
            **(sampling if effective.do_sample else {}),
        )
    rows = []
    for k, (use_case, number, text) in enumerate(asked_prompts):
        room = max(1, asked.max_length - int(batch["attention_mask"][k].sum()))
        tokens = output[k, batch["input_ids"].shape[1] :].tolist()[:room]
        ended = tokenizer.eos_token_id in tokens
        tokens = tokens[: tokens.index(tokenizer.eos_token_id)] if ended else tokens
        rows.append(
            {
                "id": f"{i:02}-{use_case}-{number:02}",
                "origin": "smollm2",
                "use_case": use_case,
                "prompt_number": number,
                "prompt": text,
                "quantization": quantization,
                **asked.model_dump(),
                "finish_reason": "eos" if ended else "length",
                "text": tokenizer.decode(tokens, skip_special_tokens=True),
            }
        )
    return rows


def main() -> None:
    """Write the texts of one part."""
    out = Path(sys.argv[1])
    part, parts = (int(n) for n in (sys.argv[2] if len(sys.argv) > 2 else "1/1").split("/"))
    with out.open("w", encoding="utf-8") as stream:
        for i, (quantization, asked) in enumerate(configurations()):
            if i % parts == part - 1:
                stream.writelines(
                    json.dumps(row, ensure_ascii=False) + "\n"
                    for row in write(i, quantization, asked)
                )
                stream.flush()


if __name__ == "__main__":
    main()
