"""Figures of a study: numbers and their fit in, a figure out. The only module that knows matplotlib."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from mfstudy.ensemble import Floats
from mfstudy.fit import Fit
from mfstudy.rates import RateLaw, default_laws, reference_slopes
from mfstudy.results import FAILED_FRACTION, Quantity, Results
from mfstudy.wording import Interval

#: Normal quantile of a 95 % interval.
Z95 = 1.959964
#: Single replicates drawn at a size; more would only make the file large.
SHOWN = 48
MINUS, DASH = "\u2212", "\u2013"

# Okabe and Ito (2008), told apart with every common colour blindness.
_BLACK, _BLUE, _SKY, _GREY = "#000000", "#0072B2", "#56B4E9", "#5f5f5f"
_REFERENCE = (
    ("#D55E00", (0, (5, 2))),
    ("#009E73", (0, (1.2, 1.6))),
    ("#CC79A7", (0, (6, 2, 1.2, 2))),
    ("#E69F00", (0, (2.5, 2.5))),
)
_STYLE: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],  # ships with matplotlib: the same figure on every machine
    "font.size": 8.5,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.labelsize": 9,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "svg.fonttype": "path",  # a viewer's fonts differ, and a page may load none
    "svg.hashsalt": "mfstudy",
}
# Inches: the text beside and below the panels must not be cut when a panel's size changes.
_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 7.8, 0.92, 2.0, 0.12, 0.62
_PANELS, _FLAT, _GAP, _LINE = (3.6, 1.0, 1.5), (1.2,), 0.16, 0.155
_BESIDE = 1.045  # where labels begin, in widths of the panel

_LOW, _HIGH = r"_[A-Za-z0-9]+(?:\.[0-9]+)?", r"\^-?[A-Za-z0-9]+(?:[./][0-9]+)?"
_ITEM = rf"[A-Za-z]+(?:{_LOW})?(?:{_HIGH})?"
#: A symbol of a definition, such as W_2^2(mu_N^t, rho^t).
SYMBOL = re.compile(rf"\b[A-Za-z]+(?:{_LOW}(?:{_HIGH})?|{_HIGH})(?:\({_ITEM}(?:, {_ITEM})*\))?")
#: Names in symbols that stand for Greek letters.
GREEK = re.compile(r"(?<![A-Za-z])(mu|rho|phi|psi|eta)(?![A-Za-z])")


class Drawing(Figure):
    """A figure that shows itself in a notebook without pyplot and its global state."""

    def _repr_svg_(self) -> str:
        return svg(self)


@dataclass(frozen=True, eq=False)
class _Series:
    """The numbers of the panels by size: (n,), values (n, replicates); NaN where the fit gives no error."""

    sizes: Floats
    values: Floats
    mean: Floats
    error: Floats
    hollow: NDArray[np.bool_]
    lower: Floats
    upper: Floats


@dataclass(frozen=True, eq=False)
class _Curve:
    """A law drawn through the panels: its label in the main one, and a short one."""

    label: str
    short: str
    look: dict[str, Any]
    sizes: Floats
    values: Floats

    @property
    def slope(self) -> Floats:
        return np.asarray(np.gradient(np.log(self.values), np.log(self.sizes), edge_order=2))


def convergence(results: Results, quantity: Quantity, time: int, fit: Fit) -> Figure:
    """Draw how a quantity's mean falls with N: the means, the fitted law, its residuals, local exponents.

    Parameters
    ----------
    results : Results
    quantity : Quantity
    time : int
        Index of the save time.
    fit : Fit
        Of this quantity at this time.

    Returns
    -------
    matplotlib.figure.Figure
        One panel without residuals and exponents where the fit has no law.
    """
    series = _series(results, quantity, time, fit)
    footer = _footer(results, quantity, time)
    symbol = SYMBOL.match(quantity.definition)
    with style.context(["default", _STYLE]):
        figure, panels = _canvas(_PANELS if fit.law else _PANELS[:1] if series.mean.any() else _FLAT, footer)
        if fit.law is None:
            _unfitted(panels[0], series, fit)
        else:
            law = laws(results, quantity)[fit.law]
            curves = [_fitted(series, fit, law), *_references(results, quantity, series, fit)]
            _main(panels[0], series, curves, law_error(fit, law, curves[0].sizes))
            _residuals(panels[1], fit)
            _exponents(panels[2], series, curves)
        panels[0].set_ylabel(f"mean of {_mathtext(symbol) if symbol else quantity.name}")
        _size_axis(panels, series.sizes)
        figure.align_ylabels(panels)
    return figure


def svg(figure: Figure) -> str:
    """Return a figure as SVG, the same text each time; letters are drawn as paths and need no font."""
    stream = io.StringIO()
    with style.context(["default", _STYLE]):
        figure.savefig(stream, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return stream.getvalue()


# -- laws and words ----------------------------------------------------------------------------------------


def laws(results: Results, quantity: Quantity) -> dict[str, RateLaw]:
    """Return the candidate laws of a quantity's fit by name."""
    sampled = results.store.attributes["law"]
    found = default_laws(sampled["support_dimension"], sampled["moment_order"], quantity.p or 1)
    return {law.name: law for law in found}


def law_error(fit: Fit, law: RateLaw, sizes: Floats) -> Floats:
    """Return the standard error of the log of the fitted law, from the standard errors of the means.

    Weighted least squares for log C, and the exponent where the law leaves it free (delta method).

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
    weight = (np.asarray(fit.fitted) / fit.standard_error) ** 2
    x = np.log(fit.sizes)
    center = np.average(x, weights=weight)
    variance = np.full(len(sizes), 1 / weight.sum())
    if law.exponent is None:
        variance = variance + (np.log(sizes) - center) ** 2 / (weight @ (x - center) ** 2)
    return np.asarray(np.sqrt(variance))


def decimals(value: float, interval: Interval) -> int:
    """Return how many decimals show an estimate and its interval: two digits of the shorter half."""
    half = min(value - interval[0], interval[1] - value)
    return int(np.clip(1 - np.floor(np.log10(half)), 0, 12)) if half > 0 else 3


def typeset(text: str) -> str:
    """Return text with its symbols as mathtext; a dollar sign stays one."""
    return SYMBOL.sub(_mathtext, text.replace("$", r"\$"))


def _mathtext(symbol: re.Match[str]) -> str:
    raised = re.sub(rf"({_LOW}|{_HIGH})", lambda m: f"{m[0][0]}{{{m[0][1:]}}}", symbol[0])
    return f"${GREEK.sub(lambda m: chr(92) + m[0], raised)}$"


def _formula(law: RateLaw) -> str:
    """Return the law's shape as mathtext, an exponent as a fraction."""
    power = "a" if law.exponent is None else _fraction(law.exponent)
    log = r"\log N" if law.log_shift == 0 else rf"\log({law.log_shift}+N)"
    logs = {0.0: "", 1.0: rf"\,{log}"}.get(law.log_power, rf"\,({log})^{{{_fraction(law.log_power)}}}")
    return rf"$N^{{{power}}}{logs}$"


def _fraction(number: float) -> str:
    near = Fraction(number).limit_denominator(60)
    return str(near) if abs(near - number) < 1e-9 else f"{number:.3g}"


def _name(law: RateLaw) -> str:
    return law.name if law.exponent is None or " " in law.name else law.name.replace("-", DASH).title()


# -- numbers -----------------------------------------------------------------------------------------------


def _series(results: Results, quantity: Quantity, time: int, fit: Fit) -> _Series:
    def means(role: str) -> Floats:
        values = results.values(quantity, role if role in quantity.roles else "estimate", time)
        present = np.isfinite(values)
        total, count = np.where(present, values, 0.0).sum(axis=1), present.sum(axis=1)
        return np.asarray(np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0))

    mean, error = means("estimate"), np.full(len(results.sizes), np.nan)
    place = np.searchsorted(results.sizes, fit.sizes)
    mean[place], error[place] = fit.mean, fit.standard_error
    failing = [row.size for row in results.counts if row.failed > FAILED_FRACTION * row.done]
    hollow = np.isnan(error) | np.isin(results.sizes, failing)
    values = results.values(quantity, "estimate", time)
    sizes = np.asarray(results.sizes, dtype=float)
    return _Series(sizes, values, mean, error, hollow, means("lower"), means("upper"))


def _fitted(series: _Series, fit: Fit, law: RateLaw) -> _Curve:
    grid = np.geomspace(series.sizes[0], series.sizes[-1], 65)
    value, interval = fit.exponent or 0.0, fit.exponent_interval or (0.0, 0.0)
    low, high = (f"{end:.{decimals(value, interval)}f}" for end in interval)
    label = rf"fit: {_name(law)}" "\n" rf"{_formula(law)}" "\n" rf"free $a\in[{low},\,{high}]$"
    if law.exponent is None:
        label = label.replace("free ", "")
    values = (fit.constant or 0.0) * law.shape(grid, value if law.exponent is None else None)
    return _Curve(label, "fit", {"color": _BLUE, "linewidth": 1.4}, grid, values)


def _references(results: Results, quantity: Quantity, series: _Series, fit: Fit) -> list[_Curve]:
    """Return the laws of the literature, anchored at the leftmost mean."""
    grid = np.geomspace(series.sizes[0], series.sizes[-1], 65)
    curves = []
    for law, (colour, dash) in zip(_slopes(results, quantity), _REFERENCE, strict=False):
        values = law.shape(grid) * fit.mean[0] / law.shape(fit.sizes[:1])
        look = {"color": colour, "linestyle": dash, "linewidth": 1.3}
        curves.append(_Curve(f"{_name(law)}\n{_formula(law)}", _formula(law), look, grid, values))
    return curves


def _slopes(results: Results, quantity: Quantity) -> list[RateLaw]:
    """Return the pinned laws of the literature, those with a logarithm also without it."""
    if quantity.p is None:
        return []
    sampled = results.store.attributes["law"]
    shown = list(reference_slopes(sampled["support_dimension"], sampled["moment_order"], quantity.p))
    for law in list(shown):
        if law.exponent not in {other.exponent for other in shown if not other.log_power}:
            shown.append(replace(law, name="without log", log_power=0.0, log_shift=0))
    return shown


def _footer(results: Results, quantity: Quantity, time: int) -> list[str]:
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


# -- panels ------------------------------------------------------------------------------------------------


def _canvas(heights: Sequence[float], footer: Sequence[str]) -> tuple[Drawing, list[Axes]]:
    """Return a figure with panels of the given heights (inches) above each other, and the footer below."""
    total = _TOP + sum(heights) + _GAP * (len(heights) - 1) + _BOTTOM + len(footer) * _LINE
    figure = Drawing(figsize=(_WIDTH, total), facecolor="white")
    panels: list[Axes] = []
    top = total - _TOP
    for height in heights:
        box = (_LEFT / _WIDTH, (top - height) / total, 1 - (_LEFT + _RIGHT) / _WIDTH, height / total)
        panels.append(figure.add_axes(box, sharex=panels[0] if panels else None))
        top -= height + _GAP
    for row, line in enumerate(reversed(footer)):
        figure.text(0.12 / _WIDTH, (0.1 + row * _LINE) / total, line, fontsize=7.5, color=_GREY)
    return figure, panels


def _main(axes: Axes, series: _Series, curves: Sequence[_Curve], error: Floats) -> None:
    """Draw replicates, bracket, means, the fitted law with its band, and the slopes of the literature."""
    axes.set_yscale("log")
    _replicates(axes, series)
    if np.nanmax((series.upper - series.lower) / series.mean) > 1e-6:
        look: dict[str, Any] = {"color": _SKY, "alpha": 0.3, "linewidth": 0, "zorder": 1}
        axes.fill_between(series.sizes, series.lower, series.upper, label="bracket, mean of its ends", **look)
    fit, factor = curves[0], np.exp(Z95 * error)
    look = {"color": _BLUE, "alpha": 0.25, "linewidth": 0, "zorder": 1.5, "label": "fitted law, 95 % band"}
    axes.fill_between(fit.sizes, fit.values / factor, fit.values * factor, **look)
    for curve in curves:
        axes.plot(curve.sizes, curve.values, zorder=2.5, **curve.look)
    _means(axes, series)
    axes.legend(loc="lower left", handlelength=1.6, borderaxespad=0.2)
    _label(axes, [(c.label, c.look["color"], c.values[-1]) for c in curves])


def _unfitted(axes: Axes, series: _Series, fit: Fit) -> None:
    """Draw what there is without a law: replicates and means without intervals, and the reason."""
    if np.any(series.mean > 0):
        axes.set_yscale("log")
        _replicates(axes, series)
        axes.plot(series.sizes, series.mean, "o", color=_BLACK, markerfacecolor="white", label="mean, no interval")
        axes.legend(loc="lower left")
    else:
        axes.plot(series.sizes, np.zeros_like(series.sizes), "o", color=_BLACK, markersize=4)
        axes.set_yticks([0.0])
    reason = textwrap.fill(fit.text, 30).replace("$", r"\$")
    axes.text(_BESIDE, 0.98, reason, transform=axes.transAxes, va="top", fontsize=7.5)


def _replicates(axes: Axes, series: _Series) -> None:
    """Draw single replicates as faint points, spread sideways by multiples of the golden ratio."""
    spread = 0.18 * np.diff(np.log(series.sizes)).min(initial=1.0)
    most = 0
    for size, row in zip(series.sizes, series.values, strict=True):
        kept = np.sort(row[row > 0])
        most = max(most, len(kept))
        if len(kept) > SHOWN:  # evenly spaced in rank, so that the extremes stay
            kept = kept[np.linspace(0, len(kept) - 1, SHOWN).round().astype(int)]
        moved = size * np.exp(spread * (np.arange(len(kept)) * 0.618034 % 1 - 0.5))
        axes.plot(moved, kept, "o", color=_GREY, alpha=0.35, markersize=2.2, markeredgewidth=0, zorder=2)
    label = f"single replicates (at most {SHOWN} a size)" if most > SHOWN else "single replicates"
    axes.lines[-1].set_label(label)


def _means(axes: Axes, series: _Series) -> None:
    for hollow, label in ((False, "mean, 95 % interval"), (True, "mean, not in the fit or over 1 % failed")):
        kept = (series.hollow == hollow) & (series.mean > 0)
        if kept.any():
            half = np.nan_to_num(Z95 * series.error[kept])
            look: dict[str, Any] = {"color": _BLACK, "markersize": 4.5, "capsize": 2.5, "elinewidth": 1, "zorder": 4}
            fill = "white" if hollow else _BLACK
            axes.errorbar(
                series.sizes[kept], series.mean[kept], half, fmt="o", markerfacecolor=fill, label=label, **look
            )


def _residuals(axes: Axes, fit: Fit) -> None:
    """Draw (mean - fitted) / standard error with lines at 0 and +-2."""
    residuals = np.asarray(fit.residuals)
    axes.axhline(0, color=_BLUE, linewidth=1)
    for level in (-2, 2):
        axes.axhline(level, color=_GREY, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.vlines(fit.sizes, 0, residuals, color=_BLACK, linewidth=1)
    axes.plot(fit.sizes, residuals, "o", color=_BLACK, markersize=4)
    reach = max(3.0, 1.2 * float(np.abs(residuals).max()))
    axes.set_ylim(-reach, reach)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.set_ylabel("residual")
    note = f"(mean {MINUS} fit) /\nstandard error,\ndashed: ±2"
    axes.text(_BESIDE, 0.5, note, transform=axes.transAxes, va="center", color=_GREY)


def _exponents(axes: Axes, series: _Series, curves: Sequence[_Curve]) -> None:
    """Draw the slope between neighbouring means, and the local slopes of the laws."""
    kept = ~np.isnan(series.error)
    x, y = np.log(series.sizes[kept]), np.log(series.mean[kept])
    relative = series.error[kept] / series.mean[kept]
    slope = np.diff(y) / np.diff(x)
    half = Z95 * np.hypot(relative[1:], relative[:-1]) / np.diff(x)
    look: dict[str, Any] = {"color": _BLACK, "markersize": 4, "capsize": 2.5, "elinewidth": 1, "zorder": 4}
    axes.errorbar(np.exp((x[1:] + x[:-1]) / 2), slope, half, fmt="o", **look)
    axes.hlines(slope, np.exp(x[:-1]), np.exp(x[1:]), color=_BLACK, linewidth=0.8, alpha=0.45, zorder=3)
    for curve in curves:
        axes.plot(curve.sizes, curve.slope, **curve.look)
    known = np.concatenate([slope, *(curve.slope for curve in curves)])
    # An interval may be far wider than what it is compared with: then it leaves the panel.
    low, high = max((slope - half).min(), known.min() - 1), min((slope + half).max(), known.max() + 1)
    low, high = min(low, known.min()), max(high, known.max())
    axes.set_ylim(low - 0.1 * (high - low), high + 0.1 * (high - low))
    axes.set_ylabel("local exponent")
    _label(axes, [(c.short, c.look["color"], c.slope[-1]) for c in curves])


def _size_axis(panels: Sequence[Axes], sizes: Floats) -> None:
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


def _label(axes: Axes, marks: Sequence[tuple[str, str, float]]) -> None:
    """Write labels (text, colour, height) beside the panel at the curves' ends, apart from each other."""
    ends = axes.transData.transform([(1.0, height) for _, _, height in marks])
    heights = axes.transAxes.inverted().transform(ends)[:, 1]
    inches = axes.get_window_extent().height / axes.figure.dpi
    extents = np.array([(1 + text.count("\n")) * _LINE + 0.05 for text, _, _ in marks]) / inches
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
