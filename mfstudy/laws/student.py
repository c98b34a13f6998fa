"""Student's law in every component of position and velocity."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
from scipy.special import betaln, gammaln, logsumexp, stdtrit

from mfstudy.checks import check_above, is_number
from mfstudy.ensemble import Floats, Phase
from mfstudy.laws import InitialLaw
from mfstudy.laws._moments import convolve
from mfstudy.laws._product import Factor, ProductLaw, Rule, bind, product_rule, quantile_rule


@dataclass(frozen=True)
class Student:
    """Independent components scale * T, T of Student's law with nu degrees of freedom: tails like |x|^-nu.

    Moments exist below the order nu, so that the term N^{-(q-p)/q} of Fournier and Guillin (PTRF 162, 2015, Theorem 1)
    decides their bound for nu < 2p, and replicates of W_p^p then have an infinite variance. Local exponents approach
    their limit slowly; `pareto` has a closed form. For particles that do not interact: no box holds those of a law
    without high moments, and systems of interacting particles refuse it.

    Parameters
    ----------
    nu : float
        Degrees of freedom, > 2, the covariance exists and serves the distances in D >= 2, and <= 1000, above which the
        law is normal for all purposes. Dimensionless.
    position_scale, velocity_scale : float
        > 0; left out where there is no such variable. The standard deviation is scale (nu / (nu - 2))^{1/2}.
        Dimensionless.
    """

    scheme: ClassVar[int] = 1

    nu: float = field(metadata={"above": 2.0, "maximum": 1000.0, "unit": "dimensionless"})
    position_scale: float | None = field(default=None, metadata={"above": 0.0, "unit": "dimensionless"})
    velocity_scale: float | None = field(default=None, metadata={"above": 0.0, "unit": "dimensionless"})

    def __post_init__(self) -> None:
        if not (is_number(self.nu) and 2 < self.nu <= 1000):
            raise ValueError(f"nu: {self.nu!r}; allowed: a number > 2 and <= 1000")
        for name in ("position_scale", "velocity_scale"):
            if (scale := getattr(self, name)) is not None:
                check_above(name, scale)

    def on(self, phase: Phase) -> InitialLaw:
        """Return the law on the variables of a system.

        Raises
        ------
        ValueError
            If a key is missing, or belongs to variables that the system lacks.
        """

        def shape(dimension: int) -> _T:
            return _T(dimension, float(self.nu))

        return _Heavy(
            bind("position_scale", self.position_scale, phase.position, shape),
            bind("velocity_scale", self.velocity_scale, phase.velocity, shape),
            float(self.nu),
        )


@dataclass(frozen=True)
class _Heavy(ProductLaw):
    """Components of Student's law; implements `mfstudy.laws.InitialLaw`.

    `nodes` are F^{-1} of Gauss-Legendre rules, since Gauss rules of the law itself need moments of order 2 level - 1:
    exact for odd powers, and with an error like level^{-2 (1 - k/nu)} for x^k, k < nu even.

    Parameters
    ----------
    position, velocity : Factor or None
        With shapes of one nu.
    nu : float
        > 2.
    """

    nu: float

    def moment(self, q: float) -> float:
        """Return M_q = E|z - E z|^q for any real q > 0; inf for q >= nu.

        To a relative error below 1e-11 for q <= 30, and in D = 1 for every q.

        Raises
        ------
        ValueError
            If q is not a finite number > 0.
        OverflowError
            If the moment is above the largest float.
        """
        check_above("q", q)
        if q >= self.nu:
            return math.inf
        factors = [factor for factor in (self.position, self.velocity) if factor is not None]
        scales = [factor.scale for factor in factors for _ in factor.mean]
        size = max(scales)
        one = math.exp(_log_moment(self.nu, q))
        units = one * math.fsum((scale / size) ** q for scale in scales)
        if len(scales) > 1:
            units += _excess([replace(factor, scale=factor.scale / size) for factor in factors], self.nu, q / 2)
        return math.exp(q * math.log(size) + math.log(units))

    def upper_quantile(self, u: Floats) -> Floats:
        """Return F^{-1}(1 - u), in D = 1 only, to full relative accuracy down to u = 1e-300: the law is symmetric.

        Raises
        ------
        ValueError
            If D > 1, or an entry of u is not a probability.
        """
        return -self.quantile(u)

    @property
    def moment_order(self) -> float:
        """Supremum of the orders of finite moments."""
        return self.nu


@dataclass(frozen=True)
class _T:
    """d independent variables of Student's law with nu degrees of freedom."""

    dimension: int
    nu: float
    halfwidth: float = math.inf
    radius: float = math.inf

    @property
    def variance(self) -> float:
        return self.nu / (self.nu - 2)

    def reach(self, tail: float) -> float:
        return -float(_quantile(self.nu, np.array([tail / 2]))[0])

    def draw(self, rng: np.random.Generator, n: int) -> Floats:
        return rng.standard_t(self.nu, (n, self.dimension))

    def rule(self, level: int) -> Rule:
        points, weights = quantile_rule(self.quantile, level)
        return product_rule([(points[:, None], weights)] * self.dimension)

    def quantile(self, u: Floats) -> Floats:
        below = _quantile(self.nu, np.minimum(u, 1 - u))
        return np.where(u < 0.5, below, -below)

    def density(self, x: Floats) -> Floats:
        one = (1 + x**2 / self.nu) ** (-(self.nu + 1) / 2) / math.sqrt(self.nu) * math.exp(-betaln(0.5, self.nu / 2))
        return np.asarray(np.prod(one, axis=1))

    def unfold(self, u: Floats) -> Floats:
        return self.quantile(u)

    def counts(self, order: int, rate: Floats) -> Floats:
        # T^2 is Gamma(1/2) / G, G of the law Gamma(nu/2) with mean 1: given G, the count is negative binomial. Over
        # y = log G the trapezoidal rule is exact to round-off: the integrand is analytic for |Im y| < pi/2.
        half, rate = self.nu / 2, np.maximum(rate, 1e-300)
        h = 0.3 / math.sqrt(half + order / 4 + 1)
        low = min(0.0, math.log(rate.min())) - 45 / (half + 0.5)
        y = np.arange(low, math.log1p(60 / half + math.sqrt(100 / half)), h)
        log_density = half * (y - np.expm1(y))
        kept = log_density > -700
        y, log_density = y[kept], log_density[kept]
        log_weights = log_density - logsumexp(log_density)
        odds = np.log(2 * rate)[:, None] - y
        base, each = log_weights - 0.5 * np.logaddexp(0, odds), np.logaddexp(0, -odds)
        j = np.arange(order + 1)
        log_ways = gammaln(j + 0.5) - gammaln(0.5) - gammaln(j + 1)
        terms = (np.exp(base + ways - count * each) for count, ways in zip(j, log_ways, strict=True))
        one = np.stack([term.sum(axis=1) for term in terms])
        return convolve([one] * self.dimension)


def _quantile(nu: float, u: Floats) -> Floats:
    """Return F^{-1}(u) of Student's law for u <= 1/2.

    2 F(x) = I_z(a, 1/2), a = nu/2, z = nu/(nu + x^2), is z^a (1 + a z / (2 (a + 1)) + O(z^2)) / (a B(a, 1/2)). In the
    far tail `stdtrit` gives infinities and NaN (scipy 1.17: nu = 3, u < 1e-221), and the series all digits.
    """
    a = nu / 2
    leading = (2 * u * a) ** (1 / a) * math.exp(betaln(a, 0.5) / a)
    far = leading < 1e-9
    z = np.where(far, leading * (1 - leading / (2 * (a + 1))), 0.5)
    with np.errstate(divide="ignore"):  # x = -inf at u = 0
        tail = -np.sqrt(nu * (1 / z - 1))
    return np.where(far, tail, stdtrit(nu, np.where(far, 0.5, u)))


def _log_moment(nu: float, q: float) -> float:
    """Return log E|T|^q, q < nu: E|Z|^q E G^{-q/2} with Z normal and nu G of the law chi^2_nu, independent."""
    ratio = gammaln((q + 1) / 2) - gammaln(0.5) + gammaln((nu - q) / 2) - gammaln(nu / 2)
    return float(0.5 * q * math.log(nu) + ratio)


def _excess(factors: list[Factor], nu: float, s: float) -> float:
    """Return E (sum_i y_i^2)^s - sum_i E |y_i|^{2s} over the D >= 2 components, the largest scale being 1.

    The formula of `_moments.log_power_mean` for both at once. One large component alone makes the tail, in both the
    same: what is left of the integrand falls like lambda^{nu/2 + 1 - s} towards 0, however close s is to nu/2.
    """
    m = 2 * math.ceil(s) + 1
    h = 0.3 / math.sqrt(m - s)
    dimension, least = sum(len(factor.mean) for factor in factors), min(factor.scale for factor in factors)
    first = math.log((m - s) / (2 * s + 1) / dimension) - 1 - 45 / (min(m, nu / 2 + 1) - s)
    last = math.log(m + dimension) + 1 + 45 / (s + 0.5) - 2 * math.log(least)
    x = np.arange(first, last, h)
    with np.errstate(under="ignore", divide="ignore"):  # the integrand vanishes at both ends, and for s = 1
        ones = [_T(1, nu).counts(m, np.exp(x) * factor.scale**2) for factor in factors]
        copies = [len(factor.mean) for factor in factors]
        joint = convolve(list(itertools.chain(*([one] * n for one, n in zip(ones, copies, strict=True)))))
        alone = np.sum([n * one[m] for one, n in zip(ones, copies, strict=True)], axis=0)
        integral, sign = logsumexp(-s * x, b=h * (joint[m] - alone), return_sign=True)
    return float(sign * math.exp(gammaln(m + 1) - gammaln(m - s) + integral))
