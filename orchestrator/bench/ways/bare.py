"""What the ways of others share: load, encode and generate as transformers' documentation does it.

Lengths are forced, so that all ways generate as many tokens.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BFLOAT16_CAPABILITY = 8
"""GPUs from this compute capability on have bfloat16 in hardware."""


def main(do_all: Callable[[dict[str, Any], Path], list[dict[str, Any]]]) -> None:
    """Read the work, do it and write the answers; the arguments are their files."""
    work_file, answers_file = map(Path, sys.argv[1:])
    work = json.loads(work_file.read_text(encoding="utf-8"))
    answers = do_all(work, answers_file.parent)
    answers_file.write_text(json.dumps(answers), encoding="utf-8")


def load(work: dict[str, Any]) -> tuple[Any, Any]:
    """The model, quantized, and its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if torch.cuda.is_available():
        # as in the engine of this program, since other kernels may write other texts
        torch.backends.cuda.enable_cudnn_sdp(enabled=False)
    else:
        torch.set_num_threads(work["threads"])
    dtype = _dtype()
    folder, options = work["model_folder"], {}
    config = _quantization(work["quantization"], dtype)
    if config is not None:
        options["quantization_config"] = config
    if torch.cuda.is_available():
        options["device_map"] = {"": 0}
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, local_files_only=True, **options
    )
    return model, AutoTokenizer.from_pretrained(folder, local_files_only=True)


def _dtype() -> Any:
    """float32 on a CPU, bfloat16 on a GPU that has it, else float16."""
    import torch

    if not torch.cuda.is_available():
        return torch.float32
    if torch.cuda.get_device_capability()[0] < BFLOAT16_CAPABILITY:
        return torch.float16
    return torch.bfloat16


def _quantization(wanted: dict[str, Any], dtype: Any) -> Any:
    """A quantization as transformers takes it; None: none."""
    from transformers import BitsAndBytesConfig

    if wanted["bits"] == 4:  # noqa: PLR2004 - nf4 and fp4
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=wanted["quant_type"],
            bnb_4bit_use_double_quant=wanted["double_quant"],
            bnb_4bit_compute_dtype=dtype,
        )
    if wanted["bits"] == 8:  # noqa: PLR2004 - int8
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=wanted["int8_threshold"])
    return None


def tracker(work: dict[str, Any], folder: Path) -> Any:
    """A CodeCarbon tracker with its defaults, which writes emissions.csv; not yet started."""
    from codecarbon import OfflineEmissionsTracker

    gpu_ids = None if work["gpu_index"] is None else [work["gpu_index"]]
    return OfflineEmissionsTracker(
        country_iso_code=work["country_iso_code"],
        output_dir=str(folder),
        gpu_ids=gpu_ids,
        log_level="error",
        allow_multiple_runs=True,
    )


def run_trial(
    work: dict[str, Any], trial: dict[str, Any], model: Any, tokenizer: Any, folder: Path
) -> list[dict[str, Any]]:
    """Generate the texts of one configuration while a tracker runs."""
    of_trial = tracker(work, folder)
    of_trial.start()
    try:
        return [
            _answer(work, trial["trial"], generation, model, tokenizer)
            for generation in trial["generations"]
        ]
    finally:
        of_trial.stop()


def _answer(
    work: dict[str, Any], trial: str, generation: dict[str, Any], model: Any, tokenizer: Any
) -> dict[str, Any]:
    """One text, with the seconds inside generate()."""
    import torch

    ids = _encoded(generation["text"], tokenizer).to(model.device)
    n_prompt = ids.shape[1]
    n_new = _new_tokens(work, generation["max_length"], n_prompt)
    began_at, began_s = time.time(), time.perf_counter()
    torch.manual_seed(generation["seed"])
    output = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=n_new,
        min_new_tokens=n_new,
        **_sampling(generation),
        **_special_tokens(model, tokenizer),
    )
    tokens = output[0, n_prompt:].tolist()  # waits for a GPU
    window_s = time.perf_counter() - began_s
    return {
        "trial": trial,
        "prompt": generation["prompt"],
        "began_at": began_at,
        "window_s": window_s,
        "n_new_tokens": len(tokens),
        "text": tokenizer.decode(tokens, skip_special_tokens=True),
    }


def _encoded(prompt: str, tokenizer: Any) -> Any:
    """The prompt's token ids, through the chat template where there is one."""
    if not tokenizer.chat_template:
        return tokenizer(prompt, return_tensors="pt")["input_ids"]
    messages = [{"role": "user", "content": prompt}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]


def _new_tokens(work: dict[str, Any], max_length: int, n_prompt: int) -> int:
    """How many tokens a text of that length leaves: at least one, and none past the context."""
    if work["of_new_tokens"]:
        max_length += n_prompt
    if work["context_length"] is not None:
        max_length = min(max_length, work["context_length"])
    return max(1, max_length - n_prompt)


def _sampling(generation: dict[str, Any]) -> dict[str, Any]:
    """The hyperparameters of one text."""
    if not generation["do_sample"]:
        return {"do_sample": False}
    names = ("do_sample", "top_k", "top_p", "temperature")
    return {name: generation[name] for name in names}


def _special_tokens(model: Any, tokenizer: Any) -> dict[str, Any]:
    """The tokens that end and pad a text; some models' files leave one out."""
    eos = model.generation_config.eos_token_id
    if eos is None:
        eos = tokenizer.eos_token_id
    pad = tokenizer.pad_token_id
    if pad is None:
        pad = eos[0] if isinstance(eos, list) else eos
    return {"eos_token_id": eos, "pad_token_id": pad}
