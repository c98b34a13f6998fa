"""E sup_x |grad phi - grad psi|^2: the signal of N particles against that of the mean field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mfstudy.ensemble import Phase
from mfstudy.forces.chemical import Supremum, gradient_supremum
from mfstudy.laws import InitialLaw
from mfstudy.observables import Field, View
from mfstudy.observables._named import Named
from mfstudy.rates import COUPLING
from mfstudy.systems import Budget

#: Grid points per shortest wave, at save times and between them, by dimension.
SAVED, BETWEEN = {1: 16.0, 2: 12.0, 3: 8.0}, {1: 8.0, 2: 6.0, 3: 4.0}


@dataclass(frozen=True)
class Chemical(Named):
    """Squared supremum of the difference of two gradients: the second part of Theorem 2.1 of Natalini and Paul.

    The supremum over R^d is that of a trigonometric polynomial: the largest value on a grid, polished by Newton's
    method, with a proved upper end (`mfstudy.forces.chemical.gradient_supremum`).

    Parameters
    ----------
    name : str, optional
        Name in the store; by default the kind.
    """

    scheme: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset({"particles", "reference", "signal"})
    p: ClassVar[float | None] = None

    def fields(self, phase: Phase) -> tuple[Field, ...]:
        """Return the squared supremum and its largest value so far, each with a bracket of all its errors."""
        del phase
        now, peak = "gradient_sq", "gradient_sq_max"
        what = "supremum of |∇φ − ∇ψ|², φ emitted by the particles, ψ by the mean field"
        return (
            Field(now, now, "estimate", what, laws=COUPLING),
            Field(f"{now}_lower", now, "lower", "attained, less the error of grad psi"),
            Field(f"{now}_upper", now, "upper", "proved bound of the supremum, plus the error of grad psi"),
            Field(peak, peak, "estimate", f"{what}, largest over the steps so far", per="run", laws=COUPLING),
            Field(f"{peak}_lower", peak, "lower", "attained, less the error of grad psi", per="run"),
            Field(
                f"{peak}_upper", peak, "upper", "proved bound of the supremum, plus the error of grad psi", per="run"
            ),
        )

    def admit(self, phase: Phase, law: InitialLaw) -> None:
        """Accept every phase space and law."""

    def monitor(self, view: View) -> tuple[float, ...]:
        """Return the supremum and its upper bound."""
        found = self._supremum(view, SAVED if view.time_index is not None else BETWEEN)
        return found.value, found.upper

    def _supremum(self, view: View, waves: dict[int, float]) -> Supremum:
        memory, lattice = view.meanfield.memory(view.step), view.meanfield.lattice
        assert view.state.memory is not None
        assert memory is not None
        assert lattice is not None
        return gradient_supremum(lattice, view.state.memory - memory, waves[len(lattice.shape)])

    def measure(self, view: View) -> tuple[float, ...]:
        """Return the squared supremum now and the largest so far, with brackets."""
        now = self._supremum(view, SAVED)
        error = view.reference.signal_error

        def bracket(value: float, upper: float) -> tuple[float, float, float]:
            slack = error if value else 0.0
            return value**2, max(value - slack, 0.0) ** 2, (upper + slack) ** 2

        value, upper = view.peak
        return (*bracket(now.value, now.upper), *bracket(value, upper))

    def budget(self, size: int, phase: Phase) -> Budget:
        """Predict seconds and bytes: transforms of the signal's grid."""
        del size
        return Budget(seconds={1: 1e-3, 2: 3e-3, 3: 6e-2}[phase.position], memory=1e8)
