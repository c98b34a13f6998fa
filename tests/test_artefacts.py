"""The solved reference as an artefact of the store: solved once, the same bytes whatever happens, damage is found.

The reference is one from outside the package that solves nothing hard, says when it begins, and waits there if told
to: faults are then placed inside the solving, or between the arrays while they are written, with no clock.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress

import numpy as np
import psutil
import pytest
from click.testing import CliRunner

import mfstudy
from conftest import TINY, contents
from mfstudy import cluster, components, worker
from mfstudy.cli import verbs
from mfstudy.meanfield import UnreachableError
from mfstudy.store import CHUNK_BYTES, DamagedError, Store
from mfstudy.store._disk import Disk
from mfstudy.study import parse
from mfstudy.worker import run_task, solve_task

LAB = '''
import os, time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
import numpy as np
from mfstudy.meanfield import UnreachableError
from mfstudy.references.exact import Exact

MARKS = Path(__file__).parent.parent / "marks"

def mark(name):
    """Leave a trace of an event, one file for each; where it is held, wait until it is let go."""
    MARKS.mkdir(exist_ok=True)
    (MARKS / f"{name}-{os.getpid()}-{time.monotonic_ns()}").touch()
    deadline = time.monotonic() + 60
    while name in os.environ.get("HELD", "").split() and not (MARKS / f"go-{name}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)

class Telling(Mapping):
    """Arrays that tell when the last one is asked for."""
    def __init__(self, arrays):
        self.arrays = arrays
    def __len__(self):
        return len(self.arrays)
    def __iter__(self):
        return iter(self.arrays)
    def __getitem__(self, name):
        if name == "weights":
            mark("writing")
        return self.arrays[name]

@dataclass(frozen=True)
class Told:
    """Stores arrays that it does not need, and then is exact."""
    scheme: ClassVar[int] = 1
    shares: ClassVar[bool] = True
    fault: str = ""
    def admit(self, system, law, time):
        pass
    def solve(self, system, law, save):
        mark("solving")
        if self.fault == "unreachable":
            raise UnreachableError("reference: its error is 2.0e-03, above the tolerance 1.0e-09; 5e-03 would do")
        if self.fault == "error":
            raise ZeroDivisionError("no mean field today")
        rng = np.random.default_rng(5)
        field = rng.standard_normal((9, 60000)) + 1j * rng.standard_normal((9, 60000))
        return Telling({"field": field, "memory": np.zeros((0, 1)), "weights": np.full(40, 1 / 40)})
    def restore(self, system, law, save, shared):
        mark("restoring")
        assert shared["field"].shape == (9, 60000) and shared["weights"].sum() > 0.99
        return Exact().restore(system, law, save, {})
'''

FOLDER = "artefacts/reference"


def told(**keys):
    """The tiny study with the reference from outside."""
    words = "".join(f"\n{key} = {value!r}".replace("'", '"') for key, value in keys.items())
    return TINY.replace("[[observable]]", f'[reference]\nkind = "outside.told"{words}\n[[observable]]')


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    """The folder with the module from outside, importable here and in workers."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "outside").mkdir()
    (folder / "outside/__init__.py").write_text("")
    (folder / "outside/told.py").write_text(LAB)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setattr(components, "_imported", {})
        patch.setenv("PYTHONPATH", str(folder))
        yield folder
    for name in [name for name in sys.modules if name.split(".")[0] == "outside"]:
        del sys.modules[name]


@pytest.fixture(autouse=True)
def marks(outside):
    """Return the traces that an event has left in this test."""
    folder = outside / "marks"
    while folder.exists():  # a process that was killed may still be writing
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    worker._solved.cache_clear()  # as a new process begins
    return lambda name: sorted(path.name for path in folder.glob(f"{name}-*"))


@pytest.fixture
def let_go(outside):
    """Let those go on that wait at an event."""
    return lambda name: (outside / f"marks/go-{name}").touch()


@pytest.fixture(scope="module")
def crew(outside):
    """A worker in a process of its own, started once."""
    with cluster.connect(cluster.find("local"), 1, list) as crew:
        yield crew


@pytest.fixture
def one_worker(crew, monkeypatch):
    """Runs with one worker find the one that is there: starting and stopping it is not what these tests are about."""
    start = cluster.connect
    monkeypatch.setattr(cluster, "connect", lambda on, n, admit: nullcontext(crew) if n == 1 else start(on, n, admit))


def computed(tmp_path, text, name, **options):
    """Run a study into a store and return the store's path."""
    return mfstudy.run(parse(text), tmp_path / name, **(options or {"part": (1, 1)})).store.path


def blocks(store):
    return [path for path in store.glob("record/*/c.*") if path.suffix != ".partial"]


def driver(tmp_path, *options, held=""):
    """Start the command line on the study; it waits at the events that are held."""
    (tmp_path / "study.toml").write_text(told())
    words = [sys.executable, "-m", "mfstudy", "run", "study.toml", "--store", "store", *options]
    env = {**os.environ, "HELD": held}
    return subprocess.Popen(words, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def kill(process):
    """Kill a driver inside its run."""
    process.kill()
    assert process.wait() == -signal.SIGKILL
    process.communicate()


def pid(mark):
    """Return the process that left a trace."""
    return int(mark.split("-")[1])


def says(*arguments):
    """Return what a verb prints, run in this process."""
    return CliRunner().invoke(verbs, [*arguments]).stdout


def wait_for(condition, *processes):
    deadline = time.monotonic() + 60
    while not condition():
        for process in processes:
            assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


# -- the schema --------------------------------------------------------------------------------------------------


def test_schema_on_disk(tmp_path):
    """A snapshot: a change here breaks people's stores and needs another schema number."""
    store = computed(tmp_path, told(), "store")
    assert json.loads((store / "artefacts/zarr.json").read_text())["attributes"] == {"required": ["reference"]}
    manifest = json.loads((store / FOLDER / "manifest.json").read_text())
    assert set(manifest) == {"problem", "arrays"}
    assert manifest["problem"] == parse(told()).problem.identity
    described = {name: (entry["dtype"], entry["shape"]) for name, entry in manifest["arrays"].items()}
    assert described == {
        "field": ("complex128", [9, 60000]), "memory": ("float64", [0, 1]), "weights": ("float64", [40]),
    }  # fmt: skip
    array = json.loads((store / FOLDER / "field/zarr.json").read_text())
    assert [codec["name"] for codec in array["codecs"]] == ["bytes", "crc32c"]
    assert array["chunk_grid"]["configuration"]["chunk_shape"] == [CHUNK_BYTES // (60000 * 16), 60000]
    assert sorted(path.name for path in (store / FOLDER / "field").iterdir()) == [
        "c.0.0", "c.1.0", "c.2.0", "zarr.json",
    ]  # fmt: skip
    note = json.loads((store / "notes/reference.json").read_text())
    assert note["seconds"] >= 0
    assert {"numba", "finufft"} <= set(note["versions"])


def test_what_is_read_is_what_was_shared(tmp_path):
    """Against the raw bytes of the files, and NumPy's own; each array is read once, when it is asked for."""
    store = Store.create(tmp_path / "store", parse(told()))
    rng = np.random.default_rng(1)
    arrays = {
        "field": rng.standard_normal((700, 900)).view(np.complex128),
        "fortran": np.asfortranarray(rng.standard_normal((5, 6, 2))),
        "odd": np.array([1.0, -0.0, np.nan, np.inf]),
        "zeros": np.zeros((3, 2)),
        "unknown": np.full(3, np.nan),  # what an absent chunk would read as
        "nothing": np.zeros((0, 1)),
    }
    assert store.shared() is None
    store.share(arrays)
    shared = store.shared()
    assert sorted(shared) == sorted(arrays)
    for name, values in arrays.items():
        assert shared[name].dtype == values.dtype
        assert shared[name].shape == values.shape
        assert shared[name].tobytes() == values.tobytes()
        assert shared[name] is shared[name]
    folder = store.path / FOLDER / "field"
    raw = b"".join((folder / f"c.{i}.0").read_bytes()[:-4] for i in range(2))
    assert raw[: arrays["field"].nbytes] == arrays["field"].tobytes()
    with pytest.raises(KeyError):
        shared["none"]
    fresh = store.shared()
    shutil.rmtree(store.path / FOLDER / "field")
    assert fresh["odd"].shape == (4,)  # read without the field, which alone is gone
    with pytest.raises(DamagedError, match="reference/field: the array is gone"):
        fresh["field"]


@pytest.mark.parametrize(
    ("name", "values", "allowed"),
    [
        ("../up", np.zeros(3), "lower-case"),
        ("field", np.zeros(3, dtype=np.float32), "float64 or complex128"),
        ("field", np.zeros(3, dtype=">f8"), "float64 or complex128"),
        ("field", np.array([{}]), "float64 or complex128"),
        ("field", np.array(1.0), "one dimension or more"),
    ],
)
def test_what_cannot_be_shared(tmp_path, name, values, allowed):
    store = Store.create(tmp_path / "store", parse(told()))
    with pytest.raises(ValueError, match=f"^reference: .*allowed: .*{allowed}"):
        store.share({name: values})
    assert store.shared() is None


def test_a_problem_that_shares_nothing(tiny_results):
    store = tiny_results.store
    assert not store.shares
    assert dict(store.shared()) == {}
    assert sorted(path.name for path in (store.path / "artefacts").iterdir()) == ["zarr.json"]


# -- the first wave ----------------------------------------------------------------------------------------------


def test_blocks_follow_the_reference_on_every_path(tmp_path, marks, one_worker):
    """1 and 2 workers, and 2 parts: the same bytes, solved once for a store, loaded once for a process."""
    expected, seen = contents(computed(tmp_path, told(), "store")), []
    assert (len(marks("solving")), len(marks("restoring"))) == (1, 1)
    for count in (1, 2):
        before = len(marks("restoring"))
        path = computed(tmp_path, told(), f"workers-{count}", workers=count, progress=lambda s: seen.append(s.solving))
        assert contents(path) == expected
        assert len(marks("solving")) == 1 + count
        assert 1 <= len(marks("restoring")) - before <= count
    assert seen == 2 * [True, *(len(seen) // 2 - 1) * [False]]
    for part in (2, 1):
        path = computed(tmp_path, told(), "parts", part=(part, 2))
    assert contents(path) == expected
    assert len(marks("solving")) == 4
    # The same numbers as those of the exact reference, which this one is.
    exact = contents(computed(tmp_path, TINY, "exact"), "record")
    chunks = {name: data for name, data in exact.items() if not name.endswith("json")}
    assert len(chunks) == 8
    assert {name: expected[name] for name in chunks} == chunks


def test_a_block_does_not_start_without_it(tmp_path, marks):
    study = parse(told())
    store = Store.create(tmp_path / "store", study)
    arguments = (str(store.path), study.problem.identity)
    with pytest.raises(DamagedError, match="artefacts/reference: gone during the run; run the study again"):
        run_task(*arguments, tuple(store.wanted()))
    assert blocks(store.path) == []
    solve_task(*arguments)
    solve_task(*arguments)
    assert len(marks("solving")) == 1
    assert run_task(*arguments, tuple(store.wanted())).computed == 8


@pytest.mark.parametrize("options", [["--part", "1/1"], ["--workers", "1"]])
def test_a_tolerance_out_of_reach_is_exit_code_3(tmp_path, one_worker, ends, options):
    (tmp_path / "study.toml").write_text(told(fault="unreachable"))
    ended = ends("run", "study.toml", "--store", "store", *options)
    assert ended.returncode == 3
    assert ended.stderr.splitlines()[-1].startswith("mfstudy: reference: its error is 2.0e-03, above the tolerance")
    assert "solving the mean field" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""
    assert not (tmp_path / "store").exists()  # it would be in the way of the study with another tolerance


def test_a_tolerance_out_of_reach_in_a_script(tmp_path):
    with pytest.raises(UnreachableError, match="above the tolerance"):
        computed(tmp_path, told(fault="unreachable"), "store")


@pytest.mark.parametrize("options", [{"part": (1, 1)}, {"workers": 1}])
def test_a_reference_that_raises_starts_no_block(tmp_path, marks, one_worker, options):
    seen = []
    path = computed(tmp_path, told(fault="error"), "store", progress=seen.append, **options)
    assert seen[-1].failures == {"the mean field": "ZeroDivisionError: no mean field today"}
    assert not seen[-1].solving
    assert blocks(path) == []
    assert not marks("restoring")


def test_the_command_line_says_what_is_solved(tmp_path, ends, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.toml").write_text(told(fault="none"))
    name = r"outside\.told \(source = \w+, fault = none\)"
    check = says("check", "study.toml")
    assert re.search(rf"^reference    {name}: solved once for each store, before its first block$", check, re.M)
    assert re.search(rf"^reference: {name}: not solved yet$", says("plan", "study.toml"), re.M)
    said = ends("run", "study.toml", "--part", "1/1").stderr.splitlines()
    wanted, solving, solved = (
        next(i for i, line in enumerate(said) if line.startswith(start))
        for start in ("8 blocks wanted", "solving the mean field", "the mean field took")
    )
    assert wanted < solving < solved
    assert re.search(rf"^reference: {name}: solved$", says("plan", "study.toml"), re.M)
    assert json.loads(says("plan", "study.toml", "--json"))["reference"] == {"required": True, "complete": True}
    status = says("status", "tiny.mfstudy").splitlines()
    assert re.fullmatch(f"reference: {name}: solved", status[-2])
    assert status[-1] == "complete"
    (tmp_path / "exact.toml").write_text(TINY)
    assert "reference    exact: nothing to solve\n" in says("check", "exact.toml")
    assert "reference: exact: nothing to solve\n" in says("plan", "exact.toml", "--store", "none")


# -- faults ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def undisturbed(outside, tmp_path_factory):
    """What every disturbed run must end with."""
    return contents(computed(tmp_path_factory.mktemp("undisturbed"), told(), "store"))


def test_a_driver_killed_in_the_first_wave(tmp_path, undisturbed, marks, let_go):
    """Its worker lives on for a while: it meets the next run, and writes over what is complete, the same bytes."""
    process, store = driver(tmp_path, "--workers", "2", held="solving writing"), tmp_path / "store"
    wait_for(lambda: marks("solving"), process)
    (mark,) = marks("solving")
    family = psutil.Process(process.pid).children(recursive=True)
    kill(process)
    assert not (store / FOLDER).exists()
    assert Store(store).shared() is None
    let_go("solving")
    wait_for(lambda: marks("writing"))
    assert contents(computed(tmp_path, told(), "store")) == undisturbed
    let_go("writing")
    note = store / "notes/reference.json"
    wait_for(lambda: json.loads(note.read_text())["pid"] == pid(mark))  # the last that it writes
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    assert contents(store) == undisturbed
    assert len(marks("solving")) == 2


def test_a_driver_killed_while_it_writes(tmp_path, undisturbed, marks):
    """What is written does not pass for complete, and is no obstacle."""
    process, store = driver(tmp_path, "--part", "1/1", held="writing"), tmp_path / "store"
    wait_for(lambda: marks("writing"), process)
    kill(process)
    assert (store / FOLDER / "field/c.2.0").exists()
    assert not (store / FOLDER / "manifest.json").exists()
    assert Store(store).shared() is None
    assert contents(computed(tmp_path, told(), "store")) == undisturbed
    assert len(marks("solving")) == 2


def test_a_worker_killed_while_solving(tmp_path, undisturbed, marks, let_go, ends, monkeypatch):
    """The task goes to another worker, in the same run."""

    def kill_it():
        wait_for(lambda: marks("solving"))
        (mark,) = marks("solving")
        psutil.Process(pid(mark)).kill()
        let_go("solving")

    (tmp_path / "study.toml").write_text(told())
    monkeypatch.setenv("HELD", "solving")  # in the workers: nothing is solved in this process
    with ThreadPoolExecutor(1) as pool:
        killed = pool.submit(kill_it)
        ended = ends("run", "study.toml", "--store", "store", "--workers", "2")
        killed.result()
    assert ended.returncode == 0, ended.stderr
    assert len({pid(mark) for mark in marks("solving")}) == 2
    assert contents(tmp_path / "store") == undisturbed


def test_two_drivers_at_once(tmp_path, undisturbed, marks, let_go, monkeypatch):
    """Neither goes on before both are solving, nor completes the artefact before both are writing."""
    other = driver(tmp_path, "--part", "2/2", held="solving writing")
    monkeypatch.setenv("HELD", "solving writing")
    with ThreadPoolExecutor(1) as pool:
        one = pool.submit(computed, tmp_path, told(), "store", part=(1, 2))
        for event in ("solving", "writing"):
            wait_for(lambda event=event: len(marks(event)) == 2, other)
            assert {pid(mark) for mark in marks(event)} == {os.getpid(), other.pid}
            assert not (tmp_path / "store" / FOLDER / "manifest.json").exists()
            let_go(event)
        one.result()
    _, errors = other.communicate(timeout=120)
    assert other.returncode == 0, errors
    assert contents(tmp_path / "store") == undisturbed


def test_a_disk_that_fills_while_it_is_stored(tmp_path, undisturbed, ends):
    text, disk = told(), tmp_path / "disk"
    (tmp_path / "study.toml").write_text(text)
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "none", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    try:
        ended = ends("run", "study.toml", "--store", disk / "store", "--part", "1/1")
        assert ended.returncode == 1
        assert ended.stderr.splitlines()[-1].endswith("the disk is full; make space and run the same command again")
        assert Store(disk / "store").shared() is None
        subprocess.run(["mount", "-o", "remount,size=40m", str(disk)], check=True)
        assert contents(mfstudy.run(parse(text), disk / "store", part=(1, 1)).store.path) == undisturbed
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def flip(store):
    path = store / FOLDER / "field/c.1.0"
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)


def flip_with_its_checksum(store):
    """What another machine's numbers would look like: whole chunks, other contents."""
    field = store / FOLDER / "field"
    shutil.copy(field / "c.0.0", field / "c.1.0")


def another_problem(store):
    path = store / FOLDER / "manifest.json"
    path.write_text(path.read_text().replace(Store(store).attributes["identity"], "0" * 64))


def another_shape(store):
    path = store / FOLDER / "manifest.json"
    path.write_text(path.read_text().replace("60000", "60001"))


def shorten(store):
    path = store / FOLDER / "manifest.json"
    path.write_bytes(path.read_bytes()[:-20])


DAMAGE = {
    "a flipped bit": (flip, "field/c.1.0: its checksum does not match"),
    "other contents": (flip_with_its_checksum, "field: its contents do not match the manifest's hash"),
    "a chunk gone": (lambda store: (store / FOLDER / "field/c.2.0").unlink(), "field: a chunk is missing"),
    "an empty chunk": (lambda store: (store / FOLDER / "weights/c.0").write_bytes(b""), "weights/c.0: its checksum"),
    "an array gone": (lambda store: shutil.rmtree(store / FOLDER / "weights"), "weights: the array is gone"),
    "torn metadata": (lambda store: (store / FOLDER / "field/zarr.json").write_text('{"sh'), "field: the array is"),
    "a torn manifest": (shorten, "manifest.json: not a valid manifest"),
    "a list": (lambda store: (store / FOLDER / "manifest.json").write_text("[]"), "manifest.json: not a valid"),
    "another problem": (another_problem, "manifest.json: belongs to another problem"),
    "another shape": (another_shape, "field: is not the array that its manifest describes"),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_found_named_and_repaired(tmp_path, undisturbed, case):
    """A run that needs the reference stops before any block; deleting the folder and running again repairs."""
    study = parse(told())
    store = Store.create(tmp_path / "store", study)
    solve_task(str(store.path), study.problem.identity)
    fault, line = DAMAGE[case]
    fault(store.path)
    worker._solved.cache_clear()
    with pytest.raises(DamagedError, match=f"{FOLDER}/{line}.*; delete .*{FOLDER} and run the study again$"):
        mfstudy.run(study, store.path, part=(1, 1))
    assert blocks(store.path) == []
    shutil.rmtree(store.path / FOLDER)
    assert contents(mfstudy.run(study, store.path, part=(1, 1)).store.path) == undisturbed


def test_an_artefact_comes_back_where_no_block_is_missing(tmp_path, undisturbed):
    store = computed(tmp_path, told(), "store")
    shutil.rmtree(store / "artefacts")
    assert contents(computed(tmp_path, told(), "store")) == undisturbed


@pytest.mark.parametrize("options", [["--part", "1/1"], ["--workers", "1"]])
def test_damage_ends_a_run_with_exit_code_1(tmp_path, one_worker, ends, options):
    store = computed(tmp_path, told(), "store")
    for path in blocks(store):
        path.unlink()
    flip(store)
    (tmp_path / "study.toml").write_text(told())
    worker._solved.cache_clear()
    ended = ends("run", "study.toml", "--store", "store", *options)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].endswith(f"{FOLDER} and run the study again")
    assert "Traceback" not in ended.stderr
    assert blocks(store) == []


def test_an_unfinished_artefact_of_another_shape_is_not_mixed(tmp_path):
    """What another version of a component has left, or a kernel that chose another resolution."""
    store = Store.create(tmp_path / "store", parse(told()))
    store.share({"weights": np.zeros(3), "field": np.zeros((4, 4))})
    (store.path / FOLDER / "manifest.json").unlink()
    with pytest.raises(DamagedError, match="reference/field: left unfinished with another shape; delete"):
        mfstudy.run(parse(told()), store.path, part=(1, 1))
    shutil.rmtree(store.path / FOLDER)
    assert mfstudy.run(parse(told()), store.path, part=(1, 1)).complete


def test_the_manifest_is_written_last(tmp_path, monkeypatch):
    store, puts, put = Store.create(tmp_path / "store", parse(told())), [], Disk.put

    def recorded(self, key, data):
        puts.append((key, sorted(path.name for path in (store.path / FOLDER).rglob("c.*"))))
        put(self, key, data)

    monkeypatch.setattr(Disk, "put", recorded)
    store.share({"weights": np.ones(3), "field": np.ones((2, 2))})
    assert puts[-1] == (f"{FOLDER}/manifest.json", ["c.0", "c.0.0"])
    assert {key.rpartition("/")[2] for key, _ in puts[:-1]} == {"zarr.json"}
