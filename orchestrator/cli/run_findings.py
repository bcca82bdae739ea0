"""What a finished sweep found: its texts judged, the report written, the report's sentences told.

The sentences are those of report/findings.py; nothing is computed here.
"""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from orchestrator.cli.live import Live
from orchestrator.dataset.paths import DataSetPaths
from orchestrator.dataset.verdicts import read_verdicts
from orchestrator.errors import UserError
from orchestrator.say import silent
from orchestrator.sweep.prepare import Prepared
from orchestrator.units import plural

MOST_TRIALS = 1_000
"""Of a larger data set no report is written unasked: it takes longer than one wants to wait."""


def tells_findings(prepared: Prepared, *, wanted: bool | None) -> bool:
    """Whether a complete sweep ends with a report. `wanted`: --report or --no-report, if given.

    Without a word from the user: where a model ran, and the data set isn't large.
    """
    if wanted is not None:
        return wanted
    return prepared.resolved.needs_weights and len(prepared.trials) <= MOST_TRIALS


def tell_findings(live: Live, paths: DataSetPaths) -> None:
    """Judge the texts, write report.html, and print what it says.

    The sweep is over, so a report that can't be written is a line, no error.
    """
    from orchestrator.cli.report_command import write_page
    from orchestrator.report.execution_frame import read_data
    from orchestrator.report.page import page
    from orchestrator.report.page_content import findings_by_subject, warnings

    try:
        _judge(live, paths)
        data = read_data(paths)
        write_page(paths.report, page(data, paths.root.resolve().name, paths.root), paths.root)
    except UserError as error:
        for line in error.lines:
            live.say(f"No report: {line}")
        return
    _print(live, findings_by_subject(data))
    doubts = plural(len(warnings(data)), "thing")
    live.say(f"Report, with charts and {doubts} to know first: {paths.report} (open in a browser)")


def _judge(live: Live, paths: DataSetPaths) -> None:
    """Judge the texts by the packaged rules, unless somebody chose others. Raises UserError."""
    from orchestrator.evaluate.evaluation import evaluate
    from orchestrator.evaluate.rules import read_rules

    rules = read_rules(None)
    others = _rules_of_verdicts(paths) - {rules.name}
    if others:
        live.say(
            f"Texts are not judged here, since {paths.verdicts.name} holds verdicts by other "
            f"rules ({', '.join(sorted(others))}): run `orchestrator evaluate --rules ...`"
        )
        return
    evaluate(paths.root, rules, say=silent)


def _rules_of_verdicts(paths: DataSetPaths) -> set[str]:
    """Names of the rules by which texts were judged.

    None where the verdicts can't be read: `evaluate` says so.
    """
    try:
        return {verdict.rules for verdict in read_verdicts(paths).values()}
    except (OSError, ValueError):
        return set()


def _print(live: Live, said: list[tuple[str, list[str]]]) -> None:
    """Print (heading, its sentences) of each subject: as a table, or in a log a line a sentence."""
    live.console.print()
    if not live.console.is_terminal:
        for heading, sentences in said:
            for sentence in sentences:
                live.say(f"{heading}: {sentence}")
        return
    table = Table.grid(padding=(0, 2))
    for heading, sentences in said:
        for n, sentence in enumerate(sentences):
            table.add_row(Text("" if n else heading, style="bold", no_wrap=True), Text(sentence))
    live.console.print(table)
