"""Clusters: masses, exact moments, quantiles and supports against closed forms, SciPy and brute force."""

import itertools
import math
import re

import numpy as np
import pytest
from scipy import special, stats

from mfstudy import components
from mfstudy.ensemble import Phase
from mfstudy.laws.box import Box
from mfstudy.laws.clusters import Clusters

# Statistical checks use z = 4.5, a false-alarm rate of 6.8e-6 each; the file makes about 40: 3e-4 for new seeds,
# the fixed seeds here always or never.
Z, P_VALUE, SAMPLES = 4.5, 6.8e-6, 40_000

CENTRES = ((-2.0, 0.3), (1.0, -0.5), (1.5, 4.0))
MEANS = ((0.5, 0.0), (-1.0, 2.0), (0.0, 0.0))
MASSES = (0.2, 0.5, 0.3)
HX, HV = 0.4, 1.1
FULL = Clusters(CENTRES, HX, HV, MEANS, MASSES)
LINE = Clusters(((1.0,), (-2.0,), (5.0,)), 0.5, masses=MASSES)


def boxes(with_velocity):
    """The (K, D, 2) boxes, from the numbers above."""
    means = np.hstack([CENTRES, MEANS]) if with_velocity else np.array(CENTRES)
    half = np.array([HX, HX, HV, HV][: means.shape[1]])
    return np.stack([means - half, means + half], axis=2)


def law(with_velocity):
    return (FULL if with_velocity else Clusters(CENTRES, HX, masses=MASSES)).on(Phase(2, 2 * with_velocity))


def monomial(powers, with_velocity):
    """E prod z_i^{a_i}: each box by the antiderivative."""
    total = 0.0
    for mass, box in zip(MASSES, boxes(with_velocity), strict=True):
        total += mass * math.prod(
            (high ** (a + 1) - low ** (a + 1)) / ((a + 1) * (high - low))
            for a, (low, high) in zip(powers, box, strict=True)
        )
    return total


def split_rule(low, high, level):
    """Gauss-Legendre on [low, high], split at 0 where that is inside; of total weight 1."""
    x, w = special.roots_legendre(level)
    cuts = [low, 0.0, high] if low < 0 < high else [low, high]
    pieces = [((a + b) / 2 + (b - a) / 2 * x, (b - a) / (high - low) * w / 2) for a, b in itertools.pairwise(cuts)]
    return np.concatenate([p for p, _ in pieces]), np.concatenate([w for _, w in pieces])


def tensor_moment(masses, centred_boxes, q, level):
    """sum_k m_k E|y|^q, y uniform on the box k, by the tensor of split Gauss rules."""
    total = 0.0
    for mass, box in zip(masses, centred_boxes, strict=True):
        squares, weights = np.zeros(1), np.ones(1)
        for y, w in (split_rule(low, high, level) for low, high in box):
            squares, weights = np.add.outer(squares, y**2).ravel(), np.outer(weights, w).ravel()
        total += mass * (weights @ squares ** (q / 2))
    return total


def test_samples_fill_the_boxes_uniformly_and_in_proportion():
    sample = law(True).sample(np.random.default_rng(21), SAMPLES)
    nearest = np.argmin(np.linalg.norm(sample.position[:, None] - np.array(CENTRES), axis=2), axis=1)
    counts = np.bincount(nearest, minlength=3)
    sigma = np.sqrt(SAMPLES * np.array(MASSES) * (1 - np.array(MASSES)))
    assert np.all(np.abs(counts - SAMPLES * np.array(MASSES)) < Z * sigma)
    assert np.any(np.abs(counts - SAMPLES / 3) > Z * sigma)  # equal masses are told apart
    for k, box in enumerate(boxes(True)):
        for values, (low, high) in zip(sample.points[nearest == k].T, box, strict=True):
            assert stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > P_VALUE
        # Position and velocity are independent given the component.
        correlation = np.corrcoef(sample.points[nearest == k].T) - np.eye(4)
        assert np.abs(correlation).max() < Z / math.sqrt(counts[k])


@pytest.mark.parametrize("m", [1, 2, 7, 10, 1000])
def test_stratified_samples_have_the_masses_up_to_rounding(m):
    bound, rng, repeats = law(True), np.random.default_rng(26), 2000
    expected = m * np.array(MASSES)

    def counts(points):
        nearest = np.argmin(np.linalg.norm(points[:, None, :2] - np.array(CENTRES), axis=2), axis=1)
        return np.bincount(nearest, minlength=3)

    seen = np.array([counts(bound.stratified(rng, m)) for _ in range(repeats)])
    assert np.all(seen.sum(axis=1) == m)
    assert np.all((seen >= np.floor(expected + 1e-9)) & (seen <= np.ceil(expected - 1e-9)))
    # E rho_M = rho: each count has the right mean; the fraction of the sets with the larger one is binomial.
    fraction = expected - np.floor(expected + 1e-9)
    sigma = np.sqrt(np.abs(fraction * (1 - fraction)) / repeats)
    assert np.all(np.abs(seen.mean(axis=0) - expected) <= Z * sigma + 1e-9)
    independent = np.array([counts(bound.sample(rng, m).points) for _ in range(200)])
    assert m == 1 or not np.all(np.abs(independent - expected) < 1)


def test_stratified_samples_are_uniform_in_their_boxes_and_reproducible():
    bound = law(True)
    points = bound.stratified(np.random.default_rng(27), SAMPLES)
    assert points.shape == (SAMPLES, 4)
    assert np.array_equal(points, bound.stratified(np.random.default_rng(27), SAMPLES))
    parts = np.split(points, np.cumsum(np.round(SAMPLES * np.array(MASSES)).astype(int))[:-1])
    for part, box in zip(parts, boxes(True), strict=True):
        for values, (low, high) in zip(part.T, box, strict=True):
            assert stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > P_VALUE
        assert np.abs(np.corrcoef(part.T) - np.eye(4)).max() < Z / math.sqrt(len(part))
    for m in (0, 2.5, True):
        with pytest.raises(ValueError, match=r"\Am: .*; allowed: an integer >= 1\Z"):
            bound.stratified(np.random.default_rng(0), m)


@pytest.mark.parametrize("offset", [0.0, 0.5, 1 - 2.0**-53])
def test_stratified_samples_at_the_ends_of_the_offset(offset):
    class Fixed(np.random.Generator):
        def random(self):
            return offset

    equal = Clusters(tuple((float(2 * k),) for k in range(7)), 0.5).on(Phase(1, 0))
    for m in (1, 6, 7, 8, 10**6):
        points = equal.stratified(Fixed(np.random.PCG64(0)), m)[:, 0]
        counts = np.bincount(np.rint(points / 2).astype(int), minlength=7)
        assert counts.sum() == m
        assert np.all(np.abs(counts - m / 7) < 1 + 1e-9)


def test_the_stream_draws_components_then_positions_then_velocities():
    sample = law(True).sample(np.random.default_rng(22), 30)
    rng = np.random.default_rng(22)
    chosen = np.digitize(rng.random(30), np.cumsum(MASSES)[:-1])
    assert np.array_equal(sample.position, np.array(CENTRES)[chosen] + HX * rng.uniform(-1, 1, (30, 2)))
    assert np.array_equal(sample.velocity, np.array(MEANS)[chosen] + HV * rng.uniform(-1, 1, (30, 2)))
    assert np.array_equal(law(False).sample(np.random.default_rng(22), 30).position, sample.position)


@pytest.mark.parametrize("with_velocity", [False, True])
def test_nodes_integrate_all_monomials(with_velocity):
    nodes = law(with_velocity).nodes(3, 2)
    assert nodes.size == 3 * 3**2 * (2**2 if with_velocity else 1)
    assert np.all(nodes.weights > 0)
    assert abs(nodes.weights.sum() - 1) < 1e-14
    for x_powers in itertools.product(range(6), repeat=2):
        for v_powers in itertools.product(range(4), repeat=2 * with_velocity):
            powers = x_powers + v_powers
            value = nodes.weights @ np.prod(nodes.points**powers, axis=1)
            assert value == pytest.approx(monomial(powers, with_velocity), rel=1e-11, abs=1e-12)
    beyond = (6, 0) + (0, 0) * with_velocity
    exact = monomial(beyond, with_velocity)
    assert abs(nodes.weights @ nodes.points[:, 0] ** 6 / exact - 1) > 1e-8


@pytest.mark.parametrize("with_velocity", [False, True])
def test_mean_covariance_and_support(with_velocity):
    bound, d = law(with_velocity), 4 if with_velocity else 2
    units = np.eye(d, dtype=int)
    mean = np.array([monomial(tuple(unit), with_velocity) for unit in units])
    products = [[monomial(tuple(a + b), with_velocity) for b in units] for a in units]
    np.testing.assert_allclose(bound.mean, mean, rtol=1e-13)
    np.testing.assert_allclose(bound.covariance, products - np.outer(mean, mean), rtol=1e-12, atol=1e-13)
    every = boxes(with_velocity)
    expected = np.stack([every[:, :, 0].min(axis=0), every[:, :, 1].max(axis=0)], axis=1)
    np.testing.assert_allclose(bound.support, expected, rtol=1e-15)
    assert np.array_equal(bound.box(0.5), bound.support)
    corners = np.concatenate([list(itertools.product(*box)) for box in every])
    assert bound.support_radius == pytest.approx(np.linalg.norm(corners - mean, axis=1).max(), rel=1e-14)
    assert bound.support_dimension == d
    assert bound.moment_order == math.inf


@pytest.mark.parametrize("q", [0.5, 1, 2, 2.5, 3, 4, 7, 20])
@pytest.mark.parametrize("with_velocity", [False, True])
def test_moments(with_velocity, q):
    centred = boxes(with_velocity) - law(with_velocity).mean[:, None]
    oracle = tensor_moment(MASSES, centred, q, 16 if with_velocity else 80)
    assert law(with_velocity).moment(q) == pytest.approx(oracle, rel=1e-12)


@pytest.mark.parametrize("q", [1e-3, 0.5, 1, 2, 2.5, 3, 4, 7, 30])
@pytest.mark.parametrize("offset", [0.0, 0.3, 0.5, 0.7, 3.0, 9.9, 10.1, 1e3, 1e6])
def test_moments_on_the_line(offset, q):
    # Masses 1/2 about -offset and offset; or one box whose mean is inside it.
    centres = ((-offset,), (offset,)) if offset >= 0.5 else ((offset,),)
    bound = Clusters(centres, 0.5).on(Phase(1, 0))
    centre = offset if offset >= 0.5 else 0.0
    ends = np.array([centre + 0.5, centre - 0.5])
    if centre > 1:  # no cancellation between the ends
        x, w = special.roots_legendre(40)
        exact = w / 2 @ (centre + x / 2) ** q
    else:
        exact = np.sum(np.sign(ends) * np.abs(ends) ** (q + 1) * [1, -1]) / (q + 1)
    assert bound.moment(q) == pytest.approx(exact, rel=1e-12)


def test_the_mean_inside_a_box():
    three = Clusters(((-2.0, 0.0), (0.1, 0.05), (1.8, 0.0)), 0.5, 0.7).on(Phase(2, 2))
    centred = np.array([law.support for law in three.components[1]]) - three.mean[:, None]
    assert np.all((centred[1, :, 0] < 0) & (centred[1, :, 1] > 0))
    for q in (2, 2.5, 3, 4):
        # The Gauss rule converges like level^{-2 (D + q)} at the corner where |z|^q has its singularity.
        assert three.moment(q) == pytest.approx(tensor_moment(three.masses, centred, q, 14), rel=1e-10)


def test_one_centre_is_a_box():
    one, box = Clusters(((0.0, 0.0),), 0.4, 1.1).on(Phase(2, 2)), Box(0.4, 1.1).on(Phase(2, 2))
    for q in (0.5, 1, 2, 3, 7.5):
        assert one.moment(q) == pytest.approx(box.moment(q), rel=1e-12)
    assert np.array_equal(one.covariance, box.covariance)
    assert np.array_equal(one.support, box.support)
    assert np.array_equal(one.nodes(3).points, box.nodes(3).points)


def test_quantile_is_the_inverse_distribution_function():
    bound = LINE.on(Phase(1, 0))
    scipy = stats.rv_histogram(([0.5, 0, 0.2, 0, 0.3], [-2.5, -1.5, 0.5, 1.5, 4.5, 5.5]), density=False)
    u = np.random.default_rng(23).random((40, 50))
    np.testing.assert_allclose(bound.quantile(u), scipy.ppf(u), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(scipy.cdf(bound.quantile(u)), u, rtol=1e-12)
    # F^{-1}(u) = inf {x: F(x) >= u}: the near side of a gap at the jump, the far side right after it.
    jumps = np.array([0.0, 0.5, np.nextafter(0.5, 1), 0.7, np.nextafter(0.7, 1), 1.0])
    np.testing.assert_allclose(bound.quantile(jumps), [-2.5, -1.5, 0.5, 1.5, 4.5, 5.5], rtol=1e-14)
    assert bound.quantile(1e-300) >= -2.5
    assert bound.quantile(0.25).shape == ()
    with pytest.raises(ValueError, match=r"\Au: not all in \[0, 1\]; allowed: probabilities\Z"):
        bound.quantile([0.5, -0.1])


def test_samples_follow_the_quantile():
    points = LINE.on(Phase(1, 0)).sample(np.random.default_rng(24), SAMPLES).points[:, 0]
    cdf = stats.rv_histogram(([0.5, 0, 0.2, 0, 0.3], [-2.5, -1.5, 0.5, 1.5, 4.5, 5.5]), density=False).cdf
    assert stats.kstest(points, cdf).pvalue > P_VALUE
    wrong = stats.rv_histogram(([0.47, 0, 0.23, 0, 0.3], [-2.5, -1.5, 0.5, 1.5, 4.5, 5.5]), density=False).cdf
    assert stats.kstest(points, wrong).pvalue < P_VALUE


def test_components_carry_the_exact_masses():
    bound = law(True)
    masses, laws = bound.components
    np.testing.assert_allclose(masses, MASSES, rtol=1e-15)
    assert masses.sum() == pytest.approx(1, abs=1e-15)
    for box, component in zip(boxes(True), laws, strict=True):
        np.testing.assert_allclose(component.support, box, rtol=1e-15, atol=1e-15)
    mixed = sum(m * (c.covariance + np.outer(c.mean, c.mean)) for m, c in zip(masses, laws, strict=True))
    np.testing.assert_allclose(mixed - np.outer(bound.mean, bound.mean), bound.covariance, atol=1e-13)
    equal, _ = Clusters(CENTRES, HX).on(Phase(2, 0)).components
    np.testing.assert_allclose(equal, 1 / 3, rtol=1e-15)


def test_the_gap_formula_on_the_line():
    # E W_2^2 = g^2 E|B/N - 1/2| + (g s + s^2/3) / N + about s^2 / (6 N) within, in D = 1 from the quantiles, the first
    # term taken off replicate by replicate. One check at z = 4.5.
    n, gap, replicates, fine = 100, 5.0, 1500, 40
    bound = Clusters(((-(gap + 1) / 2,), ((gap + 1) / 2,)), 0.5).on(Phase(1, 0))
    target = bound.quantile((np.arange(n * fine) + 0.5) / (n * fine)).reshape(n, fine)
    rng, rest = np.random.default_rng(25), np.empty(replicates)
    crossing = np.empty(replicates)
    for r in range(replicates):
        points = np.sort(bound.sample(rng, n).points, axis=0)
        crossing[r] = abs(np.mean(points < 0) - 0.5)
        rest[r] = np.mean((points - target) ** 2) - gap**2 * crossing[r]
    sigma = rest.std() / math.sqrt(replicates)
    # What the formula leaves open is the order of 1 / N within the boxes.
    low, high = (gap + 1 / 3) / n, (gap + 1 / 3) / n + 1 / n
    assert low - Z * sigma < rest.mean() < high + Z * sigma
    # With the distance of the centres for the gap the first term alone is far too large.
    assert (rest + (gap**2 - (gap + 1) ** 2) * crossing).mean() < 0
    assert crossing.mean() == pytest.approx(stats.binom(n, 0.5).expect(lambda b: abs(b / n - 0.5)), rel=0.1)


TABLE = {"kind": "clusters", "centres": [[-1, 0], [1.0, 0]], "position_halfwidth": 0.5, "masses": [0.25, 0.75]}


def test_a_table_makes_the_law_and_the_law_describes_itself():
    component = components.build("laws", TABLE, "law")
    assert component == Clusters(((-1.0, 0.0), (1.0, 0.0)), 0.5, masses=(0.25, 0.75))
    assert components.describe(component) == {
        "kind": "clusters",
        "scheme": 1,
        "centres": [[-1.0, 0.0], [1.0, 0.0]],
        "position_halfwidth": 0.5,
        "masses": [0.25, 0.75],
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"centres": [[-1, 0], 1.0]}, "law.centres[1]: 1.0 is not allowed"),
        ({"centres": [[-1, "0"]]}, "law.centres[0][1]: '0' is not allowed"),
        ({"centres": []}, "law.centres: (); allowed: a tuple of tuples"),
        ({"masses": [0.25, 0.0]}, "law.masses[1]: 0.0 is not allowed"),
        ({"masses": [0.25, 0.5]}, "law.masses: their sum is 0.75; allowed: 1 within 1e-12"),
    ],
)
def test_bad_tables_are_refused(change, message):
    with pytest.raises(components.InputError, match=rf"\A{re.escape(message)}.*\Z"):
        components.build("laws", TABLE | change, "law")


def test_boxes_must_not_overlap():
    message = r"\Acentres: the boxes about \(1\.0, -0\.5\) and \(1\.5, 0\.0\) \(entries 1 and 2\) overlap; .*\Z"
    with pytest.raises(ValueError, match=message):
        Clusters(((-2.0, 0.0), (1.0, -0.5), (1.5, 0.0)), 0.4)
    with pytest.raises(
        ValueError, match=r"\Acentres: .* overlap; allowed: centres at least 0\.8 apart along an axis\Z"
    ):
        Clusters(((0.0,), (0.0,)), 0.4)
    for touching in (((-0.4,), (0.4,)), ((0.1,), (0.9,)), ((0.0, 0.0), (0.0, 0.8))):
        Clusters(touching, 0.4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((1.0,), 0.4), "centres: (1.0,); allowed: a tuple of tuples of finite numbers, all of one length"),
        ((((),), 0.4), "centres: ((),); allowed: a tuple of tuples of finite numbers, all of one length"),
        ((((1.0,), (2.0, 3.0)), 0.4), "centres: ((1.0,), (2.0, 3.0)); allowed: a tuple of tuples of finite"),
        ((((math.nan,),), 0.4), "centres: ((nan,),); allowed: a tuple of tuples of finite numbers"),
        ((((True,),), 0.4), "centres: ((True,),); allowed: a tuple of tuples of finite numbers"),
        ((((0.0,),), 0.0), "position_halfwidth: 0.0; allowed: a finite number > 0"),
        ((((0.0,),), 0.4, -1.0), "velocity_halfwidth: -1.0; allowed: a finite number > 0"),
        ((((0.0,), (2.0,)), 0.4, 1.0, ((0.0,),)), "velocity_means: 1 entries; allowed: one per centre (2)"),
        ((((0.0,),), 0.4, 1.0, (0.0,)), "velocity_means: (0.0,); allowed: a tuple of tuples"),
        ((((0.0,), (2.0,)), 0.4, None, None, (1.0,)), "masses: 1 entries; allowed: one per centre (2)"),
        ((((0.0,), (2.0,)), 0.4, None, None, (1.5, -0.5)), "masses: (1.5, -0.5); allowed: a tuple of finite"),
        ((((0.0,), (2.0,)), 0.4, None, None, [0.5, 0.5]), "masses: [0.5, 0.5]; allowed: a tuple of finite"),
        ((((0.0,), (2.0,)), 0.4, None, None, (0.5, 0.5 + 1e-11)), "masses: their sum is 1.0000000000"),
    ],
)
def test_nonsense_parameters_are_refused(arguments, message):
    with pytest.raises(ValueError, match=rf"\A{re.escape(message)}.*\Z"):
        Clusters(*arguments)


@pytest.mark.parametrize(
    ("component", "phase", "message"),
    [
        (LINE, Phase(2, 0), "centres: 1 entries each; allowed: one per position component (2)"),
        (LINE, Phase(1, 1), "velocity_halfwidth: missing; the system has velocities"),
        (FULL, Phase(2, 0), "velocity_halfwidth: not allowed; the system has no velocity"),
        (FULL, Phase(2, 1), "velocity_means: 2 entries each; allowed: one per velocity component (1)"),
        (LINE, Phase(0, 1), "position_halfwidth: not allowed; the system has no position"),
        (
            Clusters(((0.0,),), 0.4, velocity_means=((0.0,),)),
            Phase(1, 0),
            "velocity_means: not allowed; the system has no velocity",
        ),
    ],
)
def test_the_phase_must_fit(component, phase, message):
    with pytest.raises(ValueError, match=rf"\A{re.escape(message)}\Z"):
        component.on(phase)
