"""The command line: `orchestrator VERB` or `python -m orchestrator VERB`.

A verb stands in VERB_command.py (`plot` beside `report`; the verbs of `cluster` that start and stop
nodes in node_command.py), and what it shows of a sweep in a *_view.py. verbs.py names the verbs and
imports one when it is called; Ray and torch are imported inside the verbs, so that help is shown
without loading them.
"""

from __future__ import annotations

import sys

import click

from orchestrator import __version__
from orchestrator.cli.exit_codes import DRAINED, INTERRUPTED, USER_ERROR
from orchestrator.cli.suggestions import usage_error
from orchestrator.cli.terminal import lasting_streams, say
from orchestrator.cli.verbs import Verbs
from orchestrator.errors import TryAgainError, UserError


@click.group(
    cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__, prog_name="orchestrator")
def cli() -> None:
    """Measure what LLM inference costs in energy, over generation hyperparameters.

    \b
    First steps:
      orchestrator plan lhs     show what would run, and what it would take
      orchestrator tune lhs     run it; the same command again resumes it
      orchestrator status       show what is done, failed and left
      orchestrator evaluate     judge which texts are usable
      orchestrator report       write the results as one HTML page
      orchestrator validate     check a data set before you publish it
    """  # noqa: D301 - click wants the character


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with a code of exit_codes.py; each usage error is one line."""
    with lasting_streams():
        try:
            code = cli.main(args=arguments, prog_name="orchestrator", standalone_mode=False)
        except TryAgainError as error:
            fail(error.lines, DRAINED)
        except UserError as error:
            fail(error.lines)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message())
            sys.exit(0)
        except click.ClickException as error:
            fail((usage_error(error),))
        except (KeyboardInterrupt, click.Abort):
            click.echo(
                "Interrupted. Finished work is kept; run the same command again to resume.",
                err=True,
            )
            sys.exit(INTERRUPTED)
        if isinstance(code, int):
            sys.exit(code)
        sys.exit(0)  # most verbs return nothing


def fail(lines: tuple[str, ...], code: int = USER_ERROR) -> None:
    """Print user errors, one a line, and exit with a code."""
    for line in lines:
        say(f"error: {line}")
    sys.exit(code)
