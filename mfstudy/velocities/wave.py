"""Sinusoidal shear: each velocity component varies along the next axis."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from mfstudy.checks import check_number
from mfstudy.ensemble import Floats


@dataclass(frozen=True)
class Wave:
    """u_a(x) = amplitude * sin(wavenumber * x_b + a), b = (a + 1) mod d, for a = 0, ..., d - 1.

    Without divergence for d >= 2; in d = 1 the wave amplitude * sin(wavenumber * x), which steepens.

    Parameters
    ----------
    amplitude : float
        Largest speed along an axis, dimensionless.
    wavenumber : float
        Radians per unit of length, dimensionless. The phase a is in radians.
    """

    scheme: ClassVar[int] = 1

    amplitude: float = field(metadata={"unit": "dimensionless"})
    wavenumber: float = field(metadata={"unit": "dimensionless"})

    def __post_init__(self) -> None:
        check_number("amplitude", self.amplitude)
        check_number("wavenumber", self.wavenumber)

    def at(self, positions: Floats) -> Floats:
        """Return u at n positions, (n, d) -> (n, d)."""
        return self.amplitude * np.sin(self._phases(positions))

    def jacobian(self, positions: Floats) -> Floats:
        """Return the derivatives of u at n positions, (n, d) -> (n, d, d)."""
        n, d = positions.shape
        a = np.arange(d)
        derivatives = np.zeros((n, d, d))
        derivatives[:, a, (a + 1) % d] = self.amplitude * self.wavenumber * np.cos(self._phases(positions))
        return derivatives

    def bounds(self, box: Floats) -> Floats:
        """Return the box that is u(box) to round-off, which it contains, (d, 2) -> (d, 2)."""
        if self.wavenumber == 0:  # also where the box is infinite
            box = np.zeros_like(box)
        ranges = [_range_of_sine(*sorted(phases)) for phases in self._phases(box.T).T]
        return np.sort(self.amplitude * np.array(ranges), axis=1)

    def _phases(self, positions: Floats) -> Floats:
        """Return wavenumber * x_{(a+1) mod d} + a, (n, d) -> (n, d)."""
        return self.wavenumber * np.roll(positions, -1, axis=1) + np.arange(positions.shape[1])


def _range_of_sine(low: float, high: float) -> tuple[float, float]:
    """Return the ends of sin([low, high]), moved apart by the few ulp that two sines may be wrong."""
    if not high - low < 2 * math.pi:
        return -1.0, 1.0
    ends = math.sin(low), math.sin(high)
    slack = 4 * np.finfo(np.float64).eps
    # A crest pi/2 + 2 pi m lies in the interval where its number m is passed; a trough is a crest of -sin.
    crest, trough = (
        math.floor((high - at) / (2 * math.pi)) >= math.ceil((low - at) / (2 * math.pi))
        for at in (math.pi / 2, -math.pi / 2)
    )
    return (
        -1.0 if trough else max(min(ends) - slack, -1.0),
        1.0 if crest else min(max(ends) + slack, 1.0),
    )
