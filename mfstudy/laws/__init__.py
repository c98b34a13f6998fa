"""Initial laws rho_in, one per file: a component holds parameters, `on` binds it to a system's variables."""

from __future__ import annotations

from typing import ClassVar, Protocol

import numpy as np

from mfstudy.ensemble import Ensemble, Floats, Phase


class Law(Protocol):
    """What every law component offers: parameters that become a probability measure once a phase is known."""

    scheme: ClassVar[int]

    def on(self, phase: Phase) -> InitialLaw:
        """Return the law on the variables of a system.

        Raises
        ------
        ValueError
            If a key is missing, has the wrong number of entries, or is about variables the system lacks.
        """
        ...


class InitialLaw(Protocol):
    """A probability measure on the D phase-space variables z, positions first; all but samples is exact."""

    def sample(self, rng: np.random.Generator, n: int) -> Ensemble:
        """Return n i.i.d. particles, positions drawn before velocities."""
        ...

    def nodes(self, level: int) -> Ensemble:
        """Return a Gauss rule as particles with positive weights of sum 1, `level` nodes along each axis.

        Exact for polynomials of total degree <= 2 level - 1.
        """
        ...

    def moment(self, q: float) -> float:
        """Return M_q = E|z - E z|^q, q > 0, in the Euclidean norm of R^D; inf where it does not exist.

        The moment of Fournier and Guillin (PTRF 162, 2015, Theorem 1), about the origin there: of the centred
        law here, because a distance does not see a common shift.
        """
        ...

    def quantile(self, u: Floats) -> Floats:
        """Return F^{-1}(u) for probabilities u, in D = 1 only (ValueError otherwise)."""
        ...

    @property
    def mean(self) -> Floats:
        """Return E z, a (D,) array."""
        ...

    @property
    def covariance(self) -> Floats:
        """Return the (D, D) covariance matrix."""
        ...

    @property
    def moment_order(self) -> float:
        """Supremum of the orders q of finite moments; inf if all are finite."""
        ...

    @property
    def support(self) -> Floats:
        """Bounding box of the support, a (D, 2) array of lower and upper ends, infinite where unbounded."""
        ...

    @property
    def support_radius(self) -> float:
        """Supremum of |z - E z| over the support."""
        ...

    @property
    def support_dimension(self) -> int:
        """Dimension of the support, <= D."""
        ...
