"""CodeCarbon as we run it.

Nothing of the surroundings reaches its numbers, and where it fails the row says so.
"""

from __future__ import annotations

import inspect
import math
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from orchestrator.meters import Reading, Scene, codecarbon
from orchestrator.meters.codecarbon import CodeCarbonMeter
from orchestrator.nouns import Machine
from orchestrator.units import J_PER_KWH
from tests.meters import closed, powercap
from tests.meters.fake_nvml import host, installed, uuid
from tests.meters.powercap import RANGE_UJ, Powercap

ITALY = Machine(
    name="test",
    accelerator="cpu",
    country_iso_code="ITA",
    carbon_intensity_g_per_kwh=250,
    cpu_power_w=100,
    ram_power_w=10,
)
ANYWHERE = Machine(name="test", accelerator="cpu")

ENERGIES = (
    "energy_kwh",
    "energy_j",
    "emissions_kg",
    "gpu_energy_cc_j",
    "cpu_energy_j",
    "ram_energy_j",
)

HOSTILE = {
    "PUE": "3",
    "WUE": "9",
    "COUNTRY_ISO_CODE": "AUS",
    "COUNTRY_2LETTER_ISO_CODE": "AU",
    "REGION": "queensland",
    "CLOUD_PROVIDER": "aws",
    "CLOUD_REGION": "us-east-1",
    "FORCE_CARBON_INTENSITY_G_CO2E_KWH": "999",
    "FORCE_CPU_POWER": "5000",
    "FORCE_RAM_POWER": "4000",
    "FORCE_MODE_CPU_LOAD": "true",
    "TRACKING_MODE": "machine",
    "MEASURE_POWER_SECS": "0.01",
    "API_CALL_INTERVAL": "not a number",
    "ALLOW_MULTIPLE_RUNS": "false",
    "GPU_IDS": "0,1,2,3",
    "PROJECT_NAME": "stranger",
    "EXPERIMENT_ID": "stranger",
    "EXPERIMENT_NAME": "stranger",
    "OUTPUT_DIR": "/nonexistent/folder",
    "OUTPUT_METHODS": "csv,api,prometheus",
    "OUTPUT_FILE": "/nonexistent/file",
    "SAVE_TO_FILE": "true",
    "SAVE_TO_API": "true",
    "API_ENDPOINT": "http://127.0.0.1:9",
    "EMISSIONS_ENDPOINT": "http://127.0.0.1:9",
    "ELECTRICITYMAPS_API_TOKEN": "stranger",
    "CO2_SIGNAL_API_TOKEN": "stranger",
    "LOG_LEVEL": "debug",
    "LOGGER_PREAMBLE": "stranger",
    "RAPL_INCLUDE_DRAM": "true",
    "RAPL_PREFER_PSYS": "true",
}


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """All sockets blocked; what was tried is listed."""
    tried: list[Any] = []

    def refuse(*args: Any, **_kwargs: Any) -> None:
        tried.append(args)
        raise OSError("blocked by the test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return tried


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty working folder and home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@dataclass(frozen=True)
class Window:
    """A reading, and between which seconds its window lies.

    The work alone, and begin() and end() with it.
    """

    reading: Reading
    inner_s: float
    outer_s: float

    def holds(self, watts: float, column: str = "ram_energy_j") -> bool:
        """Whether the energy of a part of known power is that of the window.

        CodeCarbon's own edges lie in it, too.
        """
        joules = self.reading.values[column]
        return 0.98 * watts * self.inner_s <= joules <= 1.02 * watts * self.outer_s


def window(scene: Scene, seconds: float = 0.3) -> Window:
    meter = CodeCarbonMeter(scene)
    outer = time.perf_counter()
    meter.begin()
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        pass
    ended = time.perf_counter()
    reading = closed(meter)
    ended_outer = time.perf_counter()
    meter.close()
    return Window(reading, ended - began, ended_outer - outer)


def test_a_window_of_known_power(no_network: list[Any]) -> None:
    window(Scene(ITALY))  # the first one looks for the hardware
    taken = window(Scene(ITALY, project_name="sweep"), 0.5)
    values, raw = taken.reading.values, taken.reading.codecarbon
    assert taken.holds(10.0)
    assert 0 < values["cpu_energy_j"] < 110 * taken.outer_s
    assert values["energy_j"] == pytest.approx(values["cpu_energy_j"] + values["ram_energy_j"])
    assert values["energy_kwh"] * J_PER_KWH == pytest.approx(values["energy_j"])
    assert values["gpu_energy_cc_j"] is None
    assert taken.reading.notes == {"gpu_energy_cc_j": "no GPU"}
    assert raw["emissions"] == pytest.approx(values["energy_kwh"] * 0.250, rel=1e-6)
    assert values["emissions_kg"] == pytest.approx(values["energy_kwh"] * 0.250, rel=1e-6)
    assert raw["project_name"] == "sweep"
    assert no_network == []


def test_with_all_sockets_blocked_it_holds_the_country(
    no_network: list[Any], elsewhere: Path
) -> None:
    machine = ITALY.model_copy(update={"carbon_intensity_g_per_kwh": None})
    reading = window(Scene(machine)).reading
    assert (reading.codecarbon["country_iso_code"], reading.codecarbon["country_name"]) == (
        "ITA",
        "Italy",
    )
    assert reading.codecarbon["on_cloud"] == "N"
    intensity_g = 1000 * reading.codecarbon["emissions"] / reading.codecarbon["energy_consumed"]
    assert 200 < intensity_g < 450, "Italy's, not France's 56 nor the world's 475"
    assert no_network == []
    assert list(elsewhere.iterdir()) == [], "no CSV, no lock"


def test_without_a_country_it_is_the_world_average(no_network: list[Any]) -> None:
    reading = window(Scene(ANYWHERE)).reading
    assert 1000 * reading.codecarbon["emissions"] / reading.codecarbon[
        "energy_consumed"
    ] == pytest.approx(475, rel=0.02)
    assert not reading.codecarbon["country_iso_code"]
    assert no_network == []


@pytest.mark.parametrize(
    "by", ["environment", "lower case", "file in the working folder", "file in the home"]
)
def test_a_hostile_surrounding_changes_nothing(
    by: str,
    monkeypatch: pytest.MonkeyPatch,
    elsewhere: Path,
    no_network: list[Any],
    capfd: pytest.CaptureFixture[str],
) -> None:
    scene = Scene(ITALY, project_name="ours")
    calm = window(scene).reading
    if by == "environment":
        for name, value in HOSTILE.items():
            monkeypatch.setenv(f"CODECARBON_{name}", value)
    elif by == "lower case":
        for name, value in HOSTILE.items():
            monkeypatch.setenv(f"codecarbon_{name.lower()}", value)
    else:
        text = "\n".join(
            ["[codecarbon]", *(f"{name.lower()}={value}" for name, value in HOSTILE.items())]
        )
        (elsewhere / ".codecarbon.config").write_text(text)
        if by == "file in the home":
            (elsewhere / "work").mkdir()
            monkeypatch.chdir(elsewhere / "work")
    capfd.readouterr()
    taken = window(scene)
    reading = taken.reading

    assert no_network == [], "it tried to reach the network"
    assert taken.holds(10.0)
    assert reading.values["cpu_method"] == calm.values["cpu_method"]
    same = set(reading.codecarbon) - {
        "timestamp", "run_id", "duration", "emissions", "emissions_rate", "cpu_power",
        "gpu_power", "ram_power", "cpu_energy", "gpu_energy", "ram_energy", "energy_consumed",
        "cpu_utilization_percent", "ram_utilization_percent", "ram_used_gb",
    }  # fmt: skip
    assert {name: reading.codecarbon[name] for name in same} == {
        name: calm.codecarbon[name] for name in same
    }
    assert reading.codecarbon["emissions"] / reading.codecarbon["energy_consumed"] == pytest.approx(
        0.250
    )
    assert [p.name for p in elsewhere.rglob("*.csv")] == []
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_every_option_is_given_explicitly(monkeypatch: pytest.MonkeyPatch) -> None:
    """An option that CodeCarbon has and we don't name is read from the surroundings.

    A new one must be looked at.
    """
    import codecarbon as library
    from codecarbon.emissions_tracker import BaseEmissionsTracker

    given: dict[str, Any] = {}

    class Spy:
        def __init__(self, **options: Any) -> None:
            given.update(options)

        def start(self) -> None:
            pass

        def stop(self) -> None:
            pass

    base = inspect.signature(BaseEmissionsTracker.__init__).parameters
    offline = inspect.signature(library.OfflineEmissionsTracker.__init__).parameters
    monkeypatch.setattr(library, "OfflineEmissionsTracker", Spy)
    meter = CodeCarbonMeter(Scene(ITALY))
    meter.begin()
    meter.close()
    only_for_outputs = {
        "api_endpoint", "api_key", "output_file", "logging_logger", "prometheus_url",
        "on_csv_write",
    }  # fmt: skip
    deprecated = {
        "save_to_file",
        "save_to_api",
        "save_to_logger",
        "save_to_prometheus",
        "save_to_logfire",
        "co2_signal_api_token",
    }
    options = (set(base) | set(offline)) - {"self", "args", "kwargs"}
    assert options - set(given) - only_for_outputs - deprecated == set()


# --- failures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("counter", [None, "linear", "absent"])
def test_nothing_of_codecarbon_runs_within_a_window(
    counter: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its thread walks all processes each second. Only a GPU without a counter needs it."""
    from codecarbon import emissions_tracker

    calls: list[Any] = []

    def monitor(tracker: Any) -> None:
        calls.append(tracker)

    monkeypatch.setattr(emissions_tracker.BaseEmissionsTracker, "_monitor_power", monitor)
    nvml = host() if counter is None else host(300, counter=counter)
    with installed(nvml, codecarbon=True):
        window(Scene(ITALY, nvml.access() if nvml.gpus else None), 1.2)
    assert len(calls) == (counter == "absent")


@pytest.mark.parametrize("method", ["__init__", "start", "stop"])
def test_where_codecarbon_fails_every_energy_is_none_with_a_reason(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CodeCarbon swallows its own errors, whichever step they come from."""
    from codecarbon import emissions_tracker

    def fails(*_args: Any, **_kwargs: Any) -> None:
        raise RuntimeError("no such luck")

    inner = {
        "__init__": "_initialize_runtime_state",
        "start": "_ensure_hardware_ready",
        "stop": "_prepare_emissions_data",
    }
    monkeypatch.setattr(emissions_tracker.BaseEmissionsTracker, inner[method], fails)
    reading = window(Scene(ITALY)).reading
    assert {name: reading.values[name] for name in ENERGIES} == dict.fromkeys(ENERGIES)
    assert set(reading.notes) == set(ENERGIES)
    assert set(reading.notes.values()) == {
        "CodeCarbon measured nothing (its own error was swallowed)"
    }
    assert reading.codecarbon == {}


def test_a_failure_spoils_no_later_window(monkeypatch: pytest.MonkeyPatch) -> None:
    from codecarbon import emissions_tracker

    with monkeypatch.context() as patch:
        patch.setattr(
            emissions_tracker.BaseEmissionsTracker, "_prepare_emissions_data", lambda _self: 1 / 0
        )
        assert window(Scene(ITALY)).reading.values["energy_j"] is None
    assert window(Scene(ITALY)).reading.values["energy_j"] > 0


@pytest.mark.parametrize(
    ("seconds", "known"),
    [(0.0, False), (0.02, False), (0.0499, False), (0.0501, True), (10.0, True)],
)
def test_a_window_too_short_for_codecarbon_is_none(
    seconds: float, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CodeCarbon skips its last measurement where the one before is less than 0.05 s old.

    It then gives the energy of its start alone.
    """
    clock = SimpleNamespace(perf_counter=iter([100.0, 100.0 + seconds]).__next__)
    monkeypatch.setattr(codecarbon, "time", clock)
    reading = window(Scene(ITALY), 0.06).reading
    if known:
        assert reading.values["energy_j"] > 0
        return
    assert {name: reading.values[name] for name in ENERGIES} == dict.fromkeys(ENERGIES)
    assert reading.notes == dict.fromkeys(
        ENERGIES, "CodeCarbon measures nothing in a window under 0.05 s"
    )
    assert reading.codecarbon["country_iso_code"] == "ITA", "its record is kept"


def test_codecarbon_itself_still_skips_short_windows() -> None:
    """The fact behind it: a tenth of the window's energy, where a fast host lets us see it."""
    window(Scene(ITALY))
    for _ in range(20):
        taken = window(Scene(ITALY), 0.04)
        if taken.outer_s < 0.05:
            assert taken.reading.codecarbon["ram_energy"] * J_PER_KWH < 0.5 * 10 * taken.inner_s
            return
    pytest.skip("this host is too busy for short windows")


# --- methods and shares ---------------------------------------------------------------------------


def test_the_methods_are_told() -> None:
    values = window(Scene(ITALY)).reading.values
    assert values["cpu_method"] in ("cpu_load", "constant"), (
        "a given CPU power is a nominal power, never a measurement"
    )
    assert values["ram_method"] == "constant"
    values = window(Scene(ANYWHERE)).reading.values
    assert values["cpu_method"] in ("rapl", "cpu_load", "constant")
    assert values["ram_method"] == "process_rss"


def test_parallel_trials_share_a_given_ram_power() -> None:
    taken = window(Scene(ITALY, n_parallel=4))
    assert taken.holds(10 / 4)
    assert taken.reading.codecarbon["ram_power"] == 10 / 4


def test_parallel_trials_share_a_package_that_rapl_measures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(codecarbon, "CPU_METHODS", {"constant": "rapl", "cpu_load": "rapl"})
    reading = window(Scene(ITALY, n_parallel=4)).reading
    package_j = reading.codecarbon["cpu_energy"] * J_PER_KWH
    assert package_j > 0
    assert reading.values["cpu_energy_j"] == pytest.approx(package_j / 4)
    total_j = package_j / 4 + reading.values["ram_energy_j"]
    assert reading.values["energy_j"] == pytest.approx(total_j)


QUARTER = {"CPUS_PER_NODE": "16", "MEM": "quarter"}


@pytest.mark.parametrize(
    ("job", "n_parallel", "watts", "told"),
    [
        ({}, 1, 10.0, ("node", None)),
        (QUARTER, 1, 2.5, ("requested", "part")),
        (QUARTER, 2, 1.25, ("requested", "part")),
        (QUARTER | {"CPUS_PER_NODE": "64"}, 1, 10.0, ("node", "whole")),
        ({"CPUS_PER_NODE": "16"}, 1, 10.0, ("node", "part")),
    ],
)
def test_a_job_is_charged_for_the_ram_that_it_asked_for(
    job: dict[str, str],
    n_parallel: int,
    watts: float,
    told: tuple[str, str | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    if job:
        monkeypatch.setenv("SLURM_JOB_ID", "1")
        monkeypatch.setenv("SLURM_JOB_CPUS_PER_NODE", job["CPUS_PER_NODE"])
    if "MEM" in job:
        quarter_mb = psutil.virtual_memory().total // 4 // 2**20
        monkeypatch.setenv("SLURM_MEM_PER_NODE", str(quarter_mb))
    taken = window(Scene(ITALY, n_parallel=n_parallel))
    assert taken.holds(watts)
    assert (taken.reading.values["ram_scope"], taken.reading.values["slurm_node"]) == told


def test_codecarbon_s_own_model_of_ram_is_of_the_process() -> None:
    assert window(Scene(ANYWHERE)).reading.values["ram_scope"] == "process"


def test_the_pue_multiplies_every_part() -> None:
    taken = window(Scene(ITALY.model_copy(update={"pue": 1.5})))
    assert taken.holds(15.0)
    assert taken.reading.codecarbon["pue"] == 1.5


# --- RAPL -----------------------------------------------------------------------------------------


def rapl_window(
    tree: Powercap, scene: Scene, work: Callable[[], None], seconds: float = 10.0
) -> Reading:
    """A window of so many seconds by the meter's clock, on a host with RAPL."""
    ticks = SimpleNamespace(perf_counter=iter([100.0, 100.0 + seconds]).__next__)
    with powercap.installed(tree), pytest.MonkeyPatch.context() as patch:
        patch.setattr(codecarbon, "time", ticks)
        meter = CodeCarbonMeter(scene)
        meter.begin()
        time.sleep(0.06)  # CodeCarbon looks at the real clock
        work()
        return closed(meter)


@pytest.mark.parametrize("start_uj", [1_000_000, RANGE_UJ - 5])
def test_rapl_is_read_though_its_counter_goes_round(start_uj: int, tmp_path: Path) -> None:
    tree = Powercap(tmp_path, starts_uj=(start_uj,))
    reading = rapl_window(tree, Scene(ANYWHERE), lambda: tree.use(100.0))
    values = reading.values
    assert values["cpu_method"] == "rapl"
    assert values["cpu_energy_j"] == pytest.approx(100.0, rel=1e-6)
    assert values["energy_j"] == pytest.approx(100.0 + values["ram_energy_j"])
    assert reading.notes == {"gpu_energy_cc_j": "no GPU"}


def test_packages_are_added_and_trials_get_equal_parts(tmp_path: Path) -> None:
    """What four trials of a host are charged adds up to what it used."""
    tree = Powercap(tmp_path, starts_uj=(5_000_000, 90_000_000))

    def work() -> None:
        tree.use(100.0)
        tree.use(60.0, package=1)

    reading = rapl_window(tree, Scene(ANYWHERE, n_parallel=4), work)
    assert 4 * reading.values["cpu_energy_j"] == pytest.approx(160.0, rel=1e-6)
    assert reading.values["energy_j"] == pytest.approx(40.0 + reading.values["ram_energy_j"])


RANGE, COUNTER = "max_energy_range_uj", "energy_uj"
ROUND = "RAPL's counter may have gone round in the window, at 262 kJ"
GONE = "RAPL's counter can't be read, or went backwards"


@pytest.mark.parametrize(
    ("hidden", "joules", "seconds", "why"),
    [
        (None, 312e3, 600.0, ROUND),  # looked like 50 kJ
        (None, 10.0, 262.2, ROUND),
        (None, 10.0, 262.1, None),
        # where CodeCarbon sees that it can't tell it gives 0 J
        (RANGE, -0.5, 10.0, GONE),
        (COUNTER, 10.0, 10.0, GONE),
        (RANGE, 10.0, 10.0, "RAPL's range can't be read: its counter may have gone round"),
    ],
)
def test_what_rapl_doesn_t_tell_is_none_with_a_reason(
    hidden: str | None, joules: float, seconds: float, why: str | None, tmp_path: Path
) -> None:
    tree = Powercap(tmp_path, starts_uj=(1_000_000, 90_000_000))
    if hidden == RANGE:
        tree.hide(RANGE)

    def work() -> None:
        tree.use(joules)
        tree.use(20.0, package=1)  # the other package can be read: the sum is unknown all the same
        if hidden == COUNTER:
            tree.hide(COUNTER)

    reading = rapl_window(tree, Scene(ANYWHERE), work, seconds)
    lost = ("cpu_energy_j", "energy_kwh", "energy_j", "emissions_kg")
    if why is None:
        assert reading.values["cpu_energy_j"] == pytest.approx(joules + 20.0)
        return
    assert {name: reading.values[name] for name in lost} == dict.fromkeys(lost)
    assert reading.notes == dict.fromkeys(lost, why) | {"gpu_energy_cc_j": "no GPU"}
    assert reading.values["ram_energy_j"] > 0, "what is known stays"


def test_no_cpu_energy_is_unknown_unless_it_follows_from_the_process_s_time(tmp_path: Path) -> None:
    tree = Powercap(tmp_path)
    reading = rapl_window(tree, Scene(ANYWHERE), lambda: None)
    assert reading.values["cpu_energy_j"] is None
    assert reading.notes["energy_j"] == "CodeCarbon read no CPU energy"


# --- GPUs -----------------------------------------------------------------------------------------

ON_GPU = ITALY.model_copy(update={"accelerator": "gpu"})


def gpu_window(meter: CodeCarbonMeter, nvml: Any, seconds: float) -> Reading:
    meter.begin()
    time.sleep(0.06)  # CodeCarbon looks at the real clock, too
    nvml.advance(seconds)
    return closed(meter)


@pytest.mark.parametrize("visible", [None, "", "3", "2,3", "GPU", "0"])
@pytest.mark.parametrize(("index", "watts"), [(0, 300), (1, 200), (2, 100), (3, 50)])
def test_exactly_the_chosen_gpu_is_charged(
    index: int, watts: float, visible: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", uuid(index) if visible == "GPU" else visible)
    with installed(host(300, 200, 100, 50), codecarbon=True) as nvml:
        meter = CodeCarbonMeter(Scene(ON_GPU, nvml.access(index)))
        for _ in range(2):  # CodeCarbon keeps what it found of the hardware for the next tracker
            reading = gpu_window(meter, nvml, 10.0)
            assert reading.values["gpu_energy_cc_j"] == pytest.approx(watts * 10, rel=1e-6)
            parts = [
                reading.values[name] for name in ("cpu_energy_j", "ram_energy_j", "gpu_energy_cc_j")
            ]
            assert reading.values["energy_j"] == pytest.approx(math.fsum(parts))
            assert reading.notes == {}


def test_without_a_gpu_of_ours_no_gpu_is_charged() -> None:
    """An engine on the CPU of a host with GPUs: their idle power is not its energy."""
    with installed(host(300, 200), codecarbon=True) as nvml:
        meter = CodeCarbonMeter(Scene(ITALY))
        for _ in range(2):
            reading = gpu_window(meter, nvml, 10.0)
            assert reading.values["gpu_energy_cc_j"] is None
            parts = reading.values["cpu_energy_j"] + reading.values["ram_energy_j"]
            assert reading.values["energy_j"] == pytest.approx(parts)
            assert reading.values["energy_kwh"] * J_PER_KWH == pytest.approx(parts)


def test_the_pue_applies_to_the_gpu() -> None:
    with installed(host(300), codecarbon=True) as nvml:
        meter = CodeCarbonMeter(Scene(ON_GPU.model_copy(update={"pue": 1.2}), nvml.access()))
        assert gpu_window(meter, nvml, 10.0).values["gpu_energy_cc_j"] == pytest.approx(3600)


def test_a_gpu_that_reads_nothing_makes_the_total_unknown() -> None:
    with installed(host(300, counter="frozen"), codecarbon=True) as nvml:
        reading = gpu_window(CodeCarbonMeter(Scene(ON_GPU, nvml.access())), nvml, 10.0)
    unknown = ("energy_kwh", "energy_j", "emissions_kg", "gpu_energy_cc_j")
    assert {name: reading.values[name] for name in unknown} == dict.fromkeys(unknown)
    assert reading.notes == dict.fromkeys(unknown, "CodeCarbon read no GPU energy")
    assert reading.values["ram_energy_j"] > 0


# --- a server's processes -------------------------------------------------------------------------

BUSY = """
import subprocess, sys, time
if sys.argv[1:] == ["parent"]:
    child = subprocess.Popen([sys.executable, "-c", sys.stdin.read(), "child"])
    print("begun", flush=True)
    sys.exit(child.wait())
block = bytearray(200_000_000)
while True:
    pass
"""
"""A process that only waits for its child, which computes and holds 200 MB."""


@pytest.fixture
def busy_server() -> Iterator[psutil.Process]:
    """A server whose child is busy all the time."""
    command = [sys.executable, "-c", BUSY, "parent"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        parent.stdin.write(BUSY)
        parent.stdin.close()
        parent.stdout.readline()
        server = psutil.Process(parent.pid)
        yield server
        for process in (*server.children(), server):
            process.kill()


def test_the_cpu_and_ram_of_a_server_are_those_of_its_process_tree(
    busy_server: psutil.Process,
) -> None:
    """The CPU time of its child, which lies between what it had in and around the window."""
    [child] = busy_server.children()

    def busy_s() -> float:
        times = child.cpu_times()
        return times.user + times.system

    meter = CodeCarbonMeter(
        Scene(ITALY.model_copy(update={"ram_power_w": None}), pid=busy_server.pid)
    )
    around = busy_s()
    meter.begin()
    within = busy_s()
    time.sleep(0.7)
    within = busy_s() - within
    reading = closed(meter)
    around = busy_s() - around
    assert reading.values["cpu_method"] == "cpu_load"
    cpu_s = reading.values["cpu_energy_j"] / ITALY.cpu_power_w * psutil.cpu_count()
    ticks_s = 0.04
    assert within - ticks_s <= cpu_s <= around + ticks_s
    assert within > 2 * ticks_s
    assert reading.values["ram_energy_j"] > 0
    assert reading.values["ram_method"] == "process_rss"


def test_a_server_that_waits_takes_no_cpu_however_busy_others_are(
    busy_server: psutil.Process,
) -> None:
    [child] = busy_server.children()
    with subprocess.Popen(["sleep", "60"]) as idle:
        meter = CodeCarbonMeter(Scene(ITALY, pid=idle.pid))
        meter.begin()
        busy_until_s = time.perf_counter() + 0.3
        while time.perf_counter() < busy_until_s:
            pass
        assert closed(meter).values["cpu_energy_j"] == 0.0
        idle.kill()
    assert child.is_running()


def test_a_server_that_has_ended_leaves_its_energies_unknown(busy_server: psutil.Process) -> None:
    machine = ITALY.model_copy(update={"ram_power_w": None})
    meter = CodeCarbonMeter(Scene(machine, pid=2**22 + 1))
    meter.begin()
    time.sleep(0.1)
    reading = closed(meter)
    for column in ("cpu_energy_j", "ram_energy_j", "energy_j", "energy_kwh"):
        assert reading.values[column] is None
        assert reading.notes[column] == f"the server's process {2**22 + 1} has ended"
