"""How much the flow of N particles stretches: Theorem 7.3 of Natalini and Paul."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from mfstudy.ensemble import Ensemble, Floats, Phase
from mfstudy.laws import InitialLaw
from mfstudy.observables import Field, View
from mfstudy.observables._named import Named
from mfstudy.observables._support import constants, excess, require_velocities
from mfstudy.systems import Budget
from mfstudy.theorems._natalini_paul import flow_exponent, flow_exponent_as_printed

#: The particle that is displaced. Particles are exchangeable, so that the first is as good as any.
DISPLACED = 0
#: Displacement, relative to the spread of all positions or velocities: differences are wrong by its square times the
#: third derivative of the flow, about 1e-8, and by rounding, 1e-12 for each particle.
DISPLACEMENT = 1e-4
#: Decades by which a bound is not missed by differences alone.
ALLOWANCE = 1e-6


@dataclass(frozen=True)
class FlowLipschitz(Named):
    """Derivatives dz_i(t)/dz_1(0) of the flow Phi_N^t by one particle, against Theorem 7.3 of Natalini and Paul.

    They are central differences of the whole system in all 2 d directions of the first particle, by 4 d further runs
    of each replicate, and 2 d x 2 d matrices in the operator norm. What is measured is the largest over the particles
    i, for one j and one start: a lower bound of the supremum that the theorem bounds; and the sum over i that its proof
    bounds. As printed the bound is exp((Lip gamma + Lip grad chi t) t), which free transport violates; corrected it is
    `mfstudy.theorems._natalini_paul.flow_exponent`. Constants are those on the support up to t.

    Differences resolve forces that vary on lengths of 0.04 of the cloud or more, to 1e-6.

    Parameters
    ----------
    name : str, optional
        Name in the store; by default the kind.
    """

    scheme: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset({"particles", "lipschitz"})
    p: ClassVar[float | None] = None

    def fields(self, phase: Phase) -> tuple[Field, ...]:
        """Return the derivatives, both bounds, and by how much each is exceeded."""
        del phase
        quantity, largest, total = "derivative", "max_i |dz_i(t)/dz_1(0)|", "sum_i |dz_i(t)/dz_1(0)|"
        above, holds = "decades above its bound of Theorem 7.3", "0 where that holds"
        return (
            Field(quantity, quantity, "check", f"{largest}, a lower bound of the supremum over i and j"),
            Field("derivative_sum", quantity, "check", total),
            Field("printed", quantity, "check", f"log10 of the bound of {largest}, as printed", scale="log10"),
            Field("printed_excess", quantity, "check", f"{largest}, {above} as printed; {holds}"),
            Field("corrected", quantity, "check", f"log10 of the bound of {total}, corrected", scale="log10"),
            Field("corrected_excess", quantity, "check", f"{total}, {above} as corrected; {holds}"),
        )

    def admit(self, phase: Phase, law: InitialLaw) -> None:
        """Accept phase spaces with positions and velocities."""
        del law
        require_velocities(phase)

    def companions(self, start: Ensemble) -> tuple[Ensemble, ...]:
        """Return starts with the first particle displaced, forwards and backwards along each axis."""
        return tuple(_displaced(start, axis, sign) for axis in range(start.points.shape[1]) for sign in (1, -1))

    def runs(self, phase: Phase) -> int:
        """Return 4 d."""
        return 2 * phase.dimension

    def measure(self, view: View) -> tuple[float, ...]:
        """Return the fields' values."""
        size = np.linalg.norm(self._jacobian(view), ord=2, axis=(1, 2))
        largest, total = float(size.max()), float(size.sum())
        known = constants(view, view.start.ensemble)
        printed = flow_exponent_as_printed(known, view.time) / math.log(10)
        corrected = flow_exponent(known, view.time) / math.log(10)
        return (
            largest,
            total,
            printed,
            excess(math.log10(largest), printed, ALLOWANCE),
            corrected,
            excess(math.log10(total), corrected, ALLOWANCE),
        )

    def _jacobian(self, view: View) -> Floats:
        """Return dz_i(t)/dz_1(0), (N, D, D)."""
        starts = [other.points[DISPLACED] for other in self.companions(view.start.ensemble)]
        ends = [state.ensemble.points for state in view.companions]
        columns = [
            (ends[2 * axis] - ends[2 * axis + 1]) / (starts[2 * axis] - starts[2 * axis + 1])[axis]
            for axis in range(len(ends) // 2)
        ]
        return np.stack(columns, axis=2)

    def budget(self, size: int, phase: Phase) -> Budget:
        """Predict seconds and bytes: the norms, and the states of runs beside each other."""
        d, media = phase.dimension, {2: 2.5e8, 3: 8e8}.get(phase.position, 0.0)
        return Budget(seconds=1e-3 + 4e-7 * size * d**2, memory=media + 200.0 * size * d**2)


def _displaced(start: Ensemble, axis: int, sign: int) -> Ensemble:
    """Return an ensemble with one coordinate of one particle displaced."""
    assert start.position is not None
    assert start.velocity is not None
    d = start.position.shape[1]
    scales = [float(np.std(array, axis=0).max()) for array in (start.position, start.velocity)]
    # Particles at rest, or in one place, have the other scale.
    scale = scales[axis >= d] or max(scales) or 1.0
    name, column = ("position", axis) if axis < d else ("velocity", axis - d)
    moved: Floats = getattr(start, name).copy()
    moved[DISPLACED, column] += sign * DISPLACEMENT * scale
    return replace(start, **{name: moved})
