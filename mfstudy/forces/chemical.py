"""The chemical signal phi as Fourier modes, evolved exactly between the times at which its source is known.

d_t phi = D Laplace(phi) - kappa phi + chi * rho, phi(0) = phi_in (Natalini and Paul, (5), (6), (12), (15)).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfftn, next_fast_len
from scipy.special import gammaln, jv

from mfstudy.ensemble import Floats
from mfstudy.forces.fourier import Lattice, Modes, Region

#: Part of its largest value to which the spectrum of chi is kept, and the most modes an axis that it may ask for, by
#: dimension. The rest is cut off: the chi of the model is band-limited, identically for particles and mean field.
_KEPT = {1: 1e-5, 2: 2e-3, 3: 1e-2}
MOST_MODES = {1: 1025, 2: 161, 3: 45}
#: Where a supremum is looked for: the highest grid points, the local maxima among them, those near the highest.
CANDIDATES, PEAKS, NEAR = 256, 6, 0.7
#: Part of phi that may reach the region from periodic images.
_IMAGES = 1e-10


def bump_transform(dimension: int, power: float, z: Floats) -> Floats:
    """Return the Fourier transform of chi of radius 1 at wavenumbers z = |k|, 1 at 0.

    chi = c (1 - r^2)^m_+ with integral 1 in R^d has the transform Gamma(nu + 1) (2/z)^nu J_nu(z), nu = d/2 + m
    (Sonine's first integral, DLMF 10.22.5).
    """
    nu = 0.5 * dimension + power
    small = z < 1e-2
    safe = np.where(small, 1.0, z)
    large = np.exp(gammaln(nu + 1) + nu * np.log(2 / safe)) * jv(nu, safe)
    return np.where(small, 1 - z**2 / (4 * (nu + 1)) + z**4 / (32 * (nu + 1) * (nu + 2)), large)


@dataclass(frozen=True)
class Signal:
    """The parameters of phi.

    Parameters
    ----------
    diffusion, decay : float
        D, length^2/time, and kappa, 1/time; >= 0.
    radius, power : float
        chi = (1 - r^2/radius^2)^power_+, normalised to integral 1.
    amplitude, width : float
        phi_in = amplitude exp(-|x - centre|^2 / (2 width^2)).
    centre : tuple of float
        d entries.
    """

    diffusion: float
    decay: float
    radius: float
    power: float
    amplitude: float
    width: float
    centre: tuple[float, ...]

    @property
    def dimension(self) -> int:
        """Dimension d."""
        return len(self.centre)

    def reach(self, region: Region, horizon: float) -> tuple[float, ...]:
        """Return the least period along each axis at which no image of phi is felt in the region."""
        spread = 2 * self.diffusion * horizon
        tail = math.sqrt(2 * math.log(1 / _IMAGES))
        source = self.radius + tail * math.sqrt(spread)
        start = tail * math.sqrt(self.width**2 + spread) if self.amplitude else 0.0
        low, high = np.asarray(region.low), np.asarray(region.high)
        off = np.maximum(np.asarray(self.centre) - low, high - np.asarray(self.centre)) if self.amplitude else 0.0
        return tuple(map(float, np.maximum(high - low + source, off + 0.5 * (high - low) + start)))

    @cached_property
    def wavenumber(self) -> float:
        """The wavenumber from which on the spectrum of the source stays below `_KEPT`."""
        z = np.arange(0.0, 2000.0, 0.05)
        above = np.flatnonzero(np.abs(bump_transform(self.dimension, self.power, z)) > _KEPT[self.dimension])
        return float(z[above[-1]]) / self.radius

    @property
    def start_wavenumber(self) -> float:
        """The wavenumber from which on phi_in has nothing: exp(-k^2 width^2 / 2) < 1e-11."""
        return 7.1 / self.width if self.amplitude else 0.0

    def rates(self, lattice: Lattice) -> Floats:
        """Return D |k|^2 + kappa, the decay rate of each mode; 1/time."""
        return self.diffusion * lattice.square + self.decay

    def source(self, lattice: Lattice) -> Floats:
        """Return what a mode of rho adds to the same mode of phi per unit of time."""
        return bump_transform(self.dimension, self.power, self.radius * np.sqrt(lattice.square)) / lattice.volume

    def start(self, lattice: Lattice) -> Modes:
        """Return the modes of phi_in."""
        modes = np.zeros(lattice.shape, dtype=complex)
        if self.amplitude:
            mass = self.amplitude * (2 * math.pi * self.width**2) ** (0.5 * self.dimension) / lattice.volume
            shift = np.subtract(self.centre, lattice.centre)
            phase = sum(k * s for k, s in zip(lattice.wavenumbers, shift, strict=True))
            modes += mass * np.exp(-0.5 * self.width**2 * lattice.square - 1j * phase)
        return modes

    @property
    def _height(self) -> float:
        """radius^d chi(0) = Gamma(m + 1 + d/2) / (Gamma(m + 1) pi^(d/2))."""
        m, d = self.power, self.dimension
        return float(math.exp(math.lgamma(m + 1 + 0.5 * d) - math.lgamma(m + 1)) / math.pi ** (0.5 * d))

    def slope(self, r: Floats) -> Floats:
        """Return |grad chi| at distances r; 1/length^(d+1)."""
        m, d, c = self.power, self.dimension, self._height
        y = np.minimum(r / self.radius, 1.0)
        return np.asarray(2 * m * c * y * (1 - y * y) ** (m - 1) / self.radius ** (d + 1))

    @property
    def steepest_source(self) -> float:
        """Largest |grad chi|, at r^2/radius^2 = 1/(2 m - 1); 1/length^(d+1)."""
        return float(self.slope(np.array(self.radius / math.sqrt(2 * self.power - 1))))

    @property
    def steepest_start(self) -> float:
        """Largest |grad phi_in|; 1/length."""
        return abs(self.amplitude) * math.exp(-0.5) / self.width if self.amplitude else 0.0

    @property
    def sharpest_source(self) -> float:
        """Lip grad chi, the largest curvature; 1/length^(d+2).

        With u = r^2/radius^2 the curvature along r is (1 - u)^(m-2) ((2 m - 1) u - 1) times that at 0, extreme at
        u = 0 and u = 3/(2 m - 1), and that across is (1 - u)^(m-1) times it. The second extreme is the larger one for
        small m: twice the first for m = 2.
        """
        m = self.power
        centre = 2 * m * self._height / self.radius ** (self.dimension + 2)
        return float(centre * max(1.0, 2 * ((2 * m - 4) / (2 * m - 1)) ** (m - 2)))

    @property
    def sharpest_start(self) -> float:
        """Lip grad phi_in, the curvature at the centre; 1/length^2."""
        return abs(self.amplitude) / self.width**2


@dataclass(frozen=True)
class Supremum:
    """sup_x |grad u| of a real trigonometric polynomial u.

    Parameters
    ----------
    value : float
        Attained: |grad u| at one point, after Newton's method.
    upper : float
        Proved upper bound.
    """

    value: float
    upper: float


def gradient_supremum(lattice: Lattice, modes: Modes, waves: float = 4) -> Supremum:
    """Return sup_x |grad u(x)| of u = sum_k modes_k exp(i k.(x - centre)).

    The largest value on a grid of `waves` points per shortest wave, then Newton's method from the highest of its local
    maxima. The upper bound is the smaller of two. With r the largest distance of a point from the grid,
    sup <= grid value + (r^2 / 2) sum |k|^3 |modes_k|, because the component of grad u along its direction at the
    maximum is stationary there. And a polynomial of n waves along an axis of m points is at most 1 / cos(pi n / m)
    times its largest value on the grid (Ehlich and Zeller, Math. Z. 86, 1964); modes beyond any n are bounded by
    their sum instead.

    Parameters
    ----------
    lattice : Lattice
    modes : (*shape) array
        Hermitian.
    waves : float
        Grid points per shortest wave, > 2.
    """
    slopes = np.abs(modes) * np.sqrt(lattice.square)
    if not slopes.any():
        return Supremum(0.0, 0.0)
    half = modes.shape[-1] // 2
    axes = [*lattice.wavenumbers[:-1], lattice.wavenumbers[-1][..., half:]]
    gradient = np.stack([1j * k * modes[..., half:] for k in axes])
    counts = [next_fast_len(max(math.ceil(waves * (m // 2)), m)) for m in lattice.shape]
    square = np.sum([_on_grid(component, counts) ** 2 for component in gradient], axis=0)
    on_grid = math.sqrt(float(square.max()))
    spacing = np.asarray(lattice.period) / counts
    hidden = 0.125 * float(np.sum(spacing**2)) * float(np.sum(slopes * lattice.square))
    value = on_grid
    for peak in _peaks(square):
        if math.sqrt(float(square[tuple(peak)])) + hidden > value:  # else what is near cannot be larger
            value = max(value, _ascent(axes, gradient, peak * spacing, spacing))
    return Supremum(value, max(min(on_grid + hidden, _between(slopes, counts, on_grid)), value))


def _between(slopes: Floats, counts: list[int], on_grid: float) -> float:
    """Return the bound of Ehlich and Zeller, the best over the number of waves that are not bounded by their sum."""
    index = [np.abs(np.arange(m) - m // 2) for m in slopes.shape]
    shell = np.max(np.broadcast_arrays(*np.meshgrid(*index, indexing="ij", sparse=True)), axis=0)
    mass = np.bincount(shell.ravel(), weights=slopes.ravel())
    beyond = np.append(np.cumsum(mass[::-1])[::-1][1:], 0.0)
    n = np.arange(len(mass))[:, None]
    angles = np.minimum(n, np.asarray(slopes.shape) // 2) / np.asarray(counts)
    factor = np.prod(1 / np.cos(math.pi * angles), axis=1)
    return float(np.min(factor * (on_grid + beyond) + beyond))


def _on_grid(half: Modes, counts: list[int]) -> Floats:
    """Return a real field, given by its modes >= 0 along the last axis, on a grid that starts at the centre."""
    padded = np.zeros((*counts[:-1], counts[-1] // 2 + 1), dtype=complex)
    wrapped = [np.arange(-(m // 2), m // 2 + 1) % n for m, n in zip(half.shape[:-1], counts[:-1], strict=True)]
    padded[np.ix_(*wrapped, np.arange(half.shape[-1]))] = half
    return np.asarray(irfftn(padded, s=counts, workers=1)) * math.prod(counts)


def _peaks(square: Floats) -> list[NDArray[np.int64]]:
    """Return the indices of the highest grid points that are no neighbours of a higher one."""
    highest = np.argpartition(square.ravel(), -min(CANDIDATES, square.size))[-CANDIDATES:]
    ordered = highest[np.argsort(-square.ravel()[highest], kind="stable")]
    found: list[NDArray[np.int64]] = []
    shape = np.array(square.shape)
    for index in np.stack(np.unravel_index(ordered, square.shape), axis=1):
        # Differences on the torus; a neighbour differs by at most 1 along each axis.
        apart = [np.abs((index - other + shape // 2) % shape - shape // 2).max() for other in found]
        if min(apart, default=2) > 1:
            found.append(index)
        if len(found) == PEAKS:
            break
    return [peak for peak in found if square[tuple(peak)] > NEAR * square.max()]


def _ascent(axes: list[Floats], gradient: Modes, x: Floats, spacing: Floats) -> float:
    """Return the largest |grad u| that Newton's method for |grad u|^2 meets from x.

    Curvatures are made negative, so that it climbs, also along a ridge; a step stays within a cell.
    """
    best = 0.0
    for _ in range(5):
        value, first, second = _derivatives(axes, gradient, x)
        best = max(best, float(np.linalg.norm(value)))
        # Half the gradient of |grad u|^2, and half its Hessian.
        slope, curvature = first @ value, first @ first.T + second @ value
        bends, directions = np.linalg.eigh(curvature)
        bends = np.maximum(np.abs(bends), 1e-6 * np.abs(bends).max() + 1e-300)
        step = np.clip(directions @ ((directions.T @ slope) / bends), -0.5 * spacing, 0.5 * spacing)
        if np.all(np.abs(step) < 1e-7 * spacing):  # the value is right to the square of that
            break
        x = x + step
    return best


def _derivatives(axes: list[Floats], gradient: Modes, x: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the fields grad u (c,), d_a (a, c) and d_a d_b (a, b, c) at the offset x from the centre."""
    d, out = len(axes), gradient
    for axis in range(d - 1, -1, -1):  # contract the last mode axis; one axis of derivative orders 0, 1, 2 for each
        k = axes[axis].ravel()
        wave = np.exp(1j * k * x[axis])
        if axis == d - 1:
            wave[1:] *= 2  # the modes < 0 are the conjugates
        out = np.tensordot(out, np.stack([wave, 1j * k * wave, -k * k * wave], axis=1), axes=([1 + axis], [0]))
    field = out.real.transpose(0, *range(d, 0, -1))  # (c, order of axis 0, order of axis 1, ...)
    unit = np.eye(d, dtype=int)

    def at(orders: Any) -> Floats:
        return np.asarray(field[(slice(None), *orders)])

    first = np.stack([at(unit[a]) for a in range(d)])
    second = np.stack([np.stack([at(unit[a] + unit[b]) for b in range(d)]) for a in range(d)])
    return at([0] * d), first, second
