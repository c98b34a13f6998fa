"""A fit in words: a few sentences to cite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mfstudy.candidates import MISFIT, Candidate, pinned_power, power_of
from mfstudy.wording import cite, sweep_range

if TYPE_CHECKING:
    from mfstudy.fit import Fit

#: Part of a statistical error below which a systematic term is not mentioned in words.
NEGLIGIBLE = 0.01


def sentences(fit: Fit, best: Candidate, plausible: Sequence[Candidate], misfit: bool, heavy: str | None) -> str:
    """Return the finding, with 95 % intervals.

    Parameters
    ----------
    fit : Fit
    best : Candidate
        The law that is named.
    plausible : sequence of Candidate
    misfit : bool
        Whether it does not describe the means.
    heavy : str or None
        Why the replicates have no finite variance.
    """
    over = f"Medians over {_where(fit)}" if heavy is not None else f"Over {_where(fit)}"
    found = f"{over}: {_finding(fit, best, plausible, misfit)}."
    if heavy is not None:
        found += f" Medians, because {heavy}."
    if fit.p_value is not None and fit.p_value < MISFIT and not misfit:
        found += (
            f" The means are off the law by more than their statistical errors (chi^2 probability {fit.p_value:.1g}),"
            " and by less than their systematic terms."
        )
    return found + _advice(fit) + _systematic(fit)


def _where(fit: Fit) -> str:
    return f"{sweep_range(fit.sizes, fit.replicates)}, 95 % intervals"


def _finding(fit: Fit, best: Candidate, plausible: Sequence[Candidate], misfit: bool) -> str:
    effective = f"effective exponent {cite(fit.effective_exponent, fit.effective_exponent_interval)}"
    named = "; ".join(f"{power_of(each)}, AICc weight {each.weight:.2f}" for each in plausible)
    if misfit:
        wrong = f"no candidate law describes the means (chi^2 probability < {MISFIT:g}), the nearest:"
        return f"{effective}; {wrong} {named}.{pinned_power(best)}".rstrip(".")
    if fit.verdict == "undecided" and len(plausible) > 1:
        return f"{effective}; the law is undecided between {named}"
    if fit.verdict == "undecided":
        held = f"which describes the means too (chi^2 probability {fit.p_value:.2g})"
        return f"{effective}; the exponent is undecided: {power_of(best)}, {held}"
    constant = f"C = {cite(fit.constant, fit.constant_interval, relative=(fit.constant_interval or (0,))[0] > 0)}"
    return f"{power_of(best)}, {constant}, {effective}.{pinned_power(best)}".rstrip(".")


def _advice(fit: Fit) -> str:
    """Say what would decide between the laws."""
    ways = []
    if fit.decisive_replicates is not None:
        ways.append(f"about {_rounded(fit.decisive_replicates)} replicates a size")
    if fit.decisive_size is not None:
        ways.append(f"sizes up to about N = {_rounded(fit.decisive_size)} with the same relative errors")
    return f" To decide: {', or '.join(ways)}." if ways else ""


def _rounded(value: float) -> str:
    """Return a number to two digits, upwards."""
    unit = 10.0 ** (np.floor(np.log10(value)) - 1)
    return f"{np.ceil(value / unit) * unit:g}"


def _systematic(fit: Fit) -> str:
    """Say what the systematic terms add, where it is seen beside the statistical error."""
    low, high = fit.effective_exponent_interval or (0.0, 0.0)
    if not fit.effective_exponent_systematic or fit.effective_exponent_systematic < NEGLIGIBLE * (high - low) / 2:
        return ""
    return (
        f" If every mean is off by all of its systematic terms, the effective exponent moves by at most"
        f" {fit.effective_exponent_systematic:.1g}."
    )
