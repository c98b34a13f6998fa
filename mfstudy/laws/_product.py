"""Position and velocity independent, each a scaled and shifted standard shape: what product laws share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.special import roots_legendre

from mfstudy.checks import as_probabilities, check_above, check_count, check_probability
from mfstudy.ensemble import Ensemble, Floats
from mfstudy.laws._moments import convolve, log_power_mean
from mfstudy.laws._sobol import sobol

Rule = tuple[Floats, Floats]
"""Quadrature nodes (L, d) and their weights (L,), of sum 1."""

_PLURAL = {"position": "positions", "velocity": "velocities"}


class Shape(Protocol):
    """A standard law X of R^d: centred, with covariance a multiple of the identity."""

    @property
    def dimension(self) -> int:
        """Dimension d."""
        ...

    @property
    def variance(self) -> float:
        """Variance of one component of X."""
        ...

    @property
    def halfwidth(self) -> float:
        """Supremum of one component |X_i|."""
        ...

    @property
    def radius(self) -> float:
        """Supremum of |X|."""
        ...

    def reach(self, tail: float) -> float:
        """Return h with P(|X_i| > h) <= tail for each component; the half-width where that is bounded."""
        ...

    def draw(self, rng: np.random.Generator, n: int) -> Floats:
        """Return n i.i.d. copies of X, an (n, d) array."""
        ...

    def rule(self, level: int) -> Rule:
        """Return a Gauss rule for X, exact for total degree <= 2 level - 1."""
        ...

    def quantile(self, u: Floats) -> Floats:
        """Return F^{-1}(u), in d = 1."""
        ...

    def density(self, x: Floats) -> Floats:
        """Return the density of X, (n, d) -> (n,); that of a bounded support is not 0 on its boundary."""
        ...

    def unfold(self, u: Floats) -> Floats:
        """Return copies of X, (n, d), as a function of d independent uniform numbers each, (n, d)."""
        ...

    def counts(self, order: int, rate: Floats) -> Floats:
        """Return P(K = j), j = 0..order, K Poisson of random mean rate * |X|^2; (order + 1, len(rate))."""
        ...


@dataclass(frozen=True)
class Factor:
    """The law of mean + scale * X.

    Parameters
    ----------
    shape : Shape
        The law of X.
    scale : float
        > 0, in the unit of the variable.
    mean : tuple of float
        d entries, in the unit of the variable.
    """

    shape: Shape
    scale: float
    mean: tuple[float, ...]

    def place(self, standard: Floats) -> Floats:
        """Map values of X, (n, d), to values of the factor: the one map of samples, nodes and quantiles."""
        return np.asarray(self.mean) + self.scale * standard

    def density(self, values: Floats) -> Floats:
        """Return the density at n values of the factor, (n, d) -> (n,)."""
        standard = (values - np.asarray(self.mean)) / self.scale
        return self.shape.density(standard) / self.scale**self.shape.dimension


@dataclass(frozen=True)
class ProductLaw:
    """An initial law with independent position and velocity; implements `mfstudy.laws.InitialLaw`.

    Parameters
    ----------
    position, velocity : Factor or None
        None where the system has no such variable.
    """

    position: Factor | None
    velocity: Factor | None

    @property
    def _factors(self) -> list[Factor]:
        return [factor for factor in (self.position, self.velocity) if factor is not None]

    def sample(self, rng: np.random.Generator, n: int) -> Ensemble:
        """Return n i.i.d. particles; the position factor is drawn first."""
        check_count("n", n)
        return self._ensemble([factor.shape.draw(rng, n) for factor in self._factors], None)

    def nodes(self, level: int, velocity_level: int | None = None) -> Ensemble:
        """Return the tensor product of the factors' Gauss rules, see `mfstudy.laws.InitialLaw.nodes`.

        Parameters
        ----------
        level : int
            Number of nodes along each axis of the first factor, >= 1.
        velocity_level : int, optional
            Number along each velocity axis where there are positions too; by default `level`.

        Raises
        ------
        ValueError
            If a level is not an integer >= 1.
        """
        levels = (level, level if velocity_level is None else velocity_level)
        for name, value in zip(("level", "velocity_level"), levels, strict=True):
            check_count(name, value)
        rules = [factor.shape.rule(n) for factor, n in zip(self._factors, levels, strict=False)]
        points, weights = product_rule(rules)
        split = np.cumsum([factor.shape.dimension for factor in self._factors])[:-1]
        return self._ensemble(np.split(points, split, axis=1), weights)

    def quasi(self, rng: np.random.Generator, level: int) -> Ensemble:
        """Return 2^level Sobol points with equal weights, see `mfstudy.laws.InitialLaw.quasi`.

        Raises
        ------
        ValueError
            If level is not an integer >= 1.
        """
        factors = self._factors
        split = np.cumsum([factor.shape.dimension for factor in factors])[:-1]
        cubes = np.split(sobol(rng, len(self.mean), level), split, axis=1)
        standard = [factor.shape.unfold(u) for factor, u in zip(factors, cubes, strict=True)]
        return self._ensemble(standard, np.full(2**level, 0.5**level))

    def _ensemble(self, standard: list[Floats], weights: Floats | None) -> Ensemble:
        placed = iter([factor.place(values) for factor, values in zip(self._factors, standard, strict=True)])
        position = next(placed) if self.position else None
        velocity = next(placed) if self.velocity else None
        return Ensemble(position, velocity, weights)

    @property
    def mean(self) -> Floats:
        """E z, a (D,) array."""
        return np.concatenate([np.asarray(factor.mean) for factor in self._factors])

    @property
    def covariance(self) -> Floats:
        """Covariance matrix, (D, D), diagonal."""
        return np.diag([factor.scale**2 * factor.shape.variance for factor in self._factors for _ in factor.mean])

    def moment(self, q: float) -> float:
        """Return M_q = E|z - E z|^q for any real q > 0, to a relative error below 1e-12.

        Raises
        ------
        ValueError
            If q is not a finite number > 0.
        OverflowError
            If the moment is above the largest float.
        """
        check_above("q", q)
        factors = self._factors
        size = math.hypot(*(b.scale * math.sqrt(b.shape.dimension * b.shape.variance) for b in factors))

        def counts(order: int, rate: Floats) -> Floats:
            # Below a rate of 1e-20 the count is 0 to round-off; the floor keeps powers of the rate finite.
            rates = [np.maximum(rate * (b.scale / size) ** 2, 1e-20) for b in factors]
            return convolve([b.shape.counts(order, r) for b, r in zip(factors, rates, strict=True)])

        with np.errstate(under="ignore"):  # the integrand vanishes at both ends
            log_mean = log_power_mean(0.5 * q, len(self.mean), counts)
        return math.exp(q * math.log(size) + log_mean)

    def quantile(self, u: Floats) -> Floats:
        """Return F^{-1}(u), in D = 1 only, of the shape of u, to full relative accuracy down to u = 1e-300.

        Raises
        ------
        ValueError
            If D > 1, or an entry of u is not a probability.
        """
        u = as_probabilities(u, len(self.mean))
        (factor,) = self._factors
        return factor.place(factor.shape.quantile(u)[..., None])[..., 0]

    def density(self, points: Floats) -> Floats:
        """Return the density at n points of R^D, (n, D) -> (n,)."""
        ends = np.cumsum([factor.shape.dimension for factor in self._factors])[:-1]
        blocks = np.split(points, ends, axis=1)
        return np.asarray(math.prod(factor.density(block) for factor, block in zip(self._factors, blocks, strict=True)))

    @property
    def moment_order(self) -> float:
        """Supremum of the orders of finite moments: every shape here has them all."""
        return math.inf

    @property
    def support(self) -> Floats:
        """Bounding box of the support, (D, 2)."""
        return self._around([factor.shape.halfwidth for factor in self._factors])

    def box(self, probability: float) -> Floats:
        """Return a box outside which a particle lies with at most this probability, (D, 2); the support if bounded.

        A union bound over the D axes shares the probability equally.

        Raises
        ------
        ValueError
            Unless 0 < probability < 1.
        """
        check_probability(probability)
        return self._around([factor.shape.reach(probability / len(self.mean)) for factor in self._factors])

    def _around(self, halfwidths: Sequence[float]) -> Floats:
        """Return the box about the mean with these half-widths of the standard shapes, (D, 2)."""
        pairs = zip(self._factors, halfwidths, strict=True)
        reach = [factor.scale * halfwidth for factor, halfwidth in pairs for _ in factor.mean]
        return self.mean[:, None] + np.outer(reach, [-1.0, 1.0])

    @property
    def support_radius(self) -> float:
        """Supremum of |z - E z| over the support."""
        return math.hypot(*(factor.scale * factor.shape.radius for factor in self._factors))

    @property
    def support_dimension(self) -> int:
        """Dimension of the support: D, every shape has a density."""
        return len(self.mean)

    @property
    def regular(self) -> bool:
        """Whether the support is bounded: shapes of bounded support have densities bounded from 0 on it."""
        return math.isfinite(self.support_radius)


def bind(
    key: str,
    scale: float | None,
    dimension: int,
    shape: Callable[[int], Shape],
    mean: tuple[float, ...] | None = None,
) -> Factor | None:
    """Return the factor that a component's scale makes on `dimension` variables; None if there are none.

    Parameters
    ----------
    key : str
        The component's field, "position_..." or "velocity_...": names the variables in messages.
    scale : float or None
        The field's value.
    dimension : int
        Number of components that the system has.
    shape : callable
        Makes the standard shape of a dimension.
    mean : tuple of float, optional
        None = 0.

    Raises
    ------
    ValueError
        If the scale is missing, or given although the system has no such variable.
    """
    variable = key.partition("_")[0]
    if dimension == 0:
        if scale is not None:
            raise ValueError(f"{key}: not allowed; the system has no {variable}")
        return None
    if scale is None:
        raise ValueError(f"{key}: missing; the system has {_PLURAL[variable]}")
    centre = (0.0,) * dimension if mean is None else tuple(map(float, mean))
    return Factor(shape(dimension), float(scale), centre)


def product_rule(rules: Sequence[Rule]) -> Rule:
    """Return the rule of independent variables; the first varies slowest."""
    points, weights = rules[0]
    for more_points, more_weights in rules[1:]:
        slow, fast = np.repeat(points, len(more_points), axis=0), np.tile(more_points, (len(points), 1))
        points = np.hstack([slow, fast])
        weights = np.outer(weights, more_weights).ravel()
    return points, weights


def quantile_rule(quantile: Callable[[Floats], Floats], level: int) -> Rule:
    """Return F^{-1} of the Gauss-Legendre nodes on (0, 1), (level,), and their weights: for laws with few moments."""
    points, weights = roots_legendre(level)
    return quantile((1 + points) / 2), weights / weights.sum()
