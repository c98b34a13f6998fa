"""All quantities of a study in one figure."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from mfstudy.ensemble import Floats
from mfstudy.fit import Fit
from mfstudy.plot.curves import BLACK, BLUE, SKY, series_of
from mfstudy.plot.panels import label_beside
from mfstudy.plot.words import MINUS, decimals
from mfstudy.quantities import Quantity
from mfstudy.results import Results

#: Okabe and Ito (2008), and two greys.
COLOURS = (BLUE, "#D55E00", "#009E73", "#CC79A7", "#E69F00", BLACK, SKY, "#8c8c8c")
MARKERS = "osD^vPXd"


def drawn(results: Results, time: int) -> list[tuple[Quantity, Fit]]:
    """Return the quantities that can be drawn at a time: those with positive means, but for running maxima."""
    return [
        (quantity, fit)
        for quantity, at, fit in results.fits
        if at == time and not quantity.per_run and len(fit.sizes) > 1 and np.all(fit.mean > 0)
    ]


def draw(axes: Axes, results: Results, time: int) -> Floats:
    """Draw the means with their intervals, hollow where they take no part in a fit, and the fits; return the sizes."""
    marks, sizes = [], []
    axes.set_yscale("log")
    for index, (quantity, fit) in enumerate(drawn(results, time)):
        colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
        look: dict[str, Any] = {"color": colour, "markersize": 4, "capsize": 2, "elinewidth": 0.9, "fmt": marker}
        axes.errorbar(fit.sizes, fit.mean, _reach(fit), **look)
        axes.plot(fit.sizes, fit.mean if fit.fitted is None else fit.fitted, color=colour, linewidth=1.1)
        series = series_of(results, quantity, time, fit)
        left = series.hollow & (series.mean > 0)
        axes.plot(series.sizes[left], series.mean[left], marker, color=colour, markersize=4, markerfacecolor="white")
        marks.append((f"{_broken(quantity.name)}\n{_exponent(fit)}", colour, float(fit.mean[-1])))
        sizes += list(series.sizes)
    axes.set_ylabel("mean")
    label_beside(axes, marks)
    return np.unique(np.asarray(sizes, dtype=float))


def _reach(fit: Fit) -> Floats:
    """Return how far the intervals of the means reach below and above them, (2, n)."""
    if fit.mean_interval is None:
        return np.zeros((2, len(fit.sizes)))
    return np.asarray(np.abs(fit.mean_interval - fit.mean[:, None]).T)


def _broken(name: str) -> str:
    """Return a name in lines that the margin holds."""
    return "\n".join(textwrap.wrap(name.replace("_", " "), 26)).replace(" ", "_")


def _exponent(fit: Fit) -> str:
    if fit.effective_exponent is None or fit.effective_exponent_interval is None:
        return "no rate"
    digits = decimals(fit.effective_exponent, fit.effective_exponent_interval)
    low, high = fit.effective_exponent_interval
    power = f"{fit.effective_exponent:.{digits}f}".replace("-", MINUS)
    return rf"$N^{{{power}}}$ [{low:.{digits}f}, {high:.{digits}f}]".replace("-", MINUS)
