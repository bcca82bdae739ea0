"""The data dictionary: every table of a data set as Markdown, from the schema."""

from __future__ import annotations

from orchestrator.dataset.flags import describe_flags
from orchestrator.dataset.imported import ImportedRow, describe_import_flags
from orchestrator.dataset.parquet import NO_ENTRIES, SEPARATOR, describe
from orchestrator.dataset.schema import SCHEMA_VERSION, ExecutionRow, TelemetrySample
from orchestrator.dataset.summary import SummaryRow
from orchestrator.dataset.verdicts import PERSONS_REASONS, Verdict


def data_dictionary() -> str:
    """Sections of Markdown, a table of columns in each."""
    return f"""Schema version {SCHEMA_VERSION}. The same meanings and units are in the metadata of
each Parquet field.

**Names** can be written without quotes in Python (`rows.seed`), R, SQLite, DuckDB and PostgreSQL:
none is a word that these keep for themselves, or an attribute of a pandas table.

**Types** are texts, 64-bit integers, floating-point numbers, truth values and moments in UTC, in
every table. What is unknown is null. In pandas, integers with unknown values become floating-point
numbers (`dtype_backend="numpy_nullable"` keeps them), and truth values are of the type `boolean`,
so that `rows[~rows.usable]` leaves the unknown ones out. CodeCarbon's own timestamp of an imported
row is a text: nobody recorded its time zone.

**Lists** are texts joined by "{SEPARATOR}"; one without entries is `{NO_ENTRIES}`. In pandas
`column.str.contains("drift")` finds an entry and `column.str.split("{SEPARATOR}")` gives the list.
Arrays in cells can't be grouped, compared or written to CSV, a column for each flag would change
the table with every new flag, and an empty text can't be told from null in a CSV file.

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
