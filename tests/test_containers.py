"""The container recipes install this package, from files that are there, with the pinned versions.

An image is built where a Docker daemon answers and CONTAINERS=1 asks for it (slow, with a network).
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]
DOCKERFILE, APPTAINER = ROOT / "clusters" / "Dockerfile", ROOT / "clusters" / "apptainer.def"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]


@dataclass(frozen=True)
class Recipe:
    """What both kinds of recipe say."""

    base: str
    copied: frozenset[str]
    """Files and folders of the repository."""
    shell: str
    """The commands that run while the image is built."""
    starts: str
    """The program that the container runs."""


def dockerfile() -> Recipe:
    """The Dockerfile, by its instructions."""
    text = DOCKERFILE.read_text(encoding="utf-8")
    code = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    lines = [line for line in code.replace("\\\n", " ").splitlines() if line.strip()]
    found: dict[str, list[str]] = {}
    for line in lines:
        instruction, _, rest = line.partition(" ")
        found.setdefault(instruction, []).append(rest.strip())
    assert found.keys() <= {"FROM", "RUN", "WORKDIR", "COPY", "ENV", "ENTRYPOINT", "CMD"}
    copies = [shlex.split(rest) for rest in found["COPY"]]
    for *_sources, target in copies:
        assert target.startswith("./"), "relative to WORKDIR"
    (start,), (base,) = found["ENTRYPOINT"], found["FROM"]
    return Recipe(
        base=base,
        copied=frozenset(source for *sources, _ in copies for source in sources),
        shell="\n".join(found["RUN"]),
        starts=start.strip('[]"'),
    )


def apptainer() -> Recipe:
    """The Apptainer definition, by its header and sections."""
    text = APPTAINER.read_text(encoding="utf-8")
    header, *rest = re.split(r"^%(\w+)\n", text, flags=re.MULTILINE)
    sections = dict(zip(rest[::2], rest[1::2], strict=True))
    fields = dict(line.split(": ") for line in header.splitlines()[:2])
    assert fields["Bootstrap"] == "docker"
    copies = [line.split() for line in sections["files"].splitlines() if line.strip()]
    for source, target in copies:
        assert target == f"/opt/orchestrator/{source}"
    run = sections["runscript"].strip().splitlines()[0]
    return Recipe(
        base=fields["From"],
        copied=frozenset(source for source, _ in copies),
        shell=sections["post"],
        starts=shlex.split(run)[1],
    )


RECIPES = {"Dockerfile": dockerfile, "apptainer.def": apptainer}


@pytest.mark.parametrize("name", RECIPES)
def test_the_python_of_a_recipe_is_one_that_the_package_takes(name: str) -> None:
    image, _, tag = RECIPES[name]().base.partition(":")
    version = re.fullmatch(r"(\d+\.\d+)-slim", tag)
    assert image == "python"
    assert version
    assert f"{version[1]}.0" in SpecifierSet(PROJECT["requires-python"])


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_installs_the_pinned_versions_and_starts_the_program(name: str) -> None:
    recipe = RECIPES[name]()
    installs = re.findall(r"pip install (.*)", recipe.shell)
    assert [shlex.split(line) for line in installs] == [
        ["--no-cache-dir", "--constraint", "constraints.txt", "."]
    ]
    assert recipe.starts in PROJECT["scripts"]
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pinned = {normal(line.partition("==")[0]) for line in pins.splitlines() if "==" in line}
    needed = {normal(re.split(r"[\[<>=]", one)[0]) for one in PROJECT["dependencies"]}
    assert needed <= pinned


def normal(package: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", package).lower()


@pytest.mark.parametrize("name", RECIPES)
def test_the_shell_lines_of_a_recipe_are_valid(name: str) -> None:
    shell = RECIPES[name]().shell
    done = subprocess.run(["bash", "-n"], input=shell, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_both_recipes_make_the_same() -> None:
    one, other = dockerfile(), apptainer()
    assert (one.base, one.copied, one.starts) == (other.base, other.copied, other.starts)
    packages = {
        re.search(r"--no-install-recommends (.*)", recipe.shell)[1].split(" && ")[0].split()[0]  # type: ignore[index]
        for recipe in (one, other)
    }
    assert len(packages) == 1


def test_what_is_copied_is_there_and_enough_to_build_the_package() -> None:
    hatch = PYPROJECT["tool"]["hatch"]
    wheel = hatch["build"]["targets"]["wheel"]
    needed = {
        *("pyproject.toml", "constraints.txt"),
        *(PROJECT["readme"], *PROJECT["license-files"]),
        *(hatch["version"]["path"].split("/")[0], *wheel["packages"], *wheel["force-include"]),
    }
    copied = dockerfile().copied
    assert copied == needed
    assert all((ROOT / name).exists() for name in copied)


@pytest.mark.slow
def test_the_image_is_built_and_starts() -> None:
    if os.environ.get("CONTAINERS") != "1":
        pytest.skip("CONTAINERS=1 builds the image: 10 GB and a network")
    asked = subprocess.run(["docker", "version"], capture_output=True, check=False)
    if asked.returncode:
        pytest.skip("no Docker daemon answers")
    build = ["docker", "build", "-f", str(DOCKERFILE), "-t", "orchestrator-test", str(ROOT)]
    subprocess.run(build, check=True)
    run = ["docker", "run", "--rm", "orchestrator-test", "--version"]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("orchestrator")
