"""Velocity fields u(x), one per file: what a particle's velocity is where it is a function of its position."""

from __future__ import annotations

from typing import ClassVar, Protocol

from mfstudy.ensemble import Floats


class VelocityField(Protocol):
    """A smooth map u: R^d -> R^d of at most linear growth, defined in every dimension d."""

    scheme: ClassVar[int]

    def at(self, positions: Floats) -> Floats:
        """Return u at n positions, (n, d) -> (n, d)."""
        ...

    def jacobian(self, positions: Floats) -> Floats:
        """Return the derivatives du_a / dx_b at n positions, (n, d) -> (n, d, d), entry [i, a, b]."""
        ...

    def bounds(self, box: Floats) -> Floats:
        """Return a box that contains u(box), (d, 2) -> (d, 2); the ends of a box may be infinite."""
        ...
