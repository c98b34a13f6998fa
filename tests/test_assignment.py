"""The exact solver behind brackets: tree queries against brute force, optima and potentials against POT, controls.

Every optimum is compared with POT's network simplex, every potential with all pairs, both from cost matrices.
"""

import numpy as np
import ot
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mfstudy.transport import auction, multiscale, paths, tree
from mfstudy.transport.bracket import UncertifiedError
from mfstudy.transport.cost import Cost
from mfstudy.transport.multiscale import assign

MANY = settings(max_examples=150, deadline=None, derandomize=True)
SIZE = 200


# Searches in the tree

TREE_COSTS = [
    *((dimension, Cost(p)) for dimension in range(1, 7) for p in (1, 2, 3)),
    *((dimension, Cost(p, None, dimension // 2)) for dimension in (2, 4, 6) for p in (1, 2, 3)),
    *((3, Cost(p, (1.0, None, 0.4))) for p in (1, 2, 3)),
    *((4, Cost(p, (1.0, None, 2.0, 0.1), 2)) for p in (1, 2, 3)),
    (1, Cost(2, (0.7,))),
]


def tree_points(count, dimension, cost, seed, duplicates):
    rng = np.random.default_rng([count, dimension, seed])
    x = rng.standard_normal((count, dimension)) if seed % 2 else rng.random((count, dimension)) * 3 - 1
    return cost.wrapped(np.round(x * 3) / 3 if duplicates else x)


@pytest.mark.parametrize(("dimension", "cost"), TREE_COSTS, ids=str)
@pytest.mark.parametrize("duplicates", [False, True])
def test_searches_against_brute_force(dimension, cost, duplicates):
    for count in (1, 2, 15, 17, 33, 100, 500):
        x = tree_points(count, dimension, cost, 1, duplicates)
        y = tree_points(60, dimension, cost, 2, duplicates)
        built = tree.build(x, cost)
        phi = np.random.default_rng(3).standard_normal(count) * (0.0 if duplicates else 0.5)
        reduced = cost.matrix(x[built.order], y) - phi[:, None]
        columns, most = np.arange(len(y)), min(count, 9)
        guess = np.random.default_rng(4).integers(-1, count, len(y)).astype(np.int32)
        for start in (None, guess):
            values, index = tree.nearest(built, y, phi, start)
            np.testing.assert_allclose(values, reduced.min(axis=0), rtol=0, atol=1e-12)
            np.testing.assert_allclose(reduced[index, columns], values, rtol=0, atol=1e-12)
        index, values = tree.several(built, y, phi, most)
        np.testing.assert_allclose(values, np.sort(reduced, axis=0)[:most].T, rtol=0, atol=1e-12)
        np.testing.assert_allclose(reduced[index, columns[:, None]], values, rtol=0, atol=1e-12)
        assert all(len(set(row)) == most for row in index)


@pytest.mark.parametrize("count", [1, 2, 16, 17, 100, 500])
def test_every_point_is_in_one_leaf_and_inside_its_boxes(count):
    x = tree_points(count, 3, Cost(2), 5, count == 100)
    built = tree.build(x, Cost(2))
    assert sorted(built.order) == list(range(count))
    np.testing.assert_array_equal(built.points.T, x[built.order])
    for node, (start, end) in enumerate(zip(built.start, built.end, strict=True)):
        inside = built.points.T[start:end]
        assert np.all((built.low[node] <= inside) & (inside <= built.high[node]))
        assert node < built.leaves or end - start <= 16
    order = tree.sort(built, x)
    assert sorted(order) == list(range(count))


# Optima

UNIFORM = {dimension: (lambda g, n, d=dimension: g.random((n, d))) for dimension in (2, 3, 4, 6)}


def gauss(dimension):
    return lambda g, n: g.standard_normal((n, dimension))


def blocks(dimension, columns, rows):
    """Return unit cubes 3 apart."""

    def sample(g, n):
        y = g.random((n, dimension))
        y[:, 0] += 3 * g.integers(columns, size=n)
        y[:, 1] += 3 * g.integers(rows, size=n)
        return y

    return sample


def student(dimension, isotropic):
    def sample(g, n):
        if isotropic:
            return g.standard_normal((n, dimension)) * np.sqrt(3 / g.chisquare(3, n))[:, None]
        return g.standard_t(3, (n, dimension))

    return sample


def curve(g, n):
    t = 6 * g.random(n)
    return np.stack([np.cos(t), np.sin(t), np.cos(2 * t), t / 6], axis=1)


def plane(g, n):
    return g.random((n, 2)) @ np.array([[1, 0, 0.5, 0.2], [0, 1, -0.3, 0.7]])


def anisotropic(dimension):
    return lambda g, n: g.random((n, dimension)) * np.append(100.0, np.ones(dimension - 1))


def turned(x):
    c, s, y = np.cos(0.5), np.sin(0.5), x - x.mean(axis=0)
    y[:, :2] = y[:, :2] @ np.array([[c, s], [-s, c]])
    return y + 0.5


def same(x):
    return x


#: Name: sampler of both sides, and what is done to the particles.
CASES = {
    **{f"uniform-{d}": (UNIFORM[d], same) for d in (2, 3, 4, 6)},
    **{f"gauss-{d}": (gauss(d), same) for d in (2, 4, 6)},
    **{f"two-{d}": (blocks(d, 2, 1), same) for d in (2, 4)},
    **{f"six-{d}": (blocks(d, 3, 2), same) for d in (2, 4)},
    **{f"student-{d}-{isotropic}": (student(d, isotropic), same) for d in (2, 4) for isotropic in (False, True)},
    **{f"anisotropic-{d}": (anisotropic(d), same) for d in (2, 4)},
    **{
        f"{name}-{d}": (UNIFORM[d], change)
        for d in (2, 4)
        for name, change in {
            "shrunk": lambda x: 0.8 * x,
            "shifted": lambda x: x + 0.5,
            "far": lambda x: x + 10.0,
            "turned": turned,
            "tiny": lambda x: 1e-3 * x,
            "doubled": lambda x: np.repeat(x[::2], 2, axis=0),
            "ten atoms": lambda x: np.repeat(x[:10], len(x) // 10, axis=0),
            "lattice": lambda x: np.round(8 * x) / 8,
            "one atom": lambda x: np.full_like(x, 0.3),
        }.items()
    },
    "curve": (curve, same),
    "plane": (plane, same),
    "plane to cube": (UNIFORM[4], lambda x: np.concatenate([x[:, :2], 0 * x[:, 2:] + 0.5], axis=1)),
    "curve to cube": (UNIFORM[4], lambda x: np.repeat(x[:, :1], 4, axis=1)),
    "cube to curve": (curve, lambda x: np.random.default_rng(7).random(x.shape)),
}


def assert_optimal(x, places, y, cost):
    """Cost as of POT, places filled, potentials feasible over all pairs and tight along the plan."""
    x, y = cost.wrapped(x), cost.wrapped(y)
    solved, pairs = assign(x, places, y, cost), cost.matrix(x, y)
    scale = 2.0 ** (20 - np.frexp(pairs.max())[1]) if pairs.max() else 1.0  # POT stops at an absolute tolerance
    truth = ot.emd2(places.astype(float), np.ones(len(y)), scale * pairs, numItermax=10**8) / scale / len(y)
    assert solved.cost == pytest.approx(truth, rel=1e-12, abs=1e-300)
    np.testing.assert_array_equal(np.bincount(solved.owner, minlength=len(x)), places)
    phi, largest = solved.potential.values, pairs.max()
    slack = pairs - phi[:, None] - solved.psi
    assert slack.min() >= -1e-12 * largest
    assert np.abs(slack[solved.owner, np.arange(len(y))]).max() <= 1e-12 * largest
    psi, near = solved.potential.transform(y, solved.owner)
    np.testing.assert_allclose(psi, solved.psi, rtol=0, atol=1e-12 * largest)
    np.testing.assert_allclose(slack[near, np.arange(len(y))], 0.0, atol=1e-12 * largest)
    assert 0 <= solved.residual <= multiscale.CERTIFICATE
    assert places @ phi / len(y) + solved.psi.mean() == pytest.approx(truth, rel=1e-11, abs=1e-13 * largest)


def case(name, k, seed=3):
    sampler, change = CASES[name]
    rng = np.random.default_rng(seed)
    return change(sampler(rng, SIZE)), np.full(SIZE, k), sampler(rng, k * SIZE)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("k", [1, 4])
def test_optima_against_pot(name, k):
    x, places, y = case(name, k)
    for p in (1, 2):
        assert_optimal(x, places, y, Cost(p))


@pytest.mark.parametrize("name", [name for name in CASES if "4" in name or "cu" in name])
def test_kinetic_optima_against_pot(name):
    x, places, y = case(name, 2)
    for p in (1, 3):
        assert_optimal(x, places, y, Cost(p, None, 2))


@pytest.mark.parametrize("name", ["uniform-3", "gauss-4", "shifted-4", "lattice-4", "doubled-2", "far-2", "six-2"])
def test_optima_on_the_torus_against_pot(name):
    x, places, y = case(name, 2)
    periods = (1.0, None, 0.7, 1.3)[: x.shape[1]]
    for p in (1, 2, 3):
        assert_optimal(x, places, y, Cost(p, periods))
    if x.shape[1] == 4:
        assert_optimal(x, places, y, Cost(1, periods, 2))


@pytest.mark.parametrize("name", ["shrunk-2", "shifted-2", "far-2", "tiny-2", "uniform-2", "lattice-2"])
@pytest.mark.parametrize("k", [1, 4])
def test_sums_of_lengths_in_the_plane(name, k):
    """|x - y| + |v - w| with no point of one cloud below one of the other: every assignment has the same cost."""
    assert_optimal(*case(name, k), Cost(1, None, 1))


@pytest.mark.parametrize("distance", [0.0, 0.3, 2.0])
def test_lengths_on_the_line(distance):
    """p = 1 in D = 1: assignments that cross cost the same as those that do not."""
    rng = np.random.default_rng(11)
    assert_optimal(rng.random((SIZE, 1)), np.full(SIZE, 4), rng.random((4 * SIZE, 1)) + distance, Cost(1))


@pytest.mark.parametrize("p", [1, 2, 3])
def test_reference_points_that_are_all_equal(p):
    rng = np.random.default_rng(12)
    for count in (9, SIZE):
        assert_optimal(rng.random((count, 2)), np.full(count, 2), np.full((2 * count, 2), 0.3), Cost(p))


@pytest.mark.parametrize("p", [1, 2, 3])
@pytest.mark.parametrize("count", [2, 3, 17, 64, 130, 257])
def test_unequal_places(p, count):
    rng = np.random.default_rng([13, count])
    places = rng.integers(1, 9, count)
    places[0] = 5 * count
    assert_optimal(rng.standard_normal((count, 2)), places, rng.standard_normal((places.sum(), 2)), Cost(p))


@pytest.mark.parametrize("p", [1, 2, 3])
def test_identical_particles_share_their_places(p):
    rng = np.random.default_rng(14)
    x = rng.integers(0, 3, (90, 2)).astype(float)
    places = rng.integers(1, 5, 90)
    assert_optimal(x, places, 2 * rng.random((places.sum(), 2)), Cost(p))


@pytest.mark.parametrize("p", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_one_particle_and_clouds_that_are_one_point(p, count, spread):
    """One particle against M points, one of one, and all points in one place: with nothing to choose."""
    y = 0.3 + spread * np.random.default_rng(15).random((count, 3))
    assert_optimal(np.full((1, 3), 0.3), np.array([count]), y, Cost(p))
    assert_optimal(np.full((count, 3), 0.3), np.ones(count, np.int64), y, Cost(p))
    assert_optimal(np.zeros((count, 3)), np.ones(count, np.int64), np.zeros((count, 3)), Cost(p))


@pytest.mark.parametrize("p", [1, 2, 3])
@pytest.mark.parametrize("move", [0.0, 1e-12, 1e-7, 1e6])
def test_a_cloud_and_its_translate(p, move):
    """The translation is optimal: cost (|s| sqrt D)^p; coordinates of size s are only known to 1e-16 s."""
    x = np.random.default_rng(16).random((SIZE, 3))
    solved = assign(x, np.ones(SIZE, np.int64), x[::-1] + move, Cost(p))
    assert solved.cost == pytest.approx((move * 3**0.5) ** p, rel=1e-9 if move >= 1e-7 else 1e-3, abs=0.0)


@pytest.mark.parametrize("p", [1, 2, 3])
def test_a_lattice_moved_by_half_a_step(p):
    """Ties everywhere; each point is 2^-1/2 from its nearest, and the translation attains that."""
    x = np.stack(np.meshgrid(np.arange(15.0), np.arange(15.0)), axis=-1).reshape(-1, 2)
    assert assign(x, np.ones(225, np.int64), x + 0.5, Cost(p)).cost == pytest.approx(0.5 ** (p / 2), rel=1e-12)


@pytest.mark.parametrize("p", [1, 2, 3])
@pytest.mark.parametrize("factor", [1e-6, 1e6, 2.0**-40, 2.0**40])
def test_units_do_not_matter(p, factor):
    x, places, y = case("uniform-3", 4)
    here, there = (assign(f * x, places, f * y, Cost(p)) for f in (1.0, factor))
    np.testing.assert_array_equal(here.owner, there.owner)
    assert there.cost == pytest.approx(factor**p * here.cost, rel=1e-12)


@pytest.mark.parametrize("cost", [Cost(1), Cost(2), Cost(3), Cost(2, (1.0, 1.0, 1.0))], ids=str)
def test_the_origin_does_not_matter(cost):
    x, places, y = case("uniform-3", 4)
    move = np.array([0.37, -4.0, 12.25])
    here, there = (assign(cost.wrapped(x + s), places, cost.wrapped(y + s), cost) for s in (0 * move, move))
    np.testing.assert_array_equal(here.owner, there.owner)
    assert there.cost == pytest.approx(here.cost, rel=1e-12)


@pytest.mark.parametrize("cost", [Cost(2), Cost(1), Cost(1, None, 2), Cost(2, (1.0,) * 4)], ids=str)
def test_same_input_same_bytes(cost):
    x, places, y = case("uniform-4", 4)
    first, second = (assign(x.copy(), places, y.copy(), cost) for _ in range(2))
    assert first.cost == second.cost
    for a, b in ((first.owner, second.owner), (first.psi, second.psi)):
        assert a.tobytes() == b.tobytes()
    assert first.potential.values.tobytes() == second.potential.values.tobytes()


@MANY
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 3), st.integers(1, 4), st.sampled_from([1, 2, 3]))
def test_small_whole_coordinates(seed, count, k, dimension, p):
    """Many ties and many identical points."""
    rng = np.random.default_rng(seed)
    x, y = (rng.integers(0, 4, (n, dimension)).astype(float) for n in (count, k * count))
    split = dimension // 2 if seed % 2 else 0
    periods = (4.0,) * dimension if seed % 3 == 0 else None
    assert_optimal(x, np.full(count, k), y, Cost(p, periods, split))


# Controls: what is not optimal is not a number


def damaged(monkeypatch, damage):
    """Let ``damage(state)`` follow the exact end of each solve."""
    real = paths.finish

    def finish(built, points, state):
        done = real(built, points, state)
        damage(state)
        return done

    monkeypatch.setattr(multiscale, "finish", finish)


def raise_potential(state):
    state.phi[7] += 0.1


def swap_owners(state):
    """Give two reference points each other's particle, at the true costs: both lists hold both particles."""
    held = state.candidates[np.arange(len(state.owner)), state.owner]
    for m in range(len(held)):
        for q in range(state.candidates.shape[1]):
            others = np.flatnonzero(held == state.candidates[m, q])
            for n in others[held[others] != held[m]]:
                back = np.flatnonzero(state.candidates[n] == held[m])
                if len(back):
                    state.owner[m], state.owner[n] = q, back[0]
                    return
    raise AssertionError("no two reference points can be swapped")


def cheapen(state):
    """Owners swapped, and the lists claim that both pay what their particles' potentials allow."""
    before = state.costs[np.arange(len(state.owner)), state.owner].copy()
    old = state.owner.copy()
    swap_owners(state)
    for m in np.flatnonzero(state.owner != old):
        change = state.phi[state.candidates[m, state.owner[m]]] - state.phi[state.candidates[m, old[m]]]
        state.costs[m, state.owner[m]] = before[m] + change


@pytest.mark.parametrize("damage", [raise_potential, swap_owners, cheapen])
@pytest.mark.parametrize("p", [1, 2])
def test_a_damaged_optimum_is_not_a_number(monkeypatch, damage, p):
    x, places, y = case("uniform-2", 1)
    damaged(monkeypatch, damage)
    with pytest.raises(UncertifiedError, match=r"not certified: residual .*, allowed 1e-09$"):
        assign(x, places, y, Cost(p))


@pytest.mark.parametrize("p", [1, 2])
def test_an_overfull_particle_is_not_a_number(monkeypatch, p):
    """Without paths all reference points sit at their best particles: cheap, dual feasible, and no transport plan."""
    x, places, y = case("uniform-2", 4)
    monkeypatch.setattr(paths.engine, "augment", lambda state: True)
    with pytest.raises(UncertifiedError, match="not certified"):
        assign(x, places, y, Cost(p))


@pytest.mark.parametrize("p", [1, 2])
def test_lists_without_candidates_are_not_a_number(monkeypatch, p):
    """Lists of the particle held and nothing else, said to be complete: the tree knows better."""

    def finish(built, points, state):
        rows = np.arange(len(state.owner))
        state.candidates[:] = state.candidates[rows, state.owner][:, None]
        state.costs[:] = state.costs[rows, state.owner][:, None]
        state.beyond[:] = auction.FAR
        return paths.finish(built, points, state)

    monkeypatch.setattr(multiscale, "finish", finish)
    x, places, y = case("uniform-2", 4)
    with pytest.raises(UncertifiedError, match="not certified: residual"):
        assign(x, places, y, Cost(p))


def test_a_bound_that_is_too_low_only_costs_searches(monkeypatch):
    x, places, y = case("uniform-2", 4)
    truth = assign(x, places, y, Cost(2)).cost
    real = paths.finish

    def finish(built, points, state):
        state.beyond[:] -= 1.0
        return real(built, points, state)

    monkeypatch.setattr(multiscale, "finish", finish)
    assert assign(x, places, y, Cost(2)).cost == pytest.approx(truth, rel=1e-12)


def test_an_auction_that_does_not_end_is_not_a_number(monkeypatch):
    monkeypatch.setattr(auction, "PHASES", 1)
    with pytest.raises(UncertifiedError, match="not certified: the auction did not end in 1 phases"):
        assign(*case("uniform-2", 4), Cost(2))


def test_paths_that_do_not_end_are_not_a_number(monkeypatch):
    monkeypatch.setattr(paths, "ROUNDS", 0)
    with pytest.raises(UncertifiedError, match="not certified: particles remain") as caught:
        assign(*case("uniform-2", 4), Cost(2))
    assert "\n" not in str(caught.value)


def test_lists_hold_true_costs_where_reduced_costs_vanish():
    """A constant added to the potentials changes nothing: also not the one that makes the worst of a list 0."""
    rng, cost = np.random.default_rng(17), Cost(2)
    x, y = rng.random((SIZE, 3)), rng.random((SIZE, 3))
    built = tree.build(x, cost)
    state = auction.market(built, SIZE, np.zeros(SIZE), np.ones(SIZE, np.int64))
    auction.auction(built, y, state, 0.1, 1e-4)
    pairs, rows = cost.matrix(x[built.order], y), np.arange(SIZE)
    for m in range(SIZE):
        shift = (state.costs[m] - state.phi[state.candidates[m]]).max()
        state.phi[:] += shift
        state.top[:] += shift
        state.beyond[:] -= shift
        state.beyond[m] = -1e9
        paths.engine.choose(built, y, state, True)
        np.testing.assert_allclose(state.costs, pairs[state.candidates, rows[:, None]], rtol=0, atol=1e-9)
