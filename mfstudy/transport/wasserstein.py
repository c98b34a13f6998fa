"""The one entry to transport: checks what it is given, picks the method, and says which in the bracket."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from mfstudy.ensemble import Floats
from mfstudy.transport.bracket import MEMORY, Bracket, UncertifiedError
from mfstudy.transport.cost import Cost, Period, axis_periods, ground_cost
from mfstudy.transport.discrete import dense_memory, solve
from mfstudy.transport.one_dimensional import discrete_cost, quantile_cost
from mfstudy.transport.sampling import Sampler
from mfstudy.transport.semidiscrete import bracket, memory_needed, points_per_particle

DENSE = 300**2  # pairs above which the sparse solver is the faster one: measured
QUADRATURE = 1e-6  # largest relative error of an integral over a quantile function that still counts as exact
FLOOR = 1e-9  # part of a coordinate, or of a mass, below which a relative error is one of round-off


class Law(Protocol):
    """A law that can be sampled.

    On the line it may also have ``quantile(u)``, and ``upper_quantile(u)``, the quantile at 1 - u, for a heavy right
    tail; exact ``mean`` (D,) and ``covariance`` (D, D) are used as control variates when present, and
    ``stratified(rng, m)`` in place of ``sample``, draws with the exact masses of the law's components. Where draws are
    costly, ``evenly(rng, m)`` returns draws already spread evenly, as by ``mfstudy.transport.sampling.spread``.
    """

    def sample(self, rng: np.random.Generator, m: int, /) -> Floats:
        """Return (m, D) independent draws."""
        ...


def wasserstein(
    points: ArrayLike,
    reference: ArrayLike | Sampler | Law,
    p: float = 2,
    *,
    weights: ArrayLike | None = None,
    reference_weights: ArrayLike | None = None,
    cost: str = "euclidean",
    period: Period = None,
    precision: float | None = 0.02,
    seed: int | np.random.Generator = 0,
    memory: float | None = None,
) -> Bracket:
    """Wasserstein distance between a discrete measure and a discrete measure or a law.

    Parameters
    ----------
    points : (N, D) or (N,) array
        Atoms of the measure, in units of length; (N,) is D = 1.
    reference : (M, D) array, callable or object
        An array (a list, or what has ``__array__``) is solved exactly. A callable ``sample(rng, m) -> (m, D)`` or an
        object with ``.sample`` is bracketed; with ``.quantile(u)`` it is exact for D = 1 without a period, with
        ``.upper_quantile(u)``, the quantile at 1 - u, also where its right tail is heavy. Optional
        attributes ``mean`` (D,) and ``covariance`` (D, D), the law's exact moments, reduce the error.
    p : float, optional
        Order, dimensionless: any p >= 1 in D = 1 and for arrays, 1 or 2 otherwise.
    weights, reference_weights : (N,), (M,) arrays, optional
        Masses, >= 0 with sum 1; None = equal masses.
    cost : str, optional
        "euclidean", |x - y|^p; "kinetic", |x - y|^p + |v - w|^p for points (x, v) of even dimension (Iacobelli,
        ARMA 244, 2022, Definition 1.1).
    period : float, sequence of (float or None), optional
        Period of the space, one number or one entry per axis (None = not periodic), in units of length.
    precision : float or None, optional
        Wanted (upper - lower) / estimate of the bracket, in (0, 1); it sets k, the reference points per
        particle, through a fixed table and never through the data. None = the midpoint at k = 4.
    seed : int or numpy.random.Generator, optional
        Where the draws of the reference come from.
    memory : float, optional
        Budget in bytes for one transport problem; None = 2 GiB.

    Returns
    -------
    Bracket
        With the method in ``method``: "sorted", "quantile", "discrete" or "semidiscrete".

    Raises
    ------
    ValueError
        If an argument is not as above, or the problem exceeds the memory.
    UncertifiedError
        If the optimum could not be certified, or the relative error of an integral over the quantile is above 1e-6.
    """
    x = _points(points, "points")
    periods = axis_periods(period, x.shape[1])
    _check_options(p, precision, memory)
    ground = ground_cost(cost, p, periods, x.shape[1])
    mass = _masses(weights, len(x), "weights")
    if mass is not None:
        x, mass = x[mass > 0], mass[mass > 0]
    # An array is one even if its class has methods of these names, as labelled arrays do.
    is_array = hasattr(reference, "__array__")
    sampler = None if is_array else _sampler(reference)
    quantile = None if is_array else getattr(reference, "quantile", None)
    if sampler is None and quantile is None:
        y = _points(reference, "reference")  # type: ignore[arg-type]
        return _discrete(x, y, ground, mass, _masses(reference_weights, len(y), "reference_weights"), memory)
    if reference_weights is not None:
        raise ValueError("reference_weights needs a reference that is an array of points")
    if x.shape[1] == 1 and periods is None and quantile is not None:
        return _quantile(x[:, 0], quantile, getattr(reference, "upper_quantile", None), p, mass)
    if sampler is None:
        raise ValueError("reference must have .sample: .quantile alone serves D = 1 without a period only")
    if x.shape[1] > 1 and p not in (1, 2):
        raise ValueError(f"p must be 1 or 2 for a sampled reference in D = {x.shape[1]}, not {p}")
    mean, covariance = _moments(reference, x.shape[1])
    k = points_per_particle(x.shape[1], p, precision)
    stratified, evenly = getattr(reference, "stratified", None), getattr(reference, "evenly", None)
    return bracket(x, sampler, ground, k, _generator(seed), mass, mean, covariance, memory, stratified, evenly)


def _discrete(
    x: Floats,
    y: Floats,
    cost: Cost,
    a: Floats | None,
    b: Floats | None,
    memory: float | None,
) -> Bracket:
    if y.shape[1] != x.shape[1]:
        raise ValueError(f"reference has points of dimension {y.shape[1]}, points of dimension {x.shape[1]}")
    if x.shape[1] == 1 and cost.periods is None:
        value = discrete_cost(x[:, 0], y[:, 0], cost.p, a, b)
        return Bracket(value, value, value, 0.0, cost.p, "sorted", 0.0, len(y))
    if _whole(a, b, len(x), len(y)) and len(x) * len(y) > DENSE:
        return _sparse(x, y, cost, memory)
    a = np.full(len(x), 1.0 / len(x)) if a is None else a
    b = np.full(len(y), 1.0 / len(y)) if b is None else b
    if dense_memory(len(x), len(y)) > (MEMORY if memory is None else memory):
        return _any_masses(x, a, y, b, cost, memory)
    plan = solve(cost.matrix(x, y), a, b)
    dual = float(np.sum(a * plan.dual_a) + np.sum(b * plan.dual_b))
    lower = min(max(dual, 0.0), plan.cost)
    return Bracket(plan.cost, lower, plan.cost, 0.0, cost.p, "discrete", plan.residual, len(y))


def _whole(a: Floats | None, b: Floats | None, rows: int, columns: int) -> bool:
    """Whether each point of the smaller side takes a whole number of equal points of the larger."""
    equal = all(mass is None or np.all(mass == mass[0]) for mass in (a, b))
    return equal and max(rows, columns) % min(rows, columns) == 0


def _sparse(x: Floats, y: Floats, cost: Cost, memory: float | None) -> Bracket:
    few, many = (x, y) if len(x) <= len(y) else (y, x)
    _check_sparse_memory(x, y, memory)
    from mfstudy.transport.multiscale import assign  # a third of a second that reading a store does not need

    places = np.full(len(few), len(many) // len(few), np.int64)
    solved = assign(cost.wrapped(few), places, cost.wrapped(many), cost)
    lower = max(solved.cost - solved.gap, 0.0)
    return Bracket(solved.cost, lower, solved.cost, 0.0, cost.p, "discrete", solved.residual, len(y))


def _any_masses(x: Floats, a: Floats, y: Floats, b: Floats, cost: Cost, memory: float | None) -> Bracket:
    _check_sparse_memory(x, y, memory)
    from mfstudy.transport.sparse import solve_sparse  # a third of a second that reading a store does not need

    held = b > 0
    value, lower, residual = solve_sparse(cost.wrapped(x), a, cost.wrapped(y[held]), b[held], cost)
    return Bracket(value, max(lower, 0.0), value, 0.0, cost.p, "discrete", residual, len(y))


def _check_sparse_memory(x: Floats, y: Floats, memory: float | None) -> None:
    """Refuse what exceeds the budget, before it is allocated."""
    need, budget = memory_needed(1, max(len(x), len(y)), x.shape[1]), MEMORY if memory is None else memory
    if need > budget:
        raise ValueError(
            f"a transport problem of {len(x)} x {len(y)} points needs about {need / 2**30:.3g} GiB, "
            f"memory allows {budget / 2**30:.3g}: use fewer points, or memory={need:.0f}"
        )


def _quantile(
    x: Floats,
    quantile: Callable[[Floats], Floats],
    upper: Callable[[Floats], Floats] | None,
    p: float,
    mass: Floats | None,
) -> Bracket:
    value, error = quantile_cost(x, quantile, p, mass, upper)
    coordinates = float(FLOOR * np.abs(x).max()) ** p
    masses = FLOOR * float(np.sum(np.diff(np.sort(x)) ** p))  # at the cells' edges, moved to the next atom
    residual = error / max(value, coordinates, masses, sys.float_info.min)
    if not residual <= QUADRATURE:
        hint = "; if the right tail is heavy, offer reference.upper_quantile, or reflect points and law"
        raise UncertifiedError(
            f"integral over reference.quantile not certified: relative error {residual:.1e}, allowed {QUADRATURE:.0e}"
            + (hint if upper is None else "")
        )
    return Bracket(value, max(value - error, 0.0), value + error, 0.0, p, "quantile", residual, 0)


def _sampler(reference: object) -> Sampler | None:
    sample = getattr(reference, "sample", reference)
    return sample if callable(sample) else None


def _floats(values: ArrayLike, name: str, shape: str) -> Floats:
    try:
        return np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be an array of numbers of shape {shape}") from None


def _points(values: ArrayLike, name: str) -> Floats:
    points = _floats(values, name, "(N, D) or (N,)")
    points = points[:, None] if points.ndim == 1 else points
    if points.ndim != 2 or points.size == 0:
        raise ValueError(f"{name} must be a non-empty array of shape (N, D) or (N,), not {np.shape(values)}")
    if not np.isfinite(points).all():
        raise ValueError(f"{name} must be finite, it holds NaN or infinity")
    return points


def _masses(values: ArrayLike | None, count: int, name: str) -> Floats | None:
    if values is None:
        return None
    masses = _floats(values, name, f"({count},)")
    if masses.shape != (count,):
        raise ValueError(f"{name} must have shape ({count},), one mass for each point, not {masses.shape}")
    if not (masses >= 0).all():
        raise ValueError(f"{name} must be >= 0 and not NaN")
    total = float(masses.sum())
    if not abs(total - 1.0) <= 1e-9:
        raise ValueError(f"{name} must sum to 1 within 1e-9, not to {total!r}")
    return np.asarray(masses / total)


def _check_options(p: float, precision: float | None, memory: float | None) -> None:
    if not 1 <= p < np.inf:
        raise ValueError(f"p must be a finite number >= 1, not {p}")
    if precision is not None and not 0 < precision < 1:
        raise ValueError(f"precision must be in (0, 1), or None for the midpoint at k = 4, not {precision}")
    if memory is not None and not memory > 0:
        raise ValueError(f"memory must be a positive number of bytes, or None for 2 GiB, not {memory}")


def _moments(reference: object, dimension: int) -> tuple[Floats | None, Floats | None]:
    moments: list[Floats | None] = []
    for name, shape in (("mean", (dimension,)), ("covariance", (dimension, dimension))):
        values = getattr(reference, name, None)
        if values is None:
            moments.append(None)
            continue
        array = _floats(values, f"reference.{name}", str(shape))
        if array.shape != shape or not np.isfinite(array).all():
            raise ValueError(f"reference.{name} must be a finite array of shape {shape}, not {array.shape}")
        moments.append(array)
    return moments[0], moments[1]


def _generator(seed: int | np.random.Generator) -> np.random.Generator:
    if isinstance(seed, np.random.Generator):
        return seed
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"seed must be an integer >= 0 or a numpy Generator, not {seed!r}")
    return np.random.default_rng(seed)
