"""Where det DX reaches 0 between the steps of a solver."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import KroghInterpolator
from scipy.optimize import bisect, minimize_scalar

from mfstudy.ensemble import Floats

#: Parts of a step that are looked at, one more of them beyond it: a caustic at the last save time is one. And the
#: smallest singular value that counts as 0, relative to its largest there.
SUBSTEPS, TOUCH = 16, 1e-6
#: Characteristics, those of the smallest |det DX|, of which singular values are looked at.
FEW = 64
PARTS = np.arange(SUBSTEPS + 2) / SUBSTEPS


@dataclass(frozen=True)
class Zero:
    """The first zero of det DX among some characteristics, and the index of the one that has it."""

    time: float
    index: int


@dataclass(frozen=True, eq=False)
class Moment:
    """Points (n, 2d), DX and DV of n characteristics at a time, (n, d, d) each, entry [i, a, b] = dx_a / dx_b(0)."""

    time: float
    points: Floats
    dx: Floats
    dv: Floats


def first_zero(recent: list[Moment]) -> Zero | None:
    """Return the first zero of det DX in the last step, or just after it, by Hermite's interpolation of DX."""
    early, late = recent[-2:]
    before, after = np.linalg.det(early.dx), np.linalg.det(late.dx)
    step, d = late.time - early.time, late.dx.shape[1]
    # The smallest singular value is at least |det DX| / |DX|^(d - 1), and moves by at most |DV| per unit of time.
    size, speed = (np.linalg.norm(array, axis=(1, 2)) for array in (late.dx, late.dv))
    chosen = np.flatnonzero((np.abs(after) <= 2 * step * speed * size ** (d - 1)) | (before * after <= 0))
    if not len(chosen):
        return None
    between = np.asarray(_interpolated(recent, chosen)(PARTS))
    determinants = np.linalg.det(between)
    found = _sign_change(determinants)
    if found is None:
        few = np.argsort(np.abs(determinants).min(axis=0))[:FEW]
        return _touch(recent, chosen[few], np.linalg.svd(between[:, few], compute_uv=False)[..., -1])
    part, which = found
    curve = _interpolated(recent, chosen[[which]])
    root = bisect(lambda s: float(np.linalg.det(curve(s)[0])), PARTS[part], PARTS[part + 1], xtol=1e-15)
    return Zero(early.time + step * float(root), int(chosen[which]))


def _interpolated(recent: list[Moment], chosen: NDArray[np.intp]) -> KroghInterpolator:
    """Return DX of some characteristics as a function of time, in parts of the last step."""
    early, late = recent[-2:]
    step = late.time - early.time
    nodes = np.repeat([(moment.time - early.time) / step for moment in recent], 2)
    values = [array for moment in recent for array in (moment.dx[chosen], step * moment.dv[chosen])]
    return KroghInterpolator(nodes, np.stack(values))


def _sign_change(determinants: Floats) -> tuple[int, int] | None:
    """Return the part and the characteristic of the first change of sign, by a line between; None if there is none.

    Parameters
    ----------
    determinants : (parts + 1, n) array
    """
    low, high = determinants[:-1], determinants[1:]
    changes = (low * high <= 0) & (low != high)
    if not changes.any():
        return None
    part = int(np.argmax(changes.any(axis=1)))
    fall = np.where(changes[part], low[part] / np.where(changes[part], low[part] - high[part], 1.0), np.inf)
    return part, int(np.argmin(fall))


def _touch(recent: list[Moment], chosen: NDArray[np.intp], singular: Floats) -> Zero | None:
    """Return where the smallest singular value is 0 though det DX does not change its sign, as in an implosion."""
    part, which = np.unravel_index(int(np.argmin(singular)), singular.shape)
    curve = _interpolated(recent, chosen[[which]])
    bounds = (PARTS[max(int(part) - 1, 0)], PARTS[min(int(part), SUBSTEPS) + 1])
    found = minimize_scalar(
        lambda s: float(np.linalg.svd(curve(s)[0], compute_uv=False)[-1]), bounds=bounds, options={"xatol": 1e-13}
    )
    value, place = min((float(singular[part, which]), float(PARTS[part])), (float(found.fun), float(found.x)))
    if value > TOUCH * float(singular[:, which].max()):
        return None
    early, late = recent[-2:]
    return Zero(early.time + (late.time - early.time) * place, int(chosen[which]))
