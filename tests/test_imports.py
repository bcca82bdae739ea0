"""What each verb loads: start-up is short as long as nothing is imported that isn't needed.

The seconds are in docs/performance.md; here stand the packages, which no busy machine changes.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import orchestrator
from orchestrator.cli import cli
from orchestrator.cli.verbs import VERBS, loaded

HEAVY = {"ray", "torch", "transformers", "codecarbon", "optuna", "bitsandbytes"}
TABLES = {"pandas", "pyarrow", "scipy", "statsmodels", "altair"}

HELP = {"click", "orchestrator"}
OPTIONS = HELP | {
    "annotated_types",
    "pydantic",
    "pydantic_core",
    "typing_extensions",
    "typing_inspection",
}
"""pydantic declares the engines' options, which are flags of `tune` and `plan`."""


def packages(tmp_path: Path, arguments: list[str], **environment: str) -> set[str]:
    """What a process of its own has imported at its end, beside Python's own library."""
    code = (
        "import sys\n"
        "before = set(sys.modules)\n"
        "from orchestrator.cli import main\n"
        "try:\n"
        f"    main({arguments!r})\n"
        "except SystemExit as ended:\n"
        "    assert not ended.code, ended.code\n"
        "print('LOADED', *set(sys.modules) - before, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    said, *modules = done.stderr.strip().splitlines()[-1].split()
    assert said == "LOADED"
    found = {module.partition(".")[0] for module in modules} - sys.stdlib_module_names
    # Python's own, of a name that depends on the platform
    return {name for name in found if not name.startswith("_sysconfigdata")}


def completed(tmp_path: Path, words: str, number: int) -> tuple[set[str], list[str]]:
    """As bash asks for the word of this number: (packages loaded, what is offered)."""
    asked = {
        "_ORCHESTRATOR_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(number),
    }
    offered = subprocess.run(
        [sys.executable, "-m", "orchestrator"],
        env=os.environ | asked,
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    return packages(tmp_path, [], **asked), offered.split()


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]], ids=" ".join)
def test_help_loads_no_verb(arguments: list[str], tmp_path: Path) -> None:
    assert packages(tmp_path, arguments) == HELP


def test_completion_of_a_verb_loads_none(tmp_path: Path) -> None:
    imported, offered = completed(tmp_path, "orchestrator tu", 1)
    assert offered == ["plain,tune"]
    assert imported == HELP


def test_completion_of_an_option_loads_its_verb(tmp_path: Path) -> None:
    imported, offered = completed(tmp_path, "orchestrator tune --spa", 2)
    assert offered == ["plain,--space"]
    assert imported <= OPTIONS


@pytest.mark.parametrize("verb", ["tune", "plan"])
def test_options_need_no_more_than_their_declarations(verb: str, tmp_path: Path) -> None:
    assert packages(tmp_path, [verb, "--help"]) <= OPTIONS


@pytest.mark.parametrize("space", ["lhs", "uniform", "grid", "sobol", "optuna"])
def test_plan_loads_no_tables(space: str, tmp_path: Path) -> None:
    assert not packages(tmp_path, ["plan", "--space", space]) & (HEAVY | TABLES)


@pytest.mark.parametrize(
    "arguments",
    [
        ["summarize", "--out", "."],
        ["models", "list"],
        ["validate", "--out", "."],
        *([verb, "--help"] for verb in VERBS),
    ],
    ids=" ".join,
)
def test_no_heavy_import(arguments: list[str], tmp_path: Path) -> None:
    assert not packages(tmp_path, arguments) & HEAVY


def loaded_by(code: str, tmp_path: Path) -> set[str]:
    """What a program has imported at its end, beside Python's own library."""
    program = f"import sys\nbefore = set(sys.modules)\n{code}\nprint(*set(sys.modules) - before)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    modules = done.stdout.splitlines()[-1].split()
    found = {module.partition(".")[0] for module in modules} - sys.stdlib_module_names
    return {name for name in found if not name.startswith("_sysconfigdata")}


def test_the_package_alone_loads_nothing(tmp_path: Path) -> None:
    assert loaded_by("import orchestrator; dir(orchestrator)", tmp_path) == {"orchestrator"}


def test_its_names_load_no_tables_before_they_are_called(tmp_path: Path) -> None:
    code = "from orchestrator import *; assert callable(tune) and callable(load)"
    assert loaded_by(code, tmp_path) == {"orchestrator"}


def test_a_plan_from_python_loads_what_the_command_line_loads(tmp_path: Path) -> None:
    code = "import orchestrator; orchestrator.plan('lhs')"
    assert not loaded_by(code, tmp_path) & (HEAVY | TABLES)


def test_each_public_name_has_a_home() -> None:
    assert sorted(orchestrator._HOMES) == sorted(orchestrator.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        orchestrator.nothing  # noqa: B018 - asking is enough


@pytest.mark.parametrize("name", orchestrator.__all__)
def test_no_module_takes_the_place_of_a_public_name(name: str) -> None:
    """Python sets a module as an attribute of its package: `orchestrator.tune` would be one."""
    assert importlib.util.find_spec(f"orchestrator.{name}") is None
    assert callable(getattr(orchestrator, name))


@pytest.mark.parametrize("name", VERBS)
def test_a_verb_is_told_of_as_in_its_own_help(name: str) -> None:
    verb, line = loaded(name), VERBS[name].help
    assert verb.name == name
    assert verb.help is not None
    assert verb.get_short_help_str(limit=1000) == line
    assert cli.commands[name].get_short_help_str(limit=1000) == line
