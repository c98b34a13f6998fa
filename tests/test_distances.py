"""Kinetic distances against brute force over permutations, closed forms, planted truth, and controls that must fail.

Statistical tests: fixed seeds, z = 4.5, so 3.5e-6 for each one-sided bound; about 20 of them, 7e-5 for the file.
"""

import itertools
import re

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.optimize import brentq

from mfstudy import components
from mfstudy.distances._shear import Shear
from mfstudy.distances.kinetic import Kinetic
from mfstudy.distances.nonlinear import Nonlinear
from mfstudy.distances.shifted import Shifted
from mfstudy.distances.twisted import Twisted
from mfstudy.ensemble import Measure
from mfstudy.transport.bracket import UncertifiedError
from mfstudy.transport.wasserstein import wasserstein

Z = 4.5
PERIOD = (0.8, None)
ORDERS = [1, 1.5, 2, 3]
DISTANCES = [Kinetic(2.5), Twisted(2.0, 0.7, 0.5), Shifted(0.6), Nonlinear(0.9)]


def between(distance, x, y, p=2, period=None, weights=None, seed=0):
    return distance.between(Measure(x, weights, period), y, p, None, np.random.default_rng(seed))


def clouds(count, dimension, seed=0, size=0.7):
    rng = np.random.default_rng(seed)
    return size * rng.random((count, dimension)), size * rng.random((count, dimension)) + 0.05


class Cloud:
    """The uniform law on some points: what a sampled reference may be, and still has an exact distance."""

    def __init__(self, points, error=0.0):
        self.points, self.error = points, error

    def sample(self, rng, m):
        return self.points[rng.integers(len(self.points), size=m)]


# Brute force: every pairing of at most six points, every image on the torus


def images(x, y, period, reach=3):
    """Differences (N, N, K, D) of positions and velocities, over the images of positions."""
    difference = x[:, None] - y
    lengths = [length or 0.0 for length in period or (None,) * (x.shape[1] // 2)]
    steps = [np.arange(-reach, reach + 1) * length if length else [0.0] for length in lengths]
    shifts = np.array(list(itertools.product(*steps)))
    shifts = np.concatenate([shifts, np.zeros_like(shifts)], axis=1)
    return difference[:, :, None] + shifts


def pair_cost(distance, difference, p):
    half = difference.shape[-1] // 2
    x, v = difference[..., :half], difference[..., half:]

    def norm(vector):
        return np.sqrt(np.sum(vector**2, axis=-1))

    match distance:
        case Kinetic():
            return distance.price * norm(x) ** p + norm(v) ** p
        case Shifted():
            return norm(x - distance.time * v) ** p + norm(v) ** p
        case Twisted():
            mixed = 2 * distance.b * np.sum(x * v, axis=-1)
            return (distance.a * norm(x) ** 2 + mixed + distance.c * norm(v) ** 2) ** (p / 2)


def pairings(count):
    rows = np.arange(count)
    return [(rows, np.array(order)) for order in itertools.permutations(range(count))]


def brute(distance, x, y, p, period=None):
    costs = pair_cost(distance, images(x, y, period), p).min(axis=2)
    return min(costs[pairing].mean() for pairing in pairings(len(x)))


def brute_nonlinear(epsilon, x, y, p, period=None):
    """Solve the scalar equation for every pairing (these are the extreme couplings), and take the least root."""
    difference = images(x, y, period)
    half = x.shape[1] // 2
    positions = np.linalg.norm(difference[..., :half], axis=-1).min(axis=2) ** p
    velocities = np.linalg.norm(difference[:, :, 0, half:], axis=-1) ** p

    def root(moved, turned):
        return brentq(lambda s: s + np.log(s) / epsilon**2 * moved - turned, 1e-12, 1.0, xtol=1e-14)

    pairs = [(positions[pairing].mean(), velocities[pairing].mean()) for pairing in pairings(len(x))]
    return min(root(moved, turned) for moved, turned in pairs if turned < 1)


@pytest.mark.parametrize("period", [None, PERIOD], ids=["space", "torus"])
@pytest.mark.parametrize("p", ORDERS)
@pytest.mark.parametrize("distance", DISTANCES[:3], ids=lambda d: type(d).__name__)
def test_against_every_permutation(distance, p, period):
    for count, seed in ((1, 0), (4, 1), (6, 2)):
        x, y = clouds(count, 4, seed, 2.0)
        truth = brute(distance, x, y, p, period)
        found = between(distance, x, y, p, period and (*period, None, None))
        assert found.estimate == pytest.approx(truth, rel=1e-9)
        assert found.lower <= found.estimate <= found.upper <= found.lower + 1e-8 * truth
        assert found.p == p


@pytest.mark.parametrize("period", [None, PERIOD], ids=["space", "torus"])
@pytest.mark.parametrize("p", ORDERS)
def test_nonlinear_against_every_permutation(p, period):
    for epsilon, seed in ((0.4, 1), (1.0, 2), (3.0, 3)):
        x, y = clouds(5, 4, seed)
        truth = brute_nonlinear(epsilon, x, y, p, period)
        found = between(Nonlinear(epsilon), x, y, p, period and (*period, None, None))
        assert found.estimate == pytest.approx(truth, rel=1e-9)
        assert found.lower <= truth * (1 + 1e-9)
        assert truth <= found.upper * (1 + 1e-9)
        assert found.upper - found.lower <= 1e-8 * truth
        # Control: another epsilon is another number.
        other = between(Nonlinear(1.1 * epsilon), x, y, p, period and (*period, None, None))
        assert abs(other.estimate / truth - 1) > 1e-3


@pytest.mark.parametrize(
    ("right", "wrong"),
    [(Twisted(2.0, 0.7, 0.5), Twisted(2.0, -0.7, 0.5)), (Shifted(0.6), Shifted(-0.6)), (Kinetic(2.5), Kinetic(0.4))],
    ids=["b", "t", "lambda"],
)
@pytest.mark.parametrize("p", ORDERS)
def test_brute_force_sees_a_wrong_sign(right, wrong, p):
    x, y = clouds(6, 4, 2, 2.0)
    assert abs(between(wrong, x, y, p).estimate / brute(right, x, y, p) - 1) > 1e-2


def test_the_torus_matters():
    x, y = clouds(6, 4, 2, 2.0)
    for distance in DISTANCES[:3]:
        assert between(distance, x, y).estimate > 1.05 * between(distance, x, y, 2, (*PERIOD, None, None)).estimate


def test_weights_count_points():
    x, y = clouds(5, 2)
    for distance in DISTANCES:
        twice = between(distance, np.concatenate([x, x[:1]]), y).estimate
        weights = np.array([2, 1, 1, 1, 1]) / 6
        assert between(distance, x, y, weights=weights).estimate == pytest.approx(twice, rel=1e-9)


# Identities


@pytest.mark.parametrize("p", ORDERS)
def test_scaling_of_the_kinetic_distance(p):
    x, y = clouds(30, 4)
    value = between(Kinetic(2.5), x, y, p).estimate
    stretch = np.array([3.0, 3.0, 1.0, 1.0])
    assert between(Kinetic(2.5 / 3**p), x * stretch, y * stretch, p).estimate == pytest.approx(value, rel=1e-9)
    assert between(Kinetic(2.5), 3 * x, 3 * y, p).estimate == pytest.approx(3**p * value, rel=1e-9)
    # One variable at rest: the price of the other alone.
    still = np.array([1.0, 1.0, 0.0, 0.0])
    alone = wasserstein(x[:, :2], y[:, :2], p).estimate
    assert between(Kinetic(2.5), x * still, y * still, p).estimate == pytest.approx(2.5 * alone, rel=1e-9)
    moving = between(Kinetic(2.5), x * (1 - still), y * (1 - still), p).estimate
    assert moving == pytest.approx(wasserstein(x[:, 2:], y[:, 2:], p).estimate, rel=1e-9)


def test_plain_squares_are_euclidean():
    x, y = clouds(40, 6)
    euclidean = wasserstein(x, y, 2).estimate
    for distance in (Kinetic(), Twisted(), Shifted(0.0)):
        assert between(distance, x, y).estimate == pytest.approx(euclidean, rel=1e-12)
    assert between(Twisted(), x, y, 1).estimate == pytest.approx(wasserstein(x, y, 1).estimate, rel=1e-12)
    # Control: for p = 1 the sum over blocks is another distance.
    assert between(Kinetic(), x, y, 1).estimate > 1.1 * wasserstein(x, y, 1).estimate


def bures(a, b):
    root = np.real(sqrtm(a))
    return np.trace(a + b - 2 * np.real(sqrtm(root @ b @ root)))


def test_twisted_distance_of_gaussian_moments():
    # y = T x with T the optimal map between Gaussians in the metric of the form: cyclically monotone, so optimal for
    # the sample as well, and by whitening the sample's covariance is the Gaussian's.
    rng = np.random.default_rng(4)
    form = np.kron([[2.0, 0.7], [0.7, 0.5]], np.eye(2))
    metric = np.real(sqrtm(form))  # symmetric: not the factor that the code takes
    factor = rng.standard_normal((2, 4, 4))
    first, second = (metric @ f @ f.T @ metric for f in factor)
    white = rng.standard_normal((60, 4))
    white -= white.mean(axis=0)
    white @= np.linalg.inv(np.linalg.cholesky(white.T @ white / 60)).T
    left = white @ np.linalg.cholesky(first).T
    root = np.real(sqrtm(first))
    optimal = np.linalg.inv(root) @ np.real(sqrtm(root @ second @ root)) @ np.linalg.inv(root)
    shift = rng.standard_normal(4)
    x, y = left @ np.linalg.inv(metric), left @ optimal @ np.linalg.inv(metric) + shift
    truth = bures(first, second) + shift @ form @ shift
    assert between(Twisted(2.0, 0.7, 0.5), x, y).estimate == pytest.approx(truth, rel=1e-8)
    assert abs(between(Twisted(2.0, -0.7, 0.5), x, y).estimate / truth - 1) > 1e-2


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("period", [None, PERIOD], ids=["space", "torus"])
@pytest.mark.parametrize("sampled", [False, True])
def test_free_transport_conserves_the_shifted_distance(p, period, sampled):
    x, y = clouds(40, 4)
    time = 1.7

    def moved(points):
        pushed = points + time * np.concatenate([points[:, 2:], 0 * points[:, 2:]], axis=1)
        if period is not None:
            pushed[:, 0] %= period[0]
        return pushed

    def reference(points):
        # Cells are chosen in space, which moves: the same draws need a reference that has chosen.
        cloud = Cloud(points)
        cloud.evenly = cloud.sample
        return cloud if sampled else points

    axes = period and (*period, None, None)
    start = between(Kinetic(), x, reference(y), p, axes)
    end = between(Shifted(time), moved(x), reference(moved(y)), p, axes)
    assert end.upper == pytest.approx(start.upper, rel=1e-10)
    # Weights are not unique, and round-off in coordinates selects among them: the lower end feels which.
    assert end.estimate == pytest.approx(start.estimate, rel=1e-2 if sampled else 1e-10)
    # Controls: the other sign, and the distance that is not shifted, are not conserved.
    for wrong in (Shifted(-time), Kinetic()):
        assert abs(between(wrong, moved(x), reference(moved(y)), p, axes).estimate / start.estimate - 1) > 0.05


@pytest.mark.parametrize("b", [0.999999, -0.999999])
def test_an_almost_degenerate_form(b):
    x, y = clouds(5, 2)
    distance = Twisted(1.0, b, 1.0)
    assert between(distance, x, y).estimate == pytest.approx(brute(distance, x, y, 2), rel=1e-8)


def test_nonlinear_distance_of_one_pair_is_its_equation():
    x, y = np.array([[0.3, 0.1]]), np.array([[0.1, 0.4]])
    s = between(Nonlinear(0.5), x, y, 1).estimate
    assert s - 4 * abs(np.log(s)) * 0.2 == pytest.approx(0.3, rel=1e-9)


@pytest.mark.parametrize("scale", [1e-1, 1e-4, 1e-8])
def test_nonlinear_distance_of_close_measures(scale):
    x = np.array([[0.0, 0.0]])
    s = between(Nonlinear(2.0), x, x + scale * np.array([[1.0, 0.0]]), 2).estimate
    assert s == pytest.approx(0.25 * abs(np.log(s)) * scale**2, rel=1e-9)
    assert between(Nonlinear(2.0), x, x).estimate == 0


def test_nonlinear_distance_ends_where_velocities_are_one_apart():
    x, turned = np.array([[0.0, 0.0]]), np.array([[0.1, 1.0]])
    inside = between(Nonlinear(), x, 0.99 * turned).estimate
    assert 0.99**2 < inside < 1
    with pytest.raises(UncertifiedError, match="outside its domain"):
        between(Nonlinear(), x, turned)
    # Positions, however far, do not leave it.
    assert between(Nonlinear(), x, np.array([[1e3, 0.5]])).estimate < 1


# Sampled references


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("distance", DISTANCES, ids=lambda d: type(d).__name__)
def test_bracket_against_a_law(distance, p):
    x = clouds(20, 4)[0]
    y = clouds(30, 4, 7)[1]
    truth = between(distance, x, y, p).estimate
    found = [between(distance, x, Cloud(y), p, seed=seed) for seed in range(30)]
    ends = {name: np.array([getattr(f, name) for f in found]) for name in ("lower", "estimate", "upper")}
    error = {name: values.std(ddof=1) / np.sqrt(len(found)) for name, values in ends.items()}
    assert ends["lower"].mean() - Z * error["lower"] <= truth <= ends["upper"].mean() + Z * error["upper"]
    assert all(f.lower <= f.estimate <= f.upper for f in found)
    assert ends["estimate"].mean() == pytest.approx(truth, rel=0.03)
    assert {f.reference_points for f in found} == {80}
    # One seed, one number; another seed, another.
    assert between(distance, x, Cloud(y), p, seed=3) == found[3]
    assert found[3].estimate != found[4].estimate


class Normal:
    """A Gaussian law with its exact moments, or with a covariance that is wrong."""

    def __init__(self, factor, covariance=None, known=True):
        self.factor = factor
        if known:
            self.mean = np.zeros(4)
            self.covariance = factor @ factor.T if covariance is None else covariance

    def sample(self, rng, m):
        return rng.standard_normal((m, 4)) @ self.factor.T


def test_the_image_has_the_moments_of_the_law():
    rng = np.random.default_rng(5)
    factor, x = rng.standard_normal((4, 4)), rng.standard_normal((40, 4))
    distance = Twisted(2.0, 0.7, 0.5)
    # The same map by hand: columns x + (b/a) v, v, each with its factor.
    first = np.sqrt(2.0) * np.concatenate([np.eye(2), 0.35 * np.eye(2)], axis=1)
    second = np.sqrt(0.5 - 0.49 / 2) * np.concatenate([np.zeros((2, 2)), np.eye(2)], axis=1)
    matrix = np.concatenate([first, second])
    by_hand = wasserstein(x @ matrix.T, Normal(matrix @ factor), precision=None, seed=np.random.default_rng(0))
    found = between(distance, x, Normal(factor))
    assert found.estimate == pytest.approx(by_hand.estimate, rel=1e-9)
    assert found.standard_error == pytest.approx(by_hand.standard_error, rel=1e-9)
    # The moments are in use: without them the error is larger, with wrong ones the number is another.
    assert between(distance, x, Normal(factor, known=False)).standard_error > 1.2 * found.standard_error
    wrong = between(distance, x, Normal(factor, factor @ np.diag([2, 1, 1, 1]) @ factor.T))
    assert abs(wrong.estimate - found.estimate) > Z * found.standard_error


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("distance", DISTANCES, ids=lambda d: type(d).__name__)
def test_the_error_of_a_reference_widens_the_bracket_by_what_the_map_makes_of_it(distance, p):
    x, y = clouds(20, 4)
    for shift in 0.1 * np.concatenate([np.eye(4), -np.eye(4)]):
        truth = between(distance, x, y, p).estimate
        found = [between(distance, x, Cloud(y + shift, error), p) for error in (0.0, 0.1)]
        assert found[0].estimate == found[1].estimate
        assert found[1].lower < found[0].lower
        assert found[0].upper < found[1].upper
        # The draws add their own width; four hundredths of the truth is more than that is here.
        assert found[1].lower <= 1.04 * truth
        assert truth <= 1.04 * found[1].upper


@pytest.mark.parametrize("p", [1, 1.3, 2])
@pytest.mark.parametrize("shear", [Shear(1.6, 0.0, 1.0), Shear(1.0, -0.9, 1.0), Shear(0.5, 0.2, 2.0)])
def test_expansion_is_a_bound(shear, p):
    z = np.random.default_rng(1).standard_normal((100_000, 2))
    image = shear.points(z, 2)
    length = np.linalg.norm(z, axis=1)
    stretched = np.max(np.linalg.norm(image, axis=1) / length)
    assert stretched <= shear.expansion(p, "euclidean") <= 1.001 * stretched
    blocks = np.max(np.sum(np.abs(image) ** p, axis=1) ** (1 / p) / length)
    assert blocks <= shear.expansion(p, "kinetic")


# Bad input


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Kinetic(0.0), "price: 0.0; allowed: a finite number > 0"),
        (lambda: Kinetic(np.nan), "price: nan; allowed"),
        (lambda: Twisted(-1.0), "a: -1.0; allowed"),
        (lambda: Twisted(c=0.0), "c: 0.0; allowed"),
        (lambda: Twisted(4.0, 6.0, 9.0), "b: 6.0; allowed: a number with |b| < sqrt(a c) = 6"),
        (lambda: Twisted(1.0, -1.0, 1.0), "b: -1.0; allowed"),
        (lambda: Twisted(b=np.nan), "b: nan; allowed"),
        (lambda: Shifted(np.inf), "time: inf; allowed: a finite number"),
        (lambda: Nonlinear(0.0), "epsilon: 0.0; allowed: a finite number > 0"),
    ],
)
def test_parameters_out_of_range(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


@pytest.mark.parametrize("distance", DISTANCES, ids=lambda d: type(d).__name__)
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda d, x: between(d, x[:, :3], x[:, :3]), "measure must have points (x, v) of even dimension, not of"),
        (lambda d, x: between(d, x, x[:, :2]), "reference has points of dimension 2, points of dimension 4"),
        (lambda d, x: between(d, x, x[0]), "reference has points of dimension 1, points of dimension 4"),
        (lambda d, x: between(d, x, np.nan * x), "reference must be finite"),
        (lambda d, x: between(d, x, "no"), "reference must be an array of numbers"),
        (lambda d, x: between(d, x, x, 0.5), "p must be a finite number >= 1"),
        (lambda d, x: between(d, x, Cloud(x), 3), "p must be 1 or 2 for a sampled reference"),
        (lambda d, x: between(d, x, Cloud(x[:, :3])), "reference must return samples of shape (192, 4), not (192, 3)"),
        (lambda d, x: between(d, x, x, 2, (None, None, 1.0, None)), "period must be None along the velocity axes"),
        (lambda d, x: d.between(Measure(x), x, 2, None, np.random.default_rng(0), "kinetic"), "defines its own cost"),
    ],
)
def test_bad_input_is_one_line_that_names_the_argument(distance, call, message):
    x = clouds(6, 4)[0]
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        call(distance, x)
    assert "\n" not in str(caught.value)


def test_kinds_in_a_study():
    def build(**table):
        return components.build("distances", table, "distance")

    assert build(kind="kinetic") == Kinetic(1.0)
    assert build(kind="twisted", a=4, b=-5.9, c=9) == Twisted(4.0, -5.9, 9.0)
    assert build(kind="shifted", time=2) == Shifted(2.0)
    assert build(kind="nonlinear", epsilon=0.5) == Nonlinear(0.5)
    with pytest.raises(components.InputError, match=r"^distance\.b: 6\.0; allowed"):
        build(kind="twisted", a=4, b=6, c=9)
    with pytest.raises(components.InputError, match=r"^distance\.time: missing"):
        build(kind="shifted")
