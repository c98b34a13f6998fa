"""Explicit bounds of theorems: their constants, and the observables that meet them with numbers.

Oracles are matrix exponentials, SciPy's integrators, POT, isometries and dense samples; the negative controls plant
wrong constants, which must be found out. False alarms: seeds are fixed; ends of brackets are moved out by 4.5 standard
errors, of which there are 12 here, so that a right program is rejected with probability 1e-4.
"""

import math
from types import SimpleNamespace

import numpy as np
import ot
import pytest
from scipy import integrate, linalg
from test_characteristics import CHEMOTAXIS, Oracle
from test_flocking import BOX, CONSTANT, CURVED, NORMAL, SIGNAL, SPRINGS, measured, solved, starts, study

import mfstudy
from mfstudy import report
from mfstudy.components import InputError
from mfstudy.ensemble import Ensemble
from mfstudy.external.harmonic import Harmonic
from mfstudy.forces.chemical import Signal
from mfstudy.kernels.gaussian import Gaussian
from mfstudy.observables import stability
from mfstudy.replicate import run_block
from mfstudy.study import Block, Point
from mfstudy.systems import Constants
from mfstudy.systems._pairwise import Pairwise
from mfstudy.systems.flocking import Flocking
from mfstudy.systems.vlasov import Vlasov
from mfstudy.theorems import _natalini_paul as natalini_paul

FREE = 'kind = "free_transport"'
TRAP = 'kind = "flocking"\nbeta = 0.0\nexternal = {kind = "harmonic", frequency = %s}'
ALL = ("flow_lipschitz", "support_growth", "stability")
RESTING = 'kind = "monokinetic"\nposition = {kind = "box", position_halfwidth = 1.0}\nvelocity = {kind = "rest"}'
EXCESSES = ("flow_lipschitz_corrected", "support_growth_speed_corrected", "support_growth_displacement_corrected")


def numbers(problem, size, replicates=1):
    """Return a block's numbers where no observable asks for the mean field."""
    found, messages = measured(problem, SimpleNamespace(valid_until=math.inf), size, replicates)
    assert not messages
    return found


def quotients(function, points, rng, close=1e-4):
    """Return Lipschitz quotients of a map between points (n, k) and their near and far neighbours."""
    near = points + close * rng.standard_normal(points.shape) / math.sqrt(points.shape[1])
    pairs = [(points, near), (points, np.roll(points, 1, axis=0))]
    return np.concatenate(
        [np.linalg.norm(function(a) - function(b), axis=1) / np.linalg.norm(a - b, axis=1) for a, b in pairs]
    )


def check_constant(constant, sampled, tight=0.01):
    """A constant is not below any sample by more than the finite distance explains, nor far above all."""
    assert sampled.max() <= constant * (1 + 1e-4)
    assert constant <= sampled.max() * (1 + tight)


ALIGNMENTS = [
    (1.0, 1.0, 0.45, 2.0, 0.5),
    (1.0, 1.0, 0.45, 2.0, 3.0),
    (0.7, 0.3, 1.5, 4.0, 2.0),
    (1.3, 2.0, 1.0, 0.3, 9.0),
    (2.0, 1.0, 0.0, 3.0, 3.0),
]


@pytest.mark.parametrize(("beta", "scale", "sigma", "distance", "apart"), ALIGNMENTS)
def test_the_constant_of_alignment_is_the_largest_operator_norm(beta, scale, sigma, distance, apart):
    constant = Flocking(2, beta=beta, R=scale, sigma=sigma)._pairs.profile.lipschitz(distance, apart)

    def psi(r2):
        return beta * (1 + r2 / scale**2) ** -sigma

    # Relative positions on a ray, relative velocities of the largest length at an angle to it: the norm does not
    # depend on the angle, and the derivative is taken by complex steps.
    norms = []
    for r in np.linspace(0, distance, 4001):
        y, w, step = np.array([r, 0.0]), apart * np.array([0.6, 0.8]), 1e-30j
        columns = [np.imag(psi(np.sum((y + step * e) ** 2)) * w) / 1e-30 for e in np.eye(2)]
        norms.append(np.linalg.norm(np.column_stack([*columns, psi(r**2) * np.eye(2)]), 2))
    check_constant(constant, np.array(norms), 1e-4)
    rng = np.random.default_rng(3)
    points = rng.uniform(-1, 1, (20_000, 4)) * np.array([distance, distance, apart, apart]) / math.sqrt(2)
    found = quotients(lambda z: psi(np.sum(z[:, :2] ** 2, axis=1))[:, None] * z[:, 2:], points, rng)
    assert found.max() <= constant * (1 + 1e-4)


@pytest.mark.parametrize("power", [2.0, 2.3, 2.7, 4.0, 11.0])
@pytest.mark.parametrize("dim", [1, 2, 3])
def test_the_constants_of_the_source_are_the_largest_that_are_sampled(power, dim):
    radius, rng = 0.7, np.random.default_rng(5)
    signal = Signal(0.1, 0.5, radius, power, 0.0, 1.0, (0.0,) * dim)
    surface = {1: 2.0, 2: 2 * math.pi, 3: 4 * math.pi}[dim]

    def bump(r):
        return (1 - min(r / radius, 1.0) ** 2) ** power

    mass = surface * integrate.quad(lambda r: bump(r) * r ** (dim - 1), 0, radius)[0]

    def gradient(x):
        inside = np.maximum(1 - np.sum(x**2, axis=1) / radius**2, 0.0)
        return -2 * power / (mass * radius**2) * inside[:, None] ** (power - 1) * x

    ray = np.zeros((200_000, dim))
    ray[:, 0] = np.linspace(0, radius, len(ray))
    slopes = np.linalg.norm(gradient(ray), axis=1)
    check_constant(signal.steepest_source, slopes, 1e-6)
    everywhere = rng.uniform(-radius, radius, (100_000, dim))
    along = np.linalg.norm(np.diff(gradient(ray), axis=0), axis=1) / (radius / (len(ray) - 1))
    check_constant(signal.sharpest_source, np.append(along, quotients(gradient, everywhere, rng)))


def test_the_constants_of_a_normal_signal_and_of_kernels_are_the_largest_that_are_sampled():
    rng = np.random.default_rng(6)
    points = np.concatenate([rng.normal(0, 1.5, (50_000, 2)), rng.normal(0, 0.02, (1000, 2))])
    width, height = 0.6, -0.8
    signal = Signal(0.1, 0.5, 1.0, 4.0, height, width, (0.0, 0.0))

    def slope(x):
        return -height / width**2 * x * np.exp(-np.sum(x**2, axis=1, keepdims=True) / (2 * width**2))

    check_constant(signal.sharpest_start, quotients(slope, points, rng))
    check_constant(Gaussian(width, height).lipschitz, quotients(slope, points, rng))
    check_constant(Harmonic(1.7).lipschitz, quotients(Harmonic(1.7).at, points, rng), 1e-9)


def test_the_support_of_the_constants_is_that_at_the_time():
    start = Ensemble(np.array([[0.5], [-1.0]]), np.array([[1.0], [-3.0]]))
    pairs = Flocking(1, beta=1.0, R=0.5, sigma=2.0, external=Harmonic(2.0))._pairs
    early, late = pairs.constants(start, 0.0), pairs.constants(start, 1.0)
    assert early.interaction == pairs.profile.lipschitz(2.0, 6.0)
    assert late.interaction > early.interaction
    assert early.external == 4.0
    assert early.eta == early.source_curvature == 0.0
    assert Vlasov(1, kernel=Gaussian(0.5, 2.0))._pairs.constants(start, 1.0).interaction == 8.0


def test_the_corrected_exponents_are_those_of_their_differential_inequalities():
    c, t = Constants(0.6, 0.3, 0.5, 0.9, 0.7, 0.2), 1.3

    def spread(s, y):  # S and its integral
        rate = 1 + 2 * c.interaction + c.external + c.eta * (c.start_curvature + s * c.source_curvature)
        return [rate * y[0] + c.eta * c.source_curvature * y[1], y[0]]

    total = integrate.solve_ivp(spread, (0, t), [1.0, 0.0], rtol=1e-10).y[0, -1]
    assert 0.5 * natalini_paul.flow_exponent(c, t) < math.log(total) < natalini_paul.flow_exponent(c, t)

    def apart(s, y):
        memory = s * c.eta * c.source_curvature
        lipschitz = c.interaction + c.external + c.eta * c.start_curvature + memory
        return (2 + 2 * lipschitz**2 + 2 * (c.interaction + memory) ** 2) * y

    square = integrate.solve_ivp(apart, (0, t), [1.0], rtol=1e-10).y[0, -1]
    assert 0.5 * natalini_paul.stability_exponent(c, t) < math.log(square) < natalini_paul.stability_exponent(c, t)


def test_the_printed_bounds_are_the_printed_formulas():
    c, t = Constants(0.6, 0.3, 0.5, 0.9, 0.7, 0.2), 1.3
    assert natalini_paul.growth_as_printed(c, t) == pytest.approx(2 * (0.6 + 0.7) * 1.3)
    assert natalini_paul.flow_exponent_as_printed(c, t) == pytest.approx((0.6 + 0.7 * 1.3) * 1.3)
    integral = integrate.quad(lambda s: 2.5 * math.exp(natalini_paul.growth_as_printed(c, s)), 0, t)[0]
    assert natalini_paul.displacement_as_printed(c, 2.5, t) == pytest.approx(integral)
    assert natalini_paul.displacement_as_printed(Constants(), 2.5, t) == 2.5 * t
    assert natalini_paul.displacement_as_printed(Constants(interaction=1e4), 1.0, t) == math.inf
    rate = 2 + 2 * 0.6**2 + 2 * (0.6 + 0.3 + 1.3 * 0.5 * 0.7) ** 2
    gamma = t * (rate + (0.6 + 0.5 * 0.9) ** 2 * math.exp(t * rate))
    assert natalini_paul.stability_exponent_as_printed(c, t) == pytest.approx(math.log10(1 + gamma))
    large = natalini_paul.stability_exponent_as_printed(Constants(interaction=100.0), 1.0)
    assert large == pytest.approx(40002 / math.log(10), rel=1e-3)


def linear_derivative(matrix, size, dim, t):
    """Return |dz_i(t)/dz_1(0)| of N particles whose coordinates (x, v) obey z' = matrix z along each axis."""
    flow = linalg.expm(t * matrix).reshape(2, size, 2, size)[:, :, :, 0]
    return np.array([np.linalg.norm(np.kron(flow[:, i], np.eye(dim)), 2) for i in range(size)])


def linear_matrix(size, alignment=0.0, springs=0.0, trap=0.0):
    apart = np.eye(size) - 1 / size
    return np.block(
        [[np.zeros((size, size)), np.eye(size)], [-springs * apart - trap * np.eye(size), -alignment * apart]]
    )


@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize(
    ("system", "forces"),
    [
        (FREE, {}),
        (CONSTANT, {"alignment": 1.3}),
        (SPRINGS, {"springs": 1.5**2}),
        (TRAP % 0.7, {"trap": 0.7**2}),
    ],
)
def test_the_derivative_of_a_linear_flow_is_the_matrix_exponential(system, forces, dim):
    times, size = (0.0, 0.8, 2.4), 30
    problem = study(
        system, NORMAL, "flow_lipschitz", dim=dim, save=times, step=None if system == FREE else 0.02
    ).problem
    found = numbers(problem, size, 2)
    for i, t in enumerate(times):
        expected = linear_derivative(linear_matrix(size, **forces), size, dim, t)
        np.testing.assert_allclose(found["flow_lipschitz_derivative"][:, i], expected.max(), rtol=1e-6)
        np.testing.assert_allclose(found["flow_lipschitz_derivative_sum"][:, i], expected.sum(), rtol=1e-6)
        assert np.all(np.log10(expected.sum()) <= found["flow_lipschitz_corrected"][:, i] + 1e-9)
    assert np.all(found["flow_lipschitz_corrected_excess"] == 0)


def test_the_derivative_of_a_curved_flow_is_that_by_complex_steps():
    size, t = 12, 1.0
    problem = study(CURVED, BOX, "flow_lipschitz", save=(t,)).problem
    found = numbers(problem, size, 2)

    def rate(_, z):
        x, v = np.split(z, 2)
        psi = (1 + (x[:, None] - x) ** 2) ** -0.45
        return np.concatenate([v, (psi @ v - v * psi.sum(axis=1)) / size])

    for row, start in enumerate(starts(problem, size, 2)):
        columns = []
        for which in (0, size):
            z = start.points.T.ravel().astype(complex)
            z[which] += 1e-30j
            end = integrate.solve_ivp(rate, (0, t), z, "DOP853", rtol=1e-11, atol=1e-12).y[:, -1]
            columns.append(end.imag.reshape(2, size) / 1e-30)
        norms = [np.linalg.norm(np.stack([c[:, i] for c in columns], axis=1), 2) for i in range(size)]
        assert found["flow_lipschitz_derivative"][row, 0] == pytest.approx(max(norms), rel=1e-6)
        assert found["flow_lipschitz_derivative_sum"][row, 0] == pytest.approx(sum(norms), rel=1e-6)


def test_the_derivative_knows_the_signal_that_a_displaced_particle_emits():
    size, t, close = 10, 1.0, 1e-3
    problem = study(CHEMOTAXIS.replace("eta = 0.5", "eta = 2.0"), BOX, "flow_lipschitz", save=(t,)).problem
    found = numbers(problem, size)
    model = Oracle(problem.dynamics(size).lattice, eta=2.0)
    (start,) = starts(problem, size, 1)
    ends = []
    for axis, sign in ((0, 1), (0, -1), (1, 1), (1, -1)):
        points = start.points.copy()
        points[0, axis] += sign * close
        ends.append(model.run(points, np.full(size, 1 / size), (0.0, t))[0][-1])
    columns = [(ends[0] - ends[1]) / (2 * close), (ends[2] - ends[3]) / (2 * close)]
    norms = np.linalg.norm(np.stack(columns, axis=2), 2, axis=(1, 2))
    assert found["flow_lipschitz_derivative"][0, 0] == pytest.approx(norms.max(), rel=1e-5)
    assert found["flow_lipschitz_derivative_sum"][0, 0] == pytest.approx(norms.sum(), rel=1e-5)
    deaf = numbers(study(CURVED, BOX, "flow_lipschitz", save=(t,)).problem, size)
    assert abs(deaf["flow_lipschitz_derivative_sum"][0, 0] / norms.sum() - 1) > 0.1


def test_free_transport_violates_theorem_7_3_as_printed():
    times = (0.0, 0.5, 1.0, 3.0)
    found = numbers(study(FREE, BOX, "flow_lipschitz", save=times, step=None).problem, 20)
    stretch = np.exp(np.arcsinh(np.array(times) / 2))  # the norm of the shear
    assert np.all(stretch[2:] > np.array(times[2:]))
    np.testing.assert_allclose(found["flow_lipschitz_derivative"][0], stretch, rtol=1e-9)
    np.testing.assert_allclose(found["flow_lipschitz_printed_excess"][0], np.log10(stretch), rtol=1e-9)
    assert np.all(found["flow_lipschitz_corrected_excess"] == 0)


def test_a_signal_from_rest_violates_proposition_7_2_as_printed():
    problem = study(f"{CURVED}\neta = 2.0\n{SIGNAL}", RESTING, "support_growth").problem
    found = numbers(problem, 60, 2)
    speed, displacement = found["support_growth_speed"], found["support_growth_displacement"]
    assert np.all(speed[:, 1:] > 1e-3)
    np.testing.assert_array_equal(found["support_growth_speed_printed_excess"], speed)
    np.testing.assert_array_equal(found["support_growth_displacement_printed_excess"], displacement)
    # int_0^t eta s |grad chi| ds, with the largest slope of the bump on the line by dense sampling.
    x, t = np.linspace(-0.8, 0.8, 200_001), np.array(problem.time.save)
    bump = (1 - (x / 0.8) ** 2) ** 4
    steepest = np.abs(np.gradient(bump / integrate.trapezoid(bump, x), x)).max()
    np.testing.assert_allclose(found["support_growth_speed_corrected"][0], t**2 * steepest, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(
        found["support_growth_displacement_corrected"][0], t**3 / 3 * steepest, rtol=1e-6, atol=1e-12
    )
    for name in EXCESSES[1:]:
        assert np.all(found[f"{name}_excess"] == 0)


def test_radial_free_flight_attains_both_bounds_of_the_support():
    law = RESTING.replace('"rest"', '"linear", rate = 2.0')
    found = numbers(study(FREE, law, "support_growth", dim=2, step=None).problem, 50, 3)
    np.testing.assert_allclose(found["support_growth_displacement"], found["support_growth_displacement_corrected"])
    np.testing.assert_allclose(found["support_growth_speed"], found["support_growth_speed_corrected"])
    assert not any(values.any() for name, values in found.items() if name.endswith("_excess"))


@pytest.mark.parametrize("seed", range(6))
def test_the_corrected_bounds_hold_in_random_systems(seed):
    rng = np.random.default_rng(seed)
    sizes = {"beta": (0.1, 2), "R": (0.3, 2), "sigma": (0, 2), "eta": (0.1, 2), "D": (0.05, 0.5), "kappa": (0, 1)}
    keys = [f"{key} = {rng.uniform(*ends):.3f}" for key, ends in sizes.items()]
    keys += ["chi_radius = 0.8", "signal_amplitude = 0.3", "signal_width = 0.7"]
    if seed % 2:
        keys.append(f'external = {{kind = "harmonic", frequency = {rng.uniform(0.3, 2):.3f}}}')
    system = "\n".join(['kind = "flocking"', *keys])
    law = BOX.replace("0.5", f"{rng.uniform(0.1, 2):.3f}")
    problem = study(system, law, "flow_lipschitz", "support_growth", dim=1 + seed // 4, step=0.05).problem
    found = numbers(problem, 25, 2)
    assert np.all(found["flow_lipschitz_derivative_sum"][:, 1:] > 1)
    for name in EXCESSES:
        assert np.all(found[f"{name}_excess"] == 0)


@pytest.mark.parametrize("strength", [1.0, -1.0])
def test_the_corrected_bounds_hold_among_particles_that_repel_or_attract(strength):
    system = f'kind = "vlasov"\nkernel = {{kind = "gaussian", width = 0.4, strength = {strength}}}'
    found = numbers(study(system, NORMAL, "flow_lipschitz", "support_growth", dim=2).problem, 30, 2)
    for name in EXCESSES:
        assert np.all(found[f"{name}_excess"] == 0)


def test_a_wrong_constant_of_a_force_is_found_out(monkeypatch):
    problem = study(TRAP % 10.0, BOX, "flow_lipschitz", save=(0.0, 0.16), step=0.01).problem
    assert numbers(problem, 20)["flow_lipschitz_corrected_excess"][0, 1] == 0
    monkeypatch.setattr(Harmonic, "lipschitz", 0.0)
    assert numbers(problem, 20)["flow_lipschitz_corrected_excess"][0, 1] > 0.5


def test_a_force_that_the_support_lacks_is_found_out(monkeypatch):
    problem = study(f"{CURVED}\neta = 2.0\n{SIGNAL}", RESTING, "support_growth").problem
    problem.dynamics(30)  # keeps its box
    monkeypatch.setattr(Pairwise, "_pushed", lambda *_, **__: (0.0, 0.0))
    found = numbers(problem, 30)
    assert np.all(found["support_growth_speed_corrected_excess"][0, 1:] > 1e-3)
    assert np.all(found["support_growth_displacement_corrected_excess"][0, 1:] > 1e-4)


def check_stability(found):
    assert np.all(found["stability_ratio_lower"] <= found["stability_ratio"])
    assert np.all(found["stability_ratio"] <= found["stability_ratio_upper"])
    for name in ("printed", "proof", "corrected"):
        assert np.all(found[f"stability_{name}_excess"] == 0)


def test_the_ratio_of_distances_is_that_of_pot():
    problem = study(FREE, BOX, "stability", save=(0.0, 1.0, 4.0), step=None).problem
    found, messages = measured(problem, problem.meanfield(), 40, 2)
    assert not messages
    check_stability(found)
    halfwidths, rng = np.array([1.0, 0.5]), np.random.default_rng(9)
    for row, start in enumerate(starts(problem, 40, 2)):
        sample = rng.uniform(-1, 1, (4000, 2)) * halfwidths
        squares = []
        for t in problem.time.save:
            shear = np.array([[1.0, 0.0], [t, 1.0]])
            squares.append(ot.emd2([], [], ot.dist(start.points @ shear, sample @ shear), numItermax=10**7))
        truth = np.log10(np.array(squares) / squares[0])
        assert np.all(found["stability_ratio_lower"][row] < truth)
        assert np.all(truth < found["stability_ratio_upper"][row])
        np.testing.assert_allclose(found["stability_ratio"][row], truth, atol=0.25)
    np.testing.assert_array_equal(found["stability_ratio"][:, 0], 0.0)


def test_a_rotation_of_phase_space_keeps_the_distance():
    problem = study(TRAP % 1.0, BOX, "stability", save=(0.0, 0.7, 1.4)).problem
    found, messages = measured(problem, problem.meanfield(solved(problem)), 50, 2)
    assert not messages
    check_stability(found)
    # The same draws, turned: the same optimum, of which the lower end may choose other weights.
    np.testing.assert_allclose(found["stability_ratio"], 0.0, atol=0.01)


def test_chemotaxis_obeys_the_stability_estimate_with_constants_that_overflow():
    problem = study(f"{CURVED}\neta = 1.0\n{SIGNAL}", BOX, "stability", save=(0.0, 1.0, 2.0), step=0.05).problem
    found, messages = measured(problem, problem.meanfield(solved(problem)), 60, 2)
    assert not messages
    check_stability(found)
    assert found["stability_printed_gamma"][0, -1] > 308
    assert np.all(np.isfinite(found["stability_printed_gamma"]))


def test_a_claim_of_contraction_is_found_out(monkeypatch):
    problem = study(FREE, BOX, "stability", save=(0.0, 8.0), step=None).problem
    monkeypatch.setattr(stability, "stability_exponent", lambda *_: 0.0)
    found, _ = measured(problem, problem.meanfield(), 150, 2)
    assert np.all(found["stability_corrected_excess"][:, 1] > 0.1)
    assert np.all(found["stability_printed_excess"] == 0)


@pytest.mark.parametrize("system", [CURVED, f"{CURVED}\neta = 0.5\n{SIGNAL}"])
def test_a_block_has_the_bytes_of_its_replicates(system):
    problem = study(system, BOX, *ALL).problem
    meanfield = problem.meanfield(solved(problem))
    whole = run_block(problem, meanfield, Block(Point(30), 0, 4)).values
    for replicate in range(4):
        alone = run_block(problem, meanfield, Block(Point(30), replicate, 1)).values
        assert alone.tobytes() == whole[replicate : replicate + 1].tobytes()


def test_companions_change_no_other_number():
    alone = numbers(study(CURVED, BOX, "invariants").problem, 20)
    beside = numbers(study(CURVED, BOX, "flow_lipschitz", "invariants", "support_growth").problem, 20)
    for name, values in alone.items():
        np.testing.assert_array_equal(values, beside[name])


def test_the_checks_of_a_store_and_its_page_show_the_bounds(tmp_path):
    results = mfstudy.run(study(FREE, BOX, "coupling", *ALL, step=None), tmp_path / "s", part=(1, 1))
    names = {check.name for check in results.checks}
    wanted = {f"flow_lipschitz_{name}_excess" for name in ("printed", "corrected")}
    wanted |= {f"support_growth_speed_{name}_excess" for name in ("printed", "corrected")}
    assert wanted | {"stability_ratio", "stability_corrected_excess"} <= names
    page = report.write(results, tmp_path / "page").read_text(encoding="utf-8")
    for statement in ("Theorem 7.3", "Proposition 7.2"):
        assert all(page.count(f"bound of {statement} as {form}") for form in ("printed", "corrected"))
    assert "bound of Theorem 8.1 without the factor 2" in page


REFUSED = {
    "points at rest": (('kind = "static"', 'kind = "box"\nposition_halfwidth = 1.0'), r"kind: needs lipschitz, which"),
    "an unbounded law": ((FREE, NORMAL), r"kind: needs a law of bounded support"),
    "an unknown key": ((FREE, BOX), r"direction: unknown key"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_one_line(case):
    (system, law), message = REFUSED[case]
    text = 'kind = "stability"' + ("\ndirection = 1" if case == "an unknown key" else "")
    with pytest.raises(InputError, match=rf"^study: observable\[0\]\.{message}.*allowed") as caught:
        study(system, law, text, step=None)
    assert "\n" not in str(caught.value)


OUTSIDE = """
from dataclasses import dataclass
from typing import ClassVar
from mfstudy.systems.free_transport import FreeTransport

@dataclass(frozen=True)
class Drift:
    \"\"\"A flow that says nothing of its forces.\"\"\"
    scheme: ClassVar[int] = 1
    stationary: ClassVar[bool] = False
    dim: int
    phase = FreeTransport.phase
    advance = FreeTransport.advance
"""


def test_systems_whose_constants_are_not_known_are_refused(tmp_path, monkeypatch):
    (tmp_path / "lab_of_flows").mkdir()
    (tmp_path / "lab_of_flows/__init__.py").write_text("")
    (tmp_path / "lab_of_flows/drift.py").write_text(OUTSIDE)
    monkeypatch.syspath_prepend(tmp_path)
    study('kind = "lab_of_flows.drift"', BOX, "invariants", step=None)
    for kind in ALL:
        with pytest.raises(InputError, match=r"needs lipschitz, which this system does not have; allowed"):
            study('kind = "lab_of_flows.drift"', BOX, kind, step=None)
