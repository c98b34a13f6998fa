"""What a sweep says of the rates that theorems state. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mfstudy.fit import Fit, fit_rate
from mfstudy.marginals import End
from mfstudy.rates import RateLaw
from mfstudy.wording import cite

#: Difference of exponents from which a bound is called far from sharp.
FAR = 0.25


Rating = Literal["sharp", "far from sharp", "faster", "slower", "zero"]


@dataclass(frozen=True)
class Statement:
    """A theorem's rate beside the measured one; its constant is not explicit, so that no sweep can refute it.

    Parameters
    ----------
    theorem, rate : str
        Paper and statement, and the law in plain characters.
    verdict : str
        "sharp" where the measured exponent agrees with the rate's, "far from sharp" where the mean surely falls faster
        by more than a quarter of a power of N, "faster" where it falls faster by less or less surely, "slower" where
        it surely falls more slowly over these sizes, "zero" for values all zero.
    text : str
        A sentence.
    constant, constant_error : float
        The largest mean over the rate, what the constant has to be for the bound to hold over these sizes, and its
        standard error.
    """

    theorem: str
    rate: str
    verdict: Rating
    text: str
    constant: float
    constant_error: float


def statement(law: RateLaw, fit: Fit) -> Statement | None:
    """Compare a theorem's rate with a fit; None where nothing was measured."""
    if fit.verdict == "zero":
        text = f"{law.source} holds: both sides are zero."
        return Statement(law.source, law.formula, "zero", text, 0.0, 0.0)
    if fit.effective_exponent is None or fit.effective_exponent_interval is None:
        return None
    logs = np.log(fit.sizes)
    stated = float(np.polyfit(logs, np.log(law.shape(fit.sizes)), 1)[0])
    low, high = fit.effective_exponent_interval
    needed = fit.mean / law.shape(fit.sizes)
    most = int(np.argmax(needed))
    constant, error = float(needed[most]), float(needed[most] * fit.standard_error[most] / fit.mean[most])
    measured = cite(fit.effective_exponent, fit.effective_exponent_interval)
    verdict: Rating
    if low <= stated <= high:
        verdict, how = "sharp", "is attained within the error"
    elif stated < low:
        verdict, how = "slower", "is not seen at these sizes, where the mean falls more slowly"
    elif stated - high > FAR:
        verdict, how = "far from sharp", f"is far from sharp, by {stated - fit.effective_exponent:.2f} in the exponent"
    else:
        verdict, how = "faster", "is not attained, the mean falls faster"
    text = (
        f"{law.source}: {law.formula}, over these sizes like N^{stated:.2f}, {how} (measured: {measured}); it needs"
        f" C >= {constant:.2g} ± {error:.1g} there."
    )
    return Statement(law.source, law.formula, verdict, text, constant, error)


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
