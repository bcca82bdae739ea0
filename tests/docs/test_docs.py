"""The documentation says what the code says: data dictionary, commands, links, flags."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import click
import pytest

from orchestrator.cli.verbs import VERBS, loaded
from orchestrator.dataset.dictionary import data_dictionary
from orchestrator.dataset.flags import FLAGS
from tests.golden_files import assert_same

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "tools" / "README.md"])

DICTIONARY = f"""# Data dictionary
Generated from the tables in `orchestrator/dataset/` (`UPDATE_GOLDEN=1 pytest tests/docs`).
{data_dictionary()}"""


def test_data_dictionary_is_the_schema() -> None:
    assert_same(ROOT / "docs" / "data-dictionary.md", DICTIONARY)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)\)", page.read_text(encoding="utf-8"))
    local = [t for t in targets if not t.startswith("http")]
    assert not [t for t in local if not (page.parent / t).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_tests_and_tools_named_in_the_docs_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    paths = re.findall(r"\b(?<!/)(?:tests|tools)/[\w/.-]*\w", text)
    modules = re.findall(r"-m ((?:tests|tools)\.[\w.]*\w)", text)
    assert not [path for path in paths if not (ROOT / path).exists()]
    assert not [module for module in modules if find_spec(module) is None]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_options_named_in_the_docs_exist(page: Path) -> None:
    verbs = [loaded(name) for name in VERBS]
    groups = [verb for verb in verbs if isinstance(verb, click.Group)]
    known = {
        name
        for command in [*verbs, *(verb for group in groups for verb in group.commands.values())]
        for parameter in command.params
        for name in parameter.opts
    }
    shown = re.findall(
        r"orchestrator (?:tune|plan|summarize|cluster)[^`\n|]*", page.read_text(encoding="utf-8")
    )
    used = {option for line in shown for option in re.findall(r"--[a-z-]+", line)}
    assert used <= known | {"--help"}


def test_every_flag_is_explained() -> None:
    explained = set(
        re.findall(
            r"^\| `(\w+)` \|",
            (ROOT / "docs" / "data-dictionary.md").read_text(encoding="utf-8"),
            flags=re.MULTILINE,
        )
    )
    assert explained >= FLAGS.keys()


def test_readme_commands_are_the_ones_ci_runs() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = [line for line in readme.splitlines() if line.startswith("python3 -m venv")]
    assert len(commands) == 2
    assert commands[0].endswith("-m orchestrator tune --space lhs")
    assert commands[1].endswith("-m pytest -n 2 --dist loadfile")
    assert all("-c constraints.txt" in command for command in commands)
