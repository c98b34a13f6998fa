"""How far particles and their speeds go: Proposition 7.2 of Natalini and Paul."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mfstudy.ensemble import Phase
from mfstudy.laws import InitialLaw
from mfstudy.observables import Field, View
from mfstudy.observables._named import Named
from mfstudy.observables._support import bounds, constants, excess, lengths, require_velocities
from mfstudy.systems import Budget
from mfstudy.theorems._natalini_paul import displacement_as_printed, growth_as_printed

#: Relative error of lengths by rounding and the time step, by which a bound is not missed.
ALLOWANCE = 1e-9
#: Largest exponent whose exponential is a number.
LARGEST = 700.0


@dataclass(frozen=True)
class SupportGrowth(Named):
    """Largest speed and largest change of |x_i|, against Proposition 7.2 of Natalini and Paul.

    As printed, |v_i(t)| <= max |v_j(0)| exp(2 gamma_0 t), gamma_0 = Lip gamma + Lip grad chi on the support, and
    ||x_i(t)| - |x_i(0)|| is at most the integral of that (printed: |x_1(t)|): violated from rest, where a signal moves
    particles and the bound is 0. Corrected, max |v_j(0)| grows by the integral of the largest force. The excess of a
    number over its bound is a plain difference, because a bound may be 0: 0 where the statement holds.

    Parameters
    ----------
    name : str, optional
        Name in the store; by default the kind.
    """

    scheme: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset({"particles", "lipschitz"})
    p: ClassVar[float | None] = None

    def fields(self, phase: Phase) -> tuple[Field, ...]:
        """Return speed and displacement, their bounds, and by how much these are exceeded."""
        del phase
        v, x = "|v_i(t)|", "||x_i(t)| - |x_i(0)||"
        above, holds = "above its bound of Proposition 7.2", "0 where that holds"
        factor = "log10 of exp(2 gamma_0 t), by which the largest speed may grow as printed"
        return (
            Field("speed", "speed", "check", f"largest {v}"),
            Field("speed_printed_factor", "speed", "check", factor, scale="log10"),
            Field("speed_printed_excess", "speed", "check", f"{v} {above} as printed; {holds}"),
            Field("speed_corrected", "speed", "check", f"bound of {v}, corrected"),
            Field("speed_corrected_excess", "speed", "check", f"{v} {above} as corrected; {holds}"),
            Field("displacement", "displacement", "check", f"largest {x}"),
            Field("displacement_printed_excess", "displacement", "check", f"{x} {above} as printed; {holds}"),
            Field("displacement_corrected", "displacement", "check", f"bound of {x}, corrected"),
            Field("displacement_corrected_excess", "displacement", "check", f"{x} {above} as corrected; {holds}"),
        )

    def admit(self, phase: Phase, law: InitialLaw) -> None:
        """Accept phase spaces with positions and velocities."""
        del law
        require_velocities(phase)

    def measure(self, view: View) -> tuple[float, ...]:
        """Return the fields' values."""
        (x0, v0), (x, v) = lengths(view.start.ensemble), lengths(view.state.ensemble)
        farthest, fastest, speed = float(x0.max()), float(v0.max()), float(v.max())
        displacement = float(np.abs(x - x0).max())
        known = constants(view, view.start.ensemble)
        growth = growth_as_printed(known, view.time)
        printed = fastest * math.exp(min(growth, LARGEST))
        reach, speed_bound = bounds(view)
        slow, short = ALLOWANCE * fastest, ALLOWANCE * (farthest + view.time * fastest)
        return (
            speed,
            growth / math.log(10),
            excess(speed, printed, slow),
            speed_bound,
            excess(speed, speed_bound, slow),
            displacement,
            excess(displacement, displacement_as_printed(known, fastest, view.time), short),
            reach - farthest,
            excess(displacement, reach - farthest, short),
        )

    def budget(self, size: int, phase: Phase) -> Budget:
        """Predict seconds and bytes: a pass over the particles."""
        return Budget(seconds=1e-3 + 1e-8 * size * phase.dimension, memory=64.0 * size * phase.dimension)
