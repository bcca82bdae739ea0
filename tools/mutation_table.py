"""The ways in which `tools.mutations` breaks the measurement, and the tests that must notice.

Each is a mistake that was made once, or is easily made: a number comes out, and it is wrong. The
text that is replaced must stand in its file exactly once; the shorter, the longer it lasts.
"""

from __future__ import annotations

from dataclasses import dataclass

MEASURE = "orchestrator/measure.py"
COUNTER = "orchestrator/meters/counter.py"
POWER = "orchestrator/meters/power.py"
CODECARBON = "orchestrator/meters/codecarbon.py"
ENERGY = "orchestrator/dataset/energy.py"
TRAINABLE = "orchestrator/ray_tune/trainable.py"

KNOWN_TRUTH = "tests/test_known_truth.py::"
OF_CODECARBON = "tests/meters/test_codecarbon.py::"
OF_TRAINABLE = "tests/ray_tune/test_trainable.py::"
UNTRUSTED = (
    "tests/meters/test_counter.py::test_a_counter_that_can_t_be_trusted_is_null_with_its_reason"
)


@dataclass(frozen=True)
class Mutation:
    """One way to break the program."""

    name: str
    rule: str
    """What no longer holds then."""
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    """Tests of which one must fail."""


MUTATIONS = (
    # --- the window -------------------------------------------------------------------------------
    Mutation(
        "opened-without-sync",
        "the queue is empty before a window opens",
        MEASURE,
        'synchronize() raises.\n    """\n    tools.engine.synchronize()\n',
        'synchronize() raises.\n    """\n',
        ("tests/test_measure.py::test_only_generation_stands_inside_the_window",),
    ),
    Mutation(
        "closed-without-sync",
        "the queue is empty before a window closes",
        MEASURE,
        "= work()\n                tools.engine.synchronize()\n",
        "= work()\n",
        ("tests/test_measure.py::test_only_generation_stands_inside_the_window",),
    ),
    Mutation(
        "sync-does-nothing",
        "the engine waits for its GPU",
        "orchestrator/engine/hf.py",
        "        if self._cuda:\n            self._torch.cuda.synchronize()\n",
        "        if self._cuda:\n            pass\n",
        ("tests/engine/test_hf.py::test_the_window_waits_for_the_gpu",),
    ),
    Mutation(
        "meters-closed-outside-in",
        "the innermost meter closes first",
        "orchestrator/metered.py",
        "    for meter in reversed(meters):\n        meter.end()",
        "    for meter in meters:\n        meter.end()",
        ("tests/test_measure.py::test_only_generation_stands_inside_the_window",),
    ),
    # --- warm-up ----------------------------------------------------------------------------------
    Mutation(
        "shapes-not-built",
        "nothing that is built once lies in a window",
        MEASURE,
        "        built = engine.build_shapes(_reachable(engine.info, longest_length))\n",
        "        built = Built()\n",
        (KNOWN_TRUTH + "test_the_first_answers_of_a_process_cost_no_more_than_later_ones",),
    ),
    Mutation(
        "cudnn-attention-allowed",
        "no attention that builds a plan for each length",
        "orchestrator/engine/hf.py",
        "enable_cudnn_sdp(enabled=False)",
        "enable_cudnn_sdp(enabled=True)",
        ("tests/engine/test_hf.py::test_on_a_gpu_attention_builds_no_plans",),
    ),
    Mutation(
        "short-warm-up",
        "a GPU is warmed up for 20 s",
        MEASURE,
        "WARM_UP_GPU_S = 20.0",
        "WARM_UP_GPU_S = 0.0",
        ("tests/test_measure.py::test_on_a_gpu_it_goes_on_for_a_while_and_the_last_is_the_pilot",),
    ),
    # --- the counter ------------------------------------------------------------------------------
    Mutation(
        "opening-edge-anywhere",
        "a window opens at a step of the counter",
        COUNTER,
        "self._opened = self._step_after(shown_mj)",
        "self._opened = None",
        ("tests/meters/test_counter.py::test_both_edges_are_unbiased",),
    ),
    Mutation(
        "closing-edge-anywhere",
        "the closing edge is found by the counter's next step",
        COUNTER,
        "self._next = self._step_after(self._after_mj)",
        "self._next = Step(self._ended_s, 0, 0)",
        ("tests/meters/test_counter.py::test_both_edges_are_unbiased",),
    ),
    Mutation(
        "edges-not-added",
        "what lies between steps and edges is added",
        COUNTER,
        "ENERGY: steps_j + rest_j",
        "ENERGY: steps_j",
        ("tests/meters/test_counter.py::test_both_edges_are_unbiased",),
    ),
    Mutation(
        "idle-before-counted",
        "power between the opening step and the window belongs to no window",
        COUNTER,
        " - (before_w or 0.0) * (began_s - opened.at_s)",
        "",
        ("tests/meters/test_counter.py::test_what_lies_before_the_window_is_not_in_it",),
    ),
    Mutation(
        "negative-counter",
        "a counter that runs backwards gives no energy",
        COUNTER,
        "if after_mj < opened.shown_mj:",
        "if False:",
        (UNTRUSTED,),
    ),
    Mutation(
        "frozen-counter",
        "a counter that stands still gives no energy",
        COUNTER,
        "if after_mj == opened.shown_mj:",
        "if False:",
        (UNTRUSTED,),
    ),
    Mutation(
        "stopped-counter",
        "a counter that stops in the window gives no energy",
        COUNTER,
        "if step is None:",
        "step = step or Step(self._ended_s, 0, 0)\n        if False:",
        (UNTRUSTED,),
    ),
    # --- power ------------------------------------------------------------------------------------
    Mutation(
        "gap-bridged",
        "seconds without a sample are no straight line",
        POWER,
        "LONGEST_GAP_S = 5 * INTERVAL_S",
        "LONGEST_GAP_S = 500 * INTERVAL_S",
        ("tests/meters/test_power.py::test_a_gap_is_null_with_a_reason",),
    ),
    Mutation(
        "throttle-unknown-is-no",
        "a GPU that doesn't tell may have slowed down",
        POWER,
        "    if not told:\n        return None\n",
        "    if not told:\n        return False\n",
        ("tests/meters/test_power.py::test_a_gpu_that_does_not_tell_is_unknown",),
    ),
    Mutation(
        "throttle-inside-alone",
        "slowing down is looked at on either side of a window, too",
        POWER,
        'one["throttle_reasons"] for one in samples',
        'one["throttle_reasons"] for one in inside',
        ("tests/meters/test_power.py::test_throttling_of_a_short_window_is_seen",),
    ),
    Mutation(
        "throttle-reason-forgotten",
        "software, hardware and the power supply slow a GPU down",
        POWER,
        "SLOWED = 0x08 | 0x20 | 0x40 | 0x80",
        "SLOWED = 0x20",
        ("tests/meters/test_power.py::test_what_slows_a_gpu_down",),
    ),
    Mutation(
        "power-semantics-by-name",
        "what power means follows from the chip, not from the board's name",
        "orchestrator/gpu/architectures.py",
        "    if architecture < AMPERE:\n",
        '    if architecture < AMPERE or "A30" in nvml.nvmlDeviceGetName(handle):\n',
        ("tests/gpu/test_architectures.py::test_what_power_means",),
    ),
    Mutation(
        "averages-preferred",
        "where a GPU tells its power of this moment, that is polled",
        "orchestrator/meters/poller.py",
        'self._power_w, self.semantics = self._instant_w, "instant"',
        "pass",
        ("tests/meters/test_power.py::test_instant_power_gives_the_energy",),
    ),
    Mutation(
        "averages-accepted",
        "power that is an average over 1 s counts from 20 s on",
        ENERGY,
        "AVERAGED_FROM_S = 20.0",
        "AVERAGED_FROM_S = 0.0",
        ("tests/test_measure.py::test_averaged_power_counts_in_long_windows_only",),
    ),
    # --- which energy counts ----------------------------------------------------------------------
    Mutation(
        "cpu-for-gpu",
        "a CPU's energy never stands for a GPU's",
        ENERGY,
        "columns = GPU_ENERGIES if has_gpu else (TOTAL_ENERGY,)",
        "columns = (*GPU_ENERGIES, TOTAL_ENERGY)",
        ("tests/test_measure.py::test_the_basis_of_the_energy_per_token",),
    ),
    Mutation(
        "pue-left-in",
        "a row's energy holds no PUE",
        ENERGY,
        'quotient(row.get(basis), row.get("pue") or 1.0)',
        "row.get(basis)",
        ("tests/test_measure.py::test_the_energy_that_counts_holds_no_pue",),
    ),
    Mutation(
        "pue-left-in-report",
        "the report's energies hold no PUE",
        "orchestrator/report/execution_frame.py",
        'frame.loc[without_gpu, "pue"].astype(float).fillna(1.0)',
        "1.0",
        ("tests/report/test_execution_frame.py::test_the_energy_that_counts_holds_no_pue",),
    ),
    Mutation(
        "systematic-coverage-1",
        "95 % of errors are smaller than the uncertainty",
        ENERGY,
        "SYSTEMATIC_FACTOR = 0.95 * math.sqrt(3)",
        "SYSTEMATIC_FACTOR = 1.0",
        ("tests/test_measure.py::test_the_uncertainty_by_hand",),
    ),
    Mutation(
        "statistical-coverage-1",
        "95 % of errors are smaller than the uncertainty",
        ENERGY,
        "STATISTICAL_FACTOR = 1.75",
        "STATISTICAL_FACTOR = 1.0",
        ("tests/test_measure.py::test_the_uncertainty_by_hand",),
    ),
    Mutation(
        "two-meters-one-column",
        "no meter overwrites another one's column",
        "orchestrator/meters/__init__.py",
        "if twice := sorted(whole.values.keys() & part.values.keys()):",
        "if twice := []:",
        ("tests/test_measure.py::test_two_meters_that_write_one_column_are_an_error",),
    ),
    Mutation(
        "columns-not-checked",
        "two meters of one column are an error at start",
        "orchestrator/meters/__init__.py",
        "    check_columns()\n",
        "",
        ("tests/meters/test_contract.py::test_two_meters_of_one_column_are_an_error_at_start",),
    ),
    # --- CodeCarbon -------------------------------------------------------------------------------
    Mutation(
        "rapl-not-shared",
        "trials side by side each get their part of the CPU's package",
        CODECARBON,
        "cpu_kwh = data.cpu_energy / self._scene.n_parallel",
        "cpu_kwh = data.cpu_energy",
        (OF_CODECARBON + "test_parallel_trials_share_a_package_that_rapl_measures",),
    ),
    Mutation(
        "ram-not-shared",
        "trials side by side each get their part of the RAM's power",
        CODECARBON,
        "part_w = ram_power_w / scene.n_parallel",
        "part_w = ram_power_w",
        (OF_CODECARBON + "test_parallel_trials_share_a_given_ram_power",),
    ),
    Mutation(
        "others-gpus-charged",
        "a trial on the CPU is not charged for the host's GPUs",
        CODECARBON,
        "            total_kwh -= data.gpu_energy\n",
        "            pass\n",
        (OF_CODECARBON + "test_without_a_gpu_of_ours_no_gpu_is_charged",),
    ),
    Mutation(
        "gpu-of-0-joules",
        "what couldn't be read is unknown, not 0",
        CODECARBON,
        "data.gpu_energy <= 0:",
        "data.gpu_energy < 0:",
        (OF_CODECARBON + "test_a_gpu_that_reads_nothing_makes_the_total_unknown",),
    ),
    Mutation(
        "skipped-is-0",
        "a window that CodeCarbon skips is unknown, not 0",
        CODECARBON,
        "if self._window_s < SHORTEST_S:",
        "if False:",
        (OF_CODECARBON + "test_a_window_too_short_for_codecarbon_is_none",),
    ),
    Mutation(
        "unknown-adds-0",
        "a sum with an unknown part is unknown",
        "orchestrator/unknowns.py",
        "    if None in summands:\n        return None\n",
        "",
        ("tests/test_measure.py::test_one_unknown_makes_the_warm_up_s_energy_unknown",),
    ),
    Mutation(
        "unknown-metric-is-0",
        "Ray's metrics don't take an unknown energy for 0",
        TRAINABLE,
        "return math.nan",
        "return 0.0",
        ("tests/ray_tune/test_trainable.py::test_an_unknown_energy_makes_the_sum_unknown",),
    ),
    # --- nobody else on the GPU -------------------------------------------------------------------
    Mutation(
        "lock-is-shared",
        "one sweep a GPU",
        "orchestrator/gpu/lock.py",
        "fcntl.LOCK_EX | fcntl.LOCK_NB",
        "fcntl.LOCK_SH | fcntl.LOCK_NB",
        ("tests/gpu/test_lock.py::test_a_second_sweep_is_refused_and_told_who_holds_it",),
    ),
    Mutation(
        "lock-not-taken",
        "a worker holds its GPU",
        TRAINABLE,
        "_gpu_lock = hold_gpu(",
        "_not_held = (",
        ("tests/ray_tune/test_trainable.py::test_a_worker_holds_its_gpu",),
    ),
    Mutation(
        "neighbours-before-alone",
        "who computes on the GPU is listed after a window, too",
        "orchestrator/meters/neighbours.py",
        "(before | after) - self._own",
        "before - self._own",
        ("tests/meters/test_neighbours.py::test_a_neighbour_before_or_after_is_counted",),
    ),
    Mutation(
        "neighbours-unknown-is-none",
        "a GPU that doesn't list its processes may have others",
        "orchestrator/gpu/access.py",
        "None if running is None else frozenset(process.pid for process in running)",
        "frozenset(process.pid for process in running or ())",
        ("tests/meters/test_neighbours.py::test_a_gpu_that_does_not_tell_is_unknown",),
    ),
    Mutation(
        "neighbours-taken-for-own",
        "who was on the GPU before the model is no part of this process",
        TRAINABLE,
        "(now or frozenset()) - before",
        "now or frozenset()",
        ("tests/ray_tune/test_trainable.py::test_who_was_on_the_gpu_before_is_a_neighbour",),
    ),
    Mutation(
        "mig-not-asked",
        "a slice of a GPU has no counter of its own",
        "orchestrator/gpu/access.py",
        "if mode is not None and mode[0] == MIG_ENABLED:",
        "if False:",
        ("tests/gpu/test_access.py::test_a_part_of_a_gpu_is_refused",),
    ),
    Mutation(
        "mig-slice-named",
        "a slice of a GPU has no counter of its own",
        "orchestrator/gpu/devices.py",
        'if any(item.startswith("MIG-") for item in wanted):',
        "if False:",
        ("tests/gpu/test_devices.py::test_a_slice_of_a_gpu_is_refused",),
    ),
    # --- the sweep and its report -----------------------------------------------------------------
    Mutation(
        "not-shuffled",
        "drift doesn't look like a parameter's effect",
        "orchestrator/sweep/planning.py",
        "block = _shuffled(plan, trials)",
        "pass",
        ("tests/sweep/test_planning.py::test_models_are_blocks_and_order_is_not_the_design",),
    ),
    Mutation(
        "design-order-by-default",
        "a sweep is shuffled unless asked otherwise",
        "orchestrator/sweep/request.py",
        'order: Literal["shuffled", "design"] = "shuffled"',
        'order: Literal["shuffled", "design"] = "design"',
        ("tests/sweep/test_planning.py::test_models_are_blocks_and_order_is_not_the_design",),
    ),
    Mutation(
        "no-anchors",
        "one configuration comes again along a sweep, to show drift",
        "orchestrator/sweep/planning.py",
        "of_variants.append(_with_anchors(plan, block))",
        "of_variants.append(block)",
        ("tests/sweep/test_planning.py::test_anchors_stand_at_start_end_and_between",),
    ),
    Mutation(
        "flagged-rows-kept",
        "rows with a flag of that severity enter no effect",
        "orchestrator/report/execution_frame.py",
        'frame["measured"] & (with_left_out | ~frame["left_out"])',
        'frame["measured"]',
        ("tests/report/test_page.py::test_throttled_executions_are_counted_but_in_no_effect",),
    ),
    Mutation(
        "foreign-load-only-told",
        "rows that hold another process's energy are left out",
        "orchestrator/dataset/flags.py",
        '"left out by default",\n        of_window=lambda window: "foreign_load"',
        '"told",\n        of_window=lambda window: "foreign_load"',
        (KNOWN_TRUTH + "test_a_neighbour_s_energy_is_in_the_row_and_the_row_is_left_out",),
    ),
    Mutation(
        "new-lengths-forgotten",
        "rows of earlier versions that paid for new lengths are left out",
        "orchestrator/dataset/tables.py",
        "marked(self._records[place], caveat)",
        "self._records[place]",
        ("tests/dataset/test_tables.py::test_rows_that_paid_for_new_lengths_are_flagged",),
    ),
    # --- sessions, idle power and prefill ---------------------------------------------------------
    Mutation(
        "idle-not-left-out",
        "net energy leaves out the idle power",
        ENERGY,
        "gross_j - idle_j",
        "gross_j",
        ("tests/test_measure.py::test_net_energy_leaves_out_the_newest_idle_power",),
    ),
    Mutation(
        "first-baseline-for-ever",
        "an idle power that moved by a tenth is a new baseline",
        "orchestrator/baselines.py",
        "MOVED = 0.10",
        "MOVED = 10.0",
        ("tests/test_baselines.py::test_ten_percent_make_a_new_one",),
    ),
    Mutation(
        "idle-right-after-work",
        "idle power is measured after a rest",
        "orchestrator/baselines.py",
        "    clock.sleep(SETTLE_S)\n",
        "",
        ("tests/test_baselines.py::test_averaged_power_has_forgotten_the_work_before_it",),
    ),
    Mutation(
        "prefill-of-the-window",
        "prefill is the mean over the answers of its window",
        MEASURE,
        "prefill_energy_j=energy_j / outcome.n_in_window",
        "prefill_energy_j=energy_j",
        (
            "tests/test_measure.py::test_the_prefill_is_measured_once_a_session_and_before_the_window",
        ),
    ),
    Mutation(
        "energy-of-all-answers",
        "energies are of one answer, however many lie in the window",
        MEASURE,
        "of_row(value) if name in ENERGIES else value",
        "value",
        (
            "tests/test_measure.py::test_an_answer_is_generated_again_until_its_window_is_long_enough",
        ),
    ),
    Mutation(
        "edges-once-an-answer",
        "a window has its edges once, however many answers lie in it",
        ENERGY,
        'product(_batch_window_s(row), row.get("n_in_window", 1))',
        "_batch_window_s(row)",
        ("tests/test_measure.py::test_several_answers_have_the_window_s_edges_once",),
    ),
    Mutation(
        "whole-window-a-row",
        "rows of a batch share its window, each by its new tokens",
        MEASURE,
        "product(quotient(whole, window.n_in_window), outcome.share)",
        "quotient(whole, window.n_in_window)",
        ("tests/test_measure.py::test_rows_of_a_batch_share_its_window_by_their_new_tokens",),
    ),
    Mutation(
        "edges-of-a-share",
        "a row of a batch is as uncertain as its window",
        ENERGY,
        'return row.get("batch_window_s") or row.get("window_s")',
        'return row.get("window_s")',
        ("tests/test_measure.py::test_a_share_is_as_uncertain_as_its_window",),
    ),
    Mutation(
        "no-closing-anchor",
        "a session ends with an anchor",
        TRAINABLE,
        "if not self._queue and assignment.is_last and",
        "if False and",
        (OF_TRAINABLE + "test_a_session_has_an_anchor_at_both_ends_and_before_each_tenth_trial",),
    ),
    Mutation(
        "drift-not-flagged",
        "trials beside an anchor that moved are doubtful",
        "orchestrator/dataset/sessions.py",
        "MOST_DRIFT = 0.05",
        "MOST_DRIFT = 5.0",
        (
            "tests/dataset/test_sessions.py::test_the_trials_beside_an_anchor_that_moved_are_doubtful",
        ),
    ),
)
