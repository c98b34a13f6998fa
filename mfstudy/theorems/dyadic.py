"""An explicit bound of i.i.d. points in a cube against their law."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mfstudy.ensemble import Floats
from mfstudy.theorems import Claim, Explicit, Setting
from mfstudy.theorems._premises import compact_support, dimension
from mfstudy.theorems._sampling import kinetic_factor, sampled

#: Up to this size the levels of cubes are all there, beyond it the bound stays one, and stops falling.
LARGEST = 10**9
#: Levels end where 2^{-pl} is 2^-990: smaller numbers are none.
SMALLEST = 990.0


@dataclass(frozen=True)
class Dyadic:
    """E W_p^p(mu_N, rho) <= (S sqrt D)^p (2^p - 1) sum_{l >= 1} 2^{-pl} min(1, 2^{Dl/2 - 1} N^{-1/2}), all explicit.

    The support of rho lies in a cube of side S. Mass is matched in a tree of cubes, of side S 2^{-l} at level l, from
    the smallest up: what is left over at level l has the mass delta_l = (1/2) sum_Q |mu_N(Q) - rho(Q)|, of expectation
    at most (1/2) (2^{Dl}/N)^{1/2} by Cauchy-Schwarz, and at most 1, and it moves by at most S sqrt(D) 2^{1-l}.
    Summation by parts over L levels gives

        E W_p^p <= (S sqrt D)^p (2^{-pL} + (2^p - 1) sum_{l=1}^L 2^{-pl} min(1, 2^{Dl/2 - 1} N^{-1/2})),

    which falls with L, one level more subtracts (2^p - 1) 2^{-p(L+1)} (1 - min(1, ...)): the best L is infinite. The
    argument of N. Fournier and A. Guillin, PTRF 162 (2015), for one shell. Any p > 0; D and S are those of the space.
    """

    scheme: ClassVar[int] = 1

    def claims(self, setting: Setting) -> tuple[Claim, ...]:
        """Return a claim for each order p that is measured of i.i.d. points of bounded support."""
        if not setting.bounded:
            return ()
        ends = setting.law.support
        side, dim = float((ends[:, 1] - ends[:, 0]).max()), len(ends)
        return tuple(
            Claim(
                theorem="Dyadic partition",
                edition="as stated",
                says=f"E W_{p:g}^{p:g}(mu_N, rho) <= (S sqrt D)^p (2^p - 1) sum_l 2^(-pl) min(1, 2^(Dl/2 - 1) N^-0.5)",
                subjects=(subject,),
                premises=(
                    compact_support(setting),
                    dimension(dim, "D", f", the support lies in a cube of side S = {side:.4g}"),
                ),
                bound=partition(side, dim, p, kinetic_factor(observable)),
            )
            for observable, subject in sampled(setting)
            for p in [observable.p]
        )


def dyadic(sizes: Floats, side: float, dim: int, p: float) -> Floats:
    """Return the bound of E W_p^p at sizes N.

    Parameters
    ----------
    sizes : (n,) array
        N >= 1.
    side : float
        S, of a cube that holds the support; length, > 0.
    dim : int
        D.
    p : float
        > 0.

    Returns
    -------
    (n,) array
        length^p.
    """
    return np.asarray(10 ** partition(side, dim, p).at(sizes))


def partition(side: float, dim: int, p: float, factor: float = 1.0) -> Explicit:
    """Return the bound as plain numbers; arguments as in `dyadic`, a factor by which costs are multiplied."""
    levels = range(1, 1 + min(math.ceil(math.log2(4 * LARGEST) / dim), int(SMALLEST / p)))
    fall = [(1 - 2**-p) * 2 ** (-p * (level - 1)) for level in levels]
    terms = [(a, a * 2 ** (dim * level / 2 - 1), -0.5) for level, a in zip(levels, fall, strict=True)]
    left = 2 ** (-p * len(levels))
    common = math.log10(factor) + p * math.log10(side * math.sqrt(dim))
    return Explicit(common, (*terms, (left, left, 0.0)))
