"""Entropic transport between discrete measures, by POT's log-domain Sinkhorn, with bounds of our own.

OT_eps(a, b) = min over couplings P of <P, C> + eps KL(P | a x b).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp, rel_entr

from mfstudy.ensemble import Floats
from mfstudy.transport.bracket import UncertifiedError

ITERATIONS = 20_000
MARGINAL = 1e-9  # largest sum of absolute marginal errors that counts as converged
RELATIVE = 0.05  # default epsilon as a part of the mean pair cost


@dataclass(frozen=True)
class Entropic:
    """The solved problem OT_eps.

    Parameters
    ----------
    cost : float
        <P, C> of a feasible coupling P, without its entropy: an upper bound of W_p^p, in units of the pair cost.
    lower, upper : float
        Certain bounds of OT_eps: the dual objective of the potentials, and the primal one of P.
    potential_a, potential_b : (N,), (M,) arrays
        In units of the pair cost.
    epsilon : float
        In units of the pair cost.
    iterations : int
    marginal_error : float
        Sum of the absolute errors of both marginals before P was made feasible; dimensionless.
    """

    cost: float
    lower: float
    upper: float
    potential_a: Floats
    potential_b: Floats
    epsilon: float
    iterations: int
    marginal_error: float

    @property
    def value(self) -> float:
        """OT_eps, the middle of its bounds."""
        return 0.5 * (self.lower + self.upper)


def solve(costs: Floats, a: Floats, b: Floats, epsilon: float | None = None) -> Entropic:
    """Solve OT_eps between two discrete measures.

    Parameters
    ----------
    costs : (N, M) array
        Pair costs, >= 0.
    a, b : (N,), (M,) arrays
        Masses, > 0, summing to 1.
    epsilon : float, optional
        Regularisation > 0, in units of the pair cost; None = 0.05 of the mean of ``costs`` under a x b.

    Raises
    ------
    ValueError
        If epsilon is not positive and finite.
    UncertifiedError
        If the marginals are not met to 1e-9 within 20000 iterations: epsilon is too small.

    Notes
    -----
    Sinkhorn's iteration (Cuturi, NeurIPS 2013; Peyre and Cuturi, Computational Optimal Transport, 2019, section 4.4).
    Any potentials f, g give the bound a.f + b.g - eps (sum ab exp((f + g - C)/eps) - 1) <= OT_eps; the coupling is
    made feasible as in Altschuler, Weed and Rigollet (NeurIPS 2017, Algorithm 2).
    """
    import ot  # half a second that reading a store does not need

    epsilon = default_epsilon(costs, a, b) if epsilon is None else epsilon
    check_epsilon(epsilon)
    with np.errstate(over="ignore"):  # POT also returns the exponentials of the potentials, which nobody needs
        coupling, log = ot.bregman.sinkhorn_log(
            a,
            b,
            costs,
            epsilon,
            numItermax=ITERATIONS,
            stopThr=0.5 * MARGINAL / np.sqrt(len(b)),  # POT compares a 2-norm
            log=True,
            warn=False,  # what it ends with is measured here
        )
    potentials = epsilon * (log["log_u"] - np.log(a)), epsilon * (log["log_v"] - np.log(b))
    return _certified(costs, (a, b), potentials, coupling, epsilon, int(log["niter"]) + 1)


def solve_self(costs: Floats, a: Floats, epsilon: float) -> Entropic:
    """Solve OT_eps of a discrete measure with itself.

    Parameters
    ----------
    costs : (N, N) array
        Symmetric pair costs, >= 0.
    a : (N,) array
        Masses, > 0, summing to 1.
    epsilon : float
        Regularisation > 0, in units of the pair cost.

    Raises
    ------
    ValueError, UncertifiedError
        As `solve`.

    Notes
    -----
    Feydy et al. (AISTATS 2019), section 3.1: both potentials are the fixed point of f -> (f + Tf)/2, with T the soft
    minimum. Near it this contracts by (1 - kappa)/2, 0 <= kappa <= 1 the eigenvalues of the coupling as a positive
    operator: tens of iterations at any epsilon, where the alternating ones take kappa^2 and thus thousands.
    """
    check_epsilon(epsilon)
    f, iterations, change = np.zeros(len(a)), 0, np.inf
    # To first order the change is half the marginal error.
    while change > 0.25 * MARGINAL * epsilon and iterations < ITERATIONS:
        image = soft_minimum(costs, f, a, epsilon)
        change = float(np.sum(a * np.abs(image - f)))
        f = 0.5 * (f + image)
        iterations += 1
    coupling = np.exp((f[:, None] + f - costs) / epsilon) * np.outer(a, a)
    return _certified(costs, (a, a), (f, f), coupling, epsilon, iterations)


def soft_minimum(costs: Floats, f: Floats, a: Floats, epsilon: float) -> Floats:
    """Return -eps log sum_i a_i exp((f_i - c_ij) / eps) for each column j (M,): the best g for a given f."""
    exponents = np.subtract(f[:, None], costs)
    exponents /= epsilon
    exponents += np.log(a)[:, None]
    return np.asarray(-epsilon * logsumexp(exponents, axis=0))


def default_epsilon(costs: Floats, a: Floats, b: Floats) -> float:
    """Return 0.05 of the mean pair cost, in its units; 1 where all pairs cost nothing and any serves."""
    mean = float(np.einsum("i,ij,j->", a, costs, b))
    return RELATIVE * mean if mean > 0 else 1.0


def check_epsilon(epsilon: float) -> None:
    """Raise a one-line ValueError unless epsilon is a finite number > 0."""
    if not 0 < epsilon < np.inf:
        raise ValueError(f"epsilon must be a finite number > 0, not {epsilon}")


def _certified(
    costs: Floats,
    masses: tuple[Floats, Floats],
    potentials: tuple[Floats, Floats],
    coupling: Floats,
    epsilon: float,
    iterations: int,
) -> Entropic:
    """Bound OT_eps from both sides by what an iteration ended with; the coupling is overwritten."""
    (a, b), (f, g) = masses, potentials
    error = float(np.abs(coupling.sum(axis=1) - a).sum() + np.abs(coupling.sum(axis=0) - b).sum())
    if not error <= MARGINAL:
        raise UncertifiedError(
            f"entropic transport not converged: marginal error {error:.1e}, allowed {MARGINAL:.0e}, after "
            f"{iterations} iterations: epsilon = {epsilon:.3g} is small beside the largest cost {costs.max():.3g}"
        )
    dual = float(np.sum(a * f) + np.sum(b * g) - epsilon * (coupling.sum() - 1.0))
    _round(coupling, a, b)
    cost = float(np.sum(coupling * costs))
    primal = cost + epsilon * float(rel_entr(coupling, np.outer(a, b)).sum())
    return Entropic(cost, min(dual, primal), primal, f, g, float(epsilon), iterations, error)


def _round(coupling: Floats, a: Floats, b: Floats) -> None:
    """Move a coupling, in place, to the nearest with marginals a, b up to twice its marginal error."""
    tiny = np.finfo(float).tiny
    coupling *= np.minimum(1.0, a / np.maximum(coupling.sum(axis=1), tiny))[:, None]
    coupling *= np.minimum(1.0, b / np.maximum(coupling.sum(axis=0), tiny))
    rows, columns = (np.maximum(mass - coupling.sum(axis=1 - i), 0.0) for i, mass in enumerate((a, b)))
    if rows.sum() > 0:
        coupling += np.outer(rows / rows.sum(), columns)
