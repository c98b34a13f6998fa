"""Stability of the mean field in its initial law."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from mfstudy.theorems import Claim, Premise, Setting
from mfstudy.theorems._natalini_paul import PAPER, stability_exponent, stability_exponent_as_printed
from mfstudy.theorems._premises import compact_support, lipschitz


@dataclass(frozen=True)
class NataliniPaul81:
    """W_2^2(rho_1^t, rho_2^t) <= 2 exp(Gamma(t)) W_2^2(rho_1^0, rho_2^0) for compactly supported data.

    R. Natalini and T. Paul, "The mean-field limit for hybrid models of collective motions with chemotaxis", Theorem
    8.1, Gamma of (40): its proof has no factor 2, and its K' has eta Lip chi for t eta Lip grad chi. Corrected is
    `mfstudy.theorems._natalini_paul.stability_exponent`. It speaks of each replicate, with rho_1 the empirical measure
    and rho_2 the mean field.
    """

    scheme: ClassVar[int] = 1

    def claims(self, setting: Setting) -> tuple[Claim, ...]:
        """Return both editions."""
        if setting.constants is None:
            return ()
        theorem, constants, t = f"{PAPER}, Theorem 8.1", setting.constants, setting.horizon
        left = "W_2^2(mu_N^t, rho^t) / W_2^2(mu_N^0, rho_in)"
        premises = (compact_support(setting), *lipschitz(setting))
        gamma, decades = stability_exponent_as_printed(constants, t), stability_exponent(constants, t) / math.log(10)
        printed = Claim(
            theorem=theorem,
            edition="as printed",
            says=f"{left} <= 2 exp(Gamma(t))",
            subjects=setting.met("stability", "ratio_lower", excess="printed_excess", unit="decades"),
            premises=(*premises, _number("log10(1 + Gamma)", gamma, f"1 + Gamma = 10^{gamma:.3g} at t = {t:g}")),
            wrong="the proof has no factor 2; K' has eta Lip chi for t eta Lip grad chi, (40) lacks a 2, L' phi_in",
        )
        corrected = Claim(
            theorem=theorem,
            edition="corrected",
            says=f"{left} <= exp(2 (1 + L'^2 + K'^2) t)",
            subjects=setting.met("stability", "ratio_lower", "corrected", "corrected_excess", "decades"),
            premises=(*premises, _number("log10 of the bound", decades, f"the bound is 10^{decades:.3g} at t = {t:g}")),
        )
        return printed, corrected


def _number(name: str, value: float, text: str) -> Premise:
    return Premise(name, value, "1", True, text)
