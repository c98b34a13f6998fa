"""The panels of a figure: each draws one thing into given axes."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator
from scipy.optimize import isotonic_regression

from mfstudy.ensemble import Floats
from mfstudy.fit import Fit
from mfstudy.plot.curves import BLACK, BLUE, GREY, SKY, Curve, Series
from mfstudy.plot.words import MINUS

#: Normal quantile of a 95 % interval.
Z95 = 1.959964
#: Single replicates drawn at a size; more would only make the file large.
SHOWN = 48
#: Inches between lines of text below the panels.
LINE = 0.155
_BESIDE = 1.045  # where labels begin, in widths of the panel


def draw_main(axes: Axes, series: Series, curves: Sequence[Curve], error: Floats) -> None:
    """Draw replicates, bracket, means, the fitted law with its band, and the slopes of the literature."""
    axes.set_yscale("log")
    _replicates(axes, series)
    if np.nanmax((series.upper - series.lower) / series.mean) > 1e-6:
        look: dict[str, Any] = {"color": SKY, "alpha": 0.3, "linewidth": 0, "zorder": 1}
        axes.fill_between(series.sizes, series.lower, series.upper, label="bracket", **look)
    fit, factor = curves[0], np.exp(Z95 * error)
    look = {"color": BLUE, "alpha": 0.25, "linewidth": 0, "zorder": 1.5, "label": "fitted law, 95 % band"}
    axes.fill_between(fit.sizes, fit.values / factor, fit.values * factor, **look)
    for curve in curves:
        axes.plot(curve.sizes, curve.values, zorder=2.5, **curve.look)
    _means(axes, series)
    axes.legend(loc="lower left", handlelength=1.6, borderaxespad=0.2)
    label_beside(axes, [(c.label, c.look["color"], c.values[-1]) for c in curves])


def draw_unfitted(axes: Axes, series: Series, fit: Fit) -> None:
    """Draw what there is without a law: replicates and means without intervals, and the reason."""
    if np.any(series.mean > 0):
        axes.set_yscale("log")
        _replicates(axes, series)
        axes.plot(series.sizes, series.mean, "o", color=BLACK, markerfacecolor="white", label="mean, no interval")
        axes.legend(loc="lower left")
    else:
        axes.plot(series.sizes, np.zeros_like(series.sizes), "o", color=BLACK, markersize=4)
        axes.set_yticks([0.0])
    reason = textwrap.fill(fit.text, 30).replace("$", r"\$")
    axes.text(_BESIDE, 0.98, reason, transform=axes.transAxes, va="top", fontsize=7.5)


def _replicates(axes: Axes, series: Series) -> None:
    """Draw single replicates as faint points, spread sideways by multiples of the golden ratio."""
    if not series.values.size:
        return
    spread = 0.18 * np.diff(np.log(series.sizes)).min(initial=1.0)
    most = 0
    for size, row in zip(series.sizes, series.values, strict=True):
        kept = np.sort(row[row > 0])
        most = max(most, len(kept))
        if len(kept) > SHOWN:  # evenly spaced in rank, so that the extremes stay
            kept = kept[np.linspace(0, len(kept) - 1, SHOWN).round().astype(int)]
        moved = size * np.exp(spread * (np.arange(len(kept)) * 0.618034 % 1 - 0.5))
        axes.plot(moved, kept, "o", color=GREY, alpha=0.35, markersize=2.2, markeredgewidth=0, zorder=2)
    label = f"single replicates (at most {SHOWN} a size)" if most > SHOWN else "single replicates"
    axes.lines[-1].set_label(label)


def _means(axes: Axes, series: Series) -> None:
    for hollow, label in ((False, ", 95 % interval"), (True, ", not in the fit or over 1 % failed")):
        kept = (series.hollow == hollow) & (series.mean > 0)
        if kept.any():
            half = np.nan_to_num(np.abs(series.interval[kept] - series.mean[kept, None])).T
            look: dict[str, Any] = {"color": BLACK, "markersize": 4.5, "capsize": 2.5, "elinewidth": 1, "zorder": 4}
            fill = "white" if hollow else BLACK
            axes.errorbar(
                series.sizes[kept],
                series.mean[kept],
                half,
                fmt="o",
                markerfacecolor=fill,
                label=series.estimator + label,
                **look,
            )


def draw_residuals(axes: Axes, fit: Fit) -> None:
    """Draw (mean - fitted) / standard error with lines at 0 and +-2."""
    residuals = np.asarray(fit.residuals)
    axes.axhline(0, color=BLUE, linewidth=1)
    for level in (-2, 2):
        axes.axhline(level, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.vlines(fit.sizes, 0, residuals, color=BLACK, linewidth=1)
    axes.plot(fit.sizes, residuals, "o", color=BLACK, markersize=4)
    reach = max(3.0, 1.2 * float(np.abs(residuals).max()))
    axes.set_ylim(-reach, reach)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.set_ylabel("residual")
    note = f"(mean {MINUS} fit) /\nstandard error,\ndashed: ±2"
    axes.text(_BESIDE, 0.5, note, transform=axes.transAxes, va="center", color=GREY)


def draw_exponents(axes: Axes, fit: Fit, curves: Sequence[Curve]) -> None:
    """Draw the slope between neighbouring means, and the local slopes of the laws."""
    x = np.log(fit.sizes)
    slope, error = np.asarray(fit.neighbours).T
    half = Z95 * error
    look: dict[str, Any] = {"color": BLACK, "markersize": 4, "capsize": 2.5, "elinewidth": 1, "zorder": 4}
    axes.errorbar(np.exp((x[1:] + x[:-1]) / 2), slope, half, fmt="o", **look)
    axes.hlines(slope, np.exp(x[:-1]), np.exp(x[1:]), color=BLACK, linewidth=0.8, alpha=0.45, zorder=3)
    for curve in curves:
        axes.plot(curve.sizes, curve.slope, **curve.look)
    known = np.concatenate([slope, *(curve.slope for curve in curves)])
    # An interval may be far wider than what it is compared with: then it leaves the panel.
    low, high = max((slope - half).min(), known.min() - 1), min((slope + half).max(), known.max() + 1)
    low, high = min(low, known.min()), max(high, known.max())
    axes.set_ylim(low - 0.1 * (high - low), high + 0.1 * (high - low))
    axes.set_ylabel("local exponent")
    label_beside(axes, [(c.short, c.look["color"], c.slope[-1]) for c in curves])


def label_sizes(panels: Sequence[Axes], sizes: Floats) -> None:
    """Label the sizes themselves, leaving out those that would overlap."""
    span = float(np.log(sizes[-1] / sizes[0])) or 1.0
    ticks = [sizes[0]]
    for size in sizes[1:]:
        if np.log(size / ticks[-1]) > 0.085 * span:
            ticks.append(size)
    axis = panels[-1]
    axis.set_xscale("log")
    axis.set_xlim(sizes[0] * np.exp(-0.05 * span), sizes[-1] * np.exp(0.05 * span))
    axis.xaxis.set_major_locator(FixedLocator(ticks))
    axis.xaxis.set_major_formatter(lambda size, _: f"{size:,.0f}".replace(",", "\u2009"))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xlabel(r"number of particles $N$")
    for panel in panels:
        panel.grid(axis="x", color="#e6e6e6", linewidth=0.6)
        panel.set_axisbelow(True)
        panel.tick_params(labelbottom=panel is axis)


def label_beside(axes: Axes, marks: Sequence[tuple[str, str, float]]) -> None:
    """Write labels (text, colour, height) beside the panel at the curves' ends, apart from each other."""
    axes.get_ylim()  # sets the limits that the data ask for
    ends = axes.transData.transform([(1.0, height) for _, _, height in marks])
    heights = axes.transAxes.inverted().transform(ends)[:, 1]
    inches = axes.get_window_extent().height / axes.figure.dpi
    extents = np.array([(1 + text.count("\n")) * LINE + 0.05 for text, _, _ in marks]) / inches
    beside: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "axes fraction", "va": "center"}
    for (text, colour, _), height, place in zip(marks, heights, _apart(heights, extents), strict=True):
        leader = {"arrowstyle": "-", "color": colour, "linewidth": 0.7, "relpos": (0, 0.5), "shrinkB": 0}
        axes.annotate(text, (1.0, height), (_BESIDE, place), color=colour, arrowprops=leader, **beside)


def _apart(heights: Floats, extents: Floats) -> Floats:
    """Return the places nearest to the heights (least squares) where nothing overlaps, in 0 to 1 if they fit."""
    order = np.argsort(heights, kind="stable")
    tall = extents[order]
    ladder = np.cumsum(tall) - tall / 2
    level = isotonic_regression(heights[order] - ladder).x
    places = np.empty_like(heights)
    places[order] = np.clip(level, 0.0, max(1.0 - tall.sum(), 0.0)) + ladder
    return places
