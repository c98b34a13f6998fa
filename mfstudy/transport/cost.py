"""Ground costs between points of phase space, and the periods of its axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

from mfstudy.ensemble import Floats

COSTS = ("euclidean", "kinetic")
Period = float | Sequence[float | None] | None


@dataclass(frozen=True)
class Cost:
    """The cost |x - y|^p, or the sum |x - y|^p + |v - w|^p of its blocks; along periodic axes the shorter way round.

    Parameters
    ----------
    p : float
        Order, >= 1, dimensionless.
    periods : tuple of (float or None), optional
        One entry for each axis, None = not periodic; None = no axis is. In units of length.
    split : int, optional
        Number of axes of the first block; 0 = one block. The cost of Iacobelli (ARMA 244, 2022, Definition 1.1) has
        position and velocity as blocks; for p = 2 it is that of one block.
    """

    p: float
    periods: tuple[float | None, ...] | None = None
    split: int = 0

    def blocks(self, dimension: int) -> tuple[slice, ...]:
        """Return the axes of each block, for points of R^dimension."""
        if self.split == 0 or self.p == 2:
            return (slice(0, dimension),)
        return slice(0, self.split), slice(self.split, dimension)

    def wrapped(self, points: Floats) -> Floats:
        """Return points (N, D) with coordinates in [0, period) along periodic axes."""
        if self.periods is None:
            return points
        points = points.copy()
        for axis, length in enumerate(self.periods):
            if length is not None:
                points[:, axis] %= length
        return points

    def matrix(self, points: Floats, other: Floats) -> Floats:
        """Return the pair costs (N, M) of points (N, D) and others (M, D).

        From coordinate differences, never through a matrix product: the bytes do not depend on BLAS threads.
        """
        costs: Floats | None = None
        for block in self.blocks(points.shape[1]):
            part = self._squared(points, other, block)
            if self.p != 2:
                np.power(part, 0.5 * self.p, out=part)
            costs = part if costs is None else np.add(costs, part, out=costs)
        assert costs is not None
        return costs

    def along(self, points: Floats, other: Floats) -> Floats:
        """Return the costs (M,) of pairs of points (M, D) and (M, D)."""
        difference = points - other
        for axis, length in enumerate(self.periods or ()):
            if length is not None:
                difference[:, axis] -= length * np.round(difference[:, axis] / length)
        np.square(difference, out=difference)
        parts = [difference[:, block].sum(axis=1) for block in self.blocks(points.shape[1])]
        return np.asarray(sum(part if self.p == 2 else part ** (0.5 * self.p) for part in parts))

    def _squared(self, points: Floats, other: Floats, block: slice) -> Floats:
        if self.periods is None or all(length is None for length in self.periods[block]):
            return np.asarray(cdist(points[:, block], other[:, block], "sqeuclidean"))
        squared = np.zeros((len(points), len(other)))
        for axis in range(block.start, block.stop):
            difference = np.subtract.outer(points[:, axis], other[:, axis])
            if (length := self.periods[axis]) is not None:
                difference -= length * np.round(difference / length)
            squared += np.square(difference, out=difference)
        return squared


def axis_periods(period: Period, dimension: int) -> tuple[float | None, ...] | None:
    """Return one period (or None) per axis, or None where no axis is periodic.

    Parameters
    ----------
    period : float, sequence of (float or None), or None
        In units of length.
    dimension : int
        Number of axes D.

    Raises
    ------
    ValueError
        If the length is not D, or a period is not positive and finite.
    """
    if period is None:
        return None
    periods = (period,) * dimension if isinstance(period, int | float) else tuple(period)
    if len(periods) != dimension:
        raise ValueError(
            f"period has {len(periods)} entries, it needs a number or one entry for each of {dimension} axes"
        )
    if not all(entry is None or 0 < entry < np.inf for entry in periods):
        raise ValueError(
            f"period must be positive and finite, or None along an axis that is not periodic, not {period}"
        )
    return None if all(entry is None for entry in periods) else periods


def ground_cost(name: str, p: float, periods: tuple[float | None, ...] | None, dimension: int) -> Cost:
    """Return a cost by name.

    Parameters
    ----------
    name : str
        "euclidean", or "kinetic" for points (x, v) of even dimension, halves.
    p : float
        Order, >= 1.
    periods : tuple of (float or None) or None
        As `axis_periods` returns.
    dimension : int
        Number of axes D.

    Raises
    ------
    ValueError
        If the name is not known, or "kinetic" meets an odd dimension.
    """
    if name not in COSTS:
        raise ValueError(f"cost {name!r} is not known, allowed: {', '.join(COSTS)}")
    if name == "euclidean":
        return Cost(p, periods)
    if dimension % 2:
        raise ValueError(f"cost 'kinetic' needs points (x, v) of even dimension, not of dimension {dimension}")
    return Cost(p, periods, dimension // 2)
