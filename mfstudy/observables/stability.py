"""Stability of the mean field in its initial law: Theorem 8.1 of Natalini and Paul, a Dobrushin estimate."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from mfstudy.distances.wasserstein import Wasserstein
from mfstudy.ensemble import Measure, Phase
from mfstudy.laws import InitialLaw
from mfstudy.meanfield import Snapshot, pushed
from mfstudy.observables import Field, View
from mfstudy.observables._named import Named
from mfstudy.observables._support import constants, excess, require_velocities
from mfstudy.observables.empirical import Empirical
from mfstudy.streams import Purpose
from mfstudy.systems import Budget
from mfstudy.theorems import corner
from mfstudy.theorems._natalini_paul import stability_exponent, stability_exponent_as_printed
from mfstudy.transport.bracket import UncertifiedError

#: Standard errors by which an end of a bracket is moved out before it decides.
SURE = 4.5
#: Largest decimal logarithm of Gamma of which 10^x is a number.
LARGEST = 300.0


@dataclass(frozen=True)
class Stability(Named):
    """W_2^2(mu_N^t, rho^t) / W_2^2(mu_N^0, rho_in) of one replicate, against Theorem 8.1 of Natalini and Paul.

    The empirical measure of N particles solves the Vlasov equation from mu_N^0, with the signal that it emits, so that
    the theorem bounds the ratio of each replicate. Both distances are brackets over the same draws of rho_in; the ratio
    of the lower end now to the upper end at the start, each moved out by 4.5 standard errors, decides whether a bound
    is violated. Printed, the bound is 2 exp(Gamma(t)), Gamma of (40), and its proof lacks the factor 2; corrected it
    is `mfstudy.theorems._natalini_paul.stability_exponent`. Constants are those on the support up to t.

    Parameters
    ----------
    name : str, optional
        Name in the store; by default the kind.
    """

    scheme: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset({"particles", "reference", "lipschitz"})
    p: ClassVar[float | None] = None

    def fields(self, phase: Phase) -> tuple[Field, ...]:
        """Return the ratio with its ends, the bounds, and by how much the lower end exceeds them."""
        del phase
        ratio = "W_2^2(mu_N^t, rho^t) / W_2^2(mu_N^0, rho_in)"
        above, holds = "lower end of the ratio, decades above its bound of Theorem 8.1", "0 where that holds"
        return (
            Field("ratio", "ratio", "check", f"log10 of {ratio}", scale="log10"),
            Field("ratio_lower", "ratio", "check", "log10 of a lower bound of that ratio", scale="log10"),
            Field("ratio_upper", "ratio", "check", "log10 of an upper bound of that ratio", scale="log10"),
            Field("printed_gamma", "ratio", "check", "log10 of 1 + Gamma(t), (40) as printed", scale="log10"),
            Field("printed_excess", "ratio", "check", f"{above} as printed, 2 exp(Gamma); {holds}"),
            Field("proof_excess", "ratio", "check", f"{above} without the factor 2, exp(Gamma); {holds}"),
            Field("corrected", "ratio", "check", "log10 of the bound of the ratio, corrected", scale="log10"),
            Field("corrected_excess", "ratio", "check", f"{above} as corrected; {holds}"),
        )

    def admit(self, phase: Phase, law: InitialLaw) -> None:
        """Accept phase spaces with positions and velocities, and laws of bounded support."""
        require_velocities(phase)
        if not np.isfinite(law.support).all():
            raise ValueError("kind: needs a law of bounded support, Theorem 8.1 does; allowed: box, ball, for example")

    def measure(self, view: View) -> tuple[float, ...]:
        """Return the fields' values."""
        initial = _initial(view)
        before = _ends(view, view.start.ensemble.measure(view.phase), initial)
        now = _ends(view, view.particles, view.reference)
        middle, lower, upper = (math.log10(a / b) for a, b in zip(now, (before[0], before[2], before[1]), strict=True))
        known = constants(view, corner(view.law, view.phase))
        gamma = stability_exponent_as_printed(known, view.time)
        proof = (10 ** min(gamma, LARGEST) - 1) / math.log(10)
        corrected = stability_exponent(known, view.time) / math.log(10)
        return (
            middle,
            lower,
            upper,
            gamma,
            excess(lower, math.log10(2) + proof, 0.0),
            excess(lower, proof, 0.0),
            corrected,
            excess(lower, corrected, 0.0),
        )

    def budget(self, size: int, phase: Phase) -> Budget:
        """Predict seconds and bytes: two distances, as `empirical` measures one."""
        one = Empirical().budget(size, phase)
        return Budget(2 * one.seconds, one.memory)


def _ends(view: View, measure: Measure, reference: Snapshot) -> tuple[float, float, float]:
    """Return W_2^2 between a measure and a reference, with ends that are moved out.

    Raises
    ------
    UncertifiedError
        If the lower end is not positive.
    """
    found = Wasserstein().between(measure, reference, 2.0, None, view.rng(Purpose.REFERENCE))
    slack = SURE * found.standard_error
    if found.lower <= slack:
        raise UncertifiedError(f"W_2^2 = {found.estimate:.3g} is not above 0 by {SURE} standard errors")
    return found.estimate, found.lower - slack, found.upper + slack


def _initial(view: View) -> Snapshot:
    """Return rho_in as a reference that knows what rho^t does, so that at time 0 both distances are the same."""
    law = view.law
    initial = pushed(law, lambda start: start.points, 0.0)
    if view.reference.mean is None:
        return initial
    return replace(initial, mean=law.mean, covariance=law.covariance)
