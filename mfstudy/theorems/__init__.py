"""What theorems state of the numbers of a study, one theorem per file.

A theorem is found by its file, needs no registry and no key of a study: it looks at a problem and says what it claims
of it, with its premises in numbers. Where a statement is false as it is printed there is a claim of each edition.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, Protocol

import numpy as np

from mfstudy.ensemble import Ensemble, Floats, Phase
from mfstudy.laws import InitialLaw
from mfstudy.observables import Observable
from mfstudy.rates import RateLaw
from mfstudy.systems import OUTSIDE, Constants, System, is_flow, is_stepped

Edition = Literal["as stated", "as printed", "corrected"]


@dataclass(frozen=True)
class Premise:
    """One hypothesis of a theorem, evaluated for a problem.

    Parameters
    ----------
    name : str
    value : float or None
        Its number; None where there is none, or where it is infinite.
    unit : str
    holds : bool or None
        None where it is not decided.
    text : str
        A clause with the number in it.
    """

    name: str
    value: float | None
    unit: str
    holds: bool | None
    text: str

    def __post_init__(self) -> None:
        """Keep finite numbers alone: a store has no others."""
        if self.value is not None and not math.isfinite(self.value):
            object.__setattr__(self, "value", None)


@dataclass(frozen=True)
class Subject:
    """A number of the store that a claim is about.

    Parameters
    ----------
    name : str
        Of the variable in `mfstudy.results.Results`.
    times : tuple of int
        Indices of the save times at which the theorem speaks of it.
    about : str
        In which sense, where it is not itself what the theorem bounds.
    bound, excess : str
        Of a number without a rate: the variables that hold its bound, and by how much that is exceeded; may be "".
    unit : str
        Of the excess.
    """

    name: str
    times: tuple[int, ...]
    about: str = ""
    bound: str = ""
    excess: str = ""
    unit: str = ""


@dataclass(frozen=True)
class Explicit:
    """A right-hand side without unknown constants, 10^log10 sum_j min(a_j, b_j N^c_j); without terms it is 0.

    Parameters
    ----------
    log10 : float
        Of the common factor, kept as a logarithm because constants of theorems overflow.
    terms : tuple of (a, b, c)
        a, b > 0.
    """

    log10: float
    terms: tuple[tuple[float, float, float], ...]

    def at(self, sizes: Floats) -> Floats:
        """Return log10 of the bound at sizes N, (n,) -> (n,); -inf where it is 0."""
        logs = np.log(np.asarray(sizes, dtype=np.float64))
        if not self.terms:
            return np.full(logs.shape, -np.inf)
        most, factor, power = np.array(self.terms).T[:, :, None]
        summands = np.minimum(np.log(most), np.log(factor) + power * logs)
        return np.asarray(self.log10 + np.logaddexp.reduce(summands, axis=0) / np.log(10))


#: The bound 0.
ZERO = Explicit(0.0, ())


@dataclass(frozen=True)
class Claim:
    """What one edition of a theorem claims of a problem. Plain data: a store keeps it.

    Parameters
    ----------
    theorem : str
        Paper and statement.
    edition : str
        "as stated" where the statement stands as it is printed; else "as printed" or "corrected".
    says : str
        The inequality.
    subjects : tuple of Subject
        What it is about.
    premises : tuple of Premise
    rate : RateLaw or None
        How the right-hand side depends on N.
    second : float
        c of a rate with a second term.
    unknown : str
        The constant of the right-hand side that is not explicit; "" where all is.
    known : float
        A factor of the right-hand side that is explicit beside it.
    bound : Explicit or None
        The right-hand side where it is explicit and the same for all replicates.
    wrong : str
        What is wrong in print.
    """

    theorem: str
    edition: Edition
    says: str
    subjects: tuple[Subject, ...]
    premises: tuple[Premise, ...]
    rate: RateLaw | None = None
    second: float = 0.0
    unknown: str = ""
    known: float = 1.0
    bound: Explicit | None = None
    wrong: str = ""

    @property
    def title(self) -> str:
        """Theorem and edition in words."""
        return self.theorem if self.edition == "as stated" else f"{self.theorem} {_EDITIONS[self.edition]}"

    @property
    def unmet(self) -> list[str]:
        """The premises that fail, in words."""
        return [premise.text for premise in self.premises if premise.holds is False]

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> Claim:
        """Return the claim of a stored table, `dataclasses.asdict` of it as JSON."""
        rate, bound = table["rate"], table["bound"]
        return cls(
            **{
                **table,
                "subjects": tuple(
                    Subject(**{**subject, "times": tuple(subject["times"])}) for subject in table["subjects"]
                ),
                "premises": tuple(Premise(**premise) for premise in table["premises"]),
                "rate": rate and RateLaw(**{**rate, "second": rate["second"] and tuple(rate["second"])}),
                "bound": bound and Explicit(bound["log10"], tuple(map(tuple, bound["terms"]))),
            }
        )


_EDITIONS = {"as printed": "as printed", "corrected": "as corrected"}


@dataclass(frozen=True)
class Setting:
    """A problem as theorems see it.

    Parameters
    ----------
    system : System
    law : InitialLaw
        rho_in.
    save : tuple of float
        The save times.
    observables : tuple of Observable
    """

    system: System
    law: InitialLaw
    save: tuple[float, ...]
    observables: tuple[Observable, ...]

    @property
    def phase(self) -> Phase:
        """The variables of one particle."""
        return self.system.phase

    @property
    def horizon(self) -> float:
        """The last save time."""
        return self.save[-1]

    @property
    def times(self) -> tuple[int, ...]:
        """Indices of all save times."""
        return tuple(range(len(self.save)))

    @property
    def independent(self) -> tuple[int, ...]:
        """Indices of the save times at which the particles are i.i.d. draws of rho_in itself."""
        rests = is_flow(self.system) and self.system.stationary
        return tuple(i for i in self.times if rests or self.save[i] == 0)

    @property
    def bounded(self) -> bool:
        """Whether rho_in has a bounded support."""
        return bool(np.isfinite(self.law.support).all())

    @cached_property
    def constants(self) -> Constants | None:
        """The constants of the forces on what particles reach up to the horizon; None where they are not known.

        Of a law of unbounded support on a box that a particle leaves with a probability of 1e-24.
        """
        if "lipschitz" not in getattr(self.system, "roles", ()):
            return None
        if not is_stepped(self.system):
            return Constants()
        dynamics = self.system.dynamics(self.law, self.horizon, None)
        return dynamics.constants(corner(self.law, self.phase), self.horizon)

    def subjects(self, kind: str, *quantities: str, about: str = "") -> tuple[Subject, ...]:
        """Return quantities of all observables of a kind that the package has, at every save time."""
        return tuple(
            Subject(f"{observable.label}_{quantity}", self.times, about)
            for observable in self.observables
            if type(observable).__module__ == f"mfstudy.observables.{kind}"
            for quantity in quantities
        )

    def met(self, kind: str, name: str, bound: str = "", excess: str = "", unit: str = "") -> tuple[Subject, ...]:
        """Return a number of all observables of a kind, with the fields that hold its bound and its excess over it."""
        return tuple(
            Subject(
                f"{observable.label}_{name}",
                self.times,
                bound=bound and f"{observable.label}_{bound}",
                excess=excess and f"{observable.label}_{excess}",
                unit=unit,
            )
            for observable in self.observables
            if type(observable).__module__ == f"mfstudy.observables.{kind}"
        )


class Theorem(Protocol):
    """What every theorem offers; its dataclass has no fields, its file name is its name."""

    scheme: ClassVar[int]

    def claims(self, setting: Setting) -> tuple[Claim, ...]:
        """Return what it claims of a problem, a claim without subjects where it is silent."""
        ...


def corner(law: InitialLaw, phase: Phase) -> Ensemble:
    """Return one particle whose |x| and |v| are not less than any of a law, of an unbounded one but for 1e-24."""
    farthest = np.abs(law.box(OUTSIDE)).max(axis=1)[None]
    return Ensemble(farthest[:, : phase.position], farthest[:, phase.position :])
