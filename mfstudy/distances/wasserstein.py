"""The Wasserstein distance W_p."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from mfstudy.ensemble import Measure
from mfstudy.transport.bracket import Bracket
from mfstudy.transport.semidiscrete import Sampler
from mfstudy.transport.wasserstein import Law, wasserstein


@dataclass(frozen=True)
class Wasserstein:
    """W_p^p(mu, rho) = min over couplings of E d(x, y)^p (Villani, Optimal Transport, Definition 6.1)."""

    scheme: ClassVar[int] = 1

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
            Ground metric d; "euclidean" is the only one.

        Returns
        -------
        Bracket

        Raises
        ------
        ValueError, UncertifiedError
            As in ``mfstudy.wasserstein``.
        """
        return wasserstein(
            measure.points,
            reference,
            p,
            weights=measure.weights,
            cost=cost,
            period=measure.period,
            precision=precision,
            seed=rng,
        )
