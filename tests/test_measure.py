"""One execution: the order at the window's edges, its row and flags, failures that are rows."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.dataset.energy import (
    AVERAGED_FROM_S,
    SENSOR_LIMIT,
    STATISTICAL_FACTOR,
    SYSTEMATIC_FACTOR,
    energy_basis,
)
from orchestrator.dataset.environment import Baseline
from orchestrator.dataset.flags import DISAGREEMENT, MISMATCH, TOO_SHORT_S, Window, window_flags
from orchestrator.dataset.schema import Execution, PrefillColumns
from orchestrator.dataset.trial_files import Measured
from orchestrator.engine import (
    BatchRow,
    Built,
    Encoded,
    EngineColumns,
    EngineInfo,
    Generated,
    GenerationError,
)
from orchestrator.gpu.access import GpuAccess
from orchestrator.measure import (
    ANCHOR_TOKENS,
    MOST_WARM_UPS,
    WARM_UP_GPU_S,
    WARM_UP_TOKENS,
    ExecutionLimits,
    Instrumented,
    WindowOutcome,
    _possible,
    execute,
    measured_anchor,
    measured_window,
    warm_up,
)
from orchestrator.meters import Reading, joined
from orchestrator.nouns import Effective, Prompt, TrialSpec, generation_seed
from tests import builders

COLUMNS = EngineColumns(model_revision="test", device="cpu", compute_dtype="float32", threads=1)
INFO = EngineInfo(columns=COLUMNS, context_length=4096)
ON_GPU = INFO.model_copy(
    update={"columns": COLUMNS.model_copy(update={"device": "cuda", "gpu_uuid": "GPU-1"})}
)

NOW = datetime(2026, 1, 2, tzinfo=UTC)
LONGEST = 2000
"""The largest max_length of the sweep."""
CPU_VALUES = {
    "energy_kwh": 36.0 / 3.6e6,
    "energy_j": 36.0,
    "emissions_kg": 1e-6,
    "gpu_energy_cc_j": None,
    "cpu_energy_j": 30.0,
    "cpu_method": "cpu_load",
    "ram_energy_j": 6.0,
    "ram_method": "process_rss",
}
"""What CodeCarbon says on a machine without a GPU."""


@dataclass
class Scene:
    """What happened, in order, and the time, which passes only inside generate()."""

    calls: list[str] = field(default_factory=list)
    now_s: float = 1000.0

    def clock(self) -> float:
        self.calls.append("clock")
        return self.now_s


@dataclass
class RecordingEngine:
    """Generates `tokens` in `seconds`, or fails."""

    scene: Scene
    seconds: float = 4.0
    tokens: tuple[int, ...] = (5, 6, 7, 2)
    finish_reason: str = "eos"
    error: Exception | None = None
    encode_error: Exception | None = None
    decode_error: Exception | None = None
    lost: Exception | None = None
    """What synchronize() raises from now on."""
    info: EngineInfo = INFO
    asked: list[tuple[Effective, int, bool]] = field(default_factory=list)
    timeouts_s: list[float | None] = field(default_factory=list)

    gpu: GpuAccess | None = None
    built: list[int] = field(default_factory=list)
    """Lengths up to which it was asked to build what each length needs."""

    def build_shapes(self, longest: int) -> Built:
        self.scene.calls.append("build shapes")
        self.built.append(longest)
        return Built(n_compiled=3, n_from_disk=1)

    def encode(self, prompt: str) -> Encoded:
        self.scene.calls.append("encode")
        if self.encode_error:
            raise self.encode_error
        return Encoded(len(prompt.split()), prompt)

    def generate(
        self,
        rows: Sequence[BatchRow],
        *,
        fixed_length: bool,
        timeout_s: float | None = None,
    ) -> list[Generated]:
        self.scene.calls.append("generate")
        self.timeouts_s.append(timeout_s)
        self.asked += [(row.effective, row.seed, fixed_length) for row in rows]
        self.scene.now_s += self.seconds
        if self.error:
            raise self.error
        if fixed_length:
            return [Generated([9] * row.n_new, "length", 0.25) for row in rows]
        first = Generated(list(self.tokens), self.finish_reason, 0.25)
        # each further row of a batch ends a token earlier
        return [
            replace(first, tokens=first.tokens[: len(first.tokens) - number])
            for number in range(len(rows))
        ]

    def decode(self, generated: Generated) -> str:
        self.scene.calls.append("decode")
        if self.decode_error:
            raise self.decode_error
        return " ".join(map(str, generated.tokens))

    def synchronize(self) -> None:
        self.scene.calls.append("synchronize")
        if self.lost:
            raise self.lost

    def close(self) -> None:
        self.scene.calls.append("close engine")


@dataclass
class RecordingMeter:
    """Says what it is told to."""

    scene: Scene
    name: str
    values: dict[str, Any]
    notes: dict[str, str] = field(default_factory=dict)
    codecarbon: dict[str, Any] = field(default_factory=dict)
    samples: list[dict[str, Any]] = field(default_factory=list)
    flags: frozenset[str] = frozenset()
    windows: list[tuple[float, float]] = field(default_factory=list)

    def begin(self) -> None:
        self.scene.calls.append(f"begin {self.name}")

    def end(self) -> None:
        self.scene.calls.append(f"end {self.name}")

    def reading(self, began_s: float, ended_s: float) -> Reading:
        self.scene.calls.append(f"read {self.name}")
        self.windows.append((began_s, ended_s))
        return Reading(
            dict(self.values), dict(self.notes), dict(self.codecarbon), self.samples, self.flags
        )

    def close(self) -> None:
        self.scene.calls.append(f"close {self.name}")


def tools(engine: dict[str, Any] | None = None, **changes: Any) -> Instrumented:
    """A machine without a GPU, on which 4 s and 4 tokens cost 36 J. `engine`: changes to it.

    With the meters of a GPU the engine is on one.
    """
    scene = changes.pop("scene", None) or Scene()
    meters = changes.pop("meters", None)
    values = changes.pop("values", CPU_VALUES)
    if meters is None:
        meters = [RecordingMeter(scene, "codecarbon", values)]
    with_gpu = any("gpu_energy_counter_j" in meter.values for meter in meters)
    given = {"info": ON_GPU if with_gpu else INFO} | (engine or {})
    # of these prompts the session has measured the prefill already
    texts = [prompt.text for prompt in builders.spec().prompts]
    changes.setdefault("prefills", dict.fromkeys(texts, PrefillColumns()))
    return Instrumented(
        engine=RecordingEngine(scene, **given),
        meters=[replace(meter, scene=scene) for meter in meters],
        clock=scene.clock,
        **changes,
    )


def gpu(
    counter: float | None = 100.0,
    cc: float | None = 100.0,
    integrated: float | None = None,
    look_s: float | None = 0.002 * math.sqrt(12),
) -> list[RecordingMeter]:
    """Both meters of a machine with a GPU."""
    scene = Scene()
    codecarbon = CPU_VALUES | {
        "gpu_energy_cc_j": cc,
        "energy_j": 136.0,
        "energy_kwh": 136.0 / 3.6e6,
    }
    own = {"gpu_energy_counter_j": counter, "counter_look_s": look_s, "power_before_w": 75.0}
    if integrated is not None:
        own |= {"gpu_energy_integrated_j": integrated, "power_semantics": "instant"}
    notes = (
        {} if counter is not None else {"gpu_energy_counter_j": "this GPU has no energy counter"}
    )
    return [
        RecordingMeter(scene, "codecarbon", codecarbon),
        RecordingMeter(scene, "counter", own, notes),
    ]


def run(
    on: Instrumented, spec: TrialSpec | None = None, number: int = 1, order: str = "shuffled"
) -> Execution:
    trial = spec or builders.spec()
    [measured] = execute(on, trial, [trial.prompts[number - 1]], order)
    return measured.execution


def calls(on: Instrumented) -> list[str]:
    engine = on.engine
    assert isinstance(engine, RecordingEngine)
    return engine.scene.calls


# --- the window -----------------------------------------------------------------------------------


def test_only_generation_stands_inside_the_window() -> None:
    on = tools(meters=gpu())
    run(on)
    assert calls(on) == [
        "encode",
        "synchronize",
        "begin codecarbon",
        "begin counter",
        "clock",
        "generate",
        "synchronize",
        "clock",
        "end counter",
        "end codecarbon",
        "read counter",
        "read codecarbon",
        "decode",
    ]


def power(**changes: Any) -> RecordingMeter:
    """The meter of polled power."""
    values = {"gpu_energy_integrated_j": 99.0, "power_semantics": "instant"}
    return RecordingMeter(Scene(), "power", values, **changes)


def test_meters_are_read_after_the_window_with_its_edges_by_the_same_clock() -> None:
    on = tools(meters=[*gpu(), power(flags=frozenset({"throttled"}))])
    row = run(on)
    assert calls(on)[-4:] == ["read power", "read counter", "read codecarbon", "decode"]
    last = on.meters[-1]
    assert isinstance(last, RecordingMeter)
    assert last.windows == [(1000.0, 1004.0)]
    assert (row.gpu_energy_integrated_j, row.power_semantics) == (99.0, "instant")
    assert "throttled" in row.warning_flags


@pytest.mark.parametrize("kind", ["oom", "nan"])
def test_the_window_is_closed_after_a_failure(kind: str) -> None:
    on = tools({"error": GenerationError(kind, "no")}, meters=gpu())
    run(on)
    assert calls(on)[-5:-2] == ["clock", "end counter", "end codecarbon"]
    assert calls(on).count("begin counter") == calls(on).count("end counter") == 1


def test_an_interrupt_is_no_outcome() -> None:
    def interrupted() -> Generated:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measured_window(tools(), interrupted)


def test_close_lets_go_of_everything() -> None:
    on = tools(meters=gpu())
    on.close()
    assert calls(on) == ["close codecarbon", "close counter", "close engine"]


# --- several answers in one window ----------------------------------------------------------------


def test_an_answer_is_generated_again_until_its_window_is_long_enough() -> None:
    on = tools(meters=gpu(counter=300.0))
    spec = builders.spec()
    limits = ExecutionLimits(least_window_s=10.0)
    row = execute(on, spec, spec.prompts[:1], "shuffled", limits)[0].execution
    assert isinstance(on.engine, RecordingEngine)
    assert len({(seed, values) for values, seed, _ in on.engine.asked}) == 1, "the same answer"
    assert (row.n_in_window, row.window_s) == (3, 4.0), "4 s each, of one answer"
    assert (row.gpu_energy_counter_j, row.n_new_tokens) == (100.0, 4)
    assert (row.energy_per_token_j, row.tokens_per_s) == (25.0, 1.0)


def test_several_answers_have_the_window_s_edges_once() -> None:
    rows = []
    for n, least_window_s in ((1, 0.0), (5, 20.0)):
        spec, on = builders.spec(), tools(meters=gpu(counter=100.0 * n))
        limits = ExecutionLimits(least_window_s=least_window_s)
        rows += [one.execution for one in execute(on, spec, spec.prompts[:1], "shuffled", limits)]
    once, five = rows
    assert five.n_in_window == 5
    assert once.energy_rel_statistical is not None
    assert five.energy_rel_statistical == pytest.approx(once.energy_rel_statistical / 5)


def test_a_failure_ends_the_window() -> None:
    spec = builders.spec()
    on = tools({"error": GenerationError("oom", "full")}, meters=gpu())
    limits = ExecutionLimits(least_window_s=100.0)
    row = execute(on, spec, spec.prompts[:1], "shuffled", limits)[0].execution
    assert (row.error_kind, row.n_in_window) == ("oom", 1)


# --- batches --------------------------------------------------------------------------------------


def run_batch(on: Instrumented, limits: ExecutionLimits | None = None) -> list[Measured]:
    """Three prompts at once: 4, 3 and 2 new tokens."""
    spec = builders.spec(setup=builders.setup(batch_size=3))
    return execute(on, spec, spec.prompts, "shuffled", limits)


def rows_of_batch(on: Instrumented, limits: ExecutionLimits | None = None) -> list[Execution]:
    return [one.execution for one in run_batch(on, limits)]


def test_rows_of_a_batch_share_its_window_by_their_new_tokens() -> None:
    on = tools(meters=gpu(counter=90.0), batch_size=3)
    rows = rows_of_batch(on)
    assert [row.n_new_tokens for row in rows] == [4, 3, 2]
    assert [row.gpu_energy_counter_j for row in rows] == pytest.approx([40.0, 30.0, 20.0])
    assert [row.window_s for row in rows] == pytest.approx([16 / 9, 12 / 9, 8 / 9])
    assert [row.energy_per_token_j for row in rows] == pytest.approx([10.0] * 3)
    assert [row.tokens_per_s for row in rows] == pytest.approx([9 / 4] * 3)
    told = {(row.n_in_batch, row.batch_number, row.batch_window_s, row.ttft_s) for row in rows}
    assert told == {(3, 1, 4.0, 0.25)}
    assert len({row.seed for row in rows}) == 3
    assert {"apportioned" in row.warning_flags for row in rows} == {True}
    assert {row.whole_window_s for row in rows} == {4.0}
    assert calls(on).count("generate") == 1
    assert calls(on).index("build shapes") < calls(on).index("begin counter")


def test_a_share_is_as_uncertain_as_its_window() -> None:
    alone = run(tools(meters=gpu(counter=90.0)))
    for row in rows_of_batch(tools(meters=gpu(counter=90.0), batch_size=3)):
        assert row.energy_rel_statistical == pytest.approx(alone.energy_rel_statistical)


def test_what_meters_record_beside_a_batch_stands_with_its_first_row() -> None:
    meter = RecordingMeter(Scene(), "codecarbon", CPU_VALUES, codecarbon={"run_id": "r"})
    measured = run_batch(tools(meters=[meter], batch_size=3))
    assert [one.codecarbon for one in measured] == [{"run_id": "r"}, {}, {}]


def test_a_batch_is_generated_again_as_a_whole() -> None:
    on = tools(meters=gpu(counter=270.0), batch_size=3)
    rows = rows_of_batch(on, ExecutionLimits(least_window_s=10.0))
    assert {(row.n_in_window, row.batch_window_s) for row in rows} == {(3, 4.0)}
    assert sum(row.gpu_energy_counter_j or 0.0 for row in rows) == pytest.approx(90.0)
    assert {row.whole_window_s for row in rows} == {12.0}


@pytest.mark.parametrize("kind", ["oom", "timeout", "nan"])
def test_what_fails_in_a_batch_fails_each_of_its_rows(kind: str) -> None:
    on = tools({"error": GenerationError(kind, "why")}, meters=gpu(counter=90.0), batch_size=3)
    rows = rows_of_batch(on)
    assert {(row.status, row.error_kind, row.error_message) for row in rows} == {
        ("failed", kind, "why")
    }
    assert [row.gpu_energy_counter_j for row in rows] == pytest.approx([30.0] * 3), "alike"
    assert {(row.n_in_batch, row.batch_window_s) for row in rows} == {(3, 4.0)}


def test_a_batch_whose_longest_text_ran_out_of_memory_before_is_not_tried() -> None:
    on = tools(batch_size=3)
    longest = rows_of_batch(on)[0].effective_max_length
    rows = rows_of_batch(on, ExecutionLimits(oom_tokens=longest))
    assert {(row.error_kind, row.window_s) for row in rows} == {("oom", None)}
    assert calls(on).count("generate") == 1


def test_a_prompt_that_cannot_be_encoded_leaves_the_others_a_smaller_batch() -> None:
    on = tools(batch_size=3)
    encode = on.engine.encode
    spec = builders.spec(setup=builders.setup(batch_size=3))

    def refusing(prompt: str) -> Encoded:
        if prompt == spec.prompts[0].text:
            raise GenerationError("other", "no such words")
        return encode(prompt)

    on.engine.encode = refusing  # type: ignore[method-assign]
    first, *others = rows_of_batch(on)
    assert (first.status, first.window_s, first.n_in_batch) == ("failed", None, 1)
    assert {(row.status, row.n_in_batch) for row in others} == {("ok", 2)}
    assert sum(row.energy_j or 0.0 for row in others) == pytest.approx(36.0)
    assert all({"apportioned", "partial_batch"} <= set(row.warning_flags) for row in others)


def test_the_prefill_of_a_batch_is_not_measured() -> None:
    on = tools(meters=gpu(), batch_size=3, prefills={})
    assert {row.prefill_energy_j for row in rows_of_batch(on)} == {None}
    assert calls(on).count("generate") == 1


@given(
    lengths=st.lists(st.integers(1, 4096), min_size=1, max_size=64),
    energy_j=st.floats(1e-6, 1e9),
)
def test_the_shares_of_a_window_add_up_to_it(lengths: list[int], energy_j: float) -> None:
    generated = [Generated([1] * n, "length", None) for n in lengths]
    for outcome in (WindowOutcome(generated), WindowOutcome(error=GenerationError("oom", ""))):
        shares = outcome.shares(len(lengths))
        assert len(shares) == len(lengths)
        assert math.fsum(share * energy_j for share in shares) == pytest.approx(energy_j)
    shares = WindowOutcome(generated).shares(len(lengths))
    per_token = [share * energy_j / n for share, n in zip(shares, lengths, strict=True)]
    assert per_token == pytest.approx([energy_j / sum(lengths)] * len(lengths))


def test_warm_ups_and_anchors_fill_the_batch() -> None:
    on = tools(batch_size=3)
    pilot = warm_up(on, LONGEST)
    assert pilot.tokens_per_s == pytest.approx(3 * WARM_UP_TOKENS[-1] / 4.0)
    anchor = measured_anchor(on, LONGEST, 0)
    assert anchor is not None
    assert anchor.n_new_tokens == 3 * ANCHOR_TOKENS


# --- prefill, net energy, anchors -----------------------------------------------------------------


def test_the_prefill_is_measured_once_a_session_and_before_the_window() -> None:
    on = tools({"seconds": 0.25}, meters=gpu(counter=40.0), prefills={})
    first, second = run(on), run(on)
    engine = on.engine
    assert isinstance(engine, RecordingEngine)
    n_tokens = first.n_prompt_tokens
    assert n_tokens is not None
    lengths = [values.max_length for values, _, _ in engine.asked]
    assert lengths == [n_tokens + 1] * 4 + [lengths[-1]] * 2
    assert (first.prefill_n_in_window, first.prefill_window_s) == (4, 1.0)
    assert first.prefill_energy_j == second.prefill_energy_j == 10.0
    assert first.prefill_rel_uncertainty == pytest.approx(0.0476, abs=1e-3)
    assert first.decode_energy_per_token_j == pytest.approx((40.0 - 10.0) / 3)


def test_without_a_gpu_there_is_no_prefill_nor_net_energy() -> None:
    row = run(tools(prefills={}))
    assert row.prefill_energy_j is row.decode_energy_per_token_j is row.net_energy_j is None


def test_a_prompt_that_can_not_be_taken_in_has_no_prefill() -> None:
    row = run(tools({"error": GenerationError("oom", "no")}, meters=gpu(), prefills={}))
    assert (row.prefill_energy_j, row.error_kind) == (None, "oom")


def test_net_energy_leaves_out_the_newest_idle_power() -> None:
    baselines = [
        Baseline(id=f"s-{i}", state="loaded", power_w=watts, window_s=5.0, started_at=NOW)
        for i, watts in enumerate((10.0, 15.0))
    ]
    row = run(tools(meters=gpu(), baselines=baselines))
    assert (row.baseline_id, row.baseline_w) == ("s-1", 15.0)
    assert row.net_energy_j == 100.0 - 4 * 15.0


def test_an_unknown_idle_power_leaves_the_net_energy_unknown() -> None:
    unknown = Baseline(id="s-0", state="loaded", power_w=None, window_s=5.0, started_at=NOW)
    assert run(tools(meters=gpu(), baselines=[unknown])).net_energy_j is None


def test_an_anchor_is_always_the_same_text() -> None:
    on = tools(meters=gpu())
    anchor = measured_anchor(on, LONGEST, session_trial=10)
    assert anchor is not None
    assert isinstance(on.engine, RecordingEngine)
    [(values, seed, fixed_length)] = on.engine.asked
    assert (values.max_length, seed, fixed_length) == (11 + ANCHOR_TOKENS, 0, True)
    assert (anchor.n_new_tokens, anchor.energy_j, anchor.session_trial) == (128, 100.0, 10)


def test_an_anchor_fits_in_the_shortest_texts() -> None:
    on = tools(meters=gpu())
    anchor = measured_anchor(on, 20, session_trial=0)
    assert anchor is not None
    assert anchor.n_new_tokens == 9


def test_an_anchor_that_fails_is_none() -> None:
    assert measured_anchor(tools({"error": GenerationError("oom", "no")}), LONGEST, 0) is None


# --- warm-up --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("context", "memory", "longest"),
    [(4096, None, LONGEST), (1024, None, 1024), (4096, 700, 700), (None, None, LONGEST)],
)
def test_what_lengths_need_is_built_before_the_first_window(
    context: int | None, memory: int | None, longest: int
) -> None:
    """Up to the longest text that will be generated: its context and its memory may end it."""
    info = INFO.model_copy(update={"context_length": context, "memory_tokens": memory})
    on = tools({"info": info})
    warm_up(on, LONGEST)
    assert isinstance(on.engine, RecordingEngine)
    assert on.engine.built == [longest]
    assert calls(on).index("build shapes") < calls(on).index("generate")


def test_building_is_measured_apart_and_waited_for() -> None:
    on = tools()
    pilot = warm_up(on, LONGEST)
    done = calls(on)
    events = [call for call in done if call != "clock"]
    assert events[:4] == ["synchronize", "begin codecarbon", "build shapes", "synchronize"]
    assert (pilot.build_s, pilot.build_energy_j) == (0.0, 36.0)
    assert (pilot.n_compiled, pilot.n_from_disk) == (3, 1)


def test_three_generations_are_discarded() -> None:
    on = tools()
    pilot = warm_up(on, LONGEST)
    engine = on.engine
    assert isinstance(engine, RecordingEngine)
    assert calls(on).count("generate") == 3
    assert "decode" not in calls(on)
    assert (
        [effective.max_length for effective, _, _ in engine.asked]
        == [11 + n for n in WARM_UP_TOKENS]
        == [15, 15, 35]
    )
    assert all(fixed for _, _, fixed in engine.asked), "a warm-up that may end early is none"
    assert pilot.tokens_per_s == 24 / 4.0
    assert pilot.energy_j_per_token == 36.0 / 24
    assert pilot.energy_basis == "energy_j"
    assert pilot.warm_up_energy_j == (1 + 3) * 36.0
    assert pilot.warm_up_s == 12.0


def test_on_a_gpu_it_goes_on_for_a_while_and_the_last_is_the_pilot() -> None:
    on = tools({"info": ON_GPU}, meters=gpu(counter=48.0))
    pilot = warm_up(on, LONGEST)
    assert isinstance(on.engine, RecordingEngine)
    assert [effective.max_length - 11 for effective, _, _ in on.engine.asked] == [
        4,
        4,
        24,
        24,
        24,
    ], "five of 4 s"
    assert (pilot.warm_up_s, pilot.warm_up_energy_j, pilot.tokens_per_s) == (
        WARM_UP_GPU_S,
        (1 + 5) * 48.0,
        24 / 4.0,
    )


def test_a_clock_that_stands_still_ends_it_too() -> None:
    on = tools({"info": ON_GPU, "seconds": 0.0})
    warm_up(on, LONGEST)
    assert calls(on).count("generate") == MOST_WARM_UPS


def test_the_pilot_on_a_gpu_is_of_the_counter() -> None:
    pilot = warm_up(tools(meters=gpu(counter=48.0)), LONGEST)
    assert (pilot.energy_j_per_token, pilot.energy_basis, pilot.warm_up_energy_j) == (
        2.0,
        "gpu_energy_counter_j",
        (1 + 5) * 48.0,
    )


def test_a_warm_up_of_unknown_energy_is_unknown() -> None:
    pilot = warm_up(tools(meters=gpu(counter=None)), LONGEST)
    assert (pilot.energy_j_per_token, pilot.energy_basis, pilot.warm_up_energy_j) == (
        None,
        None,
        None,
    )
    assert pilot.tokens_per_s == 6.0


def test_one_unknown_makes_the_warm_up_s_energy_unknown() -> None:
    on = tools()
    meter = on.meters[0]
    assert isinstance(meter, RecordingMeter)
    known = iter([{"energy_j": 2.0}, {"energy_j": None}, {"energy_j": 1.0}, {"energy_j": 12.0}])
    meter.reading = lambda *_edges: Reading(next(known))  # type: ignore[method-assign]
    pilot = warm_up(on, LONGEST)
    assert pilot.warm_up_energy_j is None
    assert pilot.energy_j_per_token == 0.5


def test_a_warm_up_that_fails_is_told() -> None:
    with pytest.raises(GenerationError, match="no memory") as raised:
        warm_up(tools({"error": GenerationError("oom", "no memory")}), LONGEST)
    assert raised.value.kind == "oom"


# --- the row --------------------------------------------------------------------------------------


def test_a_row_by_hand() -> None:
    spec = builders.spec(prompts=builders.prompts(["Tell me of a castle."]))
    on = tools(
        meters=[
            RecordingMeter(
                Scene(), "codecarbon", CPU_VALUES, {"gpu_energy_cc_j": "no GPU"}, {"run_id": "x"}
            )
        ]
    )
    [measured] = execute(on, spec, spec.prompts[:1], "shuffled")
    row = measured.execution
    assert measured.codecarbon == {"run_id": "x"}
    assert measured.telemetry == ()
    seed = generation_seed(7, spec.configuration, "Tell me of a castle.", 1)
    expected = {
        "prompt_number": 1,
        "prompt_sha256": hashlib.sha256(b"Tell me of a castle.").hexdigest(),
        "seed": seed,
        "started_at": row.started_at,
        "status": "ok",
        "error_kind": None,
        "error_message": None,
        "effective_max_length": 120,
        "effective_do_sample": True,
        "effective_temperature": 0.7,
        "effective_top_p": 0.9,
        "effective_top_k": 50,
        "dormant": (),
        "limits": (),
        "beyond_context": False,
        "n_prompt_tokens": 5,
        "n_new_tokens": 4,
        "finish_reason": "eos",
        "window_s": 4.0,
        "ttft_s": 0.25,
        "tokens_per_s": 1.0,
        **CPU_VALUES,
        "gpu_energy_counter_j": None,
        "gpu_energy_integrated_j": None,
        "power_semantics": None,
        "scope": "exclusive",
        "n_parallel": 1,
        "energy_per_token_j": 9.0,
        "energy_basis": "energy_j",
        "energy_rel_uncertainty": None,
        "warning_flags": ("estimated_cpu",),
        "notes": ("gpu_energy_cc_j: no GPU",),
        "output_text": "5 6 7 2",
    }
    written = row.model_dump()
    assert {name: written[name] for name in expected} == expected
    engine = on.engine
    assert isinstance(engine, RecordingEngine)
    assert [(seed_, fixed) for _, seed_, fixed in engine.asked] == [(seed, False)]


def test_the_window_s_start_is_utc_with_milliseconds() -> None:
    at = run(tools()).started_at
    assert at.utcoffset() == timedelta(0)
    assert at.microsecond % 1000 == 0


def test_seeds_differ_by_prompt_and_repeat_alone() -> None:
    base = builders.spec()
    seeds = [run(tools(), base, n).seed for n in (1, 2)] + [
        run(tools(), builders.spec(repeat=2)).seed
    ]
    assert len(set(seeds)) == 3
    assert (
        run(tools(), builders.spec(setup=builders.setup(quantization="int8", model="mistral"))).seed
        == seeds[0]
    )


def test_fixed_length_reaches_the_engine() -> None:
    row = run(tools(), builders.spec(setup=builders.setup(length_mode="fixed")))
    n_prompt = row.n_prompt_tokens or 0
    assert (row.n_new_tokens, row.finish_reason) == (120 - n_prompt, "length")


@pytest.mark.parametrize(
    ("info", "beyond", "max_length", "limits", "passed"),
    [
        ({"context_length": 4096}, False, 120, (), False),
        ({"context_length": 100}, False, 100, ("context",), False),
        ({"context_length": 10}, True, 120, (), True),
        ({"context_length": None, "memory_tokens": 50}, False, 50, ("memory",), False),
        ({"context_length": 3}, False, 8, ("context", "prompt"), True),
    ],
)
def test_the_model_s_limits_are_applied_and_told(
    info: dict[str, Any], beyond: bool, max_length: int, limits: tuple[str, ...], passed: bool
) -> None:
    spec = builders.spec(
        configuration=builders.configuration(max_length=120),
        setup=builders.setup(beyond_context=beyond),
    )
    on = tools({"info": INFO.model_copy(update=info)})
    row = run(on, spec)  # a prompt of 7 words and 4 new tokens
    assert (row.effective_max_length, row.limits, row.beyond_context) == (
        max_length,
        limits,
        passed,
    )
    engine = on.engine
    assert isinstance(engine, RecordingEngine)
    assert engine.asked[0][0].max_length == max_length


def test_a_greedy_configuration_is_told() -> None:
    row = run(tools(), builders.spec(configuration=builders.configuration(temperature=0.0)))
    assert row.effective_do_sample is False
    assert (row.effective_temperature, row.effective_top_p, row.effective_top_k) == (
        None,
        None,
        None,
    )
    assert row.dormant == ("top_p", "top_k")


def test_telemetry_becomes_rows_of_the_prompt() -> None:
    sample = {
        "at_s": 0.5, "power_w": 137.0, "temperature_c": 41, "sm_clock_mhz": 1980,
        "memory_clock_mhz": 2619, "utilization": 97, "memory_used_bytes": 10, "throttle_reasons": 0,
    }  # fmt: skip
    spec = builders.spec()
    on = tools(meters=[*gpu(), power(samples=[sample])])
    [measured] = execute(on, spec, spec.prompts[1:2], "shuffled")
    assert [t.model_dump() for t in measured.telemetry] == [{"prompt_number": 2} | sample]


# --- failures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["oom", "nan", "timeout", "other"])
def test_a_failed_generation_is_a_row_with_its_energy(kind: str) -> None:
    row = run(
        tools(
            {"error": GenerationError(kind, "CUDA out of memory. Tried to allocate")}, meters=gpu()
        )
    )
    assert (row.status, row.error_kind, row.error_message) == (
        "failed",
        kind,
        "CUDA out of memory. Tried to allocate",
    )
    unknown = (
        "n_new_tokens",
        "finish_reason",
        "ttft_s",
        "tokens_per_s",
        "energy_per_token_j",
        "output_text",
    )
    assert {name: getattr(row, name) for name in unknown} == dict.fromkeys(unknown)
    assert (row.gpu_energy_counter_j, row.energy_j, row.energy_basis) == (
        100.0,
        136.0,
        "gpu_energy_counter_j",
    )
    assert row.window_s == 4.0
    assert row.n_prompt_tokens == 7
    assert row.energy_rel_uncertainty is not None


def test_any_other_error_of_the_engine_is_a_row_too() -> None:
    row = run(tools({"error": ValueError("a bad value\nand much more\nbelow it")}))
    assert (row.status, row.error_kind, row.error_message) == (
        "failed",
        "other",
        "ValueError: a bad value",
    )
    assert row.energy_j == 36.0


def test_an_error_without_words_is_a_row_too() -> None:
    row = run(tools({"error": GenerationError("nan", "")}))
    assert (row.status, row.error_kind, row.error_message) == ("failed", "nan", "")


def test_decode_is_not_asked_after_a_failure() -> None:
    on = tools({"error": GenerationError("oom", "no")})
    run(on)
    assert "decode" not in calls(on)


NOTHING_GENERATED = (
    "n_new_tokens", "finish_reason", "window_s", "ttft_s", "tokens_per_s", "energy_kwh", "energy_j",
    "gpu_energy_counter_j",
    "cpu_energy_j", "ram_energy_j", "energy_per_token_j", "energy_basis", "energy_rel_uncertainty",
    "output_text",
)  # fmt: skip


def test_a_prompt_that_can_not_be_encoded_is_a_row_without_a_window() -> None:
    on = tools({"encode_error": ValueError("not a text\nat all")}, meters=gpu())
    row = run(on, order="design")
    assert (row.status, row.error_kind, row.error_message) == (
        "failed",
        "other",
        "ValueError: not a text",
    )
    assert {name: getattr(row, name) for name in NOTHING_GENERATED} == dict.fromkeys(
        NOTHING_GENERATED
    )
    assert row.n_prompt_tokens is None
    assert (row.warning_flags, row.notes) == ((), ("energy_j: nothing was generated",))
    assert calls(on) == ["encode", "synchronize"]


def test_a_typed_failure_of_encoding_keeps_its_kind() -> None:
    row = run(tools({"encode_error": GenerationError("oom", "no room for the prompt")}))
    assert (row.error_kind, row.error_message) == ("oom", "no room for the prompt")


def test_a_text_that_can_not_be_decoded_is_a_failed_row_with_its_energy() -> None:
    on = tools({"decode_error": UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no")}, meters=gpu())
    row = run(on)
    assert (row.status, row.error_kind) == ("failed", "other")
    assert str(row.error_message).startswith("UnicodeDecodeError: ")
    assert (row.output_text, row.n_new_tokens, row.finish_reason, row.energy_per_token_j) == (
        None,
        None,
        None,
        None,
    )
    assert (row.window_s, row.energy_j, row.n_prompt_tokens) == (4.0, 136.0, 7)


@pytest.mark.parametrize("where", ["encode_error", "decode_error"])
def test_a_lost_device_is_not_the_prompt_s_fault(where: str) -> None:
    """The worker is to end: its trial goes to another one."""
    on = tools({where: RuntimeError("CUDA error: unspecified launch failure")})
    engine = on.engine
    assert isinstance(engine, RecordingEngine)
    if where == "encode_error":
        engine.lost = RuntimeError("CUDA error: device lost")
    else:
        decode = engine.decode

        def lost(generated: Generated) -> str:
            engine.lost = RuntimeError("CUDA error: device lost")
            return decode(generated)

        engine.decode = lost  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="device lost"):
        run(on)


def test_a_device_lost_before_the_window_is_told() -> None:
    on = tools({"lost": RuntimeError("CUDA error: device lost")})
    with pytest.raises(RuntimeError, match="device lost"):
        run(on)
    assert "generate" not in calls(on)


def test_an_interrupt_while_encoding_is_no_row() -> None:
    on = tools()
    engine = on.engine
    assert isinstance(engine, RecordingEngine)

    def interrupted(_prompt: str) -> Encoded:
        raise KeyboardInterrupt

    engine.encode = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        run(on)


# --- limits ---------------------------------------------------------------------------------------


def limited(on: Instrumented, limits: ExecutionLimits | None, **spec: Any) -> Execution:
    trial = builders.spec(**spec)
    return execute(on, trial, trial.prompts[:1], "shuffled", limits=limits)[0].execution


@pytest.mark.parametrize(
    ("limits", "timeout_s"),
    [(None, None), (ExecutionLimits(), None), (ExecutionLimits(timeout_s=2.5), 2.5)],
)
def test_the_timeout_reaches_the_engine(
    limits: ExecutionLimits | None, timeout_s: float | None
) -> None:
    on = tools()
    limited(on, limits)
    engine = on.engine
    assert isinstance(engine, RecordingEngine)
    assert engine.timeouts_s == [timeout_s]


def test_a_warm_up_has_no_timeout() -> None:
    on = tools()
    warm_up(on, LONGEST)
    engine = on.engine
    assert isinstance(engine, RecordingEngine)
    assert engine.timeouts_s == [None] * 3


@pytest.mark.parametrize(
    ("known", "tried"), [(None, True), (121, True), (120, False), (119, False), (1, False)]
)
def test_a_length_at_which_memory_ran_out_is_not_tried_again(
    known: int | None, tried: bool
) -> None:
    on = tools(meters=gpu())
    row = limited(
        on, ExecutionLimits(oom_tokens=known), configuration=builders.configuration(max_length=120)
    )
    assert ("generate" in calls(on)) == tried
    if not tried:
        assert (row.status, row.error_kind) == ("failed", "oom")
        assert (
            row.error_message == f"not tried: memory ran out at {known} tokens before, this is 120"
        )
        assert {name: getattr(row, name) for name in NOTHING_GENERATED} == dict.fromkeys(
            NOTHING_GENERATED
        )
        assert (row.effective_max_length, row.n_prompt_tokens) == (120, 7)
        assert calls(on) == ["encode"], "no window, no meter"


def test_the_length_that_counts_is_the_effective_one() -> None:
    on = tools({"info": INFO.model_copy(update={"context_length": 60})})
    assert (
        limited(
            on, ExecutionLimits(oom_tokens=61), configuration=builders.configuration(max_length=120)
        ).status
        == "ok"
    )


# --- energy: basis, uncertainty, unknowns ---------------------------------------------------------


@pytest.mark.parametrize(
    ("meters", "basis", "per_token"),
    [
        (gpu(counter=100.0, integrated=110.0), "gpu_energy_counter_j", 25.0),
        (gpu(counter=None, integrated=110.0), "gpu_energy_integrated_j", 27.5),
        (gpu(counter=None), None, None),
        (None, "energy_j", 9.0),
    ],
)
def test_the_basis_of_the_energy_per_token(
    meters: list[RecordingMeter] | None, basis: str | None, per_token: float
) -> None:
    row = run(tools(meters=meters))
    assert (row.energy_basis, row.energy_per_token_j) == (basis, per_token)


def test_a_gpu_without_counter_is_null_with_a_reason() -> None:
    row = run(tools(meters=gpu(counter=None)))
    assert row.gpu_energy_counter_j is None
    assert "gpu_energy_counter_j: this GPU has no energy counter" in row.notes
    assert row.energy_j == 136.0, "what is known stays"


def test_an_unknown_total_leaves_the_counter_alone() -> None:
    meters = gpu()
    meters[0].values |= {"energy_j": None, "energy_kwh": None}
    row = run(tools(meters=meters))
    assert (row.energy_j, row.energy_per_token_j, row.energy_basis) == (
        None,
        25.0,
        "gpu_energy_counter_j",
    )


def test_columns_of_absent_meters_are_null() -> None:
    row = run(tools(meters=[]))
    names = [
        n
        for n in Execution.model_fields
        if n.endswith(("energy_j", "_cc_j", "_counter_j", "_integrated_j", "_kwh"))
    ]
    assert len(names) == 9
    assert {
        getattr(row, name) for name in [*names, "cpu_method", "ram_method", "energy_basis"]
    } == {None}
    assert row.warning_flags == ()


@pytest.mark.parametrize(
    ("window_s", "statistical"),
    [(0.1, 0.02006), (1.0, 0.0025), (4.0, 0.0015811), (10.0, 0.0015133)],
)
def test_the_uncertainty_by_hand(window_s: float, statistical: float) -> None:
    """Sensor +-5 %, so 2.9 % as a standard deviation, and the edges.

    Looks every 6.93 ms place each edge to 2 ms. The power before the window was 75 W, the load 100
    J over the window.
    """
    assert (SENSOR_LIMIT, STATISTICAL_FACTOR) == (0.05, 1.75)
    assert pytest.approx(1.6454, abs=1e-3) == SYSTEMATIC_FACTOR
    row = run(tools({"seconds": window_s}, meters=gpu()))
    assert row.energy_rel_systematic == pytest.approx(0.028868, rel=1e-4)
    assert row.energy_rel_statistical == pytest.approx(statistical, rel=2e-3)
    expected = math.sqrt((0.95 * 0.05) ** 2 + (1.75 * statistical) ** 2)
    assert row.energy_rel_uncertainty == pytest.approx(expected, rel=1e-3)
    assert run(tools({"seconds": window_s})).energy_rel_uncertainty is None, (
        "CPU models have no known error"
    )


def test_a_row_that_doesn_t_know_its_counter_s_steps_is_less_certain() -> None:
    """Before version 3 a window closed anywhere within a step: 0.1 s over the root of 12."""
    row = run(tools({"seconds": 1.0}, meters=gpu(look_s=None)))
    assert row.energy_rel_statistical == pytest.approx(0.1 / math.sqrt(12))


@pytest.mark.parametrize(
    ("semantics", "window_s", "basis"),
    [
        ("instant", 2.0, "gpu_energy_integrated_j"),
        ("average_1s", AVERAGED_FROM_S, "gpu_energy_integrated_j"),
        ("average_1s", 5.0, None),
        ("unknown", 5.0, None),
    ],
)
def test_averaged_power_counts_in_long_windows_only(
    semantics: str, window_s: float, basis: str | None
) -> None:
    """An average over a second missed 37 % of a window of 1 s, 7 % of one of 5 s."""
    values = {"gpu_energy_integrated_j": 90.0, "power_semantics": semantics}
    assert energy_basis(values, has_gpu=True, window_s=window_s) == basis


def test_the_energy_that_counts_holds_no_pue() -> None:
    """A GPU's counter doesn't hold it either."""
    plain = run(tools())
    cooled = run(tools(values=CPU_VALUES | {"energy_j": 54.0, "pue": 1.5}))
    assert cooled.energy_j == 1.5 * 36.0
    assert cooled.energy_per_token_j == plain.energy_per_token_j == 36.0 / 4


def test_readings_are_joined() -> None:
    whole = joined(
        [
            Reading({"a": 1}, {"b": "why"}, {"r": 1}, [{"s": 1}], frozenset({"x"})),
            Reading({"b": None}, {}, {}, [{"s": 2}], frozenset({"y"})),
        ]
    )
    assert whole == Reading(
        {"a": 1, "b": None}, {"b": "why"}, {"r": 1}, [{"s": 1}, {"s": 2}], frozenset({"x", "y"})
    )


def test_two_meters_that_write_one_column_are_an_error() -> None:
    with pytest.raises(ValueError, match="two meters wrote the column a"):
        joined([Reading({"a": 1}), Reading({"a": 2})])


def test_two_records_of_codecarbon_are_an_error() -> None:
    record = {"run_id": "1"}
    with pytest.raises(ValueError, match="two meters gave a record of CodeCarbon's"):
        joined([Reading({}, codecarbon=record), Reading({}, codecarbon=record)])


# --- flags ----------------------------------------------------------------------------------------

RAPL = {"cpu_energy_j": 1.0, "cpu_method": "rapl"}


def counters(
    counter: float | None, cc: float | None, integrated: float | None = None
) -> dict[str, Any]:
    return {
        "gpu_energy_counter_j": counter,
        "gpu_energy_cc_j": cc,
        "gpu_energy_integrated_j": integrated,
    }


@pytest.mark.parametrize(
    ("values", "scene", "expected"),
    [
        ({}, {}, set()),
        # short windows
        ({}, {"window_s": 0.999}, {"too_short"}),
        ({}, {"window_s": 1.0}, set()),
        ({}, {"window_s": 0.0}, {"too_short"}),
        # CodeCarbon against the counter, long windows: 1 %
        (counters(1000.0, 1005.0), {}, set()),
        (counters(1000.0, 995.0), {}, set()),
        (counters(1000.0, 1050.0), {}, {"window_mismatch"}),
        (counters(1000.0, 950.0), {}, {"window_mismatch"}),
        (counters(1000.0, 1011.0), {}, {"window_mismatch"}),
        (counters(1000.0, 1009.0), {}, set()),
        (counters(1000.0, 1050.0), {"window_s": 0.9}, {"too_short"}),
        # a step of the counter of 0.1 s at each edge is no mismatch
        (counters(1000.0, 1050.0), {"window_s": 3.9}, set()),
        (counters(1000.0, 1110.0), {"window_s": 4.0}, {"window_mismatch"}),
        # the PUE is in CodeCarbon's figure and not in the counter's
        (counters(1000.0, 1200.0), {"pue": 1.2}, set()),
        (counters(1000.0, 1000.0), {"pue": 1.2}, {"window_mismatch"}),
        (counters(1000.0, 1260.0), {"pue": 1.2}, {"window_mismatch"}),
        # unknowns mismatch with nothing
        (counters(None, 1000.0), {}, set()),
        (counters(1000.0, None), {}, set()),
        # integrated power against the counter: 10 %
        (counters(1000.0, 1000.0, 1080.0), {}, set()),
        (counters(1000.0, 1000.0, 920.0), {}, set()),
        (counters(1000.0, 1000.0, 1120.0), {}, {"meter_disagreement"}),
        (counters(1000.0, 1000.0, 880.0), {}, {"meter_disagreement"}),
        (counters(1000.0, 1000.0, 1120.0), {"window_s": 0.5}, {"too_short"}),
        # models of the CPU
        (RAPL, {}, set()),
        (RAPL | {"cpu_method": "cpu_load"}, {}, {"estimated_cpu"}),
        (RAPL | {"cpu_method": "constant"}, {}, {"estimated_cpu"}),
        (RAPL | {"cpu_method": None}, {}, {"estimated_cpu"}),
        ({"cpu_energy_j": None, "cpu_method": "cpu_load"}, {}, set()),
        # the scene
        ({}, {"n_parallel": 2}, {"shared_host"}),
        ({}, {"country_known": False}, {"no_country"}),
        ({}, {"order": "design"}, {"unshuffled"}),
        ({}, {"offload_fraction": 0.3}, {"cpu_offload"}),
        (
            {},
            {"window_s": 0.1, "n_parallel": 3, "order": "design"},
            {"shared_host", "too_short", "unshuffled"},
        ),
    ],
)
def test_flags(values: dict[str, Any], scene: dict[str, Any], expected: set[str]) -> None:
    assert (TOO_SHORT_S, MISMATCH, DISAGREEMENT) == (1.0, 0.01, 0.10)
    assert window_flags(around(values, **scene)) == tuple(sorted(expected))


def around(values: dict[str, Any], **changes: Any) -> Window:
    """A long window on a machine on which nothing is to be told."""
    quiet = {
        "seen": frozenset(),
        "window_s": 60.0,
        "n_parallel": 1,
        "pue": 1.0,
        "country_known": True,
        "order": "shuffled",
        "offload_fraction": 0.0,
    }
    return Window(values=values, **(quiet | changes))


def test_a_meter_s_own_flags_are_kept() -> None:
    seen = around({}, window_s=0.5, seen=frozenset({"throttled"}))
    assert window_flags(seen) == ("throttled", "too_short")


def test_a_flag_that_is_not_in_the_table_is_an_error() -> None:
    with pytest.raises(ValueError, match="a meter saw molten"):
        window_flags(around({}, seen=frozenset({"molten"})))


def test_where_nothing_was_generated_there_are_no_flags() -> None:
    on = tools({"encode_error": ValueError("no")}, n_parallel=2, country_known=False)
    assert run(on, order="design").warning_flags == ()


def test_the_scene_reaches_row_and_flags() -> None:
    on = tools(meters=gpu(cc=120.0), pue=1.2, n_parallel=4, country_known=False)
    row = run(on, order="design")
    assert row.warning_flags == ("estimated_cpu", "no_country", "shared_host", "unshuffled")
    assert (row.scope, row.n_parallel) == ("shared", 4)


@pytest.mark.parametrize(("fraction", "flagged"), [(0.0, False), (0.3, True)])
def test_a_model_partly_in_the_host_s_memory_flags_its_rows(fraction: float, flagged: bool) -> None:
    on = tools()
    columns = COLUMNS.model_copy(update={"offload_fraction": fraction})
    on.engine.info = INFO.model_copy(update={"columns": columns})
    assert ("cpu_offload" in run(on).warning_flags) == flagged


def test_a_prompt_that_is_not_of_the_trial_is_measured_as_given() -> None:
    prompt = Prompt(number=9, text="one two")
    [measured] = execute(tools(), builders.spec(), [prompt], "shuffled")
    row = measured.execution
    assert (row.prompt_number, row.n_prompt_tokens) == (9, 2)


@pytest.mark.parametrize(
    ("column", "value"),
    [("cpu_energy_j", -1.0), ("cpu_energy_j", math.nan), ("gpu_energy_counter_j", math.inf)],
)
def test_what_a_meter_gives_and_no_column_can_hold_is_null_with_a_note(
    column: str, value: float
) -> None:
    reading = _possible(Reading({column: value, "ram_energy_j": 5.0}, codecarbon={"a": math.inf}))
    assert reading.values == {column: None, "ram_energy_j": 5.0}
    assert reading.notes[column].startswith(f"the meter gave {value!r}: Input should be")
    assert reading.codecarbon == {"a": None}
