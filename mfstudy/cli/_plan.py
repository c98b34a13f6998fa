"""The verb that predicts what a study costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

from mfstudy import plan as planning
from mfstudy import study as studies_
from mfstudy.cli._frame import Exit, reference_line, verb
from mfstudy.console import amount, duration, show_json, show_table
from mfstudy.rounds import ROUGH, Standing, rough
from mfstudy.standing import design_of, standing_of
from mfstudy.store import Store, block_length, plan_blocks
from mfstudy.study import Point, Study
from mfstudy.sweep import timed


@verb("mfstudy plan mine.toml")
@click.argument("study")
@click.option("--store", help="The store: a directory or s3://BUCKET/PREFIX.  [default: ./NAME.mfstudy]")
def plan(study: str, store: str | None, as_json: bool) -> int:
    """Predict replicates, core-time, memory and bytes; count what the store already has."""
    loaded = studies_.load(study)
    path = store or f"{loaded.name}.mfstudy"
    held = Store(path) if Store.exists(path) else None
    if held:
        held.check_problem(loaded.problem)
    standing = standing_of(loaded.problem, loaded.sweep, held) if loaded.sweep.precision is not None else None
    asked, known = _asked(loaded, held, standing), held.points() if held else []
    lengths = {p: held.length(p) if held and p in known else block_length(p.size) for p in asked}
    blocks = plan_blocks(asked, lengths)
    done = {point: held.done(point) for point in held.points()} if held else {}
    seconds = planning.replicate_seconds(loaded.problem, timed(held) if held else {})
    rows = planning.forecast(loaded.problem, blocks, done, seconds)
    total = sum(row.seconds for row in rows)
    outlook = _outlook(loaded, standing, lengths, done, seconds)
    required = loaded.problem.reference.shares
    complete = held.shared() is not None if held else not required
    lacking = held.lacking_pools(asked) if held else [(p, i) for p in asked for i in range(loaded.problem.pools)]
    pools = sum(planning.pool_seconds(loaded.problem, p) / loaded.problem.pools for p, _ in lacking)
    if as_json:
        reference = {"required": required, "complete": complete}
        left = {"lacking": len(lacking), "core_seconds": pools}
        points = [_forecast(row) for row in rows]
        rounds = {"round": standing.table, "prediction": _prediction(outlook)} if standing else {}
        table = {"points": points, "core_seconds": total + pools, "reference": reference, "pools": left}
        show_json({**table, **rounds})
        return Exit.DONE
    _show_forecast("", rows)
    click.echo(reference_line(loaded.problem.canonical["reference"], required, complete))
    if lacking:
        click.echo(
            f"pools of copies: {len(lacking)} are missing, {duration(pools)} of core-time, solved before the blocks"
        )
    source = "from the store" if held else "a rough guess before the first run"
    click.echo(f"core-time left: {duration(total + pools)} ({source})")
    click.echo("replicates are rounded up to whole blocks")
    if standing:
        click.echo(f"{standing.title}: {standing.text}")
    if outlook:
        _show_forecast(f"\nto the end, {_BASIS}:", outlook)
        click.echo(f"core-time left then: {duration(sum(row.seconds for row in outlook) + pools)}")
    return Exit.DONE


def _asked(study: Study, held: Store | None, standing: Standing | None) -> dict[Point, int]:
    """Return the replicates of each point that a run would complete, or its present round."""
    asked = held.requested() if held else {}
    wanted = standing.replicates if standing else [study.sweep.start] * len(study.sweep.sizes)
    for point, count in zip(study.sweep.points, wanted, strict=True):
        asked[point] = max(asked.get(point, 0), count)
    return dict(sorted(asked.items()))


#: What replicates are predicted from before there is a pilot.
_BASIS = f"rough, from CV {ROUGH:g}"


def _outlook(
    study: Study,
    standing: Standing | None,
    lengths: Mapping[Point, int],
    done: Mapping[Point, set[int]],
    seconds: Callable[[Point], float],
) -> list[planning.Forecast]:
    """Predict all that a precision takes, before its pilot is complete; nothing where that is not in question."""
    if standing is None or standing.round > 1 or standing.over:
        return []
    counts = rough(design_of(study.problem, study.sweep, lengths))
    blocks = plan_blocks(dict(zip(study.sweep.points, counts, strict=True)), lengths)
    return planning.forecast(study.problem, blocks, done, seconds)


def _prediction(outlook: list[planning.Forecast]) -> dict[str, Any] | None:
    points = [_forecast(row) for row in outlook]
    return {"basis": _BASIS, "points": points, "core_seconds": sum(row.seconds for row in outlook)} if points else None


def _show_forecast(title: str, rows: list[planning.Forecast]) -> None:
    table = [
        [
            str(r.point.size),
            str(r.replicates),
            str(r.done),
            duration(r.seconds),
            amount(r.memory),
            amount(r.stored),
        ]
        for r in rows
    ]
    show_table(title, ("N", "replicates", "stored", "core-time left", "memory", "on disk"), table)


def _forecast(row: planning.Forecast) -> dict[str, Any]:
    return {
        "point": row.point.table,
        "replicates": row.replicates,
        "done": row.done,
        "core_seconds": row.seconds,
        "memory": row.memory,
        "stored": row.stored,
    }
