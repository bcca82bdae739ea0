"""Data sets that join: whatever the order, however often, nothing that was there changes.

Every conflict is named before a byte is written.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator import merge as module
from orchestrator.check.validation import validate
from orchestrator.cli.merge_command import _lines
from orchestrator.dataset.lock import held
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.sweep_plan import SweepPlan, read_plan, write_plan
from orchestrator.dataset.tables import rebuild
from orchestrator.dataset.trial_files import append, seal
from orchestrator.errors import UserError
from orchestrator.merge import Merge, merge
from orchestrator.nouns import TrialSpec
from orchestrator.sweep.planning import make_plan
from orchestrator.sweep.request import Request, resolve_request
from tests import builders

MACHINES = ("pc", "colab")


def plan_of(
    samples: int, machine: str | None = "pc", revision: str = "gguf:1", **changes: str
) -> SweepPlan:
    request = Request(
        space="sobol", samples=samples, prompts=2, models=("smollm2",), use_cases=("fantasyWorld",)
    )
    plan = make_plan(resolve_request(request, [])).with_revisions({"smollm2": revision})
    return plan.model_copy(
        update={"machine": machine, "created_at": "2026-01-02T00:00:00+00:00", **changes}
    )


def run(
    root: Path,
    spec: TrialSpec,
    machine: str,
    *prompts: int,
    text: str = "",
    whole: bool = True,
    torch: str = "2.11",
    weights: str = "a",
) -> Path:
    """Measure some prompts of a trial; its folder."""
    paths = DataSetPaths(root)
    environment = {
        "versions": {"torch": torch},
        "model_sha256": {"model.safetensors": weights * 64},
    }
    origin = builders.origin(spec, machine=machine, environment=environment)
    for number in prompts or [p.number for p in spec.prompts]:
        words = text or f"{machine} {spec.config_index} {number}"
        append(
            paths, spec, origin, "shuffled", [builders.measured(number, of=spec, output_text=words)]
        )
    return seal(paths, machine, spec)[0] if whole else paths.partial(machine, spec)


def tree(root: Path) -> dict[str, str]:
    files = [p for p in root.rglob("*") if p.is_file()]
    return {
        p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files
    }


def quiet(_line: str) -> None:
    """Hear nothing."""


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every trial of a plan on every machine, to be copied from."""
    root = tmp_path_factory.mktemp("pool")
    for spec in plan_of(4).specs():
        for machine in MACHINES:
            run(root, spec, machine)
    return root


Make = Callable[..., Path]


@pytest.fixture
def data_set(pool: Path, tmp_path: Path) -> Make:
    """Makes a data set of (index, machine) copied from the pool."""

    def make(
        name: str, *trials: tuple[int, str], plan: SweepPlan | None = None, place: Path = tmp_path
    ) -> Path:
        root = place / name
        root.mkdir(parents=True)
        for index, machine in trials:
            (folder,) = pool.glob(f"{machine}/*/*/*/{index:04d}-*")
            shutil.copytree(folder, root / folder.relative_to(pool))
        if plan:
            write_plan(plan, DataSetPaths(root).sweep(plan.id))
        rebuild(DataSetPaths(root))
        return root

    return make


def new(found: Merge) -> list[int]:
    return [len(source.new) for source in found.sources]


# --- what a merge is ------------------------------------------------------------------------------


def test_shards_of_a_plan_become_the_whole(data_set: Make, tmp_path: Path) -> None:
    pc = data_set("pc", (0, "pc"), (2, "pc"), plan=plan_of(4))
    colab = data_set("colab", (1, "colab"), (3, "colab"), plan=plan_of(4, "colab"))
    out = tmp_path / "all"
    before = tree(pc), tree(colab)
    merged = merge([pc, colab], out, quiet)
    assert new(merged) == [2, 2]
    assert [(gap.planned, gap.missing) for gap in merged.sweeps] == [(8, 0)]
    assert (tree(pc), tree(colab)) == before
    assert before[0].keys() | before[1].keys() == tree(out).keys()
    assert validate(out)[1] == []
    assert pq.read_metadata(out / "executions.parquet").num_rows == 8
    (file,) = (out / "sweeps").iterdir()
    assert read_plan(file).machine is None, "it ran on either"


def test_a_gap_is_told(data_set: Make, tmp_path: Path) -> None:
    pc = data_set("pc", (0, "pc"), plan=plan_of(4))
    colab = data_set("colab", (1, "colab"))
    merged = merge([pc, colab], tmp_path / "all", quiet)
    assert [(gap.planned, gap.missing) for gap in merged.sweeps] == [(8, 6)], (
        "the plan was for the pc alone"
    )


def test_what_is_there_stays_and_identical_copies_are_no_error(data_set: Make) -> None:
    out = data_set("all", (0, "pc"), (1, "colab"), plan=plan_of(2))
    again = data_set("again", (0, "pc"), (2, "pc"), plan=plan_of(4))
    kept = {name: sha256 for name, sha256 in tree(out).items() if name.count("/") == 5}
    merged = merge([again], out, quiet)
    assert [(len(source.new), source.identical) for source in merged.sources] == [(1, 1)]
    assert kept.items() <= tree(out).items()
    (file,) = (out / "sweeps").iterdir()
    assert read_plan(file).samples == 4, "the larger plan"
    after = tree(out)
    assert merge([again], out, quiet).n_new() == 0
    assert tree(out) == after


def test_a_later_attempt_joins_the_first(data_set: Make, tmp_path: Path) -> None:
    first = data_set("first", (0, "pc"), plan=plan_of(1))
    spec = next(plan_of(1).specs())
    second = data_set("second", plan=plan_of(1))
    run(second, spec.model_copy(update={"attempt": 2}), "pc", text="again")
    rebuild(DataSetPaths(second))
    merge([second, first], tmp_path / "all", quiet)
    rows = pq.read_table(tmp_path / "all" / "executions.parquet").to_pylist()
    assert {row["output_text"] for row in rows} == {"again"}


def test_an_unfinished_trial_is_left_out_and_told(data_set: Make, tmp_path: Path) -> None:
    spec = next(plan_of(1).specs())
    pc = data_set("pc", (1, "pc"), plan=plan_of(2))
    run(pc, spec, "pc", 1, whole=False)
    merged = merge([pc], tmp_path / "all", quiet)
    assert merged.sources[0].unfinished == (
        f"pc/smollm2/sobolSampling/fantasyWorld/{spec.folder()}",
    )
    assert not list((tmp_path / "all").rglob(".*"))
    assert [gap.missing for gap in merged.sweeps] == [2]


def test_what_was_imported_is_left_out_and_told(data_set: Make, tmp_path: Path) -> None:
    pc, other = (
        data_set(name, (n, "pc"), plan=plan_of(2)) for n, name in enumerate(("pc", "other"))
    )
    DataSetPaths(pc).imports.mkdir()
    merged = merge([pc, other], tmp_path / "all", quiet)
    assert [source.imported for source in merged.sources] == [True, False]
    assert not DataSetPaths(tmp_path / "all").imports.exists()
    assert [line for line in _lines(merged, "copied") if "imported/" in line] == [
        "  left out: imported/; import its original files with `orchestrator import`"
    ]


def test_a_dry_run_writes_nothing(data_set: Make, tmp_path: Path) -> None:
    pc = data_set("pc", (0, "pc"), plan=plan_of(4))
    out = data_set("all", (1, "pc"), plan=plan_of(4))
    before = tree(out)
    assert new(merge([pc], out, quiet, dry_run=True)) == [1]
    assert tree(out) == before
    assert new(merge([pc], tmp_path / "none", quiet, dry_run=True)) == [1]
    assert not (tmp_path / "none").exists()


SUBSETS = st.sets(st.tuples(st.integers(0, 3), st.sampled_from(MACHINES)), max_size=4)
PLANS = st.none() | st.builds(
    plan_of,
    st.integers(1, 4),
    st.sampled_from(["pc", "colab", None]),
    created_at=st.sampled_from(["2025-01-01T00:00:00+00:00", "2026-01-01T00:00:00+00:00"]),
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(SUBSETS, PLANS), min_size=3, max_size=3), st.permutations([0, 1, 2]))
def test_order_grouping_and_repetition_do_not_matter(
    data_set: Make,
    tmp_path_factory: pytest.TempPathFactory,
    parts: list[tuple[set[tuple[int, str]], SweepPlan | None]],
    order: list[int],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _handle: None)
        place = tmp_path_factory.mktemp("merge")
        sets = [
            data_set(f"part{i}", *sorted(trials), plan=plan, place=place)
            for i, (trials, plan) in enumerate(parts)
        ]
        whole = place / "whole"
        merge(sets, whole, quiet)
        a, b, c = (sets[i] for i in order)
        merge([c, b], place / "two", quiet)
        merge([a, place / "two", b], place / "nested", quiet)
        assert tree(place / "nested") == tree(whole)
        merge([whole, *sets], place / "nested", quiet)
        assert tree(place / "nested") == tree(whole)
        sealed = {p.parent.relative_to(whole) for p in whole.glob("*/*/*/*/*/trial.json")}
        assert len(sealed) == len(set.union(*(trials for trials, _ in parts)))
        shutil.rmtree(place)


# --- conflicts: each named, nothing written -------------------------------------------------------


def measured_twice(_a: Path, b: Path) -> None:
    run(b, next(plan_of(1).specs()), "pc", text="another")


def other_weights(_a: Path, b: Path) -> None:
    plan = plan_of(4, revision="hub:2")
    write_plan(plan, DataSetPaths(b).sweep(plan.id))


def other_conditions(a: Path, b: Path) -> None:
    *_, spec = plan_of(4).specs()
    run(b, spec, "pc", torch="9.9")


def altered_weights(_a: Path, b: Path) -> None:
    """Of the same revision; on another machine, where conditions may differ."""
    *_, spec = plan_of(4).specs()
    run(b, spec, "colab", weights="b")


def edited_trial(_a: Path, b: Path) -> None:
    (file,) = b.glob("*/*/*/*/*/trial.json")
    file.write_text(file.read_text().replace("colab 1 1", "much better"))


def edited_text(_a: Path, b: Path) -> None:
    (file,) = b.glob("*/*/*/*/*/output.txt")
    file.write_text("much better")


def other_version(_a: Path, b: Path) -> None:
    (file,) = b.glob("*/*/*/*/*/trial.json")
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"schema_version": 99}))


def moved(_a: Path, b: Path) -> None:
    shutil.move(b / "colab", b / "leonardo")


def copied(_a: Path, b: Path) -> None:
    shutil.copytree(b / "colab", b / "leonardo")


def link(a: Path, b: Path) -> None:
    (b / "pc").symlink_to(a / "pc")


def edited_plan(_a: Path, b: Path) -> None:
    (file,) = (b / "sweeps").iterdir()
    file.write_text(file.read_text().replace('"seed": 0', '"seed": 1'))


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (
            measured_twice,
            r"^pc/smollm2/\S+-r1: measured in \S+/a and, differently, in \S+/b; leave one",
        ),
        (
            other_weights,
            (
                r"ran this sweep with other weights \(smollm2 hub:2\) than the others "
                r"\(smollm2 gguf:1\)"
            ),
        ),
        (
            other_conditions,
            (
                r"were measured under different conditions on pc: torch 2.11 -> 9.9; "
                r"give one of the machines"
            ),
        ),
        (
            altered_weights,
            (
                r"its trials were measured with several weights of smollm2: model\.safetensors "
                r"sha256 \w{8}\.\.\. is now sha256 \w{8}\.\.\.; leave one of the data sets out"
            ),
        ),
        (edited_trial, r"/b: colab/\S+: trial.json: was edited after it was written"),
        (edited_text, r"/b: colab/\S+: output.txt: was edited after it was written"),
        (other_version, r"/b: colab/\S+: trial.json: was written with version 99 of its format"),
        (moved, r"/b: leonardo/\S+: lies in the wrong folder"),
        (copied, r"/b: leonardo/\S+: lies in the wrong folder"),
        (link, r"/b: pc: a link out of the data set"),
        (edited_plan, r"/b: sweeps/\S+: was edited by hand"),
    ],
)
@pytest.mark.parametrize("into", ["a new one", "a"])
def test_a_conflict_writes_nothing(
    data_set: Make, tmp_path: Path, fault: Callable[[Path, Path], None], told: str, into: str
) -> None:
    a = data_set("a", (0, "pc"), plan=plan_of(4))
    b = data_set("b", (1, "colab"), plan=plan_of(4))
    fault(a, b)
    sources, out = ([a, b], tmp_path / "new") if into == "a new one" else ([b], a)
    before = tree(a), tree(b)
    with pytest.raises(UserError, match=told):
        merge(sources, out, quiet)
    assert (tree(a), tree(b)) == before
    assert not (tmp_path / "new").exists()


def test_conditions_that_differ_are_mixed_when_asked(data_set: Make, tmp_path: Path) -> None:
    a = data_set("a", (0, "pc"), plan=plan_of(4))
    b = data_set("b", (1, "colab"), plan=plan_of(4))
    other_conditions(a, b)
    rebuild(DataSetPaths(b))
    assert merge([a, b], tmp_path / "new", quiet, accept_drift=True).n_new() == 3
    told = [f for f in validate(tmp_path / "new")[1] if f.severity == "warning"]
    assert [f.what.rpartition(": ")[2] for f in told] == ["torch 2.11 -> 9.9"]
    with pytest.raises(UserError, match="different conditions"):
        merge([a, b], tmp_path / "new", quiet)


def test_several_weights_in_one_sweep_are_an_error_of_validate(
    data_set: Make, tmp_path: Path
) -> None:
    out = data_set("all", (0, "pc"), plan=plan_of(4, None))
    altered_weights(tmp_path, out)
    rebuild(DataSetPaths(out))
    (told,) = (f for f in validate(out)[1] if "weights" in f.what)
    assert told.severity == "error"
    assert told.what == (
        "trials were measured with several weights of one model: smollm2: "
        "model.safetensors sha256 aaaaaaaa... is now sha256 bbbbbbbb..."
    )


def test_a_plan_keeps_the_hashes_that_only_the_smaller_one_has(
    data_set: Make, tmp_path: Path
) -> None:
    files = {"smollm2": {"model.safetensors": "a" * 64}}
    first = data_set("first", (0, "pc"), plan=plan_of(1).with_model_files(files))
    second = data_set("second", (1, "pc"), plan=plan_of(4))
    merge([first, second], tmp_path / "all", quiet)
    (file,) = (tmp_path / "all" / "sweeps").iterdir()
    plan = read_plan(file)
    assert (plan.samples, plan.model_sha256) == (4, files)


def test_all_conflicts_are_told_up_to_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SHOWN", 2)
    for name in ("a", "b"):
        for spec in plan_of(4).specs():
            run(tmp_path / name, spec, "pc", text=name)
        rebuild(DataSetPaths(tmp_path / name))
    with pytest.raises(UserError) as raised:
        merge([tmp_path / "a", tmp_path / "b"], tmp_path / "new", quiet)
    assert len(raised.value.lines) == 3
    assert raised.value.lines[-1] == "... and 2 more conflicts"


def test_a_data_set_is_not_merged_into_itself(data_set: Make) -> None:
    a = data_set("a", (0, "pc"))
    with pytest.raises(UserError, match="is one of the data sets to merge"):
        merge([a.parent / "." / "a"], a, quiet)


def test_a_link_in_the_place_of_the_copies_is_refused(data_set: Make) -> None:
    """Also one within the data set: neither what it leads to is removed, nor is copied there."""
    one, other = data_set("one", (0, "pc")), data_set("other", (1, "pc"))
    rebuild(DataSetPaths(other))
    (other / "notes").mkdir()
    (other / "notes" / "mine").write_text("precious")
    (other / ".merging").symlink_to("notes")
    before = tree(other)
    for dry_run in (True, False):
        with pytest.raises(UserError, match=r"\.merging: a link where a merge makes a folder"):
            merge([one], other, quiet, dry_run=dry_run)
    rebuild(DataSetPaths(other))
    assert tree(other) == before


def test_a_folder_that_a_sweep_writes_is_refused(data_set: Make) -> None:
    a, b = data_set("a", (0, "pc")), data_set("b", (1, "pc"))
    with held(b, quiet), pytest.raises(UserError, match="runs a sweep there"):
        merge([a], b, quiet)


# --- cuts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_files", range(0, 12, 2))
def test_a_merge_that_is_cut_goes_on(
    data_set: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_files: int
) -> None:
    """A full disk after some files: what was copied is whole; the same merge again completes it."""
    a = data_set("a", (0, "pc"), (1, "pc"), (2, "colab"), plan=plan_of(4))
    merge([a], tmp_path / "whole", quiet)
    real, left = module.write_atomically, n_files

    def full(path: Path, data: bytes) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(28, "No space left on device", str(path))
        real(path, data)

    out = tmp_path / "cut"
    with monkeypatch.context() as patch:
        patch.setattr(module, "write_atomically", full)
        if n_files < 9:
            with pytest.raises(UserError, match=r"can't be written \(No space left on device\)"):
                merge([a], out, quiet)
        else:
            merge([a], out, quiet)
    findings = [
        f for f in validate(out)[1] if f.where not in ("executions.parquet", "summary.parquet")
    ]
    assert not [
        f for f in findings if f.severity == "error" and not f.what.startswith("incomplete")
    ]
    merge([a], out, quiet)
    assert tree(out) == tree(tmp_path / "whole")
    assert validate(out)[1] == validate(tmp_path / "whole")[1]
