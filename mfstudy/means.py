"""Means over the sweep, their fitted variances, and what resampling the replicates says about both. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from mfstudy.ensemble import Floats
from mfstudy.streams import Purpose, stream

RESAMPLES = 1999


@dataclass(frozen=True, eq=False)
class Means:
    """Means over the sweep, their fitted variances, and what resampling gives."""

    sizes: Floats
    mean: Floats
    variance: Floats  # (n,) of the means, by the variance function
    relative: Floats  # (n,) variance / mean^2, smoothed by itself
    white: Floats  # (n, n) whitens the means
    log_white: Floats  # (n, n) whitens their logarithms
    draws: Floats  # (RESAMPLES, n) means of the resampled replicates
    degrees: float  # of freedom in the variances
    shares: tuple[Floats, ...]  # (labels, n) of each stratum: what a label adds to the means
    estimator: Literal["mean", "median"] = "mean"

    def first(self, n: int) -> Means:
        """Return those of the first n sizes."""
        covariance = np.linalg.inv(self.white.T @ self.white)[:n, :n]
        white = np.linalg.inv(np.linalg.cholesky(covariance))
        if np.count_nonzero(covariance - np.diag(np.diag(covariance))) == 0:
            white, log_white = self.white[:n, :n], self.log_white[:n, :n]
        else:
            log_white = white * self.mean[:n]
        return replace(
            self,
            sizes=self.sizes[:n],
            mean=self.mean[:n],
            variance=self.variance[:n],
            relative=self.relative[:n],
            white=white,
            log_white=log_white,
            draws=self.draws[:, :n],
            shares=tuple(part[:, :n] for part in self.shares),
        )


@dataclass(frozen=True, eq=False)
class Spread:
    """How single replicates, which share nothing, vary about their means over the sweep.

    Parameters
    ----------
    mean : (n,) array
    relative : (n,) array
        Variance of a replicate / mean^2, smoothed over the sizes by the variance function; dimensionless.
    degrees : float
        Of freedom in the variances; infinite where the replicates of each size are all equal.
    """

    mean: Floats
    relative: Floats
    degrees: float


def spread_of(sizes: Floats, table: Floats) -> Spread:
    """Return means and smoothed relative variances of the replicates (n, R), NaN where absent, 2 of a size or more."""
    present = ~np.isnan(table)
    count = present.sum(axis=1)
    mean = np.where(present, table, 0.0).sum(axis=1) / count
    deviation = np.where(present, table - mean[:, None], 0.0)
    variance = (deviation**2).sum(axis=1) / (count - 1)
    if not variance.any():
        return Spread(mean, variance, np.inf)
    rows = tuple(row[here][:, None] for row, here in zip(deviation, present, strict=True))
    return Spread(mean, _variance_function(np.log(sizes), variance / mean**2, count - 1.0), _degrees(rows))


def _variance_function(log_sizes: Floats, variance: Floats, degrees: Floats) -> Floats:
    """Smooth sample variances to a power of N: slope of log s^2 on log N, then the pooled scale.

    E log s^2 = log sigma^2 + digamma(k/2) - log(k/2) with k degrees of freedom corrects the slope where k
    varies; a scale from pooling is unbiased for any noise.
    """
    kept = variance > 0
    slope = 0.0
    if kept.sum() > 1:
        half = degrees[kept] / 2
        unbiased = np.log(variance[kept]) - special.digamma(half) + np.log(half)
        slope = np.polyfit(log_sizes[kept], unbiased, 1, w=np.sqrt(degrees[kept]))[0]
    shape = np.exp(slope * (log_sizes - log_sizes.mean()))
    return np.asarray(shape * np.average(variance / shape, weights=degrees))


def resampled_means(sizes: Floats, table: Floats, labels: NDArray[np.int64]) -> Means:
    """Means, fitted variances and bootstrap draws from replicates (by label)."""
    present = ~np.isnan(table)
    count = present.sum(axis=1)
    mean = np.where(present, table, 0.0).sum(axis=1) / count
    deviation = np.where(present, table - mean[:, None], 0.0) / count[:, None]
    clusters = _clusters(deviation, present, labels)
    each = np.sum([_inflation(part) * ((part - part.mean(axis=0)) ** 2).sum(axis=0) for part in clusters], axis=0)
    degrees = np.sum([(len(part) - 1) * np.any(part != 0, axis=0) for part in clusters], axis=0).astype(float)
    degrees = np.maximum(degrees, 1.0)
    log_sizes = np.log(sizes)
    variance = _variance_function(log_sizes, each * count, degrees) / count
    relative = _variance_function(log_sizes, each * count / mean**2, degrees) / count
    # Deviations take the size of the fitted variance: pooling steadies the intervals of few replicates.
    scale = np.sqrt(np.divide(variance, each, out=np.ones_like(each), where=each > 0))
    draws = mean + scale * sum(_redrawn(part, index) for index, part in enumerate(clusters))
    white, log_white = _whitening(variance), _whitening(relative)
    shares = tuple(scale * (part - part.mean(axis=0)) for part in clusters)
    return Means(sizes, mean, variance, relative, white, log_white, draws, _degrees(clusters), shares)


def _whitening(variance: Floats) -> Floats:
    """Return the diagonal matrix that whitens; 0 where nothing varies, which a fit refuses."""
    return np.diag(np.divide(1.0, np.sqrt(variance), out=np.zeros_like(variance), where=variance > 0))


def _degrees(clusters: tuple[Floats, ...]) -> float:
    """Degrees of freedom of a pooled variance: labels minus strata, reduced by the excess kurtosis.

    A sample variance of n values of excess kurtosis e has relative variance (2 + e) / n.
    """
    columns = [column for part in clusters for column in part.T if np.any(column != 0)]
    standard = [column[column != 0] / np.sqrt(np.mean(column[column != 0] ** 2)) for column in columns]
    excess = float(np.mean(np.concatenate(standard) ** 4)) - 3
    return sum(len(part) - 1 for part in clusters) * 2 / (2 + max(excess, 0.0))


def _clusters(deviation: Floats, present: NDArray[np.bool_], labels: NDArray[np.int64]) -> tuple[Floats, ...]:
    """Sum the deviations of each label, and split the labels into strata that appear at the same sizes.

    Returns arrays (labels of the stratum, n). A label that is alone in its stratum joins the largest one.
    """
    unique, inverse = np.unique(labels[present], return_inverse=True)
    row = np.nonzero(present)[0]
    total = np.zeros((len(unique), len(deviation)))
    seen = np.zeros(total.shape, dtype=bool)
    np.add.at(total, (inverse, row), deviation[present])
    seen[inverse, row] = True
    _, stratum, members = np.unique(seen, axis=0, return_inverse=True, return_counts=True)
    stratum = np.where(members[stratum] == 1, np.argmax(members), stratum)
    return tuple(total[stratum == index] for index in np.unique(stratum))


def _inflation(part: Floats) -> float:
    """Return n / (n - 1), which makes a variance over n resampled labels unbiased."""
    return len(part) / (len(part) - 1)


def _redrawn(part: Floats, index: int) -> Floats:
    """Deviations of the means when the labels of a stratum are drawn again, (RESAMPLES, n)."""
    rng = stream(0, Purpose.BOOTSTRAP, 0, index)
    touched = np.any(part != 0, axis=0)
    centred = part[:, touched] - part[:, touched].mean(axis=0)
    drawn = np.zeros((RESAMPLES, part.shape[1]))
    chunk = max(1, 4_000_000 // part.size)  # rows drawn at once: bounds the memory
    for first in range(0, RESAMPLES, chunk):
        rows = min(chunk, RESAMPLES - first)
        picks = rng.integers(len(part), size=(rows, len(part)))
        drawn[first : first + rows, touched] = centred[picks].sum(axis=1)
    return np.asarray(drawn * np.sqrt(_inflation(part)))


def resampled_medians(sizes: Floats, table: Floats) -> Means:
    """Return medians of independent replicates, their fitted variances and bootstrap draws.

    The median of n values drawn again is their order statistic at n times a Beta((n+1)/2, (n+1)/2) variable. Its
    variance is known to a relative n^{-1/4} only (Hall and Martin, PTRF 80 (1988) 261-268), which pooling over the
    sizes improves.
    """
    rows = [np.sort(row[~np.isnan(row)]) for row in table]
    count = np.array([len(row) for row in rows])
    median = np.array([np.median(row) for row in rows])
    rng = stream(0, Purpose.BOOTSTRAP, 0, 0)
    halves = [rng.beta((n + 1) / 2, (n + 1) / 2, RESAMPLES) for n in count]
    redrawn = [row[(len(row) * half).astype(int)] for row, half in zip(rows, halves, strict=True)]
    drawn = np.stack([each - each.mean() for each in redrawn], axis=1)
    each, degrees = drawn.var(axis=0, ddof=1), 2 * np.sqrt(count)
    variance = _variance_function(np.log(sizes), each * count, degrees) / count
    relative = _variance_function(np.log(sizes), each * count / np.where(median > 0, median, 1.0) ** 2, degrees) / count
    scale = np.sqrt(np.divide(variance, each, out=np.ones_like(each), where=each > 0))
    white, log_white = _whitening(variance), _whitening(relative)
    draws, freedom = median + scale * drawn, float(degrees.sum())
    return Means(sizes, median, variance, relative, white, log_white, draws, freedom, (), "median")


def known_means(sizes: Floats, mean: Floats, covariance: Floats) -> Means:
    """Means of known covariance, with Gaussian draws."""
    root = np.linalg.cholesky(covariance)
    noise = stream(0, Purpose.BOOTSTRAP, 0, 0).standard_normal((RESAMPLES, len(mean)))
    white = np.linalg.inv(root)
    variance = np.diag(covariance)
    return Means(sizes, mean, variance, variance / mean**2, white, white * mean, mean + noise @ root.T, np.inf, ())
