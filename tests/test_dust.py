"""The Cantor dust against brute-force generations, exact recursions, known values of Cantor's function, and POT.

Statistical checks use z = 4.5, 6.8e-6 each for normal noise; the file makes about 200, so 1e-3 were the seeds redrawn;
the fixed seeds here pass always or never.
"""

import math
import re
from fractions import Fraction

import numpy as np
import ot
import pytest
from scipy import stats

import mfstudy
from mfstudy import components
from mfstudy.components import InputError
from mfstudy.ensemble import Phase
from mfstudy.laws.dust import Dust
from mfstudy.streams import Purpose, stream
from mfstudy.study import load, parse, shipped
from mfstudy.transport.wasserstein import wasserstein

Z, P_VALUE, SAMPLES = 4.5, 6.8e-6, 20_000
CRITICAL = 8**-0.5  # (ratio 8^(1/2))^l is the same for all generations l


def law(ratio=CRITICAL, dimension=3, halfwidth=0.5):
    return Dust(ratio, halfwidth).on(Phase(dimension, 0))


def generation(ratio, count, halfwidth=1.0):
    """Middles of the 2^count intervals of a generation on the line, by the two maps."""
    points = np.zeros(1)
    for _ in range(count):
        points = np.concatenate([ratio * points - (1 - ratio), ratio * points + (1 - ratio)])
    return halfwidth * points


def exact_moments(ratio, order):
    """E X^k, k = 0 .. order, of the Cantor law on [-1, 1], from X = (1 - ratio) s + ratio X'."""
    found = [Fraction(1)]
    for k in range(1, order + 1):
        terms = (math.comb(k, j) * (1 - ratio) ** (k - j) * ratio**j * found[j] for j in range(0, k, 2))
        found.append(sum(terms) / (1 - ratio**k) if k % 2 == 0 else Fraction(0))
    return found


def signs_of(points, ratio, generations):
    """Which corner each point is in, generation by generation, (generations, n, D), by magnifying."""
    found, tolerance = [], 1e-14 * ratio**-generations
    for _ in range(generations):
        found.append(np.where(points > 0, 1.0, -1.0))
        points = (points - (1 - ratio) * found[-1]) / ratio
        assert np.all(np.abs(points) <= 1 + tolerance)
    return np.array(found)


def mean_and_error(values):
    return np.mean(values), np.std(values, ddof=1) / math.sqrt(len(values))


# --- the law ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [0.1, 1 / 3, CRITICAL, 0.49])
def test_mean_and_covariance_by_brute_force(ratio):
    atoms = generation(ratio, 14, 0.7)
    left_out = 0.7**2 * ratio**28 * (1 - ratio) / (1 + ratio)  # the variance within an interval
    for dimension in (1, 3):
        bound = law(ratio, dimension, 0.7)
        np.testing.assert_allclose(bound.covariance, (np.mean(atoms**2) + left_out) * np.eye(dimension), rtol=1e-12)
        assert np.array_equal(bound.mean, np.zeros(dimension))
        assert (
            abs(bound.covariance[0, 0] / law(1.1 * ratio if ratio < 0.4 else 0.4, 1, 0.7).covariance[0, 0] - 1) > 0.01
        )


@pytest.mark.parametrize("ratio", [Fraction(1, 100), Fraction(1, 3), Fraction(9, 20), Fraction(4999, 10000)])
def test_even_moments_by_an_exact_recursion(ratio):
    one = exact_moments(ratio, 8)
    for dimension in (1, 2, 3, 5):
        total = [Fraction(1)] + [Fraction(0)] * 4  # E|X|^{2n}, a component at a time
        for _ in range(dimension):
            total = [sum(math.comb(n, j) * one[2 * j] * total[n - j] for j in range(n + 1)) for n in range(5)]
        for n in range(1, 5):
            found = law(float(ratio), dimension, 0.7).moment(2 * n)
            assert found == pytest.approx(0.7 ** (2 * n) * float(total[n]), rel=1e-12)


@pytest.mark.parametrize("q", [1e-3, 0.5, 1, 2.5, 3, 7.3, 30])
def test_other_moments_by_brute_force(q):
    for ratio, dimension, generations, tolerance in (
        (0.35, 1, 16, 1e-11),
        (0.2, 2, 7, 1e-7),
        (0.1, 3, 4, 1e-5),
    ):
        atoms = generation(ratio, generations)
        squares = sum(np.meshgrid(*[atoms**2] * dimension))
        assert law(ratio, dimension, 1.0).moment(q) == pytest.approx(
            np.mean(squares ** (q / 2)), rel=tolerance * q + 1e-12
        )


@pytest.mark.parametrize("ratio", [Fraction(1, 100), Fraction(1, 3), Fraction(9, 20), Fraction(4999, 10000)])
@pytest.mark.parametrize("level", [1, 2, 5, 24, 64])
def test_nodes_are_gauss_rules(ratio, level):
    nodes = law(float(ratio), 1, 1.0).nodes(level)
    assert nodes.size == level
    assert np.all(nodes.weights > 0)
    moments = exact_moments(ratio, 2 * level)
    for k in range(2 * level):
        assert nodes.weights @ nodes.points[:, 0] ** k == pytest.approx(float(moments[k]), rel=2e-12, abs=1e-13)
    if level <= 5 and ratio > 0.3:  # a rule of as many nodes is exact for no more
        assert nodes.weights @ nodes.points[:, 0] ** (2 * level) != pytest.approx(float(moments[-1]), rel=1e-7)


def test_nodes_that_round_off_does_not_tell_apart():
    for ratio, level, count in ((Fraction(1, 10**20), 8, 2), (Fraction(1, 100), 300, 300)):
        nodes = law(float(ratio), 1, 1.0).nodes(level)
        assert nodes.size <= count
        assert np.all(nodes.weights > 0)
        for k, exact in enumerate(exact_moments(ratio, 20)):
            assert nodes.weights @ nodes.points[:, 0] ** k == pytest.approx(float(exact), rel=1e-12, abs=1e-13)


def test_the_quantile_inverts_cantors_function():
    """C(1/4) = 1/3, C(3/4) = 2/3, C(1/13) = 1/7 on [0, 1]; at a jump the near side of the gap."""
    u = np.array([0, 1 / 7, 0.25, np.nextafter(0.25, 1), 1 / 3, 0.5, np.nextafter(0.5, 1), 2 / 3, 1])
    x = np.array([0, 1 / 13, 1 / 9, 2 / 9, 1 / 4, 1 / 3, 2 / 3, 3 / 4, 1])
    found = law(1 / 3, 1, 2.0).quantile(u)
    np.testing.assert_allclose((found + 2) / 4, x, atol=1e-10)  # u is off by 1e-17, and F^{-1} Hoelder of order 1.6
    assert law(1 / 3, 1).quantile(0.2).shape == ()
    assert np.all(np.diff(law(0.45, 1).quantile(np.linspace(0, 1, 5001))) > 0)


def test_samples_and_sobol_points_follow_the_quantile():
    bound = law(0.4, 1, 1.0)
    # The middles of the gaps of the first five generations are the quantiles at k/32, whatever the law does elsewhere.
    u = np.arange(1, 32) / 32
    cuts = (bound.quantile(u) + bound.quantile(np.nextafter(u, 1))) / 2
    counts = np.histogram(bound.sample(np.random.default_rng(1), SAMPLES).points, [-1, *cuts, 1])[0]
    assert stats.chisquare(counts).pvalue > P_VALUE
    assert np.all(np.histogram(bound.quasi(np.random.default_rng(2), 10).points, [-1, *cuts, 1])[0] == 32)
    assert (
        stats.chisquare(np.histogram(np.random.default_rng(1).uniform(-1, 1, SAMPLES), [-1, *cuts, 1])[0]).pvalue
        < P_VALUE
    )


@pytest.mark.parametrize("ratio", [0.05, CRITICAL, 0.49])
def test_samples_fill_all_pieces_alike_and_pieces_are_copies(ratio):
    points = law(ratio, 3, 1.0).sample(np.random.default_rng(3), SAMPLES).points
    signs = signs_of(points, ratio, 8)  # every point is in the dust down to the eighth generation
    assert np.abs(signs.mean(axis=1)).max() < Z / math.sqrt(SAMPLES)
    corner = np.einsum("gni,i->gn", signs[:2] > 0, [4, 2, 1]).astype(int)
    assert stats.chisquare(np.bincount(8 * corner[0] + corner[1], minlength=64)).pvalue > P_VALUE
    piece = points[corner[0] == 5]
    magnified = (piece - (1 - ratio) * np.array([1, -1, 1])) / ratio
    for axis in range(3):
        assert stats.ks_2samp(magnified[:, axis], points[:, axis]).pvalue > P_VALUE
        assert stats.ks_2samp(piece[:, axis], points[:, axis]).pvalue < P_VALUE


def test_a_point_has_the_digits_of_double_precision():
    """Sixty-four digits: the last that a double tells apart are still random."""
    points = law(0.49, 1, 1.0).sample(np.random.default_rng(4), 4000).points
    assert len(np.unique(points)) == 4000
    assert abs(signs_of(points, 0.49, 24)[-1].mean()) < Z / math.sqrt(4000)


@pytest.mark.parametrize("m", [1, 2, 8, 50, 64, 1000])
@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_stratified_samples_have_the_masses_of_all_pieces_up_to_rounding(m, dimension):
    bound, rng, repeats = law(0.3, dimension, 1.0), np.random.default_rng([5, m]), 300
    first = np.zeros(2**dimension)
    for _ in range(repeats):
        points = bound.stratified(rng, m)
        assert points.shape == (m, dimension)
        signs = signs_of(points, 0.3, 3)
        number = np.zeros(m, dtype=int)
        for one in signs:
            number = number * 2**dimension + (one > 0) @ 2 ** np.arange(dimension)
        for generations in range(1, 1 + min(3, math.ceil(math.log2(m) / dimension))):
            counts = np.bincount(number >> dimension * (3 - generations), minlength=2 ** (dimension * generations))
            assert np.all(np.abs(counts - m / len(counts)) < 1)
        first += np.bincount(number >> 2 * dimension, minlength=len(first))
    share = m / 2**dimension % 1  # E rho_M = rho: the larger count comes with this chance
    sigma = math.sqrt(repeats * share * (1 - share))
    assert np.all(np.abs(first - repeats * m / 2**dimension) <= Z * sigma)


def test_stratified_samples_have_the_moments_of_the_law():
    bound = law(CRITICAL, 3, 1.0)
    points = np.array([bound.stratified(np.random.default_rng([6, k]), 7) for k in range(3000)])
    values, error = (points**4).mean(axis=1), np.sqrt(3000)
    exact = float(exact_moments(Fraction(CRITICAL), 4)[4])
    assert np.all(np.abs(values.mean(axis=0) - exact) < Z * values.std(axis=0) / error)
    assert np.array_equal(bound.stratified(np.random.default_rng(7), 9), bound.stratified(np.random.default_rng(7), 9))
    with pytest.raises(ValueError, match=r"\Am: 0; allowed: an integer >= 1\Z"):
        bound.stratified(np.random.default_rng(0), 0)


@pytest.mark.parametrize("offset", [0.0, 0.5, 1 - 2.0**-53])
def test_stratified_samples_at_the_ends_of_the_offset(offset):
    class Fixed(np.random.Generator):
        def random(self):
            return offset

    for m in (1, 7, 8, 9, 10**5):
        points = law(0.3, 3, 1.0).stratified(Fixed(np.random.PCG64(0)), m)
        counts = np.bincount((points > 0) @ [4, 2, 1], minlength=8)
        assert np.all(np.abs(counts - m / 8) <= 1)


def test_support():
    bound = law(0.3, 3, 0.7)
    assert np.array_equal(bound.support, [[-0.7, 0.7]] * 3)
    assert np.array_equal(bound.box(0.5), bound.support)
    assert bound.support_radius == pytest.approx(0.7 * 3**0.5, rel=1e-15)
    assert bound.moment_order == math.inf
    assert not bound.regular
    assert not hasattr(bound, "density")
    assert np.abs(law(0.3, 1, 0.7).quantile(np.array([0.0, 1.0]))).tolist() == [0.7, 0.7]


@pytest.mark.parametrize(
    ("ratio", "dimension", "expected"),
    [
        (CRITICAL, 3, 2),
        (0.25, 2, 1),
        (0.25, 4, 2),
        (1 / 3, 1, 1),
        (0.4, 3, 3),
        (0.353, 3, 2),
        (0.354, 3, 3),
        (0.01, 1, 1),
    ],
)
def test_the_dimension_of_the_support_is_rounded_up(ratio, dimension, expected):
    assert law(ratio, dimension).support_dimension == expected


# --- studies ---------------------------------------------------------------------------------------------------------

STUDY = shipped()["iid-log"]


def edited(old, new):
    assert old in STUDY
    return STUDY.replace(old, new)


def test_the_shipped_study_is_the_critical_case():
    problem = load("iid-log").problem
    assert problem.law == Dust(CRITICAL, 0.5)
    assert problem.initial.support_dimension == 2 * problem.observables[0].p
    assert components.describe(problem.law)["kind"] == "dust"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "ratio = 0.3535533905932738",
            "ratio = 0.5",
            "law.ratio: 0.5 is not allowed; allowed: a finite number > 0.0 and < 0.5",
        ),
        ("position_halfwidth = 0.5", "", "law.position_halfwidth: missing"),
        (
            '"static"',
            '"free_transport"',
            "law.kind: a law of positions alone, and the system has 3 position and 3 velocity",
        ),
    ],
)
def test_what_does_not_fit_is_refused(old, new, message):
    with pytest.raises(InputError, match=rf"\Astudy: {re.escape(message)}.*\Z"):
        parse(edited(old, new))


@pytest.mark.parametrize(
    ("ratio", "halfwidth", "name"), [(0.5, 1, "ratio"), (True, 1, "ratio"), (0.3, 0, "position_halfw")]
)
def test_nonsense_parameters_are_refused(ratio, halfwidth, name):
    with pytest.raises(ValueError, match=rf"\A{name}\w*: .*; allowed: [^\n]*\Z"):
        Dust(ratio, halfwidth)


@pytest.fixture(scope="module")
def log_results(tmp_path_factory):
    text = re.sub(r"sizes = .*", "sizes = [64, 512]", STUDY).replace("replicates = 96", "replicates = 48")
    return mfstudy.run(parse(text), tmp_path_factory.mktemp("log") / "store", part=(1, 1))


def by_pot(points, other):
    costs = ot.dist(points, other, "euclidean")
    value, log = ot.emd2(*(np.full(n, 1 / n) for n in costs.shape), costs, numItermax=10**7, log=True)
    assert log["warning"] is None
    return value


def test_the_stored_numbers_against_a_network_simplex(log_results):
    """Each replicate against 64 reference points a particle, drawn here; they leave less than 0.5 % of bias above."""
    bound, found = law(), log_results.values(log_results.quantity("empirical"))[0]
    excess, wrong = [], []
    for replicate in range(10):
        points = bound.sample(stream(20261121, Purpose.INITIAL, 64, replicate), 64).points
        rng = np.random.default_rng([8, replicate])
        excess.append(by_pot(points, bound.stratified(rng, 4096)) / found[replicate] - 1)
        wrong.append(by_pot(points, law(0.25).stratified(rng, 4096)) / found[replicate] - 1)
    mean, error = mean_and_error(excess)
    assert -Z * error < mean < Z * error + 0.005
    assert error < 0.005
    mean, error = mean_and_error(wrong)
    assert mean > Z * error + 0.005


def test_brackets_are_certified(log_results):
    data = log_results.to_xarray()
    assert (data.status == 1).all()
    assert float(data.empirical_w1_residual.max()) < 1e-9
    middle = data.empirical_w1.mean("replicate")
    assert (data.empirical_w1_lower.mean("replicate") < middle).all()
    assert (data.empirical_w1_upper.mean("replicate") < 1.02 * middle).all()


def test_a_generation_adds_as_much_as_the_last(log_results):
    """N^{1/2} E W_1 grows from N = 64 to 512 = 8 * 64, where the wobble cancels: no N^-1/2 without a logarithm."""
    few, many = log_results.values(log_results.quantity("empirical"))
    (low, low_error), (high, high_error) = mean_and_error(8 * few), mean_and_error(math.sqrt(512) * many)
    assert high / low - 1 > 0.1 + Z * math.hypot(low_error, high_error) / low


def two_samples(ratio, size, count):
    """Mean and error of N^{1/2} W_1 between two samples of N points."""
    bound, rng = law(ratio), np.random.default_rng([10, size])
    pairs = ([bound.sample(rng, size).points for _ in range(2)] for _ in range(count))
    return mean_and_error([math.sqrt(size) * by_pot(x, y) for x, y in pairs])


@pytest.mark.parametrize(("size", "expected", "its_error"), [(32, 1.619, 0.010), (64, 1.786, 0.012)])
def test_two_samples(size, expected, its_error):
    """Against values measured elsewhere."""
    found, error = two_samples(CRITICAL, size, 300)
    assert abs(found - expected) < Z * math.hypot(error, its_error)


def test_two_samples_of_a_denser_dust():
    """Negative control: another ratio does not have these values."""
    found, error = two_samples(0.47, 32, 1000)
    assert abs(found - 1.619) > Z * math.hypot(error, 0.010)


def test_distances_scale_with_the_dust():
    points = law().sample(np.random.default_rng(11), 50).points
    one, three = (wasserstein(s * points, law(halfwidth=0.5 * s), 1, precision=None, seed=1) for s in (1, 4))
    assert three.estimate == pytest.approx(4 * one.estimate, rel=1e-12)


def test_a_self_similar_decomposition_of_the_distance():
    """N points in one corner against the dust of that corner: W_1 is the ratio times that of the magnified points."""
    bound, corner = law(halfwidth=1.0), np.array([1, -1, 1])

    class Piece:
        @staticmethod
        def sample(rng, m):
            return CRITICAL * bound.sample(rng, m).points + (1 - CRITICAL) * corner

        @staticmethod
        def stratified(rng, m):
            return CRITICAL * bound.stratified(rng, m) + (1 - CRITICAL) * corner

    points = bound.sample(np.random.default_rng(12), 400).points
    points = points[np.all(points * corner > 0, axis=1)]
    magnified = (points - (1 - CRITICAL) * corner) / CRITICAL
    piece = wasserstein(points, Piece, 1, precision=None, seed=2).estimate
    assert piece == pytest.approx(
        CRITICAL * wasserstein(magnified, bound, 1, precision=None, seed=3).estimate, rel=0.05
    )
