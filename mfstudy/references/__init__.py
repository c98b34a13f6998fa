"""References rho^t, one per file: each solves the mean field of a system from a law."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from numpy.typing import NDArray

from mfstudy.integrate import Time
from mfstudy.laws import InitialLaw
from mfstudy.meanfield import MeanField
from mfstudy.systems import System

Shared = Mapping[str, NDArray[Any]]
"""What the blocks of a study share, by name: computed once, stored, loaded by every worker."""

#: Columns of the shared array "errors", one row for each save time: bounds on W_2 by the nodes, the step and the force,
#: and on the supremum of the signal's gradient.
ERRORS = ("nodes", "step", "force", "signal")


class Reference(Protocol):
    """How rho^t is found."""

    scheme: ClassVar[int]
    shares: ClassVar[bool]
    """Whether `solve` has anything to store."""

    def admit(self, system: System, law: InitialLaw, time: Time) -> None:
        """Raise ValueError("reason") where this reference does not exist for a problem; cheap."""
        ...

    def solve(self, system: System, law: InitialLaw, time: Time) -> Shared:
        """Compute what the blocks share; may take long, so it is done once for a store.

        Raises
        ------
        UnreachableError
            If a tolerance is not reached.
        """
        ...

    def restore(self, system: System, law: InitialLaw, time: Time, shared: Shared) -> MeanField:
        """Return the mean field from what `solve` has returned."""
        ...
