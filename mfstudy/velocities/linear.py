"""Velocities proportional to positions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from mfstudy.checks import check_number
from mfstudy.ensemble import Floats


@dataclass(frozen=True)
class Linear:
    """The expansion u(x) = rate * x (the Hubble flow), a contraction where rate < 0.

    Parameters
    ----------
    rate : float
        Dimensionless. Free particles of a negative rate all meet at the origin at the time -1 / rate.
    """

    scheme: ClassVar[int] = 1

    rate: float = field(metadata={"unit": "dimensionless"})

    def __post_init__(self) -> None:
        check_number("rate", self.rate)

    def at(self, positions: Floats) -> Floats:
        """Return u at n positions, (n, d) -> (n, d)."""
        return self.rate * positions

    def jacobian(self, positions: Floats) -> Floats:
        """Return the derivatives of u at n positions, (n, d) -> (n, d, d)."""
        n, d = positions.shape
        return np.tile(self.rate * np.eye(d), (n, 1, 1))

    def bounds(self, box: Floats) -> Floats:
        """Return the box that is u(box), (d, 2) -> (d, 2)."""
        if self.rate == 0:  # also where the box is infinite
            return np.zeros_like(box)
        return np.sort(self.rate * box, axis=1)
