"""Inference of a rate from replicates: which law, which exponent, which constant, and how sure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from mfstudy.ensemble import Floats
from mfstudy.rates import RateLaw, default_laws, law_by_name, least_squares
from mfstudy.streams import Purpose, stream

Interval = tuple[float, float]
Verdict = Literal["rate", "undecided", "zero", "not-measurable"]

LEVEL = 0.95
PLAUSIBLE = 0.05  # AICc weight above which a law takes part in the verdict
RESAMPLES = 999
STEPS = 3  # Gauss-Newton steps of a draw, from the estimate: a wild draw stays bounded
MISFIT = 1e-3  # chi^2 probability below which the text says that the law does not describe the means


@dataclass(frozen=True, eq=False)
class Fit:
    """What replicates say about a rate; exponents are powers of N, intervals are (low, high) at 95 %.

    Parameters
    ----------
    verdict : str
        "rate"; "undecided" where laws of AICc weight above 5 % disagree on the log; "zero" for values all
        identically zero; "not-measurable" with the reason in `text`. In the last two no number is given.
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


@dataclass(frozen=True, eq=False)
class _Means:
    """Means over the sweep, their fitted variances, and what resampling gives."""

    sizes: Floats
    mean: Floats
    variance: Floats  # (n,) of the means, by the variance function
    relative: Floats  # (n,) variance / mean^2, smoothed by itself
    white: Floats  # (n, n) whitens the means
    log_white: Floats  # (n, n) whitens their logarithms
    draws: Floats  # (RESAMPLES, n) means of the resampled replicates
    degrees: float  # of freedom in the variances


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A law fitted to the means."""

    law: RateLaw
    constant: float
    constant_interval: Interval
    exponent: float  # of the free twin
    exponent_interval: Interval
    fitted: Floats
    chi2: float
    weight: float = 1.0  # AICc weight among the candidates


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
        means = _resampled_means(grid[usable], table[usable], labels[usable])
    else:
        means = _known_means(grid[usable], np.nanmean(table[usable], axis=1), known[np.ix_(usable, usable)])
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
    if np.all(np.isnan(table)):
        raise ValueError("values: every replicate is absent (NaN), allowed is at least one number")
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

    def fit(verdict: Verdict, text: str) -> Fit:
        return Fit(verdict, text, sizes, mean, np.full(len(sizes), np.nan), count)

    if np.all(table[present] == 0):
        return fit("zero", f"Identically zero at all sizes, {_range(sizes, count)}: there is no rate.")
    reason = _obstacle(sizes, table, mean, usable, from_replicates)
    if reason is None:
        reason = _infinite_variance(table[usable], mean[usable], moment, p)
    if reason is None:
        return None
    return fit("not-measurable", f"No rate from {_range(sizes, count)}: {reason}.")


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


def _infinite_variance(table: Floats, mean: Floats, moment: float | None, p: float) -> str | None:
    """Return why the variance of the replicates is not finite, or None.

    With tail index nu of the sampled law W_p^p has index nu / p, so its variance is finite only for nu > 2 p.
    """
    if moment is not None and moment <= 2 * p:
        return f"the variance is not finite (tail index moment/p = {moment / p:.3g}), a mean has no interval"
    index, upper = _hill(table / mean[:, None])
    if upper < 2:
        return f"the variance is not finite (tail index {index:.2g} by Hill), a mean has no interval"
    return None


def _hill(ratios: Floats) -> tuple[float, float]:
    """Return Hill's (1975) tail index of the pooled replicates over their means, and its 3-sigma upper end.

    The n^0.55 largest are used, from 200 replicates on. The margin keeps lognormal (CV 0.5), half-normal and
    chi^2_1 noise silent (no alarm in 2e4 data sets each), and costs power: index 1.5 needs about 8000 replicates.
    """
    pooled = np.sort(ratios[~np.isnan(ratios)])
    top = int(len(pooled) ** 0.55)
    if len(pooled) < 200 or pooled[-top - 1] <= 0:
        return np.inf, np.inf
    excess = np.log(pooled[-top:] / pooled[-top - 1]).mean()
    index = np.inf if excess == 0 else float(1 / excess)
    return index, index * (1 + 3 / np.sqrt(top))


def _variance_function(log_sizes: Floats, variance: Floats, degrees: Floats) -> Floats:
    """Smooth sample variances to a power of N: slope of log s^2 on log N, then the pooled scale.

    E log s^2 = log sigma^2 + digamma(k/2) - log(k/2) with k degrees of freedom corrects the slope where k
    varies; a scale from pooling is unbiased for any noise.
    """
    kept = variance > 0
    slope = 0.0
    if kept.sum() > 1:
        half = degrees[kept] / 2
        unbiased = np.log(variance[kept]) - special.digamma(half) + np.log(half)
        slope = np.polyfit(log_sizes[kept], unbiased, 1, w=np.sqrt(degrees[kept]))[0]
    shape = np.exp(slope * (log_sizes - log_sizes.mean()))
    return np.asarray(shape * np.average(variance / shape, weights=degrees))


def _resampled_means(sizes: Floats, table: Floats, labels: NDArray[np.int64]) -> _Means:
    """Means, fitted variances and bootstrap draws from replicates (by label)."""
    present = ~np.isnan(table)
    count = present.sum(axis=1)
    mean = np.where(present, table, 0.0).sum(axis=1) / count
    deviation = np.where(present, table - mean[:, None], 0.0) / count[:, None]
    clusters = _clusters(deviation, present, labels)
    each = np.sum([_inflation(part) * ((part - part.mean(axis=0)) ** 2).sum(axis=0) for part in clusters], axis=0)
    degrees = np.sum([(len(part) - 1) * np.any(part != 0, axis=0) for part in clusters], axis=0).astype(float)
    degrees = np.maximum(degrees, 1.0)
    log_sizes = np.log(sizes)
    variance = _variance_function(log_sizes, each * count, degrees) / count
    relative = _variance_function(log_sizes, each * count / mean**2, degrees) / count
    # Deviations take the size of the fitted variance: pooling steadies the intervals of few replicates.
    scale = np.sqrt(np.divide(variance, each, out=np.ones_like(each), where=each > 0))
    draws = mean + scale * sum(_redrawn(part, index) for index, part in enumerate(clusters))
    white, log_white = np.diag(variance**-0.5), np.diag(relative**-0.5)
    return _Means(sizes, mean, variance, relative, white, log_white, draws, _degrees(clusters))


def _degrees(clusters: tuple[Floats, ...]) -> float:
    """Degrees of freedom of a pooled variance: labels minus strata, reduced by the excess kurtosis.

    A sample variance of n values of excess kurtosis e has relative variance (2 + e) / n.
    """
    columns = [column for part in clusters for column in part.T if np.any(column != 0)]
    standard = [column[column != 0] / np.sqrt(np.mean(column[column != 0] ** 2)) for column in columns]
    excess = float(np.mean(np.concatenate(standard) ** 4)) - 3
    return sum(len(part) - 1 for part in clusters) * 2 / (2 + max(excess, 0.0))


def _clusters(deviation: Floats, present: NDArray[np.bool_], labels: NDArray[np.int64]) -> tuple[Floats, ...]:
    """Sum the deviations of each label, and split the labels into strata that appear at the same sizes.

    Returns arrays (labels of the stratum, n). A label that is alone in its stratum joins the largest one.
    """
    unique, inverse = np.unique(labels[present], return_inverse=True)
    row = np.nonzero(present)[0]
    total = np.zeros((len(unique), len(deviation)))
    seen = np.zeros(total.shape, dtype=bool)
    np.add.at(total, (inverse, row), deviation[present])
    seen[inverse, row] = True
    _, stratum, members = np.unique(seen, axis=0, return_inverse=True, return_counts=True)
    stratum = np.where(members[stratum] == 1, np.argmax(members), stratum)
    return tuple(total[stratum == index] for index in np.unique(stratum))


def _inflation(part: Floats) -> float:
    """Return n / (n - 1), which makes a variance over n resampled labels unbiased."""
    return len(part) / (len(part) - 1)


def _redrawn(part: Floats, index: int) -> Floats:
    """Deviations of the means when the labels of a stratum are drawn again, (RESAMPLES, n)."""
    rng = stream(0, Purpose.BOOTSTRAP, 0, index)
    touched = np.any(part != 0, axis=0)
    centred = part[:, touched] - part[:, touched].mean(axis=0)
    drawn = np.zeros((RESAMPLES, part.shape[1]))
    chunk = max(1, 4_000_000 // part.size)  # rows drawn at once: bounds the memory
    for first in range(0, RESAMPLES, chunk):
        rows = min(chunk, RESAMPLES - first)
        picks = rng.integers(len(part), size=(rows, len(part)))
        drawn[first : first + rows, touched] = centred[picks].sum(axis=1)
    return np.asarray(drawn * np.sqrt(_inflation(part)))


def _known_means(sizes: Floats, mean: Floats, covariance: Floats) -> _Means:
    """Means of known covariance, with Gaussian draws."""
    root = np.linalg.cholesky(covariance)
    noise = stream(0, Purpose.BOOTSTRAP, 0, 0).standard_normal((RESAMPLES, len(mean)))
    white = np.linalg.inv(root)
    variance = np.diag(covariance)
    return _Means(sizes, mean, variance, variance / mean**2, white, white * mean, mean + noise @ root.T, np.inf)


def _infer(means: _Means, replicates: NDArray[np.int64], laws: Sequence[RateLaw]) -> Fit:
    """Turn means into effective exponent, law, exponent, constant and verdict."""
    candidates = _weighted([_fit_law(law, means) for law in laws], len(means.sizes))
    best = max(candidates, key=lambda candidate: candidate.weight)
    plausible = [candidate for candidate in candidates if candidate.weight > PLAUSIBLE]
    undecided = len({candidate.law.log_power for candidate in plausible}) > 1
    ends = [candidate.exponent_interval for candidate in (plausible if undecided else [best])]
    effective, effective_interval = _effective_exponent(means)
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
        p_value=_p_value(best, means),
        fitted=best.fitted,
        residuals=(means.mean - best.fitted) / error,
    )
    return replace(fit, text=_text(fit, best, plausible))


def _p_value(candidate: _Candidate, means: _Means) -> float:
    """Probability of a larger chi^2 than that of the law, F distributed where the variances are estimated."""
    free = len(means.sizes) - candidate.law.parameters
    if np.isinf(means.degrees):
        return float(stats.chi2.sf(candidate.chi2, free))
    return float(stats.f.sf(candidate.chi2 / free, free, means.degrees))


def _fit_law(law: RateLaw, means: _Means) -> _Candidate:
    constants, _ = _point_and_draws(law, means)
    twin_constants, exponents = _point_and_draws(law.twin, means)
    fitted = constants[0] * law.shape(means.sizes, exponents[0] if law.exponent is None else None)
    chi2 = float(np.sum((means.white @ (means.mean - fitted)) ** 2))
    logs = np.log(twin_constants) if law.exponent is None else constants / constants[0]
    half = _half_width(logs[1:], means)
    constant = float(constants[0])
    constant_interval = (float(constant * np.exp(-half)), float(constant * np.exp(half)))
    exponent, width = float(exponents[0]), _half_width(exponents[1:], means)
    return _Candidate(law, constant, constant_interval, exponent, (exponent - width, exponent + width), fitted, chi2)


def _point_and_draws(law: RateLaw, means: _Means) -> tuple[Floats, Floats]:
    """Constants and exponents of the means (first entry) and of every draw."""
    constant, exponent = least_squares(law, means.sizes, means.mean[None], means.white)
    start = float(constant[0]), float(exponent[0])
    drawn = least_squares(law, means.sizes, means.draws, means.white, start, steps=STEPS)
    return np.concatenate([constant, drawn[0]]), np.concatenate([exponent, drawn[1]])


def _effective_exponent(means: _Means) -> tuple[float, Interval]:
    """Slope of the weighted projection of log E on log N, with its interval.

    E log(mean) = log E - variance / (2 E^2) to leading order: the bias is added back.
    """
    x = np.log(means.sizes)
    design = means.log_white @ np.stack([np.ones_like(x), x - x.mean()], axis=1)
    weights = (np.linalg.pinv(design) @ means.log_white)[1]
    slope = float(weights @ (np.log(means.mean) + means.relative / 2))
    half = _half_width((means.draws / means.mean - 1) @ weights, means)
    return slope, (slope - half, slope + half)


def _half_width(draws: Floats, means: _Means) -> float:
    """Half the 95 % interval: bootstrap standard error times a Student quantile."""
    return float(stats.t.ppf((1 + LEVEL) / 2, means.degrees) * draws.std(ddof=1))


def _weighted(candidates: Sequence[_Candidate], n: int) -> list[_Candidate]:
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


def _range(sizes: Floats, count: NDArray[np.int64]) -> str:
    """Return the sweep in words."""
    each = f"{count.min()}" if count.min() == count.max() else f"{count.min()} to {count.max()}"
    return f"N = {sizes[0]:g} to {sizes[-1]:g} ({len(sizes)} sizes, replicates per size: {each})"


def _text(fit: Fit, best: _Candidate, plausible: Sequence[_Candidate]) -> str:
    """Return the finding in one to three sentences, with 95 % intervals."""
    effective = f"effective exponent {_cite(fit.effective_exponent, fit.effective_exponent_interval)}"
    where = f"{_range(fit.sizes, fit.replicates)}, 95 % intervals"
    if fit.verdict == "undecided":
        named = "; ".join(f"{_power(each)}, AICc weight {each.weight:.2f}" for each in plausible)
        return f"Over {where}: {effective}; the law is undecided between {named}.{_misfit(fit)}"
    constant = f"C = {_cite(fit.constant, fit.constant_interval, relative=True)}"
    return f"Over {where}: {_power(best)}, {constant}, {effective}.{_pinned(best)}{_misfit(fit)}"


def _power(candidate: _Candidate) -> str:
    """Name the law and its power of N."""
    law = candidate.law
    return f"{law.twin.formula} ({law.name}) with a = {_cite(candidate.exponent, candidate.exponent_interval)}"


def _pinned(best: _Candidate) -> str:
    """Say whether the power that a law pins lies in the interval of the free one."""
    if best.law.exponent is None:
        return ""
    low, high = best.exponent_interval
    consistent = "consistent" if low <= best.law.exponent <= high else "not consistent"
    return f" The pinned law {best.law.formula} ({best.law.source}) is {consistent} with it."


def _misfit(fit: Fit) -> str:
    """Warn where even the best law does not describe the means."""
    if fit.p_value is None or fit.p_value >= MISFIT:
        return ""
    return f" No candidate describes the means (chi^2 probability < {MISFIT:g}): see the effective exponent."


def _cite(value: float | None, interval: Interval | None, relative: bool = False) -> str:
    """Return value [low, high] to two digits of the half-width, taken on the log scale where relative."""
    if value is None or interval is None:
        return "not known"
    low, high = interval
    if relative:
        half = np.log(high / low) / 2
        return f"{_number(value, value * half)} [{_number(low, low * half)}, {_number(high, high * half)}]"
    half = (high - low) / 2
    return f"{_number(value, half)} [{_number(low, half)}, {_number(high, half)}]"


def _number(value: float, error: float) -> str:
    """Print a number to two digits of its error, at least one digit of its own."""
    if value == 0 or not 0 < error < np.inf:
        return f"{value:.3g}"
    digits = int(np.floor(np.log10(abs(value))) - np.floor(np.log10(error))) + 2
    return f"{value:#.{min(max(digits, 1), 15)}g}".replace(".e", "e").rstrip(".")
