"""The mean-field limit of hybrid models: laws of particles, and signals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mfstudy.theorems import Claim, Premise, Setting
from mfstudy.theorems._natalini_paul import BELOW, PAPER, in_words, sampling_rate
from mfstudy.theorems._premises import compact_support, dimension, lipschitz


@dataclass(frozen=True)
class NataliniPaul21:
    """W_2^2(law of one particle, rho^t) <= tau(t) C_d(N), and E sup |grad phi - grad psi|^2 <= tau_c(t) C_d(N).

    R. Natalini and T. Paul, "The mean-field limit for hybrid models of collective motions with chemotaxis", Theorem
    2.1; C_d(N) = N^-1/2 (d = 1), N^-1/2 log N (d = 2), N^-1/d (d > 2). rho_in is compactly supported (on R^{2d};
    printed R^{2dN}), gamma and grad chi are Lipschitz on what the support reaches up to t. tau(t) <= exp(exp(C t)) is
    not explicit, nor is tau_c.

    The second part as printed rests on Corollary 3.6, which bounds grad Psi - grad psi by the distance of the laws of
    one particle; for the signal phi of the particles it is sup |grad phi - grad psi| <= t Lip(grad chi) sup_s
    W_1(mu_N^s, rho^s) of each run, so that the right-hand side is an expectation over the empirical measure: the same
    rate by Theorem 8.1 and Fournier and Guillin, with another constant.
    """

    scheme: ClassVar[int] = 1

    def claims(self, setting: Setting) -> tuple[Claim, ...]:
        """Return both parts."""
        if setting.constants is None:
            return ()
        d = setting.phase.position
        rate = sampling_rate(d)
        words = in_words(rate)
        premises: tuple[Premise, ...] = (compact_support(setting), dimension(d, "d", ""), *lipschitz(setting))
        laws = Claim(
            theorem=f"{PAPER}, Theorem 2.1, first part",
            edition="as stated",
            says=f"W_2^2(law of one particle, rho^t) <= tau(t) {words}",
            subjects=(
                *setting.subjects("marginal", "w2_sq"),
                *setting.subjects("coupling", "distance_sq", "distance_sq_max", about=BELOW),
            ),
            premises=premises,
            rate=rate,
            unknown="tau(t)",
        )
        signals = Claim(
            theorem=f"{PAPER}, Theorem 2.1, second part",
            edition="corrected",
            says=f"E sup_x |grad phi - grad psi|^2 <= tau_c(t) {words}",
            subjects=(
                *setting.subjects("chemical", "gradient_sq"),
                *setting.subjects("chemical", "gradient_sq_max", about="at each time; the largest so far is not less"),
            ),
            premises=premises,
            rate=rate,
            unknown="tau_c(t)",
            wrong="tau_c rests on Corollary 3.6, which is about laws; of random phi it needs the empirical W_1",
        )
        return laws, signals
