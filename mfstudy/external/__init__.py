"""External force fields F(x), one per file."""

from __future__ import annotations

from typing import ClassVar, Protocol

from mfstudy.ensemble import Floats


class External(Protocol):
    """A force that does not depend on the particles."""

    scheme: ClassVar[int]

    def at(self, positions: Floats) -> Floats:
        """Return the force at (n, d) positions, (n, d)."""
        ...

    def potential(self, positions: Floats) -> Floats:
        """Return V with F = -grad V at (n, d) positions, (n,)."""
        ...

    @property
    def growth(self) -> tuple[float, float]:
        """Numbers (a, b) with |F(x)| <= a + b |x| in the largest component."""
        ...

    @property
    def lipschitz(self) -> float:
        """Lipschitz constant of F in the Euclidean norm; 1/time^2."""
        ...
