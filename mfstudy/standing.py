"""Where a sweep that a precision drives stands, from what a store holds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mfstudy import plan
from mfstudy.ensemble import Floats
from mfstudy.results import Results
from mfstudy.rounds import Design, Standing, follow
from mfstudy.store import Store, block_length
from mfstudy.study import Point, Problem, Sweep, check_goal
from mfstudy.targets import Goal


def design_of(problem: Problem, sweep: Sweep, lengths: Mapping[Point, int]) -> Design:
    """Return what the rounds of a sweep depend on, other than records; for a sweep with a precision.

    Costs are predicted from the problem alone: measured ones differ between machines, and so would the rounds.

    Parameters
    ----------
    problem : Problem
    sweep : Sweep
    lengths : dict
        Point -> replicates in a block.
    """
    assert sweep.precision is not None
    goal, moment = check_goal(problem, sweep), problem.initial.moment_order
    seconds = plan.replicate_seconds(problem, {})
    sampled = goal.quantity.p is not None and not goal.quantity.laws
    return Design(
        sizes=sweep.sizes,
        lengths=tuple(lengths[point] for point in sweep.points),
        costs=tuple(seconds(point) for point in sweep.points),
        precision=sweep.precision,
        kind=goal.kind,
        moment=moment if sampled and np.isfinite(moment) else None,
        p=goal.quantity.p or 2.0,
        what=goal.text,
    )


def standing_of(problem: Problem, sweep: Sweep, store: Store | None = None) -> Standing:
    """Return where a sweep with a precision stands in a store; without one at its beginning.

    Raises
    ------
    DamagedError
        If a stored block is damaged.
    """
    lengths = {point: block_length(point.size) for point in sweep.points}
    if store is None:
        nothing = np.zeros((len(sweep.sizes), 0))
        return follow(design_of(problem, sweep, lengths), nothing, nothing)
    lengths |= {point: store.length(point) for point in store.points()}
    goal, results = check_goal(problem, sweep), Results(store)
    values, status = (_rows(results, goal, role, sweep) for role in ("estimate", "status"))
    return follow(design_of(problem, sweep, lengths), values, status)


def _rows(results: Results, goal: Goal, role: str, sweep: Sweep) -> Floats:
    """Return stored numbers at the sizes of a sweep, (sizes, replicates), NaN where there are none."""
    stored = dict(zip(results.sizes, results.values(goal.quantity, role, goal.time), strict=True))
    nothing = np.full(max(map(len, stored.values()), default=0), np.nan)
    return np.stack([stored.get(size, nothing) for size in sweep.sizes])
