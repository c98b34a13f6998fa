"""Candidate laws fitted to means, and how they compare. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from mfstudy.ensemble import Floats
from mfstudy.means import Means, half_width
from mfstudy.rates import RateLaw, least_squares
from mfstudy.wording import Interval

STEPS = 3  # Gauss-Newton steps of a draw, from the estimate: a wild draw stays bounded


@dataclass(frozen=True, eq=False)
class Candidate:
    """A law fitted to the means."""

    law: RateLaw
    constant: float
    constant_interval: Interval
    exponent: float  # of the free twin
    exponent_interval: Interval
    fitted: Floats
    chi2: float
    weight: float = 1.0  # AICc weight among the candidates


def fit_law(law: RateLaw, means: Means) -> Candidate:
    """Fit a law, and its twin with the exponent free, to the means and to every draw of them."""
    constants, _ = _point_and_draws(law, means)
    twin_constants, exponents = _point_and_draws(law.twin, means)
    fitted = constants[0] * law.shape(means.sizes, exponents[0] if law.exponent is None else None)
    chi2 = float(np.sum((means.white @ (means.mean - fitted)) ** 2))
    logs = np.log(twin_constants) if law.exponent is None else constants / constants[0]
    half = half_width(logs[1:], means)
    constant = float(constants[0])
    constant_interval = (float(constant * np.exp(-half)), float(constant * np.exp(half)))
    exponent, width = float(exponents[0]), half_width(exponents[1:], means)
    return Candidate(law, constant, constant_interval, exponent, (exponent - width, exponent + width), fitted, chi2)


def _point_and_draws(law: RateLaw, means: Means) -> tuple[Floats, Floats]:
    """Constants and exponents of the means (first entry) and of every draw."""
    constant, exponent = least_squares(law, means.sizes, means.mean[None], means.white)
    start = float(constant[0]), float(exponent[0])
    drawn = least_squares(law, means.sizes, means.draws, means.white, start, steps=STEPS)
    return np.concatenate([constant, drawn[0]]), np.concatenate([exponent, drawn[1]])


def weighted(candidates: Sequence[Candidate], n: int) -> list[Candidate]:
    """Give each its AICc weight (Burnham and Anderson 2002, section 2.4).

    AIC is used for all where the small-sample term of one does not exist, n <= k + 1.
    """
    k = np.array([candidate.law.parameters for candidate in candidates])
    score = np.array([candidate.chi2 for candidate in candidates]) + 2 * k
    if np.all(n > k + 1):
        score = score + 2 * k * (k + 1) / (n - k - 1)
    weight = np.exp(-(score - score.min()) / 2)
    shares = weight / weight.sum()
    return [replace(each, weight=float(share)) for each, share in zip(candidates, shares, strict=True)]


def p_value_of(candidate: Candidate, means: Means) -> float:
    """Probability of a larger chi^2 than that of the law, F distributed where the variances are estimated."""
    free = len(means.sizes) - candidate.law.parameters
    if np.isinf(means.degrees):
        return float(special.chdtrc(free, candidate.chi2))
    return float(special.fdtrc(free, means.degrees, candidate.chi2 / free))
