"""In which order, and in how large pieces, many tracers are pushed: no number depends on it, the time does."""

from __future__ import annotations

import numpy as np

from mfstudy.ensemble import Floats, Indices

#: Most tracers of a piece, by dimension: what is moved stays in the cache. Not in d = 3, where the choice of the
#: transform depends on the number of points, and with it the last bits.
PIECE = {1: 2**16, 2: 2**16}
#: Cells of each axis in whose order points are taken: neighbours read the same part of the transforms' grid.
_CELLS = 16


def pieces(positions: Floats) -> list[Indices]:
    """Return the indices of points (m, d) in pieces, neighbours together; one piece, in order, where they are few."""
    count, d = positions.shape
    if count <= min(PIECE.values()):
        return [np.arange(count)]
    low, high = positions.min(axis=0), positions.max(axis=0)
    cells = ((positions - low) / np.where(high > low, high - low, 1.0) * _CELLS).astype(np.int64)
    order = np.lexsort(cells.T)
    most = PIECE.get(d, int(count))
    return [order[first : first + most] for first in range(0, count, most)]
