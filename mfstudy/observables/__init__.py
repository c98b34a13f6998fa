"""What is measured, one observable per file, and how a measurement is stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import ClassVar, Literal, Protocol, TypeGuard

import numpy as np

from mfstudy.ensemble import Ensemble, Measure, Phase, State
from mfstudy.laws import InitialLaw
from mfstudy.liouville import Halves
from mfstudy.meanfield import MeanField, Snapshot
from mfstudy.streams import Purpose
from mfstudy.systems import Budget, Dynamics


class Status(IntEnum):
    """How a replicate ended. Stored as a number, so codes are never reused; readers accept codes they do not know."""

    OK = 1
    FAILED = 2  # a solver without certificate, a number that is not finite
    OUT_OF_DOMAIN = 3  # a particle left the box of the force, or a distance its domain
    THEORY_STOPPED = 4  # beyond the time until which the theory or the reference holds
    REFUSED = 5  # would have exceeded the memory budget


Role = Literal[
    "estimate",
    "lower",
    "upper",
    "standard_error",
    "certificate",
    "count",
    "check",
    "status",
    "pool",
    "difference",
    "control",
    "moment",
    "test",
    "total",
    "pool_control",
    "coupled",
    "particle",
    "copy",
]
"""How results read a stored number, see `Field`."""


@dataclass(frozen=True)
class Field:
    """One stored number of an observable.

    Parameters
    ----------
    name : str
        Name in the store, after the observable's label.
    quantity : str
        What it is a number of; the fields of one quantity belong together. `w2_sq` is a squared distance, `w2` would
        be a distance. "" = of all `Reduced` quantities of the observable.
    role : str
        How results read it: the estimate, an end of its bracket, its standard error given the particles, a
        certificate that the solver ended at the optimum, a count, or a check (a number that theory bounds and that has
        no rate). "status" is written by the package. "pool" is the estimate with pools of fewer copies. The others
        are what a `Reduced` quantity and its ends are computed from, over all replicates (`mfstudy.gelbrich`,
        `mfstudy.marginals`).
    definition : str
        In words and formula.
    unit : str
    scale : str
        "linear", or "log10" where the stored number is a decimal logarithm.
    per : str
        "time" or "run": whether the number belongs to a save time or to the whole run.
    laws : tuple of str
        Of an estimate: names of the candidate laws of its rate; empty = those of the sampling of a measure, by p.
    order : float or None
        Of an estimate: p where it is W^p, W a distance in phase space, which the reference's error moves.
    """

    name: str
    quantity: str
    role: Role
    definition: str
    unit: str = "dimensionless"
    scale: Literal["linear", "log10"] = "linear"
    per: Literal["time", "run"] = "time"
    laws: tuple[str, ...] = ()
    order: float | None = None


#: What `needs` may name and every run provides; a system may have more.
ROLES = frozenset({"particles", "reference", "tracers"})
#: What systems that are stepped have: their particles are not their own copies in the mean field.
FORCES = "forces"


@dataclass(frozen=True)
class View:
    """What an observable sees of one replicate at one time.

    Parameters
    ----------
    state, start : State
        The particles with their memory, now and at time 0.
    tracers : Ensemble or None
        The coupled particles: the same start, driven by the mean field; None unless an observable needs them.
    liouville : Halves or None
        The same start in the signals of the two halves of a pool; None unless an observable needs them.
    meanfield : MeanField
    law : InitialLaw
        rho_in.
    dynamics : Dynamics or None
        None where the flow is known.
    phase : Phase
    time : float
    step : int
        Index among the states of the motion.
    time_index : int or None
        Index of the save time; None between save times, where only monitors look.
    stream : callable
        stream(purpose, *sub): the random stream of this replicate for a purpose.
    peak : tuple of float
        Largest values so far of what the observable's `monitor` returns.
    companions : tuple of State
        The system's states from the observable's other starts, at the same time.
    """

    state: State
    start: State
    tracers: Ensemble | None
    liouville: Halves | None
    meanfield: MeanField
    law: InitialLaw
    dynamics: Dynamics | None
    phase: Phase
    time: float
    step: int
    time_index: int | None
    stream: Callable[..., np.random.Generator]
    peak: tuple[float, ...] = ()
    companions: tuple[State, ...] = ()

    @cached_property
    def particles(self) -> Measure:
        """The empirical measure mu_N^t."""
        return self.state.ensemble.measure(self.phase)

    @cached_property
    def reference(self) -> Snapshot:
        """rho^t at a save time."""
        if self.time_index is None:
            raise ValueError("rho^t is kept at the save times alone")
        return self.meanfield.at(self.time_index)

    def rng(self, purpose: Purpose) -> np.random.Generator:
        """Return the stream of this replicate, at this time, for a purpose."""
        return self.stream(purpose, self.time_index)


class Observable(Protocol):
    """A component that turns a view into numbers."""

    scheme: ClassVar[int]
    needs: ClassVar[frozenset[str]]
    """Roles that the run must provide: "particles", "reference", "tracers"; what else a system has, `System.roles`."""

    @property
    def p(self) -> float | None:
        """Order of the power W_p^p that is measured; None for what is no transport cost."""
        ...

    @property
    def label(self) -> str:
        """Name in the store and in results."""
        ...

    def fields(self, phase: Phase) -> tuple[Field, ...]:
        """Return the stored numbers, in order."""
        ...

    def admit(self, phase: Phase, law: InitialLaw) -> None:
        """Raise ValueError("key: reason") where this observable does not exist for a phase space and a law."""
        ...

    def measure(self, view: View) -> tuple[float, ...]:
        """Return the fields' values; raise UncertifiedError where a value has no certificate."""
        ...

    def budget(self, size: int, phase: Phase) -> Budget:
        """Predict the cost of one measurement at size N."""
        ...


class Reduced(Observable, Protocol):
    """An observable with quantities that are no means over replicates, but functions of the means of its fields."""

    def reduced(self, phase: Phase) -> tuple[Field, ...]:
        """Return these quantities, as fields of role "estimate" that are not stored."""
        ...


class Monitor(Observable, Protocol):
    """An observable that looks at every step, for running maxima."""

    def monitor(self, view: View) -> tuple[float, ...]:
        """Return numbers whose largest values so far `View.peak` holds."""
        ...


class Accompanied(Observable, Protocol):
    """An observable that compares the run with runs of the same system from other starts."""

    def companions(self, start: Ensemble) -> tuple[Ensemble, ...]:
        """Return the other starts; their states are `View.companions`, in the same order."""
        ...

    def runs(self, phase: Phase) -> int:
        """Return how many there are."""
        ...


def monitors(observable: Observable) -> TypeGuard[Monitor]:
    """Say whether an observable looks at every step."""
    return hasattr(observable, "monitor")


def accompanied(observable: Observable) -> TypeGuard[Accompanied]:
    """Say whether an observable needs runs from other starts."""
    return hasattr(observable, "companions")


def reduces(observable: Observable) -> TypeGuard[Reduced]:
    """Say whether an observable has quantities that are functions of means."""
    return hasattr(observable, "reduced")


def principal(observable: Observable, phase: Phase) -> Field:
    """Return what an observable measures in the first place."""
    return estimates(observable, phase)[0]


def estimates(observable: Observable, phase: Phase) -> tuple[Field, ...]:
    """Return the estimates of an observable, stored ones first; those without any begin with their first field."""
    fields = observable.fields(phase)
    found = tuple(field for field in fields if field.role == "estimate")
    return found + (observable.reduced(phase) if reduces(observable) else ()) or fields[:1]


def stored_fields(observable: Observable, phase: Phase) -> tuple[Field, ...]:
    """Return what the store holds of an observable: how it ended, then its own fields."""
    fields = observable.fields(phase)
    first = fields[0].quantity
    ended = Field(f"{first}_status", first, "status", "how the measurement ended, a Status code", unit="1")
    return (ended, *fields)
