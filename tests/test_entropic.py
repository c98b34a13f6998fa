"""Entropic transport against exact transport, POT, the closed form for Gaussians, and controls that must fail.

Statistical tests: fixed seeds, z = 4.5, so 7e-6 each (3.5e-6 one-sided); 4 of them, 3e-5 for the file.
"""

import re

import numpy as np
import ot
import pytest
from scipy.linalg import sqrtm

from mfstudy import components
from mfstudy.distances.entropic import Entropic
from mfstudy.ensemble import Measure
from mfstudy.transport import entropic
from mfstudy.transport.bracket import UncertifiedError
from mfstudy.transport.cost import Cost
from mfstudy.transport.divergence import divergence, sampled_divergence

Z = 4.5
SQUARED = Cost(2.0)


def clouds(rows, columns, dimension, seed=0):
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((rows, dimension)), rng.standard_normal((columns, dimension)) + 0.3
    return x, y, rng.dirichlet(np.ones(rows)), rng.dirichlet(np.ones(columns))


def grid(mean, covariance, count, width=6.0):
    """Nodes and weights of a Gaussian on a uniform grid: its sums are spectrally accurate."""
    mean, covariance = np.atleast_1d(mean), np.atleast_2d(covariance)
    axis = np.linspace(-width, width, count)
    nodes = np.stack([c.ravel() for c in np.meshgrid(*[axis] * len(mean), indexing="ij")], axis=1)
    weights = np.exp(-0.5 * np.sum(nodes**2, axis=1))
    return mean + nodes @ np.linalg.cholesky(covariance).T, weights / weights.sum()


def gaussian_entropic(m, a, n, b, epsilon):
    """OT_eps of Gaussians: Janati, Muzellec, Peyre, Cuturi (NeurIPS 2020), Theorem 1, with 2 sigma^2 = epsilon."""
    a, b, shift = np.atleast_2d(a), np.atleast_2d(b), np.subtract(m, n)
    dimension, variance = len(a), epsilon / 2
    root = np.real(sqrtm(a))
    d = np.real(sqrtm(4 * root @ b @ root + variance**2 * np.eye(dimension)))
    return (
        float(np.sum(shift**2))
        + np.trace(a + b - d)
        + dimension * variance * (1 - np.log(2 * variance))
        + variance * np.linalg.slogdet(d + variance * np.eye(dimension))[1]
    )


def gaussian_divergence(m, a, n, b, epsilon):
    own = gaussian_entropic(m, a, m, a, epsilon) + gaussian_entropic(n, b, n, b, epsilon)
    return gaussian_entropic(m, a, n, b, epsilon) - 0.5 * own


# One solve


@pytest.mark.parametrize("epsilon", [0.02, 0.1, 1.0])
@pytest.mark.parametrize("p", [1.0, 1.5, 2.0])
def test_bounds_of_entropic_transport_hold_the_value_of_pot(p, epsilon):
    x, y, a, b = clouds(30, 40, 3)
    costs = Cost(p).matrix(x, y)
    plan = entropic.solve(costs, a, b, epsilon)
    coupling = ot.sinkhorn(a, b, costs, epsilon, method="sinkhorn_log", numItermax=200000, stopThr=1e-14)
    truth = np.sum(coupling * (costs + epsilon * np.log(np.maximum(coupling, 1e-300) / np.outer(a, b))))
    assert plan.lower <= plan.upper
    assert plan.upper - plan.lower <= 1e-7 * truth
    assert plan.lower - 1e-12 <= truth <= plan.upper + 1e-12
    assert plan.cost == pytest.approx(np.sum(coupling * costs), rel=1e-7)
    assert plan.cost <= plan.upper  # the entropy against a x b is not negative
    assert plan.marginal_error <= 1e-9
    assert plan.iterations >= 1
    assert plan.epsilon == epsilon


def test_the_cost_without_entropy_bounds_the_exact_one_and_reaches_it():
    x, y, a, b = clouds(25, 25, 2, seed=3)
    costs = SQUARED.matrix(x, y)
    exact = ot.emd2(a, b, costs)
    excess = [entropic.solve(costs, a, b, epsilon).cost / exact - 1 for epsilon in (1.0, 0.1, 0.02)]
    assert all(value >= -1e-12 for value in excess)
    assert excess[0] > 0.1 > excess[1] > excess[2]
    assert excess[2] < 5e-3


def test_the_default_epsilon_is_a_part_of_the_mean_cost():
    x, y, a, b = clouds(20, 30, 2)
    costs = SQUARED.matrix(x, y)
    assert entropic.solve(costs, a, b).epsilon == pytest.approx(0.05 * (a @ costs @ b), rel=1e-12)
    assert entropic.solve(np.zeros((3, 3)), *[np.full(3, 1 / 3)] * 2).upper == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("epsilon", [0.3, 2.0])
def test_symmetric_iteration_against_the_alternating_one(epsilon):
    x, _, a, _ = clouds(30, 1, 2)
    costs = SQUARED.matrix(x, x)
    one, other = entropic.solve_self(costs, a, epsilon), entropic.solve(costs, a, a, epsilon)
    assert one.value == pytest.approx(other.value, rel=1e-7)
    assert one.iterations < other.iterations
    assert one.upper - one.lower <= 1e-7 * one.value


def test_an_epsilon_too_small_is_no_number(monkeypatch):
    monkeypatch.setattr(entropic, "ITERATIONS", 200)
    x, y, a, b = clouds(30, 40, 2)
    with pytest.raises(UncertifiedError, match=r"not converged: marginal error .* epsilon = 0.001 is small"):
        entropic.solve(SQUARED.matrix(x, y), a, b, 1e-3)


# Gaussians


@pytest.mark.parametrize("epsilon", [0.3, 1.0, 4.0])
def test_gaussians_on_the_line(epsilon):
    left, right = (0.0, 1.0), (0.7, 2.5)
    (x, a), (y, b) = grid(*left, 150), grid(*right, 150)
    plan = entropic.solve(SQUARED.matrix(x, y), a, b, epsilon)
    assert plan.value == pytest.approx(gaussian_entropic(*left, *right, epsilon), rel=1e-6)
    # Control: another epsilon is another number.
    assert abs(plan.value / gaussian_entropic(*left, *right, 1.1 * epsilon) - 1) > 1e-2
    found = divergence(x, y, SQUARED, weights=a, other_weights=b, epsilon=epsilon)
    assert found.estimate == pytest.approx(gaussian_divergence(*left, *right, epsilon), rel=1e-6)


def test_gaussians_in_the_plane():
    left = [0.0, 0.0], np.array([[1.0, 0.4], [0.4, 0.8]])
    right = [0.5, -0.2], np.array([[0.6, -0.2], [-0.2, 1.1]])
    (x, a), (y, b) = grid(*left, 21, 5.0), grid(*right, 21, 5.0)
    found = divergence(x, y, SQUARED, weights=a, other_weights=b, epsilon=2.0)
    truth = gaussian_divergence(*left, *right, 2.0)
    assert found.estimate == pytest.approx(truth, rel=1e-4)
    turned = right[0], right[1] * [[1, -1], [-1, 1]]
    assert abs(found.estimate / gaussian_divergence(*left, *turned, 2.0) - 1) > 1e-2


# The divergence


def test_divergence_of_equal_measures_is_zero_and_the_biased_one_is_not():
    x, _, a, _ = clouds(40, 1, 3)
    order = np.random.default_rng(5).permutation(40)
    found = divergence(x, x[order], SQUARED, weights=a, other_weights=a[order], epsilon=0.3)
    assert found.lower <= 0 <= found.upper
    assert abs(found.estimate) < 1e-8
    assert entropic.solve(SQUARED.matrix(x, x[order]), a, a[order], 0.3).cost > 0.1


def test_divergence_tends_to_exact_transport():
    x, y, a, b = clouds(20, 25, 2, seed=8)
    exact = ot.emd2(a, b, SQUARED.matrix(x, y))
    ratios = [
        divergence(x, y, SQUARED, weights=a, other_weights=b, epsilon=e).estimate / exact for e in (1.0, 0.1, 0.02)
    ]
    assert abs(ratios[0] - 1) > abs(ratios[1] - 1) > abs(ratios[2] - 1)
    assert ratios[2] == pytest.approx(1, abs=0.015)


def test_divergence_between_translates_is_that_of_the_shift():
    # S_eps(mu, mu + h) = |h|^2 for every mu and eps: the shift adds |h|^2 and a linear term to the cost.
    x, _, a, _ = clouds(30, 1, 3)
    shift = np.array([0.3, -0.1, 0.6])
    found = divergence(x, x + shift, SQUARED, weights=a, other_weights=a, epsilon=0.5)
    assert found.estimate == pytest.approx(shift @ shift, rel=1e-6)


def test_points_without_mass_do_not_count():
    x, y, a, b = clouds(20, 25, 2)
    padded = np.concatenate([a, [0.0]])
    found = divergence(np.concatenate([x, [[9, 9]]]), y, SQUARED, weights=padded, other_weights=b, epsilon=0.4)
    assert found == divergence(x, y, SQUARED, weights=a, other_weights=b, epsilon=0.4)


def test_the_torus_takes_the_shorter_way():
    x, y, a, b = clouds(15, 15, 2)
    cost = Cost(2.0, (1.0, None))
    moved = x + np.random.default_rng(2).integers(-2, 3, (15, 1)) * [1.0, 0.0]
    one = divergence(x, y, cost, weights=a, other_weights=b, epsilon=0.3)
    assert divergence(moved, y, cost, weights=a, other_weights=b, epsilon=0.3).estimate == pytest.approx(
        one.estimate, rel=1e-6
    )
    assert abs(divergence(moved, y, SQUARED, weights=a, other_weights=b, epsilon=0.3).estimate / one.estimate - 1) > 0.1


# Against a law


def draws_of_normal(rng, m):
    return rng.standard_normal((m, 1))


def sampled(repeats, sampler=draws_of_normal, mean=0.4, variance=1.3, epsilon=1.0, count=25):
    x, a = grid(mean, variance, count, 5.0)
    rng = np.random.default_rng(11)
    return [sampled_divergence(x, sampler, SQUARED, epsilon, 2, rng, weights=a) for _ in range(repeats)]


def test_bracket_of_the_sampled_divergence_in_mean():
    # Four one-sided or two-sided bounds at z = 4.5: 2e-5.
    found = sampled(80)
    truth = gaussian_divergence(0.4, 1.3, 0.0, 1.0, 1.0)
    ends = {name: np.array([getattr(f, name) for f in found]) for name in ("lower", "estimate", "upper")}
    mean = {name: values.mean() for name, values in ends.items()}
    error = {name: values.std(ddof=1) / np.sqrt(len(found)) for name, values in ends.items()}
    assert mean["lower"] - Z * error["lower"] <= truth <= mean["upper"] + Z * error["upper"]
    assert abs(mean["estimate"] - truth) <= Z * error["estimate"]
    assert all(f.lower <= f.estimate <= f.upper for f in found)
    # A standard deviation over 80 draws has a relative error of 8 %.
    spread, stated = ends["estimate"].std(ddof=1), np.mean([f.standard_error for f in found])
    assert abs(spread / stated - 1) <= Z * 0.08
    # Control: one sample in place of the law, the naive plug-in, overshoots.
    rng = np.random.default_rng(12)
    near = grid(0.0, 1.0, 25, 5.0)
    naive = [divergence(near[0], draws_of_normal(rng, 25), SQUARED, weights=near[1], epsilon=1.0) for _ in range(40)]
    values = np.array([f.estimate for f in naive])
    assert values.mean() > Z * values.std(ddof=1) / np.sqrt(40)  # the truth is 0


def test_component_against_a_law_and_an_array():
    x, a = grid(0.4, 1.3, 25, 5.0)
    measure = Measure(x, a)
    law = Entropic(1.0, points_per_particle=2).between(measure, draws_of_normal, 2.0, None, np.random.default_rng(11))
    first = sampled(1)[0]
    assert (law.estimate, law.lower, law.upper) == (first.estimate, first.lower, first.upper)
    assert (law.method, law.reference_points, law.p) == ("sinkhorn", 50, 2.0)
    y = draws_of_normal(np.random.default_rng(3), 40)
    array = Entropic(1.0).between(measure, y, 2.0, None, np.random.default_rng(0))
    assert array.estimate == divergence(x, y, SQUARED, weights=a, epsilon=1.0).estimate
    assert array.standard_error == 0
    assert array.upper - array.lower <= 1e-7


def test_component_in_the_kinetic_cost():
    x, y, a, _ = clouds(12, 14, 2)
    rng = np.random.default_rng(0)
    found = Entropic(0.02).between(Measure(x, a), y, 1.0, None, rng, "kinetic").estimate
    costs = np.abs(x[:, None] - y).sum(axis=2)
    assert found == pytest.approx(ot.emd2(a, np.full(14, 1 / 14), costs), rel=0.02)


# Bad input


@pytest.mark.parametrize("epsilon", [0.0, -1.0, np.inf, np.nan])
def test_epsilon_is_positive(epsilon):
    with pytest.raises(ValueError, match=r"^epsilon must be a finite number > 0"):
        divergence(np.zeros((2, 1)), np.ones((2, 1)), SQUARED, epsilon=epsilon)
    with pytest.raises(ValueError, match=r"^epsilon"):
        Entropic(epsilon)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: divergence(x, x[:, :1], SQUARED), "other has points of dimension 1, points of dimension 2"),
        (lambda x: divergence(x, x * np.nan, SQUARED), "other must be a non-empty finite array"),
        (lambda x: divergence(x[:0], x, SQUARED), "points must be a non-empty finite array"),
        (lambda x: divergence(x, x, Cost(3.0)), "p must be in [1, 2]"),
        (lambda x: divergence(x, x, SQUARED, weights=np.ones(4)), "weights of points must be (4,) masses"),
        (lambda x: divergence(x, x, SQUARED, memory=100), "use at most 1 points, or memory=1056"),
        (lambda x: sampled_divergence(x, lambda r, m: x, SQUARED, 1.0, 2, None), "samples of shape (8, 2), not (4, 2)"),
        (lambda x: sampled_divergence(x, lambda r, m: np.ones((m, 2)), SQUARED, 1.0, 1, None), "draw from the rng"),
        (lambda x: Entropic(1.0).between(Measure(x), x, 2.0, 0.1, None), "precision: 0.1; allowed: none"),
        (lambda x: Entropic(1.0, 0), "points_per_particle: 0; allowed"),
    ],
)
def test_bad_input_is_one_line_that_names_the_argument(call, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        call(np.arange(8.0).reshape(4, 2))
    assert "\n" not in str(caught.value)


def test_memory_is_refused_before_anything_is_drawn():
    def sampler(rng, m):
        raise AssertionError("drawn")

    with pytest.raises(ValueError, match="memory"):
        sampled_divergence(np.zeros((10**5, 1)), sampler, SQUARED, 1.0, 4, np.random.default_rng(0))


def test_kind_in_a_study():
    assert components.build("distances", {"kind": "entropic", "epsilon": 0.1}, "d") == Entropic(0.1)
    with pytest.raises(components.InputError, match=r"^d.epsilon: missing"):
        components.build("distances", {"kind": "entropic"}, "d")
