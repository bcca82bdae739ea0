"""Every verb's screen at 80 and 120 columns, from one small data set, held by golden files.

What no golden file can hold, every screen must: no line is wider than the terminal and no word is
broken or made up (each stands in what the verb writes into a log).
"""

from __future__ import annotations

import io
import re
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestrator.cli import bench_command, main
from orchestrator.cli.live import Live
from orchestrator.cli.metrics_view import metrics_view
from orchestrator.cli.run_result import print_result
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.schema import TrialRecord
from orchestrator.dataset.sweep_plan import SweepPlan, write_plan
from orchestrator.doctor import setting
from orchestrator.doctor.checks import Check
from orchestrator.doctor.diagnosis import Diagnosis
from orchestrator.doctor.rooms import rooms
from orchestrator.machine_files import read_machine
from orchestrator.ray_tune.metrics_page import RunningSweep
from orchestrator.ray_tune.own_cluster import Attachment
from orchestrator.ray_tune.session import Node
from orchestrator.sweep.planning import make_plan
from orchestrator.sweep.prepare import Prepared, prepare
from orchestrator.sweep.request import Request, resolve_request
from orchestrator.sweep.run import RunOutcome
from orchestrator.sweep.staging import known_revisions
from orchestrator.yaml_files import packaged_folder
from tests import builders
from tests.bench.fakes import run as bench_run
from tests.golden_files import golden

WIDTHS = (80, 120)
OUT = Path("measurements")
GIB = 2**30
SPACE = "search_spaces/lhs.yaml"
FEW = {"samples": 4, "prompts": 2, "ranges": ("max_length=100:250",)}
FLAGS = FEW | {"engines": ("simulated",), "models": ("llama2",), "quantizations": ("nf4", "none")}
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
CSV = (
    "timestamp,project_name,run_id,duration,emissions,energy_consumed,cpu_power\n"
    "2025-01-02T03:04:05,codecarbon,r1,10.0,0.001,0.01,42.5\n"
    "2025-01-02T03:05:05,codecarbon,r2,10.0,0.001,ten,42.5\n"
)


class Terminal(io.StringIO):
    """A stream that a person looks at."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without a GPU, whose own files lie in the working folder: short, fixed paths."""
    monkeypatch.setattr("orchestrator.gpu.devices.visible_gpus", list)
    builders.host_memory(monkeypatch, 16 * GIB)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("secrets.token_urlsafe", lambda n: "x" * n)


@pytest.fixture
def screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Shows something at so many columns of a terminal, or in a log: each in a folder of its own.

    Standard output and errors are one screen.
    """

    def show(what: Callable[[], object], columns: int | None) -> str:
        folder = tmp_path / str(columns)
        folder.mkdir()
        monkeypatch.chdir(folder)
        for kind, name in (("search_spaces", "lhs"), ("clusters", "cpu")):
            Path(kind).mkdir()
            shutil.copy(packaged_folder(kind) / f"{name}.yaml", kind)
        Path("prompts").mkdir()
        shutil.copy(packaged_folder("prompts") / "fantasyWorld.yaml", "prompts")
        stream = io.StringIO() if columns is None else Terminal()
        monkeypatch.setenv("COLUMNS", str(columns or 80))
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", stream)
            patch.setattr(sys, "stderr", stream)
            what()
        text = ESCAPES.sub("", stream.getvalue())
        return "".join(f"{line.rstrip()}\n" for line in text.splitlines())

    return show


def verb(*words: str) -> None:
    """Call a verb, which ends as verbs do."""
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    assert ended.value.code in (None, 0, 3)


def resolved_plan() -> tuple[Any, SweepPlan]:
    resolved = resolve_request(Request(space=SPACE, use_cases=("fantasyWorld",), **FLAGS), [])
    drawn = make_plan(resolved)
    return resolved, drawn.with_revisions(known_revisions(resolved, drawn))


def data_set(n_trials: int | None = None) -> tuple[Prepared, list[TrialRecord]]:
    """A sweep of two setups, some trials done: a prompt failed, and an energy is unknown."""
    resolved, plan = resolved_plan()
    paths = DataSetPaths(OUT)
    write_plan(plan, paths.sweep(plan.id))
    records = []
    for i, spec in enumerate(list(plan.specs())[:n_trials]):
        start = {"started_at": f"2026-01-02T03:{i:02d}:05.678+00:00"}
        items = [
            builders.measured(p.number, of=spec, **start, **builders.ON_GPU) for p in spec.prompts
        ]
        if i == 1:
            items[1] = builders.measured(2, of=spec, **start, **builders.FAILED)
        if i == 2:
            unknown = {"energy_basis": None, "energy_per_token_j": None}
            items[0] = builders.measured(1, of=spec, **start, **unknown)
        place = builders.origin(spec, machine="cpu", gpu_uuid="GPU-1", synthetic=False)
        records.append(builders.seal_trial(paths, spec, items, place))
    return prepare(resolved, plan), records


def show_plan() -> None:
    data_set(2)
    few = ("--samples", "4", "--prompts", "2", "--range", "max_length=100:250")
    simulated = ("--engine", "simulated", "--model", "llama2", "--quantization", "nf4")
    verb("plan", SPACE, *simulated, "--quantization", "none", *few, "--use-case", "fantasyWorld")
    verb("plan", SPACE, "--model", "smollm2", "--use-case", "fantasyWorld", "--samples", "10")


def show_tune() -> None:
    """The plan, what is waited for, the bar while it runs, and the result."""
    Path("empty").mkdir()
    resolved, plan = resolved_plan()
    live = Live([])
    live.planned(prepare(resolved, plan))
    outcome = RunOutcome()
    live._totals = outcome.totals
    live._progress.add_task("", total=live.prepared.n_missing(), counts="", figures="", since=None)
    prepared, records = data_set(5)
    outcome.totals.began_at = records[0].executions[0].started_at - timedelta(seconds=80)
    outcome.totals.wall_s = lambda: 95.0  # type: ignore[method-assign]
    for record in records:
        place = builders.origin(record.spec, machine="cpu", gpu_uuid="GPU-1")
        for execution in record.executions:
            outcome.totals.execution_recorded(record.spec, place, execution)
            live.execution_recorded(record.spec, place, execution)
        outcome.totals.trial_sealed(record)
        live.trial_sealed(record)
    if live.console.is_terminal:
        live.console.print(live._progress)
    print_result(live, prepared, outcome)


def show_status() -> None:
    data_set(5)
    verb("status")
    verb("status", "--out", "search_spaces")


def show_watch() -> None:
    data_set(5)
    verb("watch", "--once")
    sweep = RunningSweep(
        id="lhs-1",
        trials={"finished": 3, "given_up": 1, "waiting": 4},
        executions={"none": 6, "oom": 1},
        lost=1,
        energies_j={"gpu_energy_counter_j": 1234.0, "energy_j": 99.0},
        energy_unknown=1,
        tokens=1000,
        window_s=50.0,
        power_w={("cpu", "h" * 12, "GPU-1"): 321.0},
    )
    Console().print(metrics_view([sweep]))


def show_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable() -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "https://huggingface.co")
    monkeypatch.setattr(setting, "reach_hub", unreachable)
    machine, file = read_machine("clusters/cpu.yaml")
    found = Diagnosis(
        machine="cpu",
        machine_file=file,
        checks=(
            Check("packages", "torch 1, transformers 1, bitsandbytes 1, accelerate 1, ray 1"),
            Check("GPU", "none, so small models only, on the CPU"),
            Check("GPU power", "none for this GPU", "problem", "choose another machine"),
            setting.country(machine, file),
            setting.hub(),
        ),
        conclusion="no GPU: energies are models, good for trying out, not for publishing",
        memory_bytes=16 * GIB,
        rooms=tuple(rooms(16 * GIB, 4)),
    )
    monkeypatch.setattr("orchestrator.doctor.diagnosis.diagnose", lambda *_, **__: found)
    verb("doctor")


def show_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(Path.cwd() / "hub"))
    verb("models", "list")
    verb("models", "verify")


def show_evaluate() -> None:
    data_set(3)
    verb("evaluate")


def show_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.report.page.page", lambda *_: "x" * 1_200_000)
    data_set(3)
    verb("summarize")
    verb("report")
    verb("plot")


def show_checks() -> None:
    """`summarize`, `validate`, `publish` and `merge`."""
    data_set(3)
    verb("summarize")
    verb("validate")
    verb("publish", "--check")
    verb("merge", str(OUT), "--out", "all", "--dry-run")


def show_import() -> None:
    folder = Path("old", "pc", "model", "strategy", "useCase")
    folder.mkdir(parents=True)
    (folder / "emissions.csv").write_text(CSV)
    (folder / "notes.txt").write_text("")
    verb("import", "old")


def show_review(monkeypatch: pytest.MonkeyPatch) -> None:
    async def served(_server: object, _port: int, ready: Callable[[int], None], _: object) -> None:
        ready(8080)

    monkeypatch.setattr("orchestrator.review.review_server.serve", served)
    data_set(1)
    verb("review", "--reviewer", "ada", "--no-browser")


def show_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """A head and a node that joins it; what the head sees, and both leave."""
    address = "192.168.1.10:6379"
    head = Attachment(
        address=address,
        host="192.168.1.10",
        machine="cpu",
        head=True,
        folder="/tmp/o1",  # noqa: S108 - nothing is written there
        since="2026-01-02T03:04:05+00:00",
    )
    joined = head.model_copy(update={"host": "192.168.1.11", "machine": "pc", "head": False})
    nodes = [
        Node(machine="pc", host="192.168.1.11", cpus=8.0, gpus=1, alive=True),
        Node(machine="cpu", host="192.168.1.10", cpus=4.0, gpus=0, alive=True),
        Node(machine=None, host="192.168.1.12", cpus=16.0, gpus=2, alive=False),
    ]
    for name, answer in {
        "cluster.ray_node.start": head,
        "cluster.ray_node.join": joined,
        "ray_tune.own_cluster.attachment": head,
        "ray_tune.session.own_token": Path("cache/ray_token"),
        "ray_tune.session.check_answers": None,
        "ray_tune.session.set_environment": None,
        "ray_tune.session.nodes_of": nodes,
    }.items():
        monkeypatch.setattr(f"orchestrator.{name}", partial(answered, answer))
    verb("cluster", "start", "--machine", "cpu", "--host", "192.168.1.10")
    verb("cluster", "join", address, "--machine", "cpu", "--token-file", "token")
    verb("cluster", "status")
    for left in (joined, head):
        monkeypatch.setattr("orchestrator.cluster.ray_node.stop", partial(answered, left))
        verb("cluster", "stop")


def answered(answer: object, *_arguments: object) -> object:
    """Stand for a function that talks to Ray."""
    return answer


def show_bench() -> None:
    from orchestrator.bench.catalogue import LETTERS, ways_of

    runs = {
        way: [bench_run(1), bench_run(2, wall_s=31.5)]
        for way in ways_of(LETTERS, ("transformers", "compiled"))
    }
    bench_command._print(runs, [], markdown=False)


SCREENS: dict[str, Callable[..., None]] = {
    "plan": show_plan,
    "tune": show_tune,
    "status": show_status,
    "watch": show_watch,
    "doctor": show_doctor,
    "models": show_models,
    "evaluate": show_evaluate,
    "report": show_report,
    "checks": show_checks,
    "import": show_import,
    "review": show_review,
    "bench": show_bench,
    "cluster": show_cluster,
}


def words(text: str) -> Iterator[str]:
    """The words of a screen without the signs around them and without bars."""
    for word in text.split():
        bare = word.strip(".,:;()[]`'\"━╺╸")
        if bare:
            yield bare


@pytest.mark.parametrize("name", SCREENS)
def test_a_screen(name: str, screen: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    show = SCREENS[name]
    takes_patch = "monkeypatch" in show.__code__.co_varnames[: show.__code__.co_argcount]

    def shown() -> None:
        if takes_patch:
            show(monkeypatch)
        else:
            show()

    logged = set(words(screen(shown, None)))
    for columns in WIDTHS:
        text = screen(shown, columns)
        wide = [line for line in text.splitlines() if len(line) > columns and " " in line.strip()]
        assert not wide, wide
        if name != "tune":  # its bar is in no log
            assert not set(words(text)) - logged
        golden(f"screens/{name}-{columns}.txt", text)
