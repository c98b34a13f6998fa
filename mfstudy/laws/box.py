"""Uniform positions and velocities in cubes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from scipy.special import roots_legendre

from mfstudy.checks import check_above
from mfstudy.ensemble import Floats, Phase
from mfstudy.laws._moments import ball_counts, convolve
from mfstudy.laws._product import ProductLaw, Rule, bind, product_rule


@dataclass(frozen=True)
class Box:
    """Uniform on [-position_halfwidth, position_halfwidth]^d x [-velocity_halfwidth, velocity_halfwidth]^d.

    Nodes are tensor Gauss-Legendre rules, along periodic axes that the law fills the trapezoidal rule.

    Parameters
    ----------
    position_halfwidth, velocity_halfwidth : float
        > 0; left out where the system has no such variable. Dimensionless.
    """

    scheme: ClassVar[int] = 1

    position_halfwidth: float | None = field(default=None, metadata={"above": 0.0, "unit": "dimensionless"})
    velocity_halfwidth: float | None = field(default=None, metadata={"above": 0.0, "unit": "dimensionless"})

    def __post_init__(self) -> None:
        for name in ("position_halfwidth", "velocity_halfwidth"):
            if (halfwidth := getattr(self, name)) is not None:
                check_above(name, halfwidth)

    def on(self, phase: Phase) -> ProductLaw:
        """Return the law on the variables of a system.

        Raises
        ------
        ValueError
            If a key is missing, or belongs to variables that the system lacks.
        """

        def position(dimension: int) -> _Cube:
            return _Cube(dimension, tuple(self._fills(period) for period in phase.period or (None,) * dimension))

        return ProductLaw(
            bind("position_halfwidth", self.position_halfwidth, phase.position, position),
            bind("velocity_halfwidth", self.velocity_halfwidth, phase.velocity, _Cube),
        )

    def _fills(self, period: float | None) -> bool:
        """Whether the law is uniform on the whole period of an axis."""
        width = 2 * (self.position_halfwidth or 0.0)
        return period is not None and math.isclose(width, period, rel_tol=1e-12)


@dataclass(frozen=True)
class _Cube:
    """Uniform on [-1, 1]^d; `wraps` says along which axes -1 and 1 are the same point, () along none."""

    dimension: int
    wraps: tuple[bool, ...] = ()
    variance: float = 1 / 3
    halfwidth: float = 1.0

    @property
    def radius(self) -> float:
        return math.sqrt(self.dimension)

    def reach(self, tail: float) -> float:
        del tail
        return self.halfwidth

    def draw(self, rng: np.random.Generator, n: int) -> Floats:
        return rng.uniform(-1.0, 1.0, (n, self.dimension))

    def rule(self, level: int) -> Rule:
        points, weights = roots_legendre(level)
        gauss = points[:, None], weights / weights.sum()
        # Exact for exp(i pi k x), |k| < level, of which Gauss nodes need pi / 2 times as many.
        even = (2 * np.arange(level)[:, None] + 1 - level) / level, np.full(level, 1 / level)
        return product_rule([even if wraps else gauss for wraps in self.wraps or (False,) * self.dimension])

    def quantile(self, u: Floats) -> Floats:
        return 2 * u - 1

    def density(self, x: Floats) -> Floats:
        return np.where(np.all(np.abs(x) <= 1, axis=1), 0.5**self.dimension, 0.0)

    def unfold(self, u: Floats) -> Floats:
        return 2 * u - 1

    def counts(self, order: int, rate: Floats) -> Floats:
        return convolve([ball_counts(1, order, rate)] * self.dimension)
