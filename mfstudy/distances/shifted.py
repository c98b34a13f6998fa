"""The shifted distance: what free transport does to positions is undone before they are compared."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from mfstudy.checks import check_number
from mfstudy.distances._reference import check_own_cost, power_of
from mfstudy.distances._shear import Shear, sheared
from mfstudy.ensemble import Measure
from mfstudy.transport.bracket import Bracket
from mfstudy.transport.sampling import Sampler
from mfstudy.transport.wasserstein import Law


@dataclass(frozen=True)
class Shifted:
    """W~_{t,p}^p(mu, rho) = min over couplings of E [|(x - t v) - (y - t w)|^p + |v - w|^p].

    Iacobelli, ARMA 244 (2022), section 4 (ii). Free transport (x, v) -> (x + t v, v) conserves it:
    W~_{t,p}(mu_t, rho_t) is the W_p of Definition 1.1 at time 0, whereas W_p itself grows like t.

    Parameters
    ----------
    time : float
        The t of the shift: one fixed number. It is not the time at which the measures are taken, which a distance is
        not told; a study that wants W~_t at its save times has one observable for each.
    """

    scheme: ClassVar[int] = 1

    time: float = field(metadata={"unit": "time"})

    def __post_init__(self) -> None:
        check_number("time", self.time)

    def measured(self, p: float) -> tuple[str, str]:
        """Return the name of the p-th power in the store, and its formula."""
        return power_of("w_shifted", "W~_t", p)

    def between(
        self,
        measure: Measure,
        reference: ArrayLike | Sampler | Law,
        p: float,
        precision: float | None,
        rng: np.random.Generator,
        cost: str = "euclidean",
    ) -> Bracket:
        """Return W~_{t,p}^p, bracketed.

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
        return sheared(Shear(1.0, -self.time, 1.0), measure, reference, p, precision, rng, "kinetic")
