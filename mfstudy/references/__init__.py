"""References rho^t, one per file: each solves the mean field of a system from a law."""

from __future__ import annotations

from typing import ClassVar, Protocol

from mfstudy.laws import InitialLaw
from mfstudy.meanfield import MeanField
from mfstudy.systems import System


class Reference(Protocol):
    """How rho^t is found."""

    scheme: ClassVar[int]

    def admit(self, system: System) -> None:
        """Raise ValueError where this reference does not exist for a system; cheap."""
        ...

    def solve(self, system: System, law: InitialLaw) -> MeanField:
        """Return the solved reference; may take long, so workers do it once."""
        ...
