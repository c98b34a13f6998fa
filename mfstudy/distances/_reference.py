"""What distances read off a reference: whether it is drawn, and how far the numerical one may be from the true."""

from __future__ import annotations

from dataclasses import replace

from mfstudy.transport.bracket import Bracket
from mfstudy.transport.sampling import Sampler

OWN_COST = "euclidean"


def check_own_cost(cost: str) -> None:
    """Refuse a ground cost for a distance that defines its own.

    Raises
    ------
    ValueError
        If the cost is not the default of observables.
    """
    if cost != OWN_COST:
        raise ValueError(f"cost: {cost!r} is not allowed, this distance defines its own cost; allowed: {OWN_COST!r}")


def sampler_of(reference: object) -> Sampler | None:
    """Return how a reference is drawn, or None where it is an array of points.

    Parameters
    ----------
    reference : (M, D) array, callable or object with ``sample``
        An array is one even if its class has a method of that name.
    """
    if hasattr(reference, "__array__"):
        return None
    sample = getattr(reference, "sample", reference)
    return sample if callable(sample) else None


def error_of(reference: object) -> float:
    """Return the bound on W_2(rho, numerical rho) that a reference carries, or 0 where it carries none."""
    return float(getattr(reference, "error", 0.0))


def widened(bracket: Bracket, slack: float) -> Bracket:
    """Move the ends of a bracket of d^p apart by an error ``slack`` of d, in units of d; the estimate stays.

    By the triangle inequality d(mu, rho) and d(mu, rho~) differ by at most d(rho, rho~) <= slack.
    """
    if slack == 0:
        return bracket
    lower, upper = (max(end, 0.0) ** (1 / bracket.p) for end in (bracket.lower, bracket.upper))
    return replace(bracket, lower=max(lower - slack, 0.0) ** bracket.p, upper=(upper + slack) ** bracket.p)


def power_of(stem: str, symbol: str, p: float) -> tuple[str, str]:
    """Return name and formula of the p-th power of a distance: "w2_sq" and "W_2^2" for "w" and "W"."""
    name = {1.0: f"{stem}1", 2.0: f"{stem}2_sq"}.get(p, f"{stem}{p:g}_pow".replace(".", "_"))
    return name, f"{symbol}_{p:g}^{p:g}" if p != 1 else f"{symbol}_1"
