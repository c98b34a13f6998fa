"""What a figure draws, as numbers: means by size, the fitted law, the laws of the literature."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mfstudy.ensemble import Floats
from mfstudy.fit import Fit
from mfstudy.plot.words import decimals, formula, law_name, typeset
from mfstudy.quantities import Quantity
from mfstudy.rates import RateLaw, candidate_laws
from mfstudy.results import Results

# Okabe and Ito (2008), told apart with every common colour blindness.
BLACK, BLUE, SKY, GREY = "#000000", "#0072B2", "#56B4E9", "#5f5f5f"
REFERENCE = (
    ("#D55E00", (0, (5, 2))),
    ("#009E73", (0, (1.2, 1.6))),
    ("#CC79A7", (0, (6, 2, 1.2, 2))),
    ("#E69F00", (0, (2.5, 2.5))),
)


@dataclass(frozen=True, eq=False)
class Series:
    """The numbers of the panels by size: (n,), values (n, replicates), interval (n, 2); NaN where the fit gives none.

    The mean is a median where `estimator` says so.
    """

    sizes: Floats
    values: Floats
    mean: Floats
    error: Floats
    interval: Floats
    estimator: str
    hollow: NDArray[np.bool_]
    lower: Floats
    upper: Floats


@dataclass(frozen=True, eq=False)
class Curve:
    """A law drawn through the panels: its label in the main one, and a short one."""

    label: str
    short: str
    look: dict[str, Any]
    sizes: Floats
    values: Floats

    @property
    def slope(self) -> Floats:
        """Return the local exponent at each size."""
        return np.asarray(np.gradient(np.log(self.values), np.log(self.sizes), edge_order=2))


def laws(results: Results, quantity: Quantity) -> dict[str, RateLaw]:
    """Return the candidate laws of a quantity's fit by name."""
    return {law.name: law for law in candidate_laws(**results.sampling(quantity))}


def law_error(fit: Fit, law: RateLaw, sizes: Floats) -> Floats:
    """Return the standard error of the log of the fitted law, from the standard errors of the means.

    Weighted least squares for log C, c, and the exponent where the law leaves it free (delta method).

    Parameters
    ----------
    fit : Fit
    law : RateLaw
        The law of the fit.
    sizes : (m,) array
        Sizes N > 1.

    Returns
    -------
    (m,) array
        Dimensionless: relative to the fitted value.
    """

    def derivatives(at: Floats) -> Floats:
        """Return those of log E by log C, c and the exponent."""
        by_c = [law.columns(at)[1] / law.shape(at, c=fit.second_constant or 0.0)] if law.second else []
        by_exponent = [np.log(at)] if law.exponent is None else []
        return np.stack([np.ones(len(at)), *by_c, *by_exponent], axis=1)

    design = derivatives(fit.sizes) * (np.asarray(fit.fitted) / fit.standard_error)[:, None]
    return np.asarray(np.linalg.norm(derivatives(sizes) @ np.linalg.pinv(design), axis=1))


def _curve(fit: Fit, law: RateLaw, sizes: Floats) -> Floats:
    """Return the fitted law."""
    exponent = fit.exponent if law.exponent is None else None
    return (fit.constant or 0.0) * law.shape(sizes, exponent, fit.second_constant or 0.0)


def series_of(results: Results, quantity: Quantity, time: int, fit: Fit) -> Series:
    """Return the numbers of a quantity by size."""
    values = results.values(quantity, "estimate", time)
    centre = np.median if fit.estimator == "median" else np.mean
    rows = (row[np.isfinite(row)] for row in values)
    mean = np.array([centre(row) if len(row) else np.nan for row in rows])
    error, interval = np.full(len(results.sizes), np.nan), np.full((len(results.sizes), 2), np.nan)
    place = np.searchsorted(results.sizes, fit.sizes)
    mean[place], error[place] = fit.mean, fit.standard_error
    if fit.mean_interval is not None:
        interval[place] = fit.mean_interval
    hollow = np.isnan(error) | np.isin(results.sizes, results.excluded(quantity, time))
    sizes = np.asarray(results.sizes, dtype=float)
    ends = zip(results.ends(quantity, time), mean, strict=True)
    lower, upper = np.array([[m if end is None else end.value for end in pair] for pair, m in ends]).T
    shown = values[:, :0] if quantity.raw else values  # jackknife values are no replicates
    lower = np.maximum(lower, 0.0)
    return Series(sizes, shown, mean, error, interval, fit.estimator, hollow, lower, upper)


def fitted(series: Series, fit: Fit, law: RateLaw) -> Curve:
    """Return the fitted law, labelled with its exponent."""
    grid = np.geomspace(series.sizes[0], series.sizes[-1], 65)
    value, interval = fit.exponent or 0.0, fit.exponent_interval or (0.0, 0.0)
    low, high = (f"{end:.{decimals(value, interval)}f}" for end in interval)
    label = rf"fit: {law_name(law)}" "\n" rf"{formula(law)}" "\n" rf"free $a\in[{low},\,{high}]$"
    if law.exponent is None:
        label = label.replace("free ", "")
    return Curve(label, "fit", {"color": BLUE, "linewidth": 1.4}, grid, _curve(fit, law, grid))


def references(results: Results, quantity: Quantity, series: Series, fit: Fit) -> list[Curve]:
    """Return the laws of the literature, anchored at the leftmost mean."""
    grid = np.geomspace(series.sizes[0], series.sizes[-1], 65)
    curves = []
    for law, (colour, dash) in zip(_slopes(results, quantity), REFERENCE, strict=False):
        values = law.shape(grid) * fit.mean[0] / law.shape(fit.sizes[:1])
        look = {"color": colour, "linestyle": dash, "linewidth": 1.3}
        curves.append(Curve(f"{law_name(law)}\n{formula(law)}", formula(law), look, grid, values))
    return curves


def _slopes(results: Results, quantity: Quantity) -> list[RateLaw]:
    """Return the pinned laws of the literature, those with a logarithm also without it."""
    shown = results.slopes(quantity)
    for law in list(shown):
        if law.exponent not in {other.exponent for other in shown if not other.log_power}:
            shown.append(replace(law, name="without log", log_power=0.0, log_shift=0))
    return shown


def footer_of(results: Results, quantity: Quantity, time: int) -> list[str]:
    """Return the lines below the panels: what is drawn, of how many replicates, from which problem."""
    groups: dict[str, list[str]] = {}
    for row in results.counts:
        groups.setdefault(f"{row.done - row.failed}/{row.wanted}", []).append(str(row.size))
    each = [f"{count} at N = {', '.join(sizes)}" for count, sizes in groups.items()]
    lines = (
        f"{quantity.definition}, at t = {results.times[time]:g}",
        f"replicates (good/wanted): {f'{next(iter(groups))} at every size' if len(groups) == 1 else '; '.join(each)}",
        f"study {results.name}, problem {results.store.attributes['identity'][:12]}",
    )
    return [typeset(part) for line in lines for part in textwrap.wrap(line, 118)]
