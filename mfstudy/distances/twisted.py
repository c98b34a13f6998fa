"""The twisted distance W_{a,b,c,p}: a quadratic form couples the shifts of position and velocity."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from mfstudy.checks import check_above, is_number
from mfstudy.distances._reference import check_own_cost, power_of
from mfstudy.distances._shear import Shear, sheared
from mfstudy.ensemble import Measure
from mfstudy.transport.bracket import Bracket
from mfstudy.transport.sampling import Sampler
from mfstudy.transport.wasserstein import Law


@dataclass(frozen=True)
class Twisted:
    """W_{a,b,c,p}^p(mu, rho) = min over couplings of E (a |x-y|^2 + 2b (x-y).(v-w) + c |v-w|^2)^{p/2}.

    Iacobelli, ARMA 244 (2022), section 4, after Salem (2021) for p = 2. The form is |L(x - y, v - w)|^2 with
    L(x, v) = (sqrt(a) (x + (b/a) v), sqrt(c - b^2/a) v): for every p the Euclidean W_p of images. This factor
    shears x by v, so the torus stays a torus; the other one does not keep it.

    Parameters
    ----------
    a, c : float
        Prices of the squared shifts of position and velocity, > 0; dimensionless.
    b : float
        Price of their product, |b| < sqrt(a c); dimensionless.
    """

    scheme: ClassVar[int] = 1

    a: float = field(default=1.0, metadata={"above": 0, "unit": "dimensionless"})
    b: float = field(default=0.0, metadata={"unit": "dimensionless"})
    c: float = field(default=1.0, metadata={"above": 0, "unit": "dimensionless"})

    def __post_init__(self) -> None:
        check_above("a", self.a)
        check_above("c", self.c)
        if not (is_number(self.b) and abs(self.b) < math.sqrt(self.a * self.c)):
            bound = math.sqrt(self.a * self.c)
            raise ValueError(f"b: {self.b!r}; allowed: a number with |b| < sqrt(a c) = {bound:g}")

    def measured(self, p: float) -> tuple[str, str]:
        """Return the name of the p-th power in the store, and its formula."""
        return power_of("w_twisted", "W_abc", p)

    def between(
        self,
        measure: Measure,
        reference: ArrayLike | Sampler | Law,
        p: float,
        precision: float | None,
        rng: np.random.Generator,
        cost: str = "euclidean",
    ) -> Bracket:
        """Return W_{a,b,c,p}^p, bracketed.

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
            Its ends contain the reference's own error, where that is known. On a torus the cost is that of the image
            of least Euclidean length of L(x - y, v - w).

        Raises
        ------
        ValueError, UncertifiedError
            As in ``mfstudy.wasserstein``; and if D is odd, a velocity is periodic, or a cost is named.
        """
        check_own_cost(cost)
        root = math.sqrt(self.a)
        ratio = self.b / root
        # (c - ratio)(c + ratio) form: no cancellation in c - b^2/a where |b| is close to sqrt(a c).
        rest = math.sqrt((math.sqrt(self.c) - ratio) * (math.sqrt(self.c) + ratio))
        return sheared(Shear(root, ratio, rest), measure, reference, p, precision, rng, "euclidean")
