"""From the Liouville-Vlasov equation to the Vlasov equation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mfstudy.rates import RateLaw
from mfstudy.theorems import Claim, Setting, Subject
from mfstudy.theorems._natalini_paul import BELOW, PAPER
from mfstudy.theorems._premises import compact_support, lipschitz

#: Where the proposition is about particles.
_SAME = "for eta = 0, where (P) and (LV) are one system"


@dataclass(frozen=True)
class NataliniPaul51:
    """W_2^2(law of one particle of (LV), rho^t) <= alpha(t)^2 / N, in every dimension.

    R. Natalini and T. Paul, "The mean-field limit for hybrid models of collective motions with chemotaxis", Proposition
    5.1. For eta = 0 (P) and (LV) are one system, and this is then a better bound of what Theorem 2.1 is about. The
    factor 4/N before (29) meets another 4 on its way to (30); alpha is taken as not explicit.
    """

    scheme: ClassVar[int] = 1

    def claims(self, setting: Setting) -> tuple[Claim, ...]:
        """Return the statement."""
        if setting.constants is None:
            return ()
        theorem = f"{PAPER}, Proposition 5.1"
        stages = (
            *setting.subjects("stage", "liouville_vlasov_w2_sq"),
            *setting.subjects("stage", "liouville_vlasov_sq", about=BELOW),
        )
        return (
            Claim(
                theorem=theorem,
                edition="as stated",
                says="W_2^2(law of one particle of (LV), rho^t) <= alpha(t)^2 N^-1",
                subjects=stages if setting.constants.eta else (*stages, *_particles(setting)),
                premises=(compact_support(setting), *lipschitz(setting)),
                rate=RateLaw("natalini-paul-5.1", 0.0, -1.0, theorem),
                unknown="alpha(t)^2",
            ),
        )


def _particles(setting: Setting) -> tuple[Subject, ...]:
    return (
        *setting.subjects("marginal", "w2_sq", about=_SAME),
        *setting.subjects("coupling", "distance_sq", "distance_sq_max", about=f"{_SAME}, and {BELOW}"),
    )
