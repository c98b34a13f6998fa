"""The solved reference rho^t, as the rest of the package sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mfstudy.ensemble import Floats


@dataclass(frozen=True)
class Snapshot:
    """rho^t at one time: always a sampler, with exact functions of it where they are known.

    Parameters
    ----------
    sample : callable
        sample(rng, m) -> (m, D) array of i.i.d. points of rho^t.
    error : float
        Bound on W_2(rho^t, the numerical rho^t); dimensionless.
    quantile : callable, optional
        In D = 1: u in (0, 1) -> F^{-1}(u), vectorised.
    mean : (D,) array, optional
    covariance : (D, D) array, optional
    """

    sample: Callable[[np.random.Generator, int], Floats]
    error: float
    quantile: Callable[[Floats], Floats] | None = None
    mean: Floats | None = None
    covariance: Floats | None = None


class MeanField(Protocol):
    """A solved reference."""

    @property
    def valid_until(self) -> float:
        """Last time at which the reference may be used."""
        ...

    def at(self, t: float) -> Snapshot:
        """Return rho^t at a time t <= valid_until."""
        ...
