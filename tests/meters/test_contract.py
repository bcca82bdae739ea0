"""What every meter must do. A new meter is tested by its row in CASES.

Its columns are the data set's, an unknown is None with a reason and never 0, and windows can be
repeated.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import psutil
import pytest

from orchestrator.dataset.schema import Execution
from orchestrator.errors import UserError
from orchestrator.gpu.access import open_gpu
from orchestrator.gpu.devices import Gpu, index_of, list_gpus
from orchestrator.meters import METERS, Meter, Reading, Scene, codecarbon, meters_for
from orchestrator.meters.codecarbon import CodeCarbonMeter
from orchestrator.meters.columns import (
    CodeCarbonColumns,
    CounterColumns,
    NeighbourColumns,
    PowerColumns,
)
from orchestrator.meters.counter import CounterMeter
from orchestrator.meters.neighbours import NeighbourMeter
from orchestrator.meters.power import PowerMeter
from orchestrator.meters.samples import PollerProcess
from orchestrator.nouns import Machine
from tests.meters import closed
from tests.meters.fake_nvml import FakeNvml, NVMLError, changed, host, installed, uuid
from tests.meters.test_samples import POLLED_GPU, wait_for_first_sample
from tests.meters.test_samples import UUID as POLLED_UUID

CPU = Machine(
    name="test", accelerator="cpu", country_iso_code="ITA", cpu_power_w=100, ram_power_w=10
)
GPU = CPU.model_copy(update={"accelerator": "gpu"})

ENERGIES = {
    "energy_kwh",
    "energy_j",
    "gpu_energy_cc_j",
    "gpu_energy_counter_j",
    "gpu_energy_integrated_j",
    "ram_energy_j",
}
"""Columns where 0 can only mean 'don't know' in a window with load."""


def busy(seconds: float) -> None:
    """Use the CPU for so long: a process that sleeps costs a CPU nothing."""
    ends = time.perf_counter() + seconds
    while time.perf_counter() < ends:
        pass


class FixedMeter:
    """The smallest meter: says what it is told to."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def begin(self) -> None:
        pass

    def end(self) -> None:
        pass

    def reading(self, began_s: float, ended_s: float) -> Reading:
        return self._reading

    def close(self) -> None:
        pass


@dataclass
class Case:
    """A meter in a place, and how its time passes."""

    make: Callable[[], Meter]
    work: Callable[[], None]
    columns: set[str]
    unknown: set[str]
    clock: Callable[[], float] = time.perf_counter


CODECARBON = set(CodeCarbonColumns.model_fields)
COUNTER = set(CounterColumns.model_fields)
COUNTER_ENERGY = "gpu_energy_counter_j"


@contextmanager
def nvml_case(counter: str, unknown: set[str]) -> Iterator[Case]:
    with installed(host(300, counter=counter)) as nvml:
        yield Case(
            lambda: CounterMeter(nvml.access()),
            lambda: nvml.advance(1.0),
            COUNTER,
            unknown,
            nvml.clock,
        )


@contextmanager
def codecarbon_case(nvml: FakeNvml | None, seconds: float, unknown: set[str]) -> Iterator[Case]:
    scene = Scene(GPU, nvml.access()) if nvml else Scene(CPU)

    def work() -> None:
        busy(seconds)
        if nvml:
            nvml.advance(1.0)

    with (
        installed(nvml or host(), codecarbon=nvml is not None),
        pytest.MonkeyPatch.context() as patch,
    ):
        if not seconds:
            patch.setattr(
                codecarbon, "SHORTEST_S", 60.0
            )  # a busy host can make any window longer than 0.05 s
        unknown = unknown | {"slurm_node"}
        yield Case(lambda: CodeCarbonMeter(scene), work, CODECARBON, unknown)


@contextmanager
def power_case() -> Iterator[Case]:
    """A poller of its own process that reads a GPU which draws 120 W."""
    columns = set(PowerColumns.model_fields)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        Path(folder, "pynvml.py").write_text(POLLED_GPU)
        patch.syspath_prepend(folder)
        yield Case(polling, lambda: time.sleep(0.25), columns, set())


@contextmanager
def neighbour_case() -> Iterator[Case]:
    nvml = host(300)
    columns = set(NeighbourColumns.model_fields)
    make = partial(NeighbourMeter, nvml.access(), frozenset())
    yield Case(make, lambda: nvml.advance(1.0), columns, set(), nvml.clock)


def polling() -> PowerMeter:
    source = PollerProcess(POLLED_UUID)
    wait_for_first_sample(source)
    return PowerMeter(source)


@contextmanager
def fixed_case() -> Iterator[Case]:
    reading = Reading({"energy_j": None, "gpu_energy_counter_j": 2.0}, {"energy_j": "told so"})
    yield Case(
        lambda: FixedMeter(reading),
        lambda: None,
        {"energy_j", "gpu_energy_counter_j"},
        {"energy_j"},
    )


@contextmanager
def plain_case(kind: str) -> Iterator[Case]:
    """A meter that needs no device and knows all its columns."""
    make = METERS[kind].make
    columns = set(METERS[kind].columns.model_fields)
    yield Case(lambda: cast("Meter", make(Scene(CPU))), lambda: busy(0.05), columns, set())


CASES: dict[str, Callable[[], Any]] = {
    "codecarbon on a CPU": lambda: codecarbon_case(None, 0.15, {"gpu_energy_cc_j"}),
    "codecarbon on a GPU": lambda: codecarbon_case(host(300, 200), 0.15, set()),
    "codecarbon, frozen counter": lambda: codecarbon_case(
        host(300, counter="frozen"),
        0.15,
        {"energy_kwh", "energy_j", "emissions_kg", "gpu_energy_cc_j"},
    ),
    "codecarbon, window too short for it": lambda: codecarbon_case(
        host(300), 0.0, CODECARBON - {"cpu_method", "ram_method", "ram_scope", "pue"}
    ),
    "counter, linear": lambda: nvml_case("linear", set()),
    "counter, stepped": lambda: nvml_case("stepped", set()),
    "counter, frozen": lambda: nvml_case("frozen", COUNTER),
    "counter, absent": lambda: nvml_case("absent", COUNTER),
    "power": power_case,
    "neighbours": neighbour_case,
    "a fake": fixed_case,
}
"""Name in METERS, and what else is to be told -> the meter in its place."""


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    with CASES[request.param]() as made:
        yield made


def test_every_meter_is_tested_here() -> None:
    assert list(METERS)[:4] == ["neighbours", "codecarbon", "counter", "power"], "outermost first"
    assert {name.partition(",")[0].partition(" ")[0] for name in CASES} >= set(METERS)


def test_a_window(case: Case) -> None:
    meter = case.make()
    readings = [window(meter, case) for _ in range(3)]
    meter.close()
    for reading in readings:
        assert set(reading.values) == case.columns
        assert set(reading.values) <= set(Execution.model_fields)
        assert {name for name, value in reading.values.items() if value is None} == case.unknown
        assert set(reading.notes) <= case.unknown, "no reason for what is known"
        assert set(reading.notes) >= case.unknown & ENERGIES, "a reason for every unknown energy"
        assert all(reading.notes.values())
        for name in ENERGIES & set(reading.values):
            assert reading.values[name] is None or reading.values[name] > 0, name


def window(meter: Meter, case: Case) -> Reading:
    """One window of the case's work."""
    meter.begin()
    began_s = case.clock()
    case.work()
    return closed(meter, began_s, case.clock())


def test_the_table_declares_what_each_meter_writes() -> None:
    declared = {name: set(kind.columns.model_fields) for name, kind in METERS.items()}
    for name, make in CASES.items():
        kind = name.partition(",")[0].partition(" ")[0]
        if kind in METERS:
            with make() as case:
                assert case.columns == declared[kind], name


def test_two_meters_of_one_column_are_an_error_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METERS, "twice", METERS["counter"])
    with pytest.raises(ValueError, match="counter and twice both write the column gpu_energy_c"):
        meters_for(Scene(CPU))


def test_windows_don_t_run_together(case: Case) -> None:
    """What happens between two windows belongs to neither."""
    meter = case.make()
    first = window(meter, case)
    for _ in range(5):
        case.work()
    second = window(meter, case)
    meter.close()
    for name in {"gpu_energy_cc_j", "gpu_energy_counter_j"} & (case.columns - case.unknown):
        assert second.values[name] == pytest.approx(first.values[name], rel=1e-3)


def test_close_at_any_time(case: Case) -> None:
    case.make().close()
    meter = case.make()
    meter.begin()
    meter.close()
    meter.close()
    again = case.make()
    again.begin()
    case.work()
    assert set(closed(again).values) == case.columns, "the closed ones left nothing behind"
    again.close()


# --- which meters there are -----------------------------------------------------------------------


def test_without_a_gpu_there_is_no_counter() -> None:
    with installed(host()):
        types = [type(meter) for meter in meters_for(Scene(CPU))]
    assert types[0] is CodeCarbonMeter
    assert not {CounterMeter, PowerMeter} & set(types)


def test_with_a_gpu_codecarbon_is_the_outer_window() -> None:
    with installed(host(300)) as nvml:
        meters = meters_for(Scene(GPU, nvml.access()))
        for meter in meters:
            meter.close()
    assert [type(meter) for meter in meters[:4]] == [
        NeighbourMeter,
        CodeCarbonMeter,
        CounterMeter,
        PowerMeter,
    ]


# --- NVML -----------------------------------------------------------------------------------------


def test_the_gpus_of_a_host() -> None:
    with installed(host(300, 200, name="Tesla T4", memory_bytes=15 * 2**30, power_limit_w=70.0)):
        assert list_gpus() == [Gpu(n, uuid(n), "Tesla T4", 15 * 2**30, 70.0) for n in (0, 1)]


def test_a_power_limit_that_is_not_told_is_unknown() -> None:
    with installed(host(300, refuses=frozenset({"nvmlDeviceGetEnforcedPowerLimit"}))):
        assert [gpu.power_limit_w for gpu in list_gpus()] == [None]


@pytest.mark.parametrize("missing", ["library", "driver"])
def test_without_library_or_driver_there_are_no_gpus(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    if missing == "library":
        monkeypatch.setitem(sys.modules, "pynvml", None)
    else:
        nvml = host(300)
        monkeypatch.setattr(nvml, "nvmlInit", raising(NVMLError("driver not loaded")))
        monkeypatch.setitem(sys.modules, "pynvml", nvml)
    assert list_gpus() == []


def raising(error: Exception) -> Callable[[], None]:
    def raises() -> None:
        raise error

    return raises


def test_on_this_host_without_a_gpu_there_are_none_or_real_ones() -> None:
    """The real library: where it finds no driver it must not raise."""
    assert all(gpu.uuid.startswith("GPU-") for gpu in list_gpus())


@pytest.mark.parametrize("query", ["nvmlDeviceGetName", "nvmlDeviceGetMemoryInfo"])
def test_a_query_that_the_gpu_refuses_hides_no_gpu(query: str) -> None:
    """GPUs that share the host's memory refuse to tell its size; the counter works all the same."""
    with installed(host(300, 200)) as nvml:
        changed(nvml.gpus[0], refuses=frozenset({query}))
        gpus = list_gpus()
        assert [gpu.uuid for gpu in gpus] == [uuid(0), uuid(1)]
        told = (
            gpus[0].name == nvml.gpus[0].truth.name,
            gpus[0].memory_bytes == psutil.virtual_memory().total,
        )
        assert (
            told
            == {"nvmlDeviceGetName": (False, False), "nvmlDeviceGetMemoryInfo": (True, True)}[query]
        )
        assert (gpus[1].name, gpus[1].memory_bytes) == (
            nvml.gpus[1].truth.name,
            nvml.gpus[1].truth.memory_bytes,
        )
        assert index_of(uuid(1)) == 1
        meter = CounterMeter(nvml.access())
        meter.begin()
        nvml.advance(2.0)
        assert closed(meter, 0.0, nvml.clock()).values[COUNTER_ENERGY] == pytest.approx(
            600.0, rel=0.01
        )


@pytest.mark.parametrize("query", ["nvmlDeviceGetHandleByIndex", "nvmlDeviceGetUUID"])
def test_a_gpu_that_is_lost_hides_no_other(query: str) -> None:
    """A GPU that has fallen off the bus answers nothing at all.

    The others are numbered as before.
    """
    with installed(host(300, 200, 100)) as nvml:
        changed(nvml.gpus[1], refuses=frozenset({query}))
        assert [(gpu.index, gpu.uuid) for gpu in list_gpus()] == [(0, uuid(0)), (2, uuid(2))]
        assert index_of(uuid(2)) == 2


def test_a_gpu_is_found_by_its_uuid_whatever_cuda_says(monkeypatch: pytest.MonkeyPatch) -> None:
    with installed(host(300, 200, 100, 50)):
        for visible in ("3", "2,3", uuid(3), ""):
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
            assert [index_of(uuid(n)) for n in range(4)] == [0, 1, 2, 3]


def test_a_gpu_that_is_not_there_is_a_user_error() -> None:
    with installed(host(300)), pytest.raises(UserError) as raised:
        open_gpu("MIG-0a0a0a0a")
    assert str(raised.value) == (
        f"the GPU MIG-0a0a0a0a is not among those NVML lists ({uuid(0)}); MIG slices have no "
        "energy counter of their own"
    )
