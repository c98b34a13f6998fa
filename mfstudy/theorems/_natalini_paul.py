"""Rates and explicit bounds of Natalini and Paul, as printed and as corrected: what their statements share.

R. Natalini and T. Paul, "The mean-field limit for hybrid models of collective motions with chemotaxis".

The constants are those on the support up to the time t of the bound, because gamma(y, w) = psi(y) w is not globally
Lipschitz; the horizon T of a statement "for t <= T" is t. Proposition 7.2 as corrected is `Dynamics.bounds`:
max |v_i(t)| <= max |v_i(0)| + int_0^t (|F_ext|_inf + eta |grad phi_in|_inf + eta s |grad chi|_inf) ds for psi >= 0.
"""

from __future__ import annotations

import math

import numpy as np

from mfstudy.rates import RateLaw
from mfstudy.systems import Constants

#: How messages begin.
PAPER = "Natalini and Paul"
#: What theorems about the law of a particle are to a coupling.
BELOW = "for the law of one particle, whose distance is below the coupling"


def sampling_rate(dimension: int, statement: str = "Theorem 2.1") -> RateLaw:
    """Return C_d(N), the rate of Theorems 2.1 and 4.2 and of Proposition 4.3, in dimension d of the positions."""
    exponent = -1 / max(dimension, 2)
    return RateLaw("natalini-paul", 1.0 if dimension == 2 else 0.0, exponent, f"{PAPER}, {statement}")


def in_words(rate: RateLaw) -> str:
    """Return how a right-hand side depends on N, its constant left out."""
    return rate.formula.removeprefix("C ")


def growth_as_printed(constants: Constants, t: float) -> float:
    """Return the exponent 2 gamma_0 t of Proposition 7.2, max |v_i(t)| <= max |v_j(0)| exp(2 gamma_0 t).

    Printed: gamma_0 = Lip gamma + Lip grad chi. It fails from rest, where it is 0 for particles that a signal moves.

    Parameters
    ----------
    constants : Constants
    t : float
        >= 0; time.

    Returns
    -------
    float
        Dimensionless.
    """
    return 2 * (constants.interaction + constants.source_curvature) * t


def displacement_as_printed(constants: Constants, speed: float, t: float) -> float:
    """Return the bound on ||x_i(t)| - |x_i(0)|| of Proposition 7.2, the integral of that on |v_i|.

    Parameters
    ----------
    constants : Constants
    speed : float
        max |v_j(0)|; length/time.
    t : float
        >= 0; time.

    Returns
    -------
    float
        Length; inf where it overflows.
    """
    exponent = growth_as_printed(constants, t)
    with np.errstate(over="ignore"):
        return float(speed * t * (np.expm1(exponent) / exponent if exponent else 1.0)) if speed else 0.0


def flow_exponent_as_printed(constants: Constants, t: float) -> float:
    """Return the exponent (Lip gamma + Lip grad chi t) t of Theorem 7.3, a bound on log |dz_i(t)/dz_j(0)|.

    It fails for free transport, where |dx_i/dv_i| = t > 1 = exp(0).

    Parameters
    ----------
    constants : Constants
    t : float
        >= 0; time.

    Returns
    -------
    float
        Dimensionless.
    """
    return (constants.interaction + constants.source_curvature * t) * t


def flow_exponent(constants: Constants, t: float) -> float:
    """Return the exponent of Theorem 7.3, corrected: a bound on log sum_i |dz_i(t)/dz_j(0)|, in operator norms.

    S = sum_i |dz_i/dz_j| obeys S(0) = 1 and, with dx_i = v_i, both arguments of gamma, and the signal's own change,

        S' <= (1 + 2 Lip gamma + Lip F_ext + eta (Lip grad phi_in + t Lip grad chi)) S + eta Lip grad chi int_0^t S ds.

    Majorants increase, so that the integral is at most t S; Gronwall's lemma gives

        (1 + 2 Lip gamma + Lip F_ext + eta (Lip grad phi_in + 2 t Lip grad chi)) t.

    Parameters
    ----------
    constants : Constants
    t : float
        >= 0; time.

    Returns
    -------
    float
        Dimensionless.
    """
    signal = constants.eta * (constants.start_curvature + 2 * t * constants.source_curvature)
    return (1 + 2 * constants.interaction + constants.external + signal) * t


def stability_exponent_as_printed(constants: Constants, t: float) -> float:
    """Return log10(1 + Gamma(t)) of Theorem 8.1, W_2^2(rho_1^t, rho_2^t) <= 2 exp(Gamma(t)) W_2^2(rho_1^0, rho_2^0).

    Printed, (39) and (40): Gamma = t (L + K'^2 exp(t L)), L = 2 + 2 (Lip gamma)^2 + 2 L'^2, and by Lemma 8.2
    L' = Lip gamma + Lip F_ext + t eta Lip grad chi, K' = Lip gamma + eta Lip chi. Its proof has no factor 2 before
    exp(Gamma).

    Parameters
    ----------
    constants : Constants
    t : float
        >= 0; time.

    Returns
    -------
    float
        Dimensionless; the logarithm, because Gamma itself overflows.
    """
    lipschitz = constants.interaction + constants.external + t * constants.eta * constants.source_curvature
    influence = constants.interaction + constants.eta * constants.source_slope
    rate = 2 + 2 * constants.interaction**2 + 2 * lipschitz**2
    steep = t * influence**2
    if not steep:
        return math.log10(1 + t * rate)
    return float(np.logaddexp(math.log(1 + t * rate), math.log(steep) + t * rate)) / math.log(10)


def stability_exponent(constants: Constants, t: float) -> float:
    """Return the exponent G of Theorem 8.1, corrected: W_2^2(rho_1^t, rho_2^t) <= exp(G) W_2^2(rho_1^0, rho_2^0).

    With L' = Lip gamma + Lip F_ext + eta (Lip grad phi_in + t Lip grad chi), the Lipschitz constant of the force in
    z, and K' = Lip gamma + t eta Lip grad chi, that in the measure, E|z_1 - z_2|^2 =: E of coupled characteristics
    obeys E' <= (2 + 2 L'^2) E + 2 K'^2 sup_{s <= t} E(s), by 2 a b <= a^2 + b^2 as in the proof of Theorem 3.7. The
    right side bounds the derivative of the supremum as well, so that Gronwall's lemma gives G = 2 (1 + L'^2 + K'^2) t.

    Printed, K' has eta Lip chi for t eta Lip grad chi, L' lacks phi_in, and the 2 before K'^2 is lost in (40).

    Parameters
    ----------
    constants : Constants
    t : float
        >= 0; time.

    Returns
    -------
    float
        Dimensionless.
    """
    memory = constants.eta * t * constants.source_curvature
    lipschitz = constants.interaction + constants.external + constants.eta * constants.start_curvature + memory
    return 2 * (1 + lipschitz**2 + (constants.interaction + memory) ** 2) * t
