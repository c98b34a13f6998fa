"""Verbs that compute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from mfstudy import study as studies_
from mfstudy.cli._frame import Exit, verb
from mfstudy.components import InputError, fill
from mfstudy.console import Meter, show_fits, show_json
from mfstudy.results import Results
from mfstudy.store import Store
from mfstudy.study import Sweep
from mfstudy.sweep import check as check_options
from mfstudy.sweep import deepen as ask_for_more
from mfstudy.sweep import finish
from mfstudy.sweep import run as run_study


class _Part(click.ParamType[tuple[int, int]]):
    name = "K/M"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, int]:
        try:
            part, parts = value.split("/")
            return int(part), int(parts)
        except ValueError:
            raise InputError(f"--part: {value!r} is not allowed; allowed: K/M with 1 <= K <= M") from None


_ENGINE = (
    click.option(
        "--on",
        default="local",
        show_default=True,
        help="Where workers come from: local, threads, sync, slurm, ssh, kubernetes, an address, or a table of yours.",
    ),
    click.option("--insecure", is_flag=True, help="Allow the address of a scheduler without TLS, anywhere."),
    click.option("--workers", type=int, help="Number of worker processes.  [default: all cores]"),
    click.option("--part", type=_Part(), help="Compute the K-th of M shares in this process, without Dask."),
)


def _engine(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_ENGINE):
        function = option(function)
    return function


@verb("mfstudy run quickstart")
@click.argument("study")
@click.option("--store", help="The store: a directory or s3://BUCKET/PREFIX.  [default: ./NAME.mfstudy]")
@_engine
def run(
    study: str,
    store: str | None,
    on: str,
    insecure: bool,
    workers: int | None,
    part: tuple[int, int] | None,
    as_json: bool,
) -> int:
    """Compute what a study wants and its store lacks, then print the rates and write the page."""
    loaded = studies_.load(study)
    meter = _Watched()
    with meter.shown():
        results = run_study(loaded, store, on, workers=workers, part=part, progress=meter, insecure=insecure)
    return _finished(results, meter, as_json)


@verb("mfstudy deepen quickstart.mfstudy --replicates 2048 --sizes 20000,50000")
@click.argument("store")
@click.option(
    "--replicates",
    help="Replicates of every size, or +K for K more once nothing is missing.",
)
@click.option("--sizes", help="Sizes to add, separated by commas.")
@_engine
def deepen(
    store: str,
    replicates: str | None,
    sizes: str | None,
    on: str,
    insecure: bool,
    workers: int | None,
    part: tuple[int, int] | None,
    as_json: bool,
) -> int:
    """Ask for more replicates or sizes of a STORE's study, and compute them; nothing stored is computed again."""
    held, meter = Store(store), _Watched()
    request = _request(replicates, sizes)
    check_options(on, workers, part, insecure)
    if part is not None and request[1]:
        raise InputError("--replicates: +K is not allowed with --part; allowed: a number, the same for all parts")
    ask_for_more(held, *request)
    with meter.shown():
        finish(held, on, workers=workers, part=part, progress=meter, insecure=insecure)
    return _finished(Results(held), meter, as_json)


def _request(replicates: str | None, sizes: str | None) -> tuple[int | None, int, tuple[int, ...]]:
    """Return (replicates, more, sizes) of `deepen`, checked like a study's sweep."""
    if replicates is None and sizes is None:
        raise InputError("deepen: nothing asked; allowed: --replicates, --sizes or both")
    more = replicates is not None and replicates.strip().startswith("+")
    table: dict[str, Any] = {"sizes": [2], "replicates": 2}
    try:
        if replicates is not None and more and int(replicates) < 1:
            raise InputError(f"--replicates: {replicates} is not allowed; allowed: +1 or more, or a number >= 2")
        if replicates is not None and not more:
            table["replicates"] = int(replicates)
        if sizes is not None:
            table["sizes"] = [int(size) for size in sizes.split(",")]
    except InputError:
        raise
    except ValueError:
        raise InputError("deepen: not an integer; allowed: integers, and +K for --replicates") from None
    sweep: Sweep = fill(Sweep, table, "deepen")
    count = sweep.replicates if replicates is not None else None
    return (None if more else count), (int(replicates or 0) if more else 0), (sweep.sizes if sizes else ())


class _Watched(Meter):
    """A meter that keeps the last state for the closing lines."""

    state: Any = None

    def __call__(self, state: Any) -> None:
        self.state = state
        super().__call__(state)


def _finished(results: Results, meter: _Watched, as_json: bool) -> int:
    """Say how a run ended; print fits and write the page once nothing is missing."""
    from mfstudy import report as page  # matplotlib: half a second that only pages need

    meter.close(meter.state)
    if results.complete and not as_json:
        show_fits(results)
    written = page.write(results) if results.complete else None
    if as_json:
        show_json(
            {
                "store": results.store.place,
                "computed": meter.state.computed,
                "found": meter.state.found,
                "present": meter.state.present,
                "complete": results.complete,
                "failed_replicates": results.failed,
                "failed_tasks": meter.state.failures,
                "round": meter.state.standing.table if meter.state.standing else None,
                "report": str(written) if written else None,
            }
        )
    elif written:
        click.echo(f"page: {written}")
    else:
        click.echo(f"not complete: {results.store.place} lacks blocks; run the other parts, or run again")
    if meter.state.failures or results.failed:
        return Exit.REMAINS
    return Exit.DONE if written is None or results.measurable else Exit.NOT_MEASURABLE
