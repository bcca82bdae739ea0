"""CodeCarbon as a meter: a new offline tracker for every window, every option given explicitly.

Options left out would be taken silently from configuration files and environment variables; the online tracker would
look up where it stands and assume Canada where it can't. Doesn't know how good CodeCarbon's models are: CPU and RAM
figures carry their method.
"""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from typing import Any

from orchestrator.meters import Reading, Scene

J_PER_KWH = 3.6e6

SHORTEST_S = 0.05
"""CodeCarbon skips its last measurement where the one before is younger than this: then it has nothing of the window."""

CPU_METHODS = {"intel_rapl": "rapl", "cpu_load": "cpu_load", "constant": "constant"}
"""CodeCarbon's mode -> our word."""

ENERGIES = ("energy_kwh", "energy_j", "gpu_energy_cc_j", "cpu_energy_j", "ram_energy_j")


class CodeCarbonMeter:
    """Energy of GPU (by NVML's counter), CPU and RAM as CodeCarbon sees them."""

    def __init__(self, scene: Scene) -> None:
        os.environ["CODECARBON_LOG_LEVEL"] = "error"  # before the import, else it prints
        self._scene = scene
        self._gpu_index: int | None = None
        if scene.gpu_uuid is not None:
            from orchestrator.meters.nvml import index_of

            self._gpu_index = index_of(
                scene.gpu_uuid
            )  # CodeCarbon takes only integers (a UUID gives 0 J)
        self._tracker: Any = None
        self._began = 0.0

    def settle(self) -> None:
        """Any moment will do."""

    def begin(self) -> None:
        """Make and start a tracker (a stopped one can't be restarted)."""
        from codecarbon import OfflineEmissionsTracker

        machine = self._scene.machine
        ram_w = machine.ram_power_w
        self._tracker = OfflineEmissionsTracker(
            country_iso_code=machine.country_iso_code,
            project_name=self._scene.project_name,
            gpu_ids=None if self._gpu_index is None else [self._gpu_index],
            force_cpu_power=machine.cpu_power_w,
            force_ram_power=None if ram_w is None else ram_w / self._scene.n_parallel,
            force_carbon_intensity_g_co2e_kwh=machine.carbon_intensity_g_per_kwh,
            pue=machine.pue,
            output_methods=[],
            output_handlers=[],
            output_dir=".",  # nothing is written there, but it must exist
            api_call_interval=-1,
            experiment_id=None,
            experiment_name="base",
            electricitymaps_api_token="",  # "" is given, None would let an older name of it in from the surroundings
            measure_power_secs=1e6,  # counters need no polling, and a poll during stop() counts an interval twice
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
        self._tracker.start()
        self._began = time.perf_counter()

    def end(self) -> Reading:
        """Stop the tracker and read its final record."""
        tracker, self._tracker = self._tracker, None
        too_short = time.perf_counter() - self._began < SHORTEST_S
        tracker.stop()
        data = getattr(tracker, "final_emissions_data", None)
        if data is None:
            why = "CodeCarbon measured nothing (its own error was swallowed)"
            return Reading(dict.fromkeys(ENERGIES), dict.fromkeys(ENERGIES, why))
        total_kwh = data.energy_consumed
        if self._gpu_index is None:
            total_kwh -= (
                data.gpu_energy
            )  # of GPUs that this trial doesn't use: asked for none, CodeCarbon takes all
        cpu_method, cpu_kwh = self._cpu_method(tracker), data.cpu_energy
        if (
            cpu_method == "rapl"
        ):  # it measures the package, which the trials of a host share: each gets an equal part
            cpu_kwh = data.cpu_energy / self._scene.n_parallel
            total_kwh -= data.cpu_energy - cpu_kwh
        values: dict[str, Any] = {
            "energy_kwh": total_kwh,
            "energy_j": total_kwh * J_PER_KWH,
            "cpu_energy_j": cpu_kwh * J_PER_KWH,
            "cpu_method": cpu_method,
            "ram_energy_j": data.ram_energy * J_PER_KWH,
            "ram_method": "constant" if self._scene.machine.ram_power_w else "process_rss",
            "gpu_energy_cc_j": data.gpu_energy * J_PER_KWH,
        }
        notes: dict[str, str] = {}
        if too_short:
            values |= dict.fromkeys(ENERGIES)
            notes = dict.fromkeys(
                ENERGIES, f"CodeCarbon measures nothing in a window under {SHORTEST_S:g} s"
            )
        elif self._gpu_index is None:
            values["gpu_energy_cc_j"] = None
            notes["gpu_energy_cc_j"] = "no GPU"
        elif data.gpu_energy <= 0:
            values["gpu_energy_cc_j"] = values["energy_kwh"] = values["energy_j"] = None
            why = "CodeCarbon read no GPU energy"
            notes |= dict.fromkeys(("gpu_energy_cc_j", "energy_kwh", "energy_j"), why)
        return Reading(
            values, notes, asdict(data) | {"experiment_id": None}
        )  # CodeCarbon writes the text "None" for none

    @staticmethod
    def _cpu_method(tracker: Any) -> str | None:
        """The method isn't in CodeCarbon's record, only in its objects."""
        modes = [getattr(part, "_mode", None) for part in getattr(tracker, "_hardware", [])]
        return next((CPU_METHODS.get(mode, str(mode)) for mode in modes if mode), None)

    def close(self) -> None:
        """Stop a tracker left open by an error."""
        if self._tracker is not None:
            self._tracker.stop()
            self._tracker = None
