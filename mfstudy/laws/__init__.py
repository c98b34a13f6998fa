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
    """A probability measure on the D phase-space variables z, positions first.

    A law may also have ``stratified(rng, m)``, (m, D) points with the exact masses of its components, whose empirical
    measure has the law as expectation, in D = 1 ``upper_quantile(u)``, F^{-1}(1 - u), exact where the right tail is
    heavy, and where it has one its ``density(points)``, (n, D) -> (n,).

    All but samples is exact, or says in its own documentation how accurate it is.
    """

    def __hash__(self) -> int:
        """Return a hash: forces that are built for a law are kept by it."""
        ...

    def sample(self, rng: np.random.Generator, n: int) -> Ensemble:
        """Return n i.i.d. particles, positions drawn before velocities."""
        ...

    def nodes(self, level: int, velocity_level: int | None = None) -> Ensemble:
        """Return a Gauss rule as particles with positive weights of sum 1.

        `level` nodes along each position axis and `velocity_level` along each velocity axis, by default as many;
        `level` along each velocity axis where there is no position. Exact for polynomials of degree
        <= 2 level - 1 in the position and <= 2 velocity_level - 1 in the velocity.
        """
        ...

    def quasi(self, rng: np.random.Generator, level: int) -> Ensemble:
        """Return 2^level scrambled Sobol points of [0, 1)^D through an inverse of the law, with weights of sum 1.

        `rng` scrambles them. The weights are equal; a law of K components has as many points in each, K 2^level in
        all, and its exact masses. Integrals of smooth functions converge about like 2^-level in every dimension,
        where the number of nodes of a Gauss rule grows like level^D.
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

    def box(self, probability: float) -> Floats:
        """Return a bounding box outside which one particle lies with at most this probability, a (D, 2) array.

        Equal to the support where that is bounded. ValueError unless 0 < probability < 1.
        """
        ...

    @property
    def support_radius(self) -> float:
        """Supremum of |z - E z| over the support."""
        ...

    @property
    def support_dimension(self) -> int:
        """Dimension of the support, <= D."""
        ...

    @property
    def regular(self) -> bool:
        """Whether the law has a density bounded from 0 and infinity on a bounded connected support."""
        ...
