"""Generalised least squares of rate laws, many vectors of means at once. Pure."""

from __future__ import annotations

import numpy as np

from mfstudy.ensemble import Floats
from mfstudy.rates import RateLaw

_STEEPEST = 10.0  # largest power of N: what data that say nothing drift to stays a number
_RIDGE = 1e-13  # on columns of unit length: parallel ones share their coefficient and stay finite


def least_squares(
    law: RateLaw, sizes: Floats, means: Floats, white: Floats, start: float | None = None, steps: int = 100
) -> tuple[Floats, Floats]:
    """Fit a law to many vectors of means at once by generalised least squares on the raw scale.

    Minimises |white (mean - C shape)|^2. C and C c are linear and eliminated; a free exponent is found by
    Gauss-Newton on what is left (variable projection: Kaufman, BIT 15 (1975) 49-57), all rows together, with
    a step cut to a quarter where it does not lower the sum of squares.

    Parameters
    ----------
    law : RateLaw
    sizes : (n,) array
    means : (rows, n) array
    white : (n, n) array
        Whitening matrix: white @ covariance of the means @ white.T is the identity.
    start : float, optional
        Exponent that a free law starts from; None = the log-log line of the average row.
    steps : int
        Most Gauss-Newton steps. From the estimate of the unresampled means a few are enough.

    Returns
    -------
    coefficients : (1 or 2, rows) array
        C, and C c where the law has a second term, in the unit of the means.
    exponents : (rows,) array
        Dimensionless.
    """
    target = means @ white.T
    if law.exponent is not None:
        columns = np.stack(law.columns(sizes))[:, None] @ white.T  # the same for every row
        return _regress(columns, target), np.full(len(means), law.exponent)
    exponents = np.full(len(means), _slope(law, sizes, means) if start is None else start)
    coefficients, squares, step = _eliminate(law, sizes, exponents, target, white)
    for _ in range(steps):
        moved = np.clip(exponents + step, -_STEEPEST, _STEEPEST)
        trial = _eliminate(law, sizes, moved, target, white)
        better = trial[1] <= squares * (1 + 1e-9)  # slack: rounding must not stop the last digits
        exponents = np.where(better, moved, exponents)
        coefficients = np.where(better, trial[0], coefficients)
        squares, step = np.where(better, trial[1], squares), np.where(better, trial[2], step / 4)
        if np.abs(step).max() < 1e-12:
            break
    return coefficients, exponents


def _slope(law: RateLaw, sizes: Floats, means: Floats) -> float:
    """Slope of the log-log line through the average row, freed from the law's own logarithm."""
    return float(np.polyfit(np.log(sizes), np.log(means.mean(axis=0) / law.shape(sizes, 0.0)), 1)[0])


def _eliminate(
    law: RateLaw, sizes: Floats, exponents: Floats, target: Floats, white: Floats
) -> tuple[Floats, Floats, Floats]:
    """Return the best linear coefficients at these exponents, the sums of squares, and the exponents' next step.

    A step is at most 1, so that no row runs away.
    """
    columns = np.stack(law.columns(sizes, exponents[:, None]))
    coefficients = _regress(columns @ white.T, target)
    model = (coefficients[..., None] * columns).sum(axis=0)
    squares = ((target - model @ white.T) ** 2).sum(axis=1)
    # Centred logs of N make the derivative by the exponent nearly orthogonal to the columns.
    slope = model * (np.log(sizes) - np.log(sizes).mean())
    step = _regress(np.concatenate([columns, slope[None]]) @ white.T, target)[-1]
    return coefficients, squares, np.clip(step, -1.0, 1.0)


def _regress(columns: Floats, target: Floats) -> Floats:
    """Coefficients (m, rows) of the columns (m, rows or 1, n) in the least squares of each row of the target."""
    norms = np.sqrt(np.einsum("mrn,mrn->mr", columns, columns))
    norms = np.where(norms > 0, norms, 1.0)
    unit = columns / norms[..., None]
    gram = [[np.einsum("rn,rn->r", left, right) for right in unit] for left in unit]
    for place in range(len(unit)):
        gram[place][place] = gram[place][place] + _RIDGE
    return _solved(gram, [np.einsum("rn,rn->r", left, target) for left in unit]) / norms


def _solved(matrix: list[list[Floats]], right: list[Floats]) -> Floats:
    """Solve many small positive definite systems at once by elimination, (m, rows): a tenth of LAPACK's time for them.

    Entries are arrays over the rows, and are overwritten.
    """
    size = len(right)
    for pivot in range(size):
        for below in range(pivot + 1, size):
            factor = matrix[below][pivot] / matrix[pivot][pivot]
            matrix[below] = [lower - factor * upper for lower, upper in zip(matrix[below], matrix[pivot], strict=True)]
            right[below] = right[below] - factor * right[pivot]
    for pivot in reversed(range(size)):
        for above in range(pivot + 1, size):
            right[pivot] = right[pivot] - matrix[pivot][above] * right[above]
        right[pivot] = right[pivot] / matrix[pivot][pivot]
    return np.stack(right)
