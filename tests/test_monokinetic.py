"""Monokinetic laws and their velocity fields: closed forms, quadrature by SciPy, complex-step derivatives."""

import dataclasses
import math
import re

import numpy as np
import pytest
from scipy import integrate, stats

from mfstudy import components
from mfstudy.ensemble import Phase
from mfstudy.laws.ball import Ball
from mfstudy.laws.box import Box
from mfstudy.laws.clusters import Clusters
from mfstudy.laws.gaussian import Gaussian
from mfstudy.laws.monokinetic import Monokinetic
from mfstudy.velocities.linear import Linear
from mfstudy.velocities.rest import Rest
from mfstudy.velocities.wave import Wave

H = 1.5  # half-width, standard deviation or radius of the positions
FIELDS = [Rest(), Linear(0.7), Linear(-2.0), Linear(0.0), Wave(0.5, 2.0), Wave(-0.8, -3.0), Wave(1.0, 0.0)]
over_fields = pytest.mark.parametrize("field", FIELDS, ids=str)
over_dimensions = pytest.mark.parametrize("d", [1, 2, 3])


def law(field, d=1, position=None):
    return Monokinetic(position or Box(H), field).on(Phase(d, d))


def test_every_field_of_the_package_is_tested_here():
    assert {type(f).__module__ for f in FIELDS} == {f"mfstudy.velocities.{k}" for k in components.kinds("velocities")}


@over_dimensions
def test_the_wave_is_that_of_the_prototype(d):
    x = np.random.default_rng(1).uniform(-3, 3, (50, d))
    # The field u0 of the project's reference computations, one particle a column there.
    expected = 0.5 * np.array([np.sin(2 * x.T[(a + 1) % d] + a) for a in range(d)])
    assert np.array_equal(Wave(0.5, 2.0).at(x), expected.T)


@over_fields
@over_dimensions
def test_jacobians_are_complex_step_derivatives(field, d):
    x = np.random.default_rng(2).uniform(-3, 3, (20, d))
    assert field.at(x).shape == (20, d)
    step = 1e-30
    derivatives = [np.imag(field.at(x + 1j * step * np.eye(d)[b])) / step for b in range(d)]
    np.testing.assert_allclose(field.jacobian(x), np.stack(derivatives, axis=2), rtol=1e-13, atol=1e-13)


@over_fields
@over_dimensions
def test_bounds_hold_the_field_and_are_tight(field, d):
    rng = np.random.default_rng(3)
    for _ in range(20):
        low = rng.uniform(-4, 4, d)
        box = np.stack([low, low + rng.exponential(0.7, d)], axis=1)
        bounds = field.bounds(box)
        # Every field here moves each component with one coordinate: a diagonal of the box sees all of its values.
        values = field.at(box[:, 0] + np.linspace(0, 1, 4001)[:, None] * (box[:, 1] - box[:, 0]))
        assert bounds.shape == (d, 2)
        assert np.all((bounds[:, 0] <= values.min(axis=0)) & (values.max(axis=0) <= bounds[:, 1]))
        np.testing.assert_allclose(bounds, np.stack([values.min(axis=0), values.max(axis=0)], axis=1), atol=1e-5)


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (Rest(), (0, 0)),
        (Linear(2.0), (-math.inf, math.inf)),
        (Linear(-2.0), (-math.inf, math.inf)),
        (Linear(0.0), (0, 0)),
        (Wave(0.5, 2.0), (-0.5, 0.5)),
        (Wave(-0.5, 2.0), (-0.5, 0.5)),
        (Wave(0.5, 0.0), (0, 0)),
    ],
    ids=str,
)
def test_bounds_of_all_space(field, expected):
    np.testing.assert_allclose(field.bounds(np.array([[-math.inf, math.inf]])), [expected], atol=1e-15)
    half_line = field.bounds(np.array([[0.0, math.inf]]))
    assert not np.any(np.isnan(half_line))


@over_fields
@over_dimensions
def test_particles_and_nodes_lie_on_the_graph(field, d):
    bound, positions = law(field, d), Box(H).on(Phase(d, 0))
    sample = bound.sample(np.random.default_rng(4), 100)
    assert np.array_equal(sample.position, positions.sample(np.random.default_rng(4), 100).position)
    assert np.array_equal(sample.velocity, field.at(sample.position))
    nodes = bound.nodes(5, 3)
    assert nodes.size == 5**d
    assert np.array_equal(nodes.position, positions.nodes(5).position)
    assert np.array_equal(nodes.weights, positions.nodes(5).weights)
    assert np.array_equal(nodes.velocity, field.at(nodes.position))


@pytest.mark.parametrize("position", [Box(H), Ball(H), Gaussian(H)], ids=str)
@pytest.mark.parametrize("rate", [0.7, -2.0])
@over_dimensions
def test_an_expansion_scales_the_positions(position, rate, d):
    bound, positions = law(Linear(rate), d, position), position.on(Phase(d, 0))
    variance = positions.covariance[0, 0]
    expected = variance * np.kron([[1, rate], [rate, rate**2]], np.eye(d))
    np.testing.assert_allclose(bound.mean, 0, atol=1e-12)  # sums over 10^4 nodes of order one
    np.testing.assert_allclose(bound.covariance, expected, rtol=1e-12, atol=1e-13)
    for q in (0.5, 1, 2, 2.5, 3, 4, 7, 20):
        assert bound.moment(q) == pytest.approx((1 + rate**2) ** (q / 2) * positions.moment(q), rel=1e-12)
    assert bound.support_dimension == d
    assert bound.moment_order == math.inf
    np.testing.assert_allclose(bound.support, np.concatenate([positions.support, abs(rate) * positions.support]))
    np.testing.assert_allclose(bound.box(1e-9)[:d], positions.box(1e-9), rtol=0)
    np.testing.assert_allclose(bound.box(1e-9)[d:], abs(rate) * positions.box(1e-9), rtol=1e-15)


@over_dimensions
def test_at_rest_all_is_that_of_the_positions(d):
    for position in (Box(H), Ball(H), Gaussian(H)):
        bound, positions = law(Rest(), d, position), position.on(Phase(d, 0))
        assert bound.support_radius == pytest.approx(positions.support_radius, rel=1e-15)
        assert bound.moment(1) == pytest.approx(positions.moment(1), rel=1e-14)
        assert np.array_equal(bound.covariance[:d, :d], positions.covariance)
        assert not np.any(bound.covariance[d:])


@pytest.mark.parametrize("k", [0.3, 2.0, 10.0])
def test_mean_and_covariance_of_a_wave_over_a_box(k):
    amplitude = 0.5
    sinc = math.sin(k * H) / (k * H)
    mean = amplitude * sinc * np.sin([0.0, 1.0])  # E sin(k x + a) = sin(a) sinc
    bound = law(Wave(amplitude, k), 2)
    np.testing.assert_allclose(bound.mean, [0, 0, *mean], rtol=1e-12, atol=1e-14)
    cross = amplitude * (sinc - math.cos(k * H)) / k * np.cos([0.0, 1.0])  # E x sin(k x + a)
    square = amplitude**2 * (1 - np.cos([0.0, 2.0]) * math.sin(2 * k * H) / (2 * k * H)) / 2
    expected = np.diag([H**2 / 3, H**2 / 3, *(square - mean**2)])
    for a, b in ((0, 1), (1, 0)):  # component a moves with the axis b
        expected[b, 2 + a] = expected[2 + a, b] = cross[a]
    np.testing.assert_allclose(bound.covariance, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("k", [0.3, 1.0, 3.0])
def test_mean_and_covariance_of_a_wave_over_a_normal_law(k):
    damping = math.exp(-((k * H) ** 2) / 2)
    bound = law(Wave(0.5, k), 1, Gaussian(H))
    cross, square = 0.5 * k * H**2 * damping, 0.125 * (1 - damping**4)
    np.testing.assert_allclose(bound.mean, 0, atol=1e-14)
    np.testing.assert_allclose(bound.covariance, [[H**2, cross], [cross, square]], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("q", [1, 1.5, 2, 2.5, 3, 4, 7])
@pytest.mark.parametrize("position", [Box(H), Gaussian(H)], ids=str)
def test_moments_of_a_wave_on_the_line(position, q):
    field = Wave(0.5, 2.0)
    density, end = (stats.uniform(-H, 2 * H).pdf, H) if isinstance(position, Box) else (stats.norm(0, H).pdf, 12 * H)
    oracle, error = integrate.quad(
        lambda x: 2 * math.hypot(x, 0.5 * math.sin(2 * x)) ** q * density(x), 0, end, epsabs=0, epsrel=1e-12, limit=500
    )
    assert error < 1e-11 * oracle
    # The singularity at 0 costs digits, most where the nodes are few near it.
    tolerance = 1e-12 if q % 2 == 0 else 1e-8 if isinstance(position, Box) else 2e-5
    assert law(field, 1, position).moment(q) == pytest.approx(oracle, rel=tolerance)


def test_moments_of_a_wave_in_the_plane():
    # The offset u(0) - E u = (0, sin 1 (1 - sinc)) keeps |z - E z| away from 0: smooth, converged to round-off.
    x, w = np.polynomial.legendre.leggauss(120)
    mean = 0.5 * math.sin(1) * math.sin(2 * H) / (2 * H)
    first, second = np.meshgrid(H * x, H * x, indexing="ij")
    squares = first**2 + second**2 + (0.5 * np.sin(2 * second)) ** 2 + (0.5 * np.sin(2 * first + 1) - mean) ** 2
    for q in (1, 2.5, 3):
        oracle = w @ squares ** (q / 2) @ w / 4
        assert law(Wave(0.5, 2.0), 2).moment(q) == pytest.approx(oracle, rel=1e-10)


def test_the_radius_is_an_upper_bound():
    points = law(Wave(0.5, 2.0), 2).sample(np.random.default_rng(6), 20_000).points
    bound = law(Wave(0.5, 2.0), 2)
    reached = np.linalg.norm(points - bound.mean, axis=1).max()
    assert reached <= bound.support_radius < 1.3 * reached
    assert law(Wave(0.5, 2.0), 2, Gaussian(1.0)).support_radius == math.inf


def test_the_box_of_normal_positions_bounds_the_velocities():
    box = law(Wave(0.5, 2.0), 2, Gaussian(1.0)).box(1e-12)
    assert np.array_equal(box[:2], Gaussian(1.0).on(Phase(2, 0)).box(1e-12))
    np.testing.assert_allclose(box[2:], [[-0.5, 0.5]] * 2, rtol=1e-15)


def test_positions_in_clusters():
    pair = Clusters(((-2.0, 0.0), (1.0, 0.5)), 0.4, masses=(0.25, 0.75))
    bound, positions = law(Linear(0.5), 2, pair), pair.on(Phase(2, 0))
    np.testing.assert_allclose(bound.mean, np.concatenate([positions.mean, 0.5 * positions.mean]), rtol=1e-13)
    np.testing.assert_allclose(bound.covariance, np.kron([[1, 0.5], [0.5, 0.25]], positions.covariance), rtol=1e-12)
    assert bound.moment(3) == pytest.approx(1.25**1.5 * positions.moment(3), rel=1e-12)


def test_a_moment_above_the_largest_float_is_an_error():
    with pytest.raises(OverflowError):
        law(Linear(1.0), 1, Gaussian(1.0)).moment(900)


TABLE = {
    "kind": "monokinetic",
    "position": {"kind": "box", "position_halfwidth": 1},
    "velocity": {"kind": "wave", "amplitude": 0.5, "wavenumber": 2},
}


def test_a_table_makes_the_law_and_the_law_describes_itself():
    component = components.build("laws", TABLE, "law")
    assert component == Monokinetic(Box(1.0), Wave(0.5, 2.0))
    described = components.describe(component)
    assert described == {
        "kind": "monokinetic",
        "scheme": 1,
        "position": {"kind": "box", "scheme": 1, "position_halfwidth": 1.0},
        "velocity": {"kind": "wave", "scheme": 1, "amplitude": 0.5, "wavenumber": 2.0},
    }
    other = dataclasses.replace(component, velocity=Wave(0.5, 2.5))
    assert components.describe(other) != described


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"velocity": {"kind": "wav"}}, "law.velocity.kind: unknown kind 'wav'"),
        ({"velocity": {"kind": "linear"}}, "law.velocity.rate: missing"),
        ({"velocity": 1.0}, "law.velocity: 1.0 is not a table"),
        ({"position": {"kind": "wave"}}, "law.position.kind: unknown kind 'wave'"),
        ({"position": {"kind": "box", "position_halfwidth": 0}}, "law.position.position_halfwidth: 0 is not allowed"),
    ],
)
def test_bad_tables_are_refused(change, message):
    with pytest.raises(components.InputError, match=rf"\A{re.escape(message)}.*\Z"):
        components.build("laws", TABLE | change, "law")


@pytest.mark.parametrize(
    ("position", "phase", "message"),
    [
        (Box(1.0), Phase(2, 0), "velocity: not allowed; the system has no velocity"),
        (Box(1.0), Phase(2, 1), "velocity: 1 components for 2 of the position; allowed: as many"),
        (Box(1.0), Phase(0, 2), "velocity: 2 components for 0 of the position; allowed: as many"),
        (Box(1.0, 1.0), Phase(2, 2), "position.velocity_halfwidth: not allowed; the system has no velocity"),
        (Gaussian(), Phase(1, 1), "position.position_std: missing; the system has positions"),
        (
            Monokinetic(Box(1.0), Rest()),
            Phase(1, 1),
            "position.velocity: not allowed; the system has no velocity",
        ),
    ],
)
def test_the_phase_must_fit(position, phase, message):
    with pytest.raises(ValueError, match=rf"\A{re.escape(message)}\Z"):
        Monokinetic(position, Rest()).on(phase)


@pytest.mark.parametrize("value", [math.nan, math.inf, True, "1", None])
def test_nonsense_parameters_are_refused(value):
    for make, key in (
        (lambda: Linear(value), "rate"),
        (lambda: Wave(value, 1.0), "amplitude"),
        (lambda: Wave(1.0, value), "wavenumber"),
    ):
        with pytest.raises(ValueError, match=rf"\A{key}: .*; allowed: a finite number\Z"):
            make()
