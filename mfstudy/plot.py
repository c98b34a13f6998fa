"""Figures of a study: stored numbers and their fit in, a figure out. The only module that knows matplotlib."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullFormatter, NullLocator
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from mfstudy.ensemble import Floats
from mfstudy.fit import Fit
from mfstudy.rates import RateLaw, default_laws, reference_slopes
from mfstudy.results import Quantity, Results

#: Normal quantile of a 95 % interval.
Z95 = 1.959964
#: Share of failed replicates above which a size is drawn hollow: failures correlate with the value.
FAILED = 0.01
#: Single replicates drawn at a size; more would only make the file large.
SHOWN = 48

# Okabe and Ito (2008), told apart with every common colour blindness.
_BLACK, _BLUE, _SKY, _GREY = "#000000", "#0072B2", "#56B4E9", "#6b6b6b"
_REFERENCE = (
    ("#D55E00", (0.0, (5.0, 2.0))),
    ("#009E73", (0.0, (1.2, 1.6))),
    ("#CC79A7", (0.0, (6.0, 2.0, 1.2, 2.0))),
    ("#E69F00", (0.0, (2.5, 2.5))),
)

_STYLE = {
    "font.family": ["DejaVu Sans"],  # ships with matplotlib: the same figure on every machine
    "font.size": 8.5,
    "mathtext.fontset": "dejavusans",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.labelsize": 9,
    "legend.fontsize": 8,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "svg.fonttype": "path",  # a viewer's fonts differ, and a page may load none
    "svg.hashsalt": "mfstudy",
}

# Widths in inches: the text below and beside the panels must not be cut when a panel's size changes.
_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 7.8, 0.92, 2.0, 0.12, 0.48
_PANELS = (3.6, 1.0, 1.5)
_GAP = 0.16
_LINE = 0.155

_WORD = r"[A-Za-z]+"
_LOW, _HIGH = r"_[A-Za-z0-9]+(?:\.[0-9]+)?", r"\^-?[A-Za-z0-9]+(?:[./][0-9]+)?"
_ITEM = rf"{_WORD}(?:{_LOW})?(?:{_HIGH})?"
#: A symbol of a definition, such as W_2^2(mu_N^t, rho^t).
SYMBOL = re.compile(rf"\b{_WORD}(?:{_LOW}(?:{_HIGH})?|{_HIGH})(?:\({_ITEM}(?:, {_ITEM})*\))?")
#: Names in definitions that stand for Greek letters.
GREEK = re.compile(r"(?<![A-Za-z])(mu|rho|phi|psi|eta)(?![A-Za-z])")


class Drawing(Figure):
    """A figure that shows itself in a notebook without pyplot and its global state."""

    def _repr_svg_(self) -> str:
        return svg(self)


@dataclass(frozen=True, eq=False)
class _Series:
    """The numbers of one panel, by size; a mean that the fit leaves out has no error."""

    sizes: Floats  # (n,)
    values: Floats  # (n, replicates)
    mean: Floats  # (n,)
    error: Floats  # (n,) standard error, NaN where the fit gives none
    hollow: NDArray[np.bool_]  # (n,)
    lower: Floats  # (n,) means of the bracket's ends
    upper: Floats


@dataclass(frozen=True, eq=False)
class _Curve:
    """A law drawn through the main panel, and its local slope."""

    label: str
    short: str
    colour: str
    dash: tuple[int, tuple[float, ...]] | str
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
    with style.context(["default", _STYLE]):
        figure, panels = _canvas(_PANELS if fit.law else _PANELS[:1], len(footer))
        if fit.law is None:
            _unfitted(panels[0], series, fit.text)
        else:
            curves = _curves(results, quantity, series, fit)
            _main(panels[0], series, fit, curves, laws(results, quantity)[fit.law])
            _residuals(panels[1], fit)
            _exponents(panels[2], series, curves)
        symbol = SYMBOL.match(quantity.definition)
        panels[0].set_ylabel(f"mean of {_mathtext(symbol) if symbol else typeset(quantity.name)}")
        _size_axis(panels, series.sizes)
        figure.align_ylabels(panels)
        for row, line in enumerate(reversed(footer)):
            figure.text(0.12 / _WIDTH, _rise(figure, 0.10 + row * _LINE), line, fontsize=7.5, color=_GREY)
    return figure


def svg(figure: Figure) -> str:
    """Return a figure as SVG, the same text each time; letters are drawn as paths and need no font."""
    stream = io.StringIO()
    with style.context(["default", _STYLE]):
        none = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(stream, format="svg", metadata=none)
    return stream.getvalue()


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
    weight = (fit.fitted / fit.standard_error) ** 2
    x = np.log(fit.sizes)
    center = np.average(x, weights=weight)
    variance = np.full(len(sizes), 1 / weight.sum())
    if law.exponent is None:
        variance = variance + (np.log(sizes) - center) ** 2 / (weight @ (x - center) ** 2)
    return np.asarray(np.sqrt(variance))


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


def _interval(fit: Fit, law: RateLaw) -> str:
    """Return the exponent's 95 % interval as mathtext, to two digits of its half-width."""
    low, high = fit.exponent_interval or (np.nan, np.nan)
    digits = int(np.clip(1 - np.floor(np.log10((high - low) / 2)), 0, 9)) if high > low else 3
    free = "" if law.exponent is None else "free "
    return rf"{free}$a \in [{low:.{digits}f},\,{high:.{digits}f}]$"


def _fraction(number: float) -> str:
    near = Fraction(number).limit_denominator(60)
    return str(near) if abs(near - number) < 1e-9 else f"{number:.3g}"


# -- numbers -----------------------------------------------------------------------------------------------------


def _series(results: Results, quantity: Quantity, time: int, fit: Fit) -> _Series:
    values = results.values(quantity, "estimate", time)
    error = np.full(len(values), np.nan)
    place = np.searchsorted(results.sizes, fit.sizes)
    error[place] = fit.standard_error
    mean = _row_means(values)
    mean[place] = fit.mean
    failing = {row.size for row in results.counts if row.failed > FAILED * row.done}
    hollow = np.isnan(error) | np.isin(results.sizes, list(failing))
    ends = [
        _row_means(results.values(quantity, role, time)) if role in quantity.roles else mean
        for role in ("lower", "upper")
    ]
    return _Series(np.asarray(results.sizes, dtype=float), values, mean, error, hollow, *ends)


def _row_means(values: Floats) -> Floats:
    """Mean over replicates, NaN where there are none."""
    present = np.isfinite(values)
    count = present.sum(axis=1)
    total = np.where(present, values, 0.0).sum(axis=1)
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)


def _curves(results: Results, quantity: Quantity, series: _Series, fit: Fit) -> list[_Curve]:
    """Return the fitted law, then the laws of the literature, anchored at the leftmost mean."""
    grid = np.geomspace(series.sizes[0], series.sizes[-1], 65)
    law = laws(results, quantity)[fit.law or ""]
    power = None if law.exponent is not None else fit.exponent
    label = f"fit: {_name(law)}\n{_formula(law)}\n{_interval(fit, law)}"
    fitted = (fit.constant or np.nan) * law.shape(grid, power)
    curves = [_Curve(label, "fit", _BLUE, "-", grid, fitted)]
    for reference, (colour, dash) in zip(_slopes(results, quantity), _REFERENCE, strict=False):
        shape = reference.shape(grid) * fit.mean[0] / reference.shape(fit.sizes[:1])
        formula = _formula(reference)
        curves.append(_Curve(f"{_name(reference)}\n{formula}", formula, colour, dash, grid, shape))
    return curves


def _slopes(results: Results, quantity: Quantity) -> list[RateLaw]:
    """Return the pinned laws of the literature, those with a logarithm also without it."""
    if quantity.p is None:
        return []
    sampled = results.store.attributes["law"]
    pinned = reference_slopes(sampled["support_dimension"], sampled["moment_order"], quantity.p)
    shown = list(pinned)
    for law in pinned:
        if law.exponent not in {other.exponent for other in shown if not other.log_power}:
            shown.append(replace(law, name="without log", log_power=0.0, log_shift=0))
    return shown


def _name(law: RateLaw) -> str:
    return law.name if law.exponent is None or " " in law.name else law.name.replace("-", "–").title()


def _thinned(row: Floats) -> Floats:
    """Return at most SHOWN positive replicates, evenly spaced in rank, so that the extremes stay."""
    kept = np.sort(row[np.isfinite(row)])
    kept = kept[kept > 0]
    if len(kept) <= SHOWN:
        return kept
    return np.asarray(kept[np.linspace(0, len(kept) - 1, SHOWN).round().astype(int)])


# -- panels ------------------------------------------------------------------------------------------------------


def _canvas(heights: Sequence[float], footer: int) -> tuple[Drawing, list[Axes]]:
    """Return a figure with panels of the given heights (inches) above each other and room for the footer."""
    bottom = _BOTTOM + 0.14 + footer * _LINE
    total = _TOP + sum(heights) + _GAP * (len(heights) - 1) + bottom
    figure = Drawing(figsize=(_WIDTH, total), facecolor="white")
    panels: list[Axes] = []
    top = total - _TOP
    for height in heights:
        box = (_LEFT / _WIDTH, (top - height) / total, 1 - (_LEFT + _RIGHT) / _WIDTH, height / total)
        panels.append(figure.add_axes(box, sharex=panels[0] if panels else None))
        top -= height + _GAP
    return figure, panels


def _main(axes: Axes, series: _Series, fit: Fit, curves: Sequence[_Curve], law: RateLaw) -> None:
    """Draw replicates, bracket, means, the fitted law with its band, and the slopes of the literature."""
    axes.set_yscale("log")
    _replicates(axes, series)
    if np.nanmax((series.upper - series.lower) / series.mean) > 1e-6:
        band = {"color": _SKY, "alpha": 0.3, "linewidth": 0, "label": "bracket: mean lower to mean upper end"}
        axes.fill_between(series.sizes, series.lower, series.upper, zorder=1, **band)
    fitted = curves[0]
    half = np.exp(Z95 * law_error(fit, law, fitted.sizes))
    band = {"color": _BLUE, "alpha": 0.25, "linewidth": 0, "label": "fitted law, 95 % band"}
    axes.fill_between(fitted.sizes, fitted.values / half, fitted.values * half, zorder=1.5, **band)
    for curve in curves:
        axes.plot(curve.sizes, curve.values, color=curve.colour, linestyle=curve.dash, linewidth=1.3, zorder=2.5)
    _means(axes, series)
    axes.legend(loc="lower left", frameon=False, handlelength=1.6, borderaxespad=0.2)
    _label(axes, [(c.label, c.colour, float(c.values[-1])) for c in curves])


def _unfitted(axes: Axes, series: _Series, reason: str) -> None:
    """Draw what there is without a law: replicates and means without intervals, and the reason."""
    if np.nanmax(series.mean, initial=0.0) > 0:
        axes.set_yscale("log")
        _replicates(axes, series)
        _means(axes, replace(series, hollow=np.ones_like(series.hollow)))
        axes.legend(loc="lower left", frameon=False)
    else:
        axes.set_yticks([0.0])
        axes.plot(series.sizes, np.zeros_like(series.sizes), "o", color=_BLACK, markersize=4)
    text = textwrap.fill(reason, 24).replace("$", r"\$")
    axes.text(1.03, 0.98, text, transform=axes.transAxes, va="top", fontsize=8)


def _replicates(axes: Axes, series: _Series) -> None:
    """Draw single replicates as faint points, moved sideways by the golden ratio's multiples, not by chance."""
    rows = [_thinned(row) for row in series.values]
    spread = 0.18 * np.diff(np.log(series.sizes)).min(initial=1.0)
    moved = [
        n * np.exp(spread * (np.arange(len(r)) * 0.618034 % 1 - 0.5)) for n, r in zip(series.sizes, rows, strict=True)
    ]
    few = any(len(row) < np.isfinite(all_).sum() for row, all_ in zip(rows, series.values, strict=True))
    label = f"single replicates ({SHOWN} of each size)" if few else "single replicates"
    look = {"color": _GREY, "alpha": 0.35, "markersize": 2.2, "markeredgewidth": 0, "zorder": 2}
    axes.plot(np.concatenate(moved), np.concatenate(rows), "o", label=label, **look)


def _means(axes: Axes, series: _Series) -> None:
    for hollow, label in ((False, "mean, 95 % interval"), (True, "mean, not in the fit or over 1 % failed")):
        kept = (series.hollow == hollow) & (series.mean > 0)
        if kept.any():
            half = np.nan_to_num(Z95 * series.error[kept])
            look = {"color": _BLACK, "markerfacecolor": "white" if hollow else _BLACK, "markersize": 4.5}
            axes.errorbar(
                series.sizes[kept],
                series.mean[kept],
                half,
                fmt="o",
                capsize=2.5,
                elinewidth=1,
                zorder=4,
                label=label,
                **look,
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
    axes.text(
        1.03,
        0.5,
        "(mean − fit) /\nstandard error,\ndashed: ±2",
        transform=axes.transAxes,
        va="center",
        color=_GREY,
    )


def _exponents(axes: Axes, series: _Series, curves: Sequence[_Curve]) -> None:
    """Draw the slope between neighbouring means, and the local slopes of the laws."""
    kept = ~np.isnan(series.error)
    x, y, relative = np.log(series.sizes[kept]), np.log(series.mean[kept]), (series.error / series.mean)[kept]
    step = np.diff(x)
    slope = np.diff(y) / step
    half = Z95 * np.hypot(relative[1:], relative[:-1]) / step
    middle = np.exp((x[1:] + x[:-1]) / 2)
    axes.hlines(slope, np.exp(x[:-1]), np.exp(x[1:]), color=_BLACK, linewidth=0.8, alpha=0.45)
    axes.errorbar(middle, slope, half, fmt="o", color=_BLACK, markersize=4, capsize=2.5, elinewidth=1, zorder=4)
    for curve in curves:
        axes.plot(curve.sizes, curve.slope, color=curve.colour, linestyle=curve.dash, linewidth=1.3)
    known = np.concatenate([slope, *(curve.slope for curve in curves)])
    low, high = min(known.min(), (slope - half).min()), max(known.max(), (slope + half).max())
    margin = 0.08 * (high - low) + 0.05
    axes.set_ylim(max(low, known.min() - 1) - margin, min(high, known.max() + 1) + margin)
    axes.set_ylabel("local exponent")
    _label(axes, [(c.short, c.colour, float(c.slope[-1])) for c in curves])


def _size_axis(panels: Sequence[Axes], sizes: Floats) -> None:
    """Label the sizes themselves, leaving out those that would overlap."""
    axis = panels[-1]
    axis.set_xscale("log")
    span = np.log(sizes[-1] / sizes[0]) or 1.0
    margin = np.exp(0.05 * span)
    axis.set_xlim(sizes[0] / margin, sizes[-1] * margin)
    ticks = [sizes[0]]
    for size in sizes[1:]:
        if np.log(size / ticks[-1]) > 0.085 * span:
            ticks.append(size)
    axis.xaxis.set_major_locator(FixedLocator(ticks))
    axis.xaxis.set_major_formatter(lambda size, _: f"{size:,.0f}".replace(",", "\u2009"))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_xlabel(r"number of particles $N$")
    for panel in panels:
        panel.grid(axis="x", color="#e6e6e6", linewidth=0.6)
        panel.set_axisbelow(True)
        panel.tick_params(labelbottom=panel is axis)


def _label(axes: Axes, marks: Sequence[tuple[str, str, float]]) -> None:
    """Write labels (text, colour, height) beside the axes at the curves' right ends, moved apart where needed."""
    ends = axes.transData.transform([(1.0, height) for _, _, height in marks])
    heights = np.array([axes.transAxes.inverted().transform(end)[1] for end in ends])
    figure = axes.get_figure()
    panel = axes.get_position().height * (figure.get_size_inches()[1] if figure else 1.0)
    places = _apart(heights, np.array([(1 + text.count("\n")) * _LINE + 0.05 for text, _, _ in marks]) / panel)
    for (text, colour, _), height, place in zip(marks, heights, places, strict=True):
        leader = {"arrowstyle": "-", "color": colour, "linewidth": 0.7, "shrinkA": 1, "shrinkB": 0}
        axes.annotate(
            text, (1.0, height), (1.045, place), xycoords="axes fraction", textcoords="axes fraction", color=colour,
            va="center", linespacing=1.15, arrowprops=leader, annotation_clip=False,
        )  # fmt: skip


def _apart(heights: Floats, extents: Floats) -> Floats:
    """Return the places nearest to the heights (least squares) where nothing overlaps, inside 0 to 1 if they fit."""
    order = np.argsort(heights, kind="stable")
    tall = extents[order]
    ladder = np.cumsum(tall) - tall / 2
    level = isotonic_regression(heights[order] - ladder).x
    places = np.empty_like(heights)
    places[order] = np.clip(level, 0.0, max(1.0 - tall.sum(), 0.0)) + ladder
    return places


def _footer(results: Results, quantity: Quantity, time: int) -> list[str]:
    """Return the lines below the panels: what is drawn, of how many replicates, from which problem."""
    groups: dict[str, list[str]] = {}
    for row in results.counts:
        groups.setdefault(f"{row.done - row.failed}/{row.wanted}", []).append(str(row.size))
    each = [f"{count} at N = {', '.join(sizes)}" for count, sizes in groups.items()]
    replicates = f"{next(iter(groups))} at every size" if len(groups) == 1 else "; ".join(each)
    problem = results.store.attributes["identity"][:12]
    lines = (
        f"{quantity.definition}, at t = {results.times[time]:g}",
        f"replicates (good/wanted): {replicates}",
        f"study {results.name}, problem {problem}",
    )
    return [typeset(part) for line in lines for part in textwrap.wrap(line, 118)]


def _rise(figure: Figure, inches: float) -> float:
    return float(inches / figure.get_size_inches()[1])
