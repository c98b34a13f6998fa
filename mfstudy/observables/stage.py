"""(P) against (LV) and (LV) against (V): the two steps of the proof of Theorem 2.1 of Natalini and Paul."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mfstudy import dictionary, gelbrich
from mfstudy.ensemble import Floats, Phase
from mfstudy.laws import InitialLaw
from mfstudy.liouville import COPIES, LIOUVILLE
from mfstudy.observables import Field, View
from mfstudy.observables._named import Named
from mfstudy.observables.marginal import moments_of
from mfstudy.rates import COUPLING, MARGINAL
from mfstudy.systems import Budget

#: The steps: name in the store, and in words.
STEPS = (("particles_liouville", "(P) to (LV)"), ("liouville_vlasov", "(LV) to (V)"))


@dataclass(frozen=True)
class Stage(Named):
    """Squared distances from particles (P) over Liouville-Vlasov (LV) to the mean field (V), in two forms.

    All start together. The coupling E (1/N) sum_i |z_i - z'_i|^2 is of order 1/N in both steps. W_2^2 of the laws of
    one particle, which Propositions 4.3 and 5.1 of Natalini and Paul bound by C_d(N) and 1/N, is Gelbrich's, from means
    and covariances (as `marginal`), and of smaller order. As printed, 4.3 has rho^t for the law of (LV).

    The signal of (LV) comes from pools of copies of the particles (`mfstudy.liouville`), whose noise adds 1/K of the
    first coupling at K copies. The estimate is the product of what the two independent halves of a pool give, free of
    it to leading order; the value at K copies is stored beside it (role "pool"): two sizes of pools, of which
    `Results.pool_effect` makes a check. Errors are taken over pools, and `Results.pool_correlation` finds pools that
    share draws with their replicates.

    Parameters
    ----------
    name : str, optional
        Name in the store; by default the kind.
    """

    scheme: ClassVar[int] = 1
    needs: ClassVar[frozenset[str]] = frozenset({"particles", "reference", "tracers", LIOUVILLE})
    p: ClassVar[float | None] = None

    def fields(self, phase: Phase) -> tuple[Field, ...]:
        """Return couplings of both steps, and the moments from which the distances of the laws are computed."""
        copies = COPIES[phase.position]
        found = []
        for step, words in STEPS:
            key, what = f"{step}_sq", f"mean squared distance of the particles of {words}"
            found += [
                Field(key, key, "estimate", what, laws=COUPLING, order=2.0),
                Field(f"{key}_pool", key, "pool", f"{what}, with pools of {copies} copies"),
            ]
        rest = f"{STEPS[1][0]}_w2_sq"
        low, tests = gelbrich.names(phase.dimension), dictionary.names(phase.dimension)
        found += [
            *(Field(f"difference_{key}", "", "difference", f"mean of {g}, from (P) to (LV)") for key, g in low),
            *(Field(f"total_{key}", rest, "total", f"mean of {g}, from (P) to (V)") for key, g in low),
            *(Field(f"control_{key}", "", "control", gelbrich.CONTROL.format(g)) for key, g in tests),
            *(Field(f"pool_{key}", "", "pool_control", f"{gelbrich.CONTROL.format(g)}, pool") for key, g in tests),
            *(Field(f"moment_{key}", "", "moment", gelbrich.MOMENT.format(g)) for key, g in low),
        ]
        return tuple(found)

    def reduced(self, phase: Phase) -> tuple[Field, ...]:
        """Return the squared distances of the laws of one particle."""
        del phase
        return tuple(
            Field(
                f"{step}_w2_sq",
                f"{step}_w2_sq",
                "estimate",
                f"W_2^2 of the laws of one particle of {words}, from means and covariances",
                laws=MARGINAL,
                order=2.0,
            )
            for step, words in STEPS
        )

    def admit(self, phase: Phase, law: InitialLaw) -> None:
        """Accept every phase space and law."""

    def measure(self, view: View) -> tuple[float, ...]:
        """Return the fields' values."""
        assert view.tracers is not None
        assert view.liouville is not None
        mean, covariance = moments_of(view.reference)
        particles, copies = view.state.ensemble.points, view.tracers.points
        one, other, pool = view.liouville.one.points, view.liouville.other.points, view.liouville.controls
        moments = gelbrich.moments(particles)
        return (
            *_coupling(particles - one, particles - other),
            *_coupling(one - copies, other - copies),
            *(moments - 0.5 * (gelbrich.moments(one) + gelbrich.moments(other))),
            *(moments - gelbrich.moments(copies)),
            *dictionary.controls(view.law, view.start.ensemble.points),
            *pool,
            *gelbrich.expected_moments(mean, covariance),
        )

    def budget(self, size: int, phase: Phase) -> Budget:
        """Predict seconds and bytes: a few passes over the particles."""
        return Budget(seconds=1e-4 + 1e-7 * size * phase.dimension, memory=200.0 * size * phase.dimension)


def _coupling(one: Floats, other: Floats) -> tuple[float, float]:
    """Return the mean of products of two differences (n, D), and the mean square of either."""

    def mean(a: Floats, b: Floats) -> float:
        return float(np.einsum("ij,ij->", a, b)) / len(a)

    return mean(one, other), 0.5 * (mean(one, one) + mean(other, other))
