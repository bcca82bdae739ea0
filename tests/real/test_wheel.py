"""The built wheel in a fresh virtual environment, from an empty folder: no checkout in sight."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.real.conftest import Orchestrator

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with the wheel.

    This environment lends it the dependencies, but its editable install stays invisible.
    """
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)],
        check=True,
        capture_output=True,
    )
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--no-deps", *folder.glob("*.whl")],
        check=True,
        capture_output=True,
    )
    site = next((folder / "venv" / "lib").glob("python*/site-packages"))
    # a .pth adds the folder itself but doesn't run the .pth files in it: an editable install there
    # has no effect
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


class Installed(Orchestrator):
    """The command line of the wheel."""

    python: Path

    def command(self, *arguments: str) -> list[str]:
        return [str(self.python), "-m", "orchestrator", *arguments]


def test_plan_and_tune_from_an_empty_folder(python: Path, real_cache: Path, tmp_path: Path) -> None:
    installed = Installed(tmp_path, real_cache)
    installed.python = python
    where = subprocess.run(
        [python, "-c", "import orchestrator; print(orchestrator.__file__)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert str(python.parents[1]) in where.stdout
    package = Path(where.stdout.strip()).parent
    assert {"py.typed", "__init__.pyi"} <= {path.name for path in package.iterdir()}
    plan = installed.run("plan", "--space", "lhs").stdout
    assert "site-packages/orchestrator/data/search_spaces/lhs.yaml" in plan
    assert not list(tmp_path.iterdir()), "plan wrote something"
    result = installed.tune(
        "--space",
        "lhs",
        "--samples",
        "1",
        "--prompts",
        "1",
        "--use-case",
        "danceCoreography",
        "--range",
        "max_length=100",
    )
    assert (result["trials_run"], result["failed"]) == (1, 0)


def test_a_program_that_uses_the_wheel_is_type_checked(python: Path, tmp_path: Path) -> None:
    """Each mistake in it is found; the checkout's own check of it is part of `mypy`."""
    program = tmp_path / "consumer.py"
    program.write_bytes((ROOT / "tests" / "api" / "consumer.py").read_bytes())
    found = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--python-executable", python, program.name],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
