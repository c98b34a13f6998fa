"""Inference of a rate from replicates: which law, which exponent, which constant, and how sure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfstudy.candidates import Candidate, fit_law, p_value_of, weighted
from mfstudy.ensemble import Floats
from mfstudy.means import Means, effective_exponent_of, known_means, resampled_means
from mfstudy.rates import RateLaw, default_laws, law_by_name
from mfstudy.tails import infinite_variance
from mfstudy.wording import Interval, cite, sweep_range

Verdict = Literal["rate", "undecided", "zero", "not-measurable"]

PLAUSIBLE = 0.05  # AICc weight above which a law takes part in the verdict
MISFIT = 1e-3  # chi^2 probability below which no candidate describes the means, and no law is decided
NOISE = 1.0  # standard error over mean from which linearised errors mean nothing


@dataclass(frozen=True, eq=False)
class Fit:
    """What replicates say about a rate; exponents are powers of N, intervals are (low, high) at 95 %.

    Parameters
    ----------
    verdict : str
        "rate"; "undecided" where laws of AICc weight above 5 % disagree on the log, or none describes the means;
        "zero" for values all identically zero; "not-measurable" with the reason in `text`. In the last two no
        number is given.
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
        Power of N with the law's log; for a pinned law those of the same law with the exponent free. The
        interval is the union over laws of weight above 5 % where they disagree on the log.
    log_power : float or None
        Power of log N in the law, None when undecided.
    constant, constant_interval : float and pair, or None
        Constant of the law, in the unit of the values.
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
    candidates = _candidates(laws, dim, moment, p)
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


def _candidates(names: Iterable[str] | None, dim: int | None, moment: float | None, p: float) -> tuple[RateLaw, ...]:
    """Return the candidate laws, in the order asked for."""
    if names is None:
        return default_laws(dim, moment, p)
    chosen = [names] if isinstance(names, str) else list(dict.fromkeys(names))
    if not chosen:
        raise ValueError("laws: an empty list, allowed is at least one name, or None for the default set")
    return tuple(law_by_name(name, dim, moment, p) for name in chosen)


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
    candidates = weighted([fit_law(law, means) for law in laws], len(means.sizes))
    best = max(candidates, key=lambda candidate: candidate.weight)
    plausible = [candidate for candidate in candidates if candidate.weight > PLAUSIBLE]
    p_value = p_value_of(best, means)
    undecided = p_value < MISFIT or len({candidate.law.log_power for candidate in plausible}) > 1
    ends = [candidate.exponent_interval for candidate in (plausible if undecided else [best])]
    effective, effective_interval = effective_exponent_of(means)
    error = np.sqrt(means.variance)
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
        exponent_interval=(min(low for low, _ in ends), max(high for _, high in ends)),
        log_power=None if undecided else best.law.log_power,
        constant=best.constant,
        constant_interval=best.constant_interval,
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
    named = "; ".join(f"{_power(each)}, AICc weight {each.weight:.2f}" for each in plausible)
    if fit.p_value is not None and fit.p_value < MISFIT:
        wrong = f"no candidate law describes the means (chi^2 probability < {MISFIT:g}), the nearest:"
        return f"Over {where}: {effective}; {wrong} {named}.{_pinned(best)}"
    if fit.verdict == "undecided":
        return f"Over {where}: {effective}; the law is undecided between {named}."
    constant = f"C = {cite(fit.constant, fit.constant_interval, relative=True)}"
    return f"Over {where}: {_power(best)}, {constant}, {effective}.{_pinned(best)}"


def _power(candidate: Candidate) -> str:
    """Name the law and its power of N."""
    law = candidate.law
    return f"{law.twin.formula} ({law.name}) with a = {cite(candidate.exponent, candidate.exponent_interval)}"


def _pinned(best: Candidate) -> str:
    """Say whether the power that a law pins lies in the interval of the free one."""
    if best.law.exponent is None:
        return ""
    low, high = best.exponent_interval
    consistent = "consistent" if low <= best.law.exponent <= high else "not consistent"
    return f" The pinned law {best.law.formula} ({best.law.source}) is {consistent} with it."
