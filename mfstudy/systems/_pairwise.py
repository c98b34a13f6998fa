"""What systems of pairwise forces share.

    dx_i = v_i,   dv_i = sum_j w_j g(|x_i - x_j|^2) (q_j - q_i) + eta grad phi(x_i) + F(x_i),

q = v for alignment, q = x for the gradient of a radial potential.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Literal, Protocol

import numpy as np
from scipy.linalg import expm

from mfstudy.ensemble import Ensemble, Floats, Phase
from mfstudy.external import External
from mfstudy.forces import chemical
from mfstudy.forces.chemical import Signal
from mfstudy.forces.fourier import Region, Spectrum, spectrum
from mfstudy.forces.sums import (
    CROSSOVER,
    LOOSEST,
    MOST_MODES,
    TOLERANCE,
    ConstantSum,
    FourierSum,
    Profile,
    direct_sum,
    fourier_sum,
)
from mfstudy.laws import InitialLaw
from mfstudy.systems import OUTSIDE, Budget, Constants, Dynamics
from mfstudy.systems._bound import Bound, Medium

#: Part of its largest value that the spectrum of chi may have where it is cut off.
WORST_BAND = 0.3
#: Part of the box that is added for what particles emit, and factor to which a force may be less exact in a large box.
ALLOWANCE, RELAXED = 0.15, (1.0, 1e2, 1e4)
#: Largest displacement for which a box is tried.
LARGEST = 1e12


class Interaction(Protocol):
    """g as a hashable function of r^2."""

    def __call__(self, r2: Floats) -> Floats:
        """Return g."""
        ...

    def lipschitz(self, distance: float, apart: float) -> float:
        """Return the Lipschitz constant of g(|y|^2) q in (y, q) where |y| <= distance and |q| <= apart."""
        ...


@dataclass(frozen=True)
class Pairwise:
    """A pairwise force as a system describes it.

    Parameters
    ----------
    profile : Interaction
        g.
    constant : float or None
        g where it does not depend on the distance.
    of : str
        q: "velocity" or "position".
    growth : tuple of float
        (a, b): a force of the pairs that may push outwards is at most a + b |x|.
    potential : Profile or None
        K(r^2) where the force is a gradient.
    external : External or None
    eta : float
        Sensitivity to the signal.
    signal : Signal or None
    """

    profile: Interaction
    constant: float | None
    of: Literal["velocity", "position"]
    growth: tuple[float, float] = (0.0, 0.0)
    potential: Profile | None = None
    external: External | None = None
    eta: float = 0.0
    signal: Signal | None = None

    def admit(self, law: InitialLaw, horizon: float) -> None:
        """Refuse laws whose particles no box holds, and forces that no lattice carries."""
        if not math.isinf(law.moment_order):
            raise ValueError(
                f"law.kind: has moments only below {law.moment_order:g}, so that no box holds its particles;"
                " allowed in an interacting system: a law of bounded support, or with all moments"
            )
        for where, part in (("law.kind", law), ("system", self)):
            try:
                hash(part)
            except TypeError:
                raise ValueError(f"{where}: has a part that is not hashable; allowed: frozen dataclasses") from None
        self.on(law, horizon, None)

    def region(self, law: InitialLaw, horizon: float) -> Region:
        """Return a box for all particles up to a horizon.

        Alignment keeps each velocity component between the smallest and the largest, because psi >= 0. Forces push by
        at most a + b |x|, and a signal by its start; what particles emit attracts them to each other, so that there a
        part of the box is taken as allowance where it is less than the proved bound, which has all of them in one
        place. A particle that leaves the box fails its replicate.
        """
        x, v = np.split(law.box(OUTSIDE), 2)
        low = np.minimum(x[:, 0], x[:, 0] + horizon * v[:, 0])
        high = np.maximum(x[:, 1], x[:, 1] + horizon * v[:, 1])
        farthest, fastest = float(np.abs(x).max()), float(np.abs(v).max())
        extra, _ = self._pushed(farthest, fastest, horizon)
        if self.signal is not None:
            silent, _ = self._pushed(farthest, fastest, horizon, steepest=0.0)
            extra = min(extra, silent + ALLOWANCE * float((high - low).max()))
        if not extra < LARGEST:
            raise ValueError(
                f"system: its forces carry particles up to {extra:.1e} away by t = {horizon:g}; allowed: {LARGEST:.0e},"
                " so weaker forces or an earlier last save time"
            )
        margin = extra + 1e-3 * (high - low)  # for the error of a step, and of the band-limited chi
        return Region(tuple(map(float, low - margin)), tuple(map(float, high + margin)))

    def bounds(self, start: Ensemble, t: float) -> tuple[float, float]:
        """Bound max |x_i| and max |v_i| up to time t; Natalini and Paul, Proposition 7.2, corrected."""
        x, v = (float(np.linalg.norm(a, axis=1).max()) for a in (start.position, start.velocity))  # type: ignore[arg-type]
        further, faster = self._pushed(x, v, t)
        return x + t * v + further, v + faster

    def constants(self, start: Ensemble, t: float) -> Constants:
        """Return the constants of the forces among particles that stay within `bounds` up to time t."""
        farthest, fastest = self.bounds(start, t)
        constants = Constants(
            interaction=self.profile.lipschitz(2 * farthest, 2 * fastest),
            external=0.0 if self.external is None else self.external.lipschitz,
        )
        if self.signal is None:
            return constants
        return replace(
            constants,
            eta=self.eta,
            source_slope=self.signal.steepest_source,
            source_curvature=self.signal.sharpest_source,
            start_curvature=self.signal.sharpest_start,
        )

    def _pushed(self, x: float, v: float, t: float, steepest: float | None = None) -> tuple[float, float]:
        """Return y and y' at t of y'' = a + c t + b (x + v t + y), y(0) = y'(0) = 0; steepest is |grad chi|."""
        a, b = self.growth[0], 2 * self.growth[1]  # two particles are up to 2 |x| apart
        if self.external is not None:
            a, b = a + self.external.growth[0], b + self.external.growth[1]
        start, source = 0.0, 0.0
        if self.signal:
            start = self.eta * self.signal.steepest_start
            source = self.eta * (self.signal.steepest_source if steepest is None else steepest)
        matrix = np.zeros((4, 4))  # of (y, y', t, 1)
        matrix[0, 1] = matrix[2, 3] = 1.0
        matrix[1] = b, 0.0, source + b * v, a + start + b * x
        y, speed = expm(matrix * t)[:2, 3]
        return float(y), float(speed)

    def budget(self, size: int, dim: int) -> Budget:
        """Predict one evaluation (measured on one core; memory: arrays of the particles, grids of finufft)."""
        grid, each = {1: (2e-4, 1e-7), 2: (3e-3, 4e-7), 3: (4e-2, 2e-6)}[dim]
        fourier = self.constant is None or self.signal is not None
        return Budget(grid * fourier + each * size, 5e2 * size + {1: 1e6, 2: 1e8, 3: 5e8}[dim] * fourier)

    def on(self, law: InitialLaw, horizon: float, size: int | None) -> Bound:
        """Return the equations of motion for `size` particles of a law, None for a quadrature rule."""
        few = self.signal is None and size is not None and size <= CROSSOVER[len(law.mean) // 2]
        return _bound(self, law, horizon, few)


class PairwiseSystem:
    """What systems of pairwise forces offer alike; a component adds `dim` and its force, `_pairs`."""

    dim: int

    @cached_property
    def _pairs(self) -> Pairwise:
        raise NotImplementedError

    @property
    def phase(self) -> Phase:
        """Positions and velocities in R^dim."""
        return Phase(position=self.dim, velocity=self.dim)

    @property
    def roles(self) -> frozenset[str]:
        """Return "lipschitz", and "signal" where there is one."""
        return frozenset({"lipschitz", "signal"} if self._pairs.signal else {"lipschitz"})

    def budget(self, size: int) -> Budget:
        """Predict one evaluation for N particles."""
        return self._pairs.budget(size, self.dim)

    def admit(self, law: InitialLaw, horizon: float) -> None:
        """Refuse laws whose particles no box holds, and forces that no lattice carries."""
        self._pairs.admit(law, horizon)

    def dynamics(self, law: InitialLaw, horizon: float, size: int | None) -> Dynamics:
        """Return the equations of motion for `size` particles of a law up to a horizon, None for a quadrature rule."""
        return self._pairs.on(law, horizon, size)


@lru_cache(maxsize=4)
def _bound(pairs: Pairwise, law: InitialLaw, horizon: float, few: bool) -> Bound:
    """Choose the sums; kept, because spectra and plans of transforms are reused by every replicate."""
    d, signal = len(law.mean) // 2, pairs.signal
    if pairs.constant is not None and signal is None:
        return Bound(pairs, ConstantSum(pairs.constant), None, 0.0)
    region = pairs.region(law, horizon)
    if few:
        return Bound(pairs, direct_sum(pairs.profile, region), None, 0.0)
    least, wavenumber = (0.0,) * d, 0.0
    if signal is not None:
        least = signal.reach(region, horizon)
        most = math.pi * chemical.MOST_MODES[d] / max(least)
        wavenumber = max(min(signal.wavenumber, most), signal.start_wavenumber)
    found = _found(pairs.profile, region, least, wavenumber)
    medium = None if signal is None else Medium(pairs.eta, signal, found.lattice)
    if signal is not None and medium is not None and medium.edge < signal.start_wavenumber:
        raise ValueError(
            f"system.signal_width: {signal.width:g} is too narrow for a box of {max(found.lattice.period):.3g};"
            f" allowed: {signal.width * signal.start_wavenumber / medium.edge:.2g} or more"
        )
    if signal is not None and medium is not None and medium.beyond > WORST_BAND:
        raise ValueError(
            f"system.chi_radius: {signal.radius:g} is too small for a box of {max(found.lattice.period):.3g}, beyond"
            f" the last mode its spectrum is {medium.beyond:.1g} of its largest; allowed: {WORST_BAND} of it, about"
            f" {signal.radius * signal.wavenumber / medium.edge / 2:.1g} or more"
        )
    sums = fourier_sum(found, region, max(0.1 * found.error, 1e-14))
    return Bound(pairs, sums, medium, _force_error(pairs, sums, region, law, horizon))


def _found(profile: Profile, region: Region, least: tuple[float, ...], wavenumber: float) -> Spectrum:
    """Return the spectrum of the best tolerance that a lattice carries; in a large box a looser one has to do."""
    most, best = MOST_MODES[len(least)], TOLERANCE[len(least)]
    *others, last = [factor * best for factor in RELAXED if factor * best <= LOOSEST]
    for wanted in others:
        with contextlib.suppress(ValueError):  # where this one is not reached
            return spectrum(profile, region, wanted, least, wavenumber, most)
    return spectrum(profile, region, last, least, wavenumber, most)


def _force_error(pairs: Pairwise, sums: FourierSum, region: Region, law: InitialLaw, horizon: float) -> float:
    """Estimate the error of the acceleration: that of g and of the transforms, times the largest |q_j - q_i|."""
    x, v = np.split(law.box(OUTSIDE), 2)
    reach = region.lengths
    if pairs.of == "velocity":
        _, faster = pairs._pushed(float(np.abs(x).max()), float(np.abs(v).max()), horizon)
        reach = np.ptp(v, axis=1) + 2 * faster
    largest = abs(float(pairs.profile(np.zeros(1))[0]))
    return (sums.spectrum.error + sums.transform.tolerance) * largest * float(np.linalg.norm(reach))
