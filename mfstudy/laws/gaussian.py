"""Normal positions and velocities."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from scipy.special import gammaln, ndtri, roots_hermitenorm

from mfstudy.checks import check_above, is_number
from mfstudy.ensemble import Floats, Phase
from mfstudy.laws import InitialLaw
from mfstudy.laws._product import ProductLaw, Rule, bind, product_rule


@dataclass(frozen=True)
class Gaussian:
    """Independent isotropic normal laws of position, about 0, and of velocity, about `velocity_mean`.

    Nodes are tensor Gauss-Hermite rules.

    Parameters
    ----------
    position_std, velocity_std : float
        Standard deviation of each component, > 0; left out where there is no such variable. Dimensionless.
    velocity_mean : tuple of float, optional
        One entry per velocity component; by default 0. Dimensionless.
    """

    scheme: ClassVar[int] = 1

    position_std: float | None = field(default=None, metadata={"above": 0.0, "unit": "dimensionless"})
    velocity_std: float | None = field(default=None, metadata={"above": 0.0, "unit": "dimensionless"})
    velocity_mean: tuple[float, ...] | None = field(default=None, metadata={"unit": "dimensionless"})

    def __post_init__(self) -> None:
        for name in ("position_std", "velocity_std"):
            if (std := getattr(self, name)) is not None:
                check_above(name, std)
        mean = self.velocity_mean
        if mean is not None and not (isinstance(mean, tuple) and all(map(is_number, mean))):
            raise ValueError(f"velocity_mean: {mean!r}; allowed: a tuple of finite numbers")

    def on(self, phase: Phase) -> InitialLaw:
        """Return the law on the variables of a system.

        Raises
        ------
        ValueError
            If a key is missing, has the wrong number of entries, or is about variables the system lacks.
        """
        position = bind("position_std", self.position_std, phase.position, _Normal)
        mean = self.velocity_mean
        if mean is not None and phase.velocity == 0:
            raise ValueError("velocity_mean: not allowed; the system has no velocity")
        if mean is not None and len(mean) != phase.velocity:
            raise ValueError(
                f"velocity_mean: {len(mean)} entries; allowed: one per velocity component ({phase.velocity})"
            )
        return ProductLaw(position, bind("velocity_std", self.velocity_std, phase.velocity, _Normal, mean))


@dataclass(frozen=True)
class _Normal:
    """The standard normal law of R^d."""

    dimension: int
    variance: float = 1.0
    halfwidth: float = math.inf
    radius: float = math.inf

    def reach(self, tail: float) -> float:
        return -float(ndtri(tail / 2))

    def draw(self, rng: np.random.Generator, n: int) -> Floats:
        return rng.standard_normal((n, self.dimension))

    def rule(self, level: int) -> Rule:
        points, weights = roots_hermitenorm(level)
        return product_rule([(points[:, None], weights / weights.sum())] * self.dimension)

    def quantile(self, u: Floats) -> Floats:
        return np.asarray(ndtri(u), dtype=np.float64)

    def density(self, x: Floats) -> Floats:
        return np.asarray(np.exp(-np.sum(x**2, axis=1) / 2) / (2 * math.pi) ** (self.dimension / 2))

    def unfold(self, u: Floats) -> Floats:
        return self.quantile(u)

    def counts(self, order: int, rate: Floats) -> Floats:
        # A Poisson count whose mean is Gamma distributed, |X|^2 / 2 ~ Gamma(d/2), is negative binomial.
        j = np.arange(order + 1)[:, None]
        half = self.dimension / 2
        log_ways = gammaln(j + half) - gammaln(half) - gammaln(j + 1)
        counts: Floats = np.exp(log_ways - j * np.log1p(0.5 / rate) - half * np.log1p(2 * rate))
        return counts
