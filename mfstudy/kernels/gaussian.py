"""A smooth, short-ranged potential."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from mfstudy.ensemble import Floats


@dataclass(frozen=True)
class Gaussian:
    """K(x) = strength exp(-|x|^2 / (2 width^2)).

    Parameters
    ----------
    width : float
        > 0, in units of length.
    strength : float
        Repulsive where > 0, attractive where < 0; an energy per mass.
    """

    scheme: ClassVar[int] = 1
    constant: ClassVar[bool] = False

    width: float = field(metadata={"above": 0.0, "unit": "dimensionless"})
    strength: float = field(default=1.0, metadata={"unit": "dimensionless"})

    def at(self, r2: Floats) -> Floats:
        """Return K."""
        return self.strength * np.exp(-0.5 * r2 / self.width**2)

    def slope(self, r2: Floats) -> Floats:
        """Return 2 dK/d(r^2)."""
        return -self.at(r2) / self.width**2

    @property
    def growth(self) -> tuple[float, float]:
        """|grad K| <= |strength| exp(-1/2) / width."""
        return abs(self.strength) * math.exp(-0.5) / self.width, 0.0

    @property
    def lipschitz(self) -> float:
        """|strength| / width^2, the curvature at 0; that at r^2 = 3 width^2, of the other sign, is 0.45 of it."""
        return abs(self.strength) / self.width**2
