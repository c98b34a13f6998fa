"""What measured numbers say of theorems: planted data of known decay, and bounds of known height.

False alarms, were the seeds redrawn: 5 intervals at 95 %, far from the stated rate but for "sharp",
which misses one time in twenty; its seed is fixed.
"""

from dataclasses import replace

import numpy as np
import pytest

import mfstudy
from mfstudy.marginals import End
from mfstudy.rates import RateLaw
from mfstudy.statements import between, by_bound, by_check, by_rate
from mfstudy.theorems import ZERO, Claim, Explicit, Premise, Subject
from mfstudy.theorems._natalini_paul import sampling_rate

SIZES = np.array([50, 100, 200, 500, 1000, 2000])


def planted(exponent, seed=1, log=0.0):
    rng = np.random.default_rng(seed)
    mean = 3.0 * SIZES**exponent * np.log(SIZES) ** log
    return mfstudy.fit_rate(SIZES, mean[:, None] * rng.lognormal(-0.02, 0.2, (len(SIZES), 200)))


def claim(rate=None, bound=None, **keys):
    return Claim("Somebody, Theorem 1", "as stated", "left <= right", (), (), rate=rate, bound=bound, **keys)


SUBJECT = Subject("some_number", (0,))


@pytest.mark.parametrize(
    ("exponent", "verdict", "consistent"),
    [(-0.5, "sharp", None), (-1.0, "far from sharp", True), (-0.6, "faster", True), (-0.3, "slower", False)],
)
def test_the_verdict_of_planted_decays(exponent, verdict, consistent):
    found = by_rate(claim(sampling_rate(1), unknown="tau(t)"), SUBJECT, planted(exponent))
    assert found.verdict == verdict
    assert found.consistent is consistent
    assert found.holds is found.margin_log10 is None  # a constant that is not explicit cannot be refuted
    assert found.theorem == "Somebody, Theorem 1"
    assert "Somebody, Theorem 1: C N^-0.5" in found.text
    assert "it needs C = tau(t) >= " in found.text


def test_logarithms_count_over_the_sizes():
    """N^-1/2 log N over 50 to 2000 is N^-0.32: that is what the data are compared with."""
    assert by_rate(claim(sampling_rate(2)), SUBJECT, planted(-0.5, log=1.0)).verdict == "sharp"
    assert by_rate(claim(sampling_rate(2)), SUBJECT, planted(-0.5)).verdict == "faster"


def test_the_constant_is_the_one_that_these_sizes_need():
    fit = planted(-1.0)
    found = by_rate(claim(RateLaw("half", 0.0, -0.5, "somewhere")), SUBJECT, fit)
    assert found.constant == pytest.approx((fit.mean * np.sqrt(SIZES)).max(), rel=1e-12)
    assert np.all(fit.mean <= found.constant * SIZES**-0.5 * (1 + 1e-12))


def test_zero_and_nothing():
    assert by_rate(claim(sampling_rate(1)), SUBJECT, mfstudy.fit_rate(SIZES, np.zeros((6, 4)))).verdict == "zero"
    assert by_rate(claim(sampling_rate(1)), SUBJECT, mfstudy.fit_rate(SIZES, np.full((6, 4), np.nan))) is None
    assert by_rate(claim(), SUBJECT, planted(-1.0)) is None
    assert by_bound(claim(), SUBJECT, SIZES, SIZES**-1.0, 0.1 / SIZES) is None
    assert by_bound(claim(bound=ZERO), SUBJECT, SIZES, np.full(6, np.nan), np.full(6, np.nan)) is None


def test_premises_that_fail_are_said_in_words():
    failing = Premise("compact", None, "", False, "the support is not compact")
    found = by_rate(replace(claim(sampling_rate(1)), premises=(failing,)), SUBJECT, planted(-1.0))
    assert found.text.endswith("Its hypothesis is not satisfied: the support is not compact.")


BOUND = Explicit(0.0, ((1e9, 2.0, -0.5),))  # 2 N^-1/2


@pytest.mark.parametrize(
    ("height", "error", "holds"), [(1.0, 0.1, True), (2.2, 0.1, True), (2.2, 0.05, False), (20.0, 0.1, False)]
)
def test_an_explicit_bound_is_met_with_a_margin(height, error, holds):
    """2.2 is above 2 by two standard errors of 0.1, which are not enough, and by four of 0.05."""
    mean = height * SIZES**-0.5
    found = by_bound(claim(bound=BOUND), SUBJECT, SIZES, mean, error * SIZES**-0.5)
    assert found.holds is holds
    assert found.verdict == ("holds" if holds else "violated")
    assert found.margin_log10 == pytest.approx(np.log10(2 / height), abs=1e-12)


def test_one_size_is_enough_to_violate():
    mean = SIZES**-0.5
    mean[3] *= 10
    found = by_bound(claim(bound=BOUND), SUBJECT, SIZES, mean, 0.01 * mean)
    assert found.verdict == "violated"
    assert "violated at N = 500," in found.text


def test_the_bound_zero():
    assert by_bound(claim(bound=ZERO), SUBJECT, SIZES, SIZES**-2.0, 0.1 * SIZES**-2.0).holds is False
    assert by_bound(claim(bound=ZERO), SUBJECT, SIZES, SIZES**-2.0, SIZES**-2.0).holds is True
    nothing = by_bound(claim(bound=ZERO), SUBJECT, SIZES, 0.0 * SIZES, 0.0 * SIZES)
    assert nothing.holds is True
    assert nothing.margin_log10 is None


def test_bounds_of_each_number():
    measured, bound = np.array([0.0, 1.0, np.nan]), np.array([2.0, 1.5, 3.0])
    assert by_check(claim(), SUBJECT, measured, bound, None).margin_log10 == 0.5
    broken = by_check(claim(), SUBJECT, measured, np.array([2.0, 0.7, 3.0]), np.array([0.0, 0.3, np.nan]))
    assert broken.holds is False
    assert "violated in 1 of 2 numbers, by up to 0.3" in broken.text
    assert by_check(claim(), SUBJECT, np.full(2, np.nan), None, np.full(2, np.nan)) is None
    assert by_check(claim(), SUBJECT, measured, None, np.array([0.0, 0.0, np.nan])).margin_log10 is None


def ends(lower, upper, error=0.02):
    return [(End(a, error * a), End(b, error * b)) for a, b in zip(lower, upper, strict=True)]


def test_a_bracket_claims_a_rate_only_where_its_ends_agree():
    tight = between(SIZES, ends(0.9 * SIZES**-2.0, 1.1 * SIZES**-2.0))
    assert "claims this rate" in tight
    assert "N^-2.000" in tight
    loose = between(SIZES, ends(0.9 * SIZES**-2.0, 1.1 * SIZES**-1.0))
    assert "claims no rate" in loose
    assert between(SIZES, [(None, upper) for _, upper in ends(SIZES**-2.0, SIZES**-1.0)]).endswith("claims no rate.")
    assert between(SIZES, ends(SIZES**-2.0, SIZES**-1.0, error=1.0)) == ""
