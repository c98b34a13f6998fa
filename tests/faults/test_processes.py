"""Processes that die, stand still or are told to end, and several at the same work."""

import json
import signal
import subprocess
import sys
import time
from contextlib import suppress

import psutil
import pytest

from conftest import contents
from faults.runs import TEXT, TOTAL, counted_once, driver, ended, family, settled, until, workers
from lanes import chunks
from mfstudy.store import Store
from mfstudy.study import parse

pytestmark = pytest.mark.waits


def test_a_worker_is_killed_again_and_again(study, store, undisturbed):
    """To the end of the run; no block is given up, and each counts once."""
    killed = 0
    with driver(study, store, "--workers", "2") as process:
        last = -1
        while process.poll() is None:
            if len(chunks(store)) > max(last, 0) and (busy := workers(process)):
                last = len(chunks(store)) + 8  # some progress, then the next
                with suppress(psutil.NoSuchProcess):
                    max(busy, key=lambda one: one.create_time() * (killed % 2 or -1)).kill()
                    killed += 1
            time.sleep(0.02)
        said, _ = ended(process)
    assert killed >= 4
    assert said["failed_tasks"] == {}
    counted_once(said)
    assert contents(store) == undisturbed
    settled(study, store, undisturbed, left=False)


@pytest.mark.parametrize("victims", ["driver", "workers", "all"])
def test_sigkill(study, store, undisturbed, victims):
    """Of the driver with the scheduler in it, of all workers with what restarts them, of everything at once."""
    with driver(study, store, "--workers", "2") as process:
        until(lambda: len(chunks(store)) >= 3, process)
        everything = family(process)
        main = {one for one in everything if one.pid == process.pid}
        dead = {"driver": main, "workers": everything - main, "all": everything}[victims]
        assert len(everything) >= 4
        for one in dead:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        if victims == "workers":
            _, line = ended(process, 75)
            assert line == "mfstudy: the Dask workers were lost; run the same command again"
        else:
            assert process.wait(timeout=30) == -signal.SIGKILL
        _, alive = psutil.wait_procs(everything - main, timeout=60)  # workers end when their scheduler is gone
        assert not [one for one in alive if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    assert 3 <= len(chunks(store)) < TOTAL
    settled(study, store, undisturbed)


def test_the_scheduler_is_killed(study, store, undisturbed, tmp_path):
    """One of its own process, which the driver was given the address of; noticed, exit code 75."""
    started = []

    def start(*arguments):
        with (tmp_path / f"{arguments[0]}.log").open("wb") as log:
            started.append(subprocess.Popen([sys.executable, "-m", "dask", *arguments], stdout=log, stderr=log))
        return started[-1]

    try:
        address = tmp_path / "scheduler.json"
        there = ["--scheduler-file", str(address), "--host", "127.0.0.1", "--no-dashboard"]
        scheduler = start("scheduler", *there, "--port", "0", "--dashboard-address", "127.0.0.1:0")
        until(lambda: address.exists() and address.read_text(), scheduler)
        there += ["--dashboard-address", "127.0.0.1:0", "--nworkers", "2", "--nthreads", "1"]
        start("worker", *there, "--local-directory", str(tmp_path / "scratch"), "--death-timeout", "60")
        until(lambda: (tmp_path / "worker.log").read_text().count("Registered to") == 2, scheduler)
        at = json.loads(address.read_text())["address"]
        with driver(study, store, "--on", at) as process:
            until(lambda: len(chunks(store)) >= 3, process)
            scheduler.kill()
            assert scheduler.wait() == -signal.SIGKILL
            _, line = ended(process, 75)
        assert line == "mfstudy: the Dask workers were lost; run the same command again"
        assert 3 <= len(chunks(store)) < TOTAL
    finally:
        for one in started:
            with suppress(psutil.NoSuchProcess):
                for member in [*psutil.Process(one.pid).children(recursive=True), psutil.Process(one.pid)]:
                    member.kill()
            one.wait()
    settled(study, store, undisturbed)


def test_a_worker_stands_still_for_a_while(study, store, undisturbed):
    with driver(study, store, "--workers", "2") as process:
        until(lambda: len(chunks(store)) >= 3, process)
        victim = workers(process)[0]
        victim.suspend()
        before = len(chunks(store))
        until(lambda: len(chunks(store)) >= before + 5, process)  # the other goes on
        assert victim.status() == psutil.STATUS_STOPPED
        victim.resume()
        said, _ = ended(process)
    assert said["computed"] == TOTAL
    assert contents(store) == undisturbed


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_the_run_is_told_to_end(study, store, undisturbed, number, code):
    with driver(study, store, "--part", "1/1") as process:
        until(lambda: chunks(store), process)
        process.send_signal(number)
        ended(process, code)
    settled(study, store, undisturbed)


def test_two_drivers_at_once(study, store, undisturbed):
    """Both finish; what one has stored the other finds, and each counts every block once."""
    with driver(study, store, "--workers", "1") as one, driver(study, store, "--workers", "1") as other:
        until(lambda: len(chunks(store)) >= 3, one)
        assert one.poll() is None
        assert other.poll() is None
        said = [ended(process)[0] for process in (one, other)]
    for each in said:
        counted_once(each)
    assert sum(each["computed"] for each in said) >= TOTAL
    assert any(each["computed"] < TOTAL for each in said)  # they shared the work
    assert contents(store) == undisturbed


TWICE = """
import sys, time
from pathlib import Path
from mfstudy.store import Store
from mfstudy.study import Block, Point
from mfstudy import worker
path, folder, me, other = sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4]
held = Store.holds
def together(self, block):
    found = held(self, block)
    (folder / f"ready-{me}-{block.index}").touch()
    while not (folder / f"ready-{other}-{block.index}").exists():
        time.sleep(0.001)
    return found
Store.holds = together
identity = Store(path).attributes["identity"]
print(worker.run_task(path, identity, tuple(Block(Point(300), i, 16) for i in range(4))).computed)
"""


def test_a_block_is_computed_twice_at_once(study, store, undisturbed, tmp_path):
    Store.create(store, parse(TEXT))
    two = [
        subprocess.Popen([sys.executable, "-c", TWICE, str(store), str(tmp_path), *names], stdout=subprocess.PIPE)
        for names in (("a", "b"), ("b", "a"))
    ]
    assert [int(process.communicate(timeout=120)[0]) for process in two] == [4, 4]  # it has happened
    assert len(chunks(store)) == 4
    settled(study, store, undisturbed)
