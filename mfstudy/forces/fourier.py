"""Sums over sources as trigonometric polynomials, by the non-uniform fast Fourier transform. The only finufft.

Everything here lives on a torus that is larger than the region of the particles: a kernel is made periodic by a smooth
window that is 1 on all differences of two particles, so that its coefficients decay fast and images never meet.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import finufft
import numpy as np
from numpy.typing import NDArray
from scipy.fft import fftn
from scipy.special import erfc, erfcinv

from mfstudy.ensemble import Floats

Modes = NDArray[np.complex128]
"""Fourier coefficients in centred order, the wavenumber 0 in the middle of each axis; odd lengths."""

#: Part of the tolerance that the window may use up.
WINDOW = 0.1
#: Oversampling of finufft's grid: 2 is faster, except where few points meet a large grid (measured, frozen).
_FINE, _COARSE = 2.0, 1.25


class OutOfDomainError(ValueError):
    """A particle is outside the region for which the force was built."""


@dataclass(frozen=True)
class Region:
    """A box that holds all particles up to the horizon.

    Parameters
    ----------
    low, high : tuple of float
        d ends each, in units of length.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]

    @property
    def lengths(self) -> Floats:
        """Edge lengths, (d,): the largest difference of two particles along each axis."""
        return np.subtract(self.high, self.low)

    def require(self, points: Floats) -> None:
        """Raise OutOfDomainError unless all (n, d) points are inside."""
        # One reduction an axis: the comparison is false for NaN too.
        for axis, (low, high) in enumerate(zip(self.low, self.high, strict=True)):
            if not (points[:, axis].min() >= low and points[:, axis].max() <= high):
                raise OutOfDomainError(
                    f"a particle left its box: axis {axis} has {points[:, axis].min():.6g} to"
                    f" {points[:, axis].max():.6g}; allowed: {low:.6g} to {high:.6g}"
                )


@dataclass(frozen=True)
class Lattice:
    """A torus and the wavenumbers on it.

    Parameters
    ----------
    centre, period : tuple of float
        d entries each, in units of length.
    shape : tuple of int
        Number of wavenumbers of each axis, odd.
    """

    centre: tuple[float, ...]
    period: tuple[float, ...]
    shape: tuple[int, ...]

    @cached_property
    def wavenumbers(self) -> tuple[Floats, ...]:
        """Wavenumbers k of each axis, shaped to broadcast over the lattice; 1/length."""
        axes = [(np.arange(m) - m // 2) * (2 * math.pi / p) for m, p in zip(self.shape, self.period, strict=True)]
        return tuple(np.meshgrid(*axes, indexing="ij", sparse=True))

    @cached_property
    def square(self) -> Floats:
        """|k|^2 over the lattice."""
        return np.asarray(sum(k * k for k in self.wavenumbers))

    @property
    def volume(self) -> float:
        """Volume of the torus."""
        return math.prod(self.period)


class Transform:
    """Both transforms between points and the modes of a lattice, exact adjoints of each other at any tolerance.

    Real strengths travel in pairs, as real and imaginary part of one complex transform: `packed` modes.

    Parameters
    ----------
    lattice : Lattice
    tolerance : float
        Relative error of finufft; dimensionless.
    """

    def __init__(self, lattice: Lattice, tolerance: float) -> None:
        self.lattice, self.tolerance = lattice, tolerance
        self._plans: dict[tuple[int, int, float], finufft.Plan] = {}
        self._lock = threading.Lock()  # a plan holds the points of the call in progress

    def modes(self, points: Floats, strengths: Floats) -> Modes:
        """Return sum_j s_j exp(-i k.(x_j - centre)), packed.

        Parameters
        ----------
        points : (n, d) array
        strengths : (n, c) array

        Returns
        -------
        (ceil(c / 2), *shape) array
        """
        pairs = _packed(strengths)
        with self._lock:
            found = self._plan(1, len(pairs), points).execute(pairs if len(pairs) > 1 else pairs[0])
        return np.asarray(found).reshape(-1, *self.lattice.shape)

    def values(self, points: Floats, packed: Modes, count: int) -> Floats:
        """Return the first `count` real fields of packed modes, sum_k F_k exp(i k.(x - centre)), at (n, d) points.

        Returns
        -------
        (n, count) array
        """
        with self._lock:
            found = self._plan(2, len(packed), points).execute(packed if len(packed) > 1 else packed[0])
        out = np.asarray(found).reshape(len(packed), -1)
        return np.ascontiguousarray(out.T).view(np.float64)[:, :count]

    def _plan(self, kind: int, transforms: int, points: Floats) -> finufft.Plan:
        shape = self.lattice.shape
        few = len(shape) == 3 and self.tolerance > 1e-9 and max(64000, 2 * len(points)) <= math.prod(shape)
        key = (kind, transforms, _COARSE if few else _FINE)
        if key not in self._plans:
            sign = -1 if kind == 1 else 1
            self._plans[key] = finufft.Plan(
                kind, shape, transforms, self.tolerance, sign, nthreads=1, upsampfac=key[2], dtype="complex128"
            )
        plan = self._plans[key]
        scale = 2 * math.pi / np.asarray(self.lattice.period)
        angles = np.ascontiguousarray(((points - self.lattice.centre) * scale).T)
        plan.setpts(*angles)
        return plan


def _packed(strengths: Floats) -> Modes:
    """Return (n, c) reals as (ceil(c / 2), n) complex numbers."""
    n, count = strengths.shape
    if count % 2:
        strengths = np.concatenate([strengths, np.zeros((n, 1))], axis=1)
    return np.ascontiguousarray(np.ascontiguousarray(strengths).view(np.complex128).T)


def first_real(packed: Modes) -> Modes:
    """Return the modes of the first real field of packed modes: its Hermitian part."""
    first = packed[0]
    return np.asarray(0.5 * (first + np.conj(first[(slice(None, None, -1),) * first.ndim])))


def add_real(packed: Modes, index: int, modes: Modes) -> None:
    """Add a real field, given by Hermitian modes, to the index-th field of packed modes, in place."""
    packed[index // 2] += modes if index % 2 == 0 else 1j * modes


@dataclass(frozen=True)
class Spectrum:
    """Fourier coefficients of a windowed kernel on a lattice.

    Parameters
    ----------
    lattice : Lattice
    coefficients : (*shape) array
        Real and even: the kernel is.
    error : float
        Bound on what was dropped, relative to the kernel's largest value.
    """

    lattice: Lattice
    coefficients: Floats
    error: float


@lru_cache(maxsize=8)
def spectrum(
    profile: Callable[[Floats], Floats],
    region: Region,
    tolerance: float,
    least_period: tuple[float, ...],
    least_wavenumber: float,
    most_modes: int,
) -> Spectrum:
    """Return the coefficients of the kernel profile(|z|^2) for all differences z of two points of a region.

    The sum of the dropped coefficients bounds the error on these differences, whatever the points are.

    Parameters
    ----------
    profile : callable
        Radial profile as a function of r^2, hashable.
    region : Region
    tolerance : float
        Wanted error relative to the largest value of the profile.
    least_period : tuple of float
        The torus is at least this large along each axis.
    least_wavenumber : float
        Each axis reaches at least this wavenumber, as far as `most_modes` allows.
    most_modes : int
        Largest number of modes of an axis.

    Raises
    ------
    ValueError
        If the tolerance cannot be reached.
    """
    sizes = [most_modes]
    while sizes[0] > 64:  # look on small grids first
        sizes.insert(0, sizes[0] // 2 | 1)
    for most in sizes:
        found = []
        for stretch in (2.5, 3.0, 3.5, 4.0, 5.0):
            period = np.maximum(stretch * region.lengths, least_period)
            shape, coefficients, error = _windowed(profile, region.lengths, period, tolerance, most)
            wanted = 2 * np.ceil(least_wavenumber * period / (2 * math.pi)).astype(int) + 1
            shape = np.maximum(shape, np.minimum(wanted, most_modes))
            found.append((max(error, tolerance), math.prod(map(int, shape)), error, period, shape, coefficients))
        _, _, error, period, shape, coefficients = min(found, key=lambda one: one[:3])
        if error <= tolerance:
            break
    else:
        raise _too_large(region, least_period, most_modes, error, tolerance)
    centre = tuple(0.5 * (low + high) for low, high in zip(region.low, region.high, strict=True))
    lattice = Lattice(centre, tuple(map(float, period)), tuple(map(int, shape)))
    return Spectrum(lattice, _middle(coefficients, lattice.shape), float(error))


def _too_large(
    region: Region, least_period: tuple[float, ...], most_modes: int, error: float, tolerance: float
) -> ValueError:
    """Say why no lattice carries a kernel."""
    box = " x ".join(f"{length:.3g}" for length in region.lengths)
    torus = " x ".join(f"{length:.3g}" for length in least_period)
    return ValueError(
        f"system: a box of {box} for the particles (and {torus} for their signal) is too large for the force's"
        f" range: with {most_modes} modes an axis the error is {error:.1e}; allowed: {tolerance:.0e}, so a smaller"
        " support, an earlier last save time, less diffusion or a longer range"
    )


def _windowed(
    profile: Callable[[Floats], Floats], lengths: Floats, period: Floats, tolerance: float, most_modes: int
) -> tuple[NDArray[np.int64], Floats, float]:
    """Return the least shape that meets the tolerance, all computed coefficients, and the error of that shape."""
    fine = np.full(len(lengths), int((2 if len(lengths) < 3 else 1.5) * most_modes) | 1)
    grids = [(np.arange(m) - m // 2) * (p / m) for m, p in zip(fine, period, strict=True)]
    # Half an erfc is missing from the window at each edge of the region, and an image adds as much.
    steep = float(erfcinv(min(2 * WINDOW * tolerance / (2 * len(lengths)), 0.5)))
    total = np.zeros(tuple(fine))
    for image in itertools.product((-1, 0, 1), repeat=len(lengths)):
        shifted = [g + p * i for g, p, i in zip(grids, period, image, strict=True)]
        windows = [
            0.5 * erfc(steep * (2 * np.abs(z) - p) / (p - 2 * length))
            for z, p, length in zip(shifted, period, lengths, strict=True)
        ]
        # Far images have a vanishing window along some axis: only the rest is evaluated.
        keep = [np.flatnonzero(w > 1e-3 * tolerance) for w in windows]
        if min(map(len, keep)) == 0:
            continue
        z = np.meshgrid(*[s[i] for s, i in zip(shifted, keep, strict=True)], indexing="ij", sparse=True)
        w = np.meshgrid(*[s[i] for s, i in zip(windows, keep, strict=True)], indexing="ij", sparse=True)
        total[np.ix_(*keep)] += profile(np.asarray(sum(a * a for a in z))) * math.prod(w[1:], start=w[0])
    rolled = np.fft.ifftshift(total)
    coefficients = np.fft.fftshift(fftn(rolled, workers=1)).real / total.size
    return _least_shape(coefficients, float(np.abs(total).max()) or 1.0, tolerance, most_modes, period)


def _least_shape(
    coefficients: Floats, scale: float, tolerance: float, most_modes: int, period: Floats
) -> tuple[NDArray[np.int64], Floats, float]:
    """Find the least reach k_max, the same along all axes, whose dropped coefficients stay below the tolerance."""
    sizes = np.abs(coefficients) / scale
    half = np.asarray(coefficients.shape) // 2
    # Wavenumber, in units of the longest axis' spacing, at which each coefficient is first kept.
    spacing = period.max() / period
    index = [np.abs(np.arange(n) - h) * s for n, h, s in zip(coefficients.shape, half, spacing, strict=True)]
    shell = np.ceil(np.max(np.broadcast_arrays(*np.meshgrid(*index, indexing="ij", sparse=True)), axis=0) - 1e-9)
    mass = np.bincount(shell.astype(int).ravel(), weights=sizes.ravel())
    dropped = np.append(np.cumsum(mass[::-1])[::-1][1:], 0.0)
    good = dropped <= (1 - WINDOW) * tolerance
    reach = min(int(np.argmax(good)) if good.any() else len(dropped), most_modes // 2)
    shape = 2 * np.minimum(np.floor(reach / spacing + 1e-9).astype(int), most_modes // 2) + 1
    return shape, coefficients, float(dropped[min(reach, len(dropped) - 1)] + WINDOW * tolerance)


def _middle(coefficients: Floats, shape: tuple[int, ...]) -> Floats:
    """Cut, or pad with zeros, the middle block of centred coefficients."""
    out = np.zeros(shape)
    kept = [min(a, b) // 2 for a, b in zip(coefficients.shape, shape, strict=True)]
    source = tuple(slice(n // 2 - r, n // 2 + r + 1) for n, r in zip(coefficients.shape, kept, strict=True))
    target = tuple(slice(n // 2 - r, n // 2 + r + 1) for n, r in zip(shape, kept, strict=True))
    out[target] = coefficients[source]
    return out
