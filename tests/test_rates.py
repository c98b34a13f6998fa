"""Candidate laws against the theorems' own cases, and their least squares against SciPy and the textbook."""

import numpy as np
import pytest
from scipy import optimize

from mfstudy.rates import RateLaw, default_laws, law_by_name, reference_slopes
from mfstudy.regression import least_squares

SIZES = np.array([10.0, 30.0, 100.0, 400.0, 1500.0, 6000.0])


def pinned(dim, moment=None, p=2):
    """Return what the literature gives: {name: (exponent, log power, log shift)}."""
    return {law.name: (law.exponent, law.log_power, law.log_shift) for law in reference_slopes(dim, moment, p)}


def test_a_normal_law_in_the_plane_has_a_law_of_its_own():
    """(log N)^2 / N: named for laws with all moments and no bounded support alone."""
    assert law_by_name("ledoux-talagrand", 2, None, 2, False).formula == "C N^-1 (log N)^2"
    for arguments in ((2, None, 2, True), (2, 6.0, 2, False), (2, None, 1, False), (3, None, 2, False)):
        assert "ledoux-talagrand" not in {law.name for law in default_laws(*arguments)}


def test_self_similar_measures_have_the_critical_law_with_a_constant():
    """C N^-1/2 (log N + c), at p = D/2 and for laws that are not regular alone."""
    laws = {law.name: law for law in default_laws(2, None, 1, True, False)}
    assert laws["fournier-guillin-constant"].formula == "C N^-0.5 (log N + c)"
    assert "ajtai-komlos-tusnady" not in laws
    assert "fournier-guillin-constant" not in {law.name for law in default_laws(2, None, 1)}
    assert "fournier-guillin-constant" not in {law.name for law in default_laws(3, None, 1, True, False)}


def test_free_laws_are_always_candidates():
    assert [law.name for law in default_laws()] == ["power", "power-log"]
    for dim in (1, 2, 3, 4, 6):
        assert [law.name for law in default_laws(dim)][:2] == ["power", "power-log"]
        assert tuple(law for law in default_laws(dim)[2:] if law.second is None) == reference_slopes(dim)


@pytest.mark.parametrize(
    ("dim", "moment", "p", "expected"),
    [
        (1, None, 2, {}),
        (2, None, 2, {"ajtai-komlos-tusnady-constant": (-1.0, 1.0, (0.0, 0.0))}),
        (2, None, 1, {}),
        (3, None, 1, {"matching-boundary": (-1 / 3, 0.0, (1 / 3, 0.0))}),
        (4, None, 2, {"matching-boundary": (-0.5, 0.0, (0.25, 0.0))}),
        (6, np.inf, 2, {"matching-boundary": (-1 / 3, 0.0, (1 / 6, 0.0))}),
        (6, 9.0, 2, {}),
        (None, None, 2, {}),
    ],
)
def test_second_terms_stand_where_theory_has_them(dim, moment, p, expected):
    laws = [law for law in default_laws(dim, moment, p) if law.second is not None]
    assert {law.name: (law.exponent, law.log_power, law.second) for law in laws} == expected
    assert all((law.parameters, law.twin.parameters, law.twin.second) == (2, 3, law.second) for law in laws)


@pytest.mark.parametrize(
    ("name", "dim", "formula"),
    [
        ("power", None, "C N^a"),
        ("power-log", None, "C N^a log N"),
        ("fournier-guillin", 4, "C N^-0.5 log(1+N)"),
        ("matching-boundary", 4, "C N^-0.5 (1 + c N^-0.25)"),
        ("ajtai-komlos-tusnady-constant", 2, "C N^-1 (log N + c)"),
    ],
)
def test_formulas(name, dim, formula):
    assert law_by_name(name, dim).formula == formula
    assert RateLaw("", 0.5, -1.0, second=(0.5, 2.0)).formula == "C N^-1 ((log N)^0.5 + c N^-0.5 (log N)^2)"


@pytest.mark.parametrize(
    ("name", "dim", "expected"),
    [
        ("power-log", None, SIZES**-0.7 * np.log(SIZES)),
        ("power", None, SIZES**-0.7),
        ("ajtai-komlos-tusnady", 2, np.log(SIZES) / SIZES),
        ("fournier-guillin", 4, np.log(1 + SIZES) / np.sqrt(SIZES)),
        ("matching", 6, SIZES ** (-1 / 3)),
        ("bobkov-ledoux", 1, 1 / SIZES),
    ],
)
def test_shapes_are_the_formulas(name, dim, expected):
    law = law_by_name(name, dim)
    np.testing.assert_allclose(law.shape(SIZES, -0.7 if dim is None else None), expected, rtol=1e-13)


@pytest.mark.parametrize(
    ("name", "dim", "expected"),
    [
        ("ajtai-komlos-tusnady-constant", 2, (np.log(SIZES) + 1.15) / SIZES),
        ("matching-boundary", 4, SIZES**-0.5 * (1 + 1.15 * SIZES**-0.25)),
    ],
)
def test_shapes_with_a_second_term(name, dim, expected):
    np.testing.assert_allclose(law_by_name(name, dim).shape(SIZES, c=1.15), expected, rtol=1e-13)


def test_shape_of_many_exponents_has_one_row_each():
    exponents = np.array([[-0.5], [-1.0]])
    expected = np.stack([np.log(SIZES) / np.sqrt(SIZES), np.log(SIZES) / SIZES])
    np.testing.assert_allclose(law_by_name("power-log").shape(SIZES, exponents), expected, rtol=1e-13)


def test_a_free_law_needs_an_exponent():
    with pytest.raises(ValueError, match="exponent"):
        law_by_name("power").shape(SIZES)


@pytest.mark.parametrize(
    ("dim", "p", "expected"),
    [
        # Theorem 2.1 of Natalini and Paul, D = 2d: N^-1/2, N^-1/2 log N, N^-1/d.
        (2, 2, (-0.5, 0.0, 0)),
        (4, 2, (-0.5, 1.0, 1)),
        (6, 2, (-1 / 3, 0.0, 0)),
        # Fournier and Guillin, Theorem 1, p = 1: the log sits at D = 2.
        (1, 1, (-0.5, 0.0, 0)),
        (2, 1, (-0.5, 1.0, 1)),
        (3, 1, (-1 / 3, 0.0, 0)),
    ],
)
def test_fournier_guillin_cases(dim, p, expected):
    law = law_by_name("fournier-guillin", dim, None, p)
    assert (law.exponent, law.log_power, law.log_shift) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("dim", "p", "name", "expected"),
    [
        (1, 2, "bobkov-ledoux", (-1.0, 0.0, 0)),
        (1, 3, "bobkov-ledoux", (-1.5, 0.0, 0)),
        (2, 2, "ajtai-komlos-tusnady", (-1.0, 1.0, 0)),
        (2, 1, "ajtai-komlos-tusnady", (-0.5, 0.5, 0)),
        (4, 2, "matching", (-0.5, 0.0, 0)),
        (6, 1, "matching", (-1 / 6, 0.0, 0)),
    ],
)
def test_sharp_laws_of_connected_supports(dim, p, name, expected):
    assert pinned(dim, None, p)[name] == pytest.approx(expected)


def test_the_bound_is_never_faster_than_the_truth():
    for dim in range(1, 9):
        for p in (1, 1.5, 2, 3):
            bound, truth = law_by_name("fournier-guillin", dim, None, p), reference_slopes(dim, None, p)[0]
            assert bound.exponent >= truth.exponent - 1e-15
            if bound.exponent == truth.exponent:
                assert bound.log_power >= truth.log_power


def test_the_moment_term_where_it_is_slower():
    assert pinned(1, 3.0)["fournier-guillin"] == pytest.approx((-1 / 3, 0.0, 0))
    assert pinned(1, 6.0)["fournier-guillin"] == pytest.approx((-0.5, 0.0, 0))
    assert pinned(4, 3.5)["fournier-guillin"] == pytest.approx((-1.5 / 3.5, 0.0, 0))
    assert pinned(4, 8.0)["fournier-guillin"] == pytest.approx((-0.5, 1.0, 1))
    assert pinned(6, 2.5)["fournier-guillin"] == pytest.approx((-0.2, 0.0, 0))


@pytest.mark.parametrize(("dim", "moment"), [(1, 4.0), (4, 4.0), (6, 6 / 4), (1, 2.0), (3, 1.0)])
def test_excluded_moments_leave_no_pinned_law(dim, moment):
    assert pinned(dim, moment) == {}


def test_finite_moments_have_no_sharp_law_and_an_infinite_order_is_none():
    assert set(pinned(2, 10.0)) == {"fournier-guillin"}
    assert pinned(2, np.inf) == pinned(2)


def test_excluded_order_of_high_dimension():
    assert pinned(6, 6 / 5, p=1) == {}
    assert set(pinned(6, 3.0, p=1)) == {"fournier-guillin"}


def test_equal_laws_are_one_entry_with_both_sources():
    (law,) = reference_slopes(1, p=1)
    assert law.name == "bobkov-ledoux"
    assert "Bobkov" in law.source
    assert "Fournier" in law.source
    assert law_by_name("fournier-guillin", 1, p=1).exponent == -0.5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("powr",), ("laws:", "'powr'", "'power'", "power-log")),
        (("matchings", 3), ("'matching'", "fournier-guillin")),
        (("matching",), ("laws:", "dim", "allowed: power, power-log")),
        (("matching", 2), ("dim=2", "ajtai-komlos-tusnady")),
        (("matching-boundary", 2), ("dim=2", "ajtai-komlos-tusnady-constant")),
        (("power", 0), ("dim:",)),
        (("power", 2.5), ("dim:",)),
        (("power", 2, -1.0), ("moment:",)),
        (("power", 2, None, 0.5), ("p:",)),
    ],
)
def test_errors_are_one_line_and_say_what_is_allowed(arguments, words):
    with pytest.raises(ValueError, match=r"^[a-z]+:") as error:
        law_by_name(*arguments)
    message = str(error.value)
    assert "\n" not in message
    assert all(word in message for word in words)


@pytest.mark.parametrize("name", ["power", "power-log"])
def test_least_squares_agrees_with_scipy(name):
    law, rng = law_by_name(name), np.random.default_rng(1)
    root = np.diag(0.1 * law.shape(SIZES, -0.6)) @ np.linalg.qr(rng.standard_normal((6, 6)))[0]
    covariance = root @ (np.eye(6) + 0.5) @ root.T
    rows = 2 * law.shape(SIZES, -0.6) + rng.multivariate_normal(np.zeros(6), covariance, 5)
    white = np.linalg.inv(np.linalg.cholesky(covariance))
    (constants,), exponents = least_squares(law, SIZES, rows, white)
    for row, constant, exponent in zip(rows, constants, exponents, strict=True):
        expected, _ = optimize.curve_fit(
            lambda sizes, c, a: c * law.shape(sizes, a),
            SIZES,
            row,
            p0=(2, -0.6),
            sigma=covariance,
            xtol=1e-12,
            ftol=1e-12,
        )
        np.testing.assert_allclose((constant, exponent), expected, rtol=1e-5)


def test_least_squares_of_a_pinned_law_is_the_textbook_formula():
    law, rng = law_by_name("matching", 3), np.random.default_rng(2)
    root = rng.standard_normal((6, 6))
    precision = np.linalg.inv(root @ root.T)
    rows = rng.standard_normal((4, 6)) + 3
    basis = SIZES ** (-2 / 3)
    (constants,), exponents = least_squares(law, SIZES, rows, np.linalg.cholesky(precision).T)
    np.testing.assert_allclose(constants, rows @ precision @ basis / (basis @ precision @ basis), rtol=1e-9)
    assert np.all(exponents == -2 / 3)


@pytest.mark.parametrize(("name", "dim"), [("matching-boundary", 4), ("ajtai-komlos-tusnady-constant", 2)])
def test_two_linear_coefficients_are_those_of_lstsq(name, dim):
    law, rng = law_by_name(name, dim), np.random.default_rng(4)
    white = np.linalg.inv(np.diag(law.shape(SIZES)) @ (np.eye(6) + 0.2 * rng.standard_normal((6, 6))))
    rows = law.shape(SIZES, c=2.0) * (1 + 0.1 * rng.standard_normal((5, 6)))
    coefficients, exponents = least_squares(law, SIZES, rows, white)
    design = np.stack(law.columns(SIZES), axis=1)
    expected = np.linalg.lstsq(white @ design, white @ rows.T)[0]
    np.testing.assert_allclose(coefficients, expected, rtol=1e-8)
    assert np.all(exponents == law.exponent)


def model(law):
    """Return the law as a function of C, C c and the exponent, for curve_fit."""
    return lambda sizes, first, second, a: first * law.shape(sizes, a) + second * law.columns(sizes, a)[1]


@pytest.mark.parametrize(("name", "dim"), [("matching-boundary", 4), ("ajtai-komlos-tusnady-constant", 2)])
def test_the_twin_of_two_terms_agrees_with_scipy(name, dim):
    law, rng = law_by_name(name, dim), np.random.default_rng(5)
    error = 0.002 * law.shape(SIZES, c=1.0)
    rows = law.shape(SIZES, c=1.0) + error * rng.standard_normal((5, 6))
    found, exponents = least_squares(law.twin, SIZES, rows, np.diag(1 / error), start=law.exponent)
    for row, first, second, exponent in zip(rows, *found, exponents, strict=True):
        start = (1.0, 1.0, law.exponent)
        expected, _ = optimize.curve_fit(model(law.twin), SIZES, row, p0=start, sigma=error, xtol=1e-13, ftol=1e-13)
        np.testing.assert_allclose((first, second, exponent), expected, rtol=1e-4)


def test_parallel_columns_and_wild_rows_stay_finite():
    law, rng = law_by_name("matching-boundary", 4), np.random.default_rng(6)
    sizes = 1000 + 1e-9 * np.arange(6)  # 1 and N^-1/4 cannot be told apart
    rows = 1 + 0.5 * rng.standard_normal((50, 6))
    for each in (law, law.twin):
        coefficients, exponents = least_squares(each, sizes, rows, np.eye(6), start=-0.5)
        assert np.all(np.isfinite(coefficients))
        assert np.all(np.isfinite(exponents))
    fitted = least_squares(law, sizes, rows, np.eye(6))[0].T @ np.stack(law.columns(sizes))
    np.testing.assert_allclose(fitted, np.repeat(rows.mean(axis=1)[:, None], 6, axis=1), rtol=1e-2)


def test_three_sizes_are_interpolated_by_the_twin_of_two_terms():
    law, sizes = law_by_name("matching-boundary", 4), np.array([32.0, 200.0, 1000.0])
    mean = law.shape(sizes, -0.5, 1.15)[None]
    white = np.diag(1 / mean[0])
    (first, second), exponent = least_squares(law.twin, sizes, mean, white, start=-0.52)
    np.testing.assert_allclose((first[0], second[0], exponent[0]), (1.0, 1.15, -0.5), rtol=1e-6)
    # Three means have a second solution, where the terms have changed places: the start decides.
    (first, second), other = least_squares(law.twin, sizes, mean, white, start=-0.3)
    assert other[0] > -0.45
    np.testing.assert_allclose(first * law.shape(sizes, other[0], c=second[0] / first[0]), mean[0], rtol=1e-6)


def test_few_steps_from_the_estimate_are_enough_for_a_draw():
    law, rng = law_by_name("power"), np.random.default_rng(3)
    truth = SIZES**-0.5
    rows = truth * (1 + 0.1 * rng.standard_normal((200, 6)))
    white = np.diag(1 / (0.1 * truth))
    full = least_squares(law, SIZES, rows, white)
    short = least_squares(law, SIZES, rows, white, start=-0.5, steps=3)
    for quick, exact in zip(short, full, strict=True):
        np.testing.assert_allclose(quick, exact, atol=2e-3)
