"""What besides the configuration decides an execution: model, engine, quantization."""

from __future__ import annotations

from typing import Any, Literal, Self, get_args

from pydantic import Field, model_validator

from orchestrator.nouns.base import Noun
from orchestrator.nouns.bounds import Count, Fact, FolderName, Number, Real, Whole


class Quantization(Noun):
    """How weights are quantized; two records that differ anywhere never share a config hash."""

    name: str
    bits: Count | None
    quant_type: str | None = None
    double_quant: bool | None = None
    int8_threshold: Real | None = None


QUANTIZATIONS = {
    "nf4": Quantization(name="nf4", bits=4, quant_type="nf4", double_quant=True),
    "fp4": Quantization(name="fp4", bits=4, quant_type="fp4", double_quant=False),
    "int4": Quantization(name="int4", bits=4, quant_type="int4"),
    "int8": Quantization(name="int8", bits=8, int8_threshold=6.0),
    "none": Quantization(name="none", bits=None),
}
SERVED = Quantization(name="served", bits=None)
"""Whatever a server has loaded: it can't be chosen here, and few servers tell it."""
ANY_QUANTIZATION = {**QUANTIZATIONS, SERVED.name: SERVED}
"""Those that can be chosen, and a server's."""
PLACES = ("server_url",)
"""Options of engines that say where something is, not what: on another port it is the same."""


Dtype = Literal["auto", "float32", "float16", "bfloat16"]
DTYPES: tuple[str, ...] = get_args(Dtype)
"""Compute types that can be requested; auto: by the device."""
MOST_IN_A_BATCH = 4096
"""Prompts at once: more fit in no GPU's memory."""


class Variant(Noun):
    """How a model is run: the part of a setup that one sweep may cross.

    Everything else of a setup is the same in all of a sweep's variants, and so are configurations,
    prompts and seeds.
    """

    quantization: Quantization
    engine: str
    compute_dtype: str = "auto"
    batch_size: Number = 1

    def label(self) -> str:
        """'nf4, transformers', and what is not at its default, for a person."""
        parts = [self.quantization.name, self.engine]
        if self.compute_dtype != "auto":
            parts.append(self.compute_dtype)
        if self.batch_size > 1:
            parts.append(f"batch {self.batch_size}")
        return ", ".join(parts)


class SetupEntry(Noun):
    """An entry of `setups:` in a space's file: one variant. None: the flag or the default says it.

    Its keys are named as the flags.
    """

    quantization: str | None = None
    engine: str | None = None
    dtype: Dtype | None = None
    batch_size: int | None = Field(default=None, ge=1, le=MOST_IN_A_BATCH)


LoadKey = tuple[str, Variant]
"""(model, variant): what a worker loads. All use cases of a sweep share it."""
SetupKey = tuple[str, Variant, str]
"""(model, variant, use case): what tells the setups of one sweep apart."""


class Setup(Noun):
    """What besides the configuration decides an execution; part of the config hash."""

    seed: Whole
    """The sweep's seed: every generation's seed is derived from it."""
    model: FolderName
    revision: str
    """Where the weights come from and which they are.

    'hub:<commit>', 'gguf:<sha256>', 'local:<fingerprint>' or 'random:...'.
    """
    engine: str
    engine_options: dict[str, Fact] = {}
    """The options of the engine that are not at their default, by name (engine/__init__.py)."""
    quantization: Quantization
    compute_dtype: str = "auto"
    """As requested; 'auto' is resolved for the device, and the trial records what ran."""
    batch_size: Number = 1
    chat_template: Literal["auto", "off"] = "auto"
    length_mode: Literal["natural", "fixed"] = "natural"
    """'fixed' forbids an early end: as many tokens as max_length admits."""
    length_of: Literal["text", "new tokens"] = "text"
    """What max_length counts: the whole text with its prompt, or the new tokens alone."""
    beyond_context: bool = False
    use_case: FolderName
    prompts_sha256: str

    @model_validator(mode="after")
    def _options_are_no_fields(self) -> Self:
        """Refuse an option named like a field: it would take the field's place in the hash."""
        shared = sorted(self.engine_options.keys() & type(self).model_fields.keys())
        if shared:
            raise ValueError(f"engine_options: {shared[0]} is the name of a field")
        return self

    def variant(self) -> Variant:
        """How its model is run."""
        return Variant(
            quantization=self.quantization,
            engine=self.engine,
            compute_dtype=self.compute_dtype,
            batch_size=self.batch_size,
        )

    def load_key(self) -> LoadKey:
        """What a worker loads for it, as far as the setups of one sweep differ."""
        return self.model, self.variant()

    def key(self) -> SetupKey:
        """What tells it from the other setups of its sweep, whatever the weights' revision."""
        return self.model, self.variant(), self.use_case

    def batch_of(self, prompt_number: int) -> int:
        """The number of the batch in which a prompt is generated, from 1.

        Prompts 1 to n are the first batch, n + 1 to 2 n the second: a plan fixes what is generated
        together.
        """
        return (prompt_number - 1) // self.batch_size + 1

    def hashed(self) -> dict[str, Any]:
        """What enters hashes: all fields, and the engine's options beside them.

        Options at their default are not in `engine_options`. So a new option of an engine
        changes no hash of a data set that was measured before the option existed, and neither
        does a field that came later, nor an option that only says where something is.
        """
        left_out = {"engine_options"}
        if self.length_of == "text":
            left_out.add("length_of")
        options = {name: value for name, value in self.engine_options.items() if name not in PLACES}
        return self.model_dump(exclude=left_out) | options
