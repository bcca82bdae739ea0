"""The program that measures start-up still starts both of its sides."""

from __future__ import annotations

import pytest

from tools.startup import bare_start, sweep_start


@pytest.mark.slow
def test_a_sweep_and_a_bare_program_reach_their_first_work() -> None:
    ours = sweep_start("simulated", "smollm2")
    bare = bare_start("simulated", "smollm2")
    assert 0 < ours["planned_s"] < ours["first_window_s"]
    assert 0 < ours["protocol_s"] < ours["first_window_s"]
    assert ours["cpu_s"] > 0
    assert bare["cpu_s"] > 0
    assert (bare["load_s"], bare["loaded_s"] > 0) == (0.0, True)
