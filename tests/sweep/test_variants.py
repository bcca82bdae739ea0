"""How a sweep's models are run: by flags, by `setups:` of a space's file, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.engine import ENGINES
from orchestrator.errors import UserError
from orchestrator.nouns import QUANTIZATIONS, SERVED
from orchestrator.sweep.request import Request, Resolved, resolve_request
from orchestrator.sweep.variants import AXES, DEFAULTS

PARAMETERS = """
parameters:
  max_length: {type: int, low: 100, high: 200}
  top_p: {type: float, low: 0.0, high: 1.0}
  top_k: {type: int, low: 0, high: 100}
  temperature: {type: float, low: 0.0, high: 2.0}
"""


@pytest.fixture(autouse=True)
def _engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder, and two more engines: one that batches, one without a model."""
    monkeypatch.chdir(tmp_path)
    batching = replace(ENGINES["transformers"], quantizations=("nf4", "none"), batches=True)
    monkeypatch.setitem(ENGINES, "batching", batching)
    monkeypatch.setitem(ENGINES, "single", replace(ENGINES["transformers"], batches=False))
    monkeypatch.setitem(ENGINES, "fake", ENGINES["simulated"])


def resolve(space: str = "lhs", **flags: Any) -> Resolved:
    return resolve_request(Request(**{"space": space, "models": ("smollm2",), **flags}), [])


def space(*entries: str, name: str = "mine.yaml") -> str:
    """A space's file with these setups."""
    lines = "".join(f"  - {entry}\n" for entry in entries)
    Path(name).write_text(f"sampler: sobol\nsetups:\n{lines}{PARAMETERS}")
    return name


def labels(resolved: Resolved) -> list[str]:
    return [variant.label() for variant in resolved.variants]


def refused(*arguments: Any, **flags: Any) -> str:
    with pytest.raises(UserError) as raised:
        resolve(*arguments, **flags)
    return "\n".join(raised.value.lines)


def test_each_axis_has_a_default_that_is_valid() -> None:
    assert set(DEFAULTS) == set(AXES) == set(Request("lhs").axes())
    assert labels(resolve()) == ["nf4, transformers"]
    assert DEFAULTS["engine"] in ENGINES
    assert DEFAULTS["quantization"] in ENGINES[DEFAULTS["engine"]].quantizations


def test_every_engine_names_quantizations_that_there_are() -> None:
    for name, engine in ENGINES.items():
        assert engine.quantizations, name
        known = {SERVED.name} if engine.served_models else set(QUANTIZATIONS)
        assert set(engine.quantizations) <= known, name


def test_flags_are_crossed_each_value_once() -> None:
    crossed = resolve(
        quantizations=("nf4", "none", "nf4"),
        engines=("transformers", "batching"),
        dtypes=("bfloat16",),
    )
    assert labels(crossed) == [
        "nf4, transformers, bfloat16",
        "nf4, batching, bfloat16",
        "none, transformers, bfloat16",
        "none, batching, bfloat16",
    ]
    assert crossed.engines == ("transformers", "batching")


def test_batches_are_an_axis_of_engines_that_can() -> None:
    batched = resolve(engines=("batching",), batch_sizes=(1, 4), prompts=4)
    assert labels(batched) == ["nf4, batching", "nf4, batching, batch 4"]
    assert [variant.batch_size for variant in batched.variants] == [1, 4]
    assert refused(engines=("single",), batch_sizes=(4,)).startswith(
        "--batch-size: the single engine generates one prompt at a time, not 4; leave it "
        "out, or take --engine transformers or compiled or simulated"
    )


def test_a_space_lists_single_combinations() -> None:
    listed = space(
        "{quantization: nf4}",
        "{quantization: none, dtype: bfloat16}",
        "{engine: batching, quantization: none, batch_size: 8}",
    )
    assert labels(resolve(listed, prompts=8)) == [
        "nf4, transformers",
        "none, transformers, bfloat16",
        "none, batching, batch 8",
    ]


def test_flags_fill_in_what_every_entry_leaves_open() -> None:
    listed = space("{quantization: nf4}", "{quantization: none}")
    assert labels(resolve(listed, dtypes=("float16", "bfloat16"))) == [
        "nf4, transformers, float16",
        "nf4, transformers, bfloat16",
        "none, transformers, float16",
        "none, transformers, bfloat16",
    ]


def test_the_profile_fills_in_the_quantization() -> None:
    Path("lab.yaml").write_text("accelerator: gpu\nprofile: {quantization: int8}\n")
    listed = space("{dtype: float16}", "{quantization: none}")
    assert labels(resolve(listed, machine="lab.yaml")) == [
        "int8, transformers, float16",
        "none, transformers",
    ]


def test_a_flag_and_a_key_of_one_axis_are_refused() -> None:
    listed = space("{quantization: nf4}", "{dtype: bfloat16}")
    assert refused(listed, quantizations=("none",), dtypes=("float16",)).splitlines() == [
        "--quantization: mine.yaml names it in its `setups:`; leave the flag out, or the key",
        "--dtype: mine.yaml names it in its `setups:`; leave the flag out, or the key",
    ]


def test_a_batch_is_no_larger_than_its_prompts() -> None:
    assert labels(resolve(batch_sizes=(10,), prompts=10)) == ["nf4, transformers, batch 10"]
    assert refused(batch_sizes=(1, 4), prompts=3, use_cases=("fantasyWorld",)) == (
        "a batch of 4 is more than the 3 prompts of fantasyWorld that are run; take a batch size "
        "up to 3, or more --prompts"
    )


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        (
            "{quantization: nf5}",
            "mine.yaml:3:20: $.setups[0].quantization: there is no 'nf5': did you mean nf4? ",
        ),
        (
            "{quantization: 4bit}",
            "mine.yaml:3:20: $.setups[0].quantization: there is no '4bit': did you mean nf4? ",
        ),
        (
            "{engine: bathing}",
            "mine.yaml:3:14: $.setups[0].engine: there is no 'bathing': did you ",
        ),
        ("{dtype: float8}", "mine.yaml:3:13: $.setups[0].dtype: must be 'auto', "),
        ("{batch_size: 0}", "mine.yaml:3:18: $.setups[0].batch_size: must be greater than or "),
        ("{batch_size: 5000}", "mine.yaml:3:18: $.setups[0].batch_size: must be less than or "),
        (
            "{quantisation: nf4}",
            (
                "mine.yaml:3:6: $.setups[0].quantisation: there is no such key: did you mean "
                "quantization? Known: quantization, engine, dtype, batch_size"
            ),
        ),
        ("nf4", "mine.yaml:3:5: $.setups[0]: must be an object"),
        (
            "{engine: batching, quantization: int8}",
            (
                "mine.yaml:3:38: $.setups[0].quantization: the batching engine has no int8 (it has "
                "nf4, none); list the combinations that there are in `setups:`"
            ),
        ),
    ],
)
def test_a_fault_in_the_file_is_told_with_its_place(entry: str, fault: str) -> None:
    assert refused(space(entry)).startswith(fault)


def test_a_product_with_a_combination_that_there_is_not_is_refused_whole() -> None:
    assert refused(quantizations=("nf4", "int8"), engines=("transformers", "batching")) == (
        "--quantization: the batching engine has no int8 (it has nf4, none); list the combinations "
        "that there are in `setups:` of the space's file"
    )


def test_two_entries_that_run_the_same_are_refused() -> None:
    assert refused(space("{}", "{dtype: float16}", "{quantization: nf4}")) == (
        "mine.yaml:5:5: $.setups[2]: runs the same as setups[0]; leave one of them out"
    )


def test_engines_with_and_without_a_model_are_no_match() -> None:
    assert refused(engines=("simulated", "transformers")) == (
        "--engine: simulated has no model, so nothing of it can be compared with transformers; "
        "run it in a sweep of its own"
    )
    both = resolve(engines=("simulated", "fake"))
    assert [model.label for model in both.models] == ["fake-smollm2"]
    assert not both.needs_weights


def test_an_option_must_be_one_of_each_engine() -> None:
    given = {"engine_options": {"cpu_offload": True}, "address": "10.0.0.1:6379"}
    both = resolve(engines=("transformers", "batching"), **given)
    assert both.engine_options == {name: {"cpu_offload": True} for name in both.engines}
    said = refused(engines=("simulated", "fake"), **given)
    assert [line.split(":")[0] for line in said.splitlines()] == ["--cpu-offload"] * 2


def test_the_size_of_a_sweep_counts_its_setups() -> None:
    with pytest.raises(UserError, match=r"x 1 models x 4 setups x 3 use cases x 1 repeats are"):
        resolve(
            "sobol",
            quantizations=("nf4", "none"),
            dtypes=("float16", "bfloat16"),
            samples=20_000,
        )
