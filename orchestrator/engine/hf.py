"""The real engine: transformers, quantized by bitsandbytes, on one GPU or on the CPU.

The model's own generation_config never decides anything but which tokens end a text: every sampling parameter is passed.
"""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path
from typing import Any

from orchestrator.engine import Encoded, EngineInfo, Generated, GenerationError, timed_out
from orchestrator.engine.offload import (
    GPU,
    HOST,
    DeviceMap,
    offload_fraction,
    passing_bytes,
    place,
    skeleton,
)
from orchestrator.engine.weights import Weights, resolve
from orchestrator.errors import ModelTooLargeError, ModelUnavailableError
from orchestrator.models import architecture_of, parse_model
from orchestrator.nouns import Effective, Quantization, Setup
from orchestrator.packages import package_versions

PACKAGES = ("torch", "transformers", "bitsandbytes", "accelerate")
"""Their versions are part of what an engine says of itself."""
SCARCE_BYTES = 128 * 2**20
"""A GPU with less than this free is full."""
MEMORY_MARGIN = 0.9
"""Share of the free memory that the key-value cache may take; the rest is left to activations and fragmentation."""


def load(setup: Setup, model_ref: str, threads: int | None) -> HfEngine:
    """Find the weights, load and quantize them. Raises ModelUnavailableError in one sentence."""
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    model = parse_model(model_ref)
    weights = resolve(model)
    if weights.revision != setup.revision:
        raise ModelUnavailableError(
            f"{model_ref}: this machine has {weights.revision}, the sweep was planned with {setup.revision}; "
            "stage the same weights here with `orchestrator models stage`"
        )
    return HfEngine(setup, weights, threads)


class HfEngine:
    """A causal language model of transformers."""

    def __init__(self, setup: Setup, weights: Weights, threads: int | None) -> None:
        import torch
        import transformers
        from safetensors import SafetensorError
        from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

        transformers.logging.set_verbosity_error()
        logging.getLogger("accelerate.big_modeling").setLevel(
            logging.ERROR
        )  # that layers are offloaded: rows say how much
        logging.getLogger("bitsandbytes").setLevel(
            logging.ERROR
        )  # one cast notice a layer call otherwise
        if threads:
            torch.set_num_threads(threads)
        self._torch = torch
        self._cuda = torch.cuda.is_available()
        dtype = _compute_dtype(setup.compute_dtype, torch)
        began = time.perf_counter()
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(
                weights.path, local_files_only=True, trust_remote_code=False
            )
            placed = self._placed(setup, weights.path, dtype)
            offloads = HOST in placed.values()
            asked = _bitsandbytes(setup.quantization, dtype, offloads=offloads)
            as_they_are = _quantized_as_asked(weights.path, asked, offloads=offloads)
            model, report = AutoModelForCausalLM.from_pretrained(
                weights.path,
                dtype=dtype,
                device_map=placed or None,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
                **({} if as_they_are else {"quantization_config": asked}),
            )
            _check_complete(report)
            self._model = model.eval()
            self._forward_once()
            self.synchronize()
        except torch.cuda.OutOfMemoryError as error:
            free, total = torch.cuda.mem_get_info()
            raise ModelTooLargeError(
                f"{setup.model} with {setup.quantization.name} doesn't fit on the GPU: {free / 2**30:.1f} of "
                f"{total / 2**30:.1f} GiB were free; use --quantization nf4, a smaller model, another machine or --cpu-offload"
            ) from error
        except (
            OSError,
            ValueError,
            RuntimeError,
            ImportError,
            AssertionError,  # bitsandbytes: a matrix whose shape it can't repack
            SafetensorError,
        ) as error:
            raise ModelUnavailableError(
                f"{setup.model} can't be loaded from {weights.origin}: {type(error).__name__}: {_first_line(error)}"
            ) from error
        load_s = time.perf_counter() - began
        self._template = setup.chat_template == "auto" and bool(self._tokenizer.chat_template)
        own = self._model.generation_config
        eos = own.eos_token_id if own.eos_token_id is not None else self._tokenizer.eos_token_id
        self._eos = [] if eos is None else list(eos) if isinstance(eos, list | tuple) else [eos]
        self._pad = (
            self._tokenizer.pad_token_id
            if self._tokenizer.pad_token_id is not None
            else next(iter(self._eos), 0)
        )
        self._bos = own.bos_token_id
        self._cache_bytes_per_token: int | None = None
        # generate() fills every None of the passed config from this one, so it must hold nothing but token ids
        self._model.generation_config = GenerationConfig(
            bos_token_id=self._bos, eos_token_id=self._eos or None, pad_token_id=self._pad
        )
        config = self._model.config
        compute_dtype, double_quant = _as_it_runs(self._model, dtype)
        self.info = EngineInfo(
            name="transformers",
            device="cuda" if self._cuda else "cpu",
            compute_dtype=compute_dtype,
            double_quant=double_quant,
            revision=weights.revision,
            context_length=getattr(config, "max_position_embeddings", None),
            memory_tokens=self._memory_tokens(weights.path, dtype),
            uses_chat_template=self._template,
            attention=str(getattr(config, "_attn_implementation", "unknown")),
            cache="dynamic",
            threads=None if self._cuda else torch.get_num_threads(),
            load_s=load_s,
            weights_bytes=int(self._model.get_memory_footprint()),
            gpu_uuid=f"GPU-{torch.cuda.get_device_properties(0).uuid}" if self._cuda else None,
            synthetic=weights.origin == "random",
            offload_fraction=offload_fraction(self._model) if self._cuda else 0.0,
            versions=package_versions(PACKAGES),
        )

    def _placed(self, setup: Setup, folder: Path, dtype: Any) -> DeviceMap:
        """Where the layers lie: on the GPU whole or, where that is asked for, as many as it has room for. {}: on the CPU."""
        if not self._cuda:
            return {}
        if not setup.cpu_offload:
            return {"": GPU}
        try:
            return place(
                skeleton(folder, dtype),
                setup.quantization,
                self._torch.cuda.mem_get_info()[0],
                _ram_bytes()[0],
            )
        except ModelTooLargeError as error:
            raise ModelTooLargeError(
                f"{setup.model} with {setup.quantization.name} doesn't fit, not even by --cpu-offload: {error}; "
                "use a smaller model or another machine"
            ) from error

    def _forward_once(self) -> None:
        """Run one token through the model, so that what is loaded is what will run.

        At the first forward pass bitsandbytes (0.50) repacks 4-bit weights where the CPU has
        AVX512-BF16: it dequantizes the scales and multiplies in bfloat16 from then on.
        """
        torch = self._torch
        token = torch.zeros((1, 1), dtype=torch.long, device="cuda:0" if self._cuda else "cpu")
        with torch.inference_mode():
            self._model(input_ids=token, use_cache=False)

    def encode(self, prompt: str) -> Encoded:
        """Ids on the device; with the model's chat template where it has one and the setup allows it."""
        if self._template:
            text = self._tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
            )
            batch = self._tokenizer(text, return_tensors="pt", add_special_tokens=False)
        else:
            batch = self._tokenizer(prompt, return_tensors="pt")
        ids = batch["input_ids"].to("cuda:0" if self._cuda else "cpu")
        return Encoded(int(ids.shape[1]), ids)

    def generate(
        self,
        encoded: Encoded,
        effective: Effective,
        seed: int,
        *,
        fixed_length: bool,
        timeout_s: float | None = None,
    ) -> Generated:
        """One `model.generate` with every parameter explicit, the random state set from `seed` first."""
        from transformers import StoppingCriteriaList

        torch = self._torch
        n_new = effective.max_length - encoded.n_tokens
        watch = _Watch(torch, timeout_s)
        torch.manual_seed(seed)
        try:
            with torch.inference_mode():
                output = self._model.generate(
                    inputs=encoded.ids,
                    attention_mask=torch.ones_like(encoded.ids),
                    generation_config=self._generation_config(
                        effective, n_new, fixed_length=fixed_length
                    ),
                    stopping_criteria=StoppingCriteriaList([watch]),
                )
        except RuntimeError as error:  # of which torch's errors of memory and of CUDA are kinds
            raise self._failed(error, effective.max_length) from error
        if watch.timed_out and timeout_s is not None:
            raise timed_out(timeout_s, output.shape[1] - encoded.n_tokens)
        tokens = output[0, encoded.n_tokens :].tolist()
        for i, token in enumerate(tokens):
            if token in self._eos and not fixed_length:
                return Generated(tokens[: i + 1], "eos", watch.first_token_s)
        return Generated(tokens, "length", watch.first_token_s)

    def _failed(self, error: RuntimeError, n_tokens: int) -> GenerationError:
        """A failed generation by its kind; gives the memory it held back to the device."""
        text = str(error)
        # on a GPU the sampler's check of its probabilities is an assertion in a kernel, after which the process has lost it
        if ("inf" in text and "nan" in text) or "device-side assert" in text:
            return GenerationError("nan", f"probabilities with nan or inf: {_first_line(error)}")
        out_of_memory = isinstance(error, self._torch.cuda.OutOfMemoryError) or (
            "alloc" in text and "memory" in text
        )
        if out_of_memory or self._memory_is_scarce():
            return GenerationError("oom", f"{self._need(n_tokens)}; {_first_line(error)}")
        return GenerationError("other", _first_line(error))

    def _memory_is_scarce(self) -> bool:
        """Whether the GPU is full: libraries below torch then fail with errors of their own that don't speak of memory."""
        try:
            return bool(self._cuda and self._torch.cuda.mem_get_info()[0] < SCARCE_BYTES)
        except RuntimeError:  # the device is lost
            return False

    def _need(self, n_tokens: int) -> str:
        """What a text of so many tokens needs, against what there is."""
        cache = f"weights {self._model.get_memory_footprint() / 2**30:.1f} GiB and the cache of {n_tokens} tokens"
        if self._cache_bytes_per_token is not None:
            cache += f" {n_tokens * self._cache_bytes_per_token / 2**30:.1f} GiB"
        if self._cuda:
            self._torch.cuda.empty_cache()
            free, total = self._torch.cuda.mem_get_info()
        else:
            free, total = _ram_bytes()
        return (
            f"{cache}, with {free / 2**30:.1f} of {total / 2**30:.1f} GiB free beside the weights"
        )

    def _generation_config(self, effective: Effective, n_new: int, *, fixed_length: bool) -> Any:
        from transformers import GenerationConfig

        config = GenerationConfig(
            max_length=effective.max_length,
            min_new_tokens=n_new if fixed_length else None,
            do_sample=effective.do_sample,
            num_beams=1,
            use_cache=True,
            bos_token_id=self._bos,
            eos_token_id=self._eos or None,
            pad_token_id=self._pad,
        )
        config.temperature, config.top_p, config.top_k = (
            effective.temperature,
            effective.top_p,
            effective.top_k,
        )
        return config

    def decode(self, generated: Generated) -> str:
        """Text without special tokens."""
        return str(self._tokenizer.decode(generated.tokens, skip_special_tokens=True))

    def synchronize(self) -> None:
        """Drain the GPU's queue; nothing to do on a CPU."""
        if self._cuda:
            self._torch.cuda.synchronize()

    def close(self) -> None:
        """Drop the model and give its memory back to the device."""
        import gc

        del self._model
        gc.collect()
        if self._cuda:
            self._torch.cuda.empty_cache()

    def _memory_tokens(self, folder: Path, dtype: Any) -> int | None:
        architecture = architecture_of(folder)
        if architecture is None:
            return None
        self._cache_bytes_per_token = architecture.cache_bytes_per_token(dtype.itemsize)
        free_bytes = self._torch.cuda.mem_get_info()[0] if self._cuda else _ram_bytes()[0]
        room = free_bytes - (passing_bytes(self._model) if self._cuda else 0)
        return max(0, int(MEMORY_MARGIN * room / self._cache_bytes_per_token))


class _Watch:
    """A stopping criterion that notes when the first token is there, and ends a generation that takes too long."""

    def __init__(self, torch: Any, timeout_s: float | None) -> None:
        self._torch = torch
        self._timeout_s = timeout_s
        self._began = time.perf_counter()
        self.first_token_s: float | None = None
        self.timed_out = False

    def __call__(self, input_ids: Any, _scores: Any, **_kwargs: Any) -> Any:
        if self.first_token_s is None:
            if input_ids.is_cuda:
                self._torch.cuda.synchronize()  # else it's the launch of the first token that is timed
            self.first_token_s = time.perf_counter() - self._began
        self.timed_out = (
            self._timeout_s is not None and time.perf_counter() - self._began > self._timeout_s
        )
        return self._torch.full(
            (input_ids.shape[0],), self.timed_out, dtype=self._torch.bool, device=input_ids.device
        )


def _as_it_runs(model: Any, dtype: Any) -> tuple[str, bool | None]:
    """Compute type of the quantized matrices, and whether their scales are quantized too.

    Read from the first 4-bit matrix after a forward pass; a model without one computes in `dtype`.
    """
    for module in model.modules():
        state = getattr(getattr(module, "weight", None), "quant_state", None)
        if state is not None:
            packed = getattr(state, "packing_format_for_cpu", False)
            ran = "bfloat16" if packed else str(module.compute_dtype).removeprefix("torch.")
            return ran, bool(state.nested)
    return str(dtype).removeprefix("torch."), None


def _compute_dtype(asked: str, torch: Any) -> Any:
    """float32 on a CPU, bfloat16 where the GPU has it in hardware (compute capability 8), else float16."""
    if asked != "auto":
        return getattr(torch, asked)
    if not torch.cuda.is_available():
        return torch.float32
    return torch.bfloat16 if torch.cuda.get_device_capability()[0] >= 8 else torch.float16  # noqa: PLR2004


def _bitsandbytes(quantization: Quantization, dtype: Any, *, offloads: bool = False) -> Any:
    """The record as transformers' BitsAndBytesConfig; None for no quantization.

    `offloads`: layers outside the GPU stay unquantized. Its flag has 8 bit in its name, and is read for 4 bit, too. Never where
    the whole model is on the CPU: it would quantize nothing.
    """
    from transformers import BitsAndBytesConfig

    if quantization.bits == 4:  # noqa: PLR2004
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=quantization.quant_type,
            bnb_4bit_use_double_quant=quantization.double_quant,
            bnb_4bit_compute_dtype=dtype,
            llm_int8_enable_fp32_cpu_offload=offloads,
        )
    if quantization.bits == 8:  # noqa: PLR2004
        return BitsAndBytesConfig(
            load_in_8bit=True,
            llm_int8_threshold=quantization.int8_threshold,
            llm_int8_enable_fp32_cpu_offload=offloads,
        )
    return None


def _quantized_as_asked(folder: Path, asked: Any, *, offloads: bool = False) -> bool:
    """Whether the weights are quantized already. Raises ValueError if not as asked: transformers would keep their own."""
    own = json.loads((folder / "config.json").read_text(encoding="utf-8")).get(
        "quantization_config"
    )
    if own is None:
        return False
    names = (
        "load_in_4bit",
        "load_in_8bit",
        "bnb_4bit_quant_type",
        "bnb_4bit_use_double_quant",
        "bnb_4bit_compute_dtype",
    )
    wanted = asked.to_dict() if asked is not None else {}
    if any(
        own.get(name) != wanted.get(name) for name in (*names, "quant_method", "llm_int8_threshold")
    ):
        msg = f"its weights are quantized already ({own.get('quant_method')}), and not as asked"
        raise ValueError(msg)
    if offloads:
        msg = "its weights are quantized already, and layers outside the GPU need the original ones; leave out --cpu-offload"
        raise ValueError(msg)
    return True


def _check_complete(report: dict[str, Any]) -> None:
    """Raise ValueError for tensors that no file has: transformers draws them at random."""
    if missing := sorted(report["missing_keys"]):
        msg = f"{len(missing)} of its tensors are in no file, the first is {missing[0]}"
        raise ValueError(msg)


def _ram_bytes() -> tuple[int, int]:
    """(available, total)."""
    import psutil

    memory = psutil.virtual_memory()
    return int(memory.available), int(memory.total)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
