"""The address of the repository stands in pyproject.toml; whatever else names it says the same.

`UPDATE_GOLDEN=1 pytest tests/docs` writes it into these files.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.golden_files import assert_same

ROOT = Path(__file__).parents[2]
URL = "https://example.org/lab/llm-energy-orchestrator"


def address() -> str | None:
    """What pyproject.toml names; None where that is nothing."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    url: str | None = project.get("urls", {}).get("Repository")
    return url


def citation(text: str, url: str | None) -> str:
    """CITATION.cff with this address, or without one."""
    bare = re.sub(r"^repository-code: .*\n", "", text, flags=re.MULTILINE)
    line = f"repository-code: {url}\n" if url else ""
    return re.sub(r"^license: ", f"{line}license: ", bare, flags=re.MULTILINE)


def notebook(text: str, url: str | None) -> str:
    """The notebook with this address as what it installs, or asking for one."""
    source = f"git+{url}" if url else ""
    return re.sub(r'SOURCE = \\"[^"]*\\"', rf'SOURCE = \\"{source}\\"', text)


def readme(text: str, url: str | None) -> str:
    """README.md with the command that fetches a copy, or without one."""
    folder = "llm-energy-orchestrator"
    fetched = f"\n```bash\ngit clone {url} {folder} && cd {folder}\n```" if url else ""
    return re.sub(
        r"<!-- repository -->(\n```bash\ngit clone .*\n```)?",
        f"<!-- repository -->{fetched}",
        text,
    )


FILES = {"CITATION.cff": citation, "clusters/colab.ipynb": notebook, "README.md": readme}


@pytest.mark.parametrize(("name", "with_address"), FILES.items(), ids=FILES)
def test_a_file_names_the_address_of_pyproject(
    name: str, with_address: Callable[[str, str | None], str]
) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert_same(ROOT / name, with_address(text, address()))


@pytest.mark.parametrize(("name", "with_address"), FILES.items(), ids=FILES)
def test_an_address_comes_in_and_goes_out_again(
    name: str, with_address: Callable[[str, str | None], str]
) -> None:
    without = with_address((ROOT / name).read_text(encoding="utf-8"), None)
    named = with_address(without, URL)
    assert named.count(URL) == 1
    assert with_address(named, "https://example.org/other").count(URL) == 0
    assert with_address(named, None) == without
    if name.endswith(".ipynb"):
        assert json.loads(named)
