"""Control variates from exact moments of a law, and variances of means over samples that are spread evenly."""

from __future__ import annotations

import numpy as np

from mfstudy.ensemble import Floats, Indices
from mfstudy.transport.cost import Cost

PER_FEATURE = 10  # reference points that a control variate must have to be regressed
HEAVY = 0.25  # part of a sum of squares that one point makes up only where the variance is infinite


def features(sample: Floats, cost: Cost, mean: Floats | None, covariance: Floats | None) -> Floats:
    """Return functions of expectation 0, as many as M points can regress.

    Parameters
    ----------
    sample : (M, D) array
    cost : Cost
        Axes that are periodic have no moments.
    mean, covariance : (D,), (D, D) arrays or None
        Exact moments of the law.

    Returns
    -------
    (M, F) array
        Centred coordinates with all their products; with the trace of these in their place where M is small; F = 0
        without moments.
    """
    if mean is None:
        return np.empty((len(sample), 0))
    axes = flat(cost, sample.shape[1])
    centred = sample[:, axes] - mean[axes]
    if covariance is None:
        known = centred
    else:
        first, second = np.triu_indices(len(axes))
        products = centred[:, first] * centred[:, second] - covariance[np.ix_(axes, axes)][first, second]
        known = np.concatenate([centred, products], axis=1)
        if len(sample) < PER_FEATURE * known.shape[1]:
            radial = products[:, first == second].sum(axis=1, keepdims=True)
            known = np.concatenate([centred, radial], axis=1)
    return known if len(sample) >= PER_FEATURE * known.shape[1] else known[:, :0]


def flat(cost: Cost, dimension: int) -> list[int]:
    """Return the axes that are not periodic."""
    return [axis for axis in range(dimension) if cost.periods is None or cost.periods[axis] is None]


def slopes(features: Floats, values: Floats, order: Indices, whole: float, linear: int, p: float) -> Floats:
    """Return the slopes (F,) on features that leave the least variance of a mean over an evenly spread sample.

    Parameters
    ----------
    features : (M, F) array
        As `features` returns them.
    values : (M,) array
        What is averaged.
    order : (M,) array
        As `sampling.neighbours` returns it.
    whole : float
        Part of the whole variance that an evenly spread sample leaves.
    linear : int
        Features that are linear functions: the first ones.
    p : float
        Order of the distance.

    Notes
    -----
    Where squares have no variance themselves (a Student law with nu <= 4), a fitted slope would leave a part of it:
    far out psi is |y|^2 and less, so for p = 2 the slope on |y|^2 is 1, and only linear functions are fitted.
    """
    count = features.shape[1]
    squares = features**2
    light = squares.max(axis=0, initial=0.0) <= HEAVY * squares.sum(axis=0)
    found = np.zeros(count)
    fitted = np.ones(count, dtype=bool)
    if not light[linear:].all():
        fitted[linear:] = False
        if p == 2:
            found[_trace(linear, count)] = 1.0
            values = values - np.einsum("mf,f->m", features, found)
    found[fitted] = _least_squares(features[:, fitted], values, order, whole)
    return found


def _trace(linear: int, count: int) -> Indices:
    """Columns of the features that sum to |y - mean|^2 less its expectation, after the linear ones."""
    if count == linear + 1:
        return np.array([linear])
    first, second = np.triu_indices(linear)
    return np.asarray(linear + np.flatnonzero(first == second))


def _least_squares(features: Floats, values: Floats, order: Indices, whole: float) -> Floats:
    """Slopes (F,) by least squares on the differences between neighbours and, with a weight, on the whole sample."""
    gram, moments = np.zeros((features.shape[1],) * 2), np.zeros(features.shape[1])
    pairs = order[: len(order) // 2 * 2].reshape(-1, 2)
    parts = [(0.5, features[pairs[:, 0]] - features[pairs[:, 1]], values[pairs[:, 0]] - values[pairs[:, 1]])]
    if whole:
        parts.append((whole, features - features.mean(axis=0), values - values.mean()))
    for weight, x, y in parts:
        # Normal equations by einsum, not a tall factorisation: BLAS sees small matrices only, threads none.
        gram += weight / len(y) * np.einsum("mi,mj->ij", x, x)
        moments += weight / len(y) * np.einsum("mi,m->i", x, y)
    norms = np.sqrt(np.diag(gram))
    norms[norms == 0] = 1.0  # a coordinate that does not vary; elsewhere units must not decide what is singular
    solved, *_ = np.linalg.lstsq(gram / np.outer(norms, norms), moments / norms, rcond=1e-12)
    return np.asarray(solved / norms)


def variance(order: Indices, whole: float, values: Floats) -> float:
    """Return the variance of the mean of values (M,) over an evenly spread sample; arguments as of `slopes`."""
    ordered = values[order]
    pairs = ordered[: len(ordered) // 2 * 2].reshape(-1, 2)
    local = 0.5 * float(np.mean((pairs[:, 0] - pairs[:, 1]) ** 2))
    return (local + whole * float(np.var(values, ddof=1))) / len(values)
