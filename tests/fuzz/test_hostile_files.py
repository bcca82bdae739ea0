"""Hostile files of a data set through every verb: one line and an exit code, never a traceback.

The short form takes a part of the cases, another one a day would be no test; the long form
(`pytest -m slow tests/fuzz`) takes all files, folders and tables, and a part of the values.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.dataset.imported import read_provenance
from orchestrator.dataset.lock import holder_of
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.reading import reason_of
from orchestrator.dataset.sweep_plan import read_plan
from orchestrator.dataset.trial_files import partial_record, read_trial
from orchestrator.dataset.verdicts import read_decisions
from orchestrator.errors import UserError
from tests.fuzz import hostile
from tests.fuzz.hostile import Case

MOST_BYTES = 2**30


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The data set, and the verbs without Ray, GPU and page."""
    root = tmp_path_factory.mktemp("hostile")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("COLUMNS", "200")
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("ORCHESTRATOR_CACHE", str(root / "cache"))
        hostile.make(root / "base")
        with hostile.patched():
            yield root / "base"


def quick(base: Path) -> tuple[str, ...]:
    return tuple(name for name in hostile.verbs(base) if name not in hostile.SLOW)


def some(cases: Iterator[Case], count: int, seed: int = 0) -> list[Case]:
    whole = list(cases)
    return random.Random(seed).sample(whole, min(count, len(whole)))


def read(out: Path, file: str) -> object:
    """Read one JSON file of the data set as the verbs do."""
    path = out / file
    readers: dict[str, Callable[[], object]] = {
        "trial.json": lambda: read_trial(path.parent, out),
        "spec.json": lambda: partial_record(path.parent),
        "executions.jsonl": lambda: partial_record(path.parent),
        "reviews.jsonl": lambda: read_decisions(DataSetPaths(out)),
        "import.json": lambda: read_provenance(DataSetPaths(out)),
    }
    if path.parent.name == "sweeps":
        return read_plan(path)
    return readers.get(path.name, lambda: holder_of(out))()


def told(out: Path, case: Case) -> str | None:
    """What reading the changed file says; None: it is read. Raises what is no message."""
    (original,) = [(out / case.file).read_bytes()]
    case.apply(out / case.file)
    try:
        read(out, case.file)
    except (UserError, OSError, ValueError) as error:
        return reason_of(error)
    finally:
        (out / case.file).write_bytes(original)
    return None


def test_all_verbs_are_fine_with_the_data_set_as_it_is(base: Path) -> None:
    """Else the cases below would show nothing."""
    unchanged = Case("unchanged", "sweeps", lambda _path: None)
    assert hostile.faults(unchanged, base, tuple(hostile.verbs(base))) == []
    out = Path(shutil.copytree(base, base.parent / "hostile"))
    incomplete = {"tune": 75, "validate": 3, "publish": 3}
    for name, line in hostile.verbs(out).items():
        code, said = hostile.run(*line)
        assert code == incomplete.get(name, 0), (name, said)


@pytest.mark.parametrize("part", range(4))
def test_values_that_no_file_may_hold_are_told_on_one_line(
    base: Path, tmp_path: Path, part: int
) -> None:
    out = tmp_path / "copy"
    shutil.copytree(base, out)
    for case in some(hostile.value_cases(base), 250, part):
        said = told(out, case)
        assert said is None or "\n" not in said, (case.name, said)


def test_a_fault_names_its_field(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "copy"
    shutil.copytree(base, out)
    wanted = {
        "executions.0.window_s = inf": "executions.0.window_s: Input should be a finite number",
        "executions.0.window_s = 1e308": "executions.0.window_s: Input should be less than",
        "executions.0.energy_j = denormal": "executions.0.energy_j: must be 0 or at least 1e-30",
        "executions.0.seed = 2**63": "executions.0.seed: Input should be less than",
        "executions.0.output_text = surrogate": "executions.0.output_text: Input should be a valid",
        "executions.0.energy_basis = text": "executions.0.energy_basis: String should match",
        "executions.0.started_at = last year": "executions.0.started_at: year 9999 is not within",
        "executions = empty list": "executions: List should have at least 1 item",
        "executions.0 = empty object": "executions.0.prompt_number: Field required",
        "codecarbon.0.duration = nested list": "codecarbon.0.duration.",
        "columns.machine = path": "columns.machine: String should match",
        "environment.versions = nested list": "environment.versions: Input should be a valid dict",
        "spec.prompts.0 = missing": "trial.json: prompt 1 is none of the trial's prompts",
        "origin.columns.machine = path": "spec.json: columns.machine: String should match",
        "origin = missing": "spec.json: 'origin' is missing",
        "execution.window_s = inf": "executions.jsonl: line 1: execution.window_s: Input should be",
        "plan.setups = empty list": "setups: Tuple should have at least 1 item",
        "plan.created_at = no date": "created_at: ",
        "plan.repeats = 2**63": "repeats: Input should be less than",
    }
    found = {}
    for case in hostile.value_cases(base):
        what = case.name.partition(" ")[2]
        if what in wanted and what not in found:
            found[what] = told(out, case) or ""
    assert found.keys() == wanted.keys()
    for what, said in found.items():
        assert wanted[what] in said, (what, said)


def test_a_few_of_all_cases_through_every_verb(base: Path) -> None:
    cases = [
        *some(hostile.file_cases(base), 4),
        *some(hostile.folder_cases(base), 1),
        *some(hostile.table_cases(base), 3),
        *some(hostile.value_cases(base), 2),
    ]
    found = [fault for case in cases for fault in hostile.faults(case, base, quick(base))]
    assert found == []


@pytest.mark.parametrize(
    ("file", "what"),
    [
        *((file, "a pipe") for file in ("reviews.jsonl", "sweeps/", ".slurm.jsonl", ".tune.lock")),
        *((file, "a link to itself") for file in ("reviews.jsonl", "sweeps/", "/trial.json")),
    ],
)
def test_what_would_never_end_is_not_waited_for(base: Path, file: str, what: str) -> None:
    cases = [c for c in hostile.file_cases(base) if file in c.name and c.name.endswith(what)]
    assert cases
    assert hostile.faults(cases[0], base, quick(base)) == []


@pytest.mark.parametrize("folder", [".", "sweeps", "cpu/", "imported"])
def test_names_that_are_not_utf_8_and_links_to_themselves_beside_files(
    base: Path, folder: str
) -> None:
    cases = [case for case in hostile.folder_cases(base) if case.file.startswith(folder)]
    assert len(cases) >= 3
    assert [fault for case in cases[:3] for fault in hostile.faults(case, base, quick(base))] == []


@pytest.mark.slow
@pytest.mark.timeout(5400)
def test_all_files_folders_and_tables_through_every_verb(base: Path) -> None:
    cases = [*hostile.file_cases(base), *hostile.folder_cases(base)]
    cases += some(hostile.table_cases(base), 1000)
    names = tuple(hostile.verbs(base))
    found = []
    for case in cases:
        shown = names if case.file == "executions.parquet" else quick(base)
        found += hostile.faults(case, base, shown)
    assert found == []


@pytest.mark.slow
@pytest.mark.timeout(5400)
def test_all_values_are_told_or_harmless(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "copy"
    shutil.copytree(base, out)
    read_anyway = []
    for case in hostile.value_cases(base):
        said = told(out, case)
        assert said is None or "\n" not in said, (case.name, said)
        if said is None:
            read_anyway.append(case)
    found = [
        fault
        for case in some(iter(read_anyway), 1500)
        for fault in hostile.faults(case, base, quick(base))
    ]
    assert found == []


# --- memory and time, as a user has them ----------------------------------------------------------

MEASURED = """
import re, sys
from pathlib import Path
from orchestrator.cli import main
try:
    main(sys.argv[1:])
finally:
    # ru_maxrss would count what the parent had when it started this process
    status = Path("/proc/self/status").read_text()
    print(int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) * 1024, file=sys.stderr)
"""


def _large(path: Path, names: list[str], values: Callable[[int], object], rows: int) -> None:
    """A table of a few kilobytes that is large once it is read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({name: pa.repeat(values(i), rows) for i, name in enumerate(names)})
    pq.write_table(table, path, compression="zstd")


HUGE: dict[str, tuple[str, Callable[[Path], None]]] = {
    "a trial of 57 million empty lists": (
        "trial.json",
        lambda p: p.write_text("[" + "[]," * 57_000_000 + "[]]") and None,
    ),
    "a plan of 40 million empty lists": (
        "sweeps/*.json",
        lambda p: p.write_text("[" + "[]," * 40_000_000 + "[]]") and None,
    ),
    "decisions of 20 million empty lists": (
        "reviews.jsonl",
        lambda p: p.write_text("[" + "[]," * 20_000_000 + "[]]") and None,
    ),
    "a running trial of 40 million empty lists": (
        "executions.jsonl",
        lambda p: p.write_text(('{"a": [' + "[]," * 400_000 + "[]]}\n") * 100) and None,
    ),
    "verdicts of 3 million rows": (
        "verdicts.parquet",
        lambda p: _large(p, [f"c{i}" for i in range(40)], float, 3_000_000),
    ),
    "verdicts with a text of 600 MB": (
        "verdicts.parquet",
        lambda p: _large(p, ["execution"], lambda _i: "x" * 600_000_000, 1),
    ),
    "verdicts with a text of 10 MB in 200 rows": (
        "verdicts.parquet",
        lambda p: _large(p, ["execution"], lambda _i: "x" * 10_000_000, 200),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["status", "validate", "summarize"])
@pytest.mark.parametrize("name", HUGE)
def test_a_small_file_takes_no_gigabyte(base: Path, tmp_path: Path, name: str, verb: str) -> None:
    out = tmp_path / "copy"
    shutil.copytree(base, out)
    pattern, write = HUGE[name]
    path = next(p for p in sorted(out.rglob(pattern)) if p.is_file())
    write(path)
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, verb, "--out", str(out)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode in hostile.EXIT_CODES, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert int(done.stderr.split()[-1]) < MOST_BYTES
