"""A new option of an engine needs its field alone: flag, help, check and hash come from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, Self

import click
import pytest
from click.testing import CliRunner, Result
from pydantic import Field, model_validator

from orchestrator.cli.options import engine_options
from orchestrator.engine import ENGINES, EngineOptions
from orchestrator.errors import UserError
from orchestrator.sweep.planning import make_plan
from orchestrator.sweep.request import Request, resolve_request


class PagedOptions(EngineOptions):
    """Options of each kind."""

    paged: bool = Field(default=False, description="Keep the cache in pages.")
    page_tokens: int = Field(default=16, ge=1, description="Tokens of a page.")
    pages: int | None = Field(default=None, description="Pages at most.")
    pool_share: float = Field(default=0.9, gt=0, le=1, description="Share of the memory.")
    eviction: Literal["oldest", "none"] = Field(default="oldest", description="What goes first.")

    @model_validator(mode="after")
    def _pages_need_paging(self) -> Self:
        if self.pages and not self.paged:
            raise ValueError("--pages needs --paged")
        return self


@pytest.fixture(autouse=True)
def paged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two engines that share their options."""
    kind = replace(ENGINES["simulated"], options=PagedOptions)
    monkeypatch.setitem(ENGINES, "paged", kind)
    monkeypatch.setitem(ENGINES, "paged2", kind)


def call(*arguments: str) -> tuple[dict[str, Any], Result]:
    """What a command with the options of all engines is given."""
    given: dict[str, Any] = {}

    @click.command
    def command(**flags: Any) -> None:
        given.update(flags)

    for option in engine_options():
        command = option(command)
    return given, CliRunner().invoke(command, arguments)


def request(engine: str = "paged", **options: Any) -> Request:
    return Request(space="lhs", engines=(engine,), models=("smollm2",), engine_options=options)


def test_a_field_is_a_flag_with_its_meaning_and_default() -> None:
    shown = call("--help")[1].output
    for line in (
        "--cpu-offload ",
        "--paged ",
        "Keep the cache in pages.\n",
        "--page-tokens VALUE ",
        "Tokens of a page. [default: 16]\n",
        "Pages at most.\n",
        "What goes first. [default: oldest]\n",
    ):
        assert shown.count(line) == 1, line


def test_only_what_is_given_is_passed_on() -> None:
    given, done = call("--paged", "--page-tokens", "16", "--pool-share", "0.5")
    assert done.exit_code == 0, done.output
    assert given == {"engine_options": {"paged": True, "page_tokens": "16", "pool_share": "0.5"}}
    assert call()[0] == {"engine_options": {}}


def test_what_is_not_at_its_default_enters_the_setup() -> None:
    options = {"paged": True, "page_tokens": "16", "pages": "8", "pool_share": "1"}
    setups = make_plan(resolve_request(request(**options), [])).setups
    assert setups[0].engine_options == {"paged": True, "pages": 8, "pool_share": 1.0}
    (plain, *_) = make_plan(resolve_request(request(), [])).setups
    assert plain.engine_options == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"page_tokens": "0"}, "--page-tokens 0: must be greater than or equal to 1"),
        ({"page_tokens": "few"}, "--page-tokens few: must be a valid integer"),
        ({"eviction": "all"}, "--eviction all: must be 'oldest' or 'none'"),
        ({"pages": "3"}, "--engine paged: --pages needs --paged"),
    ],
)
def test_a_value_that_is_not_valid_is_refused_by_its_flag(
    options: dict[str, str], message: str
) -> None:
    with pytest.raises(UserError) as refused:
        resolve_request(request(**options), [])
    assert message in str(refused.value)


def test_an_option_of_other_engines_is_refused() -> None:
    with pytest.raises(UserError, match="leave it out, or take --engine paged or paged2"):
        resolve_request(request("simulated", paged=True), [])
