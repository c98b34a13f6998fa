"""The cross-fitted bracket: transport between particles and a law that can only be sampled."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import ROUND_CEILING, Decimal
from typing import NamedTuple

import numpy as np

from mfstudy.ensemble import Floats
from mfstudy.transport.bracket import Bracket
from mfstudy.transport.discrete import Period, Plan, axis_periods, check_memory, cost_matrix, dense_memory, solve

Sampler = Callable[[np.random.Generator, int], Floats]
CHUNK = 1 << 20  # pairs held at once when potentials are evaluated
PER_FEATURE = 10  # reference points that a control variate must have to be regressed
# Width of the bracket: (upper - lower) / estimate = C / k. Measured on uniform cubes at N = 300 and 1000, with
# k = 8 and 24; in D = 1 it depends much on the points (0.1 to 0.6 for p = 1, 0.9 to 3.8 for p = 2).
WIDTH_DIMENSIONS = (1.0, 2.0, 3.0, 4.0, 6.0)
WIDTH_CONSTANTS = {1: (1.0, 0.95, 0.55, 0.4, 0.25), 2: (3.0, 1.9, 1.2, 0.85, 0.52)}
LEAST_K = 4  # the midpoint is already nearly unbiased there


class _Fold(NamedTuple):
    sample: Floats  # (M, D)
    plan: Plan
    potential: Floats  # (M,), psi of the other fold's weights on this sample
    correction: Floats  # (M,), control variates with coefficients from the other fold; expectation 0


def bracket(
    points: Floats,
    sampler: Sampler,
    p: float,
    k: int,
    rng: np.random.Generator,
    weights: Floats | None = None,
    period: Period = None,
    mean: Floats | None = None,
    covariance: Floats | None = None,
    memory: float | None = None,
) -> Bracket:
    """Bracket W_p^p between a discrete measure and a sampled law.

    Parameters
    ----------
    points : (N, D) array
        Particles, in units of length.
    sampler : callable
        ``sampler(rng, m)`` returns (m, D) independent draws of the law.
    p : float
        Order, >= 1.
    k : int
        Reference points per particle, >= 2; each of the two folds has M = kN.
    rng : numpy.random.Generator
    weights : (N,) array or None
        Positive masses summing to 1; None = 1/N each.
    period : float, sequence of (float or None), or None
        Period of each axis, None = not periodic.
    mean, covariance : (D,), (D, D) arrays or None
        Exact moments of the law: control variates, used along the axes that are not periodic. All second moments
        where M is at least 10 times their number with the first; the trace of the covariance where M is less.
    memory : float or None
        Budget in bytes; None = 2 GiB.

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
    to leading order both biases are half of the same Hessian form, opposite in sign. Within a fold U and L
    average the same M points, so the variance of the estimate is the sum over folds of
    Var((psi_A + psi_B)/2) / (4 M). This is the leading order in 1/M, as the weights are fitted to the sample they
    are averaged over, and up to 10 % too small at M of about 120: there the spread over fresh references was
    measured as 1.11 and 1.10 times it (0.98 and 1.03 on other points), each +- 0.04. The coefficients of a control
    variate come from the other fold, hence its expectation is exactly 0 and both bounds hold as before.
    """
    count, dimension = points.shape
    if k < 2:
        raise ValueError(f"k must be an integer >= 2, not {k}")
    size = k * count
    check_memory(count, size, memory, lambda pairs: _remedy(pairs, count, dimension, p))
    mass = np.full(count, 1.0 / count) if weights is None else weights
    samples = _draw(sampler, rng, size, dimension), _draw(sampler, rng, size, dimension)
    if np.array_equal(*samples):
        raise ValueError("reference must draw from the rng it is given: two draws of its sample are identical")
    plans = [_optimum(points, sample, mass, p, period) for sample in samples]
    features = [_features(sample, period, mean, covariance) for sample in samples]
    folds = [
        _fold(points, samples[own], plans[own], plans[1 - own], features[own], features[1 - own], p, period)
        for own in (0, 1)
    ]
    return _combine(folds, mass, p)


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


def _remedy(pairs: float, count: int, dimension: int, p: float) -> str:
    """Say what fits into a number of pairs: a precision, rounded up to two digits, or fewer particles."""
    k = int(pairs // count**2)
    if k < LEAST_K:
        return f"at most {math.isqrt(int(pairs // LEAST_K))} points"
    precision = Decimal(_width(dimension, p)) / k
    digits = precision.quantize(Decimal(1).scaleb(precision.adjusted() - 1), ROUND_CEILING)
    return f"precision={digits:f} or None"


def memory_needed(size: int, k: int) -> float:
    """Return the memory that a bracket of N = ``size`` particles with k reference points each takes at its peak.

    Parameters
    ----------
    size, k : int

    Returns
    -------
    float
        In bytes, without what the interpreter and its libraries take.
    """
    return float(dense_memory(size, k * size))


def potential(points: Floats, phi: Floats, other: Floats, p: float, period: Period = None) -> Floats:
    """Return psi(y_j) = min_i c(x_i, y_j) - phi_i, the c-transform of weights on the particles.

    Parameters
    ----------
    points, phi : (N, D), (N,) arrays
        Particles and their weights, in units of length and of cost.
    other : (M, D) array
        Where psi is wanted.
    p : float
        Order, >= 1.
    period : float, sequence of (float or None), or None

    Returns
    -------
    (M,) array
        In units of cost.
    """
    step = max(1, CHUNK // len(points))
    blocks = [
        (cost_matrix(points, other[start : start + step], p, period) - phi[:, None]).min(axis=0)
        for start in range(0, len(other), step)
    ]
    return np.concatenate(blocks)


def _draw(sampler: Sampler, rng: np.random.Generator, size: int, dimension: int) -> Floats:
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


def _optimum(points: Floats, sample: Floats, mass: Floats, p: float, period: Period) -> Plan:
    equal = np.full(len(sample), 1.0 / len(sample))
    return solve(cost_matrix(points, sample, p, period), mass, equal, central=True)


def _features(sample: Floats, period: Period, mean: Floats | None, covariance: Floats | None) -> Floats:
    """Functions (M, F) of expectation 0, as many as M points can regress: F = 0 without moments.

    Centred coordinates with all their products; with the trace of these in their place where M is small.
    """
    if mean is None:
        return np.empty((len(sample), 0))
    periods = axis_periods(period, sample.shape[1])
    flat = [axis for axis in range(sample.shape[1]) if periods is None or periods[axis] is None]
    centred = sample[:, flat] - mean[flat]
    if covariance is None:
        features = centred
    else:
        first, second = np.triu_indices(len(flat))
        products = centred[:, first] * centred[:, second] - covariance[np.ix_(flat, flat)][first, second]
        features = np.concatenate([centred, products], axis=1)
        if len(sample) < PER_FEATURE * features.shape[1]:
            radial = products[:, first == second].sum(axis=1, keepdims=True)
            features = np.concatenate([centred, radial], axis=1)
    return features if len(sample) >= PER_FEATURE * features.shape[1] else features[:, :0]


def _fold(
    points: Floats,
    sample: Floats,
    own: Plan,
    other: Plan,
    features: Floats,
    other_features: Floats,
    p: float,
    period: Period,
) -> _Fold:
    crossed = potential(points, other.dual_a, sample, p, period)
    return _Fold(sample, own, crossed, np.einsum("mf,f->m", features, _coefficients(other_features, other.dual_b)))


def _coefficients(features: Floats, values: Floats) -> Floats:
    """Least-squares slopes (F,) of values (M,) on features."""
    centred = features - features.mean(axis=0)
    # Normal equations by einsum, not a tall factorisation: BLAS sees small matrices only, threads none.
    gram = np.einsum("mi,mj->ij", centred, centred)
    norms = np.sqrt(np.diag(gram))
    norms[norms == 0] = 1.0  # a coordinate that does not vary; elsewhere units must not decide what is singular
    moments = np.einsum("mi,m->i", centred, values - values.mean()) / norms
    slopes, *_ = np.linalg.lstsq(gram / np.outer(norms, norms), moments, rcond=1e-12)
    return np.asarray(slopes / norms)


def _combine(folds: list[_Fold], mass: Floats, p: float) -> Bracket:
    size = len(folds[0].sample)
    shift = float(np.mean([fold.correction.mean() for fold in folds]))
    upper = float(np.mean([fold.plan.cost for fold in folds])) - shift
    # The weights of one fold with the sample of the other: each enters once.
    weights_part = np.mean([np.sum(mass * fold.plan.dual_a) for fold in folds])
    lower = float(weights_part + np.mean([fold.potential.mean() for fold in folds])) - shift
    variances = [np.var(0.5 * (fold.plan.dual_b + fold.potential) - fold.correction, ddof=1) for fold in folds]
    return Bracket(
        estimate=0.5 * (lower + upper),
        lower=lower,
        upper=upper,
        standard_error=float(np.sqrt(np.sum(variances) / (4 * size))),
        p=p,
        method="semidiscrete",
        residual=max(fold.plan.residual for fold in folds),
        reference_points=size,
    )
