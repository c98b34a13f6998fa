"""Matchings of smallest largest edge: augmenting paths that raise the radius only where Hall's condition forces it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numba
import numpy as np
from numpy.typing import NDArray

from mfstudy.transport import augmenting
from mfstudy.transport.augmenting import OPTIONS, Matching, Work
from mfstudy.transport.near import Indices, Lists, Tree


def empty(rows: int, columns: int) -> Matching:
    """Return the matching without edges; ``columns`` divides ``rows``."""
    return Matching(
        np.full(rows, -1, np.int32), np.zeros(columns, np.int32), np.full((columns, rows // columns), -1, np.int32)
    )


def without(matching: Matching, rows: NDArray[np.bool_]) -> Matching:
    """Return the matching, in its own memory, without the edges of some of the rows (M,)."""
    mate = np.where(rows, -1, matching.mate).astype(np.int32)
    load = np.bincount(mate[~rows], minlength=len(matching.load)).astype(np.int32)
    order = np.argsort(mate, kind="stable")[np.count_nonzero(rows) :]
    place = np.arange(len(order)) - np.repeat(np.cumsum(load) - load, load)
    member = np.full_like(matching.member, -1)
    member[mate[order], place] = order
    return Matching(mate, load, member)


def extend(
    lists: Lists | None, tree: Tree | None, matching: Matching, square: float, raising: bool
) -> tuple[Indices, float]:
    """Complete a matching in place, by edges no longer than a radius.

    Parameters
    ----------
    lists : Lists or None
        Edges, where they are few.
    tree : Tree or None
        Edges otherwise: one of the two is None.
    matching : Matching
        With edges no longer than the radius.
    square : float
        Square of the radius; with ``raising``, a lower bound of that of every complete matching.
    raising : bool
        Raise the radius where no matching within it is complete, and stop only where the lists end; in a complete
        matching the longest edge is then the smallest possible. Else stop at once.

    Returns
    -------
    reached : (S,) array of int32
        Empty if the matching is complete. Else rows with too few columns within the radius to hold them.
    square : float
        The input, raised as far as needed; where that is beyond the lists, as far as they go.

    Notes
    -----
    A search from a free row reaches rows S and columns N(S) along alternating paths. Without a free column among
    them, k |N(S)| = |S| - 1: by Hall's theorem no matching within the radius is complete, so the bound rises to the
    shortest edge from S to another column, and the search goes on from there (the threshold method for bottleneck
    assignments; Burkard, Dell'Amico, Martello, Assignment Problems, SIAM 2009, section 6.2). Hence the radius never
    exceeds the answer, and no matching is computed twice. Where a radius holds many edges, they are
    found in a tree that forgets what a search has reached (Efrat, Itai, Katz, Algorithmica 31, 2001), so memory is
    O(N + M) and a search looks at each point a few times.
    """
    rows, columns = len(matching.mate), len(matching.load)
    work = Work(*(np.zeros(size, np.int32) for size in (rows, rows, columns, columns)))
    if tree is not None:
        for reached in (tree.seen, tree.done):
            reached[:] = 0
    try:
        return _compiled(True)(lists, tree, matching, work, square, raising)
    except OSError:  # the disk of the cache filled up, or went away
        return _compiled(False)(lists, tree, matching, work, square, raising)


@cache
def _compiled(cached: bool) -> Callable[..., tuple[Indices, float]]:
    """Return the compiled loops, kept on disk between processes where a directory for them can be written."""
    try:
        compiled: Callable[..., tuple[Indices, float]] = numba.njit(cache=cached, **OPTIONS)(augmenting.extend)
    except RuntimeError:  # "cannot cache function": read-only installation and home
        compiled = numba.njit(**OPTIONS)(augmenting.extend)
    return compiled
