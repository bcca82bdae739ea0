"""A sweep's life on real Ray with the simulated engine.

Resume, extension, cut-offs, Ctrl-C, failures, private Ray.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from orchestrator.dataset.schema import TrialRecord
from tests.processes import living_with
from tests.real.conftest import Orchestrator

SIMULATED = (
    "--engine",
    "simulated",
    "--model",
    "smollm2",
    "--range",
    "max_length=100:120",
    "--prompts",
    "2",
)


def keys(records: list[TrialRecord]) -> Counter[tuple[str, str, int, int]]:
    """How often each execution is in a data set."""
    return Counter(
        (r.columns.use_case, r.columns.config_hash, r.columns.repetition, e.prompt_number)
        for r in records
        for e in r.executions
    )


def hashes(out: Path) -> dict[str, str]:
    """SHA-256 of every file in sealed trials."""
    files = [p for p in out.glob("*/*/*/*/*/*") if p.is_file()]
    return {
        p.relative_to(out).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files
    }


def test_the_same_command_again_runs_nothing(orchestrator: Orchestrator) -> None:
    # an address in the environment is not joined: only --address is
    first = orchestrator.tune(
        "--space", "lhs", "--samples", "3", *SIMULATED, RAY_ADDRESS="127.0.0.1:1"
    )
    assert (first["trials_run"], first["executions_run"]) == (9, 18)
    before = hashes(orchestrator.folder / "measurements")
    second = orchestrator.tune("--space", "lhs", "--samples", "3", *SIMULATED)
    assert (second["trials_run"], second["executions_done_before"]) == (0, 18)
    assert hashes(orchestrator.folder / "measurements") == before


@pytest.mark.slow  # in short: tests/sweep/test_variants.py, and a recipe runs two engines
def test_setups_of_one_sweep_share_configurations_and_seeds_and_resume(
    orchestrator: Orchestrator, trials: Callable[[Path], list[TrialRecord]]
) -> None:
    """Two quantizations and two types; a first sweep of one of the four counts for all."""
    out = orchestrator.folder / "measurements"
    use_case = ("--use-case", "danceCoreography", "--space", "sobol", "--samples", "3")
    one = ("--quantization", "nf4", "--dtype", "float16")
    first = orchestrator.tune(*use_case, *SIMULATED, *one)
    assert first["executions_run"] == 6
    before = hashes(out)
    crossed = (*one, "--quantization", "none", "--dtype", "bfloat16")
    drained = orchestrator.tune(*use_case, *SIMULATED, *crossed, "--max-hours", "1e-9", expect=75)
    assert (drained["executions_run"], drained["executions_left"]) == (0, 18)
    second = orchestrator.tune(*use_case, *SIMULATED, *crossed)
    assert second["sweep"] == drained["sweep"] != first["sweep"]
    assert (second["executions_done_before"], second["executions_run"]) == (6, 18)
    assert orchestrator.tune(*use_case, *SIMULATED, *crossed)["executions_run"] == 0
    records = trials(out)
    assert before.items() <= hashes(out).items()
    ran = {(r.spec.setup.quantization.name, r.spec.setup.compute_dtype) for r in records}
    assert len(ran) == 4
    of_prompt: dict[tuple[int, int], set[tuple[int, str | None]]] = {}
    for record in records:
        for execution in record.executions:
            key = (record.spec.config_index, execution.prompt_number)
            of_prompt.setdefault(key, set()).add((execution.seed, execution.output_text))
    assert len(of_prompt) == 6
    assert all(len(texts) == 1 for texts in of_prompt.values()), "the same seed, and so the text"
    assert len(keys(records)) == 24


@pytest.mark.slow  # a minute of the small model
def test_batches_are_an_axis_and_are_run_as_a_whole(
    orchestrator: Orchestrator, trials: Callable[[Path], list[TrialRecord]]
) -> None:
    """Seven prompts after six: the batch of prompts 5 and 6 gets the seventh, and runs again."""
    out = orchestrator.folder / "measurements"
    few = ("--use-case", "danceCoreography", "--space", "sobol", "--samples", "2")
    flags = (*few, *SIMULATED[:-2], "--batch-size", "1", "--batch-size", "4")
    first = orchestrator.tune(*flags, "--prompts", "6")
    assert (first["trials_run"], first["executions_run"]) == (4, 24)
    second = orchestrator.tune(*flags, "--prompts", "7")
    assert second["executions_run"] == 2 * (1 + 3)
    assert orchestrator.tune(*flags, "--prompts", "7")["executions_run"] == 0
    assert "0 errors, 0 warnings" in orchestrator.run("validate").stdout
    texts: dict[tuple[int, int], set[str | None]] = {}
    for record in trials(out):
        of_batch: dict[int | None, list[float]] = {}
        for execution in record.executions:
            key = (record.spec.config_index, execution.prompt_number)
            texts.setdefault(key, set()).add(execution.output_text)
            if execution.n_in_batch > 1:
                assert "apportioned" in execution.warning_flags
                of_batch.setdefault(execution.batch_number, []).append(execution.window_s or 0.0)
                assert execution.energy_per_token_j is not None
        for number, shares_s in of_batch.items():
            window_s = {e.batch_window_s for e in record.executions if e.batch_number == number}
            assert [sum(shares_s)] == pytest.approx(list(window_s))
    assert len(texts) == 14
    assert all(len(one) == 1 for one in texts.values()), "a row's own seed, in any batch"
    for row in pq.read_table(out / "executions.parquet").to_pylist():
        if row["batch_size"] == 4:
            assert row["n_in_batch"] == (4 if row["prompt_number"] < 5 else 3)


@pytest.mark.slow  # in short: tests/ray_tune/test_callback_machine.py
@pytest.mark.parametrize("space", ["optuna", "sobol", "uniform"])
def test_more_samples_extend_a_design(
    orchestrator: Orchestrator, trials: Callable[[Path], list[TrialRecord]], space: str
) -> None:
    out = orchestrator.folder / "measurements"
    first = orchestrator.tune("--space", space, "--samples", "2", *SIMULATED)
    before = hashes(out)
    second = orchestrator.tune(
        "--space", space, "--samples", "3", "--repeats", "2", "--prompts", "3", *SIMULATED[:-2]
    )
    assert second["sweep"] == first["sweep"]
    assert second["executions_done_before"] == 12
    tallied = keys(trials(out))
    assert len(tallied) == 3 * 3 * 2 * 3  # use cases x samples x repeats x prompts
    assert set(tallied.values()) == {1}
    assert before.items() <= hashes(out).items(), "a sealed trial changed"
    assert pq.read_metadata(out / "executions.parquet").num_rows == 54
    assert pq.read_metadata(out / "summary.parquet").num_rows == 18


def test_killed_driver_loses_only_the_running_prompt(
    orchestrator: Orchestrator, trials: Callable[[Path], list[TrialRecord]]
) -> None:
    arguments = ("tune", "--space", "uniform", "--samples", "2", *SIMULATED)
    out = orchestrator.folder / "measurements"
    environment = orchestrator.environment(ORCHESTRATOR_SIMULATED_TOKEN_S="0.01")
    driver = subprocess.Popen(
        orchestrator.command(*arguments),
        cwd=orchestrator.folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    lines = wait_for(
        lambda: [p for p in out.rglob("executions.jsonl") if p.read_text().count("\n") == 1]
    )
    assert lines, "no trial was half done within the time"
    driver.kill()
    driver.wait(timeout=30)
    finished = sum(p.read_text().count("\n") for p in out.rglob("executions.jsonl")) + sum(
        keys(trials(out)).values()
    )
    result = orchestrator.tune("--space", "uniform", "--samples", "2", *SIMULATED)
    assert result["executions_done_before"] == finished
    assert result["executions_run"] == 12 - finished
    tallied = keys(trials(out))
    assert len(tallied) == 12
    assert set(tallied.values()) == {1}
    assert not list(out.rglob(".*")), "hidden leftovers"


def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(orchestrator: Orchestrator) -> None:
    out = orchestrator.folder / "measurements"
    environment = orchestrator.environment(ORCHESTRATOR_SIMULATED_TOKEN_S="0.01")
    driver = subprocess.Popen(
        orchestrator.command("tune", "--space", "uniform", "--samples", "20", *SIMULATED),
        cwd=orchestrator.folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert wait_for(lambda: list(out.rglob("executions.jsonl"))), "nothing ran within the time"
    os.killpg(driver.pid, signal.SIGINT)  # as a terminal does: to the driver and its children
    _, errors = driver.communicate(timeout=60)
    assert driver.returncode == 130, errors
    assert "same command again" in errors
    assert "Traceback" not in errors
    assert wait_for(lambda: [True] if not processes_of(orchestrator) else [], seconds=20), (
        processes_of(orchestrator)
    )


def processes_of(orchestrator: Orchestrator) -> dict[int, str]:
    """Command lines, by process id, of the living processes that a test's command started."""
    return living_with(f"ORCHESTRATOR_CACHE={orchestrator.cache}")


def wait_for(found: Callable[[], list[object]], seconds: float = 90) -> list[object]:
    """What `found` gives as soon as it gives anything, or []."""
    until = time.monotonic() + seconds
    while True:
        try:
            if result := found():
                return result
        except FileNotFoundError:
            pass  # a folder was sealed between the listing and the reading
        if time.monotonic() > until:
            return []
        time.sleep(0.05)


def test_a_model_that_cannot_load_stops_the_sweep_with_one_sentence(
    orchestrator: Orchestrator,
) -> None:
    broken = orchestrator.folder / "broken"
    broken.mkdir()
    (broken / "config.json").write_text(json.dumps({"model_type": "llama", "hidden_size": 64}))
    (broken / "model.safetensors").write_bytes(b"not a tensor")
    done = orchestrator.run(
        "tune",
        "--space",
        "lhs",
        "--samples",
        "2",
        "--model",
        str(broken),
        "--prompts",
        "1",
        expect=2,
    )
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "broken" in errors[0]
    assert "Traceback" not in done.stderr
    assert not list((orchestrator.folder / "measurements").glob("cpu"))


def test_parallel_trials_share_the_host_and_say_so(
    orchestrator: Orchestrator, trials: Callable[[Path], list[TrialRecord]]
) -> None:
    result = orchestrator.tune(
        "--space",
        "lhs",
        "--samples",
        "4",
        "--parallel",
        "2",
        *SIMULATED,
        ORCHESTRATOR_SIMULATED_TOKEN_S="0.005",
    )
    assert result["trials_run"] == 12
    for record in trials(orchestrator.folder / "measurements"):
        for execution in record.executions:
            assert (execution.scope, execution.n_parallel) == ("shared", 2)
            assert "shared_host" in execution.warning_flags


@pytest.mark.slow  # a minute of the small model
@pytest.mark.parametrize(
    ("flags", "n_parallel", "overlap"),
    [(("--parallel", "4"), 4, True), (("--isolation", "host"), 1, False)],
)
def test_trials_of_a_host_overlap_unless_each_has_it_for_itself(
    flags: tuple[str, ...],
    n_parallel: int,
    overlap: bool,
    orchestrator: Orchestrator,
    trials: Callable[[Path], list[TrialRecord]],
) -> None:
    few = "--space", "uniform", "--samples", "4", "--use-case", "fantasyWorld", "--prompts", "2"
    orchestrator.tune(*few, *flags, "--engine", "simulated", ORCHESTRATOR_SIMULATED_TOKEN_S="0.01")
    windows = []
    for record in trials(orchestrator.folder / "measurements"):
        executions = record.executions
        assert {one.n_parallel for one in executions} == {n_parallel}
        assert {one.scope for one in executions} == {"shared" if overlap else "exclusive"}
        windows.append((executions[0].started_at, executions[-1].started_at))
    windows.sort()
    pairs = list(itertools.pairwise(windows))
    assert len(pairs) == 3
    assert any(later[0] < earlier[1] for earlier, later in pairs) == overlap


@pytest.mark.slow  # a minute of the small model
def test_what_a_person_reads_in_a_log(orchestrator: Orchestrator) -> None:
    done = orchestrator.run(
        "tune", "--space", "sobol", "--samples", "2", *SIMULATED, "--country", "ITA"
    )
    lines = done.stdout.splitlines()
    for start in (
        "Sweep      sobol-",
        "SYNTHETIC  ",
        "Design     discrepancy ",
        "Trials     6 = ",
        "Tokens     at most about ",
    ):
        assert any(line.startswith(start) for line in lines), start
    assert any(
        line.startswith("Ray dashboard: http://127.0.0.1:") and "token in" in line for line in lines
    )
    order = [
        next(i for i, line in enumerate(lines) if start in line)
        for start in ("loaded in", "Takes at most", "[1/6]", "[6/6]")
    ]
    assert order == sorted(order)
    assert any(line.startswith("12 executions of 6 trials: ") for line in lines)
    assert lines[-2:] == [
        "Trials: measurements/cpu/<model>/sobolSampling/<use case>/",
        "Tables: measurements/executions.parquet, measurements/summary.parquet",
    ]
    assert not [
        line
        for line in lines + done.stderr.splitlines()
        if "WARNING" in line or "== Status ==" in line or "Trial name" in line
    ]
    again = orchestrator.run(
        "tune", "--space", "sobol", "--samples", "2", *SIMULATED, "--country", "ITA"
    ).stdout
    assert "started before: resumed" in again
    assert "Nothing is left to do: all 12 executions are in measurements." in again
