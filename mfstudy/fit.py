"""Inference of a rate from replicates: which law, which exponent, which constant, and how sure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfstudy.candidates import (
    MISFIT,
    Candidate,
    disagree,
    exponents_of,
    fit_law,
    log_powers,
    p_value_of,
    pinned_power,
    plausible_among,
    power_of,
    weighted,
)
from mfstudy.ensemble import Floats
from mfstudy.means import Means, effective_exponent_of, known_means, resampled_means
from mfstudy.rates import RateLaw, candidate_laws
from mfstudy.tails import infinite_variance
from mfstudy.wording import Interval, cite, sweep_range

Verdict = Literal["rate", "undecided", "zero", "not-measurable"]

NOISE = 1.0  # standard error over mean from which linearised errors mean nothing


@dataclass(frozen=True, eq=False)
class Fit:
    """What replicates say about a rate; exponents are powers of N, intervals are (low, high) at 95 %.

    Parameters
    ----------
    verdict : str
        "rate"; "undecided" where plausible laws disagree on the log, or one has its power of N outside the interval
        of the heaviest, or none describes the means; "zero" for values all identically zero; "not-measurable" with
        the reason in `text`. In the last two no number is given. Plausible are laws of AICc weight above 5 %, and
        those of two terms that the means do not reject.
    text : str
        A few sentences to cite.
    sizes, mean, standard_error : (n,) arrays
        The sizes that are used, means over replicates, and their errors by the fitted variance function.
    replicates : (n,) array of int
        Replicates that are present.
    effective_exponent, effective_exponent_interval : float and pair, or None
        Slope of the weighted projection of log E on log N over the sweep.
    law : str or None
        The candidate of the largest AICc weight.
    exponent, exponent_interval : float and pair, or None
        Power of N with the law's other terms; for a pinned law those of the same law with the exponent free. The
        interval is the union over the plausible laws when undecided, with the powers that those of two terms pin.
    log_power : float or None
        Power of log N in the law, None where the plausible laws disagree on it or none describes the means.
    constant, constant_interval : float and pair, or None
        Constant C of the law, in the unit of the values.
    second_constant : float or None
        c of a law with a second term, dimensionless.
    weights : dict
        AICc weight of each candidate; they sum to 1 and are neither odds nor probabilities.
    p_value : float or None
        Of the chi^2 of the law: small where it does not describe the means.
    fitted, residuals : (n,) arrays or None
        The law at the sizes, and (mean - fitted) / standard_error.
    estimator : str
        "mean": over replicates.
    """

    verdict: Verdict
    text: str
    sizes: Floats
    mean: Floats
    standard_error: Floats
    replicates: NDArray[np.int64]
    effective_exponent: float | None = None
    effective_exponent_interval: Interval | None = None
    law: str | None = None
    exponent: float | None = None
    exponent_interval: Interval | None = None
    log_power: float | None = None
    constant: float | None = None
    constant_interval: Interval | None = None
    second_constant: float | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    p_value: float | None = None
    fitted: Floats | None = None
    residuals: Floats | None = None
    estimator: str = "mean"


def fit_rate(
    sizes: ArrayLike,
    values: ArrayLike | Sequence[ArrayLike],
    *,
    laws: Iterable[str] | None = None,
    covariance: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    dim: int | None = None,
    moment: float | None = None,
    p: float = 2,
    bounded: bool = True,
    regular: bool | None = None,
) -> Fit:
    """Fit the rate at which the mean of the replicates falls with the size.

    Generalised least squares on the raw scale, with weights from a variance function fitted over the sizes (a
    sample variance of the size itself costs coverage), intervals by a bootstrap over replicates with Student
    quantiles, AICc weights over the candidate laws (Burnham and Anderson 2002).

    Parameters
    ----------
    sizes : (n,) array
        Increasing sizes N >= 2.
    values : (n, replicates) array, or n sequences
        One number per replicate, NaN where absent.
    laws : iterable of str, optional
        Names of candidates; None = `mfstudy.rates.default_laws`.
    covariance : (n, n) array, optional
        Of the means, where it is known; the bootstrap is then parametric and one replicate a size is enough.
    groups : (replicates,) or (n, replicates) array, optional
        Replicates of the same label share something (a pool, a block), also across sizes, and are resampled
        together.
    dim : int, optional
        Dimension of the support; adds the pinned laws of the literature.
    moment : float, optional
        Order of the highest finite moment of the law that is sampled; None = all are finite.
    p : float
        Power of the distance: the values are W_p^p.
    bounded : bool
        Whether the support of the law that is sampled is bounded.
    regular : bool, optional
        Whether that law has a density bounded from 0 on a bounded connected support, which the sharp laws of the
        literature presuppose; by default as `bounded`.

    Returns
    -------
    Fit

    Raises
    ------
    ValueError
        If an argument has the wrong shape or range, or a law is unknown.
    """
    grid, table = _table(sizes, values)
    labels = _labels(groups, table.shape)
    known = None if covariance is None else _covariance(covariance, len(grid))
    if covariance is not None and groups is not None:
        raise ValueError("groups: has no use where covariance is given, allowed is one of the two")
    candidates = candidate_laws(laws, dim, moment, p, bounded, regular)
    present = ~np.isnan(table)
    if known is None:
        independent = [len(np.unique(label[here])) for label, here in zip(labels, present, strict=True)]
    else:
        independent = [2 * int(here.any()) for here in present]
    usable = np.array(independent) >= 2
    nothing = _no_rate(grid, table, usable, moment, p, known is None)
    if nothing is not None:
        return nothing
    count = present[usable].sum(axis=1)
    if known is None:
        means = resampled_means(grid[usable], table[usable], labels[usable])
    else:
        means = known_means(grid[usable], np.nanmean(table[usable], axis=1), known[np.ix_(usable, usable)])
    error, noise = np.sqrt(means.variance), float(np.sqrt(means.relative.max()))
    if noise > NOISE:
        reason = f"the standard error reaches {noise:.0%} of the mean, a rate needs less"
        return _not_measurable(reason, means.sizes, means.mean, error, count)
    return _infer(means, count, candidates)


def _table(sizes: ArrayLike, values: ArrayLike | Sequence[ArrayLike]) -> tuple[Floats, Floats]:
    """Check and return the sizes and the (n, replicates) table, short rows filled with NaN."""
    grid = np.asarray(sizes, dtype=float)
    if grid.ndim != 1 or not np.all(np.isfinite(grid)) or np.any(np.diff(grid) <= 0) or np.any(grid < 2):
        raise ValueError("sizes: not a vector of increasing numbers, allowed are N >= 2, each larger than the last")
    whole: Any = values
    rows = [np.atleast_1d(np.asarray(row, dtype=float)) for row in whole]
    if len(rows) != len(grid) or any(row.ndim != 1 for row in rows):
        raise ValueError(f"values: shape does not fit, allowed is one row of replicates for each of {len(grid)} sizes")
    table = np.full((len(rows), max((len(row) for row in rows), default=0)), np.nan)
    for filled, row in zip(table, rows, strict=True):
        filled[: len(row)] = row
    return grid, table


def _labels(groups: ArrayLike | None, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Return whole-number labels in the shape of the table; without groups each replicate has its own."""
    if groups is None:
        return np.arange(shape[0] * shape[1]).reshape(shape)
    given = np.asarray(groups)
    if given.shape not in (shape, shape[1:]):
        raise ValueError(f"groups: shape {given.shape}, allowed are {shape[1:]} and {shape}")
    unique = np.unique(given, return_inverse=True)[1].reshape(given.shape)
    return np.broadcast_to(unique, shape).astype(np.int64)


def _covariance(covariance: ArrayLike, size: int) -> Floats:
    """Check and return the covariance of the means."""
    matrix = np.asarray(covariance, dtype=float)
    allowed = f"covariance: allowed is a symmetric positive definite matrix of shape ({size}, {size})"
    if matrix.shape != (size, size) or not np.all(np.isfinite(matrix)):
        raise ValueError(f"{allowed}, got shape {matrix.shape} or entries that are not finite")
    if np.abs(matrix - matrix.T).max() > 1e-10 * np.abs(matrix).max():
        raise ValueError(f"{allowed}, got one that is not symmetric")
    try:
        np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        raise ValueError(f"{allowed}, got one that is not positive definite") from None
    return matrix


def _no_rate(
    sizes: Floats,
    table: Floats,
    usable: NDArray[np.bool_],
    moment: float | None,
    p: float,
    from_replicates: bool,
) -> Fit | None:
    """Return the verdict "zero" or "not-measurable" with its reason, or None where a fit can be made."""
    present = ~np.isnan(table)
    count = present.sum(axis=1)
    with np.errstate(invalid="ignore"):  # inf - inf: caught below as not finite
        mean = np.where(present, table, 0.0).sum(axis=1) / np.where(count > 0, count, np.nan)
    if present.any() and np.all(table[present] == 0):
        text = f"Identically zero at all sizes, {sweep_range(sizes, count)}: there is no rate."
        return Fit("zero", text, sizes, mean, np.full(len(sizes), np.nan), count)
    reason = _obstacle(sizes, table, mean, usable, from_replicates)
    if reason is None:
        reason = infinite_variance(table[usable], mean[usable], moment, p)
    return None if reason is None else _not_measurable(reason, sizes, mean, np.full(len(sizes), np.nan), count)


def _not_measurable(reason: str, sizes: Floats, mean: Floats, error: Floats, count: NDArray[np.int64]) -> Fit:
    text = f"No rate from {sweep_range(sizes, count)}: {reason}."
    return Fit("not-measurable", text, sizes, mean, error, count)


def _obstacle(
    sizes: Floats, table: Floats, mean: Floats, usable: NDArray[np.bool_], from_replicates: bool
) -> str | None:
    """Return why means have no logarithm, no error, or too few sizes; None where they are fine."""
    if usable.sum() < 3:
        need = "2 independent replicates" if from_replicates else "1 replicate"
        return f"{usable.sum()} of {len(sizes)} sizes have {need} or more, a rate needs 3 such sizes"
    bad = sizes[usable & ~(np.isfinite(mean) & (mean > 0))]
    if len(bad):
        return f"the mean at N = {bad[0]:g} is not a finite positive number"
    if from_replicates and np.all(np.nanmin(table[usable], axis=1) == np.nanmax(table[usable], axis=1)):
        return "the replicates of each size are all equal, so there is no error to weigh the sizes by"
    return None


def _infer(means: Means, replicates: NDArray[np.int64], laws: Sequence[RateLaw]) -> Fit:
    """Turn means into effective exponent, law, exponent, constant and verdict."""
    fitted = [fit_law(law, means) for law in laws]
    error = np.sqrt(means.variance)
    if all(candidate.constant <= 0 for candidate in fitted):
        reason = f"the constant of {', '.join(law.name for law in laws)} is not positive"
        return _not_measurable(reason, means.sizes, means.mean, error, replicates)
    candidates = weighted(fitted, len(means.sizes))
    best = max(candidates, key=lambda candidate: candidate.weight)
    plausible = plausible_among(candidates, means)
    p_value = p_value_of(best, means)
    misfit = p_value < MISFIT
    undecided = misfit or disagree(best, plausible)
    effective, effective_interval = effective_exponent_of(means)
    fit = Fit(
        verdict="undecided" if undecided else "rate",
        text="",
        sizes=means.sizes,
        mean=means.mean,
        standard_error=error,
        replicates=replicates,
        effective_exponent=effective,
        effective_exponent_interval=effective_interval,
        law=best.law.name,
        exponent=best.exponent,
        exponent_interval=exponents_of(plausible) if undecided else best.exponent_interval,
        log_power=None if misfit or len(log_powers(plausible)) > 1 else best.law.log_power,
        constant=best.constant,
        constant_interval=best.constant_interval,
        second_constant=best.second_constant,
        weights={candidate.law.name: candidate.weight for candidate in candidates},
        p_value=p_value,
        fitted=best.fitted,
        residuals=(means.mean - best.fitted) / error,
    )
    return replace(fit, text=_text(fit, best, plausible))


def _text(fit: Fit, best: Candidate, plausible: Sequence[Candidate]) -> str:
    """Return the finding in one to three sentences, with 95 % intervals."""
    effective = f"effective exponent {cite(fit.effective_exponent, fit.effective_exponent_interval)}"
    where = f"{sweep_range(fit.sizes, fit.replicates)}, 95 % intervals"
    named = "; ".join(f"{power_of(each)}, AICc weight {each.weight:.2f}" for each in plausible)
    if fit.p_value is not None and fit.p_value < MISFIT:
        wrong = f"no candidate law describes the means (chi^2 probability < {MISFIT:g}), the nearest:"
        return f"Over {where}: {effective}; {wrong} {named}.{pinned_power(best)}"
    if fit.verdict == "undecided" and len(plausible) > 1:
        return f"Over {where}: {effective}; the law is undecided between {named}."
    if fit.verdict == "undecided":
        held = f"which describes the means too (chi^2 probability {fit.p_value:.2g})"
        return f"Over {where}: {effective}; the exponent is undecided: {power_of(best)}, {held}."
    constant = f"C = {cite(fit.constant, fit.constant_interval, relative=(fit.constant_interval or (0,))[0] > 0)}"
    return f"Over {where}: {power_of(best)}, {constant}, {effective}.{pinned_power(best)}"
