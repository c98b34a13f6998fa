"""Systems: closed forms of motion, what is conserved, what is bounded, and wrong signs that must show."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from mfstudy.ensemble import Ensemble
from mfstudy.external.harmonic import Harmonic
from mfstudy.integrate import Time, motion
from mfstudy.kernels.gaussian import Gaussian
from mfstudy.kernels.quadratic import Quadratic
from mfstudy.laws.box import Box
from mfstudy.systems.flocking import Flocking
from mfstudy.systems.free_transport import FreeTransport
from mfstudy.systems.vlasov import Vlasov

LAW = Box(1.0, 0.5)
STEPPERS = {"adams": 5, "rk4": 4}
SIGNAL = {"eta": 1.0, "D": 0.2, "kappa": 0.5, "chi_radius": 0.6}


def sample(system, n, seed=0, law=LAW):
    return law.on(system.phase).sample(np.random.default_rng(seed), n)


def weighted(start, seed=0):
    w = np.random.default_rng(seed + 100).uniform(0.1, 1, len(start.position)) ** 3
    return Ensemble(start.position, start.velocity, w / w.sum())


def run(system, start, time, size=None, law=LAW):
    """Return the equations of motion and all states; size None: by Fourier sums."""
    dynamics = system.dynamics(law.on(system.phase), time.horizon, size)
    return dynamics, [state.ensemble for state in motion(system, dynamics, start, time)]


def order(errors):
    return math.log2(errors[0] / errors[-1]) / (len(errors) - 1)


# --- springs ---------------------------------------------------------------------------------------------------------


def rotated(start, w, t):
    """The closed form: the mean moves freely, all else turns about it."""
    weights = np.full(start.size, 1 / start.size) if start.weights is None else start.weights
    x, v = weights @ start.position, weights @ start.velocity
    dx, dv = start.position - x, start.velocity - v
    c, s = math.cos(w * t), math.sin(w * t)
    return np.concatenate([x + t * v + c * dx + s / w * dv, v - w * s * dx + c * dv], axis=1)


@pytest.mark.parametrize("stepper", STEPPERS)
@pytest.mark.parametrize("with_weights", [False, True])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_springs_turn_every_particle_about_the_mean(d, with_weights, stepper):
    system, t, w = Vlasov(d, Quadratic(1.3)), 2.0, 1.3
    start = sample(system, 40, seed=d)
    start = weighted(start) if with_weights else start
    errors = []
    for h in (0.05, 0.025, 0.0125):
        _, states = run(system, start, Time((t,), h, stepper), start.size)
        errors.append(np.abs(states[-1].points - rotated(start, w, t)).max())
    assert order(errors) == pytest.approx(STEPPERS[stepper], abs=0.5)
    assert errors[-1] < 1e-7


def test_a_centred_cloud_turns_rigidly_at_unit_frequency():
    system = Vlasov(2, Quadratic(1.0))
    start = sample(system, 30)
    start = Ensemble(start.position - start.position.mean(axis=0), start.velocity - start.velocity.mean(axis=0))
    distances = pdist(start.points)
    _, states = run(system, start, Time((3.0,), 0.01))
    for state in states[::50]:
        np.testing.assert_allclose(pdist(state.points), distances, rtol=1e-8)
    # At another frequency the ball becomes an ellipse.
    _, states = run(Vlasov(2, Quadratic(2.0)), start, Time((0.8,), 0.01))
    assert np.abs(pdist(states[-1].points) / distances - 1).max() > 0.1


def test_the_bounds_of_springs_hold_for_one_particle_against_many():
    system, n = Vlasov(1, Quadratic(1.0)), 20
    x = np.ones((n, 1))
    x[0] = -1.0
    start = Ensemble(x, np.zeros((n, 1)))
    dynamics, states = run(system, start, Time((0.5,), 0.05), n)
    assert np.abs(states[-1].velocity).max() <= dynamics.bounds(start, 0.5)[1]


# --- gradients of potentials: energy ---------------------------------------------------------------------------------


def energy(start, potential, external=lambda x: 0.0):
    """Kinetic, pair and external energy by plain sums."""
    w = np.full(start.size, 1 / start.size) if start.weights is None else start.weights
    r2 = np.sum((start.position[:, None] - start.position) ** 2, axis=2)
    kinetic = 0.5 * w @ np.sum(start.velocity**2, axis=1)
    return float(kinetic + 0.5 * w @ potential(r2) @ w + np.sum(w * external(start.position)))


@pytest.mark.parametrize("stepper", STEPPERS)
@pytest.mark.parametrize("kernel", [Quadratic(1.5), Gaussian(0.6, 2.0), Gaussian(0.6, -2.0)])
@pytest.mark.parametrize("d", [1, 2])
def test_energy_is_conserved_to_the_order_of_the_stepper(d, kernel, stepper):
    system = Vlasov(d, kernel, Harmonic(0.7))

    def exact(now):
        return energy(now, kernel.at, lambda x: 0.5 * 0.7**2 * np.sum(x**2, axis=1))

    start = weighted(sample(system, 30, seed=d))
    drifts = []
    for h in (0.04, 0.02, 0.01):
        dynamics, states = run(system, start, Time((1.6,), h, stepper), 30)
        energies = np.array([exact(state) for state in states])
        assert dynamics.energy(states[-1]) == pytest.approx(energies[-1], rel=1e-12)
        drifts.append(np.abs(energies - energies[0]).max() / energies[0])
    # The drift may be of a higher order than the positions.
    assert STEPPERS[stepper] - 0.4 < order(drifts) < STEPPERS[stepper] + 1.6
    assert drifts[-1] < 1e-8


def test_a_force_that_is_no_gradient_of_the_energy_changes_it():
    kernel = Gaussian(0.6, 2.0)
    start = sample(Vlasov(1, kernel), 30)
    _, states = run(Vlasov(1, Gaussian(0.6, 1.9)), start, Time((1.0,), 0.01), 30)
    assert abs(energy(states[-1], kernel.at) - energy(start, kernel.at)) > 1e-4


# --- momentum over whole runs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stepper", STEPPERS)
@pytest.mark.parametrize("size", [None, 100])
@pytest.mark.parametrize(
    "system",
    [
        Flocking(1, beta=2.0, R=0.7),
        Flocking(2),
        Flocking(3, R=1.5),
        Flocking(2, sigma=0.0),
        Flocking(1, eta=0.0, D=0.1, kappa=0.1, chi_radius=0.5),
        Vlasov(1, Gaussian(0.5)),
        Vlasov(2, Gaussian(0.7, -1.0)),
        Vlasov(3, Gaussian(1.0)),
        Vlasov(3, Quadratic(1.1)),
    ],
    ids=lambda system: f"{type(system).__name__}-{system.dim}",
)
def test_momentum_is_conserved_by_whole_runs(system, size, stepper):
    start = weighted(sample(system, 100, seed=7))
    _, states = run(system, start, Time((0.6,), 0.1, stepper), size)
    speed = float(start.weights @ np.linalg.norm(start.velocity, axis=1))
    changes = [np.linalg.norm(start.weights @ (state.velocity - start.velocity)) / speed for state in states]
    assert len(changes) == 7
    assert max(changes) < 1e-12
    assert np.abs(states[-1].velocity - start.velocity).max() > 1e-3  # it does move


def test_momentum_is_not_conserved_by_a_signal_with_memory():
    system = Flocking(1, **SIGNAL)
    start = sample(system, 20)
    _, states = run(system, start, Time((1.0,), 0.05))
    assert abs((states[-1].velocity - start.velocity).mean()) > 1e-6


# --- closed forms of single particles --------------------------------------------------------------------------------


@pytest.mark.parametrize("stepper", STEPPERS)
def test_a_trap_turns_every_particle_by_itself(stepper):
    system, w, t = Flocking(2, beta=0.0, external=Harmonic(1.7)), 1.7, 1.5
    start = sample(system, 15)
    _, states = run(system, start, Time((t,), 0.005, stepper))
    c, s = math.cos(w * t), math.sin(w * t)
    x, v = start.position, start.velocity
    np.testing.assert_allclose(states[-1].position, c * x + s / w * v, rtol=0, atol=1e-9)
    np.testing.assert_allclose(states[-1].velocity, c * v - w * s * x, rtol=0, atol=1e-9)


@pytest.mark.parametrize("d", [1, 4])
def test_free_transport_is_a_shear(d):
    system = FreeTransport(d)
    start = sample(system, 9)
    states = [state.ensemble for state in motion(system, None, start, Time((0.0, 0.3, 2.0)))]
    for t, state in zip((0.0, 0.3, 2.0), states, strict=True):
        np.testing.assert_allclose(state.position, start.position + t * start.velocity, rtol=0, atol=1e-15)
        np.testing.assert_array_equal(state.velocity, start.velocity)


@pytest.mark.parametrize("stepper", STEPPERS)
@pytest.mark.parametrize("d", [1, 2, 3])
def test_alignment_without_decay_is_exponential(d, stepper):
    system, beta, t = Flocking(d, beta=1.5, R=0.1, sigma=0.0), 1.5, 2.0
    start = weighted(sample(system, 20, seed=d))
    mean = start.weights @ start.velocity
    _, states = run(system, start, Time((t,), 0.01, stepper))
    fallen = math.exp(-beta * t)
    v = mean + fallen * (start.velocity - mean)
    x = start.position + t * mean + (1 - fallen) / beta * (start.velocity - mean)
    np.testing.assert_allclose(states[-1].velocity, v, rtol=0, atol=1e-8)
    np.testing.assert_allclose(states[-1].position, x, rtol=0, atol=1e-8)


def test_two_aligning_particles_follow_their_own_equation():
    # u = v_2 - v_1, r = x_2 - x_1: u' = -beta psi(r) u and r' = u, so u + beta Psi(r) is constant, Psi' = psi.
    beta, R = 2.0, 0.8
    system = Flocking(1, beta=beta, R=R, sigma=1.0)  # Psi = R arctan(r / R)
    start = Ensemble(np.array([[-0.3], [0.2]]), np.array([[-0.4], [0.5]]))
    _, states = run(system, start, Time((3.0,), 0.005, "rk4"), 2)

    def invariant(state):
        r, u = np.diff(state.position[:, 0])[0], np.diff(state.velocity[:, 0])[0]
        return u + beta * R * math.atan(r / R)

    values = [invariant(state) for state in states]
    assert np.ptp(values) < 1e-9
    assert np.diff(states[-1].velocity[:, 0])[0] < 0.4


# --- alignment loses energy ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [None, 50])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_alignment_never_gains_energy(d, size):
    system = Flocking(d, beta=2.0, R=1.2)
    start = weighted(sample(system, 50, seed=d))
    dynamics, states = run(system, start, Time((1.0,), 0.05), size)
    energies = np.array([dynamics.energy(state) for state in states])
    assert energies[0] == pytest.approx(energy(start, lambda r2: 0 * r2), rel=1e-12)
    assert np.all(np.diff(energies) < 0)
    # Largest differences of velocities never grow either.
    spreads = np.array([pdist(state.velocity).max() for state in states])
    assert np.all(np.diff(spreads) < 1e-12)


def test_alignment_with_the_other_sign_gains_energy():
    system = Flocking(1, beta=-1.0)
    start = sample(system, 50)
    start = Ensemble(0.3 * start.position, 0.3 * start.velocity)  # well inside the box of the law
    dynamics, states = run(system, start, Time((0.5,), 0.05), 50)
    assert np.all(np.diff([dynamics.energy(state) for state in states]) > 0)


# --- the signal ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 2, 3])
def test_two_particles_that_emit_attract_each_other(d):
    system = Flocking(d, beta=0.0, **SIGNAL | {"chi_radius": 1.0})
    axis = np.ones(d) / math.sqrt(d)
    start = Ensemble(np.stack([-0.3 * axis, 0.3 * axis]), np.zeros((2, d)))
    _, states = run(system, start, Time((0.8,), 0.1))
    gaps = [float((state.position[1] - state.position[0]) @ axis) for state in states]
    assert np.all(np.diff(gaps) < 0)
    # Along the line between them, and by symmetry equal and opposite.
    for state in states:
        np.testing.assert_allclose(state.position.sum(axis=0), 0, atol=1e-6)
        apart = state.position[1] - state.position[0]
        np.testing.assert_allclose(apart - (apart @ axis) * axis, 0, atol=1e-6)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_particles_climb_an_initial_signal(sign):
    system = Flocking(1, beta=0.0, **SIGNAL | {"signal_amplitude": sign * 5.0, "signal_width": 0.8})
    start = Ensemble(np.array([[0.5]]), np.zeros((1, 1)))
    _, states = run(system, start, Time((0.1,), 0.01))
    # The closed form at time 0, a particle's own signal being flat at its place.
    slope = -sign * 5.0 * 0.5 / 0.8**2 * math.exp(-0.5 * (0.5 / 0.8) ** 2)
    assert states[1].velocity[0, 0] == pytest.approx(0.01 * slope, rel=0.02)


def test_a_narrow_initial_signal_has_the_slope_of_its_closed_form():
    width = 0.1
    system = Flocking(1, **SIGNAL | {"chi_radius": 1.0, "signal_amplitude": 1.0, "signal_width": width})
    start = sample(system, 50)
    dynamics = system.dynamics(LAW.on(system.phase), 0.5, None)
    state = dynamics.start(start)
    k, x = dynamics.lattice.wavenumbers[0], start.position[:, 0]
    slope = (np.exp(1j * np.outer(x - dynamics.lattice.centre[0], k)) @ (1j * k * state.memory)).real
    exact = -x / width**2 * np.exp(-0.5 * (x / width) ** 2)
    assert np.abs(slope - exact).max() < 1e-6 * np.abs(exact).max()


def test_the_printed_bound_fails_from_rest_and_the_corrected_one_holds():
    system = Flocking(2, **SIGNAL)
    start = sample(system, 60)
    start = Ensemble(start.position, np.zeros_like(start.velocity))
    time = Time((1.0,), 0.05)
    dynamics, states = run(system, start, time)
    fastest = [np.linalg.norm(state.velocity, axis=1).max() for state in states]
    assert fastest[0] == 0.0
    assert fastest[-1] > 1e-3  # Proposition 7.2 as printed: 0
    for i, state in enumerate(states):
        x, v = dynamics.bounds(start, i * 0.05)
        assert np.linalg.norm(state.position, axis=1).max() <= x * (1 + 1e-12)
        assert fastest[i] <= v * (1 + 1e-12)


@pytest.mark.parametrize(("D", "kappa"), [(0.0, 0.0), (0.0, 0.5), (0.2, 0.0), (5.0, 2.0)])
@pytest.mark.parametrize("d", [1, 2])
def test_random_runs_stay_within_bounds_and_region(d, D, kappa):
    rng = np.random.default_rng(int(100 * D + 10 * kappa + d))
    for seed in range(4):
        # psi >= 0 of any strength and range, a signal of any sensitivity, a trap.
        system = Flocking(
            d,
            beta=rng.uniform(0, 3),
            R=rng.uniform(0.7, 2),
            sigma=rng.uniform(0.1, 1.5),
            eta=rng.uniform(0.5, 4),
            D=D,
            kappa=kappa,
            chi_radius=rng.uniform(0.4, 0.9),
            signal_amplitude=rng.uniform(-1, 1),
            external=Harmonic(rng.uniform(0.3, 1)) if seed % 2 else None,
        )
        start, time = sample(system, 80, seed), Time((0.8,), 0.04)
        dynamics, states = run(system, start, time)  # leaving the region would raise
        region = dynamics.sums.region
        for i, state in enumerate(states):
            x, v = dynamics.bounds(start, i * 0.04)
            assert np.linalg.norm(state.position, axis=1).max() <= x * (1 + 1e-12)
            assert np.linalg.norm(state.velocity, axis=1).max() <= v * (1 + 1e-12)
            assert np.all((state.position >= region.low) & (state.position <= region.high))


@pytest.mark.parametrize("strength", [3.0, -3.0])
@pytest.mark.parametrize("d", [1, 2])
def test_random_runs_of_potentials_stay_within_bounds_and_region(d, strength):
    system = Vlasov(d, Gaussian(0.5, strength), Harmonic(0.8))
    for seed in range(3):
        start = sample(system, 60, seed)
        dynamics, states = run(system, start, Time((0.8,), 0.04))
        for i, state in enumerate(states):
            x, v = dynamics.bounds(start, i * 0.04)
            assert np.linalg.norm(state.position, axis=1).max() <= x
            assert np.linalg.norm(state.velocity, axis=1).max() <= v


def test_three_dimensions_with_a_signal_run_within_bounds():
    system = Flocking(3, **SIGNAL | {"chi_radius": 1.0})
    start = sample(system, 50)
    dynamics, states = run(system, start, Time((0.2,), 0.1))
    x, v = dynamics.bounds(start, 0.2)
    assert np.linalg.norm(states[-1].position, axis=1).max() <= x
    assert np.linalg.norm(states[-1].velocity, axis=1).max() <= v


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"eta": 1.0}, "D: missing"),
        ({"D": 0.1}, "kappa: missing"),
        ({"signal_amplitude": 1.0}, "D: missing"),
        ({**SIGNAL, "signal_centre": (0.0, 1.0)}, "signal_centre: 2 entries; allowed: 1"),
    ],
)
def test_half_a_signal_is_refused_in_one_line(settings, words):
    with pytest.raises(ValueError, match=f"^{words}") as raised:
        Flocking(1, **settings)
    assert "\n" not in str(raised.value)
