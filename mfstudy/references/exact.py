"""The reference of systems whose mean field is known in closed form."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from mfstudy.ensemble import Ensemble, Floats, State
from mfstudy.integrate import Time, motion
from mfstudy.laws import InitialLaw
from mfstudy.meanfield import Snapshot, pushed
from mfstudy.references import Shared
from mfstudy.systems import Flow, System, is_flow


@dataclass(frozen=True)
class _Pushed:
    """rho_in pushed forward by a known flow, without error."""

    system: Flow
    law: InitialLaw
    time: Time
    valid_until: float = math.inf
    lattice: None = None
    signals: None = None

    def at(self, index: int) -> Snapshot:
        """Return rho^t; its exact functions are those of rho_in where nothing moves."""
        law, still = self.law, self.system.stationary

        def push(start: Ensemble) -> Floats:
            return self.system.advance(start, 0.0, self.time.save[index]).points

        on_the_line = still and len(law.mean) == 1
        return replace(
            pushed(law, push, 0.0),
            quantile=law.quantile if on_the_line else None,
            mean=law.mean if still else None,
            covariance=law.covariance if still else None,
            upper_quantile=getattr(law, "upper_quantile", None) if on_the_line else None,
        )

    def tracers(self, start: Ensemble) -> Iterator[State]:
        """Yield the particles themselves: the mean field moves them as the system does."""
        return motion(self.system, None, start, self.time)

    def memory(self, step: int) -> None:
        """Return nothing: there is no medium."""
        del step


@dataclass(frozen=True)
class Exact:
    """rho^t in closed form; its error is 0."""

    scheme: ClassVar[int] = 1
    shares: ClassVar[bool] = False

    def admit(self, system: System, law: InitialLaw, time: Time) -> None:
        """Refuse systems of interacting particles."""
        del law, time
        if not is_flow(system):
            raise ValueError(
                f"no exact reference is known for the system {type(system).__name__}; allowed: characteristics"
            )

    def solve(self, system: System, law: InitialLaw, time: Time) -> Shared:
        """Return nothing: there is nothing to compute."""
        del system, law, time
        return {}

    def restore(self, system: System, law: InitialLaw, time: Time, shared: Shared) -> _Pushed:
        """Return rho_in, pushed forward."""
        del shared
        assert is_flow(system)
        return _Pushed(system, law, time)
