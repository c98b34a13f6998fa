"""Figures of a study: numbers and their fit in, a figure out. The only home of matplotlib."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mfstudy.fit import Fit
from mfstudy.plot import overview as overview_
from mfstudy.plot.curves import GREY, fitted, footer_of, law_error, laws, references, series_of
from mfstudy.plot.fields import draw_curves, draw_maps, footer_of_euler
from mfstudy.plot.panels import LINE, draw_exponents, draw_main, draw_residuals, draw_unfitted, label_sizes
from mfstudy.plot.words import SYMBOL, mathtext
from mfstudy.quantities import Quantity
from mfstudy.results import Results

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
_PANELS, _FLAT, _GAP = (3.6, 1.0, 1.5), (1.2,), 0.16
_CURVES, _MAPS = (2.4, 2.4), (4.2, 4.2)


class Drawing(Figure):
    """A figure that shows itself in a notebook without pyplot and its global state."""

    def _repr_svg_(self) -> str:
        return svg(self)


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
    series = series_of(results, quantity, time, fit)
    footer = footer_of(results, quantity, time)
    symbol = SYMBOL.match(quantity.definition)
    with style.context(["default", _STYLE]):
        figure, panels = _canvas(_PANELS if fit.law else _PANELS[:1] if series.mean.any() else _FLAT, footer)
        if fit.law is None:
            draw_unfitted(panels[0], series, fit)
        else:
            law = laws(results, quantity)[fit.law]
            curves = [fitted(series, fit, law), *references(results, quantity, series, fit)]
            draw_main(panels[0], series, curves, law_error(fit, law, curves[0].sizes))
            draw_residuals(panels[1], fit)
            draw_exponents(panels[2], fit, curves)
        mean = f"{fit.estimator} of {mathtext(symbol) if symbol else quantity.name}"
        panels[0].set_ylabel(mean if series.mean.any() else "mean")  # the panel of zeros is low
        label_sizes(panels, series.sizes)
        figure.align_ylabels(panels)
    return figure


def overview(results: Results, time: int) -> Figure | None:
    """Draw all quantities at a save time in one panel, with their effective exponents; None for fewer than two.

    Parameters
    ----------
    results : Results
    time : int
        Index of the save time.
    """
    if len(overview_.drawn(results, time)) < 2:
        return None
    when = f"all quantities at t = {results.times[time]:g}"
    footer = [f"{when}, means over replicates with 95 % intervals, hollow: not in the fit"]
    with style.context(["default", _STYLE]):
        figure, panels = _canvas((4.6,), footer)
        label_sizes(panels, overview_.draw(panels[0], results, time))
    return figure


def euler(results: Results, time: int = -1) -> Figure:
    """Draw density and velocity of monokinetic data at a save time: against x in d = 1, colours in d = 2.

    Parameters
    ----------
    results : Results
    time : int
        Index of the save time.

    Raises
    ------
    InputError
        If the store has no such fields.
    ValueError
        If d > 2.
    """
    fields = results.euler(time, probes=True)
    d = fields.positions.shape[1]
    if d > 2:
        raise ValueError(f"results: d = {d}; allowed: d = 1 or 2, where density and velocity can be drawn")
    with style.context(["default", _STYLE]):
        figure, panels = _canvas(_CURVES if d == 1 else _MAPS, footer_of_euler(results, fields), right=0.3)
        (draw_curves if d == 1 else draw_maps)(panels, fields)
        figure.align_ylabels(panels)
    return figure


def svg(figure: Figure) -> str:
    """Return a figure as SVG, the same text each time; letters are drawn as paths and need no font."""
    stream = io.StringIO()
    with style.context(["default", _STYLE]):
        figure.savefig(stream, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return stream.getvalue()


def _canvas(heights: Sequence[float], footer: Sequence[str], right: float = _RIGHT) -> tuple[Drawing, list[Axes]]:
    """Return a figure with panels of the given heights (inches) above each other, and the footer below."""
    total = _TOP + sum(heights) + _GAP * (len(heights) - 1) + _BOTTOM + len(footer) * LINE
    figure = Drawing(figsize=(_WIDTH, total), facecolor="white")
    panels: list[Axes] = []
    top = total - _TOP
    for height in heights:
        box = (_LEFT / _WIDTH, (top - height) / total, 1 - (_LEFT + right) / _WIDTH, height / total)
        panels.append(figure.add_axes(box, sharex=panels[0] if panels else None))
        top -= height + _GAP
    for row, line in enumerate(reversed(footer)):
        figure.text(0.12 / _WIDTH, (0.1 + row * LINE) / total, line, fontsize=7.5, color=GREY)
    return figure, panels
