"""Transport on the line against closed forms, SciPy and POT.

Statistical tests: fixed seeds, z = 4.5, so 7e-6 each; 8 of them here, 6e-5 for the file.
"""

import math

import numpy as np
import ot
import pytest
from scipy.special import ndtri
from scipy.stats import norm, wasserstein_distance

from mfstudy.transport.one_dimensional import discrete_cost, quantile_cost

Z = 4.5


def uniform(u):
    return u


def exact_uniform_square(points):
    """W_2^2 against U(0, 1): cell by cell, (x_(i) - m_i)^2/N + 1/(12 N^3)."""
    count = len(points)
    middles = (np.arange(count) + 0.5) / count
    return math.fsum((np.sort(points) - middles) ** 2) / count + 1 / (12 * count**2)


def exact_uniform_odd(points, p):
    """W_p^p against U(0, 1) from the antiderivative of |u - x|^p."""
    count, x = len(points), np.sort(points)
    low, high = np.arange(count) / count - x, np.arange(1, count + 1) / count - x

    def primitive(s):
        return np.sign(s) * np.abs(s) ** (p + 1) / (p + 1)

    return math.fsum(primitive(high) - primitive(low))


def exact_normal_square(points):
    """W_2^2 against N(0, 1): the moments of the normal over quantile cells in closed form."""
    count, x = len(points), np.sort(points)
    edges = ndtri(np.arange(1, count) / count)
    density = np.concatenate([[0.0], norm.pdf(edges), [0.0]])
    moment = np.concatenate([[0.0], edges * norm.pdf(edges), [0.0]])
    terms = x**2 / count + 2 * x * np.diff(density) + 1 / count - np.diff(moment)
    return math.fsum(terms)


@pytest.mark.parametrize("count", [1, 5, 50, 1000])
@pytest.mark.parametrize("shift", [0.0, 0.05], ids=["law", "control"])
def test_mean_square_distance_of_a_uniform_sample(count, shift):
    """E W_2^2 = l^2/(6N) exactly; the control, a law shifted by l/20, must miss it at N = 1000."""
    rng, length, replicates = np.random.default_rng(count), 3.0, 300
    values = np.array(
        [quantile_cost(length * rng.random(count), lambda u: length * (u + shift), 2)[0] for _ in range(replicates)]
    )
    z = (values.mean() - length**2 / (6 * count)) / (values.std(ddof=1) / replicates**0.5)
    if shift == 0.0:
        assert abs(z) < Z
    elif count == 1000:
        assert z > 2 * Z


@pytest.mark.parametrize("count", [1, 2, 7, 1000, 10**6])
def test_uniform_set_by_set(count):
    points = np.random.default_rng(count).random(count)
    value, error = quantile_cost(points, uniform, 2)
    assert value == pytest.approx(exact_uniform_square(points), rel=1e-10)
    assert error < 1e-10 * value


@pytest.mark.parametrize("p", [1, 1.5, 2.7, 3])
@pytest.mark.parametrize("count", [1, 7, 1000])
def test_kinks_of_orders_that_are_not_even(count, p):
    points = np.random.default_rng(count).random(count)
    value, error = quantile_cost(points, uniform, p)
    assert value == pytest.approx(exact_uniform_odd(points, p), rel=1e-10)
    assert error < 1e-9 * value


def test_first_order_at_a_million_points():
    points = np.random.default_rng(3).random(10**6)
    assert quantile_cost(points, uniform, 1)[0] == pytest.approx(exact_uniform_odd(points, 1), rel=1e-10)


@pytest.mark.parametrize("count", [1, 2, 30, 1000])
def test_normal_set_by_set(count):
    points = np.random.default_rng(count).standard_normal(count)
    value, error = quantile_cost(points, ndtri, 2)
    assert value == pytest.approx(exact_normal_square(points), rel=1e-10)
    assert error < 1e-10 * value


@pytest.mark.parametrize(
    ("point", "p", "truth"),
    [
        (0.0, 1, math.sqrt(2 / math.pi)),
        (0.0, 3, 2 * math.sqrt(2 / math.pi)),
        (0.0, 4, 3.0),
        (1.7, 2, 1.7**2 + 1),
        (-0.6, 1, 2 * norm.pdf(0.6) + 0.6 * (1 - 2 * norm.cdf(-0.6))),
    ],
)
def test_dirac_against_the_normal(point, p, truth):
    assert quantile_cost(np.array([point]), ndtri, p)[0] == pytest.approx(truth, rel=1e-11)


@pytest.mark.parametrize("p", [1, 1.3, 2, 3, 4.5])
@pytest.mark.parametrize("point", [-1.0, 0.0, 0.2, 0.5, 1.0])
def test_dirac_against_the_interval(point, p):
    truth = ((point ** (p + 1) + (1 - point) ** (p + 1)) if point >= 0 else 2 ** (p + 1) - 1) / (p + 1)
    assert quantile_cost(np.array([point]), uniform, p)[0] == pytest.approx(truth, rel=1e-11)


def test_a_gap_of_the_support_is_found():
    """Half of the mass on [0, 1], half on [21, 22]: Q jumps inside the cell of the second of three points."""

    def quantile(u):
        return np.where(u < 0.5, 2 * u, 20 + 2 * u)

    points = np.array([0.3, 0.9, 21.4])
    truth = 0.0
    for index, x in enumerate(points):
        for low, high, shift in ((0, 0.5, 0), (0.5, 1, 20)):
            a, b = max(index / 3, low), min((index + 1) / 3, high)
            if a < b:
                truth += ((2 * b + shift - x) ** 3 - (2 * a + shift - x) ** 3) / 6
    value, error = quantile_cost(points, quantile, 2)
    assert value == pytest.approx(truth, rel=1e-11)
    assert error < 1e-9 * value


def exact_with_gaps(points, jumps, heights, slope, p):
    """W_p^p against slope * u + the heights jumped below u, slope 0 or 1, piece by piece."""
    edges = np.union1d(np.arange(len(points) + 1) / len(points), jumps)
    low, high = edges[:-1], edges[1:]
    middle = 0.5 * (low + high)
    lifted = np.concatenate([[0.0], np.cumsum(heights)])[np.searchsorted(jumps, middle)]
    gap = lifted - np.sort(points)[(middle * len(points)).astype(int)]
    if slope == 0:
        return math.fsum((high - low) * np.abs(gap) ** p)

    def primitive(s):
        return np.sign(s) * np.abs(s) ** (p + 1) / (p + 1)

    return math.fsum(primitive(gap + high) - primitive(gap + low))


@pytest.mark.parametrize("p", [1, 2, 3])
@pytest.mark.parametrize("slope", [0, 1], ids=["atoms", "intervals"])
@pytest.mark.parametrize("gaps", [1, 4, 20])
def test_random_gaps(gaps, slope, p):
    """Jumps at random places, heights 1e-3 to 1e3: about 4 % of them lie between the edge of a panel and its nodes."""
    rng = np.random.default_rng([gaps, slope, p])
    points = np.linspace(-1, 1, 10)
    for _ in range(100):
        jumps, heights = np.sort(rng.random(gaps)), 10 ** rng.uniform(-3, 3, gaps)
        lifted = np.concatenate([[0.0], np.cumsum(heights)])
        value, error = quantile_cost(points, lambda u, j=jumps, h=lifted: slope * u + h[np.searchsorted(j, u)], p)
        truth = exact_with_gaps(points, jumps, heights, slope, p)
        # The closed form of an interval is a difference of powers of up to 1e3: it loses three digits itself.
        assert abs(value - truth) < error + (2e-11 if slope else 1e-13) * truth
        assert error < 1e-11 * value


@pytest.mark.parametrize("place", [1e-12, 1e-4, 0.019, 0.05, 0.45, 0.5, 0.55, 0.981, 1 - 1e-4])
@pytest.mark.parametrize("p", [1, 2, 3])
def test_a_jump_anywhere_in_a_panel(p, place):
    """At the fraction ``place`` of the panel [1/4, 1/2]; in the middle of it, 4 and 8 nodes agree and are wrong."""
    jump = 0.25 * (1 + place)
    value, error = quantile_cost(np.zeros(1), lambda u: 1.0 + 2.0 * (u > jump), p)
    assert value == pytest.approx(jump + 3**p * (1 - jump), rel=1e-12)
    assert error < 1e-12 * value


def test_a_narrow_step_that_the_integrand_hides():
    """From -1 to 1 within 1e-3 and between two nodes: |Q|^2 is 1 at every node, and dips to 0."""
    middle, width = 0.375 + 0.001, 1e-3

    def quantile(u):
        return np.clip((u - middle) / width, -1, 1)

    value, error = quantile_cost(np.zeros(1), quantile, 2)
    assert value == pytest.approx(1 - 2 * width + 2 * width / 3, rel=1e-11)
    assert error < 1e-9


def test_a_quantile_is_asked_inside_the_open_interval_only():
    asked = []

    def quantile(u):
        asked.append((u.min(), u.max()))
        return ndtri(u)

    for points in (np.zeros(1), np.random.default_rng(6).standard_normal(1000)):
        for p in (1, 2):
            quantile_cost(points, quantile, p)
    assert min(low for low, _ in asked) > 0
    assert max(high for _, high in asked) < 1


def test_round_off_in_a_quantile_ends_the_halving():
    """Coordinates of 1e9 leave 1e-7 of a quantile: the answer stays, and no panel is halved for that noise."""
    points, calls = np.random.default_rng(7).random(1000), []

    def quantile(u):
        calls.append(u.size)
        return 1e9 + u

    value, _ = quantile_cost(1e9 + points, quantile, 2)
    assert value == pytest.approx(exact_uniform_square((1e9 + points) - 1e9), rel=1e-3)
    assert sum(calls) < 10**5


def test_heavy_tails():
    """Pareto, nu = 3, p = 2, Dirac at 0: nu/(nu - 2). The left tail is resolved, the right one loses 1e-16^(1/3)."""
    origin = np.zeros(1)
    assert quantile_cost(origin, lambda u: -(u ** (-1 / 3)), 2)[0] == pytest.approx(3.0, rel=1e-10)
    right, error = quantile_cost(origin, lambda u: (1 - u) ** (-1 / 3), 2)
    assert right == pytest.approx(3.0, rel=1e-5)
    assert error > 1e-6


def test_weights_are_multiplicities():
    points, times = np.array([0.9, 0.1, 0.4]), np.array([1, 3, 2])
    weighted = quantile_cost(points, uniform, 2, times / 6)[0]
    assert weighted == pytest.approx(exact_uniform_square(np.repeat(points, times)), rel=1e-10)
    with_empty = quantile_cost(np.append(points, 50.0), uniform, 2, np.append(times, 0) / 6)[0]
    assert with_empty == pytest.approx(weighted, rel=1e-14)


def test_first_order_against_scipy_on_a_fine_sample():
    points, mass = np.array([-0.5, 0.2, 1.4]), np.array([0.2, 0.5, 0.3])
    fine = ndtri((np.arange(10**6) + 0.5) / 10**6)
    value, _ = quantile_cost(points, ndtri, 1, mass)
    assert value == pytest.approx(wasserstein_distance(points, fine, mass), abs=2e-6)


@pytest.mark.parametrize("p", [1, 1.5, 2, 3])
@pytest.mark.parametrize("equal", [True, False])
def test_discrete_against_pot(p, equal):
    rng = np.random.default_rng(int(10 * p))
    for rows, columns in ((1, 1), (1, 9), (8, 8), (12, 30), (25, 7)):
        x, y = rng.standard_normal(rows), rng.standard_normal(columns) + 0.3
        a = np.full(rows, 1 / rows) if equal else rng.dirichlet(np.ones(rows))
        b = np.full(columns, 1 / columns) if equal else rng.dirichlet(np.ones(columns))
        truth = ot.emd2(a, b, np.abs(x[:, None] - y) ** p)
        given = (None, None) if equal else (a, b)
        assert discrete_cost(x, y, p, *given) == pytest.approx(truth, rel=1e-10)


def test_discrete_first_order_against_scipy():
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal(1000), rng.standard_cauchy(777)
    a, b = rng.random(1000), rng.random(777)
    truth = wasserstein_distance(x, y, a, b)
    assert discrete_cost(x, y, 1, a / a.sum(), b / b.sum()) == pytest.approx(truth, rel=1e-11)


@pytest.mark.parametrize("p", [1, 2, 3.5])
def test_discrete_translation_and_identity(p):
    x = np.random.default_rng(5).standard_normal(10**5)
    assert discrete_cost(x, x[::-1], p) == 0.0
    assert discrete_cost(x, x + 0.75, p) == pytest.approx(0.75**p, rel=1e-12)


def test_quantile_that_is_not_one():
    with pytest.raises(ValueError, match=r"reference\.quantile must return finite values"):
        quantile_cost(np.zeros(3), lambda u: np.where(u < 0.5, u, np.inf), 2)
    with pytest.raises(ValueError, match=r"reference\.quantile must return finite values"):
        quantile_cost(np.zeros(3), lambda u: np.zeros(2), 2)
    with pytest.raises(ValueError, match=r"reference\.quantile must return an array of numbers, not object"):
        quantile_cost(np.zeros(3), lambda u: object(), 2)
