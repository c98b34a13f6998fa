"""What measured numbers say of theorems: of their rates, of explicit bounds, of bounds of each number. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mfstudy.claims import decades, formula_of
from mfstudy.constants import Needed, needed_constant
from mfstudy.ensemble import Floats
from mfstudy.fit import Fit, fit_rate
from mfstudy.marginals import End
from mfstudy.theorems import Claim, Edition, Premise, Subject
from mfstudy.wording import Interval, cite

#: Difference of exponents from which a bound is called far from sharp.
FAR = 0.25
#: Standard errors by which a mean is above its bound where that is called violated.
SURE = 3.0
#: Decades by which a number is not above its bound, by rounding.
ROUNDING = 1e-9

Rating = Literal["sharp", "far from sharp", "faster", "slower", "zero", "holds", "violated"]


@dataclass(frozen=True)
class Statement:
    """A theorem beside what was measured.

    Where its right-hand side is explicit it holds or is violated, with a margin. Where a constant is not explicit no
    sweep can refute it: its rate is compared, and the constant that the sweep needs is said.

    Parameters
    ----------
    theorem, edition : str
        Paper and statement; "as stated", "as printed" or "corrected".
    rate : str or None
        The law in plain characters.
    verdict : str
        "holds" or "violated" where all is explicit. Else "sharp" where the measured exponent agrees with the rate's,
        "far from sharp" where the mean surely falls faster by more than a quarter of a power of N, "faster" where it
        falls faster by less or less surely, "slower" where it surely falls more slowly over these sizes. "zero" for
        values all zero.
    text : str
        A sentence or two; premises that fail are named.
    premises : tuple of Premise
    constant, constant_interval, constant_size : float, pair, float or None
        The largest mean over the rate, what the constant has to be for the bound to hold for this law over these sizes;
        its interval at 95 %, simultaneous over the sizes; and where it is needed.
    consistent : bool or None
        Of a rate: whether the interval of the effective exponent is at or below the rate's slope over these sizes,
        None where it contains that slope, so that the sweep does not tell.
    holds : bool or None
        Of an explicit bound: whether the means, less systematic terms and 3 standard errors, are at or below it at
        every size.
    margin_log10 : float or None
        The smallest log10(bound / mean).
    """

    theorem: str
    edition: Edition
    rate: str | None
    verdict: Rating
    text: str
    premises: tuple[Premise, ...] = ()
    constant: float | None = None
    constant_interval: Interval | None = None
    constant_size: float | None = None
    consistent: bool | None = None
    holds: bool | None = None
    margin_log10: float | None = None


def by_rate(claim: Claim, subject: Subject, fit: Fit) -> Statement | None:
    """Compare a theorem's rate with a fit; None where it has none, or where nothing was measured."""
    law, name = claim.rate, _named(claim, subject)
    if law is None:
        return None
    common: dict[str, Any] = {
        "theorem": claim.theorem,
        "edition": claim.edition,
        "rate": formula_of(claim),
        "premises": claim.premises,
    }
    if fit.verdict == "zero":
        text = f"{name} holds: the left side is zero.{_unmet(claim)}"
        return Statement(
            **common, verdict="zero", text=text, constant=0.0, constant_interval=(0.0, 0.0), consistent=True
        )
    needed = constant_of(claim, fit)
    if fit.effective_exponent is None or fit.effective_exponent_interval is None:
        return None
    # The same functional of the sweep as the measured exponent: one of a curve depends on the weights.
    precise = fit.mean / fit.standard_error
    stated = float(np.polyfit(np.log(fit.sizes), np.log(_right_side(claim, fit.sizes)), 1, w=precise)[0])
    reach = fit.effective_exponent_systematic or 0.0
    low, high = fit.effective_exponent_interval[0] - reach, fit.effective_exponent_interval[1] + reach
    verdict, how = _rated(stated, fit.effective_exponent, low, high)
    text = (
        f"{name}: {formula_of(claim)}, over these sizes like N^{stated:.2f}, {how} (measured:"
        f" {cite(fit.effective_exponent, (low, high))}{' of medians' if needed is None else ''})"
        f"{_needs(claim, needed)}.{_unmet(claim)}"
    )
    consistent = True if high <= stated else False if low > stated else None
    return Statement(
        **common,
        verdict=verdict,
        text=text,
        constant=None if needed is None else needed.constant,
        constant_interval=None if needed is None else needed.interval,
        constant_size=None if needed is None else needed.size,
        consistent=consistent,
    )


def _needs(claim: Claim, needed: Needed | None) -> str:
    """Say which constant the sweep needs."""
    if needed is None:
        return ""
    standing = f"C = {claim.unknown}" if claim.unknown else "C"
    return f"; it needs {standing} >= {cite(needed.constant, needed.interval)} for this law there"


def constant_of(claim: Claim, fit: Fit) -> Needed | None:
    """Return the constant that a claim's rate needs over the sizes of a fit; None where either has no numbers."""
    return None if claim.rate is None else needed_constant(fit, _right_side(claim, fit.sizes))


def _right_side(claim: Claim, sizes: Floats) -> Floats:
    """Return what a claim has beside its unknown constant."""
    assert claim.rate is not None
    return claim.known * claim.rate.shape(sizes, c=claim.second)


def _rated(stated: float, measured: float, low: float, high: float) -> tuple[Rating, str]:
    """Compare a stated exponent with a measured one and its interval, in a word and in words."""
    if low <= stated <= high:
        return "sharp", "is attained within the error"
    if stated < low:
        return "slower", "is not seen at these sizes, where the mean falls more slowly"
    if stated - high > FAR:
        return "far from sharp", f"is consistent and far from sharp, by {stated - measured:.2f} in the exponent"
    return "faster", "is consistent and not attained, the mean falls faster"


def by_bound(
    claim: Claim, subject: Subject, sizes: Floats, mean: Floats, error: Floats, systematic: Floats | float = 0.0
) -> Statement | None:
    """Compare means over replicates with a theorem's explicit right-hand side.

    Parameters
    ----------
    claim, subject
    sizes, mean, error : (n,) arrays
        With the standard errors of the means; sizes without either are left out.
    systematic : (n,) array or float
        What the means may be off beside these.

    Returns
    -------
    Statement or None
        None where the right-hand side is not explicit, or nothing was measured.
    """
    kept = np.isfinite(mean) & np.isfinite(error)
    if claim.bound is None or not kept.any():
        return None
    off = np.broadcast_to(systematic, mean.shape)[kept]
    sizes, mean, error = sizes[kept], mean[kept], error[kept]
    bound, name = claim.bound.at(sizes), _named(claim, subject)
    lowest = mean - off - SURE * error
    above = (lowest > 0) & (_log10(lowest) > bound + ROUNDING)
    positive = (mean > 0) & np.isfinite(bound)
    margin = _margin(bound[positive] - _log10(mean[positive]))
    said = f"its right side is {decades(bound, sizes)}"
    if above.any():
        how = f"is violated at N = {', '.join(f'{size:g}' for size in sizes[above])}"
    else:
        how = "holds at every size"
    how += "" if margin is None else f", the smallest margin is 10^{margin:.2f}"
    return Statement(
        theorem=claim.theorem,
        edition=claim.edition,
        rate=None,
        verdict="violated" if above.any() else "holds",
        text=f"{name} {how}; {said}.{_unmet(claim)}",
        premises=claim.premises,
        holds=not above.any(),
        margin_log10=margin,
    )


def by_check(
    claim: Claim, subject: Subject, measured: Floats, bound: Floats | None, excess: Floats | None
) -> Statement | None:
    """Say whether a theorem's own bound of each number holds.

    Parameters
    ----------
    claim, subject
    measured, bound : (n,) arrays
        log10 of the numbers and of their bounds, NaN where absent; the bounds None where they are not stored.
    excess : (n,) array or None
        By how much each number is above its bound, 0 where it is not; None where it is not stored.

    Returns
    -------
    Statement or None
        None where there is no number.
    """
    known = np.isfinite(measured) if excess is None else np.isfinite(excess)
    count, name = int(known.sum()), f"{_named(claim, subject)}, {subject.name}"
    if not count:
        return None
    gaps = np.full(measured.shape, np.nan) if bound is None else bound - measured
    above = (gaps < -ROUNDING) if excess is None else np.abs(np.nan_to_num(excess)) > 0
    margin = _margin(gaps)
    if above.any():
        by = f", by up to {np.nanmax(excess):.2g} {subject.unit}".rstrip() if excess is not None else ""
        how = f"violated in {int(above.sum())} of {count} numbers{by}"
    else:
        how = f"holds in all {count} numbers"
    text = f"{name}: {how}{'' if margin is None else f', the smallest margin is 10^{margin:.2f}'}.{_unmet(claim)}"
    return Statement(
        theorem=claim.theorem,
        edition=claim.edition,
        rate=None,
        verdict="violated" if above.any() else "holds",
        text=text,
        premises=claim.premises,
        holds=not above.any(),
        margin_log10=margin,
    )


def _named(claim: Claim, subject: Subject) -> str:
    return f"{claim.title} ({subject.about})" if subject.about else claim.title


def _unmet(claim: Claim) -> str:
    """Say which premises fail; nothing where none does."""
    return f" Its hypothesis is not satisfied: {'; '.join(claim.unmet)}." if claim.unmet else ""


def _log10(values: Floats) -> Floats:
    """Return log10, -inf where a value is not above 0."""
    return np.log10(values, out=np.full(values.shape, -np.inf), where=values > 0)


def _margin(gaps: Floats) -> float | None:
    """Return the smallest of what is a number."""
    finite = gaps[np.isfinite(gaps)]
    return float(finite.min()) if len(finite) else None


def between(sizes: Sequence[int], ends: Sequence[tuple[End | None, End | None]]) -> str:
    """Say what the ends of a bracket alone claim of a rate; nothing where there are fewer than three sizes.

    Parameters
    ----------
    sizes : (n,) sequence
    ends : (n,) sequence
        Lower and upper end at each size.
    """
    words = [_decay(sizes, [pair[side] for pair in ends]) for side in (0, 1)]
    if words[1] is None:
        return ""
    low, high, text = words[1]
    if words[0] is None:
        return f"Its upper end falls {text}; its lower end is not resolved, so that the bracket alone claims no rate."
    below, above, lower = words[0]
    overlap = min(high, above) >= max(low, below)
    claim = "the bracket alone claims this rate" if overlap else "between these the bracket alone claims no rate"
    return f"Its upper end falls {text}, its lower end {lower}: {claim}."


def _decay(sizes: Sequence[int], ends: Sequence[End | None]) -> tuple[float, float, str] | None:
    """Return the interval of the effective exponent of ends that are resolved, and words; None for too few."""
    kept = [
        (n, e.value, e.standard_error) for n, e in zip(sizes, ends, strict=True) if e and e.value > 2 * e.standard_error
    ]
    if len(kept) < 3:
        return None
    grid, values, errors = (np.asarray(column, dtype=float) for column in zip(*kept, strict=True))
    spread = np.maximum(errors, 1e-12 * values) ** 2
    fit = fit_rate(grid, values[:, None], laws=("power",), covariance=np.diag(spread))
    if fit.effective_exponent is None or fit.effective_exponent_interval is None:
        return None
    low, high = fit.effective_exponent_interval
    return low, high, f"like N^{cite(fit.effective_exponent, (low, high))}"
