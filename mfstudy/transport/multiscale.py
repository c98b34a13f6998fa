"""Transport between particles with places and reference points of equal mass, coarse to fine, closed exactly."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mfstudy.ensemble import Floats, Indices
from mfstudy.transport import tree as trees
from mfstudy.transport.auction import Market, auction, market
from mfstudy.transport.bracket import UncertifiedError
from mfstudy.transport.cost import Cost
from mfstudy.transport.frame import Frame, frame
from mfstudy.transport.levels import LEAST_EPS, coarse, largest, local_scale
from mfstudy.transport.paths import centred, finish
from mfstudy.transport.tree import Tree

FINE_EPS = 0.003  # last eps of all, of the mean cost or the local scale
ATTEMPTS = 4  # to close a problem exactly, each with a tenth of the eps
CERTIFICATE = 1e-9  # largest relative residual that still counts as solved
FLOOR = 1e-5  # part of the largest cost below which double precision cannot certify a cost to 1e-9


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
    common = frame(points, places, reference) if cost.p == 2 and cost.periods is None else None
    x, more = (points, np.zeros(len(points))) if common is None else common.points(points)
    y, y_more = (reference, 0.0) if common is None else common.reference(reference)
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
    return Assignment(value, owner, Potential(tree, inner, common, phi + more), at + y_more, gap, residual)


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


def _solve(tree: Tree, places: Indices, reference: Floats, cost: Cost) -> Market:
    """Optimal assignment; places in tree order, reference sorted along the tree."""
    phi, eps, mean = coarse(tree, places, reference, cost)
    # Both matter: neighbours may differ by far less than the mean (clouds far apart, supports of lower dimension).
    last = max(FINE_EPS * min(mean, local_scale(tree, reference, phi)), LEAST_EPS * largest(tree, reference, cost))
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
