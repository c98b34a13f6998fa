"""E (1/N) sum_i |z_i - zbar_i|^2: particles against their copies in the mean field."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mfstudy.ensemble import Phase
from mfstudy.laws import InitialLaw
from mfstudy.observables import Field, View
from mfstudy.observables._named import Named
from mfstudy.rates import COUPLING
from mfstudy.systems import Budget


@dataclass(frozen=True)
class Coupling(Named):
    """Mean squared distance of N particles to the N particles that start with them and are driven by the mean field.

    Sznitman's synchronous coupling ("Topics in propagation of chaos", 1991). It bounds W_2^2 of the law of one particle
    against rho^t, the left side of Theorem 2.1 of Natalini and Paul; for Lipschitz forces it is of order 1/N.

    Parameters
    ----------
    name : str, optional
        Name in the store; by default the kind.
    """

    scheme: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset({"particles", "reference", "tracers"})
    p: ClassVar[float | None] = None

    def fields(self, phase: Phase) -> tuple[Field, ...]:
        """Return the mean squared distance and its largest value so far, with the reference's error as a bracket."""
        del phase
        now, peak = "distance_sq", "distance_sq_max"
        what = "mean squared distance of the particles to their copies in the mean field"
        return (
            Field(now, now, "estimate", what, laws=COUPLING, order=2.0),
            Field(f"{now}_lower", now, "lower", "less the error of the mean field"),
            Field(f"{now}_upper", now, "upper", "plus the error of the mean field"),
            Field(
                peak, peak, "estimate", f"{what}, largest over the steps so far", per="run", laws=COUPLING, order=2.0
            ),
            Field(f"{peak}_lower", peak, "lower", "less the error of the mean field", per="run"),
            Field(f"{peak}_upper", peak, "upper", "plus the error of the mean field", per="run"),
        )

    def admit(self, phase: Phase, law: InitialLaw) -> None:
        """Accept every phase space and law."""

    def monitor(self, view: View) -> tuple[float, ...]:
        """Return the mean squared distance."""
        assert view.tracers is not None
        apart = view.state.ensemble.points - view.tracers.points
        square = np.einsum("ij,ij->i", apart, apart)
        weights = view.state.ensemble.weights
        return (float(square.mean() if weights is None else weights @ square),)

    def measure(self, view: View) -> tuple[float, ...]:
        """Return the distance now and the largest so far, with brackets."""
        now, peak, error = *self.monitor(view), *view.peak, view.reference.error

        def bracket(value: float) -> tuple[float, float, float]:
            root = math.sqrt(value)  # |z - zbar| is wrong by at most the mean field's own error, in root mean square
            slack = error if value else 0.0
            return value, max(root - slack, 0.0) ** 2, (root + slack) ** 2

        return (*bracket(now), *bracket(peak))

    def budget(self, size: int, phase: Phase) -> Budget:
        """Predict seconds and bytes: one pass over the particles."""
        return Budget(seconds=1e-5 + 1e-8 * size * phase.dimension, memory=64.0 * size * phase.dimension)
