"""The compiled loops of transport, in one file: numba renews what it cached when this file changes, and only then.

Arguments are those of the modules that call them: `tree`, `auction`, `paths`, `sampling`. Coordinates are finite and
far below FAR, so that fast arithmetic may ignore infinities.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

import numba
import numpy as np

FAR = 1e300  # stands for infinity, which fast arithmetic may not meet
DEPTH = 128  # of the search's stack
LEAF = 16  # most points of a leaf: one or two vector instructions for each axis
SWEEPS = 16  # of centring: measured, the midpoint moves by less than 0.03 % after them

Compiled = Callable[..., Any]


def compiled(function: Compiled) -> Compiled:
    """Compile, keeping the result on disk between processes where a directory for it can be written."""
    options: dict[str, Any] = {"error_model": "numpy", "fastmath": True, "nogil": True}
    try:
        result: Compiled = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # "cannot cache function": read-only installation and home
        result = numba.njit(**options)(function)
    return result


@compiled
def select(rows, order, first, last, middle, axis):
    """Reorder rows[first:last] so that rows[middle] is where sorting along an axis would have put it."""
    low, high = first, last - 1
    while low < high:
        # The middle of three as the pivot; ties go to both sides, so equal points cost no more than others.
        a, b, c = rows[low, axis], rows[(low + high) // 2, axis], rows[high, axis]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = low, high
        while i <= j:
            while rows[i, axis] < pivot:
                i += 1
            while rows[j, axis] > pivot:
                j -= 1
            if i <= j:
                for d in range(rows.shape[1]):
                    rows[i, d], rows[j, d] = rows[j, d], rows[i, d]
                order[i], order[j] = order[j], order[i]
                i += 1
                j -= 1
        if middle <= j:
            high = j
        elif middle >= i:
            low = i
        else:
            return


@compiled
def widest(rows, first, last):
    """Axis along which rows[first:last] extend the most."""
    best, axis = -1.0, 0
    for d in range(rows.shape[1]):
        low, high = FAR, -FAR
        for r in range(first, last):
            low, high = min(low, rows[r, d]), max(high, rows[r, d])
        if high - low > best:
            best, axis = high - low, d
    return axis


@compiled
def split_nodes(rows, order, start, end, axis, cut):
    for node in range((len(start) - 1) // 2):
        first, last = start[node], end[node]
        middle = (first + last) // 2
        axis[node] = widest(rows, first, last)
        if middle < last:
            select(rows, order, first, last, middle, axis[node])
            cut[node] = rows[middle, axis[node]]
        start[2 * node + 1], end[2 * node + 1] = first, middle
        start[2 * node + 2], end[2 * node + 2] = middle, last


@compiled
def bound(rows, start, end, leaves, low, high):
    for node in range(len(start) - 1, -1, -1):
        for d in range(rows.shape[1]):
            if node < leaves:
                low[node, d] = min(low[2 * node + 1, d], low[2 * node + 2, d])
                high[node, d] = max(high[2 * node + 1, d], high[2 * node + 2, d])
            else:
                a, b = FAR, -FAR
                for r in range(start[node], end[node]):
                    a, b = min(a, rows[r, d]), max(b, rows[r, d])
                low[node, d], high[node, d] = a, b


@compiled
def highest(phi, start, end, leaves, top):
    for node in range(len(start) - 1, -1, -1):
        if node < leaves:
            top[node] = max(top[2 * node + 1], top[2 * node + 2])
        else:
            top[node] = -FAR
            for j in range(start[node], end[node]):
                top[node] = max(top[node], phi[j])


@compiled
def leaf_of(points, axis, cut, leaves, leaf):
    for m in range(len(points)):
        node = 0
        while node < leaves:
            node = 2 * node + 1 if points[m, axis[node]] < cut[node] else 2 * node + 2
        leaf[m] = node


@compiled
def _power(first, second, p):
    """Cost of two blocks at squared distances."""
    if p == 2.0:
        return first + second
    if p == 1.0:
        return np.sqrt(first) + np.sqrt(second)
    return first ** (0.5 * p) + second ** (0.5 * p)


@compiled
def pair_cost(points, j, y, periods, split, p):
    """Cost from particle j to y."""
    first, second = 0.0, 0.0
    for d in range(len(y)):
        gap = abs(points[d, j] - y[d])
        if periods[d] > 0.0:
            gap = min(gap, periods[d] - gap)
        if d < split:
            first += gap * gap
        else:
            second += gap * gap
    return _power(first, second, p)


@compiled
def _lower_top(top, leaves, node, value):
    """Tell its ancestors that the largest phi of a leaf has fallen."""
    top[node] = value
    while node > 0:
        node = (node - 1) // 2
        value = max(top[2 * node + 1], top[2 * node + 2])
        if value >= top[node]:
            return
        top[node] = value


@compiled
def search(
    points, low, high, starts, ends, leaves, periods, split, p, y, phi, top, values, index, stack, bounds, cost, other
):
    """Fill values and index with the least c(x_j, y) - phi_j, best first; what they hold is taken as found before.

    ``top`` may be too high (where phi has fallen): it is lowered where a leaf is visited. One long function: calls
    that the compiler does not inline made it three times slower.
    """
    dimension, worst = len(y), len(values) - 1
    depth = 1
    stack[0], bounds[0] = 0, -FAR
    while depth > 0:
        depth -= 1
        if bounds[depth] >= values[worst]:
            continue
        node = stack[depth]
        while node < leaves:
            near, far = 2 * node + 1, 2 * node + 2
            at_near, at_far, other_near, other_far = 0.0, 0.0, 0.0, 0.0
            for d in range(dimension):
                t = max(max(low[near, d] - y[d], y[d] - high[near, d]), 0.0)
                u = max(max(low[far, d] - y[d], y[d] - high[far, d]), 0.0)
                if periods[d] > 0.0:
                    if t > 0.0:
                        left, right = abs(low[near, d] - y[d]), abs(high[near, d] - y[d])
                        t = min(min(left, periods[d] - left), min(right, periods[d] - right))
                    if u > 0.0:
                        left, right = abs(low[far, d] - y[d]), abs(high[far, d] - y[d])
                        u = min(min(left, periods[d] - left), min(right, periods[d] - right))
                if d < split:
                    at_near += t * t
                    at_far += u * u
                else:
                    other_near += t * t
                    other_far += u * u
            if p != 2.0:
                at_near, at_far = _power(at_near, other_near, p), _power(at_far, other_far, p)
            at_near -= top[near]
            at_far -= top[far]
            if at_far < at_near:
                near, far = far, near
                at_near, at_far = at_far, at_near
            if at_far < values[worst]:
                stack[depth], bounds[depth] = far, at_far
                depth += 1
            if at_near >= values[worst]:
                node = -1
                break
            node = near
        if node < 0:
            continue
        start, count = starts[node], ends[node] - starts[node]
        for q in range(count):
            cost[q] = 0.0
            other[q] = 0.0
        for d in range(dimension):
            at, length = y[d], periods[d]
            if length > 0.0:
                if d < split:
                    for q in range(count):
                        t = abs(points[d, start + q] - at)
                        t = min(t, length - t)
                        cost[q] += t * t
                else:
                    for q in range(count):
                        t = abs(points[d, start + q] - at)
                        t = min(t, length - t)
                        other[q] += t * t
            elif d < split:
                for q in range(count):
                    t = points[d, start + q] - at
                    cost[q] += t * t
            else:
                for q in range(count):
                    t = points[d, start + q] - at
                    other[q] += t * t
        if p != 2.0:
            for q in range(count):
                cost[q] = _power(cost[q], other[q], p)
        peak = -FAR
        for q in range(count):
            peak = max(peak, phi[start + q])
        if peak < top[node]:
            _lower_top(top, leaves, node, peak)
        for q in range(count):
            value = cost[q] - phi[start + q]
            if value < values[worst]:
                r = worst
                while r > 0 and values[r - 1] > value:
                    values[r], index[r] = values[r - 1], index[r - 1]
                    r -= 1
                values[r], index[r] = value, start + q


@compiled
def workspace(leaf):
    """Arrays that `search` needs: its stack with bounds, and the costs of a leaf."""
    return np.empty(DEPTH, np.int64), np.empty(DEPTH), np.empty(leaf), np.empty(leaf)


@compiled
def nearest(tree, points, phi, top, guess, values, index):
    x, low, high, start, end, leaves = tree.points, tree.low, tree.high, tree.start, tree.end, tree.leaves
    periods, split, p = tree.periods, tree.split, tree.p
    stack, bounds, cost, other = workspace(LEAF)
    best, found = np.empty(1), np.empty(1, np.int64)
    y = np.empty(points.shape[1])
    for m in range(len(points)):
        for d in range(len(y)):
            y[d] = points[m, d]
        best[0], found[0] = FAR, -1
        if guess[m] >= 0:
            best[0], found[0] = pair_cost(x, guess[m], y, periods, split, p) - phi[guess[m]], guess[m]
        search(
            x, low, high, start, end, leaves, periods, split, p, y, phi, top, best, found, stack, bounds, cost, other
        )
        values[m], index[m] = best[0], found[0]


@compiled
def several(tree, points, phi, top, index, values):
    x, low, high, start, end, leaves = tree.points, tree.low, tree.high, tree.start, tree.end, tree.leaves
    periods, split, p = tree.periods, tree.split, tree.p
    stack, bounds, cost, other = workspace(LEAF)
    best, found = np.empty(index.shape[1]), np.empty(index.shape[1], np.int64)
    y = np.empty(points.shape[1])
    for m in range(len(points)):
        for d in range(len(y)):
            y[d] = points[m, d]
        best[:] = FAR
        search(
            x, low, high, start, end, leaves, periods, split, p, y, phi, top, best, found, stack, bounds, cost, other
        )
        for q in range(len(best)):
            values[m, q], index[m, q] = best[q], found[q]


@compiled
def reopen(state, eps, queue):
    """Start a phase: places take the price of their particle, reference points content to eps keep theirs."""
    candidates, costs, beyond, first = state.candidates, state.costs, state.beyond, state.first
    prices, holders, owner, phi = state.prices, state.holders, state.owner, state.phi
    filled = first[1:].copy()
    for i in range(len(phi)):
        for a in range(first[i], first[i + 1]):
            prices[a], holders[a] = -phi[i], -1
    rest = 0
    for m in range(len(owner) - 1, -1, -1):
        content = False
        if owner[m] >= 0:
            least = beyond[m]
            for q in range(candidates.shape[1]):
                least = min(least, costs[m, q] - phi[candidates[m, q]])
            i = candidates[m, owner[m]]
            content = filled[i] > first[i] and costs[m, owner[m]] - phi[i] <= least + eps
            if content:
                filled[i] -= 1
                holders[filled[i]] = m
        if not content:
            owner[m] = -1
            queue[rest] = m
            rest += 1
    return rest


@compiled
def refresh(candidates, costs, beyond, m, found, values, phi, total):
    """Make what a search found the list of reference point m."""
    for q in range(len(found)):
        candidates[m, q] = found[q]
        costs[m, q] = values[q] + phi[found[q]]
    beyond[m] = values[len(found) - 1] if len(found) < total else FAR


@compiled
def bid(tree, points, state, eps, queue, rest, most):
    """Let the queue bid, the last one displaced first; return how many are left when the bids are used up."""
    x, low, high, start, end, leaves = tree.points, tree.low, tree.high, tree.start, tree.end, tree.leaves
    periods, split, p = tree.periods, tree.split, tree.p
    candidates, costs, beyond, first = state.candidates, state.costs, state.beyond, state.first
    prices, holders, owner, phi, top = state.prices, state.holders, state.owner, state.phi, state.top
    size, total = candidates.shape[1], len(phi)
    stack, bounds, cost, other = workspace(LEAF)
    values, found, y = np.empty(size), np.empty(size, np.int64), np.empty(points.shape[1])
    bids = 0
    while rest > 0 and bids < most:
        m = queue[rest - 1]
        best, second, which, worst, dear = FAR, FAR, 0, -FAR, 0.0
        for q in range(size):
            value = costs[m, q] - phi[candidates[m, q]]
            worst, dear = max(worst, value), max(dear, costs[m, q])
            if value < best:
                second, best, which = best, value, q
            elif value < second:
                second = value
        if best > beyond[m]:
            # The list itself bounds what the search must look at.
            values[:] = FAR if beyond[m] == -FAR else worst + 1e-9 * (abs(worst) + dear) + 1e-290
            for d in range(len(y)):
                y[d] = points[m, d]
            search(
                x,
                low,
                high,
                start,
                end,
                leaves,
                periods,
                split,
                p,
                y,
                phi,
                top,
                values,
                found,
                stack,
                bounds,
                cost,
                other,
            )
            refresh(candidates, costs, beyond, m, found, values, phi, total)
            best, second, which = values[0], values[1] if size > 1 else FAR, 0
        second = min(second, beyond[m])
        i = candidates[m, which]
        price = eps - phi[i] + (second - best if second < 0.1 * FAR else 0.0)
        a, n = first[i], first[i + 1] - first[i]
        displaced, r = holders[a], 0
        while 2 * r + 1 < n:  # the cheapest place takes the new price: let it sink in the heap
            child = 2 * r + 1
            if child + 1 < n and prices[a + child + 1] < prices[a + child]:
                child += 1
            if prices[a + child] >= price:
                break
            prices[a + r], holders[a + r] = prices[a + child], holders[a + child]
            r = child
        prices[a + r], holders[a + r] = price, m
        phi[i] = -prices[a]
        owner[m] = which
        bids += 1
        rest -= 1
        if displaced >= 0:
            owner[displaced] = -1
            queue[rest] = displaced
            rest += 1
    return rest


@compiled
def choose(tree, points, state, everyone):
    """Let all reference points, or those without a place, take their best particle; search where lists do not tell."""
    x, low, high, start, end, leaves = tree.points, tree.low, tree.high, tree.start, tree.end, tree.leaves
    periods, split, p = tree.periods, tree.split, tree.p
    candidates, costs, beyond, owner = state.candidates, state.costs, state.beyond, state.owner
    phi, top = state.phi, state.top
    stack, bounds, cost, other = workspace(LEAF)
    size = candidates.shape[1]
    values, found, y = np.empty(size), np.empty(size, np.int64), np.empty(points.shape[1])
    for m in range(len(points)):
        if owner[m] >= 0 and not everyone:
            continue
        best, which, worst, dear = FAR, 0, -FAR, 0.0
        for q in range(size):
            value = costs[m, q] - phi[candidates[m, q]]
            worst, dear = max(worst, value), max(dear, costs[m, q])
            if value < best:
                best, which = value, q
        # A place that is as good as the best keeps its owner: ties must not start paths.
        if owner[m] >= 0 and costs[m, owner[m]] - phi[candidates[m, owner[m]]] <= best:
            which = owner[m]
        if best > beyond[m]:
            values[:] = FAR if beyond[m] == -FAR else worst + 1e-9 * (abs(worst) + dear) + 1e-290
            for d in range(len(y)):
                y[d] = points[m, d]
            search(
                x,
                low,
                high,
                start,
                end,
                leaves,
                periods,
                split,
                p,
                y,
                phi,
                top,
                values,
                found,
                stack,
                bounds,
                cost,
                other,
            )
            refresh(candidates, costs, beyond, m, found, values, phi, len(phi))
            which = 0
        owner[m] = which


@compiled
def complete(state):
    """Whether every reference point holds its best particle of all."""
    for m in range(len(state.owner)):
        i = state.candidates[m, state.owner[m]]
        paid, price = state.costs[m, state.owner[m]], state.phi[i]
        if paid - price > state.beyond[m] + 1e-14 * (paid + abs(price)):
            return False
    return True


@compiled
def augment(state):
    """Send every surplus to a free place along a shortest path; return whether all found one."""
    candidates, costs, owner, phi, first = state.candidates, state.costs, state.owner, state.phi, state.first
    count, size = candidates.shape
    total = len(phi)
    served = np.zeros(total, np.int64)
    head, after, before = np.full(total, -1, np.int32), np.full(count, -1, np.int32), np.full(count, -1, np.int32)
    for m in range(count):
        i = candidates[m, owner[m]]
        served[i] += 1
        after[m] = head[i]
        if head[i] >= 0:
            before[head[i]] = m
        head[i] = m
    distance, via, entry = np.full(total, FAR), np.full(total, -1, np.int32), np.zeros(total, np.int32)
    done, touched, settled = np.zeros(total, np.bool_), np.empty(total, np.int64), np.empty(total, np.int64)
    for source in range(total):
        while served[source] > first[source + 1] - first[source]:
            heap = [(0.0, source)]
            distance[source], touched[0] = 0.0, source
            reached, popped, sink, length = 1, 0, -1, 0.0
            while len(heap) > 0:
                at, i = heappop(heap)
                if done[i] or at > distance[i]:
                    continue
                if served[i] < first[i + 1] - first[i]:
                    sink, length = i, at
                    break
                done[i] = True
                settled[popped] = i
                popped += 1
                m = head[i]
                while m >= 0:
                    base = costs[m, owner[m]] - phi[i] - at
                    for q in range(size):
                        j = np.int64(candidates[m, q])
                        if not done[j]:
                            new = max(costs[m, q] - phi[j] - base, at)
                            if new < distance[j]:
                                if distance[j] == FAR:
                                    touched[reached] = j
                                    reached += 1
                                distance[j], via[j], entry[j] = new, m, q
                                heappush(heap, (new, j))
                    m = after[m]
            if sink >= 0:
                for r in range(popped):
                    phi[settled[r]] += distance[settled[r]] - length
                j = sink
                while j != source:
                    m = via[j]
                    i = candidates[m, owner[m]]
                    if before[m] >= 0:
                        after[before[m]] = after[m]
                    else:
                        head[i] = after[m]
                    if after[m] >= 0:
                        before[after[m]] = before[m]
                    owner[m] = entry[j]
                    before[m], after[m] = -1, head[j]
                    if head[j] >= 0:
                        before[head[j]] = m
                    head[j] = m
                    j = i
                served[source] -= 1
                served[sink] += 1
            for r in range(reached):
                distance[touched[r]], done[touched[r]] = FAR, False
            if sink < 0:
                return False
    return True


@compiled
def centre(candidates, costs, owner, phi):
    count, size = candidates.shape
    shift = np.zeros(len(phi))
    for _ in range(SWEEPS):
        lower, upper = np.full(len(phi), -FAR), np.full(len(phi), FAR)
        for m in range(count):
            i = candidates[m, owner[m]]
            base = costs[m, owner[m]] - phi[i]
            for q in range(size):
                j = candidates[m, q]
                if j != i:
                    more = max(costs[m, q] - phi[j] - base, 0.0)
                    upper[j] = min(upper[j], shift[i] + more)
                    lower[i] = max(lower[i], shift[j] - more)
        for i in range(len(phi)):
            if lower[i] > -FAR and upper[i] < FAR:
                shift[i] = 0.5 * (lower[i] + upper[i])
    return shift


@compiled
def cells(rows, order, size, choice, kept):
    """Halve the rows down to cells of ``size`` rows; keep the chosen one of each."""
    stack = np.empty((128, 2), np.int64)
    stack[0, 0], stack[0, 1] = 0, len(kept)
    depth = 1
    while depth > 0:
        depth -= 1
        first, last = stack[depth, 0], stack[depth, 1]
        if last - first == 1:
            kept[first] = order[first * size + choice[first]]
            continue
        middle = (first + last) // 2
        axis = widest(rows, first * size, last * size)
        select(rows, order, first * size, last * size, middle * size, axis)
        stack[depth, 0], stack[depth, 1] = middle, last
        stack[depth + 1, 0], stack[depth + 1, 1] = first, middle
        depth += 2
