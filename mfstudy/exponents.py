"""Effective exponents: slopes of log E on log N, over the sweep and between neighbouring sizes. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mfstudy.ensemble import Floats
from mfstudy.intervals import bca
from mfstudy.means import Means
from mfstudy.wording import Interval


@dataclass(frozen=True, eq=False)
class Effective:
    """A functional of the means that needs no law.

    Parameters
    ----------
    exponent : float
        Slope of the weighted projection of log E on log N over the sweep.
    interval : (float, float)
        At 95 %, statistical.
    systematic : float
        By how much the slope moves at most where every mean is off by its systematic bound.
    neighbours : (n - 1, 2) array
        Slope between neighbouring sizes, and its standard error.
    """

    exponent: float
    interval: Interval
    systematic: float
    neighbours: Floats


def effective_exponent(means: Means, systematic: Floats) -> Effective:
    """Return the effective exponent of means.

    E log(mean) = log E - variance / (2 E^2) to leading order: the bias is added back.

    Parameters
    ----------
    means : Means
    systematic : (n,) array
        Bounds on what the means are off, all below them, in their unit.
    """
    x = np.log(means.sizes)
    design = means.log_white @ np.stack([np.ones_like(x), x - x.mean()], axis=1)
    weights = (np.linalg.pinv(design) @ means.log_white)[1]
    bias = float(weights @ means.relative / 2) if means.estimator == "mean" else 0.0
    slope = float(weights @ np.log(means.mean)) + bias
    drawn = means.draws / means.mean - 1  # to leading order: the logarithm of few wild replicates has no variance
    interval = bca(slope, slope + drawn @ weights, weights / means.mean, means)
    shift = float(np.abs(weights) @ -np.log1p(-systematic / means.mean))
    gaps = np.diff(x)
    errors = np.diff(drawn, axis=1).std(axis=0, ddof=1) / gaps
    neighbours = np.stack([np.diff(np.log(means.mean)) / gaps, errors], axis=1)
    return Effective(slope, interval, shift, neighbours)
