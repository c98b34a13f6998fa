"""The rate of i.i.d. points against their law, from one moment."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, replace
from typing import ClassVar

from mfstudy.laws import InitialLaw
from mfstudy.rates import RateLaw, law_by_name
from mfstudy.theorems import Claim, Premise, Setting
from mfstudy.theorems._premises import dimension
from mfstudy.theorems._sampling import sampled

#: How near to the highest order of a law's moments q is taken, relative to the distance from p.
NEAR = 0.99


@dataclass(frozen=True)
class FournierGuillin:
    """E W_p^p(mu_N, rho) <= C(p, q, D) M_q^{p/q} (rate of p and D + N^{-(q-p)/q}), for q > p and M_q < inf.

    N. Fournier and A. Guillin, "On the rate of convergence in Wasserstein distance of the empirical measure", PTRF 162
    (2015), Theorem 1: N^-1/2 for p > D/2, N^-1/2 log(1+N) for p = D/2, N^{-p/D} for p < D/2, where q is neither 2p
    (p >= D/2) nor D/(D-p) (p < D/2). The sum over shells in its proof meets a logarithm at q = pD/(D-p), which the
    printed D/(D-p) is for p = 1 only; both are avoided here. D is the dimension of the support, which a Lipschitz map
    carries there, and M_q is about the mean: neither a distance nor its rate sees a shift. Explicit constants are in
    N. Fournier, ESAIM P&S 27 (2023) 749-775; that of this theorem is not.

    For a law that has moments of all orders q is taken so large that the moment term does not decide, for a law that
    has them below nu only q < nu, close to it where it decides.
    """

    scheme: ClassVar[int] = 1

    def claims(self, setting: Setting) -> tuple[Claim, ...]:
        """Return a claim for each order p that is measured of i.i.d. points."""
        found = []
        for observable, subject in sampled(setting):
            p, dim = observable.p, setting.law.support_dimension
            q = order(p, dim, setting.law.moment_order)
            norm = _norm(setting.law, p, q)
            found.append(
                Claim(
                    theorem="Fournier and Guillin, Theorem 1",
                    edition="as stated",
                    says=f"E W_{p:g}^{p:g}(mu_N, rho) <= C(p,q,D) M_q^(p/q) (rate + N^(-(q-p)/q))",
                    subjects=(subject,),
                    premises=(dimension(dim, "D", _case(p, dim)), *moments(setting.law, p, dim)),
                    rate=None if q is None else both_terms(p, dim, q),
                    second=1.0,
                    unknown="C(p,q,D)" if norm is not None else "C(p,q,D) M_q^(p/q)",
                    known=1.0 if norm is None else norm,
                )
            )
        return tuple(found)


def order(p: float, dim: int, highest: float) -> float | None:
    """Return an order q > p of a moment that is finite and not excluded; None where there is none.

    Parameters
    ----------
    p : float
        Order of the distance, >= 1.
    dim : int
        D.
    highest : float
        Supremum of the orders of finite moments.
    """
    if highest <= p:
        return None
    enough = excluded(p, dim)[-1]
    if highest > enough:
        return min(enough + 1, (enough + highest) / 2)
    return p + NEAR * (highest - p)


def both_terms(p: float, dim: int, q: float) -> RateLaw:
    """Return the sum of both terms as a law with c = 1, the slower one first.

    Parameters
    ----------
    p, dim
        As in `order`.
    q : float
        > p, order of the moment, not excluded.
    """
    slow, fast = law_by_name("fournier-guillin", dim, q, p), -(q - p) / q
    assert slow.exponent is not None
    if slow.exponent == fast and slow.log_power == 0:  # the moment term decides
        fast = law_by_name("fournier-guillin", dim, None, p).exponent or fast
    return replace(slow, second=(slow.exponent - fast, 0.0))


def _norm(law: InitialLaw, p: float, q: float | None) -> float | None:
    """Return M_q^{p/q}, None where it is not a number."""
    with contextlib.suppress(OverflowError):
        value = math.inf if q is None else law.moment(q) ** (p / q)
        return value if math.isfinite(value) else None
    return None


def excluded(p: float, dim: int) -> tuple[float, ...]:
    """Return the orders of moments that the theorem leaves out, the last where both terms have one power."""
    return (2 * p,) if p >= dim / 2 else (dim / (dim - p), p * dim / (dim - p))


def moments(law: InitialLaw, p: float, dim: int) -> tuple[Premise, ...]:
    """Return the premises on the moment of order q."""
    highest, name = law.moment_order, "moment of order q > p"
    q = order(p, dim, highest)
    if q is None:
        text = f"no moment of an order q > p = {p:g} is finite: the law has them below {highest:g} only"
        return (Premise(name, None, "", False, text),)
    try:
        value = law.moment(q)
    except OverflowError:
        value = math.inf
    out = excluded(p, dim)
    any_order = "all orders have one" if math.isinf(highest) else f"any q < {highest:g} has one"
    size = f"M_q = {value:.3g}" if math.isfinite(value) else "M_q above the largest float"
    return (
        Premise(name, value if math.isfinite(value) else None, "length^q", True, f"q = {q:g} ({any_order}), {size}"),
        Premise(
            "q is not excluded",
            q,
            "1",
            q not in out,
            f"q is not excluded: none of {', '.join(f'{e:.4g}' for e in dict.fromkeys(out))}",
        ),
    )


def _case(p: float, dim: int) -> str:
    sign = ">" if p > dim / 2 else "=" if p == dim / 2 else "<"
    return f" of the support, p = {p:g} {sign} D/2"
