"""Warning flags: each has an example that sets it, and what readers do with it follows its row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.dataset import remaining
from orchestrator.dataset.drift import marked
from orchestrator.dataset.flags import (
    DOUBTFUL,
    FLAGS,
    LEFT_OUT,
    RERUN,
    SHORT_TRIAL_S,
    Flag,
    TrialSum,
    Window,
    describe_flags,
    trial_flags,
    window_flags,
)
from tests import builders


def window(values: dict[str, Any] | None = None, **changes: Any) -> Window:
    """A window without any flag: 2 s on a GPU whose meters agree."""
    readings: dict[str, Any] = {
        "gpu_energy_counter_j": 100.0,
        "gpu_energy_integrated_j": 101.0,
        "gpu_energy_cc_j": 100.0,
        "cpu_energy_j": 15.0,
        "cpu_method": "rapl",
    }
    known: dict[str, Any] = {
        "seen": frozenset(),
        "window_s": 2.0,
        "n_parallel": 1,
        "pue": 1.0,
        "country_known": True,
        "order": "shuffled",
        "offload_fraction": 0.0,
    }
    return Window(values=readings | (values or {}), **(known | changes))


@pytest.mark.parametrize(
    ("ram_w", "gpu_w", "pue", "flagged"),
    [(38, 137, 1.0, True), (10, 137, 1.0, False), (30, 137, 1.0, True), (30, 137, 1.2, False)],
)
def test_ram_beside_the_gpu(ram_w: float, gpu_w: float, pue: float, flagged: bool) -> None:
    """38 W beside 137 W is what CodeCarbon's model of a whole node's RAM gave on an H100."""
    energies = {
        "ram_energy_j": 10.0 * ram_w,
        "gpu_energy_counter_j": 10.0 * gpu_w,
        "gpu_energy_integrated_j": 10.0 * gpu_w,
        "gpu_energy_cc_j": 10.0 * gpu_w * pue,
    }
    assert ("high_ram" in window_flags(window(energies, pue=pue))) == flagged


def drifted() -> tuple[str, ...]:
    """The flags of an execution that ran under other conditions than its sweep."""
    return marked(builders.execution(warning_flags=()), ("torch 1 -> 2",)).warning_flags


def paid_for_new_lengths() -> tuple[str, ...]:
    """The flags of the first answer of a process whose attention built a plan for each length."""
    execution = builders.execution(n_prompt_tokens=10, n_new_tokens=9, warning_flags=())
    record = builders.record(executions=[execution], gpu_uuid="GPU-1", attention="sdpa")
    return builders.with_caveats(record)[0].executions[0].warning_flags


def in_a_drifting_session() -> tuple[str, ...]:
    """The flags of an answer before an anchor that took 6 % more than the session's first."""
    record = builders.record(
        executions=[builders.execution(warning_flags=())],
        gpu_uuid="GPU-1",
        attention="sdpa without cudnn",
        session_id="s",
        session_trial=0,
    )
    anchors = [builders.anchor(100.0, 0), builders.anchor(106.0, 1)]
    [marked_record] = builders.with_caveats(record.model_copy(update={"anchors": anchors}))
    return marked_record.executions[0].warning_flags


EXAMPLES: dict[str, Callable[[], tuple[str, ...]]] = {
    "throttled": lambda: window_flags(window(seen=frozenset({"throttled"}))),
    "foreign_load": lambda: window_flags(window(seen=frozenset({"foreign_load"}))),
    "new_lengths": paid_for_new_lengths,
    "meter_disagreement": lambda: window_flags(window({"gpu_energy_integrated_j": 89.0})),
    "session_drift": in_a_drifting_session,
    "thermal_drift": lambda: window_flags(
        window({"temperature_begin_c": 50.0, "temperature_end_c": 60.1})
    ),
    "window_mismatch": lambda: window_flags(window({"gpu_energy_cc_j": 121.0})),
    "too_short": lambda: window_flags(window(window_s=0.99)),
    "drift": drifted,
    "estimated_cpu": lambda: window_flags(window({"cpu_method": "cpu_load"})),
    "shared_host": lambda: window_flags(window(n_parallel=2)),
    "high_ram": lambda: window_flags(window({"ram_energy_j": 20.1})),
    "cpu_offload": lambda: window_flags(window(offload_fraction=0.01)),
    "apportioned": lambda: window_flags(window(n_in_batch=4, batch_size=4)),
    "partial_batch": lambda: window_flags(window(n_in_batch=1, batch_size=4)),
    "no_country": lambda: window_flags(window(country_known=False)),
    "unshuffled": lambda: window_flags(window(order="design")),
    "short_trial": lambda: trial_flags(TrialSum(busy_s=SHORT_TRIAL_S - 0.1)),
}
"""Flag -> what sets it and nothing else. A new flag needs an example here."""


@pytest.mark.parametrize("flag", FLAGS)
def test_each_flag_has_an_example_that_sets_it(flag: str) -> None:
    assert EXAMPLES[flag]() == (flag,)


def test_each_example_is_of_a_flag() -> None:
    assert EXAMPLES.keys() == FLAGS.keys()


def test_without_a_reason_there_is_no_flag() -> None:
    assert window_flags(window()) == ()
    assert trial_flags(TrialSum(busy_s=SHORT_TRIAL_S)) == ()
    assert marked(builders.execution(warning_flags=()), ()).warning_flags == ()


@pytest.mark.parametrize(
    ("values", "changes"),
    [
        ({"gpu_energy_counter_j": None, "gpu_energy_cc_j": None}, {}),
        ({"gpu_energy_integrated_j": None}, {}),
        ({"cpu_energy_j": None, "cpu_method": None}, {}),
        ({"gpu_energy_cc_j": 120.0}, {"pue": 1.2}),
        ({"temperature_begin_c": 50.0, "temperature_end_c": 60.0}, {}),
        ({"temperature_begin_c": None, "temperature_end_c": 80.0}, {}),
        ({"gpu_energy_cc_j": 109.0}, {}),  # two steps of the counter, 0.1 s each, within 2 s
    ],
)
def test_what_is_unknown_or_allowed_sets_none(
    values: dict[str, Any], changes: dict[str, Any]
) -> None:
    assert window_flags(window(values, **changes)) == ()


def test_several_flags_are_sorted() -> None:
    flags = window_flags(window(order="design", n_parallel=2, country_known=False))
    assert flags == ("no_country", "shared_host", "unshuffled")


def test_what_a_meter_saw_must_be_in_the_table() -> None:
    with pytest.raises(ValueError, match="a meter saw hiccup, which is not in the table of flags"):
        window_flags(window(seen=frozenset({"throttled", "hiccup"})))


def test_a_flag_that_nothing_sets_can_not_be_made() -> None:
    with pytest.raises(ValueError, match="nothing sets this flag: the fan was loud"):
        Flag("the fan was loud", "told")


def test_what_readers_do_with_a_flag_follows_its_row() -> None:
    left_out, doubtful, rerun = set(), set(), set()
    for name, flag in FLAGS.items():
        if flag.severity == "left out by default":
            left_out.add(name)
        if flag.severity in ("left out by default", "doubtful"):
            doubtful.add(name)
        if flag.rerun:
            rerun.add(name)
    assert (left_out, doubtful, rerun) == (LEFT_OUT, DOUBTFUL, RERUN)
    assert left_out == {
        "throttled",
        "foreign_load",
        "new_lengths",
        "meter_disagreement",
        "window_mismatch",
        "drift",
    }
    assert rerun <= doubtful


@pytest.mark.parametrize("flag", FLAGS)
def test_rerun_flagged_runs_what_the_table_says(flag: str) -> None:
    execution = builders.execution(warning_flags=(flag,))
    assert remaining.RERUN["flagged"](execution) is FLAGS[flag].rerun


def test_the_docs_list_every_flag_with_its_severity() -> None:
    lines = describe_flags().splitlines()[2:]
    assert lines == [
        f"| `{name}` | {flag.meaning} | {flag.severity} | {flag.set_on()} |"
        for name, flag in FLAGS.items()
    ]
    assert {name for name, flag in FLAGS.items() if flag.set_on() == "trials"} == {"short_trial"}
