"""The solved reference rho^t, as the rest of the package sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mfstudy.ensemble import Ensemble, Floats, State
from mfstudy.forces.fourier import Lattice, Modes


class UnreachableError(RuntimeError):
    """A reference does not reach its tolerance: one line that says what would."""


@dataclass(frozen=True)
class Snapshot:
    """rho^t at one time: always a sampler, with exact functions of it where they are known.

    Parameters
    ----------
    sample : callable
        sample(rng, m) -> (m, D) array of i.i.d. points of rho^t.
    error : float
        Bound on W_2(rho^t, the numerical rho^t); dimensionless.
    signal_error : float
        Error of the numerical grad psi, in the supremum; 0 where there is no signal.
    quantile : callable, optional
        In D = 1: u in (0, 1) -> F^{-1}(u), vectorised.
    mean : (D,) array, optional
    covariance : (D, D) array, optional
    """

    sample: Callable[[np.random.Generator, int], Floats]
    error: float
    signal_error: float = 0.0
    quantile: Callable[[Floats], Floats] | None = None
    mean: Floats | None = None
    covariance: Floats | None = None


class MeanField(Protocol):
    """A solved reference."""

    @property
    def valid_until(self) -> float:
        """Last time at which the reference may be used."""
        ...

    def at(self, index: int) -> Snapshot:
        """Return rho^t at the index-th save time, which is <= valid_until."""
        ...

    def tracers(self, start: Ensemble) -> Iterator[State]:
        """Yield particles that the mean field drives, at the times at which the system yields its own."""
        ...

    def memory(self, step: int) -> Modes | None:
        """Return the memory of the mean field after a step; None where there is none."""
        ...

    @property
    def lattice(self) -> Lattice | None:
        """The lattice of the memory's modes."""
        ...
