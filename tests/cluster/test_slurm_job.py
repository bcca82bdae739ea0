"""The job script, with scripts in place of SLURM's and Ray's commands: signals, follow-up jobs."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster.conftest import Commands
from tests.commandline import Outcome

MACHINE = (
    "accelerator: gpu\ncountry_iso_code: ITA\nslurm: {account: me, gpus_per_node: 2, venv: %s}\n"
)
LHS = ("tune", "--space", "lhs", "--engine", "simulated", "--out", "data")
PROGRESS = "mkdir -p data/trial; touch data/trial/trial.json;"
DRAIN = "trap 'exit 75' USR1; kill -USR1 $PPID; while :; do sleep 0.05; done"
CANCEL = "trap 'sleep 0.2; exit 75' TERM; kill -TERM $PPID $$;"
ENVIRONMENT = {
    "SLURM_JOB_ID": "12345",
    "SLURM_JOB_NUM_NODES": "2",
    "SLURM_JOB_NODELIST": "n[1-2]",
    "SLURMD_NODENAME": "n1",
    "SLURM_CPUS_ON_NODE": "8",
    "SLURM_GPUS_ON_NODE": "2",
    "SLURM_MEM_PER_NODE": "1000",
}


@pytest.fixture
def job(
    call: Callable[..., Outcome], commands: Commands, tmp_path: Path
) -> Callable[..., tuple[int, str]]:
    """Run a job whose `tune` is a given script; returns its exit code and log."""
    Path("clusters").mkdir()
    Path("clusters", "mine.yaml").write_text(MACHINE % tmp_path)
    commands.folder.rename(tmp_path / "bin")
    commands.folder = tmp_path / "bin"
    commands.add("getent", "echo '127.0.1.1 STREAM n1'; echo '10.77.0.11 STREAM n1'")
    # SIGTERM meets the shell above it, which waits for it
    commands.add(
        "ray", "[ $1 = health-check ] || while [ -e $RAY_AUTH_TOKEN_PATH ]; do sleep 0.05; done"
    )
    # the step's own command, in our place; its options end at the first word without a dash
    commands.add("srun", 'while [[ $1 == -* ]]; do shift; done; [ "$1" = rm ] && exit; exec "$@"')
    commands.add("sbatch", "echo 12346")

    def run(tune: str, *, chain: int = 3, link: int = 0) -> tuple[int, str]:
        commands.add("python", tune)
        script = call(
            "cluster", "slurm", "--machine", "mine", "--chain", str(chain), "--", *LHS
        ).out
        Path("job.sh").write_text(script)
        environment = {**ENVIRONMENT, "PATH": f"{commands.folder}:/usr/bin:/bin"}
        done = subprocess.run(
            ["bash", "job.sh", *([str(link)] if link else [])],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=15,
            check=False,
        )
        assert not Path(".slurm-12345.token").exists(), "the token stays"
        assert "Ray is down" in done.stdout
        return done.returncode, done.stdout

    return run


@pytest.mark.parametrize(
    ("tune", "code", "goes_on"),
    [
        ("exit 0", 0, False),
        ("exit 3", 3, False),
        ("exit 2", 2, False),
        ("exit 75", 75, False),
        (PROGRESS + "exit 75", 0, True),
        (PROGRESS + "kill -9 $$", 0, True),
        ("kill -9 $$", 137, False),
        (DRAIN, 0, True),
        ("kill -USR1 $PPID; kill -USR1 $$; sleep 5", 0, True),
        (PROGRESS + CANCEL, 75, False),
    ],
    ids=[
        "done",
        "failures",
        "user error",
        "no progress",
        "progress",
        "killed",
        "killed at once",
        "drained",
        "drained while starting",
        "cancelled",
    ],
)
def test_when_a_follow_up_is_submitted(
    job: Callable[..., tuple[int, str]], commands: Commands, tune: str, code: int, goes_on: bool
) -> None:
    assert job(tune)[0] == code
    asked = ["--parsable --dependency=afterany:12345 job.sh 1"] if goes_on else []
    assert commands.calls("sbatch") == asked
    notes = Path("data", ".slurm.jsonl").read_text().splitlines()
    assert ['"12345"' in line for line in notes] == [True, *([True] if goes_on else [])], (
        "the follow-up names it"
    )
    assert ('{"job": "12346", "after": "12345", "link": 1' in notes[-1]) == goes_on


def test_a_chain_ends(job: Callable[..., tuple[int, str]], commands: Commands) -> None:
    code, said = job(PROGRESS + "exit 75", chain=2, link=2)
    assert (code, commands.calls("sbatch")) == (75, [])
    assert "the last job of the chain" in said


def test_what_ray_and_the_driver_are_told(
    job: Callable[..., tuple[int, str]], commands: Commands
) -> None:
    shown = (
        "env | grep -E '^(RAY|HF|ORCH|SRUN)' >driver.env; "
        "stat -c %a .slurm-12345.token >>driver.env"
    )
    both_nodes = f"while (($(grep -c start {commands.folder}/ray.calls) < 2)); do sleep 0.1; done"
    assert job(f"{both_nodes}; {shown}; exit 0")[0] == 0
    address = "10.77.0.11:22345"
    (driver,) = commands.calls("python")
    assert driver == f"-u -m orchestrator {' '.join(LHS)} --machine mine --address {address}"
    told = set(Path("driver.env").read_text().splitlines())
    assert {"HF_HUB_OFFLINE=1", "RAY_AUTH_MODE=token", "SRUN_CPUS_PER_TASK=8", "600"} <= told
    nodes = [line for line in commands.calls("ray") if line.startswith("start")]
    shared = (
        '--labels=machine=mine --resources={"energy_host": 1} --num-cpus=8 --num-gpus=2 '
        "--object-store-memory=200000000 --memory=943718400"
    )
    assert len(nodes) == 2
    assert all(shared in line and "--node-ip-address=10.77.0.11" in line for line in nodes)
    assert sorted(f"--address={address}" in line for line in nodes) == [False, True]
    steps = commands.calls("srun")
    assert all(line.startswith("--export=ALL --overlap") for line in steps)
    assert [sum(part in line for line in steps) for part in ("--nodelist=n1", "--exclude=n1")] == [
        1,
        1,
    ]  # in either order
