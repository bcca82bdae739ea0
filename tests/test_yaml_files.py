"""Files a person typed: found in the right place, and every fault told at once, in a line each."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator import yaml_files as reader
from orchestrator.errors import UserError
from orchestrator.evaluate.rules import Rules
from orchestrator.nouns import Machine, Noun, Parameters, Space, UseCase
from orchestrator.samplers import LhsOptions, sampler_of
from orchestrator.yaml_files import (
    find,
    load_yaml,
    names,
    packaged_folder,
    parse,
    printable,
    read,
)

MISTAGGED = ("!!bool maybe", '!!int ""', '!!float ""', "!!int +")
"""On these ruamel.yaml fails with errors that are none of YAML's."""


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


def test_a_path_is_that_file_and_no_other() -> None:
    for folder in ("search_spaces", "mine"):
        Path(folder).mkdir()
        Path(folder, "lhs.yaml").write_text(f"prompts: [In {folder}.]\n")
    Path("lhs.yaml").write_text("prompts: [Here.]\n")
    for name in ("lhs.yaml", "mine/lhs.yaml", str(Path("mine/lhs.yaml").absolute())):
        assert find("search_spaces", name) == Path(name)
    assert read("search_spaces", "mine/lhs.yaml", UseCase)[0].prompts == ("In mine.",)
    assert find("search_spaces", "lhs") == Path.cwd() / "search_spaces" / "lhs.yaml"
    with pytest.raises(
        UserError,
        match=r"^mine/none\.yaml: no such file; .* a name of prompts: creativeStorytelling, danceC",
    ):
        find("prompts", "mine/none.yaml")


def test_what_systems_and_editors_leave_in_a_folder_is_no_name() -> None:
    Path("prompts").mkdir()
    for name in ("._fantasyWorld.yaml", ".mine.yaml", "mine.yaml~", "mine.yml"):
        Path("prompts", name).write_bytes(b"\x00\x05\x16\x07")
    assert names("prompts") == ["creativeStorytelling", "danceCoreography", "fantasyWorld"]


def test_unknown_names_suggest_the_nearest() -> None:
    with pytest.raises(UserError) as raised:
        find("search_spaces", "soboll")
    known = "Known: grid, lhs, optuna, sobol, uniform"
    assert raised.value.lines == (
        f"search_spaces: there is no 'soboll': did you mean sobol? {known}",
    )
    with pytest.raises(UserError) as raised:
        find("search_spaces", "zzz")
    assert raised.value.lines == (f"search_spaces: there is no 'zzz': {known}",)


@pytest.mark.parametrize("name", ["x" * 5000, "x" * 5000 + ".yaml", "a/" * 3000])
def test_names_that_no_system_takes(name: str) -> None:
    with pytest.raises(UserError, match="can't be read: File name too long"):
        find("prompts", name)


def test_a_file_that_the_system_hides(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_file", refuse)
    with pytest.raises(UserError, match=r"^secret/mine\.yaml: can't be read: Permission denied$"):
        find("prompts", "secret/mine.yaml")


def test_the_name_of_a_file_is_its_default_name() -> None:
    Path("mine.yaml").write_text("prompts: [Dance.]\n")
    assert read("prompts", "mine.yaml", UseCase)[0].name == "mine"


def test_all_faults_of_a_file_each_with_its_path() -> None:
    lines = fault(
        "sampler: lhs\nparameters:\n  max_length: {type: int, low: a, high: 99999}\n"
        "  top_p: {type: float, low: 1, high: 0}\n"
        "  top_k: 3\n",
        Space,
    )
    assert [line.split(": ")[1] for line in lines] == [
        "$.parameters.max_length.low",
        "$.parameters.top_p",
        "$.parameters.top_k",
        "$.parameters.temperature",
    ]
    assert lines[1] == "mine.yaml:4:10: $.parameters.top_p: low 1 is above high 0"
    assert lines[3] == "mine.yaml:3:3: $.parameters.temperature: is missing"
    assert all(line.startswith("mine.yaml:") for line in lines)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a\n- b\n", "must be a mapping"),
        ("", "must be a mapping"),
        (
            "name: a\nname: b\nprompts: [x]\n",
            ":2:1: is not valid YAML: the key 'name' is given twice",
        ),
        ("prompts: [x\n", "is not valid YAML"),
        (b"prompts: ['\xff']\n", "not UTF-8"),
        ("prompts: !!python/object/apply:os.system [ls]\n", "is not valid YAML"),
        ("? [a, b]\n: c\n", "is not valid YAML"),
        ("prompts: " + "[" * 3000, "YAML"),
        ("prompts: [x]\nprompt: [y]\n", "$.prompt: there is no such key: did you mean prompts?"),
        ("name: ../../etc\nprompts: [x]\n", "$.name"),
        ("prompts: !!python/name:os.system\n", "is not valid YAML"),
        ("!!python/object/new:os.system [ls]\n", "is not valid YAML"),
        ("prompts: !mine%0Aown x\n", "could not determine a constructor for the tag '!mine\\nown'"),
        (
            "prompts: [a]\n---\nprompts: [b]\n",
            ":2:1: is not valid YAML: but found another document",
        ),
        ('"a\\nb": 1\nprompts: [x]\n', "$.a\\nb: there is no such key"),
        ('"\\x1b[31m": 1\nprompts: [x]\n', "$.\\x1b[31m: there is no such key"),
        (
            'prompts: ["\\ud800"]\n',
            ":1:11: is not valid YAML: the character '\\ud800' can't stand in a text",
        ),
        (
            'prompts:\n  - "a\\0b"\n',
            ":2:5: is not valid YAML: the character '\\x00' can't stand in a text",
        ),
        (
            "a: 1\n<<: {name: x}\n",
            ":2:1: is not valid YAML: merging by << is not supported",
        ),
        *(
            (f"prompts: [{tagged}]\n", "a value doesn't have the type that its !! tag names")
            for tagged in MISTAGGED
        ),
        (
            "prompts: [!!timestamp 2001-01-01]\n",
            "could not determine a constructor for the tag 'tag:yaml.org,2002:timestamp'",
        ),
        (
            "prompts: [" + "1" * 5000 + "]\n",
            ":1:11: is not valid YAML: a number of 5,000 characters; at most 40",
        ),
        (
            "prompts: [0x" + "f" * 5000 + "]\n",
            ":1:11: is not valid YAML: a number of 5,002 characters; at most 40",
        ),
        (
            "prompts: [1" + ":5" * 500 + "]\n",
            "is a number in base 60 to YAML; put a text in quotes",
        ),
        (
            "prompts: [1" + ":5" * 500 + ".5]\n",
            "is a number in base 60 to YAML; put a text in quotes",
        ),
        ("prompts: [!!float 1:30]\n", "1:30 is a number in base 60 to YAML"),
        (
            'prompts: [!!binary "YQBi"]\n',
            "could not determine a constructor for the tag 'tag:yaml.org,2002:binary'",
        ),
        (
            "prompts: !!set {a, b}\n",
            "could not determine a constructor for the tag 'tag:yaml.org,2002:set'",
        ),
        (
            "prompts: !!omap [a: b]\n",
            "could not determine a constructor for the tag 'tag:yaml.org,2002:omap'",
        ),
        ("? {a: b}\n: c\n", ":1:3: is not valid YAML: a key must be one word"),
        (
            "prompts: ['" + "a" * 100_001 + "']\n",
            "$.prompts[0]: has 100,001 characters, more than 100,000",
        ),
        (
            "prompts: &a [*a]\n",
            (":1:14: is not valid YAML: aliases (*name) are not supported; write the value out"),
        ),
        (b"\xfe\xff\x00a", "not UTF-8 at byte 0; give a file of settings, saved as UTF-8"),
    ],
    ids=itertools.count(),
)
def test_files_that_are_wrong(text: str | bytes, said: str) -> None:
    lines = fault(text)
    assert said in " ".join(lines) or "nested too deeply" in lines[0]
    assert all(line.startswith("mine.yaml:") and line.isprintable() for line in lines)


@pytest.mark.parametrize(
    ("line", "column"), [("{here}: &{here} {{<<: [{nine}]}}", 13), ("{here}: &{here} [{nine}]", 8)]
)
def test_few_lines_that_would_unfold_into_billions_of_values(line: str, column: int) -> None:
    text = "a: &a {x: 1, y: 2}\n"
    for before, here in itertools.pairwise("abcdefghijklmnopqrst"):
        text += line.format(here=here, nine=", ".join([f"*{before}"] * 9)) + "\n"
    assert fault(text)[0] == (
        f"mine.yaml:2:{column}: is not valid YAML: "
        "aliases (*name) are not supported; write the value out"
    )


AXIS = """
sampler: lhs
parameters:
  max_length: {{type: int, low: 100, high: 200}}
  top_k: {{type: int, low: 0, high: 10}}
  temperature: {{type: float, low: 0, high: 1}}
  top_p:
    type: float
    {pair}
    high: 1
"""


NO_NUMBER = "mine.yaml:9:10: $.parameters.top_p.low: must be a valid number, not "
NOT_VALID = "is not valid YAML: "


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ("low: yes", f"{NO_NUMBER}'yes'"),
        ("low: no", f"{NO_NUMBER}'no'"),
        ("low: true", f"{NO_NUMBER}true"),
        ("low: 0,1", f"{NO_NUMBER}'0,1'; decimals have a point (0.1, not 0,1)"),
        ('low: "0.1"', f"{NO_NUMBER}'0.1'"),
        ("low: 2001-01-01", f"{NO_NUMBER}'2001-01-01'"),
        ("low: [0]", f"{NO_NUMBER}a list"),
        ("low: {x: 1}", f"{NO_NUMBER}a mapping"),
        ("low:", "mine.yaml:9:5: $.parameters.top_p.low: must be a valid number, not null"),
        ("low: .nan", "mine.yaml:9:10: $.parameters.top_p.low: must be a finite number"),
        (
            "low: 0150",
            (
                f"mine.yaml:9:10: {NOT_VALID}0150 begins with 0, "
                "which makes it octal to some programs; leave the 0 out"
            ),
        ),
        (
            "low: -007",
            (
                f"mine.yaml:9:10: {NOT_VALID}-007 begins with 0, "
                "which makes it octal to some programs; leave the 0 out"
            ),
        ),
        (
            "low: 1:30",
            f"mine.yaml:9:10: {NOT_VALID}1:30 is a number in base 60 to YAML; put a text in quotes",
        ),
        (
            "range: {low: 0,1}",
            (
                f"mine.yaml:9:20: {NOT_VALID}the key 1 is a number; "
                "decimals have a point (0.1, not 0,1)"
            ),
        ),
    ],
)
def test_values_that_other_programs_read_as_numbers(pair: str, said: str) -> None:
    assert fault(AXIS.format(pair=pair), Space) == (said,)


@pytest.mark.parametrize(
    ("text", "model", "said"),
    [
        (
            "prompts: [x]\nlanguage: false\n",
            UseCase,
            "mine.yaml:2:11: $.language: must be a valid string, not false; put a text in quotes",
        ),
        (
            "prompts:\n  - Dance.\n  - 12\n",
            UseCase,
            "mine.yaml:3:5: $.prompts[1]: must be a valid string, not 12; put a text in quotes",
        ),
        ("prompts:\n- Dance.\n- ''\n", UseCase, "mine.yaml:3:3: $.prompts[1]: is empty"),
        (
            "prompts:\n- A.\n- B.\n- A.\n",
            UseCase,
            "mine.yaml:4:3: $.prompts[2]: repeats prompts[0]",
        ),
        (
            "prompts: [x]\nprompt:\n  - y\n",
            UseCase,
            (
                "mine.yaml:2:1: $.prompt: there is no such key: did you mean prompts? "
                "Known: name, description, language, prompts"
            ),
        ),
        (
            "accelerator: cpu\npue: true\n",
            Machine,
            "mine.yaml:2:6: $.pue: must be a valid number, not true",
        ),
        (
            "accelerator: cpu\nparallel_trials: true\n",
            Machine,
            "mine.yaml:2:18: $.parallel_trials: must be a valid integer, not true",
        ),
        (
            "accelerator: cpu\nprofile:\n  ranges:\n    top_p: [0.1, yes]\n",
            Machine,
            "mine.yaml:4:18: $.profile.ranges.top_p[1]: must be a valid number, not 'yes'",
        ),
        (
            "accelerator: cpu\nprofile:\n  ranges:\n    top: [0, 1]\n",
            Machine,
            (
                "mine.yaml:4:5: $.profile.ranges.top: "
                "must be 'max_length', 'top_p', 'top_k' or 'temperature'"
            ),
        ),
        (
            "version: 1\nlimits:\n  n_words: {at_least: true, good: 20}\n",
            Rules,
            "mine.yaml:3:23: $.limits.n_words.at_least: must be a valid number, not true",
        ),
        (
            "scramble: no\n",
            LhsOptions,
            "mine.yaml:1:11: $.scramble: must be a valid boolean, not 'no'; write true or false",
        ),
    ],
    ids=itertools.count(),
)
def test_each_fault_of_a_file_has_its_line_and_column(
    text: str, model: type[Noun], said: str
) -> None:
    Path("mine.yaml").write_text(text)
    value = load_yaml(Path("mine.yaml"))
    if "name" in model.model_fields:
        value["name"] = "mine"
    with pytest.raises(UserError) as raised:
        parse(model, value, Path("mine.yaml"))
    assert raised.value.lines == (said,)


def test_options_of_a_space_have_their_lines_too() -> None:
    """They are checked apart from the file, once the sampler is known."""
    text = "name: mine\nsampler: lhs\noptions:\n  strength: 3\n"
    Path("mine.yaml").write_text(text)
    space, _ = read("search_spaces", "lhs", Space)
    faulty = space.model_copy(update={"options": {"strength": 3}})
    with pytest.raises(UserError, match=r"^mine\.yaml:4:13: \$\.options\.strength: must be 1 or"):
        sampler_of(faulty, Path("mine.yaml"))


def test_a_file_that_is_gone_once_its_fault_is_told_has_no_lines() -> None:
    with pytest.raises(UserError, match=r"^gone\.yaml: \$\.prompts: is missing$"):
        parse(UseCase, {"name": "gone"}, Path("gone.yaml"))
    with pytest.raises(UserError, match=r"^--range: \$\.prompts: is missing$"):
        parse(UseCase, {"name": "gone"}, "--range")


def test_a_date_is_a_text() -> None:
    Path("mine.yaml").write_text("a: 2001-01-01\nb: 2001-13-01\n")
    assert load_yaml(Path("mine.yaml")) == {"a": "2001-01-01", "b": "2001-13-01"}


def test_a_pipe_is_no_file_of_settings() -> None:
    os.mkfifo("pipe.yaml")
    with pytest.raises(UserError, match=r"^pipe\.yaml: is a pipe, not a file; give a file of "):
        load_yaml(Path("pipe.yaml"))


@pytest.mark.parametrize(
    ("value", "read_as"),
    [("1e-3", 0.001), (".5", 0.5), ("0", 0), ("0.0", 0.0), ("0x1F", 31), ("0o17", 15)],
)
def test_numbers_are_those_of_yaml_1_2(value: str, read_as: float) -> None:
    Path("mine.yaml").write_text(f"a: {value}\n")
    assert load_yaml(Path("mine.yaml")) == {"a": read_as}


@pytest.mark.parametrize("head", ["", "%YAML 1.1\n---\n", "%YAML 1.2\n---\n"])
def test_yes_and_no_are_words_and_no_is_a_language(head: str) -> None:
    Path("mine.yaml").write_text(f"{head}language: no\nprompts: [yes, on, Off, y, true]\n")
    value = load_yaml(Path("mine.yaml"))
    assert value == {"language": "no", "prompts": ["yes", "on", "Off", "y", True]}
    Path("mine.yaml").write_text(f"{head}language: no\nprompts: [Dance.]\n")
    assert read("prompts", "mine.yaml", UseCase)[0].language == "no"


@pytest.mark.parametrize(
    "text",
    ["x: [" + "1, " * 300_000 + "1]\n", "".join(f"k{i}: {{a: {i}}}\n" for i in range(60_000))],
)
def test_more_values_than_a_person_writes(text: str) -> None:
    (line,) = fault(text, Space)
    assert line.endswith(
        "is not valid YAML: more than 20,000 values; this is not a file of settings"
    )


def test_many_faults_and_long_ones_are_cut() -> None:
    lines = fault(
        "".join(f"key{i}: 1\n" for i in range(8_000)) + f"? {'long' * 1000}\n: 1\n", Space
    )
    assert (len(lines), lines[-1]) == (51, "mine.yaml: ... and 7,953 more")
    for text in (
        "name: mine\nprompts: [Dance.]\n? {}\n: 1\n",
        "? {0}\n: 1\n? {0}\n: 2\n",
        "prompts: !{} x\n",
    ):
        (line,) = fault(text.format("k" * 100_000))
        assert len(line) < 500, line[:500]


def test_the_longest_prompt_is_read() -> None:
    Path("mine.yaml").write_text("prompts: ['" + "a" * 100_000 + "']\n")
    assert len(read("prompts", "mine.yaml", UseCase)[0].prompts[0]) == 100_000


def test_a_file_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"^none\.yaml: can't be read: No such file or directory$"):
        load_yaml(Path("none.yaml"))


def test_a_huge_file_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "SIZE_LIMIT_BYTES", 10)
    assert "that are read; give a file of settings" in fault("prompts: [aaaaaaaaaaaaaaa]\n")[0]


def test_a_folder_is_no_file() -> None:
    Path("x.yaml").mkdir()
    with pytest.raises(UserError, match="no such file"):
        find("prompts", "x.yaml")


@settings(
    max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(st.text(max_size=200) | st.binary(max_size=200))
def test_whatever_stands_in_a_file_it_is_read_or_a_user_error(text: str | bytes) -> None:
    path = Path("any.yaml")
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    for model in (Space, UseCase, Machine):
        try:
            value = read("prompts", "any.yaml", model)[0]
        except UserError as error:
            assert all(line.startswith("any.yaml:") for line in error.lines), error.lines
        else:
            assert isinstance(value, model)


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.dates()
    | st.text(max_size=9)
    | st.binary(max_size=3)
)
keys = st.sampled_from(
    [
        *Space.model_fields,
        *Parameters.model_fields,
        *UseCase.model_fields,
        *Machine.model_fields,
        "profile",
    ]
)
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys | scalars, inner, max_size=4),
    max_leaves=12,
)


@settings(
    max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(st.dictionaries(keys | scalars, trees, max_size=6))
def test_whatever_tree_stands_in_a_file_each_fault_is_a_line(tree: dict[object, object]) -> None:
    Path("tree.yaml").write_text(
        yaml.safe_dump(tree, allow_unicode=True), encoding="utf-8", errors="surrogatepass"
    )
    for model in (Space, UseCase, Machine):
        try:
            read("prompts", "tree.yaml", model)
        except UserError as error:
            assert error.lines
            assert all(
                line.startswith("tree.yaml:") and line == printable(line) for line in error.lines
            ), error.lines


@settings(
    max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(st.lists(st.sampled_from(list("{}[]:,-&*!|>'\"%@` \n\tab1?#~")), max_size=40).map("".join))
def test_yaml_that_is_nearly_valid(text: str) -> None:
    path = Path("near.yaml")
    path.write_text(text)
    try:
        load_yaml(path)
    except UserError as error:
        assert all(line.startswith("near.yaml:") for line in error.lines), error.lines
