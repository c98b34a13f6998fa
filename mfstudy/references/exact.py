"""The reference of systems whose mean field is known in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from mfstudy.laws import InitialLaw
from mfstudy.meanfield import Snapshot
from mfstudy.systems import System


@dataclass(frozen=True)
class _Resting:
    """rho^t = rho_in at all times, without error."""

    law: InitialLaw
    valid_until: float = math.inf

    def at(self, t: float) -> Snapshot:
        del t
        law = self.law
        return Snapshot(
            sample=lambda rng, m: law.sample(rng, m).points,
            error=0.0,
            quantile=law.quantile if len(law.mean) == 1 else None,
            mean=law.mean,
            covariance=law.covariance,
        )


@dataclass(frozen=True)
class Exact:
    """rho^t in closed form; its error is 0."""

    scheme: ClassVar[int] = 1

    def admit(self, system: System) -> None:
        """Refuse systems that move their particles."""
        if not system.stationary:
            raise ValueError(f"no exact reference is known for the system {type(system).__name__}")

    def solve(self, system: System, law: InitialLaw) -> _Resting:
        """Return rho^t = rho_in."""
        self.admit(system)
        return _Resting(law)
