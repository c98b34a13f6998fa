"""The bottleneck distance W_infinity between equal masses: exact, with a matching and a Hall violator that prove it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from mfstudy.checks import check_count
from mfstudy.ensemble import Floats
from mfstudy.transport.bracket import UncertifiedError
from mfstudy.transport.cost import axis_periods
from mfstudy.transport.near import SLACK, lists, squares, tree
from mfstudy.transport.sampling import Sampler

Periods = Sequence[float | None] | None
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Bottleneck:
    """A bottleneck distance with what proves it.

    Parameters
    ----------
    distance : float
        W_infinity between the two discrete measures, in units of length.
    lower, upper : float
        Equal to ``distance`` where that is what was asked; else ``distance`` -+ ``floor``, not below 0.
    floor : float
        Estimate of W_infinity between the reference sample and its law; 0 between discrete measures.
    assignment : (M,) array of int
        Row of ``points`` that serves each row of ``other``, each of them M / N times; its longest edge is the
        distance, hence W_infinity <= distance.
    violator : (S,) array of int
        Rows of ``other`` that have too few ``points`` closer than the distance to be served by them, hence
        W_infinity >= distance (Hall's theorem); empty if the distance is 0.
    """

    distance: float
    lower: float
    upper: float
    floor: float
    assignment: Integers
    violator: Integers


def bottleneck(points: ArrayLike, other: ArrayLike, periods: Periods = None) -> Bottleneck:
    """Bottleneck distance: the smallest largest displacement among the transports of equal masses.

    Parameters
    ----------
    points : (N, D) array
        In units of length.
    other : (M, D) array
        M = kN with an integer k; masses are 1/N and 1/M.
    periods : sequence of (float or None), optional
        Period of each axis, None = not periodic; in units of length.

    Returns
    -------
    Bottleneck
        Exact up to the round-off of a length between two points, and verified.

    Raises
    ------
    ValueError
        If an argument is not as above.
    UncertifiedError
        If the matching or the Hall violator do not prove the distance.

    Notes
    -----
    W_infinity is the least r for which the graph of pairs with |x - y| <= r has a matching that uses each x k times
    (extreme points of the transport polytope with masses 1/N = k/M are integer multiples of 1/M). On the line without
    a period the monotone matching is one of smallest largest edge. Elsewhere: `mfstudy.transport.matching`.
    """
    x, y = _points(points, "points"), _points(other, "other")
    x, y, box, unit = _scaled(x, y, _periods(x, y, periods))
    assignment, violator = _sorted(x[:, 0], y[:, 0]) if x.shape[1] == 1 and box is None else _solve(x, y, box)
    distance = float(np.sqrt(squares(x[assignment], y, box).max()))
    _verify(x, y, box, distance, assignment, violator)
    value = distance * unit
    return Bottleneck(value, value, value, 0.0, assignment, violator)


def verify(points: ArrayLike, other: ArrayLike, result: Bottleneck, periods: Periods = None) -> None:
    """Prove a bottleneck distance from its matching and Hall violator, by means that the solver does not use.

    Parameters
    ----------
    points, other : (N, D), (M, D) arrays
        In units of length.
    result : Bottleneck
        Its ``distance``, ``assignment`` and ``violator`` are looked at.
    periods : sequence of (float or None), optional

    Raises
    ------
    UncertifiedError
        If the assignment is none, or its longest edge is not the distance, or the points closer than the distance
        to the violator can serve all of it.
    """
    x, y = _points(points, "points"), _points(other, "other")
    x, y, box, unit = _scaled(x, y, _periods(x, y, periods))
    _verify(x, y, box, result.distance / unit, np.asarray(result.assignment), np.asarray(result.violator))


def bottleneck_bracket(
    points: ArrayLike, sampler: Sampler, k: int, rng: np.random.Generator, periods: Periods = None
) -> Bottleneck:
    """Bottleneck distance to a law that can only be sampled: exact to one sample, with the sample's own distance.

    Parameters
    ----------
    points : (N, D) array
        In units of length.
    sampler : callable
        ``sampler(rng, m)`` returns (m, D) independent draws of the law.
    k : int
        Reference points per particle, >= 1.
    rng : numpy.random.Generator
    periods : sequence of (float or None), optional

    Returns
    -------
    Bottleneck
        ``distance``, ``assignment`` and ``violator`` are those of the problem of the points against M = kN draws.
        ``lower`` and ``upper`` are **not bounds**, and not in mean either.

    Raises
    ------
    ValueError
        If an argument is not as above, or the sampler does not return fresh finite (m, D) arrays.
    UncertifiedError
        If a solve is not certified.

    Notes
    -----
    |W(mu_N, rho) - W(mu_N, rho_M)| <= W(rho_M, rho), and nothing better: W_infinity is only quasi-convex, so there is
    no Jensen inequality that would make W(mu_N, rho_M) a bound in mean. The right side is not known either; ``floor``
    is W(rho_M, rho_M') between two independent samples, an estimate of its size: W(rho_M, rho_M') is at most the
    sum of two such terms, and may by chance be smaller than one of them (particles and law uniform on an interval,
    N = 60, k = 1 or 8: 1 to 2 % of the brackets missed). For a law with a gap in its support
    neither the floor nor the distance tends to 0: the counts on both sides differ, and some point must cross.
    """
    x = _points(points, "points")
    check_count("k", k)
    if not isinstance(rng, np.random.Generator):
        raise ValueError(f"rng must be a numpy.random.Generator, not {type(rng).__name__}")
    first, second = (_drawn(sampler, rng, k * len(x), x.shape[1]) for _ in range(2))
    if np.array_equal(first, second):
        raise ValueError("sampler must draw from the rng it is given: two of its samples are identical")
    floor = bottleneck(first, second, periods).distance
    result = bottleneck(x, first, periods)
    distance = result.distance
    return replace(result, lower=max(distance - floor, 0.0), upper=distance + floor, floor=floor)


def _points(values: ArrayLike, name: str) -> Floats:
    try:
        points = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be an array of numbers of shape (N, D)") from None
    if points.ndim != 2 or points.size == 0:
        raise ValueError(f"{name} must be a non-empty array of shape (N, D), not {points.shape}")
    if not np.isfinite(points).all():
        raise ValueError(f"{name} must be finite, it holds NaN or infinity")
    return points


def _drawn(sampler: Sampler, rng: np.random.Generator, size: int, dimension: int) -> Floats:
    sample = _points(sampler(rng, size), "sampler")
    if sample.shape != (size, dimension):
        raise ValueError(f"sampler must return samples of shape ({size}, {dimension}), not {sample.shape}")
    return sample


def _periods(x: Floats, y: Floats, periods: Periods) -> Floats | None:
    """Return the period of each axis, 0 where there is none, or None; refuse points that do not fit together."""
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"other has points of dimension {y.shape[1]}, allowed: that of points, {x.shape[1]}")
    if len(y) % len(x):
        raise ValueError(f"other has {len(y)} points, allowed: a multiple of the {len(x)} of points")
    lengths = axis_periods(periods, x.shape[1])
    return None if lengths is None else np.array([length or 0.0 for length in lengths])


def _scaled(x: Floats, y: Floats, box: Floats | None) -> tuple[Floats, Floats, Floats | None, float]:
    """Return points wrapped into the box, all in a unit of length (the last) that makes them of order 1.

    The unit is a power of two, which changes no digit, and no square overflows or vanishes.
    """
    if box is not None:
        x, y = (_wrapped(points, box) for points in (x, y))
    exponent = int(np.frexp(max(np.abs(x).max(), np.abs(y).max()))[1]) - 1
    box = None if box is None else np.ldexp(box, -exponent)
    return np.ldexp(x, -exponent), np.ldexp(y, -exponent), box, float(np.ldexp(1.0, exponent))


def _wrapped(points: Floats, box: Floats) -> Floats:
    periodic = box > 0
    inside = points.copy()
    inside[:, periodic] %= box[periodic]
    inside[:, periodic] *= inside[:, periodic] < box[periodic]  # -1e-20 % 1 is 1
    return inside


def _sorted(x: Floats, y: Floats) -> tuple[Integers, Integers]:
    """Return the monotone assignment (M,) on the line and a Hall violator (S,)."""
    order = np.argsort(y, kind="stable")
    served = np.repeat(np.argsort(x, kind="stable"), len(y) // len(x))
    assignment = np.empty(len(y), np.int64)
    assignment[order] = served
    shift = y[order] - x[served]
    worst = int(np.argmax(np.abs(shift)))
    if shift[worst] == 0:
        return assignment, order[:0]
    # The y at and beyond the end of a longest edge: what is nearer to them lies beyond the edge's other end.
    return assignment, order[worst:] if shift[worst] > 0 else order[: worst + 1]


def _solve(x: Floats, y: Floats, box: Floats | None) -> tuple[Integers, Integers]:
    """Return an assignment (M,) of smallest largest edge and a Hall violator (S,)."""
    from mfstudy.transport import matching  # numba: 0.3 s that reading a store does not need

    trees = cKDTree(x, boxsize=box), cKDTree(y, boxsize=box)
    # Leaf by leaf: what is near in space is then near in memory.
    to_x, to_y = trees[0].indices, trees[1].indices
    pairs, reached = matching.empty(len(y), len(x)), to_y
    square = ((1 - SLACK) * _nearest(*trees)) ** 2
    rows, columns = y[to_y], x[to_x]
    while len(reached) > 0:
        listed = lists(rows, columns, box, np.sqrt(square))
        searched = tree(rows, columns, box) if listed is None else None
        reached, square = matching.extend(listed, searched, pairs, square, raising=True)
    lengths = squares(columns[pairs.mate], rows, box)
    violator = np.empty(0, np.int64)
    if lengths.max() > 0:
        shorter = matching.without(pairs, lengths == lengths.max())
        below = float(np.nextafter(lengths.max(), 0.0))
        violator = to_y[matching.extend(listed, searched, shorter, below, raising=False)[0]]
    assignment = np.empty(len(y), np.int64)
    assignment[to_y] = to_x[pairs.mate]
    return assignment, violator


def _nearest(x: cKDTree, y: cKDTree) -> float:
    """Lower bound: every y needs a point, every x needs k of them."""
    capacity = len(y.data) // len(x.data)
    return float(max(x.query(y.data)[0].max(), y.query(x.data, k=[capacity])[0].max()))


def _verify(
    x: Floats, y: Floats, box: Floats | None, distance: float, assignment: Integers, violator: Integers
) -> None:
    """Raise UncertifiedError unless an assignment and a Hall violator prove the distance."""
    points, served = np.unique(assignment, return_counts=True)
    if not (np.array_equal(points, np.arange(len(x))) and np.all(served * len(x) == len(y))):
        raise UncertifiedError(f"assignment does not use each of {len(x)} points {len(y) // len(x)} times")
    longest = float(np.sqrt(squares(x[assignment], y, box).max()))
    if longest != distance:
        raise UncertifiedError(f"assignment has a longest edge that differs from the distance by {longest - distance}")
    demand = np.unique(violator)
    if distance > 0 and _capacity(x, y, box, distance, demand) >= len(demand):
        raise UncertifiedError(f"violator is none: its {len(demand)} points can be served from below the distance")


def _capacity(x: Floats, y: Floats, box: Floats | None, distance: float, demand: Integers) -> int:
    """Return how many y the points can serve that are closer than the distance to some of those in demand."""
    if len(demand) == 0:
        return 0
    nearest = demand[cKDTree(y[demand], boxsize=box).query(x)[1]]
    return len(y) // len(x) * int(np.sum(np.sqrt(squares(x, y[nearest], box)) < distance))
