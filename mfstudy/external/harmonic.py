"""A harmonic trap."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from mfstudy.ensemble import Floats


@dataclass(frozen=True)
class Harmonic:
    """F(x) = -frequency^2 x.

    Parameters
    ----------
    frequency : float
        > 0; 1/time.
    """

    scheme: ClassVar[int] = 1

    frequency: float = field(default=1.0, metadata={"above": 0.0, "unit": "dimensionless"})

    def at(self, positions: Floats) -> Floats:
        """Return the force, (n, d)."""
        return -(self.frequency**2) * positions

    def potential(self, positions: Floats) -> Floats:
        """Return frequency^2 |x|^2 / 2, (n,)."""
        return np.asarray(0.5 * self.frequency**2 * np.sum(positions**2, axis=1))

    @property
    def growth(self) -> tuple[float, float]:
        """|F(x)| = frequency^2 |x|."""
        return 0.0, self.frequency**2

    @property
    def lipschitz(self) -> float:
        """|F(x) - F(y)| = frequency^2 |x - y|."""
        return self.frequency**2
