"""Moments E|z - E z|^q of laws whose squared norm is a sum of independent parts, by Poisson counts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import gammainc, gammaln, logsumexp

from mfstudy.ensemble import Floats


def ball_counts(dimension: int, order: int, rate: Floats) -> Floats:
    """Return `Shape.counts` of the uniform law on the unit ball of R^d.

    |X|^2 = R has density (d/2) r^{d/2 - 1} on [0, 1]; integrate (rate r)^j exp(-rate r) / j! against it.
    """
    j, half = np.arange(order + 1)[:, None], dimension / 2
    factor = half * np.exp(gammaln(j + half) - gammaln(j + 1))
    counts: Floats = factor * rate**-half * gammainc(j + half, rate)
    return counts


def convolve(counts: Sequence[Floats]) -> Floats:
    """Return the distribution of a sum of independent counts, each an (order + 1, K) array."""
    total = counts[0]
    for more in counts[1:]:
        total = np.stack([np.sum(total[: j + 1] * more[j::-1], axis=0) for j in range(len(total))])
    return total


def log_power_mean(s: float, dimension: int, counts: Callable[[int, Floats], Floats]) -> float:
    """Return log E S^s, S = |z - E z|^2 in units of its mean, for real s > 0.

    From Gamma(m - s) = int_0^inf (lambda S)^{m-s} exp(-lambda S) dlambda / lambda, for any m > s,

        E S^s = m! / Gamma(m - s) int_0^inf lambda^{-s} P(K = m) dlambda / lambda,   K ~ Poisson(lambda S),

    by the trapezoidal rule in x = log lambda. Only positive terms, and counts of independent factors convolve.
    On |Im x| <= theta < pi/2 the absolute integral is at most cos(theta)^{s-m} times it, so that the error
    relative to it is about 2 cos(theta)^{s-m} exp(-2 pi theta / h), below 1e-16 for every m at the best theta
    (Trefethen and Weideman, SIAM Review 56, 2014, Theorem 5.1).
    """
    m = 2 * math.ceil(s) + 1  # about 2s: neither end of the integrand then runs out of floating-point range
    h = 0.3 / math.sqrt(m - s)
    # The integrand peaks between (m - s) / (2s + 1) and m. Left out at both ends is e^-45 of it; it goes
    # as exp((m - s) x), and as exp(-(s + 1/2) x) or faster, because a factor in R^d has a bounded density.
    first = math.log((m - s) / (2 * s + 1)) - 1 - 45 / (m - s)
    last = math.log(m + dimension) + 1 + 45 / (s + 0.5)
    x = np.arange(first, last, h)
    integral = logsumexp(-s * x, b=h * counts(m, np.exp(x))[m])
    return float(gammaln(m + 1) - gammaln(m - s) + integral)
