"""Check the files beside the trials: verdicts, reviews, imported files, published checksums."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.dataset.checksums import differing
from orchestrator.dataset.findings import Finding
from orchestrator.dataset.imported import ImportedRow, read_left_out, read_provenance
from orchestrator.dataset.parquet import arrow_schema, read_parquet, table_version
from orchestrator.dataset.paths import DataSetPaths, execution_id
from orchestrator.dataset.reading import file_sha256, reason_of
from orchestrator.dataset.schema import SCHEMA_VERSION
from orchestrator.dataset.tables import Trials
from orchestrator.nouns import text_sha256
from orchestrator.units import plural


def findings_beside_trials(
    paths: DataSetPaths, trials: Trials, *, running: bool
) -> Iterator[Finding]:
    """Verdicts and reviews of texts that are missing, edited imports, and wrong checksums.

    `running`: a sweep is writing the data set, so that published checksums can't fit.
    """
    verdicts, unknown = trials.judgements.verdicts, set(trials.judgements.standing)
    current: set[str] = set()
    for name, text in _texts(trials):
        unknown.discard(name)
        verdict = verdicts.get(name)
        if verdict is not None and verdict.text_sha256 == text_sha256(text):
            current.add(name)
        else:
            current.discard(name)
    lost = sorted(name for name in verdicts if name not in current)
    if lost:
        what = (
            f"{plural(len(lost), 'verdict')} on texts that are not in the data set "
            f"(first: {lost[0]}); run `orchestrator evaluate`"
        )
        yield Finding("warning", paths.verdicts.name, what)
    if unknown:
        what = (
            f"{plural(len(unknown), 'decision')} about executions that are not in the data set "
            f"(first: {min(unknown)}); they have no effect"
        )
        yield Finding("warning", paths.reviews.name, what)
    yield from _import_findings(paths)
    if not running:
        yield from _checksum_findings(paths)


def _texts(trials: Trials) -> Iterator[tuple[str, str]]:
    """(execution, its text) for every execution that has one, earlier attempts too."""
    for record in trials.records():
        for execution in record.executions:
            if execution.output_text is not None:
                name = execution_id(record.columns.machine, record.spec, execution.prompt_number)
                yield name, execution.output_text


def _import_findings(paths: DataSetPaths) -> Iterator[Finding]:
    """Imported files that are missing or were edited."""
    where = paths.provenance.relative_to(paths.root).as_posix()
    try:
        files = read_provenance(paths)
    except (OSError, ValueError) as error:
        yield Finding("error", where, reason_of(error))
        return
    for item in files:
        copy = paths.imports / item.path
        at = f"{paths.imports.name}/{item.path}"
        try:
            if not copy.exists():
                yield Finding("error", at, "is missing; import it again")
            elif file_sha256(copy) != item.sha256:
                yield Finding("error", at, "was edited after it was imported (its hash differs)")
        except (OSError, ValueError) as error:
            why = reason_of(error).removeprefix(f"{copy.name}: ")
            yield Finding("error", at, f"can't be read: {why}")
    try:
        n_left_out = len(read_left_out(paths))
    except (OSError, ValueError) as error:
        yield Finding("error", f"{paths.imports.name}/{paths.left_out.name}", reason_of(error))
        return
    if n_left_out:
        what = f"lists {plural(n_left_out, 'row')} or files that could not be imported"
        yield Finding("warning", f"{paths.imports.name}/{paths.left_out.name}", what)
    if files and (fault := _imported_fault(paths)):
        what = f"{fault}; import the same folder again to rebuild it"
        yield Finding("error", paths.imported.name, what)


def _imported_fault(paths: DataSetPaths) -> str:
    """What is wrong with imported.parquet; "" where it is a table as this program writes it."""
    try:
        present = read_parquet(paths.imported).schema
    except FileNotFoundError:
        return "is missing"
    except (OSError, ValueError) as error:
        return f"can't be read ({reason_of(error)})"
    if (table_version(present) or SCHEMA_VERSION) < SCHEMA_VERSION:
        return ""  # `publish` makes it anew
    for wanted in arrow_schema(ImportedRow):
        if wanted.name not in present.names:
            if ImportedRow.model_fields[wanted.name].is_required():
                return f"lacks the column {wanted.name}"
        elif present.field(wanted.name).type != wanted.type:
            return f"{wanted.name}: holds other values than {wanted.type}"
    return ""


def _checksum_findings(paths: DataSetPaths) -> Iterator[Finding]:
    """Published files that differ from their checksums."""
    try:
        wrong = differing(paths)
    except (OSError, ValueError) as error:
        yield Finding("error", paths.checksums.name, reason_of(error))
        return
    if wrong:
        what = (
            f"{plural(len(wrong), 'file')} changed or missing (first: {wrong[0]}); "
            "if the data set has grown, publish it again, otherwise this copy is damaged"
        )
        yield Finding("error", paths.checksums.name, what)
