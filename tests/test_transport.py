"""Transport in any dimension against POT, SciPy, closed forms, and controls that must fail.

Statistical tests: fixed seeds, z = 4.5, so 7e-6 each (3.5e-6 one-sided); about 40 of them, 3e-4 for the file.
"""

import itertools
import re
import subprocess
import sys

import numpy as np
import ot
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from scipy.optimize import linear_sum_assignment

from mfstudy.distances.wasserstein import Wasserstein
from mfstudy.ensemble import Measure, Phase
from mfstudy.laws.ball import Ball
from mfstudy.laws.box import Box
from mfstudy.laws.gaussian import Gaussian
from mfstudy.transport import discrete, semidiscrete, variates
from mfstudy.transport.bracket import Bracket, UncertifiedError
from mfstudy.transport.cost import Cost
from mfstudy.transport.wasserstein import wasserstein

Z = 4.5
FEW = settings(max_examples=15, deadline=None, derandomize=True)


class Cube:
    """Uniform law on [0, 1]^D, with or without its moments and its quantile."""

    def __init__(self, dimension, shift=0.0, moments=False, quantile=False):
        self.dimension, self.shift = dimension, shift
        if moments:
            self.mean, self.covariance = np.full(dimension, 0.5 + shift), np.eye(dimension) / 12
        if quantile:
            self.quantile = lambda u: u + shift

    def sample(self, rng, m):
        return rng.random((m, self.dimension)) + self.shift


def clouds(rows, columns, dimension, seed=0):
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((rows, dimension)), rng.standard_normal((columns, dimension)) + 0.2
    return x, y, rng.dirichlet(np.ones(rows)), rng.dirichlet(np.ones(columns))


def mean_and_error(values):
    return np.mean(values), np.std(values, ddof=1) / np.sqrt(len(values))


def assert_cautious(results, most=1.5):
    """The mean standard error is the spread of the estimates or more, up to a factor, within the noise of a spread."""
    ratio = np.mean([r.standard_error for r in results]) / np.std([r.estimate for r in results], ddof=1)
    noise = Z / np.sqrt(2 * len(results))
    assert 1 - noise <= ratio <= most * (1 + noise)


# Exact, discrete


@pytest.mark.parametrize("p", [1, 1.7, 2, 3])
@pytest.mark.parametrize("dimension", [2, 5])
def test_discrete_against_pot(dimension, p):
    x, y, a, b = clouds(40, 70, dimension)
    truth = ot.emd2(a, b, np.linalg.norm(x[:, None] - y, axis=2) ** p)
    result = wasserstein(x, y, p, weights=a, reference_weights=b)
    assert result.estimate == pytest.approx(truth, rel=1e-9)
    assert result.lower <= result.estimate <= result.upper
    assert result.upper - result.lower <= 1e-9 * result.estimate
    assert (result.method, result.standard_error, result.reference_points) == ("discrete", 0.0, 70)
    assert result.distance == pytest.approx(truth ** (1 / p), rel=1e-9)


@pytest.mark.parametrize("p", [1, 2])
def test_discrete_against_assignment(p):
    x, y, *_ = clouds(150, 150, 3)
    costs = np.linalg.norm(x[:, None] - y, axis=2) ** p
    truth = costs[linear_sum_assignment(costs)].mean()
    assert wasserstein(x, y, p).estimate == pytest.approx(truth, rel=1e-9)


def test_dual_is_feasible_and_central_dual_is_optimal():
    x, y, a, b = clouds(30, 45, 2)
    costs = Cost(2).matrix(x, y)
    for masses in ((a, b), (np.full(30, 1 / 30), np.full(45, 1 / 45))):
        for central in (False, True):
            plan = discrete.solve(costs, *masses, central=central)
            assert (plan.dual_a[:, None] + plan.dual_b - costs).max() < 1e-14
            dual = np.sum(masses[0] * plan.dual_a) + np.sum(masses[1] * plan.dual_b)
            assert dual == pytest.approx(ot.emd2(*masses, costs), rel=1e-9)


def test_points_without_mass_change_nothing():
    x, y, a, b = clouds(12, 9, 2)
    costs = Cost(2).matrix(x, y)
    a[3], b[5] = 0.0, 0.0
    a, b = a / a.sum(), b / b.sum()
    plan = discrete.solve(costs, a, b)
    assert plan.cost == pytest.approx(ot.emd2(a, b, costs), rel=1e-9)
    assert (plan.dual_a[:, None] + plan.dual_b - costs).max() < 1e-14
    assert wasserstein(x, y, weights=a, reference_weights=b).estimate == pytest.approx(plan.cost, rel=1e-12)


def test_sorting_agrees_with_the_simplex_on_the_line():
    x, y, a, b = clouds(30, 41, 1)
    result = wasserstein(x[:, 0], y[:, 0], 1.5, weights=a, reference_weights=b)
    assert result.method == "sorted"
    assert result.estimate == pytest.approx(ot.emd2(a, b, np.abs(x - y.T) ** 1.5), rel=1e-10)


def test_bures():
    """x -> A x + b with A positive is optimal (Brenier): W_2^2 = |dm|^2 + Bures^2 of the sample moments."""
    x = clouds(60, 1, 3)[0]
    root = np.random.default_rng(8).standard_normal((3, 3))
    stretch, shift = root @ root.T / 3 + 0.2 * np.eye(3), np.array([1.0, -2.0, 0.5])
    y = x @ stretch + shift
    first, second = np.cov(x.T, bias=True), np.cov(y.T, bias=True)
    half = sqrtm(first)
    bures = np.trace(first + second - 2 * np.real(sqrtm(half @ second @ half)))
    truth = np.sum((x.mean(axis=0) - y.mean(axis=0)) ** 2) + bures
    assert wasserstein(x, y).estimate == pytest.approx(truth, rel=1e-9)


def test_torus_costs_against_all_images():
    x, y, a, b = clouds(25, 31, 3)
    lengths = (1.0, None, 2.5)
    images = itertools.product(range(-9, 10), [0], range(-9, 10))
    shifts = np.array([[i, j, 2.5 * m] for i, j, m in images])
    distances = np.linalg.norm(x[:, None, None] - y[None, :, None] + shifts, axis=3).min(axis=2)
    for p in (1, 2, 3):
        truth = ot.emd2(a, b, distances**p)
        result = wasserstein(x, y, p, weights=a, reference_weights=b, period=lengths)
        assert result.estimate == pytest.approx(truth, rel=1e-9)
    wrong = wasserstein(x, y, 2, weights=a, reference_weights=b, period=(1.0, None, None))
    assert wrong.estimate > 1.01 * ot.emd2(a, b, distances**2)


def test_shifted_lattice_on_the_circle():
    x = np.arange(20) / 20
    for p in (1, 2, 3):
        assert wasserstein(x, x + 0.99, p, period=1.0).distance == pytest.approx(0.01, rel=1e-9)
    assert wasserstein(x, x + 0.99, 2).distance == pytest.approx(0.99, rel=1e-12)


@FEW
@given(st.integers(0, 10**6), st.sampled_from([1.0, 1.5, 2.0, 3.0]), st.sampled_from([1, 2, 3]))
def test_metric_properties(seed, p, dimension):
    rng = np.random.default_rng(seed)
    x, y, z = (rng.standard_normal((n, dimension)) for n in (6, 9, 9))
    a = rng.dirichlet(np.ones(6))
    shift, factor = rng.standard_normal(dimension), 10.0 ** rng.integers(-6, 7)
    there = wasserstein(x, y, p, weights=a).distance
    back = wasserstein(y, x, p, reference_weights=a).distance
    assert there == pytest.approx(back, rel=1e-9)
    assert there <= wasserstein(x, z, p, weights=a).distance + wasserstein(z, y, p).distance + 1e-9
    assert wasserstein(factor * x, factor * y, p, weights=a).distance == pytest.approx(factor * there, rel=1e-9)
    moved = wasserstein(x + shift, y + shift, p, weights=a).distance
    assert moved == pytest.approx(there, rel=1e-9)
    assert wasserstein(y, y + shift, p).distance == pytest.approx(np.linalg.norm(shift), rel=1e-9)
    same = wasserstein(x, x[::-1], p, weights=a, reference_weights=a[::-1])
    assert same.estimate < 1e-14
    assert there > 0.01


# Certificates that must fail


def test_iteration_limit_is_not_a_number(monkeypatch):
    real = ot.emd
    monkeypatch.setattr(ot, "emd", lambda *args, **options: real(*args, **{**options, "numItermax": 1}))
    x, y, *_ = clouds(20, 30, 2)
    with pytest.raises(UncertifiedError, match=r"residual .*status numItermax"):
        wasserstein(x, y)


def test_corrupted_dual_is_not_a_number(monkeypatch):
    real = ot.emd

    def corrupted(*args, **options):
        coupling, log = real(*args, **options)
        log["u"][0] *= 1 + 1e-3
        return coupling, log

    monkeypatch.setattr(ot, "emd", corrupted)
    x, y, *_ = clouds(20, 30, 2)
    with pytest.raises(UncertifiedError, match=r"status optimal"):
        wasserstein(x, y)


def test_plan_that_is_not_optimal_is_not_a_number(monkeypatch):
    def product(a, b, costs, **options):
        return np.outer(a, b) / np.sum(b), {"u": np.zeros(len(a)), "warning": None}

    monkeypatch.setattr(ot, "emd", product)
    x, y, *_ = clouds(20, 30, 2)
    with pytest.raises(UncertifiedError, match="not certified"):
        wasserstein(x, y)


def test_plan_without_its_marginals_is_not_a_number(monkeypatch):
    real = ot.emd

    def scaled(*args, **options):
        coupling, log = real(*args, **options)
        return coupling * (1 + 1e-8), log

    monkeypatch.setattr(ot, "emd", scaled)
    x, y, *_ = clouds(20, 30, 2)
    with pytest.raises(UncertifiedError, match="not certified"):
        wasserstein(x, y)


class OnTheLine:
    """A law given by nothing but its quantile function."""

    def __init__(self, quantile):
        self.quantile = quantile


def test_heavy_right_tail_is_not_a_number():
    """Pareto, nu = 3: its last 1e-16 of mass holds 5e-6 of W_2^2. Reflected, the tail is resolved: nu/(nu - 2)."""
    with pytest.raises(UncertifiedError, match=r"reference\.quantile not certified.*allowed 1e-06.*reflect") as caught:
        wasserstein([0.0], OnTheLine(lambda u: (1 - u) ** (-1 / 3)))
    assert "\n" not in str(caught.value)
    reflected = wasserstein([0.0], OnTheLine(lambda u: -(u ** (-1 / 3))))
    assert reflected.estimate == pytest.approx(3.0, rel=1e-10)
    assert reflected.residual < 1e-10


def test_noisy_quantile_is_not_a_number():
    with pytest.raises(UncertifiedError, match="not certified"):
        wasserstein([0.1, 0.9], OnTheLine(lambda u: u + 1e-3 * np.sin(1e9 * u)))


@pytest.mark.parametrize("p", [1, 1.5, 2, 3])
def test_costs_of_round_off_are_no_false_alarm(p):
    same = np.full(7, 0.3)
    assert wasserstein(same, OnTheLine(lambda u: 0 * u + 0.3), p).estimate == 0.0
    # 0.1 + 0.2 and (0.3 + u) - u differ from 0.3 by round-off: half a unit in the last place of 1.3.
    for quantile in (lambda u: 0 * u + 0.1 + 0.2, lambda u: (0.3 + u) - u):
        assert wasserstein(same, OnTheLine(quantile), p).distance < 2e-16
    assert wasserstein(same, OnTheLine(lambda u: 0.3 + 1e-12 * u), p).distance == pytest.approx(
        1e-12 * (1 + p) ** (-1 / p), rel=1e-4
    )
    atoms = np.sort(np.random.default_rng(86).random(1000))
    steps = wasserstein(atoms, OnTheLine(lambda u: atoms[np.minimum((1000 * u).astype(int), 999)]), p)
    assert 0 <= steps.estimate < 1e-15 * np.sum(np.diff(atoms) ** p)


@pytest.mark.parametrize("law", [Box(1.0), Gaussian(1.0), Ball(1.0)], ids=lambda law: type(law).__name__)
def test_shipped_laws_pass_far_below_the_threshold(law):
    line = law.on(Phase(1, 0))
    for count in (2, 30, 1000, 10**5):
        points = line.sample(np.random.default_rng(count), count).points
        for p in (1, 1.5, 2, 3):
            assert wasserstein(points, OnTheLine(line.quantile), p).residual < 1e-8


# The cross-fitted bracket

MASS = 0.3
ATOMS = np.array([[0.0, 0.5], [1.0, 0.5]])
#: Two atoms on opposite sides of the unit square: the cells are [0, MASS] and [MASS, 1] times [0, 1].
ATOMS_TRUTH = (MASS**3 + (1 - MASS) ** 3) / 3 + 1 / 12


def two_atoms(law, seed, **options):
    return wasserstein(
        ATOMS, law, weights=[MASS, 1 - MASS], precision=0.042, seed=np.random.default_rng(seed), **options
    )


@pytest.mark.parametrize("dimension", [2, 4])
@pytest.mark.parametrize("p", [1, 2])
def test_dirac_has_no_bracket(dimension, p):
    """All mass goes to one point: U = L = a plain Monte Carlo mean, here of |y - x|^p."""
    law, point = Cube(dimension), np.full((1, dimension), 0.5)
    result = semidiscrete.bracket(point, law.sample, Cost(p), 4000, np.random.default_rng(1))
    fine = np.linalg.norm(np.random.default_rng(2).random((400000, dimension)) - 0.5, axis=1)
    truth = dimension / 12 if p == 2 else fine.mean()
    assert result.upper == pytest.approx(result.lower, rel=1e-9)
    assert abs(result.estimate - truth) < Z * np.hypot(result.standard_error, fine.std() / 400000**0.5)
    exact = semidiscrete.bracket(
        point,
        law.sample,
        Cost(2),
        400,
        np.random.default_rng(1),
        mean=np.full(dimension, 0.5),
        covariance=np.eye(dimension) / 12,
    )
    assert exact.estimate == pytest.approx(dimension / 12, rel=1e-9)


@pytest.mark.parametrize("moments", [False, True])
def test_two_atoms_in_a_square(moments):
    """E U >= W >= E L, the midpoint is W, and the standard error is the spread; a shifted law is detected."""
    results = [two_atoms(Cube(2, moments=moments), seed) for seed in range(300)]
    upper, upper_error = mean_and_error([r.upper for r in results])
    lower, lower_error = mean_and_error([r.lower for r in results])
    middle, error = mean_and_error([r.estimate for r in results])
    assert upper > ATOMS_TRUTH - Z * upper_error
    assert lower < ATOMS_TRUTH + Z * lower_error
    assert abs(middle - ATOMS_TRUTH) < Z * error
    assert_cautious(results)


def test_a_shifted_reference_is_detected():
    middle, error = mean_and_error([two_atoms(Cube(2, shift=0.05), seed).estimate for seed in range(300)])
    assert abs(middle - ATOMS_TRUTH) > 2 * Z * error


@pytest.mark.parametrize("p", [1, 2])
def test_bracket_against_the_exact_line(p):
    """Point sets of 20, law U(0, 1): the exact quantile value of each set against its bracket at k = 8."""
    upper, lower, middle, width = [], [], [], []
    for seed in range(200):
        x = np.random.default_rng([seed, p]).random((20, 1))
        truth = wasserstein(x, Cube(1, quantile=True), p).estimate
        result = semidiscrete.bracket(x, Cube(1).sample, Cost(p), 8, np.random.default_rng(seed))
        upper.append(result.upper - truth)
        lower.append(result.lower - truth)
        middle.append(result.estimate - truth)
        width.append(result.upper - result.lower)
    mean, error = mean_and_error(upper)
    assert mean > -Z * error
    mean, error = mean_and_error(lower)
    assert mean < Z * error
    mean, error = mean_and_error(middle)
    assert abs(mean) < Z * error
    assert min(width) > -1e-15


def test_standard_error_in_six_dimensions():
    x = np.random.default_rng(77).random((60, 6))
    results = [wasserstein(x, Cube(6), precision=None, seed=1000 + seed) for seed in range(200)]
    assert_cautious(results, 1.3)


def test_control_variates_reduce_the_error_and_keep_the_width():
    x = np.random.default_rng(78).random((40, 2)) * 0.7 + 1
    plain, helped = (
        [wasserstein(x, Cube(2, moments=moments), precision=None, seed=seed) for seed in range(100)]
        for moments in (False, True)
    )
    for one, other in zip(plain, helped, strict=True):
        assert one.upper - one.lower == pytest.approx(other.upper - other.lower, rel=1e-9)
    first, first_error = mean_and_error([r.estimate for r in plain])
    second, second_error = mean_and_error([r.estimate for r in helped])
    assert second_error < 0.5 * first_error
    assert abs(first - second) < Z * np.hypot(first_error, second_error)


class WrongSpread(Cube):
    """Uniform on the cube, with a covariance that is 30 % too large."""

    def __init__(self, dimension):
        super().__init__(dimension, moments=True)
        self.covariance = 1.3 * self.covariance


@pytest.mark.parametrize("law", [Cube(4), Cube(4, moments=True), WrongSpread(4)], ids=["plain", "moments", "control"])
def test_few_points_are_regressed_on_fewer_moments(law):
    """M = 128 in D = 4: 14 moments are too many, 5 are not. The bounds hold; a wrong covariance breaks them."""
    atoms = np.full((2, 4), 0.5)
    atoms[:, 0] = 0, 1
    truth = ATOMS_TRUTH + 2 / 12
    mass, mean, covariance = np.array([MASS, 1 - MASS]), getattr(law, "mean", None), getattr(law, "covariance", None)
    results = [
        semidiscrete.bracket(
            atoms, law.sample, Cost(2), 64, np.random.default_rng(seed), mass, mean=mean, covariance=covariance
        )
        for seed in range(300)
    ]
    upper, upper_error = mean_and_error([r.upper for r in results])
    lower, lower_error = mean_and_error([r.lower for r in results])
    middle, error = mean_and_error([r.estimate for r in results])
    holds = upper > truth - Z * upper_error and lower < truth + Z * lower_error
    if isinstance(law, WrongSpread):
        assert not holds
        assert abs(middle - truth) > 2 * Z * error
        return
    assert holds
    assert abs(middle - truth) < Z * error
    assert_cautious(results)


@pytest.mark.parametrize(("dimension", "count"), [(4, 32), (6, 32), (6, 64)])
def test_control_variates_work_at_every_size_of_a_sweep(dimension, count):
    """The sizes of iid-d4 and iid-d6 at which k = 4 leaves too few points for all second moments."""
    x = np.random.default_rng(dimension).random((count, dimension))
    features = dimension + dimension * (dimension + 1) // 2
    assert dimension + 1 <= 4 * count / variates.PER_FEATURE < features
    plain, helped = (
        [wasserstein(x, Cube(dimension, moments=moments), precision=None, seed=seed) for seed in range(12)]
        for moments in (False, True)
    )
    for one, other in zip(plain, helped, strict=True):
        assert one.upper - one.lower == pytest.approx(other.upper - other.lower, rel=1e-9)
        assert one.estimate != other.estimate
    assert np.mean([r.standard_error for r in helped]) < 0.98 * np.mean([r.standard_error for r in plain])


def test_too_few_points_for_any_control_variate():
    """M = 48 in D = 4 is below 10 (D + 1): the moments change nothing. The mean alone is 4 features: it does."""
    x = np.random.default_rng(87).random((12, 4))
    plain, helped, mean_only = Cube(4), Cube(4, moments=True), Cube(4, moments=True)
    del mean_only.covariance
    results = [wasserstein(x, law, precision=None) for law in (plain, helped, mean_only)]
    assert results[0] == results[1]
    assert results[0].estimate != results[2].estimate


def test_control_variates_do_not_depend_on_units():
    class Tiny(Cube):
        mean, covariance = np.full(2, 0.5e-9), np.eye(2) / 12e18

        def sample(self, rng, m):
            return 1e-9 * super().sample(rng, m)

    x = np.random.default_rng(85).random((40, 2)) + 1
    here, there = wasserstein(x, Cube(2, moments=True), precision=None), wasserstein(1e-9 * x, Tiny(2), precision=None)
    assert there.estimate == pytest.approx(1e-18 * here.estimate, rel=1e-4)
    assert there.standard_error == pytest.approx(1e-18 * here.standard_error, rel=1e-2)


def test_control_variates_for_first_order():
    x = np.random.default_rng(79).random((40, 2)) + 2
    plain, helped = (
        [wasserstein(x, Cube(2, moments=moments), 1, precision=None, seed=seed) for seed in range(60)]
        for moments in (False, True)
    )
    first, first_error = mean_and_error([r.estimate for r in plain])
    second, second_error = mean_and_error([r.estimate for r in helped])
    assert second_error < 0.5 * first_error
    assert abs(first - second) < Z * np.hypot(first_error, second_error)


def test_shifted_cloud_with_the_exact_mean():
    """W_2^2(mu + s, rho) - W_2^2(mu, rho) = 2 s . (mean mu - mean rho) + |s|^2: the regression removes the noise."""
    x, shift = np.random.default_rng(80).random((50, 3)), np.array([0.4, -1.0, 2.0])
    truth = 2 * shift @ (x.mean(axis=0) - 0.5) + shift @ shift
    errors = []
    for law in (Cube(3), Cube(3, moments=True)):
        here, there = (wasserstein(points, law, precision=None) for points in (x, x + shift))
        errors.append(abs(there.estimate - here.estimate - truth))
    # What remains: the optimal dual is not unique, so its centring starts from another vertex.
    assert errors[1] < 2e-4 < 1e-2 < errors[0]


def test_bracket_on_the_torus():
    """A cloud moved by whole periods is the same cloud; the moments act on the axis that is not periodic."""
    x = np.floor(2**40 * np.random.default_rng(81).random((30, 2))) / 2**40  # so that moving them is exact
    law = Cube(2, moments=True)
    here = wasserstein(x, law, period=(1.0, None), precision=None)
    there = wasserstein(x + np.array([3.0, 0.0]), law, period=(1.0, None), precision=None)
    assert there == here
    rounded = wasserstein(x + np.array([3.3, 0.0]) - np.array([0.3, 0.0]), law, period=(1.0, None), precision=None)
    assert rounded.upper == pytest.approx(here.upper, rel=1e-9)
    # Optimal weights are not unique: round-off may find others of the same optimum.
    assert abs(rounded.estimate - here.estimate) < 0.2 * here.standard_error
    assert here.estimate < wasserstein(x, law, precision=None).estimate
    dirac = wasserstein([[0.1, 0.9]], Cube(2), period=1.0, precision=0.001, seed=3)
    assert abs(dirac.estimate - 1 / 6) < Z * dirac.standard_error


def test_precision_is_met_and_counts_are_told():
    x = np.random.default_rng(82).random((150, 2))
    result = wasserstein(x, Cube(2), precision=0.1)
    assert result.reference_points == 150 * semidiscrete.points_per_particle(2, 2, 0.1) == 150 * 5
    assert 0 < result.upper - result.lower < 0.15 * result.estimate
    assert (result.method, result.p) == ("semidiscrete", 2)
    assert 0 <= result.residual < 1e-9


def test_precision_table():
    count = semidiscrete.points_per_particle
    assert count(3, 2, None) == count(3, 2, 0.9) == 4
    assert count(9, 2, 0.02) == count(6, 2, 0.02) < count(5, 2, 0.02) < count(4, 2, 0.02) < count(1, 2, 0.02)
    assert count(4, 1, 0.02) < count(4, 2, 0.02)
    assert count(4, 2, 0.01) == pytest.approx(2 * count(4, 2, 0.02), abs=1)


def test_same_seed_same_bytes():
    x = np.random.default_rng(83).random((40, 3))
    first = wasserstein(x, Cube(3, moments=True), seed=5, precision=None)
    assert first == wasserstein(x, Cube(3, moments=True).sample.__self__, seed=np.random.default_rng(5), precision=None)
    assert first.estimate != wasserstein(x, Cube(3, moments=True), seed=6, precision=None).estimate


def test_method_follows_the_reference():
    x = np.random.default_rng(84).random((10, 1))
    assert wasserstein(x, Cube(1, quantile=True)).method == "quantile"
    assert wasserstein(x, Cube(1, quantile=True), period=1.0, precision=None).method == "semidiscrete"
    assert wasserstein(x, Cube(1).sample, precision=None).method == "semidiscrete"
    assert wasserstein(x, lambda rng, m: rng.random(m), 3, precision=None).method == "semidiscrete"
    assert wasserstein(x, x + 1).method == "sorted"
    assert wasserstein(x, x + 1, period=9.0).method == "discrete"


def test_component_calls_the_entry():
    x, y, a, _ = clouds(10, 12, 2)
    measure = Measure(x, a, (1.0, None))
    result = Wasserstein().between(measure, y, 2, 0.02, np.random.default_rng(0))
    assert result == wasserstein(x, y, 2, weights=a, period=(1.0, None))
    with pytest.raises(ValueError, match="allowed: euclidean"):
        Wasserstein().between(measure, y, 2, 0.02, np.random.default_rng(0), "taxicab")


def test_distance_of_a_negative_estimate_is_zero():
    assert Bracket(-1e-3, -1e-2, 1e-2, 1e-3, 2, "semidiscrete", 0.0, 8).distance == 0.0


# Bad inputs, one by one

X = np.random.default_rng(9).random((6, 2))
LAW = Cube(2)
UNEQUAL = np.random.default_rng(10).dirichlet(np.ones(6))


def frozen(rng, m):
    return np.random.default_rng(0).random((m, 2))


@pytest.mark.parametrize(
    ("points", "reference", "options", "message"),
    [
        (np.where(X > 0.9, np.nan, X) * np.inf, X, {}, "points must be finite"),
        (np.full((3, 2), np.nan), X, {}, "points must be finite"),
        (np.empty((0, 2)), X, {}, "points must be a non-empty"),
        (np.zeros((2, 2, 2)), X, {}, "points must be a non-empty"),
        ("cloud", X, {}, "points must be an array of numbers"),
        (X, X[:, :1], {}, "reference has points of dimension 1"),
        (X, np.full((3, 2), np.inf), {}, "reference must be finite"),
        (X, np.empty((0, 2)), {}, "reference must be a non-empty"),
        (X, object(), {}, "reference must be an array of numbers"),
        (X, X, {"p": 0.5}, "p must be a finite number >= 1"),
        (X, X, {"p": np.nan}, "p must be a finite number >= 1"),
        (X, X, {"p": np.inf}, "p must be a finite number >= 1"),
        (X, LAW, {"p": 3}, "p must be 1 or 2 for a sampled reference"),
        (X, X, {"weights": np.full(5, 0.2)}, "weights must have shape (6,)"),
        (X, X, {"weights": [0.5, 0.5, 0.5, 0.5, -0.5, -0.5]}, "weights must be >= 0"),
        (X, X, {"weights": np.full(6, np.nan)}, "weights must be >= 0"),
        (X, X, {"weights": np.full(6, 0.2)}, "weights must sum to 1"),
        (X, X, {"reference_weights": np.full(6, 1.0)}, "reference_weights must sum to 1"),
        (X, LAW, {"reference_weights": np.full(6, 1 / 6)}, "reference_weights needs a reference that is an array"),
        (X, X, {"cost": "taxicab"}, "allowed: euclidean"),
        (X, X, {"period": 0.0}, "period must be positive"),
        (X, X, {"period": (1.0, -1.0)}, "period must be positive"),
        (X, X, {"period": (1.0, np.nan)}, "period must be positive"),
        (X, X, {"period": (1.0,)}, "period has 1 entries"),
        (X, LAW, {"precision": 0.0}, "precision must be in (0, 1)"),
        (X, LAW, {"precision": 1.0}, "precision must be in (0, 1)"),
        (X, LAW, {"precision": np.nan}, "precision must be in (0, 1)"),
        (X, LAW, {"memory": 0}, "memory must be a positive"),
        (X, LAW, {"memory": 1000.0}, "use fewer points, or memory="),
        (X, LAW, {"memory": 3e4}, " or None, or memory="),
        (X, LAW, {"memory": 1000.0, "weights": np.arange(1, 7) / 21.0001}, "weights must sum to 1"),
        (X, LAW, {"memory": 1000.0, "weights": UNEQUAL}, "6 x 126 points needs about"),
        (X, X, {"memory": 1000.0}, "use fewer points"),
        (X, LAW, {"seed": -1}, "seed must be an integer >= 0"),
        (X, LAW, {"seed": 1.5}, "seed must be an integer >= 0"),
        (X, frozen, {}, "two draws of its sample are identical"),
        (X, lambda rng, m: rng.random((m, 3)), {}, "reference must return samples of shape"),
        (X, lambda rng, m: rng.random((m + 1, 2)), {}, "reference must return samples of shape"),
        (X, lambda rng, m: np.full((m, 2), np.nan), {}, "reference must return finite samples"),
        (X, lambda rng, m: object(), {}, "reference must return samples as an array of numbers, not object"),
        (X, lambda rng, m: [[1.0, 2.0], [3.0]], {}, "reference must return samples as an array of numbers, not list"),
        (X, X, {"weights": "equal"}, "weights must be an array of numbers"),
    ],
)
def test_bad_input(points, reference, options, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        wasserstein(points, reference, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "value"), [("mean", [0.5]), ("covariance", [1.0, 1.0]), ("mean", [0.5, np.nan])])
def test_bad_moments(name, value):
    law = Cube(2, moments=True)
    setattr(law, name, value)
    with pytest.raises(ValueError, match=f"reference.{name} must be a finite array"):
        wasserstein(X, law)


def test_a_moment_that_is_a_method():
    law = Cube(2)
    law.mean = lambda: np.full(2, 0.5)
    with pytest.raises(ValueError, match=r"reference\.mean must be an array of numbers of shape \(2,\)"):
        wasserstein(X, law)


@pytest.mark.parametrize("label", [pd.Series, xr.DataArray, pd.DataFrame])
def test_labelled_arrays_are_arrays(label):
    """They have methods sample and quantile, as laws do."""
    points, reference = np.random.default_rng(88).random((2, 9))
    assert wasserstein(label(points), label(reference)) == wasserstein(points, reference)


def test_labelled_arrays_of_points():
    points, reference = np.random.default_rng(89).random((2, 9, 3))
    expected = wasserstein(points, reference)
    assert wasserstein(points, pd.DataFrame(reference)) == wasserstein(points, xr.DataArray(reference)) == expected
    with pytest.raises(ValueError, match="reference must be finite"):
        wasserstein(points, pd.DataFrame(reference).replace(reference[0, 0], np.nan))


@pytest.mark.parametrize(("dimension", "p"), [(2, 2), (4, 2), (6, 1), (3, 1)])
@pytest.mark.parametrize("memory", [5e7, 1e8, 2e8])
def test_the_refusal_names_a_precision_that_fits(dimension, p, memory):
    many, law = np.zeros((2000, dimension)), Cube(dimension)
    with pytest.raises(ValueError, match="GiB") as caught:
        wasserstein(many, law, p, precision=0.001, memory=memory)
    assert "\n" not in str(caught.value)
    precision = re.search(r"use precision=(0\.\d+) or None, or memory=\d+$", str(caught.value)).group(1)

    def need(text):
        return semidiscrete.memory_needed(2000, semidiscrete.points_per_particle(dimension, p, float(text)), dimension)

    assert need(precision) <= memory < need(float(precision) / 1.2)


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("dimension", [2, 4, 6])
def test_the_table_gives_the_precision(dimension, p):
    """The width is C / k with C of the table, within a half: it is measured at one place and used at all."""
    x = np.random.default_rng([91, dimension]).random((300, dimension))
    precision = semidiscrete.WIDTH_CONSTANTS[p][semidiscrete.WIDTH_DIMENSIONS.index(dimension)] / 8
    result = wasserstein(x, Cube(dimension), p, precision=precision)
    assert result.reference_points == 300 * 8
    assert 0.5 * precision < (result.upper - result.lower) / result.estimate < 1.5 * precision


def test_what_no_precision_makes_fit_needs_fewer_points():
    with pytest.raises(ValueError, match=r"use at most (\d+) points, or memory=\d+$") as caught:
        wasserstein(np.zeros((10**6, 4)), Cube(4))
    assert "\n" not in str(caught.value)
    most = int(re.search(r"at most (\d+) points", str(caught.value))[1])
    needed = [semidiscrete.memory_needed(count, semidiscrete.LEAST_K, 4) for count in (most, most + 1)]
    assert needed[0] <= 2 * 2**30 < needed[1]
    for points, reference, memory in ((X, X, 1000.0), (np.zeros((10**4, 2)), np.ones((10**4, 2)), 1e6)):
        with pytest.raises(ValueError, match=r"use fewer points, or memory=\d+$"):
            wasserstein(points, reference, memory=memory)


PEAK = """
import re
import numpy as np
from mfstudy.transport.cost import Cost
from mfstudy.transport.semidiscrete import bracket

def peak_after(count):
    points = np.random.default_rng(0).random((count, {dimension}))
    bracket(points, lambda rng, m: rng.random((m, {dimension})), Cost(2), 4, np.random.default_rng(1))
    return 1024 * int(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read()).group(1))

idle = peak_after(300)
print(peak_after(10000) - idle)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize("dimension", [2, 6])
def test_memory_needed_is_what_a_bracket_takes(dimension):
    command = [sys.executable, "-c", PEAK.format(dimension=dimension)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert 0.6 < int(done.stdout) / semidiscrete.memory_needed(10000, 4, dimension) < 1.1


def test_k_is_at_least_two():
    with pytest.raises(ValueError, match="k must be"):
        semidiscrete.bracket(X, LAW.sample, Cost(2), 1, np.random.default_rng(0))
