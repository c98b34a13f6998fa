"""The cross-fitted bracket: transport between particles and a law that can only be sampled."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import ROUND_CEILING, Decimal
from typing import NamedTuple

import numpy as np

from mfstudy.ensemble import Floats, Indices
from mfstudy.transport import variates
from mfstudy.transport.bracket import MEMORY, Bracket
from mfstudy.transport.cost import Cost
from mfstudy.transport.discrete import check_memory, solve
from mfstudy.transport.sampling import OVERSAMPLING, Sampler, neighbours, spread

CHUNK = 1 << 20  # pairs held at once when potentials are evaluated
# Width of the bracket: (upper - lower) / estimate = C / k. Measured on uniform cubes at N = 300 to 10000, with
# k = 4 to 24; in D = 1 it depends much on the points.
WIDTH_DIMENSIONS = (1.0, 2.0, 3.0, 4.0, 6.0)
WIDTH_CONSTANTS = {1: (0.5, 0.3, 0.25, 0.22, 0.18), 2: (1.1, 0.42, 0.42, 0.42, 0.34)}
BYTES, BYTES_PER_AXIS = 150, 125  # per reference point: measured 355 to 413 in D = 2, 900 in D = 6
SEEN = 1000  # first points of a draw that must not come again
LEAST_K = 4  # the midpoint is already nearly unbiased there


class _Optimum(NamedTuple):
    """The transport between the particles and one sample of M reference points."""

    cost: float  # of the plan
    weights: float  # sum_i a_i phi_i
    psi: Floats  # (M,), c-transform of phi on this sample
    owner: Indices | None  # (M,), a particle near each point
    transform: Callable[[Floats, Indices | None], Floats]  # c-transform of phi on any sample, with near particles
    residual: float


def bracket(
    points: Floats,
    sampler: Sampler,
    cost: Cost,
    k: int,
    rng: np.random.Generator,
    weights: Floats | None = None,
    mean: Floats | None = None,
    covariance: Floats | None = None,
    memory: float | None = None,
    stratified: Sampler | None = None,
    evenly: Sampler | None = None,
) -> Bracket:
    """Bracket W_p^p between a discrete measure and a sampled law.

    Parameters
    ----------
    points : (N, D) array
        Particles, in units of length.
    sampler : callable
        ``sampler(rng, m)`` returns (m, D) independent draws of the law.
    cost : Cost
    k : int
        Reference points per particle, >= 2; each of the two folds has M = kN.
    rng : numpy.random.Generator
    weights : (N,) array or None
        Positive masses summing to 1; None = 1/N each.
    mean, covariance : (D,), (D, D) arrays or None
        Exact moments of the law: control variates, used along the axes that are not periodic. All second moments
        where M is at least 10 times their number with the first; the trace of the covariance where M is less.
    memory : float or None
        Budget in bytes; None = 2 GiB.
    stratified : callable or None
        ``stratified(rng, m)`` returns (m, D) draws with the exact masses of the law's components, in place of
        ``sampler``; their empirical measure must have the law as expectation.
    evenly : callable or None
        ``evenly(rng, m)`` returns (m, D) draws already spread evenly, as by `sampling.spread`; None = they are
        chosen from a larger sample.

    Returns
    -------
    Bracket
        E[upper] >= W_p^p >= E[lower]; the estimate is their middle.

    Raises
    ------
    ValueError
        If the problem exceeds the budget, or the sampler does not return fresh finite (m, D) arrays.
    UncertifiedError
        If a solve is not certified.

    Notes
    -----
    The cost is the maximum of J(phi) = sum_i a_i phi_i + E psi(y), psi(y) = min_i c(x_i, y) - phi_i. Over a
    sample the maximum overshoots in mean (Jensen), and its maximiser evaluated on a fresh sample undershoots;
    to leading order both biases are half of the same Hessian form, opposite in sign. This needs samples whose
    empirical measure has the law as expectation, not independent points: evenly spread ones make both biases several
    times smaller. Within a fold U and L average the same M points, so the variance of the estimate is the sum over
    folds of that of (psi_A + psi_B)/2 over the sample, estimated from differences between neighbours (what is random
    within a cell) and, a part 1/8 of it, from the whole variance (the larger sample). The coefficients of a control
    variate come from the other fold, hence its expectation is exactly 0 and both bounds hold as before.
    """
    count, dimension = points.shape
    if k < 2:
        raise ValueError(f"k must be an integer >= 2, not {k}")
    places = _places(weights, count, k)
    _check_memory(count, k, dimension, places is None, memory, cost.p)
    samples = _draw(sampler if stratified is None else stratified, evenly, rng, k * count, dimension)
    points, samples = cost.wrapped(points), [cost.wrapped(sample) for sample in samples]
    mass = np.full(count, 1.0 / count) if weights is None else weights
    if places is None:
        optima = [_dense(points, mass, sample, cost) for sample in samples]
    else:
        optima = [_sparse(points, places, sample, cost) for sample in samples]
    features = [variates.features(sample, cost, mean, covariance) for sample in samples]
    orders = [neighbours(sample) for sample in samples]
    # Of the whole variance, what the larger sample leaves; components of exact masses leave none.
    whole = 1.0 / OVERSAMPLING if stratified is None else 0.0
    linear = len(variates.flat(cost, dimension))
    slopes = [variates.slopes(features[own], optima[own].psi, orders[own], whole, linear, cost.p) for own in (0, 1)]
    corrections = [np.einsum("mf,f->m", features[own], slopes[1 - own]) for own in (0, 1)]
    crossed = [optima[1 - own].transform(samples[own], optima[own].owner) for own in (0, 1)]
    return _combine(orders, whole, optima, crossed, corrections, cost.p)


def points_per_particle(dimension: int, p: float, precision: float | None) -> int:
    """Return k, the reference points per particle for a relative bracket width.

    Parameters
    ----------
    dimension : int
        D; constants are interpolated between the measured D and held fixed outside.
    p : float
        Order; the constants of 1 or 2, whichever is nearer.
    precision : float or None
        Relative width, None = no target.

    Returns
    -------
    int
        max(4, ceil(C_{D,p} / precision)).
    """
    if precision is None:
        return LEAST_K
    return max(LEAST_K, math.ceil(_width(dimension, p) / precision))


def _width(dimension: int, p: float) -> float:
    """C of the relative bracket width C / k."""
    return float(np.interp(dimension, WIDTH_DIMENSIONS, WIDTH_CONSTANTS[1 if p < 1.5 else 2]))


def _remedy(k: int, dimension: int, p: float) -> str:
    """Say which precision k reference points a particle can meet, rounded up to two digits."""
    precision = Decimal(_width(dimension, p)) / max(k, 1)
    digits = precision.quantize(Decimal(1).scaleb(precision.adjusted() - 1), ROUND_CEILING)
    return f"precision={digits:f} or None"


def memory_needed(size: int, k: int, dimension: int) -> float:
    """Return the memory that N = ``size`` particles with k reference points each take at the peak, in bytes."""
    return float(k * size * (BYTES + BYTES_PER_AXIS * dimension))


def _check_memory(count: int, k: int, dimension: int, dense: bool, memory: float | None, p: float) -> None:
    """Refuse what exceeds the budget, before it is allocated."""
    if dense:
        check_memory(count, k * count, memory)
        return
    budget = MEMORY if memory is None else memory
    need = memory_needed(count, k, dimension)
    if need > budget:
        remedy = _remedy(int(budget / memory_needed(count, 1, dimension)), dimension, p)
        if budget < memory_needed(count, LEAST_K, dimension):
            most = int(budget / memory_needed(1, LEAST_K, dimension))
            remedy = f"at most {most} points" if most else "fewer points"
        raise ValueError(
            f"{count} points with {k} reference points each need about {need / 2**30:.3g} GiB, "
            f"memory allows {budget / 2**30:.3g}: use {remedy}, or memory={need:.0f}"
        )


def _places(weights: Floats | None, count: int, k: int) -> Indices | None:
    """Places (N,) of the particles among kN equal reference points; None where masses are no whole numbers of them."""
    if weights is None:
        return np.full(count, k, np.int64)
    places = np.rint(k * count * weights)
    if np.all(np.abs(k * count * weights - places) < 1e-9) and np.all(places > 0):
        return places.astype(np.int64)
    return None


def _draw(
    sampler: Sampler, evenly: Sampler | None, rng: np.random.Generator, size: int, dimension: int
) -> list[Floats]:
    """Draw the reference points of two folds, spread evenly."""
    firsts: list[Floats] = []

    def draw(rng: np.random.Generator, m: int) -> Floats:
        points = _checked(sampler if evenly is None else evenly, rng, m, dimension)
        firsts.append(points[:SEEN].copy())
        return points

    samples = [spread(draw, rng, size) if evenly is None else draw(rng, size) for _ in range(2)]
    if np.array_equal(firsts[0], firsts[1]):
        raise ValueError("reference must draw from the rng it is given: two draws of its sample are identical")
    return samples


def _checked(sampler: Sampler, rng: np.random.Generator, size: int, dimension: int) -> Floats:
    result = sampler(rng, size)
    try:
        sample = np.array(result, dtype=float)  # a copy: the sampler may reuse its buffer
    except (TypeError, ValueError):
        raise ValueError(f"reference must return samples as an array of numbers, not {type(result).__name__}") from None
    if dimension == 1 and sample.shape == (size,):
        sample = sample[:, None]
    if sample.shape != (size, dimension):
        raise ValueError(f"reference must return samples of shape ({size}, {dimension}), not {sample.shape}")
    if not np.isfinite(sample).all():
        raise ValueError("reference must return finite samples, it returned NaN or infinity")
    return sample


def _sparse(points: Floats, places: Indices, sample: Floats, cost: Cost) -> _Optimum:
    from mfstudy.transport.multiscale import assign  # a third of a second that reading a store does not need

    solved = assign(points, places, sample, cost)

    def transform(other: Floats, near: Indices | None) -> Floats:
        return solved.potential.transform(other, near)[0]

    weights = float(np.sum(places * solved.potential.values)) / len(sample)
    return _Optimum(solved.cost, weights, solved.psi, solved.owner, transform, solved.residual)


def _dense(points: Floats, mass: Floats, sample: Floats, cost: Cost) -> _Optimum:
    """Particles of any masses."""
    plan = solve(cost.matrix(points, sample), mass, np.full(len(sample), 1.0 / len(sample)), central=True)

    def transform(other: Floats, near: Indices | None) -> Floats:
        del near
        step = max(1, CHUNK // len(points))
        starts = range(0, len(other), step)
        pairs = (cost.matrix(points, other[start : start + step]) for start in starts)
        return np.concatenate([(costs - plan.dual_a[:, None]).min(axis=0) for costs in pairs])

    return _Optimum(plan.cost, float(np.sum(mass * plan.dual_a)), plan.dual_b, None, transform, plan.residual)


def _combine(
    orders: list[Indices],
    whole: float,
    optima: list[_Optimum],
    crossed: list[Floats],
    corrections: list[Floats],
    p: float,
) -> Bracket:
    size = len(orders[0])
    shift = float(np.mean([correction.mean() for correction in corrections]))
    upper = float(np.mean([optimum.cost for optimum in optima])) - shift
    # The weights of one fold with the sample of the other: each enters once.
    weights = float(np.mean([optimum.weights for optimum in optima]))
    lower = weights + float(np.mean([psi.mean() for psi in crossed])) - shift
    variances = [
        variates.variance(order, whole, 0.5 * (optimum.psi + psi) - correction)
        for order, optimum, psi, correction in zip(orders, optima, crossed, corrections, strict=True)
    ]
    return Bracket(
        estimate=0.5 * (lower + upper),
        lower=lower,
        upper=upper,
        standard_error=float(np.sqrt(np.sum(variances)) / 2),
        p=p,
        method="semidiscrete",
        residual=max(optimum.residual for optimum in optima),
        reference_points=size,
    )
