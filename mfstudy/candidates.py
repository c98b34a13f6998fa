"""Candidate laws fitted to means, and how they compare. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from mfstudy.ensemble import Floats
from mfstudy.means import Means, half_width
from mfstudy.rates import RateLaw
from mfstudy.regression import least_squares
from mfstudy.wording import Interval, cite

PLAUSIBLE = 0.05  # AICc weight above which a law takes part in the verdict
MISFIT = 1e-3  # chi^2 probability below which a law does not describe the means
STEPS = 3  # Gauss-Newton steps of a draw, from the estimate: a wild draw stays bounded


@dataclass(frozen=True, eq=False)
class Candidate:
    """A law fitted to the means."""

    law: RateLaw
    constant: float
    constant_interval: Interval
    second_constant: float | None  # c, of the second term
    exponent: float  # of the free twin
    exponent_interval: Interval
    fitted: Floats
    chi2: float
    weight: float = 1.0  # AICc weight among the candidates


def fit_law(law: RateLaw, means: Means) -> Candidate:
    """Fit a law, and its twin with the exponent free, to the means and to every draw of them."""
    coefficients, powers = _point_and_draws(law, means)
    # A pinned law is where its twin starts: that of a second-term law may have more than one minimum.
    twin = (coefficients, powers) if law.exponent is None else _point_and_draws(law.twin, means, law.exponent)
    constant = float(coefficients[0, 0])
    c = float(coefficients[1, 0] / constant) if law.second is not None else None
    fitted = law.shape(means.sizes, float(powers[0]), c or 0.0) * constant
    chi2 = float(np.sum((means.white @ (means.mean - fitted)) ** 2))
    exponent, width = float(twin[1][0]), half_width(twin[1][1:], means)
    interval = _constant_interval(law, coefficients[0], means)
    return Candidate(law, constant, interval, c, exponent, (exponent - width, exponent + width), fitted, chi2)


def _point_and_draws(law: RateLaw, means: Means, start: float | None = None) -> tuple[Floats, Floats]:
    """Linear coefficients and exponents of the means (first entry) and of every draw."""
    coefficients, exponent = least_squares(law, means.sizes, means.mean[None], means.white, start)
    drawn = least_squares(law, means.sizes, means.draws, means.white, float(exponent[0]), steps=STEPS)
    return np.concatenate([coefficients, drawn[0]], axis=1), np.concatenate([exponent, drawn[1]])


def _constant_interval(law: RateLaw, constants: Floats, means: Means) -> Interval:
    """Interval of C, on the log scale unless a draw crosses zero, as a second term makes it do."""
    if np.any(constants <= 0):
        half = half_width(constants[1:], means)
        return float(constants[0] - half), float(constants[0] + half)
    logs = np.log(constants) if law.exponent is None else constants / constants[0]
    factor = np.exp(half_width(logs[1:], means))
    return float(constants[0] / factor), float(constants[0] * factor)


def weighted(candidates: Sequence[Candidate], n: int) -> list[Candidate]:
    """Give each its AICc weight (Burnham and Anderson 2002, section 2.4), 0 where C is not positive.

    AIC is used for all where the small-sample term of one does not exist, n <= k + 1. At least one C is positive.
    """
    k = np.array([candidate.law.parameters for candidate in candidates])
    score = np.array([candidate.chi2 if candidate.constant > 0 else np.inf for candidate in candidates]) + 2 * k
    if np.all(n > k + 1):
        score = score + 2 * k * (k + 1) / (n - k - 1)
    weight = np.exp(-(score - score.min()) / 2)
    shares = weight / weight.sum()
    return [replace(each, weight=float(share)) for each, share in zip(candidates, shares, strict=True)]


def plausible_among(candidates: Sequence[Candidate], means: Means) -> list[Candidate]:
    """Return the laws that take part in the verdict: of weight above 5 %, or of two terms and not rejected.

    Over a short sweep a free power imitates a second term, and the terms after the second tell against the law that
    theory states: its AICc weight alone is no evidence, a chi^2 that it does not survive is.
    """
    return [each for each in candidates if each.weight > PLAUSIBLE or _survives(each, means)]


def _survives(candidate: Candidate, means: Means) -> bool:
    if candidate.law.second is None or candidate.weight == 0:
        return False
    return p_value_of(candidate, means) >= MISFIT


def disagree(best: Candidate, plausible: Sequence[Candidate]) -> bool:
    """Whether the power of the log differs, or a law's power of N is outside the interval of the best.

    The best law itself is asked only where it has a second term: the twin of one term is the law "power" or
    "power-log", which stands among the candidates.
    """
    asked = [each for each in plausible if each is not best or each.law.second is not None]
    powers = [each.exponent if each.law.exponent is None else each.law.exponent for each in asked]
    low, high = best.exponent_interval
    return len(log_powers(plausible)) > 1 or any(not low <= power <= high for power in powers)


def log_powers(candidates: Sequence[Candidate]) -> set[float]:
    """Return the powers of the logarithm."""
    return {candidate.law.log_power for candidate in candidates}


def exponents_of(candidates: Sequence[Candidate]) -> Interval:
    """Return the union of the exponent's intervals, with the powers that laws of two terms pin."""
    ends = [end for each in candidates for end in each.exponent_interval]
    pinned = [each.law.exponent for each in candidates if each.law.second is not None]
    ends += [power for power in pinned if power is not None]
    return min(ends), max(ends)


def p_value_of(candidate: Candidate, means: Means) -> float:
    """Probability of a larger chi^2 than that of the law, F distributed where the variances are estimated."""
    free = len(means.sizes) - candidate.law.parameters
    if np.isinf(means.degrees):
        return float(special.chdtrc(free, candidate.chi2))
    return float(special.fdtrc(free, means.degrees, candidate.chi2 / free))


def power_of(candidate: Candidate) -> str:
    """Name the law and its power of N; for two terms also the power in theory, as the free one is so uncertain."""
    law = candidate.law
    found = f"{law.twin.formula} ({law.name}) with a = {cite(candidate.exponent, candidate.exponent_interval)}"
    return found if law.second is None or law.exponent is None else f"{found}, {law.exponent:.4g} in theory"


def pinned_power(candidate: Candidate) -> str:
    """Say whether the power that a law pins lies in the interval of the free one; nothing for a free law."""
    if candidate.law.exponent is None:
        return ""
    low, high = candidate.exponent_interval
    consistent = "consistent" if low <= candidate.law.exponent <= high else "not consistent"
    return f" The pinned law {candidate.law.formula} ({candidate.law.source}) is {consistent} with it."
