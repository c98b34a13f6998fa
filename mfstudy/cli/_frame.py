"""What verbs share: the group, the decorator that makes one of a function, the exit codes."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Any

import click


class Exit(IntEnum):
    """How the program ends."""

    DONE = 0
    REMAINS = 1  # failed replicates remain, damage found, or the disk filled
    BAD_INPUT = 2  # bad input, or an engine unreachable or refused
    NOT_MEASURABLE = 3  # the requested quantity could not be measured
    INTERRUPTED = 75  # from outside: run again
    CTRL_C = 130


_HELP = """Measure how fast N interacting particles converge to their mean field.

\b
mfstudy run quickstart   run a shipped study, print its rate, write its page
mfstudy init mine        write a study file to edit
mfstudy run mine.toml    run it; the same command again goes on where it stopped
"""


@click.group(help=_HELP, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="mfstudy")
def verbs() -> None:
    """Hold the verbs; `_HELP` is what users see."""


def verb(example: str) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a verb of a function: its docstring, an example, and --json."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        function.__doc__ = f"{function.__doc__}\n\n    \b\n    Example: {example}"
        with_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for a program to read.")
        command: click.Command = verbs.command()(with_json(function))
        return command

    return decorate


def words(table: dict[str, Any]) -> str:
    """Return a component's table as its kind and its settings."""
    keys = [
        f"{key} = {words(value) if isinstance(value, dict) else value}"
        for key, value in table.items()
        if key not in ("kind", "scheme")
    ]
    return f"{table['kind']} ({', '.join(keys)})" if keys else str(table["kind"])


#: What a study's reference asks of its first run, by whether it is stored.
IN_ADVANCE = {False: "nothing to solve", True: "solved once for each store, before its first block"}


def reference_line(table: dict[str, Any], required: bool, complete: bool) -> str:
    """Say which reference is used, and whether it is solved."""
    state = ("solved" if complete else "not solved yet") if required else IN_ADVANCE[False]
    return f"reference: {words(table)}: {state}"
