"""What observables that meet a bound share: the support, the constants on it, by how much a bound fails."""

from __future__ import annotations

import numpy as np

from mfstudy.ensemble import Ensemble, Floats, Phase
from mfstudy.observables import View
from mfstudy.systems import Constants


def require_velocities(phase: Phase) -> None:
    """Raise ValueError("kind: reason") unless there are positions and velocities."""
    if not (phase.position and phase.velocity):
        raise ValueError("kind: needs positions and velocities; allowed: a system that has both")


def lengths(ensemble: Ensemble) -> tuple[Floats, Floats]:
    """Return |x_i| and |v_i|, (N,) each."""
    assert ensemble.position is not None
    assert ensemble.velocity is not None
    return np.linalg.norm(ensemble.position, axis=1), np.linalg.norm(ensemble.velocity, axis=1)


def bounds(view: View) -> tuple[float, float]:
    """Return the proved bounds on max |x_i| and max |v_i| up to now."""
    start = view.start.ensemble
    if view.dynamics is not None:
        return view.dynamics.bounds(start, view.time)
    x, v = (float(length.max()) for length in lengths(start))
    return x + view.time * v, v


def constants(view: View, start: Ensemble) -> Constants:
    """Return the constants of the forces on what particles from a start reach up to now."""
    return Constants() if view.dynamics is None else view.dynamics.constants(start, view.time)


def excess(measured: float, bound: float, allowance: float) -> float:
    """Return by how much a measured number is above its bound, 0 where it is not; up to an allowance for rounding."""
    above = measured - bound
    return above if above > allowance else 0.0
