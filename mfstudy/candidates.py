"""Candidate laws fitted to means, and how they compare. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from mfstudy.ensemble import Floats
from mfstudy.intervals import bca
from mfstudy.means import Means
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
    exponent_systematic: float  # what systematic bounds on the means move it by at most
    constant_systematic: float
    weight: float = 1.0  # AICc weight among the candidates


def fit_law(law: RateLaw, means: Means, systematic: Floats) -> Candidate:
    """Fit a law, and its twin with the exponent free, to the means, to every draw of them and to shifted ones.

    Laws are compared by chi^2 with the same weights for all; each is then fitted with weights of its own.

    Parameters
    ----------
    law : RateLaw
    means : Means
    systematic : (n,) array
        Bounds on what the means are off, in their unit.
    """
    first, powers = least_squares(law, means.sizes, means.mean[None], means.white)
    closest = _fitted(law, means, first, powers)
    chi2 = float(np.sum((means.white @ (means.mean - closest)) ** 2))
    white = _reweighted(means, closest)
    coefficients, exponent = least_squares(law, means.sizes, means.mean[None], white)
    # A pinned law is where its twin starts: that of a second-term law may have more than one minimum.
    start = float(exponent[0])
    twin = law if law.exponent is None else law.twin
    _, free = least_squares(twin, means.sizes, means.mean[None], white, start)
    constant, power = float(coefficients[0, 0]), float(free[0])
    c = float(coefficients[1, 0] / constant) if law.second is not None else None
    fitted = _fitted(law, means, coefficients, exponent)
    n, step = len(means.sizes), np.sqrt(means.variance)
    moved = np.concatenate([means.draws, *(means.mean + np.diag(by) for by in (step, -step, systematic, -systematic))])
    constants = least_squares(law, means.sizes, moved, white, start, steps=STEPS)[0][0]
    exponents = least_squares(twin, means.sizes, moved, white, power, steps=STEPS)[1]

    def spread(estimate: float, found: Floats) -> tuple[Interval, float]:
        """Return the interval from the draws, and the largest systematic shift."""
        drawn, (up, down, *shifted) = found[: -4 * n], np.split(found[-4 * n :], 4)
        shift = float(np.abs(np.array(shifted) - estimate).max(axis=0).sum())
        return bca(estimate, drawn, (up - down) / (2 * step), means), shift

    interval, constant_shift = spread(constant, constants)
    exponent_interval, exponent_shift = spread(power, exponents)
    return Candidate(law, constant, interval, c, power, exponent_interval, fitted, chi2, exponent_shift, constant_shift)


def _fitted(law: RateLaw, means: Means, coefficients: Floats, exponents: Floats) -> Floats:
    """Return a law at the sizes, from what `least_squares` returns for one row."""
    constant = float(coefficients[0, 0])
    second = float(coefficients[1, 0] / constant) if law.second is not None else 0.0
    return law.shape(means.sizes, float(exponents[0]), second) * constant


def _reweighted(means: Means, fitted: Floats) -> Floats:
    """Return the whitening matrix for variances in proportion to the squares of a fitted law.

    Skewed replicates have large means and large variances together by chance, and small ones: weights by these
    variances pull the constant down. Their ratio, a relative variance, does not know the chance.
    """
    return means.white if np.isinf(means.degrees) or not np.all(fitted > 0) else means.log_white / fitted


def weighted(candidates: Sequence[Candidate], n: int) -> list[Candidate]:
    """Give each its AICc weight (Burnham and Anderson 2002, section 2.4), 0 where C is not positive.

    At least one C is positive.
    """
    penalty = penalties([candidate.law.parameters for candidate in candidates], n)
    score = np.array([candidate.chi2 if candidate.constant > 0 else np.inf for candidate in candidates]) + penalty
    weight = np.exp(-(score - score.min()) / 2)
    shares = weight / weight.sum()
    return [replace(each, weight=float(share)) for each, share in zip(candidates, shares, strict=True)]


def penalties(parameters: Sequence[int], n: int) -> Floats:
    """Return the penalties of AICc, those of AIC for all where one of them does not exist, n <= k + 1."""
    k = np.array(parameters, dtype=float)
    return np.asarray(2 * k + (2 * k * (k + 1) / (n - k - 1) if np.all(n > k + 1) else 0.0))


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


def rivals_of(best: Candidate, plausible: Sequence[Candidate]) -> list[Candidate]:
    """Return the plausible laws that disagree with the best: on the log, or with a power outside its interval.

    The best law itself is asked only where it has a second term: the twin of one term is the law "power" or
    "power-log", which stands among the candidates.
    """
    low, high = best.exponent_interval

    def disagrees(each: Candidate) -> bool:
        power = each.exponent if each.law.exponent is None else each.law.exponent
        return each.law.log_power != best.law.log_power or not low <= power <= high

    return [each for each in plausible if (each is not best or each.law.second is not None) and disagrees(each)]


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


def unexplained(best: Candidate, means: Means, systematic: Floats) -> bool:
    """Say whether the means are off a law by more than their statistical and systematic errors."""
    gap = means.mean - best.fitted
    beyond = np.sign(gap) * np.maximum(np.abs(gap) - systematic, 0.0)
    nearest = replace(best, chi2=min(best.chi2, float(np.sum((means.white @ beyond) ** 2))))
    return p_value_of(nearest, means) < MISFIT


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
