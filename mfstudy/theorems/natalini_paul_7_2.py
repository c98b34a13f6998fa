"""How far particles and their speeds go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mfstudy.theorems import Claim, Premise, Setting
from mfstudy.theorems._natalini_paul import PAPER, growth_as_printed
from mfstudy.theorems._premises import lipschitz


@dataclass(frozen=True)
class NataliniPaul72:
    """max |v_i(t)| <= max |v_j(0)| exp(2 gamma_0 t) as printed; plus the integral of the largest force as corrected.

    R. Natalini and T. Paul, "The mean-field limit for hybrid models of collective motions with chemotaxis", Proposition
    7.2, gamma_0 = Lip gamma + Lip grad chi; and the same for positions. From rest the printed bound is 0, and a signal
    moves particles. Corrected, for forces of alignment with psi >= 0, is `mfstudy.systems.Dynamics.bounds`; forces of
    position are bounded by their growth there. Constants are those of each replicate's own support.
    """

    scheme: ClassVar[int] = 1

    def claims(self, setting: Setting) -> tuple[Claim, ...]:
        """Return both editions."""
        if setting.constants is None:
            return ()
        theorem = f"{PAPER}, Proposition 7.2"
        exponent = growth_as_printed(setting.constants, setting.horizon)
        grows = Premise("2 gamma_0 t", exponent, "1", True, f"2 gamma_0 t = {exponent:.3g} at t = {setting.horizon:g}")
        printed = Claim(
            theorem=theorem,
            edition="as printed",
            says="max |v_i(t)| <= max |v_j(0)| exp(2 gamma_0 t), and its integral for ||x_i(t)| - |x_i(0)||",
            subjects=(
                *setting.met("support_growth", "speed", excess="speed_printed_excess"),
                *setting.met("support_growth", "displacement", excess="displacement_printed_excess"),
            ),
            premises=(*lipschitz(setting), grows),
            wrong="from rest the bound is 0, and forces that do not vanish with v move particles",
        )
        corrected = Claim(
            theorem=theorem,
            edition="corrected",
            says="max |v_i(t)| <= max |v_j(0)| + int_0^t (largest force) ds, and its integral for positions",
            subjects=(
                *setting.met("support_growth", "speed", "speed_corrected", "speed_corrected_excess"),
                *setting.met(
                    "support_growth", "displacement", "displacement_corrected", "displacement_corrected_excess"
                ),
                *setting.met("invariants", "velocity_radius", "velocity_bound"),
                *setting.met("invariants", "position_radius", "position_bound"),
            ),
            premises=(),
        )
        return printed, corrected
