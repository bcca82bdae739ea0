"""Which layers go into the host's memory where the GPU has no room for all (--cpu-offload).

This is decided before any weight is read. Transformers' own `device_map="auto"` isn't used: it
quantizes offloaded layers, too, which then can't be brought back to the GPU. And what doesn't fit
in RAM it silently reads from the disk for each token (seen with transformers 5.17).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from orchestrator.errors import ModelTooLargeError
from orchestrator.nouns import Quantization

GPU_SHARE = 0.8
"""The share of the GPU's free memory that weights may take.

The rest is for the cache and the activations, for the scales of quantized weights (up to 12 % of
4-bit weights), and for an offloaded matrix while it passes through the GPU."""
RAM_SHARE = 0.9
"""The share of the host's free memory that offloaded layers may take."""

GPU: Literal[0] = 0
HOST: Literal["cpu"] = "cpu"
DeviceMap = dict[str, int | str]
"""Name of a module -> GPU or HOST. The name "" is the whole model."""
GIB = 2**30


def skeleton(folder: Path, dtype: Any) -> Any:
    """The model without its weights, to plan with. It takes almost no memory."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    # Tensors on the "meta" device have a shape and a type, but no data.
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)


def place(model: Any, quantization: Quantization, gpu_bytes: int, ram_bytes: int) -> DeviceMap:
    """Put the first modules of a model on the GPU, as many as fit, and the others on the host.

    Modules are quantized on the GPU, but not on the host. `gpu_bytes` and `ram_bytes` are the free
    memory. Raises ModelTooLargeError where either is too small.
    """
    import torch
    from accelerate import infer_auto_device_map
    from accelerate.utils import CustomDtype

    quantized_dtype = {4: CustomDtype.INT4, 8: torch.int8}.get(quantization.bits or 0)
    special_dtypes = None
    if quantized_dtype is not None:
        # bitsandbytes quantizes every linear layer except the output layer.
        head = model.get_output_embeddings()
        special_dtypes = {
            f"{name}.weight": quantized_dtype
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear) and module is not head
        }
    device_map: DeviceMap = infer_auto_device_map(
        model,
        # The host has no limit here: its layers aren't quantized, so RAM is checked below.
        max_memory={GPU: int(GPU_SHARE * gpu_bytes), HOST: 2**62},
        no_split_module_classes=list(model._no_split_modules or []),  # noqa: SLF001 - its only name
        # Buffers are small, but without this accelerate warns where the GPU is full.
        offload_buffers=True,
        special_dtypes=special_dtypes,
    )
    if GPU not in device_map.values():
        raise ModelTooLargeError(
            f"no layer fits in the {gpu_bytes / GIB:.1f} GiB that are free on the GPU"
        )
    rest = bytes_on(model, device_map, HOST)
    if rest > RAM_SHARE * ram_bytes:
        raise ModelTooLargeError(
            f"the host's memory would have to hold {rest / GIB:.1f} GiB of layers, "
            f"but only {ram_bytes / GIB:.1f} GiB are free there"
        )
    return device_map


def bytes_on(model: Any, device_map: DeviceMap, device: int | str) -> int:
    """Unquantized bytes of the modules that a map puts on a device."""
    modules = [name for name, where in device_map.items() if where == device]
    if "" in modules:
        return sum(_bytes_of(parameter) for parameter in model.parameters())
    prefixes = tuple(f"{name}." for name in modules)
    return sum(
        _bytes_of(parameter)
        for name, parameter in model.named_parameters()
        if name.startswith(prefixes)
    )


def _bytes_of(parameter: Any) -> int:
    """Bytes of a tensor, as it is stored."""
    return int(parameter.nelement() * parameter.element_size())


def offload_fraction(model: Any) -> float:
    """The share of a loaded model's bytes that are not on the GPU, from 0 to 1.

    Layers that pass through the GPU are on the "meta" device between two tokens.
    """
    total = outside = 0
    for parameter in model.parameters():
        total += _bytes_of(parameter)
        if parameter.device.type != "cuda":
            outside += _bytes_of(parameter)
    if not total:
        return 0.0
    return outside / total


def passing_bytes(model: Any) -> int:
    """Bytes of the largest matrix that passes through the GPU for each token; 0 without offload."""
    passing = [parameter for parameter in model.parameters() if parameter.device.type == "meta"]
    return max((_bytes_of(parameter) for parameter in passing), default=0)
