"""No velocity at the start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mfstudy.ensemble import Floats


@dataclass(frozen=True)
class Rest:
    """Every particle starts at rest: u(x) = 0."""

    scheme: ClassVar[int] = 1

    def at(self, positions: Floats) -> Floats:
        """Return u at n positions, (n, d) -> (n, d)."""
        return np.zeros_like(positions)

    def jacobian(self, positions: Floats) -> Floats:
        """Return the derivatives of u at n positions, (n, d) -> (n, d, d)."""
        n, d = positions.shape
        return np.zeros((n, d, d))

    def bounds(self, box: Floats) -> Floats:
        """Return the box that is u(box), (d, 2) -> (d, 2)."""
        return np.zeros_like(box)
