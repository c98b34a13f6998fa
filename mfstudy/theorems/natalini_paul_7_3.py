"""How much the flow of N particles stretches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from mfstudy.theorems import Claim, Premise, Setting
from mfstudy.theorems._natalini_paul import PAPER, flow_exponent, flow_exponent_as_printed
from mfstudy.theorems._premises import lipschitz


@dataclass(frozen=True)
class NataliniPaul73:
    """|dz_i(t)/dz_j(0)| <= exp((Lip gamma + Lip grad chi t) t) as printed; false for free transport.

    R. Natalini and T. Paul, "The mean-field limit for hybrid models of collective motions with chemotaxis", Theorem
    7.3. In free transport |dx_i/dv_i| = t > 1 = exp(0). Corrected, a bound on the sum over i, is
    `mfstudy.theorems._natalini_paul.flow_exponent`. Constants are those of each replicate's own support.
    """

    scheme: ClassVar[int] = 1

    def claims(self, setting: Setting) -> tuple[Claim, ...]:
        """Return both editions."""
        if setting.constants is None:
            return ()
        theorem, constants, t = f"{PAPER}, Theorem 7.3", setting.constants, setting.horizon
        printed = Claim(
            theorem=theorem,
            edition="as printed",
            says="max_i |dz_i(t)/dz_1(0)| <= exp((Lip gamma + Lip grad chi t) t)",
            subjects=setting.met("flow_lipschitz", "derivative", "printed", "printed_excess", "decades"),
            premises=(*lipschitz(setting), _decades(flow_exponent_as_printed(constants, t), t)),
            wrong="dx_i = v_i is forgotten, and one argument of gamma; free transport has |dx_i/dv_i| = t > 1 = exp(0)",
        )
        corrected = Claim(
            theorem=theorem,
            edition="corrected",
            says="sum_i |dz_i(t)/dz_1(0)| <= exp((1 + 2 Lip gamma + Lip F_ext + eta (Lip grad phi_in"
            " + 2 t Lip grad chi)) t)",
            subjects=setting.met("flow_lipschitz", "derivative_sum", "corrected", "corrected_excess", "decades"),
            premises=(*lipschitz(setting), _decades(flow_exponent(constants, t), t)),
        )
        return printed, corrected


def _decades(exponent: float, t: float) -> Premise:
    """Return the bound over the support of the law, which is not less than that of a replicate."""
    decades = exponent / math.log(10)
    return Premise("log10 of the bound", decades, "1", True, f"the bound is 10^{decades:.3g} at t = {t:g}")
