"""Check the folders and tables of a data set: schema, hashes, places, duplicates, leftovers. Reads only.

Whether its values can be is the business of plausibility.py, what stands beside the trials that of companion_files.py.

What a plan still misses is the business of check/validation.py.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchestrator.check.companion_files import companion_findings
from orchestrator.check.plausibility import between_trials, record_findings
from orchestrator.dataset.findings import Finding
from orchestrator.dataset.parquet import read_parquet, to_table
from orchestrator.dataset.paths import PARTIAL_SUFFIX, DataSetPaths
from orchestrator.dataset.reading import file_sha256, reason_of
from orchestrator.dataset.schema import Execution, ExecutionRow, TrialRecord
from orchestrator.dataset.summary import SummaryRow
from orchestrator.dataset.tables import Trials, read_judgements
from orchestrator.dataset.trial_files import partial_record, read_trial
from orchestrator.nouns import Noun, TrialSpec, generation_seed

KINDS_OF_ERROR = frozenset({"oom", "nan", "timeout", "other"})


def validate_folders(
    paths: DataSetPaths, *, running: bool, tables: bool = True
) -> tuple[Trials, list[Finding]]:
    """Every readable trial, cut-off ones included, and what is wrong with the data set.

    `running`: a sweep writes it just now, so unfinished trials and tables that lag behind are no fault. `tables`:
    read them, too; not where they are made anew in any case.
    """
    trials, findings = Trials(), list(_strangers(paths, running=running))
    sealed: list[tuple[str, TrialRecord]] = []
    attempts: dict[tuple[Any, ...], list[str]] = defaultdict(list)
    for folder in paths.sealed_trials():
        where = folder.relative_to(paths.root).as_posix()
        try:
            record = read_trial(folder, paths.root)
        except (OSError, ValueError) as error:
            findings.append(Finding("error", where, reason_of(error)))
            continue
        trials.add(record)
        sealed.append((where, record))
        attempts[(*Trials.key(record), record.columns.attempt)].append(where)
        findings += [
            Finding("error", where, what) for what in _folder_faults(paths, folder, record)
        ]
        findings += record_findings(where, record)
    findings += between_trials(sealed)
    for first, *others in attempts.values():
        findings += [
            Finding("error", other, f"the same attempt of the same trial as {first}")
            for other in others
        ]
    if tables:
        findings += _table_faults(paths, trials, running=running)
        findings += companion_findings(paths, trials, running=running)
    for folder in paths.partial_trials():
        where = folder.relative_to(paths.root).as_posix()
        try:
            record_or_none = partial_record(folder)
        except (OSError, ValueError, KeyError) as error:
            if not folder.exists():
                continue  # sealed meanwhile
            findings.append(
                Finding(
                    "error", where, f"an unfinished trial that can't be read: {reason_of(error)}"
                )
            )
            continue
        if record_or_none is not None:
            trials.add(record_or_none)
        if not running:
            n = len(record_or_none.executions) if record_or_none else 0
            findings.append(
                Finding(
                    "warning",
                    where,
                    f"a cut-off trial with {n} executions: the next `tune` there seals it",
                )
            )
    return trials, findings


def _folder_faults(paths: DataSetPaths, folder: Path, record: TrialRecord) -> Iterator[str]:
    """What is wrong with a readable trial."""
    place = paths.trial(record.columns.machine, record.spec)
    if folder != place:
        yield f"lies in the wrong place: its content belongs to {place.relative_to(paths.root)}"
    for name, sha256 in record.files.items():
        file = folder / name
        if not file.is_file():
            yield f"{name}: is missing"
        elif file_sha256(file) != sha256:
            yield f"{name}: was edited after it was written (its hash differs)"
    known = {*record.files, "trial.json"}
    yield from (
        f"{p.name}: wasn't written by this program"
        for p in sorted(folder.iterdir())
        if p.name not in known
    )
    yield from _disagreements(record)
    if len(record.codecarbon) != len(record.executions):
        yield f"{len(record.codecarbon)} records of CodeCarbon for {len(record.executions)} executions"
    seen: set[int] = set()
    for execution in record.executions:
        yield from (
            f"prompt {execution.prompt}: {what}"
            for what in _execution_faults(record.spec, execution)
        )
        if execution.prompt in seen:
            yield f"prompt {execution.prompt}: stands there twice"
        seen.add(execution.prompt)


def _disagreements(record: TrialRecord) -> Iterator[str]:
    """Columns that say something else than the trial's own specification."""
    spec, columns = record.spec, record.columns
    of_spec = {
        "model": spec.setup.model,
        "strategy": spec.strategy,
        "use_case": spec.setup.use_case,
        "index": spec.index,
        "config_hash": spec.config_hash(),
        "repeat": spec.repeat,
        "attempt": spec.attempt,
        "sweep_id": spec.sweep_id,
        "quantization": spec.setup.quantization.name,
        "engine": spec.setup.engine,
        **spec.asked.model_dump(),
    }
    for name, value in of_spec.items():
        if getattr(columns, name) != value:
            yield f"{name}: is {getattr(columns, name)!r}, its specification gives {value!r}"
    if record.setup != spec.setup or record.asked != spec.asked:
        yield "setup or configuration differ from its specification"


def _execution_faults(spec: TrialSpec, execution: Execution) -> Iterator[str]:
    text = next((p.text for p in spec.prompts if p.number == execution.prompt), None)
    if text is None:
        yield "is none of the trial's prompts"
        return
    if execution.prompt_sha256 != hashlib.sha256(text.encode()).hexdigest():
        yield "prompt_sha256: isn't that of its prompt"
    if execution.seed != generation_seed(spec.setup.seed, spec.asked, text, spec.repeat):
        yield "seed: isn't the one that follows from sweep, configuration, prompt and repeat"
    if execution.status == "ok":
        if execution.text is None or not execution.n_new_tokens:
            yield "is ok but has no text"
    elif execution.status != "failed" or execution.error_kind not in KINDS_OF_ERROR:
        yield f"status {execution.status!r} with error_kind {execution.error_kind!r} is none that this program writes"
    for name in (
        "window_s",
        "energy_j",
        "energy_kwh",
        "gpu_energy_counter_j",
        "cpu_energy_j",
        "ram_energy_j",
    ):
        value = getattr(execution, name)
        if value is not None and not value >= 0:
            yield f"{name}: {value!r} can't be"


def _strangers(paths: DataSetPaths, *, running: bool) -> Iterator[Finding]:
    """Links out of the data set, and temporary files that a cut left."""
    root = paths.root.resolve()
    for folder, names, files in os.walk(paths.root):
        for name in sorted([*names, *files]):
            path = Path(folder) / name
            where = path.relative_to(paths.root).as_posix()
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                yield Finding("error", where, "a link out of the data set: it is not followed")
            elif name.startswith(".") and name.endswith(".tmp") and not running:
                yield Finding(
                    "warning", where, "a temporary file that a cut left; it can be removed"
                )
            elif path == paths.merging and not running:
                yield Finding(
                    "warning",
                    where,
                    "what a merge that was cut had not copied whole; merge again, or remove it",
                )
            elif name.endswith(PARTIAL_SUFFIX) and len(path.relative_to(paths.root).parts) != 5:  # noqa: PLR2004 - a leaf's depth
                yield Finding(
                    "warning",
                    where,
                    "an unfinished trial in the wrong place: nothing will go on with it",
                )


def _table_faults(paths: DataSetPaths, trials: Trials, *, running: bool) -> Iterator[Finding]:
    """Judgements that can't be read, and tables that are not what the sealed folders give with them."""
    trials.judgements, findings = read_judgements(paths)
    yield from findings
    of_trials = {key: trials.execution_rows(key) for key in trials}
    wanted: list[tuple[Path, type[Noun], list[dict[str, Any]]]] = [
        (paths.executions, ExecutionRow, [row for rows in of_trials.values() for row in rows]),
        (
            paths.summary,
            SummaryRow,
            [trials.summary_row(key, rows) for key, rows in of_trials.items()],
        ),
    ]
    for path, row, rows in wanted:
        try:
            differs = not read_parquet(path).equals(to_table(row, rows))
        except FileNotFoundError:
            if rows and not running:
                yield Finding(
                    "error", path.name, "is missing; `orchestrator summarize` makes it anew"
                )
            continue
        except (OSError, ValueError) as error:
            yield Finding(
                "error",
                path.name,
                f"can't be read ({reason_of(error)}); `orchestrator summarize` makes it anew",
            )
            continue
        if differs and not running:
            yield Finding(
                "error",
                path.name,
                "isn't what the folders give; `orchestrator summarize` makes it anew",
            )
