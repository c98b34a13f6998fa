"""One interface for every sum over sources, S_c(x) = sum_j g(|x - x_j|^2) s_jc, and the choice of how to take it.

What sources hand to targets, the parts, is one array, so that it can be kept: particles, quadrature nodes and tracers
share every line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mfstudy.ensemble import Floats
from mfstudy.forces.fourier import Region, Spectrum, Transform
from mfstudy.forces.pairwise import Rational, pair_sums, rational

Profile = Callable[[Floats], Floats]
"""g as a function of r^2; hashable."""

#: Error of a sum relative to the largest value of g, by dimension. finufft is asked for a tenth of it.
TOLERANCE = {1: 1e-12, 2: 1e-10, 3: 1e-5}
LOOSEST = 1e-5
#: Most modes of an axis.
MOST_MODES = {1: 4097, 2: 513, 3: 81}
#: Number of sources up to which direct sums are faster (measured with finufft, frozen).
CROSSOVER = {1: 340, 2: 900, 3: 4000}


class Sum(Protocol):
    """How the sums of one kernel are taken."""

    @property
    def description(self) -> str:
        """How, and how exactly; a few words."""
        ...

    def source(self, points: Floats, strengths: Floats) -> NDArray[Any]:
        """Return the parts of n sources with c strengths each.

        Raises
        ------
        OutOfDomainError
            If a source is outside the region of the kernel.
        """
        ...

    def at(self, targets: Floats, parts: NDArray[Any], count: int) -> Floats:
        """Return the (n, count) sums at targets (n, d); errors as in `source`."""
        ...


@dataclass(frozen=True, eq=False)
class ConstantSum:
    """g does not depend on the distance: sums are totals, in O(n)."""

    value: float
    description: str = "totals, exact"

    def source(self, points: Floats, strengths: Floats) -> NDArray[Any]:
        """Return g times the totals of the strengths, (c,)."""
        del points
        return np.asarray(self.value * strengths.sum(axis=0))

    def at(self, targets: Floats, parts: NDArray[Any], count: int) -> Floats:
        """Return the totals at each target."""
        return np.broadcast_to(parts[:count], (len(targets), count))


@dataclass(frozen=True, eq=False)
class DirectSum:
    """All pairs, with g as a rational function: the oracle, and the fastest for few sources."""

    profile: Rational
    region: Region

    @property
    def description(self) -> str:
        """The error of the rational function."""
        return f"sums over all pairs, error {self.profile.error:.0e}"

    def source(self, points: Floats, strengths: Floats) -> NDArray[Any]:
        """Return points and strengths side by side, (n, d + c)."""
        self.region.require(points)
        return np.concatenate([points, strengths], axis=1)

    def at(self, targets: Floats, parts: NDArray[Any], count: int) -> Floats:
        """Return the sums over all pairs."""
        self.region.require(targets)
        d = targets.shape[1]
        return pair_sums(targets, parts[:, :d], parts[:, d : d + count], self.profile)


@dataclass(frozen=True, eq=False)
class FourierSum:
    """Trigonometric polynomials: near-linear cost, and parts of fixed size whatever the number of sources."""

    spectrum: Spectrum
    transform: Transform
    region: Region

    @property
    def description(self) -> str:
        """The lattice, the box of the particles, and the bound on the error."""
        shape = " x ".join(map(str, self.spectrum.lattice.shape))
        box = " x ".join(
            f"[{low:.3g}, {high:.3g}]" for low, high in zip(self.region.low, self.region.high, strict=True)
        )
        return f"Fourier sums of {shape} modes for particles in {box}, error below {self.spectrum.error:.0e}"

    def source(self, points: Floats, strengths: Floats) -> NDArray[Any]:
        """Return the packed modes of g * sources."""
        return np.asarray(self.density(points, strengths) * self.spectrum.coefficients)

    def density(self, points: Floats, strengths: Floats) -> NDArray[Any]:
        """Return the packed modes of the sources themselves."""
        self.region.require(points)
        return self.transform.modes(points, strengths)

    def at(self, targets: Floats, parts: NDArray[Any], count: int) -> Floats:
        """Return the polynomials' values."""
        self.region.require(targets)
        return self.transform.values(targets, parts, count)


def direct_sum(profile: Profile, region: Region) -> DirectSum:
    """Return the sum over all pairs of points of a region."""
    return DirectSum(_rational(profile, float(np.sum(region.lengths**2))), region)


@lru_cache(maxsize=8)
def _rational(profile: Profile, upper: float) -> Rational:
    return rational(profile, upper)


def fourier_sum(spectrum: Spectrum, region: Region, tolerance: float) -> FourierSum:
    """Return the sum on a lattice; tolerance is that of the transforms, dimensionless."""
    return FourierSum(spectrum, Transform(spectrum.lattice, tolerance), region)
