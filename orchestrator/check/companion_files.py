"""Check what stands beside the trials: verdicts, reviews, imported files, the checksums of what was published."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.dataset.checksums import differing
from orchestrator.dataset.findings import Finding
from orchestrator.dataset.imported import read_provenance
from orchestrator.dataset.paths import DataSetPaths, execution_id
from orchestrator.dataset.reading import file_sha256, reason_of
from orchestrator.dataset.tables import Trials
from orchestrator.dataset.verdicts import text_sha256


def companion_findings(paths: DataSetPaths, trials: Trials, *, running: bool) -> Iterator[Finding]:
    """Judgements on texts that aren't here, imported copies that were edited, and (not while a sweep writes) checksums."""
    texts = {
        execution_id(record.columns.machine, record.spec, execution.prompt): text_sha256(
            execution.text
        )
        for record in trials.records()
        for execution in record.executions
        if execution.text is not None
    }
    verdicts = trials.judgements.verdicts
    lost = sorted(
        name for name, verdict in verdicts.items() if texts.get(name) != verdict.text_sha256
    )
    if lost:
        what = f"{len(lost)} verdicts on executions or texts that aren't here (first: {lost[0]}); `evaluate` makes it anew"
        yield Finding("warning", paths.verdicts.name, what)
    unknown = sorted(trials.judgements.standing.keys() - texts.keys())
    if unknown:
        what = f"decisions about {len(unknown)} executions that aren't here (first: {unknown[0]}); they count for nothing"
        yield Finding("warning", paths.reviews.name, what)
    yield from _import_findings(paths)
    if not running:
        yield from _checksum_findings(paths)


def _import_findings(paths: DataSetPaths) -> Iterator[Finding]:
    where = paths.provenance.relative_to(paths.root).as_posix()
    try:
        files = read_provenance(paths)
    except (OSError, ValueError) as error:
        yield Finding("error", where, reason_of(error))
        return
    for item in files:
        copy = paths.imports / item.path
        if not copy.is_file():
            yield Finding(
                "error", f"{paths.imports.name}/{item.path}", "is missing; import it again"
            )
        elif file_sha256(copy) != item.sha256:
            what = "was edited after it was imported (its hash differs)"
            yield Finding("error", f"{paths.imports.name}/{item.path}", what)
    if files and not paths.imported.exists():
        yield Finding(
            "error", paths.imported.name, "is missing; import the same tree again to make it anew"
        )


def _checksum_findings(paths: DataSetPaths) -> Iterator[Finding]:
    try:
        wrong = differing(paths)
    except (OSError, ValueError) as error:
        yield Finding("error", paths.checksums.name, reason_of(error))
        return
    if wrong:
        what = f"{len(wrong)} of its files differ or are missing (first: {wrong[0]}); a copy is damaged, "
        yield Finding(
            "error",
            paths.checksums.name,
            what + "a data set that has grown since is to be published again",
        )
