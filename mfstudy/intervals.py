"""Confidence intervals of what is computed from means: a bootstrap of the whole fit. Pure."""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from mfstudy.ensemble import Floats
from mfstudy.means import Means
from mfstudy.wording import Interval

LEVEL = 0.95


def bca(estimate: float, draws: Floats, gradient: Floats, means: Means) -> Interval:
    """Return the bias-corrected and accelerated interval at 95 % (Efron, JASA 82 (1987) 171-185).

    Its ends are stretched by the ratio of Student's quantile to the normal one, which would be too short for variances
    that few replicates give. Replicates that share something are one unit, in the draws and in the acceleration.

    Parameters
    ----------
    estimate : float
    draws : (resamples,) array
        The estimate from resampled means.
    gradient : (n,) array
        Derivatives of the estimate by the means, for the acceleration.
    means : Means
    """
    below = (np.sum(draws < estimate) + np.sum(draws == estimate) / 2) / len(draws)
    centre = float(special.ndtri(np.clip(below, 1 / len(draws), 1 - 1 / len(draws))))
    bend = _acceleration(gradient, means)
    ends = []
    for level in ((1 - LEVEL) / 2, (1 + LEVEL) / 2):
        shift = centre + float(special.ndtri(level))
        ends.append(float(special.ndtr(centre + shift / max(1 - bend * shift, 0.1))))
    low, high = estimate + (np.quantile(draws, ends) - estimate) * stretch(means.degrees)
    return float(low), float(high)


def means_intervals(means: Means, table: Floats) -> Floats:
    """Return the interval of each mean, (n, 2); of a median that of order statistics, at least 95 % for any law.

    Parameters
    ----------
    means : Means
    table : (n, replicates) array
        What the means are of, NaN where absent.
    """
    if means.estimator == "mean":
        reach = student_quantile(means.degrees, LEVEL) * np.sqrt(means.variance)
        return np.stack([means.mean - reach, means.mean + reach], axis=1)
    rows = [np.sort(row[~np.isnan(row)]) for row in table]
    ranks = [max(_binomial_quantile((1 - LEVEL) / 2, len(row)), 1) for row in rows]
    return np.array([(row[rank - 1], row[len(row) - rank]) for row, rank in zip(rows, ranks, strict=True)])


def _binomial_quantile(level: float, count: int) -> int:
    """Return the least k with P(B <= k) >= level for B of `count` fair coins, without half a second of scipy.stats."""
    above: int = max(math.ceil(special.bdtrik(level, count, 0.5)), 0)
    return above - 1 if above and special.bdtr(above - 1, count, 0.5) >= level else above


def student_quantile(degrees: float, level: float) -> float:
    """Return by how many standard errors an interval of a level reaches to each side."""
    upper = (1 + level) / 2
    return float(special.ndtri(upper) if np.isinf(degrees) else special.stdtrit(degrees, upper))


def stretch(degrees: float) -> float:
    """Return by how much wider an interval at 95 % is for an estimated variance than for a known one."""
    return student_quantile(degrees, LEVEL) / student_quantile(np.inf, LEVEL)


def _acceleration(gradient: Floats, means: Means) -> float:
    """Return a sixth of the skewness of the estimate, from what each label adds to it."""
    if not means.shares:
        return 0.0
    added = np.concatenate([part @ gradient for part in means.shares])
    square = float(np.sum(added**2))
    return float(np.sum(added**3)) / (6 * square**1.5) if square > 0 else 0.0
