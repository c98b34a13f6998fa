"""What is measured, one observable per file, and how a measurement is stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Literal, Protocol

import numpy as np

from mfstudy.ensemble import Measure, Phase
from mfstudy.laws import InitialLaw
from mfstudy.meanfield import Snapshot
from mfstudy.streams import Purpose


class Status(IntEnum):
    """How a replicate ended. Stored as a number, so codes are never reused; readers accept codes they do not know."""

    OK = 1
    FAILED = 2  # a solver without certificate, a number that is not finite
    OUT_OF_DOMAIN = 3  # a particle left the box of the force, or a distance its domain
    THEORY_STOPPED = 4  # beyond the time until which the theory or the reference holds
    REFUSED = 5  # would have exceeded the memory budget


@dataclass(frozen=True)
class Field:
    """One stored number of an observable.

    Parameters
    ----------
    name : str
        Name in the store, after the observable's label.
    quantity : str
        What it is a number of; the fields of one quantity belong together. `w2_sq` is a squared distance, `w2` would
        be a distance.
    role : str
        How results read it: the estimate, an end of its bracket, its standard error given the particles, a
        certificate that the solver ended at the optimum, or a count. "status" is written by the package.
    definition : str
        In words and formula.
    unit : str
    scale : str
        "linear", or "log10" where the stored number is a decimal logarithm.
    per : str
        "time" or "run": whether the number belongs to a save time or to the whole run.
    """

    name: str
    quantity: str
    role: Literal["estimate", "lower", "upper", "standard_error", "certificate", "count", "status"]
    definition: str
    unit: str = "dimensionless"
    scale: Literal["linear", "log10"] = "linear"
    per: Literal["time", "run"] = "time"


#: What `needs` may name: what this version's runs provide.
ROLES = frozenset({"particles", "reference"})


@dataclass(frozen=True)
class View:
    """What an observable sees of one replicate at one save time.

    Parameters
    ----------
    particles : Measure
        The empirical measure mu_N^t.
    reference : Snapshot
        rho^t.
    time_index : int
        Index of the save time.
    stream : callable
        stream(purpose, *sub): the random stream of this replicate for a purpose.
    """

    particles: Measure
    reference: Snapshot
    time_index: int
    stream: Callable[..., np.random.Generator]

    def rng(self, purpose: Purpose) -> np.random.Generator:
        """Return the stream of this replicate, at this time, for a purpose."""
        return self.stream(purpose, self.time_index)


@dataclass(frozen=True)
class Budget:
    """Prediction for one replicate at one save time, used to pack tasks before anything was timed.

    Parameters
    ----------
    seconds : float
        On one core.
    memory : float
        Peak bytes.
    """

    seconds: float
    memory: float


class Observable(Protocol):
    """A component that turns a view into numbers."""

    scheme: ClassVar[int]
    needs: ClassVar[frozenset[str]]
    """Roles that the run must provide: "particles", "reference"."""

    @property
    def p(self) -> float | None:
        """Order of the power W_p^p that is measured; None for what is no transport cost."""
        ...

    @property
    def label(self) -> str:
        """Name in the store and in results."""
        ...

    @property
    def fields(self) -> tuple[Field, ...]:
        """The stored numbers, in order."""
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


def stored_fields(observable: Observable) -> tuple[Field, ...]:
    """Return what the store holds of an observable: how it ended, then its own fields."""
    first = observable.fields[0].quantity
    ended = Field(f"{first}_status", first, "status", "how the measurement ended, a Status code", unit="1")
    return (ended, *observable.fields)
