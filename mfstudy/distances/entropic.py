"""The debiased Sinkhorn divergence: transport blurred at a fixed scale."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from mfstudy.checks import check_above, check_count
from mfstudy.distances._reference import sampler_of
from mfstudy.ensemble import Measure
from mfstudy.transport.bracket import Bracket
from mfstudy.transport.cost import ground_cost
from mfstudy.transport.divergence import Divergence, divergence, sampled_divergence
from mfstudy.transport.sampling import Sampler
from mfstudy.transport.wasserstein import Law


@dataclass(frozen=True)
class Entropic:
    """S_eps(mu, rho) = OT_eps(mu, rho) - (OT_eps(mu, mu) + OT_eps(rho, rho)) / 2, OT_eps transport with entropy.

    Feydy et al. (AISTATS 2019); Genevay, Peyre and Cuturi (AISTATS 2018). It is not W_p^p and bounds it on neither
    side: it sees what happens above the length epsilon^(1/p) and tends to W_p^p as epsilon -> 0. Of a sample it falls
    like 1/N whatever the dimension (with a constant that grows as epsilon falls), so its rate is not that of W_p.

    Parameters
    ----------
    epsilon : float
        Regularisation, > 0, in units of the ground cost |x - y|^p; the same for all sizes of a study.
    points_per_particle : int
        k >= 1: a sampled reference is drawn twice, kN points each; memory and time grow like (kN)^2.
    """

    scheme: ClassVar[int] = 1

    epsilon: float = field(metadata={"above": 0, "unit": "unit of the ground cost"})
    points_per_particle: int = field(default=1, metadata={"minimum": 1, "unit": "dimensionless"})

    def __post_init__(self) -> None:
        check_above("epsilon", self.epsilon)
        check_count("points_per_particle", self.points_per_particle)

    def measured(self, p: float) -> tuple[str, str]:
        """Return the name of the divergence in the store, and its formula."""
        del p
        return "sinkhorn", "S_eps"

    def between(
        self,
        measure: Measure,
        reference: ArrayLike | Sampler | Law,
        p: float,
        precision: float | None,
        rng: np.random.Generator,
        cost: str = "euclidean",
    ) -> Bracket:
        """Return S_eps, bracketed.

        Parameters
        ----------
        measure : Measure
            Points (N, D), weights and periods.
        reference : (M, D) array, callable or object with ``sample``
        p : float
            Order of the ground cost, 1 <= p <= 2.
        precision : None
            The number of reference points is the component's own.
        rng : numpy.random.Generator
            Draws the reference.
        cost : str
            Ground cost as in ``mfstudy.wasserstein``.

        Returns
        -------
        Bracket
            Of S_eps, not of W_p^p. Array: certain bounds. Sampled: bounds in mean, E[lower] <= S_eps <= E[upper].
            ``residual`` is the marginal error of the solves. An error that the reference carries is not added:
            there is no bound of S_eps by W_2 without a bound of the supports.

        Raises
        ------
        ValueError
            If an argument is not as above, or the problem exceeds the memory.
        UncertifiedError
            If a solve does not converge: epsilon is too small.
        """
        if precision is not None:
            raise ValueError(f"precision: {precision!r}; allowed: none, points_per_particle decides")
        dimension = measure.points.shape[1]
        ground = ground_cost(cost, p, measure.period, dimension)
        sampler = sampler_of(reference)
        if sampler is None:
            points = np.asarray(reference, dtype=float)
            return _bracket(
                divergence(measure.points, points, ground, weights=measure.weights, epsilon=self.epsilon), p
            )
        k = self.points_per_particle
        drawn = sampled_divergence(measure.points, sampler, ground, self.epsilon, k, rng, weights=measure.weights)
        return _bracket(drawn, p)


def _bracket(result: Divergence, p: float) -> Bracket:
    return Bracket(
        estimate=result.estimate,
        lower=result.lower,
        upper=result.upper,
        standard_error=result.standard_error,
        p=p,
        method="sinkhorn",
        residual=result.marginal_error,
        reference_points=result.reference_points,
    )
