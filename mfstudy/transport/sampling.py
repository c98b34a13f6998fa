"""Reference samples that are spread more evenly than independent ones, and still have the law as expectation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mfstudy.ensemble import Floats

OVERSAMPLING = 8  # independent draws for each point that is kept

Sampler = Callable[[np.random.Generator, int], Floats]


def spread(draw: Sampler, rng: np.random.Generator, count: int) -> Floats:
    """Draw ``count`` points: one at random from each cell of a kd-tree of eight times as many independent draws.

    Parameters
    ----------
    draw : callable
        ``draw(rng, m)`` returns (m, D) points of the law.
    rng : numpy.random.Generator
    count : int

    Returns
    -------
    (count, D) array
        In the order of the tree: neighbours in the array are neighbours in space.

    Notes
    -----
    All cells hold equally many draws, so that given these the expectation of the empirical measure of what is kept
    is their empirical measure, and its expectation the law. This is all that both bounds of the bracket need
    (Jensen's inequality above, a sample that the weights do not know below); the noise between distant places
    falls by the oversampling, and that within cells is local.
    """
    from mfstudy.transport import engine  # a third of a second that reading a store does not need

    draws = draw(rng, OVERSAMPLING * count)
    kept = np.empty(count, np.int64)
    rows = np.array(draws, order="C")
    engine.cells(rows, np.arange(len(rows)), OVERSAMPLING, rng.integers(OVERSAMPLING, size=count), kept)
    return np.asarray(draws[kept])


def neighbours(points: Floats) -> NDArray[np.int64]:
    """Return an order of points (M, D) in which each pair 2j, 2j + 1 is close together."""
    from mfstudy.transport import engine

    rows, order = np.array(points, order="C"), np.arange(len(points))
    cells = len(points) // 2
    if cells:
        engine.cells(rows, order, 2, np.zeros(cells, np.int64), np.empty(cells, np.int64))
    return order
