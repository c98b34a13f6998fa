"""Transport between particles with places and reference points of equal mass, coarse to fine, closed exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mfstudy.ensemble import Floats
from mfstudy.transport import tree as trees
from mfstudy.transport.auction import Market, auction, market
from mfstudy.transport.bracket import UncertifiedError
from mfstudy.transport.cost import Cost
from mfstudy.transport.paths import centred, finish
from mfstudy.transport.tree import Indices, Tree

COARSEST = 64  # particles, or clusters of them, of the first level
FACTOR = 2  # binary logarithm of the ratio of two levels
DENSITY = 2  # binary logarithm of the reference points for each cluster
COARSE_EPS = 0.1  # last eps of a level, of its local scale
LEAST_EPS = 1e-10  # of the largest cost: far below, prices do not move in double precision
FINE_EPS = 0.003  # last eps of all, of the mean cost or the local scale
SOME = 500  # reference points that a scale is measured on
ATTEMPTS = 4  # to close a problem exactly, each with a tenth of the eps
RISE = 0.3  # first eps of a level over the last one of the level before
ISOLATED = 3.0  # how far above the median an offer to a particle makes it isolated
CERTIFICATE = 1e-9  # largest relative residual that still counts as solved
DEGENERATE = 1e-6  # part of the variance added along each axis before clouds are compared
FLOOR = 1e-5  # part of the largest cost below which double precision cannot certify a cost to 1e-9


@dataclass(frozen=True)
class Frame:
    """Coordinates x' = S (x - m), y' = S^-1 (y - m'): |x - y|^2 is |x' - y'|^2 plus a function of x and one of y.

    S is symmetric and gives both clouds the same covariance: the optimal map is then near the identity and searches
    stay local, however far, turned or shrunk one cloud is.

    Parameters
    ----------
    matrix, inverse : (D, D) arrays
        S and its inverse.
    mean, other_mean : (D,) arrays
        m and m'.
    """

    matrix: Floats
    inverse: Floats
    mean: Floats
    other_mean: Floats

    def points(self, x: Floats) -> tuple[Floats, Floats]:
        """Return x' (N, D) and the function of x (N,)."""
        centred, shift = x - self.mean, self.mean - self.other_mean
        inner = np.einsum("nd,de->ne", centred, self.matrix)  # no BLAS: its threads may change the bytes
        return inner, np.sum((centred + shift) ** 2, axis=1) - np.sum(inner**2, axis=1)

    def reference(self, y: Floats) -> tuple[Floats, Floats]:
        """Return y' (M, D) and the function of y (M,)."""
        centred, shift = y - self.other_mean, self.mean - self.other_mean
        inner = np.einsum("nd,de->ne", centred, self.inverse)
        return inner, np.sum(centred * (centred - 2 * shift), axis=1) - np.sum(inner**2, axis=1)


@dataclass(frozen=True)
class Potential:
    """Weights phi on particles, and their c-transform anywhere.

    Parameters
    ----------
    tree : Tree
        Of the particles, in the coordinates of the frame.
    inner : (N,) array
        The weights in these coordinates and in tree order.
    frame : Frame or None
    values : (N,) array
        The weights phi of the particles, in their own order; in units of cost.
    """

    tree: Tree
    inner: Floats
    frame: Frame | None
    values: Floats

    def transform(self, reference: Floats, guess: Indices | None = None) -> tuple[Floats, Indices]:
        """Return psi(y) = min_i c(x_i, y) - phi_i for points (M, D), and the particle that has it.

        Parameters
        ----------
        reference : (M, D) array
        guess : (M,) array, optional
            Particles that may be near the minimum: they shorten the search.

        Returns
        -------
        psi : (M,) array
        index : (M,) array
        """
        y, more = (reference, 0.0) if self.frame is None else self.frame.reference(reference)
        places = trees.sort(self.tree, y)
        column = None
        if guess is not None:
            inverse = np.full(len(self.values), -1, np.int32)  # of identical particles, one is in the tree
            inverse[self.tree.order] = np.arange(len(self.inner))
            column = inverse[guess[places]]
        psi, index = np.empty(len(y)), np.empty(len(y), np.int64)
        psi[places], index[places] = trees.nearest(self.tree, y[places], self.inner, column)
        return psi + more, self.tree.order[index]


@dataclass(frozen=True)
class Assignment:
    """The optimum between N particles and M reference points.

    Parameters
    ----------
    cost : float
        Mean cost of the plan: an upper bound whatever the residual.
    owner : (M,) array
        Particle of each reference point.
    potential : Potential
        Of the particles, in the middle of the optimal ones.
    psi : (M,) array
        Its c-transform at the reference points, the minimum found among all particles.
    gap, residual : float
        Duality gap, and its part of max(cost, 1e-5 of the largest cost).
    """

    cost: float
    owner: Indices
    potential: Potential
    psi: Floats
    gap: float
    residual: float


def assign(points: Floats, places: Indices, reference: Floats, cost: Cost) -> Assignment:
    """Solve the transport between particles with places and reference points of one unit each.

    Parameters
    ----------
    points : (N, D) array
        Particles; along periodic axes in [0, period).
    places : (N,) array
        Whole numbers >= 1 with sum M.
    reference : (M, D) array
        Along periodic axes in [0, period).
    cost : Cost

    Returns
    -------
    Assignment

    Raises
    ------
    UncertifiedError
        If the duality gap is above the certificate.
    """
    cells, same = _merged(points)
    if same is not None:
        merged = assign(cells, np.bincount(same, weights=places).astype(np.int64), reference, cost)
        return _expanded(merged, places, same)
    frame = _frame(points, places, reference) if cost.p == 2 and cost.periods is None else None
    x, more = (points, np.zeros(len(points))) if frame is None else frame.points(points)
    y, y_more = (reference, 0.0) if frame is None else frame.reference(reference)
    tree = trees.build(x, cost)
    order = trees.sort(tree, y)
    y = np.ascontiguousarray(y[order])
    state = _solve(tree, places[tree.order], y, cost)
    held = state.candidates[np.arange(len(order)), state.owner]
    paid = cost.along(np.ascontiguousarray(tree.points.T)[held], y)
    if np.any(np.bincount(held, minlength=len(points)) != places[tree.order]):
        raise UncertifiedError("transport solve not certified: a particle serves another mass than its own")
    inner, psi, gap = _price(tree, y, state, held, paid)
    owner, at, phi = np.empty(len(order), np.int64), np.empty(len(order)), np.empty(len(points))
    owner[order], at[order], phi[tree.order] = tree.order[held], psi, inner
    value = float(np.mean(cost.along(points[owner], reference)))
    largest = float(np.max(np.ptp(np.concatenate([points, reference]), axis=0))) ** cost.p
    residual = gap / max(value, FLOOR * largest) if gap else 0.0
    if not residual <= CERTIFICATE:
        raise UncertifiedError(f"transport solve not certified: residual {residual:.1e}, allowed {CERTIFICATE:.0e}")
    return Assignment(value, owner, Potential(tree, inner, frame, phi + more), at + y_more, gap, residual)


def _merged(points: Floats) -> tuple[Floats, Indices | None]:
    """Different points, and which of them each point is where some are identical: these would outbid each other."""
    order = np.lexsort(points.T)
    differs = np.any(points[order[1:]] != points[order[:-1]], axis=1)
    if differs.all():
        return points, None
    same = np.empty(len(points), np.int64)
    same[order] = np.cumsum(np.concatenate([[0], differs]))
    cells = np.empty((same.max() + 1, points.shape[1]))
    cells[same] = points
    return cells, same


def _expanded(merged: Assignment, places: Indices, same: Indices) -> Assignment:
    """Share the places of identical particles out again."""
    particles = np.repeat(np.argsort(same, kind="stable"), places[np.argsort(same, kind="stable")])
    owner = np.empty_like(merged.owner)
    owner[np.argsort(merged.owner, kind="stable")] = particles
    potential = merged.potential
    first = np.zeros(same.max() + 1, np.int64)
    first[same[::-1]] = np.arange(len(same))[::-1]
    values = potential.values[same]
    tree = potential.tree._replace(order=first[potential.tree.order])
    return replace(merged, owner=owner, potential=replace(potential, tree=tree, values=values))


def _frame(points: Floats, places: Indices, reference: Floats) -> Frame:
    mass = places / places.sum()
    mean, other_mean = np.einsum("n,nd->d", mass, points), reference.mean(axis=0)
    x, y = points - mean, reference - other_mean
    first = np.einsum("n,nd,ne->de", mass, x, x)
    second = np.einsum("nd,ne->de", y, y) / len(y)
    size = float(np.trace(first) + np.trace(second)) / len(mean) or 1.0
    first, second = first / size + DEGENERATE * np.eye(len(mean)), second / size + DEGENERATE * np.eye(len(mean))
    # The map between Gaussians of these covariances (Gelbrich) is A = B (B second B)^... ; S is its square root.
    root = _function(first, np.sqrt)
    inverse = _function(first, lambda e: e**-0.5)
    map_ = inverse @ _function(root @ second @ root, np.sqrt) @ inverse
    return Frame(_function(map_, np.sqrt), _function(map_, lambda e: e**-0.5), mean, other_mean)


def _function(matrix: Floats, function: Callable[[Floats], Floats]) -> Floats:
    """Apply a function to a symmetric positive matrix."""
    values, vectors = np.linalg.eigh(0.5 * (matrix + matrix.T))
    return np.asarray((vectors * function(values)) @ vectors.T)


def _solve(tree: Tree, places: Indices, reference: Floats, cost: Cost) -> Market:
    """Optimal assignment; places in tree order, reference sorted along the tree."""
    phi, eps, mean = _coarse(tree, places, reference, cost)
    # Both matter: neighbours may differ by far less than the mean (clouds far apart, supports of lower dimension).
    last = max(FINE_EPS * min(mean, _scale(tree, reference, phi)), LEAST_EPS * _largest(tree, reference, cost))
    state = market(tree, len(reference), phi, places)
    for _ in range(ATTEMPTS):
        auction(tree, reference, state, max(eps, last), last)
        closed = finish(tree, reference, state)
        if closed is not None:
            return closed
        eps, last = last, 0.1 * last
    raise UncertifiedError("transport solve not certified: particles remain that no list of candidates reaches")


def _price(
    tree: Tree, reference: Floats, state: Market, held: NDArray[np.int32], paid: Floats
) -> tuple[Floats, Floats, float]:
    """Potentials with their transforms and gap: centred ones, or those of the paths where lists are too short."""
    for inner in (centred(state), state.phi):
        psi, _ = trees.nearest(tree, reference, inner, held)
        slack = paid - inner[held] - psi
        gap = float(np.mean(np.maximum(slack, 0.0)))
        if gap <= 1e-13 * float(np.mean(paid)):
            break
    return inner, psi, gap


def _largest(tree: Tree, reference: Floats, cost: Cost) -> float:
    """Bound on all costs, > 0."""
    extent = np.ptp(np.concatenate([tree.points.T, reference]), axis=0)
    return float(max(np.sum(extent**2) ** (0.5 * cost.p), 1e-290))


def _coarse(tree: Tree, places: Indices, reference: Floats, cost: Cost) -> tuple[Floats, float, float]:
    """Potentials (N,) in tree order from clusters of both sides, the eps to go on with, and the mean cost."""
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
    scale = max(_scale(tree, reference, phi), np.finfo(float).tiny if mean == np.inf else 1e-12 * mean)
    last = COARSE_EPS * min(scale, mean) * min(1.0, 4 * len(centres) / len(reference))
    state = market(tree, len(reference), phi, share)
    last = max(last, LEAST_EPS * _largest(tree, reference, cost))
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


def _scale(tree: Tree, reference: Floats, phi: Floats) -> float:
    """Median over reference points of how much worse than the best the fourth particle is."""
    _, values = trees.several(tree, _some(reference), phi, min(4, len(phi)))
    return float(np.median(values[:, -1] - values[:, 0]))


def _some(reference: Floats) -> Floats:
    """Enough points to tell a scale."""
    return np.ascontiguousarray(reference[:: max(1, len(reference) // SOME)])
