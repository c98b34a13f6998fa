"""W_2^2 of the law of one particle against rho^t: the left side of Theorem 2.1 of Natalini and Paul."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mfstudy import gelbrich
from mfstudy.ensemble import Phase
from mfstudy.laws import InitialLaw
from mfstudy.observables import Field, View
from mfstudy.observables._named import Named
from mfstudy.rates import RateLaw, natalini_paul
from mfstudy.systems import Budget
from mfstudy.transport.bracket import UncertifiedError
from mfstudy.transport.wasserstein import wasserstein

QUANTITY = "w2_sq"


@dataclass(frozen=True)
class Marginal(Named):
    """Squared distance of the law of particle 1 to rho^t, from its mean and covariance.

    The law of a particle is a function of all replicates, and its distance to rho^t is of order N^-2 in smooth systems:
    far below the distance of any sample. What is stored of a replicate are differences of moments between its
    particles and their copies in the mean field (one start, common random numbers), and moments of the start as
    control variates; the distance is computed from their means (`mfstudy.gelbrich`).

    The estimate is Gelbrich's: a lower bound of W_2^2 for any laws, equal to it for Gaussians. The upper end is the
    mean of W_2^2 between the particles of a replicate and their copies: by joint convexity not less than that of the
    laws, not more than `coupling`, and far above the estimate for large N.

    Parameters
    ----------
    name : str, optional
        Name in the store; by default the kind.
    """

    scheme: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset({"particles", "reference", "tracers"})
    p: ClassVar[float | None] = None
    laws: ClassVar[tuple[str, ...] | None] = ("power", "power-log", "sznitman", "sznitman-correction")

    def fields(self, phase: Phase) -> tuple[Field, ...]:
        """Return the upper end with its certificate, and for each moment difference, control and reference value."""
        names = _moments(phase.dimension)
        what = "W_2^2 of the particles to their copies in the mean field"
        return (
            Field(f"{QUANTITY}_upper", QUANTITY, "upper", what),
            Field(f"{QUANTITY}_residual", QUANTITY, "certificate", "relative duality gap of the upper end"),
            *(
                Field(f"difference_{key}", QUANTITY, "difference", f"mean of {g}, particles less copies")
                for key, g in names
            ),
            *(
                Field(f"control_{key}", QUANTITY, "control", f"mean of {g} at time 0 less its expectation")
                for key, g in names
            ),
            *(Field(f"moment_{key}", QUANTITY, "moment", f"integral of {g} over rho^t") for key, g in names),
        )

    def reduced(self, phase: Phase) -> Field:
        """Return the squared distance."""
        del phase
        return Field(QUANTITY, QUANTITY, "estimate", "W_2^2(law of one particle, rho^t) from means and covariances")

    def slopes(self, phase: Phase) -> tuple[RateLaw, ...]:
        """Return the rate of Theorem 2.1 of Natalini and Paul."""
        return (natalini_paul(phase.position),)

    def admit(self, phase: Phase, law: InitialLaw) -> None:
        """Refuse laws without a covariance."""
        del phase
        if law.moment_order <= 2:
            raise ValueError(
                f"kind: needs second moments, and the law has moments only below {law.moment_order:g}; allowed:"
                " a law that has them"
            )

    def measure(self, view: View) -> tuple[float, ...]:
        """Return the fields' values."""
        assert view.tracers is not None
        points, copies, start = view.state.ensemble.points, view.tracers.points, view.start.ensemble.points
        law, rho = view.law, view.reference
        difference = gelbrich.moments(points) - gelbrich.moments(copies)
        control = gelbrich.moments(start) - gelbrich.expected_moments(law.mean, law.covariance)
        if rho.mean is None or rho.covariance is None:
            raise UncertifiedError("the reference does not know the moments of rho^t")
        known = gelbrich.expected_moments(rho.mean, rho.covariance)
        bound = wasserstein(points, copies, 2)
        return (bound.upper, bound.residual, *difference, *control, *known)

    def budget(self, size: int, phase: Phase) -> Budget:
        """Predict seconds and bytes: the assignment of the particles to their copies."""
        return Budget(seconds=1e-3 + 3e-5 * size, memory=600.0 * size * phase.dimension)


def _moments(dimension: int) -> list[tuple[str, str]]:
    """Keys and formulas of what `gelbrich.moments` returns."""
    pairs = zip(*np.triu_indices(dimension), strict=True)
    return [
        *((f"{a + 1}", f"z_{a + 1}") for a in range(dimension)),
        *((f"{a + 1}{b + 1}", f"z_{a + 1} z_{b + 1}") for a, b in pairs),
    ]
