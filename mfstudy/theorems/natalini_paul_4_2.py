"""The rate of i.i.d. points of phase space, as it is quoted for the mean-field limit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mfstudy.laws import InitialLaw
from mfstudy.rates import law_by_name
from mfstudy.theorems import Claim, Premise, Setting
from mfstudy.theorems._natalini_paul import PAPER, in_words, sampling_rate
from mfstudy.theorems._premises import dimension
from mfstudy.theorems._sampling import sampled
from mfstudy.theorems.fournier_guillin import moments, order


@dataclass(frozen=True)
class NataliniPaul42:
    """E W_2^2(mu_N, rho) <= C_d(N) M_2(rho) for i.i.d. points of R^{2d}, as printed for every rho with M_2 < inf.

    R. Natalini and T. Paul, "The mean-field limit for hybrid models of collective motions with chemotaxis", Theorem
    4.2, quoting Theorem 1 of Fournier and Guillin for p = 2, D = 2d; C_d(N) = C N^-1/2 (d = 1), C N^-1/2 log N
    (d = 2), C N^-1/d (d > 2). Second moments alone give no rate: for a tail index nu, 2 < nu < 4, the largest of N
    points costs N^{-(nu-2)/nu}, which is slower than N^-1/2. Corrected, a moment of an order q > 2 is finite, the
    factor is M_q^{2/q}, and the term N^{-(q-2)/q} is added.
    """

    scheme: ClassVar[int] = 1

    def claims(self, setting: Setting) -> tuple[Claim, ...]:
        """Return both editions, for p = 2 in the phase space of positions and velocities."""
        d, law = setting.phase.position, setting.law
        subjects = tuple(subject for observable, subject in sampled(setting) if observable.p == 2)
        q = order(2, law.support_dimension, law.moment_order)
        if setting.phase.velocity != d:
            return ()
        printed = sampling_rate(d, "Theorem 4.2")
        about = f"E W_2^2(mu_N, rho) <= C {in_words(printed)}"
        theorem = f"{PAPER}, Theorem 4.2"
        return (
            Claim(
                theorem=theorem,
                edition="as printed",
                says=f"{about} M_2",
                subjects=subjects,
                premises=(_second_moment(law), dimension(d, "d", "")),
                rate=printed,
                unknown="C M_2",
                wrong="M_2 < inf alone gives no rate, a moment of an order q > 2 is needed",
            ),
            Claim(
                theorem=theorem,
                edition="corrected",
                says="E W_2^2(mu_N, rho) <= C(q,d) M_q^(2/q) (rate + N^(-(q-2)/q))",
                subjects=subjects,
                premises=(dimension(d, "d", ""), *moments(law, 2, law.support_dimension)),
                rate=None if q is None else law_by_name("fournier-guillin", law.support_dimension, q, 2),
                unknown="C(q,d) M_q^(2/q)",
            ),
        )


def _second_moment(law: InitialLaw) -> Premise:
    value = float(np.trace(law.covariance)) if law.moment_order > 2 else math.inf
    finite = math.isfinite(value)
    text = f"M_2 = {value:.3g} about the mean" if finite else "M_2 is infinite"
    return Premise("M_2 < inf", value if finite else None, "length^2", finite, text)
