"""Which law is named, and what would tell laws apart that the replicates leave undecided. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import optimize, special

from mfstudy.candidates import MISFIT, PLAUSIBLE, Candidate, penalties
from mfstudy.ensemble import Floats
from mfstudy.means import Means
from mfstudy.regression import least_squares

_FALSE = 0.05  # sweeps without a logarithm of which one is named
_POWER = 0.9  # probability with which the advice is to decide
_FARTHEST = 12  # further sizes that are tried
_SAME = 1e-8  # distance of laws that no sweep tells apart
_MOST = 1e4  # times the replicates that there are, above which the advice is none


def named_among(candidates: Sequence[Candidate], means: Means) -> Candidate:
    """Return the law of most weight; one with a logarithm only where at most 5 % of sweeps without would show it.

    Where a law without is the truth, the difference of the chi^2 is normal about -d with deviation 2 d^{1/2}, d the
    noncentrality of the other's test: Neyman and Pearson's test of one simple hypothesis against another.
    """
    best = max(candidates, key=lambda each: each.weight)
    plain = [each for each in candidates if each.law.log_power == 0 and each.weight > PLAUSIBLE]
    if best.law.log_power == 0 or not plain:
        return best
    other = max(plain, key=lambda each: each.weight)
    apart = _distance(other.fitted, best, means.sizes, means.white)
    limit = -2 * float(special.ndtri(_FALSE)) * np.sqrt(apart) - apart
    return best if other.chi2 - best.chi2 > limit else other


def replicates_factor(best: Candidate, rivals: Sequence[Candidate], means: Means) -> float | None:
    """Return by how many times more replicates at every size the rivals of a law would be refuted with 90 %.

    Parameters
    ----------
    best : Candidate
        Taken for the truth.
    rivals : sequence of Candidate
        Laws that disagree with it.
    means : Means

    Returns
    -------
    float or None
        None where more than 1e4 times would be needed. A law of two terms that holds the best one is never refuted,
        and is not asked for.
    """
    apart = [(rival, _distance(best.fitted, rival, means.sizes, means.white)) for rival in rivals]
    found = [_needed(best, rival, len(means.sizes)) / distance for rival, distance in apart if distance > _SAME]
    return max(found) if found and max(found) < _MOST else None


def largest_size(best: Candidate, rivals: Sequence[Candidate], means: Means) -> float | None:
    """Return the largest N that the sweep needs for that, in steps like its own; None where it is too far.

    Arguments as in `replicates_factor`. The further sizes have the relative errors of the largest one.
    """
    logs = np.log(means.sizes)
    step = (logs[-1] - logs[0]) / (len(logs) - 1)
    for more in range(1, _FARTHEST + 1):
        sizes = np.concatenate([means.sizes, np.exp(logs[-1] + step * np.arange(1, more + 1))])
        relative = np.concatenate([means.relative, np.full(more, means.relative[-1])])
        exponent = best.exponent if best.law.exponent is None else None
        truth = best.constant * best.law.shape(sizes, exponent, best.second_constant or 0.0)
        white = np.diag(1 / (np.sqrt(relative) * truth))
        apart = [(rival, _distance(truth, rival, sizes, white)) for rival in rivals]
        needed = [(distance, _needed(best, rival, len(sizes))) for rival, distance in apart if distance > _SAME]
        if needed and all(distance >= enough for distance, enough in needed):
            return float(sizes[-1])
    return None


def _distance(truth: Floats, rival: Candidate, sizes: Floats, white: Floats) -> float:
    """Return the chi^2 of a law fitted to the noiseless curve of another: the noncentrality of its test."""
    start = rival.exponent if rival.law.exponent is None else rival.law.exponent
    coefficients, exponent = least_squares(rival.law, sizes, truth[None], white, start)
    columns = np.stack(rival.law.columns(sizes, float(exponent[0])))
    return float(np.sum((white @ (truth - coefficients[:, 0] @ columns)) ** 2))


def _needed(best: Candidate, rival: Candidate, n: int) -> float:
    """Return the noncentrality at which a rival falls out of the plausible laws with the wanted power.

    Its AICc weight falls below the limit where the difference of the chi^2, normal about the noncentrality d with
    deviation 2 d^{1/2}, makes up for the penalties; a law of two terms has to be rejected by its chi^2 as well.
    """
    z = float(special.ndtri(_POWER))
    own, others = penalties([best.law.parameters, rival.law.parameters], n)
    odds = 2 * np.log(1 / PLAUSIBLE - 1) - others + own
    weight = float((z + np.sqrt(max(z * z + odds, 0.0))) ** 2)
    if rival.law.second is None:
        return weight
    free = n - rival.law.parameters
    limit = special.chdtri(free, MISFIT)
    found = optimize.brentq(lambda d: special.chndtr(limit, free, d) - (1 - _POWER), 0.0, 1e3)
    return max(weight, float(found))
