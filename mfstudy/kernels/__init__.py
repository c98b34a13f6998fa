"""Interaction potentials K(|x|), one per file; the force on x is -grad K * rho."""

from __future__ import annotations

from typing import ClassVar, Protocol

from mfstudy.ensemble import Floats


class Kernel(Protocol):
    """A radial potential, as functions of r^2."""

    scheme: ClassVar[int]
    constant: ClassVar[bool]
    """Whether the slope is a constant: then only the mean of the sources matters."""

    def at(self, r2: Floats) -> Floats:
        """Return K, an energy per mass."""
        ...

    def slope(self, r2: Floats) -> Floats:
        """Return 2 dK/d(r^2), so that grad K(x) = slope x."""
        ...

    @property
    def growth(self) -> tuple[float, float]:
        """Numbers (a, b) with |grad K(x)| <= a + b |x|."""
        ...

    @property
    def lipschitz(self) -> float:
        """Lipschitz constant of grad K in the Euclidean norm; 1/time^2."""
        ...
