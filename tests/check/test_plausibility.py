"""Each fault that the values of a data set can have gives its own finding and no other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.check.folders import validate_folders
from orchestrator.check.plausibility import between_trials, record_findings
from orchestrator.dataset.checksums import (
    differing,
    published_files,
    read_checksums,
    write_checksums,
)
from orchestrator.dataset.imported import ImportedFile, write_imported, write_provenance
from orchestrator.dataset.paths import DataSetPaths, execution_id
from orchestrator.dataset.reading import file_sha256
from orchestrator.dataset.schema import TrialRecord
from orchestrator.dataset.tables import rebuild
from orchestrator.dataset.verdicts import (
    Decision,
    Verdict,
    append_decision,
    write_verdicts,
)
from orchestrator.nouns import text_sha256
from tests import builders

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def of(
    *changes: dict[str, Any], environment: dict[str, Any] | None = None, **columns: Any
) -> TrialRecord:
    """A trial with one execution for each dictionary of changes, 10 s apart."""
    spec = builders.spec(prompts=builders.prompts(builders.PROMPTS[: len(changes)]))
    started = [
        {"started_at": (AT + timedelta(seconds=10 * i)).isoformat()} for i in range(len(changes))
    ]
    done = [
        builders.execution(i, of=spec, **(when | change))
        for i, (when, change) in enumerate(zip(started, changes, strict=True), 1)
    ]
    more = {"environment": environment} if environment else {}
    return builders.record(spec, executions=done, engine="transformers", **more, **columns)


def lines(record: TrialRecord) -> list[str]:
    return [finding.line() for finding in record_findings("here", record, AT)]


def test_what_can_be() -> None:
    assert lines(of({}, builders.ON_GPU, builders.FAILED)) == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"energy_j": 0.0},
            "error: here: prompt 1: energy_j: is 0 over 2 s; unmeasured energy must be null",
        ),
        (
            builders.ON_GPU | {"gpu_energy_counter_j": 0.0},
            (
                "error: here: prompt 1: gpu_energy_counter_j: is 0 over 2 s; "
                "unmeasured energy must be null"
            ),
        ),
        (
            builders.ON_GPU | {"gpu_energy_counter_j": 4000.0},
            (
                "warning: here: prompt 1: gpu_energy_counter_j: 2000 W on average, "
                "more than any single GPU draws (1500 W)"
            ),
        ),
        (
            {"energy_per_token_j": 2e3},
            "warning: here: prompt 1: energy_per_token_j: 2e+03 J is outside 0.0001..1000",
        ),
        (
            {"energy_per_token_j": 1e-5},
            "warning: here: prompt 1: energy_per_token_j: 1e-05 J is outside 0.0001..1000",
        ),
        (
            {"started_at": "2026-01-03T03:04:06+00:00"},
            "warning: here: prompt 1: started_at: 2026-01-03T03:04:06+00:00 is in the future",
        ),
    ],
)
def test_one_execution(changes: dict[str, Any], says: str) -> None:
    assert lines(of(changes)) == [says]


def test_what_is_unknown_or_failed_or_too_short_to_tell_is_no_fault() -> None:
    unknown = {
        "energy_j": None,
        "energy_kwh": None,
        "energy_per_token_j": None,
        "energy_basis": None,
    }
    short = builders.ON_GPU | {"gpu_energy_counter_j": 0.0, "window_s": 0.09}
    assert lines(of(unknown, builders.FAILED | {"energy_j": 0.0}, short)) == []


def test_a_recorded_power_limit_is_the_limit() -> None:
    hot = builders.ON_GPU | {"gpu_energy_counter_j": 300.0, "gpu_energy_integrated_j": 100.0}
    (line,) = lines(of(hot, environment={"power_limit_w": 70.0}))
    power = "150 W on average, more than its power limit (70 W)"
    assert line == f"warning: here: prompt 1: gpu_energy_counter_j: {power}"


def test_a_simulated_engine_may_take_any_energy_a_token() -> None:
    assert (
        lines(
            of({"energy_per_token_j": 1e-9}).model_copy(
                update={"columns": builders.columns(engine="simulated")}
            )
        )
        == []
    )


def test_a_value_outside_of_the_domain() -> None:
    record = builders.record(builders.spec(configuration=builders.configuration(top_p=1.5)))
    assert lines(record) == ["error: here: top_p: 1.5 is outside 0..1"]


def test_a_clock_that_went_back() -> None:
    back = {"started_at": (AT - timedelta(seconds=1)).isoformat()}
    assert lines(of({}, back)) == [
        "warning: here: prompt 2: started_at: is earlier than that of the prompt measured before it"
    ]


@pytest.mark.parametrize(
    ("second", "found"),
    [
        ({"after_s": 1.5}, []),  # 0.5 s of overlap: clocks of two processes
        ({"after_s": 0.5}, ["overlaps that of pc/smollm2/latinHypercubeSampling/fantasyWorld"]),
        ({"after_s": 0.5, "gpu_uuid": "GPU-2"}, []),
        ({"after_s": 0.5, "host": "another"}, []),
        ({"after_s": 0.5, "scope": "shared"}, []),
    ],
)
def test_windows_on_one_gpu(second: dict[str, Any], found: list[str]) -> None:
    after = {
        "started_at": (AT + timedelta(seconds=second.pop("after_s"))).isoformat(),
        "scope": second.pop("scope", "exclusive"),
    }
    one = of(builders.ON_GPU, gpu_uuid="GPU-1")
    other = of(builders.ON_GPU | after, **({"gpu_uuid": "GPU-1"} | second))
    findings = [finding.line() for finding in between_trials([("one", one), ("other", other)])]
    assert len(findings) == len(found)
    for line, part in zip(findings, found, strict=True):
        assert line.startswith("warning: other: ")
        assert part in line
        assert line.endswith("on the same GPU by 1.5 s")


def test_one_measurement_in_two_places() -> None:
    raw = [builders.codecarbon(run_id="54171436")]
    one, other = (
        builders.record(
            builders.spec(config_index=i), executions=[builders.execution(1)], codecarbon=raw
        )
        for i in (0, 1)
    )
    (finding,) = between_trials([("one", one), ("other", other)])
    first = execution_id("pc", one.spec, 1)
    assert (
        finding.line()
        == f"error: other: prompt 1: the same measurement as {first} (CodeCarbon's run_id)"
    )
    assert list(between_trials([("one", one)])) == []


@pytest.fixture
def paths(tmp_path: Path) -> DataSetPaths:
    """One trial and its tables."""
    paths = DataSetPaths(tmp_path / "data")
    spec = builders.spec()
    builders.seal_trial(paths, spec, [builders.measured(1, of=spec)])
    rebuild(paths)
    return paths


def found(paths: DataSetPaths, *, running: bool = False) -> list[str]:
    return [finding.line() for finding in validate_folders(paths, running=running)[1]]


NAME = execution_id("pc", builders.spec(), 1)


def verdict(execution: str, text: str) -> Verdict:
    signals = dict.fromkeys(Verdict.model_fields) | {
        "n_words": 4,
        "max_repeat_run": 1,
        "usable": True,
        "reasons": (),
        "quality": 1.0,
    }
    return Verdict.model_validate(
        signals | {"execution": execution, "text_sha256": text_sha256(text), "rules": "1:0"}
    )


@pytest.mark.parametrize(
    ("execution", "text"), [("pc/gone#1", "Text of prompt 1."), (NAME, "another text")]
)
def test_verdicts_on_what_is_gone(paths: DataSetPaths, execution: str, text: str) -> None:
    write_verdicts(paths, [verdict(NAME, "Text of prompt 1.")])
    rebuild(paths)
    assert found(paths) == []
    write_verdicts(paths, [verdict(execution, text)])
    rebuild(paths)
    says = (
        f"1 verdict on texts that are not in the data set (first: {execution}); "
        "run `orchestrator evaluate`"
    )
    assert found(paths) == [f"warning: verdicts.parquet: {says}"]


def test_reviews_of_what_is_gone_and_of_what_cant_be_read(paths: DataSetPaths) -> None:
    decision = Decision(
        execution="pc/gone#1",
        text_sha256="0",
        reviewer="me",
        decision="keep",
        at="2026-01-02T00:00:00+00:00",
    )
    append_decision(paths, decision)
    says = (
        "warning: reviews.jsonl: 1 decision about executions that are not in the data set "
        "(first: pc/gone#1); they have no effect"
    )
    assert found(paths) == [says]
    paths.reviews.write_text("mine\n" + paths.reviews.read_text())
    (line,) = found(paths)
    assert line.startswith("error: reviews.jsonl: line 1 ")


def test_imported_files_that_were_edited_or_lost(paths: DataSetPaths) -> None:
    copy = paths.imports / "pc" / "emissions.csv"
    copy.parent.mkdir(parents=True)
    copy.write_text("duration,energy_consumed\n1,1\n")
    by = {
        "source": "old/emissions.csv",
        "imported_at": "2026-01-02T00:00:00+00:00",
        "imported_by": "me",
    }
    write_provenance(paths, [ImportedFile(path="pc/emissions.csv", sha256=file_sha256(copy), **by)])
    assert found(paths) == [
        "error: imported.parquet: is missing; import the same folder again to rebuild it"
    ]
    write_imported(paths, [])
    assert found(paths) == []
    copy.write_text("duration,energy_consumed\n1,2\n")
    assert found(paths) == [
        "error: imported/pc/emissions.csv: was edited after it was imported (its hash differs)"
    ]
    copy.unlink()
    assert found(paths) == ["error: imported/pc/emissions.csv: is missing; import it again"]
    paths.provenance.write_text("{}")
    (said,) = found(paths)
    assert said.startswith("error: imported/import.json: isn't a list of imported files")


def test_checksums_of_a_published_data_set(paths: DataSetPaths) -> None:
    (paths.root / "NOTES.md").write_text("mine")
    write_checksums(paths)
    assert found(paths) == []
    (paths.root / "NOTES.md").write_text("yours")
    (line,) = found(paths)
    assert line.startswith("error: checksums.sha256: 1 file changed or missing (first: NOTES.md)")
    assert found(paths, running=True) == []
    paths.checksums.write_text("mine")
    assert found(paths) == ["error: checksums.sha256: line 1 isn't one that sha256sum writes"]


def test_checksums_hold_what_is_published_under_any_name(
    paths: DataSetPaths, tmp_path: Path
) -> None:
    for name in ("a b.md", "line\nend.md", "back\\slash.md", "ü.md", ".hidden"):
        (paths.root / name).write_text(name)
    (paths.root / "link.md").symlink_to(paths.root / "ü.md")
    (paths.root / ".partial").mkdir()
    (paths.root / ".partial" / "x").write_text("")
    write_checksums(paths)
    assert sorted(read_checksums(paths.checksums)) == published_files(paths.root)
    assert {"a b.md", "line\nend.md", "back\\slash.md", "ü.md"} <= set(published_files(paths.root))
    assert not {".hidden", "link.md", ".partial/x", "checksums.sha256"} & set(
        published_files(paths.root)
    )
    assert differing(paths) == []
    outside = tmp_path / "outside"
    outside.write_text("")
    paths.checksums.write_text(f"{file_sha256(outside)}  ../outside\n")
    assert differing(paths) == ["../outside"], "nothing outside of the data set is read"
