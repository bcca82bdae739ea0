"""The data dictionary: every table of a data set as Markdown, from the schema."""

from __future__ import annotations

from orchestrator.dataset.flags import describe_flags
from orchestrator.dataset.imported import ImportedRow, describe_import_flags
from orchestrator.dataset.parquet import describe
from orchestrator.dataset.schema import SCHEMA_VERSION, ExecutionRow, TelemetrySample
from orchestrator.dataset.summary import SummaryRow
from orchestrator.dataset.verdicts import PERSONS_REASONS, Verdict


def data_dictionary() -> str:
    """Sections of Markdown, a table of columns in each."""
    return f"""Schema version {SCHEMA_VERSION}. The same meanings and units are in the metadata of
each Parquet field. Lists are texts joined by ";" (none: an empty text): in pandas
`column.str.contains("drift")` finds an entry, `column.str.split(";")` gives the list.

## executions.parquet: one row per execution
{describe(ExecutionRow)}

## summary.parquet: one row per trial
{describe(SummaryRow)}

## Flags
What `warning_flags` can hold. A flag removes no row: `doubtful` rows may be wrong, and those that
are left out by default enter no effect of the report.

{describe_flags()}

## verdicts.parquet: one row per evaluated execution
{describe(Verdict)}

## reviews.jsonl: people's decisions, one JSON object per line
`execution` and `text_sha256` as in verdicts.parquet, `reviewer`, `decision` (keep, discard,
undecided), `reasons` (why it is discarded: {", ".join(PERSONS_REASONS)}; may be none), `note`,
`at` (UTC). Lines are only added; a reviewer's latest one about an execution counts, and the
majority of reviewers overrules the machine.

## telemetry.parquet: the GPU's state during a trial (only where there is a GPU)
{describe(TelemetrySample)}

## imported.parquet: one row per measurement made without this program (only after `import`)
{describe(ImportedRow)}

### Flags of imported rows
{describe_import_flags()}

## emissions.csv: one row per execution
The 29 fields of CodeCarbon's record, CodeCarbon's newer fields, then columns of executions.parquet.
Energies there are in kWh, powers in W, durations in s, emissions in kg CO2 equivalent. CodeCarbon's
powers are unweighted means that include the start of the window: take energy over duration instead.
"""
