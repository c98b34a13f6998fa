"""Sweeps: the same bytes whatever happens, nothing computed twice, faults that lose nothing."""

import os
import random
import subprocess
import sys
import time

import psutil
import pytest

import mfstudy
from conftest import TINY, contents
from mfstudy import components, plan
from mfstudy.store import Store
from mfstudy.study import Block, Point, parse
from mfstudy.sweep import deepen, finish
from mfstudy.worker import run_task

#: Enough work (about 10 s on one core) to look at what runs.
SLOW = TINY.replace("dim = 1", "dim = 2").replace("[10, 30, 100, 300]", "[50, 100, 200]").replace("= 32", "= 128")


@pytest.fixture
def undisturbed(tiny, tmp_path):
    return contents(mfstudy.run(tiny, tmp_path / "undisturbed", part=(1, 1)).store.path)


@pytest.fixture
def slow_file(tmp_path):
    path = tmp_path / "slow.toml"
    path.write_text(SLOW)
    return path


def chunks(store):
    return sorted(path for path in store.glob("record/*/c.*") if path.suffix != ".partial")


def run_command(study, store, *options):
    return [sys.executable, "-m", "mfstudy", "run", str(study), "--store", str(store), *options]


def wait_for_chunks(store, count, driver):
    """Wait until a run that is still going has stored so many blocks."""
    deadline = time.monotonic() + 120
    while len(chunks(store)) < count:
        assert driver.poll() is None, "the run ended too early"
        assert time.monotonic() < deadline, "the run stores nothing"
        time.sleep(0.02)


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_do_not_matter(tiny, tmp_path, undisturbed, workers):
    seen = []
    mfstudy.run(tiny, tmp_path / "store", workers=workers, progress=seen.append)
    assert contents(tmp_path / "store") == undisturbed
    assert seen[-1].computed == seen[-1].wanted == 8
    assert seen[0].dashboard.startswith("http://127.0.0.1:")


def test_parts_do_not_matter(tiny, tmp_path, undisturbed):
    computed = 0
    for part in (2, 1):
        seen = []
        results = mfstudy.run(tiny, tmp_path / "store", part=(part, 2), progress=seen.append)
        computed += seen[-1].computed
        assert results.complete == (part == 1)
    assert computed == 8
    assert contents(tmp_path / "store") == undisturbed


def test_order_does_not_matter(tiny, tmp_path, undisturbed):
    store = Store.create(tmp_path / "store", tiny)
    blocks = store.wanted()
    random.Random(3).shuffle(blocks)
    for block in blocks:
        assert run_task(str(store.path), tiny.problem.identity, (block,)).computed == 1
        assert run_task(str(store.path), tiny.problem.identity, (block,)).computed == 0
    assert contents(store.path) == undisturbed


def test_deepening_computes_only_what_is_new(tmp_path):
    deep = parse(TINY.replace("[10, 30, 100, 300]", "[10, 30, 100, 300, 400, 500]").replace("= 32", "= 64"))
    fresh = contents(mfstudy.run(deep, tmp_path / "fresh", part=(1, 1)).store.path)
    mfstudy.run(parse(TINY), tmp_path / "store", part=(1, 1))
    stamps = {path: path.stat().st_mtime_ns for path in chunks(tmp_path / "store")}
    seen = []
    mfstudy.run(deep, tmp_path / "store", part=(1, 1), progress=seen.append)
    assert seen[-1].present == 8
    assert seen[-1].computed == 16
    assert contents(tmp_path / "store") == fresh
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    # The shallow study run again finds everything there, and does not forget the deep one.
    assert mfstudy.run(parse(TINY), tmp_path / "store", part=(1, 1), progress=seen.append).complete
    assert seen[-1].computed == 0
    assert seen[-1].wanted == 24


def test_more_is_asked_for_only_once_nothing_is_missing(tiny, tmp_path):
    store = Store.create(tmp_path / "store", tiny)
    deepen(store, more=16)
    assert store.requested()[Point(10)] == 32
    finish(store, part=(1, 1))
    deepen(store, more=16)
    deepen(store, more=16)
    assert set(store.requested().values()) == {48}
    finish(store, part=(1, 1))
    deepen(store, replicates=49)
    finish(store, part=(1, 1))
    deepen(store, more=1)  # 64 are stored: one more means one more block
    assert set(store.requested().values()) == {65}
    deepen(store, sizes=(50,))
    assert store.requested()[Point(50)] == 65


LAB = '''
from dataclasses import dataclass
from typing import ClassVar
from mfstudy.distances.wasserstein import Wasserstein
from mfstudy.transport.bracket import UncertifiedError

@dataclass(frozen=True)
class Failing:
    """Has no certificate for the replicates whose first particle lies on the right."""
    scheme: ClassVar[int] = 1
    everywhere: bool = False
    def measured(self, p):
        return Wasserstein().measured(p)
    def between(self, measure, reference, p, precision, rng, cost="euclidean"):
        if self.everywhere and len(measure.points) == 30 or measure.points[0, 0] > 0.25:
            raise UncertifiedError("no certificate today")
        return Wasserstein().between(measure, reference, p, precision, rng)
'''


def lab(tmp_path, monkeypatch, **keys):
    """A study with a distance from outside the package, which fails."""
    (tmp_path / "lab").mkdir(exist_ok=True)
    (tmp_path / "lab/__init__.py").write_text("")
    (tmp_path / "lab/failing.py").write_text(LAB)
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == "lab"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(components, "_imported", {})
    words = "".join(f", {key} = {value}" for key, value in keys.items())
    return TINY.replace("p = 2", f'p = 2\ndistance = {{kind = "lab.failing"{words}}}')


@pytest.mark.parametrize("options", [{"part": (1, 1)}, {"workers": 1}])
def test_failed_replicates_are_done_counted_and_left_out(tmp_path, monkeypatch, options):
    study = parse(lab(tmp_path, monkeypatch, everywhere="true"))
    results = mfstudy.run(study, tmp_path / "store", **options)
    failed = {row.size: row.failed for row in results.counts}
    assert failed[30] == 32  # a block of nothing but failed replicates
    assert 0 < failed[100] < 32
    assert results.complete
    values = results.values(results.quantity("empirical"))
    assert [int(n) for n in (values == values).sum(axis=1)] == [32 - failed[size] for size in (10, 30, 100, 300)]
    assert results.messages(limit=1)[0].endswith("empirical: no certificate today")
    assert results.excluded(results.quantity("empirical")) == [10, 30, 100, 300]
    assert results.fit("empirical").verdict == "not-measurable"
    seen = []
    mfstudy.run(study, tmp_path / "store", part=(1, 1), progress=seen.append)
    assert seen[-1].computed == 0  # failed is done


def test_one_observable_that_fails_leaves_the_other_alone(tmp_path, monkeypatch):
    good = '\n[[observable]]\nkind = "empirical"\nname = "good"\np = 2\n[sweep]'
    text = lab(tmp_path, monkeypatch).replace("\n[sweep]", good)
    results = mfstudy.run(parse(text), tmp_path / "store", part=(1, 1))
    assert results.failed > 0
    assert results.excluded(results.quantity("good")) == []
    alone = mfstudy.run(parse(TINY), tmp_path / "alone", part=(1, 1))
    assert results.fit("good").text == alone.fit("empirical").text
    data = results.to_xarray()
    assert set(data.empirical_w2_sq_status.values.ravel()) == {1, 2}
    assert set(data.good_w2_sq_status.values.ravel()) == set(data.status.values.ravel()) == {1}
    assert ((data.empirical_w2_sq_status == 2) == data.empirical_w2_sq.isnull()).all()


def test_what_a_component_lacks_is_named(tmp_path, monkeypatch):
    text = lab(tmp_path, monkeypatch)
    source = (tmp_path / "lab/failing.py").read_text()
    (tmp_path / "lab/failing.py").write_text(
        source.replace("def measured", "def of_measured").replace("scheme: ", "sch: ")
    )
    with pytest.raises(
        components.InputError, match=r"'lab\.failing' is no component of 'distances': it lacks 'measured', an int"
    ):
        parse(text)


BARE = '''
from dataclasses import dataclass
from typing import ClassVar
from mfstudy.observables import Budget, Field

@dataclass(frozen=True)
class Bare:
    """Two quantities without brackets, one of them a number of the whole run."""
    scheme: ClassVar[int] = 1
    needs: ClassVar[frozenset] = frozenset({"particles"})
    p: ClassVar[None] = None
    label: ClassVar[str] = "bare"
    def fields(self, phase):
        return (
            Field("spread_sq", "spread_sq", "estimate", "mean of |x|^2"),
            Field("reach", "reach", "estimate", "max of |x|", per="run"),
            Field("n_status", "reach", "count", "a count whose name looks like a status"),
        )
    def admit(self, phase, law):
        pass
    def budget(self, size, phase):
        return Budget(1e-4, 1e3)
    def measure(self, view):
        x = view.particles.points
        return float((x**2).mean()), float(abs(x).max()), 2.0
'''


def test_an_observable_from_outside_with_two_quantities(tmp_path, monkeypatch):
    lab(tmp_path, monkeypatch)
    (tmp_path / "lab/bare.py").write_text(BARE)
    text = TINY.replace('kind = "empirical"\np = 2', 'kind = "lab.bare"') + "[time]\nsave = [0.0, 1.0]\n"
    results = mfstudy.run(parse(text), tmp_path / "store", part=(1, 1))
    assert [(q.name, time) for q, time, _ in results.fits] == [
        ("bare_spread_sq", 0), ("bare_spread_sq", 1), ("bare_reach", 1),
    ]  # fmt: skip
    assert results.failed == 0
    tables = [results.table(*entry) for entry in results.fits]
    assert tables[0]["bracket_half_width"] == [None] * 4
    assert results.fit("bare_spread_sq").mean[-1] == pytest.approx(1 / 12, rel=0.05)
    assert results.fit("bare").text == results.fit("bare_spread_sq").text  # a label alone means its first quantity
    from mfstudy import report

    assert report.write(results, tmp_path / "page").exists()


def test_a_component_that_was_edited_is_not_taken_for_the_old_one(tmp_path, monkeypatch):
    text = lab(tmp_path, monkeypatch)
    identity = parse(text).problem.identity
    (tmp_path / "lab/failing.py").write_text(LAB + "# edited\n")
    with pytest.raises(components.InputError, match="edited after it was imported; start Python again"):
        parse(text)
    code = "import sys; from mfstudy.study import load; print(load(sys.argv[1]).problem.identity)"
    (tmp_path / "study.toml").write_text(text)
    words = [sys.executable, "-c", code, str(tmp_path / "study.toml")]
    ended = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() != identity


def test_failed_replicates_end_in_exit_code_1(tmp_path, monkeypatch, command):
    (tmp_path / "study.toml").write_text(lab(tmp_path, monkeypatch))
    ended = command("run", "study.toml", "--part", "1/1", env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert ended.returncode == 1
    assert "replicates failed" in ended.stderr
    status = command("status", "tiny.mfstudy")
    assert status.returncode == 1
    assert "no certificate today" in status.stdout


def test_a_task_that_raises_is_passed_over(tmp_path, monkeypatch):
    text = lab(tmp_path, monkeypatch)
    source = (tmp_path / "lab/failing.py").read_text().replace("UncertifiedError(", "ZeroDivisionError(")
    (tmp_path / "lab/failing.py").write_text(source)
    seen = []
    results = mfstudy.run(parse(text), tmp_path / "store", workers=1, progress=seen.append)
    assert seen[-1].failures
    assert all("ZeroDivisionError" in line for line in seen[-1].failures.values())
    assert not results.complete


SCRIPT = """
import mfstudy
results = mfstudy.run(mfstudy.load("tiny.toml"), "store")
print(results.fit("empirical").verdict, results.complete)
"""


@pytest.mark.parametrize("how", ["script", "prompt"])
def test_run_needs_no_main_guard(tiny_file, tmp_path, how):
    (tmp_path / "plain.py").write_text(SCRIPT)
    words = [sys.executable, "plain.py"] if how == "script" else [sys.executable, "-i", "-q"]
    given = None if how == "script" else SCRIPT
    ended = subprocess.run(words, cwd=tmp_path, input=given, capture_output=True, text=True, timeout=240)
    assert "True" in ended.stdout, ended.stderr


def test_everything_listens_on_loopback(slow_file, tmp_path):
    words = run_command(slow_file, tmp_path / "s", "--workers", "2")
    driver = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for_chunks(tmp_path / "s", 1, driver)
        family = [psutil.Process(driver.pid), *psutil.Process(driver.pid).children(recursive=True)]
        listening = [c for process in family for c in process.net_connections() if c.status == psutil.CONN_LISTEN]
        assert len(listening) >= 3  # scheduler, dashboard, workers
        assert {c.laddr.ip for c in listening} <= {"127.0.0.1", "::1"}
    finally:
        driver.terminate()
        driver.wait()


def test_shares_cover_each_block_once():
    blocks = [Block(Point(size), i, 16) for size in (10, 30, 100) for i in range(7)]
    shares = [plan.share(blocks, k, 3) for k in (1, 2, 3)]
    assert sorted(b for s in shares for b in s) == sorted(blocks)
    done = {Point(10): {0, 1, 2}}
    assert len(plan.missing(blocks, done)) == len(blocks) - 3


def test_cost_prediction_takes_its_level_from_what_was_timed():
    problem = parse(TINY).problem
    predict = plan.replicate_seconds(problem, {Point(100): 3.0})
    assert predict(Point(100)) == 3.0
    prior = plan.replicate_seconds(problem, {})
    assert predict(Point(1000)) == pytest.approx(3.0 * prior(Point(1000)) / prior(Point(100)))
