"""The Wasserstein distance W_p."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from mfstudy.distances._reference import error_of, power_of, widened
from mfstudy.ensemble import Measure
from mfstudy.transport.bracket import Bracket
from mfstudy.transport.sampling import Sampler
from mfstudy.transport.wasserstein import Law, wasserstein


@dataclass(frozen=True)
class Wasserstein:
    """W_p^p(mu, rho) = min over couplings of E d(x, y)^p (Villani, Optimal Transport, Definition 6.1)."""

    scheme: ClassVar[int] = 2  # references spread evenly, own solver

    def measured(self, p: float) -> tuple[str, str]:
        """Return the name of the p-th power in the store, and its formula."""
        return power_of("w", "W", p)

    def between(
        self,
        measure: Measure,
        reference: ArrayLike | Sampler | Law,
        p: float,
        precision: float | None,
        rng: np.random.Generator,
        cost: str = "euclidean",
    ) -> Bracket:
        """Return W_p^p between a discrete measure and a reference.

        Parameters
        ----------
        measure : Measure
            Points (N, D), weights and periods, in units of length.
        reference : (M, D) array, callable or object
            As in ``mfstudy.wasserstein``.
        p : float
            Order, >= 1, dimensionless.
        precision : float or None
            Wanted relative width of the bracket; None = the midpoint at k = 4.
        rng : numpy.random.Generator
            Draws the reference.
        cost : str
            Ground cost, "euclidean" or "kinetic".

        Returns
        -------
        Bracket
            Its ends include the error of the reference.

        Raises
        ------
        ValueError, UncertifiedError
            As in ``mfstudy.wasserstein``.
        """
        bracket = wasserstein(
            measure.points,
            reference,
            p,
            weights=measure.weights,
            cost=cost,
            period=measure.period,
            precision=precision,
            seed=rng,
        )
        # |x - y|^p + |v - w|^p <= 2^(1 - p/2) |z - z'|^p for p < 2: the reference's error in W_2, in this distance.
        factor = 2 ** (1 / p - 0.5) if cost == "kinetic" and p < 2 else 1.0
        return widened(bracket, factor * error_of(reference))
