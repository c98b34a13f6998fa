"""Velocities that are a function of the position."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from mfstudy.checks import as_probabilities, check_above
from mfstudy.ensemble import Ensemble, Floats, Phase
from mfstudy.laws import InitialLaw, Law
from mfstudy.velocities import VelocityField

#: The rule behind means and moments: at most this many nodes, and at most so many along an axis.
_NODES, _LEVEL = 2**18, 256


@dataclass(frozen=True)
class Monokinetic:
    """rho_in = mu(x) delta(v - u(x)): one velocity at each place, the data of pressureless Euler equations.

    R. Natalini and T. Paul, Corollary 2.2. The dimension of the support is that of mu, d and not 2d.

    Parameters
    ----------
    position : table
        The law mu of the positions, for example {kind = "box", position_halfwidth = 1.0}.
    velocity : table
        The field u, for example {kind = "linear", rate = 0.5}.
    """

    scheme: ClassVar[int] = 1

    position: Law = field(metadata={"component": "laws"})
    velocity: VelocityField = field(metadata={"component": "velocities"})

    def on(self, phase: Phase) -> InitialLaw:
        """Return the law on the variables of a system.

        Raises
        ------
        ValueError
            If the system has not as many velocity as position components, or `position` does not fit them.
        """
        if phase.velocity == 0:
            raise ValueError("velocity: not allowed; the system has no velocity")
        if phase.position != phase.velocity:
            raise ValueError(
                f"velocity: {phase.velocity} components for {phase.position} of the position; allowed: as many"
            )
        try:
            positions = self.position.on(Phase(phase.position, 0, phase.period))
        except ValueError as error:
            raise ValueError(f"position.{error}") from None
        return _Graph(positions, self.velocity)


@dataclass(frozen=True)
class _Graph:
    """The law of (x, u(x)), x of the law `positions`; implements `mfstudy.references._euler.Graph`.

    Expectations come from a tensor Gauss rule in x, of 256 nodes along each axis in d = 1 and 2, 64 in d = 3, fewer
    above (22 in d = 4), or for clusters of that many nodes in all.
    Mean and covariance are exact to 1e-12 for a smooth u that it resolves: measured for waves, wave number times
    half-width up to 200 in d = 1 and 2 and to 40 in d = 3; for normal positions, times the standard deviation up to 10
    and 4.
    """

    positions: InitialLaw
    field: VelocityField

    def sample(self, rng: np.random.Generator, n: int) -> Ensemble:
        """Return n i.i.d. particles; only positions are drawn."""
        return self._lift(self.positions.sample(rng, n))

    def lifted(self, positions: Floats) -> Ensemble:
        """Return the particles at n positions, (n, d)."""
        return Ensemble(positions, self.field.at(positions))

    def slopes(self, positions: Floats) -> Floats:
        """Return Du at n positions, (n, d) -> (n, d, d), entry [i, a, b] = du_a / dx_b."""
        return self.field.jacobian(positions)

    def density(self, positions: Floats) -> Floats:
        """Return mu at n positions, (n, d) -> (n,), as exact as that of `positions`; NaN if that has none."""
        known: Callable[[Floats], Floats] | None = getattr(self.positions, "density", None)
        return np.full(len(positions), np.nan) if known is None else known(positions)

    def nodes(self, level: int, velocity_level: int | None = None) -> Ensemble:
        """Return the Gauss rule of the positions, `level` nodes along each of its axes; there is none in v.

        Exact for polynomials in x of degree <= 2 level - 1, of which v is none in general.
        """
        return self._lift(self.positions.nodes(level, velocity_level))

    def quasi(self, rng: np.random.Generator, level: int) -> Ensemble:
        """Return 2^level Sobol points of the positions, see `mfstudy.laws.InitialLaw.quasi`."""
        return self._lift(self.positions.quasi(rng, level))

    def _lift(self, particles: Ensemble) -> Ensemble:
        return replace(self.lifted(particles.points), weights=particles.weights)

    def _rule(self) -> tuple[Floats, Floats]:
        """Nodes (L, D) and weights (L,) for expectations."""
        d = len(self.positions.mean)
        copies = self.positions.nodes(1).size  # a law of several pieces has a rule on each
        # The small number undoes the round-off of an exact root.
        level = int((_NODES / copies) ** (1 / d) + 1e-9)
        nodes = self.nodes(max(1, min(_LEVEL, level)))
        weights = np.full(nodes.size, 1 / nodes.size) if nodes.weights is None else nodes.weights
        return nodes.points, weights

    def _mean(self, points: Floats, weights: Floats) -> Floats:
        d = len(self.positions.mean)
        return np.concatenate([self.positions.mean, weights @ points[:, d:]])

    @property
    def mean(self) -> Floats:
        """E z, a (D,) array; that of the positions is exact."""
        return self._mean(*self._rule())

    @property
    def covariance(self) -> Floats:
        """Covariance matrix, (D, D); that of the positions is exact."""
        points, weights = self._rule()
        scaled = np.sqrt(weights)[:, None] * (points - self._mean(points, weights))
        covariance: Floats = scaled.T @ scaled
        d = points.shape[1] // 2
        covariance[:d, :d] = self.positions.covariance
        return covariance

    def moment(self, q: float) -> float:
        """Return M_q = E|z - E z|^q for any real q > 0.

        Exact to 1e-12 where q is even or u is linear. Else |z - E z|^q has a singularity at, or near, x = E x.
        Measured for the wave of amplitude 0.5 and wave number 2, relative to the rule of 4 times (d = 3: 1.5) the
        level, 1 <= q <= 4: 1e-10 for boxes and balls of half-width 1, 6e-6 for q = 1 and 8e-7 for q = 3 for the
        normal law of variance 1.

        Raises
        ------
        ValueError
            If q is not a finite number > 0.
        OverflowError
            If the moment is above the largest float.
        """
        check_above("q", q)
        points, weights = self._rule()
        with np.errstate(over="ignore", invalid="ignore"):
            centred = points - self._mean(points, weights)
            powers = np.sum(centred**2, axis=1) ** (q / 2)
            slope = self._slope(points, weights)
            cone = (slope * np.linalg.norm(centred[:, : centred.shape[1] // 2], axis=1)) ** q
            value = float(weights @ powers)
            # The cone has the singularity, and a known expectation; the difference must not cost too many digits.
            if weights @ cone < 1e3 * value:
                value = float(weights @ (powers - cone)) + slope**q * self.positions.moment(q)
        if math.isinf(value):
            raise OverflowError(f"q: {q:g}; the moment is above the largest float")
        return value

    def _slope(self, points: Floats, weights: Floats) -> float:
        """Return c with |z - E z| about c |x - E x| near E x, or 0 where u(E x) is not E u and nothing is singular.

        c^2 = 1 + |Du|^2 / d is exact where Du(E x) is a multiple of an isometry, and in d = 1.
        """
        centre = self.positions.mean[None, :]
        velocities = points[:, centre.shape[1] :]
        offset = np.linalg.norm(self.field.at(centre)[0] - weights @ velocities)
        if offset > 1e-10 * max(np.abs(velocities).max(), np.finfo(np.float64).tiny):
            return 0.0
        return math.sqrt(1 + np.sum(self.field.jacobian(centre) ** 2) / centre.shape[1])

    @property
    def moment_order(self) -> float:
        """Supremum of the orders of finite moments: that of the positions, u grows at most linearly."""
        return self.positions.moment_order

    def quantile(self, u: Floats) -> Floats:
        """Raise ValueError: D = 2d >= 2."""
        return as_probabilities(u, len(self.positions.mean) * 2)

    @property
    def support(self) -> Floats:
        """Bounding box of the support in x, and a box that contains its velocities, (D, 2)."""
        return self._over(self.positions.support)

    def box(self, probability: float) -> Floats:
        """Return the box of the positions for this probability and the velocities that it holds, (D, 2).

        Raises
        ------
        ValueError
            Unless 0 < probability < 1.
        """
        return self._over(self.positions.box(probability))

    def _over(self, box: Floats) -> Floats:
        return np.concatenate([box, self.field.bounds(box)])

    @property
    def support_radius(self) -> float:
        """Upper bound of |z - E z| over the support: the velocities may not reach the corners of their box."""
        d = len(self.positions.mean)
        velocities = np.abs(self.support - self.mean[:, None])[d:].max(axis=1)
        return math.hypot(self.positions.support_radius, *velocities)

    @property
    def support_dimension(self) -> int:
        """Dimension of the support: that of the positions, a graph over them."""
        return self.positions.support_dimension

    @property
    def regular(self) -> bool:
        """Whether the law of the positions is; on the graph over them."""
        return self.positions.regular
