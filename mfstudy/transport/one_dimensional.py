"""Transport on the line, exact by sorting: W_p^p = int_0^1 |F^-1(u) - G^-1(u)|^p du for every p >= 1."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mfstudy.ensemble import Floats

LOW = 2.0**-996  # graded panels at the left end reach down to 1.5e-300
HIGH = 1.0 - 2.0**-53  # the largest double below 1: the right end cannot be resolved further
REFINE = 1e-13  # a panel whose error may be more than this part of the whole is halved
ROUNDING = 2.0**-48  # relative error of an interpolated quantile from round-off: 16 units in the last place
PANELS = 1 << 18  # more panels than these (and than there were) are not halved: the error says what is missing
CHUNK = 1 << 15  # panels whose nodes are held at once


def _rule(count: int) -> tuple[Floats, Floats]:
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return 0.5 * (1.0 + nodes), 0.5 * weights


def _interpolation(nodes: Floats, targets: Floats) -> Floats:
    """Matrix (len(targets), len(nodes)) of the polynomial through values at nodes."""
    factors = (targets[:, None, None] - nodes) / (nodes[:, None] - nodes + np.eye(len(nodes)))
    factors[:, np.eye(len(nodes), dtype=bool)] = 1.0
    return np.asarray(factors.prod(axis=2))


# On [0, 1]: 8 nodes integrate; 4 nodes and the two ends, where a jump would pass between nodes, check them.
FINE_NODES, FINE_WEIGHTS = _rule(8)
COARSE_NODES, COARSE_WEIGHTS = _rule(4)
NODES = np.concatenate([FINE_NODES, COARSE_NODES, [0.0, 1.0]])
INTERPOLATION = _interpolation(FINE_NODES, NODES[8:])


def discrete_cost(
    points: Floats,
    other: Floats,
    p: float,
    weights: Floats | None = None,
    other_weights: Floats | None = None,
) -> float:
    """W_p^p between two discrete measures on the line, exact up to round-off.

    Parameters
    ----------
    points, other : (N,), (M,) arrays
        Atoms, in any order, in units of length.
    p : float
        Order, >= 1.
    weights, other_weights : (N,), (M,) arrays or None
        Masses summing to 1; None = equal masses.

    Returns
    -------
    float
        W_p^p, in (unit of length)^p.

    Notes
    -----
    The monotone coupling is optimal for every convex cost on the line (Villani, Topics in Optimal
    Transportation, Theorem 2.18); it is constant on the cells of the merged steps of both quantile functions.
    """
    x, x_edges = _steps(points, weights)
    y, y_edges = _steps(other, other_weights)
    edges = np.union1d(x_edges, y_edges)
    middles = 0.5 * (edges[1:] + edges[:-1])
    gap = np.abs(x[_cell(x_edges, middles)] - y[_cell(y_edges, middles)])
    return float(np.sum(np.diff(edges) * gap**p))


def quantile_cost(
    points: Floats,
    quantile: Callable[[Floats], Floats],
    p: float,
    weights: Floats | None = None,
    upper_quantile: Callable[[Floats], Floats] | None = None,
) -> tuple[float, float]:
    """W_p^p of a discrete measure on the line against a law given by its quantile function.

    Parameters
    ----------
    points : (N,) array
        Atoms x_i, in any order, in units of length.
    quantile : callable
        Vectorised, non-decreasing quantile function Q on (0, 1).
    p : float
        Order, >= 1.
    weights : (N,) array or None
        Masses summing to 1; None = 1/N each.
    upper_quantile : callable, optional
        Vectorised u -> Q(1 - u) on (0, 1), exact for small u: resolves a heavy right tail.

    Returns
    -------
    value, error : float
        W_p^p = sum_i int_{cell i} |x_(i) - Q(u)|^p du, and the sum of the panels' error bounds with the terms of
        the two ends, both in (unit of length)^p. Round-off in Q is not in the error.

    Raises
    ------
    ValueError
        If ``quantile`` or ``upper_quantile`` gives another shape or values that are not finite.

    Notes
    -----
    Panels are the cells cut at 2^-j and 1 - 2^-j, as Q may be singular at 0 and 1, and at the sign change of
    x - Q, where the integrand has a kink unless p is an even integer. A panel's error is the difference of two
    Gauss-Legendre orders, plus what a jump of Q (a gap of the support) could hide: the largest distance of Q from
    its 8-point interpolant at 4 other nodes and both edges, times the width and the steepness of |x - Q|^p. One
    jump anywhere in a panel, next to an edge or in the middle where both orders agree on it, shows there with
    at least 1.1 times its part in the error. Several jumps could cancel at all six points of one panel only;
    poor panels are halved, which parts them. Towards 0 the grading goes down to 1e-300, but
    1 - u cannot be below 1.1e-16, the spacing of doubles: what lies beyond enters through one point, which
    loses a part of a heavy right tail. With ``upper_quantile`` each half of (0, 1) is integrated from its own end, the
    right one by reflecting points and law; without, reflect them so that the heavier tail is on the left.
    """
    if upper_quantile is None:
        return _stretch(*_steps(points, weights), quantile, p, HIGH)
    lower = _stretch(*_steps(points, weights), quantile, p, 0.5)
    upper = _stretch(*_steps(-points, weights), _reflected(upper_quantile), p, 0.5)
    return lower[0] + upper[0], lower[1] + upper[1]


def _reflected(upper_quantile: Callable[[Floats], Floats]) -> Callable[[Floats], Floats]:
    """Return the quantile function of -X from the upper one of X."""
    return lambda u: -_evaluate(upper_quantile, u, "upper_quantile")


def _stretch(
    x: Floats, edges: Floats, quantile: Callable[[Floats], Floats], p: float, top: float
) -> tuple[float, float]:
    """Integral of |x - Q|^p over (0, 1) where top is `HIGH`, else over (0, top), and its error."""
    dyadic = 2.0 ** -np.arange(1.0, 997.0)
    grid = np.union1d(edges[1:-1], np.concatenate([dyadic, 1.0 - dyadic[:52], [HIGH]]))
    grid = grid[(grid >= LOW) & (grid <= top)]
    left, right = grid[:-1], grid[1:]
    owner = x[_cell(edges, left)]
    if p % 2 != 0:
        left, right, owner = _split_at_kinks(quantile, grid, owner)
    left_out = slice(2 if top == HIGH else 1)  # what lies beyond the graded panels
    ends = np.array([LOW, 1.0 - HIGH])[left_out]
    ends *= np.abs(_evaluate(quantile, np.array([LOW, HIGH])[left_out]) - x[[0, -1]][left_out]) ** p
    value, error = _refine(quantile, left, right, owner, p)
    return value + float(ends.sum()), error + float(ends.sum())


def _steps(points: Floats, weights: Floats | None) -> tuple[Floats, Floats]:
    """Sorted atoms (n,) of positive mass and the n + 1 edges of their cells in [0, 1]."""
    if weights is None:
        return np.sort(points), np.arange(len(points) + 1) / len(points)
    order = np.argsort(points, kind="stable")
    order = order[weights[order] > 0]
    mass = np.cumsum(weights[order])
    return points[order], np.concatenate([[0.0], mass[:-1] / mass[-1], [1.0]])


def _cell(edges: Floats, u: Floats) -> NDArray[np.intp]:
    """Index of the cell [edges_i, edges_i+1) that holds each u."""
    return np.searchsorted(edges[1:-1], u, side="right")


def _evaluate(quantile: Callable[[Floats], Floats], u: Floats, name: str = "quantile") -> Floats:
    result = quantile(u)
    try:
        values = np.asarray(result, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"reference.{name} must return an array of numbers, not {type(result).__name__}") from None
    if values.shape != u.shape or not np.isfinite(values).all():
        raise ValueError(f"reference.{name} must return finite values of the shape of its argument on (0, 1)")
    return values


def _split_at_kinks(quantile: Callable[[Floats], Floats], grid: Floats, owner: Floats) -> tuple[Floats, Floats, Floats]:
    """Cut the panels of a grid (n + 1,) where Q crosses the panel's atom."""
    at_edges = _evaluate(quantile, grid)
    crossing = np.flatnonzero((at_edges[:-1] < owner) & (at_edges[1:] > owner))
    if not len(crossing):
        return grid[:-1], grid[1:], owner  # and no quantile function is asked for no values
    low, high, atom = grid[crossing], grid[crossing + 1], owner[crossing]
    # A misplaced cut costs the square of its distance at least: 45 halvings of a panel are beyond round-off.
    for _ in range(45):
        middle = 0.5 * (low + high)
        below = _evaluate(quantile, middle) < atom
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    cut = 0.5 * (low + high)
    left = np.concatenate([grid[:-1], cut])
    right = np.concatenate([grid[1:], grid[crossing + 1]])
    right[crossing] = cut
    return left, right, np.concatenate([owner, atom])


def _refine(
    quantile: Callable[[Floats], Floats], left: Floats, right: Floats, owner: Floats, p: float
) -> tuple[float, float]:
    """Integral and error over panels (n,), halving those that matter until they do not."""
    most = max(PANELS, len(left))
    values, errors, rounding = _integrate(quantile, left, right, owner, p)
    value, error = float(values.sum()), float(errors.sum())
    for _ in range(60):
        poor = errors > np.maximum(REFINE * value, rounding)
        if not 0 < np.count_nonzero(poor) <= most:
            break
        value -= float(values[poor].sum())
        error -= float(errors[poor].sum())
        middle = 0.5 * (left[poor] + right[poor])
        left, right = np.concatenate([left[poor], middle]), np.concatenate([middle, right[poor]])
        owner = np.tile(owner[poor], 2)
        values, errors, rounding = _integrate(quantile, left, right, owner, p)
        value += float(values.sum())
        error += float(errors.sum())
    return value, error


def _integrate(
    quantile: Callable[[Floats], Floats], left: Floats, right: Floats, owner: Floats, p: float
) -> tuple[Floats, Floats, Floats]:
    """Integrals of |owner - Q|^p over panels (n,), their errors, and the round-off below which these mean nothing."""
    values, errors, rounding = np.empty_like(left), np.empty_like(left), np.empty_like(left)
    for start in range(0, len(left), CHUNK):
        part = slice(start, start + CHUNK)
        width = right[part] - left[part]
        u = left[part, None] + width[:, None] * NODES
        u[:, -1] = right[part]  # left + width may round to beyond it, and to 1
        at_nodes = _evaluate(quantile, u)
        gap = np.abs(owner[part, None] - at_nodes)
        fine = np.einsum("ij,j->i", gap[:, :8] ** p, FINE_WEIGHTS)
        coarse = np.einsum("ij,j->i", gap[:, 8:12] ** p, COARSE_WEIGHTS)
        steepness = p * gap.max(axis=1) ** (p - 1.0)  # of |owner - Q|^p in Q
        defect = np.abs(at_nodes[:, 8:] - np.einsum("ij,kj->ik", at_nodes[:, :8], INTERPOLATION)).max(axis=1)
        values[part] = width * fine
        noise = ROUNDING * np.abs(at_nodes).max(axis=1)
        errors[part] = width * (np.abs(fine - coarse) + steepness * np.maximum(defect - noise, 0.0))
        rounding[part] = width * steepness * noise
    return values, errors, rounding
