"""Sums over all pairs: against SciPy's distances with the exact profile, closed forms, and wrong profiles."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.special import erf

from mfstudy.forces import pairwise
from mfstudy.forces.pairwise import LENGTHS, Rational, pair_sums, rational

TOLERANCE = 1e-12
PROFILES = {
    "psi": lambda r2: (1 + r2) ** -0.45,
    "newton": lambda r2: 1 / (1 + r2),
    "gaussian": lambda r2: np.exp(-0.5 * r2),
    "negative": lambda r2: -np.exp(-2 * r2),
}


def cloud(d, n, m, c, seed=0):
    """Targets and sources in [-1, 1]^d, strengths of both signs."""
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (n, d)), rng.uniform(-1, 1, (m, d)), rng.normal(size=(m, c))


def exact(profile, targets, sources, strengths):
    return profile(cdist(targets, sources, "sqeuclidean")) @ strengths


def error(ours, profile, targets, sources, strengths):
    """Largest error relative to the sum that max |g| on every pair would give."""
    most = np.abs(profile(np.linspace(0, 4 * targets.shape[1], 100))).max() * np.abs(strengths).sum(axis=0)
    return float(np.abs((ours - exact(profile, targets, sources, strengths)) / most).max())


def run(code, **environment):
    """Run code in a fresh interpreter, with warnings as errors, and return what it prints."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize(("d", "n", "m", "c"), [(1, 40, 700, 2), (2, 33, 513, 3), (3, 20, 1030, 4), (5, 9, 77, 1)])
def test_sums_match_scipy_distances_with_the_exact_profile(name, d, n, m, c):
    profile = PROFILES[name]
    targets, sources, strengths = cloud(d, n, m, c)
    ours = pair_sums(targets, sources, strengths, rational(profile, 4.0 * d))
    assert ours.shape == (n, c)
    assert error(ours, profile, targets, sources, strengths) < 1.1 * TOLERANCE


@pytest.mark.parametrize("m", [1, 2, 7, 8, 9, 511, 512, 513, 1024, 1025])
def test_every_number_of_sources_is_summed_whole(m):
    targets, sources, strengths = cloud(2, 3, m, 1, seed=m)
    ours = pair_sums(targets, sources, strengths, rational(PROFILES["psi"], 8.0))
    assert error(ours, PROFILES["psi"], targets, sources, strengths) < 1.1 * TOLERANCE


def test_gauss_legendre_sources_give_the_gaussian_convolution_in_closed_form():
    # int_{-1}^{1} exp(-(x-y)^2/2) dy = sqrt(pi/2) [erf((x+1)/sqrt 2) - erf((x-1)/sqrt 2)]
    nodes, weights = np.polynomial.legendre.leggauss(40)
    x = np.linspace(-1, 1, 21)
    ours = pair_sums(x[:, None], nodes[:, None], weights[:, None], rational(PROFILES["gaussian"], 4.0))
    closed = np.sqrt(np.pi / 2) * (erf((x + 1) / np.sqrt(2)) - erf((x - 1) / np.sqrt(2)))
    np.testing.assert_allclose(ours[:, 0], closed, rtol=0, atol=2.5e-12)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_alignment_and_radial_forces_conserve_momentum_to_round_off(d):
    rng = np.random.default_rng(d)
    x, v, w = rng.uniform(-1, 1, (600, d)), rng.normal(size=(600, d)), rng.dirichlet(np.ones(600))[:, None]
    profile = rational(PROFILES["psi"], 4.0 * d, tolerance=1e-3)  # whatever the error of the profile is
    for q in (v, x):
        sums = pair_sums(x, x, np.hstack([w, w * q]), profile)
        force = sums[:, 1:] - q * sums[:, :1]
        assert np.abs(force).max() > 0.1
        assert np.abs((w * force).sum(axis=0)).max() < 1e-15


def test_momentum_detects_a_force_that_is_not_antisymmetric():
    x, _, _ = cloud(2, 300, 1, 1)
    v = np.random.default_rng(1).normal(size=(300, 2))
    sums = pair_sums(x, x, np.hstack([np.ones((300, 1)), v]), rational(PROFILES["psi"], 8.0)) / 300
    assert np.abs((sums[:, 1:] - 1.001 * v * sums[:, :1]).mean(axis=0)).max() > 1e-6


def test_constant_profile_gives_totals():
    targets, sources, strengths = cloud(2, 20, 900, 3)
    ours = pair_sums(targets, sources, strengths, rational(lambda r2: np.full_like(r2, 2.5), 8.0))
    np.testing.assert_allclose(ours, np.broadcast_to(2.5 * strengths.sum(axis=0), (20, 3)), rtol=0, atol=1e-11)


def test_zero_profile_gives_zero():
    targets, sources, strengths = cloud(1, 5, 30, 2)
    assert not pair_sums(targets, sources, strengths, rational(np.zeros_like, 4.0)).any()


def test_points_that_coincide_feel_the_profile_at_zero():
    x = np.full((50, 3), 0.1)
    ours = pair_sums(x, x, np.ones((50, 1)), rational(PROFILES["psi"], 12.0))
    np.testing.assert_allclose(ours, 50.0, rtol=TOLERANCE)


def test_no_sources_and_no_targets():
    profile = rational(PROFILES["psi"], 4.0)
    assert not pair_sums(np.zeros((3, 1)), np.zeros((0, 1)), np.zeros((0, 2)), profile).any()
    assert pair_sums(np.zeros((0, 1)), np.zeros((3, 1)), np.zeros((3, 2)), profile).shape == (0, 2)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_sums_at_a_target_do_not_depend_on_the_other_targets(d):
    targets, sources, strengths = cloud(d, 101, 777, d + 1)
    profile = rational(PROFILES["psi"], 4.0 * d)
    together = pair_sums(targets, sources, strengths, profile)
    alone = np.concatenate([pair_sums(x[None], sources, strengths, profile) for x in targets])
    order = np.random.default_rng(0).permutation(101)
    assert together.tobytes() == alone.tobytes()
    assert together[order].tobytes() == pair_sums(targets[order], sources, strengths, profile).tobytes()
    assert together.tobytes() == pair_sums(targets, sources, strengths, profile).tobytes()


def test_sums_do_not_depend_on_how_arrays_lie_in_memory():
    targets, sources, strengths = cloud(1, 30, 200, 2)
    profile = rational(PROFILES["psi"], 4.0)
    plain = pair_sums(targets, sources, strengths, profile)
    strided = [np.asfortranarray(np.repeat(a, 2, axis=0))[::2] for a in (targets, sources, strengths)]
    for a in strided:
        a.flags.writeable = False
    assert pair_sums(*strided, profile).tobytes() == plain.tobytes()
    # Of one kind for numba: nothing is compiled again.
    lengths = {len(signature[3]) for signature in pairwise._compiled(True).signatures}
    assert len(pairwise._compiled(True).signatures) == len(lengths)


def test_strengths_that_are_not_numbers_stay_so_and_stay_in_their_column():
    targets, sources, strengths = cloud(2, 10, 100, 2)
    strengths[3, 1] = np.nan
    sums = pair_sums(targets, sources, strengths, rational(PROFILES["psi"], 8.0))
    assert np.isnan(sums[:, 1]).all()
    assert np.isfinite(sums[:, 0]).all()


def grid(upper):
    """Other points than those on which the fit was judged, half of them near zero."""
    rng = np.random.default_rng(7)
    return upper * np.concatenate([[0.0, 1.0], rng.random(20_000), 10 ** rng.uniform(-12, 0, 20_000)])


@pytest.mark.parametrize("upper", [1e-6, 0.1, 4.0, 12.0, 100.0, 1000.0])
@pytest.mark.parametrize("sigma", [0.05, 0.1, 0.45, 0.5, 1.0, 1.3, 3.0])
def test_power_profiles_meet_the_tolerance(sigma, upper):
    fit = rational(lambda r2: (1 + r2) ** -sigma, upper)
    r2 = grid(upper)
    assert fit.error <= TOLERANCE
    # Random points may find a maximum of the error that the grid of the fit just misses.
    assert np.abs(fit(r2) - (1 + r2) ** -sigma).max() <= 1.05 * fit.error + 1e-15
    assert len(fit.numerator) == len(fit.denominator)
    assert len(fit.numerator) in LENGTHS


@pytest.mark.parametrize("upper", [1e-6, 1.0, 10.0, 30.0, 100.0])
def test_gaussian_profiles_meet_the_tolerance_relative_to_their_largest_value(upper):
    fit = rational(lambda r2: -7 * np.exp(-0.5 * r2), upper)
    r2 = grid(upper)
    assert fit.error <= TOLERANCE
    assert np.abs(fit(r2) / -7 - np.exp(-0.5 * r2)).max() <= 1.05 * fit.error + 1e-15


def test_rational_profiles_are_found_again():
    fit = rational(PROFILES["newton"], 12.0)
    assert fit.error < 1e-14
    p, q = np.array(fit.numerator), np.array(fit.denominator)
    # 1 / (1 + 12 s), so P = p0 and Q = p0 (1 + 12 s)
    np.testing.assert_allclose(p / p[0], [1] + [0] * (len(p) - 1), atol=1e-12)
    np.testing.assert_allclose(q / p[0], [1, 12] + [0] * (len(q) - 2), atol=1e-12)


def test_a_looser_tolerance_takes_a_lower_degree():
    degrees = [np.count_nonzero(rational(PROFILES["psi"], 100.0, t).numerator) for t in (1e-3, 1e-6, 1e-9, 1e-12)]
    assert degrees == sorted(set(degrees))


def test_a_fit_is_wrong_beyond_its_interval():
    fit = rational(PROFILES["gaussian"], 4.0)
    r2 = np.linspace(8, 40, 50)
    assert np.abs(fit(r2) - PROFILES["gaussian"](r2)).max() > 1e-6


def test_points_beyond_the_interval_are_refused():
    targets, sources, strengths = cloud(2, 50, 50, 1)
    with pytest.raises(ValueError, match="at most 4"):
        pair_sums(targets, sources, strengths, rational(PROFILES["psi"], 4.0))
    with pytest.raises(ValueError, match="at most 4"):
        pair_sums(targets[:1], targets[:1] + 2.0, strengths[:1], rational(PROFILES["psi"], 4.0))


def test_points_just_within_the_interval_are_taken():
    corners = np.array([[-0.1, -0.1, -0.1], [0.2, 0.2, 0.2]])
    ours = pair_sums(corners, corners, np.ones((2, 1)), rational(PROFILES["psi"], 3 * 0.3**2))
    np.testing.assert_allclose(ours, 1 + 1.27**-0.45, rtol=TOLERANCE)


def test_a_profile_of_the_wrong_sign_or_width_is_detected():
    targets, sources, strengths = cloud(2, 50, 300, 3)
    for wrong in (lambda r2: -PROFILES["psi"](r2), lambda r2: (1 + r2) ** -0.4500001):
        ours = pair_sums(targets, sources, strengths, rational(wrong, 8.0))
        assert error(ours, PROFILES["psi"], targets, sources, strengths) > 1e3 * TOLERANCE


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        (lambda r2: np.maximum(1 - r2, 0), r"profile: error .*e-0. without poles"),
        (lambda r2: 1 / (r2 - np.sqrt(2)), "without poles"),
        (lambda r2: np.where(r2 > 0, 1 / np.maximum(r2, 1e-300), np.inf), "finite"),
    ],
    ids=["kink", "pole", "infinite"],
)
def test_profiles_without_a_fit_are_refused(profile, message):
    with pytest.raises(ValueError, match=message) as caught:
        rational(profile, 4.0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("upper", "tolerance"), [(0.0, 1e-12), (-1.0, 1e-12), (np.inf, 1e-12), (1.0, 0.0)])
def test_intervals_and_tolerances_out_of_range_are_refused(upper, tolerance):
    with pytest.raises(ValueError, match=r"upper = .*tolerance = "):
        rational(PROFILES["psi"], upper, tolerance)


@pytest.mark.parametrize(
    ("targets", "sources", "strengths", "message"),
    [
        ((4, 2), (5, 3), (5, 1), "shapes must be"),
        ((4, 2), (5, 2), (4, 1), "shapes must be"),
        ((4, 0), (5, 0), (5, 1), "shapes must be"),
        ((4,), (5, 2), (5, 1), "two axes"),
        ((4, 2), (5, 2), (5,), "two axes"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(targets, sources, strengths, message):
    with pytest.raises(ValueError, match=message):
        pair_sums(np.zeros(targets), np.zeros(sources), np.zeros(strengths), Rational((1.0,), (1.0,), 1.0, 0.0))


@pytest.mark.parametrize(("q", "upper"), [((1.0, 2.0), 1.0), ((), 1.0), ((1.0,), 0.0)])
def test_rationals_that_cannot_be_evaluated_are_refused(q, upper):
    with pytest.raises(ValueError, match="numerator, denominator, upper"):
        Rational((1.0,), q, upper, 0.0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_positions_that_are_not_finite_are_refused(value):
    targets, sources, strengths = cloud(2, 5, 5, 1)
    sources[2, 1] = value
    with pytest.raises(ValueError, match="at most 8"):
        pair_sums(targets, sources, strengths, rational(PROFILES["psi"], 8.0))


SUMS = """
import sys, numpy as np
from mfstudy.forces import pairwise
from mfstudy.forces.pairwise import Rational, pair_sums
{before}
x = np.random.default_rng(0).random((300, 2))
profile = Rational((1.0,) + (0.0,) * 6, (1.0, 2.0) + (0.0,) * 5, 2.0, 0.0)
sums = pair_sums(x, x, x, profile)
{after}
np.testing.assert_allclose(sums, (1 / (1 + ((x[:, None] - x) ** 2).sum(-1))) @ x, rtol=1e-12)
print(__import__("hashlib").sha256(sums.tobytes()).hexdigest())
"""
HITS = "print(sum(pairwise._compiled(True).stats.cache_hits.values()))"


def test_numba_is_imported_where_pairs_are_summed_and_compiled_once_for_all_processes(tmp_path):
    lazy = "assert 'numba' not in sys.modules"
    first = run(SUMS.format(before=lazy, after=HITS), NUMBA_CACHE_DIR=str(tmp_path))
    second = run(SUMS.format(before=lazy, after=HITS), NUMBA_CACHE_DIR=str(tmp_path))
    assert (first[0], second[0]) == ("0", "1")
    assert first[1] == second[1], "sums differ between processes"
    assert any(tmp_path.rglob("*.nbc"))


def test_a_cache_directory_that_cannot_be_made_is_no_error(tmp_path):
    (tmp_path / "file").touch()
    run(SUMS.format(before="", after=""), NUMBA_CACHE_DIR=str(tmp_path / "file" / "cache"))


def test_without_any_writable_directory_the_sum_is_compiled_in_each_process():
    # What a read-only installation with a read-only home looks like to numba; root may write everywhere.
    nowhere = """
import tempfile
import numba
def refuse(*args, **kwargs): raise PermissionError("read-only")
tempfile.TemporaryFile = refuse
try:
    numba.njit(cache=True)(pairwise._tile_sums)
except RuntimeError as error:
    assert "cannot cache" in str(error)
else:
    raise AssertionError("the fault did not happen")
"""
    run(SUMS.format(before=nowhere, after=""))


def test_a_cache_that_cannot_be_written_in_the_end_is_no_error(tmp_path):
    full = """
import numba.core.caching as caching
faults = []
def refuse(*args, **kwargs):
    faults.append(1)
    raise OSError(28, "No space left on device")
caching.IndexDataCacheFile.save = refuse
"""
    run(SUMS.format(before=full, after="assert faults"), NUMBA_CACHE_DIR=str(tmp_path))
