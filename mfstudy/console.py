"""What the command line shows: progress, tables, and the exit code of each way to end."""

from __future__ import annotations

import json
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table

from mfstudy.claims import listing
from mfstudy.quantities import Quantity
from mfstudy.results import Results
from mfstudy.sweep import Progress
from mfstudy.theorems import Claim

#: Seconds between plain progress lines, where standard error is no terminal.
QUIET = 10.0
#: Characters of a line of what theorems claim.
WIDTH = 100


class Meter:
    """Progress of a run: a bar on a terminal, now and then a plain line elsewhere; always on standard error."""

    def __init__(self) -> None:
        self.start = self.phase = time.monotonic()
        self.preparing = ""
        self.latest = -QUIET
        self.round = self.before = 0
        self.title = "blocks"
        self.began = False
        self.spent = 0.0
        self.bar: Bar | None = None
        self.task: Any = None

    @contextmanager
    def shown(self) -> Iterator[Meter]:
        """Show the meter while the block runs."""
        console = Console(stderr=True)
        if not console.is_terminal:
            yield self
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
        )
        with Bar(*columns, console=console) as self.bar:
            self.task = self.bar.add_task("blocks", total=None, rate="")
            yield self

    def __call__(self, state: Progress) -> None:
        """Take note of a state."""
        if not self.began or (state.standing is not None and state.standing.round != self.round):
            self._begin(state)
        elif self.bar is None and state.preparing == self.preparing and time.monotonic() - self.latest >= QUIET:
            self.latest = time.monotonic()
            self._say(self._line(state))
        if state.preparing != self.preparing:
            self._prepare(state.preparing)
        if self.bar is not None:
            done, total = (
                state.prepared if state.preparing else (state.present + state.computed + state.found, state.wanted)
            )
            self.bar.update(self.task, total=total or None, completed=done, rate=self._rate(state))

    def _line(self, state: Progress) -> str:
        """Say how far a run is."""
        if state.preparing:
            done, total = state.prepared
            return f"{done} of {total} {state.preparing}"
        return f"{state.present + state.computed + state.found} of {state.wanted} blocks, {self._rate(state)}"

    def _begin(self, state: Progress) -> None:
        """Say what is to be computed, now or in the next round, and start its clock."""
        stored, title = state.present + state.computed + state.found, ""
        self.began, self.phase = True, time.monotonic()
        self.before, self.spent = state.computed, state.seconds_spent
        if state.standing is not None:
            self.round, self.title, title = state.standing.round, state.standing.title, f"{state.standing.title}: "
            self._say(f"{title}{state.standing.text}")
        self._say(f"{title}{state.wanted} blocks wanted, {stored} stored, {state.wanted - stored} to compute")
        if self.bar is not None:
            self.bar.update(self.task, description=self.title)
        if state.dashboard:
            self._say(f"Dask dashboard: {state.dashboard}")

    def _prepare(self, what: str) -> None:
        """Say what is being solved, or how long it took; the blocks' clock starts after it."""
        now = time.monotonic()
        if self.preparing:
            self._say(f"the {self.preparing} took {duration(now - self.phase)}")
        if what:
            self._say(f"solving the {what}, once")
        if self.bar is not None:
            self.bar.update(self.task, description=what or self.title)
        self.preparing, self.phase = what, now

    def close(self, state: Progress) -> None:
        """Say how the run ended."""
        elapsed = time.monotonic() - self.start
        self._say(f"computed {state.computed} blocks in {duration(elapsed)}, {state.present} were stored before")
        for task, line in state.failures.items():
            self._say(f"failed: {task}: {line}")
        if state.standing is not None:
            waits = f"{state.standing.title} waits for other parts, or for failed tasks to be run again"
            self._say(state.standing.text if state.standing.over else waits)

    def _rate(self, state: Progress) -> str:
        elapsed = time.monotonic() - self.phase
        spent, computed = state.seconds_spent - self.spent, state.computed - self.before
        if computed == 0 or spent <= 0:
            return "time left: not known yet"
        left = elapsed * state.seconds_left / spent
        rate = computed / elapsed
        pace = f"{rate:.1f} blocks/s" if rate >= 1 else f"{1 / rate:.1f} s a block"
        return f"{pace}, {duration(left)} left"

    def _say(self, line: str) -> None:
        if self.bar is not None:
            self.bar.console.print(line, highlight=False)
        else:
            click.echo(line, err=True)


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    if seconds < 90:
        return f"{seconds:.1f} s"
    if seconds < 5400:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


def amount(count: float) -> str:
    """Return a number of bytes in the unit that suits it."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def show_json(data: Any) -> None:
    """Print data as JSON; NaN is refused, never printed."""
    click.echo(json.dumps(data, indent=2, allow_nan=False))


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: first column left-aligned, the others to the right."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    width = None if sys.stdout is not None and sys.stdout.isatty() else 160
    Console(width=width, highlight=False).print(table)


def show_claims(found: Sequence[Claim], save: Sequence[float], sizes: Sequence[int]) -> None:
    """Print what theorems claim of a study: a title each, and below it aligned lines."""
    click.echo("theorems" if found else "theorems     none speaks about this study")
    for claim, rows in listing(found, save, sizes):
        click.echo(f"  {claim.title}")
        for word, text in rows:
            first, *others = textwrap.wrap(text, WIDTH)
            click.echo(f"    {word:12}{first}")
            for line in others:
                click.echo(f"{'':16}{line}")


def show_fits(results: Results) -> None:
    """Print the verdict and the numbers of every quantity at every save time, then what was met of bounds."""
    for quantity, time_index, fit in results.fits:
        data = results.table(quantity, time_index, fit)
        click.echo(f"{quantity.definition}, t = {data['time']:g}")
        click.echo(f"  verdict: {fit.verdict}. {fit.text}")
        show_table("", _FIT_COLUMNS, _fit_rows(results, quantity, data, fit.fitted))
        click.echo("")
    for _, _, statement in results.met:
        click.echo(statement.text)
    if results.failed:
        click.echo(
            f"{results.failed} replicates failed and are left out of the means: see 'mfstudy status'",
            err=True,
        )


_FIT_COLUMNS = ("N", "replicates", "mean", "standard error", "bracket half-width", "fitted")


def _fit_rows(results: Results, quantity: Quantity, data: dict[str, Any], fitted: Any) -> list[list[str]]:
    rows = []
    for i, size in enumerate(data["sizes"]):
        numbers = (data["mean"][i], data["standard_error"][i], data["bracket_half_width"][i])
        text = [_short(numbers[0], 6), _short(numbers[1], 2), _short(numbers[2], 2)]
        rows.append([str(size), str(data["replicates"][i]), *text, _short(None if fitted is None else fitted[i], 6)])
    return rows


def _short(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}g}"
