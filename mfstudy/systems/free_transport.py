"""Particles that do not interact."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from mfstudy.ensemble import Ensemble, Phase


@dataclass(frozen=True)
class FreeTransport:
    """dx_i = v_i, dv_i = 0.

    (x, v) -> (x + t v, v) is a shear and no isometry: the distance to the mean field, transported as well, is conserved
    after the shear is undone, and W_p itself is not.

    Parameters
    ----------
    dim : int
        Dimension of positions and of velocities, 1 to 6.
    """

    scheme: ClassVar[int] = 1
    stationary: ClassVar[bool] = False
    roles: ClassVar[frozenset[str]] = frozenset({"lipschitz"})

    dim: int = field(metadata={"minimum": 1, "maximum": 6, "unit": "dimensionless"})

    @property
    def phase(self) -> Phase:
        """Positions and velocities in R^dim."""
        return Phase(position=self.dim, velocity=self.dim)

    def advance(self, state: Ensemble, t: float, h: float) -> Ensemble:
        """Return positions moved by h v."""
        del t
        assert state.position is not None
        assert state.velocity is not None
        return replace(state, position=state.position + h * state.velocity)
