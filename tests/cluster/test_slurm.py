"""Job scripts: what they hold, what can't get into them, and what is refused before a job waits."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.cluster.slurm import BODY
from orchestrator.yaml_files import packaged_folder
from tests.cluster.conftest import Commands
from tests.commandline import Outcome
from tests.golden_files import golden

SLURM = ("cluster", "slurm")
ACCOUNT = ("--account", "EUHPC_X01_001")
LHS = ("tune", "--space", "lhs", "--engine", "simulated")

Call = Callable[..., Outcome]


def settings_of(script: str) -> str:
    """The part of a script that differs between jobs."""
    assert script.endswith("\n" + BODY.read_text())
    return script.removesuffix(BODY.read_text())


def test_leonardo(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", "/leonardo_work/EUHPC_X01_001/hub")
    arguments = ("--qos", "boost_qos_dbg", "--hours", "0.5", "--chain", "5", "--exclusive")
    command = ("tune", "--space", "lhs", "--model", "mistral", "--execution-timeout", "600")
    done = call(*SLURM, *ACCOUNT, *arguments, "--", *command)
    assert (done.code, done.err.splitlines()) == (
        0,
        [
            (
                "warning: mistral: its weights are not on this machine; "
                "run `orchestrator models stage mistral` on a login node first"
            )
        ],
    )
    golden("slurm-leonardo.txt", settings_of(done.out))
    subprocess.run(["bash", "-n"], input=done.out, text=True, check=True)
    assert call(*SLURM, *ACCOUNT, *arguments, *command).out == done.out, "also without --"
    assert not list(Path.cwd().iterdir()), "something was written"


def test_without_an_account_a_placeholder_and_a_warning(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = call(*SLURM, "--", *LHS)
    assert done.code == 0
    assert "#SBATCH --account=YOUR_ACCOUNT\n" in done.out
    assert done.err == (
        "warning: no account to bill is known; replace YOUR_ACCOUNT in the script, "
        "or give --account\n"
    )
    monkeypatch.setenv("SBATCH_ACCOUNT", "mine")
    done = call(*SLURM, "--", *LHS)
    assert "#SBATCH --account=mine\n" in done.out
    assert done.err == ""


@pytest.mark.parametrize(
    ("flags", "asked", "shared"),
    [
        ((), {"gres=gpu:4", "cpus-per-task=32", "mem=494000M"}, False),
        (("--gpus", "1"), {"gres=gpu:1", "cpus-per-task=8", "mem=123500M"}, True),
        (
            ("--gpus", "1", "--exclusive"),
            {"gres=gpu:1", "cpus-per-task=32", "mem=494000M", "exclusive"},
            False,
        ),
    ],
)
def test_a_job_with_fewer_gpus_asks_for_their_share(
    call: Call, flags: tuple[str, ...], asked: set[str], shared: bool
) -> None:
    done = call(*SLURM, *ACCOUNT, *flags, "--", *LHS)
    options = {
        line.removeprefix("#SBATCH --")
        for line in done.out.splitlines()
        if line.startswith("#SBATCH")
    }
    assert asked <= options
    assert ("other jobs may run on the same nodes" in done.err) == shared


MACHINE = """\
accelerator: gpu
country_iso_code: ITA
slurm:
  account: someone
  partition: main
  interface: ib0
  modules: [profile/deeplrn, cuda/12.2]
"""


def test_settings_of_a_machine_s_file(call: Call) -> None:
    Path("clusters").mkdir()
    for place in ("venv: /shared/it's/venv", "container: /shared/it's.sif"):
        Path("clusters", "mine.yaml").write_text(f"{MACHINE}  {place}\n")
        text = settings_of(call(*SLURM, "--machine", "mine", "--", *LHS).out)
        lines = text.splitlines()
        assert {"interface=ib0", "label=mine", "module load profile/deeplrn cuda/12.2"} <= set(
            lines
        )
        assert "#SBATCH --account=someone" in lines
        assert not any("gres" in line or "mem=" in line for line in lines), (
            "nothing is known of them"
        )
        if place.startswith("venv"):
            assert "export PATH='/shared/it'\"'\"'s/venv/bin':\"$PATH\"" in lines
        else:
            (run,) = (line for line in lines if line.startswith("run="))
            assert run.startswith(f"run=(apptainer exec --nv --bind {Path.cwd()} ")
            assert run.endswith("'/shared/it'\"'\"'s.sif')")


HOSTILE = [
    "a'; touch hacked; echo '",
    "$(touch hacked)",
    "`touch hacked`",
    "a b",
    '"; touch hacked #',
    "-n",
    "*",
    "~",
    "ü",
    "",
]


def test_no_argument_or_folder_reaches_the_shell(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commands: Commands
) -> None:
    folder = tmp_path / "it's $(touch hacked)"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("ORCHESTRATOR_CACHE", str(tmp_path / "`touch hacked` cache"))
    models = [
        part
        for number, text in enumerate(HOSTILE)
        if text
        for part in ("--model", f"./{number}{text}")
    ]
    for name in models[1::2]:
        made = Path(name)
        made.mkdir()
        (made / "config.json").write_text(json.dumps({"model_type": "llama"}))
    arguments = (*models, "--out", HOSTILE[0])
    done = call(*SLURM, *ACCOUNT, "--", *LHS, *arguments)
    assert done.code == 0, done.err
    shown = (
        settings_of(done.out)
        + '\nprintf "%s\\0" "$PWD" "$folder" "$out" "$ORCHESTRATOR_CACHE" "${tune[@]}"\n'
    )
    values = subprocess.run(
        ["bash"], input=shown, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    expected = [str(folder)] * 2 + [
        str(folder / HOSTILE[0]),
        str(tmp_path / "`touch hacked` cache"),
        *LHS[1:],
        *arguments,
    ]
    assert values == [*expected, ""]
    assert not list(tmp_path.rglob("hacked"))
    commands.add("sbatch", "exit 1")
    assert call(*SLURM, *ACCOUNT, "--", *LHS, "--out", "a\nb").err.startswith(
        "error: a\\nb: holds control"
    )


BAD_YAML = """\
accelerator: gpu
slurm:
  account: "me; touch hacked"
  partition: "main\\n#SBATCH --wrap=x"
  interface: "$(x)"
  modules: ["cuda; x"]
  venv: ~/venv
  gpus_per_node: 0
  cpus: 4
"""


def test_a_bad_section_is_told_line_by_line(call: Call) -> None:
    Path("bad.yaml").write_text(BAD_YAML)
    done = call(*SLURM, "--machine", "bad.yaml", "--", *LHS)
    assert done.code == 2
    places = {line.split(": ")[2] for line in done.err.splitlines()}
    names = ("account", "partition", "interface", "modules[0]", "venv", "gpus_per_node", "cpus")
    assert places == {f"$.slurm.{name}" for name in names}
    Path("bad.yaml").write_text("accelerator: gpu\nslurm: {venv: /a, container: /b}\n")
    assert (
        "venv and container exclude each other"
        in call(*SLURM, "--machine", "bad.yaml", "--", *LHS).err
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--", "plan", "--space", "lhs"), "plan: after the options write `-- tune ...`"),
        (("--",), "Missing argument"),
        (("--", "tune"), "name a search space (lhs, uniform"),
        (
            ("--", "tune", "--space", "lhs", "--sample", "3"),
            "tune: there is no option --sample",
        ),
        (
            ("--", "tune", "--space", "lhs", "--samples", "many"),
            "orchestrator tune: Invalid value for '--samples'",
        ),
        (("--", "tune", "--space", "lsh"), "search_spaces: there is no 'lsh'"),
        (("--", "tune", "--space", "lhs", "--range", "top_p=2:3"), "leaves the domain"),
        (("--", *LHS, "--shard", "3/2"), "--shard 3/2: write it as I/N"),
        (("--", *LHS, "--out", "file"), "is not a folder"),
        (("--", *LHS, "--address", "1.2.3.4:5"), "tune --address: the job script sets this option"),
        (("--", *LHS, "--machine", "pc"), "tune --machine: the job script sets this option"),
        (("--machine", "leonard", "--", *LHS), "did you mean leonardo?"),
        (("--gpus", "5", "--", *LHS), "--gpus 5: a node of leonardo has 4"),
        (("--hours", "0.2", "--", *LHS), "--hours 0.2: the job drains 900 s before its end"),
        (("--hours", "nan", "--", *LHS), "Invalid value for '--hours'"),
        (("--lead", "70000", "--", *LHS), "--lead 70000: SLURM takes at most 65535"),
        (("--account", "a b", "--", *LHS), "--account a b: write letters"),
        (
            ("--partition", "x\n#SBATCH --wrap=y", "--", *LHS),
            "--partition x\\n#SBATCH --wrap=y: write letters",
        ),
        (("--qos", "$(x)", "--", *LHS), "--qos $(x): write letters"),
        (("--nodes", "0", "--", *LHS), "Invalid value for '--nodes'"),
        (("--submit", "--", *LHS), "--submit: no account to bill is known"),
        ((*ACCOUNT, "--submit", "--", *LHS), "--submit: there is no sbatch here"),
        (
            (*ACCOUNT, "--submit", "--", "tune", "--space", "lhs", "--model", "mistral"),
            "mistral: its weights are not on this machine",
        ),
    ],
)
def test_refused_now_and_not_after_hours(
    call: Call, commands: Commands, arguments: tuple[str, ...], told: str
) -> None:
    Path("file").write_text("")
    os.environ["PATH"] = str(commands.folder)
    done = call(*SLURM, *arguments)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done
    assert done.err.startswith("error: ")
    assert told in done.err
    assert [path.name for path in Path.cwd().iterdir()] == ["file"]


def test_submit(call: Call, commands: Commands) -> None:
    commands.add("sbatch", 'cat >"$0.stdin"; echo "4711;leonardo"')
    done = call(*SLURM, *ACCOUNT, "--nodes", "3", "--submit", "--", *LHS, "--out", "data")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(
        f"Submitted as job 4711: 3 nodes for 24 h, log {Path.cwd()}/slurm-4711.log\n"
    )
    assert (commands.folder / "sbatch.stdin").read_text() == call(
        *SLURM, *ACCOUNT, "--nodes", "3", "--", *LHS, "--out", "data"
    ).out
    assert commands.calls("sbatch") == ["--parsable"]
    (line,) = Path("data", ".slurm.jsonl").read_text().splitlines()
    noted = json.loads(line)
    assert (noted["job"], noted["after"], noted["link"]) == ("4711", None, 0)
    assert line.startswith('{"job": "4711", '), "the job looks for this text"
    assert "EUHPC" not in line
    assert (
        "other jobs may run"
        in call(*SLURM, *ACCOUNT, "--gpus", "1", "--submit", "--", *LHS, "--out", "data").err
    )


def test_what_sbatch_says_is_told(call: Call, commands: Commands) -> None:
    commands.add(
        "sbatch", "echo 'sbatch: error: Batch job submission failed: Invalid account' >&2; exit 1"
    )
    done = call(*SLURM, *ACCOUNT, "--submit", "--", *LHS)
    assert (done.code, done.out) == (2, "")
    assert (
        done.err
        == "error: --submit: sbatch refused the job: Batch job submission failed: Invalid account\n"
    )
    assert not Path("measurements").exists()


def test_leonardo_s_file_has_what_the_centre_publishes(call: Call) -> None:
    text = (packaged_folder("clusters") / "leonardo.yaml").read_text()
    assert "account: null" in text, "nobody's own"
