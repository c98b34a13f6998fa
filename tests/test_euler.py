"""Monokinetic data and pressureless Euler: flows in closed form, an independent solver, SciPy's densities; refusals.

Nothing here is random.
"""

import dataclasses
import json
import math
import re
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats
from test_characteristics import CHEMOTAXIS, Oracle
from test_flocking import BOX, CONSTANT, CURVED, MOVING, solved, study

import mfstudy
from mfstudy import plot
from mfstudy.components import InputError
from mfstudy.ensemble import Phase
from mfstudy.laws.ball import Ball
from mfstudy.laws.box import Box
from mfstudy.laws.clusters import Clusters
from mfstudy.laws.gaussian import Gaussian
from mfstudy.laws.monokinetic import Monokinetic
from mfstudy.laws.pareto import Pareto
from mfstudy.laws.student import Student
from mfstudy.meanfield import Euler, UnreachableError
from mfstudy.references import _euler
from mfstudy.velocities.linear import Linear
from mfstudy.velocities.wave import Wave

BETA, OMEGA = 0.8, 1.3
FREE = 'kind = "flocking"\nbeta = 0.0'
ALIGNED = f'kind = "flocking"\nbeta = {BETA}\nsigma = 0.0'
TRAPPED = f'{FREE}\nexternal = {{kind = "harmonic", frequency = {OMEGA}}}'
POSITIONS = {
    "box": '{kind = "box", position_halfwidth = 1.0}',
    "ball": '{kind = "ball", position_radius = 1.0}',
    "gaussian": '{kind = "gaussian", position_std = 0.7}',
}
WAVE, STEEP = "wave", {"kind": "wave", "amplitude": -0.5, "wavenumber": 2.0}
EULER = "kind = 'characteristics'\neuler = true"


def law(velocity, position="box"):
    """Return the table of a law; the velocity is a rate or the table of a field."""
    field = velocity if isinstance(velocity, dict) else {"kind": "linear", "rate": velocity}
    inline = ", ".join(f"{key} = {value!r}" for key, value in field.items())
    return f'kind = "monokinetic"\nposition = {POSITIONS[position]}\nvelocity = {{{inline}}}'


def factors(system, t):
    """Return (c, s, c', s') with x = c x_0 + s u_0 and v = c' x_0 + s' u_0 up to the drift of alignment."""
    if system == FREE:
        return 1.0, t, 0.0, 1.0
    if system == ALIGNED:
        return 1.0, -math.expm1(-BETA * t) / BETA, 0.0, math.exp(-BETA * t)
    cosine, sine = math.cos(OMEGA * t), math.sin(OMEGA * t)
    return cosine, sine / OMEGA, -OMEGA * sine, cosine


def wave(amplitude, k, x):
    """Return u and Du of the wave at positions (n, d), written out."""
    n, d = x.shape
    u, slopes = np.zeros((n, d)), np.zeros((n, d, d))
    for a in range(d):
        b = (a + 1) % d
        u[:, a] = amplitude * np.sin(k * x[:, b] + a)
        slopes[:, a, b] = amplitude * k * np.cos(k * x[:, b] + a)
    return u, slopes


def expected(system, field, x, t):
    """Return positions, velocities and det DX of an exactly solvable flow from box positions of half-width 1."""
    n, d = x.shape
    if isinstance(field, dict):
        amplitude, k = field["amplitude"], field["wavenumber"]
        u, slopes = wave(amplitude, k, x)
        mean = amplitude * math.sin(k) / k * np.sin(np.arange(d))  # over the box
    else:
        u, slopes, mean = field * x, np.tile(field * np.eye(d), (n, 1, 1)), np.zeros(d)
    c, s, c_dot, s_dot = factors(system, t)
    drift = system == ALIGNED
    position = c * x + s * u + drift * (t - s) * mean
    velocity = c_dot * x + s_dot * u + drift * (1 - s_dot) * mean
    return position, velocity, np.linalg.det(c * np.eye(d) + s * slopes)


def of(problem, shared, index, probes=False):
    return Euler.of(shared, problem.time.save[index], index, probes)


FIELDS = [0.6, -0.5, {"kind": "wave", "amplitude": 0.5, "wavenumber": 2.0}]


@pytest.mark.parametrize(
    ("field", "dim"),
    [(field, dim) for field in FIELDS for dim in (1, 2, 3) if dim < 3 or isinstance(field, dict)],
    ids=str,
)
@pytest.mark.parametrize("system", [FREE, ALIGNED, TRAPPED], ids=["free", "aligned", "trapped"])
def test_fields_before_the_caustic_are_those_of_exact_flows(system, field, dim):
    problem = study(system, law(field), "coupling", dim=dim, save=(0.0, 0.3, 0.6), step=0.02).problem
    shared = solved(problem)
    starts = of(problem, shared, 0).positions, of(problem, shared, 0, probes=True).positions
    assert np.abs(starts[0]).max() <= 1
    for i, t in enumerate(problem.time.save):
        for probes, x in enumerate(starts):
            found = of(problem, shared, i, bool(probes))
            position, velocity, determinant = expected(system, field, x, t)
            # Round-off, and where there is a force the error of the step.
            slack = 1e-12 if system == FREE else 2e-9
            np.testing.assert_allclose(found.positions, position, rtol=0, atol=slack)
            np.testing.assert_allclose(found.velocity, velocity, rtol=0, atol=slack)
            np.testing.assert_allclose(found.det_DX, determinant, rtol=0, atol=slack)
            np.testing.assert_allclose(found.density, 0.5**dim / determinant, rtol=20 * slack)
            assert found.single_valued
            assert found.caustic is None
        assert of(problem, shared, i).weights.sum() == pytest.approx(1)
        assert of(problem, shared, i, probes=True).weights is None


@pytest.mark.parametrize("stepper", ["adams", "rk4"])
def test_the_error_of_the_determinant_is_that_of_the_step(stepper):
    errors = []
    for step in (0.1, 0.05, 0.025):
        more = f"stepper = {stepper!r}"
        problem = study(TRAPPED, law(STEEP), "coupling", dim=1, save=(0.0, 0.6), step=step, more=more).problem
        shared = problem.solve()
        exact = expected(TRAPPED, STEEP, of(problem, shared, 0).positions, 0.6)[2]
        errors.append(np.abs(of(problem, shared, 1).det_DX - exact).max())
    assert errors[0] < 1e-4
    assert np.all(np.array(errors[:-1]) / np.array(errors[1:]) > 10)  # order 4 or 5; at order 3 it would be 8


def test_a_wrong_sign_of_the_slope_is_found_out(monkeypatch):
    right = Wave.jacobian
    monkeypatch.setattr(Wave, "jacobian", lambda self, x: -right(self, x))
    problem = study(FREE, law(STEEP), "coupling", save=(0.0, 0.5)).problem
    shared = problem.solve()
    x = of(problem, shared, 0).positions
    position, _, determinant = expected(FREE, STEEP, x, 0.5)
    np.testing.assert_allclose(of(problem, shared, 1).positions, position, atol=1e-12)  # they need no slope
    assert np.abs(of(problem, shared, 1).det_DX - determinant).max() > 0.5
    assert np.abs(of(problem, shared, 1).density * determinant - 0.5).max() > 0.2


#: System, law, dimension, the time and where known the size of the start of the first caustic; horizon 3.
CAUSTICS = {
    "free implosion": (FREE, law(-0.8), (1, 2, 3), 1 / 0.8, None),
    "aligned implosion": (ALIGNED, law(-1.1), (1, 2), -math.log(1 - BETA / 1.1) / BETA, None),
    "trapped implosion": (TRAPPED, law(-0.8), (1, 2), math.atan2(OMEGA, 0.8) / OMEGA, None),
    "trapped from rest": (TRAPPED, law(0.0), (1, 2), math.pi / 2 / OMEGA, None),
    "free wave": (FREE, law(STEEP), (1, 2, 3), 1.0, {1: 0.0}),
    "aligned wave": (ALIGNED, law(STEEP), (1, 2), -math.log(1 - BETA) / BETA, {1: 0.0}),
    "trapped wave": (TRAPPED, law(STEEP), (1,), math.atan(OMEGA) / OMEGA, {1: 0.0}),
    "normal positions": (FREE, law(STEEP, "gaussian"), (1, 2), 1.0, None),
    "discs": (FREE, law(STEEP, "ball"), (1, 2), 1.0, None),
    "edge of a box": (FREE, law(STEEP | {"amplitude": 0.5}), (1,), -1 / math.cos(2), {1: 1.0}),
    "edge of a ball": (FREE, law(STEEP | {"amplitude": 0.5}, "ball"), (1,), -1 / math.cos(2), {1: 1.0}),
}


@pytest.mark.parametrize(
    ("name", "dim"), [(name, dim) for name, (_, _, dims, _, _) in CAUSTICS.items() for dim in dims]
)
def test_the_caustic_is_located(name, dim):
    system, table, _, time, start = CAUSTICS[name]
    # The slope of the wave in d = 2 and 3: det = 1 -+ s^d times a product of cosines, of which 1 and -1 are values.
    problem = study(system, table, "coupling", dim=dim, save=(0.0, 3.0), step=0.05).problem
    found = of(problem, problem.solve(), 1)
    assert found.caustic == pytest.approx(time, abs=5e-7)
    assert not found.single_valued
    if start and dim in start:
        assert abs(found.caustic_start[0]) == pytest.approx(start[dim], abs=1e-4)


@pytest.mark.parametrize(
    ("system", "table", "dim"),
    [
        (TRAPPED.replace("beta = 0.0", "beta = 4.0\nsigma = 0.0"), law(0.0), 2),  # DX decays and stays regular
        (ALIGNED, law(STEEP | {"amplitude": -0.38}), 1),  # s(t) < 1 / beta = 1.25, and |Du| = 0.76
        (ALIGNED, law(STEEP | {"amplitude": -0.38}), 2),
        (FREE, law(0.5), 2),
    ],
)
def test_no_caustic_is_seen_where_there_is_none(system, table, dim):
    problem = study(system, table, "coupling", dim=dim, save=(0.0, 4.0), step=0.05, more="stepper = 'rk4'").problem
    found = of(problem, problem.solve(), 1)
    assert found.caustic is None
    assert found.caustic_start is None
    assert np.all(found.det_DX > 0)


def test_the_nodes_alone_would_miss_the_caustic(monkeypatch):
    problem = study(FREE, law(STEEP), "coupling", save=(0.0, 1.02)).problem
    shared = problem.solve()
    assert np.all(of(problem, shared, 1).det_DX > 0)  # few nodes are exact in a linear system
    assert of(problem, shared, 1).caustic == pytest.approx(1.0, abs=5e-7)
    monkeypatch.setattr(_euler, "FINEST", np.inf)  # no search: the nearest probe
    unsearched = problem.solve()["caustic"][0]
    assert 1e-7 < unsearched - 1 < 1e-5


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize(("horizon", "expected"), [(0.9999, None), (1.0, 1.0), (1.0002, 1.0)])
def test_a_caustic_that_has_just_begun_between_the_probes_is_found(monkeypatch, dim, horizon, expected):
    # Away from symmetry, so that no probe starts where it begins.
    monkeypatch.setattr(_euler, "PROBES", {1: 12, 2: 12, 3: 10})
    problem = study(FREE, law(STEEP), "coupling", dim=dim, save=(0.0, horizon), step=horizon / 20).problem
    monkeypatch.setattr(Wave, "at", lambda self, x: wave(-0.5, 2.0, x - 0.037)[0])
    monkeypatch.setattr(Wave, "jacobian", lambda self, x: wave(-0.5, 2.0, x - 0.037)[1])
    found = of(problem, problem.solve(), 1)
    assert np.all(found.det_DX > 0)
    assert found.caustic == (None if expected is None else pytest.approx(expected, abs=5e-7))
    monkeypatch.setattr(_euler, "NEAR", 0.0)  # the probes alone do not see it
    assert of(problem, problem.solve(), 1).caustic is None


@pytest.mark.parametrize("dim", [1, 2])
def test_positions_and_velocities_stay_right_at_and_after_the_caustic(dim):
    for system, field, collapse in ((FREE, -0.8, 1.25), (FREE, STEEP, 1.0), (ALIGNED, STEEP, 2.0)):
        save = (0.0, collapse, collapse + 0.5)
        problem = study(system, law(field), "coupling", dim=dim, save=save, step=0.05).problem
        shared = problem.solve()
        meanfield, x = problem.meanfield(shared), of(problem, shared, 0).positions
        for i, t in enumerate(save):
            position, velocity, determinant = expected(system, field, x, t)
            found = of(problem, shared, i)
            np.testing.assert_allclose(found.positions, position, atol=1e-7)
            np.testing.assert_allclose(found.velocity, velocity, atol=1e-7)
            np.testing.assert_allclose(found.det_DX, determinant, atol=1e-6)
            start = problem.initial.sample(np.random.default_rng(1), 50)
            position, velocity, _ = expected(system, field, start.position, t)
            drawn = meanfield.at(i).sample(np.random.default_rng(1), 50)  # rho^t goes on as the push-forward
            np.testing.assert_allclose(drawn, np.hstack([position, velocity]), atol=1e-7)


# -- where nothing is known in closed form -----------------------------------------------------------------------

DIFFERENCES = np.array([1.0, -8.0, 8.0, -1.0]) / 12


def by_oracle(problem, starts, h, times):
    """Return det DX (T, n) in d = 1 by differences of characteristics of the independent solver."""
    around = np.concatenate([starts + c * h for c in (-2, -1, 1, 2)])
    nodes = problem.initial.nodes(64)
    model = Oracle(problem.dynamics(10**6).lattice)
    tracers = problem.initial.lifted(around[:, None]).points
    _, _, course = model.run(nodes.points, nodes.weights, times, tracers)
    return np.einsum("c,tcn->tn", DIFFERENCES / h, course[:, :, 0].reshape(len(times), 4, -1))


@pytest.mark.parametrize(("system", "slack"), [(CURVED, 5e-10), (CHEMOTAXIS, 1e-8)])
def test_determinants_with_interaction_are_those_of_an_independent_solver(system, slack):
    problem = study(system, law(STEEP | {"amplitude": 0.5}), "coupling", step=0.01).problem
    shared = solved(problem)
    starts = of(problem, shared, 0).positions[:, 0]
    exact = by_oracle(problem, starts, 4e-3, problem.time.save)
    found = np.stack([of(problem, shared, i).det_DX for i in range(3)])
    assert np.ptp(exact[-1]) > 0.5
    np.testing.assert_allclose(found, exact, rtol=0, atol=slack)


def test_the_caustic_with_interaction_is_that_of_an_independent_solver():
    field = STEEP | {"amplitude": -0.8}
    problem = study(CHEMOTAXIS, law(field), "coupling", save=(0.0, 1.0), step=0.01).problem
    found = of(problem, solved(problem), 1)
    assert 0 < found.caustic < 1
    assert abs(found.caustic_start[0]) < 1e-4  # symmetry
    exact = by_oracle(problem, np.zeros(1), 2e-3, (0.0, found.caustic - 1e-6, found.caustic + 1e-6))
    assert exact[1, 0] > 0 > exact[2, 0]
    assert abs(found.caustic - 1 / 1.6) > 0.1  # and not that of free particles


@pytest.mark.parametrize("system", [CURVED, CHEMOTAXIS])
def test_determinants_in_the_plane_are_differences_of_tracers(system):
    field = STEEP | {"amplitude": 0.5}
    problem = study(system, law(field, "ball"), "coupling", dim=2, save=(0.0, 0.5), step=0.05).problem
    shared, h = solved(problem), 2e-3
    starts = of(problem, shared, 0).positions
    starts = starts[np.linalg.norm(starts, axis=1) < 0.98][::7]
    around = np.concatenate([starts + c * h * axis for c in (-2, -1, 1, 2) for axis in np.eye(2)])
    *_, last = problem.meanfield(shared).tracers(problem.initial.lifted(around))
    moved = last.ensemble.position.reshape(4, 2, len(starts), 2)
    exact = np.linalg.det(np.einsum("c,canx->nxa", DIFFERENCES / h, moved))
    kept = np.linalg.norm(of(problem, shared, 0).positions, axis=1) < 0.98
    np.testing.assert_allclose(of(problem, shared, 1).det_DX[kept][::7], exact, rtol=1e-8)
    assert np.ptp(exact) > 0.2


@pytest.mark.parametrize("system", [FREE, CURVED])
def test_the_density_has_the_mass_of_the_nodes(system):
    problem = study(system, law(STEEP), "coupling", save=(0.0, 0.8)).problem
    found = of(problem, solved(problem), 1, probes=True)
    x = found.positions[:, 0]
    assert np.all(np.diff(x) > 0)
    # The trapezoidal rule on 1024 nodes; the density at the crest is 5.
    assert np.trapezoid(found.density, x) == pytest.approx(1, abs=2e-4)


# -- densities of the laws ---------------------------------------------------------------------------------------

X = np.array([[-1.2, 0.3], [0.2, -0.1], [0.9, 0.8], [-0.4, 0.55], [0.0, 0.0]])


@pytest.mark.parametrize(
    ("component", "density"),
    [
        (Box(1.1), lambda x: np.prod(stats.uniform(-1.1, 2.2).pdf(x), axis=1)),
        (Gaussian(0.7), lambda x: np.prod(stats.norm(0, 0.7).pdf(x), axis=1)),
        (Student(5.0, 0.7), lambda x: np.prod(stats.t(5, scale=0.7).pdf(x), axis=1)),
        (Ball(1.1), lambda x: (np.linalg.norm(x, axis=1) <= 1.1) / (math.pi * 1.21)),
        (
            Clusters(((-1.0, 0.0), (1.0, 0.5)), 0.4, masses=(0.25, 0.75)),
            lambda x: sum(
                m * np.prod(stats.uniform(np.array(c) - 0.4, 0.8).pdf(x), axis=1)
                for m, c in ((0.25, (-1.0, 0.0)), (0.75, (1.0, 0.5)))
            ),
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_densities_are_those_of_scipy(component, density):
    positions = component.on(Phase(2, 0))
    assert 0 < np.count_nonzero(density(X)) <= len(X)
    np.testing.assert_allclose(positions.density(X), density(X), rtol=1e-13)
    graph = Monokinetic(component, Linear(0.5)).on(Phase(2, 2))
    np.testing.assert_allclose(graph.density(X), density(X), rtol=1e-13)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_densities_of_balls_and_of_both_variables(d):
    volume = {1: 2.0, 2: math.pi, 3: 4 * math.pi / 3}[d]
    assert Ball(0.5).on(Phase(d, 0)).density(np.zeros((1, d)))[0] == pytest.approx(1 / (volume * 0.5**d), rel=1e-14)
    both = Gaussian(0.7, 0.4).on(Phase(d, d)).density(np.full((1, 2 * d), 0.3))
    assert both[0] == pytest.approx(stats.norm(0, 0.7).pdf(0.3) ** d * stats.norm(0, 0.4).pdf(0.3) ** d, rel=1e-13)


def test_a_density_that_is_not_known_is_nan():
    graph = Monokinetic(Pareto(3.0), Linear(0.5)).on(Phase(1, 1))
    assert np.isnan(graph.density(np.ones((2, 1)))).all()


# -- studies that ask for the Euler description ------------------------------------------------------------------


def crossing(save, reference=EULER, field=STEEP, dim=1):
    return study(FREE, law(field), "coupling", dim=dim, save=save, step=0.05, reference=reference)


@pytest.mark.parametrize(
    ("save", "here"), [((0.5, 0.9, 2.0), "here t = 0.9, "), ((2.0,), ""), ((0.5, 1.0), "here t = 0.5, ")]
)
def test_a_study_beyond_the_caustic_is_refused_and_leaves_nothing(tmp_path, save, here):
    with pytest.raises(UnreachableError) as caught:
        mfstudy.run(crossing(save), tmp_path / "store", part=(1, 1))
    line = str(caught.value)
    assert "\n" not in line
    time = re.search(r"^reference: characteristics cross at t = ([\d.]+) \(det DX = 0 at x = ", line)
    assert float(time[1]) == pytest.approx(1.0, abs=1e-6)
    assert f"allowed: a last save time before that, {here}" in line
    assert line.endswith("or euler = false")
    assert not (tmp_path / "store").exists()
    assert mfstudy.run(crossing((0.5, 0.9)), tmp_path / "store", part=(1, 1)).complete


def test_the_same_study_without_the_description_runs_on(tmp_path):
    results = mfstudy.run(crossing((0.5, 2.0), "kind = 'characteristics'"), tmp_path / "store", part=(1, 1))
    assert results.complete
    assert results.failed == 0
    early, late = results.euler(0), results.euler()
    assert early.caustic == late.caustic == pytest.approx(1.0, abs=1e-6)
    assert (early.single_valued, late.single_valued) == (True, False)
    assert late.det_DX.min() < 0 < late.density.min()


def test_velocities_that_are_spread_have_no_euler_description(command, tmp_path):
    line = (
        "reference: euler needs velocities that are a function of the position; allowed: a law that is monokinetic,"
        " or euler = false"
    )
    with pytest.raises(InputError, match=re.escape(line)):
        study(CURVED, BOX, "coupling", reference=EULER)
    text = crossing((0.5, 0.9)).text
    (tmp_path / "spread.toml").write_text(text.replace(law(STEEP), BOX))
    (tmp_path / "crossing.toml").write_text(text.replace("[0.5, 0.9]", "[0.5, 2.0]"))
    said = [command(verb, "spread.toml") for verb in ("check", "run")]
    assert [run.returncode for run in said] == [2, 2]
    assert said[0].stderr == said[1].stderr == f"mfstudy: spread.toml: {line}\n"
    refused = command("run", "crossing.toml", "--part", "1/1")
    assert refused.returncode == 3  # as for other references that are not reached
    assert refused.stderr.splitlines()[-1].startswith("mfstudy: reference: characteristics cross at t = ")
    assert not (tmp_path / "f.mfstudy").exists()


def test_other_problems_keep_their_identity_and_their_arrays():
    plain, false, true = (
        crossing((0.5, 0.9), f"kind = 'characteristics'{more}").problem
        for more in ("", "\neuler = false", "\neuler = true")
    )
    assert plain.identity == false.identity != true.identity
    assert "euler" not in json.dumps(plain.canonical)
    for table in (BOX, MOVING[1]):
        spread = study(CONSTANT, table, "coupling", save=(0.0, 0.5)).problem
        assert set(solved(spread)) == {"field", "memory", "signal", "points", "weights", "errors"}


def test_a_store_without_euler_fields_says_so(tmp_path):
    results = mfstudy.run(study(CONSTANT, BOX, "coupling", save=(0.0, 0.5)), tmp_path / "store", part=(1, 1))
    with pytest.raises(InputError, match=r"\Aeuler: no such fields in .*; allowed: a store with a monokinetic law"):
        results.euler()


READ = """
import sys, mfstudy
fields = mfstudy.open(sys.argv[1]).euler(1)
components = {"laws.monokinetic", "laws.box", "velocities.wave", "systems.flocking", "references.characteristics"}
assert not {f"mfstudy.{name}" for name in components} & set(sys.modules)
print(fields.positions.shape, fields.velocity.shape, fields.density.shape, fields.det_DX.shape, fields.caustic)
"""


def test_the_fields_are_read_without_any_component(tmp_path):
    mfstudy.run(crossing((0.5, 0.9), dim=2), tmp_path / "store", part=(1, 1))
    read = subprocess.run([sys.executable, "-c", READ, tmp_path / "store"], capture_output=True, text=True)
    assert read.returncode == 0, read.stderr
    assert read.stdout == "(100, 2) (100, 2) (100,) (100,) None\n"


# -- figures -----------------------------------------------------------------------------------------------------


def test_the_figure_of_a_line_shows_the_exact_fields(tmp_path):
    results = mfstudy.run(crossing((0.5, 0.9)), tmp_path / "store", part=(1, 1))
    figure = plot.euler(results)
    (density,), (velocity,) = (panel.lines for panel in figure.axes)
    s = 0.9
    x0 = np.linspace(-1, 1, 200_001)
    x = x0 - s * 0.5 * np.sin(2 * x0)
    exact = 0.5 / (1 - s * np.cos(2 * x0))
    np.testing.assert_allclose(density.get_ydata(), np.interp(density.get_xdata(), x, exact), rtol=1e-6)
    np.testing.assert_allclose(
        velocity.get_ydata(), np.interp(velocity.get_xdata(), x, -0.5 * np.sin(2 * x0)), atol=1e-7
    )
    assert len(density.get_xdata()) > 1000
    assert "no characteristics cross" in " ".join(text.get_text() for text in figure.texts)
    assert plot.svg(figure) == plot.svg(plot.euler(results))


def test_the_figure_of_a_plane_shows_density_and_speed(tmp_path):
    results = mfstudy.run(crossing((0.5, 2.0), "kind = 'characteristics'", dim=2), tmp_path / "store", part=(1, 1))
    figure, fields = plot.euler(results, 0), results.euler(0, probes=True)
    dots = [panel.collections[0] for panel in figure.axes[:2]]
    np.testing.assert_allclose(dots[0].get_array(), fields.density)
    np.testing.assert_allclose(dots[1].get_array(), np.linalg.norm(fields.velocity, axis=1))
    np.testing.assert_allclose(dots[0].get_offsets(), fields.positions)
    for panel in figure.axes[:2]:
        low, high = np.transpose([panel.get_xlim(), panel.get_ylim()])
        assert np.all((low < fields.positions) & (fields.positions < high))  # nothing is cut off
        extent = panel.get_window_extent()
        assert (high - low)[0] / (high - low)[1] == pytest.approx(extent.width / extent.height)
    late = " ".join(text.get_text() for text in plot.euler(results, 1).texts)
    assert "characteristics cross at t = 1: several branches" in late


def test_space_is_not_drawn(tmp_path):
    results = mfstudy.run(crossing((0.5,), dim=3), tmp_path / "store", part=(1, 1))
    with pytest.raises(ValueError, match=r"\Aresults: d = 3; allowed: d = 1 or 2, .*\Z"):
        plot.euler(results)


def test_fields_without_a_density_are_drawn():
    fields = Euler(
        time=0.0,
        positions=np.zeros((3, 1)),
        velocity=np.zeros((3, 1)),
        density=np.full(3, np.nan),
        det_DX=np.ones(3),
        weights=None,
        caustic=None,
        caustic_start=None,
    )
    assert plot.fields._shown(fields).all()
    assert dataclasses.replace(fields, time=2.0, caustic=1.0).single_valued is False
