"""What theorems claim of a problem: who speaks, premises in numbers, explicit bounds, and what stored numbers say.

Oracles are closed forms (De Moivre, order statistics, moments of boxes), POT, and planted decays; negative controls
lower a bound until it fails. False alarms: seeds are fixed, and explicit bounds are met with margins of a factor.
"""

import json
import math
import sys
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import ot
import pytest
from click.testing import CliRunner
from scipy.special import gammaln
from test_flocking import BOX, CURVED, NORMAL, SIGNAL, study

import mfstudy
from mfstudy import report
from mfstudy import study as studies
from mfstudy.cli import verbs
from mfstudy.observables import estimates, stored_fields
from mfstudy.rates import RateLaw
from mfstudy.stated import Stated
from mfstudy.statements import by_bound, by_rate
from mfstudy.store._schema import sealed
from mfstudy.study import parse
from mfstudy.theorems import ZERO, Claim, Explicit, Subject
from mfstudy.theorems.dyadic import dyadic, partition
from mfstudy.theorems.fournier_guillin import both_terms, excluded, order
from mfstudy.theory import claims

PARETO = 'kind = "pareto"\nnu = %s'
STATIC = """
schema = 1
name = "static"
seed = 7
[system]
kind = "static"
dim = %d
[law]
%s
[[observable]]
kind = "empirical"
p = %s
[sweep]
sizes = [10, 30, 100]
replicates = 16
"""
CUBE = 'kind = "box"\nposition_halfwidth = 0.5'
FREE = 'kind = "free_transport"'


def by_title(problem):
    return {claim.title: claim for claim in claims(problem)}


def static(law, dim=1, p=2):
    return by_title(parse(STATIC % (dim, law, p)).problem)


# -- the explicit bound ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [1, 2, 4, 7])
@pytest.mark.parametrize("p", [0.5, 1, 2, 3.5])
def test_the_dyadic_bound_is_the_smallest_over_all_levels(dim, p):
    side = 1.7
    for size in (1, 3, 100, 10**4, 10**8):
        best, total = math.inf, 0.0
        for level in range(60):
            if level:
                total += 2 ** (-p * level) * min(1.0, 0.5 * 2 ** (dim * level / 2) * size**-0.5)
            best = min(best, (side * math.sqrt(dim)) ** p * (2 ** (-p * level) + (2**p - 1) * total))
        assert dyadic(np.array([size]), side, dim, p)[0] == pytest.approx(best, rel=1e-9)


def test_beyond_all_levels_it_is_still_a_bound():
    assert np.all(np.diff(dyadic(np.geomspace(1, 1e14, 60), 1.0, 1, 2)) <= 0)
    assert dyadic(np.array([1e14]), 1.0, 1, 2)[0] > 1 / (6 * 1e14)


@pytest.mark.parametrize("p", [30.0, 700.0, 5000.0])
def test_large_powers_neither_overflow_nor_vanish(p):
    bound = partition(2.0, 1, p).at(SIZES)
    assert np.all(np.isfinite(bound))
    assert np.all(bound <= p * math.log10(2.0) + 1e-9)
    assert np.all(bound >= p * math.log10(2.0) - 6)


def halvings(bound, value):
    """Return how often a bound can be halved before it fails, at the worst size; it must hold and not be vacuous."""
    assert np.all(bound >= value)
    count = int(np.floor(np.log2(bound / value)).min())
    assert np.any(bound / 2 ** (count + 1) < value)
    return count


SIZES = np.array([10, 100, 1000, 10**4, 10**5])


def test_it_bounds_uniform_points_on_the_line():
    assert halvings(dyadic(SIZES, 1.0, 1, 2), 1 / (6 * SIZES)) == 3


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("dim", [1, 2, 5])
def test_it_bounds_two_atoms_in_opposite_corners(dim, p):
    """E W_p^p = (S sqrt D)^p E|B/N - 1/2|, of which De Moivre knows the value: the worst law for the first level."""
    half = SIZES / 2
    imbalance = 0.5 * np.exp(gammaln(SIZES + 1) - 2 * gammaln(half + 1) - SIZES * math.log(2))
    assert halvings(dyadic(SIZES, 3.0, dim, p), (3 * math.sqrt(dim)) ** p * imbalance) <= {1: 3, 2: 4, 5: 9}[dim]


@pytest.mark.parametrize(("dim", "p"), [(1, 1), (2, 1), (2, 2), (3, 1), (4, 2)])
def test_it_bounds_points_in_a_cube(dim, p):
    """A sample of 400 points for the law makes distances larger in the mean, never smaller."""
    rng, sizes = np.random.default_rng(3), np.array([10, 40])
    means = []
    for size in sizes:
        costs = [ot.dist(rng.random((size, dim)), rng.random((400, dim)), "euclidean") ** p for _ in range(12)]
        means.append(np.mean([ot.emd2([], [], cost, numItermax=10**7) for cost in costs]))
    assert halvings(dyadic(sizes, 1.0, dim, p), np.array(means)) <= 5


def test_a_bound_of_another_side_fails():
    assert np.any(dyadic(SIZES, 0.2, 1, 2) < 1 / (6 * SIZES))


def test_explicit_bounds_beyond_all_floats():
    huge = Explicit(1e5, ((1.0, 2.0, -0.5), (0.25, 0.25, 0.0)))
    np.testing.assert_allclose(huge.at(np.array([1.0, 100.0])) - 1e5, np.log10([1.25, 0.45]), atol=1e-9)
    assert np.all(ZERO.at(SIZES) == -np.inf)


# -- Fournier and Guillin ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("p", "dim", "highest", "q"),
    [(2, 1, math.inf, 5), (2, 4, math.inf, 5), (2, 6, math.inf, 4), (1, 3, math.inf, 2.5), (2, 1, 3, 2.99),
     (2, 1, 4, 3.98), (2, 1, 4.5, 4.25), (2, 1, 2, None), (2, 6, 2.5, 2.495)],
)  # fmt: skip
def test_the_order_of_the_moment(p, dim, highest, q):
    assert order(p, dim, highest) == (None if q is None else pytest.approx(q))


def test_no_order_is_excluded_and_all_orders_have_a_moment():
    for p in (1, 1.5, 2, 3):
        for dim in range(1, 9):
            meet = excluded(p, dim)[-1]
            assert min(p / dim, 0.5) == pytest.approx((meet - p) / meet)  # where the two terms have one power
            for highest in (*np.linspace(p, 12, 150), math.inf):
                q = order(p, dim, highest)
                if q is not None:
                    assert p < q < highest
                    assert q not in excluded(p, dim)


@pytest.mark.parametrize(
    ("law", "dim", "p", "exponent", "log"),
    [(CUBE, 1, 2, -0.5, 0), (CUBE, 4, 2, -0.5, 1), (CUBE, 6, 2, -1 / 3, 0), (CUBE, 2, 1, -0.5, 1),
     (PARETO % 3.0, 1, 2, -0.99 / 2.99, 0), (PARETO % 5.0, 1, 2, -0.5, 0)],
)  # fmt: skip
def test_the_rate_is_that_of_p_and_the_dimension_and_the_moment(law, dim, p, exponent, log):
    claim = static(law, dim, p)["Fournier and Guillin, Theorem 1"]
    assert claim.rate.exponent == pytest.approx(exponent)
    assert claim.rate.log_power == log
    assert claim.unmet == []
    assert claim.bound is None
    assert claim.unknown


def test_premises_are_numbers():
    moment = {p.name: p for p in static(CUBE)["Fournier and Guillin, Theorem 1"].premises}["moment of order q > p"]
    assert moment.value == pytest.approx(0.5**5 / 6)  # E|x|^5 of the uniform law on [-1/2, 1/2]
    partitioned = static(CUBE, 3)["Dyadic partition"]
    assert partitioned.premises[0].value == pytest.approx(math.sqrt(3) / 2)
    assert partitioned.bound == partition(1.0, 3, 2)
    assert "Dyadic partition" not in static(PARETO % 5.0)


def test_the_kinetic_cost_is_within_a_factor():
    def bound(more):
        observable = f'kind = "empirical"\np = 1{more}'
        return by_title(study(FREE, BOX, observable, step=None).problem)["Dyadic partition"].bound

    # a + b <= sqrt(2 (a^2 + b^2))
    assert bound('\ncost = "kinetic"').log10 == pytest.approx(bound("").log10 + math.log10(2) / 2)


def test_later_points_are_not_independent_draws():
    claim = by_title(study(FREE, BOX, "empirical", save=(0.0, 1.0), step=None).problem)["Dyadic partition"]
    assert [subject.times for subject in claim.subjects] == [(0,)]
    assert claim.subjects[0].name == "empirical_w2_sq"


# -- Natalini and Paul -------------------------------------------------------------------------------------------


def premise(claim, name):
    return next(p for p in claim.premises if p.name == name)


def test_second_moments_alone_give_no_rate():
    """Printed, Theorem 4.2 claims N^-1/2 for a tail index 3; the largest of N points alone costs N^-1/3."""
    law = 'kind = "student"\nnu = 3.0\nposition_scale = 1.0\nvelocity_scale = 1.0'
    found = by_title(study(FREE, law, "empirical", save=(0.0, 1.0), step=None).problem)
    printed, corrected = (found[f"Natalini and Paul, Theorem 4.2 as {word}"] for word in ("printed", "corrected"))
    assert premise(printed, "M_2 < inf").holds
    assert printed.rate.exponent == -0.5
    assert "M_2 < inf alone" in printed.wrong
    assert corrected.rate.exponent == pytest.approx(-0.99 / 2.99)
    sizes = np.geomspace(100, 1e5, 7)
    mean = 1.815 * sizes ** (-1 / 3)  # of the Pareto law of that index, at large N
    fit = mfstudy.fit_rate(sizes, mean[:, None], covariance=np.diag((1e-3 * mean) ** 2))
    assert by_rate(printed, printed.subjects[0], fit).consistent is False
    assert by_rate(corrected, corrected.subjects[0], fit).consistent is True


def test_proposition_4_3_as_printed_says_that_nothing_differs_where_nothing_is_emitted():
    deaf = by_title(study(CURVED, BOX, "marginal", "stage").problem)
    printed = deaf["Natalini and Paul, Proposition 4.3 as printed"]
    corrected = deaf["Natalini and Paul, Proposition 4.3 as corrected"]
    assert printed.bound == corrected.bound == ZERO
    assert [t.name for t in printed.subjects] == ["marginal_w2_sq"]
    assert [t.name for t in corrected.subjects] == ["stage_particles_liouville_w2_sq", "stage_particles_liouville_sq"]
    exact = 0.3 * SIZES**-2.0  # the order of the exact distance in the linear system
    assert by_bound(printed, printed.subjects[0], SIZES, exact, 0.1 * exact).verdict == "violated"
    assert by_bound(corrected, corrected.subjects[0], SIZES, 0.0 * exact, 0.0 * exact).verdict == "holds"
    better = deaf["Natalini and Paul, Proposition 5.1"]
    assert [t.name for t in better.subjects if "eta = 0" in t.about] == ["marginal_w2_sq"]
    heard = by_title(study(f"{CURVED}\neta = 0.5\n{SIGNAL}", BOX, "marginal", "stage").problem)
    assert heard["Natalini and Paul, Proposition 4.3 as printed"].bound is None
    assert all("eta = 0" not in t.about for t in heard["Natalini and Paul, Proposition 5.1"].subjects)


def test_a_normal_law_has_no_compact_support():
    found = by_title(study(CURVED, NORMAL, "coupling").problem)["Natalini and Paul, Theorem 2.1, first part"]
    assert found.unmet == ["the support of rho_in is not compact"]
    assert premise(found, "Lip gamma").holds is None
    assert by_title(study(CURVED, BOX, "coupling").problem)["Natalini and Paul, Theorem 2.1, first part"].unmet == []


def test_constants_are_those_of_the_forces_at_the_horizon():
    system = 'kind = "vlasov"\nkernel = {kind = "gaussian", width = 0.5, strength = 1.0}'
    kernel = by_title(study(system, BOX, "coupling").problem)["Natalini and Paul, Theorem 2.1, first part"]
    assert premise(kernel, "Lip gamma").value == pytest.approx(4.0)  # strength / width^2
    short, long = (
        premise(by_title(study(CURVED, BOX, "coupling", save=(t,)).problem)[kernel.title], "Lip gamma").value
        for t in (0.1, 2.0)
    )
    assert short <= long


@pytest.mark.parametrize(("dim", "exponent", "log"), [(1, -0.5, 0), (2, -0.5, 1), (3, -1 / 3, 0)])
def test_the_rate_is_that_of_the_dimension_of_positions(dim, exponent, log):
    claim = by_title(study(CURVED, BOX, "coupling", dim=dim).problem)["Natalini and Paul, Theorem 2.1, first part"]
    assert claim.rate.exponent == pytest.approx(exponent)
    assert claim.rate.log_power == log


def test_resting_points_are_no_particle_system():
    assert not any("Natalini" in title for title in static(CUBE))


# -- all of them -------------------------------------------------------------------------------------------------


def everything():
    yield from ((name, studies.load(name)) for name in studies.shipped() if "3d" not in name)
    kinds = ("coupling", "chemical", "marginal", "stage", "invariants", "flow_lipschitz", "support_growth", "stability")
    yield "all observables", study(f"{CURVED}\neta = 0.5\n{SIGNAL}", BOX, *kinds)


@pytest.mark.parametrize(("name", "wanted"), list(everything()), ids=lambda x: x if isinstance(x, str) else "")
def test_claims_are_about_numbers_of_the_store_and_survive_it(name, wanted):
    problem, phase = wanted.problem, wanted.problem.system.phase
    known = {
        f"{o.label}_{field.name}"
        for o in problem.observables
        for field in (*stored_fields(o, phase), *estimates(o, phase))
    }
    found = claims(problem)
    assert found
    for claim in found:
        assert {t.name for t in claim.subjects} <= known
        assert {word for t in claim.subjects for word in (t.bound, t.excess) if word} <= known
        assert Claim.of(json.loads(json.dumps(asdict(claim), allow_nan=False))) == claim
        assert (claim.edition == "as stated") or claim.wrong or claim.edition == "corrected"


# -- stores ------------------------------------------------------------------------------------------------------


def test_a_sweep_meets_the_explicit_bound(tiny_results):
    ((quantity, time, fit),) = tiny_results.fits
    table = tiny_results.table(quantity, time, fit)
    found = {entry["theorem"]: entry for entry in table["bounds"]}
    explicit = found["Dyadic partition"]
    assert explicit["holds"] is True
    ratio = dyadic(fit.sizes, 1.0, 1, 2) / np.array(table["mean"])
    assert explicit["margin_log10"] == pytest.approx(np.log10(ratio).min())
    assert explicit["edition"] == "as stated"
    assert set(explicit["premises"][0]) == {"name", "value", "unit", "holds", "text"}
    rate = found["Fournier and Guillin, Theorem 1"]
    assert rate["holds"] is rate["margin_log10"] is None
    assert rate["consistent"] is True
    json.dumps(table, allow_nan=False)


def test_a_bound_that_is_lowered_is_violated(tiny_results):
    path = tiny_results.store.path / "zarr.json"
    table = json.loads(path.read_text())
    for claim in table["attributes"]["theorems"]:
        if claim["bound"]:
            claim["bound"]["log10"] -= 2
    path.write_text(json.dumps({**table, "attributes": sealed(table["attributes"])}))
    lowered = mfstudy.open(tiny_results.store.path)
    (found,) = [b for b in lowered.bounds(*lowered.fits[0]) if b.theorem == "Dyadic partition"]
    assert found.holds is False
    assert found.margin_log10 < 0


def test_free_transport_violates_theorem_7_3_as_printed_and_holds_as_corrected(tmp_path):
    made = study(FREE, BOX, "coupling", "flow_lipschitz", "support_growth", save=(0.0, 3.0), step=None)
    results = mfstudy.run(made, tmp_path / "store", part=(1, 1))
    said = {(claim.title, subject.name): statement for claim, subject, statement in results.met}
    printed = said["Natalini and Paul, Theorem 7.3 as printed", "flow_lipschitz_derivative"]
    assert printed.verdict == "violated"
    assert printed.margin_log10 == pytest.approx(-np.arcsinh(1.5) / math.log(10), rel=1e-6)  # the norm of the shear
    corrected = said["Natalini and Paul, Theorem 7.3 as corrected", "flow_lipschitz_derivative_sum"]
    assert corrected.verdict == "holds"
    assert corrected.margin_log10 == pytest.approx(0.0, abs=1e-9)  # at t = 0, where it is 1 <= 1
    assert all(s.verdict == "holds" for (title, _), s in said.items() if "7.2" in title)
    page = report.write(results, tmp_path / "page").read_text(encoding="utf-8")
    assert "<h3>Natalini and Paul, Theorem 7.3 as printed</h3>" in page
    assert "<dd>flow_lipschitz_derivative: violated in " in page
    assert "free transport has" in page
    shown = CliRunner().invoke(verbs, ["fit", str(results.store.path), "--json"])
    met = {(entry["theorem"], entry["verdict"]) for entry in json.loads(shown.stdout)["met"]}
    assert ("Natalini and Paul, Theorem 7.3", "violated") in met
    words = CliRunner().invoke(verbs, ["fit", str(results.store.path)]).stdout
    assert printed.text in words


TOY = '''
"""A theorem of somebody's own."""

from dataclasses import dataclass
from typing import ClassVar

from mfstudy.rates import RateLaw
from mfstudy.theorems import Claim, Explicit, Premise, Setting, Subject


@dataclass(frozen=True)
class ToyTheorem:
    """E W_2^2 <= 1 / N."""

    scheme: ClassVar[int] = 1

    def claims(self, setting: Setting) -> tuple[Claim, ...]:
        premises = (Premise("size", 2.0, "1", True, "two is 2"),)
        subjects = setting.subjects("empirical", "w2_sq")
        rate = RateLaw("toy", 0.0, -1.25, "Toy, Theorem 1")
        return (
            Claim("Toy, Theorem 1", "as stated", "E W_2^2 <= 1/N", subjects, premises, rate=rate,
                  bound=Explicit(0.0, ((1.0, 1.0, -1.0),))),
        )
'''


def test_one_new_file_adds_a_theorem(tiny, tmp_path, monkeypatch):
    (tmp_path / "toys").mkdir()
    (tmp_path / "toys/toy_theorem.py").write_text(TOY)
    import mfstudy.theorems

    identity = tiny.problem.identity
    monkeypatch.setattr(mfstudy.theorems, "__path__", [*mfstudy.theorems.__path__, str(tmp_path / "toys")])
    results = mfstudy.run(tiny, tmp_path / "store", part=(1, 1))
    monkeypatch.undo()
    sys.modules.pop("mfstudy.theorems.toy_theorem")
    assert tiny.problem.identity == identity
    reopened = mfstudy.open(results.store.path)  # reading needs no theorem
    ((quantity, time, fit),) = reopened.fits
    found = [b for b in reopened.bounds(quantity, time, fit) if b.theorem == "Toy, Theorem 1"]
    assert [b.holds for b in found] == [None, True]
    assert "toy" in [law.name for law in reopened.slopes(quantity)]
    page = report.write(reopened, tmp_path / "page").read_text(encoding="utf-8")
    assert "<h3>Toy, Theorem 1</h3>" in page
    assert "two is 2" in page
    assert "Toy" not in {claim.theorem for claim in claims(tiny.problem)}


def test_check_prints_what_speaks(command, tmp_path):
    (tmp_path / "heavy.toml").write_text(STATIC % (1, PARETO % 3.0, 2))
    shown = command("check", "heavy.toml").stdout
    assert "q = 2.99 (any q < 3 has one), M_q = " in shown
    assert max(map(len, shown.splitlines())) < 200
    listed = json.loads(command("check", "marginal-linear", "--json").stdout)["theorems"]
    assert "the support of rho_in is not compact" in [p["text"] for claim in listed for p in claim["premises"]]
    (tmp_path / "silent.toml").write_text(
        (STATIC % (1, CUBE, 2)).replace('kind = "empirical"\np = 2', 'kind = "coupling"')
    )
    assert "none speaks about this study" in command("check", "silent.toml").stdout


# -- the constants that rates need -------------------------------------------------------------------------------


def test_the_constant_of_fournier_and_guillin_stands_beside_both_terms_and_the_moment():
    """M_5 = 2^-5 / 6 on the unit interval, and the rate N^-1/2 + N^-3/5 at p = 2, q = 5."""
    claim = static(CUBE)["Fournier and Guillin, Theorem 1"]
    assert claim.known == pytest.approx((2**-5 / 6) ** (2 / 5))
    assert claim.unknown == "C(p,q,D)"
    sizes = np.array([10.0, 100, 1000])
    np.testing.assert_allclose(claim.rate.shape(sizes, c=claim.second), sizes**-0.5 + sizes**-0.6, rtol=1e-12)
    # 1/(6N) over that rate is largest at the smallest N.
    fit = mfstudy.fit_rate(sizes, 1 / (6 * sizes)[:, None], covariance=np.diag(1e-8 / sizes**2))
    found = by_rate(claim, claim.subjects[0], fit)
    assert found.constant == pytest.approx(1 / 60 / claim.known / (10**-0.5 + 10**-0.6))
    assert found.constant_size == 10
    assert found.constant_interval[0] < found.constant < found.constant_interval[1]


@pytest.mark.parametrize(
    ("p", "dim", "q", "right"),
    [
        (2.0, 1, 3.0, lambda n: n ** (-1 / 3) + n**-0.5),  # the moment decides
        (2.0, 4, 5.0, lambda n: n**-0.5 * np.log(1 + n) + n**-0.6),
        (2.0, 6, 4.0, lambda n: n ** (-1 / 3) + n**-0.5),
    ],
)
def test_both_terms_of_the_rate_are_there(p, dim, q, right):
    sizes = np.array([10.0, 1000.0])
    np.testing.assert_allclose(both_terms(p, dim, q).shape(sizes, c=1.0), right(sizes), rtol=1e-12)


def test_needed_constants_that_grow_exponentially_do_not_bend():
    """Means e^{3t} N^-1 against a rate N^-1 at three times: log tau = 3t; other senses are left out."""

    class Planted(Stated):
        times = np.array([0.0, 0.5, 2.0])

        def __init__(self):
            """Without a store."""

        def claims_on(self, name, time):
            rate = RateLaw("rate", 0.0, -1.0)
            made = Claim("Somebody, Theorem 1", "as stated", "", (), (), rate=rate, unknown="tau(t)")
            return [
                (made, Subject("x", (0, 1, 2))),
                (replace(made, theorem="Other"), Subject("x", (0, 1, 2), about="y")),
            ]

    sizes = np.array([10.0, 100, 1000])
    planted = Planted()
    quantity = SimpleNamespace(name="x")
    fits = [
        (quantity, i, mfstudy.fit_rate(sizes, (np.exp(3 * t) / sizes)[:, None], covariance=np.diag(1e-6 / sizes**2)))
        for i, t in enumerate(planted.times)
    ]
    ((_, claim, grown),) = planted.growths(fits)
    assert claim.theorem == "Somebody, Theorem 1"
    np.testing.assert_allclose(grown.logs, 3 * planted.times, atol=0.01)
    assert np.all(np.abs(grown.bends) < 4.5 * grown.bend_errors)
