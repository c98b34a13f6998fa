"""An auction for transport between particles with whole numbers of places and reference points of one unit each.

Reference points bid for places; prices -phi only rise. A reference point keeps a short list of particles and a bound
below which no other particle can come: as prices rise, the bound holds for ever, and the tree is searched only when
the best of the list exceeds it. The assignment is therefore eps-optimal among all particles, and it fills every place
exactly (Bertsekas, Annals of Operations Research 14, 1988, 105-123: the auction and the scaling of eps).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfstudy.ensemble import Floats, Indices
from mfstudy.transport import engine
from mfstudy.transport.bracket import UncertifiedError
from mfstudy.transport.engine import FAR
from mfstudy.transport.tree import Tree, build, highest, several

LIST = 12  # particles in a list; between 6 and 24 the time changes by less than half
STEP = 5.0  # from one eps to the next
BIDS = 4.0  # for each reference point in a phase; more are a price war, and eps is raised
GAIN = 0.2  # part of the bidders left after a price war that still counts as a gain
FEW, FEW_PART = 100, 0.004  # reference points, and part of them, that are placed along paths
PHASES = 200  # most phases before an auction is given up

Index32 = NDArray[np.int32]


class Market(NamedTuple):
    """What an auction knows; M reference points, N particles in tree order.

    Parameters
    ----------
    candidates, costs : (M, K) arrays
        Lists of particles and the costs to them.
    beyond : (M,) array
        No particle outside the list has c - phi below it.
    first : (N + 1,) array
        Places of particle i are ``first[i]`` to ``first[i + 1] - 1``.
    prices, holders : (M,) arrays
        Of each place, a heap for each particle with the cheapest place first; -1 = free.
    owner : (M,) array
        Entry of its list that a reference point holds a place of, -1 = none.
    phi : (N,) array
        Minus the price of the cheapest place.
    top : (nodes,) array
        At least the largest phi of each node.
    """

    candidates: Index32
    costs: Floats
    beyond: Floats
    first: Indices
    prices: Floats
    holders: Index32
    owner: Index32
    phi: Floats
    top: Floats


def market(tree: Tree, count: int, phi: Floats, places: Indices) -> Market:
    """Return an auction before its first bid.

    Parameters
    ----------
    tree : Tree
    count : int
        Number M of reference points, the sum of ``places``.
    phi : (N,) array
        Initial potentials, in tree order.
    places : (N,) array
        Of each particle, in tree order.
    """
    size = min(LIST, len(phi))
    first = np.zeros(len(phi) + 1, np.int64)
    np.cumsum(places, out=first[1:])
    phi = phi.copy()
    return Market(
        np.zeros((count, size), np.int32),
        np.zeros((count, size)),
        np.full(count, -FAR),
        first,
        np.empty(count),
        np.empty(count, np.int32),
        np.full(count, -1, np.int32),
        phi,
        highest(tree, phi),
    )


def auction(tree: Tree, points: Floats, state: Market, start: float, end: float) -> None:
    """Assign all reference points, nearly eps-optimally for eps = ``end``; the state is changed in place.

    Parameters
    ----------
    tree : Tree
    points : (M, D) array
        Reference points, best sorted along the tree.
    state : Market
    start, end : float
        First and last eps, in units of cost, > 0.

    Raises
    ------
    UncertifiedError
        If the auction does not end.

    Notes
    -----
    A phase of too many bids is a price war. Where it still gains ground, it goes on; where a few reference points
    remain that would have to raise all prices, they are placed along shortest paths instead. Else eps is raised,
    prices and places are kept (they are then optimal to the larger eps all the more), and the scaling descends again,
    more slowly and more patiently after each war.
    """
    eps, step, budget, descended = max(start, end), STEP, BIDS, False
    queue = np.empty(len(points), np.int32)
    few = min(FEW, FEW_PART * len(points))
    rest, patience, wars = -1, 0.0, 0
    for _ in range(PHASES):
        if rest < 0:
            rest = engine.reopen(state, eps, queue)
            patience = 4 * budget if descended else budget
        before = rest
        rest = engine.bid(tree, points, state, eps, queue, rest, int(patience * len(points)) + 1)
        if 0 < rest <= few:
            rest = 0 if _placed(tree, points, state) else -1
        elif 0 < rest < GAIN * before:
            continue
        if rest != 0:
            wars += 1
            eps *= step ** min(wars, 2)
            patience += budget / 2
            if descended:
                step, budget = max(2.0, step**0.7), 1.5 * budget
            continue
        if eps <= end:
            return
        eps, rest, wars, descended = max(eps / step, end), -1, 0, True
    raise UncertifiedError(f"transport solve not certified: the auction did not end in {PHASES} phases")


def _placed(tree: Tree, points: Floats, state: Market) -> bool:
    """Send the last reference points to free places along shortest paths; return whether all of them got there."""
    held = np.flatnonzero(state.owner >= 0)
    served = np.bincount(state.candidates[held, state.owner[held]], minlength=len(state.phi))
    engine.choose(tree, points, state, False)
    _offer(tree, points, state, np.flatnonzero(served < np.diff(state.first)))
    return bool(engine.augment(state))


def _offer(tree: Tree, points: Floats, state: Market, free: Indices) -> None:
    """Put particles that no list may hold into the lists of the reference points that would come to them first."""
    candidates, costs, beyond, owner = state.candidates, state.costs, state.beyond, state.owner
    psi = np.full(len(points), FAR)
    for q in range(candidates.shape[1]):  # a column at a time: the whole would be the largest array of all
        np.minimum(psi, costs[:, q] - state.phi[candidates[:, q]], out=psi)
    other = build(points, tree)
    first, _ = several(other, np.ascontiguousarray(tree.points.T[free]), psi[other.order], min(LIST, len(points)))
    for i, nearest in zip(free, other.order[first], strict=True):
        for m in nearest:
            if i in candidates[m]:
                continue
            values = costs[m] - state.phi[candidates[m]]
            values[owner[m]] = -FAR  # what it holds stays
            worst = int(np.argmax(values))
            beyond[m] = min(beyond[m], values[worst])
            candidates[m, worst] = i
            costs[m, worst] = engine.pair_cost(tree.points, i, points[m], tree.periods, tree.split, tree.p)
