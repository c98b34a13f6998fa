"""Density and velocity of monokinetic data: panels over one position axis, or maps over two."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from numpy.typing import NDArray

from mfstudy.ensemble import Floats, Indices
from mfstudy.meanfield import Euler
from mfstudy.plot.curves import BLACK, BLUE
from mfstudy.plot.words import typeset
from mfstudy.results import Results

#: Arrows of a map along each axis, about.
ARROWS = 14
#: Factor between densities above which their colours are logarithmic, and below the largest at which they are left out.
WIDE, FAINT = 30.0, 1e-5


def draw_curves(panels: Sequence[Axes], fields: Euler) -> None:
    """Draw density and velocity against x, d = 1; points are not joined, there may be gaps between them."""
    shown, drawn = _shown(fields), np.isfinite(fields.density)
    look: dict[str, Any] = {"markersize": 2.2, "markeredgewidth": 0}
    x, velocity = fields.positions[:, 0], fields.velocity[:, 0]
    panels[0].plot(x[shown & drawn], fields.density[shown & drawn], "o", color=BLUE, **look)
    panels[0].set_ylim(bottom=0)
    if not drawn.any():
        panels[0].text(0.5, 0.5, "density not known", transform=panels[0].transAxes, ha="center")
    panels[1].plot(x[shown], velocity[shown], "o", color=BLACK, **look)
    panels[0].set_ylabel(r"density $\mu^t$")
    panels[1].set_ylabel("velocity $u^t$")
    panels[1].set_xlabel("position $x$")
    panels[0].tick_params(labelbottom=False)


def draw_maps(panels: Sequence[Axes], fields: Euler) -> None:
    """Draw density, and speed with some arrows, as colours of the points, d = 2."""
    shown = _shown(fields)
    positions, velocity = fields.positions[shown], fields.velocity[shown]
    _coloured(panels[0], positions, fields.density[shown], r"density $\mu^t$", wide=WIDE)
    _coloured(panels[1], positions, np.linalg.norm(velocity, axis=1), "speed $|u^t|$")
    some = _spread_out(positions)
    panels[1].quiver(*positions[some].T, *velocity[some].T, color=BLACK, width=0.003, angles="xy")
    panels[1].set_xlabel("position $x_1$")
    panels[0].tick_params(labelbottom=False)
    for panel in panels:
        panel.set_ylabel("position $x_2$")
        _true_to_scale(panel, positions)


def _shown(fields: Euler) -> NDArray[np.bool_]:
    """Return which points are drawn: all but far tails, (n,)."""
    # A quantile, so that a crest near a caustic does not hide the rest. NaN, where the density is not known, is drawn.
    rest = fields.density[np.isfinite(fields.density)]
    return ~(fields.density < FAINT * (np.quantile(rest, 0.75) if len(rest) else 0.0))


def _coloured(axes: Axes, positions: Floats, values: Floats, label: str, wide: float = np.inf) -> None:
    """Draw a number at each point, and its scale beside, logarithmic where the numbers differ by a wide factor."""
    known = np.isfinite(values)
    x, y = positions[known].T
    low, high = float(np.min(values[known], initial=np.inf)), _largest(values)
    norm = LogNorm(low, high) if 0 < wide * low < high else Normalize(min(low, high), high)
    size = float(np.clip(1e5 / len(values), 3, 60))
    dots = axes.scatter(x, y, size, values[known], norm=norm, linewidths=0, cmap="viridis")
    axes.figure.colorbar(dots, ax=axes, label=label, location="right")


def _true_to_scale(axes: Axes, positions: Floats) -> None:
    """Set limits that hold all points, with the same scale along both axes."""
    low, high = positions.min(axis=0), positions.max(axis=0)
    extent = axes.get_window_extent()
    inches = np.array([extent.width, extent.height])
    half = 0.56 * float(np.max((high - low) / inches)) * inches
    axes.set(**{f"{name}lim": (m - h, m + h) for name, m, h in zip("xy", (low + high) / 2, half, strict=True)})


def _largest(values: Floats) -> float:
    """Return the largest finite value, 0 where there is none."""
    return float(np.max(values[np.isfinite(values)], initial=0.0))


def _spread_out(positions: Floats) -> Indices:
    """Return the indices of nodes nearest to a coarse lattice, for arrows that can be told apart."""
    low, high = positions.min(axis=0), positions.max(axis=0)
    cells = np.floor((positions - low) / np.maximum(high - low, np.finfo(np.float64).tiny) * (ARROWS - 1e-9))
    return np.asarray(np.unique(cells, axis=0, return_index=True)[1], dtype=np.int64)


def footer_of_euler(results: Results, fields: Euler) -> list[str]:
    """Return the lines below the panels: the time, whether the velocity is a function, which problem."""
    if fields.caustic is None:
        crossing = "no characteristics cross up to the last save time"
    else:
        crossing = f"characteristics cross at t = {fields.caustic:.6g}"
        if not fields.single_valued:
            crossing += ": several branches from then on, each point shows its own"
    lines = (
        f"density and velocity along characteristics at t = {fields.time:g}, {crossing}",
        f"study {results.name}, problem {results.store.attributes['identity'][:12]}",
    )
    return [typeset(part) for line in lines for part in textwrap.wrap(line, 118)]
