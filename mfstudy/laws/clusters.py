"""Uniform on separated boxes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, roots_legendre

from mfstudy.checks import as_probabilities, check_above, check_count, check_probability, is_number
from mfstudy.ensemble import Ensemble, Floats, Phase
from mfstudy.laws import InitialLaw
from mfstudy.laws._moments import ball_counts, convolve, log_power_mean
from mfstudy.laws._product import Factor, ProductLaw
from mfstudy.laws.box import Box

Vectors = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Clusters:
    """Uniform on K boxes of one size that lie apart in position, component k with the mass m_k.

    The gap g between two such boxes rules their distance to N i.i.d. points: the number of points in a box is binomial,
    and the surplus has to cross. For K = 2 and flat facing faces of side s (transport over the gap, then within)

        E W_2^2 = g^2 E|B/N - m_1| + 4 m_1 m_2 (g s + s^2/3) / N + what the boxes contribute,   B ~ Bin(N, m_1),

    the second term for m_1 = 1/2; the first, about g^2 (2 m_1 m_2 / (pi N))^{1/2}, decays like N^-1/2 in every
    dimension. It is the gap that enters, not the distance of the centres.

    Parameters
    ----------
    centres : tuple of tuple of float
        The K centres in position space; two of them are at least 2 position_halfwidth apart along some axis.
    position_halfwidth : float
        > 0, of every box along every position axis. Dimensionless.
    velocity_halfwidth : float, optional
        > 0, along every velocity axis; left out where there is no velocity. Dimensionless.
    velocity_means : tuple of tuple of float, optional
        The mean velocity of each component; by default 0. Dimensionless.
    masses : tuple of float, optional
        K numbers > 0 of sum 1; by default equal.
    """

    scheme: ClassVar[int] = 1

    centres: Vectors = field(metadata={"unit": "dimensionless"})
    position_halfwidth: float = field(metadata={"above": 0.0, "unit": "dimensionless"})
    velocity_halfwidth: float | None = field(default=None, metadata={"above": 0.0, "unit": "dimensionless"})
    velocity_means: Vectors | None = field(default=None, metadata={"unit": "dimensionless"})
    masses: tuple[float, ...] | None = field(default=None, metadata={"above": 0.0, "unit": "dimensionless"})

    def __post_init__(self) -> None:
        check_above("position_halfwidth", self.position_halfwidth)
        if self.velocity_halfwidth is not None:
            check_above("velocity_halfwidth", self.velocity_halfwidth)
        count = _check_vectors("centres", self.centres)
        _check_apart(self.centres, self.position_halfwidth)
        if self.velocity_means is not None and _check_vectors("velocity_means", self.velocity_means) != count:
            raise ValueError(f"velocity_means: {len(self.velocity_means)} entries; allowed: one per centre ({count})")
        if self.masses is not None:
            _check_masses(self.masses, count)

    def on(self, phase: Phase) -> InitialLaw:
        """Return the law on the variables of a system.

        Raises
        ------
        ValueError
            If a key is missing, has the wrong number of entries, or is about variables the system lacks.
        """
        box = Box(self.position_halfwidth, self.velocity_halfwidth).on(phase)
        _check_length("centres", self.centres, "position", phase.position)
        if self.velocity_means is not None:
            _check_length("velocity_means", self.velocity_means, "velocity", phase.velocity)
        count = len(self.centres)
        masses = self.masses or (1.0,) * count
        velocities = self.velocity_means or ((0.0,) * phase.velocity,) * count
        return _Mixture(
            tuple(mass / math.fsum(masses) for mass in masses),
            tuple(
                ProductLaw(_moved(box.position, position), _moved(box.velocity, velocity))
                for position, velocity in zip(self.centres, velocities, strict=True)
            ),
        )


@dataclass(frozen=True)
class _Mixture:
    """Uniform laws on boxes of one size, each with a mass; implements `mfstudy.laws.InitialLaw`.

    Parameters
    ----------
    masses : tuple of float
        > 0, of sum 1.
    laws : tuple of ProductLaw
        As many; they differ in the mean only, and have a position.
    """

    masses: tuple[float, ...]
    laws: tuple[ProductLaw, ...]

    @property
    def components(self) -> tuple[Floats, list[ProductLaw]]:
        """The exact masses, (K,), and the laws of the K components, in the order of the centres."""
        return np.array(self.masses), list(self.laws)

    @property
    def _means(self) -> Floats:
        """Means of the components, (K, D)."""
        return np.array([law.mean for law in self.laws])

    @property
    def _boxes(self) -> Floats:
        """Supports of the components, (K, D, 2)."""
        return np.array([law.support for law in self.laws])

    def sample(self, rng: np.random.Generator, n: int) -> Ensemble:
        """Return n i.i.d. particles; the components are drawn first, then positions, then velocities."""
        check_count("n", n)
        return self._placed(rng, np.searchsorted(np.cumsum(self.masses)[:-1], rng.random(n), side="right"))

    def _placed(self, rng: np.random.Generator, chosen: NDArray[np.intp]) -> Ensemble:
        """Draw a particle from each chosen component, positions before velocities."""
        return Ensemble(
            _scattered(rng, [law.position for law in self.laws], chosen),
            _scattered(rng, [law.velocity for law in self.laws], chosen),
        )

    def stratified(self, rng: np.random.Generator, m: int) -> Floats:
        """Return m points of rho, (m, D), whose counts in the components are the exact masses up to rounding.

        Component k has floor(m m_k) or ceil(m m_k) points, by systematic sampling with one uniform offset (Madow, Ann.
        Math. Statist. 20, 1949), and they are i.i.d. within it; component by component, not shuffled. So the masses are
        wrong by at most one point per component, where i.i.d. points miss by about (m m_k (1 - m_k))^{1/2}. The points
        are dependent, but their empirical measure rho_M has E rho_M = rho, which is all that the two ends of a
        transport bracket need to be bounds in the mean; two calls are independent of each other.

        Raises
        ------
        ValueError
            If m is not an integer >= 1.
        """
        check_count("m", m)
        cuts = np.minimum(np.floor(m * np.cumsum(self.masses)[:-1] + rng.random()), m).astype(np.intp)
        return self._placed(rng, np.repeat(np.arange(len(self.laws)), np.diff(cuts, prepend=0, append=m))).points

    def nodes(self, level: int, velocity_level: int | None = None) -> Ensemble:
        """Return a tensor Gauss-Legendre rule on each box, K times as many nodes as on one box."""
        return self._joined([law.nodes(level, velocity_level) for law in self.laws])

    def quasi(self, rng: np.random.Generator, level: int) -> Ensemble:
        """Return 2^level Sobol points on each box, scrambled anew, with the exact masses."""
        return self._joined([law.quasi(rng, level) for law in self.laws])

    def _joined(self, rules: list[Ensemble]) -> Ensemble:
        return Ensemble(
            _stacked([rule.position for rule in rules]),
            _stacked([rule.velocity for rule in rules]),
            # The boxes are of one size, and so are their rules.
            np.outer(self.masses, rules[0].weights if rules[0].weights is not None else 1.0).ravel(),
        )

    @property
    def mean(self) -> Floats:
        """E z, a (D,) array."""
        mean: Floats = np.array(self.masses) @ self._means
        return mean

    @property
    def covariance(self) -> Floats:
        """Covariance matrix, (D, D): that of a box and that of the means."""
        scaled = np.sqrt(self.masses)[:, None] * (self._means - self.mean)
        covariance: Floats = self.laws[0].covariance + scaled.T @ scaled
        return covariance

    def moment(self, q: float) -> float:
        """Return M_q = E|z - E z|^q for any real q > 0, to a relative error below 1e-12.

        Raises
        ------
        ValueError
            If q is not a finite number > 0.
        OverflowError
            If the moment is above the largest float.
        """
        check_above("q", q)
        boxes = self._boxes - self.mean[:, None]
        return math.fsum(mass * _power_mean(box, q) for mass, box in zip(self.masses, boxes, strict=True))

    def quantile(self, u: Floats) -> Floats:
        """Return F^{-1}(u), in D = 1 only, of the shape of u: linear on each box, and it jumps over the gaps.

        Raises
        ------
        ValueError
            If D > 1, or an entry of u is not a probability.
        """
        u = as_probabilities(u, len(self.mean))
        order = np.argsort(self._means[:, 0])
        masses = np.array(self.masses)[order]
        ends = np.cumsum(masses)[:-1]
        # At u = F(gap) the infimum of {x: F(x) >= u} is the end of the box before the gap.
        k = np.searchsorted(ends, u, side="left")
        fraction = np.minimum((u - np.append(0.0, ends)[k]) / masses[k], 1.0)
        placed = np.stack([self.laws[i].quantile(fraction) for i in order])
        chosen: Floats = np.take_along_axis(placed, k[None], axis=0)[0]
        return chosen

    def density(self, points: Floats) -> Floats:
        """Return the density at n points of R^D, (n, D) -> (n,); where boxes touch it is the sum of both."""
        pairs = zip(self.masses, self.laws, strict=True)
        return np.asarray(np.sum([mass * law.density(points) for mass, law in pairs], axis=0))

    @property
    def moment_order(self) -> float:
        """Supremum of the orders of finite moments: the support is bounded."""
        return math.inf

    @property
    def support(self) -> Floats:
        """Bounding box of the union of the boxes, (D, 2)."""
        return np.stack([self._boxes[:, :, 0].min(axis=0), self._boxes[:, :, 1].max(axis=0)], axis=1)

    def box(self, probability: float) -> Floats:
        """Return the support, which is bounded, (D, 2).

        Raises
        ------
        ValueError
            Unless 0 < probability < 1.
        """
        check_probability(probability)
        return self.support

    @property
    def support_radius(self) -> float:
        """Supremum of |z - E z| over the support, at a corner of a box."""
        reach = np.abs(self._boxes - self.mean[:, None]).max(axis=2)
        return float(np.linalg.norm(reach, axis=1).max())

    @property
    def support_dimension(self) -> int:
        """Dimension of the support: D, every box has an inside."""
        return len(self.mean)

    @property
    def regular(self) -> bool:
        """Whether there is one box alone: others may be apart."""
        return len(self.laws) == 1


def _moved(factor: Factor | None, mean: tuple[float, ...]) -> Factor | None:
    return None if factor is None else replace(factor, mean=tuple(map(float, mean)))


def _scattered(rng: np.random.Generator, factors: Sequence[Factor | None], chosen: NDArray[np.intp]) -> Floats | None:
    """Draw one row from each chosen factor, (n, d); None where the factors are."""
    present = [factor for factor in factors if factor is not None]
    if not present:
        return None
    means = np.array([factor.mean for factor in present])
    return means[chosen] + present[0].scale * present[0].shape.draw(rng, len(chosen))


def _stacked(blocks: Sequence[Floats | None]) -> Floats | None:
    present = [block for block in blocks if block is not None]
    return np.concatenate(present) if present else None


def _power_mean(box: Floats, q: float) -> float:
    """Return E|y|^q for y uniform on a box, (D, 2): its axes are independent, so `log_power_mean` takes them apart."""
    size = math.sqrt(float(np.sum(box[:, 0] ** 2 + box[:, 0] * box[:, 1] + box[:, 1] ** 2)) / 3)

    def counts(order: int, rate: Floats) -> Floats:
        return convolve([_interval_counts(low, high, order, rate) for low, high in box / size])

    with np.errstate(under="ignore"):  # the integrand vanishes at both ends
        return math.exp(q * math.log(size) + log_power_mean(q / 2, len(box), counts))


def _interval_counts(low: float, high: float, order: int, rate: Floats) -> Floats:
    """Return `Shape.counts` of the uniform law on [low, high], a mixture of those on [0, low] and [0, high].

    One weight is negative where the interval leaves 0 out. Far out the two nearly cancel, and the counts vary so little
    over the interval that a Gauss rule is exact.
    """
    middle, half = (low + high) / 2, (high - low) / 2
    if half < 0.05 * abs(middle):
        nodes, weights = roots_legendre(24)
        means = rate * (middle + half * nodes[:, None]) ** 2
        j = np.arange(order + 1)[:, None, None]
        counts: Floats = (weights / weights.sum()) @ np.exp(j * np.log(means) - means - gammaln(j + 1))
        return counts
    # Below a rate of 1e-20 the count is 0 to round-off; the floor keeps powers of the rate finite.
    from_low, from_high = (end * ball_counts(1, order, np.maximum(rate * end**2, 1e-20)) for end in (low, high))
    difference: Floats = (from_high - from_low) / (high - low)
    return difference


def _check_vectors(name: str, vectors: object) -> int:
    """Return the number of vectors, or raise a one-line ValueError."""
    if isinstance(vectors, tuple) and vectors and all(isinstance(v, tuple) and v for v in vectors):
        same = len({len(vector) for vector in vectors}) == 1
        if same and all(map(is_number, itertools.chain(*vectors))):
            return len(vectors)
    raise ValueError(f"{name}: {vectors!r}; allowed: a tuple of tuples of finite numbers, all of one length")


def _check_length(name: str, vectors: Vectors, variable: str, dimension: int) -> None:
    if dimension == 0:
        raise ValueError(f"{name}: not allowed; the system has no {variable}")
    if len(vectors[0]) != dimension:
        raise ValueError(f"{name}: {len(vectors[0])} entries each; allowed: one per {variable} component ({dimension})")


def _check_apart(centres: Vectors, halfwidth: float) -> None:
    for (i, first), (k, second) in itertools.combinations(enumerate(centres), 2):
        apart = max(abs(a - b) for a, b in zip(first, second, strict=True))
        if apart < 2 * halfwidth * (1 - 1e-12):  # boxes that touch to round-off do not overlap
            raise ValueError(
                f"centres: the boxes about {first} and {second} (entries {i} and {k}) overlap;"
                f" allowed: centres at least {2 * halfwidth:g} apart along an axis"
            )


def _check_masses(masses: object, count: int) -> None:
    if not (isinstance(masses, tuple) and all(is_number(mass) and mass > 0 for mass in masses)):
        raise ValueError(f"masses: {masses!r}; allowed: a tuple of finite numbers > 0")
    if len(masses) != count:
        raise ValueError(f"masses: {len(masses)} entries; allowed: one per centre ({count})")
    if abs(math.fsum(masses) - 1) > 1e-12:
        raise ValueError(f"masses: their sum is {math.fsum(masses)!r}; allowed: 1 within 1e-12")
