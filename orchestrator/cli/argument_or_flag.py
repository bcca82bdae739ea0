"""A value that is named by its place or by a flag: `report DATASET` or `report --out DATASET`.

Named twice it is refused, since one of them would be ignored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from orchestrator.cli.completion import Completion

F = TypeVar("F", bound=Callable[..., Any])


def argument_or_flag(
    name: str,
    metavar: str,
    flag: str,
    *,
    help: str,  # noqa: A002 - click's own word
    value_type: click.ParamType[Any] | None = None,
    default: Any = None,
    check: Callable[[str, Any], None] | None = None,
    missing: str | None = None,
    completion: Completion | None = None,
    flag_metavar: str | None = None,
) -> Callable[[F], F]:
    """A decorator that gives a command the parameter `name`, from an argument or from a flag.

    `help` is the flag's. `check` is called with where the value was named ("", or the flag and a
    space) and the value, the default, too. `missing`: what to say where neither is given, with {}
    for the command; None: it is `default` then.
    """

    def keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        """Click's callback of both: it calls that of a given flag before that of the argument."""
        where = f"{flag} " if isinstance(parameter, click.Option) else ""
        if value is not None:
            if check is not None:
                check(where, value)
            before = context.params.get(name)
            if before not in (None, value):
                raise click.UsageError(
                    f"{metavar} is named twice, {value} and {flag} {before}; name it once", context
                )
            context.params[name] = value
        # neither is given: that of the argument comes before that of a flag that isn't given
        elif name not in context.params:
            if missing is not None and not context.resilient_parsing:
                raise click.UsageError(missing.format(context.command_path), context)
            if check is not None and default is not None:
                check("", default)
            context.params[name] = default

    argument = click.argument(
        f"{name}_argument",
        required=False,
        metavar=f"[{metavar}]",
        type=value_type,
        expose_value=False,
        callback=keep,
        shell_complete=completion,
    )
    option = click.option(
        flag,
        f"{name}_flag",
        type=value_type,
        metavar=flag_metavar or metavar,
        help=help,
        expose_value=False,
        callback=keep,
        shell_complete=completion,
    )

    def add(command: F) -> F:
        """Put both on a command."""
        return argument(option(command))

    return add
