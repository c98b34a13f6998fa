"""A self-similar Cantor dust."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh_tridiagonal
from scipy.special import gammaln, roots_legendre

from mfstudy.checks import as_probabilities, check_above, check_count, check_probability, is_number
from mfstudy.ensemble import Ensemble, Floats, Phase
from mfstudy.laws import InitialLaw
from mfstudy.laws._moments import convolve, log_power_mean
from mfstudy.laws._product import Rule, product_rule
from mfstudy.laws._sobol import sobol

Bytes = NDArray[np.uint8]

#: Binary digits of a coordinate, eight to a byte: ratio^64 < 2^-64 is beyond double precision.
_BYTES = 8


@dataclass(frozen=True)
class Dust:
    """Uniform on the self-similar set of the 2^D maps x -> ratio x + (1 - ratio) c, c a corner of the cube.

    Every piece is a copy of the whole, smaller by `ratio`, in a corner of its cube; all pieces of a generation have the
    same mass (Hutchinson, Indiana Univ. Math. J. 30, 1981). Components are independent Cantor laws

        X_i = position_halfwidth (1 - ratio) sum_k ratio^k s_ik,   s_ik = -1 or 1 with equal chances, k >= 0.

    Generation l adds about (ratio^p 2^{D/2})^l N^-1/2 to E W_p^p of N i.i.d. points, as far as its 2^{Dl} pieces hold
    points. At ratio = 2^{-D/(2p)} < 1/2 all scales add the same: N^-1/2 (A log N + B), the mechanism of Fournier and
    Guillin (PTRF 162, 2015, Theorem 1) with its logarithm; the similarity dimension log 2^D / log(1/ratio) is then 2p.
    It takes D > 2p: ratio = 8^-1/2 in D = 3, p = 1.

    Meant for D >= 2. In D = 1 the distance integrates F^{-1}, whose jumps are dense: it is certified up to a
    ratio of about 0.3, and beyond replicates fail; on a circle it is bracketed for every ratio.

    Parameters
    ----------
    ratio : float
        > 0 and < 1/2, so that pieces are apart, (1 - 2 ratio) of their parent along an axis. Dimensionless.
    position_halfwidth : float
        > 0, of the cube that the dust touches with all corners. Dimensionless.
    """

    scheme: ClassVar[int] = 1

    ratio: float = field(metadata={"above": 0.0, "below": 0.5, "unit": "dimensionless"})
    position_halfwidth: float = field(metadata={"above": 0.0, "unit": "dimensionless"})

    def __post_init__(self) -> None:
        if not (is_number(self.ratio) and 0 < self.ratio < 0.5):
            raise ValueError(f"ratio: {self.ratio!r}; allowed: a number > 0 and < 0.5")
        check_above("position_halfwidth", self.position_halfwidth)

    def on(self, phase: Phase) -> InitialLaw:
        """Return the law on the variables of a system.

        Raises
        ------
        ValueError
            Unless the system has a position and no velocity.
        """
        if phase.position == 0 or phase.velocity:
            raise ValueError(
                f"kind: a law of positions alone, and the system has {phase.position} position and {phase.velocity}"
                " velocity components; allowed: >= 1 and 0"
            )
        return _Cantor(phase.position, float(self.ratio), float(self.position_halfwidth))


@dataclass(frozen=True)
class _Cantor:
    """Independent Cantor laws on [-halfwidth, halfwidth]; implements `mfstudy.laws.InitialLaw`.

    Parameters
    ----------
    dimension : int
        D, >= 1.
    ratio : float
        > 0 and < 1/2.
    halfwidth : float
        > 0.
    """

    dimension: int
    ratio: float
    halfwidth: float

    def sample(self, rng: np.random.Generator, n: int) -> Ensemble:
        """Return n i.i.d. particles, of 64 random digits for each coordinate."""
        check_count("n", n)
        return Ensemble(self.halfwidth * self._drawn(rng, n), None)

    def _drawn(self, rng: np.random.Generator, n: int) -> Floats:
        """Return n i.i.d. points of the dust in [-1, 1]^D."""
        return _placed(rng.integers(256, size=(n, self.dimension, _BYTES), dtype=np.uint8), self.ratio)

    def stratified(self, rng: np.random.Generator, m: int) -> Floats:
        """Return m points of rho, (m, D), whose counts in all pieces are the exact masses up to rounding.

        Systematic sampling with one uniform offset (Madow, Ann. Math. Statist. 20, 1949) of the pieces of the first
        generation that has m or more; i.i.d. within. Pieces are numbered so that those of one parent follow each other:
        a piece of mass w, of this or an older generation, has floor(m w) or ceil(m w) points. Not shuffled. The
        empirical measure has the law as expectation.

        Raises
        ------
        ValueError
            If m is not an integer >= 1.
        """
        check_count("m", m)
        generations = math.ceil(math.log2(m) / self.dimension)
        pieces = 2 ** (generations * self.dimension)
        number = np.minimum((np.arange(m) + rng.random()) / m * pieces, pieces - 1).astype(np.int64)
        points = self._drawn(rng, m)
        for bit in range(0, generations * self.dimension, self.dimension):  # the youngest generation is placed first
            signs = (number[:, None] >> np.arange(bit, bit + self.dimension)) % 2 * 2.0 - 1
            points = (1 - self.ratio) * signs + self.ratio * points
        return self.halfwidth * np.clip(points, -1, 1)

    def nodes(self, level: int, velocity_level: int | None = None) -> Ensemble:
        """Return the tensor product of Gauss rules of the Cantor law; there is no velocity, and `velocity_level` none.

        Exact for polynomials of degree <= 2 level - 1 in every coordinate, to a relative 1e-12 for level <= 64; with
        fewer nodes along an axis where round-off does not tell them apart.
        """
        check_count("level", level)
        check_count("velocity_level", level if velocity_level is None else velocity_level)
        points, weights = _gauss_rule(self.ratio, level)
        points, weights = product_rule([(points[:, None], weights)] * self.dimension)
        return Ensemble(self.halfwidth * points, None, weights)

    def quasi(self, rng: np.random.Generator, level: int) -> Ensemble:
        """Return F^{-1} of 2^level Sobol points of (0, 1)^D, coordinate by coordinate, with equal weights."""
        points = _placed(_digits(sobol(rng, self.dimension, level)), self.ratio)
        return Ensemble(self.halfwidth * points, None, np.full(2**level, 0.5**level))

    @property
    def mean(self) -> Floats:
        """E z = 0, a (D,) array."""
        return np.zeros(self.dimension)

    @property
    def covariance(self) -> Floats:
        """Covariance matrix, (D, D): halfwidth^2 (1 - ratio)^2 sum_k ratio^{2k} along each axis."""
        return self.halfwidth**2 * self._variance * np.eye(self.dimension)

    @property
    def _variance(self) -> float:
        return (1 - self.ratio) / (1 + self.ratio)

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
        size = math.sqrt(self.dimension * self._variance)
        points, weights = _refined(_gauss_rule(self.ratio, 32), self.ratio, 5)
        squares = (points / size) ** 2

        def counts(order: int, rate: Floats) -> Floats:
            means = rate[:, None] * squares
            one = [np.exp(j * np.log(means) - means - gammaln(j + 1)) @ weights for j in range(order + 1)]
            return convolve([np.array(one)] * self.dimension)

        with np.errstate(under="ignore"):  # the integrand vanishes at both ends
            log_mean = log_power_mean(q / 2, self.dimension, counts)
        return math.exp(q * math.log(size * self.halfwidth) + log_mean)

    def quantile(self, u: Floats) -> Floats:
        """Return F^{-1}(u), in D = 1 only, of the shape of u; it jumps over a gap at every dyadic number.

        Raises
        ------
        ValueError
            If D > 1, or an entry of u is not a probability.
        """
        return self.halfwidth * _placed(_digits(as_probabilities(u, self.dimension)), self.ratio)

    @property
    def moment_order(self) -> float:
        """Supremum of the orders of finite moments: the support is bounded."""
        return math.inf

    @property
    def support(self) -> Floats:
        """Bounding box of the support, (D, 2)."""
        return np.tile([-self.halfwidth, self.halfwidth], (self.dimension, 1))

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
        """Supremum of |z - E z| over the support, at the corners."""
        return self.halfwidth * math.sqrt(self.dimension)

    @property
    def support_dimension(self) -> int:
        """Similarity dimension log 2^D / log(1/ratio) < D where it is whole to 1e-12, else rounded up."""
        similarity = self.dimension * math.log(2) / -math.log(self.ratio)
        return max(1, math.ceil(similarity - 1e-12))

    @property
    def regular(self) -> bool:
        """Never: the support has gaps at every scale, and there is no density."""
        return False


def _placed(digits: Bytes, ratio: float) -> Floats:
    """Return the points of the Cantor law on [-1, 1] with these binary digits, (..., 8) -> (...)."""
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
    of_byte = (1 - ratio) * ((2.0 * bits - 1) * ratio ** np.arange(8)).sum(axis=1)
    points: Floats = of_byte[digits[..., -1]]
    for place in range(_BYTES - 2, -1, -1):
        points = of_byte[digits[..., place]] + ratio**8 * points
    return np.clip(points, -1, 1)  # round-off must not leave the support


def _digits(u: Floats) -> Bytes:
    """Return the binary digits of probabilities, (...) -> (..., 8); of two expansions the one that ends in ones.

    F^{-1}(u) = inf {x: F(x) >= u} is the near side of a gap.
    """
    digits = np.empty((*u.shape, _BYTES), dtype=np.uint8)
    for place in range(_BYTES):
        u = 256 * u
        byte = np.maximum(np.ceil(u) - 1, 0)
        digits[..., place] = byte
        u = u - byte
    return digits


@lru_cache(maxsize=16)
def _gauss_rule(ratio: float, level: int) -> Rule:
    """Return the Gauss rule of the Cantor law on [-1, 1], (level,) nodes and weights.

    The law is the fixed point of "two copies of half the mass". A rule with the right moments up to an order has them
    still as two copies; a moment of degree k that is wrong becomes less so by ratio^k. So copy, take the Gauss rule of
    the copies, and repeat: Mantica, Constr. Approx. 12, 1996, for the idea of working on rules, moments being unstable.
    """
    points, weights = roots_legendre(level)
    rule: Rule = points, weights / weights.sum()
    for _ in range(math.ceil(18 / -math.log10(ratio**2))):  # odd moments are 0 at once
        rule = _condensed(_refined(rule, ratio, 1), level)
    return rule


def _refined(rule: Rule, ratio: float, generations: int) -> Rule:
    """Return a rule as 2^generations copies of itself, on the pieces of that generation."""
    points, weights = rule
    for _ in range(generations):
        points = np.concatenate([ratio * points - (1 - ratio), ratio * points + (1 - ratio)])
        weights = np.tile(weights / 2, 2)
    return points, weights


def _condensed(rule: Rule, level: int) -> Rule:
    """Return the Gauss rule of a symmetric discrete law, by Lanczos (Gautschi, Orthogonal Polynomials, 2004, 2.2.3)."""
    points, weights = rule
    vectors, couplings = [np.sqrt(weights)], []
    for _ in range(level - 1):
        new = points * vectors[-1]
        for _ in range(2):  # once is not enough
            known = np.array(vectors)
            new = new - known.T @ (known @ new)
        norm = float(np.linalg.norm(new))
        if norm < 1e-14:  # no further node is told apart
            break
        couplings.append(norm)
        vectors.append(new / norm)
    nodes, eigenvectors = eigh_tridiagonal(np.zeros(len(vectors)), np.array(couplings))
    nodes, masses = (nodes - nodes[::-1]) / 2, eigenvectors[0] ** 2
    masses = (masses + masses[::-1]) / (2 * masses.sum())
    held = masses > 0  # a node in a gap may have less mass than the smallest float
    return nodes[held], masses[held]
