"""What users see: plans, help and errors, held by golden files (UPDATE_GOLDEN=1 rewrites them)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.cli import cli, main
from orchestrator.reader import packaged_folder

GOLDEN = Path(__file__).parents[1] / "golden"


@dataclass
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run the command line in an empty folder on a machine without GPUs."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr("orchestrator.meters.nvml.visible_gpus", list)
    monkeypatch.setattr("orchestrator.sweep.estimate._ram_bytes", lambda: 16 * 2**30)

    def run(*arguments: str) -> Outcome:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        captured = capsys.readouterr()
        return Outcome(int(ended.value.code or 0), captured.out, captured.err)

    return run


def golden(name: str, text: str) -> None:
    """Compare with a golden file; paths of this machine are masked."""
    masked = text.replace(str(packaged_folder("search_spaces").parent), "<package>").replace(str(Path.cwd()), "<here>")
    path = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(masked, encoding="utf-8")
    assert masked == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("space", ["lhs", "grid", "optuna"])
def test_plan(call: Callable[..., Outcome], space: str) -> None:
    done = call("plan", "--space", space)
    assert done.code == 0
    assert done.err == ""
    golden(f"plan-{space}.txt", done.out)
    assert not list(Path.cwd().iterdir()), "plan wrote something"


def test_plan_of_all_that_is_asked_for(call: Callable[..., Outcome]) -> None:
    flags = ("--samples", "32", "--repeats", "3", "--model", "mistral", "--model", "synthetic-llama2", "--prompts", "10")
    done = call(
        "plan", "--space", "sobol", *flags, "--range", "max_length=100:10000", "--country", "ITA", "--machine", "leonardo"
    )
    assert done.code == 0
    golden("plan-sobol-two-models.txt", done.out)


def test_plan_json_is_the_whole_plan(call: Callable[..., Outcome]) -> None:
    plan = json.loads(call("plan", "--space", "lhs", "--json").out)
    assert len(plan["points"]) == 4
    assert len(plan["trials"]) == 12
    assert plan["missing_executions"] == 24
    assert plan["strategy"] == "latinHypercubeSampling"


@pytest.mark.parametrize("verb", [(), *((name,) for name in cli.commands), ("models", "list"), ("models", "stage")], ids=" ".join)
def test_help(call: Callable[..., Outcome], verb: tuple[str, ...]) -> None:
    done = call(*verb, "--help")
    assert done.code == 0
    golden(f"help-{'-'.join(verb) or 'all'}.txt", done.out)
    assert len(verb) != 1 or "orchestrator" in done.out or verb == ("models",), "no example"


MALFORMED = """\
sampler: lhs
parameters:
  max_length: {type: int, low: 50, high: 200}
  top_p: {type: float, low: 0.9, high: 0.1}
  top_k: {type: float, low: 0, high: 10}
  temprature: {type: float, low: 0, high: 1}
"""
TWICE = "sampler: lhs\nsampler: sobol\nparameters: {}\n"
NOT_YAML = "sampler: [lhs\n"
OPTIONS = "sampler: lhs\noptions: {strength: 3, spread: wide}\nparameters:\n" + "".join(
    f"  {name}: {{type: {kind}, low: {low}, high: {high}}}\n"
    for name, kind, low, high in [
        ("max_length", "int", 100, 200),
        ("top_p", "float", 0, 1),
        ("top_k", "int", 0, 100),
        ("temperature", "float", 0, 2),
    ]
)

WRONG: dict[str, tuple[str, ...]] = {
    "no space": (),
    "unknown verb": ("tun",),
    "unknown option": ("--space", "lhs", "--sample", "3"),
    "unknown space": ("--space", "lsh"),
    "missing space file": ("--space", "spaces/mine.yaml"),
    "malformed space": ("--space", "malformed.yaml"),
    "key twice": ("--space", "twice.yaml"),
    "not YAML": ("--space", "broken.yaml"),
    "options of the sampler": ("--space", "options.yaml"),
    "unknown model": ("--space", "lhs", "--model", "lama2"),
    "unknown synthetic": ("--space", "lhs", "--model", "synthetic-gpt"),
    "bad synthetic size": ("--space", "lhs", "--model", "synthetic-llama2:hidden_size=0"),
    "model folder without config": ("--space", "lhs", "--model", "./nothing"),
    "unknown use case": ("--space", "lhs", "--use-case", "dance"),
    "empty prompt": ("--space", "lhs", "--use-case", "empty.yaml"),
    "unknown quantization": ("--space", "lhs", "--quantization", "nf5"),
    "unknown engine": ("--space", "lhs", "--engine", "vllm"),
    "unknown machine": ("--space", "lhs", "--machine", "leonard"),
    "unknown country": ("--space", "lhs", "--country", "IT"),
    "numbers below one": ("--space", "lhs", "--samples", "0", "--repeats", "-1", "--prompts", "0"),
    "samples not a number": ("--space", "lhs", "--samples", "many"),
    "range of nothing": ("--space", "lhs", "--range", "top_q=0:1"),
    "range that is none": ("--space", "lhs", "--range", "top_p=low:high"),
    "range backwards": ("--space", "lhs", "--range", "temperature=2:1"),
    "range outside the domain": ("--space", "lhs", "--range", "max_length=1:20000", "--range", "temperature=0:3"),
    "range twice": ("--space", "lhs", "--range", "top_p=0:1", "--range", "top_p=0:0.5"),
    "several at once": ("--space", "lsh", "--model", "lama2", "--use-case", "dance", "--quantization", "nf5"),
    "out is a file": ("--space", "lhs", "--out", "malformed.yaml"),
    "out below a file": ("--space", "lhs", "--out", "malformed.yaml/data"),
    "out where nothing can be written": ("--space", "lhs", "--out", "/proc/measurements"),
}


def test_errors(call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each ends with 2, a line a fault on standard error, no traceback, nothing on standard output, nothing written."""
    files = {
        "malformed.yaml": MALFORMED,
        "twice.yaml": TWICE,
        "broken.yaml": NOT_YAML,
        "options.yaml": OPTIONS,
        "empty.yaml": "prompts: ['', Dance., Dance.]\n",
    }
    for name, text in files.items():
        Path(name).write_text(text, encoding="utf-8")
    report = []
    for what, arguments in WRONG.items():
        verb = () if what == "unknown verb" else ("tune",)
        done = call(*verb, *arguments)
        assert (done.code, done.out) == (2, ""), (what, done)
        assert done.err, what
        assert all(line.startswith("error: ") for line in done.err.splitlines()), done.err
        assert {p.name for p in Path.cwd().iterdir()} == set(files), f"{what}: something was written"
        report.append(f"# {what}: orchestrator {' '.join((*verb, *arguments))}\n{done.err}")
    golden("errors.txt", "\n".join(report))


def test_a_sweep_file_edited_by_hand_is_refused(call: Callable[..., Outcome]) -> None:
    from orchestrator.sweep.plan import make_plan, write_plan
    from orchestrator.sweep.request import Request, resolve_request
    from orchestrator.sweep.run import known_revisions

    resolved = resolve_request(Request(space="lhs", engine="simulated"), [])
    plan = make_plan(resolved, known_revisions(resolved))
    path = Path("measurements") / "sweeps" / f"{plan.id}.json"
    write_plan(plan, path)
    assert call("plan", "--space", "lhs", "--engine", "simulated").code == 0
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1', 1))
    before = path.read_text()
    for verb in ("plan", "tune"):
        done = call(verb, "--space", "lhs", "--engine", "simulated")
        assert done.code == 2
        assert done.err.count("\n") == 1
        assert "edited by hand" in done.err
        assert str(path) in done.err
    path.write_text("{}")
    assert "not a sweep's plan any more" in call("plan", "--space", "lhs", "--engine", "simulated").err
    assert before
    assert [p for p in Path.cwd().rglob("*") if p.is_file()] == [path.absolute()]


def test_summarize_without_a_data_set(call: Callable[..., Outcome]) -> None:
    done = call("summarize", "--out", "nowhere")
    assert done.code == 2
    assert done.err == "error: --out nowhere: no such folder; name a data set written by `orchestrator tune`\n"


def test_models_list(call: Callable[..., Outcome]) -> None:
    rows = json.loads(call("models", "list", "--json").out)
    assert [row["name"] for row in rows] == ["llama2", "mistral", "smollm2"]
    assert [row["here"] for row in rows] == [None, None, None]
    assert all(len(row["revision"]) == 40 for row in rows)
    assert "6.738 B" in call("models", "list").out


def test_staging_without_network_is_one_sentence(call: Callable[..., Outcome]) -> None:
    done = call("models", "stage", "mistral")
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert "HF_HUB_OFFLINE" in done.err
