"""N i.i.d. points that do not move: the Fournier-Guillin problem."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from mfstudy.ensemble import Ensemble, Phase


@dataclass(frozen=True)
class Static:
    """N points of R^dim at rest.

    The empirical measure of N i.i.d. points of a law against that law: N. Fournier and A. Guillin, "On the rate
    of convergence in Wasserstein distance of the empirical measure", PTRF 162 (2015), Theorem 1.

    Parameters
    ----------
    dim : int
        Dimension of the space, 1 to 12. There is no velocity, so the phase-space dimension D is dim.
    """

    scheme: ClassVar[int] = 1
    stationary: ClassVar[bool] = True
    roles: ClassVar[frozenset[str]] = frozenset()

    dim: int = field(metadata={"minimum": 1, "maximum": 12, "unit": "dimensionless"})

    @property
    def phase(self) -> Phase:
        """Positions only."""
        return Phase(position=self.dim, velocity=0)

    def advance(self, state: Ensemble, t: float, h: float) -> Ensemble:
        """Return the state unchanged."""
        del t, h
        return state
