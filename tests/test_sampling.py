"""Evenly spread reference samples: their expectation is the law, their noise is local, their cells are equal.

Statistical tests: fixed seeds, z = 4.5, so 7e-6 each; about 45 of them, 3e-4 for the file.
"""

import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.stats import norm

from mfstudy.transport.cost import Cost
from mfstudy.transport.sampling import OVERSAMPLING, neighbours, spread
from mfstudy.transport.semidiscrete import bracket
from mfstudy.transport.wasserstein import wasserstein

Z = 4.5


def normal(rng, m):
    return rng.standard_normal((m, 2))


def cube(dimension):
    return lambda rng, m: rng.random((m, dimension))


def masses(points, edges):
    """Return the empirical masses (16,) of the products of four intervals each."""
    inside = np.searchsorted(edges, points[:, :2])
    return np.bincount(4 * inside[:, 0] + inside[:, 1], minlength=16) / len(points)


def deviations(draw, count, repeats=400):
    """Return how far the mean masses of cells of mass 1/16 each are from it under the normal law, in errors."""
    edges = norm.ppf([0.25, 0.5, 0.75])
    found = np.array([masses(spread(draw, np.random.default_rng([count, i]), count), edges) for i in range(repeats)])
    return (found.mean(axis=0) - 1 / 16) / (found.std(axis=0, ddof=1) / np.sqrt(repeats))


@pytest.mark.parametrize("count", [13, 100])
def test_the_expectation_is_the_law(count):
    assert np.abs(deviations(normal, count)).max() < Z


def test_another_law_is_seen():
    assert np.abs(deviations(lambda rng, m: normal(rng, m) + 0.05, 100)).max() > 2 * Z
    assert np.abs(deviations(lambda rng, m: 0.95 * normal(rng, m), 100)).max() > 2 * Z


def test_moments_of_a_tail():
    """E |y|^2 = 2 and E |y|^4 = 8 for the standard normal in the plane: the outermost cells lose nothing."""
    squares = [np.sum(spread(normal, np.random.default_rng([7, i]), 50) ** 2, axis=1) for i in range(1000)]
    for power, truth in ((1, 2.0), (2, 8.0)):
        means = np.array([np.mean(square**power) for square in squares])
        assert abs(means.mean() - truth) < Z * means.std(ddof=1) / np.sqrt(len(means))


@pytest.mark.parametrize("dimension", [1, 2, 4])
def test_far_less_noise_at_large_scale(dimension):
    """The mass of a half space has the variance 1/(4 M) with independent points; an eighth of it remains, plus edges.

    Of the edges: a kd-cell is cut with probability M^(-1/D), and then adds at most a quarter: with a factor of 2.
    """
    count = 512
    halves = [np.mean(spread(cube(dimension), np.random.default_rng([5, i]), count)[:, 0] < 0.5) for i in range(300)]
    ratio = np.var(halves, ddof=1) * 4 * count
    noise = 1 + Z * np.sqrt(2 / 300)
    assert ratio < (1 / OVERSAMPLING + 2 * count ** (-1 / dimension)) * noise
    independent = [np.mean(np.random.default_rng([6, i]).random(count) < 0.5) for i in range(300)]
    assert np.var(independent, ddof=1) * 4 * count > 1 / noise


def halved(rows, indices, count):
    """Split rows into cells as a kd-tree along the longest axis does, by sorting."""
    if count == 1:
        return [set(indices)]
    axis = np.argmax(np.ptp(rows[indices], axis=0))
    ordered = indices[np.argsort(rows[indices, axis])]
    cut = count // 2
    size = len(indices) // count
    return halved(rows, ordered[: cut * size], cut) + halved(rows, ordered[cut * size :], count - cut)


@pytest.mark.parametrize("dimension", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 2, 8, 64])
def test_one_point_of_each_cell_of_equal_count(dimension, count):
    seen = []

    def draw(rng, m):
        seen.append(rng.standard_normal((m, dimension)))
        return seen[-1]

    kept = spread(draw, np.random.default_rng([dimension, count]), count)
    (draws,) = seen
    assert len(draws) == OVERSAMPLING * count
    where = [int(np.flatnonzero(np.all(draws == point, axis=1))[0]) for point in kept]
    cells = halved(draws, np.arange(len(draws)), count)
    assert [place in cell for place, cell in zip(where, cells, strict=True)] == [True] * count


@pytest.mark.parametrize("count", [3, 13, 100, 777])
def test_cells_on_the_line_are_runs_of_the_sorted_draws(count):
    seen = []

    def draw(rng, m):
        seen.append(rng.random((m, 1)))
        return seen[-1]

    kept = np.sort(spread(draw, np.random.default_rng(count), count)[:, 0])
    runs = np.sort(seen[0][:, 0]).reshape(count, OVERSAMPLING)
    assert np.all((runs[:, 0] <= kept) & (kept <= runs[:, -1]))


def test_every_draw_of_a_cell_is_kept_equally_often():
    """On the line the rank within the cell is uniform on 0 to 7: 8 frequencies over 12800 cells."""
    ranks = []

    def draw(rng, m):
        ranks.append(rng.random((m, 1)))
        return ranks[-1]

    counts = np.zeros(OVERSAMPLING)
    for seed in range(100):
        kept = np.sort(spread(draw, np.random.default_rng([8, seed]), 128)[:, 0])
        runs = np.sort(ranks[-1][:, 0]).reshape(128, OVERSAMPLING)
        counts += np.bincount(np.argmax(runs == kept[:, None], axis=1), minlength=OVERSAMPLING)
    expected = 12800 / OVERSAMPLING
    assert np.abs(counts - expected).max() < Z * np.sqrt(expected * (1 - 1 / OVERSAMPLING))


def test_draws_that_repeat_themselves():
    """Atoms: cells of identical draws, and axes without extent."""
    kept = spread(lambda rng, m: np.repeat([[0.0, 1.0], [2.0, 1.0]], m // 2, axis=0), np.random.default_rng(9), 64)
    assert np.sum(kept[:, 0] == 0.0) == np.sum(kept[:, 0] == 2.0) == 32


@pytest.mark.parametrize("dimension", [1, 2, 6])
@pytest.mark.parametrize("count", [2, 7, 1000, 1024])
def test_pairs_of_neighbours(dimension, count):
    """Most pairs are about as close as nearest neighbours, against points paired as they were drawn."""
    points = np.random.default_rng([10, dimension]).random((count, dimension))
    order = neighbours(points)
    assert sorted(order) == list(range(count))
    if count < 1000:
        return

    def apart(places):
        pairs = points[places].reshape(-1, 2, dimension)
        return np.median(np.linalg.norm(pairs[:, 0] - pairs[:, 1], axis=1))

    nearest = np.median(cKDTree(points).query(points, 2)[0][:, 1])
    assert apart(order) < 2.5 * nearest
    assert apart(order) < 0.8 * apart(np.arange(count))


@pytest.mark.parametrize("count", [100, 1000, 4000])
def test_pairs_are_as_close_in_any_number(count):
    """Mean squared length of a pair times M, in the plane: numbers that are no powers of 2 make no long ones."""

    def apart(size):
        points = np.random.default_rng([13, size]).random((size, 2))
        pairs = points[neighbours(points)].reshape(-1, 2, 2)
        return size * np.mean(np.sum((pairs[:, 0] - pairs[:, 1]) ** 2, axis=1))

    assert apart(count) < 1.6 * apart(4096)


def test_neighbours_on_the_line_are_next_to_each_other():
    points = np.random.default_rng(11).random((50, 1))
    pairs = neighbours(points).reshape(-1, 2)
    expected = np.argsort(points[:, 0]).reshape(-1, 2)
    np.testing.assert_array_equal(np.sort(pairs, axis=1), np.sort(expected, axis=1))


# A law that spreads its own points


class Strata:
    """Uniform law on the unit square by a jittered grid; independent draws are refused."""

    def sample(self, rng, m):
        raise AssertionError("independent draws were asked for")

    def evenly(self, rng, m):
        side = round(m**0.5)
        assert side * side == m
        corners = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2)
        return (corners + rng.random((m, 2))) / side


def test_the_strata_of_a_law_are_used():
    x = np.random.default_rng(12).random((100, 2))
    direct = bracket(
        x, Strata().sample, Cost(2), 4, np.random.default_rng(1), evenly=Strata().evenly
    )  # 400 = 20^2 points
    entry = wasserstein(x, Strata(), precision=None, seed=1)
    assert direct == entry
    plain = wasserstein(x, cube(2), precision=None, seed=1)
    errors = np.hypot(direct.standard_error, plain.standard_error)
    assert abs(direct.estimate - plain.estimate) < Z * errors


def test_without_strata_the_sample_is_asked():
    class Unstratified(Strata):
        evenly = None

    with pytest.raises(AssertionError, match="independent draws were asked for"):
        wasserstein(np.zeros((4, 2)), Unstratified(), precision=None)


@pytest.mark.parametrize(
    ("stratified", "message"),
    [
        (lambda rng, m: np.random.default_rng(0).random((m, 2)), "two draws of its sample are identical"),
        (lambda rng, m: rng.random((m, 3)), "reference must return samples of shape"),
        (lambda rng, m: np.full((m, 2), np.inf), "reference must return finite samples"),
    ],
)
def test_bad_strata(stratified, message):
    with pytest.raises(ValueError, match=message) as caught:
        bracket(np.zeros((4, 2)), cube(2), Cost(2), 4, np.random.default_rng(0), evenly=stratified)
    assert "\n" not in str(caught.value)
