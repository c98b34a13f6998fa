"""The mean field by characteristics: against solutions that share no line with it, and what it refuses.

`Oracle` solves the equations of d = 1 by SciPy's integrator with sums over all pairs and all modes, written out.
"""

import dataclasses
import itertools
import re

import numpy as np
import pytest
from scipy import integrate
from test_flocking import BOX, CURVED, MOVING, SIGNAL, aligned, measured, offsets, solved, study

from mfstudy.ensemble import Ensemble
from mfstudy.meanfield import UnreachableError
from mfstudy.references import characteristics
from mfstudy.systems.flocking import Flocking

CHEMOTAXIS = f"{CURVED}\neta = 0.5\n{SIGNAL}"


class Oracle:
    """Alignment (1 + r^2)^-0.45 and chemotaxis in d = 1, for weighted particles and tracers that they drive.

    The modes of the signal live on the torus of the system's lattice: which modes the signal has belongs to the model.
    """

    def __init__(self, lattice=None, eta=0.5, D=0.2, kappa=0.5, radius=0.8, power=4):
        self.eta, self.k = eta, np.zeros(0)
        if lattice is not None:
            (period,), (count,), (self.centre,) = lattice.period, lattice.shape, lattice.centre
            self.k = 2 * np.pi / period * np.arange(1, count // 2 + 1)
            r, w = np.polynomial.legendre.leggauss(400)
            bump = w * (1 - r**2) ** power
            self.emission = np.cos(np.outer(self.k * radius, r)) @ bump / bump.sum() / period
            self.decay = D * self.k**2 + kappa

    def waves(self, x):
        return np.exp(1j * np.outer(x - self.centre, self.k))

    def slope_of(self, modes, x):
        """Return phi'(x) from the modes > 0."""
        return 2 * np.real(self.waves(x) @ (1j * self.k * modes))

    def run(self, points, weights, times, tracers=None):
        """Return points (T, n, 2), modes (T, K) and tracers (T, m, 2) at times that begin with 0."""
        n, m = len(points), 0 if tracers is None else len(tracers)
        z = np.concatenate([points, np.zeros((0, 2)) if tracers is None else tracers])

        def rate(_, y):
            x, v, modes = y[: n + m].real, y[n + m : 2 * (n + m)].real, y[2 * (n + m) :]
            psi = (1 + (x[:, None] - x[:n]) ** 2) ** -0.45 * weights
            force = psi @ v[:n] - psi.sum(axis=1) * v
            if not len(self.k):
                return np.concatenate([v, force]).astype(complex)
            force = force + self.eta * self.slope_of(modes, x)
            source = self.emission * (weights @ np.conj(self.waves(x[:n])))
            return np.concatenate([v, force, source - self.decay * modes])

        states = [np.concatenate([z[:, 0], z[:, 1], np.zeros(len(self.k))]).astype(complex)]
        for span in itertools.pairwise(times):  # one by one: the dense output is less accurate than the ends
            found = integrate.solve_ivp(rate, span, states[-1], "DOP853", rtol=1e-12, atol=1e-14)
            assert found.success
            states.append(found.y[:, -1])
        y = np.stack(states)
        course = y[:, : 2 * (n + m)].real.reshape(-1, 2, n + m).transpose(0, 2, 1)
        return course[:, :n], y[:, 2 * (n + m) :], course[:, n:]


def tensor_rule(halfwidths=(1.0, 0.5), counts=(48, 16)):
    """Return Gauss-Legendre nodes (n, 2) and weights (n,) of the box law."""
    rules = [np.polynomial.legendre.leggauss(n) for n in counts]
    grid = np.meshgrid(*(h * x for h, (x, _) in zip(halfwidths, rules, strict=True)), indexing="ij")
    weights = np.multiply.outer(rules[0][1], rules[1][1]).ravel() / 4
    return np.stack([g.ravel() for g in grid], axis=1), weights


def oracle(problem):
    """Return the oracle of a problem, its mean field's points, modes, and the weights."""
    model = Oracle(problem.dynamics(10**6).lattice)
    points, weights = tensor_rule()
    return model, *model.run(points, weights, problem.time.save)[:2], weights


def driven(meanfield, problem, points):
    """Return the points at the save times that the mean field drives, (T, n, 2)."""
    states = dict(enumerate(meanfield.tracers(Ensemble(points[:, :1], points[:, 1:]))))
    return np.stack([states[step].ensemble.points for step in problem.time.steps])


def true_errors(problem, meanfield):
    """Return the distances, in root mean square over rho_in, of characteristics from the oracle's."""
    _, expected, _, weights = oracle(problem)
    found = driven(meanfield, problem, expected[0])
    return np.sqrt(np.sum((found - expected) ** 2, axis=2) @ weights)


@pytest.mark.parametrize("system", [CURVED, CHEMOTAXIS])
@pytest.mark.parametrize(("step", "stepper"), [(0.05, "adams"), (0.02, "adams"), (0.05, "rk4")])
def test_the_true_error_is_below_the_reported_one(system, step, stepper):
    problem = study(system, BOX, "coupling", step=step, more=f"stepper = '{stepper}'").problem
    meanfield = problem.meanfield(solved(problem))
    reported = np.array([meanfield.at(i).error for i in range(3)])
    true = true_errors(problem, meanfield)
    assert true[0] == 0
    assert np.all(true <= reported)
    assert np.all(true[1:] > 0.1 * reported[1:])  # and not because the report is vain


@pytest.mark.parametrize("system", [CURVED, CHEMOTAXIS])
def test_in_one_dimension_the_error_is_below_1e_10(system):
    problem = study(system, BOX, "coupling", step=0.01).problem
    shared = solved(problem)
    assert np.all(shared["errors"][:, :3].sum(axis=1) <= 1e-10)
    meanfield = problem.meanfield(shared)
    assert np.all(true_errors(problem, meanfield) <= 1e-10)
    # The nodes' first moments against those of the oracle's rule.
    _, points, _, weights = oracle(problem)
    for i, z in enumerate(points):
        snapshot = meanfield.at(i)
        np.testing.assert_allclose(snapshot.mean, weights @ z, atol=2e-10)
        np.testing.assert_allclose(snapshot.covariance, (z * weights[:, None]).T @ z, atol=2e-10)


@pytest.mark.parametrize("step", [0.05, 0.01])
def test_the_stored_signal_is_that_of_the_oracle(step):
    problem = study(CHEMOTAXIS, BOX, "coupling", step=step).problem
    meanfield = problem.meanfield(solved(problem))
    model, _, modes, _ = oracle(problem)
    x = np.linspace(-3, 3, 1201)
    positive = slice(len(model.k) + 1, None)
    for i, index in enumerate(problem.time.steps):
        memory = meanfield.memory(index)
        assert memory is not None
        # Of a slope of about 0.3; modes that decay faster are beyond the oracle, an explicit method.
        off = model.slope_of(np.where(model.decay < 150, modes[i] - memory[positive], 0), x)
        assert np.abs(off).max() <= meanfield.at(i).signal_error + 1e-11  # the accuracy of the oracle
    largest = np.argmax(np.abs(memory[positive]))
    dropped = memory[positive] * (np.arange(len(model.k)) != largest)
    assert np.abs(model.slope_of(modes[-1] - dropped, x)).max() > 1e-2


def reversed_sensitivity(monkeypatch, problem):
    """Return the mean field of particles that flee the signal, in the boxes of those that follow it."""
    right = Flocking.dynamics

    def dynamics(*arguments):
        bound = right(*arguments)
        return dataclasses.replace(bound, medium=dataclasses.replace(bound.medium, eta=-bound.medium.eta))

    with monkeypatch.context() as patch:
        patch.setattr(Flocking, "dynamics", dynamics)
        return problem.meanfield(problem.solve())


def strengthened(monkeypatch, problem):
    """Return a mean field whose force is wrong by 1 %."""
    shared = dict(solved(problem))
    return problem.meanfield(shared | {"field": 1.01 * shared["field"]})


def widened(monkeypatch, problem):
    """Return the mean field of a law that is wrong by 1 %."""
    wrong = study(CURVED, BOX.replace("1.0", "1.01"), "coupling").problem
    return wrong.meanfield(solved(wrong))


@pytest.mark.parametrize(
    ("system", "spoil"), [(CHEMOTAXIS, reversed_sensitivity), (CURVED, strengthened), (CURVED, widened)]
)
def test_a_wrong_reference_is_far_from_the_oracle(monkeypatch, system, spoil):
    problem = study(system, BOX, "coupling").problem
    meanfield = spoil(monkeypatch, problem)
    assert np.all(true_errors(problem, meanfield)[1:] > 1e3 * meanfield.at(2).error)


def test_the_error_falls_spectrally_with_the_nodes(monkeypatch):
    problem = study(CHEMOTAXIS, BOX, "coupling", reference="kind = 'characteristics'\ntolerance = 0.5").problem
    levels, errors = characteristics.LEVELS, []
    for pair in itertools.pairwise(levels[:6]):
        monkeypatch.setattr(characteristics, "LEVELS", pair)
        errors.append(problem.solve()["errors"][:, 0].max())
    # From 10 to 32 nodes an axis algebraic convergence of order 6 would gain 1073.
    assert errors[0] / errors[-1] > 5000
    assert np.all(np.array(errors[:-1]) / np.array(errors[1:]) > 3)
    assert errors[-1] < 1e-4 * errors[0]


@pytest.mark.parametrize(
    ("dim", "system", "tolerance", "options"),
    [
        (2, CHEMOTAXIS, 1e-7, {"save": (0.0, 0.5)}),
        (3, f"{CURVED}", 1e-4, {"save": (0.0, 0.5), "step": 0.05}),
    ],
)
def test_the_tolerance_is_met_in_higher_dimensions(dim, system, tolerance, options):
    text = f"kind = 'characteristics'\ntolerance = {tolerance}"
    problem = study(system, BOX, "coupling", dim=dim, reference=text, **options).problem
    shared = problem.solve()
    assert np.all(shared["errors"][:, :3].sum(axis=1) <= tolerance)
    mean = problem.meanfield(shared).at(1).mean
    assert np.abs(mean).max() < 1e-12  # symmetry
    covariance = problem.meanfield(shared).at(1).covariance
    np.testing.assert_allclose(covariance[:dim, :dim], covariance[0, 0] * np.eye(dim), atol=1e-10)


REACHED = re.compile(r"a (tolerance|step) of ([\d.e+-]+)")


@pytest.mark.parametrize("most", [60, 100, 250])
def test_nodes_that_do_not_suffice_are_refused_and_the_advice_helps(monkeypatch, most):
    monkeypatch.setattr(characteristics, "MOST_NODES", most)

    def solve(tolerance):
        text = f"kind = 'characteristics'\ntolerance = {tolerance}"
        return study(CHEMOTAXIS, BOX, "coupling", step=0.01, reference=text).problem.solve()

    with pytest.raises(UnreachableError, match=r"^reference: with \d+ nodes its error is ") as caught:
        solve(1e-9)
    assert "\n" not in str(caught.value)
    advised = dict(REACHED.findall(str(caught.value)))
    assert solve(float(advised["tolerance"]))["errors"][:, :3].sum(axis=1).max() <= float(advised["tolerance"])


@pytest.mark.parametrize(
    ("step", "tolerance", "stepper"), [(0.1, 1e-6, "adams"), (0.1, 1e-8, "adams"), (0.1, 1e-8, "rk4")]
)
def test_a_step_that_is_too_long_is_refused_and_the_advice_helps(step, tolerance, stepper):
    def solve(step, tolerance):
        text = f"kind = 'characteristics'\ntolerance = {tolerance}"
        more = f"stepper = '{stepper}'"
        return study(CHEMOTAXIS, BOX, "coupling", step=step, reference=text, more=more).problem.solve()

    with pytest.raises(UnreachableError, match=r"^reference: the step 0\.1 leaves an error of ") as caught:
        solve(step, tolerance)
    assert "\n" not in str(caught.value)
    advised = {key: float(value) for key, value in REACHED.findall(str(caught.value))}
    for finer, looser in ((advised["step"], tolerance), (step, advised.get("tolerance", 1.0))):
        assert solve(finer, looser)["errors"][:, :3].sum(axis=1).max() <= looser


def test_a_force_that_is_not_exact_enough_is_refused_and_the_advice_helps():
    def solve(tolerance):
        text = f"kind = 'characteristics'\ntolerance = {tolerance}"
        return study(CURVED, BOX, "coupling", step=0.01, reference=text).problem.solve()

    with pytest.raises(UnreachableError, match=r"^reference: the force itself leaves an error of ") as caught:
        solve(1e-13)
    assert "\n" not in str(caught.value)
    advised = float(dict(REACHED.findall(str(caught.value)))["tolerance"])
    assert solve(advised)["errors"][:, :3].sum(axis=1).max() <= advised


MONOKINETIC = """kind = "monokinetic"
position = {kind = "box", position_halfwidth = 1.0}
velocity = {kind = "linear", rate = -0.4}"""
CLUSTERS = """kind = "clusters"
centres = [[-2.0], [2.0]]
masses = [0.3, 0.7]
position_halfwidth = 0.5
velocity_halfwidth = 0.3"""


@pytest.mark.parametrize("law", [BOX, MOVING[1], MONOKINETIC, CLUSTERS])
def test_the_mean_moves_freely(law):
    problem = study(CURVED, law, "coupling").problem
    x, v = problem.initial.mean
    meanfield = problem.meanfield(solved(problem))
    for i, t in enumerate(problem.time.save):
        np.testing.assert_allclose(meanfield.at(i).mean, [x + t * v, v], atol=1e-12)


@pytest.mark.parametrize(("law", "symmetric"), [(BOX, True), (MONOKINETIC, True), (CLUSTERS, False)])
def test_laws_of_a_symmetry_keep_it_with_a_signal(law, symmetric):
    problem = study(CHEMOTAXIS, law, "coupling").problem
    x, v = problem.initial.mean
    means = np.array([problem.meanfield(solved(problem)).at(i).mean for i in range(3)])
    free = np.array([[x + t * v, v] for t in problem.time.save])
    assert (np.abs(means - free).max() < 1e-12) == symmetric


@pytest.mark.parametrize("law", [MONOKINETIC, CLUSTERS])
def test_equal_alignment_of_other_laws_is_its_closed_form(law):
    problem = study(CURVED.replace("0.45", "0.0").replace("beta = 1.0", "beta = 1.3"), law, "coupling").problem
    meanfield = problem.meanfield(solved(problem))
    found, _ = measured(problem, meanfield, 80, 3)
    exact = np.sum(offsets(problem, 80, 3)[1] ** 2, axis=1)[:, None] * aligned(np.array(problem.time.save))
    np.testing.assert_allclose(found["coupling_distance_sq"], exact, rtol=1e-7)


def test_a_monokinetic_law_has_nodes_in_the_position_alone():
    problem = study(CURVED, MONOKINETIC, "coupling").problem
    points = solved(problem)["points"][0]
    assert len(np.unique(points[:, 0])) == len(points)
    np.testing.assert_allclose(points[:, 1], -0.4 * points[:, 0], rtol=1e-14)
