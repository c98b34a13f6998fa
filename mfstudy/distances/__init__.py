"""What is compared: one component per file, each a distance between a measure and a reference."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from mfstudy.ensemble import Measure
from mfstudy.transport.bracket import Bracket
from mfstudy.transport.sampling import Sampler
from mfstudy.transport.wasserstein import Law


class Distance(Protocol):
    """A distance between a discrete measure and a reference."""

    def measured(self, p: float) -> tuple[str, str]:
        """Return the name in the store of what `between` returns, and its formula."""
        ...

    def between(
        self,
        measure: Measure,
        reference: ArrayLike | Sampler | Law,
        p: float,
        precision: float | None,
        rng: np.random.Generator,
        cost: str = "euclidean",
    ) -> Bracket:
        """Return the p-th power of the distance, bracketed; the ends include the error of the reference itself."""
        ...
