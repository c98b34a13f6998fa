"""A kd-tree over particles that tells which of them have the least cost c(x_i, y) - phi_i."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfstudy.ensemble import Floats, Indices
from mfstudy.transport import engine
from mfstudy.transport.cost import Cost


class Tree(NamedTuple):
    """A balanced kd-tree in heap order: node n has children 2n + 1 and 2n + 2.

    Parameters
    ----------
    points : (D, N) array
        Coordinates in tree order.
    order : (N,) array
        Tree order: column j of ``points`` is point ``order[j]`` of what the tree was built from.
    start : (nodes + 1,) array
        Node n holds the columns ``start[n]`` to ``end[n] - 1``.
    end : (nodes,) array
    low, high : (nodes, D) arrays
        Bounding boxes.
    axis, cut : (nodes,) arrays
        Where an inner node is split.
    leaves : int
        Index of the first leaf.
    periods : (D,) array
        0 along an axis that is not periodic.
    p : float
    split : int
        Axes of the first block of the cost; D where it has one block.
    """

    points: Floats
    order: Indices
    start: Indices
    end: Indices
    low: Floats
    high: Floats
    axis: Indices
    cut: Floats
    leaves: int
    periods: Floats
    p: float
    split: int


def build(points: Floats, cost: Cost | Tree, leaf: int = engine.LEAF) -> Tree:
    """Build the tree of points (N, D), wrapped into [0, period) along periodic axes.

    Parameters
    ----------
    points : (N, D) array
    cost : Cost or Tree
        A tree has the periods and the order of its cost.
    leaf : int, optional
        Most points of a leaf.
    """
    count, dimension = points.shape
    levels = max(0, int(np.ceil(np.log2(max(1.0, count / leaf)))))
    nodes, leaves = 2 ** (levels + 1) - 1, 2**levels - 1
    rows, order = np.array(points, order="C"), np.arange(count)
    start, end = np.zeros(nodes, np.int64), np.zeros(nodes, np.int64)
    axis, cut = np.zeros(max(leaves, 1), np.int64), np.zeros(max(leaves, 1))
    end[0] = count
    engine.split_nodes(rows, order, start, end, axis, cut)
    low, high = np.empty((nodes, dimension)), np.empty((nodes, dimension))
    engine.bound(rows, start, end, leaves, low, high)
    if isinstance(cost, Tree):
        periods, split = cost.periods, cost.split
    else:
        periods = np.array([length or 0.0 for length in cost.periods or (None,) * dimension])
        split = dimension if len(cost.blocks(dimension)) == 1 else cost.split
    columns = np.ascontiguousarray(rows.T)
    return Tree(columns, order, start, end, low, high, axis, cut, leaves, periods, float(cost.p), split)


def highest(tree: Tree, phi: Floats) -> Floats:
    """Return the largest phi of each node, for `search`; phi (N,) in tree order."""
    top = np.empty(len(tree.start))
    engine.highest(phi, tree.start, tree.end, tree.leaves, top)
    return top


def sort(tree: Tree, points: Floats) -> Indices:
    """Return an order of points (M, D) in which neighbours search the same leaves."""
    leaf = np.empty(len(points), np.int64)
    engine.leaf_of(points, tree.axis, tree.cut, tree.leaves, leaf)
    return np.argsort(leaf, kind="stable")


def nearest(tree: Tree, points: Floats, phi: Floats, guess: NDArray[np.int32] | None = None) -> tuple[Floats, Indices]:
    """Return psi(y) = min_i c(x_i, y) - phi_i and the i that has it, for each y.

    Parameters
    ----------
    tree : Tree
    points : (M, D) array
    phi : (N,) array
        In tree order.
    guess : (M,) array, optional
        Particles, in tree order, that may be near the minimum: they shorten the search.

    Returns
    -------
    values : (M,) array
    index : (M,) array
        In tree order.
    """
    values, index = np.empty(len(points)), np.empty(len(points), np.int64)
    start = np.full(len(points), -1, np.int32) if guess is None else guess
    engine.nearest(tree, np.ascontiguousarray(points), phi, highest(tree, phi), start, values, index)
    return values, index


def several(tree: Tree, points: Floats, phi: Floats, count: int) -> tuple[NDArray[np.int32], Floats]:
    """Return the ``count`` particles of least c(x_i, y) - phi_i for each y, best first, and these values.

    Returns
    -------
    index : (M, count) array
        In tree order.
    values : (M, count) array
    """
    index, values = np.empty((len(points), count), np.int32), np.empty((len(points), count))
    engine.several(tree, np.ascontiguousarray(points), phi, highest(tree, phi), index, values)
    return index, values
