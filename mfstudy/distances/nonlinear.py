"""The nonlinear distance W_{Phi,p}: the price of moving positions depends on the distance itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from mfstudy.checks import check_above
from mfstudy.distances._reference import check_own_cost, power_of
from mfstudy.distances._shear import Shear, sheared
from mfstudy.ensemble import Measure
from mfstudy.transport.bracket import Bracket, UncertifiedError
from mfstudy.transport.sampling import Sampler
from mfstudy.transport.wasserstein import Law

TOP = 1 - 1e-9  # largest s that is tried: Phi(1) = 0 would not tell positions apart
TOLERANCE = 1e-10  # of the root, relative
MARGIN = 1e-6  # by which log s leaves the bracket that monotony gives, so that round-off has no say in signs


@dataclass(frozen=True)
class Nonlinear:
    """W_{Phi,p}^p(mu, rho) = min over couplings of the s with s - Phi(s) E |x - y|^p = E |v - w|^p.

    Iacobelli, ARMA 244 (2022), section 4 (i), with Phi(s) = epsilon^-2 |log s|. Phi decreases for s < 1 only, so this
    is the domain, 0 <= s < 1: the distance exists iff the velocities alone are less than 1 apart, W_p^p < 1. (Remark
    3.8 extends Phi beyond 1/e; the sign of its F is a misprint: F = q - epsilon^-2 Phi(q) r - s. The Q of Theorem 3.1
    has a factor 1/2 that W_Phi has not.)

    A coupling reaches a value <= s iff its cost at price Phi(s) is <= s. So the minimum is the one root of
    s = OT_s, with OT_s = W_{lambda,p}^p at lambda = Phi(s), and s - OT_s increases strictly.

    Parameters
    ----------
    epsilon : float
        Scaled Debye length, > 0; dimensionless.
    """

    scheme: ClassVar[int] = 1

    epsilon: float = field(default=1.0, metadata={"above": 0, "unit": "dimensionless"})

    def __post_init__(self) -> None:
        check_above("epsilon", self.epsilon)

    def measured(self, p: float) -> tuple[str, str]:
        """Return the name of the p-th power in the store, and its formula."""
        return power_of("w_phi", "W_Phi", p)

    def between(
        self,
        measure: Measure,
        reference: ArrayLike | Sampler | Law,
        p: float,
        precision: float | None,
        rng: np.random.Generator,
        cost: str = "euclidean",
    ) -> Bracket:
        """Return W_{Phi,p}^p, bracketed.

        Parameters
        ----------
        measure : Measure
            Points (N, D) = (x, v), D even, positions first; weights; periods of positions.
        reference, p, precision : as in ``mfstudy.wasserstein``
        rng : numpy.random.Generator
            Draws the reference; all prices meet the same draws.
        cost : str
            Left at its default: the distance defines its own.

        Returns
        -------
        Bracket
            ``estimate`` is the root s of s = estimate of OT_s. The ends are those of OT_s at that s: because OT
            decreases in s, W_{Phi,p}^p is between them whenever OT_s is between its own. Arrays: certain, up to
            ``residual``. Sampled reference: as s depends on the draws and W_{Phi,p}^p is not convex in rho, the
            ends are bounds in mean to leading order only; they and the standard error are too wide, by a factor
            of at most 1 + 1/|log s|.

        Raises
        ------
        ValueError
            As in ``mfstudy.wasserstein``; and if D is odd, a velocity is periodic, or a cost is named.
        UncertifiedError
            As in ``mfstudy.wasserstein``; and outside the domain.
        """
        check_own_cost(cost)
        seed = int(rng.integers(2**63))

        @cache
        def at(log_s: float) -> Bracket:
            price = -log_s / self.epsilon**2
            shear = Shear(price ** (1 / p), 0.0, 1.0)
            return sheared(shear, measure, reference, p, precision, np.random.default_rng(seed), "kinetic")

        def excess(log_s: float) -> float:
            return log_s - _log(at(log_s).estimate)

        velocities = at(math.log(TOP)).estimate
        if velocities == 0:
            return at(math.log(TOP))  # equal measures
        if velocities >= TOP:
            raise UncertifiedError(
                f"W_Phi: outside its domain, velocities less than 1 apart; they alone cost {velocities:.3g}"
            )
        # OT decreases in s, hence OT_1 <= root <= OT_s at s = OT_1.
        low = _log(velocities)
        high = min(_log(at(low).estimate) + MARGIN, math.log(TOP))
        low -= MARGIN
        if not excess(low) < 0 < excess(high):
            raise UncertifiedError("W_Phi: on these draws the cost does not decrease in s")
        return _closed(at, float(brentq(excess, low, high, xtol=TOLERANCE)))


def _log(value: float) -> float:
    if not value > 0:
        raise UncertifiedError(f"W_Phi needs positive transport costs, the estimate of one is {value:.3g}")
    return math.log(value)


def _closed(at: Callable[[float], Bracket], log_s: float) -> Bracket:
    """Return the bracket of the root, from that of OT_s at the root."""
    root, bracket = math.exp(log_s), at(log_s)
    return replace(
        bracket,
        estimate=root,
        lower=min(bracket.lower, root),
        upper=max(bracket.upper, root),
        residual=max(bracket.residual, abs(bracket.estimate / root - 1)),
    )
