"""Springs between all pairs: the linear Vlasov equation, solvable in closed form."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from mfstudy.ensemble import Floats


@dataclass(frozen=True)
class Quadratic:
    """K(x) = frequency^2 |x|^2 / 2.

    The mean moves freely; about it every particle turns in phase space, at unit frequency a rigid rotation.

    Parameters
    ----------
    frequency : float
        > 0; 1/time.
    """

    scheme: ClassVar[int] = 1
    constant: ClassVar[bool] = True

    frequency: float = field(default=1.0, metadata={"above": 0.0, "unit": "dimensionless"})

    def at(self, r2: Floats) -> Floats:
        """Return K."""
        return 0.5 * self.frequency**2 * r2

    def slope(self, r2: Floats) -> Floats:
        """Return 2 dK/d(r^2)."""
        return np.full_like(r2, self.frequency**2)

    @property
    def growth(self) -> tuple[float, float]:
        """|grad K| = frequency^2 |x|."""
        return 0.0, self.frequency**2

    @property
    def lipschitz(self) -> float:
        """|grad K(x) - grad K(y)| = frequency^2 |x - y|."""
        return self.frequency**2
