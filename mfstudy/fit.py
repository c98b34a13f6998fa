"""Inference of a rate from replicates: which law, which exponent, which constant, and how sure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mfstudy.candidates import (
    exponents_of,
    fit_law,
    log_powers,
    p_value_of,
    plausible_among,
    rivals_of,
    unexplained,
    weighted,
)
from mfstudy.decisive import largest_size, named_among, replicates_factor
from mfstudy.ensemble import Floats
from mfstudy.exponents import effective_exponent
from mfstudy.findings import sentences
from mfstudy.intervals import means_intervals
from mfstudy.means import Means, known_means, resampled_means, resampled_medians
from mfstudy.rates import RateLaw, candidate_laws
from mfstudy.samples import covariance_of, labels_of, systematic_of, table_of
from mfstudy.tails import infinite_variance
from mfstudy.wording import Interval, sweep_range

Verdict = Literal["rate", "undecided", "zero", "not-measurable"]

NOISE = 1.0  # standard error over mean from which linearised errors mean nothing
DOMINATED = 0.5  # systematic bound over mean above which a size takes no part
GROUPS = 5  # labels that a size has at least: fewer give no interval that covers
ORDERED = 6  # replicates of which order statistics give an interval of the median at 95 %


@dataclass(frozen=True, eq=False)
class Fit:
    """What replicates say about a rate; exponents are powers of N, intervals are (low, high) at 95 %.

    Intervals are statistical. What systematic terms may add stands apart, in `..._systematic`: by how much a number
    moves at most, either way, if every mean is off by its bound.

    Parameters
    ----------
    verdict : str
        "rate"; "undecided" where plausible laws disagree on the log, or one has its power of N outside the interval
        of the one that is named, or none describes the means; "zero" for values all identically zero;
        "not-measurable" with the reason in `text`. In the last two no number is given. Plausible are laws of AICc
        weight above 5 %, and those of two terms that the means do not reject.
    text : str
        A few sentences to cite.
    sizes, mean, standard_error : (n,) arrays
        The sizes that are used, means over replicates (medians where `estimator` says so), and their errors by the
        fitted variance function.
    replicates : (n,) array of int
        Replicates that are present.
    systematic : (n,) array or None
        Bounds on what the means are off, in their unit.
    mean_interval : (n, 2) array or None
        Of each mean; of a median by order statistics.
    effective_exponent, effective_exponent_interval, effective_exponent_systematic : float, pair, float or None
        Slope of the weighted projection of log E on log N over the sweep.
    neighbours : (n - 1, 2) array or None
        Effective exponent between neighbouring sizes, and its standard error.
    without_largest, without_largest_interval : float and pair, or None
        Effective exponent without the largest size, from 4 sizes on.
    law : str or None
        The candidate of the largest AICc weight.
    exponent, exponent_interval, exponent_systematic : float, pair, float or None
        Power of N with the law's other terms; for a pinned law those of the same law with the exponent free. The
        interval is the union over the plausible laws when undecided, with the powers that those of two terms pin.
    log_power : float or None
        Power of log N in the law, None where the plausible laws disagree on it or none describes the means.
    constant, constant_interval, constant_systematic : float, pair, float or None
        Constant C of the law, in the unit of the values.
    second_constant : float or None
        c of a law with a second term, dimensionless.
    weights : dict
        AICc weight of each candidate; they sum to 1 and are neither odds nor probabilities.
    p_value : float or None
        Of the chi^2 of the law: small where it does not describe the means.
    fitted, residuals : (n,) arrays or None
        The law at the sizes, and (mean - fitted) / standard_error.
    decisive_replicates, decisive_size : float or None
        How many replicates at every size, or which largest N, would decide between the plausible laws with 90 %.
    dominated : tuple of float
        Sizes that are left out because their systematic terms exceed half of the mean.
    draws : (resamples, n) array or None
        Means of the resampled replicates.
    degrees : float
        Of freedom in the variances.
    estimator : str
        "mean" or "median" over replicates.
    """

    verdict: Verdict
    text: str
    sizes: Floats
    mean: Floats
    standard_error: Floats
    replicates: NDArray[np.int64]
    systematic: Floats | None = None
    mean_interval: Floats | None = None
    effective_exponent: float | None = None
    effective_exponent_interval: Interval | None = None
    effective_exponent_systematic: float | None = None
    neighbours: Floats | None = None
    without_largest: float | None = None
    without_largest_interval: Interval | None = None
    law: str | None = None
    exponent: float | None = None
    exponent_interval: Interval | None = None
    exponent_systematic: float | None = None
    log_power: float | None = None
    constant: float | None = None
    constant_interval: Interval | None = None
    constant_systematic: float | None = None
    second_constant: float | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    p_value: float | None = None
    fitted: Floats | None = None
    residuals: Floats | None = None
    decisive_replicates: float | None = None
    decisive_size: float | None = None
    dominated: tuple[float, ...] = ()
    draws: Floats | None = field(default=None, repr=False)
    degrees: float = np.inf
    estimator: Literal["mean", "median"] = "mean"


def fit_rate(
    sizes: ArrayLike,
    values: ArrayLike | Sequence[ArrayLike],
    *,
    laws: Iterable[str] | None = None,
    covariance: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    systematic: ArrayLike | None = None,
    dim: int | None = None,
    moment: float | None = None,
    p: float = 2,
    bounded: bool = True,
    regular: bool | None = None,
) -> Fit:
    """Fit the rate at which the mean of the replicates falls with the size.

    Generalised least squares on the raw scale, with weights from a variance function fitted over the sizes (a
    sample variance of the size itself costs coverage), BCa intervals by a bootstrap of the whole fit over replicates
    with Student quantiles, AICc weights over the candidate laws (Burnham and Anderson 2002). Where the variance of
    the replicates is not finite, medians take the place of means.

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
    systematic : (n,) array, optional
        Bounds on what the means are off (of the transport, the reference, the time step), in the unit of the values.
        They are kept apart from the statistical errors; a size at which one exceeds half the mean is left out.
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
    grid, table = table_of(sizes, values)
    labels = labels_of(groups, table.shape)
    known = None if covariance is None else covariance_of(covariance, len(grid))
    off = systematic_of(systematic, len(grid))
    if covariance is not None and groups is not None:
        raise ValueError("groups: has no use where covariance is given, allowed is one of the two")
    candidates = candidate_laws(laws, dim, moment, p, bounded, regular)
    present = ~np.isnan(table)
    if known is None:
        independent = [len(np.unique(label[here])) for label, here in zip(labels, present, strict=True)]
    else:
        independent = [2 * int(here.any()) for here in present]
    mean = _raw_means(table, present)
    enough = np.array(independent) >= (2 if groups is None else GROUPS)
    usable = enough & ~_dominated(off, mean)
    nothing = _nothing(grid, table, mean, enough, usable, known is None, 2 if groups is None else GROUPS)
    if nothing is not None:
        return nothing
    heavy = None if known is not None else infinite_variance(table[usable], mean[usable], moment, p)
    if heavy is not None and groups is not None:
        return _not_measurable(f"{heavy}; medians need independent replicates", grid, mean, present)
    centre = mean
    if heavy is not None:
        rows = (row[here] for row, here in zip(table, present, strict=True))
        centre = np.array([np.median(row) if len(row) else np.nan for row in rows])
        usable &= (present.sum(axis=1) >= ORDERED) & ~_dominated(off, centre)
        if usable.sum() < 3:
            return _not_measurable(f"{heavy}; medians need {ORDERED} replicates at 3 sizes", grid, mean, present)
    if known is not None:
        means = known_means(grid[usable], mean[usable], known[np.ix_(usable, usable)])
    elif heavy is not None:
        means = resampled_medians(grid[usable], table[usable])
    else:
        means = resampled_means(grid[usable], table[usable], labels[usable])
    if (reason := _without_errors(means)) is not None:
        return _not_measurable(reason, means.sizes, means.mean, present[usable], np.sqrt(means.variance))
    orders = means_intervals(means, table[usable])
    found = _infer(means, off[usable], orders, present[usable].sum(axis=1), candidates, heavy)
    return replace(found, dominated=tuple(grid[enough & _dominated(off, centre)]))


def _dominated(off: Floats, centre: Floats) -> NDArray[np.bool_]:
    """Say at which sizes systematic terms exceed half of what they are terms of."""
    return np.asarray((off > 0) & (off > DOMINATED * centre))


def _without_errors(means: Means) -> str | None:
    """Return why means have no logarithm or no error that means something; None where they do."""
    if not np.all(means.mean > 0):
        return f"the {means.estimator} at N = {means.sizes[~(means.mean > 0)][0]:g} is not a positive number"
    if not np.all(means.variance > 0) or not np.all(np.isfinite(means.variance)):
        return "resampled replicates do not vary, so there is no error to weigh the sizes by"
    noise = float(np.sqrt(means.relative.max()))
    return None if noise <= NOISE else f"the standard error reaches {noise:.0%} of the mean, a rate needs less"


def _raw_means(table: Floats, present: NDArray[np.bool_]) -> Floats:
    """Means over what is present, NaN where nothing is."""
    count = present.sum(axis=1)
    with np.errstate(invalid="ignore"):  # inf - inf: caught later as not finite
        return np.asarray(np.where(present, table, 0.0).sum(axis=1) / np.where(count > 0, count, np.nan))


def _nothing(
    sizes: Floats,
    table: Floats,
    mean: Floats,
    enough: NDArray[np.bool_],
    usable: NDArray[np.bool_],
    from_replicates: bool,
    fewest: int,
) -> Fit | None:
    """Return the verdict "zero" or "not-measurable" with its reason, or None where a fit can be made."""
    present = ~np.isnan(table)
    count = present.sum(axis=1)
    if present.any() and np.all(table[present] == 0):
        text = f"Identically zero at all sizes, {sweep_range(sizes, count)}: there is no rate."
        return Fit("zero", text, sizes, mean, np.full(len(sizes), np.nan), count)
    reason = None
    if enough.sum() < 3:
        need = f"{fewest} independent replicates" if from_replicates else "1 replicate"
        reason = f"{enough.sum()} of {len(sizes)} sizes have {need} or more, a rate needs 3 such sizes"
    elif usable.sum() < 3 and np.all(np.isfinite(mean[enough]) & (mean[enough] > 0)):
        reason = f"systematic terms exceed half the mean at all but {usable.sum()} sizes, a rate needs 3"
    elif len(bad := sizes[(usable if usable.sum() > 2 else enough) & ~(np.isfinite(mean) & (mean > 0))]):
        reason = f"the mean at N = {bad[0]:g} is not a finite positive number"
    elif from_replicates and np.all(np.nanmin(table[usable], axis=1) == np.nanmax(table[usable], axis=1)):
        reason = "the replicates of each size are all equal, so there is no error to weigh the sizes by"
    return None if reason is None else _not_measurable(reason, sizes, mean, present)


def _not_measurable(
    reason: str, sizes: Floats, mean: Floats, present: NDArray[np.bool_], error: Floats | None = None
) -> Fit:
    count = present.sum(axis=1)
    text = f"No rate from {sweep_range(sizes, count)}: {reason}."
    return Fit("not-measurable", text, sizes, mean, np.full(len(sizes), np.nan) if error is None else error, count)


def _infer(
    means: Means,
    systematic: Floats,
    intervals: Floats,
    replicates: NDArray[np.int64],
    laws: Sequence[RateLaw],
    heavy: str | None,
) -> Fit:
    """Turn means into effective exponent, law, exponent, constant and verdict."""
    fitted = [fit_law(law, means, systematic) for law in laws]
    error = np.sqrt(means.variance)
    if all(candidate.constant <= 0 for candidate in fitted):
        reason = f"the constant of {', '.join(law.name for law in laws)} is not positive"
        present = np.arange(replicates.max())[None, :] < replicates[:, None]
        return _not_measurable(reason, means.sizes, means.mean, present, error)
    candidates = weighted(fitted, len(means.sizes))
    best = named_among(candidates, means)
    plausible = plausible_among(candidates, means)
    rivals = rivals_of(best, plausible)
    misfit = unexplained(best, means, systematic)
    undecided = misfit or bool(rivals)
    effective = effective_exponent(means, systematic)
    shorter = effective_exponent(means.first(-1), systematic[:-1]) if len(means.sizes) > 3 else None
    factor = replicates_factor(best, rivals, means) if rivals and not misfit else None
    fit = Fit(
        verdict="undecided" if undecided else "rate",
        text="",
        sizes=means.sizes,
        mean=means.mean,
        standard_error=error,
        replicates=replicates,
        systematic=systematic,
        mean_interval=intervals,
        effective_exponent=effective.exponent,
        effective_exponent_interval=effective.interval,
        effective_exponent_systematic=effective.systematic,
        neighbours=effective.neighbours,
        law=best.law.name,
        exponent=best.exponent,
        exponent_interval=exponents_of(plausible) if undecided else best.exponent_interval,
        exponent_systematic=max(each.exponent_systematic for each in (plausible if undecided else [best])),
        log_power=None if misfit or len(log_powers(plausible)) > 1 else best.law.log_power,
        constant=best.constant,
        constant_interval=best.constant_interval,
        constant_systematic=best.constant_systematic,
        second_constant=best.second_constant,
        weights={candidate.law.name: candidate.weight for candidate in candidates},
        p_value=p_value_of(best, means),
        fitted=best.fitted,
        residuals=(means.mean - best.fitted) / error,
        decisive_replicates=None if factor is None else max(factor, 1.0) * float(replicates.max()),
        decisive_size=largest_size(best, rivals, means) if rivals and not misfit else None,
        draws=means.draws,
        degrees=means.degrees,
        estimator=means.estimator,
        without_largest=None if shorter is None else shorter.exponent,
        without_largest_interval=None if shorter is None else shorter.interval,
    )
    return replace(fit, text=sentences(fit, best, plausible, misfit, heavy))
