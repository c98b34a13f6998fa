"""W_2^2 between the law of a particle and rho^t, from numbers of replicates: an estimate, and ends. Pure.

Lower end, by Kantorovich duality with the potential phi = 2 u, u a combination of test functions: with the Hessian of
u at most b < 1, phi^c(y) = inf_x |x - y|^2 - phi(x) is at least -phi(y) - |grad u(y)|^2 / (1 - b), so that

    W_2^2 >= 2 (E u(z) - int u d rho) - int |grad u|^2 d rho / (1 - b).

u is chosen on one half of the replicates and evaluated on the other, so that the end is below W_2^2 in expectation.

Upper end: W_2^2 between particles of many replicates, pooled, and their pooled copies: by joint convexity its
expectation is not less than W_2^2 of the laws, whatever depends on what. It falls towards it as the pool grows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mfstudy import dictionary, gelbrich
from mfstudy.ensemble import Floats, Indices

#: Replicates for each test function from which a lower end is tried.
PER_FUNCTION = 4
#: Pools of the upper end, over which its error is taken, and most particles of one.
GROUPS, MOST_PARTICLES = 4, 8192


@dataclass(frozen=True)
class End:
    """One end of a bracket.

    Parameters
    ----------
    value : float
    standard_error : float
        Over replicates, or over pools of them.
    """

    value: float
    standard_error: float


def law_values(raw: Mapping[str, Floats], groups: Indices | None = None) -> Floats:
    """Return jackknife values whose mean estimates W_2^2 of two laws.

    Gelbrich's distance, from means and covariances, and to leading order what the test functions beyond degree 2 add to
    it, where there are any and replicates enough: the largest 2 u . m - u' G u over all functions, less that over
    degree 2, with G_ij = int grad g_i . grad g_j d rho^t and without what the moments explain of m.

    Parameters
    ----------
    raw : mapping
        As `gelbrich.differences_of`, with "moment" (R, k): `gelbrich.expected_moments` of rho^t; perhaps "test" and
        "copy", coordinates of some samples of rho^t.
    groups : (R,) array of int, optional
        What replicates share.
    """
    values, known = gelbrich.differences_of(raw), raw["moment"][0]
    low = values.shape[1]
    count = raw["test"].shape[1] if "test" in raw else 0
    if len(values) < PER_FUNCTION * (count + 1) or not count or not values.any():
        return gelbrich.jackknife(values, lambda mean: gelbrich.from_moments(mean, known), groups)
    tests = gelbrich.differences_of(raw, "test")[:, low:]
    mixed = np.r_[0:low, 2 * low : low + count]
    grams = _grams(raw, with_moments=True)[:, mixed[:, None], mixed]
    tests = tests - _curved(raw, values.mean(axis=0), grams.mean(axis=0))

    def distance(mean: Floats) -> Floats:
        moments, plain = mean[..., :count], mean[..., :low]
        gram = mean[..., count:].reshape(*mean.shape[:-1], count, count)
        more = _gain(moments, gram) - _gain(plain, gram[..., :low, :low])
        return np.asarray(gelbrich.from_moments(plain, known) + more)

    columns = np.concatenate([values, tests, grams.reshape(len(values), -1)], axis=1)
    return gelbrich.jackknife(columns, distance, groups)


def _curved(raw: Mapping[str, Floats], change: Floats, gram: Floats) -> Floats:
    """Return the means of the further test functions that the change of the moments explains beyond its first order.

    rho^t moved by the affine map of Gelbrich's distance has the new moments: between Gaussians nothing else is left.
    """
    low, (mean, covariance) = len(change), gelbrich.unpacked(raw["moment"][0])
    samples = raw["copy"].reshape(-1, len(mean))
    scale = dictionary.scale_of(covariance)
    moved = gelbrich.transported(samples, change, raw["moment"][0])
    found = dictionary.means(moved, mean, scale) - dictionary.means(samples, mean, scale)
    return np.asarray(found[low:] - gram[low:, :low] @ (np.linalg.pinv(gram[:low, :low], rcond=1e-10) @ change))


def _gain(moments: Floats, gram: Floats) -> Floats:
    """Return the largest 2 u . m - u' G u over u."""
    return np.asarray(np.einsum("...i,...ij,...j", moments, np.linalg.pinv(gram, rcond=1e-10, hermitian=True), moments))


def _grams(raw: Mapping[str, Floats], with_moments: bool = False) -> Floats:
    """Return, for each replicate, grad g_i . grad g_j averaged over its samples of rho^t, (R, F, F).

    Of expectation int grad g_i . grad g_j d rho^t, g the functions of the dictionary, behind those of
    `gelbrich.moments` where they are asked for.
    """
    mean, covariance = gelbrich.unpacked(raw["moment"][0])
    samples = raw["copy"].reshape(len(raw["copy"]), -1, len(mean))
    flat = samples.reshape(-1, len(mean))
    slopes = dictionary.gradients(flat, mean, dictionary.scale_of(covariance))
    if with_moments:
        slopes = np.concatenate([gelbrich.gradients(flat), slopes])
    rows = slopes.reshape(len(slopes), len(samples), -1).transpose(1, 0, 2)
    return np.asarray(rows @ rows.transpose(0, 2, 1) / samples.shape[1])


def law_ends(raw: Mapping[str, Floats]) -> tuple[End | None, End]:
    """Return the two ends from what `mfstudy.observables.marginal` has stored, by role.

    Below, the larger of Gelbrich's distance and the dual bound.
    """
    mean, covariance = gelbrich.unpacked(raw["moment"][0])
    pairs = (raw[role].reshape(len(raw[role]), -1, len(mean)) for role in ("particle", "copy"))
    above = upper_end(raw["coupled"][:, 0], *pairs)
    if not raw["test"].any():
        return End(0.0, 0.0), above
    plain = _end(law_values({role: values for role, values in raw.items() if role != "test"}))
    curvatures = dictionary.curvatures(dictionary.scale_of(covariance))
    dual = lower_end(gelbrich.differences_of(raw, "test"), _grams(raw), curvatures)
    return (plain if dual is None or not plain.value < dual.value else dual), above


def _end(values: Floats) -> End:
    """Return a mean and its standard error."""
    return End(float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else 0.0)


def lower_end(differences: Floats, grams: Floats, curvatures: Floats) -> End | None:
    """Return a lower end, None where the replicates are too few.

    Parameters
    ----------
    differences : (R, F) array
        For each replicate, means of the test functions over particles less those over coupled samples of rho^t; of
        expectation E g(z) - int g d rho.
    grams : (R, F, F) array
        Of expectation int grad g_i . grad g_j d rho.
    curvatures : (F,) array
        Bounds of the operator norms of their Hessians.
    """
    if len(differences) < PER_FUNCTION * (len(curvatures) + 1):
        return None
    halves = [(differences[side::2], grams[side::2]) for side in (0, 1)]
    sides = [_evaluated(_chosen(*a, curvatures), *b, curvatures) for a, b in (halves, halves[::-1])]
    return End(sum(s.value for s in sides) / 2, math.hypot(*(s.standard_error for s in sides)) / 2)


def _chosen(differences: Floats, grams: Floats, curvatures: Floats) -> Floats:
    """Return the coefficients of the largest expected end, given how well the mean is known."""
    gram = grams.mean(axis=0) + np.cov(differences.T).reshape(grams.shape[1:]) / len(differences)
    mean = differences.mean(axis=0)
    chosen: Floats = np.linalg.lstsq(gram, mean, rcond=1e-12)[0]
    gain, loss, bend = chosen @ mean, chosen @ gram @ chosen, np.abs(chosen) @ curvatures
    scales = np.linspace(0.0, 0.99 / max(float(bend), 0.99), 200)
    return np.asarray(chosen * scales[np.argmax(2 * scales * gain - scales**2 * loss / (1 - scales * bend))])


def _evaluated(chosen: Floats, differences: Floats, grams: Floats, curvatures: Floats) -> End:
    slopes = np.einsum("i,rij,j->r", chosen, grams, chosen)
    return _end(2 * differences @ chosen - slopes / (1 - np.abs(chosen) @ curvatures))


def upper_end(coupled: Floats, particles: Floats, copies: Floats) -> End:
    """Return the smaller of the mean over replicates and the mean over pools of them.

    Parameters
    ----------
    coupled : (R,) array
        W_2^2 between all particles of a replicate and their copies.
    particles, copies : (R, n, D) arrays
        Some particles of each replicate, and their copies.
    """
    alone = _end(coupled)
    each = min(len(particles) // GROUPS, MOST_PARTICLES // particles.shape[1])
    if each < 2:
        return alone
    from mfstudy.transport.wasserstein import wasserstein  # compilers, which reading a store does without

    pools = [slice(i * each, (i + 1) * each) for i in range(GROUPS)]
    dimension = particles.shape[2]
    values = [
        wasserstein(particles[rows].reshape(-1, dimension), copies[rows].reshape(-1, dimension), 2).upper
        for rows in pools
    ]
    pooled = _end(np.asarray(values))
    return min(alone, pooled, key=lambda end: end.value)


def pool_effect(estimate: Floats, pool: Floats, labels: Indices, copies: int) -> End | None:
    """Return copies (mean pool / mean estimate - 1) of replicates (R,), with its error over labels."""
    kept = np.isfinite(estimate)
    if not estimate[kept].any():
        return None
    sums: Floats = np.stack([np.bincount(labels[kept], row[kept]) for row in (estimate, pool)], axis=1).astype(float)
    ratio = _end(gelbrich.jackknife(sums, lambda mean: np.asarray(mean[..., 1] / mean[..., 0])))
    return End(copies * (ratio.value - 1), copies * ratio.standard_error)


def pool_correlation(own: Floats, pool: Floats) -> End | None:
    """Return the mean correlation of controls (R, C) of replicates and of their pools, with its error."""
    scale = np.sqrt((own**2).mean(axis=0) * (pool**2).mean(axis=0)) if len(own) > 1 else np.zeros(1)
    return _end((own * pool / scale).mean(axis=1)) if scale.all() else None
