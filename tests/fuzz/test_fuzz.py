"""Whatever stands in a file or on the command line gives a valid result, or a user error.

Exit codes are then 2, or 3 for a data set with errors; there is never a traceback.
"""

from __future__ import annotations

import contextlib
import io
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.cli import main
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.yaml_files import packaged_folder, printable
from tests import builders

CORPUS = Path(__file__).parent / "corpus"
FIXTURES = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
SIMULATED = ("--engine", "simulated", "--model", "smollm2", "--samples", "2")

Call = Callable[..., int]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run the command line; its exit code.

    Fails on a traceback and on output that acts on a terminal.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("orchestrator.gpu.devices.visible_gpus", list)
    monkeypatch.setattr(
        "orchestrator.sweep.staging.staged_weights", lambda _model, _say: "simulated"
    )
    monkeypatch.setattr(
        "orchestrator.sweep.requested.run_sweep", None
    )  # nothing here may get so far as to run

    def run(*arguments: str) -> int:
        out, err = io.StringIO(), io.StringIO()
        with (
            pytest.raises(SystemExit) as ended,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            main(list(arguments))
        lines = [*out.getvalue().split("\n"), *err.getvalue().split("\n")]
        assert all(line == printable(line) for line in lines), lines
        return int(ended.value.code or 0)

    return run


def exit_codes(call: Call, path: Path) -> set[int]:
    """Of `plan` with a YAML file given as space, as prompts and as machine."""
    return {
        call("plan", "--space", str(path), *SIMULATED),
        call("plan", "--space", "lhs", "--use-case", str(path), *SIMULATED),
        call("plan", "--space", "lhs", "--machine", str(path), *SIMULATED),
    }


@pytest.mark.parametrize("case", sorted((CORPUS / "yaml").iterdir()), ids=lambda path: path.name)
def test_corpus_of_yaml(call: Call, case: Path) -> None:
    assert exit_codes(call, case) <= {0, 2}


@pytest.mark.parametrize("line", (CORPUS / "arguments.txt").read_text().splitlines())
def test_corpus_of_arguments(call: Call, line: str) -> None:
    assert call(*shlex.split(line)) in (0, 2)


@pytest.mark.parametrize("case", sorted((CORPUS / "trial").iterdir()), ids=lambda path: path.name)
def test_corpus_of_trials(call: Call, case: Path, tmp_path: Path) -> None:
    paths = DataSetPaths(tmp_path / "measurements")
    spec = builders.spec()
    builders.seal_trial(paths, spec, [builders.measured(p.number, of=spec) for p in spec.prompts])
    (paths.trial("pc", spec) / "trial.json").write_bytes(case.read_bytes())
    assert call("validate") == 3
    assert call("summarize") == 3
    assert call("status") == 0
    assert call("plan", "--space", "lhs", *SIMULATED) == 2, (
        "a sweep doesn't go on beside what can't be read"
    )


def test_a_ten_megabyte_prompt(call: Call, tmp_path: Path) -> None:
    (tmp_path / "long.yaml").write_text("prompts: [" + "word " * 2_000_000 + "]\n")
    assert call("plan", "--space", "lhs", "--use-case", "long.yaml", *SIMULATED) == 2


@pytest.mark.parametrize(
    "piece",
    [
        "1, ",
        "- ",
        "? ",
        "[",
        "{a: ",
        "&a ",
        "!!int ",
        "1:5:",
        "k: ",
        "\n",
        "#",
        "'",
        "\u2028",
        "\t",
    ],
)
def test_a_piece_a_hundred_thousand_times(call: Call, tmp_path: Path, piece: str) -> None:
    """Refused, and soon: nothing takes more than time in proportion to the file."""
    for before in ("", "sampler: ["):
        (tmp_path / "pieces.yaml").write_text(before + piece * 100_000)
        assert call("plan", "--space", "pieces.yaml", *SIMULATED) == 2


def files() -> list[Path]:
    return [
        packaged_folder(kind) / name
        for kind, name in (("search_spaces", "lhs.yaml"), ("prompts", "fantasyWorld.yaml"))
    ]


@settings(max_examples=60, suppress_health_check=FIXTURES)
@given(data=st.data())
def test_valid_files_with_a_change(call: Call, tmp_path: Path, data: st.DataObject) -> None:
    before = data.draw(
        st.sampled_from([*files(), packaged_folder("clusters") / "cpu.yaml"])
    ).read_bytes()
    at = data.draw(st.integers(0, 1000)) * len(before) // 1000
    junk = data.draw(
        st.binary(max_size=8)
        | st.sampled_from(
            [b"*a", b"&a ", b"!!", b"\n", b"\t", b": ", b"- ", b"{", b"]", b"\x1b[2J"]
        )
    )
    path = tmp_path / "changed.yaml"
    path.write_bytes(before[:at] + junk + before[at + data.draw(st.integers(0, 8)) :])
    assert exit_codes(call, path) <= {0, 2}


WORDS = st.sampled_from(
    [
        *(
            "plan",
            "tune",
            "status",
            "validate",
            "summarize",
            "models",
            "list",
            "stage",
            "--space",
            "lhs",
            "grid",
            "optuna",
        ),
        *(
            "--samples",
            "--range",
            "--seed",
            "--out",
            "--model",
            "smollm2",
            "--use-case",
            "--machine",
            "--prompts",
            "--json",
        ),
        *(
            "--rerun",
            "failed",
            "--max-hours",
            "--engine",
            "simulated",
            "-1",
            "0",
            "3",
            "top_p=0:1",
            "--help",
            "--quantization",
        ),
    ]
)


@settings(max_examples=120, suppress_health_check=FIXTURES)
@given(
    st.lists(
        WORDS
        | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12),
        max_size=8,
    )
)
def test_any_arguments(call: Call, arguments: list[str]) -> None:
    if "stage" in arguments or arguments[:1] == ["tune"]:
        arguments = ["plan", *arguments[1:]]  # these two would fetch weights and make folders
    assert call(*arguments) in (0, 2, 3)


@settings(max_examples=40, suppress_health_check=FIXTURES)
@given(
    parameters=st.dictionaries(
        st.sampled_from(["type", "low", "high"]), st.integers() | st.floats() | st.text(max_size=5)
    )
)
def test_any_parameter(call: Call, tmp_path: Path, parameters: dict[str, object]) -> None:
    space = yaml.safe_load(files()[0].read_text())
    space["parameters"]["max_length"] = parameters
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(space))
    assert call("plan", "--space", "space.yaml", *SIMULATED) in (0, 2)
