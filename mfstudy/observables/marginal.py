"""W_2^2 of the law of one particle against rho^t: the left side of Theorem 2.1 of Natalini and Paul."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mfstudy import dictionary, gelbrich
from mfstudy.ensemble import Floats, Phase
from mfstudy.laws import InitialLaw
from mfstudy.meanfield import Snapshot
from mfstudy.observables import FORCES, Field, Role, View
from mfstudy.observables._named import Named
from mfstudy.rates import MARGINAL
from mfstudy.systems import Budget
from mfstudy.transport.bracket import UncertifiedError
from mfstudy.transport.wasserstein import wasserstein

QUANTITY = "w2_sq"
#: Coordinates of particles, and of copies, that are stored of a replicate for the upper end.
STORED = 32


@dataclass(frozen=True)
class Marginal(Named):
    """Squared distance of the law of particle 1 to rho^t, from its mean and covariance.

    The law of a particle is a function of all replicates, and its distance to rho^t is of order N^-2 in smooth systems:
    far below the distance of any sample. What is stored of a replicate are differences of means of test functions
    between its particles and their copies in the mean field (one start, common random numbers), and means over the
    start as control variates; the distance is computed from all replicates (`mfstudy.gelbrich`).

    The estimate is Gelbrich's: a lower bound of W_2^2 for any laws, equal to it for Gaussians. The ends beside it
    (`mfstudy.marginals`): below, a dual bound with products of Hermite polynomials up to degree 4 (3 in D = 4, 2 in
    D >= 5); above, W_2^2 between pooled particles and their copies, not more than
    `coupling`, and far above the estimate for large N.

    Parameters
    ----------
    name : str, optional
        Name in the store; by default the kind.
    """

    scheme: ClassVar[int] = 2
    needs: ClassVar[frozenset[str]] = frozenset({"particles", "reference", "tracers", FORCES})
    p: ClassVar[float | None] = None

    def fields(self, phase: Phase) -> tuple[Field, ...]:
        """Return what the distance and its ends are computed from."""
        low, tests = gelbrich.names(phase.dimension), dictionary.names(phase.dimension)

        def fields(role: Role, pairs: list[tuple[str, str]], formula: str) -> list[Field]:
            return [Field(f"{role}_{key}", QUANTITY, role, formula.format(g)) for key, g in pairs]

        pairs = [
            (f"{i}_{axis + 1}", f"coordinate {axis + 1} of number {i}")
            for i in range(_pairs(phase.dimension))
            for axis in range(phase.dimension)
        ]
        return (
            Field("coupled", QUANTITY, "coupled", "W_2^2 of the particles to their copies in the mean field"),
            Field("residual", QUANTITY, "certificate", "its relative duality gap"),
            *fields("difference", low, "mean of {}, particles less copies"),
            *fields("test", tests, "mean of {}, particles less copies, y relative to rho^t"),
            *fields("control", tests, "mean of {} at time 0 less its expectation"),
            *fields("moment", low, gelbrich.MOMENT),
            *fields("particle", pairs, "{} of the particles"),
            *fields("copy", pairs, "{} of the copies"),
        )

    def reduced(self, phase: Phase) -> tuple[Field, ...]:
        """Return the squared distance."""
        del phase
        what = "W_2^2(law of one particle, rho^t), from all replicates"
        return (Field(QUANTITY, QUANTITY, "estimate", what, laws=MARGINAL, order=2.0),)

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
        points, copies = view.state.ensemble.points, view.tracers.points
        mean, covariance = moments_of(view.reference)
        scale = dictionary.scale_of(covariance)
        bound = wasserstein(points, copies, 2)
        some = np.arange(_pairs(points.shape[1])) % len(points)
        return (
            bound.upper,
            bound.residual,
            *(gelbrich.moments(points) - gelbrich.moments(copies)),
            *(dictionary.means(points, mean, scale) - dictionary.means(copies, mean, scale)),
            *dictionary.controls(view.law, view.start.ensemble.points),
            *gelbrich.expected_moments(mean, covariance),
            *points[some].ravel(),
            *copies[some].ravel(),
        )

    def budget(self, size: int, phase: Phase) -> Budget:
        """Predict seconds and bytes: the assignment of the particles to their copies."""
        return Budget(seconds=1e-3 + 3e-5 * size, memory=600.0 * size * phase.dimension)


def moments_of(rho: Snapshot) -> tuple[Floats, Floats]:
    """Return mean and covariance of rho^t; UncertifiedError where they are not known."""
    if rho.mean is None or rho.covariance is None:
        raise UncertifiedError("the reference does not know the moments of rho^t")
    return rho.mean, rho.covariance


def _pairs(dimension: int) -> int:
    return max(2, STORED // dimension)
