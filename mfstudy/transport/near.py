"""Who is near whom: columns in a tree, and lists of the nearest of each row where these are short."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from mfstudy.ensemble import Floats

Indices = NDArray[np.int32]

LEAF = 8  # most columns in a leaf of the tree
LISTED = 64  # most columns in the lists, per row: 4 to 5 times faster to go through than the tree, 12 bytes each
REACH = np.array([1.02, 1.05, 1.1, 1.2, 1.3])  # of the lists, beyond the radius asked for
DEPTH = 128  # of the stack of nodes: one more for each of the at most 31 levels
PART = 1 << 20  # edges sorted at once
SLACK = 1e-9  # relative round-off allowed to SciPy's trees, whose lengths are not the ones compared


class Lists(NamedTuple):
    """All edges between rows y and columns x up to a length.

    Parameters
    ----------
    limit : float
        Squared length up to which they are listed.
    start : (M + 1,) array of int64
        The list of row y is ``start[y]`` to ``start[y + 1]``, sorted by length.
    near, square : (E,) arrays of int32 and float
        Columns and squared lengths.
    place : (M,) array of int64
        Where the search is in each list.
    """

    limit: float
    start: NDArray[np.int64]
    near: Indices
    square: Floats
    place: NDArray[np.int64]


class Tree(NamedTuple):
    """Rows y and a tree over columns x that forgets columns: an edge for each pair, none of them stored.

    Parameters
    ----------
    row, column : (M, D), (N, D) arrays
        Points; the columns in an order in which neighbours in the array are neighbours in space.
    box : (D,) array
        Period of each axis, 0 = none; points are inside [0, period).
    low, high : (2P, D) arrays
        Corners of the boxes of a binary tree: root 1, children 2n and 2n + 1, leaves P to 2P - 1; 0 is not used.
    first : (2P + 1,) array of int32
        Columns of leaf n are ``first[n]`` to ``first[n + 1]``.
    leaf : (N,) array of int32
        Leaf of each column.
    seen, tally, done : (2P,) arrays of int32
        The last search that reached a column of a leaf, how many it has reached, the last that reached all of a node.
    stack : (128,) array of int32
        Nodes to visit.
    """

    row: Floats
    column: Floats
    box: Floats
    low: Floats
    high: Floats
    first: Indices
    leaf: Indices
    seen: Indices
    tally: Indices
    done: Indices
    stack: Indices


def squares(a: Floats, b: Floats, box: Floats | None) -> Floats:
    """Return the squared distances (n,) between the points of two (n, D) arrays, the shorter way round."""
    total = np.zeros(len(a))
    for axis in range(a.shape[1]):
        difference = np.abs(a[:, axis] - b[:, axis])
        if box is not None and box[axis] > 0:
            difference = np.minimum(difference, box[axis] - difference)
        total += difference * difference
    return total


def lists(row: Floats, column: Floats, box: Floats | None, radius: float) -> Lists | None:
    """Return the edges between two clouds up to somewhat beyond a radius, or None if they are too many or it is 0."""
    if radius == 0:
        return None
    tree = cKDTree(column, boxsize=box)
    counts = cKDTree(row, boxsize=box).count_neighbors(tree, radius * REACH)
    fits = counts <= min(2 * counts[0], LISTED * len(row))
    if not fits.any():
        return None
    reach, step = radius * REACH[fits][-1], max(1, len(row) * PART // max(int(counts[fits][-1]), 1))
    parts = [_part(row[first : first + step], column, box, tree, reach) for first in range(0, len(row), step)]
    degrees, near, square = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    start = np.concatenate([[0], np.cumsum(degrees)])
    return Lists(reach * reach, start, near, square, np.empty(len(row), np.int64))


def tree(row: Floats, column: Floats, box: Floats | None) -> Tree:
    """Return the edges between two clouds, each in the order of a kd-tree of balanced halves."""
    bounds, levels = np.array([0, len(column)]), []
    while True:
        levels.append([ends.reduceat(column, bounds[:-1]) for ends in (np.minimum, np.maximum)])
        if np.diff(bounds).max() <= LEAF:
            break
        bounds = np.insert(bounds, np.arange(1, len(bounds)), (bounds[:-1] + bounds[1:]) // 2)
    low, high = (np.concatenate([part[0][:1], *part]) for part in zip(*levels, strict=True))
    leaves = len(bounds) - 1
    first = np.concatenate([np.zeros(leaves, np.int64), bounds]).astype(np.int32)
    leaf = np.repeat(np.arange(leaves, 2 * leaves, dtype=np.int32), np.diff(bounds))
    counters = (np.zeros(size, np.int32) for size in (2 * leaves, 2 * leaves, 2 * leaves, DEPTH))
    return Tree(row, column, np.zeros(column.shape[1]) if box is None else box, low, high, first, leaf, *counters)


def _part(
    row: Floats, column: Floats, box: Floats | None, tree: cKDTree, reach: float
) -> tuple[NDArray[np.int64], Indices, Floats]:
    """Return how many edges within reach each of some rows has, their columns and squares, sorted in each row."""
    found = cKDTree(row, boxsize=box).sparse_distance_matrix(tree, reach * (1 + SLACK), output_type="ndarray")
    square = squares(row[found["i"]], column[found["j"]], box)
    order = np.lexsort((square, found["i"]))
    order = order[square[order] <= reach * reach]
    degrees = np.bincount(found["i"][order], minlength=len(row))
    return degrees, found["j"][order].astype(np.int32), square[order]
