"""Pairwise equations of motion with their sums chosen."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from mfstudy.ensemble import Ensemble, Floats, State
from mfstudy.forces.chemical import Signal, bump_transform
from mfstudy.forces.fourier import Lattice, Modes, add_real, first_real, spectrum
from mfstudy.forces.sums import (
    MOST_MODES,
    ConstantSum,
    DirectSum,
    FourierSum,
    Profile,
    Sum,
    direct_sum,
    fourier_sum,
)
from mfstudy.systems import Constants, Parts

if TYPE_CHECKING:
    from mfstudy.systems._pairwise import Pairwise


@dataclass(frozen=True, eq=False)
class Medium:
    """A signal on a lattice.

    Parameters
    ----------
    eta : float
    signal : Signal
    lattice : Lattice
    """

    eta: float
    signal: Signal
    lattice: Lattice

    @property
    def edge(self) -> float:
        """The wavenumber up to which the lattice has every mode."""
        return min(math.pi * (m - 1) / p for m, p in zip(self.lattice.shape, self.lattice.period, strict=True))

    @cached_property
    def beyond(self) -> float:
        """Largest value of the spectrum of chi beyond the edge, relative to its largest."""
        z = self.signal.radius * np.linspace(self.edge, 3 * self.edge, 2000)
        return float(np.abs(bump_transform(self.signal.dimension, self.signal.power, z)).max())

    @cached_property
    def decay(self) -> Floats:
        """D |k|^2 + kappa of each mode."""
        return self.signal.rates(self.lattice)

    @cached_property
    def emission(self) -> Floats:
        """What a mode of the density adds to the same mode of the signal."""
        return self.signal.source(self.lattice)


@dataclass(frozen=True, eq=False)
class Bound:
    """A pairwise force with the sums chosen; implements `mfstudy.systems.Dynamics`."""

    pairs: Pairwise
    sums: Sum
    medium: Medium | None
    error: float

    @property
    def decay(self) -> Floats | None:
        """D |k|^2 + kappa of each mode of the signal."""
        return None if self.medium is None else self.medium.decay

    @property
    def description(self) -> str:
        """How the sums are taken, and where the band of chi ends."""
        if self.medium is None:
            return self.sums.description
        return (
            f"{self.sums.description}; chi is cut off at the wavenumber {self.medium.edge:.3g}, beyond which its"
            f" spectrum is at most {self.medium.beyond:.1g} of its largest"
        )

    @property
    def lattice(self) -> Lattice | None:
        """The lattice of the signal."""
        return None if self.medium is None else self.medium.lattice

    @property
    def slope_error(self) -> float:
        """The error of the transforms in grad chi * rho."""
        if self.medium is None:
            return 0.0
        assert isinstance(self.sums, FourierSum)
        slopes = np.abs(self.medium.emission) * np.sqrt(self.medium.lattice.square)
        return self.sums.transform.tolerance * float(slopes.sum())

    def start(self, ensemble: Ensemble) -> State:
        """Return particles with the modes of phi_in."""
        medium = self.medium
        return State(ensemble, None if medium is None else medium.signal.start(medium.lattice))

    def _charges(self, ensemble: Ensemble) -> tuple[Floats, Floats]:
        """Return positions (n, d) and strengths w, w q (n, d + 1)."""
        x, q = ensemble.position, getattr(ensemble, self.pairs.of)
        assert x is not None
        w = np.full((len(x), 1), 1 / len(x)) if ensemble.weights is None else ensemble.weights[:, None]
        return x, np.concatenate([w, w * q], axis=1)

    def source(self, state: State) -> Parts:
        """Return the fields of mass and of q, the signal's slope added."""
        points, strengths = self._charges(state.ensemble)
        if self.medium is None:
            return Parts(self.sums.source(points, strengths))
        assert isinstance(self.sums, FourierSum)
        density = self.sums.density(points, strengths)
        field: Modes = np.multiply(density, self.sums.spectrum.coefficients)
        memory: Modes = np.asarray(state.memory)
        for axis, k in enumerate(self.medium.lattice.wavenumbers):
            slope: Modes = 1j * self.medium.eta * k * memory
            add_real(field, 1 + axis, slope)
        return Parts(field, self.medium.emission * first_real(density))

    def rates(self, state: State, parts: Parts) -> State:
        """Return velocities and accelerations of targets, and the source of the signal."""
        targets = state.ensemble
        x, v, q = targets.position, targets.velocity, getattr(targets, self.pairs.of)
        assert x is not None
        sums = self.sums.at(x, parts.field, 1 + q.shape[1])
        force = sums[:, 1:] - q * sums[:, :1]
        if self.pairs.external is not None:
            force = force + self.pairs.external.at(x)
        return State(replace(targets, position=v, velocity=force), parts.feed)

    def energy(self, ensemble: Ensemble) -> float:
        """Return kinetic, pair and external energy per mass."""
        x, v = ensemble.position, ensemble.velocity
        assert x is not None
        assert v is not None
        w = np.full(len(x), 1 / len(x)) if ensemble.weights is None else ensemble.weights
        total = 0.5 * float(w @ np.sum(v**2, axis=1))
        if self.pairs.external is not None:
            total += float(w @ self.pairs.external.potential(x))
        if self.pairs.potential is not None:
            total += 0.5 * self._interaction(self.pairs.potential, x, w)
        return total

    def _interaction(self, profile: Profile, x: Floats, w: Floats) -> float:
        """Return sum_ij w_i w_j K(|x_i - x_j|^2), K taken as the force is."""
        if isinstance(self.sums, ConstantSum):  # K = K(0) + g r^2 / 2
            centred = x - w @ x
            return float(profile(np.zeros(1))[0]) + self.sums.value * float(w @ np.sum(centred**2, axis=1))
        return float(w @ self._potential.at(x, self._potential.source(x, w[:, None]), 1)[:, 0])

    @cached_property
    def _potential(self) -> Sum:
        """The sum of K."""
        profile = self.pairs.potential
        assert profile is not None
        if isinstance(self.sums, DirectSum):
            return direct_sum(profile, self.sums.region)
        assert isinstance(self.sums, FourierSum)
        lattice, tolerance = self.sums.spectrum.lattice, self.sums.transform.tolerance
        found = spectrum(profile, self.sums.region, 10 * tolerance, lattice.period, 0.0, MOST_MODES[len(lattice.shape)])
        return fourier_sum(found, self.sums.region, tolerance)

    def bounds(self, start: Ensemble, t: float) -> tuple[float, float]:
        """Bound max |x_i| and max |v_i| up to time t."""
        return self.pairs.bounds(start, t)

    def constants(self, start: Ensemble, t: float) -> Constants:
        """Return the constants of the forces on the support up to time t."""
        return self.pairs.constants(start, t)
