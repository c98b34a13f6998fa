"""Verbs that read a store."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from mfstudy.cli._frame import Exit, reference_line, verb
from mfstudy.console import show_fits, show_json, show_table
from mfstudy.drive import name as block_name
from mfstudy.results import Results
from mfstudy.store import compact as compact_store
from mfstudy.verify import SAMPLE
from mfstudy.verify import verify as verify_store

_STORE = click.argument("store")


@verb("mfstudy status quickstart.mfstudy")
@_STORE
def status(store: str, as_json: bool) -> int:
    """Count what a STORE wants, has, and has failed."""
    results = Results(store)
    rows = [{"size": r.size, "wanted": r.wanted, "done": r.done, "failed": r.failed} for r in results.counts]
    reasons = results.messages(limit=5)
    reference = {"required": results.store.shares, "complete": results.store.shared() is not None}
    poisoned = {block_name(block): note for block, note in results.store.poisoned().items()}
    if as_json:
        table = {"study": results.name, "complete": results.complete, "points": rows, "messages": reasons}
        table["poisoned"] = poisoned
        show_json({**table, "reference": reference, "round": results.store.noted_rounds() or None})
    else:
        lines = [[str(row[key]) for key in ("size", "wanted", "done", "failed")] for row in rows]
        show_table("", ("N", "replicates wanted", "stored", "failed"), lines)
        click.echo(reference_line(results.store.attributes["problem"]["reference"], **reference))
        lacking = sum(max(row["wanted"] - row["done"], 0) for row in rows)
        click.echo("complete" if results.complete else f"not complete: {lacking} replicates are missing")
        if rounds := results.store.noted_rounds():
            more = "" if rounds["over"] else "; 'mfstudy run' goes on"
            click.echo(f"precision, when a run last looked: round {rounds['round']}: {rounds['text']}{more}")
        for line in reasons:
            click.echo(f"failed: {line}")
        for block, note in poisoned.items():
            click.echo(f"given up: {block}: {note['line']} ({note['attempts']} attempts); a run tries it again, last")
    return Exit.REMAINS if results.failed or poisoned else Exit.DONE


@verb("mfstudy verify quickstart.mfstudy")
@_STORE
@click.option("--sample", type=click.IntRange(0), default=SAMPLE, show_default=True, help="Blocks to compute again.")
def verify(store: str, sample: int, as_json: bool) -> int:
    """Read all of a STORE, compute some of it again, and move what is damaged into its quarantine."""
    found = verify_store(store, sample)
    if as_json:
        show_json(found.table)
    else:
        for line in found.lines:
            click.echo(line)
    return Exit.DONE if found.sound else Exit.REMAINS


@verb("mfstudy compact quickstart.mfstudy copy.mfstudy")
@_STORE
@click.argument("out")
def compact(store: str, out: str, as_json: bool) -> int:
    """Write a verified, sharded copy of a STORE to OUT, which is quick to read and only read."""
    place = compact_store(store, out)
    if as_json:
        show_json({"store": place})
    else:
        click.echo(f"copy: {place}, to be read by every verb that reads a store")
    return Exit.DONE


@verb("mfstudy fit quickstart.mfstudy --json")
@_STORE
def fit(store: str, as_json: bool) -> int:
    """Infer the rates from what a STORE holds."""
    results = Results(store)
    if as_json:
        met = [asdict(statement) for _, _, statement in results.met]
        show_json({"study": results.name, "fits": [results.table(*entry) for entry in results.fits], "met": met})
    else:
        show_fits(results)
    return Exit.DONE if results.measurable else Exit.NOT_MEASURABLE


@verb("mfstudy report quickstart.mfstudy -o page")
@_STORE
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Directory.  [default: STORE/report]")
def report(store: str, output: Path | None, as_json: bool) -> int:
    """Write the page of a STORE: one self-contained HTML file."""
    from mfstudy import report as page

    written = page.write(Results(store), output)
    if as_json:
        show_json({"report": str(written)})
    else:
        click.echo(f"page: {written}")
    return Exit.DONE
