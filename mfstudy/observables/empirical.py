"""E W_p^p(mu_N^t, rho^t): the empirical measure of one replicate against the mean field."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from mfstudy.distances import Distance
from mfstudy.distances.wasserstein import Wasserstein
from mfstudy.ensemble import Phase
from mfstudy.laws import InitialLaw
from mfstudy.observables import Field, View
from mfstudy.observables._named import Named
from mfstudy.streams import Purpose
from mfstudy.systems import Budget
from mfstudy.transport.cost import COSTS
from mfstudy.transport.semidiscrete import memory_needed, points_per_particle


@dataclass(frozen=True)
class Empirical(Named):
    """W_p^p between the empirical measure of N particles and rho^t, as an estimate with a bracket.

    The quantity of Fournier and Guillin (PTRF 162, 2015, Theorem 1) at t = 0, and its propagation at t > 0. It
    contains the sampling error of N points, and is therefore usually far larger than the distance between the law
    of one particle and rho^t that Theorem 2.1 of Natalini and Paul bounds.

    Parameters
    ----------
    p : float
        Order of the distance: p >= 1 in D = 1, p = 1 or 2 otherwise; dimensionless.
    name : str, optional
        Name in the store; by default the kind.
    precision : float, optional
        Wanted width of the bracket relative to the estimate, D >= 2 or on a circle; None = four reference points a
        particle, whose midpoint is nearly unbiased.
    cost : str
        Ground cost: "euclidean", |z - z'|^p, or "kinetic", |x - y|^p + |v - w|^p.
    distance : table
        Which distance; by default {kind = "wasserstein"}.
    """

    scheme: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset({"particles", "reference"})

    p: float = field(default=2.0, metadata={"minimum": 1, "unit": "dimensionless"})
    precision: float | None = field(default=None, metadata={"above": 0, "below": 1, "unit": "dimensionless"})
    cost: str = field(default="euclidean", metadata={"choices": COSTS})
    distance: Distance = field(default=Wasserstein(), metadata={"component": "distances"})

    def fields(self, phase: Phase) -> tuple[Field, ...]:
        """Return estimate, bracket, its standard error and its certificate, all of W_p^p."""
        del phase
        quantity, formula = self.distance.measured(self.p)
        what = f"{formula}(mu_N^t, rho^t)"
        return (
            Field(
                quantity,
                quantity,
                "estimate",
                f"{what}, mu_N^t the empirical measure of one replicate",
                order=self.p,
            ),
            Field(f"{quantity}_lower", quantity, "lower", f"lower end L of the bracket, E[L] <= {what}"),
            Field(f"{quantity}_upper", quantity, "upper", f"upper end U of the bracket, E[U] >= {what}"),
            Field(f"{quantity}_error", quantity, "standard_error", "standard error given the particles"),
            Field(f"{quantity}_residual", quantity, "certificate", "relative duality gap or quadrature error"),
            Field(f"{quantity}_reference_points", quantity, "count", "reference points drawn", unit="1"),
        )

    def admit(self, phase: Phase, law: InitialLaw) -> None:
        """Check p against the dimension and the law's moments (Fournier-Guillin need a moment q > p)."""
        if phase.dimension > 1 and self.p not in (1.0, 2.0):
            raise ValueError(f"p: {self.p:g} is not allowed in D = {phase.dimension}; allowed: 1 or 2")
        if law.moment_order <= self.p:
            raise ValueError(
                f"p: {self.p:g} needs a moment of order q > p, and the law has moments only below"
                f" {law.moment_order:g}; allowed: p < {law.moment_order:g}"
            )
        if _exact(phase) and self.precision is not None:
            raise ValueError("precision: not allowed in D = 1, where the distance is exact")

    def measure(self, view: View) -> tuple[float, ...]:
        """Return estimate, lower, upper, standard error, residual and number of reference points."""
        rng = view.rng(Purpose.REFERENCE)
        bracket = self.distance.between(view.particles, view.reference, self.p, self.precision, rng, self.cost)
        return (
            bracket.estimate,
            bracket.lower,
            bracket.upper,
            bracket.standard_error,
            bracket.residual,
            float(bracket.reference_points),
        )

    def budget(self, size: int, phase: Phase) -> Budget:
        """Predict seconds and bytes (measured on one core)."""
        if _exact(phase):
            return Budget(seconds=2e-4 + 1.5e-6 * size, memory=150.0 * size)
        k = points_per_particle(phase.dimension, self.p, self.precision)
        growth = max(1.0, size / 1e4) ** 0.3
        seconds = 5e-3 + 2 * k * size * (5e-6 + 2e-6 * phase.dimension**1.5) * growth
        return Budget(seconds=seconds, memory=memory_needed(size, k, phase.dimension))


def _exact(phase: Phase) -> bool:
    """Whether the distance comes from a quantile function, on the line and not on a circle."""
    return phase.dimension == 1 and phase.periods is None
