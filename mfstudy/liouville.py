"""The Liouville-Vlasov system (LV): N particles with their own pair force, in the signal that their law emits.

    dx_i = v_i,   dv_i = (1/N) sum_j gamma(v_i - v_j, x_i - x_j) + eta grad Psi_N(x_i) + F(x_i),

Psi_N emitted by the law of one of these particles, a function of N alone: R. Natalini and T. Paul, (9)-(12); between
the particles (P) and the mean field (V). Psi_N is computed by pools: some copies of the N particles, of a stream of
their own, that share the mean of their signals. A pool of K copies misses Psi_N by what K N particles fluctuate. Pools
come in independent halves, so that products of what two halves drive are free of that error to leading order.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mfstudy.ensemble import Ensemble, Floats, Indices, State
from mfstudy.integrate import Time, evaluations, trajectory
from mfstudy.systems import Dynamics

Modes = NDArray[np.complex128]

#: The role that observables need of a system which has (LV).
LIOUVILLE = "liouville"
#: Pools of each size: replicate r is driven by pool r mod POOLS. They are what errors are taken over.
POOLS = 20
#: Copies in each half of a pool, by dimension.
COPIES = {1: 8, 2: 8, 3: 4}
#: Polynomials in time that carry what a pool's signal differs from the mean field's; 0.3 to 0.9 % of it are left out
#: (measured in the shipped studies).
TERMS = 10
#: Part of the gradient of a random deviation that the modes left out may have.
LEFT_OUT = 0.01


@dataclass(frozen=True, eq=False)
class Halves:
    """N particles in the signals of the two halves of a pool.

    Parameters
    ----------
    one, other : Ensemble
    controls : (F,) array
        `mfstudy.dictionary.controls` of the start of the pool's copies.
    """

    one: Ensemble
    other: Ensemble
    controls: Floats


@dataclass(frozen=True, eq=False)
class Liouville:
    """Particles in the signal of a pool.

    Parameters
    ----------
    dynamics : Dynamics
        Of N particles.
    time : Time
    signals : (E, ...) array or None
        Modes of the mean field's signal at each evaluation; None where the system has no signal: there (LV) is (P).
    """

    dynamics: Dynamics
    time: Time
    signals: Modes | None

    @cached_property
    def _basis(self) -> Floats:
        """Orthonormal polynomials in time at the evaluations, (E, TERMS)."""
        times = 2 * evaluations(self.time) / self.time.horizon - 1
        terms = min(TERMS, len(np.unique(times)))
        return np.linalg.qr(np.polynomial.chebyshev.chebvander(times, terms - 1))[0]

    def _kept(self, particle: Ensemble) -> Indices:
        """Return the flat indices of the modes that are kept, one of each conjugate pair; without the mode 0."""
        lattice, decay = self.dynamics.lattice, self.dynamics.decay
        assert lattice is not None
        assert decay is not None
        start = self.dynamics.start(particle)
        feed = self.dynamics.source(start).feed  # of one particle: its size does not depend on the place
        assert feed is not None
        spent = np.where(decay > 0, -np.expm1(-decay * self.time.horizon) / np.where(decay > 0, decay, 1.0), 1.0)
        slope = (np.sqrt(lattice.square) * np.abs(feed) * spent).ravel()
        order = np.argsort(-slope, kind="stable")
        share = np.cumsum(slope[order][::-1] ** 2)[::-1]
        kept = order[share > LEFT_OUT**2 * share[0]]
        return np.sort(kept[kept < slope.size // 2])

    def pool(self, copies: Sequence[Ensemble]) -> dict[str, Floats | Modes]:
        """Push copies that share the mean of their signals; return how that differs from the mean field's.

        Parameters
        ----------
        copies : sequence of Ensemble
            N particles each.

        Returns
        -------
        dict
            "deviation" (TERMS, K) array of modes; "modes" (K,) array, their flat indices on the lattice.

        Raises
        ------
        OutOfDomainError
            If a particle leaves its box.
        """
        assert self.signals is not None
        kept = self._kept(copies[0].taken(np.arange(copies[0].size) == 0))
        deviation: Modes = np.zeros((self._basis.shape[1], len(kept)), dtype=np.complex128)
        index = itertools.count()

        def rate(state: State) -> State:
            nonlocal deviation
            now = next(index)
            assert self.signals is not None
            assert state.memory is not None
            apart = (state.memory - self.signals[now]).ravel()[kept]
            deviation += self._basis[now][:, None] * apart
            return self._shared(state, len(copies))

        start = State(_joined(copies), self.dynamics.start(copies[0]).memory)
        for _ in trajectory(rate, start, self.dynamics.decay, self.time):
            pass
        return {"deviation": deviation, "modes": kept.astype(float)}

    def _shared(self, state: State, count: int) -> State:
        """Return the rates of copies, each with its own pair force; the signal gains the mean of what they emit."""
        rates = []
        for copy in _parted(state.ensemble, count):
            own = State(copy, state.memory)
            rates.append(self.dynamics.rates(own, self.dynamics.source(own)))
        feeds = [np.asarray(rate.memory) for rate in rates]
        mean: Modes = np.asarray(sum(feeds[1:], feeds[0]) / count, dtype=np.complex128)
        return State(_joined([rate.ensemble for rate in rates]), mean)

    def driven(self, start: Ensemble, deviation: Modes, modes: Floats) -> Iterator[State]:
        """Yield N particles after every step.

        Parameters
        ----------
        start : Ensemble
            At time 0.
        deviation, modes : arrays
            As `pool` returns them.
        """
        kept, index = modes.astype(np.int64), itertools.count()

        def rate(state: State) -> State:
            now = next(index)
            assert self.signals is not None
            memory = self.signals[now].copy()
            flat, apart = memory.reshape(-1), self._basis[now] @ deviation
            flat[kept] += apart
            flat[flat.size - 1 - kept] += np.conj(apart)
            here = State(state.ensemble, memory)
            return State(self.dynamics.rates(here, self.dynamics.source(here)).ensemble)

        return trajectory(rate, State(start), None, self.time)


def _joined(parts: Sequence[Ensemble]) -> Ensemble:
    """Return the particles of several ensembles as one."""
    return Ensemble(
        np.concatenate([np.asarray(part.position) for part in parts]),
        np.concatenate([np.asarray(part.velocity) for part in parts]),
    )


def _parted(ensemble: Ensemble, count: int) -> list[Ensemble]:
    """Return the ensembles that were joined."""
    assert ensemble.position is not None
    assert ensemble.velocity is not None
    pairs = zip(np.split(ensemble.position, count), np.split(ensemble.velocity, count), strict=True)
    return [Ensemble(x, v) for x, v in pairs]
