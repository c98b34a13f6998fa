"""Potentials of a large problem from coarse ones: clusters of both sides, solved roughly, coarse to fine."""

from __future__ import annotations

import numpy as np

from mfstudy.ensemble import Floats, Indices
from mfstudy.transport import tree as trees
from mfstudy.transport.auction import auction, market
from mfstudy.transport.cost import Cost
from mfstudy.transport.tree import Tree

COARSEST = 64  # particles, or clusters of them, of the first level
FACTOR = 2  # binary logarithm of the ratio of two levels
DENSITY = 2  # binary logarithm of the reference points for each cluster
COARSE_EPS = 0.1  # last eps of a level, of its local scale
LEAST_EPS = 1e-10  # of the largest cost: far below, prices do not move in double precision
SOME = 500  # reference points that a scale is measured on
RISE = 0.3  # first eps of a level over the last one of the level before
ISOLATED = 3.0  # how far above the median an offer to a particle makes it isolated


def largest(tree: Tree, reference: Floats, cost: Cost) -> float:
    """Return a bound on all costs, > 0."""
    extent = np.ptp(np.concatenate([tree.points.T, reference]), axis=0)
    return float(max(np.sum(extent**2) ** (0.5 * cost.p), 1e-290))


def coarse(tree: Tree, places: Indices, reference: Floats, cost: Cost) -> tuple[Floats, float, float]:
    """Return potentials from clusters of both sides.

    Parameters
    ----------
    tree : Tree
        Of the particles.
    places : (N,) array
        Of each particle, in tree order.
    reference : (M, D) array
    cost : Cost

    Returns
    -------
    phi : (N,) array
        In tree order.
    eps : float
        With which an auction goes on.
    mean : float
        Mean cost of the finest level.
    """
    points = np.ascontiguousarray(tree.points.T)
    extent = np.ptp(np.concatenate([points, reference]), axis=0)
    eps = 0.25 * float(np.sum(extent**2)) ** (0.5 * cost.p)
    depths = _depths(len(points))
    if not depths:
        phi = np.zeros(len(points))
        mean = float(np.mean(trees.nearest(tree, _some(reference), phi)[0]))
        return phi, min(eps, mean), mean
    fine, other = trees.build(points, cost, 2), trees.build(reference, cost, 2)
    known: tuple[Floats, Floats] | None = None
    mean = np.inf
    for depth in depths:
        centres, starts = _clusters(fine, depth)
        sums = np.add.reduceat(places[fine.order], starts)
        known, eps, mean = _level(centres, sums, _references(other, depth + DENSITY), known, eps, mean, cost)
    depth = int(np.log2(len(points))) + DENSITY
    while 3 * 2**depth <= len(reference):
        known, eps, mean = _level(points, places, _references(other, depth), known, eps, mean, cost)
        depth += FACTOR
    assert known is not None
    return _transformed(*known, points, cost), eps, mean


def _depths(count: int) -> list[int]:
    """Depths of a tree of ``count`` particles whose nodes are the clusters of the levels, coarse first."""
    deepest = int(np.log2(max(2.0, 1.5 * count / 2**FACTOR)))
    return [depth for depth in range(deepest, 0, -FACTOR) if 2**depth >= COARSEST][::-1]


def _clusters(tree: Tree, depth: int) -> tuple[Floats, Indices]:
    """Centroids of the nodes at a depth, and where they start in tree order."""
    first, last = 2**depth - 1, 2 ** (depth + 1) - 1
    start, end = tree.start[first:last], tree.end[first:last]
    sums = np.concatenate([np.zeros((1, len(tree.points))), np.cumsum(tree.points.T, axis=0)])
    return (sums[end] - sums[start]) / (end - start)[:, None], start


def _references(tree: Tree, depth: int) -> Floats:
    """Centroids of all reference points: a part of the points would have another mass in every region."""
    if 2 ** (depth + 1) <= len(tree.order):
        return _clusters(tree, depth)[0]
    return np.ascontiguousarray(tree.points.T)


def _level(
    centres: Floats,
    places: Indices,
    reference: Floats,
    known: tuple[Floats, Floats] | None,
    eps: float,
    mean: float,
    cost: Cost,
) -> tuple[tuple[Floats, Floats], float, float]:
    """Solve one level roughly; return its reference points with their psi, the next eps, and the mean cost."""
    edges = np.round(np.cumsum(places) * (len(reference) / places.sum())).astype(np.int64)
    share = np.diff(edges, prepend=0)
    centres, share = centres[share > 0], share[share > 0]
    tree = trees.build(centres, cost)
    share = share[tree.order]
    reference = np.ascontiguousarray(reference[trees.sort(tree, reference)])
    phi = np.zeros(len(centres))
    if known is not None:
        phi = _transformed(*known, np.ascontiguousarray(tree.points.T), cost)
        phi = _reverse(tree, reference, phi, share, cost)
    scale = max(local_scale(tree, reference, phi), np.finfo(float).tiny if mean == np.inf else 1e-12 * mean)
    last = COARSE_EPS * min(scale, mean) * min(1.0, 4 * len(centres) / len(reference))
    state = market(tree, len(reference), phi, share)
    last = max(last, LEAST_EPS * largest(tree, reference, cost))
    auction(tree, reference, state, max(eps, last), last)
    psi, _ = trees.nearest(tree, reference, state.phi)
    paid = float(np.mean(state.costs[np.arange(len(reference)), state.owner]))
    return (reference, psi), RISE * last, paid


def _transformed(reference: Floats, psi: Floats, points: Floats, cost: Cost) -> Floats:
    """phi(x) = min_y c(x, y) - psi(y): potentials of a coarse level, extended to all points."""
    tree = trees.build(reference, cost)
    order = trees.sort(tree, points)
    phi = np.empty(len(points))
    phi[order] = trees.nearest(tree, points[order], psi[tree.order])[0]
    return phi


def _reverse(tree: Tree, reference: Floats, phi: Floats, places: Indices, cost: Cost) -> Floats:
    """Lower the price of isolated particles until they attract as many points as they have places.

    Without it the last points must raise all other prices to reach particles in the tails.
    """
    psi, _ = trees.nearest(tree, reference, phi)
    other = trees.build(reference, cost)
    count = int(min(places.max(), 32, len(reference)))
    points = np.ascontiguousarray(tree.points.T)
    _, offers = trees.several(other, points, psi[other.order], count)
    last = offers[np.arange(len(phi)), np.minimum(places, count) - 1]
    excess = last - offers[:, 0]
    return np.where(excess > ISOLATED * np.median(excess), np.maximum(last, phi), phi)


def local_scale(tree: Tree, reference: Floats, phi: Floats) -> float:
    """Return the median over reference points (M, D) of how much worse than the best the fourth particle is."""
    _, values = trees.several(tree, _some(reference), phi, min(4, len(phi)))
    return float(np.median(values[:, -1] - values[:, 0]))


def _some(reference: Floats) -> Floats:
    """Enough points to tell a scale."""
    return np.ascontiguousarray(reference[:: max(1, len(reference) // SOME)])
