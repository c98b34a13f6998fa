"""Particles that interact, end to end: linear systems in closed form, failures, the same bytes, bad input.

False alarms: the statistical tests reject at z = 4.5 or its exact counterpart, 7e-6 each and 2e-4 together; the seeds
are fixed.
"""

import dataclasses
from functools import lru_cache

import numpy as np
import pytest
from scipy import integrate, stats
from scipy.optimize import linear_sum_assignment

import mfstudy
from mfstudy.components import InputError
from mfstudy.ensemble import Ensemble
from mfstudy.forces.fourier import Region
from mfstudy.integrate import motion
from mfstudy.observables import Status
from mfstudy.replicate import field_names, run_block
from mfstudy.streams import Purpose, stream
from mfstudy.study import Block, Point, Problem, parse

#: Probability of each tail beyond z = 4.5.
TAIL = stats.norm.sf(4.5)
CONSTANT = 'kind = "flocking"\nbeta = 1.3\nsigma = 0.0'
CURVED = 'kind = "flocking"\nbeta = 1.0\nR = 1.0\nsigma = 0.45'
SIGNAL = "D = 0.2\nkappa = 0.5\nchi_radius = 0.8"
SPRINGS = 'kind = "vlasov"\nkernel = {kind = "quadratic", frequency = 1.5}'
BOX = 'kind = "box"\nposition_halfwidth = 1.0\nvelocity_halfwidth = 0.5'
NORMAL = 'kind = "gaussian"\nposition_std = 0.8\nvelocity_std = 0.5'


def study(system, law, *observables, dim=1, save=(0.0, 0.5, 1.0), step=0.02, reference="", seed=20261121, more=""):
    """Return a study; tables are given by their text."""
    time = "" if step is None else f"step = {step}"
    chosen = "".join(f"[[observable]]\n{text if '=' in text else f'kind = {text!r}'}\n" for text in observables)
    return parse(
        f'schema = 1\nname = "f"\nseed = {seed}\n[system]\n{system}\ndim = {dim}\n[law]\n{law}\n'
        f"{f'[reference]{chr(10)}{reference}' if reference else ''}\n[time]\nsave = {list(save)}\n{time}\n{more}\n"
        f"{chosen}[sweep]\nsizes = [10, 100]\nreplicates = 2\n"
    )


@lru_cache(maxsize=16)
def solved(problem):
    """Return what `problem.solve` returns, once."""
    return problem.solve()


def measured(problem, meanfield, size, replicates, first=0):
    """Return a block's numbers by field name, (replicates, times) each, and its messages."""
    record = run_block(problem, meanfield, Block(Point(size), first, replicates))
    return dict(zip(field_names(problem), np.moveaxis(record.values, 2, 0), strict=True)), record.messages


def starts(problem, size, replicates):
    """Return the particles of each replicate at time 0."""
    streams = (stream(problem.seed, Purpose.INITIAL, size, r) for r in range(replicates))
    return [problem.initial.sample(rng, size) for rng in streams]


def offsets(problem, size, replicates):
    """Return mean - expectation of position and velocity of each replicate, (replicates, d) each."""
    means = np.stack([start.points.mean(axis=0) for start in starts(problem, size, replicates)])
    return np.split(means - problem.initial.mean, 2, axis=1)


def aligned(t, beta=1.3):
    """Return c(t), coupling = |mean v - E v|^2 c(t), of alignment at the same rate for all pairs.

    v_i = V + exp(-beta t) (v_i(0) - V) with V the mean velocity, and with V = E v for the coupled particles.
    """
    lag = -np.expm1(-beta * t)
    return lag**2 + (t - lag / beta) ** 2


def sprung(t, dx, dv, frequency=1.5):
    """Return the coupling of springs between all pairs: means move freely, the rest turns about them.

    Parameters
    ----------
    t : (T,) array
    dx, dv : (R, d) arrays
        Mean - expectation at time 0.
    """
    cosine, sine = np.cos(frequency * t)[:, None, None], np.sin(frequency * t)[:, None, None]
    place = dx * (1 - cosine) + dv * (t[:, None, None] - sine / frequency)
    speed = dv * (1 - cosine) + dx * frequency * sine
    return np.sum(place**2 + speed**2, axis=2).T


MOVING = {
    1: f"{NORMAL}\nvelocity_mean = [0.4]",
    2: f"{NORMAL}\nvelocity_mean = [0.4, -0.3]",
    3: f"{NORMAL}\nvelocity_mean = [0.4, -0.3, 0.2]",
}


@pytest.mark.parametrize(("dim", "law"), [(1, BOX), (1, MOVING[1]), (2, NORMAL), (2, MOVING[2]), (3, BOX)])
def test_equal_alignment_couples_as_its_closed_form(dim, law):
    problem = study(CONSTANT, law, "coupling", dim=dim, save=(0.0, 0.3, 0.6, 1.2), step=0.03).problem
    meanfield = problem.meanfield(solved(problem))
    factor, variance = aligned(np.array(problem.time.save)), problem.initial.covariance[-1, -1]
    for size in (10, 100, 1000):
        found, _ = measured(problem, meanfield, size, 32)
        _, dv = offsets(problem, size, 32)
        exact = np.sum(dv**2, axis=1)[:, None] * factor
        slack = np.array([meanfield.at(i).error for i in range(4)])
        for name in ("coupling_distance_sq", "coupling_distance_sq_max"):  # c(t) increases
            assert np.all(np.abs(found[name] - exact) <= 1e-9 * exact + 2 * slack * np.sqrt(exact))
            assert np.all(found[f"{name}_lower"] <= exact * (1 + 1e-9))
            assert np.all(exact <= found[f"{name}_upper"] * (1 + 1e-9))
        # N |mean v - E v|^2 / variance is chi-square, exactly so for normal velocities; sums of uniform ones have
        # lighter tails. The save times see the same draws, so this is one test a size.
        chi_sq = stats.chi2(32 * dim)
        expected = dim * variance / size * factor[1:]
        ratio = found["coupling_distance_sq"][:, 1:].mean(axis=0) / expected * 32 * dim
        assert np.all((chi_sq.ppf(TAIL) < ratio) & (ratio < chi_sq.isf(TAIL)))
        assert np.all(found["coupling_distance_sq"][:, 0] == 0)


def test_equal_alignment_couples_at_the_rate_one_over_n():
    problem = study(CONSTANT, BOX, "coupling", save=(1.0,), step=0.05).problem
    meanfield, sizes = problem.meanfield(solved(problem)), [10, 30, 100, 300, 1000]
    values = [measured(problem, meanfield, n, 64)[0]["coupling_distance_sq"][:, 0] for n in sizes]
    fit = mfstudy.fit_rate(sizes, values)
    low, high = fit.effective_exponent_interval
    assert abs(fit.effective_exponent + 1) < 2.2 * (high - low) / 2 < 0.3


@pytest.mark.parametrize("size", [60, 700])
def test_a_signal_that_is_not_felt_changes_nothing(size):
    problem = study(f"{CONSTANT}\neta = 0.0\n{SIGNAL}", MOVING[1], "coupling", "chemical").problem
    meanfield = problem.meanfield(solved(problem))
    found, _ = measured(problem, meanfield, size, 4)
    exact = np.sum(offsets(problem, size, 4)[1] ** 2, axis=1)[:, None] * aligned(np.array(problem.time.save))
    # The force is now a trigonometric polynomial, with an error of its own that the reference reports.
    slack = np.array([meanfield.at(i).error for i in range(3)])
    assert np.all(np.abs(found["coupling_distance_sq"] - exact) <= 1e-9 * exact + 4 * slack * np.sqrt(exact))
    assert np.all(found["chemical_gradient_sq"][:, 1:] > 0)


def test_the_wrong_strength_of_alignment_is_noticed():
    problem = study(CONSTANT, BOX, "coupling", save=(1.0,)).problem
    dv = offsets(problem, 100, 4)[1]
    found, _ = measured(problem, problem.meanfield(solved(problem)), 100, 4)
    exact = np.sum(dv**2, axis=1) * aligned(1.0, beta=1.3 * 1.01)
    assert np.all(np.abs(found["coupling_distance_sq"][:, 0] - exact) > 1e-3 * exact)


@pytest.mark.parametrize(("dim", "law"), [(1, NORMAL), (2, BOX), (3, MOVING[3])])
def test_springs_couple_as_their_closed_form(dim, law):
    problem = study(SPRINGS, law, "coupling", dim=dim, save=(0.0, 1.0, 3.0, 4.0), step=0.02).problem
    meanfield = problem.meanfield(solved(problem))
    found, _ = measured(problem, meanfield, 50, 8)
    steps = np.arange(201) * 0.02
    course = sprung(steps, *offsets(problem, 50, 8))
    peaks = np.maximum.accumulate(course, axis=1)
    where = [0, 50, 150, 200]
    slack = 2 * np.array([meanfield.at(i).error for i in range(4)])
    for name, exact in (("distance_sq", course[:, where]), ("distance_sq_max", peaks[:, where])):
        error = np.abs(found[f"coupling_{name}"] - exact)
        assert np.all(error <= 1e-9 * exact + slack * np.sqrt(peaks[:, where]) + slack**2)
    # The maximum is not always attained at a save time: the monitor has looked between them.
    assert np.any(peaks[:, where] > 1.01 * np.maximum.accumulate(course[:, where], axis=1))


def pushed(problem, start):
    """Return the points of an ensemble at the save times, moved by its own forces."""
    states = motion(problem.system, problem.dynamics(start.size), start, problem.time)
    return [state.ensemble.points for step, state in enumerate(states) if step in problem.time.steps]


def distance_sq(a, b):
    return mfstudy.wasserstein(a, b).estimate


@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("centred", [True, False])
def test_springs_turn_clouds_rigidly_about_means_that_move_freely(dim, centred):
    text = 'kind = "vlasov"\nkernel = {kind = "quadratic"}'  # unit frequency: the rotation of phase space is rigid
    problem = study(text, NORMAL, "coupling", dim=dim, save=(0.0, 0.7, 1.6, 3.0)).problem
    rng = np.random.default_rng(5)
    clouds = []
    for shift in (0.0, 0.6):
        z = rng.normal(size=(60, 2 * dim)) @ rng.normal(size=(2 * dim, 2 * dim))
        z += -z.mean(axis=0) if centred else shift
        clouds.append(pushed(problem, Ensemble(z[:, :dim], z[:, dim:])))
    found = np.array([distance_sq(a, b) for a, b in zip(*clouds, strict=True)])
    cost = np.sum((clouds[0][0][:, None] - clouds[1][0][None]) ** 2, axis=2)
    assert found[0] == pytest.approx(cost[linear_sum_assignment(cost)].mean(), rel=1e-12)
    dx, dv = np.split(clouds[1][0].mean(axis=0) - clouds[0][0].mean(axis=0), 2)
    moved = [np.sum((dx + t * dv) ** 2) - np.sum(dx**2) for t in problem.time.save]
    np.testing.assert_allclose(found, found[0] + moved, rtol=1e-8)
    assert centred == bool(np.abs(moved).max() < 1e-9 * found[0])  # the formula is more than conservation


def test_another_frequency_does_not_conserve_the_distance():
    problem = study(SPRINGS, NORMAL, "coupling", save=(0.0, 0.7)).problem
    rng = np.random.default_rng(5)
    clouds = [rng.normal(size=(60, 2)) @ rng.normal(size=(2, 2)) for _ in range(2)]
    before, after = (
        distance_sq(*pair)
        for pair in zip(*(pushed(problem, Ensemble(z[:, :1], z[:, 1:])) for z in clouds), strict=True)
    )
    assert abs(after - before) > 1e-2 * before


@pytest.mark.parametrize("dim", [1, 2])
def test_free_particles_are_sheared(dim):
    law = f"{NORMAL}\nvelocity_mean = {[0.4, -0.3][:dim]}"
    problem = study('kind = "free_transport"', law, "coupling", "invariants", dim=dim, step=None).problem
    rng = np.random.default_rng(6)
    clouds = []
    for _ in range(2):
        z = rng.normal(size=(80, 2 * dim)) @ rng.normal(size=(2 * dim, 2 * dim))
        states = motion(problem.system, None, Ensemble(z[:, :dim], z[:, dim:]), problem.time)
        clouds.append([state.ensemble.points for state in states])
    distances = [distance_sq(a, b) for a, b in zip(*clouds, strict=True)]
    assert abs(distances[2] / distances[0] - 1) > 0.05  # a shear is no isometry
    for t, *pair in zip(problem.time.save, *clouds, strict=True):
        undone = [np.hstack([z[:, :dim] - t * z[:, dim:], z[:, dim:]]) for z in pair]
        assert distance_sq(*undone) == pytest.approx(distances[0], rel=1e-12)
    found, _ = measured(problem, problem.meanfield(), 50, 3)
    for name, values in found.items():
        if name.startswith("coupling_distance"):
            assert np.all(values == (Status.OK if "status" in name else 0))
    # The mean field's sampler: moments of (x + t v, v), x and v normal.
    n, t = 20_000, problem.time.save[2]
    z = problem.meanfield().at(2).sample(np.random.default_rng(7), n)
    shear = np.kron([[1, t], [0, 1]], np.eye(dim))
    variance = shear @ np.diag([0.64] * dim + [0.25] * dim) @ shear.T
    assert_normal(z, shear @ problem.initial.mean, variance)


def assert_normal(z, mean, covariance):
    """Check the moments of a normal sample at z = 4.5, (D + D (D + 1) / 2) tests."""
    n, spread = len(z), np.diag(covariance)
    assert np.all(np.abs(z.mean(axis=0) - mean) < 4.5 * np.sqrt(spread / n))
    centred = z - mean
    error = np.sqrt((np.outer(spread, spread) + covariance**2) / n)
    assert np.all(np.abs(centred.T @ centred / n - covariance) < 4.5 * error)


@pytest.mark.parametrize("size", [40, 700])
def test_a_particle_that_leaves_its_box_fails_its_replicate_alone(monkeypatch, size):
    problem = study(CURVED, BOX, "coupling", "invariants", save=(0.0, 0.24, 0.5, 0.74, 1.0)).problem
    meanfield, edge = problem.meanfield(solved(problem)), {40: 1.21, 700: 1.31}[size]
    free, _ = measured(problem, meanfield, size, 6)
    farthest = []
    for start in starts(problem, size, 6):
        states = motion(problem.system, problem.dynamics(size), start, problem.time)
        course = np.maximum.accumulate([np.abs(s.ensemble.position).max() for s in states])
        farthest.append(course[list(problem.time.steps)])
    outside = np.array(farthest) > edge
    assert outside.any()
    assert not outside[:, 0].any()
    assert (~outside[:, -1]).any()  # some replicates must survive
    bound = problem.dynamics(size)
    small = dataclasses.replace(bound, sums=dataclasses.replace(bound.sums, region=Region((-edge,), (edge,))))
    monkeypatch.setattr(Problem, "dynamics", lambda *_: small)
    found, messages = measured(problem, meanfield, size, 6)
    expected = np.where(outside, Status.OUT_OF_DOMAIN, Status.OK)
    for name in ("status", "coupling_distance_sq_status", "invariants_mass_status"):
        assert np.array_equal(found[name], expected)
    assert np.array_equal(np.isnan(found["coupling_distance_sq"]), outside)
    kept = ~outside
    assert np.array_equal(found["coupling_distance_sq"][kept], free["coupling_distance_sq"][kept])
    late = {row: int(np.argmax(outside[row])) for row in np.flatnonzero(outside.any(axis=1))}
    assert len(messages) == len(late)
    for message, (row, index) in zip(messages, late.items(), strict=True):
        assert message.startswith(f"replicate {row}, t = {problem.time.save[index]:g}: a particle left its box")
        assert "\n" not in message


@pytest.mark.parametrize(("stepper", "order"), [("adams", 5), ("rk4", 4)])
def test_the_step_error_is_that_of_an_independent_solution(stepper, order):
    found = {}
    for step in (0.1, 0.05):
        problem = study(
            CURVED, BOX, "invariants", save=(0.0, 1.0, 2.0), step=step, more=f'stepper = "{stepper}"'
        ).problem
        meanfield = problem.meanfield(solved(problem))
        numbers, _ = measured(problem, meanfield, 30, 2)
        assert np.all(np.isnan(numbers["step_error"][1]))
        found[step] = numbers["step_error"][0]
        assert found[step][0] == 0
        (start, *_) = starts(problem, 30, 1)
        points = np.stack(pushed(problem, start))
        true = np.sqrt(np.sum((points - exact_flocking(start, problem.time.save)) ** 2, axis=2).mean(axis=1))
        # A run with half the step has 2^-order of the error.
        np.testing.assert_allclose(found[step][1:], true[1:], rtol=2 * 2.0**-order)
    rate = np.log2(found[0.1][1:] / found[0.05][1:])
    assert np.all((order - 0.5 < rate) & (rate < order + 1.0))


def exact_flocking(start, times):
    """Return points (T, N, 2) by SciPy and sums over all pairs."""
    n = start.size

    def slope(_, z):
        x, v = np.split(z, 2)
        psi = (1 + (x[:, None] - x) ** 2) ** -0.45
        return np.concatenate([v, (psi @ v - v * psi.sum(axis=1)) / n])

    z = np.concatenate([start.position[:, 0], start.velocity[:, 0]])
    found = integrate.solve_ivp(slope, (0, times[-1]), z, "DOP853", times, rtol=1e-12, atol=1e-13)
    return np.moveaxis(found.y.reshape(2, n, -1), (0, 1, 2), (2, 1, 0))


@pytest.mark.parametrize(("system", "size"), [(CURVED, 50), (f"{CURVED}\neta = 0.5\n{SIGNAL}", 50), (CURVED, 600)])
def test_a_block_has_the_bytes_of_its_replicates(system, size):
    more = {50: ("empirical",), 600: ()}[size] + (("chemical",) if SIGNAL in system else ())
    problem = study(system, BOX, "coupling", "invariants", *more).problem
    shared = solved(problem)
    whole = run_block(problem, problem.meanfield(shared), Block(Point(size), 0, 16)).values
    meanfield = problem.meanfield(shared)
    run_block(problem, meanfield, Block(Point(3 * size), 0, 1))  # other plans, other rational functions
    for replicate in range(16):
        alone = run_block(problem, meanfield, Block(Point(size), replicate, 1)).values
        assert alone.tobytes() == whole[replicate : replicate + 1].tobytes()


def test_a_reference_is_solved_to_the_same_bytes():
    problem = study(f"{CURVED}\neta = 0.5\n{SIGNAL}", BOX, "coupling").problem
    before = {name: array.tobytes() for name, array in problem.solve().items()}
    run_block(problem, problem.meanfield(solved(problem)), Block(Point(30), 0, 1))
    assert {name: array.tobytes() for name, array in problem.solve().items()} == before


HEAVY = """
import math
from dataclasses import dataclass
from typing import ClassVar
from mfstudy.laws.gaussian import Gaussian

class Tails:
    \"\"\"A law with Student's tails, of 3 degrees of freedom.\"\"\"
    def __init__(self, law):
        self._law = law
    def __getattr__(self, name):
        return getattr(self._law, name)
    moment_order = 3.0

@dataclass(frozen=True)
class Student:
    scheme: ClassVar[int] = 1
    def on(self, phase):
        return Tails(Gaussian(1.0, 1.0).on(phase))
"""


def test_laws_with_few_moments_are_for_particles_that_do_not_interact(tmp_path, monkeypatch):
    (tmp_path / "heavy").mkdir()
    (tmp_path / "heavy/__init__.py").write_text("")
    (tmp_path / "heavy/student.py").write_text(HEAVY)
    monkeypatch.syspath_prepend(tmp_path)
    law = 'kind = "heavy.student"'
    study('kind = "free_transport"', law, "coupling", step=None)
    for system in (CURVED, CONSTANT, SPRINGS):
        with pytest.raises(InputError, match=r"^study: law\.kind: has moments only below 3, so that no box") as caught:
            study(system, law, "coupling")
        assert "\n" not in str(caught.value)


def test_the_particles_of_a_static_system_are_their_own_copies():
    problem = study('kind = "static"', 'kind = "box"\nposition_halfwidth = 1.0', "coupling", step=None).problem
    found, _ = measured(problem, problem.meanfield(), 20, 2)
    assert np.all(found["coupling_distance_sq_upper"] == 0)


REFUSED = {
    "sensitivity without D": (
        (f"{CURVED}\neta = 0.5\nkappa = 0.5\nchi_radius = 0.8", BOX),
        r"system\.D: missing; .*eta = 0.5",
    ),
    "sensitivity without kappa": ((f"{CURVED}\neta = 0.5\nD = 0.2\nchi_radius = 0.8", BOX), r"system\.kappa: missing"),
    "sensitivity without chi": ((f"{CURVED}\neta = 0.5\nD = 0.2\nkappa = 0.5", BOX), r"system\.chi_radius: missing"),
    "half a signal": ((f"{CURVED}\nD = 0.2", BOX), r"system\.kappa: missing; .*D = 0.2"),
    "a rough source": ((f"{CURVED}\neta = 0.5\n{SIGNAL}\nchi_power = 1.5", BOX), r"system\.chi_power: 1\.5 .*>= 2"),
    "four dimensions": ((f"{CURVED}", BOX, {"dim": 4}), r"system\.dim: 4 .*<= 3"),
    "a negative range": ((f"{CURVED}".replace("R = 1.0", "R = -1.0"), BOX), r"system\.R: -1\.0 .*> 0"),
    "a misspelt kernel": (
        ('kind = "vlasov"\nkernel = {kind = "quadratik"}', BOX),
        r"system\.kernel\.kind: .*did you mean 'quadratic'",
    ),
    "a misspelt key": ((f"{CURVED}\nsigmma = 1.0", BOX), r"system\.sigmma: unknown key; .*did you mean 'sigma'"),
    "no step": ((CURVED, BOX, {"step": None}), r"time\.step: missing"),
    "a step that does not divide": ((CURVED, BOX, {"step": 0.03}), r"time\.step: 0\.03 does not divide .*0\.5"),
    "a misspelt stepper": (
        (CURVED, BOX, {"more": 'stepper = "adam"'}),
        r"time\.stepper: 'adam' .*did you mean 'adams'",
    ),
    "an exact reference": (
        (CURVED, BOX, {"reference": 'kind = "exact"'}),
        r"reference: no exact reference .*allowed: characteristics",
    ),
    "characteristics at rest": (
        (
            'kind = "static"',
            'kind = "box"\nposition_halfwidth = 1.0',
            {"reference": 'kind = "characteristics"', "step": None},
        ),
        r"reference: .*closed flow; allowed: exact",
    ),
    "a tolerance of 0": (
        (CURVED, BOX, {"reference": 'kind = "characteristics"\ntolerance = 0.0'}),
        r"reference\.tolerance: 0\.0 .*> 0",
    ),
    "the wrong number of means": ((CURVED, f"{NORMAL}\nvelocity_mean = [0.1, 0.2]"), r"law\.velocity_mean: 2 entries"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_one_line_with_the_path_of_its_key(case):
    (system, law, *options), message = REFUSED[case]
    with pytest.raises(InputError, match=f"^study: {message}") as caught:
        study(system, law, "coupling", **(options[0] if options else {}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("system", [CURVED, SPRINGS, 'kind = "free_transport"'])
def test_the_chemical_observable_needs_a_signal(system):
    step = None if "free" in system else 0.02
    with pytest.raises(
        InputError, match=r"^study: observable\[1\]\.kind: needs signal, which .* does not have; allowed"
    ):
        study(system, BOX, "coupling", "chemical", step=step)
