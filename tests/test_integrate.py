"""Steppers: orders against SciPy's integrators with plain sums, stiff memories, tracers, times."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from mfstudy.ensemble import Ensemble, State
from mfstudy.forces.chemical import bump_transform
from mfstudy.integrate import Time, moments, motion, trajectory
from mfstudy.kernels.gaussian import Gaussian
from mfstudy.laws.box import Box
from mfstudy.systems import Parts
from mfstudy.systems.flocking import Flocking
from mfstudy.systems.free_transport import FreeTransport
from mfstudy.systems.vlasov import Vlasov

LAW = Box(1.0, 0.5)
STEPS = (0.05, 0.025, 0.0125, 0.00625)
STEPPERS = {"adams": 5, "rk4": 4}


def sample(system, n, seed=0):
    return LAW.on(system.phase).sample(np.random.default_rng(seed), n)


def final(system, start, time, size=None):
    """Return the last state of a run; size None: by Fourier sums."""
    dynamics = system.dynamics(LAW.on(system.phase), time.horizon, size)
    *_, last = motion(system, dynamics, start, time)
    return last


def gaussian_force(x, width, strength):
    apart = x[:, None] - x[None]
    pull = strength / width**2 * np.exp(-0.5 * np.sum(apart**2, axis=2) / width**2)
    return np.einsum("ij,ijd->id", pull, apart) / len(x)


def alignment_force(x, v, system):
    apart = x[:, None] - x[None]
    psi = system.beta * (1 + np.sum(apart**2, axis=2) / system.R**2) ** -system.sigma
    return np.einsum("ij,ijd->id", psi, v[None] - v[:, None]) / len(x)


def scipy_final(force, start, t):
    """Return x and v at t by SciPy's order 8."""
    n, d = start.position.shape

    def rhs(_, y):
        x, v = y[: n * d].reshape(n, d), y[n * d :].reshape(n, d)
        return np.concatenate([v.ravel(), force(x, v).ravel()])

    y = np.concatenate([start.position.ravel(), start.velocity.ravel()])
    solved = solve_ivp(rhs, (0, t), y, method="DOP853", rtol=1e-13, atol=1e-14).y[:, -1]
    return np.concatenate([solved[: n * d].reshape(n, d), solved[n * d :].reshape(n, d)], axis=1)


def order(errors):
    """Return the observed order over steps that are halved."""
    return math.log2(errors[0] / errors[-1]) / (len(errors) - 1)


@pytest.mark.parametrize("stepper", STEPPERS)
@pytest.mark.parametrize("kind", ["vlasov", "flocking"])
@pytest.mark.parametrize("d", [1, 2])
def test_orders_of_smooth_forces(d, kind, stepper):
    aligning = Flocking(d, beta=2.0, R=0.7, sigma=1.0)
    system = {"vlasov": Vlasov(d, Gaussian(0.6, 2.0)), "flocking": aligning}[kind]

    def force(x, v):
        return gaussian_force(x, 0.6, 2.0) if kind == "vlasov" else alignment_force(x, v, aligning)

    start, t = sample(system, 25, seed=d), 1.6
    exact = scipy_final(force, start, t)
    errors = [np.abs(final(system, start, Time((t,), h, stepper), 25).ensemble.points - exact).max() for h in STEPS]
    assert order(errors) == pytest.approx(STEPPERS[stepper], abs=0.4)
    assert errors[-1] < 1e-10


# --- with a signal: SciPy on particles and modes, in plain sums -------------------------------------------------------


def hybrid(system, lattice, t, start, memory, method="DOP853"):
    """Return (points, modes) at t of system (1) of Natalini and Paul in d = 1, by plain sums on the same lattice."""
    n, k = len(start.position), lattice.wavenumbers[0]
    decay = system.D * k**2 + system.kappa
    source = bump_transform(1, system.chi_power, system.chi_radius * np.abs(k)) / lattice.period[0]

    def rhs(_, y):
        x, v, m = y[:n].real, y[n : 2 * n].real, y[2 * n :]
        wave = np.exp(1j * np.outer(x - lattice.centre[0], k))
        psi = system.beta * (1 + (x[:, None] - x) ** 2 / system.R**2) ** -system.sigma
        force = np.mean(psi * (v - v[:, None]), axis=1) + system.eta * (wave @ (1j * k * m)).real
        return np.concatenate([v, force, source * np.conj(wave).mean(axis=0) - decay * m])

    y = np.concatenate([start.position[:, 0], start.velocity[:, 0], memory]).astype(complex)
    y = solve_ivp(rhs, (0, t), y, method=method, rtol=3e-13, atol=1e-14).y[:, -1]
    return np.stack([y[:n].real, y[n : 2 * n].real], axis=1), y[2 * n :]


def swarm(**changes):
    settings = {"eta": 2.0, "D": 0.05, "kappa": 0.5, "chi_radius": 0.8, "chi_power": 6.0, "signal_amplitude": 0.3}
    return Flocking(1, **(settings | changes))


def errors_with_signal(system, start, t, steps, stepper):
    """Return the largest errors of particles, and of modes relative to the largest mode."""
    dynamics = system.dynamics(LAW.on(system.phase), t, None)
    points, modes = hybrid(system, dynamics.lattice, t, start, dynamics.start(start).memory)
    particles, memories = [], []
    for h in steps:
        *_, last = motion(system, dynamics, start, Time((t,), h, stepper))
        particles.append(np.abs(last.ensemble.points - points).max())
        memories.append(np.abs(last.memory - modes).max() / np.abs(modes).max())
    return particles, memories


@pytest.mark.parametrize("stepper", STEPPERS)
def test_orders_with_a_signal(stepper):
    system = swarm()
    particles, memories = errors_with_signal(system, sample(system, 8), 1.6, STEPS, stepper)
    for errors in (particles, memories):
        assert order(errors) == pytest.approx(STEPPERS[stepper], abs=0.6)
        assert errors[-1] < 1e-8


@pytest.mark.parametrize("stepper", STEPPERS)
def test_stiff_modes_do_not_restrict_the_step(stepper):
    system, t = swarm(D=3.0), 0.8
    start = sample(system, 6)
    lattice = system.dynamics(LAW.on(system.phase), t, None).lattice
    # Far beyond where an explicit method is stable: 2.8 for the classical one.
    assert 3.0 * lattice.square.max() * STEPS[-1] > 10
    particles, memories = errors_with_signal(system, start, t, STEPS, stepper)
    for errors in (particles, memories):
        # A signal that starts to be fed has a layer of width 1/lambda: less than the order of smooth problems.
        assert order(errors) > 2.2
        assert max(errors) < 1e-3
        assert errors[-1] < 1e-6


def classical(rate, state, h, count):
    """The textbook's Runge-Kutta method on (x, v, m), -lambda m among the rates."""
    y = state
    for _ in range(count):
        a = rate(y)
        b = rate(y + 0.5 * h * a)
        c = rate(y + 0.5 * h * b)
        d = rate(y + h * c)
        y = y + h / 6 * (a + 2 * b + 2 * c + d)
        yield y


def test_the_classical_method_would_blow_up_on_stiff_modes():
    # The negative control of the test above: same system, same step, -lambda m not integrated exactly.
    system, t, h = swarm(D=3.0), 0.8, 0.025
    start = sample(system, 6)
    dynamics = system.dynamics(LAW.on(system.phase), t, None)
    memory = dynamics.start(start).memory
    feed = dynamics.source(State(start, memory)).feed
    *_, last = classical(lambda m: feed - dynamics.decay * m, memory, h, 8)
    assert np.abs(last).max() > 1e6 * np.abs(memory).max()


def test_without_memory_rk4_is_the_classical_method():
    system = Vlasov(2, Gaussian(0.6, 2.0))
    start, n, h = sample(system, 12), 12, 0.1
    dynamics = system.dynamics(LAW.on(system.phase), 1.0, n)

    def rate(y):
        state = State(Ensemble(y[:, :2], y[:, 2:]))
        return dynamics.rates(state, dynamics.source(state)).ensemble.points

    states = list(motion(system, dynamics, start, Time((1.0,), h, "rk4")))
    assert len(states) == 11
    for state, y in zip(states[1:], classical(rate, start.points, h, 10), strict=True):
        np.testing.assert_allclose(state.ensemble.points, y, rtol=0, atol=2e-15)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6])
def test_fewer_steps_than_the_start_of_adams_needs(count):
    # y' = -y: the start is Runge-Kutta steps of half the length.
    def rate(state):
        return State(Ensemble(None, -state.ensemble.velocity))

    h = 0.1
    time = Time((count * h,), h, "adams")
    states = list(trajectory(rate, State(Ensemble(None, np.ones((1, 1)))), None, time))
    assert len(states) == count + 1
    factor = sum((-h / 2) ** i / math.factorial(i) for i in range(5)) ** 2
    for i, state in enumerate(states):
        y = float(state.ensemble.velocity[0, 0])
        assert y == pytest.approx(factor**i, rel=1e-14) if i <= 4 else abs(y - math.exp(-i * h)) < 1e-5


@pytest.mark.parametrize("stepper", STEPPERS)
def test_no_steps_leave_the_start(stepper):
    start = State(Ensemble(np.ones((2, 1)), np.ones((2, 1))))
    states = list(trajectory(lambda state: state, start, None, Time((0.0,), 0.1, stepper)))
    assert states == [start]


# --- tracers are particles of weight 0 -------------------------------------------------------------------------------


@pytest.mark.parametrize("stepper", STEPPERS)
@pytest.mark.parametrize("settings", [{}, {"eta": 1.0, "D": 0.1, "kappa": 0.5, "chi_radius": 0.5}])
@pytest.mark.parametrize("d", [1, 2])
def test_tracers_of_stored_fields_are_particles_of_weight_zero(d, settings, stepper):
    system, heavy, light = Flocking(d, **settings), 60, 15
    start = sample(system, heavy + light)
    weights = np.r_[np.full(heavy, 1 / heavy), np.zeros(light)]
    together = Ensemble(start.position, start.velocity, weights)
    time = Time((0.8,), 0.1, stepper)
    dynamics = system.dynamics(LAW.on(system.phase), time.horizon, None)
    fields = []

    def rate(state):
        parts = dynamics.source(state)
        fields.append(parts.field)
        return dynamics.rates(state, parts)

    whole = list(trajectory(rate, dynamics.start(together), dynamics.decay, time))
    stored = iter(fields)
    alone = trajectory(
        lambda state: dynamics.rates(state, Parts(next(stored))),
        State(Ensemble(start.position[heavy:], start.velocity[heavy:])),
        None,
        time,
    )
    for state, tracers in zip(whole, alone, strict=True):
        np.testing.assert_allclose(tracers.ensemble.points, state.ensemble.points[heavy:], rtol=0, atol=1e-14)
    assert next(stored, None) is None
    # Fields that are one evaluation late are not the same.
    late = iter([fields[0], *fields])
    *_, wrong = trajectory(
        lambda state: dynamics.rates(state, Parts(next(late))),
        State(Ensemble(start.position[heavy:], start.velocity[heavy:])),
        None,
        time,
    )
    assert np.abs(wrong.ensemble.points - whole[-1].ensemble.points[heavy:]).max() > 1e-6


@pytest.mark.parametrize("stepper", STEPPERS)
def test_particles_of_weight_zero_change_nothing(stepper):
    system, time = Flocking(1, eta=1.0, D=0.1, kappa=0.5, chi_radius=0.5), Time((0.6,), 0.1, stepper)
    start = sample(system, 50)
    weights = np.r_[np.full(40, 1 / 40), np.zeros(10)]
    alone = final(system, Ensemble(start.position[:40], start.velocity[:40]), time)
    among = final(system, Ensemble(start.position, start.velocity, weights), time)
    np.testing.assert_allclose(among.ensemble.points[:40], alone.ensemble.points, rtol=0, atol=1e-11)
    np.testing.assert_allclose(among.memory, alone.memory, rtol=0, atol=1e-11)


# --- times -----------------------------------------------------------------------------------------------------------


def test_a_missing_step_and_one_that_does_not_divide_are_refused():
    with pytest.raises(ValueError, match=r"^step: missing; allowed") as missing:
        _ = Time((0.0, 1.0)).steps
    with pytest.raises(ValueError, match=r"^step: 0.3 does not divide the save time 1.0; allowed: 0.2 does") as uneven:
        _ = Time((0.0, 1.0), 0.3).steps
    with pytest.raises(ValueError, match=r"^save: 1 after 1; allowed"):
        Time((1.0, 1.0), 0.1)
    with pytest.raises(ValueError, match=r"^save: empty"):
        Time((), 0.1)
    assert "\n" not in str(missing.value) + str(uneven.value)


def test_a_step_longer_than_the_first_save_time_is_refused_with_one_that_divides():
    with pytest.raises(ValueError, match=r"0.5; allowed: 0.5 does"):
        _ = Time((0.5, 1.0), 2.0).steps


@pytest.mark.parametrize(("save", "step", "counts"), [((0.0, 0.3, 0.9), 0.1, (0, 3, 9)), ((1.0,), 1 / 3, (3,))])
def test_steps_count_to_each_save_time(save, step, counts):
    time = Time(save, step)
    assert time.steps == counts
    assert time.every(4).steps == tuple(4 * c for c in counts)
    np.testing.assert_allclose(moments(Flocking(1), time), np.arange(counts[-1] + 1) * step, atol=1e-15)
    assert moments(FreeTransport(1), time) == save
