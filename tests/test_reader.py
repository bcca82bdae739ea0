"""Files a person typed: found in the right place, and every fault told at once, in a line each."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator import reader
from orchestrator.errors import UserError
from orchestrator.nouns import Machine, Space, UseCase
from orchestrator.reader import find, load_yaml, names, packaged_folder, read


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def fault(text: str | bytes, model: type = UseCase) -> tuple[str, ...]:
    path = Path("mine.yaml")
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError) as raised:
        read("prompts", "mine.yaml", model)
    return raised.value.lines


def test_a_file_of_the_working_folder_wins_over_the_packaged_one() -> None:
    assert find("search_spaces", "lhs") == packaged_folder("search_spaces") / "lhs.yaml"
    own = Path("search_spaces")
    own.mkdir()
    (own / "lhs.yaml").write_text("sampler: lhs\n")
    (own / "mine.yaml").write_text("sampler: lhs\n")
    assert find("search_spaces", "lhs") == Path.cwd() / "search_spaces" / "lhs.yaml"
    assert names("search_spaces") == ["grid", "lhs", "mine", "optuna", "sobol", "uniform"]


def test_unknown_names_suggest_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean sobol"):
        find("search_spaces", "soboll")


def test_the_name_of_a_file_is_its_default_name() -> None:
    Path("mine.yaml").write_text("prompts: [Dance.]\n")
    assert read("prompts", "mine.yaml", UseCase)[0].name == "mine"


def test_all_faults_of_a_file_each_with_its_path() -> None:
    lines = fault(
        "sampler: lhs\nparameters:\n  max_length: {type: int, low: a, high: 99999}\n  top_p: {type: float, low: 1, high: 0}\n"
        "  top_k: 3\n",
        Space,
    )
    assert [line.split(": ")[1] for line in lines] == [
        "$.parameters.max_length.low",
        "$.parameters.top_p",
        "$.parameters.top_k",
        "$.parameters.temperature",
    ]
    assert all(line.startswith("mine.yaml: $") for line in lines)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a\n- b\n", "must be a mapping"),
        ("", "must be a mapping"),
        ("name: a\nname: b\nprompts: [x]\n", "line 2 is not valid YAML: the key 'name' is given twice"),
        ("prompts: [x\n", "is not valid YAML"),
        (b"prompts: ['\xff']\n", "not UTF-8"),
        ("prompts: !!python/object/apply:os.system [ls]\n", "is not valid YAML"),
        ("? [a, b]\n: c\n", "is not valid YAML"),
        ("prompts: " + "[" * 3000, "YAML"),
        ("prompts: [x]\nprompt: [y]\n", "$.prompt: there is no such key: did you mean prompts?"),
        ("name: ../../etc\nprompts: [x]\n", "$.name"),
    ],
    ids=range(10),
)
def test_files_that_are_wrong(text: str | bytes, said: str) -> None:
    lines = fault(text)
    assert said in " ".join(lines) or "nested too deeply" in lines[0]
    assert all("\n" not in line for line in lines)


def test_a_huge_file_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "SIZE_LIMIT_BYTES", 10)
    assert "larger than" in fault("prompts: [aaaaaaaaaaaaaaa]\n")[0]


def test_a_folder_is_no_file() -> None:
    Path("x.yaml").mkdir()
    with pytest.raises(UserError, match="no such file"):
        find("prompts", "x.yaml")


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(max_size=200) | st.binary(max_size=200))
def test_whatever_stands_in_a_file_it_is_read_or_a_user_error(text: str | bytes) -> None:
    path = Path("any.yaml")
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    for model in (Space, UseCase, Machine):
        with contextlib.suppress(UserError):
            read("prompts", "any.yaml", model)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.sampled_from(list("{}[]:,-&*!|>'\"%@` \n\tab1?#~")), max_size=40).map("".join))
def test_yaml_that_is_nearly_valid(text: str) -> None:
    path = Path("near.yaml")
    path.write_text(text)
    with contextlib.suppress(UserError):
        load_yaml(path)
