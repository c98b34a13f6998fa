"""The debiased entropic divergence, between arrays and against a law that can be sampled.

S_eps(a, b) = OT_eps(a, b) - (OT_eps(a, a) + OT_eps(b, b)) / 2 (Feydy et al., AISTATS 2019).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mfstudy.ensemble import Floats
from mfstudy.transport.bracket import MEMORY
from mfstudy.transport.cost import Cost
from mfstudy.transport.entropic import Entropic, check_epsilon, soft_minimum, solve, solve_self
from mfstudy.transport.sampling import Sampler

BYTES = 66  # per pair; measured peak of a solve, most of it temporaries of logarithmic sums


@dataclass(frozen=True)
class Divergence:
    """The debiased divergence S_eps.

    Parameters
    ----------
    estimate, lower, upper : float
        In units of the pair cost. Between arrays the bounds are certain.
    standard_error : float
        Over the draws of a sampled reference, to first order; 0 between arrays.
    epsilon : float
        In units of the pair cost.
    iterations : int
        Most that one solve took.
    marginal_error : float
        Worst of the solves, dimensionless.
    reference_points : int
        Points of the second measure in one problem.
    """

    estimate: float
    lower: float
    upper: float
    standard_error: float
    epsilon: float
    iterations: int
    marginal_error: float
    reference_points: int


def divergence(
    points: Floats,
    other: Floats,
    cost: Cost,
    *,
    weights: Floats | None = None,
    other_weights: Floats | None = None,
    epsilon: float | None = None,
    memory: float | None = None,
) -> Divergence:
    """Return S_eps between two discrete measures.

    Parameters
    ----------
    points, other : (N, D), (M, D) arrays
        In units of length.
    cost : Cost
        With 1 <= p <= 2; S_eps >= 0 and = 0 only between equal measures is a theorem in R^D (Feydy et al. 2019,
        Theorem 1), not on a torus.
    weights, other_weights : (N,), (M,) arrays, optional
        Masses >= 0 summing to 1; None = equal masses.
    epsilon : float, optional
        > 0, in units of the pair cost; None = 0.05 of the mean cost between the two measures.
    memory : float, optional
        Budget in bytes for one problem; None = 2 GiB.

    Raises
    ------
    ValueError
        If an argument is not as above, or the problem exceeds the memory.
    UncertifiedError
        As `solve`.
    """
    (x, a), (y, b) = _checked(points, weights, "points"), _checked(other, other_weights, "other")
    _check_problem(x, y.shape[1], len(y), cost, memory)
    cross = solve(cost.matrix(x, y), a, b, epsilon)
    own = [solve_self(cost.matrix(z, z), mass, cross.epsilon) for z, mass in ((x, a), (y, b))]
    lower = cross.lower - 0.5 * sum(plan.upper for plan in own)
    upper = cross.upper - 0.5 * sum(plan.lower for plan in own)
    return _divergence(0.5 * (lower + upper), (lower, upper), 0.0, [cross, *own], len(y))


def sampled_divergence(
    points: Floats,
    sampler: Sampler,
    cost: Cost,
    epsilon: float,
    k: int,
    rng: np.random.Generator,
    *,
    weights: Floats | None = None,
    memory: float | None = None,
) -> Divergence:
    """Bracket S_eps between a discrete measure mu and a law rho that can be sampled.

    Parameters
    ----------
    points : (N, D) array
        In units of length.
    sampler : callable
        ``sampler(rng, m)`` returns (m, D) independent draws.
    cost : Cost
        With 1 <= p <= 2.
    epsilon : float
        > 0, in units of the pair cost.
    k : int
        Reference points per particle, >= 1: two samples A, B of M = kN (at least 2) are drawn.
    rng : numpy.random.Generator
    weights : (N,) array, optional
        Masses >= 0 summing to 1; None = equal masses.
    memory : float, optional
        Budget in bytes for one problem, here of M x M points; None = 2 GiB.

    Returns
    -------
    Divergence
        E[upper] >= S_eps(mu, rho) >= E[lower] up to the solves' certificates; the estimate is unbiased to leading
        order in 1/M for mu near rho, where one sample in place of rho overshoots by a part 1/k.

    Raises
    ------
    ValueError
        If an argument is not as above, or the problem exceeds the memory.
    UncertifiedError
        As `solve`.

    Notes
    -----
    Upper: S_eps(mu, .) is convex. Estimate: OT_eps(rho, rho) from two independent samples, as a U-statistic. Lower:
    OT_eps(A, B) overshoots OT_eps(rho, rho) in mean by separate convexity, and the dual of one sample, evaluated on
    the other, undershoots OT_eps(mu, rho). Pathwise lower <= estimate <= upper. The standard error is that of the first
    variation: too small where mu is so near rho that this vanishes.
    """
    check_epsilon(epsilon)
    x, a = _checked(points, weights, "points")
    size = max(2, k * len(x))
    _check_problem(x, x.shape[1], size, cost, memory)
    samples = [_checked(sampler(rng, size), None, "reference")[0] for _ in range(2)]
    if any(sample.shape != (size, x.shape[1]) for sample in samples):
        raise ValueError(f"reference must return samples of shape ({size}, {x.shape[1]}), not {samples[0].shape}")
    if np.array_equal(samples[0], samples[1]):
        raise ValueError("reference must draw from the rng it is given: two draws of its sample are identical")
    equal = np.full(size, 1.0 / size)
    to = [solve(cost.matrix(x, sample), a, equal, epsilon) for sample in samples]
    own = [solve_self(cost.matrix(sample, sample), equal, epsilon) for sample in samples]
    between = solve(cost.matrix(samples[0], samples[1]), equal, equal, epsilon)
    particles = solve_self(cost.matrix(x, x), a, epsilon)
    crossed = [
        float(np.sum(a * plan.potential_a) + soft_minimum(cost.matrix(x, sample), plan.potential_a, a, epsilon).mean())
        for plan, sample in zip(to, samples[::-1], strict=True)
    ]
    estimate = 0.5 * sum(plan.value for plan in to) - 0.5 * (particles.value + between.value)
    lower = 0.5 * sum(crossed) - 0.5 * (particles.upper + between.upper)
    upper = 0.5 * (sum(plan.upper for plan in to) - particles.lower) - 0.25 * sum(plan.lower for plan in own)
    slopes = [to[0].potential_b - between.potential_a, to[1].potential_b - between.potential_b]
    error = float(np.sqrt(sum(np.var(slope, ddof=1) for slope in slopes) / (4 * size)))
    bounds = min(lower, estimate), max(estimate, upper)
    return _divergence(estimate, bounds, error, [*to, *own, between, particles], size)


def _divergence(
    estimate: float, bounds: tuple[float, float], error: float, plans: list[Entropic], size: int
) -> Divergence:
    return Divergence(
        estimate=estimate,
        lower=bounds[0],
        upper=bounds[1],
        standard_error=error,
        epsilon=plans[0].epsilon,
        iterations=max(plan.iterations for plan in plans),
        marginal_error=max(plan.marginal_error for plan in plans),
        reference_points=size,
    )


def _checked(points: Floats, weights: Floats | None, name: str) -> tuple[Floats, Floats]:
    """Return points of positive mass, and their masses."""
    points = np.asarray(points, dtype=float)
    if points.ndim != 2 or points.size == 0 or not np.isfinite(points).all():
        raise ValueError(f"{name} must be a non-empty finite array of shape (N, D), not one of {points.shape}")
    if weights is None:
        return points, np.full(len(points), 1.0 / len(points))
    if weights.shape != (len(points),) or not (weights >= 0).all() or not abs(weights.sum() - 1.0) <= 1e-9:
        raise ValueError(f"weights of {name} must be ({len(points)},) masses >= 0 that sum to 1 within 1e-9")
    positive = weights > 0
    return points[positive], weights[positive] / weights.sum()


def _check_problem(x: Floats, dimension: int, size: int, cost: Cost, memory: float | None) -> None:
    if dimension != x.shape[1]:
        raise ValueError(f"other has points of dimension {dimension}, points of dimension {x.shape[1]}")
    if not 1 <= cost.p <= 2:
        raise ValueError(f"p must be in [1, 2] for the entropic divergence, not {cost.p}")
    largest = max(len(x), size)
    budget = MEMORY if memory is None else memory
    need = BYTES * largest**2
    if need > budget:
        raise ValueError(
            f"an entropic problem of {largest} x {largest} points needs about {need / 2**30:.3g} GiB, "
            f"memory allows {budget / 2**30:.3g}: use at most {math.isqrt(int(budget / BYTES))} points, "
            f"or memory={need}"
        )
