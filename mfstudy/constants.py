"""The constant that a rate needs to bound a sweep, and how it grows in time. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mfstudy.ensemble import Floats
from mfstudy.fit import Fit
from mfstudy.intervals import LEVEL, stretch
from mfstudy.wording import Interval


@dataclass(frozen=True)
class Needed:
    """The constant needed by this law over these N: a lower bound of the constant of a theorem for all laws and N.

    Parameters
    ----------
    constant : float
        The largest mean over the rate; in the unit of the quantity over that of the rate.
    interval : (float, float)
        At 95 %, simultaneous over the sizes.
    size : float
        Where it is needed.
    """

    constant: float
    interval: Interval
    size: float


def needed_constant(fit: Fit, rate: Floats) -> Needed | None:
    """Return the constant that a rate needs over the sweep.

    The interval comes from simultaneous intervals mean +- c standard errors of all sizes, c the quantile of the
    largest of their bootstrapped ratios (max-t), stretched as Student's quantile is: taking the largest of noisy
    numbers does not bias it.

    Parameters
    ----------
    fit : Fit
    rate : (n,) array
        The rate at the sizes of the fit, > 0.

    Returns
    -------
    Needed or None
        None where the fit has no means with errors; medians are none, and bound no mean.
    """
    if fit.draws is None or fit.estimator == "median":
        return None
    ratios = np.abs(fit.draws - fit.mean) / fit.standard_error
    reach = float(np.quantile(ratios.max(axis=1), LEVEL)) * stretch(fit.degrees) * fit.standard_error
    most = int(np.argmax(fit.mean / rate))
    low, high = (float(((fit.mean + sign * reach) / rate).max()) for sign in (-1, 1))
    return Needed(float(fit.mean[most] / rate[most]), (low, high), float(fit.sizes[most]))


@dataclass(frozen=True)
class Growth:
    """The factor tau(t) of a theorem at the save times, as far as the sweep can say.

    Parameters
    ----------
    times : (T,) array
    logs : (T,) array
        log tau(t), tau(t) the constant needed at the time t.
    errors : (T,) array
        Half the interval of log tau(t).
    bends : (T - 2,) array
        Second divided differences of log tau, at the inner times: 0 for e^{Ct}, above 0 for e^{e^{Ct}}. A few times
        cannot tell these apart, so that no C is fitted.
    bend_errors : (T - 2,) array
        From the errors as if they were independent over the times, which share their replicates.
    """

    times: Floats
    logs: Floats
    errors: Floats
    bends: Floats
    bend_errors: Floats


def growth(times: Sequence[float], needed: Sequence[Needed]) -> Growth | None:
    """Return how the needed constant grows in time; None where one is not above 0 for sure.

    Parameters
    ----------
    times : (T,) sequence
        Increasing.
    needed : (T,) sequence of Needed
        Of one quantity and one rate.
    """
    if any(each.interval[0] <= 0 for each in needed):
        return None
    at = np.asarray(times, dtype=float)
    logs = np.log([each.constant for each in needed])
    errors = np.array([np.log(each.interval[1] / each.interval[0]) / 2 for each in needed])
    weights = np.zeros((max(len(at) - 2, 0), len(at)))
    for row, (left, middle, right) in enumerate(zip(at, at[1:], at[2:], strict=False)):
        before, after = middle - left, right - middle
        span = before + after
        weights[row, row : row + 3] = 2 / (before * span), -2 / (before * after), 2 / (after * span)
    return Growth(at, logs, errors, weights @ logs, np.sqrt(weights**2 @ errors**2))
