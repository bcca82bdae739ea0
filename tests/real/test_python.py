"""Sweeps from Python, with real Ray and the engine without a model.

A program runs one, a second one repeats its published plan, and nothing of them stays behind.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.sweep_plan import SweepPlan, read_plan
from tests.docs.test_python_page import PAGE, PROGRAM
from tests.processes import living_with
from tests.real.conftest import Orchestrator
from tests.version_1.frozen import SIMULATED, simulated_truth, truth_in

REPOSITORY = Path(__file__).parents[2]
CONSUMER = REPOSITORY / "tests" / "api" / "consumer.py"
ENDS_WITHIN_S = 20.0
RESULT = ("config_hash", "seed", "prompt_sha256", "output_text", "n_new_tokens", "status")


def run(program: Orchestrator, *arguments: str) -> str:
    """What a Python program prints; it fails where it ends with an error."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=program.folder,
        env=program.environment(PYTHONPATH=str(REPOSITORY)),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def left_by(program: Orchestrator) -> dict[int, str]:
    """Processes that still live after the time in which those of Ray end by themselves."""
    marker, until = f"ORCHESTRATOR_CACHE={program.cache}", time.monotonic() + ENDS_WITHIN_S
    while living_with(marker) and time.monotonic() < until:
        time.sleep(0.2)
    return living_with(marker)


def shown_programs() -> tuple[str, str, str]:
    """Of docs/python.md: the program with the options, the one that runs Ray, what it says."""
    matches = list(PROGRAM.finditer(PAGE.read_text(encoding="utf-8")))
    (with_ray,) = [match for match in matches if match["before"]]
    (options,) = [match for match in matches if match["code"].startswith("options = ")]
    return options["code"], with_ray["code"], with_ray["said"]


def plan_of(out: Path) -> SweepPlan:
    """The one plan of a data set."""
    (path,) = DataSetPaths(out).plans()
    return read_plan(path)


def results(out: Path) -> list[dict[str, Any]]:
    """What must be the same wherever a sweep is run."""
    import orchestrator

    table = orchestrator.load(out).executions.sort_values(["config_hash", "prompt_number"])
    return table[list(RESULT)].to_dict("records")


def test_a_sweep_from_python_is_published_and_repeated_from_its_plan(
    orchestrator: Orchestrator, tmp_path: Path
) -> None:
    options, program, said = shown_programs()
    (tmp_path / "program.py").write_text(f"import orchestrator\n{options}print('-' * 9)\n{program}")
    printed = run(orchestrator, "program.py")
    assert printed.partition("---------\n")[2] == said
    first = tmp_path / "measurements"
    orchestrator.run("publish", "--out", str(first))
    published = Path(shutil.copytree(first / "sweeps", tmp_path / "published" / "sweeps"))
    shutil.rmtree(first / "cpu")
    plan = plan_of(first)
    second = tmp_path / "mine"
    flags = ("--plan", f"{published}/{plan.id}.json", "--out", str(second))
    result = orchestrator.tune(*flags, "--machine", "pc", "--country", "ITA")
    assert (result["sweep"], result["executions_run"], result["failed"]) == (plan.id, 2, 0)
    assert results(second) == results(first)
    repetition = plan_of(second)
    assert list(repetition.specs()) == list(plan.specs())
    assert (plan.machine, repetition.machine) == ("cpu", "pc")
    assert left_by(orchestrator) == {}


@pytest.mark.slow
def test_a_plan_of_version_1_gives_the_texts_of_version_1(
    orchestrator: Orchestrator, tmp_path: Path
) -> None:
    (file,) = SIMULATED.glob("sweeps/*.json")
    orchestrator.tune("--plan", str(file), "--machine", "cpu", "--out", str(tmp_path / "anew"))
    assert truth_in(tmp_path / "anew") == simulated_truth()


@pytest.mark.slow
def test_a_program_tunes_twice_and_leaves_no_process(
    orchestrator: Orchestrator, tmp_path: Path
) -> None:
    """In one process, with its progress as text; the second call finds nothing missing."""
    printed = run(orchestrator, str(CONSUMER), str(tmp_path / "data"))
    assert "[2/2]" in printed
    lines = printed.splitlines()
    assert lines[0].endswith(" 2")
    assert "2 2" in lines
    assert any(line.startswith("Nothing is left to do: all 2 executions") for line in lines)
    assert lines[-2:-1] == ["0"]
    assert lines[-1].startswith("search_spaces: there is no 'lsh'")
    assert not (os.environ.keys() & {"TUNE_GLOBAL_CHECKPOINT_S"})
    assert left_by(orchestrator) == {}


RAY_FIRST = """
import ray, orchestrator
ray.init(address="local", num_cpus=1, include_dashboard=False, _temp_dir=SCRATCH)
try:
    orchestrator.tune("lhs", engines="simulated", samples=1, prompts=1, machine="cpu", show=False)
except orchestrator.UserError as error:
    print(error)
print(ray.is_initialized())
"""


@pytest.mark.slow
def test_a_ray_of_the_program_itself_is_left_alone(
    orchestrator: Orchestrator, short_folder: Path
) -> None:
    code = RAY_FIRST.replace("SCRATCH", repr(str(short_folder)))
    printed = run(orchestrator, "-c", code).splitlines()
    assert printed[-2].startswith("Ray runs in this process already")
    assert printed[-1] == "True"
