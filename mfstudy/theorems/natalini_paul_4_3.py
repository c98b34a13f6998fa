"""From particles to the Liouville-Vlasov equation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mfstudy.theorems import ZERO, Claim, Setting
from mfstudy.theorems._natalini_paul import BELOW, PAPER, in_words, sampling_rate
from mfstudy.theorems._premises import compact_support, dimension, lipschitz


@dataclass(frozen=True)
class NataliniPaul43:
    """W_2^2(law of one particle of (P), law of one particle of (LV)) <= beta(t)^2 C_d(N).

    R. Natalini and T. Paul, "The mean-field limit for hybrid models of collective motions with chemotaxis", Proposition
    4.3; C_d(N) as in Theorem 4.2. As printed the second law is rho^t. By (27) beta(t)^2 is proportional to eta: for
    eta = 0 both sides are 0, because (P) and (LV) are one system, whereas the printed statement then says that the law
    of a particle is rho^t at every N, which is false. Otherwise beta is not explicit.
    """

    scheme: ClassVar[int] = 1

    def claims(self, setting: Setting) -> tuple[Claim, ...]:
        """Return both editions."""
        if setting.constants is None:
            return ()
        d, deaf = setting.phase.position, not setting.constants.eta
        rate = sampling_rate(d, "Proposition 4.3")
        theorem = f"{PAPER}, Proposition 4.3"
        right = "0, because eta = 0" if deaf else f"beta(t)^2 C {in_words(rate)}"
        premises = (compact_support(setting), dimension(d, "d", ""), *lipschitz(setting))
        unknown = "" if deaf else "beta(t)^2 C"
        printed = Claim(
            theorem=theorem,
            edition="as printed",
            says=f"W_2^2(law of one particle of (P), rho^t) <= {right}",
            subjects=setting.subjects("marginal", "w2_sq"),
            premises=premises,
            rate=None if deaf else rate,
            unknown=unknown,
            bound=ZERO if deaf else None,
            wrong="rho^t is printed for the law of one particle of (LV)",
        )
        corrected = Claim(
            theorem=theorem,
            edition="corrected",
            says=f"W_2^2(laws of one particle of (P) and of (LV)) <= {right}",
            subjects=(
                *setting.subjects("stage", "particles_liouville_w2_sq"),
                *setting.subjects("stage", "particles_liouville_sq", about=BELOW),
            ),
            premises=premises,
            rate=None if deaf else rate,
            unknown=unknown,
            bound=ZERO if deaf else None,
        )
        return printed, corrected
