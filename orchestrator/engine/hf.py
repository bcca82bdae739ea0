"""The real engine: transformers, quantized by bitsandbytes, on one GPU or on the CPU.

Every sampling parameter is passed explicitly. The model's own generation_config only decides which
tokens begin and end a text.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil

from orchestrator.engine import (
    ENGINES,
    BatchRow,
    Built,
    Encoded,
    EngineColumns,
    EngineInfo,
    Generated,
    GenerationError,
    n_steps,
    options_of,
    padded_length,
    timed_out,
)
from orchestrator.engine.offload import (
    GPU,
    HOST,
    DeviceMap,
    offload_fraction,
    passing_bytes,
    place,
    skeleton,
)
from orchestrator.engine.weights import Weights, checked, resolve
from orchestrator.errors import ModelTooLargeError, ModelUnavailableError
from orchestrator.gpu.access import GpuAccess, open_gpu
from orchestrator.models import architecture_of, parse_model
from orchestrator.nouns import Effective, Quantization, Setup, digest
from orchestrator.outside_files import read_text
from orchestrator.packages import package_versions

PACKAGES = ("torch", "transformers", "bitsandbytes", "accelerate")
"""Their versions are part of what an engine says of itself."""
LAST_TOKENS = 4
"""New tokens of the text of the longest length that is generated before the first window."""
SCARCE_BYTES = 128 * 2**20
"""A GPU with less free memory than this counts as full."""
BFLOAT16_CAPABILITY = 8
"""GPUs from this compute capability on have bfloat16 in hardware."""
BY_BITSANDBYTES_4BIT = ("nf4", "fp4")
"""Quantizations of 4 bit by bitsandbytes."""
INT4 = "int4"
"""The one of torch itself (int4.py)."""
QUANTIZATION_FIELDS = (
    "load_in_4bit",
    "load_in_8bit",
    "bnb_4bit_quant_type",
    "bnb_4bit_use_double_quant",
    "bnb_4bit_compute_dtype",
    "quant_method",
    "llm_int8_threshold",
)
"""Fields of a quantization_config in which weights must be as requested."""
WITHOUT_PLANS = " without cudnn"
"""Follows the name of the attention's implementation where no plan is built for each length."""
MEMORY_MARGIN = 0.9
"""The share of the free memory that the key-value cache may take.

The rest is for activations and for fragmentation."""


def open_context() -> None:
    """Make this process's CUDA context, where torch can.

    Where it can't, as on a GPU that is full, loading the model says it in its own words.
    """
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    import torch

    if torch.cuda.is_available():
        with contextlib.suppress(RuntimeError):
            torch.zeros(1, device="cuda")
            torch.cuda.synchronize()


def load(
    setup: Setup, model_ref: str, threads: int | None, gpu: GpuAccess | None = None
) -> HfEngine:
    """The engine of a model; see load_as."""
    return load_as(HfEngine, setup, model_ref, threads, gpu)


AnEngine = TypeVar("AnEngine", bound="HfEngine")


def load_as(
    kind: type[AnEngine],
    setup: Setup,
    model_ref: str,
    threads: int | None,
    gpu: GpuAccess | None = None,
) -> AnEngine:
    """Find the weights of a model, load and quantize them; `gpu`: as HfEngine takes it.

    Raises ModelUnavailableError, in one sentence, where they can't be loaded or where they aren't
    those that the sweep was planned with, or files were altered since they came.
    """
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    model = parse_model(model_ref)
    weights = checked(model, resolve(model))
    if weights.revision != setup.revision:
        raise ModelUnavailableError(
            f"{model_ref}: this machine has {weights.revision}, but the sweep was planned with "
            f"{setup.revision}; stage the same weights here with `orchestrator models stage`"
        )
    return kind(setup, weights, threads, gpu)


@dataclass(frozen=True)
class SpecialTokens:
    """The ids of a model's special tokens."""

    bos: int | None
    eos: list[int]
    """The tokens that end a text; there may be none."""
    pad: int


class HfEngine:
    """A causal language model of transformers."""

    def __init__(
        self,
        setup: Setup,
        weights: Weights,
        threads: int | None,
        gpu: GpuAccess | None = None,
    ) -> None:
        """Load, quantize and describe a model; `gpu`: an access to the GPU, where one is open.

        Each step is a method or function of its own, so that an engine with another way to
        generate can share them. Raises ModelUnavailableError (ModelTooLargeError included).
        """
        import torch

        _quiet_libraries()
        if threads:
            torch.set_num_threads(threads)
        self._torch = torch
        self._cuda = torch.cuda.is_available()
        self._device = "cuda:0" if self._cuda else "cpu"
        self._cache_bytes_per_token: int | None = None
        self._group: int | None = None
        self._batch_size = setup.batch_size
        self._built_up_to = 0
        self.gpu: GpuAccess | None = None
        if self._cuda:
            # cuDNN's attention builds a plan for each length that is new to the process, inside
            # the window that reaches it first: up to 1.9 times the energy (docs/measurement.md)
            torch.backends.cuda.enable_cudnn_sdp(enabled=False)
            uuid = f"GPU-{torch.cuda.get_device_properties(0).uuid}"
            # torch says which GPU it is: another one's energy must never stand in a row
            self.gpu = gpu if gpu and gpu.gpu.uuid == uuid else open_gpu(uuid)
        dtype = dtype_of(setup.compute_dtype, torch)
        began = time.perf_counter()
        self._load(setup, weights, dtype)
        load_s = time.perf_counter() - began
        self._template = setup.chat_template == "auto" and bool(self.tokenizer.chat_template)
        self._special = _special_tokens(self.model, self.tokenizer)
        self._forget_generation_config()
        self.info = self._describe(setup, weights, dtype, load_s)

    def _load(self, setup: Setup, weights: Weights, dtype: Any) -> None:
        """Load tokenizer and model, and run one token through the model.

        Raises ModelTooLargeError or ModelUnavailableError in one sentence.
        """
        from safetensors import SafetensorError

        torch = self._torch
        try:
            self.tokenizer = _load_tokenizer(weights.path)
            self.model = self._load_model(setup, weights.path, dtype)
            self._forward_once()
            self.synchronize()
        except torch.cuda.OutOfMemoryError as error:
            free, total = torch.cuda.mem_get_info()
            raise ModelTooLargeError(
                f"{setup.model} with {setup.quantization.name} doesn't fit on the GPU: "
                f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB were free; use --quantization nf4, "
                "a smaller model, another machine or --cpu-offload"
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
                f"{setup.model} can't be loaded from {weights.origin}: "
                f"{type(error).__name__}: {_first_line(error)}"
            ) from error

    def _load_model(self, setup: Setup, folder: Path, dtype: Any) -> Any:
        """The model on its device, quantized as requested. Raises the libraries' own errors."""
        if setup.quantization.name == INT4:
            return self._load_int4(setup, folder, dtype)
        gpu_bytes = self._torch.cuda.mem_get_info()[0] if self._cuda else None
        device_map = device_map_of(setup, folder, dtype, gpu_bytes)
        offloads = HOST in device_map.values()
        config = bitsandbytes_config(setup.quantization, dtype, offloads=offloads)
        options = {}
        # Weights that are quantized already bring their own configuration with them.
        if not quantized_as_requested(folder, config, offloads=offloads):
            options["quantization_config"] = config
        return _from_pretrained(folder, dtype, device_map=device_map or None, **options)

    def _load_int4(self, setup: Setup, folder: Path, dtype: Any) -> Any:
        """The model with int4 weights on its device. Raises ValueError where that can't be."""
        from orchestrator.engine.int4 import quantize

        if options_of(setup).offloads:
            raise ValueError("int4 weights can't be kept in the host's memory; use nf4")
        if self._cuda and dtype != self._torch.bfloat16:
            raise ValueError("int4 computes in bfloat16 on a GPU; leave out --dtype, or use nf4")
        quantized_as_requested(folder, None)
        model = _from_pretrained(folder, dtype)
        self._group = quantize(model, self._device)
        return model

    def _forget_generation_config(self) -> None:
        """Replace the model's own generation_config by one that has nothing but token ids.

        generate() takes every value that isn't passed from the model's own configuration.
        """
        from transformers import GenerationConfig

        self.model.generation_config = GenerationConfig(
            bos_token_id=self._special.bos,
            eos_token_id=self._special.eos or None,
            pad_token_id=self._special.pad,
        )

    def _describe(self, setup: Setup, weights: Weights, dtype: Any, load_s: float) -> EngineInfo:
        """What was loaded, and on what."""
        torch = self._torch
        config = self.model.config
        compute_dtype, double_quant = as_it_runs(self.model, dtype)
        device, threads, gpu_uuid, fraction = "cpu", torch.get_num_threads(), None, 0.0
        attention = str(getattr(config, "_attn_implementation", "unknown"))
        if self.gpu is not None:
            device, threads, gpu_uuid = "cuda", None, self.gpu.gpu.uuid
            fraction = offload_fraction(self.model)
            attention += WITHOUT_PLANS
        return EngineInfo(
            columns=EngineColumns(
                model_revision=weights.revision,
                synthetic=weights.origin == "random",
                double_quant=double_quant,
                compute_dtype=compute_dtype,
                device=device,
                chat_template=self._template,
                attention=attention,
                cache="dynamic",
                kernels=kernels_of(setup.quantization, self._group),
                decoding="eager",
                offload_fraction=fraction,
                threads=threads,
                gpu_uuid=gpu_uuid,
            ),
            context_length=getattr(config, "max_position_embeddings", None),
            memory_tokens=self._memory_tokens(weights.path, dtype),
            load_s=load_s,
            weights_bytes=int(self.model.get_memory_footprint()),
            # random weights are named by their seed: each version of torch may draw them its way
            model_sha256={} if weights.origin == "random" else weights.sha256,
            versions=package_versions(ENGINES["transformers"].packages),
        )

    def _forward_once(self) -> None:
        """Run one token through the model, so that what is loaded is what will run.

        At the first forward pass bitsandbytes (0.50) repacks 4-bit weights where the CPU has
        AVX512-BF16: it dequantizes the scales and multiplies in bfloat16 from then on.
        """
        torch = self._torch
        token = torch.zeros((1, 1), dtype=torch.long, device=self._device)
        with torch.inference_mode():
            self.model(input_ids=token, use_cache=False)

    def build_shapes(self, longest: int) -> Built:
        """Let texts of the longest length take their memory from the device once.

        torch keeps it for later ones. Where there is too little, the texts' own rows will say so.
        """
        if not self._cuda or longest <= max(self._built_up_to, LAST_TOKENS):
            return Built()
        self._built_up_to = longest
        ids = self._torch.zeros((1, longest - LAST_TOKENS), dtype=self._torch.long)
        greedy = Effective(
            max_length=longest,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            dormant=(),
            limits=(),
        )
        encoded = Encoded(longest - LAST_TOKENS, ids.to(self._device))
        rows = [BatchRow(encoded, greedy, 0)] * self._batch_size
        with contextlib.suppress(GenerationError):
            self.generate(rows, fixed_length=True)
        return Built()

    def encode(self, prompt: str) -> Encoded:
        """The prompt's token ids, on the device.

        The model's chat template is applied where it has one and the setup allows it.
        """
        if self._template:
            text = self.tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
            )
            # The template has written the special tokens already.
            batch = self.tokenizer(text, return_tensors="pt", add_special_tokens=False)
        else:
            batch = self.tokenizer(prompt, return_tensors="pt")
        ids = batch["input_ids"].to(self._device)
        return Encoded(int(ids.shape[1]), ids)

    def generate(
        self,
        rows: Sequence[BatchRow],
        *,
        fixed_length: bool,
        timeout_s: float | None = None,
    ) -> list[Generated]:
        """Generate with every parameter explicit, after setting the random state from the seeds.

        All rows draw from one stream, so a text that is sampled depends on its whole batch. Raises
        GenerationError of a kind: oom, nan, timeout or other.
        """
        from transformers import StoppingCriteriaList

        torch = self._torch
        ids, padding = self.padded(rows)
        n_prompt = ids.shape[1]
        config = self._generation_config(rows, fixed_length=fixed_length)
        ends = torch.tensor([n_prompt + row.n_new for row in rows], device=self._device)
        watch = _Watch(torch, timeout_s, ends)
        torch.manual_seed(_seed_of(rows))
        try:
            with torch.inference_mode():
                output = self.model.generate(
                    inputs=ids,
                    attention_mask=self._attended(n_prompt, padding),
                    generation_config=config,
                    stopping_criteria=StoppingCriteriaList([watch]),
                )
        except RuntimeError as error:  # torch's errors of memory and of CUDA are such
            raise self._failed(error, len(rows) * padded_length(rows)) from error
        made = output[:, n_prompt:].tolist()
        if watch.timed_out and timeout_s is not None:
            raise timed_out(timeout_s, len(made[0]))
        first_token_s = watch.first_token_s
        return [
            self._text(tokens, row.n_new, first_token_s, fixed_length=fixed_length)
            for tokens, row in zip(made, rows, strict=True)
        ]

    def padded(self, rows: Sequence[BatchRow]) -> tuple[Any, list[int]]:
        """The prompts of a batch, padded at the left, and how much each one is padded.

        The prompts are token ids, int64 [rows, tokens of the longest one].
        """
        torch = self._torch
        longest = max(row.encoded.n_tokens for row in rows)
        padding = [longest - row.encoded.n_tokens for row in rows]
        padded = [
            torch.nn.functional.pad(row.encoded.ids, (n_left, 0), value=self._special.pad)
            for row, n_left in zip(rows, padding, strict=True)
        ]
        return torch.cat(padded), padding

    def _attended(self, n_prompt: int, padding: Sequence[int]) -> Any:
        """The mask of padded prompts: 1 at tokens, 0 at padding, int64 [rows, n_prompt]."""
        places = self._torch.arange(n_prompt, device=self._device)
        padded = self._torch.tensor(padding, device=self._device)
        return (places >= padded[:, None]).long()

    def _text(
        self, made: list[int], n_new: int, first_token_s: float | None, *, fixed_length: bool
    ) -> Generated:
        """A row's text: what was made after its end is thrown away."""
        tokens, reason = made[:n_new], "length"
        if not fixed_length:
            for i, token in enumerate(tokens):
                if token in self._special.eos:
                    tokens, reason = tokens[: i + 1], "eos"
                    break
        return Generated(tokens, reason, first_token_s, n_steps_beyond=len(made) - len(tokens))

    def _failed(self, error: RuntimeError, n_tokens: int) -> GenerationError:
        """The error of a failed generation, with its kind.

        It also gives the memory that the generation held back to the device.
        """
        text = str(error)
        # On a GPU, the check of the sampler's probabilities is an assertion in a kernel. After it,
        # this process can't use the GPU any more.
        if ("inf" in text and "nan" in text) or "device-side assert" in text:
            return GenerationError("nan", f"probabilities with nan or inf: {_first_line(error)}")
        out_of_memory = isinstance(error, self._torch.cuda.OutOfMemoryError) or (
            "alloc" in text and "memory" in text
        )
        if out_of_memory or self._memory_is_scarce():
            return GenerationError("oom", f"{self._need(n_tokens)}; {_first_line(error)}")
        return GenerationError("other", _first_line(error))

    def _memory_is_scarce(self) -> bool:
        """Whether the GPU is full.

        Libraries below torch then fail with errors that don't mention memory.
        """
        try:
            return bool(self._cuda and self._torch.cuda.mem_get_info()[0] < SCARCE_BYTES)
        except RuntimeError:  # the GPU can't be used any more
            return False

    def _need(self, n_tokens: int) -> str:
        """A sentence part: the memory that so many tokens need, and the memory that is free."""
        weights_gib = self.model.get_memory_footprint() / 2**30
        need = f"weights {weights_gib:.1f} GiB and the cache of {n_tokens} tokens"
        if self._cache_bytes_per_token is not None:
            need += f" {n_tokens * self._cache_bytes_per_token / 2**30:.1f} GiB"
        if self._cuda:
            self._torch.cuda.empty_cache()
            free, total = self._torch.cuda.mem_get_info()
        else:
            memory = psutil.virtual_memory()
            free, total = memory.available, memory.total
        return f"{need}, with {free / 2**30:.1f} of {total / 2**30:.1f} GiB free beside the weights"

    def _generation_config(self, rows: Sequence[BatchRow], *, fixed_length: bool) -> Any:
        """Every parameter of a generation, so that the model's own configuration decides none.

        Rows that end before the last one are ended by `_Watch`.
        """
        from transformers import GenerationConfig

        effective = rows[0].effective
        config = GenerationConfig(
            max_length=padded_length(rows),
            min_new_tokens=n_steps(rows) if fixed_length else None,
            do_sample=effective.do_sample,
            num_beams=1,
            use_cache=True,
            bos_token_id=self._special.bos,
            eos_token_id=self._special.eos or None,
            pad_token_id=self._special.pad,
        )
        # Set here, since they may be None (greedy), for which the constructor has defaults.
        config.temperature = effective.temperature
        config.top_p = effective.top_p
        config.top_k = effective.top_k
        return config

    def decode(self, generated: Generated) -> str:
        """The text of the new tokens, without special tokens."""
        return str(self.tokenizer.decode(generated.tokens, skip_special_tokens=True))

    def synchronize(self) -> None:
        """Wait until the GPU has done all that was launched; a CPU has nothing to wait for."""
        if self._cuda:
            self._torch.cuda.synchronize()

    def close(self) -> None:
        """Release the model and its memory."""
        import gc

        del self.model
        gc.collect()
        if self._cuda:
            self._torch.cuda.empty_cache()

    def _memory_tokens(self, folder: Path, dtype: Any) -> int | None:
        """How many tokens the cache can hold for each row in the free memory; None: unknown."""
        architecture = architecture_of(folder)
        if architecture is None:
            return None
        self._cache_bytes_per_token = architecture.cache_bytes_per_token(dtype.itemsize)
        if self._cuda:
            free_bytes, _ = self._torch.cuda.mem_get_info()
            # An offloaded matrix needs room while it passes through the GPU.
            free_bytes -= passing_bytes(self.model)
        else:
            free_bytes = psutil.virtual_memory().available
        tokens = MEMORY_MARGIN * free_bytes / self._cache_bytes_per_token
        return max(0, int(tokens / self._batch_size))


class _Watch:
    """A stopping criterion that generate() calls after each token.

    It notes when the first tokens are there, ends each row at its own length, and all rows where
    they take longer than `timeout_s` (None: no limit).
    """

    def __init__(self, torch: Any, timeout_s: float | None, ends: Any) -> None:
        """`ends`: tokens at which each row ends, the padded prompt included, int64 [rows]."""
        self._torch = torch
        self._timeout_s = timeout_s
        self._ends = ends
        self._began = time.perf_counter()
        self.first_token_s: float | None = None
        self.timed_out = False

    def __call__(self, input_ids: Any, _scores: Any, **_kwargs: Any) -> Any:
        """Note the time of the first tokens; whether each row has ended, bool [rows]."""
        if self.first_token_s is None:
            # Without this, the launch of the first token would be timed, not its end.
            if input_ids.is_cuda:
                self._torch.cuda.synchronize()
            self.first_token_s = time.perf_counter() - self._began
        self.timed_out = (
            self._timeout_s is not None and time.perf_counter() - self._began > self._timeout_s
        )
        if self.timed_out:
            return self._torch.ones_like(self._ends, dtype=self._torch.bool)
        return self._ends <= input_ids.shape[1]


def _seed_of(rows: Sequence[BatchRow]) -> int:
    """The seed of a batch: that of its row or, of several, one that follows from theirs."""
    seeds = [row.seed for row in rows]
    if len(seeds) == 1:
        return seeds[0]
    return int(digest(seeds, 16), 16) >> 1


def _quiet_libraries() -> None:
    """Silence notices that repeat what rows record, or that come with each layer's call."""
    import transformers

    transformers.logging.set_verbosity_error()
    # It tells that layers are offloaded. Rows say how much.
    logging.getLogger("accelerate.big_modeling").setLevel(logging.ERROR)
    # It tells of a cast at each call of a layer.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def _load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a model's folder; code that lies in the folder is not run."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def _special_tokens(model: Any, tokenizer: Any) -> SpecialTokens:
    """The special tokens by the model's own generation_config or else by its tokenizer.

    A model without a padding token is padded with its first end token, or else with token 0.
    """
    own = model.generation_config
    eos = own.eos_token_id
    if eos is None:
        eos = tokenizer.eos_token_id
    if eos is None:
        eos = []
    elif not isinstance(eos, list | tuple):
        eos = [eos]
    pad = tokenizer.pad_token_id
    if pad is None:
        pad = eos[0] if eos else 0
    return SpecialTokens(own.bos_token_id, list(eos), pad)


def as_it_runs(model: Any, dtype: Any) -> tuple[str, bool | None]:
    """(compute type of the quantized matrices, whether their scales are quantized, too).

    Both are read from the first 4-bit matrix, after a forward pass. A model without such a matrix
    computes in `dtype` and has no such scales (None).
    """
    for module in model.modules():
        state = getattr(getattr(module, "weight", None), "quant_state", None)
        if state is not None:
            # bitsandbytes multiplies in bfloat16 what it has repacked for the CPU.
            if getattr(state, "packing_format_for_cpu", False):
                return "bfloat16", bool(state.nested)
            return str(module.compute_dtype).removeprefix("torch."), bool(state.nested)
    return str(dtype).removeprefix("torch."), None


def kernels_of(quantization: Quantization, group: int | None) -> str:
    """Whose kernels multiply the matrices; `group`: weights that share a scale of int4."""
    if quantization.name == INT4:
        return f"torch int4pack, groups of {group}"
    if quantization.bits is None:
        return "torch"
    return "bitsandbytes"


def dtype_of(requested: str, torch: Any) -> Any:
    """The requested type or, for "auto", the best one that the device has in hardware.

    That is float32 on a CPU, bfloat16 on a GPU from compute capability 8 on, else float16.
    """
    if requested != "auto":
        return getattr(torch, requested)
    if not torch.cuda.is_available():
        return torch.float32
    major, _ = torch.cuda.get_device_capability()
    if major < BFLOAT16_CAPABILITY:
        return torch.float16
    return torch.bfloat16


def device_map_of(setup: Setup, folder: Path, dtype: Any, gpu_bytes: int | None) -> DeviceMap:
    """Where the layers go: the whole model on the GPU or, with --cpu-offload, what fits there.

    `gpu_bytes`: free memory of the GPU; None: there is none, and an empty map means the CPU. Raises
    ModelTooLargeError where GPU and host together have too little memory.
    """
    if gpu_bytes is None:
        return {}
    if not options_of(setup).offloads:
        return {"": GPU}
    ram_bytes = psutil.virtual_memory().available
    try:
        return place(skeleton(folder, dtype), setup.quantization, gpu_bytes, ram_bytes)
    except ModelTooLargeError as error:
        raise ModelTooLargeError(
            f"{setup.model} with {setup.quantization.name} doesn't fit, "
            f"not even with --cpu-offload: {error}; use a smaller model or another machine"
        ) from error


def bitsandbytes_config(quantization: Quantization, dtype: Any, *, offloads: bool = False) -> Any:
    """A quantization as a BitsAndBytesConfig of transformers; None for no quantization.

    With `offloads`, layers outside the GPU are not quantized. Its flag has "int8" in its name, but
    applies to 4 bit, too. It must not be set where the whole model is on the CPU, since then
    nothing would be quantized.
    """
    from transformers import BitsAndBytesConfig

    if quantization.name in BY_BITSANDBYTES_4BIT:
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=quantization.quant_type,
            bnb_4bit_use_double_quant=quantization.double_quant,
            bnb_4bit_compute_dtype=dtype,
            llm_int8_enable_fp32_cpu_offload=offloads,
        )
    if quantization.name == "int8":
        return BitsAndBytesConfig(
            load_in_8bit=True,
            llm_int8_threshold=quantization.int8_threshold,
            llm_int8_enable_fp32_cpu_offload=offloads,
        )
    return None


def quantized_as_requested(folder: Path, requested: Any, *, offloads: bool = False) -> bool:
    """Whether the weights are quantized already.

    Raises ValueError if they are quantized otherwise than requested, since transformers would
    silently keep their own quantization.
    """
    own = json.loads(read_text(folder / "config.json")).get("quantization_config")
    if own is None:
        return False
    wanted = {}
    if requested is not None:
        wanted = requested.to_dict()
    if any(own.get(name) != wanted.get(name) for name in QUANTIZATION_FIELDS):
        msg = f"its weights are quantized already ({own.get('quant_method')}), but not as requested"
        raise ValueError(msg)
    if offloads:
        msg = (
            "its weights are quantized already, and layers outside the GPU need the original "
            "weights; leave out --cpu-offload"
        )
        raise ValueError(msg)
    return True


def _from_pretrained(folder: Path, dtype: Any, **options: Any) -> Any:
    """A model of a folder, from which no code is run. Raises the libraries' errors."""
    from transformers import AutoModelForCausalLM

    model, report = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=dtype,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        output_loading_info=True,
        **options,
    )
    _check_complete(report)
    return model.eval()


def _check_complete(report: dict[str, Any]) -> None:
    """Raise ValueError for tensors that are in no file: transformers would draw them at random."""
    missing = sorted(report["missing_keys"])
    if missing:
        msg = f"{len(missing)} of its tensors are in no file; the first is {missing[0]}"
        raise ValueError(msg)


def _first_line(error: BaseException) -> str:
    """The first line of an error's message, cut to 300 characters; its type if it has none."""
    lines = str(error).strip().splitlines()
    if not lines:
        return type(error).__name__
    return lines[0][:300]
