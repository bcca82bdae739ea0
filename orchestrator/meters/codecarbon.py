"""CodeCarbon as a meter: a new offline tracker for every window, every option given explicitly.

Options left out would be taken silently from configuration files and environment variables; the
online tracker would look up where it stands and assume Canada where it can't. Doesn't know how
good CodeCarbon's models are: CPU and RAM figures carry their method.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import asdict, replace
from typing import Any, cast

import psutil

from orchestrator import host
from orchestrator.meters import Reading, Scene
from orchestrator.meters.columns import CodeCarbonColumns
from orchestrator.units import J_PER_KWH
from orchestrator.unknowns import product, quotient

SHORTEST_S = 0.05
"""CodeCarbon skips its last measurement where the one before is younger than this."""

CPU_METHODS = {"intel_rapl": "rapl", "cpu_load": "cpu_load", "constant": "constant"}
"""CodeCarbon's mode -> our word."""

SUMS = ("energy_kwh", "energy_j", "emissions_kg")
"""Columns that lack a part whose energy is unknown, and so are unknown, too."""

MOST_PACKAGE_W = 1000.0
"""More than any CPU draws: the largest ones on sale are specified for 500 W.

CodeCarbon reads RAPL's counters at a window's edges. At their range, 262 kJ on Intel's CPUs, they
start again at 0: a window that is long enough for a whole turn has no known energy.
"""

FIGURES = ("gpu_energy_cc_j", "cpu_energy_j", "ram_energy_j", *SUMS)
"""Its columns that hold an energy or an emission."""


class CodeCarbonMeter:
    """Energy of GPU (by NVML's counter), CPU and RAM as CodeCarbon sees them."""

    def __init__(self, scene: Scene) -> None:
        os.environ["CODECARBON_LOG_LEVEL"] = "error"  # before the import, else it prints
        self._scene = scene
        # CodeCarbon takes only integers (a UUID gives 0 J), and knows no simulated GPU
        self._gpu_index: int | None = None
        self._polls = False
        """Whether CodeCarbon has to look at the power each second, for want of a counter."""
        access = scene.gpu
        if access is not None and access.simulated is None:
            self._gpu_index = access.gpu.index
            query = access.nvml.nvmlDeviceGetTotalEnergyConsumption
            self._polls = access.ask(lambda: query(access.handle)) is None
        self._slurm_node = host.slurm_node()
        self._ram_power_w, self._ram_scope = self._ram_of(scene)
        self._tracker: Any = None
        self._stopped: Any = None
        self._began = self._window_s = 0.0

    def _ram_of(self, scene: Scene) -> tuple[float | None, str]:
        """The power of a trial's part of the host's RAM (None: CodeCarbon's model), and its scope.

        A job that shares its node is not charged for memory that it didn't ask for.
        """
        ram_power_w, requested_bytes = scene.machine.ram_power_w, host.slurm_memory_bytes()
        if ram_power_w is None:
            return None, "process"
        part_w = ram_power_w / scene.n_parallel
        if self._slurm_node == "whole" or requested_bytes is None:
            return part_w, "node"
        return part_w * min(1.0, requested_bytes / host.memory_bytes()), "requested"

    def begin(self) -> None:
        """Make and start a tracker (a stopped one can't be restarted)."""
        from codecarbon import OfflineEmissionsTracker

        machine = self._scene.machine
        gpu_ids = None
        if self._gpu_index is not None:
            gpu_ids = [self._gpu_index]
        self._tracker = OfflineEmissionsTracker(
            country_iso_code=machine.country_iso_code,
            project_name=self._scene.project_name,
            gpu_ids=gpu_ids,
            force_cpu_power=machine.cpu_power_w,
            force_ram_power=self._ram_power_w,
            force_carbon_intensity_g_co2e_kwh=machine.carbon_intensity_g_per_kwh,
            pue=machine.pue,
            output_methods=[],
            output_handlers=[],
            output_dir=".",  # nothing is written there, but it must exist
            api_call_interval=-1,
            experiment_id=None,
            experiment_name="base",
            electricitymaps_api_token="",  # None would let one in from the environment
            # counters need no polling, and a poll during stop() counts an interval twice
            measure_power_secs=1e6,
            log_level="error",
            logger_preamble="",
            allow_multiple_runs=True,  # a lock left by a killed run would silently measure nothing
            tracking_mode="process",
            wue=0.0,
            force_mode_cpu_load=False,
            rapl_include_dram=False,
            rapl_prefer_psys=False,
            region=None,
            country_2letter_iso_code=None,
            cloud_provider=None,
            cloud_region=None,
            emissions_endpoint=None,
            metadata=None,
        )
        if self._scene.pid is not None:
            self._follow(self._scene.pid)
        self._tracker.start()
        if not self._polls:
            # a thread that walks all processes of the host each second (tools/monitor_cost.py):
            # counters and the process's own time need only the window's edges
            with contextlib.suppress(AttributeError):  # CodeCarbon's own start failed
                self._tracker._scheduler_monitor_power.stop()  # noqa: SLF001 - no option for it
        self._began = time.perf_counter()

    def _follow(self, pid: int) -> None:
        """Let the tracker measure the process tree of a server in place of this process's.

        It has no option for that. A process that has ended leaves its CPU and RAM unknown.
        """
        self._tracker._ensure_hardware_ready()  # noqa: SLF001 - no option for it
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            for part in self._tracker._hardware:  # noqa: SLF001
                if hasattr(part, "_pid"):
                    part._pid = pid  # noqa: SLF001
                if hasattr(part, "_process"):
                    part._process = process  # noqa: SLF001

    def end(self) -> None:
        """Stop the tracker, which takes its last measurement."""
        self._window_s = time.perf_counter() - self._began
        self._tracker.stop()
        self._stopped, self._tracker = self._tracker, None

    def reading(self, began_s: float, ended_s: float) -> Reading:  # noqa: ARG002 - a meter's
        """The tracker's final record as columns."""
        data = getattr(self._stopped, "final_emissions_data", None)
        if data is None:
            why = "CodeCarbon measured nothing (its own error was swallowed)"
            told = {"pue": self._scene.machine.pue, "slurm_node": self._slurm_node}
            unknown = dict.fromkeys(CodeCarbonColumns.model_fields)
            return Reading(unknown | told, dict.fromkeys(FIGURES, why))
        # CodeCarbon writes the text "None" for an experiment without an id
        record = asdict(data) | {"experiment_id": None}
        reading = self._of_record(data)
        if self._window_s < SHORTEST_S:
            why = f"CodeCarbon measures nothing in a window under {SHORTEST_S:g} s"
            unknown = reading.values | dict.fromkeys(FIGURES)
            reading = Reading(unknown, dict.fromkeys(FIGURES, why))
        return replace(reading, codecarbon=record)

    def _of_record(self, data: Any) -> Reading:
        """This trial's share of CodeCarbon's record of a window; what it can't know is null."""
        cpu = self._cpu()
        cpu_method = cpu and CPU_METHODS.get(cpu._mode, str(cpu._mode))  # noqa: SLF001 - see _cpu
        total_kwh, cpu_kwh = data.energy_consumed, data.cpu_energy
        if self._gpu_index is None:
            # asked for no GPU, CodeCarbon takes all: this trial uses none of them
            total_kwh -= data.gpu_energy
        if cpu_method == "rapl":
            # RAPL measures the package, which the trials of a host share: each gets an equal part
            cpu_kwh = data.cpu_energy / self._scene.n_parallel
            total_kwh -= data.cpu_energy - cpu_kwh
        share = quotient(total_kwh, data.energy_consumed)
        values: dict[str, Any] = {
            "energy_kwh": total_kwh,
            "energy_j": total_kwh * J_PER_KWH,
            "emissions_kg": product(data.emissions, share),
            "gpu_energy_cc_j": data.gpu_energy * J_PER_KWH,
            "cpu_energy_j": cpu_kwh * J_PER_KWH,
            "cpu_method": cpu_method,
            "ram_energy_j": data.ram_energy * J_PER_KWH,
            "ram_method": "constant" if self._scene.machine.ram_power_w else "process_rss",
            "ram_scope": self._ram_scope,
            "slurm_node": self._slurm_node,
            "pue": self._scene.machine.pue,
        }
        notes = self._unknown_parts(data, cpu)
        if self._gpu_index is None:
            notes["gpu_energy_cc_j"] = "no GPU"
        return Reading(values | dict.fromkeys(notes), notes)

    def _unknown_parts(self, data: Any, cpu: Any) -> dict[str, str]:
        """Columns of the energies that CodeCarbon could not read -> why; its sums lack them, too.

        It then gives 0 J: only a CPU whose energy follows from the process's time may have that.
        """
        whys: dict[str, str | None] = {}
        if self._gpu_index is not None and data.gpu_energy <= 0:
            whys["gpu_energy_cc_j"] = "CodeCarbon read no GPU energy"
        if data.ram_energy <= 0:
            whys["ram_energy_j"] = "CodeCarbon read no RAM energy"
        mode = getattr(cpu, "_mode", None)
        if mode == "intel_rapl":
            whys["cpu_energy_j"] = self._why_not_rapl(cpu)
        if data.cpu_energy <= 0 and mode != "cpu_load":
            whys["cpu_energy_j"] = "CodeCarbon read no CPU energy"
        if self._scene.pid is not None:
            whys |= self._other_process(self._scene.pid)
        notes: dict[str, str] = {}
        for column, why in whys.items():
            if why is not None:
                notes |= dict.fromkeys((column, *SUMS), why)
        return notes

    def _other_process(self, pid: int) -> dict[str, str | None]:
        """The columns that tell nothing of a server's process tree -> why.

        RAPL and constants hold for the whole host, whichever process it is.
        """
        of_process = []
        cpu = self._cpu()
        if getattr(cpu, "_mode", None) == "cpu_load":
            of_process.append(("cpu_energy_j", cpu))
        if self._ram_power_w is None:
            parts = getattr(self._stopped, "_hardware", [])
            # only its RAM has a choice of children
            of_process += [("ram_energy_j", part) for part in parts if hasattr(part, "_children")]
        if not psutil.pid_exists(pid):
            return {column: f"the server's process {pid} has ended" for column, _ in of_process}
        why = f"CodeCarbon didn't measure the server's process {pid}"
        return {column: why for column, part in of_process if getattr(part, "_pid", None) != pid}

    def _why_not_rapl(self, cpu: Any) -> str | None:
        """Why RAPL's energy of the window isn't known; None where it is."""
        counters = cpu._intel_interface._rapl_files  # noqa: SLF001 - see _cpu
        if any(counter.sample_skipped for counter in counters):
            return "RAPL's counter can't be read, or went backwards"
        # CodeCarbon's is 0 where it can't be read
        range_kwh = min((float(one.max_energy_reading) for one in counters), default=0.0)
        if range_kwh <= 0:
            return "RAPL's range can't be read: its counter may have gone round"
        range_kj = range_kwh * J_PER_KWH / 1000
        if self._window_s * MOST_PACKAGE_W >= range_kj * 1000:
            return f"RAPL's counter may have gone round in the window, at {range_kj:.0f} kJ"
        return None

    def _cpu(self) -> Any:
        """CodeCarbon's CPU: how it is measured is not in its record, only in its objects."""
        parts = cast("list[Any]", getattr(self._stopped, "_hardware", []))
        # only its CPU has a mode
        return next((part for part in parts if getattr(part, "_mode", None)), None)

    def close(self) -> None:
        """Stop a tracker left open by an error."""
        if self._tracker is not None:
            self._tracker.stop()
            self._tracker = None
