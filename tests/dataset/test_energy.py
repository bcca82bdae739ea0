"""The uncertainty of sums of energies: by hand, and against errors that were drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from orchestrator.dataset.energy import (
    ENERGY_NAMES,
    GPU_ENERGIES,
    SENSOR_REL,
    energy_rel_uncertainty,
    rel_uncertainty_of_sum,
)
from orchestrator.dataset.gross_energy import gross_energy

WINDOW_S = 2.0


def row(energy_j: float = 100.0, statistical: float = 0.02, **changes: Any) -> dict[str, Any]:
    """A row whose energy the counter of a GPU measured."""
    return {
        "energy_basis": "gpu_energy_counter_j",
        "gpu_energy_counter_j": energy_j,
        "energy_rel_systematic": SENSOR_REL,
        "energy_rel_statistical": statistical,
        "counter_look_s": 0.004,
        "gpu_uuid": "GPU-1",
        **changes,
    }


MODEL = {
    "energy_basis": "energy_j",
    "energy_j": 20.0,
    "energy_rel_systematic": None,
    "energy_rel_statistical": None,
    "gpu_uuid": None,
}
OTHER = {"gpu_uuid": "GPU-2"}
AVERAGED = {
    "energy_basis": "gpu_energy_integrated_j",
    "gpu_energy_integrated_j": 300.0,
    "power_semantics": "average_1s",
}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        # root(19² + (1.96 root(2² + 3²))²) / 400
        ([row(100, 0.02), row(300, 0.01)], 0.050679),
        # the gains of two devices: root(2.88675² + 8.66025²) = 9.12871, times 1.96
        ([row(100, 0.02), row(300, 0.01, **OTHER)], 0.048093),
        # of one device nearly alone the errors are bounded: as if both gains were one
        ([row(399, 0.0), row(1, 0.0, **OTHER)], 0.0475),
        # edges that err to one side: root(19² + (1.96 (2 + 3))²) / 400
        ([row(100, 0.02, counter_look_s=None), row(300, 0.01, counter_look_s=None)], 0.053446),
        # one such beside one that doesn't: root(19² + (1.96 root(2² + 3²))²) / 400
        ([row(100, 0.02), row(300, 0.01, **AVERAGED)], 0.050679),
        ([row(100, 0.02), MODEL], None),
        ([row(100, 0.02), row(gpu_energy_counter_j=None)], None),
        ([MODEL], None),
        ([], None),
    ],
)
def test_sums_by_hand(rows: list[dict[str, Any]], expected: float | None) -> None:
    if expected is not None:
        expected = pytest.approx(expected, rel=1e-4)
    assert rel_uncertainty_of_sum(rows) == expected


def test_the_sum_of_one_row_is_as_uncertain_as_the_row() -> None:
    one = row(window_s=WINDOW_S, power_before_w=75.0)
    one["energy_rel_statistical"] = 0.004 / 12**0.5 * (1 + (75 / 50) ** 2) ** 0.5 / WINDOW_S
    assert rel_uncertainty_of_sum([one]) == pytest.approx(energy_rel_uncertainty(one))


def test_a_long_sum_keeps_the_error_of_its_sensor() -> None:
    """The edges' part of a thousand rows is small, and the gain's part is what it was."""
    assert rel_uncertainty_of_sum([row(statistical=0.05)] * 1000) == pytest.approx(0.0475, rel=0.01)


def test_rows_of_one_batch_share_the_edges_of_one_window() -> None:
    """Their sum is as uncertain as a row of that window, and so is each of them."""
    whole = row(100.0, 0.02, window_s=8.0)
    parts = [
        row(100.0 * share, 0.02, window_s=8.0 * share, batch_window_s=8.0)
        for share in (0.5, 0.3, 0.2)
    ]
    other = row(300.0, 0.01, window_s=9.0)
    expected = rel_uncertainty_of_sum([whole, other])
    assert rel_uncertainty_of_sum([*parts, other]) == pytest.approx(expected)


@pytest.mark.parametrize("n_devices", [1, 2, 8])
@pytest.mark.parametrize("n_rows", [2, 5, 50])
@pytest.mark.parametrize("look_s", [0.004, 0.1, 0.4])
def test_95_percent_of_the_errors_of_a_sum_lie_within(
    n_devices: int, n_rows: int, look_s: float
) -> None:
    """Each device has a gain within 5 %, each edge lies anywhere between two looks.

    `n_rows` is that of each device; test_known_truth.py has single rows. The load and the power
    before it are those of an H100.
    """
    draw = np.random.default_rng(7)
    n_sums, load_w, before_w = 20_000, 137.0, 40.0
    shape = (n_sums, n_devices, n_rows)
    seconds = np.random.default_rng(1).uniform(1, 4, (n_devices, n_rows))
    true_j = load_w * seconds
    edges_j = look_s * (load_w * draw.uniform(-0.5, 0.5, shape))
    edges_j += look_s * (before_w * draw.uniform(-0.5, 0.5, shape))
    gain = 1 + draw.uniform(-0.05, 0.05, (n_sums, n_devices, 1))
    measured_j = ((true_j + edges_j) * gain).sum(axis=(1, 2))
    edge_j = look_s / 12**0.5 * np.hypot(load_w, before_w)
    claimed = rel_uncertainty_of_sum(
        row(energy_j, edge_j / energy_j, gpu_uuid=str(device))
        for device, energies_j in enumerate(true_j)
        for energy_j in energies_j
    )
    assert claimed is not None
    within = np.abs(measured_j / true_j.sum() - 1) <= claimed
    assert 0.92 <= within.mean() <= 0.98


def test_each_basis_has_a_name() -> None:
    assert set(ENERGY_NAMES) == {*GPU_ENERGIES, "energy_j"}
    assert all(ENERGY_NAMES.values())


def test_energies_of_different_things_are_never_one_number() -> None:
    rows = [row(), row(), MODEL | {"pue": 2.0}, row(gpu_energy_counter_j=None)]
    both = gross_energy(rows)
    assert both.only is None
    model = "CPU+RAM energy (CodeCarbon's model) 10 J ± unknown"
    gap = " (1 execution not measured)"
    assert both.text() == f"{model} and GPU energy (counter) 200 J ± 5.5 %{gap}"
    assert both.figure() == both.text()


def test_what_was_not_measured_is_no_zero() -> None:
    nothing = gross_energy([row(gpu_energy_counter_j=None)])
    assert (nothing.text(), nothing.figure(), nothing.only) == ("energy not measured", "n/a", None)
    part = gross_energy([row(), row(gpu_energy_counter_j=None)])
    assert part.only is not None
    assert (part.only.counted_energy_j, part.only.n_executions, part.n_unmeasured) == (100, 1, 1)
    assert part.figure() == "100 J ± 5.9 % (1 execution not measured)"
