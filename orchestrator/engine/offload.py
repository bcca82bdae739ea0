"""Which layers lie in the host's memory where the GPU has no room for all (--cpu-offload); decided before a weight is read.

Transformers' own `device_map="auto"` is not taken: it quantizes offloaded layers too, which then can't be brought back to the
GPU, and what RAM doesn't hold it reads from the disk at each token without a word (seen with transformers 5.17).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from orchestrator.errors import ModelTooLargeError
from orchestrator.nouns import Quantization

GPU_SHARE = 0.8
"""Of the GPU's free memory, what weights may take: the rest is for cache and activations, for the scales of quantized
weights (up to 12 % of 4 bit), and for an offloaded matrix while it passes through."""
RAM_SHARE = 0.9
"""Of the host's free memory, what offloaded layers may take."""

GPU: Literal[0] = 0
HOST: Literal["cpu"] = "cpu"
DeviceMap = dict[str, int | str]
GIB = 2**30


def skeleton(folder: Path, dtype: Any) -> Any:
    """The model without weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)


def place(model: Any, quantization: Quantization, gpu_bytes: int, ram_bytes: int) -> DeviceMap:
    """Module -> GPU or HOST, in the model's order as long as there is room; quantized on the GPU, not so in the host's memory.

    `gpu_bytes` and `ram_bytes` are what is free. Raises ModelTooLargeError where either is too small.
    """
    import torch
    from accelerate import infer_auto_device_map
    from accelerate.utils import CustomDtype

    small = {4: CustomDtype.INT4, 8: torch.int8}.get(quantization.bits or 0)
    head = model.get_output_embeddings()
    matrices = [
        name
        for name, m in model.named_modules()
        if isinstance(m, torch.nn.Linear) and m is not head
    ]
    found: DeviceMap = infer_auto_device_map(
        model,
        max_memory={
            GPU: int(GPU_SHARE * gpu_bytes),
            HOST: 2**62,
        },  # RAM is looked at below, by unquantized sizes
        no_split_module_classes=list(model._no_split_modules or []),  # noqa: SLF001 - no other name for it
        offload_buffers=True,  # they are small; without it accelerate warns where the GPU is full
        special_dtypes={f"{name}.weight": small for name in matrices} if small else None,
    )
    if GPU not in found.values():
        raise ModelTooLargeError(
            f"no layer fits in the {gpu_bytes / GIB:.1f} GiB that are free on the GPU"
        )
    rest = bytes_on(model, found, HOST)
    if rest > RAM_SHARE * ram_bytes:
        raise ModelTooLargeError(
            f"the host's memory would have to hold {rest / GIB:.1f} GiB of layers, and {ram_bytes / GIB:.1f} GiB are free there"
        )
    return found


def bytes_on(model: Any, device_map: DeviceMap, device: int | str) -> int:
    """Unquantized bytes of the modules that a map has on a device."""
    prefixes = tuple(
        f"{name}." if name else "" for name, where in device_map.items() if where == device
    )
    return sum(
        p.nelement() * p.element_size()
        for name, p in model.named_parameters()
        if prefixes and name.startswith(prefixes)
    )


def offload_fraction(model: Any) -> float:
    """Share of a loaded model's bytes outside the GPU. Layers that pass through it are on the 'meta' device between tokens."""
    sizes = [(p.nelement() * p.element_size(), p.device.type) for p in model.parameters()]
    total = sum(size for size, _ in sizes)
    return sum(size for size, device in sizes if device != "cuda") / total if total else 0.0


def passing_bytes(model: Any) -> int:
    """The largest matrix that passes through the GPU at each token; 0 without offload."""
    return max(
        (p.nelement() * p.element_size() for p in model.parameters() if p.device.type == "meta"),
        default=0,
    )
