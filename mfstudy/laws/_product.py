"""Position and velocity independent, each a scaled and shifted standard shape: what product laws share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Protocol, TypeGuard

import numpy as np
from scipy.special import gammainc, gammaln, logsumexp

from mfstudy.ensemble import Ensemble, Floats

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

    def draw(self, rng: np.random.Generator, n: int) -> Floats:
        """Return n i.i.d. copies of X, an (n, d) array."""
        ...

    def rule(self, level: int) -> Rule:
        """Return a Gauss rule for X, exact for total degree <= 2 level - 1."""
        ...

    def quantile(self, u: Floats) -> Floats:
        """Return F^{-1}(u), in d = 1."""
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
        _check_count("n", n)
        return self._ensemble([factor.shape.draw(rng, n) for factor in self._factors], None)

    def nodes(self, level: int) -> Ensemble:
        """Return the tensor product of the factors' Gauss rules, `level` nodes per axis, level^D in all."""
        _check_count("level", level)
        rules = [factor.shape.rule(level) for factor in self._factors]
        points, weights = product_rule(rules)
        split = np.cumsum([factor.shape.dimension for factor in self._factors])[:-1]
        return self._ensemble(np.split(points, split, axis=1), weights)

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
            log_power_mean = _log_power_mean(0.5 * q, len(self.mean), counts)
        return math.exp(q * math.log(size) + log_power_mean)

    def quantile(self, u: Floats) -> Floats:
        """Return F^{-1}(u), in D = 1 only, of the shape of u, to full relative accuracy down to u = 1e-300.

        Raises
        ------
        ValueError
            If D > 1, or an entry of u is not a probability.
        """
        if len(self.mean) != 1:
            raise ValueError(f"quantile: D = {len(self.mean)}; allowed: D = 1")
        u = np.asarray(u, dtype=np.float64)
        if not np.all((u >= 0) & (u <= 1)):
            raise ValueError("u: not all in [0, 1]; allowed: probabilities")
        (factor,) = self._factors
        return factor.place(factor.shape.quantile(u)[..., None])[..., 0]

    @property
    def moment_order(self) -> float:
        """Supremum of the orders of finite moments: every shape here has them all."""
        return math.inf

    @property
    def support(self) -> Floats:
        """Bounding box of the support, (D, 2)."""
        reach = [factor.scale * factor.shape.halfwidth for factor in self._factors for _ in factor.mean]
        return self.mean[:, None] + np.outer(reach, [-1.0, 1.0])

    @property
    def support_radius(self) -> float:
        """Supremum of |z - E z| over the support."""
        return math.hypot(*(factor.scale * factor.shape.radius for factor in self._factors))

    @property
    def support_dimension(self) -> int:
        """Dimension of the support: D, every shape has a density."""
        return len(self.mean)


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


def is_number(value: object) -> TypeGuard[float]:
    """Say whether a value is a finite real number (a bool is not a number)."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def check_above(name: str, value: object) -> None:
    """Raise a one-line ValueError unless a value is a finite number > 0."""
    if not (is_number(value) and value > 0):
        raise ValueError(f"{name}: {value!r}; allowed: a finite number > 0")


def _check_count(name: str, value: object) -> None:
    if not (isinstance(value, Integral) and is_number(value) and value >= 1):
        raise ValueError(f"{name}: {value!r}; allowed: an integer >= 1")


def product_rule(rules: Sequence[Rule]) -> Rule:
    """Return the rule of independent variables; the first varies slowest."""
    points, weights = rules[0]
    for more_points, more_weights in rules[1:]:
        slow, fast = np.repeat(points, len(more_points), axis=0), np.tile(more_points, (len(points), 1))
        points = np.hstack([slow, fast])
        weights = np.outer(weights, more_weights).ravel()
    return points, weights


def ball_counts(dimension: int, order: int, rate: Floats) -> Floats:
    """Return `Shape.counts` of the uniform law on the unit ball of R^d.

    |X|^2 = R has density (d/2) r^{d/2 - 1} on [0, 1]; integrate (rate r)^j exp(-rate r) / j! against it.
    """
    j, half = np.arange(order + 1)[:, None], dimension / 2
    factor = half * np.exp(gammaln(j + half) - gammaln(j + 1))
    counts: Floats = factor * rate**-half * gammainc(j + half, rate)
    return counts


def convolve(counts: Sequence[Floats]) -> Floats:
    """Return the distribution of a sum of independent counts, each an (order + 1, K) array."""
    total = counts[0]
    for more in counts[1:]:
        total = np.stack([np.sum(total[: j + 1] * more[j::-1], axis=0) for j in range(len(total))])
    return total


def _log_power_mean(s: float, dimension: int, counts: Callable[[int, Floats], Floats]) -> float:
    """Return log E S^s, S = |z - E z|^2 in units of its mean, for real s > 0.

    From Gamma(m - s) = int_0^inf (lambda S)^{m-s} exp(-lambda S) dlambda / lambda, for any m > s,

        E S^s = m! / Gamma(m - s) int_0^inf lambda^{-s} P(K = m) dlambda / lambda,   K ~ Poisson(lambda S),

    by the trapezoidal rule in x = log lambda. Only positive terms, and counts of independent factors convolve.
    On |Im x| <= theta < pi/2 the absolute integral is at most cos(theta)^{s-m} times it, so that the error
    relative to it is about 2 cos(theta)^{s-m} exp(-2 pi theta / h), below 1e-16 for every m at the best theta
    (Trefethen and Weideman, SIAM Review 56, 2014, Theorem 5.1).
    """
    m = 2 * math.ceil(s) + 1  # about 2s: neither end of the integrand then runs out of floating-point range
    h = 0.3 / math.sqrt(m - s)
    # The integrand peaks between (m - s) / (2s + 1) and m. Left out at both ends is e^-45 of it; it goes
    # as exp((m - s) x), and as exp(-(s + 1/2) x) or faster, because a factor in R^d has a bounded density.
    first = math.log((m - s) / (2 * s + 1)) - 1 - 45 / (m - s)
    last = math.log(m + dimension) + 1 + 45 / (s + 0.5)
    x = np.arange(first, last, h)
    integral = logsumexp(-s * x, b=h * counts(m, np.exp(x))[m])
    return float(gammaln(m + 1) - gammaln(m - s) + integral)
