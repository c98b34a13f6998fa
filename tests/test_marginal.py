"""The law of one particle against the mean field's: constant alignment of Gaussians, where all laws are Gaussian.

dv_i = beta (V - v_i) dt with V the mean velocity, which is conserved: with a = e^{-beta t}, b = (1 - a) / beta,
v_i(t) = a v_i + (1 - a) V and x_i(t) = x_i + b v_i + (t - b) V. In the mean field V = 0. Hence particle 1 has the
covariance of the mean field, F F^T with F = [[1, b], [0, a]], plus (1 / N) [[t^2 - b^2, t - a b], [t - a b, 1 - a^2]],
and W_2^2 is that of Bures.

False alarms, were the seeds redrawn: 27 comparisons at z = 4.5 or more, with numbers of moderate skewness: below 1e-3.
"""

import dataclasses
import re

import numpy as np
import pytest
from scipy import linalg

import mfstudy
from mfstudy import gelbrich, marginals
from mfstudy.components import InputError
from mfstudy.study import parse, shipped

SIZES = (4, 8, 16, 32, 64)


def values(difference, control, known):
    raw = {"difference": difference, "control": control, "moment": known[None]}
    return marginals.law_values(raw)


def flow(t, beta=1.0):
    a = np.exp(-beta * t)
    b = (1 - a) / beta
    return a, b, np.array([[1, b], [0, a]])


def bures(first, second):
    """With matrix square roots of another library."""
    root = linalg.sqrtm(second)
    return float(np.trace(first + second - 2 * linalg.sqrtm(root @ first @ root)).real)


def exact(size, t, beta=1.0):
    a, b, map_ = flow(t, beta)
    rho = map_ @ map_.T
    return bures(rho + np.array([[t * t - b * b, t - a * b], [t - a * b, 1 - a * a]]) / size, rho)


def replicates(size, count, t, rng):
    """Differences and controls of the linear model, solved exactly."""
    a, b, map_ = flow(t)
    start = rng.standard_normal((count, size, 2))
    mean = start[..., 1:].mean(axis=1, keepdims=True)
    copies = start @ map_.T
    particles = copies + mean * [t - b, 1 - a]
    difference = gelbrich.moments(particles) - gelbrich.moments(copies)
    control = gelbrich.moments(start) - gelbrich.expected_moments(np.zeros(2), np.eye(2))
    return difference, control, gelbrich.expected_moments(np.zeros(2), map_ @ map_.T)


@pytest.mark.parametrize("dimension", [1, 2, 4, 6])
def test_gelbrich_is_bures_for_gaussians(dimension):
    rng = np.random.default_rng(dimension)
    first, second = (m @ m.T + 0.1 * np.eye(dimension) for m in rng.standard_normal((2, dimension, dimension)))
    shift = rng.standard_normal(dimension)
    found = gelbrich.squared_distance(np.stack([shift, 0 * shift]), np.stack([first, second]), second)
    np.testing.assert_allclose(found, [shift @ shift + bures(first, second), 0.0], rtol=1e-9, atol=1e-20)


def test_covariances_may_be_singular():
    """Monokinetic data: a velocity that is a function of the position. On a line, W_2^2 is that of the lengths."""
    line = np.array([1.0, 0.5])
    flat, longer = np.outer(line, line), np.outer(1.1 * line, 1.1 * line)
    assert gelbrich.squared_distance(np.zeros(2), longer, flat) == pytest.approx(0.01 * line @ line, rel=1e-12)
    assert gelbrich.squared_distance(np.zeros(2), np.eye(2), np.diag([1.0, 0.0])) == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("small", [1e-3, 1e-6, 1e-9])
def test_no_digits_cancel_between_near_laws(small):
    scales = np.array([0.5, 1.0, 3.0])
    found = gelbrich.squared_distance(np.zeros(3), np.diag((scales * (1 + small)) ** 2), np.diag(scales**2))
    assert found == pytest.approx(small**2 * np.sum(scales**2), rel=1e-5)


def test_moments_of_points_are_expected_moments_of_their_law():
    points = np.random.default_rng(3).standard_normal((50, 3)) + 2
    mean, covariance = points.mean(axis=0), np.cov(points.T, bias=True)
    np.testing.assert_allclose(gelbrich.moments(points), gelbrich.expected_moments(mean, covariance), rtol=1e-12)


@pytest.fixture(scope="module")
def linear():
    rng = np.random.default_rng(20261121)
    return {size: values(*replicates(size, 4096, 0.5, rng)) for size in SIZES}


@pytest.mark.parametrize("size", SIZES)
def test_the_linear_model_agrees_with_its_closed_form(linear, size):
    values = linear[size]
    error = values.std(ddof=1) / 64
    assert error <= 0.12 * exact(size, 0.5)
    assert abs(values.mean() - exact(size, 0.5)) < 4.5 * error


def test_the_marginal_is_of_order_one_over_the_square_of_the_size(linear):
    fit = mfstudy.fit_rate(SIZES[1:], [linear[size] for size in SIZES[1:]], laws=("power",))
    assert fit.verdict == "rate"
    half = (fit.exponent_interval[1] - fit.exponent_interval[0]) / 2
    local = np.log(exact(64, 0.5) / exact(8, 0.5)) / np.log(8)  # -1.97: not yet in the limit
    assert abs(fit.exponent - local) < 2.2 * half
    assert abs(local + 2) < 0.05


def test_a_shifted_mean_field_is_found_out():
    """Negative control: 0.05 in the mean adds its square, many standard errors."""
    difference, control, known = replicates(32, 4096, 0.5, np.random.default_rng(5))
    right = values(difference, control, known)
    shift = np.array([0.05, 0.0])
    moved = difference + gelbrich.expected_moments(shift, np.zeros((2, 2)))  # first order: the mean of rho is 0
    wrong = values(moved, control, known)
    error = np.hypot(right.std(ddof=1), wrong.std(ddof=1)) / 64
    assert abs(wrong.mean() - exact(32, 0.5)) > 4.5 * error
    assert abs(wrong.mean() - right.mean() - 0.05**2) < 4.5 * error


def test_controls_remove_the_noise_that_particles_share():
    """A difference of the mean that is all of order N^-1/2, and known from the start."""
    difference, control, known = replicates(64, 4096, 2.0, np.random.default_rng(6))
    with_controls = values(difference, control, known)
    without = values(difference, 0 * control, known)
    assert abs(with_controls.mean() - exact(64, 2.0)) < 4.5 * with_controls.std(ddof=1) / 64
    assert without.mean() - exact(64, 2.0) > -4.5 * without.std(ddof=1) / 64
    assert without.std() > with_controls.std()


def test_the_affine_map_has_the_moments_it_is_asked_for():
    rng = np.random.default_rng(8)
    points = rng.standard_normal((400, 3)) @ rng.standard_normal((3, 3)) + 1
    mean, covariance = points.mean(axis=0), np.cov(points.T, bias=True)
    known = gelbrich.expected_moments(mean, covariance)
    wanted = gelbrich.expected_moments(mean + 0.3, covariance @ np.diag([2.0, 2.0, 2.0]) + 0.1 * np.eye(3))
    moved = gelbrich.transported(points, wanted - known, known)
    np.testing.assert_allclose(gelbrich.moments(moved), wanted, rtol=1e-9)
    cost = np.sum((moved - points) ** 2, axis=1).mean()  # and it is the optimal one
    assert cost == pytest.approx(gelbrich.from_moments(wanted - known, known), rel=1e-9)


def test_few_replicates_and_no_difference():
    difference, control, known = replicates(8, 5, 0.5, np.random.default_rng(7))
    assert np.isfinite(values(difference, control, known)).all()
    assert np.isnan(values(difference[:2], control[:2], known)).all()
    assert np.array_equal(values(0 * difference, control, known), np.zeros(5))


# The whole way: study, store, results.


def study(sizes="[4, 16, 64]", count=256):
    text = re.sub(r"sizes = .*", f"sizes = {sizes}", shipped()["marginal-linear"])
    text = re.sub(r"replicates = .*", f"replicates = {count}", text)
    return text.replace("save = [0.5, 1.0]", "save = [0.0, 0.5]").replace("step = 0.05", "step = 0.1")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return mfstudy.run(parse(study()), tmp_path_factory.mktemp("marginal") / "store", part=(1, 1))


def test_a_study_agrees_with_the_closed_form(results):
    values = results.values(results.quantity("marginal"))
    errors = values.std(axis=1, ddof=1) / np.sqrt(values.shape[1])
    truth = np.array([exact(size, 0.5) for size in results.sizes])
    assert np.all(np.abs(values.mean(axis=1) - truth) < 4.5 * errors)
    np.testing.assert_array_less(errors, 0.3 * truth)  # 4 % at 4096 replicates
    coupling = results.fit("coupling")
    marginal = results.fit("marginal")
    assert marginal.effective_exponent_interval[1] < -1.5 < coupling.effective_exponent_interval[0]


def test_the_marginal_is_below_coupling_and_empirical(results):
    marginal, coupling, empirical = (
        results.values(results.quantity(name)).mean(axis=1) for name in ("marginal", "coupling", "empirical")
    )
    assert np.all(marginal <= np.minimum(coupling, empirical))
    ends = results.ends(results.quantity("marginal"))
    assert all(high.value <= c * (1 + 1e-12) for (_, high), c in zip(ends, coupling, strict=True))
    assert all(high.value >= m for (_, high), m in zip(ends, marginal, strict=True))
    truth = [exact(size, 0.5) for size in results.sizes]
    assert all(low.value <= t + 4.5 * low.standard_error for (low, _), t in zip(ends, truth, strict=True))
    assert all(high.value >= t - 4.5 * high.standard_error for (_, high), t in zip(ends, truth, strict=True))


def test_at_the_start_it_is_zero(results):
    assert results.fit("marginal", 0).verdict == "zero"


def test_it_is_in_the_table_and_the_dataset(results):
    assert "marginal_w2_sq" in [quantity.name for quantity in results.quantities]
    data = results.to_xarray()
    assert data.marginal_difference_12.attrs["role"] == "difference"
    quantity = results.quantity("marginal")
    assert results.table(quantity, 1, results.fit_of(quantity, 1))["quantity"] == "marginal_w2_sq"


WRONG = '''
from dataclasses import dataclass, replace
from typing import ClassVar
from mfstudy.references.characteristics import Characteristics

@dataclass(frozen=True)
class Slow:
    """The mean field of another strength of alignment: what a wrong mean field looks like."""
    beta: float
    scheme: ClassVar[int] = 1
    shares: ClassVar[bool] = True
    def admit(self, system, law, time):
        Characteristics().admit(system, law, time)
    def solve(self, system, law, time):
        return Characteristics().solve(replace(system, beta=self.beta), law, time)
    def restore(self, system, law, time, shared):
        return Characteristics().restore(replace(system, beta=self.beta), law, time, shared)
'''


def test_a_wrong_mean_field_is_found_out(tmp_path, monkeypatch):
    """Negative control: 20 % less alignment misses the closed form, and the rate is gone."""
    (tmp_path / "slower").mkdir()
    (tmp_path / "slower/__init__.py").write_text("")
    (tmp_path / "slower/slow.py").write_text(WRONG)
    monkeypatch.syspath_prepend(tmp_path)
    text = study("[64]", 128) + '\n[reference]\nkind = "slower.slow"\nbeta = 0.8\n'
    found = mfstudy.run(parse(text), tmp_path / "store", part=(1, 1))
    values = found.values(found.quantity("marginal"))
    errors = values.std(axis=1, ddof=1) / np.sqrt(values.shape[1])
    truth = np.array([exact(size, 0.5) for size in found.sizes])
    assert np.all(np.abs(values.mean(axis=1) - truth) > 4.5 * errors)


@pytest.mark.parametrize("system", ["free_transport", "static"])
def test_systems_without_forces_are_refused(system):
    text = re.sub(r"\[system\].*?\[law\]", f"[system]\nkind = '{system}'\ndim = 1\n[law]", study(), flags=re.S)
    text = text.replace("step = 0.1", "")
    if system == "static":
        text = text.replace("velocity_std = 1.0", "").replace("[0.0, 0.5]", "[0.0]")
    with pytest.raises(InputError, match=r"observable\[0\]\.kind: needs forces, which this system does not have"):
        parse(text)


def test_without_interaction_it_is_zero(tmp_path):
    text = study("[4, 8]", 16).replace("beta = 1.0 ", "beta = 0.0 ")
    found = mfstudy.run(parse(text), tmp_path / "store", part=(1, 1))
    assert found.fit("marginal").verdict == "zero"
    assert dataclasses.asdict(found.fit("marginal"))["exponent"] is None
