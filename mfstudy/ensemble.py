"""Particles as arrays: what a system moves (Ensemble, State), where it lives (Phase), what is compared (Measure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Phase:
    """The variables of one particle.

    Parameters
    ----------
    position, velocity : int
        Numbers of position and velocity components; 0 where the system has none.
    period : tuple of (float or None), optional
        One entry for each position component, None along an axis that is not periodic; None = no axis is.
    """

    position: int
    velocity: int
    period: tuple[float | None, ...] | None = None

    @property
    def dimension(self) -> int:
        """Phase-space dimension D, the dimension in which measures are compared."""
        return self.position + self.velocity

    @property
    def periods(self) -> tuple[float | None, ...] | None:
        """Period of each of the D axes (velocities are never periodic), or None if no axis is periodic."""
        if self.period is None:
            return None
        return self.period + (None,) * self.velocity


@dataclass(frozen=True)
class Ensemble:
    """N particles; the index of a particle is its identity.

    Parameters
    ----------
    position, velocity : (N, d) arrays or None
        Unwrapped positions, and velocities; None where the system has no such variable.
    weights : (N,) array or None
        Masses summing to 1; None = 1/N each. A quadrature rule is an ensemble with weights.
    """

    position: Floats | None
    velocity: Floats | None
    weights: Floats | None = None

    @property
    def size(self) -> int:
        """Number of particles N."""
        for array in (self.position, self.velocity):
            if array is not None:
                return len(array)
        return 0

    @property
    def points(self) -> Floats:
        """The (N, D) phase-space points, positions first."""
        blocks = [block for block in (self.position, self.velocity) if block is not None]
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)

    def taken(self, which: NDArray[np.bool_]) -> Ensemble:
        """Return some of the particles."""

        def some(array: Floats | None) -> Floats | None:
            return None if array is None else array[which]

        return Ensemble(some(self.position), some(self.velocity), some(self.weights))

    def measure(self, phase: Phase) -> Measure:
        """Return the (weighted) empirical measure of the ensemble, periodic positions wrapped."""
        points, periods = self.points, phase.periods
        if periods is not None:
            points = points.copy()
            for axis, period in enumerate(periods):
                if period is not None:
                    points[:, axis] %= period
        return Measure(points, self.weights, periods)


@dataclass(frozen=True)
class Measure:
    """A discrete probability measure on phase space.

    Parameters
    ----------
    points : (N, D) array
    weights : (N,) array or None
        None = 1/N each.
    period : tuple of (float or None), optional
        One entry per axis; None = not periodic.
    """

    points: Floats
    weights: Floats | None = None
    period: tuple[float | None, ...] | None = None


@dataclass(frozen=True)
class State:
    """All that an equation of motion moves: particles, and the memory of the medium between them.

    Parameters
    ----------
    ensemble : Ensemble
    memory : array or None
        For example the Fourier modes of a chemical signal; None where the system has no memory.
    """

    ensemble: Ensemble
    memory: NDArray[np.complex128] | None = None

    def moved(
        self,
        weights: Sequence[float],
        slopes: Sequence[State],
        damp: Floats | None = None,
        memory_weights: Sequence[Floats | float] | None = None,
    ) -> State:
        """Return the state plus a combination of slopes; the memory damped, with weights of its own.

        Parameters
        ----------
        weights : sequence of float
            One for each slope.
        slopes : sequence of State
        damp : array, optional
            Factor of the memory.
        memory_weights : sequence of array, optional
        """

        def combined(start: Floats | None, name: str) -> Floats | None:
            if start is None:
                return None
            total = start.copy()
            for weight, slope in zip(weights, slopes, strict=True):
                if weight:
                    total += weight * getattr(slope.ensemble, name)
            return total

        old = self.ensemble
        ensemble = replace(
            old, position=combined(old.position, "position"), velocity=combined(old.velocity, "velocity")
        )
        if self.memory is None or damp is None or memory_weights is None:
            return State(ensemble)
        memory = self.memory * damp
        for factor, slope in zip(memory_weights, slopes, strict=True):
            memory += factor * (0.0 if slope.memory is None else slope.memory)
        return State(ensemble, memory)
