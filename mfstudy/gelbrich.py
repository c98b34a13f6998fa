"""W_2^2 from means and covariances, and its values over replicates of coupled samples. Pure."""

from __future__ import annotations

import numpy as np

from mfstudy.ensemble import Floats

PER_CONTROL = 10  # replicates that a control variate must have to be regressed


def squared_distance(shift: Floats, first: Floats, second: Floats) -> Floats:
    """Return Gelbrich's lower bound of W_2^2, which is W_2^2 between Gaussians.

    Parameters
    ----------
    shift : (..., D) array
        Difference of the means.
    first : (..., D, D) array
        Covariance of one law, positive semidefinite.
    second : (D, D) array
        Covariance of the other, positive semidefinite.

    Returns
    -------
    (...) array
        |shift|^2 + tr(first + second - 2 (second^1/2 first second^1/2)^1/2).

    Notes
    -----
    M. Gelbrich, Mathematische Nachrichten 147 (1990) 185-203. Computed as the least |first^1/2 - second^1/2 U|^2 over
    rotations U, attained at the polar factor of second^1/2 first^1/2: near each other no digits cancel, and neither
    need be invertible (monokinetic data).
    """
    root, other = _root(first), _root(second)
    left, _, right = np.linalg.svd(other @ root)
    apart = root - other @ left @ right
    return np.asarray(np.sum(shift**2, axis=-1) + np.sum(apart**2, axis=(-2, -1)))


def _root(matrix: Floats) -> Floats:
    values, vectors = np.linalg.eigh(0.5 * (matrix + np.swapaxes(matrix, -1, -2)))
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :]) @ np.swapaxes(vectors, -1, -2))


def moments(points: Floats) -> Floats:
    """Return the means of z_a and of z_a z_b, a <= b, over points (..., N, D): a (..., D + D (D + 1) / 2) array."""
    first, second = np.triu_indices(points.shape[-1])
    return np.concatenate([points.mean(axis=-2), (points[..., first] * points[..., second]).mean(axis=-2)], axis=-1)


def expected_moments(mean: Floats, covariance: Floats) -> Floats:
    """Return what `moments` returns in expectation, from mean (D,) and covariance (D, D)."""
    return np.concatenate([mean, (covariance + np.outer(mean, mean))[np.triu_indices(len(mean))]])


def values_over_replicates(differences: Floats, controls: Floats, known: Floats) -> Floats:
    """Return jackknife values whose mean estimates the squared distance of the law of a particle to a known law.

    Parameters
    ----------
    differences : (R, F) array
        For each replicate, `moments` of its particles less those of coupled samples of the known law.
    controls : (R, F) array
        Numbers of the same replicates of expectation 0, correlated with the differences.
    known : (F,) array
        `expected_moments` of the known law.

    Returns
    -------
    (R,) array
        R T - (R - 1) T_r with T the distance from all replicates and T_r that without replicate r: their mean is
        T less its bias of order 1/R, and they vary like R times its variance (Efron and Stein 1981). All 0 where all
        differences are; NaN for fewer than 3 replicates.

    Notes
    -----
    A mean of differences of coupled samples has none of the noise of the samples. It keeps a part of order N^-1/2 that
    all particles of a replicate share; regressed on the controls, it leaves order 1/N, like the mean itself, so that
    the relative error does not depend on N.
    """
    count = len(differences)
    if count < 3:
        return np.full(count, np.nan)
    if not differences.any():
        return np.zeros(count)
    if count >= PER_CONTROL * controls.shape[1]:
        centred = controls - controls.mean(axis=0)
        slopes, *_ = np.linalg.lstsq(centred, differences - differences.mean(axis=0), rcond=None)
        differences = differences - controls @ slopes
    total = differences.sum(axis=0)
    whole = _distance(total / count, known)
    return np.asarray(count * whole - (count - 1) * _distance((total - differences) / (count - 1), known))


def _distance(change: Floats, known: Floats) -> Floats:
    """Squared distance between the laws of moments known (F,) and known + change (..., F)."""
    dimension = int(np.sqrt(2 * len(known) + 2.25) - 1.5)
    mean, second = _unpacked(known, dimension)
    shift, more = _unpacked(change, dimension)
    moved = mean + shift
    outer = moved[..., :, None] * moved[..., None, :]
    return squared_distance(shift, second + more - outer, second - np.outer(mean, mean))


def _unpacked(values: Floats, dimension: int) -> tuple[Floats, Floats]:
    """First moments (..., D), and second moments (..., D, D)."""
    first, second = np.triu_indices(dimension)
    matrix = np.empty((*values.shape[:-1], dimension, dimension))
    matrix[..., first, second] = matrix[..., second, first] = values[..., dimension:]
    return values[..., :dimension], matrix
