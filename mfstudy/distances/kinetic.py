"""The kinetic distance W_{lambda,p}: positions and velocities are moved at prices of their own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from mfstudy.checks import check_above
from mfstudy.distances._reference import check_own_cost, power_of
from mfstudy.distances._shear import Shear, sheared
from mfstudy.ensemble import Measure
from mfstudy.transport.bracket import Bracket
from mfstudy.transport.sampling import Sampler
from mfstudy.transport.wasserstein import Law


@dataclass(frozen=True)
class Kinetic:
    """W_{lambda,p}^p(mu, rho) = min over couplings of E [lambda |x - y|^p + |v - w|^p].

    Iacobelli, ARMA 244 (2022), section 4; with lambda = 1 Definition 1.1. For p != 2 no linear map makes it the
    Euclidean W_p of phase space.

    Parameters
    ----------
    price : float
        lambda > 0, the price of moving positions relative to velocities; dimensionless.
    """

    scheme: ClassVar[int] = 1

    price: float = field(default=1.0, metadata={"above": 0, "unit": "dimensionless"})

    def __post_init__(self) -> None:
        check_above("price", self.price)

    def measured(self, p: float) -> tuple[str, str]:
        """Return the name of the p-th power in the store, and its formula."""
        return power_of("w_kinetic", "W_lambda", p)

    def between(
        self,
        measure: Measure,
        reference: ArrayLike | Sampler | Law,
        p: float,
        precision: float | None,
        rng: np.random.Generator,
        cost: str = "euclidean",
    ) -> Bracket:
        """Return W_{lambda,p}^p, bracketed.

        Parameters
        ----------
        measure : Measure
            Points (N, D) = (x, v), D even, positions first; weights; periods of positions.
        reference, p, precision : as in ``mfstudy.wasserstein``
        rng : numpy.random.Generator
            Draws the reference.
        cost : str
            Left at its default: the distance defines its own.

        Returns
        -------
        Bracket
            Its ends contain the reference's own error, where that is known.

        Raises
        ------
        ValueError, UncertifiedError
            As in ``mfstudy.wasserstein``; and if D is odd, a velocity is periodic, or a cost is named.
        """
        check_own_cost(cost)
        shear = Shear(self.price ** (1 / p), 0.0, 1.0)
        return sheared(shear, measure, reference, p, precision, rng, "kinetic")
