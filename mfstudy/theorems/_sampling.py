"""Which numbers of a study are distances of i.i.d. points to their own law."""

from __future__ import annotations

from mfstudy.distances.wasserstein import Wasserstein
from mfstudy.observables.empirical import Empirical
from mfstudy.theorems import Setting, Subject


def sampled(setting: Setting) -> list[tuple[Empirical, Subject]]:
    """Return the observables that measure E W_p^p(mu_N, rho_in), and the subject of each.

    At time 0, and at all times where particles rest: later particles are dependent, or their law is another.
    """
    times = setting.independent
    return [
        (observable, Subject(f"{observable.label}_{observable.distance.measured(observable.p)[0]}", times))
        for observable in setting.observables
        if times and isinstance(observable, Empirical) and isinstance(observable.distance, Wasserstein)
    ]


def kinetic_factor(observable: Empirical) -> float:
    """Return the largest ratio of the observable's cost to the Euclidean one, |z - z'|^p; dimensionless."""
    return max(2 ** (1 - observable.p / 2), 1.0) if observable.cost == "kinetic" else 1.0
