"""N i.i.d. points that do not move: the Fournier-Guillin problem."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from mfstudy.checks import check_above
from mfstudy.ensemble import Ensemble, Phase


@dataclass(frozen=True)
class Static:
    """N points of R^dim, or of a torus, at rest.

    The empirical measure of N i.i.d. points of a law against that law: N. Fournier and A. Guillin, "On the rate
    of convergence in Wasserstein distance of the empirical measure", PTRF 162 (2015), Theorem 1.

    Parameters
    ----------
    dim : int
        Dimension of the space, 1 to 12. There is no velocity, so the phase-space dimension D is dim.
    period : float, optional
        > 0, side of the torus along every axis, on which distances go the shorter way round; left out for R^dim. A law
        that is wider is refused, one as wide as the torus has no boundary. Dimensionless.
    """

    scheme: ClassVar[int] = 1
    stationary: ClassVar[bool] = True
    roles: ClassVar[frozenset[str]] = frozenset()

    dim: int = field(metadata={"minimum": 1, "maximum": 12, "unit": "dimensionless"})
    period: float | None = field(default=None, metadata={"above": 0.0, "unit": "dimensionless"})

    def __post_init__(self) -> None:
        if self.period is not None:
            check_above("period", self.period)

    @property
    def phase(self) -> Phase:
        """Positions only."""
        return Phase(self.dim, 0, None if self.period is None else (float(self.period),) * self.dim)

    def advance(self, state: Ensemble, t: float, h: float) -> Ensemble:
        """Return the state unchanged."""
        del t, h
        return state
