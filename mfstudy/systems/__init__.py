"""Equations of motion, one system per file.

A system offers what it can: `advance` where its flow is known in closed form, `dynamics` where it is stepped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeGuard

from numpy.typing import NDArray

from mfstudy.ensemble import Ensemble, Floats, Phase, State
from mfstudy.forces.fourier import Lattice
from mfstudy.laws import InitialLaw

#: Probability that one particle of an unbounded law starts outside the box that its force is built for: below 1e-12 in
#: a study of 1e12 particles.
OUTSIDE = 1e-24


@dataclass(frozen=True)
class Budget:
    """A prediction, used to pack tasks before anything was timed.

    Parameters
    ----------
    seconds : float
        On one core.
    memory : float
        Peak bytes.
    """

    seconds: float
    memory: float


@dataclass(frozen=True)
class Constants:
    """What theorems ask of forces, in Euclidean norms; all 0 where particles move freely.

    Natalini and Paul take the largest constant of the components of a vector function (their footnote 2). For gamma
    and for the gradients of radial functions that is the same number, because every direction is attained.

    Parameters
    ----------
    interaction : float
        Lip gamma on the support, gamma(y, w) the force of a pair as a function of both differences; 1/time.
    external : float
        Lip F_ext; 1/time^2.
    eta : float
        Sensitivity to the signal.
    source_slope, source_curvature : float
        |grad chi|_inf, which is Lip chi, and Lip grad chi; 1/length^(d+1) and 1/length^(d+2).
    start_curvature : float
        Lip grad phi_in; 1/length^2.
    """

    interaction: float = 0.0
    external: float = 0.0
    eta: float = 0.0
    source_slope: float = 0.0
    source_curvature: float = 0.0
    start_curvature: float = 0.0


class System(Protocol):
    """What every system offers: its variables."""

    scheme: ClassVar[int]

    @property
    def phase(self) -> Phase:
        """The variables of one particle."""
        ...


class Flow(System, Protocol):
    """A system without interaction, whose particles move by a known map."""

    stationary: ClassVar[bool]
    """Whether rho^t = rho_in for every law, so that exact functions of rho_in hold at all times."""

    roles: ClassVar[frozenset[str]]
    """As those of `Stepped`, none where left out; with "lipschitz" particles move freely, all constants are 0."""

    def advance(self, state: Ensemble, t: float, h: float) -> Ensemble:
        """Return the state at t + h from the state at t."""
        ...


@dataclass(frozen=True)
class Parts:
    """What sources hand on.

    Parameters
    ----------
    field : array
        All that targets need; of a shape that does not depend on the sources.
    feed : array or None
        What the memory gains per unit of time.
    """

    field: NDArray[Any]
    feed: NDArray[Any] | None = None


class Dynamics(Protocol):
    """Equations of motion, ready for the particles of a law up to a horizon."""

    @property
    def decay(self) -> Floats | None:
        """Decay rates of the memory, of its shape; 1/time."""
        ...

    @property
    def error(self) -> float:
        """Bound on the error of the force; length/time^2."""
        ...

    @property
    def description(self) -> str:
        """How the force is computed, and what of the model is cut off; a line."""
        ...

    @property
    def lattice(self) -> Lattice | None:
        """The lattice of the memory's modes."""
        ...

    @property
    def slope_error(self) -> float:
        """Bound on the error of the gradient of what feeds the signal, per unit of time; 0 without one."""
        ...

    def start(self, ensemble: Ensemble) -> State:
        """Return the state at time 0."""
        ...

    def source(self, state: State) -> Parts:
        """Return what a state hands to targets.

        Raises
        ------
        OutOfDomainError
            If a particle is outside the region for which the force was built.
        """
        ...

    def rates(self, state: State, parts: Parts) -> State:
        """Return the time derivatives of targets among sources; errors as in `source`."""
        ...

    def energy(self, ensemble: Ensemble) -> float:
        """Return kinetic, interaction and external energy per mass; that of a medium is not counted."""
        ...

    def bounds(self, start: Ensemble, t: float) -> tuple[float, float]:
        """Return proved bounds on the largest |x| and the largest |v| up to time t."""
        ...

    def constants(self, start: Ensemble, t: float) -> Constants:
        """Return the constants of the forces on the support up to time t; systems with the role "lipschitz" alone."""
        ...


class Stepped(System, Protocol):
    """A system whose particles are stepped in time."""

    @property
    def roles(self) -> frozenset[str]:
        """What observables may need of it beyond `mfstudy.observables.ROLES`: "signal", "lipschitz"."""
        ...

    def budget(self, size: int) -> Budget:
        """Predict one evaluation for N particles."""
        ...

    def admit(self, law: InitialLaw, horizon: float) -> None:
        """Raise ValueError("section.key: reason") where the system cannot carry a law to a horizon."""
        ...

    def dynamics(self, law: InitialLaw, horizon: float, size: int | None) -> Dynamics:
        """Return the equations of motion for `size` particles of a law, None for a quadrature rule.

        Raises
        ------
        ValueError
            If no force of the needed accuracy exists.
        """
        ...


def is_flow(system: System) -> TypeGuard[Flow]:
    """Say whether the particles of a system move by a known map."""
    return hasattr(system, "advance")


def is_stepped(system: System) -> TypeGuard[Stepped]:
    """Say whether the particles of a system are stepped in time."""
    return hasattr(system, "dynamics")
