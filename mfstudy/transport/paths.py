"""The exact end of a transport problem: shortest augmenting paths from an assignment that is nearly optimal."""

from __future__ import annotations

import numpy as np

from mfstudy.ensemble import Floats
from mfstudy.transport import engine
from mfstudy.transport.auction import Market
from mfstudy.transport.tree import Tree

ROUNDS = 40  # of paths and of searches for particles that the lists lack


def finish(tree: Tree, points: Floats, state: Market) -> bool:
    """Make the assignment optimal among all particles; the state is changed in place.

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
    bool
        False where no path along the lists leads to a free place, or they do not become complete: the potentials
        are then too far from the optimal ones.
    """
    for _ in range(ROUNDS):
        engine.choose(tree, points, state)
        if not engine.augment(state):
            return False
        if engine.complete(state):
            return True
    return False


def centred(state: Market) -> Floats:
    """Return potentials (N,) in the middle of those that are optimal: these are not unique.

    A shift s of the potentials keeps the optimum iff s_j - s_i <= w for every point that particle i serves and that
    would pay w more at j. Replacing all s at once by the middles of [max_j s_j - w_ij, min_j s_j + w_ji] keeps
    that: the two halves of the bound add to 2 w.
    """
    return np.asarray(state.phi + engine.centre(state.candidates, state.costs, state.owner, state.phi))
