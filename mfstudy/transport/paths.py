"""The exact end of a transport problem: shortest augmenting paths from an assignment that is nearly optimal."""

from __future__ import annotations

import numpy as np

from mfstudy.ensemble import Floats
from mfstudy.transport import engine
from mfstudy.transport.auction import Market
from mfstudy.transport.tree import Tree, several

ROUNDS = 40  # of paths and of searches for particles that the lists lack
ROOM = 1 << 25  # entries of lists at most, when they are made longer


def finish(tree: Tree, points: Floats, state: Market) -> Market | None:
    """Make the assignment optimal among all particles, in the memory of the state.

    Every reference point moves to its best particle; those with too many points then send the surplus along paths of
    least reduced cost (Jonker and Volgenant, Computing 38, 1987, for places in numbers). Prices only rise, so
    that the bounds of the lists hold; where they do not suffice, the tree is searched and paths are sought again.

    Parameters
    ----------
    tree : Tree
    points : (M, D) array
    state : Market
        As an auction leaves it.

    Returns
    -------
    Market or None
        The optimum, perhaps with longer lists; None where no path along the lists leads to a free place, or they do
        not become complete: the potentials are then too far from the optimal ones.
    """
    for _ in range(ROUNDS):
        engine.choose(tree, points, state, True)
        if not engine.augment(state):
            longer = _longer(tree, points, state)
            if longer is None:
                return None
            state = longer
            continue
        if engine.complete(state):
            return state
    return None


def _longer(tree: Tree, points: Floats, state: Market) -> Market | None:
    """Return the state with lists of twice the length: where many costs tie, short ones miss paths. None = no room."""
    size = min(2 * state.candidates.shape[1], len(state.phi))
    if size == state.candidates.shape[1] or size * len(points) > ROOM:
        return None
    rows = np.arange(len(points))
    held, paid = state.candidates[rows, state.owner], state.costs[rows, state.owner]
    candidates, values = several(tree, points, state.phi, size)
    costs = values + state.phi[candidates]
    beyond = values[:, -1].copy() if size < len(state.phi) else np.full(len(points), engine.FAR)
    match = candidates == held[:, None]
    owner = np.where(match.any(axis=1), match.argmax(axis=1), size - 1).astype(np.int32)
    candidates[rows, owner], costs[rows, owner] = held, paid  # a list that lacks it gives its last entry
    return state._replace(candidates=candidates, costs=costs, beyond=beyond, owner=owner)


def centred(state: Market) -> Floats:
    """Return potentials (N,) in the middle of those that are optimal: these are not unique.

    A shift s of the potentials keeps the optimum iff s_j - s_i <= w for every point that particle i serves and that
    would pay w more at j. Replacing all s at once by the middles of [max_j s_j - w_ij, min_j s_j + w_ji] keeps
    that: the two halves of the bound add to 2 w.
    """
    return np.asarray(state.phi + engine.centre(state.candidates, state.costs, state.owner, state.phi))
