"""Distances that a linear map of phase space turns into those of `wasserstein`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mfstudy.distances._reference import error_of, sampler_of, widened
from mfstudy.ensemble import Floats, Measure
from mfstudy.transport.bracket import Bracket
from mfstudy.transport.sampling import Sampler
from mfstudy.transport.wasserstein import Law, wasserstein


@dataclass(frozen=True)
class Shear:
    """The map (x, v) -> (position x + mixing v, velocity v) of R^d x R^d, or of T^d x R^d.

    Positions are sheared by velocities, never the other way: a shift of x by a period is then one of the image by
    ``position`` times that period.

    Parameters
    ----------
    position, mixing, velocity : float
    """

    position: float
    mixing: float
    velocity: float

    @property
    def matrix(self) -> Floats:
        """The map (2, 2), the same for each pair of axes."""
        return np.array([[self.position, self.mixing], [0.0, self.velocity]])

    def expansion(self, p: float, cost: str) -> float:
        """Return K with d(mu, nu) <= K W_2(mu, nu), where d is W_p of the images and 1 <= p <= 2.

        The kinetic norm (|x|^p + |v|^p)^(1/p) is at most 2^(1/p - 1/2) times the Euclidean one.
        """
        blocks = 2.0 ** (1 / p - 0.5) if cost == "kinetic" and p < 2 else 1.0
        return float(np.linalg.norm(self.matrix, 2)) * blocks

    def points(self, values: ArrayLike, dimension: int) -> Floats:
        """Return the images of points (n, D).

        What is no such array comes back as it is: `wasserstein` refuses it in its own words.
        """
        try:
            points = np.asarray(values, dtype=float)
        except (TypeError, ValueError):
            return values  # type: ignore[return-value]
        if points.ndim != 2 or points.shape[1] != dimension:
            return points
        x, v = points[:, : dimension // 2], points[:, dimension // 2 :]
        return np.concatenate([self.position * x + self.mixing * v, self.velocity * v], axis=1)

    def period(self, period: tuple[float | None, ...] | None, dimension: int) -> tuple[float | None, ...] | None:
        """Return the period of each axis of the image.

        Raises
        ------
        ValueError
            If a velocity axis is periodic.
        """
        if period is None:
            return None
        half = dimension // 2
        if any(length is not None for length in period[half:]):
            raise ValueError(f"period must be None along the velocity axes of a kinetic distance, not {period}")
        return tuple(None if length is None else self.position * length for length in period)

    def reference(self, reference: ArrayLike | Sampler | Law, dimension: int) -> ArrayLike | _Image:
        """Return the image of a reference, with its exact moments if it has them."""
        if sampler_of(reference) is None:
            return self.points(reference, dimension)  # type: ignore[arg-type]
        return _Image(self, reference, dimension)  # type: ignore[arg-type]


@dataclass(frozen=True)
class _Image:
    """A sampled law, mapped."""

    shear: Shear
    law: Sampler | Law
    dimension: int

    def sample(self, rng: np.random.Generator, m: int, /) -> Floats:
        """Return (m, D) draws of the law, mapped."""
        sampler = sampler_of(self.law)
        assert sampler is not None
        return self.shear.points(sampler(rng, m), self.dimension)

    @property
    def stratified(self) -> Sampler | None:
        """Draws with exact masses of components, mapped; None where the law has none."""
        return self._mapped("stratified")

    @property
    def evenly(self) -> Sampler | None:
        """Evenly spread draws, mapped; None where the law has none."""
        return self._mapped("evenly")

    def _mapped(self, name: str) -> Sampler | None:
        sampler: Sampler | None = getattr(self.law, name, None)
        if sampler is None:
            return None
        return lambda rng, m: self.shear.points(sampler(rng, m), self.dimension)

    @property
    def mean(self) -> Any:
        """L m for the law's mean m; None where the law does not say it."""
        mean: Any = getattr(self.law, "mean", None)
        if np.shape(mean) != (self.dimension,):
            return mean  # not known, or for `wasserstein` to refuse
        return np.einsum("ij,j->i", self._matrix, mean)

    @property
    def covariance(self) -> Any:
        """L C L^T for the law's covariance C; None where the law does not say it."""
        covariance: Any = getattr(self.law, "covariance", None)
        if np.shape(covariance) != (self.dimension, self.dimension):
            return covariance
        return np.einsum("ij,jk,lk->il", self._matrix, covariance, self._matrix)

    @property
    def _matrix(self) -> Floats:
        return np.asarray(np.kron(self.shear.matrix, np.eye(self.dimension // 2)), dtype=np.float64)


def sheared(
    shear: Shear,
    measure: Measure,
    reference: ArrayLike | Sampler | Law,
    p: float,
    precision: float | None,
    seed: int | np.random.Generator,
    cost: str,
) -> Bracket:
    """Return W_p^p of the images of a measure and a reference under a shear.

    Parameters
    ----------
    shear : Shear
    measure : Measure
        Points (N, D) = (x, v) with D even, positions first.
    reference, p, precision, seed
        As in ``mfstudy.wasserstein``. Where the reference carries an ``error``, a bound on its own W_2 error, the ends
        of the bracket are moved apart by what the map makes of it.
    cost : str
        Ground cost between images: "euclidean" or "kinetic".

    Returns
    -------
    Bracket

    Raises
    ------
    ValueError
        If the dimension is odd, a velocity is periodic, or as in ``mfstudy.wasserstein``.
    UncertifiedError
        As in ``mfstudy.wasserstein``.
    """
    dimension = measure.points.shape[1]
    if dimension % 2:
        raise ValueError(f"measure must have points (x, v) of even dimension, not of dimension {dimension}")
    bracket = wasserstein(
        shear.points(measure.points, dimension),
        shear.reference(reference, dimension),
        p,
        weights=measure.weights,
        cost=cost,
        period=shear.period(measure.period, dimension),
        precision=precision,
        seed=seed,
    )
    return widened(bracket, shear.expansion(p, cost) * error_of(reference))
