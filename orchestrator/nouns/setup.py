"""What besides the configuration decides an execution: model, engine, quantization."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import SerializerFunctionWrapHandler, model_serializer

from orchestrator.nouns.base import Noun


class Quantization(Noun):
    """The whole bitsandbytes record; two records that differ anywhere never share a config hash."""

    name: str
    bits: int | None
    quant_type: str | None = None
    double_quant: bool | None = None
    int8_threshold: float | None = None


QUANTIZATIONS = {
    "nf4": Quantization(name="nf4", bits=4, quant_type="nf4", double_quant=True),
    "fp4": Quantization(name="fp4", bits=4, quant_type="fp4", double_quant=False),
    "int8": Quantization(name="int8", bits=8, int8_threshold=6.0),
    "none": Quantization(name="none", bits=None),
}


class Setup(Noun):
    """What besides the configuration decides an execution; part of the config hash."""

    seed: int
    """The sweep's seed: every generation's seed is derived from it."""
    model: str
    revision: str
    """Where the weights come from and which: 'hub:<commit>', 'gguf:<sha256>', 'local:<fingerprint>', 'random:...'."""
    engine: str
    quantization: Quantization
    compute_dtype: str = "auto"
    """As asked; 'auto' is resolved for the device and recorded with each execution."""
    batch_size: int = 1
    chat_template: Literal["auto", "off"] = "auto"
    length_mode: Literal["natural", "fixed"] = "natural"
    """'fixed' forbids an early end: as many tokens as max_length admits."""
    beyond_context: bool = False
    cpu_offload: bool = False
    """Layers that the GPU has no room for stay in the host's memory, unquantized, and pass through the GPU at each token."""
    use_case: str
    prompts_sha256: str

    @model_serializer(mode="wrap")
    def _as_before(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without offload as before there was any, so that hashes and ids of earlier data sets stay what they are."""
        values: dict[str, Any] = serialize(self)
        if not self.cpu_offload:
            values.pop("cpu_offload", None)
        return values
