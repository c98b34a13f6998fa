"""Rules of nodes: Gauss and Sobol against exact moments, the reference on either, and what is refused.

Sobol points are scrambled with fixed seeds: nothing here is random from run to run. Random points are the negative
control; that their error falls faster than n^-0.75 over a factor 256, an rms over 16 draws at either end, has a
probability below 1e-8.
"""

import itertools
import math
import re

import numpy as np
import pytest
from scipy import integrate
from test_flocking import BOX, CURVED, NORMAL, study

import mfstudy
from mfstudy.ensemble import Ensemble, Phase
from mfstudy.laws.ball import Ball
from mfstudy.laws.box import Box
from mfstudy.laws.clusters import Clusters
from mfstudy.laws.gaussian import Gaussian
from mfstudy.laws.monokinetic import Monokinetic
from mfstudy.laws.pareto import Pareto
from mfstudy.laws.student import Student
from mfstudy.meanfield import UnreachableError
from mfstudy.references import _pools, characteristics
from mfstudy.references._rules import certified
from mfstudy.velocities.linear import Linear

ATTRACTION = 'kind = "vlasov"\nkernel = {kind = "gaussian", strength = -2.0, width = 0.4}'


def moment(points, weights, powers):
    return float(weights @ np.prod(points ** np.array(powers), axis=1))


def interval(low, high, k):
    """E x^k for x uniform on an interval."""
    return (high ** (k + 1) - low ** (k + 1)) / ((k + 1) * (high - low))


def ball(d, powers):
    """E prod x_i^{k_i} over the unit ball, by Dirichlet's integral."""
    if any(k % 2 for k in powers):
        return 0.0
    halves = [(k + 1) / 2 for k in powers]
    top = math.prod(map(math.gamma, halves)) / math.gamma(sum(halves) + 1)
    return top * math.gamma(d / 2 + 1) / math.pi ** (d / 2)


def normal(k):
    """E x^k of the standard normal law."""
    return 0.0 if k % 2 else math.prod(range(k - 1, 0, -2)) * 1.0


CLUSTERS = Clusters(((-2.0,), (1.0,)), 0.5, 0.3, masses=(0.3, 0.7))
LAWS = {
    "box": (
        Box(1.5, 0.5),
        2,
        lambda k: math.prod(interval(-h, h, n) for h, n in zip((1.5, 1.5, 0.5, 0.5), k, strict=True)),
    ),
    "gaussian": (
        Gaussian(0.8, 0.5, (0.0, 0.0)),
        2,
        lambda k: math.prod(s**n * normal(n) for s, n in zip((0.8, 0.8, 0.5, 0.5), k, strict=True)),
    ),
    "ball": (Ball(2.0, 1.0), 3, lambda k: 2.0 ** sum(k[:3]) * ball(3, k[:3]) * ball(3, k[3:])),
    "clusters": (
        CLUSTERS,
        1,
        lambda k: (0.3 * interval(-2.5, -1.5, k[0]) + 0.7 * interval(0.5, 1.5, k[0])) * interval(-0.3, 0.3, k[1]),
    ),
    "monokinetic": (
        Monokinetic(Box(1.5), Linear(rate=0.5)),
        2,
        lambda k: 0.5 ** (k[2] + k[3]) * interval(-1.5, 1.5, k[0] + k[2]) * interval(-1.5, 1.5, k[1] + k[3]),
    ),
}


@pytest.mark.parametrize("name", LAWS)
def test_gauss_rules_are_exact_to_their_degree_and_no_further(name):
    law, d, exact = LAWS[name]
    rule, level = law.on(Phase(d, d)).nodes(4), 4
    assert abs(rule.weights.sum() - 1) < 1e-14
    assert rule.weights.min() > 0
    powers = [k for k in itertools.product(range(8), repeat=2 * d) if sum(k) <= 2 * level - 1]
    for k in powers[:: max(1, len(powers) // 300)]:
        scale = moment(np.abs(rule.points), rule.weights, k)
        assert abs(moment(rule.points, rule.weights, k) - exact(k)) < 1e-13 * max(scale, 1e-3)
    beyond = (2 * level, *(0,) * (2 * d - 1))
    assert abs(moment(rule.points, rule.weights, beyond) / exact(beyond) - 1) > 1e-8  # round-off is 1e-14


def wave(rule, k, period):
    return rule.weights @ np.exp(2j * np.pi * rule.points[:, :2] @ np.asarray(k) / period)


def test_on_the_torus_the_rule_is_the_trapezoidal_one():
    """Exact for trigonometric polynomials of degree < level; Gauss nodes are not, nor are shorter or longer boxes."""
    period, level = 3.0, 9
    filled = Box(1.5, 0.5).on(Phase(2, 2, (period, None))).nodes(level, 2)
    along = np.unique(filled.points[:, 0])
    np.testing.assert_allclose(np.diff(along), period / level, rtol=1e-12)
    for k in range(1, level):
        assert abs(wave(filled, (k, 0), period)) < 1e-14
    assert abs(wave(filled, (level, 0), period)) > 0.99  # the first one that it cannot tell from a constant
    gauss, across = Box(1.5, 0.5).on(Phase(2, 2)).nodes(level, 2), np.unique(filled.points[:, 1])
    assert abs(wave(gauss, (level - 1, 0), period)) > 0.01
    np.testing.assert_array_equal(across, np.unique(gauss.points[:, 1]))
    part = Box(1.4, 0.5).on(Phase(2, 2, (period, period))).nodes(level, 2)
    np.testing.assert_array_equal(part.points, Box(1.4, 0.5).on(Phase(2, 2)).nodes(level, 2).points)
    # The moments that it needs as a law are those of the box: only the rule is another.
    assert Box(1.5, 0.5).on(Phase(2, 2, (period, None))).moment(2) == Box(1.5, 0.5).on(Phase(2, 2)).moment(2)


def errors(law, exact, sizes, points):
    """Return the largest relative error of the second and fourth moments and of a mixed one, for each size."""
    D = len(law.mean)
    powers = [tuple(n * (i == a) for i in range(D)) for a in range(D) for n in (2, 4)]
    if D > 2:
        powers.append((2, 2, *(0,) * (D - 2)))
    rules = (points(size) for size in sizes)
    return np.array([[abs(moment(*rule, k) / exact(k) - 1) for k in powers] for rule in rules]).max(axis=1)


@pytest.mark.parametrize("name", LAWS)
def test_sobol_points_converge_like_1_over_n(name):
    component, d, exact = LAWS[name]
    law = component.on(Phase(d, d))

    def sobol(seed, level):
        rule = law.quasi(np.random.default_rng(seed), level)
        assert abs(rule.weights.sum() - 1) < 1e-14
        return rule.points, rule.weights

    def random(seed, level):
        points = law.sample(np.random.default_rng(seed), 2**level).points
        return points, np.full(len(points), 1 / len(points))

    def order(points):
        rms = [
            math.sqrt(np.mean([errors(law, exact, [n], lambda n, s=s: points(s, n))[0] ** 2 for s in range(16)]))
            for n in (7, 15)
        ]
        return math.log(rms[0] / rms[1]) / math.log(2**8), rms[1]

    (fast, error), (slow, plain) = order(sobol), order(random)
    assert fast > 0.9
    assert slow < 0.75  # the negative control: 1/2
    assert error < plain / 10


def test_sobol_points_have_the_masses_of_clusters_exactly_and_lie_inside():
    law = CLUSTERS.on(Phase(1, 1))
    rule = law.quasi(np.random.default_rng(0), 5)
    assert rule.size == 64
    left = rule.points[:, 0] < 0
    assert abs(rule.weights[left].sum() - 0.3) < 1e-15
    for some, centre in ((left, -2.0), (~left, 1.0)):
        assert np.abs(rule.points[some] - [centre, 0]).max(axis=0) == pytest.approx([0.5, 0.3], rel=0.05)
        # One point in each of the 32 slices of the box along an axis: a net, scrambled or not.
        slices = np.floor((rule.points[some, 0] - centre + 0.5) * 32)
        np.testing.assert_array_equal(np.sort(slices), np.arange(32))
    assert not np.array_equal(rule.points[left, 0] + 3, rule.points[~left, 0])  # scrambled anew


@pytest.mark.parametrize("law", [Pareto(3.0), Student(3.0, 1.0)])
def test_sobol_points_of_heavy_tails_are_quantiles_and_finite(law):
    bound = law.on(Phase(1, 0))
    rule = bound.quasi(np.random.default_rng(0), 10)
    assert np.isfinite(rule.points).all()
    # Each of 1024 cells of equal probability holds one point.
    edges = bound.quantile(np.arange(1, 1024) / 1024)
    np.testing.assert_array_equal(np.sort(np.searchsorted(edges, rule.points[:, 0])), np.arange(1024))


def reference(**keys):
    text = "".join(f"\n{key} = {value!r}" for key, value in keys.items())
    return f'kind = "characteristics"{text}'


def driven(problem, shared, starts):
    x, v = np.split(starts, 2, axis=1)
    states = dict(enumerate(problem.meanfield(shared).tracers(Ensemble(x, v))))
    return states[problem.time.steps[-1]].ensemble.points


@pytest.mark.parametrize(("dim", "law", "tolerance"), [(1, BOX, 3e-6), (1, NORMAL, 3e-5), (2, BOX, 2e-4)])
def test_sobol_and_tensor_references_agree_within_their_errors(dim, law, tolerance):
    options = {"dim": dim, "save": (1.0,), "step": 0.05}
    tensor = study(CURVED, law, "coupling", reference=reference(tolerance=tolerance, rule="tensor"), **options).problem
    sobol = study(CURVED, law, "coupling", reference=reference(tolerance=tolerance, rule="sobol"), **options).problem
    solved = [problem.solve() for problem in (tensor, sobol)]
    assert np.ptp(solved[1]["weights"]) == 0  # these are Sobol points
    assert np.ptp(solved[0]["weights"]) > 0
    starts = tensor.initial.sample(np.random.default_rng(1), 4000).points
    some, others = (driven(problem, shared, starts) for problem, shared in zip((tensor, sobol), solved, strict=True))
    apart = math.sqrt(np.mean(np.sum((some - others) ** 2, axis=1)))
    bounds = [shared["errors"][-1, :3].sum() for shared in solved]
    assert 1e-3 * tolerance < apart <= sum(bounds)
    assert max(bounds) <= tolerance
    assert sobol.meanfield(solved[1]).valid_until == 1.0


def test_certified_errors_of_sobol_bound_the_true_ones():
    """At every size, by the tensor's field as truth."""
    problem = study(CURVED, BOX, "coupling", save=(1.0,), step=0.05, reference=reference(tolerance=1e-2)).problem
    dynamics = problem.system.dynamics(problem.initial, 1.0, None)
    truth = characteristics._push(dynamics, problem.initial.nodes(64, 24), problem.time)
    rules = [problem.initial.quasi(np.random.default_rng(level), level) for level in range(8, 15)]
    pushed = [characteristics._push(dynamics, rule, problem.time) for rule in rules]

    def distance(solution, fields):
        *_, last = characteristics._drive(dynamics, solution.nodes, problem.time, fields)
        return characteristics._distance(solution.saved, [last.ensemble.points], solution.weights)[-1]

    true = np.array([distance(truth, one.fields) for one in pushed])
    apart = np.array([distance(fine, coarse.fields) for coarse, fine in itertools.pairwise(pushed)])
    reported = certified("sobol", apart, np.append(math.inf, apart[:-1]))
    assert reported[0] == math.inf  # not from one distance: two rules may be close by chance
    assert np.all(true[1:-1] <= reported[1:])
    assert np.all(true[2:] <= reported[1:])  # the finer one is used
    assert np.median(reported[1:] / true[1:-1]) < 4  # and the report is not vain
    assert np.polyfit(np.log(2.0) * np.arange(8, 15), np.log(true), 1)[0] < -0.9


def test_rules_that_are_not_chosen_leave_the_identity_alone_and_chosen_ones_change_it():
    plain, tensor, sobol = (
        study(CURVED, BOX, "coupling", reference=reference(**keys)).problem
        for keys in ({}, {"rule": "tensor"}, {"rule": "sobol"})
    )
    assert "rule" not in plain.canonical["reference"]
    assert len({plain.identity, tensor.identity, sobol.identity}) == 3
    with pytest.raises(ValueError, match=r"rule: .*allowed: 'tensor', 'sobol'"):
        study(CURVED, BOX, "coupling", reference=reference(rule="sobel"))


def filaments(tolerance, save=(0.5, 1.0, 2.0, 4.0, 6.0), **keys):
    """Return a problem whose particles turn in their own well, faster inside: rho^t is wound up."""
    text = reference(tolerance=tolerance, **keys)
    return study(ATTRACTION, BOX, "coupling", save=save, step=0.025, reference=text).problem


@pytest.mark.parametrize("rule", ["tensor", None])
def test_filaments_are_refused_with_the_horizon_and_the_advice_helps(monkeypatch, rule):
    monkeypatch.setattr(characteristics, "MOST_NODES", 5000)
    keys = {} if rule is None else {"rule": rule}
    with pytest.raises(UnreachableError, match=r"^reference: with \d+ nodes ") as caught:
        filaments(1e-5, **keys).solve()
    message = str(caught.value)
    assert "\n" not in message
    found = re.search(r"after t = (\S+) \((\S+) at t = (\S+): rho\^t has become filaments", message)
    assert [float(found[i]) for i in (1, 3)] == [2.0, 4.0]
    assert ("sobol nodes" in message) == (rule is None)
    last, looser = re.search(r"allowed: a last save time of (\S+), or a tolerance of (\S+)$", message).groups()
    for problem in (filaments(1e-5, (0.5, 1.0, float(last)), **keys), filaments(float(looser), **keys)):
        shared = problem.solve()
        total = shared["errors"][:, :3].sum(axis=1)
        assert total.max() <= problem.reference.tolerance
        assert problem.meanfield(shared).valid_until == problem.time.horizon


def test_the_error_of_filaments_grows_with_time_and_falls_with_the_nodes(monkeypatch):
    errors = []
    for pair in (characteristics.LEVELS[6:8], characteristics.LEVELS[8:10]):
        monkeypatch.setattr(characteristics, "LEVELS", pair)
        errors.append(filaments(0.9).solve()["errors"][:, 0])
    assert np.all(errors[1][3:] > 100 * errors[1][2])  # t = 4 and 6 against t = 2
    assert np.all(errors[1][2:] < 0.5 * errors[0][2:])
    # Free flow in the same time winds nothing up: the negative control.
    free = study(
        CURVED, BOX, "coupling", save=(0.5, 1.0, 2.0, 4.0, 6.0), step=0.025, reference=reference(tolerance=0.9)
    )
    assert free.problem.solve()["errors"][:, 0].max() < 1e-9


def test_a_stored_field_is_valid_while_its_error_is_within_the_tolerance():
    problem = filaments(1e-2, (0.5, 1.0, 2.0))
    shared = dict(problem.solve())
    assert problem.meanfield(shared).valid_until == 2.0
    worse = shared["errors"].copy()
    worse[1, 1] = 0.02
    assert problem.meanfield(shared | {"errors": worse}).valid_until == 0.5
    assert problem.meanfield(shared | {"errors": worse + 1}).valid_until == -math.inf


def test_a_tensor_over_the_budget_says_its_size_and_offers_sobol(monkeypatch):
    monkeypatch.setattr(characteristics, "MOST_NODES", 5000)

    def problem(**keys):
        text = reference(tolerance=1e-2, **keys)
        return study(CURVED, BOX, "coupling", dim=3, save=(0.5,), step=0.1, reference=text).problem

    with pytest.raises(UnreachableError, match=r"not two rules .*27000 nodes, 0\.\d+ GiB; allowed: 5000") as caught:
        problem(rule="tensor").solve()
    assert str(caught.value).endswith('or rule = "sobol"')
    assert "\n" not in str(caught.value)
    shared = problem().solve()
    assert shared["weights"].shape == (4096,)
    assert shared["errors"][:, :3].sum(axis=1).max() <= 1e-2


def test_the_memory_of_a_task_bounds_the_rules(monkeypatch):
    monkeypatch.setattr(characteristics, "MEMORY", 5e4)  # of 364 bytes a node at one save time
    problem = study(CURVED, BOX, "coupling", save=(1.0,), step=0.01, reference=reference(tolerance=1e-10)).problem
    with pytest.raises(UnreachableError, match=r"90 tensor nodes: \S+, the next rule has 144 nodes") as caught:
        problem.solve()
    assert "\n" not in str(caught.value)


def test_a_refusal_leaves_nothing_behind(monkeypatch, tmp_path):
    text = (
        'schema = 1\nname = "f"\nseed = 1\n[system]\n'
        + ATTRACTION
        + "\ndim = 1\n[law]\n"
        + BOX
        + "\n[reference]\nkind = 'characteristics'\nrule = 'sobol'\ntolerance = 1e-5\n"
        "[time]\nsave = [0.5, 2.0]\nstep = 0.05\n[[observable]]\nkind = 'coupling'\n"
        "[sweep]\nsizes = [10]\nreplicates = 2\n"
    )
    monkeypatch.setattr(characteristics, "MOST_NODES", 5000)
    study_file = tmp_path / "f.toml"
    study_file.write_text(text)
    with pytest.raises(UnreachableError, match=r"^reference: with \d+ nodes"):
        mfstudy.run(study_file, store=tmp_path / "new", part=(1, 1))
    assert [path.name for path in tmp_path.iterdir()] == ["f.toml"]


@pytest.mark.parametrize("dim", [1, 2])
def test_no_number_of_a_pool_depends_on_the_pieces_in_which_it_is_pushed(monkeypatch, dim):
    problem = study(
        CURVED, BOX, "coupling", dim=dim, save=(1.0,), step=0.1, reference=reference(tolerance=1e-3)
    ).problem
    rho = problem.meanfield(problem.solve()).at(0)
    whole = rho.sample(np.random.default_rng(3), 5000)
    monkeypatch.setattr(_pools, "PIECE", {1: 700, 2: 700})
    np.testing.assert_array_equal(rho.sample(np.random.default_rng(3), 5000), whole)


@pytest.mark.parametrize(("dim", "count"), [(1, 10), (1, 150_000), (2, 150_000), (3, 150_000)])
def test_pieces_hold_each_point_once(dim, count):
    positions = np.random.default_rng(0).normal(size=(count, dim))
    found = _pools.pieces(positions)
    np.testing.assert_array_equal(np.sort(np.concatenate(found)), np.arange(count))
    assert len(found) == (3 if count > 10 and dim < 3 else 1)
    assert len(_pools.pieces(np.zeros((count, dim)))) == len(found)


def test_moments_of_the_ball_in_the_plane_by_quadrature():
    """Dirichlet's integral, which judges the rules above, against SciPy."""
    value, _ = integrate.dblquad(
        lambda y, x: x**2 * y**4, -1, 1, lambda x: -math.sqrt(1 - x**2), lambda x: math.sqrt(1 - x**2)
    )
    assert value / math.pi == pytest.approx(ball(2, (2, 4)), rel=1e-8)
