"""A power tail on the line."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from scipy.special import betaln, hyp2f1

from mfstudy.checks import as_probabilities, check_above, check_count, check_probability, is_number
from mfstudy.ensemble import Ensemble, Floats, Phase
from mfstudy.laws import InitialLaw
from mfstudy.laws._product import quantile_rule
from mfstudy.laws._sobol import sobol


@dataclass(frozen=True)
class Pareto:
    """F(x) = 1 - x^-nu, x >= 1: moments of all orders below nu, and a distance to N points that is known exactly.

    With the order statistics X_(1) <= ... <= X_(N) and the means m_i = int_{(i-1)/N}^{i/N} F^{-1} over their cells

        E W_2^2 = 2 (nu/(nu-2) - sum_i E X_(i) m_i) ~ C N^{-(nu-2)/nu},   nu > 2,
        E X_(i) = Gamma(N+1) Gamma(N-i+1-1/nu) / (Gamma(N-i+1) Gamma(N+1-1/nu)),

    C = 1.815 for nu = 3 and 0.351 for nu = 5. W_2^2 >= c max |X_i|^2 / N has the tail index nu/2, so that replicates
    have a finite variance for nu > 4 only. The power is the one of the moment term of Fournier and Guillin (PTRF 162,
    2015, Theorem 1), which decides their bound for nu < 4.

    Parameters
    ----------
    nu : float
        Tail index, > 1, without a mean there is no W_1, and <= 1000. Dimensionless.
    """

    scheme: ClassVar[int] = 1

    nu: float = field(metadata={"above": 1.0, "maximum": 1000.0, "unit": "dimensionless"})

    def __post_init__(self) -> None:
        if not (is_number(self.nu) and 1 < self.nu <= 1000):
            raise ValueError(f"nu: {self.nu!r}; allowed: a number > 1 and <= 1000")

    def on(self, phase: Phase) -> InitialLaw:
        """Return the law on the variables of a system.

        Raises
        ------
        ValueError
            Unless the system has one position component and no velocity.
        """
        if (phase.position, phase.velocity) != (1, 0):
            raise ValueError(
                f"kind: a law on the line, and the system has {phase.position} position and {phase.velocity} velocity"
                " components; allowed: 1 and 0"
            )
        return _Tail(float(self.nu))


@dataclass(frozen=True)
class _Tail:
    """The Pareto law; implements `mfstudy.laws.InitialLaw`.

    Parameters
    ----------
    nu : float
        > 1.
    """

    nu: float

    def sample(self, rng: np.random.Generator, n: int) -> Ensemble:
        """Return n i.i.d. particles, F^{-1} of uniform numbers."""
        check_count("n", n)
        return Ensemble(self.quantile(rng.random(n))[:, None], None)

    def nodes(self, level: int, velocity_level: int | None = None) -> Ensemble:
        """Return F^{-1} of the Gauss-Legendre rule, with its weights; there is no velocity, and `velocity_level` none.

        A Gauss rule of the law itself needs moments of order 2 level - 1. This one is exact for the mass alone;
        for x^k, k < nu, its error falls algebraically, like level^{-2 (1 - k/nu)}.
        """
        check_count("level", level)
        check_count("velocity_level", level if velocity_level is None else velocity_level)
        points, weights = quantile_rule(self.quantile, level)
        return Ensemble(points[:, None], None, weights)

    def quasi(self, rng: np.random.Generator, level: int) -> Ensemble:
        """Return F^{-1} of 2^level Sobol points on (0, 1), with equal weights."""
        points = self.quantile(sobol(rng, 1, level))
        return Ensemble(points, None, np.full(2**level, 0.5**level))

    @property
    def mean(self) -> Floats:
        """E z, a (1,) array."""
        return np.array([self.nu / (self.nu - 1)])

    @property
    def covariance(self) -> Floats:
        """Variance, (1, 1); inf for nu <= 2, and nobody asks for it in D = 1, where the distance is exact."""
        nu = self.nu
        return np.array([[nu / ((nu - 1) ** 2 * (nu - 2)) if nu > 2 else math.inf]])

    def moment(self, q: float) -> float:
        """Return M_q = E|x - E x|^q for any real q > 0, to a relative error below 1e-12; inf for q >= nu.

        With m = E x, and s = m/x beyond the mean, t = 1 - x/m before it,

            M_q = nu m^{q-nu} (int_0^1 (1-s)^q s^{nu-q-1} ds + int_0^{1/nu} t^q (1-t)^{-nu-1} dt),

        the first is B(q+1, nu-q), the second nu^{-q-1} / (q+1) (1-1/nu)^{-nu} 2F1(1, q+1-nu; q+2; 1/nu).

        Raises
        ------
        ValueError
            If q is not a finite number > 0.
        OverflowError
            If the moment is above the largest float.
        """
        check_above("q", q)
        nu = self.nu
        if q >= nu:
            return math.inf
        log_mean = -math.log1p(-1 / nu)
        beyond = float(betaln(q + 1, nu - q))
        series = float(hyp2f1(1, q + 1 - nu, q + 2, 1 / nu)) / (q + 1)
        before = nu * log_mean - (q + 1) * math.log(nu) + math.log(series)
        return math.exp(math.log(nu) + (q - nu) * log_mean + float(np.logaddexp(beyond, before)))

    def quantile(self, u: Floats) -> Floats:
        """Return F^{-1}(u) = (1 - u)^{-1/nu}, of the shape of u.

        Raises
        ------
        ValueError
            If an entry of u is not a probability.
        """
        return self.upper_quantile(1 - as_probabilities(u, 1))

    def upper_quantile(self, u: Floats) -> Floats:
        """Return F^{-1}(1 - u) = u^{-1/nu}, of the shape of u, to full relative accuracy down to u = 1e-300.

        Raises
        ------
        ValueError
            If an entry of u is not a probability.
        """
        with np.errstate(divide="ignore"):  # the end of the support is infinite
            return np.asarray(as_probabilities(u, 1) ** (-1 / self.nu))

    @property
    def moment_order(self) -> float:
        """Supremum of the orders of finite moments."""
        return self.nu

    @property
    def support(self) -> Floats:
        """Bounding box of the support, (1, 2)."""
        return np.array([[1.0, math.inf]])

    def box(self, probability: float) -> Floats:
        """Return the interval from 1 that a particle leaves with this probability, (1, 2).

        Raises
        ------
        ValueError
            Unless 0 < probability < 1.
        OverflowError
            If its end is above the largest float.
        """
        check_probability(probability)
        return np.array([[1.0, math.exp(-math.log(probability) / self.nu)]])

    @property
    def support_radius(self) -> float:
        """Supremum of |z - E z| over the support."""
        return math.inf

    @property
    def support_dimension(self) -> int:
        """Dimension of the support."""
        return 1

    @property
    def regular(self) -> bool:
        """Never: the support is not bounded."""
        return False
