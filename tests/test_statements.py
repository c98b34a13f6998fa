"""What a fit says of a theorem's rate: planted data of known decay.

False alarms, were the seeds redrawn: 5 intervals at 95 %, far from the stated rate but for "sharp",
which misses one time in twenty; its seed is fixed.
"""

import numpy as np
import pytest

import mfstudy
from mfstudy.marginals import End
from mfstudy.rates import RateLaw, natalini_paul
from mfstudy.statements import between, statement

SIZES = np.array([50, 100, 200, 500, 1000, 2000])


def planted(exponent, seed=1, log=0.0):
    rng = np.random.default_rng(seed)
    mean = 3.0 * SIZES**exponent * np.log(SIZES) ** log
    return mfstudy.fit_rate(SIZES, mean[:, None] * rng.lognormal(-0.02, 0.2, (len(SIZES), 200)))


@pytest.mark.parametrize(
    ("exponent", "verdict"), [(-0.5, "sharp"), (-1.0, "far from sharp"), (-0.6, "faster"), (-0.3, "slower")]
)
def test_the_verdict_of_planted_decays(exponent, verdict):
    law = natalini_paul(1)
    found = statement(law, planted(exponent))
    assert found.verdict == verdict
    assert found.theorem == "Natalini and Paul, Theorem 2.1"
    assert "Natalini and Paul, Theorem 2.1: C N^-0.5" in found.text


def test_logarithms_count_over_the_sizes():
    """N^-1/2 log N over 50 to 2000 is N^-0.32: that is what the data are compared with."""
    assert statement(natalini_paul(2), planted(-0.5, log=1.0)).verdict == "sharp"
    assert statement(natalini_paul(2), planted(-0.5)).verdict == "faster"


def test_the_constant_is_the_one_that_these_sizes_need():
    fit = planted(-1.0)
    found = statement(RateLaw("half", 0.0, -0.5, "somewhere"), fit)
    assert found.constant == pytest.approx((fit.mean * np.sqrt(SIZES)).max(), rel=1e-12)
    assert np.all(fit.mean <= found.constant * SIZES**-0.5 * (1 + 1e-12))


def test_zero_and_nothing():
    assert statement(natalini_paul(1), mfstudy.fit_rate(SIZES, np.zeros((6, 4)))).verdict == "zero"
    assert statement(natalini_paul(1), mfstudy.fit_rate(SIZES, np.full((6, 4), np.nan))) is None


def test_propositions_have_their_rates():
    assert natalini_paul(3, "Proposition 4.3").exponent == pytest.approx(-1 / 3)
    assert natalini_paul(3, "Proposition 5.1").exponent == -1


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
