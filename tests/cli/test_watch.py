"""`watch`: its view, its end, and that no text of a data set controls the terminal."""

from __future__ import annotations

import contextlib
import importlib
import io
import itertools
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from orchestrator import status as module
from orchestrator.cli import main
from orchestrator.cli.metrics_view import metrics_view
from orchestrator.cli.watch_view import N_FAULTS, N_FOLDERS, view
from orchestrator.dataset.gross_energy import GrossEnergy
from orchestrator.dataset.lock import held
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.schema import Execution
from orchestrator.dataset.sweep_plan import SweepPlan, write_plan
from orchestrator.dataset.tables import Trials
from orchestrator.dataset.trial_files import append
from orchestrator.nouns import TrialSpec
from orchestrator.ray_tune import metrics_page
from orchestrator.ray_tune.metrics_page import sweeps_of
from orchestrator.say import silent
from orchestrator.status import LastTrial, Status, StatusReader, SweepStatus, status
from orchestrator.sweep.planning import make_plan
from orchestrator.sweep.request import Request, resolve_request
from orchestrator.sweep.staging import known_revisions
from tests import builders
from tests.golden_files import golden

OUT = Path("measurements")

verb = importlib.import_module("orchestrator.cli.watch_command")
"""The module: as an attribute it is the command."""


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SweepPlan:
    """A started sweep of twelve trials of two prompts in the working folder."""
    monkeypatch.chdir(tmp_path)
    few = {"samples": 4, "prompts": 2, "ranges": ("max_length=100:250",)}
    request = Request(space="lhs", engines=("simulated",), models=("llama2",), **few)
    resolved = resolve_request(request, [])
    drawn = make_plan(resolved)
    plan = drawn.with_revisions(known_revisions(resolved, drawn))
    write_plan(plan, DataSetPaths(OUT).sweep(plan.id))
    return plan


def run(plan: SweepPlan, trials: slice) -> None:
    """Some trials of the sweep: half of the second one failed, and one has no energy."""
    for i, spec in list(enumerate(plan.specs()))[trials]:
        start = {"started_at": f"2026-01-02T03:{i:02d}:05.678+00:00"}
        items = [builders.measured(1, of=spec, **start), builders.measured(2, of=spec, **start)]
        if i == 1:
            items[1] = builders.measured(2, of=spec, **start, **builders.FAILED)
        if i == 2:
            items[0] = builders.measured(
                1, of=spec, **start, energy_basis=None, energy_per_token_j=None
            )
        builders.seal_trial(DataSetPaths(OUT), spec, items, builders.origin(spec, machine="cpu"))


def begin(plan: SweepPlan, index: int) -> None:
    """One prompt of a trial."""
    spec = list(plan.specs())[index]
    append(
        DataSetPaths(OUT),
        spec,
        builders.origin(spec, machine="cpu"),
        "shuffled",
        [builders.measured(1, of=spec)],
    )


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["watch", *arguments])
    assert not ended.value.code
    return capsys.readouterr().out


def lines(text: str) -> str:
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def test_one_view(plan: SweepPlan, capsys: pytest.CaptureFixture[str]) -> None:
    run(plan, slice(0, 7))
    begin(plan, 7)
    (OUT / "cpu" / "x" / "y" / "z" / "0000-broken-r1").mkdir(parents=True)
    (OUT / "cpu" / "x" / "y" / "z" / "0000-broken-r1" / "trial.json").write_text("{")
    before = sorted(OUT.rglob("*"))
    golden("watch.txt", lines(call(capsys, "--once")))
    assert (
        lines(call(capsys)) == (Path(__file__).parents[1] / "golden" / "watch.txt").read_text()
    ), "no terminal: once, too"
    assert sorted(OUT.rglob("*")) == before, "it only reads"


def test_who_runs_it(plan: SweepPlan, capsys: pytest.CaptureFixture[str]) -> None:
    with held(OUT, silent):
        assert call(capsys, "--once").startswith("measurements: running (process ")
    assert call(capsys, "--once").startswith("measurements: no sweep is running\n")
    assert "0 of 24 executions  0%" in call(capsys, "--once")


def test_a_data_set_without_a_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        call(capsys, "--once", "--out", str(tmp_path))
        == f"{tmp_path}: no sweep is running\nNo sweep has been started in this data set.\n"
    )


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is written to the terminal."""
    screen = io.StringIO()
    shown = Console(file=screen, force_terminal=True, width=120, height=60, highlight=False)
    monkeypatch.setattr("orchestrator.cli.terminal.console", lambda: shown)
    return screen


def sleeps(
    monkeypatch: pytest.MonkeyPatch, *happenings: Callable[[], object], look_s: float = 0.0
) -> list[float]:
    """Let events happen between two updates, each of which takes this CPU time."""
    slept: list[float] = []
    left = list(happenings)

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        left.pop(0)()

    clock = itertools.count(0.0, look_s)
    monkeypatch.setattr(verb, "time", SimpleNamespace(sleep=sleep, process_time=clock.__next__))
    return slept


def test_it_follows_a_sweep_until_it_is_complete(
    plan: SweepPlan,
    terminal: io.StringIO,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slept = sleeps(monkeypatch, lambda: run(plan, slice(0, 6)), lambda: run(plan, slice(6, 12)))
    call(capsys, "--interval", "7")
    assert slept == [7.0, 7.0]
    for share in ("0%", "50%", "100%"):
        assert share in terminal.getvalue()


def test_ctrl_c_ends_it_and_is_no_error(
    plan: SweepPlan,
    terminal: io.StringIO,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    sleeps(monkeypatch, interrupt)
    call(capsys)
    assert plan.id in terminal.getvalue()


def test_it_never_takes_much_of_a_core(
    plan: SweepPlan,
    terminal: io.StringIO,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slept = sleeps(monkeypatch, lambda: None, lambda: run(plan, slice(0, 12)), look_s=1.0)
    call(capsys)
    assert slept == [2.0, 20.0]


def sweep(**changes: object) -> SweepStatus:
    values: dict[str, object] = {
        "id": "lhs-1",
        "planned": 4,
        "done": 4,
        "failed": {},
        "missing": 0,
        "machines": {},
        "folders": {},
        "per_hour": None,
        "left_s": None,
        "left_j": None,
        "trials": {"finished": 2, "under_way": 0, "waiting": 0},
        "gross_energy": GrossEnergy((), 4),
        "last": (),
    }
    return SweepStatus(**(values | changes))  # type: ignore[arg-type]


INTEGRATED = builders.ON_GPU | {"energy_basis": "gpu_energy_integrated_j"}


@pytest.mark.parametrize(
    ("second", "text", "left_j"),
    [
        (builders.ON_GPU, "GPU energy (counter) 200 J", 22 * 100.0),
        (INTEGRATED, "GPU energy (counter) 100 J", 22 * 100.5),
        ({}, "CPU+RAM energy (CodeCarbon's model) 20 J ± unknown and GPU energy (counter)", None),
    ],
)
def test_energies_are_shown_by_what_was_measured(
    plan: SweepPlan,
    second: dict[str, object],
    text: str,
    left_j: float | None,
) -> None:
    spec = next(iter(plan.specs()))
    items = [
        builders.measured(1, of=spec, **builders.ON_GPU),
        builders.measured(2, of=spec, **second),
    ]
    builders.seal_trial(DataSetPaths(OUT), spec, items, builders.origin(spec, machine="cpu"))
    (found,) = status(OUT).sweeps
    assert found.left_j == left_j
    assert text in shown(status(OUT))
    assert ", gross" in shown(status(OUT))


def shown(found: Status) -> str:
    out = io.StringIO()
    Console(file=out, force_terminal=True, width=200).print(view(found))
    return out.getvalue()


def of(*sweeps: SweepStatus, **changes: object) -> Status:
    values: dict[str, object] = {
        "out": OUT,
        "holder": None,
        "alive": False,
        "sweeps": sweeps,
        "sessions": (),
        "unreadable": (),
    }
    return Status(**(values | changes))  # type: ignore[arg-type]


def test_nothing_of_a_data_set_acts_on_the_terminal() -> None:
    bad = "\x1b]0;title\x07\x1b[2J[red]markup[/red]\u202e"
    last = LastTrial(bad, bad, bad, bad, 2, 1, 7, 1.0, 2.0, bad, 3.0, 0.05)
    text = shown(
        of(
            sweep(id=bad, failed={bad: 1}, machines={bad: 1}, folders={bad: (1, 4)}, last=(last,)),
            out=Path(bad),
            unreadable=(bad,),
        )
    )
    assert not [act for act in ("\x1b]", "\x07", "\x1b[2J", "\u202e") if act in text]
    assert "[red]markup[/red]" in text
    assert r"\x1b]0;title\x07" in text


def test_unknown_energy_and_what_doesnt_fit_are_said() -> None:
    folders = {f"m/s/{i:02d}": (4 if i == 0 else 1, 4) for i in range(N_FOLDERS + 3)}
    text = shown(of(sweep(folders=folders, missing=1), unreadable=tuple("abcde")))
    assert "not measured so far" in text
    assert "and 3 more; `orchestrator status` names them" in text
    assert "m/s/00" not in text, "finished ones go first"
    assert f"and {5 - N_FAULTS} more; `orchestrator validate` names them" in text


@pytest.mark.parametrize(
    ("first", "now", "ends"),
    [
        (of(), of(), False),
        (of(sweep(missing=2)), of(sweep(missing=2)), False),
        (of(sweep(missing=2)), of(sweep()), True),
        (of(sweep(missing=2)), of(sweep(), holder="somebody", alive=True), False),
        (of(sweep(missing=2)), of(sweep(), holder="somebody", alive=None), False),
        (of(sweep(missing=2)), of(sweep(), holder="somebody", alive=False), True),
        # an old one that was never finished beside the one that ran
        (
            of(sweep(missing=2), sweep(id="old", missing=5)),
            of(sweep(), sweep(id="old", missing=5)),
            True,
        ),
        (
            of(sweep(missing=2), sweep(id="old", missing=5)),
            of(sweep(missing=1), sweep(id="old", missing=5)),
            False,
        ),
        (of(), of(sweep()), True),
        (of(sweep()), of(sweep()), True),
    ],
)
def test_when_it_ends(first: Status, now: Status, ends: bool) -> None:
    assert verb.complete(first, now) == ends


def test_looking_again_is_the_same_as_looking_afresh(
    plan: SweepPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[str] = []
    finished_of = module.finished_of

    def counted(plan: SweepPlan, trials: Trials) -> list[tuple[TrialSpec, list[Execution]]]:
        computed.append(plan.id)
        return finished_of(plan, trials)

    monkeypatch.setattr(module, "finished_of", counted)
    reader = StatusReader(OUT)
    steps = [lambda: run(plan, slice(0, 2)), lambda: begin(plan, 2), lambda: run(plan, slice(3, 5))]
    steps += [
        lambda: write_plan(plan.model_copy(update={"samples": 9}), DataSetPaths(OUT).sweep(plan.id))
    ]
    for step in steps:
        step()
        found = reader.look()
        assert found == status(OUT)
        computed.clear()
        assert reader.look() == found
        assert computed == [], "nothing changed, nothing is added up"
    (only,) = found.sweeps
    assert only.trials == {"finished": 4, "under_way": 1, "waiting": 7}
    assert only.last[0].trial == f"{list(plan.specs())[4].config_index:04d}-r1"


def test_the_view_by_metrics_is_what_the_golden_file_shows() -> None:
    page = (Path(__file__).parents[1] / "golden" / "metrics-page.txt").read_text(encoding="utf-8")
    out = io.StringIO()
    Console(file=out, width=100, highlight=False).print(metrics_view(sweeps_of(page, "here:1")))
    golden("watch-address.txt", out.getvalue())  # asserts that they are the same


def test_nothing_of_a_page_acts_on_the_terminal() -> None:
    bad = "\x1b]0;title\x07[red]markup[/red]"
    labels = (
        f'sweep="{bad}",machine="{bad}",host="{bad}",gpu="{bad}",error_kind="{bad}",state="{bad}"'
    )
    names = ("trials", "executions_total", "power_watts")
    page = "".join(f"ray_orchestrator_{name}{{{labels}}} 1\n" for name in names)
    out = io.StringIO()
    Console(file=out, force_terminal=True, width=200).print(metrics_view(sweeps_of(page, "here:1")))
    assert "\x1b]" not in out.getvalue()
    assert "\x07" not in out.getvalue()
    assert "[red]markup[/red]" in out.getvalue()


def test_before_the_first_figures_it_says_so() -> None:
    out = io.StringIO()
    Console(file=out, width=200).print(metrics_view([]))
    assert "has no metrics of a sweep yet" in out.getvalue()


def test_an_address_where_nothing_answers_is_a_user_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["watch", "--address", "127.0.0.1:1"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("error: --address 127.0.0.1:1: no metrics there")


def test_an_address_that_sends_a_byte_now_and_then_is_given_up(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each byte comes before its socket's time is over; the page never does."""
    monkeypatch.setattr(metrics_page, "ANSWER_S", 0.5)
    ended = threading.Event()

    def trickle() -> None:
        connection, _ = listening.accept()
        with connection, contextlib.suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            while not ended.wait(0.05):
                connection.sendall(b"#")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=trickle)
        thread.start()
        with pytest.raises(SystemExit) as left:
            main(["watch", "--address", f"127.0.0.1:{listening.getsockname()[1]}"])
        ended.set()
        thread.join()
    assert left.value.code == 2
    assert "no metrics there (no complete page within 0 s)" in capsys.readouterr().err
