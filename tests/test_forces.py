"""Fourier sums, the chemical signal and its steepest slope: against plain sums, heat-kernel integrals, closed forms."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.integrate import fixed_quad, quad
from scipy.optimize import minimize
from scipy.spatial.distance import cdist
from scipy.special import ive, j0

from mfstudy.ensemble import Ensemble
from mfstudy.forces import chemical
from mfstudy.forces.chemical import Signal, bump_transform, gradient_supremum
from mfstudy.forces.fourier import Lattice, OutOfDomainError, Region, Spectrum, Transform, spectrum
from mfstudy.forces.sums import MOST_MODES, TOLERANCE, FourierSum, direct_sum, fourier_sum
from mfstudy.integrate import Time, trajectory
from mfstudy.systems._pairwise import Bound, Medium, Pairwise

#: Rectangular, and not about the origin.
BOX = {1: Region((-0.5,), (1.0,)), 2: Region((-0.5, 1.0), (1.0, 2.0)), 3: Region((0.0, -0.3, -1.0), (1.0, 0.3, -0.2))}


def psi(r2):
    return (1 + r2) ** -0.45


def newton(r2):
    return (1 + 2 * r2) ** -1.5


def bell(r2):
    return -2.0 * np.exp(-r2)


PROFILES = {"psi": psi, "newton": newton, "bell": bell}


def corners(region):
    return np.array(list(itertools.product(*zip(region.low, region.high, strict=True))))


def inside(region, n, seed=0):
    """Every corner of the region, and random points."""
    rng = np.random.default_rng(seed)
    return np.concatenate([corners(region), rng.uniform(region.low, region.high, (n, len(region.low)))])


def plain(profile, targets, sources, strengths):
    return profile(cdist(targets, sources, "sqeuclidean")) @ strengths


def built(profile, d, tolerance):
    found = spectrum(profile, BOX[d], tolerance, (0.0,) * d, 0.0, MOST_MODES[d])
    return found, fourier_sum(found, BOX[d], max(0.1 * tolerance, 1e-14))


# --- Fourier sums ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize(
    ("d", "tolerance"),
    [(1, TOLERANCE[1]), (1, 1e-8), (1, 1e-3), (2, TOLERANCE[2]), (2, 1e-5), (3, TOLERANCE[3]), (3, 1e-3)],
)
def test_fourier_sums_match_the_exact_profile_and_direct_sums(name, d, tolerance):
    profile, x = PROFILES[name], inside(BOX[d], 150)
    targets = inside(BOX[d], 40, seed=1)
    strengths = np.random.default_rng(2).normal(size=(len(x), d + 1))
    found, sums = built(profile, d, tolerance)
    ours = sums.at(targets, sums.source(x, strengths), d + 1)
    direct = direct_sum(profile, BOX[d])
    scale = abs(float(profile(np.zeros(1))[0])) * np.abs(strengths).sum(axis=0)
    assert found.error <= tolerance
    # The declared error, and what finufft adds at a tenth of the tolerance.
    limit = (found.error + max(0.3 * tolerance, 1e-13)) * scale
    assert np.all(np.abs(ours - plain(profile, targets, x, strengths)) <= limit)
    assert np.all(np.abs(ours - direct.at(targets, direct.source(x, strengths), d + 1)) <= limit + 1.1e-12 * scale)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_each_column_alone_gives_the_same_sums(d):
    x = inside(BOX[d], 60)
    strengths = np.random.default_rng(3).normal(size=(len(x), 3))
    _, sums = built(psi, d, 1e-5)
    together = sums.at(x, sums.source(x, strengths), 3)
    for c in range(3):
        alone = sums.at(x, sums.source(x, strengths[:, [c]]), 1)
        np.testing.assert_allclose(together[:, [c]], alone, rtol=0, atol=1e-5 * np.abs(strengths).sum())


def kernel_error(profile, d, tolerance):
    """Largest error of the kernel itself, one unit charge in each corner, over its largest value; and the declared."""
    found, _ = built(profile, d, tolerance)
    sums = fourier_sum(found, BOX[d], 1e-14)
    x = inside(BOX[d], 1500, seed=4)
    worst = 0.0
    for corner in corners(BOX[d]):
        source = corner[None]
        ours = sums.at(x, sums.source(source, np.ones((1, 1))), 1)
        worst = max(worst, float(np.abs(ours - plain(profile, x, source, np.ones((1, 1)))).max()))
    return worst / abs(float(profile(np.zeros(1))[0])), found.error


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize(("d", "tolerance"), [(1, 1e-10), (1, 1e-6), (1, 1e-3), (2, 1e-7), (2, 1e-3), (3, 1e-4)])
def test_the_declared_error_bounds_that_of_the_kernel(name, d, tolerance):
    worst, declared = kernel_error(PROFILES[name], d, tolerance)
    assert worst <= declared * (1 + 1e-3)
    assert declared <= 1e3 * worst  # and is no empty bound


def wide(r2):
    return np.exp(-r2 / 10)


def test_the_declared_error_counts_the_window():
    worst, declared = kernel_error(wide, 1, 1e-8)
    assert worst <= declared * (1 + 1e-3)


def test_dropping_modes_breaks_the_declared_error():
    found, _ = built(psi, 1, 1e-8)
    coefficients = found.coefficients.copy()
    coefficients[len(coefficients) // 2 + 3] = 0.0
    sums = fourier_sum(Spectrum(found.lattice, coefficients, found.error), BOX[1], 1e-14)
    x = inside(BOX[1], 50)
    ours = sums.at(x, sums.source(x[:1], np.ones((1, 1))), 1)
    assert np.abs(ours - plain(psi, x, x[:1], np.ones((1, 1)))).max() > 1e3 * found.error


def test_a_range_too_short_for_the_box_is_refused_in_one_line():
    def narrow(r2):
        return np.exp(-r2 / 2e-4)

    with pytest.raises(ValueError, match=r"is too large for the force's range: .* allowed: 1e-08") as raised:
        spectrum(narrow, BOX[2], 1e-8, (0.0, 0.0), 0.0, 65)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", ["fourier", "direct"])
@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("value", [1e-3, math.inf, math.nan])
def test_leaving_the_region_is_refused_for_sources_and_targets(kind, d, value):
    sums = built(psi, d, 1e-4)[1] if kind == "fourier" else direct_sum(psi, BOX[d])
    good, strengths = inside(BOX[d], 5), np.ones((5 + 2**d, 1))
    parts = sums.source(good, strengths)
    for axis, sign in itertools.product(range(d), (-1, 1)):
        bad = good.copy()
        bad[3 % len(bad), axis] = (BOX[d].high if sign > 0 else BOX[d].low)[axis] + sign * value
        with pytest.raises(OutOfDomainError, match=f"axis {axis}") as raised:
            sums.source(bad, strengths)
        assert "\n" not in str(raised.value)
        with pytest.raises(OutOfDomainError, match="allowed"):
            sums.at(bad, parts, 1)


# --- momentum: types 1 and 2 are adjoints --------------------------------------------------------------------------


def momentum(sums, x, v, w):
    """|sum_i w_i force_i| of the alignment, over sum_i w_i |v_i|."""
    out = sums.at(x, sums.source(x, np.concatenate([w[:, None], w[:, None] * v], axis=1)), 1 + v.shape[1])
    force = out[:, 1:] - v * out[:, :1]
    return float(np.linalg.norm(w @ force) / (w @ np.linalg.norm(v, axis=1)))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("tolerance", [1e-3, 1e-6, 1e-9, 1e-12])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_momentum_is_conserved_at_every_tolerance_of_the_transforms(d, tolerance, weighted):
    rng = np.random.default_rng(d)
    found, _ = built(psi, d, {1: 1e-8, 2: 1e-6, 3: 1e-3}[d])
    x = inside(BOX[d], 400)
    v, w = rng.normal(size=x.shape), rng.uniform(0, 1, len(x)) ** 3 if weighted else np.ones(len(x))
    w /= w.sum()
    sums = FourierSum(found, Transform(found.lattice, tolerance), BOX[d])
    assert momentum(sums, x, v, w) < 1e-12
    # A part of the kernel that is odd, a millionth of it, is seen.
    k = found.lattice.wavenumbers[0]
    odd = found.coefficients * (1 + 1e-6j * np.sign(k))
    broken = FourierSum(Spectrum(found.lattice, odd, 0.0), Transform(found.lattice, tolerance), BOX[d])
    assert momentum(broken, x, v, w) > 1e-9


# --- the source chi ---------------------------------------------------------------------------------------------------


def bump(d, power, radius):
    """chi' as a function of r, normalised by SciPy."""
    sphere = 2 * math.pi ** (d / 2) / math.gamma(d / 2)
    mass = (
        sphere * quad(lambda r: r ** (d - 1) * (1 - (r / radius) ** 2) ** power, 0, radius, epsabs=0, epsrel=1e-13)[0]
    )
    return lambda r: -2 * power * r / radius**2 * (1 - (r / radius) ** 2) ** (power - 1) / mass


def signal(d, *, D=0.1, kappa=0.3, radius=0.5, power=8.0, amplitude=0.0, width=1.0, centre=None):
    return Signal(D, kappa, radius, power, amplitude, width, centre or (0.0,) * d)


@pytest.mark.parametrize("power", [2.0, 4.0, 7.5])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_transform_of_the_source_is_the_integral_of_it(d, power):
    waves = {1: np.cos, 2: j0, 3: lambda z: np.sinc(z / math.pi)}

    def integral(z):
        # r = sin(a): smooth at both ends for every power.
        def integrand(a):
            return np.sin(a) ** (d - 1) * np.cos(a) ** (2 * power + 1) * waves[d](z * np.sin(a))

        return fixed_quad(integrand, 0, math.pi / 2, n=200)[0]

    # 0.0099 and 0.0101 are on both sides of the change to a series.
    z = np.array([0.0, 1e-4, 0.0099, 0.0101, 0.3, 1.0, 3.0, 7.7, 20.0, 55.0])
    expected = np.array([integral(one) for one in z]) / integral(0.0)
    np.testing.assert_allclose(bump_transform(d, power, z), expected, rtol=0, atol=2e-13)
    assert bump_transform(d, power, np.zeros(1))[0] == 1.0


@pytest.mark.parametrize("power", [2.0, 4.0, 8.0])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_steepest_slope_of_the_source_is_that_of_a_dense_grid(d, power):
    one, r = signal(d, radius=0.7, power=power), np.linspace(0, 0.7, 200_001)
    slopes = -bump(d, power, 0.7)(r)
    np.testing.assert_allclose(one.slope(r), slopes, rtol=1e-10, atol=1e-12)
    assert one.steepest_source == pytest.approx(slopes.max(), rel=1e-9)


# --- the signal against the heat kernel ------------------------------------------------------------------------------


def slope(lattice, modes, points):
    """Return the gradient at points by plain sums over the modes."""
    out = np.zeros(points.shape)
    for i, x in enumerate(points):
        wave = np.exp(1j * sum(k * s for k, s in zip(lattice.wavenumbers, x - lattice.centre, strict=True)))
        for a, k in enumerate(lattice.wavenumbers):
            out[i, a] = np.sum(1j * k * modes * wave).real
    return out


def lattice_of(region, period, reach):
    """Return a lattice of a period that reaches a wavenumber."""
    centre = tuple(0.5 * (a + b) for a, b in zip(region.low, region.high, strict=True))
    shape = tuple(2 * math.ceil(reach * p / (2 * math.pi)) + 1 for p in period)
    return Lattice(centre, tuple(period), shape)


def emitted(one, region, lattice, sources, weights, time):
    """Return the modes of the signal of fixed particles, by the program's own forces and steps."""
    none = Spectrum(lattice, np.zeros(lattice.shape), 0.0)
    sums = FourierSum(none, Transform(lattice, 1e-13), region)
    dynamics = Bound(Pairwise(psi, None, "velocity", eta=1.0, signal=one), sums, Medium(1.0, one, lattice), 0.0)
    start = dynamics.start(Ensemble(sources, np.zeros_like(sources), weights))

    def rate(state):
        parts = dynamics.source(state)
        rates = dynamics.rates(state, parts)
        rates.ensemble.velocity[:] = 0.0  # held in place
        return rates

    *_, last = trajectory(rate, start, dynamics.decay, time)
    np.testing.assert_array_equal(last.ensemble.position, sources)
    return last.memory


def heat_slope(one, chi_slope, spread, r):
    """Return d/dr of (G * chi)(r), G the Gaussian of a variance: Weber's integral with I_{d/2}."""
    reach = 9 * math.sqrt(spread)
    low, high = max(0.0, r - reach), min(one.radius, r + reach)
    if high <= low:
        return 0.0
    x, w = np.polynomial.legendre.leggauss(64)
    s, w = low + (high - low) * (x + 1) / 2, w * (high - low) / 2
    half = 0.5 * one.dimension
    kernel = (s / r) ** half * r / spread * np.exp(-((r - s) ** 2) / (2 * spread)) * ive(half, r * s / spread)
    return float(w @ (chi_slope(s) * kernel))


def heat_integral(one, sources, weights, points, t, nodes=90):
    """Return grad of int_0^t exp(-kappa s) (G_{2 D s} * chi * rho) ds, with s = t u^2."""
    chi_slope = bump(one.dimension, one.power, one.radius)
    x, w = np.polynomial.legendre.leggauss(nodes)
    u, w = (x + 1) / 2, w / 2
    out = np.zeros(points.shape)
    for i, j in itertools.product(range(len(points)), range(len(sources))):
        apart = points[i] - sources[j]
        r = float(np.linalg.norm(apart))
        if one.diffusion:
            radial = [heat_slope(one, chi_slope, 2 * one.diffusion * t * a * a, r) for a in u]
        else:
            radial = [float(chi_slope(r)) if r < one.radius else 0.0] * nodes
        total = float(w @ (2 * t * u * np.exp(-one.decay * t * u**2) * radial))
        out[i] += weights[j] * total * apart / r
    return out


def relative(ours, exact):
    return float(np.abs(ours - exact).max() / np.linalg.norm(exact, axis=1).max())


EMITTERS = {1: Region((-0.4,), (0.6,)), 2: Region((-0.3, 0.0), (0.3, 0.4)), 3: Region((-0.1,) * 3, (0.15,) * 3)}


@pytest.mark.parametrize(
    ("d", "D", "kappa", "reaches"),
    [
        (1, 0.1, 0.3, (20, 40, 120)),
        (1, 0.1, 0.0, (20, 40, 120)),
        (1, 0.0, 0.3, (30, 60, 200)),
        (1, 0.0, 0.0, (30, 60, 200)),
        (2, 0.05, 0.5, (20, 40, 100)),
        (2, 0.0, 0.0, (30, 60, 160)),
        (3, 0.02, 0.5, (10, 20, 50)),
    ],
)
def test_emitted_signals_are_the_heat_kernel_integral(d, D, kappa, reaches):
    radius, t = {1: 0.5, 2: 0.6, 3: 1.0}[d], 0.5
    one, region, rng = signal(d, D=D, kappa=kappa, radius=radius), EMITTERS[d], np.random.default_rng(d)
    count = {1: 5, 2: 4, 3: 2}[d]
    sources, points = (rng.uniform(region.low, region.high, (n, d)) for n in (3, count))
    weights = np.array([0.5, 0.3, 0.2])
    exact = heat_integral(one, sources, weights, points, t)
    errors = []
    for reach in reaches:
        lattice = lattice_of(region, one.reach(region, t), reach / radius)
        modes = emitted(one, region, lattice, sources, weights, Time((t,), t, "rk4"))
        errors.append(relative(slope(lattice, modes, points), exact))
    assert errors[0] > 30 * errors[1] > 30 * errors[2]
    assert errors[-1] < 1e-8


@pytest.mark.parametrize(("D", "kappa"), [(0.2, 0.5), (0.2, 0.0), (0.0, 0.5), (0.0, 0.0)])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_an_initial_signal_spreads_and_decays_as_in_closed_form(d, D, kappa):
    t, width, centre = 0.7, 0.4, (0.1, -0.1, 0.05)[:d]
    region = EMITTERS[d]
    one = signal(d, D=D, kappa=kappa, amplitude=-1.7, width=width, centre=centre)
    lattice = lattice_of(region, one.reach(region, t), 7.5 / width)
    points = inside(region, 4)
    modes = emitted(one, region, lattice, points, np.zeros(len(points)), Time((t,), t / 2, "rk4"))
    variance = width**2 + 2 * D * t
    apart = points - centre
    height = -1.7 * (width**2 / variance) ** (d / 2) * math.exp(-kappa * t)
    exact = -apart / variance * height * np.exp(-np.sum(apart**2, axis=1) / (2 * variance))[:, None]
    assert relative(slope(lattice, modes, points), exact) < 1e-8
    assert one.steepest_start == pytest.approx(1.7 * math.exp(-0.5) / width)


@pytest.mark.parametrize(("d", "amplitude"), [(1, 0.0), (2, 0.0), (1, 1.0), (2, 1.0)])
def test_images_are_not_felt_within_the_reach_and_are_at_half_of_it(d, amplitude):
    t, region = 0.5, EMITTERS[d]
    one = signal(d, D=0.1, kappa=0.1, radius=0.5, amplitude=amplitude, width=0.3)
    ends = corners(region)
    sources, weights = ends[:1], np.ones(1) if amplitude == 0 else np.zeros(1)

    def at(factor):
        period = [factor * p for p in one.reach(region, t)]
        lattice = lattice_of(region, period, {1: 160.0, 2: 100.0}[d])
        return slope(lattice, emitted(one, region, lattice, sources, weights, Time((t,), t, "rk4")), ends)

    alone = at(2.0)
    assert relative(at(1.0), alone) < 1e-8
    assert relative(at(0.5), alone) > 1e-3


@pytest.mark.parametrize("kappa", [0.0, 0.4])
@pytest.mark.parametrize("stepper", ["adams", "rk4"])
def test_a_constant_source_is_integrated_exactly_however_stiff(stepper, kappa):
    one, region = signal(1, D=30.0, kappa=kappa, radius=0.5), EMITTERS[1]
    lattice = lattice_of(region, (20.0,), 60.0)
    sources, weights = np.array([[-0.2], [0.5]]), np.array([0.25, 0.75])
    t, rates = 0.8, 30.0 * lattice.square + kappa
    assert rates.max() * 0.1 > 1e3
    modes = emitted(one, region, lattice, sources, weights, Time((t,), 0.1, stepper))
    density = weights @ np.exp(-1j * np.outer(sources - lattice.centre, lattice.wavenumbers[0]))
    safe = np.where(rates > 0, rates, 1.0)
    gained = np.where(rates > 0, -np.expm1(-safe * t) / safe, t)
    exact = bump_transform(1, 8.0, 0.5 * np.sqrt(lattice.square)) / 20.0 * density * gained
    np.testing.assert_allclose(modes, exact, rtol=0, atol=1e-12 * np.abs(exact).max())


# --- the steepest slope of a signal ----------------------------------------------------------------------------------


def hermitian(lattice, rng, fall=0.0):
    raw = rng.normal(size=lattice.shape) + 1j * rng.normal(size=lattice.shape)
    raw = raw * np.exp(-fall * np.sqrt(lattice.square))
    flipped = np.conj(raw[(slice(None, None, -1),) * raw.ndim])
    return 0.5 * (raw + flipped)


def steepest(lattice, modes, points):
    """Return the supremum by brute force: a fine grid by plain sums, then SciPy from its best points."""
    d = len(lattice.shape)
    axes = [c + p * np.arange(points) / points for c, p in zip(lattice.centre, lattice.period, strict=True)]
    waves = [
        np.exp(1j * np.outer(x - c, k.ravel()))
        for x, c, k in zip(axes, lattice.centre, lattice.wavenumbers, strict=True)
    ]
    square = 0.0
    for k in lattice.wavenumbers:
        field = 1j * k * modes
        for wave in waves:  # the first axis goes to the back: after d turns all are in place
            field = np.tensordot(field, wave, axes=([0], [1]))
        square = square + field.real**2
    best = np.argsort(square.ravel())[-12::3]
    starts = [[axis[i] for axis, i in zip(axes, np.unravel_index(b, square.shape), strict=True)] for b in best]
    assert square.ndim == d

    def height(x):
        return -float(np.linalg.norm(slope(lattice, modes, np.array([x]))))

    return max(-minimize(height, s, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-15}).fun for s in starts)


LATTICES = {1: Lattice((0.3,), (2.0,), (21,)), 2: Lattice((0.0, 1.0), (2.0, 3.0), (9, 11))}
LATTICES[3] = Lattice((0.0, 1.0, -2.0), (2.0, 3.0, 2.5), (5, 7, 5))


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_supremum_is_between_value_and_upper_bound(d, seed):
    lattice = LATTICES[d]
    modes = hermitian(lattice, np.random.default_rng(seed), fall=0.1 * seed)
    sup = steepest(lattice, modes, {1: 2000, 2: 150, 3: 36}[d])
    uppers = []
    for waves in (2.5, 4, 8):
        found = gradient_supremum(lattice, modes, waves)
        assert found.value <= sup * (1 + 1e-10)
        assert sup <= found.upper * (1 + 1e-12)
        uppers.append(found.upper)
    # With 24 points a wave Newton's method starts at the highest of all maxima, and attains it.
    assert gradient_supremum(lattice, modes, 24).value == pytest.approx(sup, rel=1e-10)
    assert uppers[0] > uppers[1] > uppers[2]
    assert uppers[2] < 1.09**d * sup


@pytest.mark.parametrize("waves", [2.5, 4, 8])
@pytest.mark.parametrize("phase", [0.0, 0.4, 0.7, math.pi / 4])
@pytest.mark.parametrize("k", [1, 3, 10])
def test_one_wave_between_grid_points_is_found_exactly(k, phase, waves):
    lattice = LATTICES[1]
    modes = np.zeros(21, dtype=complex)
    modes[10 + k], modes[10 - k] = np.exp(1j * phase), np.exp(-1j * phase)
    found, exact = gradient_supremum(lattice, modes, waves), 2 * 2 * math.pi * k / 2.0
    assert found.value == pytest.approx(exact, rel=1e-10)
    assert found.value <= exact * (1 + 1e-14) <= found.upper * (1 + 2e-14)


@pytest.mark.parametrize("waves", [2.5, 8])
def test_a_ridge_of_maxima_is_found_exactly(waves):
    lattice = Lattice((0.0, 0.0), (2.0, 3.0), (9, 9))
    modes = np.zeros((9, 9), dtype=complex)
    modes[7, 4], modes[1, 4] = np.exp(0.7j), np.exp(-0.7j)
    assert gradient_supremum(lattice, modes, waves).value == pytest.approx(2 * 3 * math.pi, rel=1e-10)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_no_modes_have_no_slope_and_a_lost_mode_is_missed(d):
    lattice = LATTICES[d]
    nothing = gradient_supremum(lattice, np.zeros(lattice.shape, dtype=complex))
    assert (nothing.value, nothing.upper) == (0.0, 0.0)
    mean = np.zeros(lattice.shape, dtype=complex)
    mean[tuple(m // 2 for m in lattice.shape)] = 3.0
    assert gradient_supremum(lattice, mean).upper == 0.0
    modes = hermitian(lattice, np.random.default_rng(5))
    whole = gradient_supremum(lattice, modes, 8).value
    lost, last = modes.copy(), (0,) * d
    lost[last] = lost[tuple(-1 for _ in last)] = 0.0
    assert abs(gradient_supremum(lattice, lost, 8).value - whole) > 1e-4 * whole


def test_the_source_is_kept_down_to_a_small_part_of_its_largest_value():
    one = signal(2, radius=0.3, power=4.0)
    z = np.linspace(one.wavenumber * 0.3 + 0.1, 400, 4000)
    assert np.all(np.abs(bump_transform(2, 4.0, z)) <= chemical._KEPT[2])
