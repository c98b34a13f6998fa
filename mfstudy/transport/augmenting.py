"""Augmenting paths: the loops that numba compiles. In one file, as its cache is renewed with this file only."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, NamedTuple

import numba
import numpy as np

from mfstudy.transport.near import Indices, Lists, Tree

#: Without the first every division is checked; matchings take seconds, in which a worker must say that it lives.
OPTIONS: dict[str, Any] = {"error_model": "numpy", "nogil": True}
AHEAD = 1.2  # squared length, relative to the radius, up to which a blocked row looks for its next column


class Matching(NamedTuple):
    """A matching of rows to columns of capacity k, changed in place.

    Parameters
    ----------
    mate : (M,) array of int32
        Column of each row, -1 where it is free.
    load : (N,) array of int32
        Rows matched to each column, <= k.
    member : (N, k) array of int32
        These rows, in the first ``load[x]`` places.
    """

    mate: Indices
    load: Indices
    member: Indices


class Work(NamedTuple):
    """What a search remembers."""

    queue: Indices  # (M,) rows reached, in this order
    root: Indices  # (M,) the free rows from which they were reached, where there are several
    parent: Indices  # (N,) row from which a column was reached
    mark: Indices  # (N,) the last search that reached a column


def _kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a part of `extend`, kept on disk with it: inlined, as a call that passes twenty arrays costs 40 %."""
    compiled: Callable[..., Any] = numba.njit(forceinline=True, **OPTIONS)(function)
    return compiled


@_kernel
def _nearest_free(
    stamp: int, lists: Lists | None, tree: Tree | None, matching: Matching, work: Work, square: float
) -> None:
    """Match each free row, in order, to the nearest column within the radius that has a place."""
    capacity = matching.member.shape[1]
    for column in range(len(matching.load)):
        if matching.load[column] == capacity:
            _reach(column, stamp, tree, work)
    for row in range(len(matching.mate)):
        if matching.mate[row] < 0:
            _start(row, lists)
            column, _ = _nearest(row, stamp, lists, tree, work, square)
            if column >= 0:
                matching.mate[row] = column
                matching.member[column, matching.load[column]] = row
                matching.load[column] += 1
                if matching.load[column] == capacity:
                    _reach(column, stamp, tree, work)


@_kernel
def _forest(stamp: int, lists: Lists | None, tree: Tree | None, matching: Matching, work: Work, square: float) -> int:
    """Search from all free rows at once, one path for each tree at most; return how many were found."""
    head, tail, found = 0, 0, 0
    for row in range(len(matching.mate)):
        if matching.mate[row] < 0:
            work.queue[tail], work.root[row] = row, row
            _start(row, lists)
            tail += 1
    while head < tail:
        row, start = work.queue[head], tail
        root = work.root[row]
        head += 1
        if matching.mate[root] < 0:
            end, tail = _scan(row, stamp, lists, tree, matching, work, square, tail)
            for place in range(start, tail):
                work.root[work.queue[place]] = root
            if end >= 0:
                _augment(root, end, matching, work.parent)
                found += 1
    return found


@_kernel
def _search(
    source: int,
    stamp: int,
    lists: Lists | None,
    tree: Tree | None,
    matching: Matching,
    work: Work,
    square: float,
    raising: bool,
) -> tuple[int, int, float]:
    """Return the free column that ends a shortest alternating path (-1 = none), the rows reached and the radius."""
    work.queue[0] = source
    _start(source, lists)
    head, tail, waiting = 0, 1, 0
    # Rows by a lower bound of their shortest edge out, with its column if it is exact; an element shows the type.
    heap = [(0.0, 0, 0)]
    heap.clear()
    while True:
        while head < tail:
            end, tail = _scan(work.queue[head], stamp, lists, tree, matching, work, square, tail)
            head += 1
            if end >= 0:
                return end, tail, square
        if not raising:
            return -1, tail, square
        for place in range(waiting, tail):  # only now: most searches never come here
            _wait(work.queue[place], square, stamp, lists, tree, work, heap)
        waiting = tail
        bound, column, row = heappop(heap)
        while column < 0 or work.mark[column] == stamp:
            if lists is not None:  # noqa: SIM102 - numba leaves out what is under a bare test for None
                if bound >= lists.limit:
                    return -1, tail, bound
            _wait(row, bound, stamp, lists, tree, work, heap)
            bound, column, row = heappop(heap)
        square = max(square, bound)
        end, tail = _scan(row, stamp, lists, tree, matching, work, square, tail)
        if end >= 0:
            return end, tail, square
        _wait(row, square, stamp, lists, tree, work, heap)


@_kernel
def _wait(
    row: int,
    bound: float,
    stamp: int,
    lists: Lists | None,
    tree: Tree | None,
    work: Work,
    heap: list[Any],
) -> None:
    """Put a row on the heap with its shortest edge to a column not reached, or with how far there is none."""
    limit = AHEAD * bound if bound > 0 else np.inf
    column, length = _nearest(row, stamp, lists, tree, work, limit)
    heappush(heap, (length, np.int64(column), np.int64(row)))


@_kernel
def _scan(
    row: int,
    stamp: int,
    lists: Lists | None,
    tree: Tree | None,
    matching: Matching,
    work: Work,
    square: float,
    tail: int,
) -> tuple[int, int]:
    """Reach the columns within the radius of a row; return a free one (-1 = none) and the end of the queue."""
    end = -1
    if lists is not None:
        end, tail = _scan_list(row, stamp, lists, matching, work, square, tail)
    if tree is not None:
        end, tail = _scan_tree(row, stamp, tree, matching, work, square, tail)
    return end, tail


@_kernel
def _scan_list(
    row: int, stamp: int, lists: Lists, matching: Matching, work: Work, square: float, tail: int
) -> tuple[int, int]:
    edge, last = lists.place[row], lists.start[row + 1]
    while edge < last and lists.square[edge] <= square:
        column = lists.near[edge]
        edge += 1
        if work.mark[column] != stamp:
            free, tail = _visit(column, row, stamp, lists, None, matching, work, tail)
            if free:
                return column, tail
    lists.place[row] = edge
    return -1, tail


@_kernel
def _scan_tree(
    row: int, stamp: int, tree: Tree, matching: Matching, work: Work, square: float, tail: int
) -> tuple[int, int]:
    leaves = len(tree.low) // 2
    tree.stack[0] = 1
    top = 1
    while top > 0:
        top -= 1
        node = tree.stack[top]
        if tree.done[node] == stamp or _gap(row, node, tree) > square:
            continue
        if node < leaves:
            tree.stack[top], tree.stack[top + 1] = 2 * node, 2 * node + 1
            top += 2
            continue
        for column in range(tree.first[node], tree.first[node + 1]):
            if work.mark[column] != stamp and _square(row, column, tree) <= square:
                free, tail = _visit(column, row, stamp, None, tree, matching, work, tail)
                if free:
                    return column, tail
    return -1, tail


@_kernel
def _nearest(
    row: int, stamp: int, lists: Lists | None, tree: Tree | None, work: Work, limit: float
) -> tuple[int, float]:
    """Return the nearest column not reached and its squared distance, or -1 and how far there is none."""
    column, length = -1, limit
    if lists is not None:
        column, length = _nearest_listed(row, stamp, lists, work, limit)
    if tree is not None:
        column, length = _nearest_in_tree(row, stamp, tree, work, limit)
    return column, length


@_kernel
def _nearest_listed(row: int, stamp: int, lists: Lists, work: Work, limit: float) -> tuple[int, float]:
    edge, last = lists.place[row], lists.start[row + 1]
    while edge < last and work.mark[lists.near[edge]] == stamp:
        edge += 1
    lists.place[row] = edge
    if edge < last and lists.square[edge] <= limit:
        return lists.near[edge], lists.square[edge]
    return -1, min(limit, lists.limit)


@_kernel
def _nearest_in_tree(row: int, stamp: int, tree: Tree, work: Work, limit: float) -> tuple[int, float]:
    leaves, best, nearest = len(tree.low) // 2, limit, -1
    tree.stack[0] = 1
    top = 1
    while top > 0:
        top -= 1
        node = tree.stack[top]
        if tree.done[node] == stamp or _gap(row, node, tree) > best:
            continue
        if node < leaves:
            far = 1 if _gap(row, 2 * node, tree) <= _gap(row, 2 * node + 1, tree) else 0
            tree.stack[top], tree.stack[top + 1] = 2 * node + far, 2 * node + 1 - far
            top += 2
            continue
        for column in range(tree.first[node], tree.first[node + 1]):
            if work.mark[column] != stamp:
                length = _square(row, column, tree)
                if length < best or (nearest < 0 and length == best):
                    nearest, best = column, length
    return nearest, best


@_kernel
def _visit(
    column: int,
    row: int,
    stamp: int,
    lists: Lists | None,
    tree: Tree | None,
    matching: Matching,
    work: Work,
    tail: int,
) -> tuple[bool, int]:
    """Reach a column from a row; return whether it is free and the end of the queue, with its rows where it is not."""
    _reach(column, stamp, tree, work)
    work.parent[column] = row
    if matching.load[column] < matching.member.shape[1]:
        return True, tail
    for place in range(matching.member.shape[1]):
        member = matching.member[column, place]
        work.queue[tail] = member
        _start(member, lists)
        tail += 1
    return False, tail


@_kernel
def _start(row: int, lists: Lists | None) -> None:
    """Take a row's list up from its start."""
    if lists is not None:
        lists.place[row] = lists.start[row]


@_kernel
def _reach(column: int, stamp: int, tree: Tree | None, work: Work) -> None:
    """Mark a column as reached, and the nodes in which it was the last that was not."""
    work.mark[column] = stamp
    if tree is not None:
        node = tree.leaf[column]
        if tree.seen[node] != stamp:
            tree.seen[node], tree.tally[node] = stamp, 0
        tree.tally[node] += 1
        if tree.tally[node] == tree.first[node + 1] - tree.first[node]:
            tree.done[node] = stamp
            while node > 1 and tree.done[node ^ 1] == stamp:
                node >>= 1
                tree.done[node] = stamp


@_kernel
def _square(row: int, column: int, tree: Tree) -> float:
    """Squared distance, by the operations of `mfstudy.transport.bottleneck`, hence to the same bits."""
    total = 0.0
    for axis in range(tree.column.shape[1]):
        difference = abs(tree.column[column, axis] - tree.row[row, axis])
        if tree.box[axis] > 0:
            difference = min(difference, tree.box[axis] - difference)
        total += difference * difference
    return total


@_kernel
def _gap(row: int, node: int, tree: Tree) -> float:
    """Squared distance to a node's box: rounded as lengths are, so never above that of a column inside."""
    total = 0.0
    for axis in range(tree.column.shape[1]):
        below = tree.low[node, axis] - tree.row[row, axis]
        above = tree.row[row, axis] - tree.high[node, axis]
        difference = max(below, above, 0.0)
        if tree.box[axis] > 0 and difference > 0:
            # Farther along the axis is nearer the other way round: -above or -below is the longest way there.
            difference = min(difference, tree.box[axis] + (above if below > 0 else below))
        total += difference * difference
    return total


@_kernel
def _augment(source: int, end: int, matching: Matching, parent: Indices) -> None:
    """Flip the alternating path from a free row to a column with a place."""
    column, row = end, parent[end]
    matching.member[column, matching.load[column]] = row
    matching.load[column] += 1
    while row != source:
        left, follower = matching.mate[row], parent[matching.mate[row]]
        matching.mate[row] = column
        place = 0
        while matching.member[left, place] != row:
            place += 1
        matching.member[left, place] = follower
        column, row = left, follower
    matching.mate[row] = column


def extend(
    lists: Lists | None, tree: Tree | None, matching: Matching, work: Work, square: float, raising: bool
) -> tuple[Indices, float]:
    """Return the rows reached by a search that found no path, none if the matching is complete, and the radius."""
    _nearest_free(1, lists, tree, matching, work, square)
    rows, stamp = len(matching.mate), 1
    spent = rows
    for source in range(rows):
        if matching.mate[source] < 0 and spent >= rows:
            # Searches one by one have cost as much as a search from all sides, which now finds more.
            found, spent = 2, 0
            while found > 1:
                stamp += 1
                found = _forest(stamp, lists, tree, matching, work, square)
        if matching.mate[source] < 0:
            stamp += 1
            end, tail, square = _search(source, stamp, lists, tree, matching, work, square, raising)
            if end < 0:
                return work.queue[:tail].copy(), square
            _augment(source, end, matching, work.parent)
            spent += tail
    return work.queue[:0].copy(), square
