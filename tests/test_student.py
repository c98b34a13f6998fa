"""Student's law against closed forms, SciPy and quadrature.

Statistical checks use z = 4.5, a false-alarm rate of 6.8e-6 each; the file makes about 30: 2e-4 for new seeds, the
fixed seeds here always or never.
"""

import math
import re

import numpy as np
import pytest
from scipy import stats
from scipy.special import betainc

from mfstudy import components
from mfstudy.components import InputError
from mfstudy.ensemble import Phase
from mfstudy.laws.student import Student
from mfstudy.study import parse, shipped
from mfstudy.transport.wasserstein import wasserstein

X, V = 1.5, 0.4
Z, P_VALUE, SAMPLES = 4.5, 6.8e-6, 20_000
PHASES = [Phase(*d) for d in ((1, 0), (2, 0), (3, 0), (1, 1), (2, 2), (0, 2), (6, 6))]
TAILS = 10.0 ** -np.arange(0.31, 307, 0.37)


def bound(nu, phase):
    return Student(nu, X if phase.position else None, V if phase.velocity else None).on(phase)


def scales(phase):
    return np.array([X] * phase.position + [V] * phase.velocity)


def test_the_quantile_with_four_degrees_of_freedom():
    # W. T. Shaw, J. Comput. Finance 9 (2006): t = sign(u - 1/2) 2 (q - 1)^{1/2}, q = cos(acos(a^{1/2})/3)/a^{1/2}.
    root = np.sqrt(4 * TAILS * (1 - TAILS))
    exact = -2 * np.sqrt(np.cos(np.arccos(root) / 3) / root - 1)
    law = bound(4, Phase(1, 0))
    np.testing.assert_allclose(law.quantile(TAILS), X * exact, rtol=1e-14)
    np.testing.assert_allclose(law.upper_quantile(TAILS), -X * exact, rtol=1e-14)
    middle = TAILS[TAILS > 1e-3]
    np.testing.assert_allclose(law.quantile(1 - middle), law.upper_quantile(middle), rtol=1e-12)


@pytest.mark.parametrize("nu", [2.01, 2.5, 3, 5, 6, 30, 1000])
def test_the_quantile_solves_its_equation(nu):
    x = bound(nu, Phase(1, 0)).quantile(TAILS) / X
    assert np.all(np.diff(x) < 0)
    # 2 F(x) = I_z(nu/2, 1/2), z = nu/(nu + x^2), for x < 0; its logarithm does not amplify the round-off of z.
    with np.errstate(under="ignore"):
        logs = np.log(betainc(nu / 2, 0.5, 1 / (1 + x * (x / nu))))
    np.testing.assert_allclose(logs, np.log(2 * TAILS), rtol=1e-12, atol=nu * 1e-14)


def test_the_quantile_in_the_middle_and_at_the_ends():
    law = bound(3, Phase(0, 1))
    u = np.random.default_rng(1).random((20, 30))
    np.testing.assert_allclose(law.quantile(u), V * stats.t(3).ppf(u), rtol=1e-12, atol=1e-14)
    # F(x) = 1/2 + (y/(1 + y^2) + atan y)/pi, y = x/3^{1/2}, for three degrees of freedom.
    y = law.quantile(u) / V / math.sqrt(3)
    np.testing.assert_allclose(0.5 + (y / (1 + y**2) + np.arctan(y)) / math.pi, u, rtol=1e-13, atol=1e-15)
    assert np.array_equal(law.quantile([0.0, 0.5, 1.0]), [-math.inf, 0.0, math.inf])
    assert law.quantile(0.25).shape == ()


@pytest.mark.parametrize("phase", PHASES)
def test_every_component_passes_kolmogorov_smirnov(phase):
    points = bound(3, phase).sample(np.random.default_rng(2), SAMPLES).points / scales(phase)
    for column in points.T:
        assert stats.kstest(column, stats.t(3).cdf).pvalue > P_VALUE
    assert stats.kstest(points[:, 0], stats.t(5).cdf).pvalue < P_VALUE


def test_components_are_independent():
    def correlation(points):
        return stats.spearmanr(np.abs(points[:, 0]), np.abs(points[:, 1])).statistic

    rng = np.random.default_rng(3)
    assert abs(correlation(bound(3, Phase(1, 1)).sample(rng, SAMPLES).points)) < Z / math.sqrt(SAMPLES)
    isotropic = stats.multivariate_t(np.zeros(2), np.eye(2), 3).rvs(SAMPLES, random_state=rng)
    assert correlation(isotropic) > 2 * Z / math.sqrt(SAMPLES)


@pytest.mark.parametrize("phase", PHASES)
def test_mean_covariance_and_support(phase):
    law = bound(5, phase)
    assert np.array_equal(law.mean, np.zeros(phase.dimension))
    np.testing.assert_allclose(law.covariance, np.diag(scales(phase) ** 2 * stats.t(5).var()), rtol=1e-14)
    assert np.array_equal(law.support, np.outer(np.ones(phase.dimension), [-math.inf, math.inf]))
    assert law.support_radius == math.inf
    assert law.support_dimension == phase.dimension
    assert law.moment_order == 5
    assert law.moment(5) == law.moment(5.5) == math.inf


@pytest.mark.parametrize("nu", [2.01, 2.5, 3, 5, 9, 12, 30.5, 100, 1000])
@pytest.mark.parametrize("phase", PHASES)
def test_even_moments(nu, phase):
    a, law = scales(phase) ** 2, bound(nu, phase)
    first, second, third = (np.sum(a**k) for k in (1, 2, 3))
    two = nu / (nu - 2)
    assert law.moment(2) == pytest.approx(two * first, rel=1e-11)
    if nu > 4:
        four = 3 * nu**2 / ((nu - 2) * (nu - 4))
        assert law.moment(4) == pytest.approx(four * second + two**2 * (first**2 - second), rel=1e-11)
    if nu > 6:
        six = 15 * nu**3 / ((nu - 2) * (nu - 4) * (nu - 6))
        mixed = four * two * (second * first - third)
        exact = six * third + 3 * mixed + two**3 * (first**3 - 3 * first * second + 2 * third)
        assert law.moment(6) == pytest.approx(exact, rel=1e-11)


@pytest.mark.parametrize("q", [1e-3, 0.5, 1, 2.4, 2.9, 2.999, 3, 4.7, 11.9])
@pytest.mark.parametrize("nu", [2.5, 3, 5, 12])
def test_moments_of_two_components(nu, q):
    if q >= nu:
        return
    # |x_i| = e^t: both integrands are analytic in t, and the trapezoidal rule is exact to round-off.
    # The tail goes as e^{(q - nu) t}; beyond the end one component alone is large: its power is exact there.
    h = 0.06
    t = np.arange(-40, min(40 / (nu - q), 700 / nu), h)
    weights = 2 * h * np.exp(stats.t(nu).logpdf(np.exp(t)) + t)
    x, v = X * np.exp(t), V * np.exp(t)
    joint = (np.hypot(x[:, None], v) ** q - x[:, None] ** q - v**q) @ weights
    alone = (X**q + V**q) * math.exp(
        q / 2 * math.log(nu)
        + math.lgamma((q + 1) / 2)
        + math.lgamma((nu - q) / 2)
        - math.lgamma(0.5)
        - math.lgamma(nu / 2)
    )
    assert bound(nu, Phase(1, 1)).moment(q) == pytest.approx(alone + weights @ joint, rel=1e-9)


@pytest.mark.parametrize("q", [0.5, 1, 2.9, 4.99])
def test_moments_on_the_line(q):
    exact = 2 * stats.t(5).expect(lambda x: x**q, lb=0) if q < 4 else None
    closed = (5 ** (q / 2)) * math.gamma((q + 1) / 2) * math.gamma((5 - q) / 2) / math.gamma(0.5) / math.gamma(2.5)
    assert bound(5, Phase(1, 0)).moment(q) == pytest.approx(X**q * closed, rel=1e-13)
    if exact is not None:
        assert closed == pytest.approx(exact, rel=1e-6)


def test_moments_keep_their_accuracy_at_any_scale():
    one = Student(5, 1.0).on(Phase(2, 0))
    for scale in (1e-60, 1e60):
        for q in (0.01, 1, 4.5):
            assert Student(5, scale).on(Phase(2, 0)).moment(q) == pytest.approx(scale**q * one.moment(q), rel=1e-11)
    tiny = Student(5, 1.0, 1e-80).on(Phase(2, 2))
    assert tiny.moment(1) == pytest.approx(one.moment(1), rel=1e-11)
    with pytest.raises(OverflowError):
        Student(30, 1e30).on(Phase(2, 0)).moment(15)


@pytest.mark.parametrize("probability", [0.5, 1e-3, 1e-12, 1e-24, 1e-300])
@pytest.mark.parametrize("phase", PHASES)
def test_the_box(phase, probability):
    box = bound(4, phase).box(probability) / scales(phase)[:, None]
    # Each axis may be left with a share 1/D of the probability, half of it at either end; the tail is 3/x^4.
    share = probability / 2 / phase.dimension
    expected = stats.t(4).isf(share) if share > 1e-20 else (3 / share) ** 0.25
    np.testing.assert_allclose(box, np.outer(np.ones(phase.dimension), [-expected, expected]), rtol=1e-9)


def test_the_box_holds_its_samples():
    law, n = bound(3, Phase(2, 2)), SAMPLES
    points, box = law.sample(np.random.default_rng(5), n).points, law.box(0.1)
    outside = 1 - (1 - 0.1 / 4) ** 4
    seen = np.any((points < box[:, 0]) | (points > box[:, 1]), axis=1).mean()
    sigma = math.sqrt(outside * (1 - outside) / n)
    assert abs(seen - outside) < Z * sigma
    assert abs(seen - 0.08) > Z * sigma


@pytest.mark.parametrize(("nu", "power"), [(3, 2), (4, 2), (6, 2)])
def test_nodes_converge_at_the_stated_algebraic_rate(nu, power):
    law = bound(nu, Phase(1, 0))
    errors = []
    for level in (32, 64, 128, 256):
        nodes = law.nodes(level)
        assert nodes.size == level
        assert np.all(nodes.weights > 0)
        errors.append(law.moment(power) - nodes.weights @ nodes.points[:, 0] ** power)
    np.testing.assert_allclose(-np.diff(np.log2(errors)), 2 * (1 - power / nu), atol=0.1)


def test_nodes_are_a_symmetric_tensor_rule():
    nodes = bound(3, Phase(2, 1)).nodes(5, 4)
    assert nodes.size == 5 * 5 * 4
    assert nodes.weights.sum() == pytest.approx(1, rel=1e-14)
    np.testing.assert_allclose(nodes.weights @ nodes.points, 0, atol=1e-14)
    np.testing.assert_allclose(nodes.weights @ nodes.points**3, 0, atol=1e-13)


@pytest.mark.parametrize("nu", [2.5, 3, 5])
@pytest.mark.parametrize("count", [1, 7, 1000, 20_000])
def test_the_distance_to_a_set_on_the_line(nu, count):
    law = Student(nu, 1.0).on(Phase(1, 0))
    x = np.sort(law.sample(np.random.default_rng(6), count).points[:, 0])
    # int x f = -(nu + x^2)/(nu - 1) f over a cell, f the density.
    edges = stats.t(nu).ppf(np.arange(1, count) / count)
    primitive = np.concatenate([[0.0], -(nu + edges**2) / (nu - 1) * stats.t(nu).pdf(edges), [0.0]])
    exact = math.fsum(x**2 / count - 2 * x * np.diff(primitive)) + nu / (nu - 2)
    bracket = wasserstein(x, law, 2)
    assert bracket.estimate == pytest.approx(exact, rel=1e-8, abs=1e-12)
    assert bracket.residual < 1e-9


def test_a_distance_in_the_plane_uses_the_covariance():
    law = bound(3, Phase(2, 0))

    class Reference:
        mean, covariance = law.mean, law.covariance

        def sample(self, rng, m):
            return law.sample(rng, m).points

    # One atom at the origin: W_2^2 = tr Cov, exactly once the sample's moments are replaced by the law's.
    bracket = wasserstein(np.zeros((64, 2)), Reference(), 2, precision=None)
    assert bracket.estimate == pytest.approx(np.trace(law.covariance), rel=1e-9)


@pytest.mark.parametrize("name", ["flocking-1d", "flocking-2d", "vlasov-gaussian-1d"])
def test_interacting_systems_refuse_it(name):
    text = shipped()[name]
    table = '[law]\nkind = "student"\nnu = 5\nposition_scale = 1.0\nvelocity_scale = 1.0\n'
    swapped = re.sub(r"\[law\]\n.*?\n(?=\n|\[)", table, text, count=1, flags=re.DOTALL)
    message = (
        r"study: law\.kind: has moments only below 5, so that no box holds its particles; allowed in an interacting"
    )
    with pytest.raises(InputError, match=rf"\A{message}.*\Z"):
        parse(swapped)


def test_a_table_makes_the_law_and_the_law_describes_itself():
    component = components.build("laws", {"kind": "student", "nu": 3, "position_scale": 1}, "law")
    assert component == Student(3.0, 1.0)
    assert components.describe(component) == {"kind": "student", "scheme": 1, "nu": 3.0, "position_scale": 1.0}
    with pytest.raises(InputError, match=r"\Alaw\.nu: 2\.0 is not allowed; allowed: .* > 2\.0 and <= 1000\.0\Z"):
        components.build("laws", {"kind": "student", "nu": 2.0, "position_scale": 1}, "law")


@pytest.mark.parametrize(
    ("given", "phase", "message"),
    [
        ({"position_scale": 1.0}, Phase(1, 1), "velocity_scale: missing; the system has velocities"),
        ({"velocity_scale": 1.0}, Phase(1, 1), "position_scale: missing; the system has positions"),
        ({"position_scale": 1.0, "velocity_scale": 1.0}, Phase(2, 0), "velocity_scale: not allowed; the system has no"),
    ],
)
def test_keys_must_fit_the_phase(given, phase, message):
    with pytest.raises(ValueError, match=rf"\A{message}.*\Z"):
        Student(3.0, **given).on(phase)


@pytest.mark.parametrize("value", [2, 0, -1.0, math.nan, math.inf, 1001, True, "3"])
def test_nonsense_degrees_of_freedom_are_refused(value):
    with pytest.raises(ValueError, match=r"\Anu: .*; allowed: a number > 2 and <= 1000\Z"):
        Student(value, 1.0)


@pytest.mark.parametrize("value", [0, -1.0, math.nan, math.inf, True, "1"])
def test_nonsense_scales_are_refused(value):
    for key in ("position_scale", "velocity_scale"):
        with pytest.raises(ValueError, match=rf"\A{key}: .*; allowed: a finite number > 0\Z"):
            Student(3.0, **{key: value})
