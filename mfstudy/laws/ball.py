"""Uniform positions and velocities in balls."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from scipy.special import betaincinv, roots_gegenbauer

from mfstudy.checks import check_above
from mfstudy.ensemble import Floats, Phase
from mfstudy.laws import InitialLaw
from mfstudy.laws._moments import ball_counts
from mfstudy.laws._product import ProductLaw, Rule, bind


@dataclass(frozen=True)
class Ball:
    """Uniform on {|x| <= position_radius} x {|v| <= velocity_radius}, Euclidean norms.

    Parameters
    ----------
    position_radius, velocity_radius : float
        > 0; left out where the system has no such variable. Dimensionless.
    """

    scheme: ClassVar[int] = 1

    position_radius: float | None = field(default=None, metadata={"above": 0.0, "unit": "dimensionless"})
    velocity_radius: float | None = field(default=None, metadata={"above": 0.0, "unit": "dimensionless"})

    def __post_init__(self) -> None:
        for name in ("position_radius", "velocity_radius"):
            if (radius := getattr(self, name)) is not None:
                check_above(name, radius)

    def on(self, phase: Phase) -> InitialLaw:
        """Return the law on the variables of a system.

        Raises
        ------
        ValueError
            If a key is missing, or belongs to variables that the system lacks.
        """
        return ProductLaw(
            bind("position_radius", self.position_radius, phase.position, _Ball),
            bind("velocity_radius", self.velocity_radius, phase.velocity, _Ball),
        )


@dataclass(frozen=True)
class _Ball:
    """Uniform on the unit ball of R^d."""

    dimension: int
    halfwidth: float = 1.0
    radius: float = 1.0

    @property
    def variance(self) -> float:
        return 1 / (self.dimension + 2)

    def reach(self, tail: float) -> float:
        del tail
        return self.halfwidth

    def draw(self, rng: np.random.Generator, n: int) -> Floats:
        direction = rng.standard_normal((n, self.dimension))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        return direction * rng.random((n, 1)) ** (1 / self.dimension)

    def rule(self, level: int) -> Rule:
        return _ball_rule(self.dimension, level)

    def quantile(self, u: Floats) -> Floats:
        return 2 * u - 1

    def density(self, x: Floats) -> Floats:
        half = self.dimension / 2
        return np.where(np.sum(x**2, axis=1) <= 1, math.gamma(half + 1) / math.pi**half, 0.0)

    def unfold(self, u: Floats) -> Floats:
        return _ball_point(u)

    def counts(self, order: int, rate: Floats) -> Floats:
        return ball_counts(self.dimension, order, rate)


def _ball_rule(dimension: int, level: int) -> Rule:
    """Slice the ball: x_1 has density ~ (1 - x_1^2)^{(d-1)/2}, and given it the rest fills a smaller ball.

    Exact for total degree <= 2 level - 1: what a monomial's other factors leave is an even power of
    sqrt(1 - x_1^2), or 0 by symmetry, hence a polynomial in x_1.
    """
    first, weights = roots_gegenbauer(level, dimension / 2)
    weights = weights / weights.sum()
    if dimension == 1:
        return first[:, None], weights
    rest, rest_weights = _ball_rule(dimension - 1, level)
    slices = np.sqrt(1 - first**2)[:, None, None] * rest
    heads = np.broadcast_to(first[:, None, None], (level, len(rest), 1))
    points = np.concatenate([heads, slices], axis=2).reshape(-1, dimension)
    return points, np.outer(weights, rest_weights).ravel()


def _ball_point(u: Floats) -> Floats:
    """Slice the ball as `_ball_rule` does, with (1 + x_1)/2 of the law Beta((d+1)/2, (d+1)/2); (n, d) to (n, d)."""
    shape = (u.shape[1] + 1) / 2
    first = 2 * betaincinv(shape, shape, u[:, :1]) - 1
    if u.shape[1] == 1:
        return np.asarray(first)
    return np.concatenate([first, np.sqrt(1 - first**2) * _ball_point(u[:, 1:])], axis=1)
