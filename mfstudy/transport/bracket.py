"""What every solver returns: an estimate between two bounds, with its certificate."""

from __future__ import annotations

from dataclasses import dataclass

MEMORY = 2 * 2**30  # bytes, the budget of a transport problem when none is given


class UncertifiedError(RuntimeError):
    """A solver's certificate misses its threshold: a distance without a certificate is never a number."""


@dataclass(frozen=True)
class Bracket:
    """A transport cost W_p^p with its bounds.

    Parameters
    ----------
    estimate : float
        The value to use for W_p^p, in (unit of length)^p. With a sampled reference it is the middle of the
        bracket, nearly unbiased if the particles are i.i.d.; for a lattice, strata or quadrature nodes and a
        bracket wider than about 5 %, the answer is the bracket and not its middle.
    lower, upper : float
        Bounds. Exact methods: of W_p^p itself, up to ``residual``. Sampled reference: in mean over its draws,
        E[lower] <= W_p^p <= E[upper].
    standard_error : float
        Of ``estimate``, over the draws of the reference with the particles held fixed; 0 for exact methods. To
        leading order: up to 10 % too small where ``reference_points`` is about 120.
    p : float
        Order of the distance, dimensionless.
    method : str
        "sorted", "quantile", "discrete", "semidiscrete" or "sinkhorn".
    residual : float
        Worst relative certificate of the solves (duality gap, marginals), or the relative quadrature error, each
        relative to a floor where the cost is so small that round-off in coordinates and masses makes it up.
    reference_points : int
        Points of the reference in one transport problem (two such folds are drawn by "semidiscrete"); 0 where
        the reference enters through its quantile function.
    """

    estimate: float
    lower: float
    upper: float
    standard_error: float
    p: float
    method: str
    residual: float
    reference_points: int

    @property
    def distance(self) -> float:
        """W_p, the p-th root of the estimate, in units of length."""
        return float(max(self.estimate, 0.0) ** (1.0 / self.p))
