"""What a sweep says of the rates that theorems state. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from mfstudy.fit import Fit
from mfstudy.rates import RateLaw
from mfstudy.wording import cite

#: Difference of exponents from which a bound is called far from sharp.
FAR = 0.25


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
    verdict: Literal["sharp", "far from sharp", "faster", "slower", "zero"]
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
    return Statement(law.source, law.formula, verdict, text, constant, error)  # type: ignore[arg-type]
