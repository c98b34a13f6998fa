"""The table of faults: each is made to happen, and the study ends with the bytes of a run that nothing disturbed.

Blocks sleep a little, by a distance from outside the package which also fails where a file beside it says so. Faults
are placed by what is stored or marked, not by the clock.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

import mfstudy
from conftest import TINY, contents
from mfstudy import components
from mfstudy.store import Store
from mfstudy.streams import Purpose, stream
from mfstudy.study import Block, Point, parse

LAB = '''
"""A distance that takes a while, and what a file tells it to fail with."""
import json, os, resource, signal, time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from mfstudy.distances.wasserstein import Wasserstein

FOLDER = Path(__file__).parent

def hoard(most):
    """Allocate and touch memory, as far as it goes."""
    held = []
    while len(held) < most / 2**24:
        held.append(bytearray(os.urandom(1)) * 2**24)
        time.sleep(0.01)

def memory():
    """Allocate under a limit that the system sets."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + 2**28, before[1]))
    try:
        hoard(2**32)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)

def error():
    raise ZeroDivisionError("no distance today")

FAULTS = {
    "raises": error,
    "crashes": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "memory-error": memory,
    "hoards": lambda: hoard(2**31),
}

@dataclass(frozen=True)
class Faulty:
    """The Wasserstein distance, of some replicates only after a fault."""
    scheme: ClassVar[int] = 1
    def measured(self, p):
        return Wasserstein().measured(p)
    def between(self, measure, reference, p, precision, rng, cost="euclidean"):
        time.sleep(0.002)
        told = FOLDER / "faults.json"
        fault = json.loads(told.read_text()).get(repr(float(measure.points[0, 0]))) if told.exists() else None
        if fault:
            (FOLDER / f"{fault}-{os.getpid()}-{time.monotonic_ns()}.mark").touch()
            FAULTS[fault]()
        return Wasserstein().between(measure, reference, p, precision, rng)
'''
#: 64 blocks of about 50 ms.
TEXT = TINY.replace("p = 2", 'p = 2\ndistance = {kind = "outside_lab.faulty"}').replace("= 32", "= 256")
TOTAL = 64


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    """The package with the faulty distance, importable here and in what is started."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "outside_lab").mkdir()
    (folder / "outside_lab/__init__.py").write_text("")
    (folder / "outside_lab/faulty.py").write_text(LAB)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        patch.setattr(components, "_imported", {})
        yield folder / "outside_lab"


@pytest.fixture(scope="module")
def undisturbed(outside, tmp_path_factory):
    path = tmp_path_factory.mktemp("undisturbed") / "store"
    return contents(mfstudy.run(parse(TEXT), path, part=(1, 1)).store.path)


@pytest.fixture
def study(tmp_path, outside):
    path = tmp_path / "study.toml"
    path.write_text(TEXT)
    return path


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


def words(study, store, *options):
    return [sys.executable, "-m", "mfstudy", "run", str(study), "--store", str(store), "--json", *options]


@contextmanager
def driver(study, store, *options):
    """A run in a process of its own; whatever is left of it ends with the test."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(words(study, store, *options), **pipes)
    process.family = set()
    try:
        yield process
    finally:
        for member in family(process):
            with suppress(psutil.NoSuchProcess):
                member.kill()
        process.communicate(timeout=60)


def family(process):
    """The run's processes, those included that lost their parent."""
    with suppress(psutil.NoSuchProcess):
        process.family |= {psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)}
    return {member for member in process.family if member.is_running()}


def workers(process):
    """The processes in which blocks are computed: those that a nanny has spawned."""
    found = []
    for member in family(process):
        with suppress(psutil.Error):
            if any("spawn_main" in word for word in member.cmdline()):
                found.append(member)
    return found


def chunks(store):
    return sorted(path for path in Path(store).glob("record/*/c.*") if path.suffix != ".partial")


def until(happened, process=None, timeout=400):
    """Wait until something has happened, while the run goes on."""
    deadline = time.monotonic() + timeout
    while not (found := happened()):
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.01)
    return found


def ended(process, code=0, timeout=240):
    """Wait for the end of a run; return what it says of itself, and its last line of errors."""
    out, errors = process.communicate(timeout=timeout)
    assert process.returncode == code, errors
    assert "Traceback" not in errors
    return json.loads(out) if out else {}, errors.splitlines()[-1] if errors else ""


def counted_once(said):
    """No block counts twice."""
    assert said["computed"] + said["found"] + said["present"] == TOTAL


def settled(study, store, undisturbed, left=True):
    """Run again: it computes what is left, nothing else, and ends with the bytes of a run that nothing disturbed."""
    lacking = TOTAL - len(chunks(store))
    assert bool(lacking) == left
    seen = []
    results = mfstudy.run(study, store, part=(1, 1), progress=seen.append)
    assert (seen[-1].computed, seen[-1].present) == (lacking, TOTAL - lacking)
    assert results.complete
    assert contents(store) == undisturbed


# -- processes that die ------------------------------------------------------------------------------------------


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


# -- several at the same work ------------------------------------------------------------------------------------


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


# -- blocks that fail --------------------------------------------------------------------------------------------

GUILTY = {"raises": (300, 40), "crashes": (100, 70), "memory-error": (30, 100), "hoards": (100, 200)}
LINES = {
    "raises": "ZeroDivisionError: no distance today",
    "crashes": "killed its worker each time",
    "memory-error": "MemoryError: ",
    "hoards": "killed its worker each time",
}


def block_of(fault):
    size, replicate = GUILTY[fault]
    return Block(Point(size), replicate // 16, 16)


def killer(stop, killed, limit=6e8):
    """End processes that hoard memory, as a system that runs out of it does."""
    while not stop.wait(0.05):
        for one in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                if one.memory_info().rss > limit:
                    one.kill()
                    killed.append(one.pid)


@pytest.fixture(scope="module")
def poisoned(outside, undisturbed, tmp_path_factory):
    """A run in which one block for each fault fails each time; (store, progress, seen by the killer)."""
    problem, told = parse(TEXT).problem, {}
    for fault, (size, replicate) in GUILTY.items():
        rng = stream(problem.seed, Purpose.INITIAL, size, replicate)
        told[repr(float(problem.initial.sample(rng, size).points[0, 0]))] = fault
    (outside / "faults.json").write_text(json.dumps(told))
    path, seen, killed, stop = tmp_path_factory.mktemp("poisoned") / "store", [], [], threading.Event()
    system = threading.Thread(target=killer, args=(stop, killed))
    system.start()
    try:
        mfstudy.run(parse(TEXT), path, workers=2, progress=seen.append)
    finally:
        stop.set()
        system.join()
        (outside / "faults.json").unlink()
    return path, seen[-1], killed


@pytest.mark.parametrize("fault", GUILTY)
def test_a_poisoned_block_is_passed_over(outside, poisoned, fault):
    path, state, killed = poisoned
    block, store = block_of(fault), Store(path)
    marks = list(outside.glob(f"{fault}-*.mark"))
    assert len(marks) >= 2  # it has happened, and was tried again
    if LINES[fault].startswith("killed"):
        assert len({mark.name.split("-")[-2] for mark in marks}) == len(marks)  # each time in another process
    if fault == "hoards":
        assert len(killed) == len(marks)
    assert not store.holds(block)
    note = store.poisoned()[block]
    assert note["line"].startswith(LINES[fault])
    assert note["attempts"] == len(marks)
    assert note["versions"]["mfstudy"]
    assert state.failures[f"{block.point.id}, block {block.index}"].startswith(LINES[fault])


def test_the_others_finish_and_a_run_tries_it_again_last(poisoned, undisturbed, command, study):
    path, state, _ = poisoned
    store, guilty = Store(path), {block_of(fault) for fault in GUILTY}
    assert (state.computed, state.present, state.found) == (TOTAL - 4, 0, 0)
    assert set(store.poisoned()) == guilty
    bad = {f"record/{block.point.id}/c.{block.index}.0.0" for block in guilty}
    assert contents(path) == {key: data for key, data in undisturbed.items() if key not in bad}
    status = command("status", path)
    assert status.returncode == 1
    assert status.stdout.count("given up: ") == 4
    assert "given up: size-100, block 4: killed its worker each time (" in status.stdout
    (path / "record/size-10/c.0.0.0").unlink()  # before the suspects comes what was never tried
    order = []
    results = mfstudy.run(study, path, part=(1, 1), progress=lambda state: order.append(set(Store(path).poisoned())))
    assert results.complete
    assert order[0] == order[1] == guilty
    assert [len(some) for some in order] == [4, 4, 3, 2, 1, 0]
    assert contents(path) == undisturbed
    status = command("status", path)
    assert (status.returncode, "given up" in status.stdout) == (0, False)


# -- disks -------------------------------------------------------------------------------------------------------


@contextmanager
def small_disk(folder, size):
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("NOT RUN: mounting a small tmpfs needs root")
    try:
        yield lambda options: subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("options", [("--workers", "1"), ("--part", "1/1")], ids=["workers", "part"])
def test_the_disk_fills(study, undisturbed, tmp_path, options):
    with small_disk(tmp_path / "disk", "160k") as remount:
        store = tmp_path / "disk/store"
        with driver(study, store, *options) as process:
            _, line = ended(process, 1)
        assert line == f"mfstudy: {store}: the disk is full; make space and run the same command again"
        assert 0 < len(chunks(store)) < TOTAL
        remount("size=20m")
        settled(study, store, undisturbed)


def test_the_disk_becomes_read_only(study, undisturbed, tmp_path):
    with small_disk(tmp_path / "disk", "20m") as remount:
        store = tmp_path / "disk/store"
        with driver(study, store, "--part", "1/2") as process:
            ended(process)
        assert len(chunks(store)) == TOTAL / 2
        remount("ro")
        with pytest.raises(OSError, match="Read-only"):
            (store / "x").touch()
        with driver(study, store, "--part", "1/1") as process:
            _, line = ended(process, 1)
        assert line == f"mfstudy: {store}: Read-only file system; mend that and run the same command again"
        remount("rw")
        settled(study, store, undisturbed)


FAULTY_DISK = """
import errno, os
rename, count = os.replace, 0
def replace(source, target, *rest, **more):
    global count
    if "/c." in str(target) and "record" in str(target):
        count += 1
        if count > 5:
            open(os.environ["EIO_MARK"], "w").close()
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(target))
    return rename(source, target, *rest, **more)
os.replace = os.rename = replace
"""


@pytest.mark.parametrize("options", [("--workers", "1"), ("--part", "1/1")], ids=["workers", "part"])
def test_the_disk_fails(study, store, undisturbed, tmp_path, monkeypatch, options):
    """EIO from the fifth chunk on, in whichever process writes it."""
    (tmp_path / "faulty").mkdir()
    (tmp_path / "faulty/sitecustomize.py").write_text(FAULTY_DISK)
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path / "faulty"), prepend=os.pathsep)
        patch.setenv("EIO_MARK", str(tmp_path / "mark"))
        with driver(study, store, *options) as process:
            _, line = ended(process, 1)
    assert (tmp_path / "mark").exists()
    assert line == f"mfstudy: {store}: Input/output error; mend that and run the same command again"
    assert len(chunks(store)) == 5
    settled(study, store, undisturbed)


# -- what is stored goes wrong -----------------------------------------------------------------------------------


def flip(chunk):
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 1
    chunk.write_bytes(data)


@pytest.mark.parametrize(
    "damage", [flip, lambda chunk: os.truncate(chunk, 100)], ids=["a flipped bit", "a truncated chunk"]
)
def test_damage_is_reported_and_repaired(study, store, undisturbed, command, damage):
    mfstudy.run(study, store, part=(1, 1))
    chunk = store / "record/size-100/c.7.0.0"
    damage(chunk)
    assert contents(store) != undisturbed
    for verb, told in (("fit", "stderr"), ("verify", "stdout")):
        ended = command(verb, store)
        assert ended.returncode == 1
        assert "record/size-100/c.7.0.0" in getattr(ended, told)
    assert not chunk.exists()
    assert len(list((store / "quarantine").glob("*/record/size-100/c.7.0.0"))) == 1
    settled(study, store, undisturbed)


def test_a_chunk_is_gone(study, store, undisturbed, command):
    mfstudy.run(study, store, part=(1, 1))
    (store / "record/size-100/c.7.0.0").unlink()
    assert "not complete: 16 replicates are missing" in command("status", store).stdout
    settled(study, store, undisturbed)


def test_litter_of_killed_writes_is_no_block(study, store, undisturbed):
    """Young litter stays, for it may be a write in progress; old litter is swept by the next run."""
    mfstudy.run(study, store, part=(1, 1))
    chunk = store / "record/size-100/c.7.0.0"
    litter = [chunk.with_suffix(f".{i}.partial") for i in range(3)]
    for path in litter:
        path.write_bytes(chunk.read_bytes()[:100])
    os.utime(litter[0], (0, 0))
    chunk.unlink()
    assert not Store(store).holds(Block(Point(100), 7, 16))
    settled(study, store, undisturbed)
    assert [path.exists() for path in litter] == [False, True, True]
