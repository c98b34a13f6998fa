"""What theory says of mass, momentum, energy and support: checks of the computation, without a rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mfstudy.ensemble import Ensemble, Floats, Phase
from mfstudy.laws import InitialLaw
from mfstudy.observables import Field, View
from mfstudy.observables._named import Named
from mfstudy.observables._support import bounds, require_velocities
from mfstudy.systems import Budget


@dataclass(frozen=True)
class Invariants(Named):
    """Mass, momentum, energy and radii of the support of N particles.

    Momentum is conserved where forces are reciprocal: eta = 0, no external force. Energy (kinetic, interaction,
    external) is conserved by gradients of potentials, and falls by alignment. The radii's bounds are those of
    Proposition 7.2 of Natalini and Paul, corrected: max |v_i(t)| <= max |v_i(0)| + int_0^t (|F| + eta |grad phi|) ds;
    as printed the signal would move no particle from rest.

    Parameters
    ----------
    name : str, optional
        Name in the store; by default the kind.
    """

    scheme: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset({"particles"})
    p: ClassVar[float | None] = None

    def fields(self, phase: Phase) -> tuple[Field, ...]:
        """Return changes since time 0, and radii with their bounds."""
        del phase
        return (
            Field("mass", "mass", "check", "mass"),
            Field("momentum_change", "momentum", "check", "change of the mean velocity / mean speed at the start"),
            Field("energy_change", "energy", "check", "change of the energy / kinetic energy at the start"),
            Field("position_radius", "position", "check", "largest |x|"),
            Field("position_bound", "position", "check", "proved bound of |x|"),
            Field("velocity_radius", "velocity", "check", "largest |v|"),
            Field("velocity_bound", "velocity", "check", "proved bound of |v|"),
        )

    def admit(self, phase: Phase, law: InitialLaw) -> None:
        """Accept phase spaces with positions and velocities."""
        del law
        require_velocities(phase)

    def measure(self, view: View) -> tuple[float, ...]:
        """Return the fields' values."""
        now, start = view.state.ensemble, view.start.ensemble
        x, v, v0, w = _of(now, "position"), _of(now, "velocity"), _of(start, "velocity"), _weights(now)
        speed = float(w @ np.linalg.norm(v0, axis=1)) or 1.0
        kinetic = 0.5 * float(w @ np.sum(v0**2, axis=1)) or 1.0
        return (
            float(w.sum()),
            float(np.linalg.norm(w @ (v - v0))) / speed,
            (self._energy(view, now) - self._energy(view, start)) / kinetic,
            float(np.linalg.norm(x, axis=1).max()),
            bounds(view)[0],
            float(np.linalg.norm(v, axis=1).max()),
            bounds(view)[1],
        )

    def _energy(self, view: View, ensemble: Ensemble) -> float:
        if view.dynamics is not None:
            return view.dynamics.energy(ensemble)
        return 0.5 * float(_weights(ensemble) @ np.sum(_of(ensemble, "velocity") ** 2, axis=1))

    def budget(self, size: int, phase: Phase) -> Budget:
        """Predict seconds and bytes: an interaction energy costs as much as a force."""
        return Budget(seconds=1e-3 + 1e-6 * size, memory=64.0 * size * phase.dimension)


def _of(ensemble: Ensemble, name: str) -> Floats:
    array = getattr(ensemble, name)
    assert array is not None
    return np.asarray(array)


def _weights(ensemble: Ensemble) -> Floats:
    return np.full(ensemble.size, 1 / ensemble.size) if ensemble.weights is None else ensemble.weights
