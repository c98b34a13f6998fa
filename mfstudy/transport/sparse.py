"""Exact transport between discrete measures of any masses, on the few pairs that an optimal plan can use."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import coo_matrix

from mfstudy.ensemble import Floats, Indices
from mfstudy.transport import tree as trees
from mfstudy.transport.bracket import UncertifiedError
from mfstudy.transport.cost import Cost
from mfstudy.transport.multiscale import CERTIFICATE, FLOOR, assign
from mfstudy.transport.tree import Tree

UNITS = 4  # of mass, for each point, in the problem of whole units that gives the first potentials
NEAR = 10  # partners of each point in the first list of pairs
MORE = 4  # partners of each point that are added where the list was too short
ROUNDS = 30
TOLERANCE = 1e-10  # of the linear program, the smallest that it accepts


def solve_sparse(points: Floats, a: Floats, other: Floats, b: Floats, cost: Cost) -> tuple[float, float, float]:
    """Solve min <P, c> over the couplings P of two discrete measures, pricing all pairs by a tree.

    Parameters
    ----------
    points, other : (N, D), (M, D) arrays
        Along periodic axes in [0, period).
    a, b : (N,), (M,) arrays
        Masses, > 0, summing to 1.
    cost : Cost

    Returns
    -------
    value, lower, residual : float
        Cost of the plan, its dual value, both in units of cost, and the larger of the marginal errors and of the gap
        relative to max(value, 1e-5 of the largest cost).

    Raises
    ------
    UncertifiedError
        If the residual stays above the certificate.

    Notes
    -----
    Column generation: potentials of a nearby problem with whole units of mass tell which pairs may carry mass; the
    linear program on these (HiGHS) gives new potentials, under which every pair is priced; those that pay are added.
    """
    trees_of = trees.build(points, cost), trees.build(other, cost)
    phi, psi = _first(points, a, other, b, cost)
    pairs = _partners(trees_of[0], other, phi, NEAR, len(other), swap=False)
    pairs = np.union1d(pairs, _partners(trees_of[1], points, psi, NEAR, len(other), swap=True))
    largest = float(np.max(np.ptp(np.concatenate([points, other]), axis=0))) ** cost.p
    residual = np.inf
    for _ in range(ROUNDS):
        value, phi, marginal = _program(points, a, other, b, pairs, cost)
        psi, _ = trees.nearest(trees_of[0], other, phi[trees_of[0].order])
        lower = float(np.sum(a * phi) + np.sum(b * psi))
        residual = max(marginal, abs(value - lower) / max(value, FLOOR * largest))
        if residual <= CERTIFICATE:
            return value, min(lower, value), residual
        pairs = np.union1d(pairs, _partners(trees_of[0], other, phi, MORE, len(other), swap=False))
    raise UncertifiedError(
        f"transport solve not certified: residual {residual:.1e}, allowed {CERTIFICATE:.0e}, after {ROUNDS} rounds"
    )


def _first(points: Floats, a: Floats, other: Floats, b: Floats, cost: Cost) -> tuple[Floats, Floats]:
    """Potentials of the problem with masses rounded to whole units."""
    total = UNITS * max(len(a), len(b))
    places, units = _rounded(a, total), _rounded(b, total)
    held = places > 0
    solved = assign(points[held], places[held], np.repeat(other, units, axis=0), cost)
    psi, _ = solved.potential.transform(other)
    tree = trees.build(other, cost)
    phi, _ = trees.nearest(tree, points, psi[tree.order])
    return phi, psi


def _rounded(mass: Floats, total: int) -> Indices:
    """Whole numbers with sum ``total``, each within one of mass * total."""
    return np.asarray(np.diff(np.round(np.cumsum(mass) * (total / mass.sum())).astype(np.int64), prepend=0))


def _partners(tree: Tree, points: Floats, phi: Floats, count: int, columns: int, *, swap: bool) -> Indices:
    """Pairs (i, j), as i * columns + j, of each point with the ``count`` points of the tree that cost it least."""
    index, _ = trees.several(tree, points, phi[tree.order], min(count, len(phi)))
    of_tree, own = tree.order[index], np.arange(len(points))[:, None]
    rows, cols = (own, of_tree) if swap else (of_tree, own)
    return np.asarray(np.unique(rows * columns + cols))


def _program(
    points: Floats, a: Floats, other: Floats, b: Floats, pairs: Indices, cost: Cost
) -> tuple[float, Floats, float]:
    """Optimal cost, potentials (N,) and marginal error of the problem on some pairs."""
    rows, columns = pairs // len(other), pairs % len(other)
    costs = cost.along(points[rows], other[columns])
    scale = float(costs.max()) or 1.0
    entries = np.tile(np.arange(len(pairs)), 2)
    matrix = coo_matrix((np.ones(2 * len(pairs)), (np.concatenate([rows, len(a) + columns]), entries))).tocsr()
    mass = np.concatenate([a, b]) * len(a)  # of order one, for a tolerance that is absolute
    options = {
        "presolve": False,  # slower here than what it saves
        "primal_feasibility_tolerance": TOLERANCE,
        "dual_feasibility_tolerance": TOLERANCE,
    }
    result = linprog(costs / scale, A_eq=matrix, b_eq=mass, method="highs-ds", options=options)
    if result.status:
        raise UncertifiedError(f"transport solve not certified: {result.message}")
    marginal = float(np.sum(np.abs(matrix @ result.x - mass))) / len(a)
    return float(np.sum(result.x * costs)) / len(a), np.asarray(result.eqlin.marginals[: len(a)] * scale), marginal
