"""W_2^2 from means and covariances, and its values over replicates of coupled samples. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from mfstudy.ensemble import Floats, Indices

#: What stored moments of the start and of rho^t are, for a formula.
CONTROL, MOMENT = "mean of {} at time 0 less its expectation", "integral of {} over rho^t"
PER_CONTROL = 3  # replicates that a control variate must have to be regressed


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


def names(dimension: int) -> list[tuple[str, str]]:
    """Return keys and formulas of what `moments` returns."""
    pairs = zip(*np.triu_indices(dimension), strict=True)
    return [
        *((f"{a + 1}", f"z_{a + 1}") for a in range(dimension)),
        *((f"{a + 1}{b + 1}", f"z_{a + 1} z_{b + 1}") for a, b in pairs),
    ]


def gradients(points: Floats) -> Floats:
    """Return the gradients of z_a and of z_a z_b, a <= b, at points (n, D): a (D + D (D + 1) / 2, n, D) array."""
    count, dimension = points.shape
    unit = np.eye(dimension)
    plain = np.broadcast_to(unit[:, None, :], (dimension, count, dimension))
    pairs = zip(*np.triu_indices(dimension), strict=True)
    return np.stack([*plain, *(np.outer(points[:, b], unit[a]) + np.outer(points[:, a], unit[b]) for a, b in pairs)])


def expected_moments(mean: Floats, covariance: Floats) -> Floats:
    """Return what `moments` returns in expectation, from mean (D,) and covariance (D, D)."""
    return np.concatenate([mean, (covariance + np.outer(mean, mean))[np.triu_indices(len(mean))]])


def differences_of(raw: Mapping[str, Floats], role: str = "difference") -> Floats:
    """Return differences of replicates between two laws, without what the start explains of them.

    Parameters
    ----------
    raw : mapping
        Role -> (R, k) array of numbers of the replicates. "difference", or another role: means over the particles less
        those over coupled samples of the other law. "control": numbers of expectation 0, correlated with the
        differences, the most useful first. Where replicates share pools, "pool_control": the controls of the
        replicate's pool, on which the other law's samples depend as the particles on their own. "total": differences
        of which "difference" is the first part, and those of the rest are returned.

    Notes
    -----
    A mean of differences of coupled samples has none of the noise of the samples. It keeps a part of order N^-1/2 that
    all particles of a replicate share; regressed on the controls, it leaves order 1/N, like the mean itself, so that
    the relative error does not depend on N.
    """
    controls = raw["control"]
    values = adjusted(raw[role], controls - raw["pool_control"] if "pool_control" in raw else controls)
    return adjusted(raw["total"], controls) - values if "total" in raw else values


def jackknife(values: Floats, of: Callable[[Floats], Floats], groups: Indices | None = None) -> Floats:
    """Return values whose mean estimates a function of a mean, and whose spread says how well.

    Parameters
    ----------
    values : (R, k) array
        One row for each replicate.
    of : callable
        Means (..., k) -> (...) values; 0 at 0.
    groups : (R,) array of int, optional
        Replicates of the same label share something; what is left out at a time is a group.

    Returns
    -------
    (R,) array, or (G,) array of the G groups
        R T - (R - 1) T_r with T the value from all replicates and T_r that without replicate r: their mean is
        T less its bias of order 1/R, and they vary like R times its variance (Efron and Stein 1981). All 0 where all
        values are; NaN for fewer than 3.
    """
    if groups is not None:
        values = _means(values, groups)
    count = len(values)
    if not values.any() or count < 3:
        return np.full(count, np.nan if values.any() else 0.0)
    total = values.sum(axis=0)
    return np.asarray(count * of(total / count) - (count - 1) * of((total - values) / (count - 1)))


def _means(values: Floats, groups: Indices) -> Floats:
    """Return the mean of each group."""
    labels, where, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    sums = np.zeros((len(labels), values.shape[1]))
    np.add.at(sums, where, values)
    return np.asarray(sums / sizes[:, None])


def adjusted(values: Floats, controls: Floats) -> Floats:
    """Return values less their regression on controls of expectation 0, each with the slopes of all other replicates.

    Parameters
    ----------
    values : (R, F) array
    controls : (R, C) array

    Returns
    -------
    (R, F) array
        Of the same expectation: the slopes do not know the replicate. Of the controls only the first are used, as many
        as have 3 replicates each.
    """
    count = len(controls)
    controls = controls[:, : max(count // PER_CONTROL - 1, 0)]
    if not controls.size:
        return values
    design = np.column_stack([np.ones(count), controls])
    inverse = np.linalg.pinv(design.T @ design)
    slopes = inverse @ (design.T @ values)
    leverage = np.einsum("ij,jk,ik->i", design, inverse, design)
    # Without row i the slopes change by -inverse x_i r_i / (1 - h_i).
    change = (leverage - design @ inverse[:, 0]) / np.maximum(1 - leverage, 1e-12)
    return np.asarray(values - controls @ slopes[1:] + change[:, None] * (values - design @ slopes))


def from_moments(change: Floats, known: Floats) -> Floats:
    """Return the squared distance between the laws of moments known (F,) and known + change (..., F)."""
    mean, covariance = unpacked(known)
    shift, more = _split(change, len(mean))
    moved = mean + shift
    outer = moved[..., :, None] * moved[..., None, :]
    second = covariance + np.outer(mean, mean)
    return squared_distance(shift, second + more - outer, covariance)


def transported(points: Floats, change: Floats, known: Floats) -> Floats:
    """Return points (n, D) of a law of known moments, moved by the affine map to the moments known + change (F,)."""
    mean, covariance = unpacked(known)
    shift, more = _split(change, len(mean))
    moved = mean + shift
    target = covariance + np.outer(mean, mean) + more - np.outer(moved, moved)
    root = _root(covariance)
    inverse = np.linalg.pinv(root, rcond=1e-10, hermitian=True)
    return np.asarray(moved + (points - mean) @ (inverse @ _root(root @ target @ root) @ inverse))


def unpacked(known: Floats) -> tuple[Floats, Floats]:
    """Return mean (D,) and covariance (D, D) from what `expected_moments` has returned."""
    dimension = round(float(np.sqrt(2 * len(known) + 2.25) - 1.5))
    mean, second = _split(known, dimension)
    return mean, second - np.outer(mean, mean)


def _split(values: Floats, dimension: int) -> tuple[Floats, Floats]:
    """First moments (..., D), and second moments (..., D, D)."""
    first, second = np.triu_indices(dimension)
    matrix = np.empty((*values.shape[:-1], dimension, dimension))
    matrix[..., first, second] = matrix[..., second, first] = values[..., dimension:]
    return values[..., :dimension], matrix
