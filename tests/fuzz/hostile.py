"""A data set with every file that there can be, and hostile changes of each."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from orchestrator.dataset.environment import Baseline, Environment, Pilot
from orchestrator.dataset.lock import LOCK_FILE
from orchestrator.dataset.paths import DataSetPaths, execution_id
from orchestrator.dataset.reading import content_sha256
from orchestrator.dataset.schema import TelemetrySample
from orchestrator.dataset.sweep_plan import SweepPlan, write_plan
from orchestrator.dataset.tables import rebuild
from orchestrator.dataset.trial_files import append
from orchestrator.evaluate.parallel_map import chunks
from orchestrator.nouns import Machine, digest
from orchestrator.yaml_files import printable
from tests import builders

LONGEST_S = 30.0
"""A verb that takes longer on this small data set, on a busy host too, hangs."""
EXIT_CODES = {0, 2, 3, 75}
SIMULATED = ("--engine", "simulated", "--model", "smollm2", "--samples", "3", "--prompts", "2")
SWEEP = ("--space", "sobol", "--machine", "cpu", *SIMULATED)


# --- the data set ---------------------------------------------------------------------------------


def plan() -> SweepPlan:
    """The plan that `plan` and `tune` make with SWEEP."""
    from orchestrator.sweep.planning import make_plan
    from orchestrator.sweep.request import Request, resolve_request
    from orchestrator.sweep.staging import known_revisions

    request = Request(
        space="sobol",
        samples=3,
        prompts=2,
        models=("smollm2",),
        engines=("simulated",),
        machine="cpu",
    )
    resolved = resolve_request(request, [])
    made = make_plan(resolved)
    return made.with_revisions(known_revisions(resolved, made))


def make(root: Path) -> None:
    """Write the data set: two sealed trials, one that runs, and all files beside them."""
    paths = DataSetPaths(root)
    of = plan()
    write_plan(of, paths.sweep(of.id))
    on_gpu, failing, running = list(of.specs())[:3]
    environment = Environment(
        python="3.11",
        versions={"torch": "2.11"},
        machine=Machine(name="cpu", accelerator="cpu"),
        load_s=1.0,
        loaded_here=True,
        weights_bytes=10**9,
        pilot=Pilot(
            tokens_per_s=5.0,
            energy_j_per_token=1.0,
            energy_basis="gpu_energy_counter_j",
            warm_up_s=2.0,
            warm_up_energy_j=3.0,
        ),
        baselines=(
            Baseline(
                id="a-1",
                state="loaded",
                power_w=50.0,
                window_s=2.0,
                started_at="2026-01-02T03:04:05+00:00",  # type: ignore[arg-type]
            ),
        ),
        power_limit_w=400.0,
        load_1min=0.5,
        drift=("torch 2.10 -> 2.11",),
    ).model_dump()
    where = {
        "machine": "cpu",
        "synthetic": False,
        "gpu_uuid": "GPU-1",
        "gpu_name": "H100",
        "session_id": "a",
        "session_started_at": "2026-01-02T03:00:00+00:00",
        "session_trial": 0,
    }
    sample = TelemetrySample(
        prompt_number=1,
        at_s=0.1,
        power_w=300.0,
        temperature_c=50.0,
        sm_clock_mhz=1000.0,
        memory_clock_mhz=1000.0,
        utilization=99.0,
        memory_used_bytes=2**30,
        throttle_reasons=0,
    )
    gpu = builders.ON_GPU | {
        "baseline_id": "a-1",
        "baseline_w": 50.0,
        "counter_look_s": 0.02,
        "power_before_w": 60.0,
        "counter_rest_j": 1.0,
        "counter_steps": 20,
        "prefill_energy_j": 3.0,
        "prefill_n_in_window": 3,
        "prefill_window_s": 1.0,
        "temperature_begin_c": 40.0,
        "temperature_end_c": 45.0,
        "throttled": False,
        "pue": 1.0,
    }
    first = [
        builders.measured(p.number, of=on_gpu, **gpu).model_copy(
            update={"telemetry": (sample,), "anchors": (builders.anchor(50.0, p.number),)}
        )
        for p in on_gpu.prompts
    ]
    builders.seal_trial(
        paths, on_gpu, first, builders.origin(on_gpu, environment=environment, **where)
    )
    second = [
        builders.measured(1, of=failing),
        builders.measured(2, of=failing, **builders.FAILED),
    ]
    on_cpu = builders.origin(failing, machine="cpu")
    builders.seal_trial(paths, failing, second, on_cpu)
    append(
        paths,
        running,
        builders.origin(running, environment=environment, **where),
        "shuffled",
        [first[0].model_copy(update={"execution": builders.execution(1, of=running, **gpu)})],
    )
    rebuild(paths)
    text = "timestamp,project_name,run_id,duration,emissions,energy_consumed,country_iso_code\n"
    source = root.parent / "old" / "pc" / "llama" / "grid" / "chat"
    source.mkdir(parents=True)
    (source / "emissions.csv").write_text(text + "2025-01-01T00:00:00,p,r1,2.0,1e-6,1e-5,ITA\n")
    with patched():
        for verb in (
            ("evaluate", "--out", str(root)),
            ("import", str(root.parent / "old"), "--out", str(root)),
        ):
            code, said = run(*verb)
            assert code in (0, 3), said
    sealed = paths.trial("cpu", on_gpu)
    content = json.loads((sealed / "trial.json").read_text())
    name = execution_id("cpu", on_gpu, 1)
    decision = {
        "execution": name,
        "text_sha256": hashlib.sha256(content["executions"][0]["output_text"].encode()).hexdigest(),
        "reviewer": "ada",
        "decision": "keep",
        "note": "",
        "at": "2026-01-02T03:04:05.000000+00:00",
    }
    paths.reviews.write_text(json.dumps(decision) + "\n")
    rebuild(paths)
    (root / LOCK_FILE).write_text(
        json.dumps(
            {"host": "h", "pid": 1, "process": "boot 2", "since": "2026-01-02T03:04:05+00:00"}
        )
    )
    os.utime(root / LOCK_FILE, (1e9, 1e9))
    job = {"job": "12", "after": None, "link": 0, "submitted_at": "2026-01-02T03:04:05Z"}
    paths.slurm_jobs.write_text(json.dumps(job) + "\n")


# --- the verbs ------------------------------------------------------------------------------------


def in_process(function: Callable[[list[Any]], list[Any]], items: Iterable[Any], chunk: int) -> Any:
    """Stand for parallel_map.spread, without processes."""
    for some in chunks(items, chunk):
        yield function(some)


async def seen(_server: object, _port: int, ready: Callable[[int], None], _ended: object) -> None:
    """Stand for review_server.serve: end as soon as the page could be opened."""
    ready(1)


@contextlib.contextmanager
def patched() -> Iterator[None]:
    """Neither Ray nor a GPU nor a page is started, and nobody watches a dead lock for 45 s."""
    from orchestrator.ray_tune.halt import Drained
    from orchestrator.review import review_server, review_view

    class Server:
        """Builds what the page would ask for."""

        def __init__(self, queue: Any, _token: str) -> None:
            for item in queue.items.values():
                json.dumps([review_view.entry(queue, item), review_view.details(queue, item)])
            json.dumps(review_view.agreements(queue))

        def application(self) -> None:
            """No application is served."""

    def drained(*_arguments: Any, **_named: Any) -> None:
        raise Drained("test")

    with ExitStack() as stack:
        for target, replacement in (
            ("orchestrator.gpu.devices.visible_gpus", list),
            ("orchestrator.sweep.staging.staged_weights", lambda _model, _say: "simulated"),
            ("orchestrator.sweep.requested.run_sweep", drained),
            ("orchestrator.evaluate.parallel_map.spread", in_process),
            ("orchestrator.review.review_server.serve", seen),
            ("orchestrator.dataset.lock.STALE_S", 0.01),
        ):
            stack.enter_context(patch(target, replacement))
        stack.enter_context(patch.object(review_server, "ReviewServer", Server))
        yield


def verbs(out: Path) -> dict[str, tuple[str, ...]]:
    """Every verb that reads a data set; those that write come last."""
    beside = out.parent
    at = ("--out", str(out))
    return {
        "status": ("status", *at),
        "status --json": ("status", *at, "--json"),
        "watch": ("watch", *at, "--once"),
        "validate": ("validate", *at),
        "plan": ("plan", *SWEEP, *at),
        "publish": ("publish", *at, "--check"),
        "merge": ("merge", str(out), "--out", str(beside / "merged"), "--dry-run"),
        "merge into": ("merge", str(beside / "base"), *at, "--dry-run"),
        "report": ("report", *at, "--file", str(beside / "report.html")),
        "plot": ("plot", "energy-length", *at, "--file", str(beside / "chart.svg")),
        "review": ("review", *at, "--reviewer", "eve", "--no-browser"),
        "import": ("import", str(beside / "old"), *at),
        "evaluate": ("evaluate", *at),
        "tune": ("tune", *SWEEP, *at),
        "summarize": ("summarize", *at),
    }


SLOW = ("report", "plot")
"""Verbs that draw: a second each."""


def run(*arguments: str) -> tuple[int, str]:
    """The exit code and what was said. Raises whatever else than SystemExit comes out."""
    from orchestrator.cli import main

    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            main(list(arguments))
        except SystemExit as ended:
            return int(ended.code or 0), said.getvalue()
    raise AssertionError("main() ends by SystemExit")


def fault_of(arguments: tuple[str, ...]) -> str:
    """What a verb did wrong; "" where it did what it should."""
    began_s = time.monotonic()
    try:
        code, said = run(*arguments)
    except Exception as error:  # noqa: BLE001 - that is what is looked for
        place = traceback.extract_tb(error.__traceback__)[-1]
        own = [
            one
            for one in traceback.extract_tb(error.__traceback__)
            if "/orchestrator/" in one.filename
        ]
        at = f"{Path((own or [place])[-1].filename).name}:{(own or [place])[-1].lineno}"
        return f"{type(error).__name__}: {str(error)[:200]} at {at}"
    took_s = time.monotonic() - began_s
    if code not in EXIT_CODES or took_s > LONGEST_S or "Traceback" in said:
        return f"exit code {code} after {took_s:.0f} s: {said[-300:]}"
    told = [line for line in said.split("\n") if line.startswith("error: ")]
    if code == 2 and len(told) != 1:
        return f"{len(told)} lines that tell an error: {said[-300:]}"
    long = [line for line in said.split("\n") if len(line) > 2000]
    if long and "--json" not in arguments:
        return f"a line of {len(long[0])} characters: {long[0][:80]}"
    hidden = [line for line in said.split("\n") if line != printable(line)]
    if hidden:
        return f"not printable: {hidden[0]!r}"[:200]
    return ""


# --- changes of values ----------------------------------------------------------------------------

MISSING = object()
VALUES: dict[str, Any] = {
    "missing": MISSING,
    "null": None,
    "true": True,
    "zero": 0,
    "minus one": -1,
    "2**63": 2**63,
    "-2**63 - 1": -(2**63) - 1,
    "10**400": 10**400,
    "half": 0.5,
    "nan": float("nan"),
    "inf": float("inf"),
    "-inf": float("-inf"),
    "denormal": 5e-324,
    "1e308": 1e308,
    "empty text": "",
    "text": "x",
    "huge text": "x" * 300_000,
    "surrogate": "\ud800",
    "escape": "\x1b[2J\u202e",
    "path": "../../../etc",
    "nul": "a\0b",
    "first year": "0001-01-01T00:00:00+14:00",
    "last year": "9999-12-31T23:59:59-14:00",
    "no date": "2026-13-45T00:00:00",
    "empty list": [],
    "nested list": [[[[]]]],
    "list of one": ["x"],
    "empty object": {},
    "object": {"a": {"b": 1}},
}


def places(content: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value within a JSON value; of lists only the first entry's."""
    if at:
        yield at
    if isinstance(content, dict):
        for key, value in content.items():
            yield from places(value, (*at, key))
    elif isinstance(content, list) and content:
        yield from places(content[0], (*at, 0))


def changed(content: Any, at: tuple[Any, ...], value: Any) -> Any:
    """A copy with another value at a place."""
    whole = json.loads(json.dumps(content))
    inner = whole
    for key in at[:-1]:
        inner = inner[key]
    if value is MISSING:
        del inner[at[-1]]
    else:
        inner[at[-1]] = value
    return whole


@dataclass(frozen=True)
class Case:
    """A hostile change of a file of the data set."""

    name: str
    file: str
    """Which, relative to the data set."""
    apply: Callable[[Path], None]
    """Changes the file at the path."""


def _trial(path: Path, content: Any) -> None:
    """Write trial.json with a hash that fits."""
    content["sha256"] = content_sha256(content)
    path.write_text(json.dumps(content))


def _plan(path: Path, content: Any) -> None:
    """Write a plan with a hash that fits, if it can have one."""
    with contextlib.suppress(ValueError, KeyError):
        content["sha256"] = digest(content["plan"], 64)
    path.write_text(json.dumps(content))


def _json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content) + "\n")


def json_files(root: Path) -> dict[str, Callable[[Path, Any], None]]:
    """File of JSON, relative to the data set -> how it is written."""
    paths = DataSetPaths(root)
    files: dict[Path, Callable[[Path, Any], None]] = {}
    for folder in paths.sealed_trials():
        files[folder / "trial.json"] = _trial
    for folder in paths.partial_trials():
        files[folder / "spec.json"] = _json
        files[folder / "executions.jsonl"] = _json
    for path in paths.plans():
        files[path] = _plan
    for path in (paths.reviews, root / LOCK_FILE, paths.slurm_jobs, paths.provenance):
        files[path] = _json
    return {path.relative_to(root).as_posix(): write for path, write in files.items()}


def value_cases(root: Path) -> Iterator[Case]:
    """Every hostile value at every place of every JSON file."""
    for file, write in json_files(root).items():
        content = json.loads((root / file).read_text())
        for at in places(content):
            if at == ("sha256",):
                continue
            for name, value in VALUES.items():

                def apply(
                    path: Path,
                    at: Any = at,
                    value: Any = value,
                    content: Any = content,
                    write: Any = write,
                ) -> None:
                    write(path, changed(content, at, value))

                yield Case(f"{file} {'.'.join(map(str, at))} = {name}", file, apply)


# --- changes of files -----------------------------------------------------------------------------


def _replaced(make: Callable[[Path], None]) -> Callable[[Path], None]:
    """Removes the file before it is made anew."""

    def apply(path: Path) -> None:
        path.unlink()
        make(path)

    return apply


def _sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 2**40)


FILES: dict[str, Callable[[Path], None]] = {
    "a pipe": _replaced(os.mkfifo),
    "a folder": _replaced(Path.mkdir),
    "a link to itself": _replaced(lambda path: path.symlink_to(path.name)),
    "a link to nowhere": _replaced(lambda path: path.symlink_to("nowhere")),
    "a link to /dev/zero": _replaced(lambda path: path.symlink_to("/dev/zero")),
    "a link to /etc/passwd": _replaced(lambda path: path.symlink_to("/etc/passwd")),
    "empty": lambda path: path.write_bytes(b"") and None,
    "binary": lambda path: path.write_bytes(bytes(range(256)) * 10) and None,
    "no UTF-8": lambda path: path.write_bytes(b'{"a": "\xff"}') and None,
    "a tebibyte": _sparse,
    "many empty lists": lambda path: (
        path.write_text('{"a": [' + "[]," * 5_000_000 + "[]]}") and None
    ),
    "deep": lambda path: path.write_text("[" * 100_000) and None,
}


def file_cases(root: Path) -> Iterator[Case]:
    """Every file as something else than a file of the program."""
    for path in sorted(root.rglob("*")):
        if path.is_file():
            file = path.relative_to(root).as_posix()
            for name, apply in FILES.items():
                yield Case(f"{file} is {name}", file, apply)


def folder_cases(root: Path) -> Iterator[Case]:
    """Something hostile beside each file: a link to itself, and a name that isn't UTF-8."""
    folders = {path.parent for path in root.rglob("*") if path.is_file()}
    for folder in sorted(folders):
        at = folder.relative_to(root).as_posix()

        def loop(path: Path) -> None:
            (path / "loop").symlink_to("loop")

        def name(path: Path) -> None:
            Path(os.fsdecode(os.fsencode(path) + b"/\xff\xfe.json")).write_text("{}")

        def folder_name(path: Path) -> None:
            Path(os.fsdecode(os.fsencode(path) + b"/\xff\xfe")).mkdir()

        for what, apply in (
            ("a link to itself", loop),
            ("a file whose name isn't UTF-8", name),
            ("a folder whose name isn't UTF-8", folder_name),
        ):
            yield Case(f"in {at}: {what}", at, apply)


# --- changes of tables ----------------------------------------------------------------------------


def table_cases(root: Path) -> Iterator[Case]:
    """Tables with other columns, types, values and sizes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def case(file: str, name: str, change: Callable[[Any], Any]) -> Case:
        def apply(path: Path) -> None:
            pq.write_table(change(pq.read_table(path, partitioning=None)), path, compression="zstd")

        return Case(f"{file}: {name}", file, apply)

    def column(table: Any, name: str, value: Any, kind: Any) -> Any:
        index = table.column_names.index(name)
        return table.set_column(index, name, pa.array([value] * table.num_rows, kind))

    kinds = {
        "texts": ("x", pa.string()),
        "no text": ("\x1b[2J", pa.string()),
        "nulls": (None, pa.null()),
        "inf": (float("inf"), pa.float64()),
        "nan": (float("nan"), pa.float64()),
        "denormals": (5e-324, pa.float64()),
        "large": (1e308, pa.float64()),
        "negative": (-1.0, pa.float64()),
        "whole numbers": (2**62, pa.int64()),
        "minus": (-(2**63), pa.int64()),
        "lists": ([[1]], pa.list_(pa.list_(pa.int64()))),
        "objects": ({"a": 1}, pa.struct([("a", pa.int64())])),
        "bytes": (b"\xff", pa.binary()),
        "booleans": (True, pa.bool_()),
        "times": (0, pa.timestamp("ns")),
        "late times": (2**62, pa.timestamp("us", tz="UTC")),
    }
    for path in sorted(root.glob("*.parquet")):
        file = path.name
        for name in pq.read_schema(path).names:
            yield case(file, f"without {name}", lambda t, n=name: t.drop_columns([n]))
            for kind, (value, arrow) in kinds.items():
                yield case(
                    file,
                    f"{name} holds {kind}",
                    lambda t, n=name, v=value, a=arrow: column(t, n, v, a),
                )
        yield case(file, "without rows", lambda t: t.slice(0, 0))
        yield case(file, "without metadata", lambda t: t.replace_schema_metadata(None))
        for version in (b"0", b"1", b"2", b"9" * 5000, b"x"):
            yield case(
                file,
                f"of version {version[:5]!r}",
                lambda t, v=version: t.replace_schema_metadata({b"schema_version": v}),
            )
        yield case(file, "of another program", lambda _: pa.table({"a": [1]}))
        yield case(file, "3 million rows", lambda t: t.take(pa.array([0] * 3_000_000, pa.int32())))
        yield case(
            file,
            "a text of 600 MB",
            lambda t: column(
                t.slice(0, 1),
                "execution" if "execution" in t.column_names else "model",
                "x" * 600_000_000,
                pa.string(),
            ),
        )
        yield case(
            file,
            "a text of 10 MB in 200 rows",
            lambda t: column(
                t.take(pa.array([0] * 200, pa.int32())),
                "execution" if "execution" in t.column_names else "model",
                "x" * 10_000_000,
                pa.string(),
            ),
        )
        yield case(
            file,
            "5000 columns",
            lambda _: pa.table({f"c{i}": [1] for i in range(5000)}),
        )


def all_cases(root: Path) -> Iterator[Case]:
    """Every case there is."""
    yield from file_cases(root)
    yield from folder_cases(root)
    yield from table_cases(root)
    yield from value_cases(root)


def faults(case: Case, base: Path, names: tuple[str, ...]) -> list[str]:
    """What verbs do wrong with a copy of the data set that was changed."""
    out = base.parent / "hostile"
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(base, out, symlinks=True)
    case.apply(out / case.file)
    found = []
    for name, arguments in verbs(out).items():
        if name in names and (fault := fault_of(arguments)):
            found.append(f"{case.name}: {name}: {fault}")
    shutil.rmtree(out, ignore_errors=True)
    return found
