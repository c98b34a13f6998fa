"""The solved reference rho^t, as the rest of the package sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mfstudy.ensemble import Ensemble, Floats, State
from mfstudy.forces.fourier import Lattice, Modes
from mfstudy.laws import InitialLaw
from mfstudy.transport.sampling import spread

#: Accuracy to which the time of a caustic is known, relative.
LOCATED = 1e-6


class UnreachableError(RuntimeError):
    """A reference does not reach its tolerance: one line that says what would."""


@dataclass(frozen=True)
class Snapshot:
    """rho^t at one time: always a sampler, with exact functions of it where they are known.

    Parameters
    ----------
    sample : callable
        sample(rng, m) -> (m, D) array of i.i.d. points of rho^t.
    error : float
        Bound on W_2(rho^t, the numerical rho^t); dimensionless.
    signal_error : float
        Error of the numerical grad psi, in the supremum; 0 where there is no signal.
    quantile : callable, optional
        In D = 1: u in (0, 1) -> F^{-1}(u), vectorised.
    mean : (D,) array, optional
    covariance : (D, D) array, optional
    evenly : callable, optional
        evenly(rng, m) -> (m, D) points whose empirical measure has rho^t as expectation, spread more evenly than
        i.i.d. ones.
    stratified : callable, optional
        As `sample`, with the exact masses of the components that the initial law has.
    upper_quantile : callable, optional
        In D = 1: u in (0, 1) -> F^{-1}(1 - u), exact in a heavy right tail.
    """

    sample: Callable[[np.random.Generator, int], Floats]
    error: float
    signal_error: float = 0.0
    quantile: Callable[[Floats], Floats] | None = None
    mean: Floats | None = None
    covariance: Floats | None = None
    evenly: Callable[[np.random.Generator, int], Floats] | None = None
    stratified: Callable[[np.random.Generator, int], Floats] | None = None
    upper_quantile: Callable[[Floats], Floats] | None = None


def pushed(law: InitialLaw, push: Callable[[Ensemble], Floats], error: float) -> Snapshot:
    """Return rho^t as a law pushed forward, with the ways of drawing from it.

    Parameters
    ----------
    law : InitialLaw
        Where it has components of known masses, with a method ``stratified(rng, m)`` that returns (m, D) points.
    push : callable
        Start -> (m, D) points of rho^t.
    error : float
        Bound on W_2(rho^t, the numerical rho^t); dimensionless.
    """
    kind = law.sample(np.random.default_rng(0), 1)
    split = 0 if kind.position is None else kind.position.shape[1]

    def start(points: Floats) -> Ensemble:
        position, velocity = points[:, :split], points[:, split:]
        return Ensemble(None if kind.position is None else position, None if kind.velocity is None else velocity)

    def independent(rng: np.random.Generator, m: int) -> Floats:
        return law.sample(rng, m).points

    strata: Callable[[np.random.Generator, int], Floats] = getattr(law, "stratified", independent)

    def evenly(rng: np.random.Generator, m: int) -> Floats:
        return push(start(spread(strata, rng, m)))  # pushing is what costs: choose first

    def stratified(rng: np.random.Generator, m: int) -> Floats:
        return push(start(strata(rng, m)))

    return Snapshot(
        sample=lambda rng, m: push(law.sample(rng, m)),
        error=error,
        evenly=evenly,
        stratified=None if strata is independent else stratified,
    )


@dataclass(frozen=True, eq=False)
class Euler:
    """The Euler description of monokinetic data at one time, at n nodes of the reference, or probes between them.

    mu^t and u^t of R. Natalini and T. Paul, Corollary 2.2, along characteristics. From the caustic on several of them
    reach one position: each node has the velocity and the density of its own branch then.

    Parameters
    ----------
    time : float
    positions, velocity : (n, d) arrays
        X_t and u^t(X_t).
    density : (n,) array
        mu^t(X_t) = mu_in / |det DX_t|; infinite where det DX_t is 0, NaN where mu_in is not known.
    det_DX : (n,) array
        Determinant of the derivative of X_t with respect to the start; dimensionless.
    weights : (n,) array or None
        Masses of the nodes, of sum 1; None at probes.
    caustic : float or None
        First time at which det DX_t = 0 somewhere; None if that is after the last save time.
    caustic_start : (d,) array or None
        Where the characteristic started for which it is.
    """

    time: float
    positions: Floats
    velocity: Floats
    density: Floats
    det_DX: Floats  # noqa: N815 (its name in formulas)
    weights: Floats | None
    caustic: float | None
    caustic_start: Floats | None

    @property
    def single_valued(self) -> bool:
        """Whether the velocity is a function of the position."""
        return self.caustic is None or self.time < self.caustic * (1 - LOCATED)

    @classmethod
    def of(cls, shared: Mapping[str, NDArray[Any]], time: float, index: int, probes: bool = False) -> Euler:
        """Return the fields at the index-th save time from what the blocks share."""
        nodes = len(shared["weights"])
        part = slice(nodes, None) if probes else slice(nodes)
        positions, velocity = np.split(shared["probes" if probes else "points"][index], 2, axis=1)
        determinant = shared["det_dx"][index, part]
        caustic, *start = shared["caustic"]
        with np.errstate(divide="ignore"):
            density = shared["density"][part] / np.abs(determinant)
        return cls(
            time=time,
            positions=positions,
            velocity=velocity,
            density=density,
            det_DX=determinant,
            weights=None if probes else shared["weights"],
            caustic=None if np.isnan(caustic) else float(caustic),
            caustic_start=None if np.isnan(caustic) else np.array(start),
        )


class MeanField(Protocol):
    """A solved reference."""

    @property
    def valid_until(self) -> float:
        """Last time at which the reference may be used."""
        ...

    def at(self, index: int) -> Snapshot:
        """Return rho^t at the index-th save time, which is <= valid_until."""
        ...

    def tracers(self, start: Ensemble) -> Iterator[State]:
        """Yield particles that the mean field drives, at the times at which the system yields its own."""
        ...

    def memory(self, step: int) -> Modes | None:
        """Return the memory of the mean field after a step; None where there is none."""
        ...

    @property
    def signals(self) -> NDArray[np.complex128] | None:
        """The memory of the mean field at each evaluation of a step's method, (E, ...); None where there is none."""
        ...

    @property
    def lattice(self) -> Lattice | None:
        """The lattice of the memory's modes."""
        ...
