"""Sweeps that a precision drives: intervals that cover, the same rounds whoever derives them, refusals."""

import json
import os
import random
import re

import numpy as np
import pytest
from scipy import optimize, stats

import mfstudy
from conftest import TINY, contents
from mfstudy import rounds
from mfstudy.components import InputError
from mfstudy.exponents import effective_exponent
from mfstudy.intervals import student_quantile
from mfstudy.means import resampled_means, spread_of
from mfstudy.rounds import Design, follow
from mfstudy.store import Store
from mfstudy.study import load, parse
from mfstudy.sweep import deepen, finish

SIZES = (100, 200, 500, 1000, 2000)
DEEP = 12_000
DESIGN = Design(SIZES, (16,) * 5, tuple(float(size) for size in SIZES), 0.06)
NOISES = {  # of mean 1, and their coefficient of variation
    "lognormal": (lambda rng, shape: np.exp(np.sqrt(np.log(1.25)) * rng.standard_normal(shape)) / np.sqrt(1.25), 0.5),
    "half-normal": (lambda rng, shape: np.abs(rng.standard_normal(shape)) * np.sqrt(np.pi / 2), np.sqrt(np.pi / 2 - 1)),
    "chi2_1": (lambda rng, shape: rng.standard_normal(shape) ** 2, np.sqrt(2)),
}
SETS = 200

PRECISE = TINY.replace("replicates = 32", "precision = 0.1")


def planted(noise, seed, depth=DEEP):
    """Replicates with means 1/N, all ended well."""
    values = NOISES[noise][0](np.random.default_rng([seed, 11]), (len(SIZES), depth)) / np.array(SIZES)[:, None]
    return values, np.ones_like(values)


def of_round(values, replicates):
    """The replicates that a round has, (sizes, most), NaN beyond."""
    return np.where(np.arange(values.shape[1]) < np.array(replicates)[:, None], values, np.nan)[:, : max(replicates)]


def within(hits, trials, share):
    """Whether hits are as many as a probability gives, to 4.5 standard deviations (false alarm 7e-6)."""
    return abs(hits - share * trials) <= 4.5 * np.sqrt(trials * share * (1 - share))


@pytest.mark.parametrize("noise", NOISES)
def test_intervals_of_the_exponent_cover_it_and_are_as_narrow_as_asked(noise):
    """The true effective exponent is -1. False-alarm rate of each noise about 1e-5."""
    covered = reached = 0
    for seed in range(SETS):
        values, status = planted(noise, seed)
        standing = follow(DESIGN, values, status)
        assert standing.over
        assert min(standing.replicates) >= 100
        reached += standing.reached and standing.half_width <= DESIGN.precision
        spread = spread_of(np.array(SIZES), of_round(values, standing.replicates))
        information = np.array(standing.replicates) / spread.relative
        apart = np.log(SIZES) - np.average(np.log(SIZES), weights=information)
        slope = (information * apart) @ (np.log(spread.mean) + 0.5 / information) / (information @ apart**2)
        covered += abs(slope + 1) <= standing.half_width
    assert within(covered, SETS, 0.95)
    assert reached >= 0.95 * SETS


@pytest.mark.parametrize("noise", NOISES)
def test_intervals_of_means_cover_them(noise):
    """Relative half-widths at every size; the intervals of one size are independent. False alarms as above."""
    design = Design(SIZES, (16,) * 5, (1.0,) * 5, 0.06, "mean")
    covered = reached = 0
    for seed in range(SETS):
        values, status = planted(noise, seed)
        standing = follow(design, values, status)
        reached += standing.reached and standing.half_width <= design.precision
        spread = spread_of(np.array(SIZES), of_round(values, standing.replicates))
        errors = student_quantile(spread.degrees, 0.95) * np.sqrt(spread.relative / np.array(standing.replicates))
        assert errors.max() == pytest.approx(standing.half_width)
        covered += (np.abs(spread.mean * np.array(SIZES) - 1) <= errors).sum()
    assert within(covered, SETS * len(SIZES), 0.95)
    assert reached >= 0.95 * SETS


def test_stopping_on_running_intervals_loses_coverage():
    """Negative control, lognormal, half-width 20 %: item 21 of the design's statistics measured 89 % (z = 4.5)."""
    sets = 4000
    values = NOISES["lognormal"][0](np.random.default_rng(5), (sets, 200))
    count = np.arange(1, 201)
    mean = values.cumsum(axis=1) / count
    square = np.maximum((values**2).cumsum(axis=1) - count * mean**2, 0) / np.maximum(count - 1, 1)
    half = stats.t.ppf(0.975, np.maximum(count - 1, 1)) * np.sqrt(square / count)
    stop = ((half <= 0.2 * mean) & (count >= 3)).argmax(axis=1)
    covered = (np.abs(mean - 1) <= half)[np.arange(sets), stop].sum()
    assert 20 < stop.mean() < 35
    assert not within(covered, sets, 0.95)
    assert covered < 0.92 * sets


@pytest.mark.parametrize("noise", NOISES)
def test_the_pilot_predicts_what_it_takes(noise):
    """Predicted replicates within a factor 2 of the final ones and of those for the known variation, in 9 of 10."""
    near = known = 0
    design = Design(SIZES, (16,) * 5, (1.0,) * 5, 0.06, "mean")
    need = (NOISES[noise][1] * rounds.MARGIN * stats.norm.ppf(1 - 0.025 / 3) / 0.06) ** 2 * len(SIZES)
    for seed in range(100):
        values, status = planted(noise, seed)
        predicted = follow(design, values, np.where(np.arange(DEEP) < 32, status, np.nan))
        assert predicted.round == 2
        taken = sum(follow(design, values, status).replicates)
        near += taken <= 2 * sum(predicted.replicates)
        known += need / 2 <= sum(predicted.replicates) <= 2 * need
    assert near >= 90
    assert known >= 90


def test_the_interval_is_the_one_that_fits_print():
    values, status = planted("lognormal", 3)
    standing = follow(DESIGN, values, status)
    table = of_round(values, standing.replicates)
    means = resampled_means(np.array(SIZES, dtype=float), table, np.arange(table.size).reshape(table.shape))
    low, high = effective_exponent(means, np.zeros(len(means.sizes))).interval
    assert standing.half_width == pytest.approx((high - low) / 2, rel=0.12)  # 999 draws: 2.2 % a standard deviation


def test_replicates_are_allocated_at_the_least_cost():
    """Against SciPy's constrained minimum of the cost, for the weights of the unweighted slope."""
    relative, costs = np.array([0.3, 0.5, 0.2, 0.9, 0.4]), np.array([1.0, 2.0, 5.0, 10.0, 20.0])
    x = np.log(SIZES) - np.mean(np.log(SIZES))
    weights = x / (x @ x)
    variance = 1e-5

    found = optimize.minimize(
        lambda logs: costs @ np.exp(logs) / 1e6,
        np.full(5, 10.0),
        constraints={"type": "ineq", "fun": lambda logs: 1 - (weights**2 * relative / np.exp(logs)).sum() / variance},
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 500},
    )
    assert found.success
    design = Design(SIZES, (1,) * 5, tuple(costs), 4e-3)
    counts = np.array(rounds.allocate(design, np.ones(5, dtype=bool), relative, np.inf, (0,) * 5))
    best = np.exp(found.x)
    np.testing.assert_allclose(counts / counts[0], best / best[0], rtol=5e-3)


def test_the_second_round_reaches_what_it_is_planned_for():
    """The slope's variance is that of generalised least squares by SciPy-free normal equations."""
    relative = np.array([0.3, 0.5, 0.2, 0.9, 0.4])
    counts = rounds.allocate(DESIGN, np.ones(5, dtype=bool), relative, np.inf, (32,) * 5)
    matrix = np.stack([np.ones(5), np.log(SIZES)], axis=1)
    error = np.sqrt(np.linalg.inv(matrix.T @ (matrix * (np.array(counts) / relative)[:, None]))[1, 1])
    planned = rounds.MARGIN * stats.norm.ppf(1 - 0.025 / 3) * error
    assert 0.93 * DESIGN.precision < planned <= DESIGN.precision
    assert all(count % 16 == 0 for count in counts)


def test_a_round_sees_its_own_replicates_alone():
    values, status = planted("half-normal", 1)
    standing = follow(DESIGN, values, status)
    most = max(standing.replicates)
    changed = values.copy()
    changed[np.isnan(of_round(values, standing.replicates)[:, :most]).nonzero()] = 1e3
    assert follow(DESIGN, changed, status) == standing
    assert follow(DESIGN, values[:, :most], status[:, :most]) == standing
    changed[0, 0] *= 50
    assert follow(DESIGN, changed, status) != standing


def test_an_incomplete_round_waits():
    values, status = planted("half-normal", 1)
    status[2, 31] = np.nan
    assert follow(DESIGN, values, status).round == 1
    status[2, 31] = 1
    second = follow(DESIGN, values, np.where(np.arange(DEEP) < 32, status, np.nan))
    assert second.round == 2
    status[4, second.replicates[4] - 1] = np.nan
    assert follow(DESIGN, values, status) == second


def test_what_is_zero_is_known_at_once():
    standing = follow(DESIGN, np.zeros((5, 32)), np.ones((5, 32)))
    assert (standing.round, standing.over, standing.reached, standing.half_width) == (1, True, True, None)
    assert "identically zero" in standing.text


def test_three_looks_and_no_more():
    """Replicates that vary the more the later they are: no round is enough, and that is said."""
    values, status = planted("lognormal", 2, 60_000)
    values = 1 / np.array(SIZES)[:, None] + (values - 1 / np.array(SIZES)[:, None]) * (0.2 + np.arange(60_000) / 40)
    standing = follow(DESIGN, values, status)
    assert (standing.round, standing.over, standing.reached) == (4, True, False)
    assert standing.half_width > 0.8 * DESIGN.precision
    assert "0.06 is not reached after 3 looks" in standing.text


def test_sizes_that_fail_are_left_out():
    values, status = planted("lognormal", 4)
    status[3, ::50] = 2
    values[3, ::50] = np.nan
    standing = follow(DESIGN, values, status)
    assert standing.replicates[3] == 112  # given up on once there are enough to tell
    assert standing.reached
    assert "left out: N = 1000 (more than 1% of the replicates failed)" in standing.text
    status[1:, ::50] = 2
    standing = follow(DESIGN, values, status)
    assert (standing.over, standing.reached, standing.round) == (True, False, 2)
    assert standing.text.startswith("1 of 5 sizes can be used")
    assert "\n" not in standing.text


def test_no_round_follows_where_a_mean_has_no_interval():
    values, status = planted("lognormal", 4)
    known = Design(SIZES, (16,) * 5, (1.0,) * 5, 0.06, moment=3.0)
    standing = follow(known, values, status)
    assert (standing.over, standing.reached, standing.round) == (True, False, 1)
    assert "the variance is not finite (tail index moment/p = 1.5)" in standing.text
    heavy = np.random.default_rng(3).pareto(1.1, (5, 1_000_000 // 10)) + 1  # found by Hill once there are enough
    standing = follow(DESIGN, heavy, np.ones_like(heavy))
    assert standing.over
    assert not standing.reached


def test_no_more_replicates_than_a_store_holds():
    counts = rounds.allocate(
        Design(SIZES, (16,) * 5, (1.0,) * 5, 1e-6, "mean"), np.ones(5, dtype=bool), np.ones(5), np.inf, (32,) * 5
    )
    assert counts == (2**20,) * 5


# -- the same in a store --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def precise(tmp_path_factory):
    """The tiny study with a precision, run to the end in this process."""
    return mfstudy.run(parse(PRECISE), tmp_path_factory.mktemp("precise") / "store", part=(1, 1)).store.path


def asked(path):
    return contents(path, "record", "artefacts", "sweeps")


def test_a_run_reaches_its_precision(precise):
    results = mfstudy.open(precise)
    assert results.complete
    low, high = results.fit("empirical").effective_exponent_interval
    assert (high - low) / 2 <= 0.1
    assert low < -0.98 < high  # E W_2^2 = 1/(6 N) exactly, so that the slope is -1
    assert results.store.noted_rounds()["reached"]
    assert all(row.wanted == row.done >= 100 for row in results.counts)


@pytest.mark.parametrize("on", ["local", "threads", "sync"])
def test_engines_do_not_matter(precise, tmp_path, on):
    seen = []
    mfstudy.run(parse(PRECISE), tmp_path / "store", on, workers=2, progress=seen.append)
    assert asked(tmp_path / "store") == asked(precise)
    assert seen[-1].computed == seen[-1].wanted
    assert seen[-1].standing.over
    assert Store(tmp_path / "store").noted_rounds() == Store(precise).noted_rounds()
    assert len({state.dashboard for state in seen}) == 1  # workers of the first round stay for the next


def test_parts_wait_for_each_other_and_go_on(precise, tmp_path):
    study, standings = parse(PRECISE), []
    for part in (2, 1, 2):
        seen = []
        results = mfstudy.run(study, tmp_path / "store", part=(part, 2), progress=seen.append)
        standings.append((seen[-1].standing.round, seen[-1].standing.over, results.complete))
    assert standings[0] == (1, False, False)
    assert standings[1] == (2, False, False)  # the part that completed the pilot asked for the second round
    assert standings[2][1:] == (True, True)
    assert asked(tmp_path / "store") == asked(precise)


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_parts_does_not_matter(precise, tmp_path, seed):
    """Three shares, run again and again in any order, until nothing is left to any."""
    study, rng, computed, turns = parse(PRECISE), random.Random(seed), 0, 0
    while not (standing := Store.create(tmp_path / "store", study).noted_rounds()).get("over"):
        seen = []
        mfstudy.run(study, tmp_path / "store", part=(rng.randint(1, 3), 3), progress=seen.append)
        computed, turns = computed + seen[-1].computed, turns + 1
        assert turns < 100
    assert turns > 3  # they had to wait for each other
    assert standing == Store(precise).noted_rounds()
    assert asked(tmp_path / "store") == asked(precise)
    assert computed == sum(len(Store(precise).done(point)) for point in Store(precise).points())


class KilledError(Exception):
    """Stands for the end of a driver."""


def test_a_driver_that_is_killed_between_rounds(precise, tmp_path):
    study = parse(PRECISE)
    finish(Store.create(tmp_path / "before", study), part=(1, 1))  # the pilot is complete, nothing else was asked for

    def kill(state):
        if state.standing.round == 2:
            raise KilledError

    with pytest.raises(KilledError):
        mfstudy.run(study, tmp_path / "after", part=(1, 1), progress=kill)  # asked, and nothing of it computed
    for name in ("before", "after"):
        store = Store(tmp_path / name)
        assert {len(store.done(point)) for point in store.points()} == {2}
        mfstudy.run(study, store.path, part=(1, 1))
        assert asked(store.path) == asked(precise)


def test_a_second_driver_changes_nothing(precise, tmp_path):
    """It begins while the first is in its second round, and ends before it."""
    study, others = parse(PRECISE), []

    def start_another(state):
        if state.standing.round == 2 and not others:
            others.append(mfstudy.run(study, tmp_path / "store", part=(1, 1)))

    seen = []
    mfstudy.run(
        study, tmp_path / "store", part=(1, 1), progress=lambda state: (seen.append(state), start_another(state))
    )
    assert others[0].complete
    assert seen[-1].computed == 8  # the pilot: the other computed the rest
    assert asked(tmp_path / "store") == asked(precise)


def test_deeper_stores_derive_the_same_rounds(precise, tmp_path):
    """More replicates and sizes than the rounds want, stored before them, change none of them."""
    study = parse(PRECISE)
    store = Store.create(tmp_path / "store", study)
    deepen(store, replicates=64, sizes=(50,))
    finish(store, part=(1, 1))
    seen = []
    mfstudy.run(study, store.path, part=(1, 1), progress=seen.append)
    assert seen[-1].standing.replicates == tuple(mfstudy.open(precise).store.noted_rounds()["replicates"])
    last = [seen[-1].standing]
    deepen(store, replicates=400)
    assert set(store.requested().values()) >= {400}
    finish(store, part=(1, 1))
    mfstudy.run(study, store.path, part=(1, 1), progress=seen.append)
    assert [seen[-1].standing] == last


def test_another_precision_goes_on_from_what_is_stored(precise, tmp_path):
    store = tmp_path / "store"
    mfstudy.run(parse(PRECISE.replace("0.1", "0.2")), store, part=(1, 1))
    stamps = {path: path.stat().st_mtime_ns for path in store.glob("record/*/c.*")}
    mfstudy.run(parse(PRECISE), store, part=(1, 1))
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert contents(store) == contents(precise)


def test_the_command_line(command, tmp_path, precise):
    (tmp_path / "tiny.toml").write_text(PRECISE)
    before = json.loads(command("plan", "tiny.toml", "--json").stdout)
    assert [row["replicates"] for row in before["points"]] == [32] * 4
    assert before["prediction"]["basis"] == "rough, from CV 0.5"
    assert all(row["replicates"] >= 100 for row in before["prediction"]["points"])
    assert "rough, from CV 0.5" in command("plan", "tiny.toml").stdout
    finish(Store.create(tmp_path / "tiny.mfstudy", load(tmp_path / "tiny.toml")), part=(1, 1))
    after = json.loads(command("plan", "tiny.toml", "--json").stdout)
    assert after["prediction"] is None
    assert (after["round"]["round"], after["round"]["of"]) == (2, 4)
    ended = command("run", "tiny.toml", "--part", "1/1", "--json")
    assert ended.returncode == 0, ended.stderr
    assert "round 2 of at most 4: " in ended.stderr
    assert json.loads(ended.stdout)["round"]["reached"]
    assert asked(tmp_path / "tiny.mfstudy") == asked(precise)
    assert "0.1 is reached after round" in command("status", "tiny.mfstudy").stdout
    assert command("deepen", "tiny.mfstudy", "--replicates", "192", "--part", "1/1").returncode == 0
    assert json.loads(command("status", "tiny.mfstudy", "--json").stdout)["complete"]


WITH_TIMES = PRECISE + "[time]\nsave = [0.5, 1.0]\n"
FLOCKING = mfstudy.study.shipped()["flocking-1d"].replace("replicates = 256", "precision = 0.01")

BAD = {
    "both": (PRECISE + "replicates = 32\n", r"sweep\.precision: not allowed beside replicates; allowed: one of"),
    "neither": (TINY.replace("replicates = 32", ""), r"sweep\.replicates: missing; allowed: an integer.*precision ="),
    "zero": (PRECISE.replace("0.1", "0"), r"sweep\.precision: 0 is not allowed; allowed: a finite number > 0 and < 1"),
    "one": (PRECISE.replace("0.1", "1"), r"sweep\.precision: 1 is not allowed"),
    "word": (PRECISE.replace("0.1", "'high'"), r"sweep\.precision: 'high' is not allowed"),
    "target alone": (TINY + "target = {}\n", r"sweep\.target: not allowed without precision"),
    "no table": (PRECISE + "target = 3\n", r"sweep\.target: 3 is not a table; allowed: a table of observable"),
    "unknown key": (PRECISE + "target = {tiem = 1.0}\n", r"sweep\.target\.tiem: unknown key.*'time'"),
    "unknown observable": (
        PRECISE + "target = {observable = 'emprical'}\n",
        r"sweep\.target\.observable: unknown 'emprical'; allowed: empirical.*did you mean 'empirical'",
    ),
    "unknown p": (PRECISE + "target = {observable = 'empirical', p = 3}\n", r"sweep\.target\.p: 3.* allowed: 2"),
    "unknown quantity": (PRECISE + "target = {quantity = 'mena'}\n", r"sweep\.target\.quantity: 'mena'.*'mean'"),
    "no save time": (
        WITH_TIMES.replace("0.1\n", "0.1\ntarget = {time = 0.7}\n"),
        r"sweep\.target\.time: 0\.7 is no save time; allowed: 0\.5, 1",
    ),
    "shared pools": (
        FLOCKING + "target = {observable = 'stage'}\n",
        r"sweep\.target\.observable: 'stage' has replicates that share 20 pools.*allowed: coupling_distance_sq,",
    ),
    "all replicates": (
        FLOCKING + "target = {observable = 'marginal'}\n",
        r"sweep\.target\.observable: 'marginal' is a function of all replicates.*allowed: coupling_distance_sq,",
    ),
    "a check": (FLOCKING + "target = {observable = 'invariants'}\n", r"'invariants' has checks and no rate"),
    "two sizes": (PRECISE.replace("[10, 30, 100, 300]", "[10, 30]"), r"sweep\.sizes: 2 of them have no exponent"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_sweeps_are_refused_in_one_line(tmp_path, case):
    text, pattern = BAD[case]
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(InputError) as caught:
        mfstudy.run(tmp_path / "bad.toml", tmp_path / "store")
    assert re.search(pattern, str(caught.value)), str(caught.value)
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == ["bad.toml"]


def test_targets_mean_what_they_say():
    goal = mfstudy.study.check_goal(parse(FLOCKING).problem, parse(FLOCKING).sweep)
    assert (goal.quantity.name, goal.time, goal.kind) == ("coupling_distance_sq", 1, "exponent")
    study = parse(FLOCKING + "target = {observable = 'chemical', time = 0.5, quantity = 'mean'}\n")
    goal = mfstudy.study.check_goal(study.problem, study.sweep)
    assert (goal.quantity.observable, goal.time, goal.kind) == ("chemical", 0, "mean")
    marginal_first = FLOCKING.replace('kind = "coupling" ', 'kind = "marginal"\n[[observable]]\nkind = "coupling" ', 1)
    marginal_first = marginal_first.replace('\n[[observable]]\nkind = "marginal"      ', "\n#", 1)
    study = parse(marginal_first)
    assert mfstudy.study.check_goal(study.problem, study.sweep).quantity.name == "coupling_distance_sq"


def test_identities_do_not_know_the_precision():
    assert parse(PRECISE).problem.identity == parse(TINY).problem.identity
    assert parse(PRECISE + "target = {quantity = 'mean'}\n").problem.identity == parse(TINY).problem.identity
